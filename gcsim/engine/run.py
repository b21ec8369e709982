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
    groups_ns,
    join,
    run_groups_ns,
)

NEVER = 1 << 62


class Run:
    """What is played from `start_ns` on: `iterations` of them (0: the replica is idle).

    batches: by group, the sums of its prompt chunks and decode set when the first iteration starts
    (`gcsim.machine.roofline.BATCH`); firsts: iterations that it had decoded before; extra_ns: time
    that the iteration waits for KV from lower tiers.
    """

    __slots__ = (
        "_interruptible",
        "_machine",
        "_rows",
        "batches",
        "end_ns",
        "extra_ns",
        "firsts",
        "iterations",
        "start_ns",
    )

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._interruptible = False
        self.batches = np.zeros((machine.groups, len(BATCH)))
        self._rows = list(self.batches)
        self.firsts = np.zeros(machine.groups, dtype=np.int64)
        self.start_ns = self.end_ns = self.iterations = self.extra_ns = 0

    def fill(self, group: int, decode: DecodeSet, decodes: bool, chunks: list[Chunk]) -> None:
        """What a group does in the first iteration: its prompt chunks, and decode if it goes on."""
        batch = self._rows[group]
        batch.fill(0.0)
        self.firsts[group] = decode.iterations
        if decodes:
            batch[DECODE_SEQS] = batch[LOGIT_SEQS] = decode.seqs
            batch[DECODE_KV], batch[DECODE_WINDOW_KV] = decode.kv, decode.window_kv
            batch[GROWING] = decode.growing
        if chunks:
            new, completed, pairs, in_window, kv, window_kv = prompt_sums(
                chunks, self._machine.window
            )
            batch[PROMPT_TOKENS], batch[PROMPTS] = new, len(chunks)
            batch[LOGIT_SEQS] += completed
            batch[PREFILL_PAIRS], batch[PREFILL_WINDOW_PAIRS] = pairs, in_window
            batch[PREFILL_KV], batch[PREFILL_WINDOW_KV] = kv, window_kv

    def mixed(self, reload_ns: int) -> int:
        """Play one iteration in which some prompt is computed; its end [ns]."""
        self._join()
        self.iterations, self._interruptible = 1, False
        duration = groups_ns(self._machine.table, self.batches)
        return self._reloaded(self.start_ns + duration, reload_ns)

    def decode(self, iterations: int, until_ns: int, reload_ns: int) -> int:
        """Play up to so many decode iterations, the last one ending at `until_ns` or later [ns]."""
        self._join()
        self.iterations, end = self._play(iterations, until_ns)
        self._interruptible = iterations > 1
        return self._reloaded(end, reload_ns)

    def _join(self) -> None:
        if self._machine.groups > 1:
            join(self._machine.table, self.batches)

    def cut(self, now: int, further: int = 0) -> int:
        """End at the next iteration boundary, or `further` ones later: its time [ns].

        -1 where that is the end anyway. Who comes at the very start of an iteration is not late.
        """
        if not self._interruptible:
            return -1
        played, end = self._play(self.iterations, now)
        if further and now > self.start_ns:
            played, end = self._play(min(played + further, self.iterations), NEVER)
        else:
            self._interruptible = False
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
        """When the last iteration starts."""
        if self.iterations == 1:
            return self.start_ns
        return self._play(self.iterations - 1, NEVER)[1]

    def _play(self, iterations: int, until_ns: int) -> tuple[int, int]:
        played: tuple[int, int] = run_groups_ns(
            self._machine.table,
            self.batches,
            iterations,
            self.firsts,
            self.start_ns,
            until_ns,
        )
        return played

    def _reloaded(self, end: int, reload_ns: int) -> int:
        """The end of an iteration that waits for KV from lower tiers, or hides its reload [ns]."""
        later = end + reload_ns
        if self._machine.reload_overlaps:
            later = max(end, self.start_ns + reload_ns)
        self.extra_ns = later - end
        return later
