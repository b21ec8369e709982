"""What counts: the requests and tasks of a run that its metrics are over, and who kept the SLO."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gcsim.engine.cluster import Cluster
from gcsim.profiles.arrivals import Closed, Price, Slo, Static
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.workload import leaves

TICK_S = 1e-9  # times are whole nanoseconds; seconds as floats are off by less


@dataclass(frozen=True)
class Counted:
    """What the metrics of a run, or of one of its classes, are over.

    sent, started: the requests and tasks of the window (`gcsim.engine.window`); requests, tasks:
    those that completed, with the column `good` (kept its SLO), requests also with `usd` (what its
    user pays; NaN where nothing says so); pools: the table of pools;
    loaded_s: the time of which each task that started took its share, by its number (`loaded_s`);
    span_s: their sum, which rates are over; end_s: when the run ended; brief: fewer tasks count
    than agents work, so they are all under way at once.
    """

    requests: pd.DataFrame
    tasks: pd.DataFrame
    sent: pd.DataFrame
    started: pd.DataFrame
    pools: pd.DataFrame
    loaded_s: pd.Series
    span_s: float
    end_s: float
    brief: bool = False


def window_s(cluster: Cluster) -> tuple[float, float]:
    """When the window of a run opened and closed [s].

    It closes with the run where it has no length (a batch: all start at once) or never closed.
    """
    window, end_s = cluster.window, cluster.env.now * 1e-9
    open_s, close_s = window.opened_ns * 1e-9, window.closed_ns * 1e-9
    open_s = min(open_s, end_s) if window.opened_ns >= 0 else end_s
    return open_s, min(close_s, end_s) if close_s > open_s else end_s


def count_run(
    requests: pd.DataFrame,
    trajectories: pd.DataFrame,
    pools: pd.DataFrame,
    scenario: Scenario,
    summary: Mapping[str, Any],
) -> Counted:
    """Take what counts out of a run; summary: its times, what was served, `saturated`."""
    slos, end_s = slos_of(scenario), float(summary["simulated_s"])
    started = trajectories[trajectories["counted"]]
    sent = requests[requests["counted"]]
    done = sent[sent["status"] == "completed"]
    done = done.assign(good=meets(done, slos), usd=paid_usd(done, prices_of(scenario)))
    tasks = started[started["status"] == "completed"]
    tasks = tasks.assign(good=task_meets(tasks, done, slos))
    loaded_s = _loaded_s(started, len(done), scenario, summary)
    span_s = max(float(loaded_s.sum()), 1e-9)
    arrivals = scenario.arrivals
    brief = isinstance(arrivals, Closed) and len(started) < arrivals.agents
    return Counted(done, tasks, sent, started, pools, loaded_s, span_s, end_s, brief)


def _loaded_s(
    started: pd.DataFrame, done: int, scenario: Scenario, summary: Mapping[str, Any]
) -> pd.Series:
    """The share that each task has of the time under load [s], by its number.

    Renewal and reward: what a task brings (1, its requests, its tokens), summed over tasks, over
    their shares of time, summed likewise, is a rate that does not hang on where the run was cut.

        closed loop of n agents:  s_t = (end_t - start_t) / n          so X = n / R, Little's law
        open loop:                s_t = time until the next one starts so X = the rate of arrivals
        batch (all start at once) s_t = (end - start) / N
        saturated:                as open, x (load off - opened) x their requests / all served

    Ref: Ross, Introduction to Probability Models, 10th ed., section 7.4.
    """
    end_s, (open_s, close_s) = summary["simulated_s"], summary["window_s"]
    numbers = pd.Index(started["trajectory"], name="trajectory")
    if isinstance(scenario.arrivals, Closed):
        lasted = np.where(started["status"] == "unfinished", end_s, started["end_s"])
        lasted = lasted - started["start_s"].to_numpy()
        return pd.Series(lasted / scenario.arrivals.agents, numbers, name="loaded_s")
    if isinstance(scenario.arrivals, Static):
        return pd.Series((close_s - open_s) / max(len(started), 1), numbers, name="loaded_s")
    order = np.argsort(started["start_s"].to_numpy(), kind="stable")
    starts = started["start_s"].to_numpy()[order]
    shares = np.empty(len(starts))
    shares[order] = np.diff(np.concatenate([[open_s], starts[1:], [close_s]])[: len(starts) + 1])
    if summary["saturated"] and close_s > open_s:
        loaded_s = summary["load_on_until_s"] - open_s
        shares *= loaded_s / (close_s - open_s) * done / max(summary["served_under_load"], 1)
    return pd.Series(shares, numbers, name="loaded_s")


def of_classes(of: Counted, names: Collection[str]) -> Counted:
    """The part of some classes (or traces) of the workload."""
    tables = ("requests", "tasks", "sent", "started")
    rows = {key: getattr(of, key) for key in tables}
    mine = {key: table[table["workload"].isin(names)] for key, table in rows.items()}
    return replace(of, **mine)


def meets(done: pd.DataFrame, slos: Mapping[str, Slo]) -> pd.Series:
    """Whether each completed request met every bound of its workload's SLO."""
    good = pd.Series(True, index=done.index)
    for workload, slo in slos.items():
        mine = done["workload"] == workload
        for column, bound in (("ttft_s", slo.ttft), ("tpot_s", slo.tpot), ("e2e_s", slo.e2e)):
            if bound is not None:
                good &= ~mine | ~(done[column] > bound)
    return good


def task_meets(tasks: pd.DataFrame, done: pd.DataFrame, slos: Mapping[str, Slo]) -> pd.Series:
    """Whether each completed trajectory kept its task bound, and each of its requests its own.

    done: the completed requests, with the column `good`.
    """
    good = ~tasks["trajectory"].isin(set(done.loc[~done["good"], "trajectory"]))
    for workload, slo in slos.items():
        if slo.task is not None:
            good &= ~((tasks["workload"] == workload) & (tasks["task_s"] > slo.task))
    return good


def slos_of(scenario: Scenario) -> dict[str, Slo]:
    """The SLO of every workload of a scenario: the scenario's own, else the workload's."""
    return {leaf.name: scenario.slo or leaf.slo for leaf in leaves(scenario.workload)}


def prices_of(scenario: Scenario) -> dict[str, Price]:
    """What the users of each class pay, where something says so; as `slos_of`."""
    found = {leaf.name: scenario.price or leaf.price for leaf in leaves(scenario.workload)}
    return {name: price for name, price in found.items() if price is not None}


def tiers_of(scenario: Scenario) -> dict[str, list[str]]:
    """The classes of each tier; nothing where the workload has no tiers."""
    found: dict[str, list[str]] = {}
    for leaf in leaves(scenario.workload):
        if leaf.tier:
            found.setdefault(leaf.tier, []).append(leaf.name)
    return found


def paid_usd(done: pd.DataFrame, prices: Mapping[str, Price]) -> pd.Series:
    """What the user of each completed request pays [USD]; NaN where its class has no price.

    (input x (isl - cached) + cached x cached + output x osl) / 10^6, prices of a million tokens
    """
    usd = pd.Series(np.nan, index=done.index)
    for workload, price in prices.items():
        mine = done[done["workload"] == workload]
        paid = (mine["isl"] - mine["cached_tokens"]) * price.input.value
        paid = paid + mine["cached_tokens"] * price.cached.value + mine["osl"] * price.output.value
        usd[mine.index] = paid * 1e-6
    return usd
