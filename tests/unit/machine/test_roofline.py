"""Kernels on hand-made numbers: gcsim.machine.roofline."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcsim.machine import roofline


@given(st.floats(1, 512), st.integers(1, 8), st.floats(1, 1e5), st.floats(1, 4))
def test_distinct_experts_stay_between_one_tokens_and_all(
    extra: float, per_token: int, tokens: float, skew: float
) -> None:
    experts = per_token + extra
    found = roofline.distinct_experts(experts, float(per_token), tokens, skew)
    assert per_token <= found <= experts * (1 + 1e-12)
    assert found <= roofline.distinct_experts(experts, float(per_token), tokens, 1.0) * (1 + 1e-12)


@given(st.floats(0, 1e9), st.sampled_from([2.0, 4.0, 8.0, 16.0]))
def test_an_all_reduce_takes_the_faster_algorithm(moved: float, chips: float) -> None:
    one_shot = roofline.all_reduce_s(moved, chips, 1e-5, 1e9, 1e11)
    two_phase = 1e-5 + 2e-6 + 2 * (chips - 1) / chips * moved / 1e11
    found = roofline.all_reduce_s(moved, chips, 1e-5, 2e-6, 1e11)
    assert found == pytest.approx(min(one_shot, two_phase), rel=1e-12)


def test_all_to_all_sends_all_but_ones_own_part() -> None:
    assert roofline.all_to_all_s(1e9, 4.0, 0.0, 1e9) == 0.75
    assert roofline.all_to_all_s(1e9, 1.0, 1.0, 1e9) == 0.0


@given(st.integers(1, 2**62))
def test_a_gap_is_within_half_a_percent_of_its_bins_middle(gap_ns: int) -> None:
    number = roofline.gap_bin(gap_ns)
    assert 0 < number < roofline.GAP_BINS
    assert float(roofline.gap_of_bin(np.array([number]))[0]) == pytest.approx(gap_ns, rel=0.004)


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_gap_bins_keep_the_order(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert roofline.gap_bin(low) <= roofline.gap_bin(high)
