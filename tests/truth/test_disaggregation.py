"""Degenerate cases of disaggregation that equal known ones, exactly."""

import random
from pathlib import Path
from typing import Any

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from gcsim.calibration.match import Setup, setup_of
from gcsim.calibration.points import read_points
from gcsim.engine.cluster import Cluster
from gcsim.errors import ProfileError
from gcsim.machine.counts import kv_bytes_per_token
from gcsim.machine.roofline import gap_bin
from gcsim.profiles.library import shipped
from gcsim.profiles.resolve import resolve_mapping
from gcsim.traffic.trajectory import Step, Trajectory, chain

ROOT = Path(__file__).parents[2]
INSTANT = {"bandwidth": "1e18 B/s", "efficiency": 1}
PREFILL = {"role": "prefill", "batching": {"policy": "prefill_only"}}
DECODE = {"role": "decode", "batching": {"policy": "decode_only"}}


def column(cluster: Cluster, name: str) -> list[int]:
    return cluster.records.requests[name].tolist()


def both(trajectories: list[Trajectory], link: dict[str, Any] = INSTANT, **handoff: Any) -> Cluster:
    what = toys.deployment(
        {"p": PREFILL, "d": DECODE},
        links=[{"from": "p", "to": "d", **link}, {"from": "d", "to": "p", **link}],
        kv_handoff=handoff,
    )
    fast, slow = (toys.serve(what, trajectories, coalesce=c) for c in (True, False))
    assert fast.records.requests.tobytes() == slow.records.requests.tobytes()
    return fast


def open_loop(seed: int, count: int = 40) -> list[Trajectory]:
    rng = random.Random(seed)
    return [
        toys.one_step(k, rng.randint(10, 4000), rng.randint(2, 60), 0.003 * k) for k in range(count)
    ]


def agents(seed: int, sessions: int = 6, steps: int = 5) -> list[Trajectory]:
    rng = random.Random(seed)
    return [
        chain(
            k,
            "agents",
            [
                Step(((1, 500), (100 * k + 2, 77)) if s == 0 else ((100 * k + 3 + s, 90),),
                     rng.randint(2, 40), 0.01)
                for s in range(steps)
            ],
            0.02 * k,
        )
        for k in range(sessions)
    ]  # fmt: skip


@given(st.integers(0, 2**32), st.booleans())
def test_an_instant_link_has_the_ttft_of_a_dedicated_prefill_pool(
    seed: int, layerwise: bool
) -> None:
    """TTFT = that of a pool that only prefills: the same prompts with one token to generate."""
    trajectories = open_loop(seed)
    alone = toys.deployment({"main": {"batching": {"policy": "prefill_first"}}})
    prompts = [toys.one_step(t.index, t.steps[0].append[0][1], 1, t.start_s) for t in trajectories]
    apart = toys.serve(alone, prompts)
    split = both(trajectories, layerwise=layerwise, first_token_from="prefill")
    assert column(split, "ttft_ns") == column(apart, "ttft_ns")
    assert set(column(split, "kv_transfer_ns")) == {0}


@pytest.mark.parametrize("transfer", ["delta", "full"])
@given(seed=st.integers(0, 2**32))
def test_one_step_tasks_move_their_prompt_and_nothing_else(transfer: str, seed: int) -> None:
    trajectories = open_loop(seed)
    cluster = both(trajectories, transfer=transfer)
    prompt_tokens = sum(t.steps[0].append[0][1] for t in trajectories)
    moved = prompt_tokens * kv_bytes_per_token(toys.model()).full
    there, back = cluster.links
    assert there.sent_bytes == there.received_bytes == moved
    assert back.sent_bytes == back.received_bytes == 0


@given(st.integers(0, 2**32), st.sampled_from([1, 16]))
def test_delta_moves_exactly_what_decode_lacks(seed: int, block: int) -> None:
    """With room for everything decode keeps whole blocks of prompt and answer between steps."""
    trajectories = agents(seed)
    pools = {"p": {**PREFILL, "block_tokens": block}, "d": {**DECODE, "block_tokens": block}}
    what = toys.deployment(pools, links=[{"from": "p", "to": "d", **INSTANT}])
    cluster = toys.serve(what, trajectories)
    lacking, first = 0, True
    starts = sorted(trajectories, key=lambda t: t.start_s or 0.0)
    for trajectory in starts:
        held, context = (0 if first else 500 // block * block), 0
        for step in trajectory.steps:
            context += sum(n for _, n in step.append)
            lacking += context - held
            held = (context + step.osl - 1) // block * block
            context += step.osl - 1
        first = False
    # A request's context ends with the KV that it has: its last token is never fed.
    assert cluster.links[0].sent_bytes == lacking * kv_bytes_per_token(toys.model()).full


def test_returned_kv_need_not_be_prefilled_again() -> None:
    trajectories = agents(1, sessions=1)
    kept, sent = both(trajectories), both(trajectories, return_kv=True)
    assert sum(column(sent, "cached_tokens")) > sum(column(kept, "cached_tokens"))
    answers = sum(step.osl - 1 for step in trajectories[0].steps)
    moved = answers * kv_bytes_per_token(toys.model()).full
    assert sent.links[1].sent_bytes == sent.links[1].received_bytes == moved


def test_a_full_decode_side_holds_up_prefill_and_shows_as_queue() -> None:
    trajectories = [toys.one_step(k, 600, 200, 0.0) for k in range(6)]
    small = {**DECODE, "kv_tokens": 1000}
    link = [{"from": "p", "to": "d", **INSTANT}]
    free, full = (
        toys.serve(
            toys.deployment(
                {"p": PREFILL, "d": d}, links=link, kv_handoff={"first_token_from": "prefill"}
            ),
            trajectories,
        )
        for d in (DECODE, small)
    )
    assert column(full, "ttft_ns") == column(free, "ttft_ns"), "first tokens come from prefill"
    assert sum(column(full, "queue_ns")) > 5 * sum(column(free, "queue_ns"))


def test_who_is_on_the_way_has_a_seat_taken() -> None:
    """Two decode at a time, however many prompts are ready while the KV of the first travels."""
    slow = [{"from": "p", "to": "d", "bandwidth": "1 GB/s", "efficiency": 1, "latency": "50 ms"}]
    two = {**DECODE, "batching": {"policy": "decode_only", "max_seqs": 2}}
    tasks = [toys.one_step(k, 600, 400, 0.0) for k in range(6)]
    cluster = toys.serve(toys.deployment({"p": PREFILL, "d": two}, links=slow), tasks)
    names = ("sent_ns", "e2e_ns", "decode_ns")
    rows = zip(*(column(cluster, name) for name in names), strict=True)
    events = [edge for sent, e2e, decode in rows
              for edge in ((sent + e2e - decode, 1), (sent + e2e, -1))]  # fmt: skip
    most = under_way = 0
    for _, change in sorted(events):
        under_way += change
        most = max(most, under_way)
    assert most == 2


def test_streaming_waits_for_room_at_its_other_end() -> None:
    """Whose place is kept only after its prefill has nothing to hide its transfer behind."""
    slow = [{"from": "p", "to": "d", "bandwidth": "1 GB/s", "efficiency": 1, "latency": "1 ms"}]
    one = {**DECODE, "batching": {"policy": "decode_only", "max_seqs": 1}}
    what = toys.deployment({"p": PREFILL, "d": one}, links=slow, kv_handoff={"layerwise": True})
    cluster = toys.serve(what, [toys.one_step(k, 600, 400, 0.0) for k in range(2)])
    moved = 600 * kv_bytes_per_token(toys.model()).full
    whole = cluster.links[0].occupancy_ns(moved) + 1_000_000
    first, second = column(cluster, "kv_transfer_ns")
    assert second == whole > first


def test_the_client_sees_the_token_that_decode_makes_after_the_handoff() -> None:
    """TTFT = prefill + handoff + one iteration of decode, as a client of vLLM, SGLang and
    TensorRT-LLM sees it; `first_token_from: prefill` is the what-if of one who need not wait.
    """
    chip = toys.chip(stacks={"none": {**toys.NO_TIMES, "handoff_overhead": "30 ms"}})
    link = [{"from": "p", "to": "d", "bandwidth": "10 GB/s", "efficiency": 1}]
    pools = {"p": {**PREFILL, "chip": chip}, "d": DECODE}
    tasks = [toys.one_step(0, 1000, 5)]

    def served(**handoff: Any) -> tuple[int, int, int]:
        what = toys.deployment(pools, links=link, kv_handoff={"layerwise": False, **handoff})
        cluster = toys.serve(what, tasks, costs=toys.constant_cost(2e-3, what))
        return tuple(column(cluster, f"{name}_ns")[0] for name in ("ttft", "kv_transfer", "e2e"))

    moved = 1000 * kv_bytes_per_token(toys.model()).full // 10
    ttft, transfer, e2e = served()
    assert transfer == moved + 30_000_000
    assert ttft == 2_000_000 + transfer + 2_000_000
    assert e2e == ttft + 4 * 2_000_000
    early, same, sooner = served(first_token_from="prefill")
    assert (early, same, sooner) == (2_000_000, transfer, e2e - 2_000_000)


def test_simulation_and_validation_take_the_first_token_from_the_same_side() -> None:
    """Every shipped deployment, and every published run of two pools as it is played."""
    points, _ = read_points(ROOT / "validation" / "published.csv")
    setups = [setup_of(point) for point in points if point.prefill]
    played = {s.deployment.kv_handoff.first_token_from for s in setups if isinstance(s, Setup)}
    scenario = {
        "model": "llama-3.1-8b",
        "workload": "rag",
        "arrivals": {"process": "closed", "agents": 1},
    }
    for name in shipped("deployment"):
        resolved = resolve_mapping({"name": "s", "deployment": name, **scenario}, "s")
        played.add(resolved.scenario.deployment.kv_handoff.first_token_from)
    assert played == {"decode"}


def test_layerwise_streaming_hides_all_but_the_last_layer() -> None:
    """Alone on the link, a transfer that is shorter than the prefill shows 1 / layers of itself."""
    link = {"bandwidth": "1 GB/s", "efficiency": 1}
    task = [toys.one_step(0, 8000, 5)]
    whole = column(both(task, link, layerwise=False), "kv_transfer_ns")[0]
    assert whole == 8000 * kv_bytes_per_token(toys.model()).full
    streamed = both(task, link, layerwise=True, first_token_from="prefill")
    tail, prefill = column(streamed, "kv_transfer_ns")[0], column(streamed, "prefill_ns")[0]
    assert tail == whole - prefill > whole // 4, "a slow link: what did not fit beside the prefill"
    fast = {"bandwidth": "100 GB/s", "efficiency": 1}
    whole = column(both(task, fast, layerwise=False), "kv_transfer_ns")[0]
    assert column(both(task, fast, layerwise=True), "kv_transfer_ns")[0] == whole // 4


def test_the_gap_after_the_first_token_includes_the_transfer() -> None:
    link = {"bandwidth": "1 GB/s", "efficiency": 1}
    task = [toys.one_step(0, 1000, 5)]
    cluster = both(task, link, layerwise=False, first_token_from="prefill")
    gaps = cluster.replicas[1].meter.gaps
    moved_ns = column(cluster, "kv_transfer_ns")[0]
    assert gaps.sum() == 4
    assert gaps[gap_bin(moved_ns) :].sum() == 1


def test_transfers_that_meet_share_the_lanes() -> None:
    """Two prompts computed together leave one after the other, at the full rate."""
    link = {"bandwidth": "1 GB/s", "efficiency": 1}
    tasks = [toys.one_step(k, 1000, 5) for k in range(2)]
    waits = column(both(tasks, link, layerwise=False), "kv_transfer_ns")
    alone = 1000 * kv_bytes_per_token(toys.model()).full
    assert waits == [alone, 2 * alone]


@given(st.integers(0, 2**32))
def test_a_cache_of_zero_blocks_is_no_cache(seed: int) -> None:
    """No two requests share anything: the same as if every prompt's content were its own."""
    trajectories = agents(seed)
    flat, fresh = [], 10**6
    for trajectory in trajectories:
        context = 0
        for step in trajectory.steps:
            context += sum(n for _, n in step.append)
            fresh += 1
            flat.append((trajectory.index, context, step.osl))
            context += step.osl - 1
    without = toys.deployment({"main": {"prefix_cache_tokens": 0}})
    fast, slow = (toys.serve(without, trajectories, coalesce=c) for c in (True, False))
    assert fast.records.requests.tobytes() == slow.records.requests.tobytes()
    assert set(column(fast, "cached_tokens")) == {0}
    assert sorted(
        zip(column(fast, "trajectory"), column(fast, "isl"), column(fast, "osl"), strict=True)
    ) == sorted(flat)
    assert fast.groups[0].kv.tree.blocks[0] == 0


def test_converting_kv_on_the_way_is_a_named_cost() -> None:
    """BF16 at prefill, FP8 at decode: half the bytes travel, after a conversion that is paid."""
    pools = {"p": PREFILL, "d": {**DECODE, "kv_dtype": "fp8"}}
    link = [{"from": "p", "to": "d", "bandwidth": "1 GB/s", "efficiency": 1}]
    task = [toys.one_step(0, 1000, 5)]
    with pytest.raises(ProfileError, match="conversion_bandwidth"):
        toys.serve(toys.deployment(pools, links=link), task)
    handoff = {"conversion_bandwidth": "1 GB/s", "layerwise": False}
    cluster = toys.serve(toys.deployment(pools, links=link, kv_handoff=handoff), task)
    moved = 1000 * kv_bytes_per_token(toys.model(), "fp8").full
    assert cluster.links[0].sent_bytes == moved
    assert column(cluster, "kv_transfer_ns") == [2 * moved]


def test_a_handoff_takes_the_fixed_time_of_the_stack_that_prefills() -> None:
    chip = toys.chip(stacks={"none": {**toys.NO_TIMES, "handoff_overhead": "30 ms"}})
    links = [{"from": "p", "to": "d", **INSTANT}]
    task = [toys.one_step(0, 1000, 5)]

    def transfer_ns(p: dict[str, Any], d: dict[str, Any]) -> int:
        what = toys.deployment({"p": {**PREFILL, **p}, "d": {**DECODE, **d}}, links=links)
        return column(toys.serve(what, task), "kv_transfer_ns")[0]

    plain = transfer_ns({}, {})
    assert transfer_ns({"chip": chip}, {}) == plain + 30_000_000
    assert transfer_ns({}, {"chip": chip}) == plain


def test_a_handoff_takes_longer_by_what_travels_not_by_what_decode_has() -> None:
    """T = fixed + n per token, of the n tokens that decode lacks: 2,000, then 100 of 2,101."""
    stack = {**toys.NO_TIMES, "handoff_overhead": "30 ms", "handoff_per_token": "10 us"}
    chip = toys.chip(stacks={"none": stack})
    links = [{"from": "p", "to": "d", **INSTANT}]
    pools = {"p": {**PREFILL, "chip": chip}, "d": {**DECODE, "block_tokens": 1}}
    task = [chain(0, "a", [Step(((1, 2000),), 2), Step(((2, 100),), 2)], 0.0)]
    cluster = toys.serve(toys.deployment(pools, links=links), task)
    lacking = [2000, 2101 - 2001]
    assert column(cluster, "isl") == [2000, 2101]
    assert column(cluster, "kv_transfer_ns") == [30_000_000 + 10_000 * n for n in lacking]
