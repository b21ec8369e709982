"""The sequences of a replica that decode, as sums: O(1) per iteration, however many they are.

All of them gain the same tokens in every iteration, so one token clock serves all: a sequence is
known by the clock at which it joined and at which it will have its last token.
"""

from heapq import heappop, heappush

from gcsim.engine.request import Request

PPM = 1_000_000
_Entry = tuple[int, int, Request]  # clock, epoch of the request (stale when it differs), request


class DecodeSet:
    """Decoding sequences: how many (`seqs`), and the KV tokens that the next iteration reads.

    kv, window_kv: in layers that see everything, in sliding layers; growing: sequences shorter
    than the window, or all where it is a chunk (below 0), which starts anew when it is full;
    clock: tokens gained by a sequence that has been here from the beginning;
    iterations: decode iterations so far; accepted_ppm: tokens gained per iteration, in millionths.
    """

    def __init__(self, block_tokens: int, window: int, accepted_ppm: int) -> None:
        self._block_tokens, self._window, self._accepted_ppm = block_tokens, window, accepted_ppm
        self.seqs = self.clock = self.iterations = 0
        self.kv = self.window_kv = self.growing = 0
        self._ends: list[_Entry] = []
        self._crossings: list[_Entry] = []
        # Sequences by the clock, modulo the block size, at which they need another block.
        self._phases = [0] * block_tokens
        self._epoch = 0

    def join(self, request: Request) -> None:
        """A sequence whose prompt is in KV decodes from the next iteration on."""
        self._epoch += 1
        tokens, clock = request.prompt_tokens, self.clock
        request.epoch, request.join_clock = self._epoch, clock
        request.end_clock = clock + request.osl - request.generated
        heappush(self._ends, (request.end_clock, self._epoch, request))
        self.seqs += 1
        self.kv += tokens + 1
        self._phases[(clock - tokens) % self._block_tokens] += 1
        if self._window < 0:
            chunk, done = -self._window, tokens % -self._window
            self.window_kv += done + 1
            self.growing += 1
            heappush(self._crossings, (clock + chunk - done, self._epoch, request))
        elif self._window:
            self.window_kv += min(tokens + 1, self._window)
            if tokens + 1 < self._window:
                self.growing += 1
                heappush(self._crossings, (clock + self._window - tokens - 1, self._epoch, request))

    def remove(self, request: Request) -> int:
        """Take a sequence out; the blocks that it has grown by since it joined."""
        tokens, gained = request.prompt_tokens, self.clock - request.join_clock
        self.seqs -= 1
        self.kv -= tokens + 1 + gained
        self._phases[(request.join_clock - tokens) % self._block_tokens] -= 1
        if self._window < 0:
            self.window_kv -= (tokens + gained) % -self._window + 1
            self.growing -= 1
        elif self._window:
            self.window_kv -= min(tokens + 1 + gained, self._window)
            if tokens + 1 + gained < self._window:
                self.growing -= 1
        request.epoch = 0
        size = self._block_tokens
        return -(-(tokens + gained) // size) + (-tokens // size)

    def advance(self, iterations: int) -> tuple[int, int, list[Request]]:
        """Play iterations: tokens that each sequence gained, KV blocks that they took together,
        and the sequences that have all their tokens, which are still to be removed.
        """
        gained = iterations if self._accepted_ppm == PPM else self.gain(iterations)
        blocks = self.blocks(gained)
        self.iterations += iterations
        self.clock += gained
        self.kv += self.seqs * gained
        self.window_kv += self.growing * gained
        while self.growing and self._crossings[0][0] <= self.clock:
            crossing, epoch, request = heappop(self._crossings)
            if request.epoch == epoch and self._window < 0:
                self.window_kv += self._window
                heappush(self._crossings, (crossing - self._window, epoch, request))
            elif request.epoch == epoch:
                self.window_kv -= self.clock - crossing
                self.growing -= 1
        ended = []
        while self._ends and self._ends[0][0] <= self.clock:
            _, epoch, request = heappop(self._ends)
            if request.epoch == epoch:
                ended.append(request)
        return gained, blocks, ended

    def gain(self, iterations: int) -> int:
        """Tokens that each sequence gains in the next iterations."""
        done, ppm = self.iterations, self._accepted_ppm
        if ppm == PPM:
            return iterations
        return (done + iterations) * ppm // PPM - done * ppm // PPM

    def blocks(self, tokens: int) -> int:
        """KV blocks that the sequences need for their next `tokens` tokens."""
        if not self.seqs:
            return 0
        size, phases = self._block_tokens, self._phases
        if tokens == 1 < size:  # as mostly
            return phases[self.clock % size]
        whole, rest = divmod(tokens, size)
        start = self.clock % size
        beyond = start + rest - size
        needed = self.seqs * whole + sum(phases[start : start + rest])
        return needed + sum(phases[:beyond]) if beyond > 0 else needed

    def steady_iterations(self) -> int:
        """The fewest iterations after which a sequence ends, or outgrows the window or a chunk."""
        tokens = _head(self._ends) - self.clock
        if self.growing:
            tokens = min(tokens, _head(self._crossings) - self.clock)
        ppm = self._accepted_ppm
        if ppm == PPM:
            return tokens
        goal = self.iterations * ppm // PPM + tokens
        return -(-goal * PPM // ppm) - self.iterations

    def iterations_within(self, most: int, blocks: int) -> int:
        """The most iterations, 1 to `most`, that need no more than `blocks` KV blocks."""
        if self.seqs * (self.gain(most) // self._block_tokens + 1) <= blocks:
            return most
        low, high = 1, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.blocks(self.gain(middle)) <= blocks:
                low = middle
            else:
                high = middle - 1
        return low


def _head(heap: list[_Entry]) -> int:
    """The clock of the first entry that still holds."""
    while heap[0][2].epoch != heap[0][1]:
        heappop(heap)
    return heap[0][0]
