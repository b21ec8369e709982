"""The loop: one call after another, until the run ends or Python has something to do."""

from gcsim.engine.compiled import cluster, handoff, load, replica, window
from gcsim.engine.compiled.arrays import (
    ADMITTED,
    CALLS,
    LISTS,
    PREFILLED,
    REJECTED,
    RESERVED,
    TOLD,
    World,
)
from gcsim.engine.compiled.clock import ARRIVE, BOUNDARY, KINDS, STOP, TRANSFERRED
from gcsim.engine.compiled.lists import LARGEST, LENGTH, PLACE, TOP, heap_pop
from gcsim.engine.compiled.parts import compiled, entry
from gcsim.engine.compiled.prefix_cache import link
from gcsim.engine.compiled.request import drop_request
from gcsim.engine.compiled.world import at

# Why it stops: the run is over; trajectories are wanted; an array is nearly full (which); a pause.
OVER, FEED, GROW, PAUSE = range(4)
REQUESTS, SESSIONS, STEPS, CONTEXTS, NODES, CELLS, ROWS, TASKS, STARTS = range(9)


@entry
def run(address: int, turns: int) -> int:
    """Play up to so many turns of the world at an address; why it stops."""
    w: World = at(address)
    now, told, calls = w.now[0], w.groups.shape[0] * LISTS + TOLD, w.groups.shape[0] * LISTS + CALLS
    for _ in range(turns):
        if _short(w) >= 0:
            return GROW
        elif now.draw:
            if now.drawn == now.offered and not now.exhausted and not window.full(w):
                return FEED
            now.draw = 0
            load.draw(w)
        elif now.started >= 0:
            load.send_first(w)
        elif now.checking:
            load.stop_if_done(w)
        elif now.told_at < w.lists[told, LENGTH]:
            row = w.lists[told, PLACE] + now.told_at
            now.told_at += 1
            _happened(w, w.cells[row, 0], w.cells[row, 1], w.cells[row, 2])
        elif w.lists[calls, LENGTH] == 0:
            now.time = max(now.time, now.horizon_ns)
            return OVER
        else:
            w.lists[told, LENGTH] = now.told_at = 0
            at_ns, rank, number, what = heap_pop(w.lists, calls, w.cells)
            kind, argument = what % KINDS, what // KINDS
            if kind == BOUNDARY and w.replicas[argument].call != number:
                continue
            now.rank = max(rank, now.rank) if at_ns == now.time else rank
            now.time = min(at_ns, now.horizon_ns) if now.horizon_ns >= 0 else at_ns
            if now.time == now.horizon_ns:
                return OVER
            if kind == STOP:
                return OVER
            _act(w, kind, argument)
    return PAUSE


@entry
def stop(address: int) -> None:
    """The run is over: count the iterations that have ended."""
    w: World = at(address)
    for p in range(w.replicas.shape[0]):
        replica.stop(w, p, w.now[0].time)


@entry
def rehash(address: int) -> None:
    """Fill a larger table of children."""
    w: World = at(address)
    w.buckets[:] = -1
    for k in range(w.groups.shape[0], w.now[0].nodes):
        if w.nodes[k].uid >= 0:
            link(w.nodes, w.buckets, k)


@compiled
def _act(w: World, kind: int, argument: int) -> None:
    if kind == BOUNDARY:
        cluster.boundary(w, argument)
    elif kind == ARRIVE:
        _arrive(w, argument)
    elif kind == TRANSFERRED:
        handoff.transferred(w, argument)
    else:
        load.begin_session(w, argument)


@compiled
def _happened(w: World, verb: int, r: int, p: int) -> None:
    """Act on what happened to a request in a replica."""
    if verb == ADMITTED:
        handoff.admitted(w, r)
    elif verb == RESERVED:
        handoff.reserved(w, r)
    elif verb == PREFILLED:
        handoff.prefilled(w, r)
    else:
        _close(w, r, verb, p)


@compiled
def _close(w: World, r: int, verb: int, p: int) -> None:
    s = cluster.close(w, r, verb) if verb == REJECTED else cluster.completed(w, r, p)
    drop_request(w, r)
    if s >= 0:
        load.session_ended(w, s)


@compiled
def _arrive(w: World, r: int) -> None:
    s = cluster.arrive(w, r)
    if w.requests[r].status != 2:
        drop_request(w, r)
    if s >= 0:
        load.session_ended(w, s)


@compiled
def _short(w: World) -> int:
    """The array that might not have room for what one more call may add; -1: none."""
    now = w.now[0]
    steps, seqs = now.most_steps, 4 * now.most_seqs + 64
    found = -1
    if now.requests + steps > w.requests.shape[0]:
        found = REQUESTS
    elif now.session_places + 2 > w.sessions.shape[0]:
        found = SESSIONS
    elif w.step_free[TOP] + 2 * steps + 2 > w.steps.shape[0]:
        found = STEPS
    elif now.contexts + steps > w.spans.shape[0]:
        found = CONTEXTS
    elif now.nodes + seqs > w.nodes.shape[0]:
        found = NODES
    elif w.free[TOP] + (8 << w.free[LARGEST]) + 16 * seqs > w.cells.shape[0]:
        found = CELLS
    elif now.rows + 1 > w.rows.shape[0]:
        found = ROWS
    elif now.tasks_done + 1 > w.tasks.shape[0]:
        found = TASKS
    elif now.starts + 1 > w.starts.shape[0]:
        found = STARTS
    now.full = found
    return found
