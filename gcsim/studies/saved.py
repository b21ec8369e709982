"""Sweeps read back from the folder that `gcsim sweep --out` wrote."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from gcsim.errors import ProfileError
from gcsim.studies.finished import ABOUT, TABLE
from gcsim.studies.grid import Axis
from gcsim.studies.sweep import Sweep


def load_sweep(folder: str | Path) -> Sweep:
    """A finished sweep: its table, its axes, and what each curve takes at the SLO.

    Errors: `ProfileError` when a file of the folder is absent or cut off.
    """
    path = Path(folder)
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        axes = tuple(Axis(axis["path"], tuple(axis["values"])) for axis in about["axes"])
        table = pd.read_parquet(BytesIO((path / TABLE).read_bytes()))
        scenario, at_slo = str(about["scenario"]), about.get("at_slo")
        curves = None if at_slo is None else pd.DataFrame(at_slo)
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"is not the folder of a finished sweep: {_told(error)}"
        hint = "the same gcsim sweep --out goes on from what is there"
        raise ProfileError.one(str(folder), "", None, why, hint) from error
    found = Sweep(scenario, axes, table, curves)
    if lost := [key for key in found.keys if key not in table]:
        raise ProfileError.one(str(path / TABLE), lost[0], None, "is no column of the table")
    return found


def _told(error: Any) -> str:
    name = getattr(error, "filename", None)
    return f"{Path(name).name}: {error.strerror}" if name else f"{ABOUT} or {TABLE}: {error}"
