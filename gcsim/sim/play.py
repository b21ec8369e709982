"""Plays trajectories on a deployment: the engine's front door."""

from collections.abc import Callable, Iterable, Iterator

from simpy import Environment

from gcsim.cost import PoolCost
from gcsim.sim.clock import Call, to_ns
from gcsim.sim.cluster import Cluster, Terms
from gcsim.sim.records import Records
from gcsim.sim.request import UNFINISHED
from gcsim.sim.session import Session
from gcsim.spec.deployment import Deployment
from gcsim.traffic.trajectory import Trajectory


def play(
    deployment: Deployment,
    costs: dict[str, PoolCost],
    trajectories: Iterable[Trajectory],
    terms: Terms,
    agents: int = 0,
    horizon_s: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Cluster:
    """Play every trajectory to its end, or up to `horizon_s`; the cluster holds what happened.

    Trajectories with a start time start then; for those without (a closed loop) `agents` are kept
    going: when one ends the next begins. They are drawn from the iterable as they start, so it may
    be long. `progress` is called with the number of ended trajectories.
    """
    env = Environment()
    records = Records()
    cluster = Cluster(env, deployment, costs, terms, records)  # type: ignore[arg-type]
    feed = iter(trajectories)
    live: dict[int, Session] = {}
    ended = 0

    def start(trajectory: Trajectory) -> None:
        if trajectory.start_s is not None:
            _next(feed)
        session = live[trajectory.index] = Session(trajectory, env.now, cluster.send)
        session.start()

    def _next(source: Iterator[Trajectory], delay_ns: int = 0) -> None:
        trajectory = next(source, None)
        if trajectory is not None:
            if trajectory.start_s is not None:
                delay_ns = max(to_ns(trajectory.start_s) - env.now, 0)
            Call(env, delay_ns, start, trajectory)

    def session_ended(session: Session) -> None:
        nonlocal ended
        del live[session.trajectory.index]
        ended += 1
        if progress is not None:
            progress(ended)
        if session.trajectory.start_s is None:
            _next(feed, session.end_ns - env.now)

    cluster.session_ended = session_ended  # type: ignore[method-assign]
    for _ in range(max(agents, 1)):
        _next(feed)
    env.run(until=None if horizon_s is None else to_ns(horizon_s) + 1)
    for request in cluster.live:
        request.status = UNFINISHED
        records.request(request, 0, -1, -1)
    for session in live.values():
        records.trajectory(session)
    return cluster
