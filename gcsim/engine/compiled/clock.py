"""`gcsim.engine.clock` over arrays: calls in the order of (time, rank, number), in a heap.

What is called stands in the last column: a kind, and its argument. A call of a replica is good
while it is the one that the replica knows; a cancelled one moves no clock.
"""

from gcsim.engine.compiled.arrays import CALLS, LISTS, World
from gcsim.engine.compiled.lists import heap_push
from gcsim.engine.compiled.parts import compiled

START, ARRIVE, BOUNDARY, STOP, TRANSFERRED = range(5)
KINDS = 8


@compiled
def call(w: World, at_ns: int, rank: int, kind: int, argument: int) -> int:
    """Call what `kind` says at a time; the number of the call."""
    now = w.now[0]
    now.calls += 1
    k = w.groups.shape[0] * LISTS + CALLS
    heap_push(w.lists, k, w.cells, w.free, at_ns, rank, now.calls, argument * KINDS + kind)
    return now.calls
