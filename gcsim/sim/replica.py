"""One copy of the model: iteration-level batching, timed by the compiled roofline.

At each iteration boundary the policy forms a batch. A batch that cannot change for a while (decode
only, nobody admissible waiting) is played as one run of iterations: one compiled call, one event.
What arrives in between ends the run at the next iteration boundary. With `coalesce` off every
iteration is its own event; both give the same records, bit for bit.
"""

from collections import deque
from typing import Protocol

from gcsim.cost import PoolCost
from gcsim.roofline.iteration import mixed_ns, run_ns
from gcsim.roofline.ops import causal_pairs, window_pairs
from gcsim.sim.batching import POLICIES, Chunk
from gcsim.sim.clock import Call, Clock
from gcsim.sim.decode_set import DecodeSet
from gcsim.sim.kv_cache import UNLIMITED, KvCache, Lease
from gcsim.sim.meter import NO_PROMPTS, Meter, Prompts
from gcsim.sim.request import Request
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

    def reserved(self, request: Request) -> None:
        """An offered request has its blocks here."""

    def reject(self, request: Request, reason: str) -> None:
        """It can never be run here."""


class Replica:
    """State of one replica. The ways in: `enqueue` a request, `offer` one that is prefilled
    elsewhere, `receive` it when its KV is here. The way out: the callbacks of `Owner`.
    """

    def __init__(
        self,
        env: Clock,
        index: int,
        pool_name: str,
        pool: Pool,
        cost: PoolCost,
        coalesce: bool,
        count_from_ns: int,
        owner: Owner,
    ) -> None:
        self.env, self.index, self.pool_name, self.pool = env, index, pool_name, pool
        self.cost, self.coalesce, self._owner = cost, coalesce, owner
        self._policy = POLICIES[pool.batching.policy]
        self.max_seqs = pool.batching.max_seqs
        self.max_iteration_tokens = pool.batching.max_iteration_tokens
        self.tokens_per_seq = cost.tokens_per_seq
        kept = pool.prefix_cache_tokens
        self.kv = KvCache(
            index, cost.kv_blocks, pool.block_tokens, cost.blocks_per_seq, cost.spill_blocks,
            UNLIMITED if kept is None else kept // pool.block_tokens,
        )  # fmt: skip
        self.load = 0  # requests here or on their way, waiting or running
        self.waiting: deque[Request] = deque()
        self.line_tokens = 0  # prompt tokens to compute in the waiting line, as routed
        self.inbox: deque[Request] = deque()  # prefilled elsewhere, no place here yet
        self.arrived: deque[Request] = deque()  # their KV is here, they join at the boundary
        self.coming = 0  # requests that have a place and are on their way
        self.running: dict[Request, None] = {}  # in order of admission
        self.prefilling: dict[Request, None] = {}
        self.decode = DecodeSet(pool.block_tokens, cost.window, cost.accepted_ppm)
        self.meter = Meter(count_from_ns)
        self._changed = False  # the batch is not the one of the last boundary
        self._hold = False  # somebody was preempted at this boundary: admit nobody
        # The iterations that are being played.
        self._event: Call | None = None
        self._played = self._start_ns = 0
        self._chunks: list[Chunk] = []
        self._decodes = False
        self._prompts: Prompts = NO_PROMPTS
        self._interruptible = False
        self._reload_ns = self._extra_ns = 0

    # -- the ways in -----------------------------------------------------------------------

    @property
    def decode_tokens(self) -> int:
        """Tokens that decoding takes of an iteration's budget."""
        return self.decode.seqs * self.tokens_per_seq

    def enqueue(self, request: Request) -> None:
        """A request joins the waiting line now."""
        request.replica = self.index
        if not self.kv.fits(request.prompt_tokens + 1):
            self._owner.reject(request, "kv_capacity")
            return
        self.load += 1
        self.waiting.append(request)
        self.line_tokens += request.estimate
        self.meter.timeline.queue(self.env.now, len(self.waiting))
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
            if self.waiting or self.inbox or self.arrived:
                self._event = Call(self.env, 0, self._boundary, rank=1 + self.index)
        elif news and self._interruptible:
            self._interruptible = False
            now, decode = self.env.now, self.decode
            played, end = run_ns(
                self.cost.coefficients, self._played, decode.iterations, self._start_ns, now,
                decode.seqs, decode.kv, decode.window_kv, decode.growing,
            )  # fmt: skip
            if played < self._played:
                self._event.cancel()
                self._played = played
                self._event = Call(self.env, end - now, self._boundary, rank=1 + self.index)

    # -- the boundary ----------------------------------------------------------------------

    def _boundary(self, _: Call) -> None:
        now = self.env.now
        if self._played:
            self._commit(now)
        while self.arrived:
            self._take_in(self.arrived.popleft(), now)
        decode = self.decode
        # No sequence needs more blocks than it gains tokens, so mostly there is nothing to do.
        tight = decode.seqs * self.tokens_per_seq > self.kv.room
        self._hold = tight and self._make_room(now)
        while self.inbox and not (self.waiting or self._hold) and self._reserve(self.inbox[0]):
            self.inbox.popleft()
        decodes, self._chunks = self._policy(self)
        self._decodes = decodes and decode.seqs > 0
        self._start_ns, self._played = now, 0
        if self._changed:
            self._changed = False
            waiting, timeline = len(self.waiting), self.meter.timeline
            timeline.queue(now, waiting)
            timeline.sample(now, waiting, len(self.running), self.kv.used)
        if self._chunks:
            end = self._plan_mixed()
        elif self._decodes:
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
            lease = self.kv.admit(request, self.decode.blocks(self.tokens_per_seq))
            if lease is not None:
                self.waiting.popleft()
                self.line_tokens -= request.estimate
                self._admit(request, lease)
                return request
            if self.running or self.coming or self.kv.fits(request.prompt_tokens + 1):
                return None
            self._give_up(self.waiting.popleft())
        return None

    def _admit(self, request: Request, lease: Lease) -> None:
        self._changed = True
        request.lease = lease
        self.running[request] = None
        self.prefilling[request] = None
        request.end_queue(self.env.now)
        if request.preemptions == 0:
            request.hit, request.hit_own = lease.cached, min(lease.own, lease.cached)
        request.past = lease.cached
        request.todo = request.prompt_tokens - lease.cached
        self._reload(lease)
        self._owner.admitted(request, self)

    def _give_up(self, request: Request) -> None:
        self._changed = True
        self.load -= 1
        self.line_tokens -= request.estimate
        self._owner.reject(request, "kv_capacity")

    def _reserve(self, request: Request) -> bool:
        """Reserve the blocks of a request that is prefilled elsewhere, if there is a place."""
        if self._seats <= 0:
            return False
        lease = self.kv.admit(request, self.decode.blocks(self.tokens_per_seq), received=True)
        if lease is None:
            return False
        request.handoff.lease = lease
        self._reload(lease)
        self.coming += 1
        self._owner.reserved(request)
        return True

    def _reload(self, lease: Lease) -> None:
        for tier, tokens in lease.reload:
            self._reload_ns += self.cost.reload_ns(tier, tokens)

    def _take_in(self, request: Request, now: int) -> None:
        """A request whose KV has arrived runs on here."""
        self._changed = True
        self.coming -= 1
        self.running[request] = None
        request.lease, request.replica = request.handoff.lease, self.index
        request.end_queue(now)
        self.kv.store(request, request.lease, request.prompt_tokens)
        if request.generated:
            self._join(request, now)
        else:  # the first token is to come from here: the last prompt token is computed again
            request.past, request.todo = request.prompt_tokens - 1, 1
            self.prefilling[request] = None

    def _make_room(self, now: int) -> bool:
        """Preempt the latest admitted until every decoding sequence can take its next token."""
        preempted = False
        while self.decode.blocks(self.decode.gain(1)) > self.kv.room:
            alone = len(self.running) == 1 and not self.coming
            self._preempt(next(reversed(self.running)), now)
            if alone:
                self._give_up(self.waiting.popleft())
            else:
                preempted = True
        return preempted

    def _preempt(self, request: Request, now: int) -> None:
        """Back to the head of the line; what it computed stays in the prefix cache while it can."""
        self._changed = True
        tokens = request.past
        if request in self.prefilling:
            request.end_prefill(now)
            del self.prefilling[request]
        else:
            request.end_decode(now)
            request.generated = request.osl - (request.end_clock - self.decode.clock)
            request.last_token_ns = now
            tokens = request.isl + request.generated - 1
            request.lease.held += self.decode.remove(request)
            request.set_output(request.generated)
            self.meter.unstall()
        del self.running[request]
        self.kv.store(request, request.lease, tokens)
        self.kv.release(request.lease)
        request.prompt_tokens = request.isl + request.generated
        request.estimate = request.prompt_tokens - tokens
        request.preemptions += 1
        self.waiting.appendleft(request)
        self.line_tokens += request.estimate

    # -- planning --------------------------------------------------------------------------

    def _plan_run(self) -> int:
        """Plan decode iterations until something changes; the end of the last one [ns]."""
        decode = self.decode
        iterations = 1
        if self.coalesce and not (self._hold or self._reload_ns):
            iterations = decode.iterations_within(decode.steady_iterations(), self.kv.room)
        # The end of the warm-up ends a run too: what counts is decided by where a run starts.
        counting = self._start_ns >= self.meter.count_from_ns
        self._prompts = NO_PROMPTS
        self._played, end = run_ns(
            self.cost.coefficients, iterations, decode.iterations, self._start_ns,
            NEVER if counting else self.meter.count_from_ns,
            decode.seqs, decode.kv, decode.window_kv, decode.growing,
        )  # fmt: skip
        self._interruptible = iterations > 1
        return self._reloaded(end)

    def _plan_mixed(self) -> int:
        """Plan one iteration with prompt chunks, and decode beside them if it goes on [ns]."""
        window = self.cost.window
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
        seqs = decode_kv = decode_window_kv = 0
        if self._decodes:
            seqs, decode_kv = self.decode.seqs, self.decode.kv
            decode_window_kv = self.decode.window_kv
        self._prompts = (new, ends, pairs, in_window, kv, window_kv)
        duration = mixed_ns(
            self.cost.coefficients, new, seqs, seqs + ends, decode_kv, decode_window_kv,
            pairs, in_window, kv, window_kv,
        )  # fmt: skip
        self._played, self._interruptible = 1, False
        return self._reloaded(self._start_ns + duration)

    def _reloaded(self, end: int) -> int:
        """The end of an iteration that waits for KV from lower tiers, or hides its reload [ns]."""
        later = end + self._reload_ns
        if self.cost.reload_overlaps:
            later = max(end, self._start_ns + self._reload_ns)
        self._reload_ns, self._extra_ns = 0, later - end
        return later

    # -- commit ----------------------------------------------------------------------------

    def _commit(self, now: int) -> None:
        """The planned iterations are over: count them, move every sequence on."""
        decode = self.decode
        self.meter.count(
            self.cost.coefficients, self._played, (self._start_ns, now), self._extra_ns,
            self._prompts, decode if self._decodes else None,
        )  # fmt: skip
        if self._decodes:
            blocks = decode.blocks(decode.gain(self._played))
            if blocks:
                self.kv.grow(blocks)
            seqs = decode.seqs
            gained, ended = decode.advance(self._played)
            self.meter.decoded_tokens += seqs * gained
            for request in ended:
                request.lease.held += decode.remove(request)
                self._end(request, now)
        else:
            self.meter.stall(decode.seqs, self._start_ns)
        for request, tokens in self._chunks:
            request.past += tokens
            request.todo -= tokens
            if request.todo == 0:
                self._finish_prefill(request, now)

    def _finish_prefill(self, request: Request, now: int) -> None:
        """The prompt is computed and the next token is out: decode, hand over, or end."""
        del self.prefilling[request]
        self.kv.store(request, request.lease, request.prompt_tokens)
        request.end_prefill(now)
        if self._owner.prefilled(request, self):
            self._changed = True
            self.load -= 1
            del self.running[request]
            return
        if request.generated == 0:
            request.first_token_ns = now
        else:
            self.meter.gap(self._start_ns, now - request.last_token_ns)
        request.last_token_ns = now
        request.generated += 1
        if request.generated >= request.osl:
            self._end(request, now)
        else:
            self._join(request, now)

    def _join(self, request: Request, now: int) -> None:
        self.meter.stall_one(self.decode.seqs, now, request.last_token_ns)
        self.decode.join(request)

    def _end(self, request: Request, now: int) -> None:
        """The last token is out: the context goes to the prefix cache, the blocks are free."""
        self._changed = True
        request.end_decode(now)
        del self.running[request]
        request.set_output(request.osl - 1)
        self.kv.store(request, request.lease, request.isl + request.osl - 1)
        self.kv.release(request.lease)
        self.load -= 1
        self._owner.left(request, self)
