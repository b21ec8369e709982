"""What a replica has done: busy time by cause, work, gaps between tokens, state over time."""

import numpy as np

from gcsim.engine.log import Log
from gcsim.engine.run import Run
from gcsim.engine.timeline import Timeline
from gcsim.machine.roofline import DECODE_SEQS, GAP_BINS, TOTALS, gap_bin


class Stalls(list[tuple[int, int]]):
    """Sequences of a group that wait for decode to go on: (how many, since when).

    Their next gap is longer than an iteration.
    """

    def all_wait(self, seqs: int, since: int) -> None:
        """Sequences wait from `since` on, if they did not before."""
        if seqs and not self:
            self.append((seqs, since))

    def one_joins(self, others: int, now: int, since: int) -> None:
        """A sequence joins whose last token came at `since`, beside `others` that go on now."""
        if self or since < now:
            self.all_wait(others, now)
            self.append((1, since))

    def one_leaves(self) -> None:
        """A sequence leaves while decode waits: the latest admitted, so of the last that joined."""
        if self:
            seqs, since = self.pop()
            if seqs > 1:
                self.append((seqs - 1, since))


class Meter:
    """Totals of one replica; iterations that start before `count_from_ns` (warm-up) do not count.

    totals: the sums named in `TOTALS`, busy time by what bounds the fullest group of an iteration,
    work of all groups; gaps: histogram of token gaps; busy_ns: of the whole run.
    """

    def __init__(self, count_from_ns: int, replica: int = 0, log: Log | None = None) -> None:
        self.count_from_ns = count_from_ns
        self.totals = np.zeros(len(TOTALS))
        self.gaps = np.zeros(GAP_BINS, dtype=np.int64)
        self.busy_ns = self.decoded_tokens = 0
        self.timeline = Timeline()
        self.replica, self.log = replica, log

    def count(self, run: Run, end_ns: int, stalls: list[Stalls]) -> None:
        """Count a run that is over; stalls: of each group, who waited at its start."""
        start_ns = run.start_ns
        self.busy_ns += end_ns - start_ns
        if self.log is not None:
            self.log.ran(self.replica, run, end_ns)
        counts = start_ns >= self.count_from_ns
        first_ns = run.account(self.totals, self.gaps) if counts else 0
        for waiting, batch in zip(stalls, run.rows, strict=True):
            if waiting and batch[DECODE_SEQS]:
                if counts:
                    for seqs, since in waiting:
                        self.gaps[gap_bin(first_ns)] -= seqs
                        self.gaps[gap_bin(start_ns + first_ns - since)] += seqs
                waiting.clear()

    def gap(self, start_ns: int, gap_ns: int) -> None:
        """One gap that no decode iteration accounts for."""
        if start_ns >= self.count_from_ns:
            self.gaps[gap_bin(gap_ns)] += 1
