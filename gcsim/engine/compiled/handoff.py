"""`gcsim.engine.handoff`, and what `Cluster` does about it, over arrays: KV on its way to decode.

What a handoff knows stands in the record of its request (`target` -1: there is none).
"""

import numpy as np

from gcsim.engine.compiled import replica
from gcsim.engine.compiled.arrays import LINKED, LISTS, TARGETS, World
from gcsim.engine.compiled.clock import BOUNDARY, TRANSFERRED, call
from gcsim.engine.compiled.group import end_queue, end_transfer
from gcsim.engine.compiled.kv_cache import fits, release
from gcsim.engine.compiled.lists import LENGTH, PLACE, push
from gcsim.engine.compiled.parts import compiled
from gcsim.engine.compiled.router import route
from gcsim.engine.compiled.run import one_more


@compiled
def has_passed(w: World, p: int) -> bool:
    """Whether a run was cut at this instant by what happens after its iteration is over."""
    now, of = w.now[0], w.replicas[p]
    return now.rank > 1 + p and of.next_ns == now.time and of.iterations > 0


@compiled
def plan(w: World, p: int) -> None:
    """Call a replica at its next boundary, which has moved."""
    if has_passed(w, p):
        one_more(w, p)
    w.replicas[p].call = call(w, w.replicas[p].next_ns, 1 + p, BOUNDARY, p)


@compiled
def pool_of(w: World, g: int) -> int:
    """The pool of a group."""
    return w.replicas[w.groups[g].replica].pool


@compiled
def targets(w: World, r: int, source: int) -> int:
    """The list of decode groups that a link reaches and that could hold the request."""
    first, pool = w.groups.shape[0] * LISTS, pool_of(w, source)
    tokens, reached = w.requests[r].prompt_tokens + 1, first + LINKED + pool
    if fits(w, w.costs[pool].smallest, tokens):
        return reached
    found = first + TARGETS
    w.lists[found, LENGTH] = 0
    for row in range(w.lists[reached, LENGTH]):
        g = w.cells[w.lists[reached, PLACE] + row, 0]
        if fits(w, g, tokens):
            push(w.lists, found, w.cells, w.free, g, 0, 0, 0)
    return found


@compiled
def admitted(w: World, r: int) -> None:
    """Its prefill starts: with layer-wise streaming, ask decode for room right away."""
    request, now = w.requests[r], w.now[0]
    source = request.group
    target = route(w, r, targets(w, r, source), True)
    request.source, request.target = source, target
    request.link = w.link_of[pool_of(w, source), pool_of(w, target)]
    request.prefill_start_ns = now.time
    request.prefill_end_ns = request.reserved_ns = -1
    request.offered = request.tokens = 0
    if now.layerwise:
        _offer(w, r)


@compiled
def prefilled(w: World, r: int) -> None:
    """Its prompt is computed; it goes on to decode."""
    request = w.requests[r]
    request.prefill_end_ns = w.now[0].time
    if request.reserved_ns >= 0:
        _transfer(w, r)
    elif not request.offered:
        _offer(w, r)


@compiled
def _offer(w: World, r: int) -> None:
    request = w.requests[r]
    request.offered = 1
    if replica.offer(w, request.target, r, w.now[0].time):
        plan(w, w.groups[request.target].replica)


@compiled
def reserved(w: World, r: int) -> None:
    """Decode has room for it."""
    request = w.requests[r]
    request.reserved_ns = w.now[0].time
    request.tokens = request.isl
    if w.now[0].delta:
        request.tokens -= request.there_cached
    if request.prefill_end_ns >= 0:
        _transfer(w, r)


@compiled
def _to_ns(seconds: float) -> int:
    return int(np.rint(seconds * 1e9))


@compiled
def _transfer(w: World, r: int) -> None:
    """Prompt computed and room reserved: the KV travels."""
    now, request = w.now[0].time, w.requests[r]
    source, target = w.costs[pool_of(w, request.source)], w.costs[pool_of(w, request.target)]
    end_queue(w, r, now)
    windows = float(min(request.isl, target.window)) * target.window_kv_bytes
    moved = float(request.tokens) * target.kv_bytes + windows + target.state_bytes
    request.moved_bytes = moved
    earliest = now
    if w.now[0].layerwise:
        earliest = max(request.prefill_start_ns, request.reserved_ns)
    arrival_ns = _carry(w, r, earliest, source.layers)
    if w.conversion[0] > 0.0 and source.kv_bytes != target.kv_bytes:
        arrival_ns += _to_ns(moved / w.conversion[0])
    per_token_s = float(request.tokens) * source.handoff_s_per_token
    arrival_ns += _to_ns(source.handoff_overhead_s + per_token_s)
    arrival_ns += _to_ns(float(request.isl) * target.retokenize_s_per_token)
    call(w, arrival_ns, 0, TRANSFERRED, r)


@compiled
def _carry(w: World, r: int, earliest_ns: int, layers: int) -> int:
    """`LinkUse.carry`: take a place on the lanes of both ends; when all has arrived [ns]."""
    request = w.requests[r]
    link, free_ns, moved = w.links[request.link], w.lanes[request.link], request.moved_bytes
    occupancy = _to_ns((moved + link.ramp) / link.rate) if moved > 0.0 else 0
    source = w.groups[request.source].replica
    target = w.replicas.shape[0] + w.groups[request.target].replica
    start = max(earliest_ns, max(free_ns[source], free_ns[target]))
    done = max(start + occupancy, request.prefill_end_ns + occupancy // layers)
    free_ns[source] = free_ns[target] = done
    link.sent_bytes += moved
    link.transfers += 1
    link.busy_ns += occupancy
    link.waited_ns += start - earliest_ns
    return done + link.delay_ns


@compiled
def transferred(w: World, r: int) -> None:
    """The KV of a request has arrived."""
    request, now = w.requests[r], w.now[0].time
    end_transfer(w, r, now)
    w.links[request.link].received_bytes += request.moved_bytes
    release(w, request.source, r)
    p = w.groups[request.source].replica
    if replica.wake(w, p, now, True, 0):
        plan(w, p)
    if replica.receive(w, request.target, r, now):
        plan(w, w.groups[request.target].replica)
