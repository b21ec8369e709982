"""Expert parallelism with data-parallel attention: a request lives in one group of its replica."""

from random import Random
from typing import Any

import deployments
import numpy as np
import pytest
import toys

import gcsim
from gcsim.calibration.tape import Requests, iterations_of
from gcsim.engine.cluster import Cluster
from gcsim.errors import CapacityError
from gcsim.machine import roofline
from gcsim.machine.counts import count, kv_bytes_per_token, weight_bytes
from gcsim.machine.machine import bind, math_flops_per_s
from gcsim.machine.roofline import batch
from gcsim.profiles.deployment import Pool
from gcsim.profiles.resolve import load_chip, load_model
from gcsim.results.result import Result
from gcsim.results.tables import unused
from gcsim.traffic.trajectory import Trajectory

MOE = toys.model(ffn={"d_ff": 128, "experts": 16, "experts_per_token": 2})


def column(cluster: Cluster, name: str) -> list[int]:
    """A column of the requests."""
    return [int(value) for value in cluster.records.requests[name]]


def served(tasks: list[Trajectory], policy: str = "least_loaded", **pool: Any) -> Cluster:
    """Tasks on one pool of toy chips."""
    return toys.serve(toys.deployment({"main": pool}, router={"policy": policy}), tasks, MOE)


def test_a_prompt_takes_its_flops_on_the_chip_of_its_group() -> None:
    """DeepSeek-R1 on 8 H200, tp 1 x ep 8, one prompt of T = 32k tokens: at least

    t = 2 A T / P_a + 61 x 2 x 128 (128 + 64 + 128) x T (T + 1) / 2 / P_core + 2 D T / P_d
        + 2 E T / (8 P_e)

    A, D, E: parameters of attention, of dense and shared FFN, and of the chosen experts; P: rates
    of one chip. The core alone, at 32k tokens and one chip's bfloat16, is 2.7 s at peak.
    """
    model, chip, tokens = load_model("deepseek-r1"), load_chip("h200-sxm"), 32_768
    counts = count(model)
    pairs = 61 * 2 * 128 * (128 + 64 + 128) * tokens * (tokens + 1) / 2
    bf16, own = chip.compute.bf16.value, model.weights
    core = pairs / (bf16 * chip.efficiency.attention.value)
    least_s = (
        2 * counts.attention * tokens / math_flops_per_s(chip, own.attention)
        + core
        + 2 * counts.ffn * tokens / math_flops_per_s(chip, own.ffn)
        + 2 * counts.active_experts * tokens / (8 * math_flops_per_s(chip, own.experts))
    )
    assert pairs / bf16 > 2.7
    assert least_s > 8.0
    found = gcsim.estimate("h200-sxm", 1, "deepseek-r1", isl=tokens, osl=1, ep=8)
    assert max(least_s, 8.6) <= found.ttft_ms * 1e-3 < 1.5 * least_s
    shared = gcsim.estimate("h200-sxm", 8, "deepseek-r1", isl=tokens, osl=1)
    assert found.ttft_ms > 3 * shared.ttft_ms


def test_a_sequence_decodes_no_faster_than_one_chip_reads_it() -> None:
    """SN50, tp 1 x ep 16, one sequence at 120k: bytes of one chip / its bandwidth."""
    model, chip = load_model("deepseek-r1"), load_chip("sn50")
    sizes, context = weight_bytes(model), 120_000
    own = sizes.attention + sizes.ffn + sizes.head + context * kv_bytes_per_token(model).full
    touched = sizes.experts * 8 / 256 / 16
    hbm = next(t.bandwidth.value for t in chip.memory if t.tier == "hbm")
    pool = Pool(chip=chip, ep=16)
    alone = batch(decode_seqs=1, logit_seqs=1, decode_kv=context)
    found_s = roofline.iteration_s(bind(model, pool).table, alone)[0]
    assert (own + touched) / hbm <= found_s < 3 * (own + touched) / hbm
    toy = bind(MOE, Pool(chip=toys.chip(), ep=4)).table
    far = batch(decode_seqs=1, logit_seqs=1, decode_kv=1e6)
    assert roofline.iteration_s(toy, far)[0] >= 1e6 * kv_bytes_per_token(MOE).full / 1e12


@pytest.mark.parametrize("execution", ["kernels", "fused"])
def test_an_iteration_lasts_as_long_as_its_fullest_group(execution: str) -> None:
    chip = toys.chip(execution=execution)
    machine = bind(MOE, Pool(chip=chip, ep=3))
    table, firsts = machine.table, np.zeros(3, np.int64)

    def seconds(*rows: Any) -> float:
        batches = np.stack(rows)
        roofline.join(table, batches)
        return float(roofline.groups_s(table, batches)[0])

    idle = batch()
    short, long = (batch(decode_seqs=2, logit_seqs=2, decode_kv=kv) for kv in (2_000, 900_000))
    assert seconds(idle, long, idle) == roofline.iteration_s(table, long)[0]
    assert seconds(short, long, idle) == seconds(long, idle, short) == seconds(long, short, idle)
    crowded = long.copy()
    crowded[roofline.OTHER_TOKENS], crowded[roofline.MOST_TOKENS] = 2, 2
    assert seconds(short, long, idle) == roofline.iteration_s(table, crowded)[0]
    assert seconds(short, long, idle) >= seconds(idle, long, idle)
    # Many tokens elsewhere make the experts, which all share, slower for this group too.
    busy = batch(prompt_tokens=5_000, prompts=1, prefill_kv=5_000)
    assert seconds(busy, long, idle) > max(seconds(busy, idle, idle), seconds(idle, long, idle))
    batches = np.stack([short, long, idle])
    roofline.join(table, batches)
    whole = roofline.run_groups_ns(table, batches, 40, firsts, 7, 1 << 62)
    now = 7
    for k in range(40):
        now_rows = batches.copy()
        now_rows[:, roofline.DECODE_KV] += k * now_rows[:, roofline.DECODE_SEQS]
        now += roofline.groups_ns(table, now_rows)
    assert whole == (40, now)


def test_work_adds_up_over_groups_and_time_is_the_fullest_ones() -> None:
    machine = bind(MOE, Pool(chip=toys.chip(), ep=2))
    rows = np.stack(
        [
            batch(decode_seqs=3, logit_seqs=3, decode_kv=900),
            batch(prompt_tokens=700, prompts=1, logit_seqs=1, prefill_pairs=9e4, prefill_kv=700),
        ]
    )

    def account(what: Any) -> dict[str, float]:
        totals, gaps = np.zeros(len(roofline.TOTALS)), np.zeros(roofline.GAP_BINS, np.int64)
        firsts = np.zeros(len(what), np.int64)
        roofline.account_groups(machine.table, what, totals, gaps, 1, firsts)
        return dict(zip(roofline.TOTALS, totals.tolist(), strict=True)) | {"gaps": gaps.sum()}

    roofline.join(machine.table, rows)
    both, ones = account(rows), [account(rows[:1]), account(rows[1:])]
    assert both["flops"] == pytest.approx(sum(one["flops"] for one in ones), rel=1e-12)
    touched = roofline.distinct_experts(16.0, 2.0, 703.0) * weight_bytes(MOE).experts / 16
    assert both["bytes"] == pytest.approx(sum(one["bytes"] for one in ones) - touched, rel=1e-12)
    assert both["busy_s"] == max(one["busy_s"] for one in ones)
    assert sum(both[part] for part in roofline.PARTS[1:]) == pytest.approx(both["busy_s"])
    # 50,000 tokens of other groups: their FLOPs on the experts, which two chips share.
    crowd = batch(decode_seqs=1, logit_seqs=1, decode_kv=9, other_tokens=50_000)
    chosen = weight_bytes(MOE).experts / 2 * 2 / 16
    assert roofline.iteration_s(machine.table, crowd)[0] >= 2 * chosen * 50_001 / (2 * 100e12)
    assert (both["iterations"], both["tokens"], both["gaps"]) == (1, 700, 3)


def test_two_requests_run_side_by_side_in_two_groups_and_share_one() -> None:
    tasks = [toys.one_step(k, 30_000, 1) for k in range(2)]
    alone, apart, together = (
        max(column(served(some, ep=groups), "e2e_ns"))
        for some, groups in ((tasks[:1], 2), (tasks, 2), (tasks, 1))
    )
    assert alone <= apart < 1.2 * alone
    assert together > 1.5 * apart


def test_a_request_fits_one_group_or_not_at_all() -> None:
    limits = {"kv_tokens": 1_600, "prefix_cache_tokens": 0}
    tasks = [toys.one_step(0, 1_500, 20), toys.one_step(1, 1_700, 20)]
    cluster = served(tasks, ep=4, **limits)
    assert column(cluster, "status") == [0, 1]
    assert [group.kv.total for group in cluster.groups] == [100] * 4


def test_a_prefix_is_cached_in_the_group_that_computed_it() -> None:
    tasks = [toys.one_step(k, 4_000, 2, 0.1 * k, content=7) for k in range(4)]
    turns = served(tasks, "round_robin", ep=2)
    assert column(turns, "cached_tokens") == [0, 0, 3_984, 3_984]
    affine = served(tasks, "prefix_affinity", ep=2)
    assert column(affine, "cached_tokens") == [0, 3_984, 3_984, 3_984]


@pytest.mark.parametrize("policy", ["round_robin", "least_loaded", "sticky", "prefix_affinity"])
def test_every_policy_chooses_among_the_groups_of_all_replicas(policy: str) -> None:
    tasks = [toys.one_step(k, 3_000, 40) for k in range(12)]
    cluster = served(tasks, policy, ep=3, replicas=2)
    assert [group.requests for group in cluster.groups] == [2] * 6
    assert sorted(column(cluster, "replica")) == [0] * 6 + [1] * 6


def test_limits_are_those_of_a_group() -> None:
    """One sequence at a time in each of two groups: four requests take two turns."""
    tasks = [toys.one_step(k, 10_000, 1) for k in range(4)]
    limits = {"batching": {"max_seqs": 1}}
    ends = sorted(column(served(tasks, ep=2, **limits), "e2e_ns"))
    assert ends[0] == ends[1] < ends[2] == ends[3]


def test_tokens_are_conserved_in_every_replica_of_groups() -> None:
    """Every token of a request comes from a prompt that was computed, or from one decode step.

    So a replica decodes sum of (osl - 1) over its requests, less one for each preemption at most.
    """
    played = 0
    for seed in range(600):
        case = deployments.case(Random(seed))
        pools = case.deployment.pools.values()
        if case.horizon_s is not None or not any(pool.ep > 1 for pool in pools):
            continue
        cluster = case.play(True)
        if cluster.live:
            continue
        deployments.check(cluster, case)
        if any(column(cluster, "status")) or any(pool.speculation for pool in pools):
            continue
        played += 1
        names = ("replica", "osl", "preemptions")
        requests = list(zip(*(column(cluster, name) for name in names), strict=True))
        for replica in cluster.replicas:
            own = [(osl, again) for place, osl, again in requests if place == replica.index]
            most = sum(osl - 1 for osl, _ in own)
            least = most - sum(again for _, again in own)
            assert least <= replica.meter.decoded_tokens <= most
        if case.warmup_s == 0.0:
            routed = sum(group.requests for group in cluster.groups)
            assert cluster.created <= routed <= 2 * cluster.created
    assert played > 20


def test_groups_need_experts_to_share() -> None:
    with pytest.raises(CapacityError, match=r"pools\.serve\.ep: .*none \(got 8\); use replicas"):
        gcsim.estimate("h200-sxm", 1, "llama-3.3-70b", isl=100, osl=10, ep=8)


@pytest.mark.parametrize("policy", ["continuous", "prefill_first"])
def test_the_schedule_of_one_group_is_what_each_of_them_plays(policy: str) -> None:
    """24 requests on 4 groups, four of each length: every group gets the same six."""
    rng = np.random.default_rng(3)
    isl, osl = rng.integers(50, 3000, 6), rng.integers(2, 200, 6)
    batching = {"policy": policy, "max_seqs": 24}
    what = toys.deployment(
        {"p": {"ep": 4, "stack": "none", "batching": batching, "prefix_cache_tokens": 0}},
        router={"policy": "round_robin"},
    )
    pool = what.pools["p"]
    machine = bind(MOE, pool)
    load = Requests(isl, osl, 24, 0)
    point: Any = type("Point", (), {"batch": True})
    setup: Any = type("Setup", (), {"pool": pool})
    rows = iterations_of(point, setup, machine, load)
    found = roofline.price(
        machine.table[None], np.zeros(1, np.int64), np.array([0, len(rows)]), rows
    )
    tasks = [toys.one_step(k, int(isl[k // 4]), int(osl[k // 4])) for k in range(24)]
    cluster = toys.serve(what, tasks, MOE)
    ttft, e2e = (np.mean(column(cluster, name)) * 1e-9 for name in ("ttft_ns", "e2e_ns"))
    assert found[0, [0, 2]] == pytest.approx([ttft, e2e], rel=1e-5)


def on_racks(racks: int) -> Result:
    """64 agents whose prompts are computed in one pool and decoded on so many replicas."""
    return gcsim.run(
        "coding-agents",
        settings={
            "deployment": "mi300x-prefill-sn50-decode",
            "deployment.pools.decode.replicas": racks,
            "arrivals.agents": 64,
            "run.trajectories": 96,
        },
    )


def test_no_decode_replica_stays_unused_and_more_of_them_decode_faster() -> None:
    found: list[float] = []
    for racks in (16, 24, 32):
        result = on_racks(racks)
        assert result.summary["unused_replicas"] == {}
        used = result.requests.loc[result.requests["status"] == "completed", "replica"]
        assert used.nunique() == racks
        found.append(result.summary["mean_tpot_ms"])
    assert found[0] > found[1] > found[2]


def test_what_stays_unused_is_told() -> None:
    tasks = [toys.one_step(k, 100, 2) for k in range(4)]
    found = [unused(served(tasks[:n], ep=2, replicas=3)) for n in (2, 3)]
    assert found[0] == {"unused_replicas": {"main": 2}, "unused_groups": {}}
    assert found[1] == {"unused_replicas": {"main": 1}, "unused_groups": {"main": 1}}
    assert unused(served(tasks, ep=2, replicas=2)) == {"unused_replicas": {}, "unused_groups": {}}
