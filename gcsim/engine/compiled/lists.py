"""Lists and heaps of rows of four numbers, all in one array (`cells`).

A list is a row of `heads`: where its block begins, its length, and the size class of the block,
which has 2^class rows (-1: none yet). Blocks that are free again are chained, class by class.
"""

from gcsim.engine.compiled.arrays import Array
from gcsim.engine.compiled.parts import compiled

PLACE, LENGTH, CLASS = range(3)
CLASSES = 48
TOP, LARGEST = 48, 49  # in `free`, behind the chains: rows in use, the largest class so far
FREE = 50


@compiled
def take(cells: Array, free: Array, size: int) -> int:
    """A block of a size class; MemoryError where there is no room (the caller plays elsewhere)."""
    place = free[size]
    if place >= 0:
        free[size] = cells[place, 0]
        return place
    place = free[TOP]
    if place + (1 << size) > cells.shape[0]:
        raise MemoryError
    free[TOP] = place + (1 << size)
    free[LARGEST] = max(free[LARGEST], size)
    return place


@compiled
def give(cells: Array, free: Array, place: int, size: int) -> None:
    """A block is free again."""
    cells[place, 0] = free[size]
    free[size] = place


@compiled
def class_of(count: int) -> int:
    """The least size class of so many rows."""
    size = 0
    while 1 << size < count:
        size += 1
    return size


@compiled
def room(heads: Array, k: int, cells: Array, free: Array, count: int) -> None:
    """Let list k have room for so many rows."""
    size = heads[k, CLASS]
    if size >= 0 and count <= 1 << size:
        return
    larger = class_of(max(count, 2))
    place = take(cells, free, larger)
    if size >= 0:
        old = heads[k, PLACE]
        for row in range(heads[k, LENGTH]):
            for column in range(4):
                cells[place + row, column] = cells[old + row, column]
        give(cells, free, old, size)
    heads[k, PLACE], heads[k, CLASS] = place, larger


@compiled
def clear(heads: Array, k: int, cells: Array, free: Array) -> None:
    """List k is empty, and its block free."""
    if heads[k, CLASS] >= 0:
        give(cells, free, heads[k, PLACE], heads[k, CLASS])
    heads[k, LENGTH], heads[k, CLASS] = 0, -1


@compiled
def push(heads: Array, k: int, cells: Array, free: Array, a: int, b: int, c: int, d: int) -> None:
    """Add a row at the end."""
    count = heads[k, LENGTH]
    room(heads, k, cells, free, count + 1)
    row = heads[k, PLACE] + count
    cells[row, 0], cells[row, 1], cells[row, 2], cells[row, 3] = a, b, c, d
    heads[k, LENGTH] = count + 1


@compiled
def heap_push(
    heads: Array, k: int, cells: Array, free: Array, a: int, b: int, c: int, d: int
) -> None:
    """Add a row to a heap: `heapq.heappush` of the tuple (a, b, c, d), which no other equals."""
    push(heads, k, cells, free, a, b, c, d)
    first, at = heads[k, PLACE], heads[k, LENGTH] - 1
    while at > 0:
        up = (at - 1) >> 1
        row = first + up
        x, y, z = cells[row, 0], cells[row, 1], cells[row, 2]
        if x < a or (x == a and (y < b or (y == b and z < c))):
            break
        under = first + at
        cells[under, 0], cells[under, 1], cells[under, 2] = x, y, z
        cells[under, 3] = cells[row, 3]
        at = up
    row = first + at
    cells[row, 0], cells[row, 1], cells[row, 2], cells[row, 3] = a, b, c, d


@compiled
def heap_pop(heads: Array, k: int, cells: Array) -> tuple[int, int, int, int]:
    """Take the least row."""
    first, count = heads[k, PLACE], heads[k, LENGTH] - 1
    heads[k, LENGTH] = count
    least = cells[first, 0], cells[first, 1], cells[first, 2], cells[first, 3]
    last = first + count
    a, b, c, d = cells[last, 0], cells[last, 1], cells[last, 2], cells[last, 3]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        row = first + child
        x, y, z = cells[row, 0], cells[row, 1], cells[row, 2]
        if child + 1 < count:
            p, q, r = cells[row + 1, 0], cells[row + 1, 1], cells[row + 1, 2]
            if p < x or (p == x and (q < y or (q == y and r < z))):
                row, child, x, y, z = row + 1, child + 1, p, q, r
        if a < x or (a == x and (b < y or (b == y and c < z))):
            break
        over = first + at
        cells[over, 0], cells[over, 1], cells[over, 2] = x, y, z
        cells[over, 3] = cells[row, 3]
        at = child
    row = first + at
    cells[row, 0], cells[row, 1], cells[row, 2], cells[row, 3] = a, b, c, d
    return least
