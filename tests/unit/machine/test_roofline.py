"""Kernels on hand-made numbers: gcsim.machine.roofline."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gcsim.machine import roofline
from gcsim.machine.roofline import distinct_experts, fullest
from gcsim.results.summary import gap_of_bin


@given(st.floats(1, 512), st.integers(1, 8), st.floats(1, 1e5))
def test_distinct_experts_stay_between_one_tokens_and_all(
    extra: float, per_token: int, tokens: float
) -> None:
    experts = per_token + extra
    found = distinct_experts(experts, float(per_token), tokens)
    assert per_token <= found <= experts * (1 + 1e-12)


@given(st.floats(1, 1e6), st.floats(0, 1), st.sampled_from([1.0, 2.0, 8.0, 64.0, 256.0]))
@example(1.5, 0.5, 8.0)  # a count that is not whole
def test_the_fullest_rank_has_at_least_the_mean_and_at_most_all(
    trials: float, chance: float, ranks: float
) -> None:
    found = fullest(trials, chance, ranks)
    assert trials * chance * (1 - 1e-9) <= found <= max(trials, 1.0) * (1 + 1e-9)
    assert found <= fullest(trials, chance, ranks * 2) * (1 + 1e-9)


@given(st.integers(1, 2**62))
def test_a_gap_is_within_half_a_percent_of_its_bins_middle(gap_ns: int) -> None:
    number = roofline.gap_bin(gap_ns)
    assert 0 < number < roofline.GAP_BINS
    assert float(gap_of_bin(np.array([number]))[0]) == pytest.approx(gap_ns, rel=0.004)


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_gap_bins_keep_the_order(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert roofline.gap_bin(low) <= roofline.gap_bin(high)
