"""The spine: a scenario, its machines, its traffic, the engine, a `Result`.

simulate       a scenario to a result, warm-up and all; what every study does
play_scenario  the engine alone: what happened, before any statistics
bind_pools     the machines: each pool as what its iterations cost
"""

from collections.abc import Callable, Iterable
from math import isnan
from typing import Any

import numpy as np

from gcsim.engine.clock import to_ns
from gcsim.engine.cluster import Cluster, Terms
from gcsim.engine.play import forgotten, play
from gcsim.errors import CapacityError, Problem
from gcsim.machine.machine import Machine, bind
from gcsim.profiles.assumed import assumed_values
from gcsim.profiles.resolve import Resolved, with_settings
from gcsim.profiles.scenario import Scenario
from gcsim.results.classes import class_summaries, steps_within
from gcsim.results.counted import count_run, slos_of
from gcsim.results.intervals import interval_summary, settling_s
from gcsim.results.result import Result
from gcsim.results.saturation import saturation
from gcsim.results.summary import summarise, summarise_gaps, summarise_pools
from gcsim.results.tables import (
    link_table,
    pool_table,
    request_table,
    timeline_table,
    trajectory_table,
)
from gcsim.traffic.expected import check_size
from gcsim.traffic.generate import trajectories, within
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

    progress: called with the number of ended trajectories. With `run.warmup: auto` it is played
    twice; the result's own scenario has the warm-up that was found, and so repeats its numbers.
    """
    settled: bool | None = None
    if traffic is None:
        check_size(resolved.scenario)
    if isnan(resolved.scenario.run.warmup):
        traffic = None if traffic is None else list(traffic)
        warmup_s, settled = settling_s(request_table(play_scenario(resolved.scenario, traffic)))
        resolved = with_settings(resolved, {"run.warmup": f"{warmup_s!r} s"})
    skipped = Skipped()
    cluster = play_scenario(resolved.scenario, traffic, progress, skipped)
    result = result_of(resolved, cluster)
    found = {"warmup_settled": settled, "skipped_lines": skipped.count}
    result.summary.update(found, skipped_failed=skipped.failed)
    return result


def play_scenario(
    scenario: Scenario,
    traffic: Iterable[Trajectory] | None = None,
    progress: Progress | None = None,
    skipped: Skipped | None = None,
) -> Cluster:
    """The engine on a scenario: what happened, before any statistics.

    traffic: trajectories to play in place of the scenario's own
    skipped: counts the lines of a trace that were left out
    """
    if traffic is None:
        workload = within(scenario.workload, scenario.model.context_window)
        seed, count = np.random.SeedSequence(scenario.run.seed), scenario.run.trajectories
        traffic = trajectories(workload, scenario.arrivals, seed, count, skipped)
    warmup_s = scenario.run.warmup
    terms = Terms(
        model=scenario.model.name,
        round_trip_s=scenario.network.round_trip,
        gateway_s=scenario.network.gateway,
        count_from_ns=0 if isnan(warmup_s) else to_ns(warmup_s),
        coalesce=scenario.engine == "coalesced",
    )
    machines, horizon_s = bind_pools(scenario), scenario.run.horizon
    return play(
        scenario.deployment, machines, traffic, terms, horizon_s=horizon_s, progress=progress
    )


def bind_pools(scenario: Scenario) -> dict[str, Machine]:
    """The machine of every pool; all that do not fit are told at once."""
    costs: dict[str, Machine] = {}
    problems: list[Problem] = []
    for name, pool in scenario.deployment.pools.items():
        try:
            costs[name] = bind(pool.model or scenario.model, pool, scenario.dtype)
        except CapacityError as error:
            problems += error.problems
    if problems:
        raise CapacityError(problems)
    return costs


def result_of(resolved: Resolved, cluster: Cluster) -> Result:
    """What happened on a cluster, as tables and as a summary."""
    scenario = resolved.scenario
    warmup_s, end_s = scenario.run.warmup, cluster.env.now * 1e-9
    elapsed_s = max(end_s - warmup_s, 0.0)
    requests, tasks = request_table(cluster), trajectory_table(cluster)
    pools, links = pool_table(cluster, elapsed_s), link_table(cluster, elapsed_s)
    counted = count_run(requests, tasks, pools, slos_of(scenario), (warmup_s, end_s))
    why = saturation(scenario, requests, tasks, end_s)
    summary: dict[str, Any] = {
        "scenario": scenario.name,
        "model": scenario.model.name,
        "deployment": scenario.deployment.name,
        "workload": scenario.workload.name,
        "seed": scenario.run.seed,
        "version": __version__,
        "simulated_s": end_s,
        **summarise(counted),
        **summarise_gaps(cluster),
        **summarise_pools(counted),
        **interval_summary(counted, why is not None),
        "warmup_s": warmup_s,
        "saturated": why is not None,
        "saturated_why": why,
        "assumed_values": len(assumed_values(scenario)),
        "steps_within_budget": steps_within(requests, tasks, scenario, end_s),
        "classes": class_summaries(scenario, requests, tasks, pools, end_s),
        "pools": pools.replace({np.nan: None}).to_dict("records"),
        "links": links.to_dict("records"),
    }
    return Result(resolved, summary, requests, tasks, pools, links, timeline_table(cluster))
