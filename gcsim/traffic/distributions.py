"""Draws from the distributions of a profile, vectorised."""

import numpy as np
from numpy.typing import NDArray

from gcsim.profiles.distribution import (
    Choice,
    Constant,
    Distribution,
    Gamma,
    Geometric,
    Histogram,
    Lognormal,
    Uniform,
    Weibull,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sample(dist: Distribution, rng: np.random.Generator, count: int) -> Floats:
    """`count` independent draws, clipped to [low, high], in the unit of the distribution.

    The number of random numbers taken does not depend on the parameters, so that two sets of
    parameters of one kind of distribution give draws at the same quantiles.

    >>> from gcsim.profiles.distribution import Lognormal
    >>> d = Lognormal(dist="lognormal", dimension="number", median=100, sigma=1, high=120)
    >>> sample(d, np.random.default_rng(1), 3).round(1).tolist()
    [120.0, 120.0, 120.0]
    """
    draws = _draw(dist, rng, count)
    if dist.low is not None or dist.high is not None:
        draws = np.clip(draws, dist.low, dist.high)
    return draws


def _draw(dist: Distribution, rng: np.random.Generator, count: int) -> Floats:
    draws: Floats
    match dist:
        case Constant():
            draws = np.full(count, dist.value)
        case Lognormal():
            draws = dist.median * np.exp(dist.sigma * rng.standard_normal(count))
        case Weibull():
            draws = dist.scale * rng.standard_exponential(count) ** (1 / dist.k)
        case Geometric():
            tail = 0.0 if dist.mean == 1 else -1 / np.log1p(-1 / dist.mean)
            draws = 1 + np.floor(tail * rng.standard_exponential(count))
        case Gamma():
            draws = dist.mean * dist.cv**2 * rng.standard_gamma(dist.cv**-2, count)
        case Uniform():
            low, high = dist.low or 0.0, dist.high or 0.0
            whole = dist.dimension == "number"
            draws = low + (high - low + whole) * rng.random(count)
            draws = np.floor(draws) if whole else draws
        case Histogram():
            sums = np.concatenate([[0.0], np.cumsum(dist.weights)])
            draws = np.interp(rng.random(count) * sums[-1], sums, dist.edges)
        case Choice():
            sums = np.cumsum(dist.weights)
            place = np.searchsorted(sums[:-1], rng.random(count) * sums[-1], side="right")
            draws = np.asarray(dist.values)[place]
    return draws


def sample_whole(dist: Distribution, rng: np.random.Generator, count: int, least: int = 1) -> Ints:
    """Draws rounded to whole numbers, none below `least`: tokens, steps, calls."""
    return np.maximum(np.rint(sample(dist, rng, count)), least).astype(np.int64)
