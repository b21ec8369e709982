"""What was saved, read back for pages and pictures: runs, sweeps, plans, plans over load."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcsim.errors import ProfileError

if TYPE_CHECKING:
    from gcsim.results.result import Result
    from gcsim.studies.sweep import Sweep

Saved = dict[str, Any]
_BOTH: dict[str, Any] = {
    "scenario": str,
    "model": str,
    "load_kind": str,
    "slo": list,
    "families": list,
    "runs": int,
    "minimize": str,
    "version": str,
}
PLAN = _BOTH | {"load": int | float, "sentence": str, "frontier": list, "sways": list}
OVER_LOAD = _BOTH | {"loads": list}


@dataclass(slots=True)
class Sources:
    """What the files and folders hold, by kind; runs by name."""

    plans: list[Saved] = field(default_factory=list)
    over_load: list[Saved] = field(default_factory=list)
    sweeps: "list[Sweep]" = field(default_factory=list)
    runs: "dict[str, Result]" = field(default_factory=dict)


def read_sources(paths: list[Path]) -> Sources:
    """Each path: a folder of a run or of a sweep, or a plan as `--format json` has it.

    Errors: `ProfileError` for what is none of these.
    """
    from gcsim.results.saved import load_results
    from gcsim.studies.finished import TABLE
    from gcsim.studies.saved import load_sweep

    found, folders = Sources(), []
    for path in paths:
        if path.is_file():
            plan = read_plan(path)
            (found.over_load if "loads" in plan else found.plans).append(plan)
        elif (path / TABLE).is_file():
            found.sweeps.append(load_sweep(path))
        else:
            folders.append((path, load_results(path)))
    found.runs = _named(folders)
    return found


def read_plan(path: Path) -> Saved:
    """A saved plan, or plan over load. Errors: `ProfileError` for a file that is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ProfileError.one(str(path), "", None, why) from error
    except ValueError as error:
        why, hint = f"is no JSON: {error}", "gcsim plan ... --format json > plan.json writes a plan"
        raise ProfileError.one(str(path), "", None, why, hint) from error
    known = found if isinstance(found, dict) else {}
    keys = OVER_LOAD if "loads" in known else PLAN
    wrong = [key for key, kind in keys.items() if not isinstance(known.get(key), kind)]
    parts = [key for key in ("families", "frontier", "sways") if key in keys]
    rows = (row for key in parts for row in known.get(key) or ())
    if wrong or not all(isinstance(row, dict) for row in rows):
        why, hint = "is no saved plan", "gcsim plan ... --format json > plan.json writes one"
        raise ProfileError.one(str(path), wrong[0] if wrong else parts[0], None, why, hint)
    return known


def _named(found: "list[tuple[Path, Result]]") -> "dict[str, Result]":
    """Runs by deployment, or by folder where two have the same one."""
    names = [result.summary["deployment"] for _, result in found]
    if len(set(names)) < len(names):
        names = [path.resolve().name for path, _ in found]
    if len(set(names)) < len(names):
        names = [str(path) for path, _ in found]
    return dict(zip(names, (result for _, result in found), strict=True))
