"""Records of the engine as pandas tables, in seconds."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcsim.engine.cluster import Cluster
from gcsim.engine.records import Names
from gcsim.engine.replica import Replica
from gcsim.engine.window import Part
from gcsim.machine.machine import Machine
from gcsim.machine.roofline import TOTALS
from gcsim.profiles.scenario import Scenario
from gcsim.results.counted import tiers_of
from gcsim.results.tools import tool_row

NS = 1e-9


def request_table(cluster: Cluster) -> pd.DataFrame:
    """One row per request. Times in seconds; NaN where it has none (rejected, unfinished).

    e2e_s = network_s + queue_s + prefill_s + kv_transfer_s + decode_s, exactly in nanoseconds;
    tpot_s = (e2e_s - ttft_s) / (osl - 1), NaN at osl = 1.
    """
    records = cluster.records
    table = _seconds(records.requests)
    _name(table, workload=records.workloads, status=records.statuses, reason=records.reasons)
    table["counted"] = table.pop("part") == Part.COUNTED
    done = table["status"] == "completed"
    table.loc[~done, ["e2e_s", "network_s"]] = np.nan
    table.loc[table["ttft_s"] < 0, "ttft_s"] = np.nan
    gaps = (table["osl"] - 1).where(table["osl"] > 1)
    tpot = ((table["e2e_s"] - table["ttft_s"]) / gaps).where(done)
    table.insert(list(table.columns).index("e2e_s"), "tpot_s", tpot)
    return table


def trajectory_table(cluster: Cluster) -> pd.DataFrame:
    """One row per trajectory: task_s and its split along the critical path [s]."""
    records = cluster.records
    table = _seconds(records.trajectories)
    _name(table, workload=records.workloads, status=records.statuses)
    table["counted"] = table.pop("part") == Part.COUNTED
    if cluster.tools is None:
        del table["tool_queue_s"]
    task = (table["end_s"] - table["start_s"]).where(table["status"] == "completed")
    table.insert(list(table.columns).index("end_s") + 1, "task_s", task)
    return table


def with_tiers(table: pd.DataFrame, scenario: Scenario) -> pd.DataFrame:
    """A table of requests or trajectories, with the tier of each where the workload has tiers."""
    classes = {name: tier for tier, names in tiers_of(scenario).items() for name in names}
    if classes:
        tiers = table["workload"].astype(str).map(classes)
        known = pd.CategoricalDtype(list(dict.fromkeys(classes.values())))
        table.insert(list(table.columns).index("workload") + 1, "tier", tiers.astype(known))
    return table


def pool_table(cluster: Cluster, elapsed_s: float) -> pd.DataFrame:
    """One row per pool: use, achieved fractions of peak, cache, and where its time goes.

    utilization: busy time / elapsed time, mean over replicas; mfu, mbu: FLOPs and bytes moved /
    (elapsed x datasheet peak); bound_*: share of the busy time by what bounded it. A tools pool
    has nodes for replicas, cores that are busy, and no chips.
    """
    rows = [_pool(cluster, name, elapsed_s) for name in cluster.deployment.pools]
    for name, pool in cluster.deployment.tool_pools.items():
        rows.append(dict.fromkeys(rows[0], 0) | tool_row(cluster, name, pool))
    return pd.DataFrame(rows)


def unused(cluster: Cluster) -> dict[str, dict[str, int]]:
    """Of what the deployment has, what got no request since counting began, by pool.

    unused_replicas: those of which no group got one; unused_groups: groups of the other replicas.
    """
    replicas, groups = dict[str, int](), dict[str, int]()
    for replica in cluster.replicas:
        idle = sum(not group.requests for group in replica.groups)
        name = replica.pool_name
        if idle == len(replica.groups):
            replicas[name] = replicas.get(name, 0) + 1
        elif idle:
            groups[name] = groups.get(name, 0) + idle
    return {"unused_replicas": replicas, "unused_groups": groups}


def link_table(cluster: Cluster, elapsed_s: float) -> pd.DataFrame:
    """One row per link: transfers, bytes at both ends, use."""
    return pd.DataFrame(
        [
            {
                "link": f"{use.link.from_} -> {use.link.to}",
                "transfers": use.transfers,
                "sent_bytes": use.sent_bytes,
                "received_bytes": use.received_bytes,
                "utilization": use.busy_ns * NS / elapsed_s if elapsed_s else 0.0,
                "mean_wait_s": use.waited_ns * NS / use.transfers if use.transfers else 0.0,
            }
            for use in cluster.links
        ]
    )


def timeline_table(cluster: Cluster) -> pd.DataFrame:
    """Every replica over time: means of waiting and running requests and of KV occupancy.

    A row holds from its `time_s` to the next row of its replica, the last to the end of the run.
    """
    # One table of all: a table per replica takes longer than the run where most of them idle.
    means = [replica.meter.timeline.means(cluster.env.now) for replica in cluster.replicas]
    lengths = [len(each) for each in means]
    flat = np.array([row for each in means for row in each], dtype=np.float64).reshape(-1, 4)
    blocks = [r.cost.groups * r.cost.kv_blocks for r in cluster.replicas]
    totals = np.repeat(blocks, lengths)
    return pd.DataFrame(
        {
            "pool": np.repeat([r.pool_name for r in cluster.replicas], lengths),
            "replica": np.repeat([r.index for r in cluster.replicas], lengths),
            "time_s": flat[:, 0] * NS,
            "waiting": flat[:, 1],
            "running": flat[:, 2],
            "kv_occupancy": flat[:, 3] / totals,
        }
    )


def bound_seconds(replica: Replica) -> dict[str, float]:
    """Busy seconds of a replica by what bounded them: compute, memory per tier, links, latency."""
    return split_bounds(dict(zip(TOTALS, replica.meter.totals.tolist(), strict=True)), replica.cost)


def split_bounds(total: dict[str, float], cost: Machine) -> dict[str, float]:
    """Seconds by what bounded them, from the sums of `gcsim.machine.roofline.TOTALS`."""
    split = {"compute": total["compute_s"]}
    parts = (
        (total["weights_s"], cost.weight_tiers),
        (total["experts_s"], cost.expert_tiers),
        (total["kv_s"], {cost.kv_tier: 1.0}),
    )
    for seconds, tiers in parts:
        for tier, share in tiers.items():
            name = f"memory_{tier}"
            split[name] = split.get(name, 0.0) + seconds * share
    split["links"], split["latency"] = total["links_s"], total["latency_s"]
    return split


def _pool(cluster: Cluster, name: str, elapsed_s: float) -> dict[str, Any]:
    replicas = [r for r in cluster.replicas if r.pool_name == name]
    pool, cost, count = replicas[0].pool, replicas[0].cost, len(replicas)
    totals = np.sum([r.meter.totals for r in replicas], axis=0)
    total = dict(zip(TOTALS, totals.tolist(), strict=True))
    split: dict[str, float] = {}
    for replica in replicas:
        for bound, seconds in bound_seconds(replica).items():
            split[bound] = split.get(bound, 0.0) + seconds
    busy = sum(split.values()) or 1.0
    span = elapsed_s * count or 1.0
    end_ns = cluster.env.now
    groups = [group for replica in replicas for group in replica.groups]
    caches = [group.kv for group in groups]
    offloads = [group.offload for group in groups if group.offload]
    return {
        "pool": name,
        "role": pool.role,
        "chip": pool.chip.name,
        "chips": pool.chips,
        "replicas": count,
        "utilization": sum(r.meter.busy_ns for r in replicas) * NS / (end_ns * NS * count or 1.0),
        "mfu": total["flops"] / span / cost.peak_flops_per_s,
        "mbu": total["bytes"] / span / cost.peak_bytes_per_s,
        "iterations": int(total["iterations"]),
        "prompt_tokens": int(total["tokens"]),
        "decoded_tokens": sum(r.meter.decoded_tokens for r in replicas),
        "mean_waiting": sum(r.meter.timeline.mean_waiting(end_ns) for r in replicas) / count,
        "mean_running": sum(r.meter.timeline.mean_running(end_ns) for r in replicas) / count,
        "peak_waiting": max(r.meter.timeline.peak_waiting for r in replicas),
        "kv_tokens": cost.groups * cost.kv_blocks * pool.block_tokens,
        "kv_peak": max(kv.peak for kv in caches) / cost.kv_blocks,
        "kv_evicted_tokens": sum(kv.tree.evicted_blocks for kv in caches) * pool.block_tokens,
        "kv_offloaded_tokens": sum(link.written_tokens for link in offloads),
        "kv_reloaded_tokens": sum(link.read_tokens for link in offloads),
        "power_w": pool.chips * pool.chip.node_power_w,
        "usd_per_hour": pool.chips * pool.chip.price.usd_per_chip_hour.value,
        **{f"bound_{bound}": seconds / busy for bound, seconds in split.items()},
        **_by_phase(total, busy),
    }


def _by_phase(total: dict[str, float], busy_s: float) -> dict[str, float]:
    """The part of the busy time that is prefill, and of which of both arithmetic binds."""
    prefill_s = total["prefill_s"]
    decode_s = max(busy_s - prefill_s, 0.0)
    decode_compute_s = max(total["compute_s"] - total["prefill_compute_s"], 0.0)
    return {
        "prefill_share": prefill_s / busy_s,
        "prefill_arithmetic": total["prefill_compute_s"] / prefill_s if prefill_s else 0.0,
        "decode_arithmetic": decode_compute_s / decode_s if decode_s else 0.0,
    }


def _seconds(records: NDArray[Any]) -> pd.DataFrame:
    """Named records to a table; nanoseconds become seconds."""
    named = {}
    for name in records.dtype.names or ():
        if name.endswith("_ns"):
            named[f"{name[:-3]}_s"] = records[name] * NS
        else:
            named[name] = records[name]
    return pd.DataFrame(named)


def _name(table: pd.DataFrame, **names: Names) -> None:
    for column, known in names.items():
        codes = table[column].to_numpy()
        table[column] = pd.Categorical.from_codes(codes, categories=pd.Index(known.texts))
