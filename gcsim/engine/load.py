"""The load: starts trajectories, and stops the run when those that count have ended."""

from collections.abc import Callable, Iterable

from simpy.core import StopSimulation

from gcsim.engine.clock import Call, Clock, to_ns
from gcsim.engine.cluster import Cluster
from gcsim.engine.session import Session
from gcsim.engine.window import Part
from gcsim.traffic.trajectory import Trajectory


class Load:
    """The trajectories of a run, drawn as they start.

    One with a start time starts then; one without waits until an earlier one ends. sessions: those
    under way; progress: called with the number of ended ones that count.
    """

    def __init__(
        self,
        env: Clock,
        cluster: Cluster,
        trajectories: Iterable[Trajectory],
        progress: Callable[[int], None] | None,
    ) -> None:
        self._env, self._cluster, self._window = env, cluster, cluster.window
        self._feed, self._progress = iter(trajectories), progress
        self._next: Trajectory | None = None  # waits for another to end
        self._coming = 0  # have a time to start
        self._ended = 0
        self.sessions: dict[Session, None] = {}
        cluster.session_ended = self._session_ended
        cluster.session_answered = self._session_answered

    def draw(self) -> None:
        """Take the next trajectory; it starts at its time, or when another one ends."""
        self._next = None if self._window.full else next(self._feed, None)
        if self._next is not None and self._next.start_s is not None:
            at_ns = max(to_ns(self._next.start_s), self._env.now)
            self._begin(self._next, at_ns)
            self._next = None

    def _begin(self, trajectory: Trajectory, at_ns: int) -> None:
        self._coming += 1
        Call(self._env, at_ns - self._env.now, self._start, trajectory)

    def _start(self, call: Call) -> None:
        self._coming -= 1
        trajectory: Trajectory = call.argument
        now = self._env.now
        was_open = self._window.opened_ns >= 0 or self._window.warmup_ns is not None
        cluster = self._cluster
        part = self._window.start(trajectory.workload, now, cluster.served, cluster.spent_ns)
        session = Session(trajectory, now, cluster.send, part, cluster.call_tools)
        if not was_open and self._window.opened_ns >= 0:
            self._cluster.count_from(now)
        self.sessions[session] = None
        if trajectory.start_s is not None:
            self.draw()
        if self._next is None and not self._coming:
            self._window.run_out(now)
        session.start()

    def _session_answered(self) -> None:
        was_open = self._window.opened_ns >= 0
        self._window.answered(self._env.now)
        if not was_open and self._window.opened_ns >= 0:
            self._cluster.count_from(self._env.now)

    def _session_ended(self, session: Session) -> None:
        window, now = self._window, self._env.now
        del self.sessions[session]
        was_open = window.opened_ns >= 0
        window.end(session.trajectory.workload, session.part, now)
        if not was_open and window.opened_ns >= 0:
            self._cluster.count_from(now)
        if self._progress is not None and session.part is Part.COUNTED:
            self._ended += 1
            self._progress(self._ended)
        if self._next is not None:
            self._begin(self._next, session.end_ns)
            self.draw()
        if window.done and (self.sessions or self._coming):  # they only fill the load
            Call(self._env, 1, StopSimulation.callback, rank=-1)
