"""Chips from their parts (gcsim.profiles.assemble, gcsim.profiles.stack)."""

from math import log
from pathlib import Path
from typing import Any

import pytest
import yaml

import gcsim
from gcsim.errors import ProfileError
from gcsim.profiles.assemble import assembled, read_chip
from gcsim.profiles.chip import Chip
from gcsim.profiles.library import Library, shipped
from gcsim.profiles.load import read_mapping, validate
from gcsim.profiles.resolve import load_chip, load_stack, resolve


def sheet(**changes: Any) -> dict[str, Any]:
    """The data sheet of the H100, changed; None: without the key."""
    mapping, _ = read_mapping(shipped("chip")["h100-sxm"])
    mapping |= changes
    return {key: value for key, value in mapping.items() if value is not None}


def chip(mapping: dict[str, Any], beside: Path | None = None) -> Chip:
    return validate(Chip, assembled(mapping, "mine.yaml", Library(beside=beside)), "mine.yaml")


def error(mapping: dict[str, Any]) -> str:
    with pytest.raises(ProfileError) as caught:
        chip(mapping)
    return str(caught.value)


def test_a_data_sheet_may_take_the_factors_of_another_chip() -> None:
    mine = chip(sheet(name="h100-fast"))
    assert mine.efficiency == load_chip("h100-sxm").efficiency
    assert mine.stacks == load_chip("h100-sxm").stacks
    one = chip(sheet(stacks=["vllm"]))
    assert list(one.stacks) == ["vllm"]


def test_a_number_of_its_own_goes_before_the_factors_file() -> None:
    mine = chip(sheet(efficiency={"memory": 0.5}))
    theirs = load_chip("h100-sxm").efficiency
    assert (mine.efficiency.memory.value, mine.efficiency.memory.kind) == (0.5, "given")
    assert mine.efficiency.kv_read == theirs.kv_read


def test_stacks_by_name_by_file_and_inline(tmp_path: Path) -> None:
    own = yaml.safe_load(shipped("stack")["vllm"].read_text())
    own |= {"name": "ours", "overlap_scheduling": False}
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump(own))
    inline = read_chip("h100-sxm")[0]["stacks"]["trtllm"]
    stacks = {"vllm": "vllm", "mine": "vllm", "own": "ours.yaml", "inline": inline}
    mine = chip(sheet(stacks=stacks), tmp_path)
    h100 = load_chip("h100-sxm")
    assert mine.stacks["vllm"] == h100.stacks["vllm"]
    assert mine.stacks["inline"] == h100.stacks["trtllm"]
    assert mine.stacks["mine"].layer_overhead.value == pytest.approx(25e-6), "no factors of it"
    assert not mine.stacks["own"].overlap_scheduling
    listed = chip(sheet(stacks=["ours.yaml", "vllm"]), tmp_path)
    assert list(listed.stacks) == ["ours", "vllm"]


def test_a_stack_without_factors_has_its_priors() -> None:
    mine = chip(sheet(factors=None, efficiency=read_chip("h100-sxm")[0]["efficiency"]))
    prior = load_stack("vllm").priors.layer_overhead
    layer = mine.stacks["vllm"].layer_overhead
    assert (layer.value, layer.kind) == (prior.value, "assumed")
    assert layer.low is not None
    assert layer.high is not None
    assert log(layer.high / layer.low) == pytest.approx(2 * 1.64 * prior.spread, rel=1e-3)
    assert mine.stacks["vllm-2024"].compute is not None
    assert mine.stacks["vllm-2024"].compute.high == pytest.approx(1.0)


def test_a_chip_in_one_file_loads(tmp_path: Path) -> None:
    whole, _, _ = read_chip("b200")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(whole))
    assert load_chip(str(path)) == load_chip("b200")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"factors": "h100"}, "mine.yaml: factors: no factors of this name (got 'h100')"),
        ({"factors": 5}, "mine.yaml: factors: must be a name or a file (got 5)"),
        ({"stacks": ["vlm"]}, "mine.yaml: stacks: no stack of this name (got 'vlm'); did you mean"),
        ({"stacks": [["vllm"]]}, "mine.yaml: stacks: must be a name or a file"),
        ({"stacks": "vllm"}, "stacks: Input should be a valid dictionary"),
        ({"factors": None}, "efficiency: is missing"),
        ({"efficiency": {"memory": {"derived": {"from": "sn41l"}}}}, "no chip of this name"),
        ({"efficiency": {"warp": {"derived": {"from": "sn40l"}}}}, "sn40l has no such number"),
        ({"efficiency": {"link": {"derived": {"off": "sn40l"}}}}, "efficiency.link: from: is miss"),
    ],
    ids=str,
)
def test_what_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in error(sheet(**changes))


def test_a_number_derived_from_a_sibling() -> None:
    rule = {"from": "h200-sxm", "times": 0.5, "low": 0.25, "high": 1.1}
    mine = chip(sheet(efficiency={"link": {"derived": rule, "source": "a slower link"}}))
    theirs, found = load_chip("h200-sxm").efficiency.link, mine.efficiency.link
    assert theirs.low is not None
    assert theirs.high is not None
    assert found.kind == "assumed"
    assert found.value == pytest.approx(theirs.value / 2, rel=1e-3)
    assert found.low == pytest.approx(theirs.low / 4, rel=1e-3)
    assert found.high == pytest.approx(theirs.high * 1.1, rel=1e-3)
    assert found.source == f"0.5 x h200-sxm's {theirs.value:g} (fitted); a slower link"


def test_chips_that_derive_from_each_other(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        number = {"derived": {"from": f"{other}.yaml"}, "source": "as the other"}
        text = yaml.safe_dump(sheet(name=name, efficiency={"link": number}))
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(ProfileError, match="is derived from itself"):
        load_chip(str(tmp_path / "a.yaml"))


def test_a_resolved_scenario_names_no_part_and_repeats_the_run(tmp_path: Path) -> None:
    """A scenario with a chip of parts, inline; its results folder holds it whole."""
    mine = sheet(name="mine", stacks={"ours": "vllm"}, default_stack="ours")
    pools = {"serve": {"chip": mine, "tp": 2, "replicas": 1}}
    settings: dict[str, Any] = {
        "deployment": {"name": "own", "pools": pools},
        "arrivals.agents": 2,
        "run.trajectories": 2,
    }
    found = resolve("coding-agents", settings).mapping["deployment"]["pools"]["serve"]["chip"]
    assert "factors" not in found
    assert isinstance(found["stacks"]["ours"]["layer_overhead"], dict)
    first = gcsim.run("coding-agents", settings=settings, out=tmp_path / "out")
    again = gcsim.run(str(tmp_path / "out" / "scenario.yaml"))
    assert first.requests.equals(again.requests)
    setting = {"deployment.pools.serve.chip.efficiency.memory": 0.5}
    slower = gcsim.run("coding-agents", settings=settings | setting)
    assert slower.summary["mean_tpot_ms"] > first.summary["mean_tpot_ms"]


@pytest.mark.parametrize("name", sorted(shipped("stack")))
def test_a_stack_is_named_like_its_file_and_used(name: str) -> None:
    stack = load_stack(name)
    assert stack.name == name
    assert any(name in load_chip(each).stacks for each in shipped("chip"))
    assert stack.iteration_overhead.kind == "assumed"
