"""The ratio of two runs of the same trajectories, with its paired interval.

The runs share their random numbers, so a trajectory that is long in one is long in the other; what
they have in common cancels in a difference of pairs. A cluster is a trajectory (all its requests),
or, for rates, one of `WINDOWS` equal parts of the run. With sums a_t, b_t over cluster t = 1..n

    R = sum b / sum a,   d_t = b_t - R a_t,   s^2 = n/(n-1) sum d_t^2 / (sum a)^2        (1)

and the 95% interval is R -+ t(0.975, n-1) s: the delta method for a ratio of means. Percentiles
resample clusters (`DRAWS` draws, seeded). Ref: Cochran, Sampling Techniques, 1977, ch. 6.
Limit: trajectories that meet in a queue are not independent; replications would tell more.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcsim.results.result import Result
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

    Means and percentiles are of the requests and trajectories that both completed.
    """
    found: dict[str, Ratio] = {}
    keys = ["trajectory", "step"]
    pairs = _pairs(first.requests, other.requests, first, other, keys)
    for name, column in REQUEST_METRICS.items():
        found |= _times(name, pairs, column)
    tasks = _pairs(first.trajectories, other.trajectories, first, other, keys[:1])
    found |= _times("task", tasks, "task_s")
    here, there = _rate_sums(first), _rate_sums(other)
    for name in RATES:
        ratio = ratio_of_sums(here[name], there[name])
        parts = (ratio.ratio, ratio.low, ratio.high)
        found[name] = Ratio(*(None if part is None else part * scale for part in parts))
    return found


def ratio_of_sums(first: Floats, other: Floats) -> Ratio:
    """Equation (1), on the sums of the clusters.

    >>> ratio_of_sums(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    Ratio(ratio=2.0, low=2.0, high=2.0)
    """
    from scipy.special import stdtrit

    total, count = float(first.sum()), len(first)
    if not total:
        return Ratio(None)
    ratio = float(other.sum()) / total
    if count < 2:
        return Ratio(ratio)
    spread = math.sqrt(count / (count - 1) * float(np.square(other - ratio * first).sum())) / total
    half = float(stdtrit(count - 1, 0.975)) * spread
    return Ratio(ratio, ratio - half, ratio + half)


def _pairs(
    here: pd.DataFrame, there: pd.DataFrame, first: Result, other: Result, keys: list[str]
) -> pd.DataFrame:
    mine = counted(here, first.resolved.scenario.run.warmup)
    theirs = counted(there, other.resolved.scenario.run.warmup)
    return mine.merge(theirs, on=keys, suffixes=("", "_other"))


def _times(name: str, pairs: pd.DataFrame, column: str) -> dict[str, Ratio]:
    both = pairs[["trajectory", column, f"{column}_other"]].dropna()
    keys = [f"mean_{name}_ms", f"median_{name}_ms", *(f"p{p}_{name}_ms" for p in PERCENTILES)]
    if both.empty:
        return {key: Ratio(None) for key in keys}
    sums = both.groupby("trajectory", sort=False).sum()
    mean = ratio_of_sums(sums[column].to_numpy(), sums[f"{column}_other"].to_numpy())
    return {keys[0]: mean, **dict(zip(keys[1:], _percentiles(both, column), strict=True))}


def _percentiles(both: pd.DataFrame, column: str) -> list[Ratio]:
    """Ratios of the median and of `PERCENTILES`, by resampling trajectories."""
    wanted = np.array([50.0, *PERCENTILES]) / 100
    who, cluster = np.unique(both["trajectory"].to_numpy(), return_inverse=True)
    values = [both[name].to_numpy() for name in (column, f"{column}_other")]
    plain = [np.percentile(value, wanted * 100) for value in values]
    if len(who) < 2:
        return [Ratio(b / a if a else None) for a, b in zip(*plain, strict=True)]
    orders = [np.argsort(value, kind="stable") for value in values]
    ranked = [(value[order], cluster[order]) for value, order in zip(values, orders, strict=True)]
    rng = np.random.default_rng(0)
    drawn = np.empty((DRAWS, len(wanted)))
    for draw in drawn:
        weights = np.bincount(rng.integers(len(who), size=len(who)), minlength=len(who))
        low, high = (_weighted(value, weights[group], wanted) for value, group in ranked)
        draw[:] = high / low
    bounds = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [
        Ratio(float(b / a), min(float(low), float(b / a)), max(float(high), float(b / a)))
        for a, b, low, high in zip(*plain, *bounds, strict=True)
    ]


def _weighted(values: Floats, weights: NDArray[np.int64], wanted: Floats) -> Floats:
    """Quantiles of sorted values that count `weights` times each."""
    upto = np.cumsum(weights)
    return values[np.searchsorted(upto, wanted * upto[-1], side="left").clip(max=len(values) - 1)]


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
        return np.bincount(window, weights, WINDOWS) / span

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
