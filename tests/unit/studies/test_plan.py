"""Bounds, floors and the search of a plan; `tests/property/test_plan.py` has the enumeration."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

import gcsim
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import resolve
from gcsim.profiles.site import load_site
from gcsim.studies import plan
from gcsim.studies.layouts import chips_of, demand_of, floor, layouts, tasks_per_s
from gcsim.studies.plan import Terms
from gcsim.studies.plan_question import Found, Player, Question, Unit
from gcsim.studies.plan_search import search
from gcsim.studies.slo import Bound, parse_slo, verdict

BASE = resolve("coding-agents")
RENTED = load_site("rented")
QUICK = Terms(pairs=False, robustness=False)


def summary(**changes: Any) -> dict[str, Any]:
    found = {"rejected": 0, "unfinished": 0, "completed": 100, "saturated": False}
    return {**found, "p95_ttft_ms": 900.0, "mean_tpot_ms": 12.0, **changes}


def test_a_bound_is_kept_when_the_end_of_its_interval_is() -> None:
    bounds = parse_slo("ttft:p95<1s tpot:mean<15ms")
    assert verdict(summary(), bounds).holds
    found = verdict(summary(ci95_p95_ttft_ms=[800, 1100]), bounds)
    assert not found.holds
    assert found.binds == "p95 TTFT < 1 s: 900 ms (up to 1.1 s)"
    assert found.room == pytest.approx(-0.1)


@pytest.mark.parametrize("changes", [{"saturated": True}, {"rejected": 6}, {"unfinished": 6}])
def test_a_run_without_times_keeps_nothing(changes: dict[str, Any]) -> None:
    assert not verdict(summary(**changes), parse_slo("ttft:p95<1h")).holds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ttft:p96<2s", "there is no statistic 'p96'"),
        ("tfft<2s", "there is no time 'tfft'"),
        ("ttft<2", "has no unit"),
        ("ttft=2s", "is no bound"),
        ("ttft<0 s", "must be above 0"),
        ("", "has no bounds"),
    ],
)
def test_what_is_no_bound_is_said(text: str, why: str) -> None:
    with pytest.raises(ProfileError, match=why):
        parse_slo(text)


def test_every_wrong_bound_is_said_at_once() -> None:
    with pytest.raises(ProfileError) as error:
        parse_slo("tfft<2s, tpot:p12<3ms")
    assert len(error.value.problems) == 2


def test_demand_counts_what_agents_send() -> None:
    """Steps are lognormal; what tools append is computed, what went before is read."""
    found = demand_of(BASE.scenario)
    assert found.steps == pytest.approx(37, rel=0.15)  # lognormal, median 33, sigma 0.5
    assert found.longest <= 131_072
    fewer = demand_of(resolve("chatbot").scenario)
    assert fewer.new < found.new


@pytest.mark.slow
def test_floors_lie_below_what_is_played() -> None:
    chip = chips_of(["h200-sxm"])[0]
    asked = Question(BASE, "agents", 8, (), "cost", RENTED)
    demand = demand_of(BASE.scenario)
    for layout in layouts(BASE.scenario, chip, "mixed", RENTED)[0][:3]:
        low = floor(layout, demand, ())
        played = Player(asked, Found("")).whole(Unit((layout,), (1,))).summary
        assert low.task_s * 0.9 < played["mean_task_ms"] * 1e-3
        assert played["task_throughput"] <= 1.1 / low.busy_s


def test_agents_ask_for_so_many_tasks_as_their_bounds_allow() -> None:
    """Little's law: 100 agents, a task of at most 50 s."""
    demand = demand_of(BASE.scenario)
    bounds = (Bound("task", "p95", 5000.0),)
    assert tasks_per_s(100, demand, bounds, 600.0) == pytest.approx(0.02)


def test_a_layout_that_a_lone_request_breaks_is_not_played() -> None:
    asked = Question(BASE, "agents", 8, parse_slo("tpot:mean<1ms"), "cost", RENTED)
    found = search(asked, chips_of(["h200-sxm"]))
    assert found.best is None
    assert not found.trials
    assert "a sequence alone takes" in found.whys[0]


def test_a_slice_has_the_whole_loads_proportions() -> None:
    chip = chips_of(["h200-sxm"])[0]
    one = layouts(BASE.scenario, chip, "mixed", RENTED)[0][0]
    asked = Question(BASE, "agents", 1000, (), "cost", RENTED)
    unit, load = Player.slice_of(asked, Unit((one,), (50,)))
    assert load / unit.replicas[0] == pytest.approx(20, rel=0.05)
    assert load < 100
    assert Player.slice_of(asked, Unit((one,), (1,))) == (Unit((one,), (1,)), 1000)


@pytest.mark.slow
def test_the_answer_runs_as_it_is_written(tmp_path: Any) -> None:
    found = gcsim.plan("coding-agents", 4, "tpot:mean<40ms", chips=["h200-sxm"], terms=QUICK)
    assert found.answer is not None
    file = tmp_path / "planned.yaml"
    file.write_text(found.deployment_yaml())
    again = gcsim.run(
        "coding-agents", settings={"deployment": str(file), "arrivals.agents": 4}
    ).summary
    assert again["mean_tpot_ms"] < 40
    made = json.loads(found.to_json())
    assert made["holds"] is True
    assert made["families"][0]["family"] == "h200-sxm"


@pytest.mark.slow
def test_nothing_that_holds_is_answered_with_the_nearest_miss() -> None:
    found = gcsim.plan("coding-agents", 4, "ttft:p95<60ms", chips=["h200-sxm"], terms=QUICK)
    assert found.answer is None
    assert found.sentence.startswith("Nothing that was tried serves 4 agents")


@pytest.mark.slow
def test_the_answer_does_not_depend_on_the_processes() -> None:
    kind = {"chips": ["h200-sxm", "mi300x"], "terms": Terms(robustness=False)}
    one, two = (
        gcsim.plan("coding-agents", 4, "tpot:mean<30ms", jobs=jobs, **kind) for jobs in (1, 2)
    )
    assert one.to_json() == two.to_json()


def test_a_plan_says_what_its_drafts_take_for_granted() -> None:
    """A drafter has no chance of its own: what is published of it."""
    pool = {"speculation": {"draft_tokens": 3, "acceptance": 0.7, "draft_cost": 0.1}}
    other = {"speculation": {"draft_tokens": 3, "drafter": "mtp"}}
    units: Any = [SimpleNamespace(layouts=[SimpleNamespace(pool=of)]) for of in (pool, other, {})]
    said = [plan._drafts(unit) for unit in units]
    assert said[0].endswith("accepted with a chance of 0.7.")
    assert said[1].endswith("accepted as published of mtp.")
    assert said[2] == ""
