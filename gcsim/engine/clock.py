"""Time in the engine: whole nanoseconds, and calls at an exact place among simultaneous ones."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

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

    now: the time [ns]; an attribute, for nothing is read more often.
    """

    now: int = 0

    def run(self, until: Any = None) -> None:
        """Make all calls, or those before `until` [ns]."""
        # What Environment.run and step do, but for events that fail, which calls do not, and
        # without a step() for each: this is the hot path.
        if until is not None:
            Call(self, until - self.now, StopSimulation.callback, rank=-1)
        queue = self._queue
        try:
            while queue:
                at, _, _, event = heappop(queue)
                if event.callbacks:  # a cancelled call takes no time, not even at the end
                    self.now = at  # type: ignore[assignment]  # whole delays
                    event.callbacks[0](event)
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
        # What Event.__init__ and Environment.schedule do, without their calls.
        self.callbacks = (function,)  # type: ignore[assignment]
        self.argument = argument
        entry = (env.now + delay_ns, rank, next(env._eid), self)
        heappush(env._queue, entry)  # type: ignore[misc]  # a rank is a priority

    def cancel(self) -> None:
        """Do nothing when the time comes."""
        self.callbacks = ()  # type: ignore[assignment]
