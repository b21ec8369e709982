"""Steps that wait for tools on CPUs: what is a call, where its time goes; gcsim.engine.tools."""

from typing import Any

import pytest
import toys

from gcsim.engine.cluster import Cluster
from gcsim.engine.session import PATH
from gcsim.traffic.trajectory import Step, Trajectory

MS = 1_000_000
FIRST = Step(((1, 9),), 2)


def play(*tasks: tuple[Step, ...], tools: Any = None, **how: Any) -> Cluster:
    """Tasks that start together, on iterations of 1 ms."""
    pools = {"main": {}} | ({"tools": tools} if tools else {})
    what = toys.deployment(pools)
    trajectories = [Trajectory(k, "t", steps, 0.0) for k, steps in enumerate(tasks)]
    return toys.serve(what, trajectories, costs=toys.constant_cost(0.001, what), **how)


def after(delay_s: float, **more: Any) -> Step:
    return Step(((2, 9),), 2, delay_s, 0, (0,), **more)


def tasks(cluster: Cluster) -> list[dict[str, int]]:
    found = toys.records(cluster.records.trajectories)
    for task in found:
        assert sum(task[f"{part}_ns"] for part in PATH) == task["end_ns"] - task["start_ns"]
    return found


def test_calls_queue_for_a_core_and_the_path_says_so() -> None:
    one = (FIRST, after(0.010))
    first, second = tasks(play(one, one, tools=toys.tool_pool(1)))
    assert (first["tools_ns"], first["tool_queue_ns"]) == (10 * MS, 0)
    assert (second["tools_ns"], second["tool_queue_ns"]) == (10 * MS, 10 * MS)
    for task in tasks(play(one, one, tools=toys.tool_pool(2))):
        assert (task["tools_ns"], task["tool_queue_ns"]) == (10 * MS, 0)


def test_only_the_cpu_share_needs_a_core() -> None:
    one = (FIRST, after(0.010))
    tools = toys.tool_pool(1, cpu_share=0.3)
    assert [t["tool_queue_ns"] for t in tasks(play(one, one, tools=tools))] == [0, 3 * MS]
    held = toys.tool_pool(1, cpu_share=0.3, sandbox_memory="60 GB")  # of 100 GB
    assert [t["tool_queue_ns"] for t in tasks(play(one, one, tools=held))] == [0, 10 * MS]


def test_a_sandbox_starts_on_the_cores_of_its_call() -> None:
    one = (FIRST, after(0.010))
    tools = toys.tool_pool(1, cpu_share=0.5, sandbox_start="2 ms")
    first, second = tasks(play(one, one, tools=tools))
    assert first["tools_ns"] == second["tools_ns"] == 12 * MS
    assert second["tool_queue_ns"] == 7 * MS


def test_of_several_calls_the_last_to_end_counts() -> None:
    one = (FIRST, after(0.010, calls=(0.004, 0.010, 0.003)))
    (task,) = tasks(play(one, tools=toys.tool_pool(1)))
    assert (task["tools_ns"], task["tool_queue_ns"]) == (3 * MS, 14 * MS)
    (task,) = tasks(play(one, tools=toys.tool_pool(3)))
    assert (task["tools_ns"], task["tool_queue_ns"]) == (10 * MS, 0)


@pytest.mark.parametrize("step", [after(0.010, human=True), after(0.0), Step(((2, 9),), 2, 0.010)])
def test_people_first_steps_and_no_time_are_no_calls(step: Step) -> None:
    cluster = play((FIRST, step), tools=toys.tool_pool(1, sandbox_start="1 s"))
    assert cluster.tools is not None
    assert not cluster.tools.made
    plain = play((FIRST, step))
    assert cluster.records.requests.tobytes() == plain.records.requests.tobytes()
    assert cluster.records.trajectories.tobytes() == plain.records.trajectories.tobytes()


def test_with_endless_cores_nothing_changes() -> None:
    """A pool in which nobody waits, and whose sandboxes start at once, is no pool."""
    one = (FIRST, after(0.010, calls=(0.004, 0.010)), Step(((3, 9),), 2, 0.2, 1, (1,)))
    there, none = play(one, one, one, tools=toys.tool_pool(1000)), play(one, one, one)
    assert there.records.requests.tobytes() == none.records.requests.tobytes()
    assert there.records.trajectories.tobytes() == none.records.trajectories.tobytes()
    assert len(there.records.tool_calls) == 9


def test_who_waits_at_the_horizon_is_unfinished() -> None:
    one = (FIRST, after(1.0))
    cluster = play(one, one, tools=toys.tool_pool(1), horizon_s=0.5)
    assert [t["steps_done"] for t in toys.records(cluster.records.trajectories)] == [1, 1]
    assert cluster.tools is not None
    assert (len(cluster.tools.queue.waiting), cluster.tools.queue.running) == (1, 1)
