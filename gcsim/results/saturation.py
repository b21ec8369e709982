"""Whether a run was asked for more than it could serve, so that its means say nothing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gcsim.engine.cluster import Cluster
from gcsim.profiles.arrivals import Closed, Static
from gcsim.profiles.scenario import Scenario

PARTS = 20  # parts of the time that is looked at
T_LEAST = 4.0  # how many standard errors the slope must be from 0
GROWTH_LEAST = 0.5  # of the mean load, over the time that is looked at
PER_REPLICA = 4.0  # requests by which the load must grow for each replica
IN_STEP = 0.5  # what is served grows by less than so much of the load's growth, relative to both
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Load:
    """How the load came: when each task started [s], and of requests how many were served by then,
    and how long all of them were at the servers [s]."""

    starts_s: Floats
    served: Floats
    spent_s: Floats

    @property
    def until_s(self) -> float:
        """When the last task started."""
        return float(self.starts_s[-1]) if len(self.starts_s) else 0.0

    def served_since(self, time_s: float) -> int:
        """Requests served from a time until the last task started."""
        if not len(self.starts_s):
            return 0
        return round(float(self.served[-1] - np.interp(time_s, self.starts_s, self.served)))


def load_of(cluster: Cluster) -> Load:
    """The load that a cluster has had."""
    starts, served = cluster.window.starts, cluster.window.served
    spent_s = np.array(cluster.window.spent_ns, np.float64) * 1e-9
    return Load(np.array(starts, np.float64) * 1e-9, np.array(served, np.float64), spent_s)


def saturation(scenario: Scenario, load: Load, open_s: float) -> str | None:
    """Why a run counts as saturated, or None.

    Where arrivals do not wait for answers (no closed loop, no batch job, no trace that ends) the
    requests under way must settle while the load is on (from the opening of the window to
    the last start of a task). They have not when a straight line through them rises by more than
    `GROWTH_LEAST` of their mean and `PER_REPLICA` for each replica, with a slope `T_LEAST` standard
    errors above 0 (corrected for the correlation of neighbouring parts), *and* what is served does
    not rise with them: by less than `IN_STEP` of their growth, both relative to their means. While
    tasks only ramp up, both rise in step. A judgement, not a proof; how often it errs, by load and
    length of run: docs/results.md.
    """
    if isinstance(scenario.arrivals, Closed | Static) or load.until_s <= open_s:
        return None
    edges = np.linspace(open_s, load.until_s, PARTS + 1)
    under_way = np.diff(np.interp(edges, load.starts_s, load.spent_s)) / np.diff(edges)
    growth, t = trend(under_way)
    replicas = sum(pool.replicas for pool in scenario.deployment.pools.values())
    middle = float(under_way.mean())
    if t < T_LEAST or growth < max(GROWTH_LEAST * middle, PER_REPLICA * replicas):
        return None
    served = np.diff(np.interp(edges, load.starts_s, load.served))
    more, _ = trend(served)
    if more * middle >= IN_STEP * growth * float(served.mean()):
        return None
    low, high = max(middle - growth / 2, 0.0), middle + growth / 2
    return f"its load grows from {low:.0f} to {high:.0f} requests, and what it serves does not"


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
