"""Plays a run in the compiled loop and writes what happened into a cluster of the SimPy engine.

So all that reads a run (tables, summary) reads the same objects, whichever engine has played.
"""

from array import array
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gcsim.engine import batching, router
from gcsim.engine.clock import to_ns
from gcsim.engine.cluster import Cluster
from gcsim.engine.compiled import arrays, loop
from gcsim.engine.compiled.arrays import LISTS, NONE, Array, World
from gcsim.engine.compiled.feed import Feed
from gcsim.engine.compiled.lists import FREE, TOP
from gcsim.engine.compiled.why import FORMS, RANKS, ROUTES, GaveUpError
from gcsim.engine.compiled.window import AFTER
from gcsim.engine.compiled.world import table_of
from gcsim.engine.records import REQUEST, TRAJECTORY, Names
from gcsim.engine.timeline import MOST_SAMPLES
from gcsim.machine.roofline import (
    BATCH,
    GAP_BINS,
    OPERATORS,
    STAGES,
    TERMS,
    TOTALS,
    WIDTH,
    account,
    account_groups,
    causal_pairs,
    groups_ns,
    iteration_ns,
    join,
    run_groups_ns,
    run_ns,
    window_pairs,
)
from gcsim.traffic.trajectory import Trajectory

REASONS = ("", "kv_capacity", "context_window", "model_not_served")
TURNS = 200_000  # then Python may look: at progress, at an interrupt
MOST_WORKLOADS = 256
REQUEST_FIELDS, TRAJECTORY_FIELDS = len(REQUEST.names or ()), len(TRAJECTORY.names or ())


def play(
    cluster: Cluster,
    trajectories: Iterable[Trajectory],
    *,
    ahead: int,
    horizon_s: float | None,
    progress: Callable[[int], None] | None,
) -> None:
    """Play trajectories on a cluster at its start; it holds what happened.

    ahead: how many trajectories may be drawn before they are needed
    Errors: `GaveUpError`, with the cluster as it was.
    """
    terms = cluster.terms
    feed = Feed(trajectories, terms.model, {r.cost.model for r in cluster.replicas}, ahead)
    w = world(cluster, None if horizon_s is None else to_ns(horizon_s) + 1)
    now, told = w.now[0], 0
    table = table_of(w)
    _kernels_first()
    try:
        while (why := loop.run(table.ctypes.data, TURNS)) != loop.OVER:
            if why == loop.FEED:
                w = _fed(w, feed)
            elif why == loop.GROW:
                w = _grown(w, int(now["full"]))
            table = table_of(w)
            ended = int(now["counted"] - now["live"])
            if progress is not None and ended > told:
                told = ended
                progress(ended)
    except (MemoryError, OverflowError) as error:
        raise GaveUpError("its arrays are full") from error
    if progress is not None and now["counted"] - now["live"] > told:
        progress(int(now["counted"] - now["live"]))
    loop.stop(table.ctypes.data)
    _write(cluster, w, feed.workloads)


def _kernels_first() -> None:
    """Compile the kernels by themselves: they take memory, which what the loop compiles may not."""
    table, batch = np.zeros((OPERATORS, WIDTH)), np.zeros(len(BATCH))
    table[TERMS, STAGES] = 1.0
    iteration_ns(table, batch)
    run_ns(table, batch, 0, 0, 0, 0)
    totals, gaps = np.zeros(len(TOTALS)), np.zeros(GAP_BINS, np.int64)
    account(table, batch, totals, gaps, 0, 0)
    batches, firsts = np.zeros((1, len(BATCH))), np.zeros(1, np.int64)
    join(table, batches)
    groups_ns(table, batches)
    run_groups_ns(table, batches, 0, firsts, 0, 0)
    account_groups(table, batches, totals, gaps, 0, firsts)
    causal_pairs(1.0, 0.0)
    window_pairs(1.0, 0.0, 1.0)


# -- before --------------------------------------------------------------------------------------


def world(cluster: Cluster, horizon_ns: int | None) -> World:
    """The arrays of a cluster at its start."""
    groups, replicas = cluster.groups, cluster.replicas
    count, pools = len(groups), list(cluster.deployment.pools)
    rate = cluster.deployment.kv_handoff.conversion_bandwidth
    found: dict[str, Array] = {
        "now": np.zeros(1, arrays.NOW),
        "replicas": np.zeros(len(replicas), arrays.REPLICA),
        "groups": np.zeros(count, arrays.GROUP),
        "requests": np.empty(4096, arrays.REQUEST),
        "sessions": np.empty(4096, arrays.SESSION),
        "steps": np.empty(1 << 16, arrays.STEP),
        "step_free": np.full(FREE, NONE),
        "paths": np.empty((1 << 16, arrays.LATEST_NS + 1), np.int64),
        "nodes": np.empty((1 << 14) + count, arrays.NODE),
        "buckets": np.full(1 << 14, NONE),
        "lists": np.zeros((count * LISTS + arrays.LINKED + len(pools), 3), np.int64),
        "labels": np.empty(((1 << 14) + count, 3), np.int64),
        "spans": np.empty((4096, 4), np.int64),
        "hints": np.empty((4096, 3), np.int64),
        "cells": np.empty((1 << 18, 4), np.int64),
        "free": np.full(FREE, NONE),
        "phases": np.zeros((count, max(g.kv.block_tokens for g in groups)), np.int64),
        "tables": _tables(cluster),
        "batches": np.zeros((count, len(BATCH))),
        "firsts": np.zeros(count, np.int64),
        "totals": np.zeros((len(replicas), len(TOTALS))),
        "gaps": np.zeros((len(replicas), GAP_BINS), np.int64),
        "samples": np.zeros((len(replicas), MOST_SAMPLES, 4), np.int64),
        "unsettled": np.zeros(MOST_WORKLOADS, np.int64),
        "starts": np.empty((1 << 14, 3), np.int64),
        "rows": np.empty((1 << 14, REQUEST_FIELDS), np.int64),
        "tasks": np.empty((1 << 12, TRAJECTORY_FIELDS), np.int64),
        "costs": np.zeros(len(pools), arrays.COST),
        "links": np.zeros(len(cluster.links), arrays.LINK),
        "link_of": np.full((len(pools), len(pools)), NONE),
        "lanes": np.zeros((len(cluster.links), 2 * len(replicas)), np.int64),
        "conversion": np.array([rate or 0.0]),
        "tokenize_s": np.array([cluster.service.tokenize_s]),
        "context_window": np.array([cluster.service.context_window]),
        "feed_tasks": np.empty(0, arrays.TASK),
        "feed_steps": np.empty(0, arrays.STEP),
        "feed_cells": np.empty((0, 4), np.int64),
    }
    w = World(**found)
    w.lists[:, 2] = NONE
    w.free[TOP] = w.step_free[TOP] = 0
    w.free[TOP + 1] = 0
    _begin(w.now, cluster, horizon_ns)
    _begin_handoffs(w, cluster)
    for p, replica in enumerate(replicas):
        _set(
            w.replicas[p],
            pool=pools.index(replica.pool_name),
            first_group=replica.groups[0].index,
            groups=len(replica.groups),
            next_ns=replica.next_ns,
            call=NONE,
            overlap=replica.cost.overlap_scheduling,
            down_ns=cluster.down_ns[p],
            count_from_ns=replica.meter.count_from_ns,
            step_ns=1,
        )
    for g, of in enumerate(groups):
        _begin_group(w.groups[g], of, replicas[of.replica])
        _set(w.nodes[g], uid=g, parent=NONE, length=0, depth=0, owner=NONE, pins=1, group=g)
        _set(w.nodes[g], children=0, last_used=0, queued=0, chain=NONE)
        w.labels[g] = 0, 0, NONE
    return w


def _set(record: Any, **values: Any) -> None:
    for name, value in values.items():
        record[name] = value


def _begin(now: Array, cluster: Cluster, horizon_ns: int | None) -> None:
    window = cluster.window
    free = ("requests", "sessions", "contexts", "nodes")
    _set(now[0], **{f"free_{name}": NONE for name in free}, next=NONE, draw=1, started=NONE)
    _set(
        now[0],
        nodes=len(cluster.groups),
        uids=len(cluster.groups),
        tasks=NONE if window.tasks is None else window.tasks,
        warmup_ns=NONE if window.warmup_ns is None else window.warmup_ns,
        window_ns=NONE if window.time_ns is None else window.time_ns,
        agents=window.agents,
        midway=window.midway,
        unanswered=window.midway,
        opened_ns=NONE,
        closed_ns=NONE,
        up_ns=cluster.up_ns,
        coalesce=cluster.terms.coalesce,
        policy=ROUTES.index(router.POLICIES[cluster.deployment.router.policy]),
        local=cluster.deployment.router.prefill_locally_below,
        gap=cluster.deployment.router.affinity_gap,
        layerwise=cluster.deployment.kv_handoff.layerwise,
        delta=cluster.deployment.kv_handoff.transfer == "delta",
        horizon_ns=NONE if horizon_ns is None else horizon_ns,
        most_seqs=max(r.pool.batching.max_seqs * len(r.groups) for r in cluster.replicas),
    )


def _begin_handoffs(w: World, cluster: Cluster) -> None:
    """Who can be asked, the machines of pools as handoffs see them, and the links."""
    names = list(cluster.deployment.pools)
    service, first = cluster.service, len(cluster.groups) * LISTS
    lists = {arrays.ENTRY: service.entry, arrays.DECODERS: service.decoders}
    for p, name in enumerate(names):
        cost = next(r.cost for r in cluster.replicas if r.pool_name == name)
        reached, smallest = cluster.reached[name]
        lists[arrays.LINKED + p] = reached
        same = (f for f in w.costs.dtype.names or () if f != "smallest")
        _set(w.costs[p], smallest=smallest.index, **{f: getattr(cost, f) for f in same})
    for k, members in lists.items():
        size = max(len(members) - 1, 0).bit_length()
        place, w.free[TOP] = int(w.free[TOP]), int(w.free[TOP]) + (1 << size)
        w.lists[first + k] = place, len(members), size
        w.cells[place : place + len(members), 0] = [g.index for g in members]
    for k, use in enumerate(cluster.links):
        w.link_of[names.index(use.link.from_), names.index(use.link.to)] = k
        _set(w.links[k], delay_ns=use.delay_ns, rate=use.rate, ramp=use.link.ramp)


def _begin_group(record: Any, of: Any, replica: Any) -> None:
    policy = batching.POLICIES[replica.pool.batching.policy]
    cost, kv = replica.cost, of.kv
    _set(
        record,
        replica=of.replica,
        rank=RANKS[policy.rank],
        form=FORMS[policy.form],
        max_seqs=replica.pool.batching.max_seqs,
        prefills=replica.pool.role == "prefill",
        first_token_here=replica.first_token_here,
        limit_tokens=replica.pool.batching.max_iteration_tokens,
        tokens_per_seq=cost.tokens_per_seq,
        known_ns=arrays.NEVER,
        first_running=NONE,
        last_running=NONE,
        first_prefilling=NONE,
        last_prefilling=NONE,
        block_tokens=kv.block_tokens,
        hit_tokens=cost.hit_tokens,
        window=cost.window,
        accepted_ppm=cost.accepted_ppm,
        total=kv.total,
        extra=kv.extra,
        limit=kv.limit,
        chunk=max(kv.total // 1024, 1),
        root=of.index,
        fresh_work=of.fresh_work,
    )


def _tables(cluster: Cluster) -> Array:
    """The tables of the machines of all pools, padded to one shape with rows of zeros."""
    names = list(cluster.deployment.pools)
    costs = [next(r.cost for r in cluster.replicas if r.pool_name == name) for name in names]
    rows = max(cost.table.shape[0] for cost in costs)
    tables = np.zeros((len(costs), rows, costs[0].table.shape[1]))
    for table, cost in zip(tables, costs, strict=True):
        table[: cost.table.shape[0]] = cost.table
    return tables


# -- meanwhile -----------------------------------------------------------------------------------


def _fed(w: World, feed: Feed) -> World:
    tasks, steps, cells, most = feed.more()
    if len(feed.workloads) > MOST_WORKLOADS:
        raise GaveUpError("its trajectories have too many classes")
    now = w.now[0]
    _set(now, drawn=0, offered=len(tasks), exhausted=not len(tasks))
    _set(now, most_steps=max(int(now["most_steps"]), most))
    return w._replace(feed_tasks=tasks, feed_steps=steps, feed_cells=cells)


_GROWN = {
    loop.REQUESTS: ("requests",),
    loop.SESSIONS: ("sessions",),
    loop.STEPS: ("steps", "paths"),
    loop.CONTEXTS: ("spans", "hints"),
    loop.NODES: ("nodes", "labels", "buckets"),
    loop.CELLS: ("cells",),
    loop.ROWS: ("rows",),
    loop.TASKS: ("tasks",),
    loop.STARTS: ("starts",),
}


def _grown(w: World, which: int) -> World:
    """The arrays with one of them (and those beside it) of twice its size."""
    larger: dict[str, Array] = {}
    for name in _GROWN[which]:
        array = getattr(w, name)
        larger[name] = np.empty((2 * len(array), *array.shape[1:]), array.dtype)
        larger[name][: len(array)] = array
    w = w._replace(**larger)
    if which == loop.NODES:
        table = table_of(w)  # held by a name: its memory is read
        loop.rehash(table.ctypes.data)
    return w


# -- after ---------------------------------------------------------------------------------------


def _write(cluster: Cluster, w: World, workloads: Names) -> None:
    """Write what happened into the cluster."""
    now = {name: int(w.now[0][name]) for name in w.now.dtype.names or ()}
    cluster.env.now = now["time"]
    cluster.created, cluster.served = now["created"], now["served"]
    cluster.under_way = now["under_way"]
    _write_window(cluster, w, now)
    for p, replica in enumerate(cluster.replicas):
        meter, record = replica.meter, w.replicas[p]
        meter.totals[:], meter.gaps[:] = w.totals[p], w.gaps[p]
        meter.busy_ns, meter.decoded_tokens = int(record["busy_ns"]), int(record["decoded_tokens"])
        meter.count_from_ns = int(record["count_from_ns"])
        _write_timeline(meter.timeline, record, w.samples[p])
    for g, of in enumerate(cluster.groups):
        record = w.groups[g]
        of.requests, of.load = int(record["requests"]), int(record["load"])
        of.kv.private, of.kv.peak = int(record["private"]), int(record["peak"])
        tree = of.kv.tree
        tree.blocks[0], tree.pinned_blocks = int(record["cached"]), int(record["pinned"])
        tree.evicted_blocks = int(record["evicted"])
    for use, record in zip(cluster.links, w.links, strict=True):
        use.sent_bytes, use.received_bytes = record["sent_bytes"], record["received_bytes"]
        use.sent_bytes, use.received_bytes = float(use.sent_bytes), float(use.received_bytes)
        use.transfers, use.busy_ns = int(record["transfers"]), int(record["busy_ns"])
        use.waited_ns = int(record["waited_ns"])
    requests = np.concatenate([w.rows[: now["rows"]], _live_requests(w, now)])
    tasks = np.concatenate([w.tasks[: now["tasks_done"]], _live_tasks(w, now)])
    records = cluster.records
    requests[:, 3] = _renamed(requests[:, 3], workloads.texts, records.workloads)
    tasks[:, 1] = _renamed(tasks[:, 1], workloads.texts, records.workloads)
    requests[:, 19] = _renamed(requests[:, 19], REASONS, records.reasons)
    records.fill(requests, tasks)


def _write_window(cluster: Cluster, w: World, now: dict[str, int]) -> None:
    window, starts = cluster.window, w.starts[: now["starts"]]
    window.opened_ns, window.closed_ns = now["opened_ns"], now["closed_ns"]
    window.counted, window.live = now["counted"], now["live"]
    window.starts = array("q", starts[:, 0].tolist())
    window.served = array("q", starts[:, 1].tolist())
    window.spent_ns = starts[:, 2].tolist()


def _write_timeline(timeline: Any, record: Any, samples: Array) -> None:
    """Areas are sums that may have gone round: their differences are right, and below 2^63."""
    timeline.peak_waiting = int(record["peak_waiting"])
    timeline._last_ns, timeline._waiting = int(record["last_ns"]), int(record["waiting"])
    timeline._running, timeline._used = int(record["running"]), int(record["used"])
    timeline._sampled_ns = int(record["sampled_ns"])
    last = [0, *(int(record[f]) for f in ("area", "running_area", "used_area"))]
    rows = np.concatenate([samples[: record["samples"]], [last]])
    if (np.diff(rows[:, 1:], axis=0) < 0).any() or (rows[:1] < 0).any():
        found = _unwound(rows.tolist())
    else:
        found = list(map(tuple, rows.tolist()))
    _, timeline._area, timeline._running_area, timeline._used_area = found.pop()
    timeline.samples = found


def _unwound(rows: list[list[int]]) -> list[tuple[int, ...]]:
    """Areas without their turns at 2^64."""
    last: tuple[int, ...] = (0, 0, 0)
    found: list[tuple[int, ...]] = []
    for time, *areas in rows:
        pairs = zip(last, areas, strict=True)
        last = tuple(before + (area - before) % (1 << 64) for before, area in pairs)
        found.append((time, *last))
    return found


def _live_requests(w: World, now: dict[str, int]) -> Array:
    """Rows of the requests that the end of the run cut off, in the order of their making."""
    live = w.requests[: now["requests"]]
    live = live[live["live"] == 1]
    live = live[live["sent_ns"] <= now["time"]]
    live = live[w.sessions["part"][live["session"]] != AFTER]
    live = live[np.argsort(live["index"])]
    sessions = w.sessions[live["session"]]
    rows = np.empty((len(live), REQUEST_FIELDS), np.int64)
    own = "step isl osl hit hit_own sent_ns queue_ns prefill_ns kv_transfer_ns decode_ns"
    places = (2, 4, 5, 6, 7, 8, 12, 13, 14, 15)
    for place, name in zip(places, own.split(), strict=True):
        rows[:, place] = live[name]
    rows[:, 0], rows[:, 1], rows[:, 3] = live["index"], sessions["trajectory"], sessions["workload"]
    rows[:, 9], rows[:, 10], rows[:, 11] = -1, -1, 0
    rows[:, 16], rows[:, 17] = live["preemptions"], live["replica"]
    rows[:, 18], rows[:, 19], rows[:, 20] = live["status"], live["reason"], sessions["part"]
    return rows


def _live_tasks(w: World, now: dict[str, int]) -> Array:
    """Rows of the tasks that were under way at the end of the run, in the order of their starts."""
    live = w.sessions[: now["session_places"]]
    live = live[(live["alive"] == 1) & (live["part"] != AFTER)]
    live = live[np.argsort(live["number"])]
    rows = np.empty((len(live), TRAJECTORY_FIELDS), np.int64)
    names = ("trajectory", "workload", "start_ns", "end_ns", "steps", "done", "status", "part")
    for place, name in enumerate(names):
        rows[:, place] = live[name]
    rows[:, 8:] = w.paths[live["place"] + live["steps"], : arrays.PATHS]
    return rows


def _renamed(column: Array, texts: Any, names: Names) -> Array:
    """Numbers by `names`, which numbers texts as they first appear."""
    codes, first = np.unique(column, return_index=True)
    number = np.zeros(len(texts), np.int64)
    for code in codes[np.argsort(first)]:
        number[code] = names[texts[code]]
    return number[column]
