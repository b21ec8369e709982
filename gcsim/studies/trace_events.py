"""A run as a timeline of trace events, for ui.perfetto.dev, chrome://tracing and their like.

Tables of a run hold its steps, phases, queues and KV. What they do not hold, the batches of every
iteration and the transfers of every link, is played again from the run's own scenario, up to the
end of what is shown: the same seed gives the same bytes, which is checked.

Ref: Trace Event Format (Google, 2016), the JSON that Perfetto and chrome://tracing read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import pandas as pd

from gcsim.engine.clock import to_ns
from gcsim.engine.log import Log, Played, total_of
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import with_settings
from gcsim.results.result import Result
from gcsim.results.spans import in_rows, spans
from gcsim.results.tables import request_table, split_bounds
from gcsim.results.text import PHASE_NAMES, bound_name
from gcsim.simulate import bind_pools, play_scenario
from gcsim.version import __version__

EVENTS_MOST = 250_000  # about 40 MB
TASKS, WAITS, LINKS, POOLS = 1, 2, 3, 10  # numbers of what Perfetto calls processes
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """The events of a run within [from_s, until_s], by time; cut: whether others were left out."""

    result: Result
    events: tuple[Event, ...]
    from_s: float
    until_s: float
    cut: bool
    played: bool

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that Perfetto opens."""
        s = self.result.summary
        about = {key: s[key] for key in ("scenario", "deployment", "model", "seed", "version")}
        about |= {"from_s": self.from_s, "until_s": self.until_s, "cut": self.cut}
        about |= {"iterations": self.played, "gcsim": __version__}
        return {
            "traceEvents": [*_names(self.result, self.events), *self.events],
            "displayTimeUnit": "ms",
            "otherData": about,
        }


def trace_events(
    result: Result,
    window_s: tuple[float, float] | None = None,
    *,
    iterations: bool = True,
    each: bool = False,
    most: int = EVENTS_MOST,
) -> Trace:
    """The timeline of a run: tasks with their steps and phases, tools, links, replicas, counters.

    window_s: what to show, in simulated seconds; None: all of it. iterations: play the run again
    for the batches of its replicas and the transfers of its links; each: every iteration by itself,
    else those that follow each other on one batch are one slice that says how many they are.
    most: events; where there are more the window is cut at its end, and `cut` says so.
    Errors: `ProfileError` for a window that is none, and where what is played again is another run.

    >>> import gcsim
    >>> few = {"run.trajectories": 1, "arrivals.agents": 1}
    >>> trace = trace_events(gcsim.run("coding-agents", settings=few), (0, 60))
    >>> sorted({event["ph"] for event in trace.to_dict()["traceEvents"]})
    ['C', 'M', 'X']
    """
    from_s, until_s = window_s or (0.0, inf)
    until_s = min(until_s, float(result.summary["simulated_s"]))
    if not 0 <= from_s < until_s:
        why = f"is no part of the run, which takes {result.summary['simulated_s']:g} s"
        raise ProfileError.one("timeline", "--window", window_s, why, "write --window 0:60")
    events = [*_of_tasks(result), *_of_counters(result)]
    if iterations:
        log = _again(result, from_s, until_s, each)
        events += [*_of_replicas(result, log.played), *_of_links(log)]
    shown = [one for one in events if _within(one, from_s * 1e6, until_s * 1e6)]
    shown.sort(key=lambda one: (one["ts"], -one.get("dur", 0.0)))
    cut = len(shown) > most
    if cut:
        until_s = shown[most]["ts"] * 1e-6
        shown = shown[:most]
    return Trace(result, tuple(shown), from_s, until_s, cut, iterations)


def _within(event: Event, from_us: float, until_us: float) -> bool:
    return bool(event["ts"] <= until_us and event["ts"] + event.get("dur", 0.0) >= from_us)


def _again(result: Result, from_s: float, until_s: float, each: bool) -> Log:
    """The run once more, as far as it is shown, with what was not kept.

    Errors: `ProfileError` where it is another run: it was saved by another version.
    """
    log = Log(to_ns(from_s), to_ns(until_s))
    settings: dict[str, Any] = {"engine": "iteration" if each else "coalesced"}
    if until_s < result.summary["simulated_s"]:
        settings["run.horizon"] = f"{until_s!r} s"
    cluster = play_scenario(with_settings(result.resolved, settings).scenario, log=log)
    again = request_table(cluster)
    columns = ["trajectory", "step", "sent_s", "e2e_s"]
    tables = [
        table[table["status"] == "completed"][columns]
        .sort_values(columns[:2], kind="stable")
        .reset_index(drop=True)
        for table in (result.requests, again)
    ]
    ends = [table["sent_s"] + table["e2e_s"] < until_s - 1e-6 for table in tables]
    same = [table[end].reset_index(drop=True) for table, end in zip(tables, ends, strict=True)]
    if not same[0].equals(same[1]):
        why = f"was written by version {result.summary['version']}, and plays otherwise now"
        hint = "run it again, or leave iterations out: --no-iterations"
        raise ProfileError.one("timeline", "RESULTS", None, why, hint)
    return log


# -- events ----------------------------------------------------------------------------------


def _slice(pid: int, tid: int, name: str, start_s: float, end_s: float, **args: Any) -> Event:
    """A complete event, in microseconds to the nanosecond."""
    start, end = round(start_s * 1e6, 3), round(end_s * 1e6, 3)
    event = {"ph": "X", "pid": pid, "tid": tid, "name": name, "ts": start}
    event["dur"] = round(end - start, 3)
    return event | ({"args": args} if args else {})


def _of_tasks(result: Result) -> Iterator[Event]:
    """A track per task, with steps and below them their phases; those that overlap beside it."""
    parts = spans(result)
    steps = parts[parts["part"] != "tools"]
    whole = steps.groupby(["trajectory", "step"], sort=False).agg(
        start_s=("start_s", "min"), end_s=("end_s", "max")
    )
    whole = in_rows(whole.reset_index(), "trajectory")
    rows = {(task, step): row for task, step, row in _zip(whole, "trajectory", "step", "row")}
    done = result.requests.set_index(["trajectory", "step"])
    tokens = dict(zip(done.index, _zip(done, "isl", "cached_tokens", "osl"), strict=True))
    tasks = result.trajectories
    last = float(result.summary["simulated_s"])
    for task, start, end, status in _zip(tasks, "trajectory", "start_s", "end_s", "status"):
        until = float(end) if status == "completed" else last
        yield _slice(TASKS, _track(task, 0), f"task {task}", start, until, status=str(status))
    for task, step, start, end, row in _zip(whole, "trajectory", "step", "start_s", "end_s", "row"):
        isl, cached, osl = map(int, tokens[task, step])
        sizes = {"isl": isl, "cached_tokens": cached, "osl": osl}
        yield _slice(TASKS, _track(task, row), f"step {step}", start, end, **sizes)
    columns = ("trajectory", "step", "part", "start_s", "end_s")
    for task, step, part, start, end in _zip(steps, *columns):
        track = _track(task, rows[task, step])
        yield _slice(TASKS, track, PHASE_NAMES[part], start, end)
    waits = in_rows(parts[parts["part"] == "tools"].reset_index(drop=True))
    for task, step, lane, start, end, row in _zip(
        waits, "trajectory", "step", "lane", "start_s", "end_s", "row"
    ):
        yield _slice(WAITS, int(row) + 1, lane, start, end, task=int(task), before_step=int(step))


def _track(task: int, row: int) -> int:
    """Steps of one task that overlap are on tracks of their own, beside its first."""
    return int(task) * 100 + int(min(row, 99)) + 1


def _of_counters(result: Result) -> Iterator[Event]:
    """Queue, batch and KV of every replica, as the timeline has them: means up to the next."""
    columns = ("pool", "replica", "time_s", "waiting", "running", "kv_occupancy")
    pids = _pids(result)
    for pool, replica, at, waiting, running, kv in _zip(result.timeline, *columns):
        ts, pid = round(float(at) * 1e6, 3), pids[pool]
        for name, value in (("queue", waiting), ("batch", running), ("KV %", kv * 100)):
            args = {name: round(float(value), 3)}
            named = f"replica {replica} {name}"
            yield {"ph": "C", "pid": pid, "tid": 0, "name": named, "ts": ts, "args": args}


def _of_replicas(result: Result, played: Iterable[Played]) -> Iterator[Event]:
    """A track per replica: what each of its batches computed, and what bounded it."""
    machines = bind_pools(result.resolved.scenario)
    pools = _pool_of(result)
    pids = _pids(result)
    for one in played:
        pool = pools[one.replica]
        totals = total_of(one)
        split = split_bounds(totals, machines[pool])
        bound = max(split, key=lambda key: split[key])
        kinds = [f"prefill {one.prompt_tokens:,}"] if one.prompt_tokens else []
        kinds += [f"decode {one.decode_seqs}"] if one.decode_seqs else []
        yield _slice(
            pids[pool],
            one.replica + 1,
            " + ".join(kinds) or "idle",
            one.start_ns * 1e-9,
            one.end_ns * 1e-9,
            iterations=one.iterations,
            decode_seqs=one.decode_seqs,
            prompts=one.prompts,
            prompt_tokens=one.prompt_tokens,
            kv_tokens=one.kv_tokens,
            bound=bound_name(bound),
        )


def _of_links(log: Log) -> Iterator[Event]:
    """A track per link (more where transfers overlap): who sent how much to whom."""
    if not log.carried:
        return
    table = pd.DataFrame(
        [(one.link, one.start_ns * 1e-9, one.end_ns * 1e-9) for one in log.carried],
        columns=["link", "start_s", "end_s"],
    )
    table = in_rows(table, "link")
    first = {link: place * 100 for place, link in enumerate(dict.fromkeys(table["link"]))}
    for one, row in zip(log.carried, table["row"], strict=True):
        ends = {"from_replica": one.source, "to_replica": one.target, "bytes": one.moved_bytes}
        track = first[one.link] + min(int(row), 99) + 1
        yield _slice(LINKS, track, one.link, one.start_ns * 1e-9, one.end_ns * 1e-9, **ends)


# -- names -----------------------------------------------------------------------------------


def _names(result: Result, events: Iterable[Event]) -> Iterator[Event]:
    """What processes and tracks are called; only those that have events."""
    used = {(event["pid"], event["tid"]) for event in events}
    pids = {event_pid for event_pid, _ in used}
    pools = {pid: name for name, pid in _pids(result).items()}
    deployed = result.resolved.scenario.deployment.pools
    titles = {TASKS: "tasks", WAITS: "tools and people", LINKS: "links"}
    titles |= {pid: f"pool {name} ({deployed[name].chip.name})" for pid, name in pools.items()}
    links = {event["tid"]: event["name"] for event in events if event["pid"] == LINKS}
    for pid in sorted(pids):
        yield _named("process_name", pid, 0, name=titles[pid])
        yield _named("process_sort_index", pid, 0, sort_index=pid if pid >= POOLS else 100 + pid)
    for pid, tid in sorted(used):
        if pid == TASKS:
            task, row = divmod(tid - 1, 100)
            name = f"task {task}" if not row else f"task {task}, beside {row}"
        elif pid == WAITS:
            name = f"waits {tid}"
        elif pid == LINKS:
            name = links[tid]
        else:
            name = f"replica {tid - 1}"
        if tid:
            yield _named("thread_name", pid, tid, name=name)


def _named(what: str, pid: int, tid: int, **args: Any) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": args}


def _pids(result: Result) -> dict[str, int]:
    return {name: POOLS + n for n, name in enumerate(result.resolved.scenario.deployment.pools)}


def _pool_of(result: Result) -> dict[int, str]:
    """Replica -> its pool; replicas are numbered through the pools in order."""
    found: dict[int, str] = {}
    for name, pool in result.resolved.scenario.deployment.pools.items():
        for _ in range(pool.replicas):
            found[len(found)] = name
    return found


def _zip(table: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[column].tolist() for column in columns), strict=True)
