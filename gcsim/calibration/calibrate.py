"""Calibration: the named factors of every chip from published points, cross-validated.

All chips are fitted at once: a chip with few points leans on those of its vendor that run the same
stack (`gcsim.calibration.pooling`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gcsim.calibration.factors import Name, bounds, is_dated, prior_of
from gcsim.calibration.feedback import with_feedback
from gcsim.calibration.fit import (
    FITTED,
    Fit,
    Prepared,
    Pricer,
    default_prior,
    fit,
    names_of,
    rows_in,
    subset,
)
from gcsim.calibration.points import Point
from gcsim.calibration.pooling import siblings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcsim.calibration.handoff import HandoffTime

# Too few or too odd points of their own: these chips borrow a relative's factors.
BORROWS = {
    "gb200": "b200",
    "gb300": "b300",
    "gh200": "h100-sxm",
    "mi325x": "mi300x",
}
EVALUATIONS = 15
LATER = 0.35  # how far old software on one chip may be from elsewhere: s.d. of a logarithm


@dataclass(slots=True)
class Calibration:
    """Fitted factors of all chips: value, standard error (of the logarithm), points used.

    shown: which part of the prior's variance the points take away; with_which: the factor that its
    error goes with, and their correlation; counts: (chip, stack or "") -> points; sources: the same
    -> prefixes of their ids; folds: values in each fold of the cross-validation; left_out: errors
    of the rows left out; handoffs: of stacks that have disaggregated points; fit: the joint fit.
    """

    values: dict[Name, float] = field(default_factory=dict)
    sigma: dict[Name, float] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    sources: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    folds: list[dict[Name, float]] = field(default_factory=list)
    left_out: list["Compared"] = field(default_factory=list)
    handoffs: dict[str, "HandoffTime"] = field(default_factory=dict)
    shown: dict[Name, float] = field(default_factory=dict)
    with_which: dict[Name, tuple[Name, float]] = field(default_factory=dict)
    fit: Fit | None = None

    def expects(self, name: Name, vendor: str) -> tuple[float, float]:
        """A factor that no point shows, as its stack and vendor have it: value, s.d. of its log."""
        if self.fit is None or self.fit.pool is None or self.fit.solved is None:
            return default_prior(name)
        value, spread = self.fit.pool.expects(self.fit.solved, name, vendor)
        return float(np.clip(value, *bounds(name[2]))), spread


@dataclass(frozen=True, slots=True)
class Compared:
    """One comparison: point, chip, stack, metric, log(modeled / published)."""

    point: Point
    chip: str
    stack: str
    metric: str
    log_error: float


def calibrate_all(ready: Prepared, chips: Iterable[str] | None = None) -> Calibration:
    """Factors of all chips that have points (or of some), with counts and sources.

    Old stacks that have points of their first months are fitted anew on all of their points, their
    times alone.
    """
    wanted = {s.chip for s in ready.setups} - set(BORROWS) if chips is None else set(chips)
    own = subset(ready, lambda point, setup: setup.chip in wanted and point.fitted)
    found = fit(own, pooled=True, max_evaluations=EVALUATIONS)
    result = Calibration(dict(found.values), dict(found.sigma), fit=found)
    result.shown, result.with_which = dict(found.shown), dict(found.with_which)
    for key in _old_stacks(ready, wanted, found):
        later = _fit_old(ready, key, result)
        for name in later.sigma:
            result.values[name], result.sigma[name] = later.values[name], later.sigma[name]
            result.shown[name] = later.shown[name]
            result.with_which |= {n: w for n, w in later.with_which.items() if n == name}
    for point, setup in zip(ready.points, ready.setups, strict=True):
        if setup.chip not in wanted or (not point.fitted and not is_dated(setup.stack)):
            continue
        if not set(FITTED) & set(point.published):
            continue
        for key in ((setup.chip, ""), (setup.chip, setup.stack)):
            if key[1] or point.fitted:
                result.counts[key] = result.counts.get(key, 0) + 1
                prefixes = set(result.sources.get(key, ())) | {point.id.partition("-")[0]}
                result.sources[key] = tuple(sorted(prefixes))
    return result


def _old_stacks(ready: Prepared, chips: Iterable[str], joint: Fit) -> list[tuple[str, str]]:
    """(chip, stack) of old software with points that do not enter the joint fit.

    Where another chip of the die runs that stack in the joint fit, it takes the same times here.
    """
    served = zip(ready.points, ready.setups, strict=True)
    found = {(s.chip, s.stack) for p, s in served if not p.fitted and is_dated(s.stack)}
    return sorted(
        key
        for key in found
        if key[0] in set(chips)
        and not any(other in joint.values for other in siblings((*key, "layer_overhead")))
    )


def _fit_old(ready: Prepared, key: tuple[str, str], result: Calibration) -> Fit:
    """The times of one old stack on one chip; what the chip reaches is what the joint fit says."""
    part = subset(ready, lambda _, setup: (setup.chip, setup.stack) == key)
    names = names_of(part)
    fixed = {n: result.values.get(n, prior_of(n[2], "")[0]) for n in names if not n[1]}
    vendor = part.pools[0][1].chip.vendor if part.pools else ""
    expected = {n: result.expects(n, vendor) for n in names if n[1]}
    return fit(part, lambda n: (expected[n][0], max(expected[n][1], LATER)), fixed, EVALUATIONS)


def calibrate_with_feedback(
    prepared: Prepared, chips: list[str] | None, jobs: int
) -> tuple[Prepared, Calibration]:
    """Fit, let the engine show what the schedules leave out, fit again."""
    first = calibrate_all(prepared, chips)
    values = {n: prior_of(n[2], n[1])[0] for n in names_of(prepared)} | first.values
    prepared = with_feedback(prepared, values, jobs)
    return prepared, calibrate_all(prepared, chips)


def cross_validate(ready: Prepared, result: Calibration, jobs: int = 2) -> Calibration:
    """Leave whole (model, source) groups out, on all chips at once; errors of what was left out.

    The fit without a group is one Gauss-Newton step from the fit with it (`Solved.without`); old
    stacks that the group has points of are fitted anew without them.
    """
    from joblib import Parallel, delayed

    chips = {name[0] for name in result.values}
    inside = subset(ready, lambda _, setup: setup.chip in chips)
    groups = sorted({p.group for p in inside.points})
    outcomes = Parallel(n_jobs=jobs)(
        delayed(_fold)(*_without(inside, group, result)) for group in groups
    )
    for values, rows in outcomes:
        result.folds.append(values)
        result.left_out += rows
    return result


def _without(
    ready: Prepared, group: tuple[str, str], result: Calibration
) -> tuple[Prepared, dict[Name, float]]:
    """A group's points, and the factors without them."""
    assert result.fit is not None
    own = subset(ready, lambda point, _: point.fitted)
    out = np.array([own.points[k].group == group for k, *_ in rows_in(own)])
    values = result.values | (result.fit.without(out) if out.any() else {})
    left = subset(ready, lambda point, _: point.group == group)
    kept = subset(ready, lambda point, _: point.group != group)
    for key in _old_stacks(left, {setup.chip for setup in left.setups}, result.fit):
        values |= {n: v for n, v in _fit_old(kept, key, result).values.items() if n[1]}
    for name in names_of(left):
        die = next((other for other in siblings(name) if other in values), None)
        if die is not None:
            values.setdefault(name, values[die])
        if name not in values:
            vendor = next(s.pool.chip.vendor for s in left.setups if s.chip == name[0])
            values[name] = result.expects(name, vendor)[0]
    return left, values


def _fold(left: Prepared, values: dict[Name, float]) -> tuple[dict[Name, float], list[Compared]]:
    return values, rows_of(left, values)


def rows_of(ready: Prepared, values: Mapping[Name, float]) -> list[Compared]:
    """Every comparison of prepared points under some factors."""
    pricer = Pricer(ready)
    errors: NDArray[np.float64] = pricer.errors(values)
    return [
        Compared(ready.points[k], ready.setups[k].chip, ready.setups[k].stack, metric, float(error))
        for (k, _, metric, _), error in zip(pricer.rows, errors, strict=True)
    ]


def errors_by_metric(rows: list[Compared]) -> dict[str, dict[str, float]]:
    """Count, median and 90th percentile of |modeled/published - 1|, and bias, by metric."""
    found: dict[str, dict[str, float]] = {}
    for metric in FITTED:
        signed = np.expm1([r.log_error for r in rows if r.metric == metric])
        if signed.size:
            absolute = np.abs(signed)
            found[metric] = {
                "n": int(signed.size),
                "median_ape": float(np.median(absolute)),
                "p90_ape": float(np.quantile(absolute, 0.9)),
                "bias": float(np.median(signed)),
            }
    return found


def ranges(result: Calibration, name: Name) -> tuple[float, float]:
    """Low and high of a factor: 90% of its standard error, and what the folds found."""
    value, sigma = result.values[name], result.sigma[name]
    folds = [f[name] for f in result.folds if name in f]
    low = min([value * np.exp(-1.64 * sigma), *folds])
    high = max([value * np.exp(1.64 * sigma), *folds])
    floor, ceiling = bounds(name[2])
    return float(max(low, floor)), float(min(high, ceiling))
