"""KV on its way to a lower memory tier and back, beside the iterations.

Each chip of a group has a link of its own, and all carry the same: transfers of one direction go
one after another (of both directions, where the link is not duplex). A request whose KV comes back
waits for it; nobody else does. What is written may be read once it is queued: the least recently
used goes first, so what is read back was written long before.
"""

from gcsim.machine.machine import OffloadRate


class Offload:
    """The links of one group: when they are free, and what they have carried.

    ready: times at which KV that requests wait for is back; read_tokens, written_tokens: so far.
    """

    __slots__ = (
        "_free_in",
        "_free_out",
        "_rate",
        "_seen",
        "read_tokens",
        "ready",
        "written_tokens",
    )

    def __init__(self, rate: OffloadRate) -> None:
        self._rate = rate
        self._free_in = self._free_out = self._seen = 0
        self.ready: list[int] = []
        self.read_tokens = self.written_tokens = 0

    def read(self, now: int, tokens: int, context: int) -> int:
        """Bring `tokens` tokens of a context back; when they are here [ns]."""
        busy = self._free_in if self._rate.duplex else max(self._free_in, self._free_out)
        self._free_in = max(now, busy) + self._rate.ns(tokens, context)
        if not self._rate.duplex:
            self._free_out = self._free_in
        self.read_tokens += tokens
        self.ready.append(self._free_in)
        return self._free_in

    def write(self, now: int, tokens: int) -> None:
        """The tokens that were evicted by now go down, `tokens` in all since the start."""
        fresh = tokens - self._seen
        if fresh:
            self._seen = tokens
            self._free_out = max(now, self._free_out) + self._rate.ns(fresh, fresh)
            if not self._rate.duplex:
                self._free_in = self._free_out = max(self._free_in, self._free_out)
            self.written_tokens += fresh

    def next_ready(self, now: int, never: int) -> int:
        """When the next KV that somebody waits for is back, after now [ns]."""
        self.ready = [time for time in self.ready if time > now]
        return min(self.ready, default=never)
