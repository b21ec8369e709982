"""The ratio of two runs of the same trajectories, with its paired interval.

The runs share their random numbers, so a trajectory that is long in one is long in the other; what
they have in common cancels in a difference of pairs. A cluster is a trajectory (all its requests).
With sums a_t, b_t over cluster t = 1..n

    R = sum b / sum a,   d_t = b_t - R a_t,   s = error of sum d_t / sum a               (1)

and the 95% interval is R -+ t s: the delta method for a ratio of means, with the error and degrees
of freedom of `gcsim.results.statistics.sum_error`, for tasks that meet in a queue. Percentiles
resample clusters (`DRAWS` draws, seeded). Ref: Cochran, Sampling Techniques, 1977, ch. 6.
Runs of different workloads or seeds have no pairs: there R is the ratio of the means and

    s^2 = R^2 (v_a + v_b),   v = (error of sum (a_t - m c_t) / sum a)^2                  (2)

with c_t values in cluster t and m = sum a / sum c. Limit: percentiles take trajectories as
independent; replications would tell more.
"""

from dataclasses import dataclass
from math import isnan, sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcsim.results.counted import Counted, count_run
from gcsim.results.intervals import per_task
from gcsim.results.metric import BOUNDED, PERCENTILES, Metric
from gcsim.results.metrics import named, using
from gcsim.results.result import Result
from gcsim.results.statistics import sum_error, t_quantile

DRAWS = 1000
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio to the first and its 95% interval; None where it is not defined."""

    ratio: float | None
    low: float | None = None
    high: float | None = None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 1 out."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high


def ratios(first: Result, other: Result, scale: float = 1.0) -> dict[str, Ratio]:
    """Key -> ratio of `other` to `first`; rates are multiplied by `scale` (normalisation).

    Paired: means and percentiles of the requests and trajectories that both completed.
    """
    together, sides = paired(first, other), (counted_of(first), counted_of(other))
    found: dict[str, Ratio] = {}
    for metric in using("paired"):
        if metric.per is not None:
            found[metric.key] = _sums(metric, *sides, together, scale)
            continue
        tables = [_values(side, metric) for side in sides]
        each = _pairs(*tables) if together else _apart(*tables)
        found |= dict(zip(metric.keys(BOUNDED).values(), each, strict=True))
    return found


def ratio(first: Result, other: Result, key: str, scale: float = 1.0) -> Ratio:
    """One of the ratios of `ratios`, a mean or a rate; the others are not computed."""
    metric, _ = named(key)
    together, sides = paired(first, other), (counted_of(first), counted_of(other))
    if metric.per is not None:
        return _sums(metric, *sides, together, scale)
    tables = [_values(side, metric) for side in sides]
    return _mean(_both(*tables)) if together else _apart(*tables)[0]


def paired(first: Result, other: Result) -> bool:
    """Whether two runs play the same trajectories."""
    mine, theirs = first.resolved, other.resolved
    return (
        mine.scenario.run.seed == theirs.scenario.run.seed
        and mine.mapping["workload"] == theirs.mapping["workload"]
    )


def ratio_of_sums(first: Floats, other: Floats) -> Ratio:
    """Equation (1), on the sums of the clusters.

    >>> ratio_of_sums(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    Ratio(ratio=2.0, low=2.0, high=2.0)
    """
    total, count = float(first.sum()), len(first)
    if not total:
        return Ratio(None)
    ratio = float(other.sum()) / total
    if count < 2:
        return Ratio(ratio)
    error, freedom = sum_error(other - ratio * first)
    return _around(ratio, error / total, freedom)


def _around(ratio: float, spread: float, freedom: float) -> Ratio:
    half = t_quantile(freedom) * spread
    return Ratio(ratio, ratio - half, ratio + half)


def counted_of(result: Result) -> Counted:
    """What the metrics of a result are over."""
    pools = pd.DataFrame(result.summary["pools"])
    tables = (result.requests, result.trajectories, pools)
    return count_run(*tables, result.resolved.scenario, result.summary)


def _values(side: Counted, metric: Metric) -> pd.DataFrame:
    """What each request or task has of a metric: `value`, beside what it is known by."""
    rows = getattr(side, metric.of)
    keys = [key for key in ("trajectory", "step") if key in rows]
    found: pd.DataFrame = rows[keys].assign(value=metric.values(rows))
    return found


def _apart(mine: pd.DataFrame, theirs: pd.DataFrame) -> list[Ratio]:
    """Equation (2): unpaired means; percentiles without an interval."""
    values = [table[["trajectory", "value"]].dropna() for table in (mine, theirs)]
    if any(value.empty for value in values):
        return [Ratio(None)] * len(BOUNDED)
    means, variances, freedoms = [], [], []
    for value in values:
        _, cluster = np.unique(value["trajectory"].to_numpy(), return_inverse=True)
        sums, number = np.bincount(cluster, value["value"].to_numpy()), np.bincount(cluster)
        means.append(float(sums.sum()) / float(number.sum()))
        error, freedom = sum_error(sums - means[-1] * number) if len(sums) > 1 else (0.0, 0.0)
        variances.append((error / float(sums.sum())) ** 2 if means[-1] else 0.0)
        freedoms.append(freedom)
    ratio = _over(means[1], means[0])
    mean = Ratio(ratio)
    if ratio and min(freedoms) > 0:
        mean = _around(ratio, ratio * sqrt(sum(variances)), min(freedoms))
    wanted = list(PERCENTILES.values())
    plain = (np.percentile(value["value"].to_numpy(), wanted).tolist() for value in values)
    return [mean, *(Ratio(_over(b, a)) for a, b in zip(*plain, strict=True))]


def _over(other: float, first: float) -> float | None:
    """A ratio, or None where the first is 0."""
    return other / first if first else None


def _both(mine: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """The rows that both have."""
    keys = [key for key in mine if key != "value"]
    return mine.merge(theirs, on=keys, suffixes=("", "_other")).dropna()


def _mean(both: pd.DataFrame) -> Ratio:
    """Equation (1) over trajectories."""
    if both.empty:
        return Ratio(None)
    sums = both.groupby("trajectory")[["value", "value_other"]].sum()
    return ratio_of_sums(sums["value"].to_numpy(), sums["value_other"].to_numpy())


def _pairs(mine: pd.DataFrame, theirs: pd.DataFrame) -> list[Ratio]:
    """The mean, and percentiles by resampling trajectories."""
    both = _both(mine, theirs)
    return [_mean(both), *_percentiles(both)] if len(both) else [Ratio(None)] * len(BOUNDED)


def _percentiles(both: pd.DataFrame) -> list[Ratio]:
    """Ratios of `PERCENTILES`, by resampling trajectories."""
    wanted = np.array(list(PERCENTILES.values())) / 100
    who, cluster = np.unique(both["trajectory"].to_numpy(), return_inverse=True)
    values = [both[name].to_numpy() for name in ("value", "value_other")]
    plain = [np.percentile(value, wanted * 100).tolist() for value in values]
    ratios = [_over(b, a) for a, b in zip(*plain, strict=True)]
    if len(who) < 2:
        return [Ratio(ratio) for ratio in ratios]
    orders = [np.argsort(value, kind="stable") for value in values]
    ranked = [(value[order], cluster[order]) for value, order in zip(values, orders, strict=True)]
    rng = np.random.default_rng(0)
    drawn = np.empty((DRAWS, len(wanted)))
    for draw in drawn:
        weights = np.bincount(rng.integers(len(who), size=len(who)), minlength=len(who))
        low, high = (_weighted(value, weights[group], wanted) for value, group in ranked)
        # Where a drawn percentile is 0 there is no ratio, and then no interval either.
        draw[:] = np.divide(high, low, out=np.full(len(wanted), np.nan), where=low != 0)
    bounds = np.percentile(drawn, [2.5, 97.5], axis=0).T.tolist()
    return [
        Ratio(ratio)
        if ratio is None or isnan(low)
        else Ratio(ratio, min(low, ratio), max(high, ratio))
        for ratio, (low, high) in zip(ratios, bounds, strict=True)
    ]


def _weighted(values: Floats, weights: NDArray[np.int64], wanted: Floats) -> Floats:
    """Quantiles of sorted values that count `weights` times each."""
    upto = np.cumsum(weights)
    places = np.searchsorted(upto, wanted * upto[-1], side="left").clip(max=len(values) - 1)
    return np.asarray(values[places])


def _sums(metric: Metric, first: Counted, other: Counted, together: bool, scale: float) -> Ratio:
    """The ratio of two sums per something, each a ratio of sums over tasks.

    With sums a_t, b_t and what they are per, p_t, q_t (time under load, say), over tasks t = 1..n

        R = (sum b / sum q) / (sum a / sum p)
        d_t = (b_t - (B/Q) q_t) / B - (a_t - (A/P) p_t) / A,   s = R x error of sum d_t         (3)

    over the tasks of either, with nothing for one that the other did not count.
    """
    (a, p), (b, q) = (per_task(metric, side) for side in (first, other))
    totals = [float(x.sum()) for x in (a, p, b, q)]
    if not (totals[0] and totals[1] and totals[3]):
        return Ratio(None)
    # Each side by itself first: a run is exactly once itself.
    ratio = (totals[2] / totals[3]) / (totals[0] / totals[1]) * (scale if metric.rate else 1.0)
    count = min(len(a), len(b))
    if not together or count < 2 or not totals[2]:
        return Ratio(ratio)
    mine = (a - totals[0] / totals[1] * p) / totals[0]
    theirs = (b - totals[2] / totals[3] * q) / totals[2]
    gaps = theirs.sub(mine, fill_value=0.0)
    error, freedom = sum_error(gaps.sort_index().to_numpy(dtype=np.float64))
    return _around(ratio, ratio * error, freedom)
