"""Ranges of results from ranges of factors, and the ledger of claims."""

from collections.abc import Mapping

import pytest

from gcsim.spec.library import root
from gcsim.spec.resolve import load_chip, resolve
from gcsim.spec.scenario import Scenario
from gcsim.study.bands import bands, shifted, shifted_chip
from gcsim.study.claims import claims, measure, verdict_of
from gcsim.study.profile_text import efficiency_block, replace_sections
from gcsim.study.schedule import binned


def few(scenario: Scenario) -> Mapping[str, float]:
    return measure(scenario)


def test_the_value_lies_within_its_bands() -> None:
    path = root() / "validation" / "claims" / "sn40l-gpt-oss.yaml"
    scenario = resolve(path, {"run.trajectories": 1}).scenario
    for metric, band in bands(scenario, few).items():
        assert band["low"] <= band["value"] <= band["high"], metric
        assert band["least"] <= band["value"] <= band["most"], metric
        assert band["low"] < band["high"], metric


def test_slow_is_slower() -> None:
    chip = load_chip("h100-sxm")
    stack = chip.default_stack
    slow = shifted_chip(chip, stack, ("memory", "layer_overhead"), slow=True)
    assert slow.efficiency.memory.value <= chip.efficiency.memory.value
    assert slow.stacks[stack].layer_overhead.value >= chip.stacks[stack].layer_overhead.value
    assert slow.efficiency.link == chip.efficiency.link


def test_without_ranges_there_is_nothing_to_shift() -> None:
    scenario = resolve("coding-agents").scenario
    assert shifted(scenario, ("no_such_factor",), slow=True) is None


def test_every_claim_has_a_scenario_that_anyone_can_run() -> None:
    ledger = claims()
    assert len(ledger) >= 12
    for claim in ledger:
        assert (root() / claim["scenario"]).is_file(), claim
        assert claim["source"]
        assert claim["low"] <= claim["modeled"] <= claim["high"], claim
        assert claim["verdict"] in ("supported", "holds only if", "not supported")
        if claim["verdict"] == "holds only if":
            assert claim["condition"]


@pytest.mark.parametrize(
    ("claimed", "condition", "verdict"),
    [(100, "", "supported"), (100, "x", "holds only if"), (300, "", "not supported")],
)
def test_verdicts(claimed: float, condition: str, verdict: str) -> None:
    assert verdict_of(claimed, 97, 90, 105, condition) == verdict


def test_sections_are_replaced_and_nothing_else() -> None:
    text = "name: x\n\nefficiency:\n  memory: 1\n\nstacks: {}\n\npower:\n  node: 1\n"
    assert replace_sections(text, "efficiency: new\n", "stacks: new\n") == (
        "name: x\n\nefficiency: new\n\nstacks: new\n\npower:\n  node: 1\n"
    )
    assert callable(efficiency_block)
    assert callable(binned)
