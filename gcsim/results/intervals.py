"""The 95% intervals of one run's means and percentiles, as keys of its summary."""

import numpy as np
import pandas as pd

from gcsim.results.statistics import Interval, mean_interval, mser5, percentile_interval
from gcsim.results.summary import PERCENTILES, counted

COLUMNS = {"ttft": "ttft_s", "tpot": "tpot_s", "e2el": "e2e_s", "task": "task_s"}
Bounds = list[float] | None


def interval_summary(
    requests: pd.DataFrame, trajectories: pd.DataFrame, warmup_s: float, saturated: bool
) -> dict[str, Bounds]:
    """`ci95_mean_ttft_ms: [low, high]` and so on for TTFT, TPOT, E2E, task time [ms].

    None (null) where a run is too short to tell, and everywhere when it is saturated: a queue that
    grows for ever has no mean. See `gcsim.results.statistics` for the methods.
    """
    found: dict[str, Bounds] = {}
    for name, column in COLUMNS.items():
        table = trajectories if name == "task" else requests
        began = "start_s" if name == "task" else "sent_s"
        done = counted(table, warmup_s).sort_values(began, kind="stable")
        done = done[done[column].notna()]
        values = done[column].to_numpy(dtype=np.float64) * 1e3
        clusters = done["trajectory"].to_numpy()
        keys = {50: "median"} | {p: f"p{p}" for p in PERCENTILES}
        intervals = {"mean": mean_interval(values, clusters)}
        intervals |= {key: percentile_interval(values, p, clusters) for p, key in keys.items()}
        for key, interval in intervals.items():
            found[f"ci95_{key}_{name}_ms"] = None if saturated else bounds(interval)
    return found


def bounds(interval: Interval | None) -> Bounds:
    """An interval as a summary has it: `[low, high]`, or None."""
    return None if interval is None else [interval.low, interval.high]


def settling_s(requests: pd.DataFrame) -> tuple[float, bool]:
    """Where the warm-up ends [s], by MSER-5 on E2E in the order of sending, and if it settles."""
    done = counted(requests, 0.0).sort_values("sent_s", kind="stable")
    cut, settled = mser5(done["e2e_s"].to_numpy(dtype=np.float64))
    return (float(done["sent_s"].iloc[cut]) if cut else 0.0), settled
