"""One copy of the model: iteration-level batching, timed by the compiled roofline.

At each iteration boundary the policy forms a batch. A batch that cannot change for a while (decode
only, nobody admissible waiting) is played as one run of iterations: one compiled call, one event.
What arrives in between ends the run at the next iteration boundary. With `coalesce` off every
iteration is its own event; both give the same records, bit for bit.
"""

from collections import deque
from operator import attrgetter

from gcsim.engine.batching import POLICIES
from gcsim.engine.clock import Call, Clock
from gcsim.engine.decode_set import DecodeSet
from gcsim.engine.kv_cache import UNLIMITED, KvCache, Lease
from gcsim.engine.meter import Meter
from gcsim.engine.owner import Owner
from gcsim.engine.request import Request
from gcsim.engine.run import NEVER, Run
from gcsim.machine.machine import Machine
from gcsim.profiles.deployment import Pool

_priority = attrgetter("priority")


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
        cost: Machine,
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
            self, cost.kv_blocks, pool.block_tokens, cost.blocks_per_seq, cost.spill_blocks,
            UNLIMITED if kept is None else kept // pool.block_tokens,
        )  # fmt: skip
        self.load = 0  # requests here or on their way, waiting or running
        self.waiting: deque[Request] = deque()
        self.line_tokens = 0  # prompt tokens to compute in the waiting line, as routed
        self.inbox: deque[Request] = deque()  # prefilled elsewhere, no place here yet
        self.arrived: deque[Request] = deque()  # their KV is here, they join at the boundary
        self._freed: list[Lease] = []  # places that are not needed after all
        self.coming = 0  # requests that have a place and are on their way
        self.running: dict[Request, None] = {}  # in order of admission
        self.prefilling: dict[Request, None] = {}
        self.decode = DecodeSet(pool.block_tokens, cost.window, cost.accepted_ppm)
        self.meter = Meter(count_from_ns)
        self._changed = False  # the batch is not the one of the last boundary
        self._hold = False  # somebody was preempted at this boundary: admit nobody
        self._known_ns = NEVER  # who came before is known to the scheduler of this iteration
        self._run = Run(cost, self.decode)
        self._event: Call | None = None  # the end of the run; None: idle
        self._rank = 1 + index
        self._reload_ns = 0  # of what was admitted since the last iteration

    # -- the ways in -----------------------------------------------------------------------

    def enqueue(self, request: Request) -> None:
        """A request joins the waiting line now, behind those of its priority and above."""
        request.replica = self.index
        if not self.kv.fits(request.prompt_tokens + 1):
            self._owner.reject(request, "kv_capacity")
            return
        self.load += 1
        place = len(self.waiting)
        while place and self.waiting[place - 1].priority < request.priority:
            place -= 1
        self.waiting.insert(place, request)
        self.line_tokens += request.estimate
        self.meter.timeline.queue(self.env.now, len(self.waiting))
        self.wake(news=place == 0, further=self.cost.overlap_scheduling)

    def offer(self, request: Request) -> None:
        """A request that is prefilled elsewhere asks for a place."""
        self.load += 1
        self.inbox.append(request)
        self.wake(len(self.inbox) == 1)

    def cancel(self, request: Request) -> None:
        """A request that was offered will not come."""
        self.load -= 1
        if request.handoff.reserved_ns < 0:
            head = self.inbox[0] is request
            self.inbox.remove(request)
            self.wake(head)
            return
        self.coming -= 1
        self._freed.append(request.handoff.lease)
        self.wake(True)

    def receive(self, request: Request) -> None:
        """The KV of a request that was offered is here."""
        self.arrived.append(request)
        self.wake(True)

    def wake(self, news: bool, further: int = 0) -> None:
        """Start, or (if it is news) end the run at the next boundary, or `further` ones later."""
        if self._event is None:
            if self.waiting or self.inbox or self.arrived or self._freed:
                self._call(0)
        elif news:
            end = self._run.cut(self.env.now, further)
            if end >= 0:
                self._event.cancel()
                self._call(end - self.env.now)

    def _call(self, delay_ns: int) -> None:
        self._event = Call(self.env, delay_ns, self._boundary, None, self._rank)

    def count_from(self, now: int) -> None:
        """Count iterations that start from now on; one that goes on over several is divided."""
        self.meter.count_from_ns = now
        self.wake(True)

    # -- the boundary ----------------------------------------------------------------------

    def _boundary(self, _: Call) -> None:
        now, run = self.env.now, self._run
        self._known_ns = NEVER
        if run.iterations:
            if self.waiting and self.cost.overlap_scheduling:
                self._known_ns = run.last_start_ns
            self._commit(now)
        while self._freed:  # only now: what decode took so far, it took before
            self.kv.release(self._freed.pop())
        while self.arrived:
            self._take_in(self.arrived.popleft(), now)
        decode = self.decode
        # No sequence needs more blocks than it gains tokens, so mostly there is nothing to do.
        tight = decode.seqs > 0 and decode.seqs * self.tokens_per_seq > self.kv.room
        self._hold = tight and self._make_room(now)
        while self.inbox and not (self.waiting or self._hold) and self._reserve(self.inbox[0]):
            self.inbox.popleft()
        decodes, run.chunks = self._policy(self)
        run.decodes = decodes and decode.seqs > 0
        if not (run.chunks or run.decodes) and self._late:
            self._known_ns = NEVER  # nothing runs, and so nothing is ahead of the newcomer
            decodes, run.chunks = self._policy(self)
            run.decodes = decodes and decode.seqs > 0
        run.start_ns, run.iterations = now, 0
        if self._changed:
            self._changed = False
            self.meter.timeline.sample(now, len(self.waiting), len(self.running), self.kv.used)
        if not (run.chunks or run.decodes):
            self._event = None
            return
        end = run.mixed(self._reload_ns) if run.chunks else self._decode_run()
        self._reload_ns = 0
        self._event = Call(self.env, end - now, self._boundary, None, self._rank)

    def _decode_run(self) -> int:
        """Decode until something can change; the end [ns].

        KV is evicted at the end of a run of one iteration: what the prefix cache holds, which the
        router may ask at any time, is the same all through a longer one.
        """
        decode, run = self.decode, self._run
        iterations = 1
        if self.coalesce and not (self._hold or self._reload_ns or self._late):
            iterations = decode.iterations_within(decode.steady_iterations(), self.kv.free)
        # The end of the warm-up ends a run too: what counts is decided by where a run starts.
        counting = run.start_ns >= self.meter.count_from_ns
        until = NEVER if counting else self.meter.count_from_ns
        return run.decode(iterations, until, self._reload_ns)

    @property
    def _seats(self) -> int:
        return self.max_seqs - len(self.running) - self.coming

    @property
    def _late(self) -> bool:
        """The head of the line came when the scheduler, ahead by one, had fixed this batch."""
        return bool(self.waiting) and self.waiting[0].phase_ns > self._known_ns

    def admit(self) -> Request | None:
        """Admit the request at the head of the waiting line, if a place and memory are free."""
        while self.waiting and not (self._hold or self._late) and self._seats > 0:
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
        if lease.reload:
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
        if lease.reload:
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
        """Preempt until every decoding sequence can take its next token.

        The latest admitted goes first, of those of the lowest priority.
        """
        preempted = False
        while self.decode.blocks(self.decode.gain(1)) > self.kv.room:
            alone = len(self.running) == 1 and not self.coming
            self._preempt(min(reversed(self.running), key=_priority), now)
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

    def settle(self) -> None:
        """At the horizon: count the iterations of the run that have ended before it."""
        if self._event is not None and self._run.stop(self.env.now):
            self._commit(self._run.end_ns)
            self._run.iterations = 0

    # -- commit ----------------------------------------------------------------------------

    def _commit(self, now: int) -> None:
        """The planned iterations are over: count them, move every sequence on."""
        decode, run = self.decode, self._run
        self.meter.count(
            self.cost.table,
            run.batch,
            run.iterations,
            run.start_ns,
            now,
            run.extra_ns,
            decode if run.decodes else None,
        )
        if run.decodes:
            gained, blocks, ended = decode.advance(run.iterations)
            if blocks:
                self.kv.grow(blocks)
            self.meter.decoded_tokens += decode.seqs * gained
            for request in ended:
                request.lease.held += decode.remove(request)
                self._end(request, now)
        else:
            self.meter.stall(decode.seqs, run.start_ns)
        for request, tokens in run.chunks:
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
            self.meter.gap(self._run.start_ns, now - request.last_token_ns)
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
