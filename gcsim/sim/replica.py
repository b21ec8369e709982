"""One copy of the model: iteration-level batching, timed by the compiled roofline.

At each iteration boundary the policy forms a batch. A batch that cannot change for a while (decode
only, nobody admissible waiting) is played as one run of iterations: one compiled call, one event.
What arrives in between ends the run at the next iteration boundary. With `coalesce` off every
iteration is its own event; both give the same records, bit for bit.
"""

from collections import deque
from heapq import heappop, heappush
from typing import Protocol

import numpy as np
from simpy import Environment

from gcsim.cost import PoolCost
from gcsim.roofline.iteration import GAP_BINS, TOTALS, account, gap_bin, mixed_ns, run_ns
from gcsim.roofline.ops import causal_pairs, window_pairs
from gcsim.sim.batching import POLICIES, Chunk
from gcsim.sim.clock import NS_PER_S, Call
from gcsim.sim.kv_cache import UNLIMITED, KvCache, Lease
from gcsim.sim.request import Request
from gcsim.sim.timeline import Timeline
from gcsim.spec.deployment import Pool

NEVER = 1 << 62


class Owner(Protocol):
    """Who is told what becomes of a replica's requests (the cluster)."""

    def left(self, request: Request, replica: "Replica") -> None:
        """Its last token is out."""

    def admitted(self, request: Request, replica: "Replica") -> None:
        """Its prefill starts."""

    def prefilled(self, request: Request, replica: "Replica") -> bool:
        """Its prompt is computed; True when it decodes elsewhere."""

    def reserved(self, request: Request, replica: "Replica") -> None:
        """An offered request has its blocks here."""

    def reject(self, request: Request, reason: str) -> None:
        """It can never be run here."""


class Replica:
    """State of one replica. The ways in: `enqueue` a request, `offer` one that is prefilled
    elsewhere, `receive` it when its KV is here. The way out: the callbacks of `Owner`.
    """

    def __init__(
        self,
        env: Environment,
        index: int,
        pool_name: str,
        pool: Pool,
        cost: PoolCost,
        coalesce: bool,
        count_from_ns: int,
        owner: "Owner",
    ) -> None:
        self.env, self.index, self.pool_name, self.pool, self.cost = env, index, pool_name, pool, cost
        self.coalesce = coalesce
        self._owner = owner
        self._policy = POLICIES[pool.batching.policy]
        self.max_seqs = pool.batching.max_seqs
        self.max_iteration_tokens = pool.batching.max_iteration_tokens
        self.tokens_per_seq = cost.tokens_per_seq
        self.accepted_ppm = cost.accepted_ppm
        self.window = cost.window
        self.block_tokens = pool.block_tokens
        limit = UNLIMITED if pool.prefix_cache else 0
        self.kv = KvCache(
            index, cost.kv_blocks, pool.block_tokens, cost.blocks_per_seq, cost.spill_blocks, limit
        )
        self.load = 0  # requests here or on their way, waiting or running
        self.waiting: deque[Request] = deque()
        self.line_tokens = 0  # prompt tokens to compute in the waiting line, as routed
        self.inbox: deque[Request] = deque()  # prefilled elsewhere, no place here yet
        self.arrived: deque[Request] = deque()  # their KV is here, they join at the boundary
        self.coming = 0  # requests that have a place and are on their way
        self.running: dict[Request, None] = {}  # in order of admission
        self.prefilling: dict[Request, None] = {}
        self._hold = False  # somebody was preempted at this boundary: admit nobody
        # Sequences that decode, as sums; the clock counts tokens that each of them has gained.
        self.decoding = self.clock = self.iterations = 0
        self.decode_kv = self.window_kv = self.growing = 0
        self._ends: list[tuple[int, int, Request]] = []
        self._crossings: list[tuple[int, int, Request]] = []
        self._phases = [0] * self.block_tokens
        self._epoch = 0
        self._stalls: list[tuple[int, int]] = []  # (sequences, since): decode waits
        # The run that is being played.
        self._event: Call | None = None
        self._played = 0
        self._start_ns = 0
        self._chunks: list[Chunk] = []
        self._decode = False
        self._sums = (0, 0, 0.0, 0.0, 0, 0)
        self._interruptible = False
        self._reload_ns = self._extra_ns = 0
        self.timeline = Timeline()
        self.totals = np.zeros(len(TOTALS))
        self.gaps = np.zeros(GAP_BINS, dtype=np.int64)
        self.count_from_ns = count_from_ns
        self.busy_ns = 0
        self.decoded_tokens = 0

    # -- the way in ------------------------------------------------------------------------

    @property
    def decode_tokens(self) -> int:
        """Tokens that decoding takes of an iteration's budget."""
        return self.decoding * self.tokens_per_seq

    def enqueue(self, request: Request) -> None:
        """A request joins the waiting line now."""
        request.replica = self.index
        if not self.kv.fits(request.prompt_tokens + 1):
            self._owner.reject(request, "kv_capacity")
            return
        self.load += 1
        self.waiting.append(request)
        self.line_tokens += request.estimate
        self.wake(len(self.waiting) == 1)

    def offer(self, request: Request) -> None:
        """A request that is prefilled elsewhere asks for a place."""
        self.load += 1
        self.inbox.append(request)
        self.wake(len(self.inbox) == 1)

    def cancel(self, request: Request) -> None:
        """A request that was offered will not come."""
        self.load -= 1
        if request.handoff.reserved_ns < 0:
            self.inbox.remove(request)
            return
        self.coming -= 1
        self.kv.release(request.handoff.lease)
        self.wake(True)

    def receive(self, request: Request) -> None:
        """The KV of a request that was offered is here."""
        self.arrived.append(request)
        self.wake(True)

    def wake(self, news: bool) -> None:
        """Something changed outside: start, or (if it is news) end the run at the next boundary."""
        if self._event is None:
            self._event = Call(self.env, 0, self._boundary, rank=1 + self.index)
        elif news and self._interruptible:
            self._interruptible = False
            now = self.env.now
            played, end = run_ns(
                self.cost.coefficients, self._played, self.iterations, self._start_ns, now,
                self.decoding, self.decode_kv, self.window_kv, self.growing,
            )  # fmt: skip
            if played < self._played:
                self._event.cancel()
                self._played = played
                self._event = Call(self.env, end - now, self._boundary, rank=1 + self.index)

    # -- the boundary ----------------------------------------------------------------------

    def _boundary(self, _: object) -> None:
        now = self.env.now
        if self._played:
            self._commit(now)
        while self.arrived:
            self._take_in(self.arrived.popleft(), now)
        self._hold = self._make_room(now)
        while self.inbox and not (self.waiting or self._hold):
            if not self._reserve(self.inbox[0]):
                break
            self.inbox.popleft()
        decode, self._chunks = self._policy(self)
        self._decode = decode and self.decoding > 0
        self._start_ns, self._played = now, 0
        if self._chunks:
            end = self._plan_mixed()
        elif self._decode:
            end = self._plan_run()
        else:
            self._event = None
            return
        self._event = Call(self.env, end - now, self._boundary, rank=1 + self.index)

    @property
    def _seats(self) -> int:
        return self.max_seqs - len(self.running) - self.coming

    def admit(self) -> Request | None:
        """Admit the request at the head of the waiting line, if a place and memory are free."""
        while self.waiting and not self._hold and self._seats > 0:
            request = self.waiting[0]
            lease = self.kv.admit(request, self._growth(self.tokens_per_seq))
            if lease is not None:
                self.waiting.popleft()
                self.line_tokens -= request.estimate
                self._admit(request, lease)
                return request
            if self.running or self.coming or self.kv.fits(request.prompt_tokens + 1):
                return None
            self._give_up(self.waiting.popleft())
        return None

    def _give_up(self, request: Request) -> None:
        self.load -= 1
        self.line_tokens -= request.estimate
        self._owner.reject(request, "kv_capacity")

    def _admit(self, request: Request, lease: Lease) -> None:
        request.lease = lease
        self.running[request] = None
        self.prefilling[request] = None
        request.close("queue", self.env.now)
        if request.preemptions == 0:
            request.hit, request.hit_own = lease.cached, min(lease.own, lease.cached)
        request.past = lease.cached
        request.todo = request.prompt_tokens - lease.cached
        for tier, tokens in lease.reload:
            self._reload_ns += self.cost.reload_ns(tier, tokens)
        self._owner.admitted(request, self)

    def _reserve(self, request: Request) -> bool:
        """Reserve the blocks of a request that is prefilled elsewhere."""
        if self._seats <= 0:
            return False
        lease = self.kv.admit(request, self._growth(self.tokens_per_seq), received=True)
        if lease is None:
            return False
        request.handoff.lease = lease
        for tier, tokens in lease.reload:
            self._reload_ns += self.cost.reload_ns(tier, tokens)
        self.coming += 1
        self._owner.reserved(request, self)
        return True

    def _take_in(self, request: Request, now: int) -> None:
        """A request whose KV has arrived runs on here."""
        self.coming -= 1
        self.running[request] = None
        request.lease, request.replica = request.handoff.lease, self.index
        request.close("queue", now)
        self.kv.store(request, request.lease, request.prompt_tokens)
        if request.generated:
            self._join(request, now)
        else:  # the first token is to come from here: the last prompt token is computed again
            request.past, request.todo = request.prompt_tokens - 1, 1
            self.prefilling[request] = None

    def _make_room(self, now: int) -> bool:
        """Preempt the latest admitted until every decoding sequence can take its next token."""
        preempted = False
        while self.decoding and self._growth(self._gain(1)) > self.kv.room:
            victim = next(reversed(self.running))
            alone = len(self.running) == 1 and not self.coming
            self._preempt(victim, now)
            if alone:
                self._give_up(self.waiting.popleft())
            else:
                preempted = True
        return preempted

    def _preempt(self, request: Request, now: int) -> None:
        """Back to the head of the line; what it computed stays in the prefix cache while it can."""
        tokens = request.past
        if request in self.prefilling:
            request.close("prefill", now)
            del self.prefilling[request]
        else:
            request.close("decode", now)
            request.generated = request.osl - (request.end_clock - self.clock)
            request.last_token_ns = now
            tokens = request.isl + request.generated - 1
            self._remove(request)
            request.set_output(request.generated)
        del self.running[request]
        self.kv.store(request, request.lease, tokens)
        self.kv.release(request.lease)
        request.prompt_tokens = request.isl + request.generated
        request.estimate = request.prompt_tokens - tokens
        request.preemptions += 1
        self.waiting.appendleft(request)
        self.line_tokens += request.estimate

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    # -- planning --------------------------------------------------------------------------

    def _growth(self, tokens: int) -> int:
        """Blocks that the decoding sequences need for their next `tokens` tokens."""
        if not self.decoding:
            return 0
        whole, rest = divmod(tokens, self.block_tokens)
        blocks = self.decoding * whole
        for step in range(self.clock, self.clock + rest):
            blocks += self._phases[step % self.block_tokens]
        return blocks

    def _gain(self, iterations: int) -> int:
        """Tokens that each decoding sequence gains in the next iterations."""
        ppm = self.accepted_ppm
        done = self.iterations
        return (done + iterations) * ppm // 1_000_000 - done * ppm // 1_000_000

    def _iterations_for(self, tokens: int) -> int:
        """The fewest iterations in which each sequence gains at least `tokens` tokens."""
        ppm = self.accepted_ppm
        if ppm == 1_000_000:
            return tokens
        goal = self.iterations * ppm // 1_000_000 + tokens
        return -(-goal * 1_000_000 // ppm) - self.iterations

    def _plan_run(self) -> int:
        """Plan decode iterations until something changes; the end of the last one [ns]."""
        self._valid_head(self._ends)
        tokens = self._ends[0][0] - self.clock
        if self.growing:
            self._valid_head(self._crossings)
            tokens = min(tokens, self._crossings[0][0] - self.clock)
        iterations = self._iterations_for(tokens)
        if self._hold or self._stalls or self._reload_ns or not self.coalesce:
            iterations = 1
        room = self.kv.room
        if self.decoding * (self._gain(iterations) // self.block_tokens + 1) > room:
            iterations = self._most_iterations(iterations, room)
        self._sums = (0, self.decoding, 0.0, 0.0, 0, 0)
        self._played, end = run_ns(
            self.cost.coefficients, iterations, self.iterations, self._start_ns,
            self.count_from_ns if self._start_ns < self.count_from_ns else NEVER,
            self.decoding, self.decode_kv, self.window_kv, self.growing,
        )  # fmt: skip
        self._interruptible = iterations > 1
        return self._reloaded(end)

    def _reloaded(self, end: int) -> int:
        """The end of an iteration that waits for KV from lower tiers (or hides its reload) [ns]."""
        start = self._start_ns
        later = max(end, start + self._reload_ns)
        if not self.cost.reload_overlaps:
            later = end + self._reload_ns
        self._reload_ns, self._extra_ns = 0, later - end
        return later

    def _most_iterations(self, most: int, room: int) -> int:
        """The most iterations, up to `most`, for which the KV blocks suffice (one always does)."""
        low, high = 1, most
        while low < high:
            middle = (low + high + 1) // 2
            if self._growth(self._gain(middle)) <= room:
                low = middle
            else:
                high = middle - 1
        return low

    def _plan_mixed(self) -> int:
        """Plan one iteration with prompt chunks, and decode beside them if it goes on [ns]."""
        window = self.window
        new = kv = window_kv = ends = 0
        pairs = in_window = 0.0
        for request, tokens in self._chunks:
            past = request.past
            new += tokens
            ends += tokens == request.todo
            kv += past + tokens
            pairs += causal_pairs(float(tokens), float(past))
            if window:
                window_kv += min(past, window) + tokens
                in_window += window_pairs(float(tokens), float(past), float(window))
        decoding = self.decoding if self._decode else 0
        self._sums = (new, decoding + ends, pairs, in_window, kv, window_kv)
        duration = mixed_ns(
            self.cost.coefficients, new, decoding, decoding + ends,
            self.decode_kv if decoding else 0, self.window_kv if decoding else 0,
            pairs, in_window, kv, window_kv,
        )  # fmt: skip
        self._played, self._interruptible = 1, False
        return self._reloaded(self._start_ns + duration)

    # -- commit ----------------------------------------------------------------------------

    def _commit(self, now: int) -> None:
        """The planned iterations are over: count them, move every sequence on."""
        decoding = self.decoding if self._decode else 0
        self.busy_ns += now - self._start_ns
        if self._start_ns >= self.count_from_ns:
            new, logits, pairs, in_window, kv, window_kv = self._sums
            account(
                self.cost.coefficients, self.totals, self.gaps, self._played, self.iterations,
                -1 if self._stalls else self._extra_ns, new, decoding, logits,
                self.decode_kv if decoding else 0, self.window_kv if decoding else 0,
                self.growing if decoding else 0, pairs, in_window, kv, window_kv,
            )  # fmt: skip
            if self._stalls and decoding:
                for seqs, since in self._stalls:
                    self.gaps[gap_bin(now - since)] += seqs
        if decoding:
            self._stalls.clear()
            self._advance(now)
        else:
            self._stall(self._start_ns)
        for request, tokens in self._chunks:
            request.past += tokens
            request.todo -= tokens
            if request.todo == 0:
                self._finish_prefill(request, now)

    def _advance(self, now: int) -> None:
        """Every decoding sequence gains its tokens; those that have all of theirs end."""
        gained = self._gain(self._played)
        self.iterations += self._played
        self.kv.grow(self._growth(gained))
        self.clock += gained
        self.decode_kv += self.decoding * gained
        self.window_kv += self.growing * gained
        self.decoded_tokens += self.decoding * gained
        while self.growing and self._crossings and self._crossings[0][0] <= self.clock:
            crossing, epoch, request = heappop(self._crossings)
            if request.epoch == epoch:
                self.window_kv -= self.clock - crossing
                self.growing -= 1
        while self._ends and self._ends[0][0] <= self.clock:
            _, epoch, request = heappop(self._ends)
            if request.epoch == epoch:
                self._end(request, now)

    def _finish_prefill(self, request: Request, now: int) -> None:
        """The prompt is computed and the next token is out: decode, hand over, or end."""
        del self.prefilling[request]
        self.kv.store(request, request.lease, request.prompt_tokens)
        request.close("prefill", now)
        if self._owner.prefilled(request, self):
            self.load -= 1
            del self.running[request]
            return
        if request.generated == 0:
            request.first_token_ns = now
        elif self._start_ns >= self.count_from_ns:
            self.gaps[gap_bin(now - request.last_token_ns)] += 1
        request.last_token_ns = now
        request.generated += 1
        if request.generated >= request.osl:
            self._end(request, now)
        else:
            self._join(request, now)

    def _stall(self, since: int) -> None:
        """The decoding sequences wait, from `since` on: their next gap is longer than one step."""
        if self.decoding and not self._stalls:
            self._stalls.append((self.decoding, since))

    def _join(self, request: Request, now: int) -> None:
        """A sequence whose prompt is in KV decodes from the next iteration on."""
        if self._stalls or request.last_token_ns < now:
            self._stall(now)
            self._stalls.append((1, request.last_token_ns))
        self._epoch += 1
        request.epoch, request.join_clock = self._epoch, self.clock
        tokens = request.prompt_tokens
        request.end_clock = self.clock + request.osl - request.generated
        self.decoding += 1
        self.decode_kv += tokens + 1
        heappush(self._ends, (request.end_clock, self._epoch, request))
        self._phases[(self.clock - tokens) % self.block_tokens] += 1
        if self.window:
            self.window_kv += min(tokens + 1, self.window)
            if tokens + 1 < self.window:
                self.growing += 1
                crossing = self.clock + self.window - tokens - 1
                heappush(self._crossings, (crossing, self._epoch, request))

    def _remove(self, request: Request) -> None:
        """Take a decoding sequence out of the sums."""
        tokens, gained = request.prompt_tokens, self.clock - request.join_clock
        self.decoding -= 1
        self.decode_kv -= tokens + 1 + gained
        self._phases[(request.join_clock - tokens) % self.block_tokens] -= 1
        request.lease.held += self._blocks(tokens + gained) - self._blocks(tokens)
        if self.window:
            self.window_kv -= min(tokens + 1 + gained, self.window)
            if tokens + 1 + gained < self.window:
                self.growing -= 1
        request.epoch = 0
        if self._stalls:  # the latest admitted, so one of the last that began to wait
            seqs, since = self._stalls.pop()
            if seqs > 1:
                self._stalls.append((seqs - 1, since))

    def _end(self, request: Request, now: int) -> None:
        """The last token is out: the context goes to the prefix cache, the blocks are free."""
        request.close("decode", now)
        if request.epoch:
            self._remove(request)
        del self.running[request]
        request.set_output(request.osl - 1)
        self.kv.store(request, request.lease, request.isl + request.osl - 1)
        self.kv.release(request.lease)
        self.load -= 1
        self._owner.left(request, self)

    def _valid_head(self, heap: list[tuple[int, int, Request]]) -> None:
        while heap[0][2].epoch != heap[0][1]:
            heappop(heap)
