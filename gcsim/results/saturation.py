"""Whether a run was asked for more than it could serve, so that its means say nothing."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcsim.spec.arrivals import Closed, Static
from gcsim.spec.scenario import Scenario

WINDOWS = 20  # parts of the time that is looked at, after the first quarter
T_LEAST = 4.0  # how many standard errors the slope must be from 0
GROWTH_LEAST = 0.5  # of the mean load, over the time that is looked at
Floats = NDArray[np.float64]


def saturation(
    scenario: Scenario, requests: pd.DataFrame, trajectories: pd.DataFrame, timeline: pd.DataFrame
) -> str | None:
    """Why a run counts as saturated, or None.

    Where arrivals do not wait for answers (no closed loop, no batch job) the load, waiting plus
    running requests, must settle. It has not when a straight line through it, after the first
    quarter of the time in which trajectories start, rises by more than `GROWTH_LEAST` of its mean
    and its slope is `T_LEAST` standard errors above 0 (corrected for the correlation of
    neighbouring windows). A judgement, not a proof: a longer run decides.
    """
    if isinstance(scenario.arrivals, Closed | Static) or len(trajectories) < WINDOWS:
        return None
    last_s = float(trajectories["start_s"].max())
    end_s = min(last_s, scenario.run.horizon or last_s)
    load = window_means(timeline, np.linspace(end_s / 4, end_s, WINDOWS + 1))
    growth, t = trend(load)
    if t < T_LEAST or growth < GROWTH_LEAST * load.mean() or growth < 1:
        return None
    middle = load.mean()
    why = f"its load grows from {middle - growth / 2:.0f} to {middle + growth / 2:.0f} requests"
    unfinished = int((requests["status"] == "unfinished").sum())
    return f"{why}, {unfinished} are unfinished" if unfinished else why


def window_means(timeline: pd.DataFrame, edges: Floats) -> Floats:
    """Mean waiting plus running requests between the edges [s], summed over replicas."""
    total = np.zeros(len(edges) - 1)
    for _, samples in timeline.groupby("replica", sort=False):
        times = np.append(samples["time_s"].to_numpy(), edges[-1] + 1e9)
        load = (samples["waiting"] + samples["running"]).to_numpy()
        areas = np.concatenate([[0.0], np.cumsum(load * np.diff(times))])
        total += np.diff(np.interp(edges, times, areas)) / np.diff(edges)
    return total


def trend(values: Floats) -> tuple[float, float]:
    """(rise of the fitted line from end to end, slope / standard error).

    With residuals e and their lag-1 correlation r the standard error is that of n (1-r)/(1+r)
    independent ones, at least 3 of them.

    >>> rise, t = trend(np.array([1.0, 2.1, 2.9, 4.0, 5.1, 6.0, 6.9, 8.1]))
    >>> round(rise, 2), t > 20
    (7.07, True)
    """
    count = len(values)
    x = np.arange(count) - (count - 1) / 2
    slope = float(x @ values / (x @ x))
    rest = values - values.mean() - slope * x
    spread = float(rest @ rest)
    if not spread:
        return slope * (count - 1), np.inf if slope > 0 else 0.0
    r = min(max(float(rest[:-1] @ rest[1:]) / spread, 0.0), 0.99)
    effective = max(count * (1 - r) / (1 + r), 3.0)
    error = (spread / (effective - 2) / float(x @ x)) ** 0.5
    return slope * (count - 1), slope / error
