"""What counts: the requests and tasks of a run that its metrics are over, and who kept the SLO."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from gcsim.profiles.arrivals import Slo
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.workload import leaves


@dataclass(frozen=True)
class Counted:
    """What the metrics of a run, or of one of its classes, are over.

    requests, tasks: completed, begun after the warm-up, with the column `good` (kept its SLO);
    sent, started: all requests and tasks; pools: the table of pools; from_s, span_s: the time that
    counts, from the end of the warm-up to that of the run.
    """

    requests: pd.DataFrame
    tasks: pd.DataFrame
    sent: pd.DataFrame
    started: pd.DataFrame
    pools: pd.DataFrame
    from_s: float
    span_s: float


def count_run(
    requests: pd.DataFrame,
    trajectories: pd.DataFrame,
    pools: pd.DataFrame,
    slos: Mapping[str, Slo],
    between_s: tuple[float, float],
) -> Counted:
    """Take what counts out of a run; slos: by workload; between_s: warm-up and run end there."""
    warmup_s, end_s = between_s
    done, tasks = counted(requests, warmup_s), counted(trajectories, warmup_s)
    done = done.assign(good=meets(done, slos))
    tasks = tasks.assign(good=task_meets(tasks, done, slos))
    span_s = max(end_s - warmup_s, 1e-9)
    return Counted(done, tasks, requests, trajectories, pools, warmup_s, span_s)


def counted(table: pd.DataFrame, warmup_s: float) -> pd.DataFrame:
    """The completed rows that began after the warm-up."""
    began = table["sent_s"] if "sent_s" in table else table["start_s"]
    return table[(table["status"] == "completed") & (began >= warmup_s)]


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
    return {leaf.workload.name: scenario.slo or leaf.slo for leaf in leaves(scenario.workload)}
