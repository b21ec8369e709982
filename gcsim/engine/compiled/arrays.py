"""All that the compiled loop knows, as arrays: a record for each object of the SimPy engine.

A record has the fields of the class that it stands for, under the same names; what is a reference
there is a number here: the place of another record, -1 for none. `World` holds all arrays.
"""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Record = Any  # one of an array of records
NEVER = 1 << 62
UNLIMITED = 1 << 62
NONE = -1


def _record(text: str, floats: str = "") -> "np.dtype[np.void]":
    fields: list[tuple[str, Any]] = [(name, np.int64) for name in text.split()]
    return np.dtype(fields + [(name, np.float64) for name in floats.split()], align=True)


# The one record of a run: of the clock, the cluster, the load and the window; then how much of
# each array is in use (`free_...`: the first of a chain of places that are free again).
NOW = _record(
    """
    time rank calls created served under_way moment_ns sessions coming ended epochs uids
    next draw started checking told_at stopped full
    tasks warmup_ns window_ns agents midway unanswered opened_ns closed_ns counted live starts
    up_ns coalesce policy turns decode_turns local gap layerwise delta drawn offered exhausted
    requests free_requests session_places free_sessions contexts free_contexts nodes free_nodes
    rows tasks_done most_steps most_seqs horizon_ns
    """,
)
REPLICA = _record(
    """
    pool first_group groups next_ns call overlap down_ns
    start_ns end_ns iterations most until_ns interruptible
    count_from_ns busy_ns decoded_tokens
    peak_waiting step_ns next_sample_ns area last_ns waiting running used running_area used_area
    sampled_ns samples
    """,
)
GROUP = _record(
    """
    replica load line_tokens coming requests changed held awaits known_ns decodes
    rank form max_seqs limit_tokens tokens_per_seq prefills first_token_here
    running first_running last_running prefilling first_prefilling last_prefilling added returned
    seqs clock iterations kv window_kv growing block_tokens hit_tokens window accepted_ppm
    total extra limit private peak chunk cached pinned evicted tick root
    """,
    "fresh_work",
)
REQUEST = _record(
    """
    index session step context isl osl owner priority sent_ns in_ns first_token_ns last_token_ns
    phase_ns queue_ns prefill_ns kv_transfer_ns decode_ns status reason replica group preemptions
    hit hit_own estimate prompt_tokens past todo generated epoch join_clock end_clock served live
    node held cached own shared
    there_node there_held there_cached there_own there_shared
    source target link prefill_start_ns prefill_end_ns reserved_ns offered tokens
    previous next in_prefill previous_prefill next_prefill free
    """,
    "moved_bytes",
)
# What a pool's machine says of a handoff; smallest: the smallest group that its links reach.
COST = _record(
    "window layers smallest",
    """
    kv_bytes window_kv_bytes state_bytes handoff_overhead_s handoff_s_per_token
    retokenize_s_per_token
    """,
)
LINK = _record("delay_ns transfers busy_ns waited_ns", "rate ramp sent_bytes received_bytes")
SESSION = _record(
    """
    trajectory workload priority entered start_ns begin_ns steps place size_class part status end_ns
    done live alive number at spans_class home decode_home free
    """,
)
# A step of a session: what the trajectory says (`spans`: place of what it appends in `cells`), and
# what becomes of it: steps to wait for, steps that continue its context, that context.
STEP = _record(
    "osl delay_ns parent human keep served spans span_count heirs heir_count missing users context"
)
NODE = _record(
    "uid parent length depth owner children pins last_used queued content start chain group free"
)
# A trajectory as it is handed over: `gcsim.engine.compiled.feed`.
TASK = _record("trajectory workload priority start_ns first steps cells cell_count entered")

# The lists of a group, rows of up to four numbers each (heaps by the first three), then two of all.
LINE, ENDS, CROSSINGS, LEAVES, STALLS, CHUNKS, EVENTS, INBOX, ARRIVED, FREED = range(10)
LISTS = 10
# Behind those of all groups: calls; what happened; where requests enter, where they decode, where
# this one may; from LINKED on, for each pool, where its links lead.
CALLS, TOLD, ENTRY, DECODERS, TARGETS, LINKED = range(6)
# What happened to a request in a group.
COMPLETED, REJECTED, ADMITTED, RESERVED, PREFILLED = range(5)

TOKENS = 3  # in `spans`, behind place, length and class: all tokens of a context

# Paths of a step: `PATH` when it was sent; when what it waits for ended last (and when that was).
PATHS = 7
LATEST, LATEST_NS = 7, 14


class World(NamedTuple):
    """The arrays; `lists`, `labels`, `spans`, `hints`: (place, length, size class) of lists of
    rows in `cells` (`gcsim.engine.compiled.lists`): of groups and of all, by node, by context.
    """

    now: Array
    replicas: Array
    groups: Array
    requests: Array
    sessions: Array
    steps: Array
    step_free: Array
    paths: Array
    nodes: Array
    buckets: Array
    lists: Array
    labels: Array
    spans: Array
    hints: Array
    cells: Array
    free: Array
    phases: Array
    tables: Array
    batches: Array
    firsts: Array
    totals: Array
    gaps: Array
    samples: Array
    unsettled: Array
    starts: Array
    rows: Array
    tasks: Array
    costs: Array
    links: Array
    link_of: Array
    lanes: Array
    conversion: Array
    tokenize_s: Array
    context_window: Array
    feed_tasks: Array
    feed_steps: Array
    feed_cells: Array


# What each array holds, and how many axes it has.
SHAPES: dict[str, tuple[Any, int]] = {
    "now": (NOW, 1),
    "replicas": (REPLICA, 1),
    "groups": (GROUP, 1),
    "requests": (REQUEST, 1),
    "sessions": (SESSION, 1),
    "steps": (STEP, 1),
    "step_free": (np.int64, 1),
    "paths": (np.int64, 2),
    "nodes": (NODE, 1),
    "buckets": (np.int64, 1),
    "lists": (np.int64, 2),
    "labels": (np.int64, 2),
    "spans": (np.int64, 2),
    "hints": (np.int64, 2),
    "cells": (np.int64, 2),
    "free": (np.int64, 1),
    "phases": (np.int64, 2),
    "tables": (np.float64, 3),
    "batches": (np.float64, 2),
    "firsts": (np.int64, 1),
    "totals": (np.float64, 2),
    "gaps": (np.int64, 2),
    "samples": (np.int64, 3),
    "unsettled": (np.int64, 1),
    "starts": (np.int64, 2),
    "rows": (np.int64, 2),
    "tasks": (np.int64, 2),
    "costs": (COST, 1),
    "links": (LINK, 1),
    "link_of": (np.int64, 2),
    "lanes": (np.int64, 2),
    "conversion": (np.float64, 1),
    "tokenize_s": (np.float64, 1),
    "context_window": (np.int64, 1),
    "feed_tasks": (TASK, 1),
    "feed_steps": (STEP, 1),
    "feed_cells": (np.int64, 2),
}
