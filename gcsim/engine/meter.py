"""What a replica has done: busy time by cause, work, gaps between tokens, state over time."""

import numpy as np

from gcsim.engine.decode_set import DecodeSet
from gcsim.engine.timeline import Timeline
from gcsim.machine.roofline import GAP_BINS, TOTALS, account, gap_bin

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Meter:
    """Totals of one replica; iterations that start before `count_from_ns` (warm-up) do not count.

    totals: the sums named in `TOTALS`; gaps: histogram of token gaps; busy_ns: of the whole run.
    """

    def __init__(self, count_from_ns: int) -> None:
        self.count_from_ns = count_from_ns
        self.totals = np.zeros(len(TOTALS))
        self.gaps = np.zeros(GAP_BINS, dtype=np.int64)
        self.busy_ns = self.decoded_tokens = 0
        self.timeline = Timeline()
        self.stalls: list[tuple[int, int]] = []  # (sequences, since when): decode waits

    def count(
        self,
        table: Floats,
        batch: Floats,
        iterations: int,
        start: int,
        end: int,
        *,
        decode: DecodeSet | None,
    ) -> None:
        """Count iterations that are over; `decode` as it was at their start, None if it paused.

        table: of the machine; start, end [ns].
        """
        self.busy_ns += end - start
        if start >= self.count_from_ns:
            first = decode.iterations if decode else 0
            first_ns = account(table, batch, self.totals, self.gaps, iterations, first)
            if decode:
                for waiting, since in self.stalls:
                    self.gaps[gap_bin(first_ns)] -= waiting
                    self.gaps[gap_bin(start + first_ns - since)] += waiting
        if decode and self.stalls:
            self.stalls.clear()

    def gap(self, start_ns: int, gap_ns: int) -> None:
        """One gap that no decode iteration accounts for."""
        if start_ns >= self.count_from_ns:
            self.gaps[gap_bin(gap_ns)] += 1

    def stall(self, seqs: int, since: int) -> None:
        """Sequences wait from `since` on: their next gap is longer than an iteration."""
        if seqs and not self.stalls:
            self.stalls.append((seqs, since))

    def stall_one(self, others: int, now: int, since: int) -> None:
        """A sequence joins whose last token came at `since`, beside `others` that go on now."""
        if self.stalls or since < now:
            self.stall(others, now)
            self.stalls.append((1, since))

    def unstall(self) -> None:
        """A sequence leaves while decode waits: the latest admitted, so one of the last group."""
        if self.stalls:
            seqs, since = self.stalls.pop()
            if seqs > 1:
                self.stalls.append((seqs - 1, since))
