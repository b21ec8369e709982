"""Whether a run was asked for more than it could serve, so that its means say nothing."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcsim.profiles.arrivals import Closed, Static
from gcsim.profiles.scenario import Scenario

WINDOWS = 20  # parts of the time that is looked at
T_LEAST = 4.0  # how many standard errors the slope must be from 0
GROWTH_LEAST = 0.5  # of the mean load, over the time that is looked at
PER_REPLICA = 4.0  # requests by which the load must grow for each replica
Floats = NDArray[np.float64]


def saturation(
    scenario: Scenario,
    requests: pd.DataFrame,
    trajectories: pd.DataFrame,
    window: tuple[float, float],
) -> str | None:
    """Why a run counts as saturated, or None.

    Where arrivals do not wait for answers (no closed loop, no batch job) the load, requests sent
    and not yet answered, must settle. It has not when a straight line through it, over the window
    in which the tasks that count start, rises by more than `GROWTH_LEAST` of its mean and
    `PER_REPLICA` requests for each replica, and its slope is `T_LEAST` standard errors above 0
    (corrected for the correlation of neighbouring windows). A judgement, not a proof: a longer run
    decides.
    """
    if isinstance(scenario.arrivals, Closed | Static) or len(trajectories) < WINDOWS:
        return None
    if window[0] >= window[1]:
        return None
    load = window_means(requests, np.linspace(*window, WINDOWS + 1), window[1])
    growth, t = trend(load)
    replicas = sum(pool.replicas for pool in scenario.deployment.pools.values())
    if t < T_LEAST or growth < max(GROWTH_LEAST * load.mean(), PER_REPLICA * replicas):
        return None
    middle = load.mean()
    why = f"its load grows from {middle - growth / 2:.0f} to {middle + growth / 2:.0f} requests"
    unfinished = int((requests["status"] == "unfinished").sum())
    return f"{why}, {unfinished} are unfinished" if unfinished else why


def window_means(requests: pd.DataFrame, edges: Floats, simulated_s: float) -> Floats:
    """Mean number of requests that are sent and not yet answered, between the edges [s]."""
    live = requests[requests["status"] != "rejected"]
    starts = live["sent_s"].to_numpy()
    lasted = live["e2e_s"].fillna(simulated_s).to_numpy()
    areas = np.array([np.clip(edge - starts, 0.0, lasted).sum() for edge in edges])
    return np.diff(areas) / np.diff(edges)


def trend(values: Floats) -> tuple[float, float]:
    """(rise of the fitted line from end to end, slope / standard error).

    With residuals e and their lag-1 correlation r the standard error is that of n (1-r)/(1+r)
    independent ones, at least 3 of them.

    >>> rise, t = trend(np.array([1.0, 2.1, 2.9, 4.0, 5.1, 6.0, 6.9, 8.1]))
    >>> round(rise, 2), t > 20
    (7.01, True)
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
