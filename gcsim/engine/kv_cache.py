"""The KV memory of one replica: blocks held by running sequences and by the prefix cache.

used + free = total at all times, where used = private blocks of sequences + blocks of the tree.
A sequence shares the whole blocks of the tree's path that it pins, and owns the rest privately.
"""

from collections.abc import Hashable

from gcsim.engine.prefix_cache import Match, Node, PrefixCache
from gcsim.engine.request import Request

UNLIMITED = 1 << 62


class Lease:
    """The blocks of one sequence in one replica.

    node: the pinned end of its path in the tree, which gives `shared` whole blocks; held: blocks
    of its own; cached, own: prompt tokens found there at admission, and those of them that its own
    trajectory brought in; reload: those that come back from a lower tier; ready_ns: when they are.
    """

    __slots__ = ("cached", "held", "node", "own", "ready_ns", "reload", "shared")

    def __init__(self, node: Node, held: int, cached: int, own: int, shared: int) -> None:
        self.node, self.held, self.cached, self.own, self.shared = node, held, cached, own, shared
        self.reload = self.ready_ns = 0


class KvCache:
    """Block ledger of a replica.

    key: what it is in `Context.hints`; total: blocks of the first tier; block_tokens: tokens per
    block; extra: blocks that every sequence needs beside its tokens (the windows of sliding
    layers); tiers: blocks of the tiers below; limit: most blocks that the prefix cache may hold
    (0: no prefix cache); hit_tokens: a hit is a multiple of these, where states are kept at
    snapshots only (0: of a block).
    """

    def __init__(
        self,
        key: Hashable,
        total: int,
        block_tokens: int,
        extra: int,
        *,
        tiers: tuple[int, ...] = (),
        limit: int = UNLIMITED,
        hit_tokens: int = 0,
    ) -> None:
        self.key = key
        self.total = total
        self.block_tokens = block_tokens
        self.extra = extra
        self.limit = limit
        self._hit = hit_tokens or block_tokens
        self.private = 0
        self.peak = 0
        self._chunk = max(total // 1024, 1)
        self.tree = PrefixCache(block_tokens, tiers)

    @property
    def used(self) -> int:
        """Blocks of running sequences and of the prefix cache."""
        return self.private + self.tree.blocks[0]

    @property
    def cached(self) -> int:
        """Blocks of the prefix cache; the same all through a run of iterations."""
        return self.tree.blocks[0]

    @property
    def free(self) -> int:
        """Blocks that hold nothing."""
        return self.total - self.private - self.tree.blocks[0]

    @property
    def room(self) -> int:
        """Blocks that can be had: free ones and cached ones that nobody uses."""
        return self.total - self.private - self.tree.pinned_blocks

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens fits the empty cache."""
        return -(-tokens // self.block_tokens) + self.extra <= self.total

    def cached_tokens(self, request: Request) -> int:
        """Prompt tokens that need no computing here: whole blocks, and never the last token."""
        return self.usable(self.look_up(request).depth, request.prompt_tokens - 1)

    def look_up(self, request: Request) -> Match:
        """What the prefix cache holds of a request's context; changes nothing."""
        context = request.context
        hint: Match | None = context.hints.get(self.key)
        if hint is not None:
            node = hint.node
            if node.alive and not node.children and node.depth == hint.depth:
                return hint  # as nearly always: nothing was evicted, and no other context goes on
        return self.tree.match(context.spans if self.limit else [], request.owner, hint)

    def usable(self, depth: int, most: int) -> int:
        """Of `depth` cached tokens those that need no computing, up to `most`: whole blocks, or
        what came before a snapshot.
        """
        size = self._hit
        return (depth if depth < most else most) // size * size

    def admit(self, request: Request, spare: int, received: bool = False) -> Lease | None:
        """Reserve blocks for a request's whole prompt if they leave `spare`; None changes nothing.

        `received`: the prompt arrives computed, with its states, so whole blocks count, and its
        last token may be cached too.
        """
        tree, tokens, size = self.tree, request.prompt_tokens, self.block_tokens
        match = self.look_up(request)
        if received:
            cached = min(match.depth, tokens) // size * size
        else:
            cached = self.usable(match.depth, tokens - 1)
        node = tree.settle(match, cached)
        shared = cached // self.block_tokens
        need = -(-tokens // self.block_tokens) - shared + self.extra
        tree.pin(node)
        if need + spare > self.room:
            tree.unpin(node)
            return None
        tree.touch(node)
        # The shared part comes first, so what the floor cuts off is the trajectory's own.
        lease = Lease(node, need, cached, max(match.own - (match.depth - cached), 0), shared)
        if node.tier:
            lease.reload = tree.promote(node)
        self.grow(need)
        return lease

    def store(self, request: Request, lease: Lease, tokens: int) -> None:
        """The request's first `tokens` tokens are computed: hand them to the prefix cache."""
        if not self.limit:
            return
        tree, context = self.tree, request.context
        match = self.look_up(request)
        if self.limit < UNLIMITED:
            tokens = self._allowed(match, tokens)
        if tokens > match.depth:
            match = tree.insert(context.spans, tokens, request.owner, match)
        context.hints[self.key] = match
        node = match.node
        if node is not lease.node or match.depth > tokens:
            node = tree.settle(match, tokens)
            if node.tier:
                tree.promote(node)
            tree.pin(node)
            tree.unpin(lease.node)
            tree.touch(node)
            lease.node = node
        gain = tokens // self.block_tokens - lease.shared
        if gain > 0:
            lease.shared += gain
            lease.held -= gain
            self.private -= gain

    def absorb(self, request: Request, known: int, tokens: int) -> bool:
        """KV of a request's tokens from `known` to `tokens` arrives; False when it finds no place.

        What came before must still be in the first tier: KV is of use only after its prefix.
        """
        match = self.look_up(request)
        gain = tokens // self.block_tokens - match.depth // self.block_tokens
        if not self.limit or match.depth < known or match.node.tier or gain > self.room:
            return False
        self.tree.pin(match.node)
        if gain > self.free:
            self.tree.evict(gain - self.free)
        if tokens > match.depth and gain <= self.free:
            self.tree.insert(request.context.spans, tokens, request.owner, match)
        self.tree.unpin(match.node)
        return True

    def _allowed(self, match: Match, tokens: int) -> int:
        """How many of a sequence's tokens the cache may hold under its limit."""
        size, tree = self.block_tokens, self.tree
        held = match.depth // size
        wanted = tree.blocks[0] + tokens // size - held
        if wanted > self.limit:
            tree.pin(match.node)
            tree.evict(wanted - self.limit)
            tree.unpin(match.node)
        spare = max(self.limit - tree.blocks[0], 0)
        return min(tokens, (held + spare) * size + size - 1)

    def release(self, lease: Lease) -> None:
        """A sequence leaves: its private blocks are free, its path is unpinned."""
        self.private -= lease.held
        lease.held = 0
        self.tree.unpin(lease.node)

    def grow(self, blocks: int) -> None:
        """Running sequences take `blocks` more; the caller has made sure that there is room."""
        self.private += blocks
        used = self.private + self.tree.blocks[0]
        if used > self.total:
            # Whole chunks: cheaper, and many small needs evict what one large need does.
            chunks = -(-(used - self.total) // self._chunk)
            self.tree.evict(chunks * self._chunk)
            used = self.private + self.tree.blocks[0]
        if used > self.peak:
            self.peak = used

    def check(self) -> None:
        """Assert the invariants of the ledger; for tests."""
        assert 0 <= self.private <= self.total, (self.private, self.total)
        assert 0 <= self.tree.pinned_blocks <= self.tree.blocks[0]
        assert self.private + self.tree.blocks[0] + self.free == self.total
        assert self.free >= 0, f"{-self.free} blocks are used twice"
