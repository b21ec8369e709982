"""The radix prefix cache against brute force: plain prefixes of plain token lists."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gcsim.engine.prefix_cache import Node, PrefixCache
from gcsim.traffic.trajectory import Span

Token = tuple[int, int]
SEQUENCES = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), min_size=1, max_size=6)
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["insert", "insert", "insert", "evict", "pin", "unpin"]), SEQUENCES),
    max_size=30,
)


def tokens_of(spans: list[Span]) -> tuple[Token, ...]:
    return tuple((content, k) for content, size in spans for k in range(size))


def common(a: tuple[Token, ...], b: tuple[Token, ...]) -> int:
    return next(
        (k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def add(cache: PrefixCache, spans: list[Span], owner: int = 0) -> Node:
    """What a replica does with a computed prompt."""
    size = sum(n for _, n in spans)
    match = cache.match(spans, owner)
    if match.depth < size:
        match = cache.insert(spans, size, owner, match)
    node = cache.settle(match, size)
    cache.promote(node)
    cache.touch(node)
    return node


def nodes(cache: PrefixCache) -> list[Node]:
    found, stack = [], [cache.root]
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(node.children.values())
    return found


def check(cache: PrefixCache) -> None:
    """Structure and ledger of the tree."""
    size, tally = cache.block_tokens, [0] * len(cache.blocks)
    for node in nodes(cache):
        assert node.alive
        start = node.depth - node.length
        assert node.length == sum(end - begin for _, begin, end in node.slices)
        tally[node.tier] += node.depth // size - start // size
        for key, child in node.children.items():
            assert child.parent is node
            assert key == child.slices[0][:2]
            assert child.tier >= node.tier, "what lies deeper is never in a faster tier"
            assert child.depth - child.length == node.depth
    assert tally == cache.blocks
    for tier, capacity in enumerate(cache.capacity, start=1):
        assert cache.blocks[tier] <= capacity


@given(st.lists(SEQUENCES, max_size=25), SEQUENCES, st.sampled_from([1, 3, 16]))
def test_a_match_is_the_longest_common_prefix_with_all_that_was_stored(
    stored: list[list[Span]], asked: list[Span], block_tokens: int
) -> None:
    cache = PrefixCache(block_tokens)
    for spans in stored:
        add(cache, spans)
        check(cache)
    wanted = tokens_of(asked)
    best = max((common(wanted, tokens_of(spans)) for spans in stored), default=0)
    assert cache.match(asked, 0).depth == best
    prefixes = {
        tokens_of(s)[: k * block_tokens]
        for s in stored
        for k in range(1, len(tokens_of(s)) // block_tokens + 1)
    }
    assert cache.blocks[0] == len(prefixes)


class Twin:
    """The same cache by brute force: every stored prefix with the time of its last use."""

    def __init__(self) -> None:
        self.used: dict[tuple[Token, ...], int] = {}
        self.pins: list[tuple[Token, ...]] = []
        self.time = 0

    def add(self, tokens: tuple[Token, ...]) -> None:
        self.time += 1
        for k in range(1, len(tokens) + 1):
            self.used[tokens[:k]] = self.time

    def evict(self, count: int) -> None:
        for _ in range(count):
            parents = {prefix[:-1] for prefix in self.used}
            pinned = {pin[:k] for pin in self.pins for k in range(1, len(pin) + 1)}
            leaves = [p for p in self.used if p not in parents and p not in pinned]
            if leaves:
                del self.used[min(leaves, key=self.used.__getitem__)]


@given(OPERATIONS, st.lists(SEQUENCES, min_size=1, max_size=5), st.integers(1, 7))
@settings(max_examples=300)
def test_eviction_takes_the_least_recently_used_tail_first(
    operations: list[tuple[str, list[Span]]], asked: list[list[Span]], count: int
) -> None:
    cache, twin, pinned = PrefixCache(1), Twin(), []
    for number, (operation, spans) in enumerate(operations):
        tokens = tokens_of(spans)
        if operation == "evict":
            cache.evict(count)
            twin.evict(count)
        elif operation == "unpin" and pinned:
            cache.unpin(pinned.pop())
            twin.pins.pop()
        else:
            node = add(cache, spans, owner=number)
            twin.add(tokens)
            if operation == "pin":
                cache.pin(node)
                pinned.append(node)
                twin.pins.append(tokens)
        check(cache)
        assert cache.blocks[0] == len(twin.used)
        kept = {pin[:k] for pin in twin.pins for k in range(1, len(pin) + 1)}
        assert cache.pinned_blocks == len(kept)
    for spans in asked:
        tokens = tokens_of(spans)
        held = next((k for k in range(len(tokens), 0, -1) if tokens[:k] in twin.used), 0)
        assert cache.match(spans, 0).depth == held


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_what_is_used_again_stays_longest(uses: list[int]) -> None:
    """Five contexts of three blocks, in any order: they leave in the order of their last use."""
    cache = PrefixCache(4)
    for number, content in enumerate(uses):
        add(cache, [(content, 12)], owner=number)
    order = sorted(
        set(uses), key=lambda content: max(k for k, u in enumerate(uses) if u == content)
    )
    for gone, content in enumerate(order, 1):
        assert cache.evict(3) == 3
        assert cache.match([(content, 12)], 0).depth == 0
        assert all(cache.match([(later, 12)], 0).depth == 12 for later in order[gone:])


def test_a_prefix_was_used_when_what_goes_on_from_it_was() -> None:
    """a, then b (pinned), then a + c: c leaves, for b is held; then b, for a + c came later."""
    cache = PrefixCache(4)
    add(cache, [(1, 8)], owner=1)
    pinned = add(cache, [(2, 8)], owner=2)
    cache.pin(pinned)
    add(cache, [(1, 8), (3, 8)], owner=3)
    assert cache.evict(2) == 2
    assert cache.match([(1, 8), (3, 8)], 0).depth == 8
    cache.unpin(pinned)
    assert cache.evict(2) == 2
    assert (cache.match([(1, 8)], 0).depth, cache.match([(2, 8)], 0).depth) == (8, 0)


@given(OPERATIONS, st.integers(1, 30), st.sampled_from([(), (3,), (5, 9), (1_000,)]))
def test_lower_tiers_keep_what_the_first_gives_up(
    operations: list[tuple[str, list[Span]]], count: int, tiers: tuple[int, ...]
) -> None:
    cache, bare = PrefixCache(2, tiers), PrefixCache(2)
    for operation, spans in operations:
        if operation == "evict":
            before = cache.blocks[0]
            assert cache.evict(count) == before - cache.blocks[0] == bare.evict(count)
        else:
            for each in (cache, bare):
                node = add(each, spans)
                assert each.match(spans, 0).depth == sum(n for _, n in spans)
                assert node.tier == 0
        check(cache)
        # What the first tier holds is the same with and without tiers below; they only add.
        if tiers != (1_000,):
            continue
        assert cache.evicted_blocks == 0
        for _, known in operations[:1]:
            assert cache.match(known, 0).depth >= bare.match(known, 0).depth
    everything = [spans for operation, spans in operations if operation != "evict"]
    if tiers == (1_000,):
        for spans in everything:
            assert cache.match(spans, 0).depth == sum(n for _, n in spans)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=20))
def test_a_growing_context_is_found_from_its_last_place(steps: list[tuple[int, int]]) -> None:
    cache, spans, hint, evicted_once = PrefixCache(4), [(99, 10)], None, False
    add(cache, [(99, 10), (98, 3)], owner=7)
    for number, (size, evicted) in enumerate(steps):
        spans.append((number, size))
        walked = cache.match(spans, 1)
        hinted = cache.match(spans, 1, hint)
        assert (hinted.depth, hinted.node, hinted.own) == (walked.depth, walked.node, walked.own)
        total = sum(n for _, n in spans)
        hint = cache.insert(spans, total, 1, hinted)
        if not evicted_once:
            assert hint.own == total - 10, "what another trajectory brought in is not one's own"
        cache.evict(evicted)
        evicted_once = evicted_once or evicted > 0
        check(cache)
