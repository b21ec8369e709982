"""The sequences that share one KV memory: who waits, who runs, what the next iteration computes.

A group knows no clock: it is told the time, and notes what happened for who asks (`events`).
"""

from collections import deque
from operator import attrgetter
from typing import Literal

from gcsim.engine.batching import POLICIES, Chunk, Limits, View, seats
from gcsim.engine.decode_set import DecodeSet
from gcsim.engine.kv_cache import UNLIMITED, KvCache, Lease
from gcsim.engine.line import Line
from gcsim.engine.meter import Meter, Stalls
from gcsim.engine.offload import Offload
from gcsim.engine.request import Request
from gcsim.machine.machine import Machine
from gcsim.profiles.deployment import Pool

# What becomes of a request here: its prefill starts (told by prefill pools only), a place is kept
# for it, its prompt is computed and it decodes elsewhere, its last token is out, it can never run.
Verb = Literal["admitted", "reserved", "prefilled", "completed", "rejected"]
Event = tuple[Verb, Request]
NEVER = 1 << 62

_priority = attrgetter("priority")


class Group:
    """State of one KV memory and of all who use it or wait for it.

    index: its number among all groups; replica: that of its replica; first_token_here: a prefill
    pool gives the first token; requests: that came here once counting had begun;
    waiting: to be prefilled here; inbox: prefilled elsewhere, without a place here yet; coming:
    how many have one and are on their way; arrived: their KV is here, they run from the next
    boundary on; running: in order of admission; load: all of these; line_tokens: prompt tokens to
    compute in the waiting line, as routed; fresh_work: see `gcsim.engine.router.View`.
    """

    def __init__(
        self,
        index: int,
        replica: int,
        pool: Pool,
        cost: Machine,
        *,
        meter: Meter,
        first_token_here: bool,
    ) -> None:
        self.index, self.replica = index, replica
        self.cost, self.meter = cost, meter
        self._prefills, self._first_token_here = pool.role == "prefill", first_token_here
        self._rank, self._form = POLICIES[pool.batching.policy]
        self._limits = Limits(pool.batching.max_iteration_tokens, cost.tokens_per_seq)
        self._tokens_per_seq = cost.tokens_per_seq
        self._max_seqs = pool.batching.max_seqs
        self._by_context = pool.batching.max_seqs_by_context
        self._expected: dict[Request, None] = {}  # those on their way here
        kept = pool.prefix_cache_tokens
        self.kv = KvCache(
            self,
            cost.kv_blocks,
            pool.block_tokens,
            cost.blocks_per_seq,
            tiers=cost.spill_blocks,
            limit=UNLIMITED if kept is None else kept // pool.block_tokens,
            hit_tokens=cost.hit_tokens,
        )
        self.decode = DecodeSet(pool.block_tokens, cost.window, cost.accepted_ppm)
        self.waiting, self.inbox = Line(self._rank), Line(self._rank)
        self.arrived: deque[Request] = deque()
        self.running: dict[Request, None] = {}
        self.prefilling: dict[Request, None] = {}
        self.load = self.line_tokens = self.coming = self.requests = 0
        self.fresh_work = 1.0
        self.stalls = Stalls()
        self.decodes, self.chunks = False, list[Chunk]()  # what the planned iteration computes
        self.events: list[Event] = []
        self.changed = False  # the batch is not the one of the last boundary
        self.held = False  # somebody was preempted at this boundary: admit nobody
        self.awaits = False  # somebody was admitted whose KV is on its way: the line is another
        self.known_ns = NEVER  # who joined the line later is not seen by the scheduler yet
        self.offload = Offload(cost.offload) if cost.offload else None
        self._freed: list[Lease] = []  # places that are not needed after all

    # -- the ways in -----------------------------------------------------------------------

    def enqueue(self, request: Request, now: int) -> bool:
        """A request joins the waiting line; whether it is its head."""
        self._expect(now)
        self.line_tokens += request.estimate
        return self.waiting.add(request)

    def offer(self, request: Request, now: int) -> bool:
        """A request that is prefilled elsewhere asks for a place; whether it is the next to."""
        self._expect(now)
        return self.inbox.add(request)

    def _expect(self, now: int) -> None:
        self.load += 1
        self.requests += now >= self.meter.count_from_ns

    def cancel(self, request: Request) -> bool:
        """A request that was offered will not come; whether somebody may now have its place."""
        self.load -= 1
        if request.handoff.reserved_ns < 0:
            return self.inbox.leave(request)
        self.coming -= 1
        del self._expected[request]
        self._freed.append(request.handoff.lease)
        return True

    @property
    def has_work(self) -> bool:
        """Whether an idle replica has a reason to look."""
        return bool(self.waiting or self.inbox or self.arrived or self._freed)

    @property
    def late(self) -> bool:
        """Whether the head of the line came when the scheduler had fixed this batch already."""
        return bool(self.waiting) and self.waiting[0][3].phase_ns > self.known_ns

    # -- the boundary ----------------------------------------------------------------------

    def settle_in(self, now: int) -> None:
        """What came since the last boundary takes effect; decode is given room; places are kept."""
        while self._freed:  # only now: what decode took so far, it took before
            self.kv.release(self._freed.pop())
        self.written(now)
        self.awaits = False
        for _ in range(len(self.arrived)):
            request = self.arrived.popleft()
            if request.handoff.lease.ready_ns > now:
                self.arrived.append(request)
            else:
                self._take_in(request, now)
        # No sequence needs more blocks than it gains tokens, so mostly there is nothing to do.
        need = self.decode.seqs * self._tokens_per_seq
        self.held = need > 0 and need > self.kv.room and self._make_room(now)
        if self.inbox:
            self.keep_places(now)

    def keep_places(self, now: int) -> None:
        """Reserve memory for those in the inbox, after all who wait to be prefilled here."""
        while self.inbox and not (self.waiting or self.held):
            if not self._reserve(self.inbox.head, now):
                break
            self.inbox.take()

    def form(self, now: int) -> None:
        """Fill an iteration as the policy says: whether decode goes on, and the prompt chunks."""
        seqs = self.decode.seqs
        if not (self.prefilling or self.waiting):
            self.decodes, self.chunks = seqs > 0, []
            return  # as mostly: whatever the policy, decode is all there is to do
        left, beside, admit = self._form(
            View(seqs, len(self.prefilling), len(self.waiting)), self._limits
        )
        if admit == "all":
            while self._admit_head(now) is not None:
                pass
        chunks: list[Chunk] = []
        for request in self.prefilling:
            if left <= 0:
                break
            if request.lease.ready_ns > now:
                continue  # some of its KV is on its way back
            tokens = request.todo if request.todo < left else left
            chunks.append((request, tokens))
            left -= tokens
        if admit == "fill":
            while left > 0 and self.waiting:
                admitted = self._admit_head(now)
                if admitted is None:
                    break
                if admitted.lease.ready_ns > now:
                    continue
                tokens = admitted.todo if admitted.todo < left else left
                chunks.append((admitted, tokens))
                left -= tokens
        self.decodes, self.chunks = seqs > 0 and (beside or not chunks), chunks

    def next_ready_ns(self, now: int) -> int:
        """When KV that a request waits for is back from below; NEVER without such."""
        return self.offload.next_ready(now, NEVER) if self.offload else NEVER

    def written(self, now: int) -> None:
        """What was evicted by now goes to the tier below: at every boundary, before it is over.

        Later ones are not at the same times in both engines.
        """
        if self.offload:
            self.offload.write(now, self.kv.tree.offloaded_blocks * self.kv.block_tokens)

    def _seats(self, request: Request) -> int:
        """How many more may run, one of them this request."""
        most = self._max_seqs
        if self._by_context:
            others = (other.isl for other in (*self.running, *self._expected))
            most = seats((request.isl, *others), self._by_context, most)
        return most - len(self.running) - self.coming

    def _admit_head(self, now: int) -> Request | None:
        """Admit the head of the waiting line, if a place and memory are free."""
        while self.waiting and not (self.held or self.late):
            request = self.waiting.head
            if self._seats(request) <= 0:
                return None
            lease = self.kv.admit(request, self.decode.blocks(self._tokens_per_seq))
            if lease is not None:
                self.waiting.take()
                self.line_tokens -= request.estimate
                self._admit(request, lease, now)
                return request
            if self.running or self.coming or self.kv.fits(request.prompt_tokens + 1):
                return None
            self._give_up(self.waiting.take())
        return None

    def _admit(self, request: Request, lease: Lease, now: int) -> None:
        self.changed = True
        request.lease = lease
        self.running[request] = None
        self.prefilling[request] = None
        request.end_queue(now)
        if request.preemptions == 0:
            request.hit = lease.cached
            request.hit_own = lease.own if lease.own < lease.cached else lease.cached
        request.past = lease.cached
        request.todo = request.prompt_tokens - lease.cached
        if lease.reload:
            self._bring_back(request, lease, now)
            self.awaits = True
        if self._prefills:
            self.events.append(("admitted", request))

    def _give_up(self, request: Request) -> None:
        self.changed = True
        self.load -= 1
        self.line_tokens -= request.estimate
        request.reason = "kv_capacity"
        self.events.append(("rejected", request))

    def _reserve(self, request: Request, now: int) -> bool:
        """Keep a place for a request that is prefilled elsewhere, if there is one."""
        if self._seats(request) <= 0:
            return False
        spare = self.decode.blocks(self._tokens_per_seq)
        lease = self.kv.admit(request, spare, received=True)
        if lease is None:
            return False
        request.handoff.lease = lease
        if lease.reload:
            self._bring_back(request, lease, now)
        self.coming += 1
        self._expected[request] = None
        self.events.append(("reserved", request))
        return True

    def _bring_back(self, request: Request, lease: Lease, now: int) -> None:
        """What a request found in the tier below comes back; only it waits for that."""
        self.written(now)
        if self.offload:
            lease.ready_ns = self.offload.read(now, lease.reload, request.prompt_tokens)

    def _take_in(self, request: Request, now: int) -> None:
        """A request whose KV has arrived runs on here."""
        self.changed = True
        self.coming -= 1
        del self._expected[request]
        self.running[request] = None
        request.lease = request.handoff.lease
        request.replica, request.group = self.replica, self.index
        request.end_queue(now)
        self.kv.store(request, request.lease, request.prompt_tokens)
        if request.generated:
            self._join(request, now)
        else:  # the first token is to come from here: the last prompt token is computed again
            request.past, request.todo = request.prompt_tokens - 1, 1
            self.prefilling[request] = None

    def _make_room(self, now: int) -> bool:
        """Preempt until every decoding sequence can take its next token; whether any waits now.

        The latest admitted goes first, of those of the lowest priority.
        """
        preempted = False
        while self.decode.blocks(self.decode.gain(1)) > self.kv.room:
            victim = min(reversed(self.running), key=_priority)
            alone = len(self.running) == 1 and not self.coming
            self._preempt(victim, now)
            if alone:
                self._give_up(victim)
            else:
                self.waiting.put_back(victim)
                preempted = True
        return preempted

    def _preempt(self, request: Request, now: int) -> None:
        """It stops to run; what it computed stays in the prefix cache while it can."""
        self.changed = True
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
            self.stalls.one_leaves()
        del self.running[request]
        self.kv.store(request, request.lease, tokens)
        self.kv.release(request.lease)
        request.prompt_tokens = request.isl + request.generated
        request.estimate = request.prompt_tokens - tokens
        request.preemptions += 1
        self.line_tokens += request.estimate

    # -- after iterations ------------------------------------------------------------------

    def over(self, iterations: int, start_ns: int, now: int) -> None:
        """What was planned is over, from `start_ns` to `now`."""
        if self.decodes:
            self._advance(iterations, now)
        else:
            self.stalls.all_wait(self.decode.seqs, start_ns)
        for request, tokens in self.chunks:
            request.past += tokens
            request.todo -= tokens
            if request.todo == 0:
                self._finish_prefill(request, start_ns, now)

    def _advance(self, iterations: int, now: int) -> None:
        """Every decoding sequence moves on, some end."""
        decode = self.decode
        gained, blocks, ended = decode.advance(iterations)
        if blocks:
            self.kv.grow(blocks)
        self.meter.decoded_tokens += decode.seqs * gained
        for request in ended:
            request.lease.held += decode.remove(request)
            self._end(request, now)

    def _finish_prefill(self, request: Request, start_ns: int, now: int) -> None:
        """The prompt is computed and the next token is out: decode, hand over, or end."""
        del self.prefilling[request]
        self.kv.store(request, request.lease, request.prompt_tokens)
        request.end_prefill(now)
        if self._prefills and not (self._first_token_here and request.osl == 1):
            self._hand_over(request, now)
            return
        if request.generated == 0:
            request.first_token_ns = now
        else:
            self.meter.gap(start_ns, now - request.last_token_ns)
        request.last_token_ns = now
        request.generated += 1
        if request.generated >= request.osl:
            self._end(request, now)
        else:
            self._join(request, now)

    def _hand_over(self, request: Request, now: int) -> None:
        """It decodes elsewhere."""
        if self._first_token_here:
            request.first_token_ns = request.last_token_ns = now
            request.generated = 1
        self.changed = True
        self.load -= 1
        del self.running[request]
        self.events.append(("prefilled", request))

    def _join(self, request: Request, now: int) -> None:
        self.stalls.one_joins(self.decode.seqs, now, request.last_token_ns)
        self.decode.join(request)

    def _end(self, request: Request, now: int) -> None:
        """The last token is out: the context goes to the prefix cache, the blocks are free."""
        self.changed = True
        request.end_decode(now)
        del self.running[request]
        request.set_output(request.osl - 1)
        self.kv.store(request, request.lease, request.isl + request.osl - 1)
        self.kv.release(request.lease)
        self.load -= 1
        self.events.append(("completed", request))
