"""`gcsim calibrate`: the factors of one chip, shipped or the user's, and its profile with them."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from gcsim.calibration.calibrate import (
    Calibration,
    calibrate_with_feedback,
    cross_validate,
    errors_by_metric,
    ranges,
    rows_of,
)
from gcsim.calibration.factor_files import fitted_source, number_text
from gcsim.calibration.factors import Name, prior_of, serving_stack
from gcsim.calibration.fit import Prepared, fit, prepare, subset
from gcsim.calibration.points import Point, read_points
from gcsim.errors import ProfileError, nearest
from gcsim.profiles.assemble import read_chip
from gcsim.profiles.chip import Chip
from gcsim.profiles.resolve import load_chip
from gcsim.profiles.template import write_new

OWN_WIDTH = 0.3  # how far a server may be from the profile: s.d. of the logarithm of a factor


def calibrate(
    points: str | Path | list[Point],
    chip: str,
    out: str | Path | None = None,
    jobs: int = 2,
    name: str = "",
) -> dict[str, Any]:
    """Fit the named factors of one chip to a points file (or to points) and cross-validate.

    chip: a name, or the path of the user's own profile, which the points may call by its name or
    one of its aliases
    out: where to write the chip's profile with the fitted factors, in one file; name: what it is
    called there, without one as before
    Returns `chip`, `points`, `factors` (each with value, low, high and `before`), `errors` and
    `cross_validated` (by metric), `skipped` (reason -> count).
    Errors: `ProfileError` when no point is of this chip.
    """
    rows, skipped = read_points(points) if isinstance(points, str | Path) else (points, {})
    spec = load_chip(chip)
    ready = prepare(rows, spec)
    own = subset(ready, lambda _, setup: setup.chip == spec.name)
    if not own.points:
        known = sorted({s.chip for s in ready.setups})
        hint = nearest(spec.name, known) if known else "the file has no usable point at all"
        raise ProfileError.one("points", "", spec.name, "no usable point of this chip", hint)
    own, result = calibrate_with_feedback(own, [spec.name], jobs)
    if len({p.group for p in own.points}) > 1:
        cross_validate(own, result, jobs)
    if out is not None:
        write_profile(out, chip, result, name)
    return _told(chip, own, result, list(skipped.values()))


def calibrate_server(
    points: Sequence[Point], chip: str, out: str | Path | None = None, name: str = ""
) -> dict[str, Any]:
    """As `calibrate`, from a few points of one server, drawn to the chip's present factors."""
    spec = load_chip(chip)
    ready = prepare(points, spec)
    if not ready.points:
        reasons = ", ".join(sorted(set(ready.reasons.values())))
        raise ProfileError.one("points", "", spec.name, f"no run can be used: {reasons}")
    found = fit(ready, lambda name: (_before(spec, name), OWN_WIDTH))
    result = Calibration(found.values, found.sigma)
    for setup in ready.setups:
        for key in ((spec.name, ""), (spec.name, setup.stack)):
            result.counts[key] = result.counts.get(key, 0) + 1
            result.sources[key] = ("own server",)
    if out is not None:
        write_profile(out, chip, result, name)
    return _told(chip, ready, result, list(ready.reasons.values()))


def _before(chip: Chip, name: Name) -> float:
    """What a chip's profile says of a factor; else where a fit of it starts."""
    _, stack, factor = name
    owner = chip.stacks.get(stack) if stack else chip.efficiency
    number = getattr(owner, factor, None)
    return float(number.value) if number and number.value > 0 else prior_of(factor, stack)[0]


def _told(chip: str, ready: Prepared, result: Calibration, skipped: list[str]) -> dict[str, Any]:
    """What `gcsim calibrate` tells of a fit."""
    spec = load_chip(chip)
    factors = []
    for name, value in sorted(result.values.items()):
        low, high = ranges(result, name)
        found = {"value": value, "low": low, "high": high, "before": _before(spec, name)}
        factors.append({"stack": name[1] or None, "factor": name[2], **found})
    return {
        "chip": spec.name,
        "points": len(ready.points),
        "factors": factors,
        "errors": errors_by_metric(rows_of(ready, result.values)),
        "cross_validated": errors_by_metric(result.left_out),
        "skipped": {reason: skipped.count(reason) for reason in sorted(set(skipped))},
    }


def write_profile(out: str | Path, chip: str, result: Calibration, name: str = "") -> None:
    """The profile of a chip with the fitted factors, in one file; name: else its own.

    Errors: `ProfileError` when the file cannot be written.
    """
    mapping = with_fit(read_chip(chip)[0], result)
    if name:  # another chip than the one it was: who asks for that one's aliases means that one
        mapping = {key: item for key, item in mapping.items() if key != "aliases"} | {"name": name}
    text = yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True, width=100)
    write_new(Path(out), text, force=True)


def with_fit(mapping: dict[str, Any], result: Calibration) -> dict[str, Any]:
    """A chip's mapping with the fitted factors; what no point shows stays as it was.

    A stack that the chip did not have starts as its default one.
    """
    efficiency, stacks = dict(mapping["efficiency"]), dict(mapping["stacks"])
    for name, value in sorted(result.values.items()):
        chip, stack, factor = name
        if chip != mapping["name"]:
            continue
        ends = zip(("value", "low", "high"), (value, *ranges(result, name)), strict=True)
        number: dict[str, Any] = {key: number_text(factor, end) for key, end in ends}
        number |= {"kind": "fitted", "source": fitted_source(result, (chip, stack))}
        if not stack:
            efficiency[factor] = number
            continue
        new = deepcopy(stacks[mapping["default_stack"]])  # its own: a profile may not use aliases
        new["overlap_scheduling"] = serving_stack(stack).overlap_scheduling
        stacks[stack] = {**stacks.get(stack, new), factor: number}
    return {**mapping, "efficiency": efficiency, "stacks": stacks}
