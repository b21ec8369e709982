"""Results by class and tier: latencies, goodput by their own SLO, revenue, where tasks' time goes.

And the steps of a task that end within a latency budget: what an agent gets done while a user (or
a deadline) waits, tools and people included.
"""

from typing import Any

import numpy as np
import pandas as pd

from gcsim.profiles.arrivals import Price
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.workload import leaves
from gcsim.results.counted import TICK_S, Counted, of_classes, prices_of, slos_of, tiers_of
from gcsim.results.summary import summarise


def class_summaries(scenario: Scenario, of: Counted) -> list[dict[str, Any]]:
    """One summary for each class (or trace) of the workload, in the order of the mix.

    The keys are those of the whole run (`gcsim.results.summary`), of the class alone;
    `tier`, `share`, `priority`, `slo`, `price` say what it is. The classes sum to the run: in
    counts and in rates.

    >>> import gcsim
    >>> result = gcsim.run("coding-agents", settings={"run.trajectories": 4})
    >>> [one] = result.summary["classes"]
    >>> one["workload"], one["completed"] == result.summary["completed"]
    ('coding-agent', True)
    >>> bool(abs(sum(one["task_breakdown_ms"].values()) - one["mean_task_ms"]) < 1e-6)
    True
    """
    slos, prices = slos_of(scenario), prices_of(scenario)
    return [
        {
            "workload": leaf.name,
            "tier": leaf.tier or None,
            "share": leaf.share,
            "priority": leaf.priority,
            "slo": slos[leaf.name].model_dump(exclude_none=True),
            "price": _shown(prices.get(leaf.name)),
            **_summary(scenario, of, [leaf.name]),
        }
        for leaf in leaves(scenario.workload)
    ]


def tier_summaries(scenario: Scenario, of: Counted) -> list[dict[str, Any]]:
    """One summary for each tier of the workload, in the order of the mix; none without tiers.

    The keys are those of a class, of all classes of the tier together: each request is held to the
    SLO of its own class, and paid at its price.
    """
    parts = leaves(scenario.workload)
    return [
        {
            "tier": tier,
            "workloads": names,
            "share": sum(leaf.share for leaf in parts if leaf.name in names),
            "priority": max(leaf.priority for leaf in parts if leaf.name in names),
            **_summary(scenario, of, names),
        }
        for tier, names in tiers_of(scenario).items()
    ]


def _summary(scenario: Scenario, of: Counted, names: list[str]) -> dict[str, Any]:
    mine = of_classes(of, names)
    return summarise(mine) | {"steps_within_budget": steps_within(mine, scenario.run.budget)}


def _shown(price: Price | None) -> dict[str, float] | None:
    """Prices of a million tokens [USD]."""
    if price is None:
        return None
    return {sort: getattr(price, sort).value for sort in type(price).model_fields}


def steps_within(of: Counted, budget_s: float | None) -> dict[str, Any] | None:
    """How many steps of a task have their answer within a budget of its start; None without.

    budget_s; tasks: those that the numbers are over, of the window and, in a run that was cut off,
    started a budget or more before its end; mean, median, p10, p90 of the steps of a task;
    finished: the part of the tasks that were done altogether. A task of which a step was rejected
    counts with the steps before.
    """
    if budget_s is None:
        return None
    started = of.started
    cut = started["status"] == "unfinished"
    if cut.any():  # short tasks are not to be preferred
        started = started[started["start_s"] + budget_s <= of.end_s + TICK_S]
    tasks = started.set_index("trajectory")
    steps = steps_done(of.sent, tasks["start_s"], budget_s)
    done = (tasks["status"] == "completed") & (tasks["task_s"] <= budget_s + TICK_S)
    found: dict[str, Any] = {"budget_s": budget_s, "tasks": len(tasks)}
    if tasks.empty:
        return found | dict.fromkeys(("mean", "median", "p10", "p90", "finished"))
    median, p10, p90 = np.percentile(steps, [50, 10, 90])
    return found | {
        "mean": float(steps.mean()),
        "median": float(median),
        "p10": float(p10),
        "p90": float(p90),
        "finished": float(done.mean()),
    }


def steps_done(requests: pd.DataFrame, starts_s: pd.Series, budget_s: float) -> pd.Series:
    """Steps of each task whose answer is with the client by the task's start + `budget_s`.

    starts_s: start of the task by trajectory number, which is also the index of what is returned

    >>> requests = pd.DataFrame({"trajectory": [3, 3, 4], "sent_s": [0, 5, 0], "e2e_s": [1, 6, 9]})
    >>> requests["status"] = "completed"
    >>> steps_done(requests, pd.Series({3: 0.0, 4: 0.0}), 10.0).to_dict()
    {3: 1, 4: 1}
    """
    done = requests[requests["status"] == "completed"]
    start_s = done["trajectory"].map(starts_s)  # NaN for a task that does not count: never within
    within = done["sent_s"] + done["e2e_s"] - start_s <= budget_s + TICK_S
    return done.loc[within, "trajectory"].value_counts().reindex(starts_s.index, fill_value=0)
