"""Pictures over load: latency, goodput and cost, a curve for each deployment.

    gcsim.plots.load_curves(found).savefig("curves.svg")

Panels take axes and return them, so that pictures can be put together.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gcsim.errors import ProfileError
from gcsim.plots.style import (
    GRID,
    Style,
    finished,
    new_axes,
    plain_log,
    slo_line,
    style,
    thousands,
)
from gcsim.results.metrics import named
from gcsim.results.result import Result
from gcsim.results.text import three
from gcsim.studies.compare import Series
from gcsim.studies.load_curve import COLUMNS, load_of
from gcsim.studies.plan_load import PlanOverLoad
from gcsim.studies.sweep import Sweep
from gcsim.studies.sweep_table import flat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEYS = {"ttft": "p95_ttft_ms", "tpot": "p95_tpot_ms", "e2e": "p95_e2el_ms", "task": "p95_task_ms"}
SHOWN = ("ttft", "tpot", "task")
STAR: dict[str, Any] = {"ls": "", "marker": "*", "ms": 15, "mec": "#000000", "mfc": "#FFFFFF"}
BAND: dict[str, Any] = {"alpha": 0.16, "lw": 0, "zorder": 1.2}
ENDS = ("usd_per_hour_slow", "usd_per_hour_fast")
UNITS = {"agents": "agents [number]", "rate_per_s": "new tasks [1/s]"}


@dataclass(frozen=True, eq=False)
class Curves:
    """What is drawn over load: a row per point, the load in column `load`; keys: what tells curves
    apart; at_slo: the largest load of each curve that keeps the SLO, where that was looked for.

    Columns are those of a sweep's table: `ci95_KEY.low` and `bands.metrics.KEY.low` are drawn
    where they are.
    """

    title: str
    load: str
    keys: tuple[str, ...]
    table: pd.DataFrame
    at_slo: pd.DataFrame | None = None


Loaded = Sweep | Series | Iterable[Result] | Curves


def curves_of(found: Loaded) -> Curves:
    """Whatever holds runs at several loads, as curves: a sweep, a series over load, or the runs.

    Runs are told apart by their deployments. Errors: `ProfileError` where there is no load.
    """
    if isinstance(found, Curves):
        return found
    if isinstance(found, Sweep):
        if found.at_slo is None:
            raise ProfileError.one("sweep", "--plot", None, "shows load curves", "add --load auto")
        table = found.table[found.table["error"].isna()]
        load = found.keys[-1]
        return Curves(found.scenario, load, tuple(found.keys[:-1]), table, found.at_slo)
    if isinstance(found, Series):
        runs = [run for _, one in found.points for run in one.results.values()]
    else:
        runs = list(found)
    rows, kinds = [], set()
    for run in runs:
        kind, load_now = load_of(run.resolved)
        kinds.add(COLUMNS[kind])
        own = {key: value for key, value in run.summary.items() if key not in ("pools", "links")}
        slo = _slo(run)
        name = run.summary["deployment"]
        rows.append({"deployment": name, COLUMNS[kind]: load_now, **slo, **flat(own)})
    if len(kinds) != 1:
        why, hint = "are of agents and of rates", "draw them apart"
        raise ProfileError.one("plots", "runs", None, why, hint)
    title = ", ".join(dict.fromkeys(str(run.summary["workload"]) for run in runs))
    return Curves(title, kinds.pop(), ("deployment",), pd.DataFrame(rows))


def _slo(run: Result) -> dict[str, float]:
    """The bounds of a run where it has one class only, as a sweep's table has them."""
    classes = run.summary["classes"]
    if len(classes) != 1:
        return {}
    bounds = classes[0]["slo"]
    return {f"slo_{time}_s": bounds[time] for time in KEYS if bounds.get(time) is not None}


def load_curves(found: Loaded) -> "Figure":
    """p95 of TTFT, TPOT and task time, and goodput within the SLO, against load.

    Whiskers: 95% intervals; a band: what the values of the chips leave open, where that was played;
    a star: the largest load at the SLO; hollow: saturated.
    Errors: `ProfileError` for what has no loads.
    """
    curves = curves_of(found)
    figure, axes = new_axes(2, 2, (10, 7), sharex=True)
    for time, axis in zip(SHOWN, axes.flat, strict=False):
        latency_against_load(curves, axis, time)
    goodput_against_load(curves, axes.flat[-1])
    for axis in axes[0]:
        axis.set_xlabel("")
    return finished(figure, f"{curves.title}: latency and goodput against load", _extra(curves))


def latency_against_load(found: Loaded, axis: "Axes", time: str = "ttft") -> "Axes":
    """p95 of `ttft`, `tpot`, `e2e` or `task` of each curve, with its interval and the SLO's bound.

    The bound is drawn where it is the same at all points.
    """
    curves = curves_of(found)
    metric, statistic = named(KEYS[time])
    _curves(curves, axis, KEYS[time], metric.scale)
    plain_log(axis.yaxis)
    bounds = curves.table.get(f"slo_{time}_s", pd.Series(dtype=float)).dropna().unique()
    if len(bounds) == 1:
        bound = float(bounds[0]) * 1e3 * metric.scale
        slo_line(axis, bound, f"SLO\n{three(bound)}")
    return _labelled(curves, axis, metric.title(statistic))


def goodput_against_load(found: Loaded, axis: "Axes") -> "Axes":
    """Requests within the SLO per second, with a star at the largest load that keeps it."""
    curves = curves_of(found)
    _curves(curves, axis, "request_goodput", 1.0)
    for _, rows, look in _each(curves):
        at = rows[rows[curves.load] == _at_slo(curves, rows)]
        axis.plot(at[curves.load], at["request_goodput"], **STAR | {"mfc": look.colour}, zorder=4)
    axis.set_ylim(bottom=0)
    return _labelled(curves, axis, named("request_goodput")[0].title())


def _curves(curves: Curves, axis: "Axes", key: str, scale: float) -> None:
    for name, rows, look in _each(curves):
        loads = rows[curves.load]
        values = rows[key].to_numpy(dtype=float) * scale
        low, high = _ends(rows, f"ci95_{key}", scale)
        gaps = np.nan_to_num(np.stack([values - low, high - values])).clip(min=0)
        axis.errorbar(loads, values, yerr=gaps, capsize=2, **look.line, label=name)
        least, most = _ends(rows, f"bands.metrics.{key}", scale)
        if np.isfinite(least).any():
            axis.fill_between(loads, least, most, color=look.colour, **BAND)
        saturated = rows["saturated"].to_numpy(dtype=bool)
        for hollow in (False, True):
            some = saturated == hollow
            fill: dict[str, Any] = {"mfc": "#FFFFFF" if hollow else look.colour, "ls": ""}
            axis.plot(loads[some], values[some], **look.line | fill, label="_nolegend_")


def _ends(rows: pd.DataFrame, name: str, scale: float) -> list[Any]:
    """The two ends of an interval or a band; NaN where there is none."""
    none = pd.Series(np.nan, index=rows.index)
    ends = (rows.get(f"{name}.{end}", none) for end in ("low", "high"))
    return [end.to_numpy(dtype=float, na_value=np.nan) * scale for end in ends]


def _each(curves: Curves) -> Iterator[tuple[str, pd.DataFrame, Style]]:
    """(name, points by rising load, style) of every curve that has any."""
    keys, table = list(curves.keys), curves.table
    groups = list(table.groupby(keys, sort=False)) if keys else [((curves.title,), table)]
    for number, (values, rows) in enumerate(groups):
        yield ", ".join(map(str, values)), rows.sort_values(curves.load), style(number)


def _extra(curves: Curves) -> list[Any]:
    """What stars, hollow marks and bands are, where there are any."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    if curves.at_slo is not None and (curves.at_slo[f"{curves.load}_at_slo"] > 0).any():
        handles.append(Line2D([], [], **STAR | {"ms": 10}, label="the most at the SLO"))
    if curves.table["saturated"].any():
        hollow: dict[str, Any] = {"ls": "", "marker": "o", "mec": "#000000", "mfc": "#FFFFFF"}
        handles.append(Line2D([], [], **hollow, label="saturated"))
    if any(str(key).startswith("bands.metrics.") for key in curves.table):
        band = {"color": "#444444", "alpha": BAND["alpha"], "lw": 0}
        handles.append(Patch(**band, label="band: what the chips' values leave open"))
    return handles


def _at_slo(curves: Curves, rows: pd.DataFrame) -> float | None:
    """The largest load at the SLO of the curve that has these rows."""
    if curves.at_slo is None:
        return None
    mine = curves.at_slo
    for key in curves.keys:
        mine = mine[mine[key] == rows[key].iloc[0]]
    return None if mine.empty else mine[f"{curves.load}_at_slo"].iloc[0]


def _labelled(curves: Curves, axis: "Axes", title: str) -> "Axes":
    _load_axis(axis, sorted(curves.table[curves.load].unique()), UNITS[curves.load])
    axis.set_ylabel(title)
    return axis


def _load_axis(axis: "Axes", loads: list[float], title: str) -> None:
    """Loads by powers of two, each named once while there is room."""
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(thousands)
    if len(loads) <= 7:
        axis.set_xticks(loads, minor=False)
        axis.set_xticks([], minor=True)
    axis.set_xlabel(title)
    axis.grid(**GRID)


# -- cost over load --------------------------------------------------------------------------


def costs(found: PlanOverLoad | Mapping[str, Any]) -> "Figure":
    """What serves each load within the SLO costs, by family of chips, and its range.

    found: a plan over load, or what `gcsim plan --load ... --format json` saved of one.
    """
    saved = found.to_dict() if isinstance(found, PlanOverLoad) else found
    figure, axes = new_axes(1, 2, (10, 4.6))
    rent_against_load(saved, axes[0])
    rent_against_load(saved, axes[1], per_load=True)
    title = f"{saved['scenario']} with {saved['model']} within {', '.join(saved['slo'])}"
    from matplotlib.patches import Patch

    band = {"color": "#444444", "alpha": BAND["alpha"], "lw": 0}
    some = any(row.get("usd_per_hour_slow") is not None for row in saved["families"])
    label = "range: assumed values at their slow, fast end"
    return finished(figure, title, [Patch(**band, label=label)] * some)


def rent_against_load(
    found: PlanOverLoad | Mapping[str, Any], axis: "Axes", per_load: bool = False
) -> "Axes":
    """USD per hour of the best deployment of each family against load, or per agent (or task/s)."""
    saved = found.to_dict() if isinstance(found, PlanOverLoad) else found
    table = pd.DataFrame(saved["families"])
    served = table[table["deployment"].notna()]
    for number, (name, rows) in enumerate(served.groupby("family", sort=False)):
        look, rows = style(number), rows.sort_values("load")
        part = rows["load"].to_numpy(dtype=float) if per_load else 1.0
        values = rows["usd_per_hour"].to_numpy(dtype=float) / part
        axis.plot(rows["load"], values, **look.line, label=str(name))
        ends = [rows[key].to_numpy(dtype=float) / part for key in ENDS if key in rows]
        least, most = (pick([values, *ends], axis=0) for pick in (np.fmin.reduce, np.fmax.reduce))
        if np.isfinite(np.array(ends)).any():
            axis.fill_between(rows["load"], least, most, color=look.colour, **BAND)
    agents = saved["load_kind"] == "agents"
    plain_log(axis.yaxis)
    axis.set_ylabel(
        ("rent [USD/h per agent]" if agents else "rent [USD/h per task/s]")
        if per_load
        else "rent [USD/h]"
    )
    _load_axis(axis, sorted(served["load"].unique()), UNITS["agents" if agents else "rate_per_s"])
    return axis
