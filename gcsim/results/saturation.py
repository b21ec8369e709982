"""Whether a run was asked for more than it could serve, so that its means say nothing."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcsim.spec.arrivals import Closed, Static
from gcsim.spec.scenario import Scenario

GROWTH = 1.5  # of the waiting line between the second and the last quarter of the arrivals


def saturation(
    scenario: Scenario, requests: pd.DataFrame, trajectories: pd.DataFrame, timeline: pd.DataFrame
) -> str | None:
    """Why a run counts as saturated, or None.

    Where arrivals do not wait for answers (not in a closed loop, not in a batch job), a run is
    saturated when requests pile up while trajectories still start: in the last quarter of that
    time more wait than run, and `GROWTH` times as many as in the second quarter. What is still
    unfinished at the horizon is told with it. A judgement, not a proof: docs/results.md.
    """
    if isinstance(scenario.arrivals, Closed | Static) or len(trajectories) < 2:
        return None
    last_s = float(trajectories["start_s"].max())
    end_s = min(last_s, scenario.run.horizon or last_s)
    edges = end_s * np.array([0.25, 0.5, 0.75, 1.0])
    second = _mean_waiting(timeline, edges[0], edges[1])
    last = _mean_waiting(timeline, edges[2], edges[3])
    if last[0] <= max(last[1], 1.0) or last[0] < GROWTH * second[0]:
        return None
    unfinished = int((requests["status"] == "unfinished").sum())
    why = f"the waiting line grows: {second[0]:.0f} requests, then {last[0]:.0f}"
    return f"{why}; {unfinished} requests are unfinished" if unfinished else why


def _mean_waiting(timeline: pd.DataFrame, start_s: float, end_s: float) -> NDArray[np.float64]:
    """Mean number of requests that wait and that run, over all replicas, in [start, end)."""
    total = np.zeros(2)
    for _, samples in timeline.groupby("replica", sort=False):
        times = samples["time_s"].to_numpy()
        inside = np.clip(np.append(times, end_s), start_s, end_s)
        weights = np.diff(inside)
        if weights.sum() > 0:
            total += np.average(samples[["waiting", "running"]].to_numpy(), axis=0, weights=weights)
    return total
