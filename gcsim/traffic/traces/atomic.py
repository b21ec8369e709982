"""Trace files that are whole or absent, whatever interrupts their writing."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import escape as glob_escape
from pathlib import Path

from gcsim.errors import ProfileError
from gcsim.traffic.traces.write import write
from gcsim.traffic.trajectory import Trajectory


def write_atomic(target: Path, trajectories: Iterable[Trajectory], to: str) -> dict[str, int]:
    r"""`write` into a temporary folder beside the target, then rename: all of it, or nothing.

    An earlier file stays until then, so a trace may be converted into its own place. Returns what
    the format could not hold, with counts. Errors: `ProfileError` as `write`, and when the place
    cannot be written to (a full disk too).

    >>> from gcsim.traffic.trajectory import Step, chain
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "one.jsonl"
    ...     dropped = write_atomic(file, [chain(0, "demo", [Step(((1, 9),), 4)], 0.0)], "mooncake")
    ...     dropped, file.read_text()
    ({}, '{"timestamp": 0, "input_length": 9, "output_length": 4}\n')
    """
    target = target.expanduser().absolute()
    try:
        with beside(target) as folder:
            part = folder / target.name
            dropped = write(part, trajectories, to)
            part.replace(target)
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise ProfileError.one(str(target), "", None, why, "nothing was; name another") from error
    return dropped


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A temporary folder beside a file, `.name.xxxxxxxx`; those of processes that were killed go.

    A folder is locked as long as its process lives (on Unix; elsewhere the others stay).
    """
    for left in target.parent.glob(f".{glob_escape(target.name)}.*"):
        if re.fullmatch(r"[a-z0-9_]{8}", left.suffix[1:]) and left.is_dir():
            with suppress(OSError), _locked(left) as free:
                if free:
                    shutil.rmtree(left, ignore_errors=True)
    fresh = tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent)
    with fresh as folder, _locked(Path(folder)):
        yield Path(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Holds the lock of a folder; whether it could be had."""
    if os.name == "nt":
        yield False
        return
    import fcntl

    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(opened)
