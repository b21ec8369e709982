"""Intervals for means, percentiles and differences of simulated times, and where a warm-up ends.

All intervals are two-sided, at `LEVEL` unless a level is given, from Student's t. One run: its
values follow each other in a queue and belong together in trajectories, so they are not independent
and s / sqrt(n) is far too small; `mean_interval` takes the wider of batch means and clusters.
Several runs with seeds of their own are independent: `replication_interval`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, sqrt

import numpy as np
from numpy.typing import NDArray

from gcsim.errors import ProfileError

LEVEL = 0.95
BATCHES = 10  # of one long run; more gain little and are correlated (Schmeiser 1982: 10 to 30)
PER_BATCH = 5  # the 5 of MSER-5
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its bounds, in the unit of the values."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the width."""
        return (self.high - self.low) / 2

    @property
    def relative(self) -> float:
        """Half of the width over the estimate; infinite at an estimate of 0 that is not certain.

        >>> Interval(10.0, 9.0, 11.0).relative
        0.1
        """
        return abs(self.half / self.value) if self.value else (inf if self.half else 0.0)


def t_quantile(freedom: float, level: float = LEVEL) -> float:
    """The t with P(|T| <= t) = level at so many degrees of freedom.

    >>> round(t_quantile(9), 3)
    2.262
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def replication_interval(values: Sequence[float] | Floats, level: float = LEVEL) -> Interval | None:
    """Mean of independent values, one per replication; None for fewer than two.

    x -+ t(n - 1) s / sqrt(n). Limit: the values are near normal, as means of long runs are.
    Ref: Law, Simulation Modeling and Analysis, 5th ed., eq. 4.12.

    >>> replication_interval([9.0, 10.0, 11.0])
    Interval(value=10.0, low=7.515..., high=12.484...)
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        return None
    return _around(float(x.mean()), float(x.std(ddof=1)) / sqrt(len(x)), len(x) - 1, level)


def paired_interval(
    first: Sequence[float] | Floats, other: Sequence[float] | Floats, level: float = LEVEL
) -> Interval | None:
    """other - first, pair by pair: runs that share their seeds (common random numbers).

    What a pair has in common cancels. Ref: Law, 5th ed., section 10.2.1.

    >>> paired_interval([1.0, 5.0, 9.0], [2.0, 6.0, 10.0])
    Interval(value=1.0, low=1.0, high=1.0)
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return replication_interval(b - a, level)


def welch_interval(
    first: Sequence[float] | Floats, other: Sequence[float] | Floats, level: float = LEVEL
) -> Interval | None:
    """mean(other) - mean(first) of runs with different seeds; None for fewer than two of either.

    Degrees of freedom after Welch 1938. Ref: Law, 5th ed., section 10.2.2.

    >>> interval = welch_interval([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    >>> interval.value, interval.low < 0 < interval.high
    (1.0, True)
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if min(len(a), len(b)) < 2:
        return None
    gap = float(b.mean() - a.mean())
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    if not va + vb:
        return Interval(gap, gap, gap)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return _around(gap, sqrt(va + vb), freedom, level)


def batch_means(
    values: Sequence[float] | Floats, batches: int = BATCHES, level: float = LEVEL
) -> Interval | None:
    """Mean of one long run in order of time; None for fewer than two values per batch.

    The run is cut into equal batches, whose means are nearly independent when a batch is much
    longer than the memory of the queue; then as `replication_interval`. A remainder shorter than a
    batch is left out at the beginning. Ref: Law & Kelton, Operations Research 27 (1979) 4.

    >>> batch_means(np.tile([1.0, 3.0], 100))
    Interval(value=2.0, low=2.0, high=2.0)
    """
    x = np.asarray(values, dtype=np.float64)
    size = len(x) // batches
    if size < 2:
        return None
    means = x[len(x) - size * batches :].reshape(batches, size).mean(axis=1)
    mean = float(means.mean())
    return _around(mean, *batch_error(means - mean), level)


def batch_error(rest: Floats) -> tuple[float, float]:
    """Standard error of the mean of batches that follow each other, and its degrees of freedom.

        s^2 = sum d_i^2 / (n (n - 1)) x (1 + r) / (1 - r),     f = n (1 - r) / (1 + r) - 1

    with the deviations d (`rest`) of n batches and r >= 0 the correlation of neighbours, corrected
    for its bias: 0 for batches longer than the memory of the queue, more where a busy system keeps
    its state from one batch to the next. Limits: r <= 0.9; a memory longer than the run is not seen
    in it. Ref: Law & Kelton, Operations Research 30 (1982) 1137; Kendall, Biometrika 41 (1954) 403.

    >>> batch_error(np.array([1.0, -1.0, 1.0, -1.0]))
    (0.577..., 3.0)
    """
    count, square = len(rest), float(rest @ rest)
    if not square:
        return 0.0, count - 1.0
    r = float(rest[1:] @ rest[:-1]) / square
    r = min(max(r + (1 + 3 * r) / count, 0.0), 0.9)
    memory = (1 + r) / (1 - r)
    return sqrt(square / (count * (count - 1)) * memory), max(count / memory - 1, 2.0)


def sum_error(rest: Floats) -> tuple[float, float]:
    """Standard error of a sum over tasks in the order of their starts, and its degrees of freedom.

    Tasks that meet in a queue are not independent, so where there are enough they are taken as
    `BATCHES` batches (`batch_error`); s^2 = n/(n-1) sum d_t^2 of fewer tasks.

    >>> sum_error(np.array([1.0, -1.0]))
    (2.0, 1.0)
    """
    count = len(rest)
    if count < 2 * BATCHES:
        return sqrt(count / (count - 1) * float(rest @ rest)), count - 1.0
    error, freedom = batch_error(np.array([part.sum() for part in np.array_split(rest, BATCHES)]))
    return error * BATCHES, freedom


def cluster_error(sums: NDArray[np.number], counts: NDArray[np.integer]) -> float:
    """Standard error of a mean whose values come in independent clusters (trajectories).

    m = sum a / sum c,   s^2 = n/(n-1) sum (a_t - m c_t)^2 / (sum c)^2

    with sums a_t of c_t values in clusters t = 1..n. Ref: Cochran, Sampling Techniques, ch. 6.

    >>> cluster_error(np.array([1.0, 3.0]), np.array([1, 1]))
    1.0
    """
    count, number = len(sums), float(counts.sum())
    rest = sums - float(sums.sum()) / number * counts
    return sqrt(count / max(count - 1, 1) * float(rest @ rest)) / number


def mean_interval(
    values: Sequence[float] | Floats,
    clusters: Sequence[int] | NDArray[np.integer] | None = None,
    level: float = LEVEL,
) -> Interval | None:
    """Mean of one run: values in order of time, each of a trajectory (`clusters`).

    The wider of `batch_means` (requests that meet in a queue) and of the interval from
    `cluster_error` (requests of one task); None where there is neither.
    """
    x = np.asarray(values, dtype=np.float64)
    found = [batch_means(x, level=level)]
    if clusters is not None and len(x):
        _, which = np.unique(np.asarray(clusters), return_inverse=True)
        sums, counts = np.bincount(which, x), np.bincount(which)
        # One value per cluster says nothing about memory: only batches do, where there are any.
        if len(sums) > 1 and (len(sums) < len(x) or found[0] is None):
            error = cluster_error(sums, counts)
            found.append(_around(float(x.mean()), error, len(sums) - 1, level))
    wide = max((i.half for i in found if i is not None), default=None)
    mean = float(x.mean()) if len(x) else 0.0
    return None if wide is None else Interval(mean, mean - wide, mean + wide)


def percentile_interval(
    values: Sequence[float] | Floats,
    percent: float,
    clusters: Sequence[int] | NDArray[np.integer] | None = None,
    level: float = LEVEL,
) -> Interval | None:
    """A percentile of one run between two of its order statistics; values in order of time.

    The share of values at or below the estimate q is a mean, with an interval p -+ h from
    `mean_interval`; the bounds are the order statistics of ranks n (p - h) and n (p + h) + 1. None
    where that leaves the sample: so few values do not bound so high a percentile. Independent
    values give the binomial ranks. Ref: Woodruff, JASA 47 (1952) 635.

    >>> percentile_interval(np.random.default_rng(1).random(4000), 50)
    Interval(value=0.49..., low=0.46..., high=0.51...)
    >>> percentile_interval(np.arange(50.0), 99) is None
    True
    """
    x = np.asarray(values, dtype=np.float64)
    if not len(x):
        return None
    estimate = float(np.percentile(x, percent))
    share = mean_interval(np.asarray(x <= estimate, dtype=np.float64), clusters, level)
    if share is None:
        return None
    # A run so regular that every batch has the same share still has the binomial spread.
    p = percent / 100
    half = max(share.half, t_quantile(len(x), level) * sqrt(p * (1 - p) / len(x)))
    ranks = floor(len(x) * (p - half)), ceil(len(x) * (p + half)) + 1
    if ranks[0] < 1 or ranks[1] > len(x):
        return None
    ordered = np.partition(x, [ranks[0] - 1, ranks[1] - 1])
    low, high = float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1])
    return Interval(estimate, min(low, estimate), max(high, estimate))


def parse_share(text: str, option: str) -> float:
    """`2%` or `0.02` as a fraction. Errors: `ProfileError` unless it is in (0, 1).

    >>> parse_share("2%", "--precision"), parse_share("0.05", "--move")
    (0.02, 0.05)
    """
    try:
        value = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise ProfileError.one(option, "", text, "is no share between 0% and 100%", "write 2%")
    return value


def _around(value: float, error: float, freedom: float, level: float) -> Interval:
    half = t_quantile(freedom, level) * error if error else 0.0
    return Interval(value, value - half, value + half)
