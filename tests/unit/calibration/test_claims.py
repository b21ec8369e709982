"""The ledger of claims and the search for loads: gcsim.calibration.claims, .loads."""

from math import inf

import pytest

from gcsim.calibration.claims import claims, measure, verdict_of
from gcsim.calibration.loads import FORMATS, OUTPUT, PROMPTS, lightest, played, smallest
from gcsim.calibration.report import claim_scenario, claims_rows
from gcsim.machine.machine import bind
from gcsim.profiles.library import root
from gcsim.profiles.resolve import resolve, with_settings

pytestmark = pytest.mark.slow  # `make quick` leaves it out

RACK = root() / "validation" / "claims" / "sn40l-671b.yaml"


@pytest.fixture(scope="module")
def ledger() -> list[dict[str, object]]:
    return claims()


def test_every_claim_has_a_scenario_that_anyone_can_run(ledger: list[dict[str, object]]) -> None:
    assert len(ledger) >= 12
    for claim in ledger:
        assert (root() / str(claim["scenario"])).is_file(), claim
        assert claim["source"]
        assert claim["low"] <= claim["modeled"] <= claim["high"], claim  # type: ignore[operator]
        assert claim["verdict"] in ("supported", "holds only if", "not supported")
        if claim["verdict"] == "holds only if":
            assert claim["condition"]


def test_a_rack_is_one_line_whose_settings_give_the_modeled_value(
    ledger: list[dict[str, object]],
) -> None:
    racks = [claim for claim in ledger if "rack gives" in str(claim["claim"])]
    assert [claim["claimed"] for claim in racks] == [800, 15_000]
    for claim in racks:
        settings = claim["settings"]
        assert isinstance(settings, dict)
        resolved = resolve(root() / str(claim["scenario"]), settings)
        assert measure(resolved)["tok_s_total"] == claim["modeled"]
        users = getattr(resolved.scenario.arrivals, "agents", None)
        assert f"{users:,} users of" in str(claim["condition"])
        line = claim_scenario(claim)
        assert all(f"--set {key}={value}" in line for key, value in settings.items())
        assert claims_rows([claim])[0][-1] == claim_scenario(claim)


@pytest.mark.parametrize(
    ("claimed", "condition", "verdict"),
    [(100, "", "supported"), (100, "x", "holds only if"), (300, "", "not supported")],
)
def test_verdicts(claimed: float, condition: str, verdict: str) -> None:
    assert verdict_of(claimed, 97, 90, 105, condition) == verdict


def test_the_lightest_load_reaches_the_rate_and_the_heaviest_is_what_fits() -> None:
    scenario = resolve(RACK).scenario
    light, heavy = lightest(scenario, 1e-3), lightest(scenario, inf)
    assert set(light) <= {(prompt, dtype) for prompt in PROMPTS for dtype in FORMATS}
    pool = scenario.deployment.pools["serve"]
    for key, load in heavy.items():
        laid = pool.model_copy(update={"tp": load.tp, "ep": load.ep})
        tokens = bind(scenario.model, laid, load.dtype).kv_blocks * pool.block_tokens  # type: ignore[arg-type]
        assert load.tp * load.ep == pool.tp
        assert load.users == load.most
        assert load.users // load.ep * (load.prompt + OUTPUT) <= tokens
        assert light[key].users == light[key].ep
        assert light[key].rate < load.rate
        assert lightest(scenario, load.rate * 0.99)[key].rate >= load.rate * 0.99
        assert lightest(scenario, load.rate * 1.01)[key].rate == load.rate


def test_the_engine_agrees_with_the_closed_form_and_finds_the_fewest_users() -> None:
    base = resolve(RACK)

    def play(load):  # type: ignore[no-untyped-def]
        return measure(with_settings(base, load.settings()))["tok_s_total"]

    heavy = lightest(base.scenario, inf)[PROMPTS[0], "fp8"]
    wanted = heavy.rate / 4
    load = lightest(base.scenario, wanted)[PROMPTS[0], "fp8"]
    assert play(load) == pytest.approx(load.rate, rel=0.1)
    found = played(load, wanted, play)
    assert found.rate == play(found) >= wanted
    fewer = load.settings() | {"arrivals.agents": found.users - found.ep}
    fewer["run.trajectories"] = 2 * (found.users - found.ep)
    assert measure(with_settings(base, fewer))["tok_s_total"] < wanted


def test_bisection_finds_the_first() -> None:
    for first in range(1, 12):
        assert smallest(lambda n, first=first: n >= first, 1, 11) == (first if first < 12 else None)
    assert smallest(lambda n: n > 11, 1, 11) is None
