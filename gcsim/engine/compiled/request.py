"""`gcsim.engine.request` over arrays: contexts, and the making of requests."""

import numpy as np

from gcsim.engine.compiled.arrays import NONE, TOKENS, World
from gcsim.engine.compiled.clock import ARRIVE, call
from gcsim.engine.compiled.lists import CLASS, LENGTH, PLACE, clear, push, room
from gcsim.engine.compiled.parts import compiled

COMPLETED, REJECTED, UNFINISHED = range(3)  # as in `gcsim.engine.records.STATUSES`

# -- contexts ------------------------------------------------------------------------------------


@compiled
def new_context(w: World) -> int:
    """An empty context."""
    now = w.now[0]
    context = now.free_contexts
    if context >= 0:
        now.free_contexts = w.spans[context, TOKENS]
    else:
        context = now.contexts
        if context >= w.spans.shape[0]:
            raise MemoryError
        now.contexts += 1
        w.spans[context, CLASS] = w.hints[context, CLASS] = -1
    w.spans[context, LENGTH] = w.hints[context, LENGTH] = w.spans[context, TOKENS] = 0
    return context


@compiled
def drop_context(w: World, context: int) -> None:
    """Nobody needs a context any more."""
    clear(w.spans, context, w.cells, w.free)
    clear(w.hints, context, w.cells, w.free)
    w.spans[context, TOKENS], w.now[0].free_contexts = w.now[0].free_contexts, context


@compiled
def extend(w: World, context: int, content: int, tokens: int) -> None:
    """Add a span at the end."""
    if tokens:
        push(w.spans, context, w.cells, w.free, content, tokens, 0, 0)
        w.spans[context, TOKENS] += tokens


@compiled
def truncate(w: World, context: int, tokens: int) -> None:
    """Keep the first `tokens` tokens (all, where there are fewer)."""
    while w.spans[context, TOKENS] > tokens:
        w.spans[context, LENGTH] -= 1
        last = w.spans[context, PLACE] + w.spans[context, LENGTH]
        content, size = w.cells[last, 0], w.cells[last, 1]
        w.spans[context, TOKENS] -= size
        w.hints[context, LENGTH] = 0
        extend(w, context, content, min(size, max(tokens - w.spans[context, TOKENS], 0)))


@compiled
def fork(w: World, context: int) -> int:
    """An independent copy, for a branch."""
    copy = new_context(w)
    for heads in (w.spans, w.hints):
        count = heads[context, LENGTH]
        if count:
            room(heads, copy, w.cells, w.free, count)
            source, target = heads[context, PLACE], heads[copy, PLACE]
            for row in range(count):
                for column in range(4):
                    w.cells[target + row, column] = w.cells[source + row, column]
            heads[copy, LENGTH] = count
    w.spans[copy, TOKENS] = w.spans[context, TOKENS]
    return copy


# -- requests ------------------------------------------------------------------------------------


@compiled
def _place(w: World) -> int:
    now = w.now[0]
    r = now.free_requests
    if r >= 0:
        now.free_requests = w.requests[r].free
        return r
    r = now.requests
    if r >= w.requests.shape[0]:
        raise MemoryError
    now.requests += 1
    return r


@compiled
def send(w: World, s: int, step: int, context: int, at_ns: int) -> None:
    """The client sends a step at `at_ns` (`Cluster.send`)."""
    now, session = w.now[0], w.sessions[s]
    asked, r = w.steps[session.place + step], _place(w)
    request, tokens = w.requests[r], w.spans[context, TOKENS]
    request.index, request.session, request.step, request.context = now.created, s, step, context
    request.isl, request.osl, request.served = tokens, asked.osl, asked.served
    request.owner, request.priority = session.trajectory, session.priority
    request.sent_ns, request.in_ns = at_ns, now.up_ns
    if request.served:
        # The client asks for no more than the model's context window has room for.
        request.osl = max(min(asked.osl, w.context_window[0] - tokens), 1)
        if w.tokenize_s[0]:
            request.in_ns += int(np.rint(float(tokens) * w.tokenize_s[0] * 1e9))
    request.first_token_ns = request.last_token_ns = NONE
    request.phase_ns = request.queue_ns = request.prefill_ns = request.kv_transfer_ns = 0
    request.decode_ns = request.reason = request.preemptions = request.hit = request.hit_own = 0
    request.status = UNFINISHED
    request.replica = request.group = NONE
    request.estimate = request.prompt_tokens = tokens
    request.past = request.todo = request.generated = request.epoch = 0
    request.held = request.in_prefill = 0
    request.target = NONE
    request.live = 1
    now.created += 1
    call(w, at_ns + request.in_ns, 0, ARRIVE, r)


@compiled
def drop_request(w: World, r: int) -> None:
    """A request has ended, and all has been told of it."""
    request = w.requests[r]
    if request.context >= 0:
        drop_context(w, request.context)
    request.live = 0
    request.free, w.now[0].free_requests = w.now[0].free_requests, r
