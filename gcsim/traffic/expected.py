"""How large a run is, before it starts: requests from the means of its workload, time from those.

Speed and memory are those of docs/performance.md, on the careful side. What a recorded trace holds
is judged by its beginning and its size; `workload.trace.requests` bounds it.
"""

import os
import zlib
from collections.abc import Iterable, Sequence
from math import inf
from pathlib import Path
from typing import NamedTuple

from gcsim.errors import ProfileError
from gcsim.profiles.arrivals import ChangingRate, Closed, GammaArrivals, Poisson
from gcsim.profiles.distribution import middle
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.workload import Agent, Trace, leaves
from gcsim.traffic.trajectory import Trajectory

REQUEST_S = 2e-4  # a third of the measured speed: other machines, neighbours
VIEW_S = 1e-5  # of a request, per replica that the router looks at
TOKEN_S = 3e-5  # of an output token where every iteration is an event
REPLICA_S = 2e-3  # to set up a replica, and to tell of it
REQUEST_BYTES, REPLICA_BYTES, AGENT_BYTES = 2_500, 150_000, 10_000
SAMPLE_BYTES = 4_000_000  # of a trace
OUTPUTS = (b'"osl"', b'"out"', b'"output_length"', b'"output_tokens"')  # one a request
AROUND = 3.0  # times what is under way: played before the window, and after it
NOTED_S = 60.0  # a run that takes longer is announced
LARGE = 5_000  # requests from which on a run is played by the compiled loop
LARGE_TRACE_BYTES = 2_000_000
MEMORY_SHARE = 0.8  # of the machine's memory that a run may take


class Size(NamedTuple):
    """What a run plays, and what that takes: seconds of real time on one core, bytes of memory."""

    trajectories: float
    requests: float
    takes_s: float
    takes_bytes: float


def size(scenario: Scenario) -> Size:
    """How large a run will be on average; infinite for one without an end.

    >>> from gcsim.profiles.resolve import resolve
    >>> found = size(resolve("coding-agents").scenario)
    >>> found.trajectories, 5_000 < found.requests < 7_000, found.takes_s < 10
    (160.0, True, True)
    """
    if scenario.workload.trace is not None:
        return _size_recorded(scenario, scenario.workload.trace)
    known = [leaf for leaf in leaves(scenario.workload) if leaf.workload.agent]
    agents = [(leaf.share, leaf.workload.agent) for leaf in known if leaf.workload.agent]
    each = sum(share * calls(agent) for share, agent in agents)
    tokens = sum(share * calls(agent) * middle(agent.output) for share, agent in agents)
    count = trajectories(scenario, sum(share * _task_s(agent) for share, agent in agents))
    replicas = sum(pool.replicas for pool in scenario.deployment.pools.values())
    one_s = REQUEST_S + replicas * VIEW_S
    takes_s = replicas * REPLICA_S + (count * each * one_s if each else 0.0)
    if scenario.engine == "iteration":
        takes_s += count * tokens * TOKEN_S if tokens else 0.0
    clients = scenario.arrivals.agents if isinstance(scenario.arrivals, Closed) else 0
    requests = count * each if each else 0.0
    memory = requests * REQUEST_BYTES + replicas * REPLICA_BYTES + clients * AGENT_BYTES
    return Size(count, requests, takes_s, memory)


def _size_recorded(scenario: Scenario, trace: Trace) -> Size:
    """As `size`, of a recorded trace."""
    sessions, requests = recorded(Path(trace.path)) if trace.path else (0.0, 0.0)
    share = min(trace.requests / requests if trace.requests and requests else 1.0, 1.0)
    if scenario.tasks and sessions:
        share = min(share, scenario.tasks / sessions)
    sessions, requests = sessions * share, requests * share
    replicas = sum(pool.replicas for pool in scenario.deployment.pools.values())
    takes_s = replicas * REPLICA_S + requests * (REQUEST_S + replicas * VIEW_S)
    memory = requests * REQUEST_BYTES + replicas * REPLICA_BYTES
    return Size(sessions, requests, takes_s, memory)


def recorded(path: Path) -> tuple[float, float]:
    """Sessions and requests of a trace, judged by its first megabytes and its size.

    A line is a session, or a request of one; where lines name several outputs each is a request.
    Nothing is known (0) of a file that cannot be read, or of parquet.
    """
    try:
        files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
        total = sum(file.stat().st_size for file in files)
        with min(files).open("rb") as file:
            head = file.read(SAMPLE_BYTES)
        text, read = head, len(head)
        if head[:2] == b"\x1f\x8b":
            unpack = zlib.decompressobj(31)
            text = unpack.decompress(head, SAMPLE_BYTES)
            read -= len(unpack.unconsumed_tail)
    except (OSError, ValueError, zlib.error):
        return 0.0, 0.0
    if not text or text[:4] == b"PAR1":
        return 0.0, 0.0
    lines = max(text.count(b"\n"), 1)
    named = max(text.count(name) for name in OUTPUTS) if text.lstrip()[:1] in b"{[" else 0
    requests = named or lines
    return min(lines, requests) * total / read, requests * total / read


def is_large(scenario: Scenario, traffic: Iterable[Trajectory] | None = None) -> bool:
    """Whether the compiled loop is worth its start; traffic: what is played in place of its own."""
    if isinstance(traffic, Sequence):
        return sum(len(t.steps) for t in traffic) >= LARGE
    for leaf in leaves(scenario.workload):
        trace = leaf.workload.trace
        if trace is not None and trace.path is not None:
            path = Path(trace.path)
            return path.is_file() and path.stat().st_size >= LARGE_TRACE_BYTES
    return size(scenario).requests >= LARGE


def calls(agent: Agent) -> float:
    """Requests of one task on average."""
    found = middle(agent.steps) * middle(agent.samples)
    if fan_out := agent.fan_out:
        found += fan_out.share.value * middle(fan_out.branches) * middle(fan_out.steps)
    return max(found, 1.0)


def trajectories(scenario: Scenario, task_s: float) -> float:
    """How many trajectories of agents start: those that count, what warms up, what fills.

    task_s: the least time of one, on average
    """
    run, arrivals = scenario.run, scenario.arrivals
    counted = inf if scenario.tasks is None else float(scenario.tasks)
    if all(leaf.workload.agent is None for leaf in leaves(scenario.workload)):
        return 0.0 if counted == inf else counted  # a trace ends
    match arrivals:
        case Poisson() | GammaArrivals():
            rate = arrivals.rate
        case ChangingRate():
            rate = max(point.rate for point in arrivals.points)
            if run.horizon is None and not arrivals.points[-1].rate:
                return min(counted, 1.0 + rate * arrivals.points[-1].at)
        case Closed():
            rate = arrivals.agents / max(task_s, 1e-3)
        case _:
            return counted  # a batch
    under_way = arrivals.agents if isinstance(arrivals, Closed) else rate * task_s
    if run.time is not None:
        counted = min(counted, rate * run.time)
    # What warms up, and what keeps the load on until the longest counted task has ended.
    before = AROUND * under_way if scenario.warmup_s is None else rate * scenario.warmup_s
    begun = inf if run.horizon is None else rate * run.horizon + under_way
    return min(before + counted + AROUND * under_way, begun)


def _task_s(agent: Agent) -> float:
    """The least time of a task, on average: what lies between its steps."""
    between_s = middle(agent.tools.delay) if agent.tools else 0.0
    if agent.user:
        between_s += middle(agent.user.gap) / max(middle(agent.user.every), 1.0)
    return middle(agent.start_delay) + middle(agent.steps) * between_s


def that_fit(scenario: Scenario, limit_s: float) -> int:
    """The most tasks that count (`run.trajectories`) of a run that takes about so long."""
    found = size(scenario)
    around = found.trajectories - float(scenario.tasks or 0)  # what warms up and what fills
    around = 0.0 if scenario.ends else around
    fixed_s = REPLICA_S * sum(pool.replicas for pool in scenario.deployment.pools.values())
    each_s = (found.takes_s - fixed_s) / max(found.trajectories, 1.0)
    fit = int((limit_s - fixed_s) / max(each_s, 1e-9) - around)
    return max(fit if scenario.tasks is None else min(fit, scenario.tasks), 1)


def memory_bytes() -> float:
    """The memory of this machine; infinite where it does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # Windows
        return inf


def check_size(scenario: Scenario) -> Size:
    """Refuse a run that would take more time than `run.limit`, or more memory than there is.

    Errors: `ProfileError` that says how large it is, and what fits.
    """
    found, limit_s = size(scenario), scenario.run.limit
    if found.trajectories == inf:
        why, hint = "is without an end", "give run.trajectories or run.horizon"
        raise ProfileError.one(scenario.name, "run.trajectories", None, why, hint)
    most = MEMORY_SHARE * memory_bytes()
    if found.takes_s > limit_s:
        fits = f"run.trajectories={that_fit(scenario, limit_s)} fits"
        hint = f"{fits}; --limit TIME cuts it, or lets it take longer"
        why = f"{told(found)}, and the limit is {span(limit_s)}"
        raise ProfileError.one(scenario.name, "run", None, why, hint)
    if found.takes_bytes > most:
        why = f"{told(found)}, and there are {most / 1e9:.3g} GB for it"
        hint = "fewer trajectories, agents or replicas"
        raise ProfileError.one(scenario.name, "run", None, why, hint)
    return found


def told(found: Size) -> str:
    """A size in words."""
    return (
        f"{found.trajectories:,.0f} trajectories, about {found.requests:,.0f} requests, take about"
        f" {span(found.takes_s)} and {max(found.takes_bytes / 1e9, 0.1):.1f} GB"
    )


def span(seconds: float) -> str:
    """A time for people.

    >>> span(90), span(7200), span(3e8)
    ('1.5 min', '2 h', '9.51 years')
    """
    for unit, length in (("years", 31_557_600), ("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
