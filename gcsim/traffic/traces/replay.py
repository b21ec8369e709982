"""A trace as trajectories: spans for its hash blocks, links between the requests of a session."""

from collections.abc import Iterator
from pathlib import Path

from gcsim.errors import ProfileError
from gcsim.spec.workload import Trace
from gcsim.traffic import ids
from gcsim.traffic.traces.formats import FORMATS, read
from gcsim.traffic.traces.row import Row, Skipped
from gcsim.traffic.trajectory import Span, Step


def plans(
    trace: Trace, slot: int, skipped: Skipped
) -> Iterator[tuple[tuple[Step, ...], float | None]]:
    """(steps, own start [s] or None) of every trajectory of a trace, in the order of the file."""
    if trace.path is None:
        hint = "name one: --set workload.trace.path=FILE"
        raise ProfileError.one("workload", "trace.path", None, "names no trace file", hint)
    path = Path(trace.path).expanduser()
    size = trace.block_tokens or 512
    base, requests = ids.hashed(slot), 0
    for number, rows in enumerate(read(path, trace.format, trace.block_tokens, skipped)):
        yield one(rows[0], size, base, ids.private(slot, number)), rows[0].time_s


def one(row: Row, size: int, base: int, private: int) -> tuple[Step, ...]:
    return (Step(tuple(spans(row, size, base, private)), max(1, row.osl)),)


def spans(row: Row, size: int, base: int, private: int) -> list[Span]:
    if not row.blocks:
        return [(private, max(1, row.isl))]
    found = [(base + ids.small(block), size) for block in row.blocks]
    found[-1] = (found[-1][0], row.isl - size * (len(found) - 1))
    return found
