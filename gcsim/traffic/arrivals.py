"""When trajectories start: an endless (or ending) stream of times."""

from collections.abc import Iterator
from itertools import pairwise, repeat

import numpy as np

from gcsim.profiles.arrivals import (
    Arrivals,
    ChangingRate,
    Closed,
    GammaArrivals,
    Poisson,
    Static,
    TraceArrivals,
)
from gcsim.traffic.distributions import Floats

CHUNK = 1024


def starts(arrivals: Arrivals, rng: np.random.Generator) -> Iterator[float | None]:
    """The start times of trajectories 0, 1, ... [s], rising; None where the engine decides.

    The k-th time is where the cumulated rate reaches the sum of k+1 gaps of mean 1, so that the
    same seed gives the same pattern, stretched, at every rate.

    >>> from gcsim.profiles.arrivals import Closed
    >>> times = starts(Closed(process="closed", agents=2), np.random.default_rng(1))
    >>> [next(times) for _ in range(3)]
    [0.0, 0.0, None]
    """
    match arrivals:
        case Closed():
            yield from (arrivals.ramp * k / arrivals.agents for k in range(arrivals.agents))
            yield from repeat(None)
        case Static():
            yield from repeat(0.0)
        case TraceArrivals():
            yield from repeat(None)
        case Poisson():
            yield from (unit / arrivals.rate for unit in _units(1.0, rng))
        case GammaArrivals():
            yield from (unit / arrivals.rate for unit in _units(arrivals.cv, rng))
        case ChangingRate():
            yield from _warped(arrivals, _units(arrivals.cv, rng))


def _units(cv: float, rng: np.random.Generator) -> Iterator[float]:
    total = 0.0
    while True:
        gaps: Floats = (
            rng.standard_exponential(CHUNK)
            if cv == 1
            else rng.standard_gamma(cv**-2, CHUNK) * cv**2
        )
        times = total + np.cumsum(gaps)
        total = float(times[-1])
        yield from times.tolist()


def _warped(profile: ChangingRate, units: Iterator[float]) -> Iterator[float]:
    """Times at which the cumulated rate reaches each unit; ends where no rate is left.

    Inside a segment of length d from rate a to rate b the count after time t is
    a t + (b - a) t^2 / (2 d), inverted as 2 n / (a + sqrt(a^2 + 2 n (b - a) / d)).
    """
    points = profile.points
    unit, done = next(units), 0.0
    for here, there in pairwise(points):
        length = there.at - here.at
        end = here.rate if profile.process == "steps" else there.rate
        count = length * (here.rate + end) / 2
        while unit < done + count:
            n = unit - done
            root = max(0.0, here.rate**2 + 2 * n * (end - here.rate) / length) ** 0.5
            yield here.at + min(length, 2 * n / (here.rate + root))
            unit = next(units)
        done += count
    last = points[-1]
    while last.rate:
        yield last.at + (unit - done) / last.rate
        unit = next(units)
