"""`make calibrate`: fit all shipped chips, cross-validate, and write their profiles."""

from collections.abc import Mapping
from pathlib import Path

from gcsim.calibration.calibrate import (
    BORROWS,
    Calibration,
    calibrate_with_feedback,
    cross_validate,
    errors_by_metric,
)
from gcsim.calibration.chip_text import efficiency_block, replace_sections, stacks_block
from gcsim.calibration.fit import Prepared, prepare
from gcsim.calibration.handoff import handoffs
from gcsim.calibration.points import read_points
from gcsim.profiles import library
from gcsim.profiles.chip import Chip
from gcsim.profiles.resolve import load_chip

CLAIMS_ONLY = ("sn50",)  # no measurement is public: its profile is written by hand
CURRENT = {"NVIDIA": ("vllm", "trtllm", "sglang"), "AMD": ("vllm", "sglang"), "SambaNova": ()}


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
        *CURRENT.get(chip.vendor, (chip.default_stack,)),
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
