"""What a run gives: tables and a summary, shown, saved and read back."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gcsim.profiles.resolve import Resolved
from gcsim.results.folder import write_folder
from gcsim.results.html import Shown


@dataclass(frozen=True)
class Result(Shown):
    """Tables of one run, and its summary (times in ms; see docs/results.md for every key)."""

    resolved: Resolved
    summary: dict[str, Any]
    requests: pd.DataFrame
    trajectories: pd.DataFrame
    pools: pd.DataFrame
    links: pd.DataFrame
    timeline: pd.DataFrame
    played: str = field(default="", compare=False)
    """By which engine, and why that one; the numbers are the same, so no file says it."""

    def __repr__(self) -> str:
        s = self.summary
        tail = ", saturated" if s["saturated"] else ""
        counts = f"{s['trajectories']:,} tasks, {s['completed']:,} requests"
        return f"Result({s['scenario']} on {s['deployment']}: {counts}{tail})"

    def to_json(self) -> str:
        """The summary as JSON; undefined metrics are null."""
        return json.dumps(self.summary, indent=2, allow_nan=False)

    def save(self, folder: str | Path) -> Path:
        """Write a results folder: all of it, or nothing (a temporary folder is renamed).

        Errors: `ProfileError` when the folder exists and is not an earlier results folder, or
        cannot be written.
        """
        return write_folder(folder, self._write)

    def _write(self, folder: Path) -> None:
        (folder / "scenario.yaml").write_text(self.resolved.to_yaml(), encoding="utf-8")
        self.requests.to_parquet(folder / "requests.parquet", index=False)
        self.trajectories.to_parquet(folder / "trajectories.parquet", index=False)
        self.pools.to_csv(folder / "pools.csv", index=False)
        self.timeline.to_parquet(folder / "timeline.parquet", index=False)
        # The summary comes last: a folder with one is complete.
        (folder / "summary.json").write_text(self.to_json() + "\n", encoding="utf-8")
