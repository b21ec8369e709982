"""What of a run counts, and how long its load stays on: gcsim.engine.window, gcsim.engine.load."""

from dataclasses import replace
from pathlib import Path

import pytest
import toys

import gcsim
from gcsim.engine import load
from gcsim.engine.window import WARM, Part, Window
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import resolve
from gcsim.traffic.trajectory import Step, Trajectory, chain

COSTS_S = 1e-3


def agents(tasks: int, busy: int) -> list[Trajectory]:
    """A closed loop: task k is two steps with a tool of k + 1 ms between them."""
    return [
        chain(k, "w", (Step(((k, 10),), 2), Step(((k + 1000, 5),), 2, 1e-3 * (k + 1))),
              0.0 if k < busy else None)
        for k in range(tasks)
    ]  # fmt: skip


def played(window: Window, tasks: int, busy: int) -> list[dict[str, int]]:
    what = toys.deployment({"main": {}})
    costs = toys.constant_cost(COSTS_S, what)
    cluster = toys.serve(what, agents(tasks, busy), costs=costs, window=window)
    return toys.records(cluster.records.trajectories)


def test_a_closed_loop_counts_after_each_agent_has_ended_two_tasks() -> None:
    window = Window(tasks=5, warmup_ns=None)
    rows = played(window, 500, 3)
    counted = sorted(row["trajectory"] for row in rows if row["part"] == Part.COUNTED)
    first = (WARM + 1) * (3 - 1)  # 2 under way and 2 x 2 ended before it starts
    assert counted == list(range(first, first + 5))
    assert window.opened_ns > 0


def test_the_load_stays_on_until_the_last_that_counts_has_ended_and_no_longer() -> None:
    window = Window(tasks=4, warmup_ns=0)
    rows = played(window, 500, 2)
    assert all(row["status"] == 0 for row in rows if row["part"] == Part.COUNTED)
    last_ns = max(row["end_ns"] for row in rows if row["part"] == Part.COUNTED)
    assert window.latest_ns <= last_ns
    assert len(rows) == 4  # what only fills leaves no record, and 496 were not played to their end
    assert window.closed_ns <= last_ns


def test_a_window_is_open_from_its_first_nanosecond_to_before_its_last() -> None:
    window = Window(warmup_ns=5, time_ns=3)
    parts = [window.start("w", now) for now in (4, 5, 7, 8, 9)]
    assert parts == [Part.BEFORE, Part.COUNTED, Part.COUNTED, Part.AFTER, Part.AFTER]
    assert (window.opened_ns, window.closed_ns) == (5, 8)


def test_what_fills_is_felt_by_what_counts() -> None:
    """Alone at its end a task would be faster: with the load on, the last is as slow as any."""
    what = toys.deployment({"main": {"batching": {"max_seqs": 1}}})
    costs = toys.constant_cost(COSTS_S, what)
    tasks = [chain(k, "w", (Step(((k, 10),), 50),), 0.0 if k < 4 else None) for k in range(200)]
    cluster = toys.serve(what, tasks, costs=costs, window=Window(tasks=8, warmup_ns=None))
    rows = toys.records(cluster.records.trajectories)
    lasted = {r["end_ns"] - r["start_ns"] for r in rows if r["part"] == Part.COUNTED}
    assert len(rows) >= 16
    assert len(lasted) == 1


def test_a_load_that_ends_counts_all_of_it() -> None:
    rows = played(Window(), 7, 2)
    assert [row["part"] for row in rows] == [Part.COUNTED] * 7


def test_a_window_in_time_counts_what_starts_in_it() -> None:
    window = Window(tasks=None, warmup_ns=10_000_000, time_ns=20_000_000)
    rows = played(window, 400, 2)
    for row in rows:
        inside = 10_000_000 <= row["start_ns"] < 30_000_000
        assert (row["part"] == Part.COUNTED) is inside
    assert (window.opened_ns, window.closed_ns) == (10_000_000, 30_000_000)


def test_a_load_that_never_settles_is_cut() -> None:
    window = Window(tasks=2, warmup_ns=None)
    for now in range(5_000):
        window.start("w", now)
        if window.full:
            break
    assert window.opened_ns >= 0
    assert window.counted == 2
    assert now < 1_000
    assert load.Load.draw.__doc__


@pytest.mark.slow
def test_three_hundred_agents_are_three_hundred() -> None:
    base = resolve("coding-agents", {"arrivals.agents": 300})
    assert base.scenario.tasks == 1200
    few = {"arrivals.agents": 30, "run.trajectories": 8, "run.warmup": "0 s"}
    tasks = gcsim.run("coding-agents", settings=few).trajectories
    assert (tasks["start_s"] == 0).sum() == 8  # those that count; 22 more only fill
    warm = gcsim.run("coding-agents", settings={**few, "run.warmup": "1 s"}).trajectories
    assert (warm["start_s"] == 0).sum() == 30


def test_more_agents_than_a_trace_has_sessions_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"timestamp": 0, "input_length": 9, "output_length": 2}\n' * 5)
    settings = {"workload.trace.path": str(file), "arrivals": {"process": "closed", "agents": 6}}
    with pytest.raises(ProfileError, match=r"arrivals\.agents: is more than the 5 tasks") as found:
        gcsim.run("mooncake-replay", settings=settings)
    assert "give at most 5" in str(found.value)
    settings["arrivals"] = {"process": "closed", "agents": 5}
    assert gcsim.run("mooncake-replay", settings=settings).summary["trajectories"] == 5


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"run.horizon": "10 s", "run.warmup": "10 s"}, "run.horizon"),
        ({"arrivals": {"process": "static"}, "run.warmup": "1 s"}, "run.warmup"),
        ({"arrivals": {"process": "static"}, "run.time": "1 s"}, "run.time"),
    ],
)
def test_settings_that_contradict_each_other_are_errors(
    settings: dict[str, object], field: str
) -> None:
    with pytest.raises(ProfileError) as found:
        resolve("coding-agents", settings)
    assert [problem.field for problem in found.value.problems] == [field]


def test_what_is_entered_midway_never_counts_and_its_first_answers_open_the_window() -> None:
    """Three agents, of which the first answers end at 1, 2 and 4 ms: the next task to start counts.

    A time that is given for the warm-up holds as always, and what is entered counts in no case.
    """
    what = toys.deployment({"main": {}})
    tasks = [
        replace(chain(k, "w", [Step(((k, 10),), osl), Step(((k + 50, 5),), 2, 0.1)], start_s),
                entered=k < 3)
        for k, (osl, start_s) in enumerate([(1, 0.0), (2, 0.0), (4, 0.0), *[(1, None)] * 6])
    ]  # fmt: skip
    for warmup_ns, opened_ns in ((None, 4_000_000), (0, 0), (150_000_000, 150_000_000)):
        window = Window(tasks=2, warmup_ns=warmup_ns, agents=3, midway=True)
        costs = toys.constant_cost(COSTS_S, what)
        cluster = toys.serve(what, tasks, costs=costs, window=window)
        rows = toys.records(cluster.records.trajectories)
        assert window.opened_ns == opened_ns
        before = [row["trajectory"] for row in rows if row["part"] == Part.BEFORE]
        assert before[:3] == [0, 1, 2]
        assert sum(row["part"] == Part.COUNTED for row in rows) == 2


def test_a_trace_has_a_whole_task_for_those_that_enter_midway(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    rows = "".join(f"{k},10,{2 + k}\n" for k in range(4))
    trace.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + rows)
    workload = {"name": "t", "trace": {"path": str(trace)}}
    arrivals = {"process": "closed", "agents": 4, "start": "midway"}
    overrides = {"workload": workload, "arrivals": arrivals}
    with pytest.raises(ProfileError, match=r"leaves no whole task of the 4 .* give at most 3"):
        gcsim.run("chatbot", settings=overrides)
    found = gcsim.run("chatbot", settings={**overrides, "arrivals": {**arrivals, "agents": 3}})
    assert found.trajectories["counted"].tolist() == [False, False, False, True]


@pytest.mark.parametrize("tasks", [2, 10, 100])
@pytest.mark.slow
def test_few_tasks_of_many_agents_count_under_their_whole_load(tasks: int) -> None:
    """40 agents, however few tasks count: the first of each is left out, and the load stays on.

    Tasks last 2 to 8 ms, each tenth 200 ms more: while it ends others begin anew all the time.
    """
    what = toys.deployment({"main": {"batching": {"max_seqs": 64}}})
    load = [chain(k, "w", [Step(((k, 10),), 2 + k % 7 + 200 * (k % 10 == 9))],
                  0.0 if k < 40 else None) for k in range(100_000)]  # fmt: skip
    window = Window(tasks, None, agents=40)
    cluster = toys.serve(what, load, costs=toys.constant_cost(COSTS_S, what), window=window)
    rows = toys.records(cluster.records.trajectories)
    counted = [row for row in rows if row["part"] == Part.COUNTED]
    assert len(counted) == tasks
    assert min(row["trajectory"] for row in counted) >= 80
    last_ns = max(row["end_ns"] for row in counted)
    assert last_ns - 5_000_000 < window.latest_ns <= last_ns
