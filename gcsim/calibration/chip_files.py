"""`gcsim calibrate`: fit, cross-validate, and write chip profiles."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gcsim.calibration.calibrate import (
    BORROWS,
    Calibration,
    Row,
    calibrate_all,
    cross_validate,
    ranges,
    rows_of,
)
from gcsim.calibration.chip_text import efficiency_block, replace_sections, stacks_block
from gcsim.calibration.factors import prior_of
from gcsim.calibration.feedback import with_feedback
from gcsim.calibration.fit import FITTED, Prepared, names_of, prepare, subset
from gcsim.calibration.handoff import handoffs
from gcsim.calibration.points import Point, read_points
from gcsim.errors import ProfileError, nearest
from gcsim.profiles import library
from gcsim.profiles.chip import Chip
from gcsim.profiles.resolve import load_chip

CLAIMS_ONLY = ("sn50",)  # no measurement is public: its profile is written by hand
CURRENT = {"NVIDIA": ("vllm", "trtllm", "sglang"), "AMD": ("vllm", "sglang"), "SambaNova": ()}


def calibrate(
    points: str | Path | list[Point], chip: str, out: str | Path | None = None, jobs: int = 2
) -> dict[str, Any]:
    """Fit the named factors of one chip to a points file (or to points) and cross-validate.

    out: where to write the chip's profile with the fitted factors
    Returns `chip`, `points`, `factors` (each with value, low, high), `errors` and
    `cross_validated` (by metric), `skipped`.
    Errors: `ProfileError` when no point is of this chip.
    """
    rows, skipped = read_points(points) if isinstance(points, str | Path) else (points, {})
    spec = load_chip(chip)
    ready = prepare(rows)
    own = subset(ready, lambda p, s: s.chip == spec.name)  # noqa: ARG005
    if not own.points:
        known = sorted({s.chip for s in ready.setups})
        hint = nearest(spec.name, known) if known else "the file has no usable point at all"
        raise ProfileError.one("points", "", spec.name, "no usable point of this chip", hint)
    own, result = calibrate_with_feedback(own, [spec.name], jobs)
    if len({p.group for p in own.points}) > 1:
        cross_validate(own, result, jobs)
    fitted = rows_of(own, result.values)
    if out is not None:
        Path(out).write_text(profile(spec, result), encoding="utf-8")
    return {
        "chip": spec.name,
        "points": len(own.points),
        "factors": [
            {"stack": n[1] or None, "factor": n[2], "value": v,
             **dict(zip(("low", "high"), ranges(result, n), strict=True))}
            for n, v in sorted(result.values.items())
        ],
        "errors": errors_by_metric(fitted),
        "cross_validated": errors_by_metric(result.left_out),
        "skipped": {r: list(skipped.values()).count(r) for r in sorted(set(skipped.values()))},
    }  # fmt: skip


def errors_by_metric(rows: list[Row]) -> dict[str, dict[str, float]]:
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


def profile(chip: Chip, result: Calibration) -> str:
    """The text of a chip's profile with its fitted (or borrowed) factors."""
    donor = BORROWS.get(chip.name, chip.name)
    rows = [row for row in result.left_out if row.chip == donor]
    errors = errors_by_metric(rows)
    tested = ""
    if errors:
        parts = [f"{m.upper()} {e['median_ape']:.0%}" for m, e in errors.items()]
        tested = f"; median error on left-out groups: {', '.join(parts)}"
    path = library.find("chip", chip.name)
    fitted = {s for c, s in result.counts if c == donor and s}
    wanted = {
        *CURRENT[chip.vendor],
        *fitted,
        *(s for s in chip.stacks if chip.vendor == "SambaNova"),
    }
    if chip.name in ("a100", "a100-40gb"):
        wanted |= {"vllm-2024", "trtllm-2024"}
    order = [s for s in ("vllm", "trtllm", "sglang", "atom", "sambaflow") if s in wanted]
    stacks = order + sorted(wanted - set(order))
    return replace_sections(
        path.read_text(encoding="utf-8"),
        efficiency_block(chip, result, tested),
        stacks_block(chip, result, stacks, tested),
    )


def calibrate_everything(points_path: str | Path, jobs: int = 2) -> tuple[Prepared, Calibration]:
    """All chips of a points file, cross-validated."""
    points, _ = read_points(points_path)
    prepared = prepare(points)
    prepared, result = calibrate_with_feedback(prepared, None, jobs)
    result.handoffs = handoffs(points, result.values, jobs)
    return prepared, cross_validate(prepared, result, jobs)


def calibrate_with_feedback(
    prepared: Prepared, chips: list[str] | None, jobs: int
) -> tuple[Prepared, Calibration]:
    """Fit, let the engine show what the schedules leave out, fit again."""
    first = calibrate_all(prepared, chips)
    values = {n: prior_of(n[2], n[1])[0] for n in names_of(prepared)} | first.values
    prepared = with_feedback(prepared, values, jobs)
    return prepared, calibrate_all(prepared, chips)


def write_from(result: Calibration, folder: str | Path | None = None) -> None:
    """Write every shipped profile from a calibration, in place or into a folder."""
    texts: Mapping[str, str] = {
        name: profile(load_chip(name), result)
        for name in library.shipped("chip")
        if name not in CLAIMS_ONLY
    }
    for name, text in texts.items():
        target = library.shipped("chip")[name] if folder is None else Path(folder) / f"{name}.yaml"
        target.write_text(text, encoding="utf-8")
