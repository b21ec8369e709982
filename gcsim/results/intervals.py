"""The 95% intervals of one run's means and percentiles, as keys of its summary."""

import numpy as np
import pandas as pd

from gcsim.results.counted import Counted, counted
from gcsim.results.metrics import BOUNDED, PERCENTILES, each
from gcsim.results.statistics import Interval, mean_interval, mser5, percentile_interval

Bounds = list[float] | None


def interval_summary(of: Counted, saturated: bool) -> dict[str, Bounds]:
    """`ci95_mean_ttft_ms: [low, high]` and so on, for every metric with a value for each row.

    None (null) where a run is too short to tell, and everywhere when it is saturated: a queue that
    grows for ever has no mean. See `gcsim.results.statistics` for the methods.
    """
    found: dict[str, Bounds] = {}
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
            found[f"ci95_{key}"] = None if saturated else bounds(interval)
    return found


def bounds(interval: Interval | None) -> Bounds:
    """An interval as a summary has it: `[low, high]`, or None."""
    return None if interval is None else [interval.low, interval.high]


def settling_s(requests: pd.DataFrame) -> tuple[float, bool]:
    """Where the warm-up ends [s], by MSER-5 on E2E in the order of sending, and if it settles."""
    done = counted(requests, 0.0).sort_values("sent_s", kind="stable")
    cut, settled = mser5(done["e2e_s"].to_numpy(dtype=np.float64))
    return (float(done["sent_s"].iloc[cut]) if cut else 0.0), settled
