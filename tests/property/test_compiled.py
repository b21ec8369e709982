"""The compiled loop leaves behind what the engine does, bit for bit, wherever it can play."""

import random

import deployments
from hypothesis import assume, given, settings
from hypothesis import strategies as st

seeds = st.integers(0, 2**32)


@given(seeds, st.sampled_from([1, 2, 64]))
@settings(max_examples=settings().max_examples * 4)
def test_the_compiled_loop_agrees_bit_for_bit(seed: int, ahead: int) -> None:
    case = deployments.mixed_case(random.Random(seed))
    assert case.unplayable is None
    assert not deployments.compiled_differences(case, ahead)


@given(seeds)
def test_what_can_be_played_of_all_cases_agrees(seed: int) -> None:
    case = deployments.case(random.Random(seed))
    assume(case.unplayable is None)
    assert not deployments.compiled_differences(case, 3)
