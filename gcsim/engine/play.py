"""Plays trajectories on a deployment: the engine's front door."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from gcsim.engine import batching, router
from gcsim.engine.clock import Clock, to_ns
from gcsim.engine.cluster import Cluster, Terms
from gcsim.engine.compiled.why import GaveUpError
from gcsim.engine.load import Load
from gcsim.engine.records import Records
from gcsim.errors import Problem, ProfileError, nearest
from gcsim.machine.machine import Machine
from gcsim.profiles.deployment import Deployment
from gcsim.traffic.trajectory import Trajectory


def play(
    deployment: Deployment,
    costs: dict[str, Machine],
    trajectories: Iterable[Trajectory],
    terms: Terms,
    *,
    horizon_s: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Cluster:
    """Play trajectories until those of the window have ended; the cluster holds what happened.

    A trajectory with a start time starts then; one without starts when an earlier one ends (a
    closed loop). They are drawn from the iterable as they start, so it may be endless.
    horizon_s: a time at which the run is cut off; progress: called with the number of ended
    trajectories that count. Errors: `ProfileError` for an unknown policy.
    """
    cluster = _cluster(deployment, costs, terms)
    env = cluster.env
    load = Load(env, cluster, trajectories, progress)
    load.draw()
    with _no_collector():
        env.run(until=None if horizon_s is None else to_ns(horizon_s) + 1)
    for replica in cluster.replicas:
        replica.stop(env.now)
    for request in cluster.live:
        if request.sent_ns <= env.now:
            cluster.records.request(request, 0, -1, -1)
    for session in load.sessions:
        cluster.records.trajectory(session)
    return cluster


def play_compiled(
    deployment: Deployment,
    costs: dict[str, Machine],
    trajectories: Iterable[Trajectory],
    terms: Terms,
    *,
    ahead: int = 1,
    horizon_s: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Cluster:
    """`play` by the compiled loop, of what it can play (`gcsim.engine.compiled.play.unplayable`).

    ahead: how many trajectories may be drawn before they are needed.
    Errors: `gcsim.engine.compiled.play.GaveUpError` where it could not go on: `play` can.
    """
    try:  # what joins the parts of the loop is internal to numba: another version may lack it
        from gcsim.engine.compiled import play as compiled
    except (ImportError, AttributeError, TypeError) as error:
        raise GaveUpError("this version of numba does not compile the loop") from error

    cluster = _cluster(deployment, costs, terms)
    with _no_collector():
        compiled.play(cluster, trajectories, ahead=ahead, horizon_s=horizon_s, progress=progress)
    return cluster


def _cluster(deployment: Deployment, costs: dict[str, Machine], terms: Terms) -> Cluster:
    """A cluster at its start, of what makes sense."""
    _check_policies(deployment)
    _check_formats(deployment, costs)
    return Cluster(Clock(), deployment, costs, terms, Records())


@contextmanager
def forgotten() -> Iterator[None]:
    """What is made inside and not kept is gone at the end; the cycle collector rests meanwhile.

    The parts of a cluster know each other, so only the collector frees one, and its passes during
    a run cost a tenth. Here it makes one, at the end, over what was made inside: what is older is
    frozen. Use it as a decorator, so that the function's own names are gone by then. Within
    another one, or where the collector is off, it does nothing.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        gc.enable()


@contextmanager
def _no_collector() -> Iterator[None]:
    """Without the cycle collector: nothing that the engine makes can go before the run ends."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_policies(deployment: Deployment) -> None:
    problems = [
        _unknown(
            deployment, f"pools.{name}.batching.policy", pool.batching.policy, batching.POLICIES
        )
        for name, pool in deployment.pools.items()
    ]
    problems.append(
        _unknown(deployment, "router.policy", deployment.router.policy, router.POLICIES)
    )
    found = [problem for problem in problems if problem is not None]
    if found:
        raise ProfileError(found)


def _check_formats(deployment: Deployment, costs: dict[str, Machine]) -> None:
    """KV that changes its format on the way needs a rate at which it is converted."""
    if deployment.kv_handoff.conversion_bandwidth is not None:
        return
    for link in deployment.links:
        if costs[link.from_].kv_bytes != costs[link.to].kv_bytes:
            raise ProfileError.one(
                f"deployment {deployment.name}",
                "kv_handoff.conversion_bandwidth",
                None,
                f"is missing, but {link.from_} and {link.to} keep KV in different formats",
                "give the rate at which KV is converted, e.g. '1 TB/s'",
            )


def _unknown(
    deployment: Deployment, field: str, name: str, known: Mapping[str, object]
) -> Problem | None:
    if name in known:
        return None
    file = f"deployment {deployment.name}"
    return Problem(file, field, name, "no policy of this name", nearest(name, known))
