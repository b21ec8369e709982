"""What of a run counts: the tasks that start in its window, under a load that stays on.

The window opens when the warm-up is over and closes when the task after the last counted one
starts. The load stays on until every counted task has ended, so that no task time is cut and none
is measured beside agents that have nothing left to do; what fills in is played and not counted.

Without a given warm-up the window opens when of every class `WARM` times as many tasks have ended
as are under way. In a closed loop of n agents that is when 2 (n - 1) have ended, so that the first
tasks of all agents, which start together, are left out; with open arrivals after about three task
times. Where the first sessions are entered midway (`gcsim.traffic.midway`) it opens when each of
them has its first answer; what is left of them does not count.
"""

from array import array
from enum import IntEnum


class Part(IntEnum):
    """Where a task starts: before the window, in it (it counts), or after it."""

    BEFORE = 0
    COUNTED = 1
    AFTER = 2


WARM = 2
# A load that never settles is cut: a warm-up after so many windows' worth of tasks, filling too
# (a closed loop has at least as many tasks under way as agents, and settles after twice as many).
WARMUP_WINDOWS = 10
FILL_WINDOWS = 10


class Window:
    """The window of one run.

    tasks: how many count (None: all that start); warmup_ns: when it opens (None: see the module);
    time_ns: how long it is at the most; agents: of a closed loop; midway: their first tasks are
    entered midway. opened_ns, closed_ns: when it did (-1: not yet); counted,
    live: tasks in it so far, and those of them under way; starts, served: of every task when it
    started [ns], and how many requests had completed by then; spent_ns: the time that all requests
    had spent at the servers by then.

    >>> window = Window(tasks=1, warmup_ns=0)
    >>> window.start("a", 0), window.start("a", 5), window.done
    (<Part.COUNTED: 1>, <Part.AFTER: 2>, False)
    >>> window.end("a", Part.COUNTED, 9)
    >>> window.opened_ns, window.closed_ns, window.done
    (0, 5, True)
    """

    def __init__(
        self,
        tasks: int | None = None,
        warmup_ns: int | None = 0,
        time_ns: int | None = None,
        agents: int = 0,
        midway: bool = False,
    ) -> None:
        self.tasks, self.warmup_ns, self.time_ns = tasks, warmup_ns, time_ns
        self.agents, self.midway = agents, agents if midway else 0
        self._unanswered = self.midway
        self.opened_ns = self.closed_ns = -1
        self.counted = self.live = 0
        self.starts = array("q")
        self.served = array("q")
        self.spent_ns: list[int] = []
        self._unsettled: dict[str, int] = {}  # by class: WARM x under way - ended

    def start(self, workload: str, now: int, served: int = 0, spent_ns: int = 0) -> Part:
        """A task of a class starts [ns]; where. served, spent_ns: of requests so far."""
        self.starts.append(now)
        self.served.append(served)
        self.spent_ns.append(spent_ns)
        self._unsettled[workload] = self._unsettled.get(workload, 0) + WARM
        if self.opened_ns < 0:
            if self.warmup_ns is not None and now >= self.warmup_ns:
                self.opened_ns = self.warmup_ns
            elif self.tasks is not None and self._beyond(WARMUP_WINDOWS, self.tasks):
                self.opened_ns = now
            else:
                return Part.BEFORE
        if len(self.starts) <= self.midway:
            return Part.BEFORE
        if self.closed_ns < 0:
            ends_ns = self.opened_ns + self.time_ns if self.time_ns is not None else -1
            if 0 <= ends_ns <= now:
                self.closed_ns = ends_ns
            elif self.tasks is not None and self.counted == self.tasks:
                self.closed_ns = now
        if self.closed_ns >= 0:
            return Part.AFTER
        self.counted += 1
        self.live += 1
        return Part.COUNTED

    def end(self, workload: str, part: Part, now: int) -> None:
        """A task that started in this part ends [ns]."""
        self.live -= part is Part.COUNTED
        if self.opened_ns < 0:
            self._unsettled[workload] -= WARM + 1
            settled = not self.midway and max(self._unsettled.values()) <= 0
            if self.warmup_ns is None and settled:
                self.opened_ns = now

    def answered(self, now: int) -> None:
        """A task that was entered midway has its first answer, or will have none [ns]."""
        self._unanswered -= 1
        if self.warmup_ns is None and self.opened_ns < 0 and not self._unanswered:
            self.opened_ns = now

    def run_out(self, now: int) -> None:
        """The last task of the load has started [ns]."""
        if self.closed_ns < 0:
            self.closed_ns = now

    @property
    def latest_ns(self) -> int:
        """When a task last started (-1: none has)."""
        return self.starts[-1] if self.starts else -1

    @property
    def full(self) -> bool:
        """Whether no more tasks are to start, for the load never settles."""
        if self.closed_ns < 0:
            return False
        return self._beyond(WARMUP_WINDOWS + FILL_WINDOWS, max(self.counted, 16))

    def _beyond(self, windows: int, tasks: int) -> bool:
        """Whether more tasks than so many windows have started."""
        return len(self.starts) > windows * max(tasks, self.agents)

    @property
    def done(self) -> bool:
        """Whether every task that counts has ended, and no other will."""
        return self.closed_ns >= 0 and not self.live
