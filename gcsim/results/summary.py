"""The summary of a run: the keys of `vllm bench serve`, and the same pattern where it has none."""

import math
from typing import Any

import numpy as np
import pandas as pd

from gcsim.engine.cluster import Cluster
from gcsim.engine.session import PATH
from gcsim.machine.roofline import GAP_BINS, gap_of_bin
from gcsim.profiles.arrivals import Slo
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.workload import leaves

PERCENTILES = (90, 95, 99)
PHASES = ("network", "queue", "prefill", "kv_transfer", "decode")


def counted(table: pd.DataFrame, warmup_s: float) -> pd.DataFrame:
    """The completed rows that began after the warm-up."""
    began = table["sent_s"] if "sent_s" in table else table["start_s"]
    return table[(table["status"] == "completed") & (began >= warmup_s)]


def summarise(
    cluster: Cluster,
    requests: pd.DataFrame,
    trajectories: pd.DataFrame,
    slos: dict[str, Slo],
    warmup_s: float,
) -> dict[str, Any]:
    """All headline metrics of a run: `metrics` and what only the engine knows.

    Throughputs count what completed after the warm-up, over the time from its end to the end of
    the run.
    """
    simulated_s = cluster.env.now * 1e-9
    span_s = max(simulated_s - warmup_s, 1e-9)
    return {
        "simulated_s": simulated_s,
        **metrics(requests, trajectories, slos, warmup_s, span_s),
        **gap_statistics(cluster),
    }


def metrics(
    requests: pd.DataFrame,
    trajectories: pd.DataFrame,
    slos: dict[str, Slo],
    warmup_s: float,
    span_s: float,
) -> dict[str, Any]:
    """The headline metrics of a table of requests and one of trajectories: of a run, or a class.

    Times in ms, rates per second of `span_s`, None where a metric is undefined. `request_goodput`
    counts the requests that met every bound of their workload's SLO.
    """
    done = counted(requests, warmup_s)
    tasks = counted(trajectories, warmup_s)
    met = meets(done, slos)
    task_met = task_meets(tasks, done, met, slos)
    summary: dict[str, Any] = {
        "completed": int((requests["status"] == "completed").sum()),
        "rejected": int((requests["status"] == "rejected").sum()),
        "unfinished": int((requests["status"] == "unfinished").sum()),
        "counted": len(done),
        "trajectories": len(trajectories),
        "trajectories_completed": int((trajectories["status"] == "completed").sum()),
    }
    for name, values in (
        ("ttft", done["ttft_s"]),
        ("tpot", done["tpot_s"]),
        ("e2el", done["e2e_s"]),
        ("task", tasks["task_s"]),
    ):
        summary |= _statistics(name, values.to_numpy(dtype=float) * 1e3)
    tokens_in, tokens_out = int(done["isl"].sum()), int(done["osl"].sum())
    summary |= {
        "request_throughput": len(done) / span_s,
        "output_throughput": tokens_out / span_s,
        "total_token_throughput": (tokens_in + tokens_out) / span_s,
        "request_goodput": float(met.sum()) / span_s,
        "good_request_fraction": float(met.mean()) if len(done) else None,
        "task_throughput": len(tasks) / span_s,
        "task_goodput": float(task_met.sum()) / span_s,
        "good_task_fraction": float(task_met.mean()) if len(tasks) else None,
        "cache_hit_rate": _ratio(done["cached_tokens"].sum(), tokens_in),
        "cache_hit_rate_own": _ratio(done["own_cached_tokens"].sum(), tokens_in),
        "cache_hit_rate_shared": _ratio(
            done["cached_tokens"].sum() - done["own_cached_tokens"].sum(), tokens_in
        ),
        "cache_hit_requests": _ratio((done["cached_tokens"] > 0).sum(), len(done)),
        "preemptions": int(requests["preemptions"].sum()),
        "breakdown_ms": means_ms(done, PHASES),
        "task_breakdown_ms": means_ms(tasks, PATH),
        "reasons": {
            str(reason): int(number)
            for reason, number in requests["reason"].value_counts(sort=False).items()
            if reason != "" and number
        },
    }
    return summary


def means_ms(table: pd.DataFrame, parts: tuple[str, ...]) -> dict[str, float | None]:
    """Means of the columns `<part>_s` of a table [ms]; None where it has no rows."""
    return {p: float(table[f"{p}_s"].mean() * 1e3) if len(table) else None for p in parts}


def slos_of(scenario: Scenario) -> dict[str, Slo]:
    """The SLO of every workload of a scenario: the scenario's own, else the workload's."""
    return {leaf.workload.name: scenario.slo or leaf.slo for leaf in leaves(scenario.workload)}


def meets(done: pd.DataFrame, slos: dict[str, Slo]) -> pd.Series:
    """Whether each completed request met every bound of its workload's SLO."""
    good = pd.Series(True, index=done.index)
    for workload, slo in slos.items():
        mine = done["workload"] == workload
        for column, bound in (("ttft_s", slo.ttft), ("tpot_s", slo.tpot), ("e2e_s", slo.e2e)):
            if bound is not None:
                good &= ~mine | ~(done[column] > bound)
    return good


def task_meets(
    tasks: pd.DataFrame, done: pd.DataFrame, met: pd.Series, slos: dict[str, Slo]
) -> pd.Series:
    """Whether each completed trajectory kept its task bound, and each of its requests its own.

    met: whether each of the completed requests `done` kept its bounds, by `meets`.
    """
    bad = set(done.loc[~met, "trajectory"])
    good = ~tasks["trajectory"].isin(bad)
    for workload, slo in slos.items():
        if slo.task is not None:
            good &= ~((tasks["workload"] == workload) & (tasks["task_s"] > slo.task))
    return good


def _statistics(name: str, values: "np.ndarray[Any, np.dtype[np.float64]]") -> dict[str, Any]:
    values = values[~np.isnan(values)]
    keys = [f"mean_{name}_ms", f"std_{name}_ms", f"median_{name}_ms"]
    keys += [f"p{p}_{name}_ms" for p in PERCENTILES]
    if not len(values):
        return dict.fromkeys(keys)
    numbers = [values.mean(), values.std(), *np.percentile(values, [50, *PERCENTILES])]
    return dict(zip(keys, map(float, numbers), strict=True))


def gap_statistics(cluster: Cluster) -> dict[str, Any]:
    """ITL over all gaps between tokens of a request, from bins of 0.8% width (means too)."""
    counts = np.zeros(GAP_BINS, dtype=np.int64)
    for replica in cluster.replicas:
        counts += replica.meter.gaps
    keys = ["mean_itl_ms", "median_itl_ms", *(f"p{p}_itl_ms" for p in PERCENTILES)]
    total = int(counts.sum())
    if not total:
        return dict.fromkeys(keys)
    gaps_ms = gap_of_bin(np.arange(GAP_BINS)) * 1e-6
    upto = np.cumsum(counts)
    ranks = [math.ceil(total * p / 100) for p in (50, *PERCENTILES)]
    found = [float(gaps_ms[np.searchsorted(upto, rank)]) for rank in ranks]
    return dict(zip(keys, [float(counts @ gaps_ms) / total, *found], strict=True))


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None
