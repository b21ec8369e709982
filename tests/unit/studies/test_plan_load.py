"""A plan over load: what a buyer takes from its table must hold."""

from typing import Any

import pytest

import gcsim
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import Resolved, resolve, with_settings
from gcsim.studies.plan import Terms
from gcsim.studies.plan_load import PlanOverLoad, plan_over_load
from gcsim.studies.plan_question import Found
from gcsim.studies.plan_search import search

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


@pytest.fixture(scope="module")
def found() -> PlanOverLoad:
    return plan_over_load(small(), LOADS, SLO, chips=CHIPS, terms=Terms(pairs=False), jobs=1)


def test_more_agents_never_need_fewer_chips(found: PlanOverLoad) -> None:
    for chip in CHIPS:
        mine = found.table[found.table["family"] == chip].sort_values("load")
        assert mine["chips"].is_monotonic_increasing
        assert mine["chips"].iloc[-1] > mine["chips"].iloc[0]


def test_the_range_holds_the_value_and_moves_with_what_is_assumed(found: PlanOverLoad) -> None:
    for one in found.served:
        low, high = one.ends
        assert low <= one.usd_per_task() <= high
        assert one.slow is not None
        assert one.fast is not None
        slow, fast = one.usd_per_task("slow"), one.usd_per_task("fast")
        assert fast <= one.usd_per_task() * 1.02  # a slower machine has its agents wait longer
        assert slow >= one.usd_per_task() * 0.98
    widest = {
        chip: max(one.ends[1] / one.ends[0] for one in found.served if one.family == chip)
        for chip in CHIPS
    }
    assert widest["sn50"] > widest["h100-sxm"] > 1  # every efficiency of SN50 is assumed


def test_an_answer_is_that_of_a_plan_at_its_load(found: PlanOverLoad) -> None:
    for load in LOADS:
        alone = gcsim.plan(small(), load, SLO, chips=CHIPS, terms=QUICK, jobs=1)
        assert alone.answer is not None
        assert alone.answer.best is not None
        cheapest = min(
            (one.best.best for one in found.at(load) if one.best.best is not None),
            key=lambda unit: unit.usd_per_hour,
        )
        # A plan plays its answer with all agents at last: a replica more or less.
        more = alone.answer.best.replicas[0] - cheapest.replicas[0]
        assert alone.answer.best.layouts[0].name == cheapest.layouts[0].name
        assert abs(more) <= (load == LOADS[-1])


def test_per_chip_kw_and_dollar_are_of_the_same_deployment(found: PlanOverLoad) -> None:
    for row in found.to_dict()["families"]:
        assert row["load_per_chip"] * row["chips"] == pytest.approx(row["load"])
        assert row["load_per_kw"] * row["power_w"] == pytest.approx(row["load"] * 1e3)
        assert row["load_per_usd_per_hour"] * row["usd_per_hour"] == pytest.approx(row["load"])
    first = found.served[0]
    trial = first.best.trial
    assert trial is not None
    hours = 1 / (trial.summary["task_throughput"] * 3600)
    assert first.usd_per_task() == pytest.approx(hours * trial.unit.usd_per_hour)


def test_rivals_are_those_whose_range_begins_below_the_firsts_end(found: PlanOverLoad) -> None:
    for load in found.loads:
        first, *others = found.at(load)
        assert all(first.usd_per_task() <= one.usd_per_task() for one in others)
        rivals = [one.family for one in found.rivals(load)]
        assert rivals == [one.family for one in others if one.ends[0] < first.ends[1]]


def test_the_table_does_not_depend_on_the_processes() -> None:
    one, two = (
        plan_over_load(small(), [2, 12], SLO, chips=CHIPS, terms=QUICK, jobs=jobs)
        for jobs in (1, 2)
    )
    assert one.to_json() == two.to_json()


def test_runs_that_are_known_are_not_played_again() -> None:
    asked = plan_over_load(small(), [12], SLO, chips=["h100-sxm"], terms=QUICK, jobs=1)
    chips = _chips(asked)
    first = search(asked.question, chips)
    again = search(asked.question, chips, known=first.trials)
    assert str(again.best) == str(first.best)
    assert len(again.trials) == len(first.trials) > 0
    assert again.before == len(first.trials)


def test_an_slo_that_nothing_keeps_says_why() -> None:
    found = plan_over_load(small(), [2], "tpot:mean<1us", chips=["sn50"], terms=Terms(pairs=False))
    (one,) = found.served
    assert one.best.best is None
    assert "a sequence alone takes" in one.why
    assert found.to_dict()["families"][0]["usd_per_task"] is None


@pytest.mark.parametrize("loads", [[0], [1.5], [], ["many"]])
def test_loads_that_are_none_are_refused(loads: list[Any]) -> None:
    with pytest.raises(ProfileError, match="load"):
        plan_over_load(small(), loads, SLO, chips=["sn50"], terms=QUICK)


def _chips(asked: PlanOverLoad) -> list[Any]:
    from gcsim.studies.layouts import chips_of

    assert isinstance(asked.served[0].best, Found)
    return list(chips_of(["h100-sxm"]).values())
