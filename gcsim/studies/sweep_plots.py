"""Pictures of load curves: latency and goodput against load, a curve for each combination.

    gcsim.studies.sweep_plots.load_curves(found).savefig("curves.svg")

What takes axes draws on them and returns them, so that pictures can be put together.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gcsim.errors import ProfileError
from gcsim.results.metrics import named
from gcsim.results.plots import LINES, new_axes
from gcsim.studies.load_curve import COLUMNS
from gcsim.studies.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vP*X"  # with the colours, so that neither alone tells curves apart
SHOWN = ("ttft", "tpot")
KEYS = {"ttft": "p95_ttft_ms", "tpot": "p95_tpot_ms", "e2e": "p95_e2el_ms", "task": "p95_task_ms"}
STAR: dict[str, Any] = {"ls": "", "marker": "*", "ms": 15, "mec": "#000000", "mfc": "#FFFFFF"}
SUFFIXES = (".svg", ".png", ".pdf")


def load_curves(found: Sweep) -> "Figure":
    """p95 of TTFT and TPOT, and goodput within the SLO, against load; the bounds as lines.

    Whiskers: 95% intervals; a star: the largest load at the SLO; hollow: saturated.
    Errors: `ProfileError` for a sweep without loads.
    """
    if found.at_slo is None:
        raise ProfileError.one("sweep", "--plot", None, "shows load curves", "add --load auto")
    figure, axes = new_axes(1, 3, (11, 4.2))
    for time, axis in zip(SHOWN, axes, strict=False):
        latency_against_load(found, axis, time)
    goodput_against_load(found, axes[-1])
    figure.legend(
        handles=_legend(found), loc="outside lower center", ncols=4, frameon=False, fontsize="small"
    )
    figure.suptitle(f"{found.scenario}: latency and goodput against load", x=0.01, ha="left")
    return figure


def latency_against_load(found: Sweep, axis: "Axes", time: str = "ttft") -> "Axes":
    """p95 of `ttft`, `tpot`, `e2e` or `task` of each curve, with its interval and the SLO's bound.

    The bound is drawn where it is the same at all points.
    """
    metric, statistic = named(KEYS[time])
    _curves(found, axis, KEYS[time], metric.scale)
    bounds = found.table.get(f"slo_{time}_s", pd.Series(dtype=float)).dropna().unique()
    if len(bounds) == 1:
        bound = float(bounds[0]) * 1e3 * metric.scale
        axis.axhline(bound, color="#000000", ls="--", lw=1)
        axis.annotate(
            f"SLO {bound:g} {metric.unit}",
            (0.01, bound),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize="small",
        )
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    return _labelled(found, axis, metric.title(statistic))


def goodput_against_load(found: Sweep, axis: "Axes") -> "Axes":
    """Requests within the SLO per second, with a star at the largest load that keeps it."""
    _curves(found, axis, "request_goodput", 1.0)
    load = found.keys[-1]
    for _, rows, style in _each(found):
        at = rows[rows[load] == _at_slo(found, rows)]
        axis.plot(at[load], at["request_goodput"], **STAR | {"mfc": style["color"]}, zorder=4)
    axis.set_ylim(bottom=0)
    return _labelled(found, axis, named("request_goodput")[0].title())


def write_plot(found: Sweep, path: Path) -> None:
    """`load_curves` as a file, the same bytes each time.

    Errors: `ProfileError`, for one that cannot be written too.
    """
    import matplotlib as mpl

    check_plot(path)
    figure = load_curves(found)
    plain: dict[str, Any] = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
    try:
        with mpl.rc_context({"svg.hashsalt": "gcsim"}):
            figure.savefig(path, **plain)
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise ProfileError.one(str(path), "--plot", None, why, "name another file") from error


def check_plot(path: Path) -> None:
    """Errors: `ProfileError` for a file that no picture can go to; asked before anything runs."""
    if path.suffix not in SUFFIXES:
        hint = f"one that ends in {', '.join(SUFFIXES)}"
        raise ProfileError.one("sweep", "--plot", str(path), "is no file of a picture", hint)
    if not path.absolute().parent.is_dir():
        why = f"lies in {path.absolute().parent}, which is no folder"
        raise ProfileError.one("sweep", "--plot", str(path), why, "name another file")


def _curves(found: Sweep, axis: "Axes", key: str, scale: float) -> None:
    load = found.keys[-1]
    for name, rows, style in _each(found):
        values = rows[key].to_numpy(dtype=float) * scale
        ends = [rows.get(f"ci95_{key}.{end}") for end in ("low", "high")]
        low, high = (values if end is None else end.to_numpy(dtype=float) * scale for end in ends)
        gaps = np.nan_to_num(np.stack([values - low, high - values])).clip(min=0)
        axis.errorbar(rows[load], values, yerr=gaps, ms=0, capsize=2, lw=1.2, **style, label=name)
        for hollow in (False, True):
            some = rows["saturated"].to_numpy(dtype=bool) == hollow
            fill = "#FFFFFF" if hollow else style["color"]
            axis.plot(rows[load][some], values[some], ls="", mfc=fill, label="_nolegend_", **style)


def _each(found: Sweep) -> Iterator[tuple[str, pd.DataFrame, Mapping[str, Any]]]:
    """(name, points by rising load, colour and marker) of every curve that has any."""
    keys, load = found.keys[:-1], found.keys[-1]
    table = found.table[found.table["error"].isna()]
    groups = list(table.groupby(keys, sort=False)) if keys else [((found.scenario,), table)]
    for number, (values, rows) in enumerate(groups):
        style = {
            "color": LINES[number % len(LINES)],
            "marker": MARKERS[number % len(MARKERS)],
        }
        yield ", ".join(map(str, values)), rows.sort_values(load), style


def _legend(found: Sweep) -> list[Any]:
    """A line of every curve, and what stars and hollow marks are where there are any."""
    from matplotlib.lines import Line2D

    assert found.at_slo is not None
    handles = [Line2D([], [], lw=1.2, **style, label=name) for name, _, style in _each(found)]
    if (found.at_slo[f"{found.keys[-1]}_at_slo"] > 0).any():
        handles.append(Line2D([], [], **STAR | {"ms": 10}, label="the most at the SLO"))
    if any(rows["saturated"].any() for _, rows, _ in _each(found)):
        hollow: dict[str, Any] = {"ls": "", "marker": "o", "mec": "#000000", "mfc": "#FFFFFF"}
        handles.append(Line2D([], [], **hollow, label="saturated"))
    return handles


def _at_slo(found: Sweep, rows: pd.DataFrame) -> float | None:
    """The largest load at the SLO of the curve that has these rows."""
    assert found.at_slo is not None
    table, load = found.at_slo, found.keys[-1]
    mine = table
    for key in found.keys[:-1]:
        mine = mine[mine[key] == rows[key].iloc[0]]
    return None if mine.empty else mine[f"{load}_at_slo"].iloc[0]


def _labelled(found: Sweep, axis: "Axes", title: str) -> "Axes":
    load = found.keys[-1]
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel("agents" if load == COLUMNS["agents"] else "tasks per second")
    axis.set_ylabel(title)
    axis.grid(visible=True, color="#EEEEEE")
    return axis
