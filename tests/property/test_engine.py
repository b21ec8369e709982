"""Random deployments and traffic: both engines agree bit for bit, and every invariant holds."""

import random
from typing import Any

import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from gcsim.engine.cluster import Cluster
from gcsim.engine.records import REQUEST_COLUMNS
from gcsim.profiles.deployment import Deployment
from gcsim.traffic.trajectory import Step, Trajectory

MODELS = {
    "dense": toys.model(),
    "sliding": toys.model(
        attention={
            "kind": "gqa",
            "q_heads": 8,
            "kv_heads": 4,
            "head_dim": 32,
            "window": 40,
            "window_layers": 2,
        }
    ),
    "moe": toys.model(ffn={"d_ff": 128, "experts": 16, "experts_per_token": 2}),
}
LINK = {"bandwidth": "1 GB/s", "efficiency": 0.7, "setup": "20 us", "ramp": "10 kB"}


@st.composite
def pools(draw: st.DrawFn, role: str) -> dict[str, Any]:
    policies = {
        "mixed": ["continuous", "prefill_first", "static"],
        "prefill": ["prefill_only"],
        "decode": ["decode_only"],
    }[role]
    seqs = draw(st.integers(1, 8))
    pool: dict[str, Any] = {
        "role": role,
        "replicas": draw(st.integers(1, 3)),
        "tp": draw(st.sampled_from([1, 2])),
        "kv_tokens": draw(st.sampled_from([600, 1_500, 20_000])),
        "block_tokens": draw(st.sampled_from([1, 16])),
        "batching": {
            "policy": draw(st.sampled_from(policies)),
            "max_seqs": seqs,
            "max_iteration_tokens": max(seqs, draw(st.sampled_from([8, 100, 1_000]))) * 4,
        },
    }
    if draw(st.booleans()):
        pool["prefix_cache_tokens"] = draw(st.sampled_from([0, 320]))
    if role != "prefill" and draw(st.integers(0, 3)) == 0:
        pool["speculation"] = {"draft_tokens": 2, "acceptance": 0.63, "draft_cost": 0.1}
    if draw(st.integers(0, 3)) == 0:
        pool["spill"] = False
    stack = {**toys.NO_TIMES, "overlap_scheduling": draw(st.booleans())}
    stack["handoff_overhead"] = draw(st.sampled_from([None, "30 us"]))
    pool["chip"] = toys.chip(stacks={"none": stack})
    return pool


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    router = {
        "policy": draw(
            st.sampled_from(["round_robin", "least_loaded", "sticky", "prefix_affinity"])
        )
    }
    if draw(st.booleans()):
        return toys.deployment({"main": draw(pools("mixed"))}, router=router)
    sides = {"p": draw(pools("prefill")), "d": draw(pools("decode"))}
    if draw(st.booleans()):
        sides["m"] = draw(pools("mixed"))
    router["prefill_locally_below"] = draw(st.sampled_from([0, 50]))
    handoff = {
        "layerwise": draw(st.booleans()),
        "transfer": draw(st.sampled_from(["delta", "full"])),
        "return_kv": draw(st.booleans()),
        "first_token_from": draw(st.sampled_from(["prefill", "decode"])),
    }
    links = [{"from": "p", "to": "d", **LINK}, {"from": "d", "to": "p", **LINK}]
    return toys.deployment(sides, links=links, kv_handoff=handoff, router=router)


def traffic(seed: int) -> list[Trajectory]:
    """Some agents: shared prefixes, growing contexts, forks, compactions, zero delays (ties)."""
    rng = random.Random(seed)
    closed = rng.random() < 0.4
    found = []
    for index in range(rng.randint(1, 12)):
        steps: list[Step] = []
        for number in range(rng.randint(1, 6)):
            fresh = (10_000 + index * 100 + number, rng.randint(1, 200))
            parent, waits = number - 1, (number - 1,) if number else ()
            if number >= 2 and rng.random() < 0.3:  # a branch beside the last step
                parent = steps[-1].parent
                waits = steps[-1].waits_for
            if number >= 2 and rng.random() < 0.2:  # a step that waits for two
                waits = (number - 2, number - 1)
            append = (fresh,)
            if number == 0 or rng.random() < 0.1:
                parent, append = -1, ((1, 70), (2, rng.randint(1, 60)), fresh)
            steps.append(
                Step(
                    append,
                    rng.choice([1, 2, 5, 40, 300]),
                    rng.choice([0.0, 0.001, 0.2]),
                    parent,
                    waits,
                )
            )
        start = None if closed and index > 2 else rng.choice([0.0, 0.01 * index])
        found.append(Trajectory(index, "toy", tuple(steps), start, rng.choice([0, 0, 1])))
    if not closed:
        found.sort(key=lambda t: t.start_s or 0.0)
    return found


def state(cluster: Cluster) -> tuple[Any, ...]:
    """All that a run leaves behind, bit for bit."""
    return (
        cluster.records.requests.tobytes(),
        cluster.records.trajectories.tobytes(),
        [r.meter.totals.tobytes() for r in cluster.replicas],
        [r.meter.gaps.tobytes() for r in cluster.replicas],
        [(r.meter.busy_ns, r.meter.timeline.samples, r.kv.used) for r in cluster.replicas],
        [(u.sent_bytes, u.received_bytes, u.transfers, u.busy_ns) for u in cluster.links],
        cluster.env.now,
    )


def check(cluster: Cluster, expected: int | None) -> None:
    """Each request once, its phases without gaps, bytes conserved, and nothing left over."""
    table = cluster.records.requests
    column = {name: table[:, k] for k, name in enumerate(REQUEST_COLUMNS)}
    ids = column["request"]
    assert len(set(ids.tolist())) == len(ids) == cluster.created
    if expected is not None:
        assert len(ids) <= expected
    done = column["status"] == 0
    phases = sum(
        column[f"{p}_ns"] for p in ("network", "queue", "prefill", "kv_transfer", "decode")
    )
    assert (phases == column["e2e_ns"])[done].all()
    for name in REQUEST_COLUMNS:
        if name not in ("trajectory", "reason", "replica", "ttft_ns", "e2e_ns"):
            assert (column[name] >= 0).all(), name
    assert (column["ttft_ns"] <= column["e2e_ns"])[done].all()
    assert (column["cached_tokens"] < column["isl"]).all()
    assert (column["own_cached_tokens"] <= column["cached_tokens"]).all()
    for use in cluster.links:
        assert use.sent_bytes == use.received_bytes
    for replica in cluster.replicas:
        replica.kv.check()
        for line in (replica.waiting, replica.running, replica.inbox, replica.arrived):
            assert not line
        assert replica.coming == replica.load == replica.line_tokens == 0
        assert replica.kv.private == replica.kv.tree.pinned_blocks == 0
        decode = replica.decode
        assert (decode.seqs, decode.kv, decode.window_kv, decode.growing) == (0, 0, 0, 0)
        assert replica.kv.peak <= replica.kv.total
    sums = cluster.records.trajectories
    tasks = sums[sums[:, 6] == 0]
    assert (tasks[:, 3] - tasks[:, 2] == tasks[:, 7:].sum(axis=1)).all()


@given(deployments(), st.sampled_from(sorted(MODELS)), st.integers(0, 2**32))
@settings(max_examples=150)
def test_engines_agree_bit_for_bit_and_invariants_hold(
    what: Deployment, name: str, seed: int
) -> None:
    trajectories, of = traffic(seed), MODELS[name]
    fast = toys.serve(what, trajectories, of, round_trip_s=0.001)
    slow = toys.serve(what, trajectories, of, coalesce=False, round_trip_s=0.001)
    assert state(fast) == state(slow)
    check(fast, sum(len(t.steps) for t in trajectories))
    again = toys.serve(what, trajectories, of, round_trip_s=0.001)
    assert state(fast) == state(again)


@given(deployments(), st.integers(0, 2**32), st.sampled_from([0.0, 0.003, 0.1]))
@settings(max_examples=40)
def test_engines_agree_with_warm_up_zero_network_and_horizon(
    what: Deployment, seed: int, warmup_s: float
) -> None:
    trajectories = traffic(seed)
    whole = [toys.serve(what, trajectories, coalesce=c, warmup_s=warmup_s) for c in (True, False)]
    assert state(whole[0]) == state(whole[1]), "what the warm-up leaves out is the same too"
    runs = [
        toys.serve(what, trajectories, coalesce=c, warmup_s=warmup_s, horizon_s=0.5)
        for c in (True, False)
    ]
    # Beyond the horizon the engines have planned differently; what they report is the same.
    fast, slow = (r.records.requests for r in runs)
    assert fast.tobytes() == slow.tobytes()
    assert runs[0].records.trajectories.tobytes() == runs[1].records.trajectories.tobytes()
    counts = np.bincount(fast[:, REQUEST_COLUMNS.index("status")], minlength=3)
    assert counts.sum() <= runs[0].created


@pytest.mark.parametrize("seed", range(8))
def test_a_long_stressed_run_keeps_the_invariants(seed: int) -> None:
    rng = random.Random(seed)
    trajectories = [
        t
        for part in range(12)
        for t in (
            Trajectory(t.index + 100 * part, t.workload, t.steps, 0.05 * part, t.priority)
            for t in traffic(rng.randrange(2**32))
        )
    ]
    what = toys.deployment(
        {
            "p": {
                "role": "prefill",
                "kv_tokens": 2_000,
                "batching": {"policy": "prefill_only", "max_seqs": 4},
            },
            "d": {
                "role": "decode",
                "kv_tokens": 1_200,
                "batching": {"policy": "decode_only", "max_seqs": 6},
            },
        },
        links=[{"from": "p", "to": "d", **LINK}, {"from": "d", "to": "p", **LINK}],
        kv_handoff={"return_kv": bool(seed % 2), "layerwise": bool(seed % 3)},
    )
    fast, slow = (toys.serve(what, trajectories, coalesce=c) for c in (True, False))
    assert state(fast) == state(slow)
    check(fast, None)
