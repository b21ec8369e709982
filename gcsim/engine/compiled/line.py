"""`gcsim.engine.line` over arrays: a waiting line in rank order, a heap of one of a group's lists.

The place among equals is a number in the group: `added` counts up, `returned` down.
"""

from gcsim.engine.compiled.arrays import INBOX, LINE, LISTS, World
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
def _put(w: World, g: int, which: int, r: int, place: int) -> None:
    request = w.requests[r]
    rank = request.prompt_tokens if w.groups[g].rank == SHORTEST else 0
    k = g * LISTS + which
    heap_push(w.lists, k, w.cells, w.free, -request.priority, rank, place, r)


@compiled
def add(w: World, g: int, which: int, r: int) -> bool:
    """A request joins the line, or the inbox; whether it is the head."""
    group = w.groups[g]
    group.added += 1
    _put(w, g, which, r, group.added)
    return w.cells[w.lists[g * LISTS + which, PLACE], 3] == r


@compiled
def put_back(w: World, g: int, r: int) -> None:
    """A request that had left joins again, before its equals."""
    group = w.groups[g]
    group.returned -= 1
    _put(w, g, LINE, r, group.returned)


@compiled
def take_head(w: World, g: int) -> int:
    """The head leaves."""
    return heap_pop(w.lists, g * LISTS + LINE, w.cells)[3]


@compiled
def leave_inbox(w: World, g: int, r: int) -> bool:
    """A request leaves the inbox from wherever it is; whether it was the head."""
    k, cells = g * LISTS + INBOX, w.cells
    first, at = w.lists[k, PLACE], 0
    while cells[first + at, 3] != r:
        at += 1
    was_head = at == 0
    while at > 0:  # to the top, past all above it
        up = (at - 1) >> 1
        for column in range(4):
            cells[first + at, column] = cells[first + up, column]
        at = up
    heap_pop(w.lists, k, cells)
    return was_head
