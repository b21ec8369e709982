"""`make calibrate`: fit all shipped chips, cross-validate, and write their factors."""

from pathlib import Path

from gcsim.calibration.calibrate import (
    BORROWS,
    Calibration,
    calibrate_with_feedback,
    cross_validate,
    errors_by_metric,
)
from gcsim.calibration.factor_files import factors_text
from gcsim.calibration.fit import Prepared, prepare
from gcsim.calibration.handoff import handoffs
from gcsim.calibration.points import read_points
from gcsim.profiles import library
from gcsim.profiles.load import read_mapping
from gcsim.profiles.resolve import load_chip


def calibrate_everything(points_path: str | Path, jobs: int = 2) -> tuple[Prepared, Calibration]:
    """All chips of a points file, cross-validated."""
    points, _ = read_points(points_path)
    prepared = prepare(points)
    prepared, result = calibrate_with_feedback(prepared, None, jobs)
    result.handoffs = handoffs(points, result.values, jobs)
    return prepared, cross_validate(prepared, result, jobs)


def write_from(result: Calibration, folder: str | Path | None = None) -> None:
    """Write the factors of every shipped chip that has its own, in place or into a folder.

    Its own: those that its data sheet names, or, where it still names a relative's, its first.
    """
    texts: dict[Path, str] = {}
    fitted = {name[0] for name in result.values}
    for name, path in library.shipped("chip").items():
        if read_mapping(path)[0].get("factors") == name or name in fitted:
            target = Path(folder or library.root() / library.FOLDERS["factors"]) / f"{name}.yaml"
            texts[target] = factors_text(load_chip(name), result, tested(result, name))
    for target, text in texts.items():
        target.write_text(text, encoding="utf-8")


def tested(result: Calibration, chip: str) -> str:
    """What the cross-validation says of a chip (of whom it borrows), for the sources of values."""
    donor = BORROWS.get(chip, chip)
    errors = errors_by_metric([row for row in result.left_out if row.chip == donor])
    if not errors:
        return ""
    parts = [f"{metric.upper()} {found['median_ape']:.0%}" for metric, found in errors.items()]
    return f"; median error on left-out groups: {', '.join(parts)}"
