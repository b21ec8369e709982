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


def saturation(scenario: Scenario, timeline: pd.DataFrame, span: tuple[float, float]) -> str | None:
    """Why a run counts as saturated, or None; span: from the window's opening to the last start
    of a task.

    Where arrivals do not wait for answers (no closed loop, no batch job, no trace that ends) the
    load, requests that wait or run, must settle. It has not when a straight line through it rises
    by more than `GROWTH_LEAST` of its mean and `PER_REPLICA` requests for each replica, and its
    slope is `T_LEAST` standard errors above 0 (corrected for the correlation of neighbouring
    windows). The load stays on until every task that counts has ended, so a run that cannot be
    served shows it, however few tasks count. A judgement, not a proof: a longer run decides.
    """
    if isinstance(scenario.arrivals, Closed | Static) or span[1] <= span[0]:
        return None
    load = window_means(timeline, np.linspace(*span, WINDOWS + 1))
    growth, t = trend(load)
    replicas = sum(pool.replicas for pool in scenario.deployment.pools.values())
    if t < T_LEAST or growth < max(GROWTH_LEAST * load.mean(), PER_REPLICA * replicas):
        return None
    middle = load.mean()
    low, high = max(middle - growth / 2, 0.0), middle + growth / 2
    return f"its load grows from {low:.0f} to {high:.0f} requests"


def window_means(timeline: pd.DataFrame, edges: Floats) -> Floats:
    """Mean number of requests that wait or run on all replicas, between the edges [s].

    timeline: the table of a result; a row of a replica holds until its next one.
    """
    areas = np.zeros(len(edges))
    for _, rows in timeline.groupby("replica", sort=False):
        at = rows["time_s"].to_numpy()
        load = (rows["waiting"] + rows["running"]).to_numpy()
        ends = np.append(at[1:], max(float(edges[-1]), float(at[-1])))
        upto = np.concatenate([[0.0], np.cumsum(load * (ends - at))])
        areas += np.interp(edges, np.append(at, ends[-1]), upto)
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
