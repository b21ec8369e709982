"""Who is served when, seen from outside: gcsim.engine.batching, gcsim.engine.router,
gcsim.engine.replica, gcsim.engine.group, gcsim.engine.cluster, gcsim.engine.records,
gcsim.engine.play."""

from types import SimpleNamespace
from typing import Any

import pytest
import toys
from toys import rows

from gcsim.engine.batching import POLICIES as BATCHING
from gcsim.engine.cluster import Cluster
from gcsim.engine.router import POLICIES as ROUTING
from gcsim.engine.router import State
from gcsim.errors import ProfileError
from gcsim.traffic.trajectory import Step, Trajectory, chain

STEP_NS = 1_000_000  # every iteration takes 1 ms here


def play(trajectories: list[Trajectory], coalesce: bool = True, **pool: Any) -> Cluster:
    router = pool.pop("router", "round_robin")
    what = toys.deployment({"main": pool}, router={"policy": router})
    costs = toys.constant_cost(STEP_NS * 1e-9, what)
    return toys.serve(what, trajectories, coalesce=coalesce, costs=costs)


def test_one_request_takes_one_iteration_per_chunk_and_per_further_token() -> None:
    batching = {"max_iteration_tokens": 1000}
    (row,) = rows(play([toys.one_step(0, 2500, 10)], batching=batching))
    assert row["ttft_ns"] == row["prefill_ns"] == 3 * STEP_NS
    assert row["decode_ns"] == 9 * STEP_NS
    assert row["e2e_ns"] == 12 * STEP_NS


def test_an_arrival_joins_at_the_next_boundary_and_at_a_tie_at_once() -> None:
    late = 0.0105 - 1e-9
    tasks = [
        toys.one_step(0, 10, 100),
        toys.one_step(1, 10, 1, late),
        toys.one_step(2, 10, 1, 0.012),
    ]
    _, between, tie = rows(play(tasks))
    assert between["queue_ns"] == 11 * STEP_NS - round(late * 1e9)
    assert tie["queue_ns"] == 0, "what arrives exactly at a boundary is part of the next batch"


def ahead(overlap: bool) -> dict[str, Any]:
    stack = {**toys.NO_TIMES, "overlap_scheduling": overlap}
    return {"chip": toys.chip(stacks={"none": stack})}


@pytest.mark.parametrize("coalesce", [True, False])
def test_a_scheduler_that_is_ahead_takes_newcomers_one_iteration_later(coalesce: bool) -> None:
    tasks = [
        toys.one_step(0, 10, 100),
        toys.one_step(1, 10, 1, 0.0105),  # while an iteration runs, and the next one is fixed
        toys.one_step(2, 10, 1, 0.02),  # just when one starts: its successor is not fixed yet
        toys.one_step(3, 10, 1, 0.2),  # the replica is idle
    ]
    at_once = rows(play(tasks, coalesce, **ahead(False)))
    later = rows(play(tasks, coalesce, **ahead(True)))
    assert [row["queue_ns"] for row in at_once] == [0, STEP_NS // 2, 0, 0]
    assert [row["queue_ns"] for row in later] == [0, STEP_NS // 2 + STEP_NS, STEP_NS, 0]


@pytest.mark.parametrize("coalesce", [True, False])
def test_who_comes_while_a_prompt_runs_waits_one_iteration_more_and_no_longer(
    coalesce: bool,
) -> None:
    tasks = [
        toys.one_step(0, 10, 100),
        toys.one_step(1, 10, 1, 0.01),  # its prompt is computed in the iteration from 11 ms on
        toys.one_step(2, 10, 1, 0.0115),  # decode alone follows, then it
    ]
    *_, last = rows(play(tasks, coalesce, **ahead(True)))
    assert last["queue_ns"] == 13 * STEP_NS - 11_500_000


def test_nobody_waits_for_a_scheduler_that_is_ahead_of_nothing() -> None:
    tasks = [toys.one_step(0, 10, 1), toys.one_step(1, 10, 1, 0.0005)]
    _, second = rows(play(tasks, **ahead(True)))
    assert second["queue_ns"] == STEP_NS // 2


def test_continuous_mixes_and_prefill_first_holds_decode_up() -> None:
    tasks = [toys.one_step(0, 10, 20), toys.one_step(1, 4000, 1, 0.0055)]
    limits = {"max_iteration_tokens": 1000}
    mixed, _ = rows(play(tasks, batching={"policy": "continuous", **limits}))
    held, _ = rows(play(tasks, batching={"policy": "prefill_first", **limits}))
    assert mixed["decode_ns"] == 19 * STEP_NS
    assert held["decode_ns"] == (19 + 4) * STEP_NS


def test_gaps_between_tokens_include_the_wait_for_prompts() -> None:
    tasks = [toys.one_step(0, 10, 20), toys.one_step(1, 4000, 1, 0.0055)]
    limits = {"policy": "prefill_first", "max_iteration_tokens": 1000}
    gaps = play(tasks, batching=limits).replicas[0].meter.gaps
    from gcsim.machine.roofline import gap_bin

    assert gaps.sum() == 19
    assert gaps[gap_bin(STEP_NS)] == 18
    assert gaps[gap_bin(5 * STEP_NS)] == 1


def test_static_starts_the_next_batch_when_the_last_has_ended() -> None:
    tasks = [toys.one_step(k, 10, 5 + 5 * (k == 0)) for k in range(4)]
    served = rows(play(tasks, batching={"policy": "static", "max_seqs": 2}))
    assert [row["queue_ns"] // STEP_NS for row in served] == [0, 0, 10, 10]


def test_the_latest_admitted_is_preempted_and_computed_again() -> None:
    tasks = [toys.one_step(k, 100, 60) for k in range(2)]
    cluster = play(tasks, kv_tokens=256, prefix_cache_tokens=0)
    first, second = rows(cluster)
    assert (first["preemptions"], second["preemptions"]) == (0, 1)
    assert first["e2e_ns"] == 60 * STEP_NS
    assert second["e2e_ns"] == second["queue_ns"] + second["prefill_ns"] + second["decode_ns"]
    # 29 tokens fit beside each other; the 30th needs a 17th block. After the wait one iteration
    # computes prompt and answer so far again, and gives the next token.
    assert second["queue_ns"] == 31 * STEP_NS
    assert second["prefill_ns"] == 2 * STEP_NS


@pytest.mark.parametrize(
    ("isl", "osl", "reason"),
    [(5000, 5, "kv_capacity"), (100_000, 5, "context_window"), (900, 400, "kv_capacity")],
)
def test_what_can_never_fit_is_rejected_with_a_reason(isl: int, osl: int, reason: str) -> None:
    tasks = [toys.one_step(0, isl, osl), toys.one_step(1, 100, 5, 0.5)]
    cluster = play(tasks, kv_tokens=1000)
    refused, served = rows(cluster)
    statuses, reasons = cluster.records.statuses.texts, cluster.records.reasons.texts
    assert (statuses[refused["status"]], reasons[refused["reason"]]) == ("rejected", reason)
    assert statuses[served["status"]] == "completed"


def test_an_answer_is_cut_at_the_context_window() -> None:
    (row,) = rows(play([toys.one_step(0, 99_990, 500)]))
    assert row["osl"] == 10


@pytest.mark.parametrize("policy", ROUTING)
def test_every_router_serves_everything(policy: str) -> None:
    tasks = [toys.one_step(k, 100, 20, 0.001 * k) for k in range(12)]
    served = rows(play(tasks, replicas=3, router=policy))
    assert {row["status"] for row in served} == {0}


def test_round_robin_takes_turns() -> None:
    tasks = [toys.one_step(k, 100, 20, 0.001 * k) for k in range(6)]
    assert [r["replica"] for r in rows(play(tasks, replicas=3))] == [0, 1, 2, 0, 1, 2]


def test_least_loaded_avoids_the_busy_replica() -> None:
    tasks = [
        toys.one_step(0, 100, 500),
        toys.one_step(1, 100, 2, 0.001),
        toys.one_step(2, 100, 2, 0.1),
    ]
    assert [r["replica"] for r in rows(play(tasks, replicas=2, router="least_loaded"))] == [0, 1, 1]


def agents(count: int, steps: int) -> list[Trajectory]:
    return [
        chain(k, "a", [Step(((100 * k + s, 800),), 20, 0.005) for s in range(steps)], 0.002 * k)
        for k in range(count)
    ]


@pytest.mark.parametrize("policy", ["sticky", "prefix_affinity"])
def test_sessions_go_back_to_their_cache(policy: str) -> None:
    served = rows(play(agents(4, 5), replicas=3, router=policy))
    homes = {(row["trajectory"], row["replica"]) for row in served}
    assert len(homes) == 4
    cached = sum(row["cached_tokens"] for row in served)
    spread = rows(play(agents(4, 5), replicas=3, router="round_robin"))
    assert cached > sum(row["cached_tokens"] for row in spread)


@pytest.mark.parametrize(("line", "chosen"), [(0, 0), (2000, 0), (5000, 1)])
def test_prefix_affinity_weighs_the_cache_against_the_line(line: int, chosen: int) -> None:
    """Replica 0 holds 4,000 of 4,500 tokens; replica 1 is idle."""

    class Stub(SimpleNamespace):
        __hash__ = object.__hash__

    def stub(index: int, cached: int, waiting: int) -> Any:
        match = SimpleNamespace(depth=cached, own=cached)
        kv = SimpleNamespace(look_up=lambda _: match, usable=min)
        return Stub(index=index, load=waiting // 1000, line_tokens=waiting, fresh_work=1.0, kv=kv)

    home = stub(0, 4000, line)
    request: Any = SimpleNamespace(prompt_tokens=4500, context=SimpleNamespace(hints={home: None}))
    found = ROUTING["prefix_affinity"](request, [home, stub(1, 0, 0)], State())
    assert found.index == chosen


@pytest.mark.parametrize(
    ("cached", "gap", "chosen"),
    [
        (3600, 20_000, 0),  # it holds 0.8 of the prompt: it is not left
        (3600, 18_000, 0),  # 4 requests of 4,500 tokens more than the idlest: just not left
        (3600, 17_999, 1),
        (3599, 20_000, None),  # nobody holds enough: drawn, whoever is idle
    ],
)
def test_prefix_filter_leaves_a_prefix_only_for_a_wide_gap(
    cached: int, gap: int, chosen: int | None
) -> None:
    def stub(index: int, load: int, held: int) -> Any:
        kv = SimpleNamespace(cached_tokens=lambda _: held)
        return SimpleNamespace(index=index, load=load, kv=kv)

    groups = [stub(0, 5, cached), stub(1, 1, 0), stub(2, 2, 0)]
    request: Any = SimpleNamespace(prompt_tokens=4500)
    found = [ROUTING["prefix_filter"](request, groups, State(gap, turns)) for turns in range(60)]
    if chosen is not None:
        assert {group.index for group in found} == {chosen}
    else:
        assert all(12 <= [g.index for g in found].count(k) <= 28 for k in range(3))


def test_routing_and_admission_never_read_the_true_output_length() -> None:
    """Answers that differ only after the last decision lead to the same decisions."""
    for policy in ROUTING:
        short = [toys.one_step(k, 50 * k + 10, 400, 0.001 * k) for k in range(20)]
        long = [toys.one_step(k, 50 * k + 10, 900, 0.001 * k) for k in range(20)]
        homes = [
            [(r["replica"], r["queue_ns"]) for r in rows(play(t, replicas=3, router=policy))]
            for t in (short, long)
        ]
        assert homes[0] == homes[1]


def test_an_unknown_policy_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ProfileError, match="did you mean 'continuous'"):
        play([], batching={"policy": "continous"})
    with pytest.raises(ProfileError, match="sticky"):
        play([], router="stiky")
    assert set(BATCHING) == {
        "continuous",
        "prefill_first",
        "shortest_first",
        "static",
        "decode_only",
        "prefill_only",
    }


def test_the_network_is_part_of_ttft_and_e2e_only() -> None:
    what = toys.deployment({"main": {}})
    costs = toys.constant_cost(STEP_NS * 1e-9, what)
    tasks = [toys.one_step(0, 10, 5)]
    near = rows(toys.serve(what, tasks, costs=costs))[0]
    far = rows(toys.serve(what, tasks, costs=costs, round_trip_s=0.05))[0]
    for name in ("ttft_ns", "e2e_ns"):
        assert far[name] - near[name] == far["network_ns"] == 50_000_000


def test_a_request_under_way_at_the_horizon_is_unfinished_and_one_not_yet_sent_is_none() -> None:
    what = toys.deployment({"main": {}})
    costs = toys.constant_cost(STEP_NS * 1e-9, what)
    tasks = [
        chain(0, "a", [Step(((1, 10),), 5), Step(((2, 10),), 5, 10.0)], 0.0),
        toys.one_step(1, 10, 99),
    ]
    cluster = toys.serve(what, tasks, costs=costs, horizon_s=0.05)
    found = [cluster.records.statuses.texts[r["status"]] for r in rows(cluster)]
    assert sorted(found) == ["completed", "unfinished"]
    table = cluster.records.trajectories
    assert set(table["status"].tolist()) == {2}


def test_a_closed_loop_keeps_the_same_number_of_agents_going() -> None:
    tasks = [toys.one_step(k, 10, 5, 0.0 if k < 3 else None) for k in range(9)]
    served = rows(play(tasks))
    starts = sorted(row["sent_ns"] // STEP_NS for row in served)
    assert starts == [0, 0, 0, 5, 5, 5, 10, 10, 10]


def test_speculation_yields_tokens_in_the_expected_proportion() -> None:
    speculation = {"draft_tokens": 1, "acceptance": 0.5, "draft_cost": 0.0}
    what = toys.deployment({"main": {"speculation": speculation}})
    costs = toys.constant_cost(STEP_NS * 1e-9, what)
    from dataclasses import replace

    from gcsim.machine.machine import bind
    from gcsim.machine.roofline import ACCEPTED_PPM, TERMS, VERIFIED

    real = bind(toys.model(), what.pools["main"])
    table = costs["main"].table.copy()
    for term in (VERIFIED, ACCEPTED_PPM):
        table[TERMS, term] = real.table[TERMS, term]
    costs["main"] = replace(real, table=table, request_overhead_s=0.0)
    (row,) = rows(toys.serve(what, [toys.one_step(0, 10, 301)], costs=costs))
    assert row["decode_ns"] == 300 / 1.5 * STEP_NS


def test_a_higher_priority_is_served_first_and_preempted_last() -> None:
    tasks = [
        toys.one_step(0, 10, 50),
        toys.one_step(1, 10, 5, 0.001),
        toys.one_step(2, 10, 5, 0.002),
    ]
    urgent = Trajectory(3, "urgent", toys.one_step(3, 10, 5).steps, 0.003, priority=1)
    served = rows(play([*tasks, urgent], batching={"max_seqs": 1}))
    by_queue = sorted(served, key=lambda row: row["sent_ns"] + row["queue_ns"])
    assert [row["trajectory"] for row in by_queue] == [0, 3, 1, 2]
    both = [Trajectory(k, "t", toys.one_step(k, 100, 60).steps, 0.0, priority=k) for k in (1, 0)]
    first, second = rows(play(both, kv_tokens=256, prefix_cache_tokens=0))
    assert (first["preemptions"], second["preemptions"]) == (0, 1)
    swapped = [Trajectory(k, "t", toys.one_step(k, 100, 60).steps, 0.0, priority=k) for k in (0, 1)]
    first, second = rows(play(swapped, kv_tokens=256, prefix_cache_tokens=0))
    assert (first["preemptions"], second["preemptions"]) == (1, 0)


def test_steps_may_ask_for_different_models() -> None:
    """A planner on one pool, its worker on another; what nobody serves is rejected."""
    worker = toys.model(name="worker", layers=2).model_dump()
    what = toys.deployment({"planner": {}, "worker": {"model": worker}})
    steps = [Step(((1, 100),), 5), Step(((2, 50),), 5, model="worker"), Step(((3, 9),), 5)]
    cluster = toys.serve(what, [chain(0, "t", steps, 0.0)])
    homes = [(r["step"], r["replica"], r["cached_tokens"]) for r in rows(cluster)]
    assert homes == [(0, 0, 0), (1, 1, 0), (2, 0, 96)]
    lost = toys.serve(what, [chain(0, "t", [Step(((1, 9),), 5, model="other")], 0.0)])
    assert lost.records.reasons.texts[rows(lost)[0]["reason"]] == "model_not_served"


def test_nobody_is_admitted_to_the_block_that_decode_takes_next() -> None:
    """10 blocks of 16: one of 128 tokens takes its ninth with its next token, so 2 do not fit it.

    Who comes meanwhile waits for its end: without the spare block memory would be given twice.
    """
    pool = {"kv_tokens": 160, "prefix_cache_tokens": 0}
    tasks = [toys.one_step(0, 128, 14), toys.one_step(1, 32, 4, 1e-6)]
    what = toys.deployment({"main": pool})
    cluster = toys.serve(what, tasks, costs=toys.constant_cost(1e-3, what))
    first, second = toys.rows(cluster)
    kv = cluster.groups[0].kv
    assert kv.peak <= kv.total == 10
    assert first["preemptions"] == second["preemptions"] == 0
    assert second["queue_ns"] == first["e2e_ns"] - second["sent_ns"]
