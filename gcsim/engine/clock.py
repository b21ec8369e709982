"""Time in the engine: whole nanoseconds, and calls at an exact place among simultaneous ones."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, cast

from simpy import Environment
from simpy.core import StopSimulation
from simpy.events import Event

NS_PER_S = 1_000_000_000


def to_ns(seconds: float) -> int:
    """Seconds to whole nanoseconds.

    >>> to_ns(1.5e-9), to_ns(2.0)
    (2, 2000000000)
    """
    return round(seconds * NS_PER_S)


class Clock(Environment):
    """A SimPy environment whose time is whole nanoseconds, and all of whose events are `Call`s.

    now: the time [ns]; an attribute, for nothing is read more often. rank: the highest one called
    at this time; what had a lower one is over. calls: SimPy's own queue by (time, rank, number),
    typed as what is in it.
    """

    now: int = 0
    rank: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, int, int, Call]] = cast(Any, self._queue)

    def run(self, until: Any = None) -> None:
        """Make all calls, or those before `until` [ns]."""
        # Past Environment.step, which looks for events that fail, as calls do not: one Python call
        # less for each event, and nothing runs more often.
        if until is not None:
            Call(self, until - self.now, StopSimulation.callback, rank=-1)
        queue = self.calls
        try:
            while queue:
                at, rank, _, call = heappop(queue)
                if call.function is not None:  # a cancelled call moves no clock
                    if rank > self.rank or at > self.now:
                        self.rank = rank
                    self.now = at
                    call.function(call)
        except StopSimulation:
            pass


class Call(Event):
    """Calls `function(call)` after `delay_ns`; `call.argument` is what was given.

    At one instant, calls of a lower `rank` come first (then in the order of their making). Traffic
    has rank 0; the end of an iteration on replica r has rank 1 + r, so a request that arrives just
    then is part of the next batch, whatever the order in which both were scheduled.
    """

    _ok, _value = True, None  # it has succeeded, as a Timeout has

    def __init__(
        self,
        env: Clock,
        delay_ns: int,
        function: Callable[["Call"], None],
        argument: Any = None,
        rank: int = 0,
    ) -> None:
        # Past Event.__init__ and Environment.schedule: a call has one callback, which is known, and
        # is scheduled at once. That halves the cost of an event.
        self.function: Callable[[Call], None] | None = function
        self.argument = argument
        heappush(env.calls, (env.now + delay_ns, rank, next(env._eid), self))

    def cancel(self) -> None:
        """Do nothing when the time comes."""
        self.function = None
