"""A waiting line in rank order. What waits behind its head can change nothing: news is a new head.

That is why a run of iterations may be one event: until the head changes, every boundary in it would
decide what the first one did.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from gcsim.engine.request import Request

# Priority (negated), rank, place among equals, request.
_Entry = tuple[int, Any, int, Request]


class Line(list[_Entry]):
    """Requests by priority, then rank, then arrival; who was here before goes before its equals.

    A heap, so that its head is its first entry.

    >>> from types import SimpleNamespace as R
    >>> line = Line(lambda r: r.isl)
    >>> [line.add(R(priority=0, isl=n)) for n in (50, 20, 20)]
    [True, True, False]
    >>> line.head.isl, len(line)
    (20, 3)
    """

    __slots__ = ("_added", "_rank", "_returned")

    def __init__(self, rank: Callable[[Request], Any]) -> None:
        super().__init__()
        self._rank = rank
        self._added = self._returned = 0

    @property
    def head(self) -> Request:
        """Who is next."""
        return self[0][3]

    def add(self, request: Request) -> bool:
        """A request joins; whether it is the head."""
        self._added += 1
        heappush(self, (-request.priority, self._rank(request), self._added, request))
        return self[0][3] is request

    def put_back(self, request: Request) -> None:
        """A request that had left joins again, before its equals."""
        self._returned -= 1
        heappush(self, (-request.priority, self._rank(request), self._returned, request))

    def take(self) -> Request:
        """The head leaves."""
        return heappop(self)[3]

    def leave(self, request: Request) -> bool:
        """A request leaves from wherever it is; whether it was the head."""
        first = self.head is request
        self[:] = [entry for entry in self if entry[3] is not request]
        heapify(self)
        return first
