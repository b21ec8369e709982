"""Draws follow the distributions they are named after, keep their bounds and their quantiles."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats

from gcsim.profiles.distribution import Distribution, Tokens, constant
from gcsim.traffic.distributions import sample, sample_whole

READ: TypeAdapter[Distribution] = TypeAdapter(Tokens)
COUNT = 20_000


def made(**data: Any) -> Distribution:
    return READ.validate_python(data)


def draws(dist: Distribution, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float64]]:
    return sample(dist, np.random.default_rng(seed), COUNT)


@pytest.mark.parametrize(
    ("data", "theory"),
    [
        ({"dist": "lognormal", "median": 210, "sigma": 1.3}, stats.lognorm(1.3, scale=210)),
        ({"dist": "weibull", "k": 1.15, "scale": 91}, stats.weibull_min(1.15, scale=91)),
        ({"dist": "gamma", "mean": 5, "cv": 2.5}, stats.gamma(2.5**-2, scale=5 * 2.5**2)),
        ({"dist": "histogram", "edges": [0, 10], "weights": [3]}, stats.uniform(0, 10)),
    ],
)
def test_draws_follow_the_distribution(data: dict[str, Any], theory: Any) -> None:
    dist = made(**data)
    assert stats.kstest(draws(dist), theory.cdf).pvalue > 0.01


def test_geometric_counts_from_one_with_its_mean() -> None:
    counts = draws(made(dist="geometric", mean=3))
    assert counts.min() == 1
    assert np.array_equal(counts, np.rint(counts))
    for n in (1, 2, 5):
        assert np.mean(counts == n) == pytest.approx(1 / 3 * (2 / 3) ** (n - 1), abs=0.01)
    assert set(draws(made(dist="geometric", mean=1))) == {1.0}


def test_uniform_whole_numbers_reach_both_ends() -> None:
    values, counts = np.unique(draws(made(dist="uniform", low=3, high=5)), return_counts=True)
    assert values.tolist() == [3, 4, 5]
    assert counts.min() > 0.3 * COUNT


def test_choice_and_histogram_weigh() -> None:
    picked = draws(made(dist="choice", values=[170, 400], weights=[7, 3]))
    assert np.mean(picked == 170) == pytest.approx(0.7, abs=0.01)
    binned = draws(made(dist="histogram", edges=[1, 2, 10], weights=[1, 3]))
    assert np.mean(binned < 2) == pytest.approx(0.25, abs=0.01)


def test_draws_are_clipped_not_drawn_again() -> None:
    free = draws(made(dist="lognormal", median=100, sigma=2))
    kept = draws(made(dist="lognormal", median=100, sigma=2, low=20, high=500))
    assert np.array_equal(kept, np.clip(free, 20, 500))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"dist": "lognormal", "median": 1, "sigma": 1}, {"median": 9, "sigma": 2}),
        ({"dist": "weibull", "k": 1, "scale": 1}, {"scale": 9}),
        ({"dist": "geometric", "mean": 1}, {"mean": 4}),
    ],
)
def test_other_parameters_take_as_many_random_numbers(a: dict[str, Any], b: dict[str, Any]) -> None:
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    sample(made(**a), first, 100)
    sample(made(**{**a, **b}), second, 100)
    assert first.random() == second.random()


def test_whole_draws_are_rounded_and_not_below_the_least() -> None:
    lengths = sample_whole(made(value=2.6), np.random.default_rng(1), 3)
    assert lengths.dtype == np.int64
    assert lengths.tolist() == [3, 3, 3]
    assert sample_whole(constant(0), np.random.default_rng(1), 1).tolist() == [1]
