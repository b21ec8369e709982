"""Random deployments and traffic: both engines agree bit for bit, and every invariant holds."""

import random
from dataclasses import replace

import deployments
import pytest
import toys
from hypothesis import example, given
from hypothesis import strategies as st

from gcsim.engine import run
from gcsim.traffic.trajectory import Trajectory

seeds = st.integers(0, 2**32)


@given(seeds)
@example(1000000)  # a request that waits for its KV leaves the line to those that were prefilled
@example(100007660)  # what a later replica ends at T comes after the earlier one's boundary at T
@example(11800)  # what is evicted at a boundary is written below at that boundary
@toys.examples(400)
def test_engines_agree_bit_for_bit_and_invariants_hold(seed: int) -> None:
    assert not deployments.differences(deployments.case(random.Random(seed)))


@given(seeds)
@toys.examples(100)
def test_engines_agree_where_the_longest_prompt_limits_the_batch(seed: int) -> None:
    assert not deployments.differences(deployments.limited(random.Random(seed)))


@given(seeds)
@toys.examples(60)
def test_engines_agree_where_steps_ask_for_several_models(seed: int) -> None:
    assert not deployments.differences(deployments.several(random.Random(seed)))


@given(seeds)
@toys.examples(60)
def test_engines_agree_with_states_chunks_and_sparse_attention(seed: int) -> None:
    assert not deployments.differences(deployments.kinds_case(random.Random(seed)))


@given(seeds, st.sampled_from([1, 2, 5]))
@toys.examples(60)
def test_engines_agree_however_far_a_run_is_planned(seed: int, ahead: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "AHEAD", ahead)
        assert not deployments.differences(deployments.case(random.Random(seed)))


@given(seeds)
@toys.examples(40)
def test_the_same_case_leaves_the_same_bytes(seed: int) -> None:
    case = deployments.case(random.Random(seed))
    assert deployments.state(case.play(True)) == deployments.state(case.play(True))


@given(seeds, st.sampled_from([0.0, 0.003, 0.1]))
@toys.examples(40)
def test_engines_agree_with_a_warm_up_and_a_horizon(seed: int, warmup_s: float) -> None:
    case = deployments.case(random.Random(seed))
    cut = replace(case, warmup_s=warmup_s, horizon_s=0.5)
    assert not deployments.differences(cut)
    assert len(cut.play(True).records.requests) <= cut.play(True).created


@pytest.mark.parametrize("seed", range(8))
def test_a_long_stressed_run_keeps_the_invariants(seed: int) -> None:
    rng = random.Random(seed)
    trajectories = [
        Trajectory(t.index + 100 * part, t.workload, t.steps, 0.05 * part, t.priority)
        for part in range(12)
        for t in deployments.graphs(random.Random(rng.randrange(2**32)))
    ]
    limits = {"policy": "prefill_only", "max_seqs": 4}, {"policy": "decode_only", "max_seqs": 6}
    link = {"bandwidth": "1 GB/s", "efficiency": 0.7, "setup": "20 us", "ramp": "10 kB"}
    what = toys.deployment(
        {
            "p": {"role": "prefill", "kv_tokens": 2_000, "batching": limits[0]},
            "d": {"role": "decode", "kv_tokens": 1_200, "batching": limits[1]},
        },
        links=[{"from": "p", "to": "d", **link}, {"from": "d", "to": "p", **link}],
        kv_handoff={"return_kv": bool(seed % 2), "layerwise": bool(seed % 3)},
    )
    case = deployments.Case(what, toys.model(), trajectories, 0.0, 0.0, None)
    assert not deployments.differences(case)
