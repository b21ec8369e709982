"""What moves the answer: each cause at its slow and at its fast end, the widest on top."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gcsim.errors import ProfileError
from gcsim.plots.style import BOUND, GRID, finished, new_axes, part, thousands
from gcsim.results.metrics import named
from gcsim.results.result import Result
from gcsim.results.text import three
from gcsim.studies.plan import AIMS, Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 12  # causes
Moved = Result | Plan | Mapping[str, Any]


def tornado(found: Moved, metric: str = "mean_e2el_ms") -> "Figure":
    """What each cause makes of a metric of a run with bands, or of what a plan makes least.

    found: a run of `gcsim.run(..., bands=True)`; a plan with robustness, or what
    `gcsim plan --format json` saved of one. Errors: `ProfileError` where no values were moved.
    """
    figure, axis = new_axes(1, 1, (9, 1.9 + 0.34 * len(moves_of(found, metric)[0])))
    tornado_on(found, axis, metric)
    if isinstance(found, Result):
        of = f"{found.summary['scenario']} on {found.summary['deployment']}"
    else:
        of = str((found.to_dict() if isinstance(found, Plan) else found)["scenario"])
    return finished(figure, f"What moves the answer: {of}")


def tornado_on(found: Moved, axis: "Axes", metric: str = "mean_e2el_ms") -> "Axes":
    """Bars from the value as it is to what the slow and the fast end of each cause make of it.

    An end that has no value (saturated, does not fit, nothing serves the load) is said beside.
    """
    table, base, name = moves_of(found, metric)
    if table.empty:
        why, hint = "has no values that were moved", "add --bands, or plan with --robustness"
        raise ProfileError.one("plots.tornado", "", None, why, hint)
    places = np.arange(len(table))[::-1]
    for end in ("slow", "fast"):
        values = table[end].to_numpy(dtype=float)
        width = np.nan_to_num(values - base)
        axis.barh(places, width, left=base, height=0.7, **part(end), label=f"at its {end} end")
    axis.axvline(base, **BOUND)
    for place, (_, row) in zip(places, table.iterrows(), strict=True):
        lost = [
            f"{end}: {row[f'{end}_lost']}"
            for end in ("slow", "fast")
            if isinstance(row[f"{end}_lost"], str)
        ]
        if lost:
            axis.text(
                1.01,
                place,
                "; ".join(lost),
                transform=axis.get_yaxis_transform(),
                va="center",
                fontsize="small",
            )
    axis.set_yticks(places, list(table.index))
    axis.set_xlabel(f"{name}; as it is {three(base)}")
    axis.xaxis.set_major_formatter(thousands)
    axis.use_sticky_edges = False
    axis.margins(x=0.06)
    axis.set_ylim(-0.6, len(table) - 0.4)
    axis.grid(**GRID | {"axis": "x"})
    return axis


def moves_of(found: Moved, metric: str) -> tuple[pd.DataFrame, float, str]:
    """A row per cause (`slow`, `fast`, and why one is lost), the widest first; value; its name."""
    if isinstance(found, Result):
        rows, base, name = _of_bands(found, metric)
    else:
        rows, base, name = _of_plan(found.to_dict() if isinstance(found, Plan) else found)
    table = pd.DataFrame.from_dict(rows, orient="index")
    if table.empty:
        return table, base, name
    columns = ["slow", "fast", "slow_lost", "fast_lost"]
    table = table.reindex(columns=columns).astype(object).where(lambda cells: cells.notna(), None)
    ends = table[["slow", "fast"]].astype(float)
    lost = table[["slow_lost", "fast_lost"]].notna().any(axis=1)
    wide = (ends - base).abs().max(axis=1).fillna(0.0)
    order = sorted(table.index, key=lambda cause: (not lost[cause], -wide[cause], cause))
    moving = [cause for cause in order if lost[cause] or wide[cause] > 0]
    return table.loc[moving[:SHOWN]], base, name


def _of_bands(result: Result, metric: str) -> tuple[dict[str, dict[str, Any]], float, str]:
    row, statistic = named(metric)
    value = result.summary[metric]
    rows: dict[str, dict[str, Any]] = {}
    for run in result.summary.get("bands", {}).get("runs", ()):
        mine = rows.setdefault(run["cause"], {})
        moved = run.get(metric)
        mine[run["end"]] = None if moved is None else moved * row.scale
        mine[f"{run['end']}_lost"] = (run["lost"] or "undefined") if moved is None else None
    base = float("nan") if value is None else value * row.scale
    return rows, base, row.title(statistic)


def _of_plan(saved: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], float, str]:
    aim = saved["minimize"]
    column = {"cost": "usd_per_hour", "power": "power_w", "racks": "nodes", "chips": "chips"}[aim]
    best: Mapping[str, Any] = next((row for row in saved["families"] if row.get("deployment")), {})
    rows: dict[str, dict[str, Any]] = {}
    for sway in saved["sways"]:
        mine = rows.setdefault(f"{sway['chip']}: {sway['cause']}", {})
        mine[sway["end"]] = sway["answer"]
        lost = "serves it at no size" if sway["answer"] is None else None
        mine[f"{sway['end']}_lost"] = lost
    base = float(best.get(column) or "nan")
    return rows, base, f"{'rent' if aim == 'cost' else aim} of the choice [{AIMS[aim]}]"
