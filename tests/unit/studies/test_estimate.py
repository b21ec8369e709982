"""One operating point, against the kernels by hand: gcsim.studies.estimate."""

import gc

import pytest

import gcsim
from gcsim.engine.cluster import Cluster
from gcsim.errors import CapacityError, ProfileError
from gcsim.machine.machine import bind
from gcsim.machine.roofline import batch, causal_pairs, iteration_ns, run_ns, window_pairs
from gcsim.profiles.deployment import Pool
from gcsim.profiles.resolve import load_chip, load_model, resolve
from gcsim.simulate import simulate
from gcsim.studies.estimate import WAVES, Estimate


def point(**changes: int) -> Estimate:
    shape = {"isl": 10_000, "osl": 100, **changes}
    return gcsim.estimate("sn40l", 16, "gpt-oss-120b", **shape)


def test_a_lone_request_takes_what_the_kernels_say() -> None:
    machine = bind(load_model("gpt-oss-120b"), Pool(chip=load_chip("sn40l"), tp=16))
    ttft_ns, past = 0, 0
    for chunk in (8192, 1808):
        prompt = batch(
            prompt_tokens=chunk,
            logit_seqs=past > 0,
            prefill_pairs=causal_pairs(chunk, past),
            prefill_window_pairs=window_pairs(chunk, past, 128),
            prefill_kv=past + chunk,
            prefill_window_kv=min(past, 128) + chunk,
        )
        ttft_ns += iteration_ns(machine.table, prompt)
        past += chunk
    decode = batch(decode_seqs=1, logit_seqs=1, decode_kv=10_001, decode_window_kv=128)
    _, decode_ns = run_ns(machine.table, decode, 99, 0, 0, 1 << 62)
    found = point()
    ttft_ms = ttft_ns * 1e-6 + machine.request_overhead_s * 1e3
    assert found.ttft_ms == pytest.approx(ttft_ms, abs=1e-6)
    assert found.tpot_ms == pytest.approx(decode_ns / 99 * 1e-6, abs=1e-6)
    assert found.e2el_ms == pytest.approx(ttft_ms + decode_ns * 1e-6, abs=1e-6)


@pytest.mark.parametrize("concurrency", [1, 4, 32])
@pytest.mark.parametrize("cached", [0, 8000])
def test_the_breakdown_sums_to_the_times(concurrency: int, cached: int) -> None:
    found = point(concurrency=concurrency, cached=cached)
    assert found.tpot_ms is not None
    assert sum(found.breakdown_ms["prefill"].values()) == pytest.approx(found.ttft_ms, rel=1e-3)
    assert sum(found.breakdown_ms["decode"].values()) == pytest.approx(found.tpot_ms, rel=1e-3)
    physical = {k: v for k, v in found.breakdown_ms["decode"].items() if k != "waiting"}
    assert min(physical.values()) >= 0
    if concurrency == 1:
        assert found.breakdown_ms["prefill"]["waiting"] == 0
        assert found.breakdown_ms["decode"]["waiting"] == 0
        assert found.bound_decode == max(physical, key=lambda key: physical[key])
    else:
        assert found.breakdown_ms["prefill"]["waiting"] > 0


def test_the_breakdown_of_a_long_answer_is_that_of_its_mean_context() -> None:
    found = point(isl=1_000, osl=40_000)
    assert found.tpot_ms is not None
    assert found.breakdown_ms["decode"]["waiting"] == 0
    assert sum(found.breakdown_ms["decode"].values()) == pytest.approx(found.tpot_ms, rel=1e-3)


def test_throughput_is_littles_law_and_rises_with_concurrency() -> None:
    one, many = point(osl=1000), point(osl=1000, concurrency=16)
    assert one.output_throughput == pytest.approx(1000 / one.e2el_ms * 1e3)
    assert many.output_throughput > 2 * one.output_throughput
    assert many.tpot_ms is not None
    assert one.tpot_ms is not None
    assert many.tpot_ms > one.tpot_ms
    assert one.tok_s_user == pytest.approx(1e3 / one.tpot_ms)
    assert WAVES >= 2


def test_what_is_cached_is_not_computed() -> None:
    cold, warm = point(), point(cached=8000)
    assert warm.cached == 8000
    assert warm.ttft_ms < 0.5 * cold.ttft_ms
    assert point(cached=10_000).cached == 9_984  # whole blocks, and the last token is computed


def test_one_output_token_has_no_tpot() -> None:
    found = point(osl=1)
    assert (found.tpot_ms, found.tok_s_user, found.bound_decode) == (None, None, None)
    assert set(found.breakdown_ms) == {"prefill"}
    assert found.e2el_ms == pytest.approx(found.ttft_ms)


def test_more_chips_and_smaller_weights_decode_faster() -> None:
    def tpot(tp: int, dtype: str | None = None) -> float:
        point = gcsim.estimate("h100-sxm", tp, "llama-3.3-70b", 1000, 10, dtype=dtype)
        assert point.tpot_ms is not None
        return point.tpot_ms

    assert tpot(8) < tpot(4)
    assert tpot(4, "fp8") < tpot(4)


def test_what_cannot_be_is_an_error() -> None:
    with pytest.raises(ProfileError, match=r"isl: must be at least 1.*\n.*osl: must be"):
        point(isl=0, osl=0)
    with pytest.raises(ProfileError, match="is more than isl"):
        point(cached=10_001)
    with pytest.raises(ProfileError, match="context window"):
        point(isl=131_072)
    with pytest.raises(CapacityError, match="do not fit"):
        gcsim.estimate("h100-sxm", 1, "llama-3.3-70b", 1000, 10)
    with pytest.raises(ProfileError, match="is not one of h100-sxm's"):
        gcsim.estimate("h100-sxm", 8, "llama-3.1-8b", 10, 10, stack="abacus")
    with pytest.raises(CapacityError, match="does not fit the KV cache"):
        gcsim.estimate("h100-sxm", 2, "llama-3.3-70b", 100_000, 100)


@pytest.mark.slow
def test_a_sweep_leaves_nothing_behind() -> None:
    """Neither cycles (the parts of a cluster know each other) nor caches that grow (YAML nodes)."""
    point(), gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        point(isl=500)
    assert len(gc.get_objects()) - before < 2000  # was 49,000
    assert not clusters()


def test_a_run_keeps_no_cluster() -> None:
    before = len(clusters())  # of tests that hold one
    simulate(resolve("coding-agents", {"arrivals.agents": 2, "run.trajectories": 2}))
    assert len(clusters()) == before


def clusters() -> list[Cluster]:
    """Those in memory, without collecting first: a sweep does not either."""
    return [one for one in gc.get_objects() if isinstance(one, Cluster)]


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        point()
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ProfileError):
        point(isl=0)
    assert gc.isenabled()
