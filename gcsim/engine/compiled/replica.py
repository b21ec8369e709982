"""`gcsim.engine.replica` over arrays: iteration-level batching, boundary by boundary."""

from gcsim.engine.compiled import group, run
from gcsim.engine.compiled.arrays import (
    ARRIVED,
    CHUNKS,
    EVENTS,
    LISTS,
    NEVER,
    TOLD,
    World,
)
from gcsim.engine.compiled.decode_set import iterations_within, steady_iterations
from gcsim.engine.compiled.line import waiting
from gcsim.engine.compiled.lists import LENGTH, PLACE, push
from gcsim.engine.compiled.meter import count, line_now, sample
from gcsim.engine.compiled.parts import compiled


@compiled
def in_line(w: World, p: int) -> int:
    """Requests in the waiting lines."""
    replica, found = w.replicas[p], 0
    for g in range(replica.first_group, replica.first_group + replica.groups):
        found += waiting(w, g)
    return found


# -- the ways in ---------------------------------------------------------------------------------


@compiled
def enqueue(w: World, g: int, r: int, now: int) -> bool:
    """A request joins the waiting line of a group; whether the next boundary has moved."""
    p = w.groups[g].replica
    w.requests[r].group = g
    head = group.enqueue(w, g, r, now)
    line_now(w, p, now, in_line(w, p))
    return wake(w, p, now, head, w.replicas[p].overlap)


@compiled
def offer(w: World, g: int, r: int, now: int) -> bool:
    """A request that is prefilled elsewhere asks for a place."""
    return wake(w, w.groups[g].replica, now, group.offer(w, g, r, now), 0)


@compiled
def cancel(w: World, g: int, r: int, now: int) -> bool:
    """A request that was offered will not come."""
    return wake(w, w.groups[g].replica, now, group.cancel(w, g, r), 0)


@compiled
def receive(w: World, g: int, r: int, now: int) -> bool:
    """The KV of a request that was offered is here."""
    push(w.lists, g * LISTS + ARRIVED, w.cells, w.free, r, 0, 0, 0)
    return wake(w, w.groups[g].replica, now, True, 0)


@compiled
def wake(w: World, p: int, now: int, news: bool, further: int) -> bool:
    """Start, or (if it is news) end the run at the next boundary, or `further` ones later."""
    replica = w.replicas[p]
    if replica.iterations == 0:
        if replica.next_ns <= now or not _has_work(w, p):
            return False
        replica.next_ns = now
        return True
    return news and run.cut(w, p, now, further)


@compiled
def _has_work(w: World, p: int) -> bool:
    replica, found = w.replicas[p], False
    for g in range(replica.first_group, replica.first_group + replica.groups):
        found = found or group.has_work(w, g)
    return found


# -- the boundary --------------------------------------------------------------------------------


@compiled
def boundary(w: World, p: int, now: int) -> None:
    """The planned iterations are over, and the next ones are planned; what happened is told."""
    replica = w.replicas[p]
    if replica.iterations < replica.most:
        run.plan(w, p, 4 * replica.iterations)
        return
    known_ns = NEVER
    if replica.iterations:
        if replica.overlap and in_line(w, p):
            known_ns = run.last_start_ns(w, p)
        _commit(w, p, now)
    replica.start_ns = now
    replica.iterations = replica.most = 0
    first, last = replica.first_group, replica.first_group + replica.groups
    for g in range(first, last):
        w.groups[g].known_ns = known_ns
        group.settle_in(w, g, now)
        group.form(w, g, now)
    chunks, decodes = _busy(w, first, last)
    if not (chunks or decodes):
        for g in range(first, last):
            if group.late(w, g):  # nothing runs, so the scheduler is ahead of nothing
                w.groups[g].known_ns = NEVER
                group.form(w, g, now)
        chunks, decodes = _busy(w, first, last)
    _sample(w, p, now)
    for g in range(first, last):
        if not (w.groups[g].decodes or w.lists[g * LISTS + CHUNKS, LENGTH]):
            group.keep_places(w, g)  # the line may have emptied: its head could never run
        run.fill(w, g)
    if chunks:
        run.mixed(w, p)
    elif decodes:
        _decode_run(w, p)
    else:
        replica.next_ns = NEVER
    _tell(w, first, last)


@compiled
def _busy(w: World, first: int, last: int) -> tuple[bool, bool]:
    chunks = decodes = False
    for g in range(first, last):
        chunks = chunks or w.lists[g * LISTS + CHUNKS, LENGTH] > 0
        decodes = decodes or w.groups[g].decodes > 0
    return chunks, decodes


@compiled
def _sample(w: World, p: int, now: int) -> None:
    replica, changed, running, used = w.replicas[p], 0, 0, 0
    for g in range(replica.first_group, replica.first_group + replica.groups):
        of = w.groups[g]
        changed += of.changed
        of.changed = 0
        running += of.running
        used += of.private + of.cached
    if changed:
        sample(w, p, now, in_line(w, p), running, used)


@compiled
def _tell(w: World, first: int, last: int) -> None:
    told = w.groups.shape[0] * LISTS + TOLD
    for g in range(first, last):
        k = g * LISTS + EVENTS
        for row in range(w.lists[k, LENGTH]):
            at = w.lists[k, PLACE] + row
            verb, r, p = w.cells[at, 0], w.cells[at, 1], w.cells[at, 2]
            push(w.lists, told, w.cells, w.free, verb, r, p, 0)
        w.lists[k, LENGTH] = 0


@compiled
def _decode_run(w: World, p: int) -> None:
    """Decode until something can change in some group."""
    replica, iterations = w.replicas[p], 1
    if w.now[0].coalesce:
        iterations = NEVER
        for g in range(replica.first_group, replica.first_group + replica.groups):
            iterations = min(iterations, _steady(w, g))
    # The end of the warm-up ends a run too: what counts is decided by where a run starts.
    counting = replica.start_ns >= replica.count_from_ns
    run.decode(w, p, iterations, NEVER if counting else replica.count_from_ns)


@compiled
def _steady(w: World, g: int) -> int:
    """For how many iterations nothing changes in a group by itself."""
    of = w.groups[g]
    if of.held or of.awaits or group.late(w, g):
        return 1
    if not of.decodes:
        return NEVER
    free = of.total - of.private - of.cached
    return iterations_within(of, w.phases[g], steady_iterations(w, g), free)


@compiled
def _commit(w: World, p: int, now: int) -> None:
    """The planned iterations are over: count them, move every sequence on."""
    replica = w.replicas[p]
    count(w, p, now)
    for g in range(replica.first_group, replica.first_group + replica.groups):
        group.over(w, g, replica.iterations, replica.start_ns, now)


@compiled
def stop(w: World, p: int, now: int) -> None:
    """At the horizon: count the iterations of the run that have ended before it."""
    replica = w.replicas[p]
    if replica.next_ns != NEVER and run.cut_short(w, p, now):
        _commit(w, p, replica.end_ns)
        replica.iterations = replica.most = 0
