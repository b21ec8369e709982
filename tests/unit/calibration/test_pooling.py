"""What a factor is pulled to: against the Gaussian that it stands for; what points show of it."""

from itertools import product

import numpy as np
import pytest

from gcsim.calibration.factors import Name, prior_of
from gcsim.calibration.pooling import (
    CHIPS,
    CHIPS_EFFICIENCY,
    DIES,
    OWN,
    SHOWN,
    VENDORS,
    VENDORS_EFFICIENCY,
    Hierarchy,
    hierarchy,
    independent,
    owner,
    shown_by_points,
    tied,
)
from gcsim.calibration.solve import Solved, solve

VENDOR = {"a": "green", "b": "green", "c": "red", "d": "red"}
SEEN: dict[Name, float] = {  # log of the value, seen without error
    ("a", "vllm", "layer_overhead"): -10.0,
    ("b", "vllm", "layer_overhead"): -10.4,
    ("a", "sglang", "layer_overhead"): -10.8,
    ("c", "sglang", "layer_overhead"): -9.9,
    ("a", "", "kv_read"): -0.1,
    ("b", "", "kv_read"): -0.3,
}


def prior(name: Name) -> tuple[float, float]:
    return prior_of(name[2], name[1])


def covariance(one: Name, two: Name) -> float:
    """Of two factors, before any point: what their equation in the module says."""
    found = 0.0
    if one[1:] == two[1:]:
        found += prior(one)[1] ** 2
    if VENDOR[one[0]] == VENDOR[two[0]] and one[2] == two[2]:
        found += (VENDORS if one[1] else VENDORS_EFFICIENCY) ** 2
    spread = CHIPS if one[1] else CHIPS_EFFICIENCY
    return found + (spread**2 if one == two else 0.0)


def settled() -> tuple[Solved, Hierarchy]:
    """The hierarchy after each of `SEEN` was measured almost without error."""
    columns = tied(list(SEEN))
    pool = hierarchy(columns, prior, VENDOR)
    pull = pool.pull().from_here(np.array([SEEN[names[0]] for names in columns]))
    count = len(columns)
    limits = np.array([[-30.0] * count, [0.0] * count])
    return Solved(pull.start, np.zeros(count), 1e4 * np.eye(count), pull, limits), pool


@pytest.mark.parametrize(
    "name",
    [
        ("c", "vllm", "layer_overhead"),  # a stack that its vendor has on no chip
        ("b", "sglang", "layer_overhead"),  # one that its vendor has elsewhere
        ("d", "sglang", "layer_overhead"),  # a chip without any point
        ("d", "trtllm", "layer_overhead"),  # a stack without any point
        ("c", "", "kv_read"),  # what only another vendor's chips show
    ],
)
def test_what_no_point_shows_is_the_gaussian_s_conditional(name: Name) -> None:
    solved, pool = settled()
    value, spread = pool.expects(solved, name, VENDOR[name[0]])
    seen = list(SEEN)
    inside = np.array([[covariance(p, q) for q in seen] for p in seen])
    across = np.array([covariance(name, p) for p in seen])
    weights = np.linalg.solve(inside, across)
    lack = np.array([SEEN[p] - np.log(prior(p)[0]) for p in seen])
    assert np.log(value) == pytest.approx(np.log(prior(name)[0]) + weights @ lack, abs=1e-3)
    assert spread**2 == pytest.approx(covariance(name, name) - weights @ across, rel=1e-3)


def test_a_vendor_s_own_pace_is_carried_to_a_stack_it_has_no_point_of() -> None:
    solved, pool = settled()
    red, _ = pool.expects(solved, ("c", "vllm", "layer_overhead"), "red")
    green, _ = pool.expects(solved, ("b", "vllm", "layer_overhead"), "green")
    assert red > 1.15 * green, "its layers take longer in sglang, so they do here"


def test_chips_of_one_die_share_all_but_their_memory_and_fp4() -> None:
    factors = ("memory", "kv_read", "gemm_fp4", "gemm_bf16", "layer_overhead")
    for (chip, first), factor in product(DIES.items(), factors):
        stack = "vllm" if factor == "layer_overhead" else ""
        pair: list[Name] = [(chip, stack, factor), (first, stack, factor)]
        assert len(tied(pair)) == (2 if factor in OWN else 1)
        assert owner(pair[0]) == (pair[0] if factor in OWN else pair[1])


def test_only_the_sum_of_two_is_seen_so_neither_is_shown() -> None:
    """Fitted by the points is what they show by themselves, not what a tight prior makes of it."""
    columns: list[tuple[Name, ...]] = [
        (("a", "", "gemm_bf16"),),
        (("a", "vllm-2024", "compute"),),
        (("a", "", "memory"),),
    ]
    slopes = np.array([[20.0, 20.0, 0.0], [0.0, 0.0, 30.0]])
    pull = independent(columns, prior)
    limits = np.array([[-9.0] * 3, [9.0] * 3])
    found = solve(lambda x: slopes @ x, lambda _: slopes, pull, limits)
    shown, correlation = shown_by_points(found, [prior(names[0])[1] for names in columns])
    assert shown[0] < SHOWN, "the other's prior is the wider one"
    assert shown[2] > 0.9
    assert correlation[0, 1] < -0.9
    assert abs(correlation[0, 2]) < 1e-9
