"""One task over what serves it: tools and people, pools, links, by time."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gcsim.plots.runs import task_of
from gcsim.plots.style import PARTS, finished, new_axes, thousands
from gcsim.results.result import Result
from gcsim.results.spans import WAITS, in_rows, lanes_of, spans
from gcsim.results.text import PHASE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def gantt(result: Result, trajectory: int | None = None) -> "Figure":
    """When tools, pools and links work for one task: of all of it, and of its longest step.

    trajectory: its index; None: the first that was completed.
    Errors: `ProfileError` when none was completed, or not this one.
    """
    wanted, mine = task_of(result, trajectory)
    bars = bars_of(result, wanted)
    lanes = len(bars["lane"].unique())
    figure, (whole, longest) = new_axes(2, 1, (10, 2.4 + 0.62 * lanes))
    lanes_of_task(result, whole, wanted)
    lanes_of_task(result, longest, wanted)
    step = mine.iloc[int(mine["e2e_s"].to_numpy().argmax())]
    start, end = float(step["sent_s"]), float(step["sent_s"] + step["e2e_s"])
    first = float(mine["sent_s"].min())
    margin = 0.03 * (end - start)
    longest.set_xlim(start - first - margin, end - first + margin)
    longest.set_xlabel(f"its longest step, number {int(step['step']) + 1}, time since start [s]")
    title = f"Task {wanted} on {result.summary['deployment']}: who works for it when"
    return finished(figure, title)


def lanes_of_task(result: Result, axis: "Axes", trajectory: int | None = None) -> "Axes":
    """A lane for tools, for every pool and every link, with what the task has there over time."""
    wanted, mine = task_of(result, trajectory)
    bars = bars_of(result, wanted)
    names = list(dict.fromkeys(bars["lane"]))
    first = float(mine["sent_s"].min())
    for kind in (name for name in PARTS if name in set(bars["part"])):
        some = bars[bars["part"] == kind]
        at = [len(names) - 1 - names.index(lane) for lane in some["lane"]]
        rows = some["row"].to_numpy()
        thick = 0.8 / (some["rows"].to_numpy())
        low = np.array(at) - 0.4 + rows * thick
        axis.barh(
            low,
            some["end_s"] - some["start_s"],
            left=some["start_s"] - first,
            height=thick,
            align="edge",
            label=PHASE_NAMES.get(kind, str(some["lane"].iloc[0])),
            color=PARTS[kind][0],
            linewidth=0.8,  # so that the shortest can be seen
            edgecolor=PARTS[kind][0],
        )
    axis.set_yticks(range(len(names)), names[::-1])
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.set_xlim(left=0)
    axis.set_xlabel("time since the start of the task [s]")
    axis.xaxis.set_major_formatter(thousands)
    return axis


def bars_of(result: Result, wanted: int) -> pd.DataFrame:
    """The spans of one task by lane, tools first, each with its row of the lane."""
    found = spans(result, wanted)
    waits = [lane for lane in WAITS.values() if lane in set(found["lane"])]
    lanes = [*waits, *dict.fromkeys(lanes_of(result).values())]
    places = found["lane"].map(lanes.index)
    return in_rows(found.iloc[places.argsort(kind="stable")].reset_index(drop=True))
