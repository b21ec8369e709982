"""Trace files that are whole or absent, whatever interrupts their writing."""

import tempfile
from collections.abc import Iterable
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
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            part = Path(folder) / target.name
            dropped = write(part, trajectories, to)
            part.replace(target)
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise ProfileError.one(str(target), "", None, why, "nothing was; name another") from error
    return dropped
