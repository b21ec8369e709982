"""Trajectories as graphs: order, contexts, critical path; gcsim.engine.session, .request."""

import toys
from hypothesis import given
from hypothesis import strategies as st

from gcsim.engine.request import COMPLETED, Context, Request
from gcsim.engine.session import PATH, Session
from gcsim.traffic.trajectory import Step, Trajectory, chain

ITERATION_S = 0.001


def serve(trajectory: Trajectory):
    what = toys.deployment({"main": {"block_tokens": 1}})
    cluster = toys.serve(what, [trajectory], costs=toys.constant_cost(ITERATION_S, what))
    requests = {row["step"]: row for row in toys.rows(cluster)}
    (task,) = toys.records(cluster.records.trajectories)
    return requests, task


def test_a_fork_waits_for_its_root_and_a_join_for_all_branches() -> None:
    steps = (
        Step(((1, 100),), 5),
        Step(((2, 10),), 50, 0.0, 0, (0,)),
        Step(((3, 10),), 5, 0.010, 0, (0,)),
        Step(((4, 10),), 3, 0.002, 0, (1, 2)),
    )
    requests, task = serve(Trajectory(0, "t", steps, 0.0))
    ends = {k: r["sent_ns"] + r["e2e_ns"] for k, r in requests.items()}
    assert requests[1]["sent_ns"] == ends[0]
    assert requests[2]["sent_ns"] == ends[0] + 10_000_000
    assert requests[3]["sent_ns"] == max(ends[1], ends[2]) + 2_000_000
    # Each branch continues the root: prompt, answer (whose last token is new) and its own part.
    assert [requests[k]["isl"] for k in (1, 2, 3)] == [100 + 4 + 10] * 3
    assert requests[2]["cached_tokens"] == 104
    # The slow branch is on the critical path, the other branch's tool time is not.
    assert task["tools_ns"] == 2_000_000
    parts = [
        task[f"{p}_ns"]
        for p in ("tools", "human", "network", "queue", "prefill", "kv_transfer", "decode")
    ]
    assert sum(parts) == task["end_ns"] - task["start_ns"] == ends[3]


def test_a_persons_gap_is_not_tool_time() -> None:
    steps = (Step(((1, 9),), 2), Step(((2, 9),), 2, 0.5, 0, (0,), human=True))
    _, task = serve(Trajectory(0, "t", steps, 0.0))
    assert (task["human_ns"], task["tools_ns"]) == (500_000_000, 0)


def test_a_step_may_keep_only_the_beginning_of_its_parent() -> None:
    steps = (Step(((1, 60), (2, 40)), 5), Step(((3, 10),), 2, 0.0, 0, (0,), keep=70))
    requests, _ = serve(Trajectory(0, "t", steps, 0.0))
    assert requests[1]["isl"] == 80
    assert requests[1]["cached_tokens"] == 70


def test_a_rejected_step_ends_the_task() -> None:
    steps = (Step(((1, 200_000),), 5), Step(((2, 10),), 5, 0.0, 0, (0,)))
    requests, task = serve(Trajectory(0, "t", steps, 0.0))
    assert list(requests) == [0]
    assert (task["status"], task["steps_done"]) == (1, 0)


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(0, 400))
def test_truncating_a_context_keeps_exactly_its_first_tokens(sizes: list[int], keep: int) -> None:
    context = Context([], 0, {})
    context.extend(tuple(enumerate(sizes)))
    whole = [(c, k) for c, n in context.spans for k in range(n)]
    fork = context.fork()
    context.truncate(keep)
    assert [(c, k) for c, n in context.spans for k in range(n)] == whole[:keep]
    assert context.tokens == min(keep, sum(sizes))
    assert fork.tokens == sum(sizes)


def test_the_way_there_and_back_is_part_of_every_step_of_a_task() -> None:
    """Three steps over a round trip of 20 ms, the second and third after a tool of 50 ms."""
    what = toys.deployment({"main": {}})
    steps = [Step(((1, 10),), 2), Step(((2, 5),), 2, 0.05), Step(((3, 5),), 2, 0.05)]
    cluster = toys.serve(what, [chain(0, "w", steps, 0.0)], round_trip_s=0.02,
                         costs=toys.constant_cost(1e-3, what))  # fmt: skip
    (task,) = toys.records(cluster.records.trajectories)
    assert task["network_ns"] == 3 * 20_000_000
    assert task["tools_ns"] == 2 * 50_000_000
    assert task["end_ns"] - task["start_ns"] == sum(task[f"{part}_ns"] for part in PATH)
    assert task["end_ns"] == 3 * (20_000_000 + 2_000_000) + 2 * 50_000_000


def test_a_join_waits_for_the_answer_that_reaches_the_client_last() -> None:
    """Which need not be the one that was ready last: its way back may be shorter."""
    sent: list[tuple[int, int]] = []
    steps = (Step(((1, 10),), 2), Step(((2, 10),), 2), Step(((3, 5),), 2, waits_for=(0, 1)))
    session = Session(Trajectory(0, "w", steps, 0.0), 0, lambda _, k, __, ns: sent.append((k, ns)))
    session.start()
    for step, client_ns in ((0, 100), (1, 60)):
        request = Request(step, session, step, Context([], 10, {}), osl=2, sent_ns=0)
        request.status = COMPLETED
        session.ended(request, client_ns, 7)
    assert sent == [(0, 0), (1, 0), (2, 100)]
