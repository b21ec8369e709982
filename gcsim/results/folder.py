"""Results folders: complete or absent, whatever interrupts their writing.

A folder is written under a temporary name beside its place (`.name.xxxxxxxx`) and renamed when all
of it is there; the summary is its last file. So a folder of the given name is complete, a kill at
any moment leaves at most a temporary one behind, and `complete` tells one from the other.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gcsim.errors import ProfileError

FILES = (
    "summary.json",
    "requests.parquet",
    "trajectories.parquet",
    "timeline.parquet",
    "pools.csv",
    "scenario.yaml",
)
REPLICATED = ("summary.json", "replications.parquet", "scenario.yaml")


def write_folder(folder: str | Path, fill: Callable[[Path], None]) -> Path:
    """Write a folder by `fill`: all of it, or nothing; an earlier one stays until then.

    Errors: `ProfileError` when it exists and is not an earlier results folder, or cannot be
    written (a full disk too).
    """
    target = check_target(folder)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            fill(temporary)
            _replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise cannot_write(target, error) from error
    return target


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
        raise cannot_write(target, error) from error
    return target


@contextmanager
def claimed(folder: str | Path | None) -> Iterator[bool]:
    """A folder that no other process writes results to meanwhile; whether it is there already.

    The claim is a lock on `.name.lock` beside it: it ends with the process, however that ends.
    Errors: `ProfileError` as `check_target`, and when another process has it.
    """
    if folder is None:
        yield False
        return
    target = check_target(folder)
    beside = target.with_name(f".{target.name}.lock")
    try:
        file = _owned(beside)
    except OSError as error:
        raise cannot_write(target, error) from error
    if file is None:
        why, hint = "is being written to by another run", "wait for it, or name another folder"
        raise ProfileError.one(str(folder), "--out", None, why, hint)
    with file:
        try:
            _tidied(target)
            yield target.exists()
        finally:
            with suppress(OSError):  # Windows removes no open file
                beside.unlink()


def _owned(path: Path) -> IO[str] | None:
    """A file, open and locked by this process alone; None when another one has it."""
    for _ in range(10):  # another process may take it away between these lines
        file = path.open("a")
        if not locked(file):
            file.close()
            return None
        with suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
    return None


def _tidied(target: Path) -> None:
    """Remove what a killed process left, and put back what it had put aside."""
    for left in target.parent.iterdir():
        found = re.fullmatch(rf"\.{re.escape(target.name)}(~old)?\.[a-z0-9_]{{8}}", left.name)
        if found is None or not left.is_dir():
            continue
        if found[1] and (left / "earlier").exists() and not target.exists():
            (left / "earlier").rename(target)
        shutil.rmtree(left, ignore_errors=True)


def locked(file: IO[str]) -> bool:
    """Take the lock of an open file, which is held until it is closed; False: somebody has it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def cannot_write(target: Path, error: OSError) -> ProfileError:
    """The error for a place that cannot be written to."""
    why, hint = f"cannot be written: {error.strerror or error}", "nothing was; name another folder"
    return ProfileError.one(str(target), "--out", None, why, hint)


def complete(folder: Path) -> dict[str, Any]:
    """The summary of a complete results folder.

    Complete: every file is there, readable to its end, and the tables have as many rows as the
    summary counts. Errors: `ProfileError` that names what is missing.
    """
    summary = read_summary(folder / "summary.json")
    files = REPLICATED if "replications" in summary else FILES
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise _incomplete(folder, f"{', '.join(missing)} is missing")
    wanted = _rows(summary)
    for name in (name for name in files if name.endswith((".parquet", ".csv"))):
        found, rows = _count(folder / name), wanted.get(name)
        if found is None or rows not in (None, found):
            why = "cannot be read to its end" if found is None else f"has {found} rows, not {rows}"
            raise _incomplete(folder, f"{name} {why}")
    return summary


def read_summary(path: Path) -> dict[str, Any]:
    """A `summary.json`. Errors: `ProfileError` when it is absent, cut off, or something else."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _incomplete(path.parent, f"{path.name}: {error.strerror}") from error
    except ValueError as error:
        raise _incomplete(path.parent, f"{path.name} is no JSON: {error}") from error
    if not isinstance(summary, dict) or "mean_e2el_ms" not in summary:
        raise ProfileError.one(str(path), "", None, "is no summary of a run")
    return summary


def _rows(summary: dict[str, Any]) -> dict[str, int]:
    """How many rows a summary says that its tables have."""
    if "replications" in summary:
        return {"replications.parquet": summary["replications"]}
    recorded, pools = summary.get("recorded"), summary.get("pools")
    if not isinstance(recorded, dict) or not isinstance(pools, list):
        return {"requests.parquet": -1}  # no summary of this version: nothing fits
    return {f"{name}.parquet": rows for name, rows in recorded.items()} | {"pools.csv": len(pools)}


def _count(path: Path) -> int | None:
    """Rows of a table; None for one that is cut off."""
    if path.suffix == ".csv":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
        return text.count("\n") - 1 if text.endswith("\n") else None
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        return int(read_table(path).num_rows)
    except (ArrowException, OSError):
        return None


def _incomplete(folder: Path, what: str) -> ProfileError:
    hint = "an interrupted run leaves such a folder; run it again"
    return ProfileError.one(
        str(folder), "", None, f"is not a complete results folder: {what}", hint
    )


def _replace(temporary: Path, target: Path) -> None:
    """Put a complete folder in its place; an earlier one goes only when the new one stands."""
    temporary.chmod(0o755)
    if not target.exists():
        temporary.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}~old.", dir=target.parent))
    try:
        target.rename(old / "earlier")
        temporary.rename(target)
    finally:
        if not target.exists() and (old / "earlier").exists():
            (old / "earlier").rename(target)
        shutil.rmtree(old, ignore_errors=True)
