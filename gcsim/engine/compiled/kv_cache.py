"""`gcsim.engine.kv_cache` over arrays: the block ledger of a group."""

from gcsim.engine.compiled.arrays import NONE, UNLIMITED, World
from gcsim.engine.compiled.lists import LENGTH, PLACE, push
from gcsim.engine.compiled.parts import compiled
from gcsim.engine.compiled.prefix_cache import (
    Match,
    child_of,
    evict,
    insert,
    pin,
    settle,
    touch,
    unpin,
    walk,
)

# A hint, the last match of a context in a group, is two rows of `cells`:
# group, node, its uid, depth; index, offset, own.


@compiled
def hint_of(w: World, context: int, g: int) -> int:
    """The row of the hint of a context in a group; -1: it has never been there."""
    row = w.hints[context, PLACE]
    for _ in range(w.hints[context, LENGTH] >> 1):
        if w.cells[row, 0] == g:
            return row
        row += 2
    return NONE


@compiled
def remember(w: World, context: int, g: int, match: Match) -> None:
    """Set the hint of a context in a group; hints are in the order of the groups."""
    row, cells = hint_of(w, context, g), w.cells
    if row < 0:
        push(w.hints, context, cells, w.free, 0, 0, 0, 0)
        push(w.hints, context, cells, w.free, 0, 0, 0, 0)
        first = w.hints[context, PLACE]
        row = first + w.hints[context, LENGTH] - 2
        while row > first and cells[row - 2, 0] > g:
            for column in range(4):
                cells[row, column] = cells[row - 2, column]
                cells[row + 1, column] = cells[row - 1, column]
            row -= 2
    node, depth, index, offset, own = match
    cells[row, 0], cells[row, 1], cells[row, 2] = g, node, w.nodes[node].uid
    cells[row, 3], cells[row + 1, 0], cells[row + 1, 1], cells[row + 1, 2] = (
        depth,
        index,
        offset,
        own,
    )


@compiled
def look_up(w: World, g: int, r: int) -> Match:
    """What the prefix cache of a group holds of a request's context; changes nothing."""
    request, cells, group = w.requests[r], w.cells, w.groups[g]
    context = request.context
    row, match = hint_of(w, context, g), (group.root, 0, 0, 0, 0)
    if group.limit == 0:
        return match
    if row >= 0:
        at = cells[row, 1]
        node = w.nodes[at]
        if node.uid == cells[row, 2] and node.depth == cells[row, 3]:
            index, offset = cells[row + 1, 0], cells[row + 1, 1]
            match = (at, cells[row, 3], index, offset, cells[row + 1, 2])
            if node.children == 0 or index == w.spans[context, LENGTH]:
                return match  # as nearly always
            content = cells[w.spans[context, PLACE] + index, 0]
            if child_of(w.nodes, w.buckets, at, content, offset) < 0:
                return match
    return walk(w, context, request.owner, match)


@compiled
def usable(size: int, depth: int, most: int) -> int:
    """Of `depth` cached tokens those that need no computing, `size` by `size`, up to `most`."""
    return min(depth, most) // size * size


@compiled
def room_of(w: World, g: int) -> int:
    """Blocks that can be had: free ones and cached ones that nobody uses."""
    group = w.groups[g]
    return group.total - group.private - group.pinned


@compiled
def fits(w: World, g: int, tokens: int) -> bool:
    """Whether a sequence of so many tokens fits the empty cache."""
    group = w.groups[g]
    return -(-tokens // group.block_tokens) + group.extra <= group.total


@compiled
def reserve(w: World, g: int, r: int, spare: int, received: bool) -> bool:
    """`KvCache.admit`: blocks for a request's whole prompt if they leave `spare`.

    received: the prompt arrives computed, so its last token may be cached too; a lease for there.
    """
    group, request = w.groups[g], w.requests[r]
    tokens, size = request.prompt_tokens, group.block_tokens
    node, depth, _, _, own = look_up(w, g, r)
    cached = usable(size, depth, tokens)
    if not received:
        cached = usable(group.hit_tokens, depth, tokens - 1)
    node = settle(w, g, node, cached)
    shared = cached // size
    need = -(-tokens // size) - shared + group.extra
    pin(group, w.nodes, node)
    if need + spare > group.total - group.private - group.pinned:
        unpin(w, g, node)
        return False
    touch(w, g, node)
    own = max(own - (depth - cached), 0)
    if received:
        request.there_node, request.there_held, request.there_cached = node, need, cached
        request.there_own, request.there_shared = own, shared
    else:
        request.node, request.held, request.cached = node, need, cached
        request.own, request.shared = own, shared
    grow(w, g, need)
    return True


@compiled
def store(w: World, g: int, r: int, tokens: int) -> None:
    """The request's first `tokens` tokens are computed: hand them to the prefix cache."""
    group, request = w.groups[g], w.requests[r]
    if group.limit == 0:
        return
    context = request.context
    match = look_up(w, g, r)
    if group.limit < UNLIMITED:
        tokens = _allowed(w, g, match, tokens)
    if tokens > match[1]:
        match = insert(w, g, context, tokens, request.owner, match)
    remember(w, context, g, match)
    node = match[0]
    if node != request.node or match[1] > tokens:
        node = settle(w, g, node, tokens)
        pin(group, w.nodes, node)
        unpin(w, g, request.node)
        touch(w, g, node)
        request.node = node
    gained = tokens // group.block_tokens - request.shared
    if gained > 0:
        request.shared += gained
        request.held -= gained
        group.private -= gained


@compiled
def _allowed(w: World, g: int, match: Match, tokens: int) -> int:
    """How many of a sequence's tokens the cache may hold under its limit."""
    group = w.groups[g]
    size = group.block_tokens
    held = match[1] // size
    wanted = group.cached + tokens // size - held
    if wanted > group.limit:
        pin(group, w.nodes, match[0])
        evict(w, g, wanted - group.limit)
        unpin(w, g, match[0])
    spare = max(group.limit - group.cached, 0)
    return min(tokens, (held + spare) * size + size - 1)


@compiled
def release(w: World, g: int, r: int) -> None:
    """A sequence leaves: its private blocks are free, its path is unpinned."""
    request = w.requests[r]
    w.groups[g].private -= request.held
    request.held = 0
    unpin(w, g, request.node)


@compiled
def grow(w: World, g: int, blocks: int) -> None:
    """Running sequences take `blocks` more; the caller has made sure that there is room."""
    group = w.groups[g]
    group.private += blocks
    used = group.private + group.cached
    if used > group.total:
        # Whole chunks: cheaper, and many small needs evict what one large need does.
        chunks = -(-(used - group.total) // group.chunk)
        evict(w, g, chunks * group.chunk)
        used = group.private + group.cached
    if used > group.peak:
        group.peak = used
