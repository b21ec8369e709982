"""Plays a scenario and makes a `Result` of what happened: what every command and study does."""

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

import numpy as np

from gcsim import __version__
from gcsim.engine.clock import to_ns
from gcsim.engine.cluster import Cluster, Terms
from gcsim.engine.play import forgotten, play
from gcsim.engine.window import Window
from gcsim.errors import CapacityError, Problem
from gcsim.machine.machine import Machine, bind
from gcsim.profiles.arrivals import Static
from gcsim.profiles.assumed import assumed_values
from gcsim.profiles.resolve import Resolved
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.workload import Workload
from gcsim.results.classes import class_summaries, steps_within
from gcsim.results.counted import count_run, window_s
from gcsim.results.intervals import interval_summary
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
from gcsim.traffic.generate import trajectories
from gcsim.traffic.traces.row import Skipped
from gcsim.traffic.trajectory import Trajectory

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
    scenario = resolved.scenario
    skipped = Skipped()
    cluster = play_scenario(scenario, traffic, progress, skipped)
    end_s, (open_s, close_s) = cluster.env.now * 1e-9, window_s(cluster)
    elapsed_s = max(end_s - open_s, 0.0)
    requests, tasks = request_table(cluster), trajectory_table(cluster)
    pools, links = pool_table(cluster, elapsed_s), link_table(cluster, elapsed_s)
    why = saturation(scenario, requests, tasks, (open_s, close_s))
    times = {
        "simulated_s": end_s,
        "window_s": [open_s, close_s],
        "served": cluster.served,
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
        **summarise(counted),
        **summarise_gaps(cluster),
        **summarise_pools(counted),
        **interval_summary(counted, why is not None),
        "saturated_why": why,
        "assumed_values": len(assumed_values(scenario)),
        "skipped_lines": skipped.count,
        "skipped_failed": skipped.failed,
        "steps_within_budget": steps_within(counted, scenario.run.budget),
        "classes": class_summaries(scenario, counted),
    }
    summary["pools"] = pools.replace({np.nan: None}).to_dict("records")
    summary["links"] = links.to_dict("records")
    return Result(resolved, summary, requests, tasks, pools, links, timeline_table(cluster))


def play_scenario(
    scenario: Scenario,
    traffic: Iterable[Trajectory] | None = None,
    progress: Progress | None = None,
    skipped: Skipped | None = None,
) -> Cluster:
    """The engine on a scenario: what happened, before any statistics.

    skipped: counts the lines of a trace that were left out.
    """
    if traffic is None:
        traffic = trajectories(
            within(scenario.workload, scenario.model.context_window),
            scenario.arrivals,
            np.random.SeedSequence(scenario.run.seed),
            scenario.tasks if isinstance(scenario.arrivals, Static) else None,
            skipped,
        )
    model, run, warmup_s = scenario.model, scenario.run, scenario.warmup_s
    terms = Terms(
        model=model.name,
        round_trip_s=scenario.network.round_trip,
        gateway_s=scenario.network.gateway,
        window=Window(
            scenario.tasks,
            None if warmup_s is None else to_ns(warmup_s),
            None if run.time is None else to_ns(run.time),
        ),
        coalesce=scenario.engine == "coalesced",
    )
    return play(
        scenario.deployment, bind_pools(scenario), traffic, terms, scenario.run.horizon, progress
    )


def within(workload: Workload, context_window: int) -> Workload:
    """The workload as agents that know their model play it.

    One that shrinks its context at a window (`Agent.window`) does so early enough that the largest
    prompt and the largest output still fit the model's context window.
    """
    if workload.mix is not None:
        parts = (
            part.model_copy(update={"workload": within(part.workload, context_window)})
            for part in workload.mix
        )
        return workload.model_copy(update={"mix": tuple(parts)})
    agent = workload.agent
    if agent is None or agent.window is None:
        return workload
    outputs = (agent.output, agent.last_output)
    limit = context_window - max(dist.high or 0.0 for dist in outputs if dist is not None)
    if limit <= agent.shared.value or (agent.window.high or inf) <= limit:
        return workload
    window = agent.window.model_copy(update={"high": limit})
    return workload.model_copy(update={"agent": agent.model_copy(update={"window": window})})


def bind_pools(scenario: Scenario) -> dict[str, Machine]:
    """The cost of every pool; all that do not fit are told at once."""
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
