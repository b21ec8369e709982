"""The compiled loop leaves behind what the engine does, bit for bit, wherever it can play."""

import random

import deployments
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcsim.engine.compiled import feed
from gcsim.machine.layers import layers_of

seeds = st.integers(0, 2**32)
aheads = st.sampled_from([1, 2, 64])


@given(seeds, aheads)
@settings(max_examples=settings().max_examples * 3)
def test_mixed_pools_agree_bit_for_bit(seed: int, ahead: int) -> None:
    case = deployments.mixed_case(random.Random(seed))
    assert case.unplayable is None
    assert not deployments.compiled_differences(case, ahead)


@given(seeds, aheads)
@settings(max_examples=settings().max_examples * 2)
def test_prefill_and_decode_agree_bit_for_bit(seed: int, ahead: int) -> None:
    case = deployments.playable_case(random.Random(seed))
    assert case.unplayable is None
    assert not deployments.compiled_differences(case, ahead)


@given(seeds, aheads)
def test_states_and_sparse_attention_agree_bit_for_bit(seed: int, ahead: int) -> None:
    case = deployments.kinds_case(random.Random(seed))
    if layers_of(case.model).window < 0:
        assert "chunks" in str(case.unplayable)
        return
    assert case.unplayable is None
    assert not deployments.compiled_differences(case, ahead)


def test_a_nanosecond_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the comparison would say of a loop whose delays are off by one nanosecond."""
    case = deployments.mixed_case(random.Random(1))
    assert not deployments.compiled_differences(case, 1)
    exact = feed.to_ns
    monkeypatch.setattr(feed, "to_ns", lambda seconds: exact(seconds) + 1)
    assert "requests" in deployments.compiled_differences(case, 1)
