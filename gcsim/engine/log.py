"""What no table of a run keeps: every batch that a replica played, every transfer of a link.

Noted where a run is asked to (`Terms.log`), by the SimPy engine alone, within a window of time.
Nothing that is played depends on it.
"""

from dataclasses import dataclass, field

import numpy as np

from gcsim.engine.run import Run
from gcsim.machine.roofline import (
    DECODE_KV,
    DECODE_SEQS,
    GAP_BINS,
    PREFILL_KV,
    PROMPT_TOKENS,
    PROMPTS,
    TOTALS,
)


@dataclass(frozen=True, slots=True)
class Played:
    """One iteration, or a run of them on the same batch: [start, end) in ns, and what it computed.

    totals: `gcsim.machine.roofline.TOTALS`, of this run alone.
    """

    replica: int
    start_ns: int
    end_ns: int
    iterations: int
    decode_seqs: int
    prompts: int
    prompt_tokens: int
    kv_tokens: int
    totals: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Carried:
    """One transfer on a link: when its lanes were taken and when all had arrived [ns]."""

    link: str
    source: int
    target: int
    start_ns: int
    end_ns: int
    moved_bytes: float


@dataclass(slots=True)
class Log:
    """What was noted between two times [ns]."""

    from_ns: int
    until_ns: int
    played: list[Played] = field(default_factory=list)
    carried: list[Carried] = field(default_factory=list)
    _gaps: np.ndarray = field(default_factory=lambda: np.zeros(GAP_BINS, dtype=np.int64))

    def ran(self, replica: int, run: Run, end_ns: int) -> None:
        """A run of iterations is over."""
        if end_ns < self.from_ns or run.start_ns > self.until_ns:
            return
        totals = np.zeros(len(TOTALS))
        run.account(totals, self._gaps)
        rows = np.sum(run.rows, axis=0)
        self.played.append(
            Played(
                replica,
                run.start_ns,
                end_ns,
                run.iterations,
                int(rows[DECODE_SEQS]),
                int(rows[PROMPTS]),
                int(rows[PROMPT_TOKENS]),
                int(rows[DECODE_KV] + rows[PREFILL_KV]),
                tuple(totals.tolist()),
            )
        )

    def moved(self, carried: Carried) -> None:
        """A transfer has its place on the lanes."""
        if carried.end_ns >= self.from_ns and carried.start_ns <= self.until_ns:
            self.carried.append(carried)


def total_of(played: Played) -> dict[str, float]:
    """The sums of a run by name."""
    return dict(zip(TOTALS, played.totals, strict=True))
