"""`gcsim.engine.cluster` over arrays: the router in front of the replicas, and records."""

from gcsim.engine.compiled import replica
from gcsim.engine.compiled.arrays import DECODERS, ENTRY, LISTS, NEVER, NONE, PATHS, World
from gcsim.engine.compiled.group import KV_CAPACITY
from gcsim.engine.compiled.handoff import has_passed, plan, targets
from gcsim.engine.compiled.kv_cache import fits, look_up, usable
from gcsim.engine.compiled.lists import LENGTH
from gcsim.engine.compiled.parts import compiled
from gcsim.engine.compiled.request import COMPLETED, REJECTED, UNFINISHED
from gcsim.engine.compiled.router import route
from gcsim.engine.compiled.session import ended
from gcsim.engine.compiled.window import AFTER, answered

CONTEXT_WINDOW, MODEL_NOT_SERVED = 2, 3  # of `REASONS` in `gcsim.engine.compiled.play`


@compiled
def arrive(w: World, r: int) -> int:
    """A request is at the router; the session that ends with its refusal, or -1."""
    now, request = w.now[0], w.requests[r]
    request.phase_ns = now.time
    now.under_way += 1
    now.moment_ns -= now.time
    if not request.served:
        request.reason = MODEL_NOT_SERVED
        return close(w, r, REJECTED)
    if request.isl >= w.context_window[0]:
        request.reason = CONTEXT_WINDOW
        return close(w, r, REJECTED)
    first = w.groups.shape[0] * LISTS
    if now.local and w.lists[first + DECODERS, LENGTH]:
        g = route(w, r, first + DECODERS, True)
        depth = look_up(w, g, r)[1]
        if request.isl - usable(w.groups[g].hit_tokens, depth, request.isl - 1) < now.local:
            return _enqueue(w, r, g)
    g = route(w, r, first + ENTRY, False)
    if w.groups[g].prefills and w.lists[targets(w, r, g), LENGTH] == 0:
        request.reason = KV_CAPACITY
        return close(w, r, REJECTED)
    return _enqueue(w, r, g)


@compiled
def _enqueue(w: World, r: int, g: int) -> int:
    request, p = w.requests[r], w.groups[g].replica
    prompt = request.prompt_tokens
    request.replica = p
    if not fits(w, g, prompt + 1):
        request.reason = KV_CAPACITY
        return close(w, r, REJECTED)
    depth = look_up(w, g, r)[1]
    request.estimate = prompt - usable(w.groups[g].hit_tokens, depth, prompt - 1)
    if replica.enqueue(w, g, r, w.now[0].time):
        plan(w, p)
    return NONE


@compiled
def completed(w: World, r: int, p: int) -> int:
    """Its last token is out."""
    target = w.requests[r].target
    if target >= 0 and w.groups[target].replica != p and w.requests[r].offered:
        moved = replica.cancel(w, target, r, w.now[0].time)  # its first token was its last
        if moved:
            plan(w, w.groups[target].replica)
    return close(w, r, COMPLETED)


@compiled
def close(w: World, r: int, status: int) -> int:
    """A request has ended: record it and tell its session, which is returned if it ended too."""
    now, request = w.now[0], w.requests[r]
    s = request.session
    request.status = status
    down_ns = w.replicas[max(request.replica, 0)].down_ns
    network_ns, client_ns = request.in_ns + down_ns, now.time + down_ns
    if w.sessions[s].part != AFTER:
        _record(w, r, network_ns, down_ns, client_ns)
    if status == COMPLETED:
        now.served += 1
    now.under_way -= 1
    now.moment_ns += now.time
    session = w.sessions[s]
    if session.entered and session.done == 0 and session.status == UNFINISHED:
        was_open = now.opened_ns >= 0
        answered(w)
        if not was_open and now.opened_ns >= 0:
            count_from(w)
    over = ended(w, r, client_ns, network_ns)
    if over and w.sessions[s].part != AFTER:
        _record_task(w, s)
    return s if over else NONE


@compiled
def _record(w: World, r: int, network_ns: int, down_ns: int, client_ns: int) -> None:
    """A row of `gcsim.engine.records.REQUEST`."""
    request, row = w.requests[r], w.rows[w.now[0].rows]
    session = w.sessions[request.session]
    w.now[0].rows += 1
    first, sent = request.first_token_ns, request.sent_ns
    row[0], row[1], row[2] = request.index, session.trajectory, request.step
    row[3], row[4], row[5] = session.workload, request.isl, request.osl
    row[6], row[7], row[8] = request.hit, request.hit_own, sent
    row[9], row[10] = first + down_ns - sent if first >= 0 else -1, client_ns - sent
    row[11], row[12], row[13] = network_ns, request.queue_ns, request.prefill_ns
    row[14], row[15] = request.kv_transfer_ns, request.decode_ns
    row[16], row[17], row[18] = request.preemptions, request.replica, request.status
    row[19], row[20] = request.reason, session.part


@compiled
def _record_task(w: World, s: int) -> None:
    """A row of `gcsim.engine.records.TRAJECTORY`."""
    session, row = w.sessions[s], w.tasks[w.now[0].tasks_done]
    w.now[0].tasks_done += 1
    row[0], row[1] = session.trajectory, session.workload
    row[2], row[3] = session.start_ns, session.end_ns
    row[4], row[5], row[6], row[7] = session.steps, session.done, session.status, session.part
    for k in range(PATHS):
        row[8 + k] = w.paths[session.place + session.steps, k]


@compiled
def spent_ns(w: World) -> int:
    """Time that all requests have spent here so far."""
    now = w.now[0]
    return now.moment_ns + now.under_way * now.time


@compiled
def count_from(w: World) -> None:
    """The window opens: what replicas do from now on counts."""
    time = w.now[0].time
    for p in range(w.replicas.shape[0]):
        w.replicas[p].count_from_ns = time
        if replica.wake(w, p, time, True, 0):
            if has_passed(w, p):
                replica.boundary(w, p, time)  # here starts what counts; nothing else happens
            plan(w, p)


@compiled
def boundary(w: World, p: int) -> None:
    """A replica has ended its iterations and plans the next."""
    replica.boundary(w, p, w.now[0].time)
    w.replicas[p].call = NONE
    if w.replicas[p].next_ns != NEVER:
        plan(w, p)
