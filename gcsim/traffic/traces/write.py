"""Trajectories to a trace file: for gcsim itself, or for load generators that drive real servers.

A new format is one function and one line in `WRITERS`. What a format cannot hold is counted, never
dropped in silence.
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from gcsim.errors import ProfileError, nearest
from gcsim.traffic import ids
from gcsim.traffic.traces import native, replay
from gcsim.traffic.traces.chains import Dropped, Turn, chains
from gcsim.traffic.traces.formats import NATIVE
from gcsim.traffic.traces.row import Options, Skipped
from gcsim.traffic.trajectory import Span, Trajectory

BLOCK_TOKENS = 512  # Mooncake's
BESIDE_HASHES = 1 << 40  # new ids of a trace with hashes of its own: far from those
RESETS = "contexts that shrink: the session ends there and another one begins"
SIZES = "requests with hash blocks of another size: read them with their own block_tokens"
_WORDS = (
    "act add age air all and any arm art ask bad bag bar bed big bit box boy but buy can car cat"
    " cup cut day dog ear eat end eye far few fly for fun gas get god gun guy had hat her him his"
    " hit hot how ice job key law leg let lie lot low man map may men new not"
)
WORDS = _WORDS.split()

Write = Callable[[Iterable[Trajectory], Dropped], Iterator[str]]


def gcsim_lines(trajectories: Iterable[Trajectory], _: Dropped) -> Iterator[str]:
    """gcsim's own format: without loss."""
    return map(native.line, trajectories)


def mooncake_lines(trajectories: Iterable[Trajectory], dropped: Dropped) -> Iterator[str]:
    """Mooncake JSONL; sessions of several turns with AIPerf's session_id and delay [ms].

    In a session input_length and hash_ids are what the turn appends, as AIPerf reads them;
    `prefix_reset` marks a turn with a whole prompt. Times are exact to the nanosecond.
    """
    blocks = _Blocks()
    for trajectory in trajectories:
        for number, turns in enumerate(chains(trajectory, dropped)):
            blocks.forget()
            for place, turn in enumerate(turns):
                record: dict[str, Any] = {}
                if len(turns) > 1:
                    record["session_id"] = f"{trajectory.index}.{number}"
                if place == 0 and trajectory.start_s is not None:
                    record["timestamp"] = _ms(trajectory.start_s)
                if turn.delay_s or place:
                    record["delay"] = _ms(turn.delay_s)
                if turn.afresh and place:
                    record["prefix_reset"] = True
                record["input_length"] = sum(count for _, count in turn.spans)
                record["output_length"] = turn.osl
                hash_ids = blocks.of(turn, dropped)
                if hash_ids is not None:
                    record["hash_ids"] = hash_ids
                yield json.dumps(record)


def aiperf_lines(trajectories: Iterable[Trajectory], dropped: Dropped) -> Iterator[str]:
    """AIPerf multi_turn JSONL: texts of common words of three letters, one token each or nearly.

    Equal content ids give equal texts, so that a real server's prefix cache sees the same sharing.
    """
    for trajectory in trajectories:
        for number, turns in enumerate(chains(trajectory, dropped)):
            session: list[dict[str, Any]] = []
            part = 0
            for place, turn in enumerate(turns):
                spans = turn.spans
                if turn.afresh and place:
                    dropped[RESETS] += 1
                    yield _session(trajectory, number, part, session)
                    session, part = [], part + 1
                if not session and len(spans) > 1 and spans[0][0] >> 60 == ids.SHARED >> 60:
                    session.append({"role": "system", "text": text(spans[:1])})
                    spans = spans[1:]
                record: dict[str, Any] = {"text": text(spans), "output_length": turn.osl}
                if place == 0 and trajectory.start_s is not None:
                    record["timestamp"] = _ms(trajectory.start_s + turn.delay_s)
                elif place or turn.delay_s:
                    record["delay"] = _ms(turn.delay_s)
                session.append(record)
            yield _session(trajectory, number, part, session)


WRITERS: dict[str, Write] = {
    "mooncake": mooncake_lines,
    "aiperf": aiperf_lines,
    NATIVE: gcsim_lines,
}


def write(path: Path, trajectories: Iterable[Trajectory], to: str) -> dict[str, int]:
    """Write a trace file (gzip where its name ends in .gz); what its format could not hold.

    Errors: `ProfileError` for an unknown format, and what reading `trajectories` raises.
    """
    if to not in WRITERS:
        raise ProfileError.one(str(path), "to", to, "no such format", nearest(to, WRITERS))
    dropped: Dropped = Counter()
    with _opened(path) as file:
        for line in WRITERS[to](trajectories, dropped):
            file.write(line + "\n")
    return {what: count for what, count in dropped.items() if count}


def stored(path: Path, options: Options, skipped: Skipped) -> Iterator[Trajectory]:
    """The trajectories of a trace file as they are, with their own times and content ids."""
    options = replace(options, format=replay.format_of(path, options))
    if options.format == NATIVE:
        yield from native.read(path, skipped, options)
        return
    for index, plan in enumerate(replay.sessions(path, options, skipped)):
        yield Trajectory(index, path.name.split(".")[0], plan.steps, plan.start_s)


def text(spans: Iterable[Span]) -> str:
    """Words for content: equal ids give equal words, a shorter span the first of them.

    >>> text([(7, 3)]), text([(7, 2)]) == text([(7, 3)])[:7]
    ('lie but dog', True)
    """
    found = []
    for content, count in spans:
        rng = np.random.Generator(np.random.Philox(key=content % (1 << 128)))
        found += [WORDS[place] for place in (rng.random(count) * len(WORDS)).astype(int)]
    return " ".join(found)


class _Blocks:
    """Hash ids of blocks: what is shared by name keeps its ids, all else gets new ones."""

    def __init__(self) -> None:
        self._shared: dict[tuple[int, ...], int] = {}
        self._own: dict[tuple[int, ...], int] = {}
        self._next = 0

    def forget(self) -> None:
        """A new session: nothing private of the last one comes again."""
        self._own = {}

    def of(self, turn: Turn, dropped: Dropped) -> list[int] | None:
        """The ids of the blocks of a turn; None where nothing is known of its content."""
        spans = turn.spans
        hashed = [content >> 60 == ids.HASHED >> 60 for content, _ in spans]
        if spans and all(hashed) and _are_blocks(turn):
            dropped[SIZES] += len(spans) > 1 and spans[0][1] != BLOCK_TOKENS
            mask = (1 << ids.HASH_BITS) - 1
            return [content & mask for content, _ in spans]
        if len(spans) == 1 and spans[0][0] >> 60 == 0:
            return None
        found: list[int] = []
        key: tuple[int, ...] = ()
        known = self._shared
        for pieces in _cut_blocks(spans):
            if any(content >> 60 != ids.SHARED >> 60 for content, *_ in pieces):
                known = self._own
            key = (found[-1] if found else -1, *(part for piece in pieces for part in piece))
            if key not in known:
                known[key] = self._next + (BESIDE_HASHES if any(hashed) else 0)
                self._next += 1
            found.append(known[key])
        return found


def _are_blocks(turn: Turn) -> bool:
    """Are all spans of one size but the last? A turn that goes on may begin inside a block."""
    *sizes, last = [count for _, count in turn.spans]
    size = sizes[0] if turn.afresh and sizes else BLOCK_TOKENS
    return all(count == size for count in sizes) and last <= size


def _cut_blocks(spans: tuple[Span, ...]) -> Iterator[list[tuple[int, int, int]]]:
    """The pieces (content, first token, end) of every block of a prompt."""
    pieces: list[tuple[int, int, int]] = []
    room = BLOCK_TOKENS
    for content, count in spans:
        start = 0
        while start < count:
            end = min(count, start + room)
            pieces.append((content, start, end))
            room -= end - start
            start = end
            if room == 0:
                yield pieces
                pieces, room = [], BLOCK_TOKENS
    if pieces:
        yield pieces


def _session(trajectory: Trajectory, number: int, part: int, turns: list[dict[str, Any]]) -> str:
    name = f"{trajectory.index}.{number}" + (f".{part}" if part else "")
    return json.dumps({"session_id": name, "turns": turns})


def _ms(time_s: float) -> float:
    """Milliseconds that come back as the same nanosecond; whole ones as whole numbers."""
    value = round(time_s * 1000, 6)
    return int(value) if value == int(value) else value


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        raw = path.open("wb")
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise ProfileError.one(str(path), "", None, why) from error
    with ExitStack() as stack:
        file: Any = stack.enter_context(raw)
        if path.suffix == ".gz":  # no name and time inside: the same trace gives the same bytes
            file = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
        yield stack.enter_context(TextIOWrapper(file, encoding="utf-8", newline="\n"))
