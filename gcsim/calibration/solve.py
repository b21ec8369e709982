"""Robust least squares with linear pulls and bounds: damped Gauss-Newton steps.

minimise sum of soft_l1(errors(x)) + |matrix z - target|^2,  soft_l1(s) = 2 (sqrt(1 + s^2) - 1)

z is x and, after it, hidden means that no error depends on but that x is pulled to. Bounds hold for
x. One system of normal equations stays small, however many rows there are, and what it holds at the
end is what leaving rows out needs. Ref: Nocedal and Wright, Numerical Optimization, chapter 10.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = 1e-4  # an improvement below this part of the objective ends the search
DAMPING, LARGEST = 1e-3, 1e8
FARTHEST = 1.5  # no step changes a logarithm by more


@dataclass(frozen=True, slots=True)
class Pull:
    """Linear pulls on z: rows of matrix @ z = target, each in its standard deviation.

    start: z where the search begins.
    """

    matrix: "NDArray[np.float64]"
    target: "NDArray[np.float64]"
    start: "NDArray[np.float64]"

    def from_here(self, x: "NDArray[np.float64]") -> "Pull":
        """The same, begun at some x, with the hidden means that suit it."""
        own = len(x)
        left = self.target - self.matrix[:, :own] @ x
        hidden = np.linalg.lstsq(self.matrix[:, own:], left, rcond=None)[0]
        return Pull(self.matrix, self.target, np.concatenate([x, hidden]))


@dataclass(frozen=True, slots=True)
class Solved:
    """The solution z, and the system there: softened errors, their slopes by x, pull, limits."""

    z: "NDArray[np.float64]"
    errors: "NDArray[np.float64]"
    slopes: "NDArray[np.float64]"
    pull: Pull
    limits: "NDArray[np.float64]"

    @property
    def x(self) -> "NDArray[np.float64]":
        """The logarithms of the factors."""
        return self.z[: self.slopes.shape[1]]

    @property
    def normal(self) -> "NDArray[np.float64]":
        """The matrix of the normal equations: errors and pulls."""
        found = self.pull.matrix.T @ self.pull.matrix
        own = self.slopes.shape[1]
        found[:own, :own] += self.slopes.T @ self.slopes
        return np.asarray(found)

    @property
    def covariance(self) -> "NDArray[np.float64]":
        """Of z, near the solution."""
        return np.asarray(np.linalg.pinv(self.normal))

    def without(self, rows: "NDArray[np.bool_]") -> "NDArray[np.float64]":
        """x had some rows not been there: one Gauss-Newton step from the solution, within bounds.

        At the solution the slopes of all rows and pulls balance; without some, what these pulled is
        what the others have to take up.
        """
        own = self.slopes.shape[1]
        out, left = self.slopes[rows], self.errors[rows]
        normal = self.normal
        normal[:own, :own] -= out.T @ out
        gradient = np.zeros(len(self.z))
        gradient[:own] = -out.T @ left
        return _stepped(self.z, normal, gradient, self.limits)[:own]


def soft(errors: "NDArray[np.float64]") -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Errors whose squares are their soft L1, and the slope of each by its own error.

    >>> [part.round(3).tolist() for part in soft(np.array([0.0, 3.0]))]
    [[0.0, 2.08], [1.0, 0.456]]
    """
    root = np.sqrt(1.0 + errors**2)
    found = np.sign(errors) * np.sqrt(2.0 * (root - 1.0))
    small = np.abs(found) < 1e-9
    return found, np.where(small, 1.0, errors / (np.where(small, 1.0, found) * root))


def solve(
    errors: "Callable[[NDArray[np.float64]], NDArray[np.float64]]",
    slopes: "Callable[[NDArray[np.float64]], NDArray[np.float64]]",
    pull: Pull,
    limits: "NDArray[np.float64]",
    most: int = 25,
) -> Solved:
    """Where errors and pulls balance; errors, slopes: functions of x; limits: lowest, highest x."""
    own = limits.shape[1]
    z = pull.start.copy()
    z[:own] = np.clip(z[:own], limits[0] + 1e-6, limits[1] - 1e-6)

    def cost(z: "NDArray[np.float64]", softened: "NDArray[np.float64]") -> float:
        return float(softened @ softened + np.sum((pull.matrix @ z - pull.target) ** 2))

    now, damping = soft(errors(z[:own])), DAMPING
    here = cost(z, now[0])
    for _ in range(most):
        system = Solved(z, now[0], now[1][:, None] * slopes(z[:own]), pull, limits)
        normal = system.normal
        gradient = pull.matrix.T @ (pull.matrix @ z - pull.target)
        gradient[:own] += system.slopes.T @ now[0]
        while True:
            new = _stepped(z, normal, gradient, limits, damping)
            then = soft(errors(new[:own]))
            there = cost(new, then[0])
            if there < here or damping > LARGEST:
                break
            damping *= 8.0
        if there >= here:
            return system
        gain, damping = here - there, damping / 5.0
        z, now, here = new, then, there
        if gain < SMALL * here:
            break
    return Solved(z, now[0], now[1][:, None] * slopes(z[:own]), pull, limits)


def _stepped(
    z: "NDArray[np.float64]",
    normal: "NDArray[np.float64]",
    gradient: "NDArray[np.float64]",
    limits: "NDArray[np.float64]",
    damping: float = 0.0,
) -> "NDArray[np.float64]":
    """One damped Gauss-Newton step; what a bound holds, and what pushes against it, stays."""
    own = limits.shape[1]
    free = np.ones(len(z), dtype=bool)
    free[:own] = ~((z[:own] <= limits[0]) & (gradient[:own] > 0))
    free[:own] &= ~((z[:own] >= limits[1]) & (gradient[:own] < 0))
    part = normal[np.ix_(free, free)]
    step = np.zeros(len(z))
    step[free] = -np.linalg.solve(part + damping * np.diag(np.diag(part)), gradient[free])
    new = z + np.clip(step, -FARTHEST, FARTHEST)
    new[:own] = np.clip(new[:own], *limits)
    return np.asarray(new)
