"""Calibration: the named factors of every chip from published points, cross-validated.

Each chip is fitted by itself, twice: first towards the general priors, then towards what the other
chips' fits of the same stack say, so that a chip with few points leans on its relatives.
"""

from collections.abc import Callable, Iterable, Mapping
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
    subset,
)
from gcsim.calibration.points import Point

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcsim.calibration.handoff import HandoffTime
    from gcsim.calibration.match import Setup

# Too few or too odd points of their own: these chips borrow a relative's factors.
BORROWS = {
    "gb200": "b200",
    "gb300": "b300",
    "gh200": "h100-sxm",
    "mi325x": "mi300x",
}
BETWEEN = 0.18  # standard deviation of the logarithm of one factor between chips
EVALUATIONS = 9


@dataclass(slots=True)
class Calibration:
    """Fitted factors of all chips: value, standard error (of the logarithm), points used.

    counts: (chip, stack or "") -> points; sources: the same -> prefixes of their ids; folds:
    values in each fold of the cross-validation; left_out: errors of the rows left out; handoffs: of
    stacks that have disaggregated points.
    """

    values: dict[Name, float] = field(default_factory=dict)
    sigma: dict[Name, float] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    sources: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    folds: list[dict[Name, float]] = field(default_factory=list)
    left_out: list["Compared"] = field(default_factory=list)
    handoffs: dict[str, "HandoffTime"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compared:
    """One comparison: point, chip, stack, metric, log(modeled / published)."""

    point: Point
    chip: str
    stack: str
    metric: str
    log_error: float


def calibrate_chips(ready: Prepared, chips: Iterable[str], known: Fit | None = None) -> Fit:
    """Fit chips one by one, in two rounds; `known` has the first round of chips that are unchanged.

    Old stacks are fitted last, their times alone, on all of their points.
    """
    chips = sorted(set(chips))
    first = Fit(dict(known.values) if known else {}, dict(known.sigma) if known else {})
    for chip in chips:
        part = subset(ready, _of_chip(chip))
        if part.points:
            _merge(first, fit(part, max_evaluations=EVALUATIONS))
    second = Fit({}, {})
    for chip in chips:
        part = subset(ready, _of_chip(chip))
        if not part.points:
            continue
        found = fit(part, _relatives(first), max_evaluations=EVALUATIONS)
        _merge(second, found)
        old = subset(ready, _old_stack_of(chip))
        if any(not p.fitted for p in old.points):
            fixed = {n: v for n, v in found.values.items() if not n[1]}
            fixed |= {
                n: prior_of(n[2], "")[0] for n in names_of(old) if not n[1] and n not in fixed
            }
            _merge(second, fit(old, _relatives(first), fixed, EVALUATIONS), only_stacks=True)
    return second


def _of_chip(chip: str) -> Callable[[Point, "Setup"], bool]:
    return lambda point, setup: setup.chip == chip and point.fitted


def _old_stack_of(chip: str) -> Callable[[Point, "Setup"], bool]:
    return lambda _, setup: setup.chip == chip and is_dated(setup.stack)


def _merge(into: Fit, found: Fit, only_stacks: bool = False) -> None:
    for name, value in found.values.items():
        if name[1] or not only_stacks:
            into.values[name] = value
            into.sigma[name] = found.sigma.get(name, into.sigma.get(name, BETWEEN))


def _relatives(first: Fit) -> Callable[[Name], tuple[float, float]]:
    """Prior of a factor from the fits of the other chips: the mean of their logarithms.

    Each counts by its own error and the spread between chips; the general prior is one voice more.
    """

    def prior(name: Name) -> tuple[float, float]:
        value, width = default_prior(name)
        logs, weights = [np.log(value)], [1.0 / (width**2 + BETWEEN**2)]
        for other, found in first.values.items():
            if other[0] != name[0] and other[1:] == name[1:]:
                logs.append(np.log(found))
                weights.append(1.0 / (first.sigma[other] ** 2 + BETWEEN**2))
        mean = float(np.average(logs, weights=weights))
        spread = float(np.sqrt(1.0 / sum(weights) + (BETWEEN / 1.5) ** 2))
        return float(np.clip(np.exp(mean), *bounds(name[2]))), min(spread, width)

    return prior


def calibrate_all(ready: Prepared, chips: Iterable[str] | None = None) -> Calibration:
    """Factors of all chips that have points (or of some), with counts and sources."""
    wanted = sorted({s.chip for s in ready.setups} if chips is None else set(chips))
    found = calibrate_chips(ready, [c for c in wanted if c not in BORROWS])
    result = Calibration(found.values, found.sigma)
    for point, setup in zip(ready.points, ready.setups, strict=True):
        if setup.chip not in wanted or (not point.fitted and not is_dated(setup.stack)):
            continue
        if not set(FITTED) & set(point.published):
            continue
        for key in ((setup.chip, ""), (setup.chip, setup.stack)):
            if key[1] or point.fitted:
                result.counts[key] = result.counts.get(key, 0) + 1
                own = set(result.sources.get(key, ())) | {point.id.partition("-")[0]}
                result.sources[key] = tuple(sorted(own))
    return result


def calibrate_with_feedback(
    prepared: Prepared, chips: list[str] | None, jobs: int
) -> tuple[Prepared, Calibration]:
    """Fit, let the engine show what the schedules leave out, fit again."""
    first = calibrate_all(prepared, chips)
    values = {n: prior_of(n[2], n[1])[0] for n in names_of(prepared)} | first.values
    prepared = with_feedback(prepared, values, jobs)
    return prepared, calibrate_all(prepared, chips)


def cross_validate(ready: Prepared, result: Calibration, jobs: int = 2) -> Calibration:
    """Leave whole (model, source) groups out, on all chips at once; errors of what was left out."""
    from joblib import Parallel, delayed

    chips = {name[0] for name in result.values}
    inside = subset(ready, lambda _, setup: setup.chip in chips)
    groups = sorted({p.group for p in inside.points})
    outcomes = Parallel(n_jobs=jobs)(
        delayed(_fold)(inside, group, Fit(result.values, result.sigma)) for group in groups
    )
    for values, rows in outcomes:
        result.folds.append(values)
        result.left_out += rows
    return result


def _fold(
    ready: Prepared, group: tuple[str, str], known: Fit
) -> tuple[dict[Name, float], list[Compared]]:
    kept = subset(ready, lambda p, s: p.group != group)  # noqa: ARG005
    left = subset(ready, lambda p, s: p.group == group)  # noqa: ARG005
    chips = {s.chip for s in left.setups}
    others = {n: v for n, v in known.values.items() if n[0] not in chips}
    base = Fit(others, {n: known.sigma[n] for n in others})
    found = calibrate_chips(kept, chips, base)
    # A stack that only the left-out group has: what its relatives say.
    prior = _relatives(
        Fit(others | found.values, {n: known.sigma.get(n, BETWEEN) for n in others | found.values})
    )
    values = dict(found.values)
    for name in names_of(left):
        values.setdefault(name, prior(name)[0])
    return found.values, rows_of(left, values)


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
