"""The spine: a scenario, its machines, its traffic, the engine, a `Result`.

simulate       a scenario to a result, warm-up and all; what every study does
play_scenario  the engine alone: what happened, before any statistics
bind_pools     the machines: each pool as what its iterations cost
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gcsim.engine.clock import to_ns
from gcsim.engine.cluster import Cluster, Terms
from gcsim.engine.compiled.why import GaveUpError, unplayable
from gcsim.engine.log import Log
from gcsim.engine.play import forgotten, play, play_compiled
from gcsim.engine.window import Window
from gcsim.errors import CapacityError, Problem
from gcsim.machine.machine import Machine, bind
from gcsim.profiles.arrivals import Closed, Static
from gcsim.profiles.assumed import assumed_values
from gcsim.profiles.resolve import Resolved
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.workload import leaves
from gcsim.results.classes import class_summaries, steps_within, tier_summaries
from gcsim.results.counted import count_run, window_s
from gcsim.results.intervals import interval_summary
from gcsim.results.result import Result
from gcsim.results.saturation import load_of, saturation
from gcsim.results.summary import summarise, summarise_gaps, summarise_pools
from gcsim.results.tables import (
    link_table,
    pool_table,
    request_table,
    timeline_table,
    trajectory_table,
    unused,
    with_tiers,
)
from gcsim.traffic.expected import check_size, is_large
from gcsim.traffic.generate import BLOCK, trajectories, within
from gcsim.traffic.traces.row import Skipped
from gcsim.traffic.trajectory import Trajectory
from gcsim.version import __version__

Progress = Callable[[int], None]


@forgotten()
def simulate(
    resolved: Resolved,
    traffic: Iterable[Trajectory] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Play a resolved scenario, or other trajectories on it, to a `Result`.

    progress: called with the number of ended trajectories that count.
    """
    if traffic is None:
        check_size(resolved.scenario)
    skipped = Skipped()
    cluster = play_scenario(resolved.scenario, traffic, progress, skipped)
    result = result_of(resolved, cluster)
    result.summary.update(skipped_lines=skipped.count, skipped_failed=skipped.failed)
    return result


def play_scenario(
    scenario: Scenario,
    traffic: Iterable[Trajectory] | None = None,
    progress: Progress | None = None,
    skipped: Skipped | None = None,
    log: Log | None = None,
) -> Cluster:
    """The engine on a scenario: what happened, before any statistics.

    traffic: trajectories to play in place of the scenario's own; they count from the first on,
    unless the scenario has a warm-up
    skipped: counts the lines of a trace that were left out
    log: notes iterations and transfers; the compiled loop cannot
    """
    machines, horizon_s = bind_pools(scenario), scenario.run.horizon
    drawn = not any(leaf.workload.trace for leaf in leaves(scenario.workload))
    why = _not_compiled(scenario, traffic, machines) if log is None else "it is noted"
    if why is None:
        try:
            cluster = play_compiled(
                scenario.deployment,
                machines,
                _traffic(scenario, skipped) if traffic is None else traffic,
                _terms(scenario, own=traffic is None),
                ahead=BLOCK if drawn and traffic is None else 1,
                horizon_s=horizon_s,
                progress=progress,
            )
        except GaveUpError as error:
            why = str(error)
            if skipped is not None:
                skipped.forget()
        else:
            cluster.played = "compiled"
            return cluster
    cluster = play(
        scenario.deployment,
        machines,
        _traffic(scenario, skipped) if traffic is None else traffic,
        replace(_terms(scenario, own=traffic is None), log=log),
        horizon_s=horizon_s,
        progress=progress,
    )
    cluster.played = f"{'iteration' if scenario.engine == 'iteration' else 'coalesced'}: {why}"
    return cluster


def _traffic(scenario: Scenario, skipped: Skipped | None) -> Iterable[Trajectory]:
    """The trajectories of a scenario."""
    workload = within(scenario.workload, scenario.model.context_window)
    seed = np.random.SeedSequence(scenario.run.seed)
    count = scenario.tasks if isinstance(scenario.arrivals, Static) else None
    return trajectories(workload, scenario.arrivals, seed, count, skipped)


def _terms(scenario: Scenario, own: bool) -> Terms:
    """What the cluster knows beside the deployment; a window of its own."""
    return Terms(
        model=scenario.model.name,
        round_trip_s=scenario.network.round_trip,
        gateway_s=scenario.network.gateway,
        window=window_of(scenario, own),
        coalesce=scenario.engine != "iteration",
    )


def _not_compiled(
    scenario: Scenario, traffic: Iterable[Trajectory] | None, machines: dict[str, Machine]
) -> str | None:
    """Why the compiled loop is not to play a scenario, or cannot; None where it does."""
    if scenario.engine in ("coalesced", "iteration"):
        return "as asked for"
    if traffic is not None and not isinstance(traffic, Sequence):
        return "its trajectories can be drawn once only"
    if scenario.engine == "auto" and not is_large(scenario, traffic):
        return "a short run"
    return unplayable(scenario.deployment, machines)


def window_of(scenario: Scenario, own: bool = True) -> Window:
    """What of a run of a scenario counts; own: it plays its own traffic, not other trajectories."""
    run, warmup_s = scenario.run, scenario.warmup_s
    tasks = scenario.tasks if own or scenario.ends else run.trajectories
    if warmup_s is None and not own:
        warmup_s = 0.0
    warmup_ns = None if warmup_s is None else to_ns(warmup_s)
    time_ns = None if run.time is None else to_ns(run.time)
    agents = scenario.arrivals.agents if own and isinstance(scenario.arrivals, Closed) else 0
    return Window(tasks, warmup_ns, time_ns, agents, midway=own and scenario.midway)


def bind_pools(scenario: Scenario) -> dict[str, Machine]:
    """The machine of every pool; all that do not fit are told at once."""
    costs: dict[str, Machine] = {}
    problems: list[Problem] = []
    for name, pool in scenario.deployment.pools.items():
        try:
            costs[name] = bind(pool.model or scenario.model, pool, scenario.dtype)
        except CapacityError as error:
            problems += (_in_pool(problem, name) for problem in error.problems)
    if problems:
        raise CapacityError(problems)
    return costs


def _in_pool(problem: Problem, name: str) -> Problem:
    """A problem of a machine, told of the pool that it belongs to."""
    return replace(problem, field=f"pools.{name}{problem.field.removeprefix('pools')}")


def result_of(resolved: Resolved, cluster: Cluster) -> Result:
    """What happened on a cluster, as tables and as a summary."""
    scenario = resolved.scenario
    end_s, (open_s, close_s) = cluster.env.now * 1e-9, window_s(cluster)
    elapsed_s = max(end_s - open_s, 0.0)
    requests, tasks = (
        with_tiers(table, scenario) for table in (request_table(cluster), trajectory_table(cluster))
    )
    pools, links = pool_table(cluster, elapsed_s), link_table(cluster, end_s)
    timeline = timeline_table(cluster)
    load = load_of(cluster)
    why = saturation(scenario, load, open_s)
    times = {
        "simulated_s": end_s,
        "window_s": [open_s, close_s],
        "load_on_until_s": load.until_s,
        "served_under_load": load.served_since(open_s),
        "saturated": why is not None,
    }
    counted = count_run(requests, tasks, pools, scenario, times)
    summary: dict[str, Any] = {
        "scenario": scenario.name,
        "model": scenario.model.name,
        "deployment": scenario.deployment.name,
        "workload": scenario.workload.name,
        "seed": scenario.run.seed,
        "version": __version__,
        **times,
        "recorded": {"requests": len(requests), "trajectories": len(tasks)},
        **summarise(counted),
        **summarise_gaps(cluster),
        **summarise_pools(counted),
        **interval_summary(counted, why is not None),
        "saturated_why": why,
        **unused(cluster),
        "assumed_values": len(assumed_values(scenario)),
        "steps_within_budget": steps_within(counted, scenario.run.budget),
        "classes": class_summaries(scenario, counted),
        "tiers": tier_summaries(scenario, counted),
        "pools": pools.replace({np.nan: None}).to_dict("records"),
        "links": links.to_dict("records"),
    }
    result = Result(resolved, summary, requests, tasks, pools, links, timeline)
    return replace(result, played=cluster.played)
