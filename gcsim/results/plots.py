"""Pictures of a result: where each millisecond goes, how latencies spread, what replicas hold.

Each function returns a matplotlib `Figure`; show it in a notebook or save it.

    gcsim.results.plots.steps(result).savefig("steps.png")
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gcsim.errors import ProfileError
from gcsim.results.paired import counted_of
from gcsim.results.result import Result
from gcsim.results.text import PHASE_NAMES

BINS = 240  # of a timeline
SMALL: dict[str, Any] = {"frameon": False, "fontsize": "small"}  # a legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = {
    "network": "#999999",
    "queue": "#D55E00",
    "prefill": "#E69F00",
    "kv_transfer": "#CC79A7",
    "decode": "#0072B2",
}
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def steps(result: Result, trajectory: int | None = None) -> "Figure":
    """Where each millisecond of every step of one task goes; below, what it had to read.

    trajectory: its index; None: the first that was completed.
    Errors: `ProfileError` when none was completed, or not this one.
    """
    done = result.requests[result.requests["status"] == "completed"]
    whole = result.trajectories[result.trajectories["status"] == "completed"]["trajectory"]
    wanted = trajectory if trajectory is not None else (int(whole.iloc[0]) if len(whole) else -1)
    mine = done[done["trajectory"] == wanted].sort_values("step")
    if mine.empty:
        raise ProfileError.one("plots.steps", "trajectory", trajectory, "has no completed step")
    figure, (top, bottom) = new_axes(2, 1, (9, 5), sharex=True, height_ratios=(2.2, 1))
    at, floor = mine["step"].to_numpy() + 1, np.zeros(len(mine))
    for phase, colour in COLOURS.items():
        part = mine[f"{phase}_s"].to_numpy() * 1e3
        if part.any():
            top.bar(at, part, bottom=floor, color=colour, width=0.9, label=PHASE_NAMES[phase])
        floor += part
    top.set_ylabel("time of the step [ms]")
    top.yaxis.set_major_formatter(_thousands)
    _title(figure, f"Where each millisecond goes: task {wanted} on {_where(result)}")
    _legend(top)
    cached = mine["cached_tokens"].to_numpy()
    fresh = mine["isl"].to_numpy() - cached
    bottom.bar(at, cached, color="#CCCCCC", width=0.9, label="cached")
    bottom.bar(at, fresh, bottom=cached, color=COLOURS["prefill"], width=0.9, label="to prefill")
    bottom.set_ylabel("prompt [tokens]")
    bottom.set_xlabel("step")
    bottom.yaxis.set_major_formatter(_thousands)
    bottom.set_xlim(at[0] - 0.6, at[-1] + 0.6)
    _legend(bottom)
    return figure


def latencies(results: Result | Mapping[str, Result]) -> "Figure":
    """Which fraction of the requests has at most this TTFT, and this TPOT."""
    named = {_where(results): results} if isinstance(results, Result) else dict(results)
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = new_axes(1, 2, (9, 3.6), sharey=True)
    columns = (("ttft_s", "TTFT [ms]"), ("tpot_s", "TPOT [ms]"))
    for axis, (column, label) in zip(axes, columns, strict=True):
        for (name, result), colour in zip(named.items(), _colours(len(named)), strict=True):
            done = counted_of(result).requests
            values = np.sort(done[column].dropna().to_numpy()) * 1e3
            if len(values):
                heights = np.arange(1, len(values) + 1) / len(values)
                axis.step(values, heights, where="post", color=colour, label=name)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(label)
        axis.grid(visible=True, color="#EEEEEE")
    axes[0].set_ylabel("fraction of the requests")
    axes[0].set_ylim(0, 1.01)
    lines, names = axes[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=3, **SMALL)
    return figure


def timeline(result: Result) -> "Figure":
    """Requests that wait and run, and how full the KV cache is, per pool; means of short times."""
    figure, (top, bottom) = new_axes(2, 1, (9, 4.6), sharex=True, height_ratios=(1.6, 1))
    pools = list(result.timeline.groupby("pool", sort=False))
    for (pool, samples), colour in zip(pools, _colours(len(pools)), strict=True):
        times = np.linspace(0.0, result.summary["simulated_s"], BINS + 1)
        parts = [_on(times, own) for _, own in samples.groupby("replica", sort=False)]
        waiting, running, kv = np.sum(parts, axis=0)
        name = "" if len(pools) == 1 else f"{pool}: "
        top.stairs(running, times, baseline=None, color=colour, lw=1.5, label=f"{name}running")
        if waiting.any():
            top.stairs(waiting, times, baseline=None, color=colour, ls=":", label=f"{name}waiting")
        bottom.stairs(kv / len(parts) * 100, times, baseline=None, color=colour, lw=1.5)
    top.set_ylabel("requests")
    top.set_ylim(bottom=0)
    _title(figure, f"{result.summary['scenario']} on {_where(result)}")
    _legend(top)
    bottom.set_ylabel("KV cache used [%]")
    bottom.set_xlabel("simulated time [s]")
    bottom.set_ylim(0, 100)
    bottom.set_xlim(0, result.summary["simulated_s"])
    return figure


def breakdown(results: Mapping[str, Result]) -> "Figure":
    """The mean time of a step on each deployment, by phase."""
    figure, axis = new_axes(1, 1, (9, 1.1 + 0.5 * len(results)))
    names = list(results)[::-1]
    left = np.zeros(len(names))
    for phase, colour in COLOURS.items():
        parts = [results[name].summary["breakdown_ms"][phase] or 0.0 for name in names]
        if max(parts) > 0.5:  # ms: less cannot be seen
            axis.barh(names, parts, left=left, color=colour, label=PHASE_NAMES[phase])
        left += parts
    axis.set_xlabel("mean time of a step [ms]")
    axis.xaxis.set_major_formatter(_thousands)
    _legend(axis)
    return figure


def _on(edges: Any, samples: Any) -> Any:
    """Means of waiting, running and KV use of one replica between other times."""
    starts = samples["time_s"].to_numpy()
    ends = np.append(starts[1:], max(edges[-1], starts[-1]))
    columns = samples[["waiting", "running", "kv_occupancy"]].to_numpy(dtype=float)
    areas = np.concatenate([[[0.0] * 3], np.cumsum(columns * (ends - starts)[:, None], axis=0)])
    times = np.append(starts, ends[-1])
    at = np.array([np.interp(edges, times, area) for area in areas.T])
    return np.diff(at) / np.diff(edges)


def new_axes(
    rows: int, columns: int, size: tuple[float, float], **options: Any
) -> "tuple[Figure, Any]":
    """A figure in the house's style and its axes, one or an array of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", dpi=120)
    axes = figure.subplots(rows, columns, **options)
    for axis in np.ravel(axes):
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_axisbelow(True)
    return figure, axes


def _title(figure: "Figure", text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize="large")


def _thousands(value: float, _: object) -> str:
    return f"{value:,.0f}"


def _legend(axis: "Axes") -> None:
    """A legend above the axes at the right, where no data are."""
    above: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 6}
    axis.legend(borderaxespad=0.2, **above, **SMALL)


def _colours(count: int) -> list[str]:
    return [LINES[number % len(LINES)] for number in range(count)]


def _where(result: Result) -> str:
    return str(result.summary["deployment"])
