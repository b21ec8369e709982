"""`gcsim.engine.line` over arrays: a waiting line in rank order, a heap of one of a group's lists.

The place among equals is a number in the group: `added` counts up, `returned` down.
"""

from gcsim.engine.compiled.arrays import LINE, LISTS, World
from gcsim.engine.compiled.lists import LENGTH, PLACE, heap_pop, heap_push
from gcsim.engine.compiled.parts import compiled

ARRIVAL, SHORTEST = range(2)  # `gcsim.engine.batching`: arrival, shortest_prompt


@compiled
def waiting(w: World, g: int) -> int:
    """How many wait in a group."""
    return w.lists[g * LISTS + LINE, LENGTH]


@compiled
def head(w: World, g: int) -> int:
    """Who is next."""
    return w.cells[w.lists[g * LISTS + LINE, PLACE], 3]


@compiled
def _put(w: World, g: int, r: int, place: int) -> None:
    request = w.requests[r]
    rank = request.prompt_tokens if w.groups[g].rank == SHORTEST else 0
    k = g * LISTS + LINE
    heap_push(w.lists, k, w.cells, w.free, -request.priority, rank, place, r)


@compiled
def add(w: World, g: int, r: int) -> bool:
    """A request joins; whether it is the head."""
    group = w.groups[g]
    group.added += 1
    _put(w, g, r, group.added)
    return head(w, g) == r


@compiled
def put_back(w: World, g: int, r: int) -> None:
    """A request that had left joins again, before its equals."""
    group = w.groups[g]
    group.returned -= 1
    _put(w, g, r, group.returned)


@compiled
def take_head(w: World, g: int) -> int:
    """The head leaves."""
    return heap_pop(w.lists, g * LISTS + LINE, w.cells)[3]
