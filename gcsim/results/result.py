"""What a run gives: tables and a summary, shown, saved and read back."""

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gcsim.errors import ProfileError
from gcsim.spec.resolve import Resolved

FILES = ("summary.json", "requests.parquet", "trajectories.parquet", "scenario.yaml")


@dataclass(frozen=True)
class Result:
    """Tables of one run, and its summary (times in ms; see docs/results.md for every key)."""

    resolved: Resolved
    summary: dict[str, Any]
    requests: pd.DataFrame = field(repr=False)
    trajectories: pd.DataFrame = field(repr=False)
    pools: pd.DataFrame = field(repr=False)
    links: pd.DataFrame = field(repr=False)
    timeline: pd.DataFrame = field(repr=False)

    def to_json(self) -> str:
        """The summary as JSON; undefined metrics are null."""
        return json.dumps(self.summary, indent=2, allow_nan=False)

    def save(self, folder: str | Path) -> Path:
        """Write a results folder: all of it, or nothing (a temporary folder is renamed).

        Errors: `ProfileError` when the folder exists and is not an earlier results folder, or
        cannot be written.
        """
        target = check_target(folder)
        try:
            temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            try:
                self._write(temporary)
                _replace(temporary, target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            raise _cannot_write(target, error) from error
        return target

    def _write(self, folder: Path) -> None:
        (folder / "scenario.yaml").write_text(self.resolved.to_yaml(), encoding="utf-8")
        self.requests.to_parquet(folder / "requests.parquet", index=False)
        self.trajectories.to_parquet(folder / "trajectories.parquet", index=False)
        self.pools.to_csv(folder / "pools.csv", index=False)
        self.timeline.to_parquet(folder / "timeline.parquet", index=False)
        # The summary comes last: a folder with one is complete.
        (folder / "summary.json").write_text(self.to_json() + "\n", encoding="utf-8")


def check_target(folder: str | Path) -> Path:
    """A folder that results can go to; asked before a run, so that no run is lost.

    Errors: `ProfileError` when it exists and is not an earlier results folder, or when the place
    cannot be written to.
    """
    target = Path(folder).absolute()
    try:
        if target.exists() and not (target / "summary.json").is_file():
            why = "exists and is not a results folder"
            raise ProfileError.one(str(folder), "--out", None, why, "name another folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent):
            pass
    except OSError as error:
        raise _cannot_write(target, error) from error
    return target


def _cannot_write(target: Path, error: OSError) -> ProfileError:
    why = f"cannot be written: {error.strerror or error}"
    return ProfileError.one(str(target), "--out", None, why, "name another folder")


def _replace(temporary: Path, target: Path) -> None:
    """Put a complete folder in its place; an earlier one goes only when the new one stands."""
    temporary.chmod(0o755)
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.rename(old / "earlier")
        temporary.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(target)
