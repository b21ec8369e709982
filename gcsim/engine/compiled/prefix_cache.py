"""`gcsim.engine.prefix_cache` over arrays: the trees of all groups, nodes in one array.

The children of a node are found by a hash of (node, content, offset); chains of equal hashes go
through the nodes. A match is a tuple: (node, depth, index, offset, own). What another node has
taken the place of is known by its `uid`, which no other node ever has.
"""

from gcsim.engine.compiled.arrays import LEAVES, LISTS, NONE, Array, Record, World
from gcsim.engine.compiled.lists import CLASS, LENGTH, PLACE, clear, heap_pop, heap_push, push, room
from gcsim.engine.compiled.parts import compiled

Match = tuple[int, int, int, int, int]


# -- children ------------------------------------------------------------------------------


@compiled
def _bucket(buckets: Array, parent: int, content: int, start: int) -> int:
    mixed = (parent * 0x9E3779B1) ^ (content * 0x85EBCA77) ^ (start * 0x27D4EB2F)
    mixed ^= mixed >> 29
    mixed *= 0x1B873593
    mixed ^= mixed >> 17
    return mixed & (buckets.shape[0] - 1)


@compiled
def child_of(nodes: Array, buckets: Array, parent: int, content: int, start: int) -> int:
    """The child whose label begins so; -1: none."""
    at = buckets[_bucket(buckets, parent, content, start)]
    while at >= 0:
        node = nodes[at]
        if node.parent == parent and node.content == content and node.start == start:
            return at
        at = node.chain
    return NONE


@compiled
def link(nodes: Array, buckets: Array, at: int) -> None:
    """Let a node be found by its parent and the beginning of its label."""
    node = nodes[at]
    bucket = _bucket(buckets, node.parent, node.content, node.start)
    node.chain, buckets[bucket] = buckets[bucket], at


@compiled
def _unlink(nodes: Array, buckets: Array, at: int) -> None:
    node = nodes[at]
    bucket = _bucket(buckets, node.parent, node.content, node.start)
    if buckets[bucket] == at:
        buckets[bucket] = node.chain
        return
    before = buckets[bucket]
    while nodes[before].chain != at:
        before = nodes[before].chain
    nodes[before].chain = node.chain


@compiled
def _name(w: World, at: int) -> None:
    """Set the beginning of a node's label, by which it is found."""
    row = w.labels[at, PLACE]
    w.nodes[at].content, w.nodes[at].start = w.cells[row, 0], w.cells[row, 1]


@compiled
def new_node(w: World, g: int, parent: int, length: int, owner: int) -> int:
    """A node with an empty label, which is not linked yet."""
    now = w.now[0]
    at = now.free_nodes
    if at >= 0:
        now.free_nodes = w.nodes[at].free
    else:
        at = now.nodes
        if at >= w.nodes.shape[0]:
            raise MemoryError
        now.nodes += 1
        w.labels[at, CLASS] = -1
    w.labels[at, LENGTH] = 0
    node = w.nodes[at]
    now.uids += 1
    node.uid, node.parent, node.length, node.owner, node.group = now.uids, parent, length, owner, g
    node.depth = length + (w.nodes[parent].depth if parent >= 0 else 0)
    node.children = node.pins = node.last_used = node.queued = 0
    node.chain = NONE
    return at


# -- labels --------------------------------------------------------------------------------


@compiled
def _extend(
    w: World, at: int, context: int, index: int, offset: int, tokens: int
) -> tuple[int, int]:
    """Add the next `tokens` tokens of a context to a label; the index and offset after them."""
    labels, cells, free = w.labels, w.cells, w.free
    spans = w.spans[context, PLACE]
    content, size = cells[spans + index, 0], cells[spans + index, 1]
    last = labels[at, PLACE] + labels[at, LENGTH] - 1
    if labels[at, LENGTH] and cells[last, 0] == content and cells[last, 2] == offset:
        begin = cells[last, 1]
        labels[at, LENGTH] -= 1
    else:
        begin = offset
    end = offset + tokens
    while end > size:
        push(labels, at, cells, free, content, begin, size, 0)
        index, begin, end = index + 1, 0, end - size
        content, size = cells[spans + index, 0], cells[spans + index, 1]
    push(labels, at, cells, free, content, begin, end, 0)
    if end < size:
        return index, end
    return index + 1, 0


@compiled
def _cut(w: World, at: int, tokens: int) -> int:
    """The slice in which token `tokens` of a label lies; cut there, so that it begins with it."""
    first, k = w.labels[at, PLACE], 0
    while True:
        begin, end = w.cells[first + k, 1], w.cells[first + k, 2]
        if tokens < end - begin:
            break
        tokens -= end - begin
        k += 1
    if tokens == 0:
        return k
    count = w.labels[at, LENGTH]
    room(w.labels, at, w.cells, w.free, count + 1)
    first = w.labels[at, PLACE]
    for row in range(first + count, first + k, -1):
        for column in range(3):
            w.cells[row, column] = w.cells[row - 1, column]
    w.labels[at, LENGTH] = count + 1
    middle = w.cells[first + k, 1] + tokens
    w.cells[first + k, 2] = w.cells[first + k + 1, 1] = middle
    return k + 1


# -- look up -------------------------------------------------------------------------------


@compiled
def walk(w: World, context: int, owner: int, match: Match) -> Match:
    """The longest prefix of a context that the tree holds, from an earlier match on."""
    node, depth, index, offset, own = match
    nodes, cells = w.nodes, w.cells
    count, spans = w.spans[context, LENGTH], w.spans[context, PLACE]
    while index < count:
        child = child_of(nodes, w.buckets, node, cells[spans + index, 0], offset)
        if child < 0:
            break
        before, first = depth, w.labels[child, PLACE]
        for row in range(first, first + w.labels[child, LENGTH]):
            content, start, end = cells[row, 0], cells[row, 1], cells[row, 2]
            if index == count or cells[spans + index, 0] != content or offset != start:
                break
            tokens = cells[spans + index, 1]
            if tokens <= end:
                depth += tokens - start
                index, offset = index + 1, 0
                if tokens < end:
                    break
            else:
                depth += end - start
                offset = end
        if nodes[child].owner == owner:
            own += depth - before
        node = child
        if depth < nodes[child].depth:
            break
    return node, depth, index, offset, own


@compiled
def settle(w: World, g: int, node: int, depth: int) -> int:
    """The node to pin so that the first `depth` tokens of a match that ends in `node` stay."""
    nodes, size = w.nodes, w.groups[g].block_tokens
    while nodes[node].parent >= 0 and depth <= nodes[node].depth - nodes[node].length:
        node = nodes[node].parent
    if nodes[node].depth // size > depth // size:
        return _split(w, g, node, depth)
    return node


# -- pins ----------------------------------------------------------------------------------


@compiled
def touch(w: World, g: int, node: int) -> None:
    """Make a node the most recently used one."""
    w.groups[g].tick += 1
    w.nodes[node].last_used = w.groups[g].tick


@compiled
def pin(group: Record, nodes: Array, at: int) -> None:
    """Keep a node, and with it the path to it, until `unpin`."""
    size = group.block_tokens
    while at >= 0:
        node = nodes[at]
        node.pins += 1
        if node.pins > 1:
            return
        group.pinned += node.depth // size - (node.depth - node.length) // size
        at = node.parent


@compiled
def unpin(w: World, g: int, at: int) -> None:
    """Take back one `pin`."""
    group = w.groups[g]
    size = group.block_tokens
    while at >= 0:
        node = w.nodes[at]
        node.pins -= 1
        if node.pins:
            return
        group.pinned -= node.depth // size - (node.depth - node.length) // size
        queue(w, g, at)
        at = node.parent


# -- change --------------------------------------------------------------------------------


@compiled
def insert(w: World, g: int, context: int, tokens: int, owner: int, match: Match) -> Match:
    """Add the first `tokens` tokens of a context; `match` is where the tree stops holding it."""
    node, depth, index, offset, own = match
    group = w.groups[g]
    size, fresh = group.block_tokens, tokens - depth
    if depth < w.nodes[node].depth:
        node = settle(w, g, node, depth)
        if depth < w.nodes[node].depth:
            node = _split(w, g, node, depth)
    gained = tokens // size - depth // size
    at = w.nodes[node]
    if at.children == 0 and at.owner == owner and at.pins <= 1:
        index, offset = _extend(w, node, context, index, offset, fresh)
        at.length += fresh
        at.depth = tokens
        if at.pins:
            group.pinned += gained
    else:
        child = new_node(w, g, node, fresh, owner)
        index, offset = _extend(w, child, context, index, offset, fresh)
        _name(w, child)
        link(w.nodes, w.buckets, child)
        w.nodes[node].children += 1
        node = child
    touch(w, g, node)
    group.cached += gained
    if w.nodes[node].queued == 0 and w.nodes[node].pins == 0:
        queue(w, g, node)
    return node, tokens, index, offset, own + fresh


@compiled
def _split(w: World, g: int, at: int, depth: int) -> int:
    """Cut a node at `depth`; the new upper part is returned, `at` stays the lower one."""
    nodes, labels, cells = w.nodes, w.labels, w.cells
    node = nodes[at]
    start = node.depth - node.length
    k = _cut(w, at, depth - start)
    top = new_node(w, g, node.parent, depth - start, node.owner)
    first, count = labels[at, PLACE], labels[at, LENGTH]
    room(labels, top, cells, w.free, k)
    for row in range(k):
        for column in range(3):
            cells[labels[top, PLACE] + row, column] = cells[first + row, column]
    labels[top, LENGTH] = k
    _unlink(nodes, w.buckets, at)
    for row in range(k, count):
        for column in range(3):
            cells[first + row - k, column] = cells[first + row, column]
    labels[at, LENGTH] = count - k
    upper = nodes[top]
    upper.last_used, upper.pins = node.last_used, 1 if node.pins else 0
    upper.children = 1
    node.parent, node.length = top, node.depth - depth
    _name(w, top)
    _name(w, at)
    link(nodes, w.buckets, top)
    link(nodes, w.buckets, at)
    return top


@compiled
def queue(w: World, g: int, at: int) -> None:
    """Put a node up for eviction when nothing needs it."""
    node = w.nodes[at]
    if node.queued or node.pins or node.parent < 0 or node.children:
        return
    node.queued = 1
    heap_push(w.lists, g * LISTS + LEAVES, w.cells, w.free, node.last_used, node.uid, 0, at)


@compiled
def evict(w: World, g: int, wanted: int) -> None:
    """Free up to `wanted` blocks from unpinned leaves."""
    k, freed = g * LISTS + LEAVES, 0
    while freed < wanted and w.lists[k, LENGTH]:
        used, uid, _, at = heap_pop(w.lists, k, w.cells)
        node = w.nodes[at]
        if node.uid != uid:
            continue
        node.queued = 0
        if node.pins or used != node.last_used:
            queue(w, g, at)
            continue
        if node.children == 0:
            freed += _leave(w, g, at, wanted - freed)


@compiled
def _leave(w: World, g: int, at: int, wanted: int) -> int:
    """Forget a leaf, or its last `wanted` blocks; how many went."""
    group, node = w.groups[g], w.nodes[at]
    size = group.block_tokens
    owned = node.depth // size - (node.depth - node.length) // size
    part = min(owned, wanted)
    group.cached -= part
    group.evicted += part
    if part < owned:
        keep = (node.depth // size - part) * size
        w.labels[at, LENGTH] = _cut(w, at, keep - node.depth + node.length)
        node.length -= node.depth - keep
        node.depth = keep
        queue(w, g, at)
        return part
    above = node.parent
    _unlink(w.nodes, w.buckets, at)
    clear(w.labels, at, w.cells, w.free)
    node.uid = NONE
    node.free, w.now[0].free_nodes = w.now[0].free_nodes, at
    parent = w.nodes[above]
    parent.children -= 1
    parent.last_used = max(parent.last_used, node.last_used)
    queue(w, g, above)
    return part
