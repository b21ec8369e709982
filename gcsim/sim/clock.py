"""Time in the engine: whole nanoseconds, and calls at an exact place among simultaneous ones."""

from collections.abc import Callable
from typing import Any

from simpy import Environment
from simpy.events import NORMAL, Event

NS_PER_S = 1_000_000_000


def to_ns(seconds: float) -> int:
    """Seconds to whole nanoseconds.

    >>> to_ns(1.5e-9), to_ns(2.0)
    (2, 2000000000)
    """
    return round(seconds * NS_PER_S)


class Clock(Environment):
    """A SimPy environment whose time is whole nanoseconds."""

    @property
    def now(self) -> int:
        """The time [ns]."""
        return self._now  # type: ignore[return-value]  # starts at 0, moved by whole delays only


class Call(Event):
    """Calls `function(call)` after `delay_ns`; `call.argument` is what was given.

    At one instant, calls of a lower `rank` come first (then in the order of their making). Traffic
    has rank 0; the end of an iteration on replica r has rank 1 + r, so a request that arrives just
    then is part of the next batch, whatever the order in which both were scheduled.
    """

    def __init__(
        self,
        env: Clock,
        delay_ns: int,
        function: Callable[["Call"], None],
        argument: Any = None,
        rank: int = 0,
    ) -> None:
        # What Event.__init__ and Timeout.__init__ do, without their calls: this is the hot path.
        self.env = env
        self.callbacks = [function]
        self._ok, self._value = True, None
        self.argument = argument
        env.schedule(self, NORMAL + rank, delay_ns)  # type: ignore[arg-type]

    def cancel(self) -> None:
        """Do nothing when the time comes."""
        if self.callbacks is not None:
            self.callbacks.clear()
