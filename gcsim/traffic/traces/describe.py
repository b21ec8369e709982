"""What is in a trace: counts, lengths, burstiness, and how much of it a cache could reuse.

Reuse is under an infinite cache: a request hits the longest prefix of its prompt that was seen
before. Percentiles are linear between the two nearest requests.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcsim.traffic.traces import native
from gcsim.traffic.traces.formats import NATIVE, read
from gcsim.traffic.traces.replay import format_of
from gcsim.traffic.traces.row import USUAL, Options, Row, Skipped
from gcsim.traffic.trajectory import Span, Step, Trajectory

PERCENTILES = (50, 90, 99)


class Reuse:
    """Which prefixes were seen; grows with the distinct content of a trace."""

    def __init__(self, warm: Iterable[Span] = ()) -> None:
        self._tokens: dict[int, int] = {}  # prefix with the id that follows it -> longest tokens
        self._blocks: set[int] = set()
        self._prompt(0, tuple(warm))

    def blocks(self, row: Row) -> int:
        """Leading blocks of a request that were seen before; they are all seen from now on."""
        seen, hits = self._blocks, 0
        for block in row.blocks or ():
            if block not in seen:
                seen.update(row.blocks or ())
                break
            hits += 1
        return hits

    def steps(self, steps: tuple[Step, ...]) -> list[tuple[int, int]]:
        """(isl, hit tokens) of every step of a trajectory: outputs are content of their own."""
        found: list[tuple[int, int]] = []
        ends: list[int] = []
        for step in steps:
            held, key = 0, 0
            if step.parent >= 0:
                held = found[step.parent][0] + steps[step.parent].osl
                key = ends[step.parent]
                if step.keep is not None:
                    held, key = step.keep, hash((key, step.keep))
            new = sum(count for _, count in step.append)
            hit, key = self._prompt(key, step.append)
            found.append((held + new, held + hit))
            ends.append(hash((key, "output", len(self._tokens), len(ends))))
        return found

    def _prompt(self, key: int, spans: tuple[Span, ...]) -> tuple[int, int]:
        """Tokens of `spans` seen before after the prefix `key`, and the key of what they end."""
        hit = 0
        for content, count in spans:
            place = hash((key, content))
            before = self._tokens.get(place, 0)
            hit += min(before, count)  # nothing after a prefix that is new was seen
            if count > before:
                self._tokens[place] = count
            key = hash((key, content, count))
        return hit, key


@dataclass(slots=True)
class Description:
    """Statistics of a trace while it is read: 16 to 24 bytes a request, and the reuse."""

    sessions: int = 0
    sub_agent_requests: int = 0
    isl: "array[int]" = field(default_factory=lambda: array("q"))
    osl: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[float]" = field(default_factory=lambda: array("d"))
    reuse: Reuse = field(default_factory=Reuse)
    tokens: int = 0  # of prompts with known content
    hit_tokens: int = 0
    blocks: int = 0
    hit_blocks: int = 0

    def add_rows(self, rows: list[Row]) -> None:
        """Add a session of a trace."""
        hashed = any(row.blocks is not None for row in rows)
        for row in rows:
            if not row.main:
                self.sub_agent_requests += 1
                continue
            self.sessions += row.opens
            self._add(row.isl, row.osl, row.time_s if len(rows) == 1 else None)
            if hashed:
                held, hits = _held(rows, row), self.reuse.blocks(row)
                hits -= min(hits, held // row.block_tokens) if row.whole else 0
                self._hit(row, held, hits, -(-row.isl // row.block_tokens))
            elif row.block_count:
                self._hit(row, 0, row.block_hits, row.block_count)
        if len(rows) > 1 and rows[0].time_s is not None:
            self.times.append(rows[0].time_s)

    def _hit(self, row: Row, held: int, hits: int, count: int) -> None:
        """`held` tokens continue an earlier request, `hits` of the blocks after them were seen."""
        self.blocks += count
        self.hit_blocks += held // row.block_tokens + hits
        self.tokens += row.isl
        self.hit_tokens += min(held + hits * row.block_tokens, row.isl)

    def add_trajectory(self, trajectory: Trajectory) -> None:
        """Add a trajectory, generated or read back."""
        self.sessions += 1
        for step, (isl, hit) in zip(
            trajectory.steps, self.reuse.steps(trajectory.steps), strict=True
        ):
            self._add(isl, step.osl, None)
            self.tokens += isl
            self.hit_tokens += hit
        if trajectory.start_s is not None:
            self.times.append(trajectory.start_s)

    def _add(self, isl: int, osl: int, time_s: float | None) -> None:
        self.isl.append(isl)
        self.osl.append(osl)
        if time_s is not None:
            self.times.append(time_s)

    def summary(self) -> dict[str, Any]:
        """The statistics under their names; None where the trace does not say.

        requests are those of the agents themselves; sub_agent_requests come on top of them. span_s
        and arrival_cv (standard deviation over mean of the gaps) are of the starts: of requests
        that stand alone, of sessions where there are sessions. token_hit and block_hit: hit share
        of all prompt tokens, and of all hash blocks.
        """
        times = np.frombuffer(self.times) if self.times else np.empty(0)
        gaps = np.diff(times)
        spread = len(gaps) > 0 and times[-1] > times[0]
        summary: dict[str, Any] = {
            "requests": len(self.isl),
            "sessions": self.sessions,
            "span_s": float(times[-1] - times[0]) if len(times) else None,
            "isl": lengths(np.frombuffer(self.isl, np.int64)) if self.isl else None,
            "osl": lengths(np.frombuffer(self.osl, np.int64)) if self.osl else None,
            "arrival_cv": float(gaps.std() / gaps.mean()) if spread else None,
            "token_hit": self.hit_tokens / self.tokens if self.tokens else None,
            "block_hit": self.hit_blocks / self.blocks if self.blocks else None,
        }
        if self.sub_agent_requests:
            summary["sub_agent_requests"] = self.sub_agent_requests
        return summary


def _held(rows: list[Row], row: Row) -> int:
    if row.parent < 0:
        return 0
    return rows[row.parent].isl + rows[row.parent].osl if row.keep is None else row.keep


def lengths(values: NDArray[np.int64]) -> dict[str, float]:
    """Mean and percentiles.

    >>> lengths(np.array([1, 2, 3]))
    {'mean': 2.0, 'p50': 2.0, 'p90': 2.8, 'p99': 2.98}
    """
    points = np.percentile(values, PERCENTILES)
    named = {f"p{p}": round(float(v), 6) for p, v in zip(PERCENTILES, points, strict=True)}
    return {"mean": float(values.mean()), **named}


def describe(path: Path, options: Options = USUAL, skipped: Skipped | None = None) -> Description:
    """Read a trace of any format through; `.summary()` has its statistics.

    Errors: `ProfileError` as in `formats.read`.
    """
    found, skipped = Description(), skipped or Skipped()
    options = replace(options, format=format_of(path, options))
    if options.format == NATIVE:
        for trajectory in native.read(path, skipped, options):
            found.add_trajectory(trajectory)
    else:
        for rows in read(path, options, skipped):
            found.add_rows(rows)
    return found
