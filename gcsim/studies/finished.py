"""The finished points of a sweep, each in a file of its own: `DIR/points/KEY.json`.

A file is written under a temporary name and renamed, so it is whole or absent, whatever interrupts
it; a point that is there is never played again. One process at a time has the folder: the lock is
the operating system's, which lets go when the process ends, however it ends.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from gcsim.errors import ProfileError
from gcsim.results.folder import cannot_write, locked

TABLE = "sweep.parquet"
ABOUT = "sweep.json"
Record = dict[str, Any]  # of one point: its "summary", or its "error"


class Finished:
    """The finished points in a folder, or none of them where there is no folder."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def read(self, key: str) -> Record | None:
        """A finished point, if it is there and whole."""
        if self.folder is None:
            return None
        try:
            record = json.loads(self._file(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and record.get("key") == key else None

    def write(self, key: str, record: Record) -> None:
        """Keep one more. Errors: `ProfileError` where it cannot be written."""
        if self.folder is not None:
            self._replace(self._file(key), json.dumps({"key": key, **record}).encode())

    def write_table(self, table: pd.DataFrame, about: Record) -> None:
        """The table of the whole sweep and what it is about, in the place of earlier ones."""
        if self.folder is not None:
            text = json.dumps(about, indent=2, allow_nan=False, default=str)
            self._replace(self.folder / ABOUT, f"{text}\n".encode())
            self._replace(self.folder / TABLE, table.to_parquet(index=False))

    def _file(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / "points" / f"{key}.json"

    def _replace(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise cannot_write(path, error) from error


@contextmanager
def finished(out: str | Path | None) -> Iterator[Finished]:
    """The finished points in a folder, which is made, and locked until the end.

    Errors: `ProfileError` when it holds something else, cannot be written to, or another process
    sweeps into it.
    """
    if out is None:
        yield Finished(None)
        return
    folder = Path(out).absolute()
    try:
        points = folder / "points"
        if folder.exists() and not points.is_dir() and any(folder.iterdir()):
            why = "exists and is not the folder of a sweep"
            raise ProfileError.one(str(out), "--out", None, why, "name another folder")
        points.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    except OSError as error:
        raise cannot_write(folder, error) from error
    with lock:
        if not locked(lock):
            why = "another sweep is writing to it"
            raise ProfileError.one(str(out), "--out", None, why, "wait for it, or name another")
        for left in (
            *points.glob(".*.tmp"),
            *folder.glob(".*.tmp"),
        ):  # of a process that was killed
            left.unlink(missing_ok=True)
        yield Finished(folder)
