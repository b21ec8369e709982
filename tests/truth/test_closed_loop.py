"""The schedule without a clock and the engine agree: two programs, one closed loop."""

import numpy as np
import pytest
import toys

from gcsim.engine.closed_loop import E2E, TTFT, ServerLimits, schedule
from gcsim.engine.cluster import Terms
from gcsim.engine.play import play
from gcsim.engine.window import Window
from gcsim.machine.machine import bind
from gcsim.machine.roofline import LOGIT_SEQS, PROMPT_TOKENS, TOTALS, price
from gcsim.profiles.deployment import Batching, Deployment, Pool
from gcsim.profiles.resolve import load_chip, load_model
from gcsim.traffic.trajectory import Step, Trajectory


@pytest.mark.parametrize("policy", ["continuous", "prefill_first"])
@pytest.mark.parametrize("model_name", ["llama-3.1-8b", "gpt-oss-120b"])
def test_a_batch_is_scheduled_as_the_engine_plays_it(policy: str, model_name: str) -> None:
    rng = np.random.default_rng(3)
    isl, osl = rng.integers(50, 3000, 24), rng.integers(2, 200, 24)
    model, batching = load_model(model_name), Batching(policy=policy, max_seqs=24)
    pool = Pool(chip=load_chip("h200-sxm"), tp=2, batching=batching, prefix_cache_tokens=0)
    machine = bind(model, pool)
    rows = schedule(
        isl, osl, ServerLimits(24, 8192, 24, 10**9, 0, policy == "prefill_first"), machine.window
    )
    first = np.array([0, len(rows)])
    found = price(machine.table[None, :], np.zeros(1, np.int64), first, rows)[0]
    trajectories = [
        Trajectory(k, "batch", (Step(((k, int(isl[k])),), int(osl[k])),), 0.0) for k in range(24)
    ]
    terms = Terms(model.name, 0.0, 0.0, Window(), True)
    cluster = play(Deployment(name="d", pools={"p": pool}), {"p": machine}, trajectories, terms)
    table = cluster.records.requests
    ttft, e2e = table["ttft_ns"] * 1e-9, table["e2e_ns"] * 1e-9
    tpot = (e2e - ttft) / (osl - 1)
    wanted = (
        ttft.mean() - machine.request_overhead_s,
        tpot.mean(),
        e2e.mean() - machine.request_overhead_s,
    )
    assert found[:3] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_closed_loop_is_scheduled_as_the_engine_plays_it(overlap: bool) -> None:
    """Clients whose next request comes a nanosecond later; one iteration more with overlap."""
    rng = np.random.default_rng(4)
    isl, osl = rng.integers(50, 500, 60), rng.integers(20, 90, 60)
    stack = {**toys.NO_TIMES, "overlap_scheduling": overlap, "request_overhead": "1 ns"}
    chip = toys.chip(stacks={"none": {**stack, "layer_overhead": "1 ms"}})
    pool = Pool(chip=chip, batching=Batching(max_seqs=6), prefix_cache_tokens=0)
    machine = bind(toys.model(), pool)
    rows = schedule(isl, osl, ServerLimits(6, 8192, 6, 10**9, lag=1 + overlap), 0)
    first = np.array([0, len(rows)])
    found = price(machine.table[None, :], np.zeros(1, np.int64), first, rows)[0]
    calls = [toys.one_step(k, int(isl[k]), int(osl[k]), 0.0 if k < 6 else None) for k in range(60)]
    cluster = toys.serve(Deployment(name="d", pools={"p": pool}), calls)
    table = cluster.records.requests
    ttft, e2e = table["ttft_ns"] * 1e-9, table["e2e_ns"] * 1e-9
    assert found[0] == pytest.approx(ttft.mean(), rel=1e-5)
    assert found[2] == pytest.approx(e2e.mean(), rel=1e-5)


def test_little_s_law_holds_for_the_weights() -> None:
    """Sum over iterations of E2E weights = mean requests in the system x elapsed / requests."""
    isl, osl = np.full(40, 500), np.full(40, 60)
    rows = schedule(isl, osl, ServerLimits(8, 8192, 8, 10**9), 0)
    assert rows[:, TTFT].max() <= 8 / 40 + 1e-12
    assert rows[:, E2E].max() == pytest.approx(8 / 40)
    decoded = rows[:, LOGIT_SEQS].sum()
    assert decoded == osl.sum()  # every output token comes out once
    assert rows[:, PROMPT_TOKENS].sum() == isl.sum()  # every prompt token is computed once


def test_without_room_requests_are_recomputed_as_the_engine_does() -> None:
    """What was computed twice is counted by both, but for the one token that the schedule counts
    early: a sequence leaves an iteration sooner there.
    """
    isl, osl = np.full(6, 100), np.full(6, 100)
    rows = schedule(isl, osl, ServerLimits(6, 8192, 6, 500), 0)
    pool = {"kv_tokens": 500, "block_tokens": 1, "prefix_cache_tokens": 0}
    what = toys.deployment({"main": {**pool, "batching": {"max_seqs": 6}}})
    cluster = toys.serve(what, [toys.one_step(k, 100, 100) for k in range(6)])
    totals = dict(zip(TOTALS, cluster.replicas[0].meter.totals.tolist(), strict=True))
    preempted = int(cluster.records.requests["preemptions"].sum())
    assert preempted > 0
    assert rows[:, PROMPT_TOKENS].sum() == pytest.approx(totals["tokens"], abs=preempted)
    assert len(rows) == pytest.approx(totals["iterations"], abs=preempted)
    assert not len(schedule(isl, osl, ServerLimits(6, 8192, 6, 90), 0))
