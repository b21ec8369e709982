"""The radix prefix cache: which tokens a replica holds, shared between and inside sessions.

A token sequence is a list of spans `(content id, tokens)`; token t of a span is the pair (id, t).
A label of the tree is a list of slices of spans, so that a session's context of 100,000 tokens is
one node. Block k of a sequence covers tokens [k b, (k+1) b) and belongs to the node in which it
ends, so a node from depth a to depth d owns
    floor(d / b) - floor(a / b)                                                         [blocks]
A leaf that nobody has used for longest is evicted first, its tail first: to the next tier that has
room, else for good.
"""

from heapq import heappop, heappush

from gcsim.traffic.trajectory import Span

Slice = tuple[int, int, int]  # content id, first token, end


def extend(
    slices: list[Slice], spans: list[Span], index: int, offset: int, tokens: int
) -> tuple[int, int]:
    """Add the next `tokens` tokens of a sequence at the end; the index and offset after them.

    >>> slices = [(7, 0, 1)]
    >>> extend(slices, [(7, 4), (8, 3)], 0, 1, 5), slices
    ((1, 2), [(7, 0, 4), (8, 0, 2)])
    """
    content, size = spans[index]
    if slices and slices[-1][0] == content and slices[-1][2] == offset:
        _, begin, _ = slices.pop()  # the last slice goes on
    else:
        begin = offset
    end = offset + tokens
    while end > size:
        slices.append((content, begin, size))
        index, begin, end = index + 1, 0, end - size
        content, size = spans[index]
    slices.append((content, begin, end))
    return (index, end) if end < size else (index + 1, 0)


def append(slices: list[Slice], more: list[Slice]) -> None:
    """Add slices at the end; two that continue each other become one.

    >>> slices = [(7, 0, 4)]
    >>> append(slices, [(7, 4, 6), (8, 0, 1)])
    >>> slices
    [(7, 0, 6), (8, 0, 1)]
    """
    if slices and more and slices[-1][0] == more[0][0] and slices[-1][2] == more[0][1]:
        slices[-1] = (slices[-1][0], slices[-1][1], more[0][2])
        more = more[1:]
    slices.extend(more)


def cut(slices: list[Slice], tokens: int) -> tuple[list[Slice], list[Slice]]:
    """The first `tokens` tokens, and the rest (there is one).

    >>> cut([(7, 0, 4), (8, 0, 3)], 5)
    ([(7, 0, 4), (8, 0, 1)], [(8, 1, 3)])
    """
    for index, (content, start, end) in enumerate(slices):
        if tokens < end - start:
            middle = start + tokens
            upper, lower = slices[:index], slices[index + 1 :]
            if tokens:
                upper = [*upper, (content, start, middle)]
            return upper, [(content, middle, end), *lower]
        tokens -= end - start
    raise AssertionError("a cut lies inside the label")


class Node:
    """A label of tokens below its parent; `depth` counts the tokens from the root to its end."""

    __slots__ = (
        "alive",
        "children",
        "depth",
        "last_used",
        "length",
        "owner",
        "parent",
        "pins",
        "queued",
        "slices",
        "tier",
        "uid",
    )

    def __init__(
        self, uid: int, parent: "Node | None", slices: list[Slice], length: int, owner: int
    ):
        self.uid = uid
        self.parent = parent
        self.slices = slices
        self.length = length
        self.depth: int = length + (parent.depth if parent else 0)
        self.owner = owner
        self.children: dict[tuple[int, int], Node] = {}
        self.pins = 0  # own pins + children with pins: a node with none may go
        self.last_used = 0
        self.tier = 0
        self.alive = True
        self.queued = False


class Match:
    """How much of a sequence the tree holds, and where the walk ended.

    depth: tokens held; node: the node in which the walk ended (it may end inside its label);
    index, offset: the span, and the token in it, that comes next; own: held tokens that this
    owner brought in (the others are shared).
    """

    __slots__ = ("depth", "index", "node", "offset", "own")

    def __init__(self, node: Node, depth: int, index: int, offset: int, own: int):
        self.node, self.depth, self.index, self.offset, self.own = node, depth, index, offset, own


class PrefixCache:
    """The tree of one replica and the blocks that it owns in each tier.

    tiers: capacity in blocks of the tiers below the first (DDR, host memory), fastest first.
    The first tier has no limit of its own here: who owns the memory (`KvCache`) calls `evict`.
    """

    def __init__(self, block_tokens: int, tiers: tuple[int, ...] = ()) -> None:
        self.block_tokens = block_tokens
        self.capacity = tiers
        self.root = Node(0, None, [], 0, -1)
        self.root.pins = 1
        self.blocks = [0] * (1 + len(tiers))  # owned, per tier
        self.pinned_blocks = 0  # in the first tier, on a path that is in use
        self.evicted_blocks = 0  # for good
        self.offloaded_blocks = 0  # from the first tier to the next
        self._tick = 0
        self._uid = 0
        self._leaves: list[list[tuple[int, int, Node]]] = [[] for _ in self.blocks]

    # -- look up ---------------------------------------------------------------------------

    def match(self, spans: list[Span], owner: int, hint: Match | None = None) -> Match:
        """The longest prefix of `spans` that the tree holds; changes nothing.

        `hint`: an earlier match of the same growing sequence, from which the walk goes on.
        """
        if hint is not None and hint.node.alive and hint.node.depth == hint.depth:
            node, depth, index, offset, own = (
                hint.node,
                hint.depth,
                hint.index,
                hint.offset,
                hint.own,
            )
            if index == len(spans) or (spans[index][0], offset) not in node.children:
                return hint
        else:
            node, depth, index, offset, own = self.root, 0, 0, 0, 0
        count = len(spans)
        while index < count:
            child = node.children.get((spans[index][0], offset))
            if child is None:
                break
            before = depth
            for content, start, end in child.slices:
                if index == count or spans[index][0] != content or offset != start:
                    break
                tokens = spans[index][1]
                if tokens <= end:
                    depth += tokens - start
                    index, offset = index + 1, 0
                    if tokens < end:
                        break
                else:
                    depth += end - start
                    offset = end
            if child.owner == owner:
                own += depth - before
            node = child
            if depth < child.depth:
                break
        return Match(node, depth, index, offset, own)

    def settle(self, match: Match, depth: int) -> Node:
        """The node to pin so that the first `depth` tokens of a match stay.

        It is cut there where it owns whole blocks beyond, so that no more is kept, or brought back
        from a colder tier, than is used.
        """
        node = match.node
        while node.parent is not None and depth <= node.depth - node.length:
            node = node.parent
        size = self.block_tokens
        return self._split(node, depth) if node.depth // size > depth // size else node

    # -- pins ------------------------------------------------------------------------------

    def touch(self, node: Node) -> None:
        """Make a node the most recently used one."""
        self._tick = node.last_used = self._tick + 1

    def pin(self, node: Node) -> None:
        """Keep a node, and with it the path to it, until `unpin`."""
        at: Node | None = node
        size = self.block_tokens
        while at is not None:
            at.pins += 1
            if at.pins > 1:
                return
            self.pinned_blocks += at.depth // size - (at.depth - at.length) // size
            at = at.parent

    def unpin(self, node: Node) -> None:
        """Take back one `pin`."""
        at: Node | None = node
        size = self.block_tokens
        while at is not None:
            at.pins -= 1
            if at.pins:
                return
            self.pinned_blocks -= at.depth // size - (at.depth - at.length) // size
            self._queue(at)
            at = at.parent

    # -- change ----------------------------------------------------------------------------

    def insert(self, spans: list[Span], tokens: int, owner: int, match: Match) -> Match:
        """Add the first `tokens` tokens of a sequence; `match` is where the tree stops holding it.

        Returns the match of exactly these tokens (or the given one where the tree holds more). What
        lies in a colder tier on the way comes back without a reload: its tokens are here anew.
        """
        depth = match.depth
        if depth >= tokens:
            return match
        node, size, fresh = match.node, self.block_tokens, tokens - depth
        if depth < node.depth:
            node = self.settle(match, depth)
            self.promote(node)
            if depth < node.depth:
                node = self._split(node, depth)
        elif node.tier:
            self.promote(node)
        gained = tokens // size - depth // size
        if not node.children and node.owner == owner and node.pins <= 1:
            index, offset = extend(node.slices, spans, match.index, match.offset, fresh)
            node.length += fresh
            node.depth = tokens
            if node.pins:
                self.pinned_blocks += gained
        else:
            self._uid += 1
            slices: list[Slice] = []
            index, offset = extend(slices, spans, match.index, match.offset, fresh)
            child = Node(self._uid, node, slices, fresh, owner)
            node.children[slices[0][:2]] = child
            node = child
        self.touch(node)
        self.blocks[0] += gained
        if not (node.queued or node.pins):
            self._queue(node)
        return Match(node, tokens, index, offset, match.own + fresh)

    def evict(self, blocks: int) -> int:
        """Free up to `blocks` blocks of the first tier from unpinned leaves; blocks freed."""
        return self._evict(0, blocks)

    def promote(self, node: Node) -> int:
        """Bring a path to the first tier; how many tokens of it were below."""
        moved = 0
        at: Node | None = node
        while at is not None and at.tier:
            owned = self._owned(at)
            self.blocks[at.tier] -= owned
            self.blocks[0] += owned
            moved += at.length
            at.tier, at.queued = 0, False
            self._queue(at)
            at = at.parent
        return moved

    def _owned(self, node: Node) -> int:
        size = self.block_tokens
        return node.depth // size - (node.depth - node.length) // size

    def _split(self, node: Node, depth: int) -> Node:
        """Cut a node at `depth`; the new upper part is returned, `node` stays the lower one."""
        parent = node.parent
        assert parent is not None
        start = node.depth - node.length
        upper, lower = cut(node.slices, depth - start)
        self._uid += 1
        top = Node(self._uid, parent, upper, depth - start, node.owner)
        top.tier, top.last_used = node.tier, node.last_used
        top.pins = 1 if node.pins else 0
        parent.children[upper[0][:2]] = top
        top.children[lower[0][:2]] = node
        node.parent, node.slices, node.length = top, lower, node.depth - depth
        return top

    def _queue(self, node: Node) -> None:
        """Put a node up for eviction when nothing needs it in its tier."""
        if node.queued or node.pins or node.parent is None:
            return
        for child in node.children.values():
            if child.tier == node.tier:
                return
        node.queued = True
        heappush(self._leaves[node.tier], (node.last_used, node.uid, node))

    def _evict(self, tier: int, blocks: int) -> int:
        leaves, freed = self._leaves[tier], 0
        while freed < blocks and leaves:
            used, _, node = heappop(leaves)
            if not node.alive or node.tier != tier:
                continue
            node.queued = False
            if node.pins or used != node.last_used:
                self._queue(node)
                continue
            if any(child.tier == tier for child in node.children.values()):
                continue
            freed += self._leave(node, blocks - freed)
        return freed

    def _leave(self, node: Node, wanted: int) -> int:
        """Move a leaf, or its last `wanted` blocks, to the next tier with room, else drop it."""
        owned = self._owned(node)
        part = min(owned, wanted)
        target = next(
            (t for t in range(node.tier + 1, len(self.blocks)) if self._room(t, part)), None
        )
        tier = node.tier
        self.blocks[tier] -= part
        # A block-aligned cut: the upper part stays, the lower part leaves.
        keep = (node.depth // self.block_tokens - part) * self.block_tokens
        if target is None:
            self.evicted_blocks += part
            if part < owned:
                self._shorten(node, keep)
                return part
            self._drop(node)
        else:
            if part < owned:
                self._queue(self._split(node, keep))
            self.offloaded_blocks += part * (tier == 0)
            node.tier = target
            self.blocks[target] += part
            self._merge_below(node)
            self._queue(node)
        parent = node.parent
        if parent is not None and parent.tier == tier:
            parent.last_used = max(parent.last_used, node.last_used)
            self._queue(parent)
        return part

    def _room(self, tier: int, blocks: int) -> bool:
        capacity = self.capacity[tier - 1]
        if blocks > capacity:
            return False
        missing = self.blocks[tier] + blocks - capacity
        if missing > 0:
            self._evict(tier, missing)
        return self.blocks[tier] + blocks <= capacity

    def _merge_below(self, node: Node) -> None:
        """Join a node that just left with its only child in the same tier: one node, not many."""
        if len(node.children) != 1:
            return
        (child,) = node.children.values()
        if child.tier != node.tier or child.owner != node.owner or child.pins:
            return
        child.alive = False
        append(node.slices, child.slices)
        node.length += child.length
        node.depth = child.depth
        node.children = child.children
        for grandchild in node.children.values():
            grandchild.parent = node

    def _shorten(self, node: Node, depth: int) -> None:
        """Forget the tokens of a node beyond `depth`, and all below it."""
        self._forget_below(node)
        node.slices, _ = cut(node.slices, depth - node.depth + node.length)
        node.length -= node.depth - depth
        node.depth = depth
        self._queue(node)

    def _drop(self, node: Node) -> None:
        """Forget a node and all below it."""
        parent = node.parent
        assert parent is not None
        del parent.children[node.slices[0][:2]]
        node.alive = False
        self._forget_below(node)

    def _forget_below(self, node: Node) -> None:
        """Forget the children of a node; they lie in colder tiers, for hot leaves go first."""
        stack = list(node.children.values())
        while stack:
            below = stack.pop()
            below.alive = False
            self.blocks[below.tier] -= self._owned(below)
            self.evicted_blocks += self._owned(below)
            stack.extend(below.children.values())
        node.children = {}
