"""A trace as trajectories: spans for its hash blocks, links between the requests of a session."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

from gcsim.errors import ProfileError
from gcsim.profiles.workload import Trace
from gcsim.traffic import ids
from gcsim.traffic.traces import native, parquet
from gcsim.traffic.traces.files import members
from gcsim.traffic.traces.formats import NATIVE, detect, detect_parquet, first_line, read
from gcsim.traffic.traces.row import USUAL, Options, Row, Skipped
from gcsim.traffic.trajectory import Span, Step


class Plan(NamedTuple):
    """A trajectory before it has its number and its start; `start_s` is a trace's own time."""

    steps: tuple[Step, ...]
    start_s: float | None = None


def format_of(path: Path, options: Options = USUAL) -> str:
    """The format of a trace file: the given name, else detected by content."""
    if options.format or options.columns:
        return options.format or "log"
    if parquet.is_parquet(members(path)[0]):
        return detect_parquet(members(path)[0])
    return detect(str(path), first_line(members(path)[0], Skipped(True), options)[1])


def plans(trace: Trace, slot: int, skipped: Skipped) -> Iterator[Plan]:
    """The trajectories of a trace in the order of the file, lazily, within the limits of `trace`.

    slot: the place of the trace in its mix, so that its content ids are its own.
    """
    if trace.path is None:
        hint = "name one: --set workload.trace.path=FILE"
        raise ProfileError.one("workload", "trace.path", None, "names no trace file", hint)
    path, played = Path(trace.path).expanduser(), 0
    options = Options(trace.format, trace.block_tokens, trace.unpacked_max, trace.columns)
    for plan in sessions(path, options, skipped, slot, trace.models):
        start_s = plan.start_s
        if trace.start or trace.end is not None:
            if start_s is None:
                why = "cuts a trace that has no times"
                raise ProfileError.one(str(path), "trace.start", trace.start, why)
            if start_s < trace.start:
                continue
            if trace.end is not None and start_s >= trace.end:
                return
            start_s -= trace.start
        yield Plan(plan.steps, start_s)
        played += len(plan.steps)
        if trace.requests is not None and played >= trace.requests:
            return


def sessions(
    path: Path,
    options: Options,
    skipped: Skipped,
    slot: int = 0,
    models: dict[str, str] | None = None,
) -> Iterator[Plan]:
    """All trajectories of a trace file in its order, lazily.

    models: which model serves one that the trace names, the scenario's (None) all others; None
    keeps the names. A trace in gcsim's own format names models of a deployment: those stay.
    """
    options = replace(options, format=format_of(path, options))
    if options.format == NATIVE:
        for trajectory in native.read(path, skipped, options):
            yield Plan(_moved(trajectory.steps, slot), trajectory.start_s)
        return
    base = ids.hashed(slot)
    for number, rows in zip(count(), read(path, options, skipped), strict=False):
        yield Plan(steps(rows, base, ids.private(slot, number), models), rows[0].time_s)


def steps(
    rows: list[Row], base: int, private: int, models: dict[str, str] | None = None
) -> tuple[Step, ...]:
    """The requests of a session as steps.

    base: added to hash ids; private: the first of the ids that only this session uses. A request
    of no tokens is played as one of a single token (prompt or output).
    """
    played: list[Step] = []
    sizes = [max(1, row.isl) for row in rows]
    for index, row in enumerate(rows):
        keep, held = row.keep, 0
        if row.parent >= 0:
            held = whole = sizes[row.parent] + max(1, rows[row.parent].osl)
            if keep is not None or sizes[index] < whole:
                keep = held = min(sizes[index], whole if keep is None else keep)
        append = tuple(_spans(row, held, sizes[index] - held, base, private + index))
        model = row.model if models is None else models.get(row.model or "")
        waits = row.waits_for
        played.append(
            Step(append, max(1, row.osl), row.delay_s, row.parent, waits, row.human, model, keep)
        )
    return tuple(played)


def _spans(row: Row, held: int, tokens: int, base: int, private: int) -> list[Span]:
    """What a request adds to its context: hash blocks, or a shared prefix and private content.

    Of hashes of the whole prompt those count that lie beyond the `held` tokens; what it goes on
    with may end inside a block.
    """
    found: list[Span] = []
    if row.blocks and tokens > 0:
        size = row.block_tokens
        first, begun = divmod(held if row.whole else 0, size)
        found = [(base + block, size) for block in map(ids.small, row.blocks[first:])]
        if found:
            found[0] = (found[0][0], size - begun)
            tokens -= size * len(found) - begun
        if found and tokens < 0:  # the last block is partial
            found[-1] = (found[-1][0], found[-1][1] + tokens)
    elif row.prefix and row.parent < 0:
        shared = min(row.prefix[1], tokens)
        found, tokens = [(row.prefix[0], shared)], tokens - shared
    if tokens > 0:
        found.append((private, tokens))
    return found


def _moved(steps: tuple[Step, ...], slot: int) -> tuple[Step, ...]:
    """Content ids of a gcsim trace, moved away from those of the other parts of a mix.

    What is shared by name stays, so that a recorded class and a live one share their prefix.
    """
    away = (slot + 1) << 64

    def moved(content: int) -> int:
        return content if content >> 60 == ids.SHARED >> 60 else content + away

    return tuple(
        replace(step, append=tuple((moved(content), n) for content, n in step.append))
        for step in steps
    )
