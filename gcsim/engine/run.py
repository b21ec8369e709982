"""The iterations that a replica is playing: one with prompt chunks, or a run of decode alone."""

from gcsim.engine.batching import NO_PROMPTS, Chunk, Prompts, prompt_sums
from gcsim.engine.decode_set import DecodeSet
from gcsim.machine.cost import PoolCost
from gcsim.machine.iteration import mixed_ns, run_ns

NEVER = 1 << 62


class Run:
    """What is played from `start_ns` on: `iterations` of them (0: the replica is idle).

    chunks: prompt chunks of the iteration; decodes: whether the decode set takes part; extra_ns:
    time that the iteration waits for KV from lower tiers.
    """

    __slots__ = (
        "_cost", "_decode", "_interruptible", "chunks", "decodes", "end_ns", "extra_ns",
        "iterations", "prompts", "start_ns",
    )  # fmt: skip

    def __init__(self, cost: PoolCost, decode: DecodeSet) -> None:
        self._cost, self._decode = cost, decode
        self.chunks: list[Chunk] = []
        self.decodes = self._interruptible = False
        self.prompts: Prompts = NO_PROMPTS
        self.start_ns = self.end_ns = self.iterations = self.extra_ns = 0

    def mixed(self, reload_ns: int) -> int:
        """Play one iteration with the chunks, and decode if it goes on; its end [ns]."""
        self.prompts = prompt_sums(self.chunks, self._cost.window)
        new, completed, pairs, in_window, kv, window_kv = self.prompts
        seqs = decode_kv = decode_window_kv = 0
        if self.decodes:
            decode = self._decode
            seqs, decode_kv, decode_window_kv = decode.seqs, decode.kv, decode.window_kv
        duration = mixed_ns(
            self._cost.coefficients, new, seqs, seqs + completed, decode_kv, decode_window_kv,
            pairs, in_window, kv, window_kv,
        )  # fmt: skip
        self.iterations, self._interruptible = 1, False
        return self._reloaded(self.start_ns + duration, reload_ns)

    def decode(self, iterations: int, until_ns: int, reload_ns: int) -> int:
        """Play up to so many decode iterations, the last one ending at `until_ns` or later [ns]."""
        self.prompts = NO_PROMPTS
        self.iterations, end = self._play(iterations, until_ns)
        self._interruptible = iterations > 1
        return self._reloaded(end, reload_ns)

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
        """When the last iteration starts; to be asked before the decode set moves on."""
        if self.iterations == 1:
            return self.start_ns
        return self._play(self.iterations - 1, NEVER)[1]

    def _play(self, iterations: int, until_ns: int) -> tuple[int, int]:
        decode = self._decode
        played: tuple[int, int] = run_ns(
            self._cost.coefficients, iterations, decode.iterations, self.start_ns, until_ns,
            decode.seqs, decode.kv, decode.window_kv, decode.growing,
        )  # fmt: skip
        return played

    def _reloaded(self, end: int, reload_ns: int) -> int:
        """The end of an iteration that waits for KV from lower tiers, or hides its reload [ns]."""
        later = end + reload_ns
        if self._cost.reload_overlaps:
            later = max(end, self.start_ns + reload_ns)
        self.extra_ns = later - end
        return later
