"""What a tools pool did, how many cores would do, and what these cost beside the chips."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gcsim.engine.cluster import Cluster
from gcsim.engine.tools import queue_ns
from gcsim.engine.window import Part
from gcsim.profiles.tools import ToolPool

NS = 1e-9
QUEUE_SHARE = 0.01  # of the task time: what the tool queue may take


def tool_row(cluster: Cluster, name: str, pool: ToolPool) -> dict[str, Any]:
    """The row of a tools pool among the pools.

    utilization: core-seconds of calls / (cores x time); mean_waiting, mean_running: calls in the
    line and in sandboxes (Little: their times / time).
    """
    assert cluster.tools is not None
    calls, end_ns = cluster.records.tool_calls, cluster.env.now
    begun = calls["arrived_ns"] + calls["queue_ns"]
    busy = np.minimum(calls["cpu_ns"], end_ns - begun)
    running = np.minimum(calls["cpu_ns"] + calls["rest_ns"], end_ns - begun)
    waited = sum(end_ns - call.arrived_ns for call in cluster.tools.queue.waiting)
    waited += int(calls["queue_ns"].sum())
    span = end_ns or 1
    return {
        "pool": name,
        "role": pool.role,
        "chip": pool.cpu.name,
        "replicas": pool.nodes,
        "utilization": float(busy.sum()) * pool.cores_per_call / pool.cores / span,
        "mean_waiting": waited / span,
        "mean_running": float(running.sum()) / span,
        "peak_waiting": cluster.tools.queue.peak_waiting,
        "power_w": pool.nodes * pool.cpu.power.node.value,
        "usd_per_hour": pool.nodes * pool.cpu.price.usd_per_node_hour.value,
    }


def tool_summary(cluster: Cluster, summary: Mapping[str, Any]) -> dict[str, Any]:
    """`tools` of the summary: its calls, the line before them, and how many cores would do.

    agents: tasks under way on average, throughput x task time (Little's law); None where a run is
    saturated or counts no task. cores_needed: the fewest (in steps of `cores_per_call`) on which
    the calls of this run would wait for less than `QUEUE_SHARE` of the task time, all waits of the
    counted tasks together. The calls are played again as they came, memory aside: with a pool so
    small that its own line holds back the calls, too few.
    """
    if cluster.tools is None:
        return {}
    pool, calls = cluster.tools.pool, cluster.records.tool_calls
    counted = calls[calls["part"] == Part.COUNTED]
    tasks, task_ms = summary["trajectories_completed"], summary["mean_task_ms"]
    queue_ms = summary["task_breakdown_ms"]["tool_queue"]
    known = bool(tasks and task_ms and summary["task_throughput"] and not summary["saturated"])
    agents = summary["task_throughput"] * task_ms * 1e-3 if known else None
    cores = _cores_needed(calls, pool, QUEUE_SHARE * tasks * task_ms * 1e6) if known else None
    usd = pool.cpu.price.usd_per_node_hour.value / pool.cpu.cores.value
    watts = pool.cpu.power.node.value / pool.cpu.cores.value
    chips = [row for row in summary["pools"] if row["role"] != "tools"]
    chips_usd = sum(row["usd_per_hour"] for row in chips)
    found = {
        "pool": next(iter(cluster.deployment.tool_pools)),
        "cores": pool.cores,
        "calls": len(counted),
        "mean_queue_ms": float(counted["queue_ns"].mean()) * 1e-6 if len(counted) else None,
        "p99_queue_ms": _p99_ms(counted["queue_ns"]),
        "queue_share": queue_ms / task_ms if task_ms else None,
        "queue_share_wanted": QUEUE_SHARE,
        "cpu_s_per_task": float(counted["cpu_ns"].sum()) * NS * pool.cores_per_call / tasks
        if tasks
        else None,
        "peak_sandboxes": cluster.tools.queue.peak_running,
        "peak_memory_bytes": cluster.tools.queue.peak_running * pool.sandbox_memory.value,
        "agents": agents,
        "cores_needed": cores,
        "cores_per_100_agents": 100 * cores / agents if cores and agents else None,
        "chips_usd_per_hour": chips_usd,
        "usd_per_hour_needed": cores * usd if cores else None,
        "power_w_needed": cores * watts if cores else None,
        "share_of_chips_usd": cores * usd / chips_usd if cores and chips_usd else None,
    }
    return {"tools": found}


def _p99_ms(waits_ns: Any) -> float | None:
    return float(np.percentile(waits_ns, 99)) * 1e-6 if len(waits_ns) else None


def _cores_needed(calls: Any, pool: ToolPool, most_ns: float) -> int | None:
    """The fewest cores on which the counted calls wait `most_ns` together; None without calls."""
    counts = calls["part"] == Part.COUNTED
    if not counts.any():
        return None
    arrived, cpu = calls["arrived_ns"].tolist(), calls["cpu_ns"].tolist()
    low, high = 1, 1
    while _waits(arrived, cpu, counts, high) > most_ns:
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        if _waits(arrived, cpu, counts, middle) > most_ns:
            low = middle + 1
        else:
            high = middle
    return high * pool.cores_per_call


def _waits(arrived: list[int], cpu: list[int], counts: Any, servers: int) -> int:
    return int(np.array(queue_ns(arrived, cpu, servers), dtype=np.int64)[counts].sum())
