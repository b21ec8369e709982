"""The ratio of two runs of the same trajectories, with its paired interval.

The runs share their random numbers, so a trajectory that is long in one is long in the other; what
they have in common cancels in a difference of pairs. A cluster is a trajectory (all its requests),
or, for rates, one of `WINDOWS` equal parts of the run. With sums a_t, b_t over cluster t = 1..n

    R = sum b / sum a,   d_t = b_t - R a_t,   s^2 = n/(n-1) sum d_t^2 / (sum a)^2        (1)

and the 95% interval is R -+ t(0.975, n-1) s: the delta method for a ratio of means. Percentiles
resample clusters (`DRAWS` draws, seeded). Ref: Cochran, Sampling Techniques, 1977, ch. 6.
Runs of different workloads or seeds have no pairs: there R is the ratio of the means and

    s^2 = R^2 (v_a + v_b),   v = n/(n-1) sum (a_t - m c_t)^2 / (sum a)^2                 (2)

with c_t values in cluster t and m = sum a / sum c. Limit: trajectories that meet in a queue are not
independent; replications would tell more.
"""

from dataclasses import dataclass
from math import isnan, sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcsim.results.result import Result
from gcsim.results.statistics import cluster_error, t_quantile
from gcsim.results.summary import PERCENTILES, counted, meets, slos_of, task_meets

WINDOWS = 20
DRAWS = 1000
REQUEST_METRICS = {"ttft": "ttft_s", "tpot": "tpot_s", "e2el": "e2e_s"}
RATES = (
    "request_throughput", "output_throughput", "total_token_throughput", "request_goodput",
    "task_throughput", "task_goodput",
)  # fmt: skip
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
    """Metric -> ratio of `other` to `first`; rates are multiplied by `scale` (normalisation).

    Paired: means and percentiles of the requests and trajectories that both completed.
    """
    together = paired(first, other)
    found: dict[str, Ratio] = {}
    for name, column in (*REQUEST_METRICS.items(), ("task", "task_s")):
        tables = [_counted(result, name) for result in (first, other)]
        found |= _pairs(name, column, *tables) if together else _apart(name, column, *tables)
    here, there = _rate_sums(first), _rate_sums(other)
    for name in RATES:
        ratio = ratio_of_sums(here[name], there[name] * scale)
        found[name] = ratio if together else Ratio(ratio.ratio)
    return found


def ratio(first: Result, other: Result, metric: str, scale: float = 1.0) -> Ratio:
    """One of the ratios of `ratios`, a mean or a rate; the others are not computed."""
    if metric in RATES:
        found = ratio_of_sums(_rate_sums(first)[metric], _rate_sums(other)[metric] * scale)
        return found if paired(first, other) else Ratio(found.ratio)
    name = metric.removeprefix("mean_").removesuffix("_ms")
    column = REQUEST_METRICS.get(name, "task_s")
    tables = [_counted(result, name) for result in (first, other)]
    if not paired(first, other):
        return _apart(name, column, *tables)[metric]
    return _mean(_both(name, column, *tables), column)


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
    spread = sqrt(count / (count - 1) * float(np.square(other - ratio * first).sum())) / total
    return _around(ratio, spread, count - 1)


def _around(ratio: float, spread: float, freedom: int) -> Ratio:
    half = t_quantile(freedom) * spread
    return Ratio(ratio, ratio - half, ratio + half)


def _counted(result: Result, name: str) -> pd.DataFrame:
    table = result.trajectories if name == "task" else result.requests
    return counted(table, result.resolved.scenario.run.warmup)


def _keys(name: str) -> list[str]:
    return [f"mean_{name}_ms", f"median_{name}_ms", *(f"p{p}_{name}_ms" for p in PERCENTILES)]


def _apart(name: str, column: str, mine: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, Ratio]:
    """Equation (2): unpaired means; percentiles without an interval."""
    values = [table[["trajectory", column]].dropna() for table in (mine, theirs)]
    if any(value.empty for value in values):
        return dict.fromkeys(_keys(name), Ratio(None))
    means, variances, counts = [], [], []
    for value in values:
        _, cluster = np.unique(value["trajectory"].to_numpy(), return_inverse=True)
        sums, number = np.bincount(cluster, value[column].to_numpy()), np.bincount(cluster)
        means.append(float(sums.sum()) / float(number.sum()))
        variances.append((cluster_error(sums, number) / means[-1]) ** 2 if means[-1] else 0.0)
        counts.append(len(sums))
    ratio = _over(means[1], means[0])
    mean = Ratio(ratio)
    if ratio and min(counts) > 1:
        mean = _around(ratio, ratio * sqrt(sum(variances)), min(counts) - 1)
    wanted = [50, *PERCENTILES]
    plain = (np.percentile(value[column].to_numpy(), wanted).tolist() for value in values)
    found = [Ratio(_over(b, a)) for a, b in zip(*plain, strict=True)]
    return dict(zip(_keys(name), [mean, *found], strict=True))


def _over(other: float, first: float) -> float | None:
    """A ratio, or None where the first is 0."""
    return other / first if first else None


def _both(name: str, column: str, mine: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """The rows that both have."""
    keys = ["trajectory"] if name == "task" else ["trajectory", "step"]
    wanted = [*keys, column]
    return mine[wanted].merge(theirs[wanted], on=keys, suffixes=("", "_other")).dropna()


def _mean(both: pd.DataFrame, column: str) -> Ratio:
    """Equation (1) over trajectories."""
    if both.empty:
        return Ratio(None)
    sums = both.groupby("trajectory", sort=False)[[column, f"{column}_other"]].sum()
    return ratio_of_sums(sums[column].to_numpy(), sums[f"{column}_other"].to_numpy())


def _pairs(name: str, column: str, mine: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, Ratio]:
    """The mean, and percentiles by resampling trajectories."""
    both = _both(name, column, mine, theirs)
    if both.empty:
        return dict.fromkeys(_keys(name), Ratio(None))
    found = [_mean(both, column), *_percentiles(both, column)]
    return dict(zip(_keys(name), found, strict=True))


def _percentiles(both: pd.DataFrame, column: str) -> list[Ratio]:
    """Ratios of the median and of `PERCENTILES`, by resampling trajectories."""
    wanted = np.array([50.0, *PERCENTILES]) / 100
    who, cluster = np.unique(both["trajectory"].to_numpy(), return_inverse=True)
    values = [both[name].to_numpy() for name in (column, f"{column}_other")]
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


def _rate_sums(result: Result) -> dict[str, Floats]:
    """What a run achieved in each of `WINDOWS` equal parts of its time, per second."""
    scenario = result.resolved.scenario
    warmup_s, end_s = scenario.run.warmup, result.summary["simulated_s"]
    edges = np.linspace(warmup_s, max(end_s, warmup_s + 1e-9), WINDOWS + 1)
    span = (edges[-1] - edges[0]) / WINDOWS
    done = counted(result.requests, warmup_s)
    tasks = counted(result.trajectories, warmup_s)
    ends = (done["sent_s"] + done["e2e_s"]).to_numpy()
    slos = slos_of(scenario)
    met = meets(done, slos)
    kept = task_meets(tasks, done, met, slos)

    def per_second(times: Floats, weights: Floats) -> Floats:
        window = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, WINDOWS - 1)
        return np.asarray(np.bincount(window, weights, WINDOWS) / span)

    one = np.ones(len(done))
    outputs = done["osl"].to_numpy(dtype=float)
    task_ends = tasks["end_s"].to_numpy()
    sums = (
        per_second(ends, one),
        per_second(ends, outputs),
        per_second(ends, outputs + done["isl"].to_numpy()),
        per_second(ends, met.to_numpy(dtype=float)),
        per_second(task_ends, np.ones(len(tasks))),
        per_second(task_ends, kept.to_numpy(dtype=float)),
    )
    return dict(zip(RATES, sums, strict=True))
