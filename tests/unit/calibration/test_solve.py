"""The solver: against scipy, against leaving rows out for real, within bounds."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

from gcsim.calibration.solve import Pull, Solved, soft, solve

Array = np.ndarray[Any, np.dtype[np.float64]]
RNG = np.random.default_rng(3)
MATRIX = RNG.normal(size=(40, 4))
PUBLISHED = MATRIX @ np.array([0.3, -0.4, 0.2, 0.1]) + RNG.normal(scale=0.3, size=40)
OUTLIERS = PUBLISHED + np.where(np.arange(40) % 9 == 0, 8.0, 0.0)
WIDE = np.array([[-5.0] * 4, [5.0] * 4])


def curved(x: Array) -> Array:
    return MATRIX @ x + 0.2 * (MATRIX @ x) ** 2


def curved_slopes(x: Array) -> Array:
    return MATRIX * (1.0 + 0.4 * (MATRIX @ x))[:, None]


def pulled(width: float) -> Pull:
    return Pull(np.eye(4) / width, np.zeros(4), np.zeros(4))


def solved(published: Array, pull: Pull, limits: Array = WIDE) -> Solved:
    return solve(lambda x: curved(x) - published, curved_slopes, pull, limits, most=60)


@pytest.mark.parametrize("width", [0.2, 1.0, 10.0])
def test_the_minimum_is_scipy_s(width: float) -> None:
    def residuals(x: Array) -> Array:
        return np.concatenate([soft(curved(x) - OUTLIERS)[0], x / width])

    theirs = least_squares(residuals, np.zeros(4), xtol=1e-12, ftol=1e-12)
    found = solved(OUTLIERS, pulled(width))
    assert float(np.sum(residuals(found.x) ** 2)) == pytest.approx(2 * theirs.cost, rel=1e-3)
    assert found.x == pytest.approx(theirs.x, abs=0.02)


def test_outliers_pull_less_than_squares_would() -> None:
    true = solved(PUBLISHED, pulled(10.0)).x
    robust = solved(OUTLIERS, pulled(10.0)).x
    squares = least_squares(lambda x: curved(x) - OUTLIERS, np.zeros(4)).x
    assert np.abs(robust - true).max() < 0.5 * np.abs(squares - true).max()


def test_bounds_hold_and_the_others_adapt() -> None:
    free = solved(PUBLISHED, pulled(10.0)).x
    tight = np.array([[-5.0] * 4, [free[0] - 0.2, 5.0, 5.0, 5.0]])
    found = solved(PUBLISHED, pulled(10.0), tight)
    assert found.x[0] == pytest.approx(free[0] - 0.2)
    assert (found.x >= tight[0]).all()
    assert (found.x <= tight[1]).all()
    within = least_squares(
        lambda x: np.concatenate([soft(curved(x) - PUBLISHED)[0], x / 10.0]),
        np.minimum(np.zeros(4), tight[1] - 0.1),
        bounds=tight,
    )
    assert found.x == pytest.approx(within.x, abs=0.02)


def test_rows_left_out_by_one_step_are_as_if_fitted_without_them() -> None:
    whole = solved(PUBLISHED, pulled(1.0))
    rows = np.arange(40) < 20
    kept = solve(
        lambda x: (curved(x) - PUBLISHED)[~rows],
        lambda x: curved_slopes(x)[~rows],
        pulled(1.0),
        WIDE,
        most=60,
    )
    moved = np.abs(kept.x - whole.x).max()
    assert moved > 0.02
    assert np.abs(whole.without(rows) - kept.x).max() < 0.2 * moved
    assert whole.without(rows & False) == pytest.approx(whole.x, abs=1e-3)


def test_soft_errors_are_squares_when_small_and_grow_as_roots() -> None:
    for size, wanted in ((1e-3, 1e-3), (1e6, np.sqrt(2e6))):
        value, slope = soft(np.array([size]))
        assert value[0] == pytest.approx(wanted, rel=1e-3)
        step = size * 1e-4
        further = soft(np.array([size + step]))[0]
        assert slope[0] == pytest.approx((further[0] - value[0]) / step, rel=1e-3)
