"""The 95% intervals of one run's means and percentiles, as keys of its summary."""

import numpy as np
import pandas as pd

from gcsim.results.counted import Counted
from gcsim.results.metric import BOUNDED, PERCENTILES, Metric
from gcsim.results.metrics import METRICS, each
from gcsim.results.per import answering, once, prompt_token, request, slow_token, task
from gcsim.results.statistics import (
    Interval,
    mean_interval,
    percentile_interval,
    sum_error,
    t_quantile,
)

Bounds = list[float] | None


def interval_summary(of: Counted, saturated: bool) -> dict[str, Bounds]:
    """`ci95_mean_ttft_ms: [low, high]` and so on, for every metric with a value for each row.

    None (null) where a run is too short to tell, and everywhere when it is saturated (a queue that
    grows for ever has no mean) or `brief` (all that counts saw one spell of the machine). See
    `gcsim.results.statistics` for the methods.
    """
    found: dict[str, Bounds] = {}
    untold = saturated or of.brief
    for metric in each():
        rows = getattr(of, metric.of)
        began = "start_s" if "start_s" in rows else "sent_s"
        rows = rows.sort_values(began, kind="stable")
        values = metric.values(rows)
        known = values.notna()
        numbers = values[known].to_numpy(dtype=np.float64) * metric.si
        clusters = rows.loc[known, "trajectory"].to_numpy()
        for which, key in metric.keys(BOUNDED).items():
            interval = (
                mean_interval(numbers, clusters)
                if which == "mean"
                else percentile_interval(numbers, PERCENTILES[which], clusters)
            )
            found[f"ci95_{key}"] = None if untold else bounds(interval)
    for metric in METRICS:
        if metric.of in ("requests", "tasks", "pools") and metric.per not in (
            None,
            once,
            slow_token,
        ):
            interval = None if untold else rate_interval(metric, of)
            found[f"ci95_{metric.key}"] = bounds(interval)
    slow = found["ci95_p90_tpot_ms"]
    found["ci95_tps_per_user"] = [1e3 / ms for ms in reversed(slow)] if slow and slow[0] else None
    return found


def rate_interval(metric: Metric, of: Counted) -> Interval | None:
    """The interval of a sum per something, such as a rate: a ratio of sums over tasks.

    r = A / P,   s = error of sum (a_t - r p_t) / P

    with the sums a_t of what each of n tasks brings and p_t of what it is per (its share of the
    time under load); the error is that of `gcsim.results.statistics.sum_error`. Ref: Cochran,
    Sampling Techniques, 1977, ch. 6.
    """
    a, p = per_task(metric, of)
    count, whole = len(a), float(p.sum())
    if count < 2 or not whole:
        return None
    rate = float(a.sum()) / whole
    error, freedom = sum_error((a - rate * p).sort_index().to_numpy(dtype=np.float64))
    half = t_quantile(freedom) * error / whole
    return Interval(rate, rate - half, rate + half)


def per_task(metric: Metric, of: Counted) -> tuple[pd.Series, pd.Series]:
    """A metric's sum and what it is per, of each task that counts, by its number."""
    assert metric.per is not None
    share = of.loaded_s / of.span_s
    if metric.of == "pools":  # the more time a task takes of the pools, the dearer it is
        ended = pd.Series(1.0, of.tasks["trajectory"]).reindex(share.index, fill_value=0.0)
        whole = float(metric.values(of.pools).sum())
        return share * whole, ended * (metric.per(of) / max(len(of.tasks), 1))
    rows = getattr(of, metric.of)
    sums = metric.values(rows).astype(float).groupby(rows["trajectory"]).sum()
    return sums.reindex(share.index, fill_value=0.0), _pers(metric, of, share)


def _pers(metric: Metric, of: Counted, share: pd.Series) -> pd.Series:
    """What a metric is per, of each task: its time under load, requests, prompts or answers."""
    assert metric.per is not None
    columns = {prompt_token: "isl", answering: "e2e_s"}
    if metric.per in columns:
        found = of.requests.groupby("trajectory")[columns[metric.per]].sum()
    elif metric.per is request:
        found = of.requests.groupby("trajectory")["isl"].count()
    elif metric.per is task:
        found = of.tasks.groupby("trajectory")["task_s"].count()
    else:
        return share * metric.per(of)
    return found.reindex(share.index, fill_value=0).astype(float)


def bounds(interval: Interval | None) -> Bounds:
    """An interval as a summary has it: `[low, high]`, or None."""
    return None if interval is None else [interval.low, interval.high]
