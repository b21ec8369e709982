"""Pictures of runs: where each millisecond goes, how latencies spread, what replicas hold.

Panels take axes and return them; pictures are figures of panels.
"""

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from gcsim.errors import ProfileError
from gcsim.plots.style import GRID, finished, new_axes, part, plain_log, slo_line, style, thousands
from gcsim.results.comparison import Comparison
from gcsim.results.paired import counted_of
from gcsim.results.result import Result
from gcsim.results.summary import PHASES
from gcsim.results.text import PHASE_NAMES, three

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 240  # of a timeline
SEEN = 0.004  # of the longest bar: less cannot be seen
MARKS = 9  # on a line of many points
Runs = Result | Comparison | Mapping[str, Result]


def runs_of(results: Runs) -> dict[str, Result]:
    """Runs by name, whatever holds them."""
    if isinstance(results, Result):
        return {str(results.summary["deployment"]): results}
    return dict(results.results if isinstance(results, Comparison) else results)


# -- where the time of a step goes -----------------------------------------------------------


def breakdown(results: Runs) -> "Figure":
    """The time of a step on each deployment, by phase: its mean, and that of steps around p99."""
    runs = runs_of(results)
    figure, axes = new_axes(1, 2, (10, 1.6 + 0.42 * len(runs)), sharey=True)
    phases_of_step(runs, axes[0], "mean")
    phases_of_step(runs, axes[1], "p99")
    what = dict.fromkeys(str(result.summary["scenario"]) for result in runs.values())
    return finished(figure, f"Where the time of a step goes: {', '.join(what)}")


def phases_of_step(results: Runs, axis: "Axes", which: Literal["mean", "p99"] = "mean") -> "Axes":
    """Bars of the phases of a step: of the mean of all, or of those around the p99 of E2E.

    p99: the mean of the requests whose ranks by E2E lie within 0.5% of that of p99.
    """
    runs = runs_of(results)
    names = list(runs)[::-1]
    split = [(mean_phases if which == "mean" else p99_phases)(runs[name]) for name in names]
    longest = max(sum(each.values()) for each in split)
    left = np.zeros(len(names))
    for phase in PHASES:
        parts = [each[phase] for each in split]
        if max(parts) > SEEN * longest:
            axis.barh(names, parts, left=left, **part(phase), label=PHASE_NAMES[phase])
        left += parts
    axis.set_xlabel("mean time of a step [ms]" if which == "mean" else "steps around p99 [ms]")
    axis.xaxis.set_major_formatter(thousands)
    axis.locator_params(axis="x", nbins=4)
    return axis


def mean_phases(result: Result) -> dict[str, float]:
    """The mean time of a step by phase [ms], as the summary has it; they sum to mean E2E."""
    return {phase: result.summary["breakdown_ms"][phase] or 0.0 for phase in PHASES}


def p99_phases(result: Result) -> dict[str, float]:
    """The time by phase of the steps around the p99 of E2E [ms]."""
    done = counted_of(result).requests.sort_values("e2e_s", kind="stable")
    last = len(done) - 1
    low, high = int(0.985 * last), ceil(0.995 * last)
    near = done.iloc[low : high + 1]
    found = {phase: float(near[f"{phase}_s"].mean() * 1e3) for phase in PHASES}
    return {phase: value if value == value else 0.0 for phase, value in found.items()}


# -- how latencies spread --------------------------------------------------------------------

TIMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E"}


def latencies(results: Runs) -> "Figure":
    """Which fraction of the requests has at most this TTFT, TPOT and E2E; the SLO's bounds."""
    runs = runs_of(results)
    figure, axes = new_axes(1, 3, (11, 4), sharey=True)
    for axis, time in zip(axes, TIMES, strict=True):
        spread(runs, axis, time)
    axes[0].set_ylabel("fraction of requests")
    what = dict.fromkeys(str(result.summary["scenario"]) for result in runs.values())
    return finished(figure, f"How latencies spread: {', '.join(what)}")


def spread(results: Runs, axis: "Axes", time: str = "ttft") -> "Axes":
    """The distribution of `ttft`, `tpot` or `e2e` over requests, and the bound of the SLO.

    The bound is drawn where it is the same for all.
    """
    runs = runs_of(results)
    for number, (name, result) in enumerate(runs.items()):
        values = np.sort(counted_of(result).requests[f"{time}_s"].dropna().to_numpy()) * 1e3
        if len(values):
            heights = np.arange(1, len(values) + 1) / len(values)
            every = max(len(values) // MARKS, 1)
            marks = (number * every // max(len(runs), 1), every)  # so that none hides another
            look = style(number).line | {"markevery": marks}
            axis.step(values, heights, where="post", **look, label=name)
    axis.set_ylim(0, 1.01)
    axis.set_xlabel(f"{TIMES[time]} [ms]")
    axis.grid(**GRID)
    plain_log(axis.xaxis)
    bounds = {one["slo"].get(time) for result in runs.values() for one in result.summary["classes"]}
    if len(bounds) == 1 and (bound_s := bounds.pop()) is not None:
        slo_line(axis, bound_s * 1e3, f"SLO {three(bound_s * 1e3)}", upright=True)
    return axis


# -- one task --------------------------------------------------------------------------------


def task_of(result: Result, trajectory: int | None) -> tuple[int, pd.DataFrame]:
    """The completed steps of one task; None: the first task that was completed.

    Errors: `ProfileError` when none was completed, or not this one.
    """
    done = result.requests[result.requests["status"] == "completed"]
    whole = result.trajectories[result.trajectories["status"] == "completed"]["trajectory"]
    wanted = trajectory if trajectory is not None else (int(whole.iloc[0]) if len(whole) else -1)
    mine = done[done["trajectory"] == wanted].sort_values("step")
    if mine.empty:
        raise ProfileError.one("plots", "trajectory", trajectory, "has no completed step")
    return wanted, mine


def steps(result: Result, trajectory: int | None = None) -> "Figure":
    """Where each millisecond of every step of one task goes; below, what it had to read.

    trajectory: its index; None: the first that was completed.
    Errors: `ProfileError` when none was completed, or not this one.
    """
    wanted, mine = task_of(result, trajectory)
    figure, (top, bottom) = new_axes(2, 1, (9, 5.4), sharex=True, height_ratios=(2.2, 1))
    at, floor = mine["step"].to_numpy() + 1, np.zeros(len(mine))
    for phase in PHASES:
        height = mine[f"{phase}_s"].to_numpy() * 1e3
        if height.max() > SEEN * mine["e2e_s"].max() * 1e3:
            top.bar(at, height, bottom=floor, **part(phase), width=0.9, label=PHASE_NAMES[phase])
        floor += height
    top.set_ylabel("time of the step [ms]")
    top.yaxis.set_major_formatter(thousands)
    cached = mine["cached_tokens"].to_numpy()
    fresh = mine["isl"].to_numpy() - cached
    bottom.bar(at, cached, **part("cached"), width=0.9, label="prompt, cached")
    bottom.bar(at, fresh, bottom=cached, **part("fresh"), width=0.9, label="prompt, to prefill")
    bottom.set_ylabel("prompt [tokens]")
    bottom.set_xlabel("step [number]")
    bottom.yaxis.set_major_formatter(thousands)
    bottom.set_xlim(at[0] - 0.6, at[-1] + 0.6)
    title = f"Where each millisecond goes: task {wanted} on {result.summary['deployment']}"
    return finished(figure, title)


# -- over time -------------------------------------------------------------------------------


def timeline(result: Result) -> "Figure":
    """Batch, queue and KV cache of each pool over time; means of short times."""
    figure, axes = new_axes(3, 1, (9, 6.4), sharex=True)
    for axis, column in zip(axes, STATES, strict=True):
        over_time(result, axis, column)
    for axis in axes[:-1]:
        axis.set_xlabel("")
    title = f"{result.summary['scenario']} on {result.summary['deployment']} over time"
    return finished(figure, title)


STATES = {
    "running": "batch [requests]",
    "waiting": "queue [requests]",
    "kv_occupancy": "KV cache in use [%]",
}


def over_time(result: Result, axis: "Axes", column: str = "running") -> "Axes":
    """A column of the timeline over time, a line per pool: sums of its replicas; of KV the mean."""
    pools = list(result.timeline.groupby("pool", sort=False))
    times = np.linspace(0.0, result.summary["simulated_s"], BINS + 1)
    middles = (times[1:] + times[:-1]) / 2
    for number, (pool, samples) in enumerate(pools):
        parts = [_on(times, own, column) for _, own in samples.groupby("replica", sort=False)]
        values = np.sum(parts, axis=0)
        if column == "kv_occupancy":
            values = values / len(parts) * 100
        look = style(number).line | {"markevery": (number * 10, BINS // MARKS), "ms": 4}
        axis.plot(middles, values, **look, drawstyle="steps-mid", label=f"pool {pool}")
    axis.set_ylabel(STATES[column])
    axis.set_xlabel("simulated time [s]")
    axis.set_xlim(0, result.summary["simulated_s"])
    axis.set_ylim(bottom=0)
    if column == "kv_occupancy":
        axis.set_ylim(0, min(max(axis.get_ylim()[1], 5), 100))
    axis.xaxis.set_major_formatter(thousands)
    axis.grid(**GRID)
    return axis


def _on(edges: Any, samples: Any, column: str) -> Any:
    """Means of a column of one replica between other times."""
    starts = samples["time_s"].to_numpy()
    ends = np.append(starts[1:], max(edges[-1], starts[-1]))
    values = samples[column].to_numpy(dtype=float)
    areas = np.concatenate([[0.0], np.cumsum(values * (ends - starts))])
    at = np.interp(edges, np.append(starts, ends[-1]), areas)
    return np.diff(at) / np.diff(edges)
