"""Trajectories of a workload, made one after the other, never all in memory.

Randomness: trajectories are drawn in blocks of `BLOCK`; every (class, purpose, block) has a
generator of its own, keyed by the seed, so that trajectory k of a class is the same whatever the
deployment, the rate, the count or the other classes of a mix: common random numbers.
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from itertools import count as counter
from math import inf
from zlib import crc32

import numpy as np

from gcsim.errors import ProfileError
from gcsim.profiles.arrivals import Arrivals, Closed, TraceArrivals
from gcsim.profiles.bounds import CLOCK_S_MAX
from gcsim.profiles.workload import Agent, Leaf, Workload, leaves
from gcsim.traffic.agent import plan_block
from gcsim.traffic.arrivals import starts
from gcsim.traffic.midway import OF_POOL, POOL, choose, enter
from gcsim.traffic.traces import replay
from gcsim.traffic.traces.replay import Plan
from gcsim.traffic.traces.row import Skipped
from gcsim.traffic.trajectory import Trajectory

BLOCK = 64
ARRIVALS, MIX, MIDWAY = 0, 1, 6  # purposes of a generator; 2 to 5: `gcsim.traffic.agent`
LATEST_S = CLOCK_S_MAX / 2  # of a start: what it begins must end on the clock too


def generator(seed: np.random.SeedSequence, *key: int) -> np.random.Generator:
    """The generator of one purpose: the same key gives the same stream, other keys others."""
    child = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key))
    return np.random.Generator(np.random.PCG64(child))


def trajectories(
    workload: Workload,
    arrivals: Arrivals,
    seed: np.random.SeedSequence,
    count: int | None = None,
    skipped: Skipped | None = None,
) -> Iterator[Trajectory]:
    """The trajectories of a workload in the order of their starts.

    count: how many; None goes on until a trace (or a load that falls to 0) ends, else for ever.
    skipped: counts the bad lines of traces that allow it (`trace.skip_bad_lines`).
    Errors: `ProfileError` for a trace that cannot be read, or that has no times and needs them.

    >>> from gcsim.profiles.arrivals import Poisson
    >>> from gcsim.profiles.workload import load_workload
    >>> seed = np.random.SeedSequence(1)
    >>> arrivals = Poisson(process="poisson", rate="2 /s")
    >>> [len(t.steps) for t in trajectories(load_workload("coding-agent"), arrivals, seed, 3)]
    [38, 26, 63]
    """
    feed = _drawn(workload, arrivals, seed, skipped or Skipped())
    entered = arrivals.agents if isinstance(arrivals, Closed) and arrivals.start == "midway" else 0
    if entered:
        recorded = any(leaf.workload.trace is not None for leaf in leaves(workload))
        feed = chain(_entered(feed, entered, recorded, generator(seed, MIDWAY)), feed)
    own = arrivals if isinstance(arrivals, TraceArrivals) else None
    times = starts(arrivals, generator(seed, ARRIVALS))
    for index, ((leaf, plan), time_s) in enumerate(islice(zip(feed, times, strict=False), count)):
        if own:
            time_s = _own_time(plan, leaf, own)
        if time_s is not None and time_s > LATEST_S:
            raise _too_late(arrivals, index, time_s)
        midway = index < entered
        yield Trajectory(index, leaf.name, plan.steps, time_s, leaf.priority, entered=midway)


def _drawn(
    workload: Workload, arrivals: Arrivals, seed: np.random.SeedSequence, skipped: Skipped
) -> Iterator[tuple[Leaf, Plan]]:
    """What trajectories are made of, one after another, each with its class."""
    parts = leaves(workload)
    plans: dict[str, Iterator[Plan]] = {}  # one for each workload, whatever its tiers
    for slot, leaf in enumerate(parts):
        plans.setdefault(leaf.workload.name, _plans(leaf, slot, seed, skipped))
    for index, slot in enumerate(_slots(parts, seed)):
        leaf = parts[slot]
        plan = next(plans[leaf.workload.name], None)
        if plan is None:
            _check_enough(arrivals, index, leaf.workload.name)
            return
        yield leaf, plan


def _entered(
    feed: Iterator[tuple[Leaf, Plan]], agents: int, recorded: bool, rng: np.random.Generator
) -> Iterator[tuple[Leaf, Plan]]:
    """The sessions in which agents are found when the run begins: `gcsim.traffic.midway`."""
    number = 0
    while number < agents:
        count = 1 if recorded else min(OF_POOL, agents - number)
        pool = list(islice(feed, 1 if recorded else POOL))
        if not pool:
            return
        for place in choose([plan.steps for _, plan in pool], count, rng):
            leaf, plan = pool[place.session]
            yield leaf, plan._replace(steps=enter(plan.steps, place.at, place.left, number))
            number += 1


def within(workload: Workload, context_window: int) -> Workload:
    """The workload as agents that know their model play it.

    One that shrinks its context (`Agent.compact_above`) does so early enough that the largest
    prompt and the largest output still fit the model's context window.
    """
    if workload.mix is not None:
        parts = (
            part.model_copy(update={"workload": within(part.workload, context_window)})
            for part in workload.mix
        )
        return workload.model_copy(update={"mix": tuple(parts)})
    agent = workload.agent
    if agent is None or agent.compact_above is None:
        return workload
    outputs = (agent.output, agent.last_output)
    limit = context_window - max(dist.high or 0.0 for dist in outputs if dist is not None)
    if limit <= agent.shared.value or (agent.compact_above.high or inf) <= limit:
        return workload
    sooner = agent.compact_above.model_copy(update={"high": limit})
    agent = agent.model_copy(update={"compact_above": sooner})
    return workload.model_copy(update={"agent": agent})


def _check_enough(arrivals: Arrivals, index: int, name: str) -> None:
    """A closed loop keeps all of its agents busy, with a whole task at least once."""
    if not isinstance(arrivals, Closed):
        return
    most = index - (arrivals.start == "midway")
    if most < arrivals.agents:
        why = f"is more than the {most:,} tasks that trace {name} has: no load of so many agents"
        if most < index:
            why = f"leaves no whole task of the {index:,} that trace {name} has, entered midway"
        hint = f"give at most {most}, or a longer trace"
        raise ProfileError.one(name, "arrivals.agents", arrivals.agents, why, hint)


def _too_late(arrivals: Arrivals, index: int, time_s: float) -> ProfileError:
    field = "arrivals.rate_scale" if isinstance(arrivals, TraceArrivals) else "arrivals.rate"
    why = f"trajectory {index} would start after {time_s:.3g} s, and the clock ends"
    return ProfileError.one("arrivals", field, None, why, "give a higher one, or a run.horizon")


def _own_time(plan: Plan, leaf: Leaf, own: TraceArrivals) -> float:
    if plan.start_s is None:
        what = "the trace has" if leaf.workload.trace else "a class of agents has"
        why, hint = f"{what} no times of its own", "use poisson, gamma, closed or static"
        raise ProfileError.one(leaf.workload.name, "arrivals.process", "trace", why, hint)
    return plan.start_s / own.rate_scale


def _slots(parts: tuple[Leaf, ...], seed: np.random.SeedSequence) -> Iterator[int]:
    """Which part of a mix each trajectory comes from."""
    sums = np.cumsum([leaf.share for leaf in parts])[:-1]
    rng = generator(seed, MIX)
    while True:
        yield from np.searchsorted(sums, rng.random(BLOCK), side="right").tolist()


def _plans(leaf: Leaf, slot: int, seed: np.random.SeedSequence, skipped: Skipped) -> Iterator[Plan]:
    workload = leaf.workload
    if workload.trace is not None:
        own = Skipped(workload.trace.skip_bad_lines, total=skipped)
        return replay.plans(workload.trace, slot, own)
    assert workload.agent is not None  # `leaves` has only classes and traces
    return _agent_plans(workload.agent, workload.name, slot, seed)


def _agent_plans(
    agent: Agent, name: str, slot: int, seed: np.random.SeedSequence
) -> Iterator[Plan]:
    who = crc32(name.encode())
    for block in counter():
        stream = partial(_stream, seed, who, block)
        for steps in plan_block(
            agent, name, slot, number=block * BLOCK, count=BLOCK, stream=stream
        ):
            yield Plan(steps)


def _stream(
    seed: np.random.SeedSequence, who: int, block: int, purpose: int
) -> np.random.Generator:
    return generator(seed, purpose, who, block)
