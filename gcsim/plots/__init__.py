"""Pictures of what was found: of runs, comparisons, sweeps, series, plans, and of chips.

    from gcsim import plots
    plots.latencies(result).savefig("latencies.svg")

A picture is a figure, for a notebook or a file. What it is made of are panels: they take axes, draw
on them and return them, so that pictures can be put together anew (`plots.spread(result, axis)`).

    picture       of what                               panels
    breakdown     runs                                  phases_of_step
    latencies     runs                                  spread
    steps         a run
    gantt         a run                                 lanes_of_task
    timeline      a run                                 over_time
    load_curves   sweep, series over load, runs         latency_against_load, goodput_against_load
    costs         plan over load                        rent_against_load
    frontier      plan, sweep, series over load, runs   frontier_on
    roofline      a run or a scenario                   roofline_of
    tornado       a run with bands, a plan              tornado_on
"""

from gcsim.plots.chips import roofline, roofline_of
from gcsim.plots.frontier import frontier, frontier_on
from gcsim.plots.gantt import gantt, lanes_of_task
from gcsim.plots.loads import (
    costs,
    goodput_against_load,
    latency_against_load,
    load_curves,
    rent_against_load,
)
from gcsim.plots.runs import (
    breakdown,
    latencies,
    over_time,
    phases_of_step,
    spread,
    steps,
    timeline,
)
from gcsim.plots.style import new_axes, write_picture
from gcsim.plots.tornado import tornado, tornado_on

__all__ = [
    "breakdown",
    "costs",
    "frontier",
    "frontier_on",
    "gantt",
    "goodput_against_load",
    "lanes_of_task",
    "latencies",
    "latency_against_load",
    "load_curves",
    "new_axes",
    "over_time",
    "phases_of_step",
    "rent_against_load",
    "roofline",
    "roofline_of",
    "spread",
    "steps",
    "timeline",
    "tornado",
    "tornado_on",
    "write_picture",
]
