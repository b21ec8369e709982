"""The iterations that a replica is playing: one with prompt chunks, or a run of decode alone."""

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
    iteration_ns,
    run_ns,
)

NEVER = 1 << 62
# Iterations that are planned at first, then four times as many: most runs are cut before.
AHEAD = 128


class Run:
    """What is played from `start_ns` on: `iterations` of them (0: the replica is idle).

    A long run is planned piece by piece, for what news will cut off need not be timed: it goes on
    after its `iterations` where nothing has cut it, up to `most`.

    chunks: prompt chunks of the iteration; decodes: whether the decode set takes part; batch: their
    sums when the first iteration starts (`gcsim.machine.roofline.BATCH`).
    """

    __slots__ = (
        "_decode",
        "_interruptible",
        "_machine",
        "_until_ns",
        "batch",
        "chunks",
        "decodes",
        "end_ns",
        "iterations",
        "most",
        "start_ns",
    )

    def __init__(self, machine: Machine, decode: DecodeSet) -> None:
        self._machine, self._decode = machine, decode
        self.chunks: list[Chunk] = []
        self.decodes = self._interruptible = False
        self.batch = np.zeros(len(BATCH))
        self.start_ns = self.end_ns = self.iterations = 0
        self.most, self._until_ns = 0, NEVER

    def mixed(self) -> int:
        """Play one iteration with the chunks, and decode if it goes on; its end [ns]."""
        batch, decode = self.batch, self._decode
        batch.fill(0.0)
        new, completed, pairs, in_window, kv, window_kv = prompt_sums(
            self.chunks, self._machine.window
        )
        batch[PROMPT_TOKENS], batch[LOGIT_SEQS], batch[PROMPTS] = new, completed, len(self.chunks)
        batch[PREFILL_PAIRS], batch[PREFILL_WINDOW_PAIRS] = pairs, in_window
        batch[PREFILL_KV], batch[PREFILL_WINDOW_KV] = kv, window_kv
        if self.decodes:
            batch[DECODE_SEQS], batch[LOGIT_SEQS] = decode.seqs, decode.seqs + completed
            batch[DECODE_KV], batch[DECODE_WINDOW_KV] = decode.kv, decode.window_kv
            batch[GROWING] = decode.growing
        duration = iteration_ns(self._machine.table, batch)
        self.iterations = self.most = 1
        self._interruptible = False
        return int(self.start_ns + duration)

    def decode(self, iterations: int, until_ns: int) -> int:
        """Play up to so many decode iterations, the last one ending at `until_ns` or later [ns]."""
        batch, decode = self.batch, self._decode
        batch.fill(0.0)
        batch[DECODE_SEQS] = batch[LOGIT_SEQS] = decode.seqs
        batch[DECODE_KV], batch[DECODE_WINDOW_KV] = decode.kv, decode.window_kv
        batch[GROWING] = decode.growing
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
        """When the last iteration starts; to be asked before the decode set moves on."""
        if self.iterations == 1:
            return self.start_ns
        return self._play(self.iterations - 1, NEVER)[1]

    def _play(self, iterations: int, until_ns: int) -> tuple[int, int]:
        played: tuple[int, int] = run_ns(
            self._machine.table,
            self.batch,
            iterations,
            self._decode.iterations,
            self.start_ns,
            until_ns,
        )
        return played
