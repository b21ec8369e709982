"""`gcsim.engine.session` over arrays: a trajectory played step by step."""

from gcsim.engine.compiled.arrays import LATEST, LATEST_NS, NONE, PATHS, Array, World
from gcsim.engine.compiled.parts import compiled
from gcsim.engine.compiled.request import (
    COMPLETED,
    UNFINISHED,
    drop_context,
    extend,
    fork,
    new_context,
    send,
    truncate,
)

TOOLS, HUMAN, NETWORK, QUEUE, PREFILL, KV_TRANSFER, DECODE = range(PATHS)


@compiled
def no_path(path: Array) -> None:
    """Nothing has taken time yet."""
    for k in range(PATHS):
        path[k] = 0


@compiled
def copy_path(path: Array, to: int, other: Array, from_: int) -> None:
    """Copy the parts of a path from one place to another."""
    for k in range(PATHS):
        path[to + k] = other[from_ + k]


@compiled
def start(w: World, s: int) -> None:
    """Send every step that waits for nothing."""
    session = w.sessions[s]
    for k in range(session.steps):
        row = session.place + k
        if w.steps[row].missing == 0:
            no_path(w.paths[row])
            _release(w, s, k, session.start_ns)


@compiled
def _release(w: World, s: int, k: int, ready_ns: int) -> None:
    """Send a step after its delay; its path stands in its row already."""
    session = w.sessions[s]
    row = session.place + k
    step = w.steps[row]
    w.paths[row, HUMAN if step.human else TOOLS] += step.delay_ns
    if step.parent < 0:
        context = new_context(w)
    else:
        parent = w.steps[session.place + step.parent]
        context = parent.context
        parent.users -= 1
        if parent.users:
            context = fork(w, context)
        else:
            parent.context = NONE
    if step.keep >= 0:
        truncate(w, context, step.keep)
    for cell in range(session.at + step.spans, session.at + step.spans + step.span_count):
        extend(w, context, w.cells[cell, 0], w.cells[cell, 1])
    session.live += 1
    send(w, s, k, context, ready_ns + step.delay_ns)


@compiled
def ended(w: World, r: int, client_ns: int, network_ns: int) -> bool:
    """A step's answer is with the client at `client_ns`; True when the whole task has ended."""
    request = w.requests[r]
    s = request.session
    session = w.sessions[s]
    row, last = session.place + request.step, session.place + session.steps
    path = w.paths[row]
    session.live -= 1
    path[NETWORK] += network_ns
    path[QUEUE] += request.queue_ns
    path[PREFILL] += request.prefill_ns
    path[KV_TRANSFER] += request.kv_transfer_ns
    path[DECODE] += request.decode_ns
    if client_ns >= session.end_ns:
        session.end_ns = client_ns
        copy_path(w.paths[last], 0, path, 0)
    if request.status != COMPLETED:
        session.status = request.status
    else:
        session.done += 1
    if session.status == UNFINISHED:
        step = w.steps[row]
        if step.users:
            step.context, request.context = request.context, NONE
        for cell in range(session.at + step.heirs, session.at + step.heirs + step.heir_count):
            _arrive(w, s, w.cells[cell, 2], client_ns, row)
    if session.live:
        return False
    if session.status == UNFINISHED:
        session.status = COMPLETED
    for k in range(session.place, last):
        if w.steps[k].context >= 0:
            drop_context(w, w.steps[k].context)
    return True


@compiled
def _arrive(w: World, s: int, heir: int, client_ns: int, row: int) -> None:
    """One of the steps that `heir` waits for, which has this row, has ended."""
    place = w.sessions[s].place + heir
    step, path = w.steps[place], w.paths[place]
    if step.missing == 1 and path[LATEST_NS] < 0:
        copy_path(path, 0, w.paths[row], 0)
    else:
        step.missing -= 1
        if client_ns >= path[LATEST_NS]:
            copy_path(path, LATEST, w.paths[row], 0)
            path[LATEST_NS] = client_ns
        if step.missing:
            return
        client_ns = path[LATEST_NS]
        copy_path(path, 0, path, LATEST)
    _release(w, s, heir, client_ns)
