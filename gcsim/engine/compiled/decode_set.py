"""`gcsim.engine.decode_set` over arrays: the sequences of a group that decode, as sums."""

from gcsim.engine.compiled.arrays import CROSSINGS, ENDS, LISTS, Array, Record, World
from gcsim.engine.compiled.lists import LENGTH, PLACE, heap_pop, heap_push
from gcsim.engine.compiled.parts import compiled

PPM = 1_000_000


@compiled
def join(w: World, g: int, r: int) -> None:
    """A sequence whose prompt is in KV decodes from the next iteration on."""
    group, request, now = w.groups[g], w.requests[r], w.now[0]
    now.epochs += 1
    tokens, clock, window = request.prompt_tokens, group.clock, group.window
    request.epoch, request.join_clock = now.epochs, clock
    request.end_clock = clock + request.osl - request.generated
    heap_push(w.lists, g * LISTS + ENDS, w.cells, w.free, request.end_clock, now.epochs, 0, r)
    group.seqs += 1
    group.kv += tokens + 1
    w.phases[g, (clock - tokens) % group.block_tokens] += 1
    if window:
        group.window_kv += min(tokens + 1, window)
        if tokens + 1 < window:
            group.growing += 1
            k, crossing = g * LISTS + CROSSINGS, clock + window - tokens - 1
            heap_push(w.lists, k, w.cells, w.free, crossing, now.epochs, 0, r)


@compiled
def remove(w: World, g: int, r: int) -> int:
    """Take a sequence out; the blocks that it has grown by since it joined."""
    group, request = w.groups[g], w.requests[r]
    tokens, gained, window = (
        request.prompt_tokens,
        group.clock - request.join_clock,
        group.window,
    )
    size = group.block_tokens
    group.seqs -= 1
    group.kv -= tokens + 1 + gained
    w.phases[g, (request.join_clock - tokens) % size] -= 1
    if window:
        group.window_kv -= min(tokens + 1 + gained, window)
        if tokens + 1 + gained < window:
            group.growing -= 1
    request.epoch = 0
    return -(-(tokens + gained) // size) + (-tokens // size)


@compiled
def gain(group: Record, iterations: int) -> int:
    """Tokens that each sequence gains in the next iterations."""
    done, ppm = group.iterations, group.accepted_ppm
    if ppm == PPM:
        return iterations
    return (done + iterations) * ppm // PPM - done * ppm // PPM


@compiled
def blocks(group: Record, phases: Array, tokens: int) -> int:
    """KV blocks that the sequences need for their next `tokens` tokens; phases: of the group."""
    if group.seqs == 0:
        return 0
    size = group.block_tokens
    start = group.clock % size
    needed = group.seqs * (tokens // size)
    for k in range(start, start + tokens % size):
        needed += phases[k if k < size else k - size]
    return needed


@compiled
def advance(w: World, g: int, iterations: int) -> tuple[int, int]:
    """Play iterations: tokens that each sequence gained, and KV blocks that they took together."""
    group = w.groups[g]
    gained = gain(group, iterations)
    needed = blocks(group, w.phases[g], gained)
    group.iterations += iterations
    group.clock += gained
    group.kv += group.seqs * gained
    group.window_kv += group.growing * gained
    k = g * LISTS + CROSSINGS
    while group.growing and w.cells[w.lists[k, PLACE], 0] <= group.clock:
        crossing, epoch, _, r = heap_pop(w.lists, k, w.cells)
        if w.requests[r].epoch == epoch:
            group.window_kv -= group.clock - crossing
            group.growing -= 1
    return gained, needed


@compiled
def next_ended(w: World, g: int) -> int:
    """A sequence that has all its tokens, still to be removed; -1: no more."""
    k, clock = g * LISTS + ENDS, w.groups[g].clock
    while w.lists[k, LENGTH] and w.cells[w.lists[k, PLACE], 0] <= clock:
        _, epoch, _, r = heap_pop(w.lists, k, w.cells)
        if w.requests[r].epoch == epoch:
            return r
    return -1


@compiled
def _head(w: World, k: int) -> int:
    """The clock of the first entry of a heap that still holds."""
    row = w.lists[k, PLACE]
    while w.requests[w.cells[row, 3]].epoch != w.cells[row, 1]:
        heap_pop(w.lists, k, w.cells)
    return w.cells[row, 0]


@compiled
def steady_iterations(w: World, g: int) -> int:
    """The fewest iterations after which a sequence ends, or outgrows the window."""
    group = w.groups[g]
    tokens = _head(w, g * LISTS + ENDS) - group.clock
    if group.growing:
        tokens = min(tokens, _head(w, g * LISTS + CROSSINGS) - group.clock)
    ppm = group.accepted_ppm
    if ppm == PPM:
        return tokens
    goal = group.iterations * ppm // PPM + tokens
    return -(-goal * PPM // ppm) - group.iterations


@compiled
def iterations_within(group: Record, phases: Array, most: int, free: int) -> int:
    """The most iterations, 1 to `most`, that need no more than `free` KV blocks."""
    if group.seqs * (gain(group, most) // group.block_tokens + 1) <= free:
        return most
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        if blocks(group, phases, gain(group, middle)) <= free:
            low = middle
        else:
            high = middle - 1
    return low
