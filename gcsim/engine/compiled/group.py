"""`gcsim.engine.group` over arrays: the sequences that share one KV memory.

Who runs, and whose prompt is computed, are chains through the requests, in order of admission.
"""

from gcsim.engine.compiled.arrays import (
    ADMITTED,
    ARRIVED,
    CHUNKS,
    COMPLETED,
    EVENTS,
    FREED,
    INBOX,
    LINE,
    LISTS,
    NONE,
    PREFILLED,
    REJECTED,
    RESERVED,
    TOKENS,
    World,
)
from gcsim.engine.compiled.decode_set import (
    advance,
    blocks,
    gain,
    join,
    next_ended,
    remove,
)
from gcsim.engine.compiled.kv_cache import fits, grow, release, reserve, room_of, store
from gcsim.engine.compiled.line import add, head, leave_inbox, put_back, take_head, waiting
from gcsim.engine.compiled.lists import LENGTH, PLACE, heap_pop, push
from gcsim.engine.compiled.meter import all_wait, one_gap, one_joins, one_leaves
from gcsim.engine.compiled.parts import compiled
from gcsim.engine.compiled.prefix_cache import unpin

KV_CAPACITY = 1  # of `REASONS` in `gcsim.engine.compiled.play`
MIXED, PROMPTS_FIRST, BATCH_BY_BATCH = range(3)  # `gcsim.engine.batching`: how to form
FILL, ALL, NOBODY = range(3)

# -- phases of a request -----------------------------------------------------------------------


@compiled
def end_queue(w: World, r: int, now: int) -> None:
    """The time since the last phase ended was queueing."""
    request = w.requests[r]
    request.queue_ns += now - request.phase_ns
    request.phase_ns = now


@compiled
def end_prefill(w: World, r: int, now: int) -> None:
    """The time since the last phase ended was prefill."""
    request = w.requests[r]
    request.prefill_ns += now - request.phase_ns
    request.phase_ns = now


@compiled
def end_decode(w: World, r: int, now: int) -> None:
    """The time since the last phase ended was decode."""
    request = w.requests[r]
    request.decode_ns += now - request.phase_ns
    request.phase_ns = now


@compiled
def set_output(w: World, r: int, tokens: int) -> None:
    """Let the context end with the first `tokens` tokens that this request generated."""
    request = w.requests[r]
    context, content = request.context, -1 - request.index
    if w.spans[context, LENGTH]:
        last = w.spans[context, PLACE] + w.spans[context, LENGTH] - 1
        if w.cells[last, 0] == content:
            w.spans[context, LENGTH] -= 1
            w.spans[context, TOKENS] -= w.cells[last, 1]
            w.hints[context, LENGTH] = 0  # they may point into the span that was replaced
    if tokens:
        push(w.spans, context, w.cells, w.free, content, tokens, 0, 0)
        w.spans[context, TOKENS] += tokens


# -- who runs ------------------------------------------------------------------------------------


@compiled
def _runs(w: World, g: int, r: int) -> None:
    group, request = w.groups[g], w.requests[r]
    request.previous, request.next = group.last_running, NONE
    if group.last_running >= 0:
        w.requests[group.last_running].next = r
    else:
        group.first_running = r
    group.last_running = r
    group.running += 1


@compiled
def _runs_no_more(w: World, g: int, r: int) -> None:
    group, request = w.groups[g], w.requests[r]
    before, after = request.previous, request.next
    if before >= 0:
        w.requests[before].next = after
    else:
        group.first_running = after
    if after >= 0:
        w.requests[after].previous = before
    else:
        group.last_running = before
    group.running -= 1


@compiled
def _starts_prefill(w: World, g: int, r: int) -> None:
    group, request = w.groups[g], w.requests[r]
    request.in_prefill = 1
    request.previous_prefill, request.next_prefill = group.last_prefilling, NONE
    if group.last_prefilling >= 0:
        w.requests[group.last_prefilling].next_prefill = r
    else:
        group.first_prefilling = r
    group.last_prefilling = r
    group.prefilling += 1


@compiled
def _ends_prefill(w: World, g: int, r: int) -> None:
    group, request = w.groups[g], w.requests[r]
    request.in_prefill = 0
    before, after = request.previous_prefill, request.next_prefill
    if before >= 0:
        w.requests[before].next_prefill = after
    else:
        group.first_prefilling = after
    if after >= 0:
        w.requests[after].previous_prefill = before
    else:
        group.last_prefilling = before
    group.prefilling -= 1


@compiled
def end_transfer(w: World, r: int, now: int) -> None:
    """The time since the last phase ended was KV transfer."""
    request = w.requests[r]
    request.kv_transfer_ns += now - request.phase_ns
    request.phase_ns = now


@compiled
def _event(w: World, g: int, verb: int, r: int) -> None:
    push(w.lists, g * LISTS + EVENTS, w.cells, w.free, verb, r, w.groups[g].replica, 0)


# -- the ways in ---------------------------------------------------------------------------------


@compiled
def expect(w: World, g: int, now: int) -> None:
    """One more is here, or on its way."""
    group = w.groups[g]
    group.load += 1
    if now >= w.replicas[group.replica].count_from_ns:
        group.requests += 1


@compiled
def enqueue(w: World, g: int, r: int, now: int) -> bool:
    """A request joins the waiting line; whether it is its head."""
    expect(w, g, now)
    w.groups[g].line_tokens += w.requests[r].estimate
    return add(w, g, LINE, r)


@compiled
def offer(w: World, g: int, r: int, now: int) -> bool:
    """A request that is prefilled elsewhere asks for a place; whether it is the next to."""
    expect(w, g, now)
    return add(w, g, INBOX, r)


@compiled
def cancel(w: World, g: int, r: int) -> bool:
    """A request that was offered will not come; whether somebody may now have its place."""
    group, request = w.groups[g], w.requests[r]
    group.load -= 1
    if request.reserved_ns < 0:
        return leave_inbox(w, g, r)
    group.coming -= 1
    k, node = g * LISTS + FREED, request.there_node
    push(w.lists, k, w.cells, w.free, node, request.there_held, 0, 0)
    return True


@compiled
def has_work(w: World, g: int) -> bool:
    """Whether an idle replica has a reason to look."""
    k = g * LISTS
    waits = w.lists[k + LINE, LENGTH] + w.lists[k + INBOX, LENGTH]
    return waits + w.lists[k + ARRIVED, LENGTH] + w.lists[k + FREED, LENGTH] > 0


# -- the boundary --------------------------------------------------------------------------------


@compiled
def late(w: World, g: int) -> bool:
    """Whether the head of the line came when the scheduler had fixed this batch already."""
    return waiting(w, g) > 0 and w.requests[head(w, g)].phase_ns > w.groups[g].known_ns


@compiled
def settle_in(w: World, g: int, now: int) -> None:
    """What came since the last boundary takes effect; decode is given room."""
    group, k = w.groups[g], g * LISTS + FREED
    while w.lists[k, LENGTH]:  # only now: what decode took so far, it took before
        w.lists[k, LENGTH] -= 1
        row = w.lists[k, PLACE] + w.lists[k, LENGTH]
        group.private -= w.cells[row, 1]
        unpin(w, g, w.cells[row, 0])
    group.awaits = 0
    k = g * LISTS + ARRIVED
    for row in range(w.lists[k, LENGTH]):
        _take_in(w, g, w.cells[w.lists[k, PLACE] + row, 0], now)
    w.lists[k, LENGTH] = 0
    # No sequence needs more blocks than it gains tokens, so mostly there is nothing to do.
    need = group.seqs * group.tokens_per_seq
    group.held = 0
    if need > 0 and need > room_of(w, g) and _make_room(w, g, now):
        group.held = 1
    keep_places(w, g)


@compiled
def keep_places(w: World, g: int) -> None:
    """Reserve memory for those in the inbox, after all who wait to be prefilled here."""
    group, k = w.groups[g], g * LISTS + INBOX
    while w.lists[k, LENGTH] and waiting(w, g) == 0 and not group.held:
        r = w.cells[w.lists[k, PLACE], 3]
        if group.max_seqs - group.running - group.coming <= 0:
            break
        if not reserve(w, g, r, blocks(group, w.phases[g], group.tokens_per_seq), True):
            break
        group.coming += 1
        _event(w, g, RESERVED, r)
        heap_pop(w.lists, k, w.cells)


@compiled
def _take_in(w: World, g: int, r: int, now: int) -> None:
    """A request whose KV has arrived runs on here."""
    group, request = w.groups[g], w.requests[r]
    group.changed = 1
    group.coming -= 1
    _runs(w, g, r)
    request.node, request.held, request.cached = (
        request.there_node,
        request.there_held,
        request.there_cached,
    )
    request.own, request.shared = request.there_own, request.there_shared
    request.replica, request.group = group.replica, g
    end_queue(w, r, now)
    store(w, g, r, request.prompt_tokens)
    if request.generated:
        one_joins(w, g, now, request.last_token_ns)
        join(w, g, r)
    else:  # the first token is to come from here: the last prompt token is computed again
        request.past, request.todo = request.prompt_tokens - 1, 1
        _starts_prefill(w, g, r)


@compiled
def _shape(w: World, g: int) -> tuple[int, bool, int]:
    """How an iteration is filled: most prompt tokens, decode beside them, who is admitted."""
    group = w.groups[g]
    if group.form == MIXED:
        return group.limit_tokens - group.seqs * group.tokens_per_seq, True, FILL
    if group.form == PROMPTS_FIRST:
        return group.limit_tokens, False, FILL
    return group.limit_tokens, False, NOBODY if group.seqs or group.prefilling else ALL


@compiled
def _chunk(w: World, g: int, r: int, left: int) -> int:
    tokens = min(w.requests[r].todo, left)
    push(w.lists, g * LISTS + CHUNKS, w.cells, w.free, r, tokens, 0, 0)
    return left - tokens


@compiled
def form(w: World, g: int, now: int) -> None:
    """Fill an iteration as the policy says: whether decode goes on, and the prompt chunks."""
    group, k = w.groups[g], g * LISTS + CHUNKS
    seqs = group.seqs
    w.lists[k, LENGTH] = 0
    group.decodes = 1 if seqs > 0 else 0
    if group.prefilling == 0 and waiting(w, g) == 0:
        return
    left, beside, admit = _shape(w, g)
    if admit == ALL:
        while _admit_head(w, g, now) >= 0:
            pass
    r = group.first_prefilling
    while r >= 0 and left > 0:
        left = _chunk(w, g, r, left)
        r = w.requests[r].next_prefill
    if admit == FILL:
        while left > 0 and waiting(w, g):
            r = _admit_head(w, g, now)
            if r < 0:
                break
            left = _chunk(w, g, r, left)
    if w.lists[k, LENGTH] and not beside:
        group.decodes = 0


@compiled
def _admit_head(w: World, g: int, now: int) -> int:
    """Admit the head of the waiting line, if a place and memory are free; -1: nobody."""
    group = w.groups[g]
    while waiting(w, g) and not (group.held or late(w, g)):
        r = head(w, g)
        if group.max_seqs - group.running - group.coming <= 0:
            return NONE
        if reserve(w, g, r, blocks(group, w.phases[g], group.tokens_per_seq), False):
            take_head(w, g)
            group.line_tokens -= w.requests[r].estimate
            _admit(w, g, r, now)
            return r
        if group.running or group.coming or fits(w, g, w.requests[r].prompt_tokens + 1):
            return NONE
        _give_up(w, g, take_head(w, g))
    return NONE


@compiled
def _admit(w: World, g: int, r: int, now: int) -> None:
    group, request = w.groups[g], w.requests[r]
    group.changed = 1
    _runs(w, g, r)
    _starts_prefill(w, g, r)
    end_queue(w, r, now)
    if request.preemptions == 0:
        request.hit = request.cached
        request.hit_own = min(request.own, request.cached)
    request.past = request.cached
    request.todo = request.prompt_tokens - request.cached
    if group.prefills:
        _event(w, g, ADMITTED, r)


@compiled
def _give_up(w: World, g: int, r: int) -> None:
    group, request = w.groups[g], w.requests[r]
    group.changed = 1
    group.load -= 1
    group.line_tokens -= request.estimate
    request.reason = KV_CAPACITY
    _event(w, g, REJECTED, r)


@compiled
def _make_room(w: World, g: int, now: int) -> bool:
    """Preempt until every decoding sequence can take its next token; whether any waits now."""
    group, preempted = w.groups[g], False
    while blocks(group, w.phases[g], gain(group, 1)) > room_of(w, g):
        victim = r = group.last_running
        while r >= 0:
            if w.requests[r].priority < w.requests[victim].priority:
                victim = r
            r = w.requests[r].previous
        alone = group.running == 1 and group.coming == 0
        _preempt(w, g, victim, now)
        if alone:
            _give_up(w, g, victim)
        else:
            put_back(w, g, victim)
            preempted = True
    return preempted


@compiled
def _preempt(w: World, g: int, r: int, now: int) -> None:
    """It stops to run; what it computed stays in the prefix cache while it can."""
    group, request = w.groups[g], w.requests[r]
    group.changed = 1
    tokens = request.past
    if request.in_prefill:
        end_prefill(w, r, now)
        _ends_prefill(w, g, r)
    else:
        end_decode(w, r, now)
        request.generated = request.osl - (request.end_clock - group.clock)
        request.last_token_ns = now
        tokens = request.isl + request.generated - 1
        request.held += remove(w, g, r)
        set_output(w, r, request.generated)
        one_leaves(w, g)
    _runs_no_more(w, g, r)
    store(w, g, r, tokens)
    release(w, g, r)
    request.prompt_tokens = request.isl + request.generated
    request.estimate = request.prompt_tokens - tokens
    request.preemptions += 1
    group.line_tokens += request.estimate


# -- after iterations ----------------------------------------------------------------------------


@compiled
def over(w: World, g: int, iterations: int, start_ns: int, now: int) -> None:
    """What was planned is over, from `start_ns` to `now`."""
    group, k = w.groups[g], g * LISTS + CHUNKS
    if group.decodes:
        gained, needed = advance(w, g, iterations)
        if needed:
            grow(w, g, needed)
        w.replicas[group.replica].decoded_tokens += group.seqs * gained
        r = next_ended(w, g)
        while r >= 0:
            w.requests[r].held += remove(w, g, r)
            _end(w, g, r, now)
            r = next_ended(w, g)
    else:
        all_wait(w, g, group.seqs, start_ns)
    for row in range(w.lists[k, LENGTH]):
        at = w.lists[k, PLACE] + row
        r, tokens = w.cells[at, 0], w.cells[at, 1]
        request = w.requests[r]
        request.past += tokens
        request.todo -= tokens
        if request.todo == 0:
            _finish_prefill(w, g, r, start_ns, now)


@compiled
def _finish_prefill(w: World, g: int, r: int, start_ns: int, now: int) -> None:
    """The prompt is computed and the next token is out: decode, hand over, or end."""
    request, group = w.requests[r], w.groups[g]
    _ends_prefill(w, g, r)
    store(w, g, r, request.prompt_tokens)
    end_prefill(w, r, now)
    if group.prefills and not (group.first_token_here and request.osl == 1):
        _hand_over(w, g, r, now)
        return
    if request.generated == 0:
        request.first_token_ns = now
    else:
        one_gap(w, w.groups[g].replica, start_ns, now - request.last_token_ns)
    request.last_token_ns = now
    request.generated += 1
    if request.generated >= request.osl:
        _end(w, g, r, now)
    else:
        one_joins(w, g, now, request.last_token_ns)
        join(w, g, r)


@compiled
def _hand_over(w: World, g: int, r: int, now: int) -> None:
    """It decodes elsewhere."""
    group, request = w.groups[g], w.requests[r]
    if group.first_token_here:
        request.first_token_ns = request.last_token_ns = now
        request.generated = 1
    group.changed = 1
    group.load -= 1
    _runs_no_more(w, g, r)
    _event(w, g, PREFILLED, r)


@compiled
def _end(w: World, g: int, r: int, now: int) -> None:
    """The last token is out: the context goes to the prefix cache, the blocks are free."""
    group, request = w.groups[g], w.requests[r]
    group.changed = 1
    end_decode(w, r, now)
    _runs_no_more(w, g, r)
    set_output(w, r, request.osl - 1)
    store(w, g, r, request.isl + request.osl - 1)
    release(w, g, r)
    group.load -= 1
    _event(w, g, COMPLETED, r)
