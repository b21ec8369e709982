"""The Pareto frontier: how fast a user reads against what a chip gives."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gcsim.errors import ProfileError
from gcsim.plots.loads import curves_of
from gcsim.plots.style import GRID, finished, new_axes, plain_log, style
from gcsim.results.result import Result
from gcsim.studies.compare import Series
from gcsim.studies.plan import Plan
from gcsim.studies.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EDGE: dict[str, Any] = {"color": "#999999", "lw": 5, "alpha": 0.45, "zorder": 1.1}
Fronted = Plan | Mapping[str, Any] | Sweep | Series | Iterable[Result]
X, Y = "tok_s_user", "tok_s_chip"


def frontier(found: Fronted) -> "Figure":
    """Output tokens per second of a user against those of a chip; the points nothing beats.

    found: a plan (or what `gcsim plan --format json` saved of one), a sweep over load, runs.
    """
    figure, axis = new_axes(1, 1, (8, 5.4))
    frontier_on(found, axis)
    from matplotlib.lines import Line2D

    hollow: dict[str, Any] = {"ls": "", "marker": "o", "mec": "#000000", "mfc": "#FFFFFF"}
    handles = [Line2D([], [], **hollow, label="breaks the SLO")]
    broken = not points_of(found)["holds"].all()
    title = f"{_title(found)}: speed of a user against output of a chip"
    return finished(figure, title, handles if broken else ())


def frontier_on(found: Fronted, axis: "Axes") -> "Axes":
    """A series per deployment (of a plan: per family), and behind them the frontier of all.

    Errors: `ProfileError` where no run has both rates: all are saturated.
    """
    points = points_of(found)
    if points.empty:
        raise ProfileError.one("plots.frontier", "", None, "has no run that is not saturated")
    edge = best(points)
    axis.plot(edge[X], edge[Y], **EDGE, label="frontier")
    for number, (name, rows) in enumerate(points.groupby("series", sort=False)):
        rows = rows.sort_values(X)
        look = style(number).line
        axis.plot(rows[X], rows[Y], **look, label=str(name))
        broken = rows[~rows["holds"]]
        axis.plot(broken[X], broken[Y], **look | {"ls": "", "mfc": "#FFFFFF"}, label="_nolegend_")
    for column, ticks in ((X, axis.xaxis), (Y, axis.yaxis)):
        if points[column].max() > 8 * points[column].min():
            plain_log(ticks)
    axis.set_xlabel("speed of a user: output [tokens/s]")
    axis.set_ylabel("output of a chip [tokens/s]")
    axis.grid(**GRID)
    return axis


def best(points: pd.DataFrame) -> pd.DataFrame:
    """The points that no other beats in both, from slow to fast.

    >>> table = pd.DataFrame({X: [1.0, 2.0, 3.0], Y: [5.0, 3.0, 4.0]})
    >>> best(table)[X].tolist()
    [1.0, 3.0]
    """
    ordered = points.sort_values([X, Y], ascending=False)
    highest = ordered[Y].cummax()
    kept = ordered[Y].eq(highest) & highest.ne(highest.shift())
    return ordered[kept].iloc[::-1]


def points_of(found: Fronted) -> pd.DataFrame:
    """A row per run: `series`, `tok_s_user`, `tok_s_chip`, `holds` (the SLO, where there is one).

    Of a plan: the best of each family, and its frontier.
    """
    if not isinstance(found, Plan | Mapping):
        return _of_curves(found)
    saved = found.to_dict() if isinstance(found, Plan) else found
    rows = [
        {"series": row["family"], X: row.get(X), Y: row.get(Y), "holds": bool(row.get("holds"))}
        for row in (*saved["families"], *saved["frontier"])
    ]
    return pd.DataFrame(rows, columns=["series", X, Y, "holds"]).dropna().drop_duplicates()


def _of_curves(found: Any) -> pd.DataFrame:
    if isinstance(found, Sweep | Series):
        curves = curves_of(found)
    else:
        found = list(found)
        curves = curves_of(found)
    table = curves.table.copy()
    if "chips" not in table:
        chips = [run.pools["chips"].sum() for run in _runs(found)]
        table["chips"] = chips
    table = table[~table["saturated"].astype(bool)]
    names = table[list(curves.keys)].astype(str).agg(", ".join, axis=1) if curves.keys else ""
    points = pd.DataFrame(
        {
            "series": names,
            X: 1e3 / table["mean_tpot_ms"].astype(float),
            Y: table["output_throughput"].astype(float) / table["chips"].astype(float),
            "holds": table["slo_holds"].ne(False) if "slo_holds" in table else True,
        }
    )
    return points.replace([np.inf], np.nan).dropna()


def _runs(found: Any) -> list[Result]:
    if isinstance(found, Series):
        return [run for _, one in found.points for run in one.results.values()]
    return list(found)


def _title(found: Fronted) -> str:
    if isinstance(found, Plan):
        return found.question.base.scenario.name
    if isinstance(found, Mapping):
        return str(found["scenario"])
    if isinstance(found, Sweep):
        return found.scenario
    return curves_of(found if isinstance(found, Series) else list(found)).title
