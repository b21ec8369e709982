"""The iterations that a replica is playing: one with prompt chunks, or a run of decode alone.

All its groups play them together, each on a batch of its own: a row of one array.
"""

import numpy as np

from gcsim.engine.batching import Chunk, prompt_sums
from gcsim.engine.decode_set import DecodeSet
from gcsim.machine.machine import Machine
from gcsim.machine.roofline import (
    BATCH,
    DECODE_KV,
    DECODE_SEQS,
    DECODE_WINDOW_KV,
    GROWING,
    LOGIT_SEQS,
    PREFILL_KV,
    PREFILL_PAIRS,
    PREFILL_WINDOW_KV,
    PREFILL_WINDOW_PAIRS,
    PROMPT_TOKENS,
    PROMPTS,
    account,
    account_groups,
    groups_ns,
    iteration_ns,
    join,
    run_groups_ns,
    run_ns,
)

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
NEVER = 1 << 62
# Iterations that are planned at first, then four times as many: most runs are cut before.
AHEAD = 128


class Run:
    """What is played from `start_ns` on: `iterations` of them (0: the replica is idle).

    A long run is planned piece by piece, for what news will cut off need not be timed: it goes on
    after its `iterations` where nothing has cut it, up to `most`.

    rows: by group, the sums of its prompt chunks and decode set when the first iteration starts
    (`gcsim.machine.roofline.BATCH`).
    """

    __slots__ = (
        "_batches",
        "_first",
        "_firsts",
        "_interruptible",
        "_machine",
        "_until_ns",
        "end_ns",
        "iterations",
        "most",
        "rows",
        "start_ns",
    )

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._interruptible = False
        self._batches = np.zeros((machine.groups, len(BATCH)))
        self.rows = list(self._batches)
        # Iterations that decode sets had played before: of the first group, and of all.
        self._first, self._firsts = 0, np.zeros(machine.groups, dtype=np.int64)
        self.start_ns = self.end_ns = self.iterations = 0
        self.most, self._until_ns = 0, NEVER

    def fill(self, group: int, decode: DecodeSet, decodes: bool, chunks: list[Chunk]) -> None:
        """What a group does in the first iteration: its prompt chunks, and decode if it goes on."""
        batch = self.rows[group]
        batch.fill(0.0)
        if group:
            self._firsts[group] = decode.iterations
        else:
            self._first = decode.iterations
        if decodes:
            batch[DECODE_SEQS] = batch[LOGIT_SEQS] = decode.seqs
            batch[DECODE_KV], batch[DECODE_WINDOW_KV] = decode.kv, decode.window_kv
            batch[GROWING] = decode.growing
        if chunks:
            new, completed, pairs, in_window, kv, window_kv = prompt_sums(
                chunks, self._machine.window
            )
            batch[PROMPT_TOKENS], batch[PROMPTS] = new, len(chunks)
            batch[LOGIT_SEQS] = completed + (decode.seqs if decodes else 0)
            batch[PREFILL_PAIRS], batch[PREFILL_WINDOW_PAIRS] = pairs, in_window
            batch[PREFILL_KV], batch[PREFILL_WINDOW_KV] = kv, window_kv

    def mixed(self) -> int:
        """Play one iteration in which some prompt is computed; its end [ns]."""
        if self._machine.groups == 1:
            duration = iteration_ns(self._machine.table, self.rows[0])
        else:
            self._join()
            duration = groups_ns(self._machine.table, self._batches)
        self.iterations = self.most = 1
        self._interruptible = False
        return int(self.start_ns + duration)

    def decode(self, iterations: int, until_ns: int) -> int:
        """Play up to so many decode iterations, the last one ending at `until_ns` or later [ns]."""
        if self._machine.groups > 1:
            self._join()
        self.most, self._until_ns, self._interruptible = iterations, until_ns, iterations > 1
        return self._plan(AHEAD)

    def plan_on(self) -> int:
        """Nothing has cut the run by the end of what was planned: plan more; the end [ns]."""
        return self._plan(4 * self.iterations)

    def _plan(self, iterations: int) -> int:
        """Plan up to so many iterations of the run; the end [ns]."""
        self.iterations, end = self._play(min(iterations, self.most), self._until_ns)
        if end >= self._until_ns:
            self.most = self.iterations
        return end

    def cut(self, now: int, further: int = 0) -> int:
        """End at the next iteration boundary, or `further` ones later: its time [ns].

        -1 where that is the end anyway. Who comes at the very start of an iteration is not late.
        """
        if not self._interruptible:
            return -1
        played, end = self._play(self.iterations, now)
        if further and now > self.start_ns:
            played, end = self._play(min(played + further, self.most), NEVER)
        else:
            self._interruptible = False
        self.most = played
        if played == self.iterations:
            return -1
        self.iterations = played
        return end

    def one_more(self) -> int:
        """End one iteration after a cut: its time [ns]."""
        self.most = self.iterations + 1
        return self._plan(self.most)

    def stop(self, now: int) -> bool:
        """Keep what has ended before `now`; whether any has."""
        if self.iterations < 2:
            return False
        played, end = self._play(self.iterations, now)
        if end >= now:
            played -= 1
        self.iterations = played
        if played:
            self.end_ns = self._play(played, NEVER)[1]
        return played > 0

    @property
    def last_start_ns(self) -> int:
        """When the last iteration starts."""
        if self.iterations == 1:
            return self.start_ns
        return self._play(self.iterations - 1, NEVER)[1]

    def account(self, totals: Floats, gaps: Ints) -> int:
        """Add what was played to totals and gaps; how long the first iteration took [ns]."""
        machine, iterations = self._machine, self.iterations
        if machine.groups == 1:
            first_ns: int = account(
                machine.table, self.rows[0], totals, gaps, iterations, self._first
            )
        else:
            first_ns = account_groups(
                machine.table, self._batches, totals, gaps, iterations, self._firsts
            )
        return first_ns

    def _join(self) -> None:
        self._firsts[0] = self._first
        join(self._machine.table, self._batches)

    def _play(self, iterations: int, until_ns: int) -> tuple[int, int]:
        table, start_ns = self._machine.table, self.start_ns
        played: tuple[int, int]
        if self._machine.groups == 1:
            played = run_ns(table, self.rows[0], iterations, self._first, start_ns, until_ns)
        else:
            played = run_groups_ns(
                table, self._batches, iterations, self._firsts, start_ns, until_ns
            )
        return played
