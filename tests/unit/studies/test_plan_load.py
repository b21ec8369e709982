"""A plan over load: what a buyer takes from its table must hold."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gcsim
from gcsim.errors import ProfileError
from gcsim.profiles.chip import Chip
from gcsim.profiles.resolve import Resolved, resolve, with_settings
from gcsim.studies.layouts import chips_of, demand_of, floor, layouts
from gcsim.studies.plan import Terms
from gcsim.studies.plan_load import PlanOverLoad, plan_over_load
from gcsim.studies.plan_question import Found, Player, Unit
from gcsim.studies.plan_search import search
from gcsim.studies.slo import parse_slo

pytestmark = pytest.mark.slow  # most of these play runs

SLO = "tpot:mean<14ms ttft:p95<2s"
LOADS = [2, 12, 48]
CHIPS = ["h100-sxm", "sn50"]
QUICK = Terms(pairs=False, robustness=False)


def small(**settings: Any) -> Resolved:
    """Short tasks of a small model: a run takes a tenth of a second."""
    agent = {
        "shared": 1000,
        "first": 2000,
        "steps": 3,
        "output": {"dist": "lognormal", "median": 100, "sigma": 0.5, "high": 400},
        "tools": {"append": 500, "delay": "0.5 s"},
    }
    base = resolve("coding-agents", {"model": "gpt-oss-20b", **settings})
    return with_settings(base, {"workload": {"name": "small", "agent": agent}})


def _chip(name: str) -> Chip:
    return chips_of([name])[0]


@pytest.fixture(scope="module")
def found() -> PlanOverLoad:
    return plan_over_load(small(), LOADS, SLO, chips=CHIPS, terms=Terms(pairs=False), jobs=1)


@pytest.mark.slow
def test_more_agents_never_need_fewer_chips(found: PlanOverLoad) -> None:
    for chip in CHIPS:
        mine = found.table[found.table["family"] == chip].sort_values("load")
        assert mine["chips"].is_monotonic_increasing
        assert mine["chips"].iloc[-1] > mine["chips"].iloc[0]


def test_the_range_holds_the_value_and_moves_with_what_is_assumed(found: PlanOverLoad) -> None:
    for one in found.served:
        low, high = one.ends
        assert low <= one.usd_per_hour <= high
        assert one.slow is not None
        assert one.fast is not None
        assert one.best.best is not None
        units = [end.best for end in (one.fast, one.slow)]
        assert units[0] is not None
        assert units[0].chips <= one.best.best.chips
        assert units[1] is None or units[1].chips >= one.best.best.chips
    widest = {
        chip: max(one.ends[1] / one.ends[0] for one in found.served if one.family == chip)
        for chip in CHIPS
    }
    assert widest["sn50"] > max(widest["h100-sxm"], 1.2)  # every efficiency of SN50 is assumed


@pytest.mark.slow
def test_an_answer_is_that_of_a_plan_at_its_load(found: PlanOverLoad) -> None:
    for load in LOADS:
        alone = gcsim.plan(small(), load, SLO, chips=CHIPS, terms=QUICK, jobs=1)
        rows = [(one.family, str(one.best), one.sliced) for one in alone.families]
        mine = [(one.family, str(one.best.best), one.best.sliced) for one in found.at(load)]
        assert rows == mine
        assert alone.answer is alone.families[0]


def test_per_chip_kw_and_dollar_are_of_the_same_deployment(found: PlanOverLoad) -> None:
    for row in found.to_dict()["families"]:
        assert row["load_per_chip"] * row["chips"] == pytest.approx(row["load"])
        assert row["load_per_kw"] * row["power_w"] == pytest.approx(row["load"] * 1e3)
        assert row["load_per_usd_per_hour"] * row["usd_per_hour"] == pytest.approx(row["load"])


def test_rivals_are_those_whose_range_begins_below_the_firsts_end(found: PlanOverLoad) -> None:
    first, second = found.at(found.loads[-1])
    assert first.usd_per_hour < second.usd_per_hour
    wide = replace(first, slow=second.best, fast=None)
    sharp = replace(second, slow=None, fast=None)
    told = {
        "the end of one is the begin of the other": (wide, sharp, []),
        "both may cost what the first does": (wide, replace(sharp, fast=first.best), ["sn50"]),
        "the first has no range": (replace(wide, slow=None), replace(sharp, fast=first.best), []),
    }
    for one, other, rivals in told.values():
        assert other.family == "sn50"
        made = replace(found, served=(one, other))
        assert [rival.family for rival in made.rivals(one.load)] == rivals


@pytest.mark.slow
def test_the_table_does_not_depend_on_the_processes() -> None:
    one, two = (
        plan_over_load(small(), [2, 12], SLO, chips=CHIPS, terms=QUICK, jobs=jobs)
        for jobs in (1, 2)
    )
    assert one.to_json() == two.to_json()


def test_runs_that_are_known_are_not_played_again() -> None:
    asked = plan_over_load(small(), [12], SLO, chips=["h100-sxm"], terms=QUICK, jobs=1)
    chips = [_chip("h100-sxm")]
    first = search(asked.question, chips)
    again = search(asked.question, chips, known=first.trials)
    assert str(again.best) == str(first.best)
    assert len(again.trials) == len(first.trials) == first.runs > 0
    assert again.runs == 0


def test_an_slo_that_nothing_keeps_says_why() -> None:
    found = plan_over_load(small(), [2], "tpot:mean<1us", chips=["sn50"], terms=Terms(pairs=False))
    (one,) = found.served
    assert one.best.best is None
    assert "a sequence alone takes" in one.why
    assert found.to_dict()["families"][0]["usd_per_hour"] is None


@pytest.mark.parametrize("loads", [[0], [1.5], [], ["many"]])
def test_loads_that_are_none_are_refused(loads: list[Any]) -> None:
    with pytest.raises(ProfileError, match="load"):
        plan_over_load(small(), loads, SLO, chips=["sn50"], terms=QUICK)


def test_pairs_are_those_that_are_named(found: PlanOverLoad) -> None:
    named = ["h100-sxm", "sn50+h100-sxm"]
    pair = plan_over_load(small(), [2], SLO, chips=named, terms=Terms(robustness=False), jobs=1)
    assert {one.family for one in pair.served} == {"h100-sxm", "sn50 + h100-sxm"}
    unit = next(one.best.best for one in pair.served if "+" in one.family)
    assert unit is not None
    assert [layout.pool["role"] for layout in unit.layouts] == ["prefill", "decode"]
    with pytest.raises(ProfileError, match="is no pair"):
        plan_over_load(small(), [2], SLO, chips=["sn50+sn50+sn50"], terms=QUICK)


def test_chips_of_a_library_may_be_planned_with(tmp_path: Path) -> None:
    folder = tmp_path / "hardware_profiles" / "chips"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "base: sn50\nname: mine\nprice: {usd_per_chip_hour: 1 USD/h}\n"
    )
    base = gcsim.load("coding-agents", library=tmp_path)
    asked = with_settings(base, {"model": "gpt-oss-20b", "workload": small().mapping["workload"]})
    (one,) = plan_over_load(asked, [2], SLO, chips=["mine"], terms=QUICK, jobs=1).served
    assert one.best.best is not None
    assert one.usd_per_hour == pytest.approx(one.best.best.chips)


def test_as_many_tasks_count_as_the_scenario_says() -> None:
    few = plan_over_load(
        small(**{"run.trajectories": 20}), [2], SLO, chips=["h100-sxm"], terms=QUICK, jobs=1
    )
    trial = few.served[0].best.trial
    assert trial is not None
    assert trial.summary["completed"] == 20 * 3


@pytest.mark.slow
def test_what_a_tail_bound_discards_breaks_it_alone() -> None:
    """One prompt in twenty has so much to compute; the mean one would keep the bound."""
    base = resolve("coding-agents", {"run.trajectories": 16})
    demand, chip = demand_of(base.scenario), _chip("sn40l")
    asked = plan_over_load(base, [1], "ttft:p95<2s", chips=["sn40l"], terms=QUICK, jobs=1).question
    made = layouts(base.scenario, chip, "mixed", asked.site)[0]
    layout = next(one for one in made if one.name == "sn40l tp 1")
    assert not floor(layout, demand, parse_slo("ttft:mean<2s")).why
    assert floor(layout, demand, parse_slo("ttft:p95<2s")).why.startswith("TTFT")
    played = Player(asked, Found("")).at(Unit((layout,), (1,)), 1).summary
    assert played["p95_ttft_ms"] > 2000
