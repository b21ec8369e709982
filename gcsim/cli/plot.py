"""`gcsim plot`: what was saved, as a picture."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcsim.cli.console import guarded, note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gcsim.cli.sources import Sources


class Kind(StrEnum):
    """What can be drawn; the names are those of the functions of `gcsim.plots`."""

    breakdown = "breakdown"
    latencies = "latencies"
    steps = "steps"
    gantt = "gantt"
    timeline = "timeline"
    load = "load"
    costs = "costs"
    frontier = "frontier"
    roofline = "roofline"
    tornado = "tornado"


OF = {
    Kind.breakdown: "runs",
    Kind.latencies: "runs",
    Kind.steps: "a run",
    Kind.gantt: "a run",
    Kind.timeline: "a run",
    Kind.load: "a sweep over load, or runs at several loads",
    Kind.costs: "a plan over load",
    Kind.frontier: "a plan, a sweep over load, or runs",
    Kind.roofline: "a run",
    Kind.tornado: "a run with --bands, or a plan",
}


@guarded
def plot(
    kind: Annotated[Kind, typer.Argument(help="What to draw.")],
    results: Annotated[
        list[Path],
        typer.Argument(help="Folders of --out (runs, sweeps); plans as --format json has them."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.svg", help="Or .png, or .pdf.")],
    task: Annotated[
        int | None, typer.Option(min=0, help="steps, gantt: of this trajectory, else the first.")
    ] = None,
    metric: Annotated[
        str, typer.Option(metavar="KEY", help="tornado: a key of docs/results.md.")
    ] = "mean_e2el_ms",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """A picture of saved results: where time goes, latencies, load, frontier, roofline, a task."""
    from gcsim.cli.sources import read_sources
    from gcsim.plots.style import check_picture, plain_names, write_picture
    from gcsim.profiles.template import check_free

    check_picture(out)
    check_free(out, force, "--force replaces it")
    with plain_names():
        figure = drawn(kind, read_sources(results), task, metric)
        write_picture(figure, out)
    note(f"Drawn in {out}")


def drawn(kind: Kind, found: "Sources", task: int | None, metric: str) -> "Figure":
    """The picture. Errors: `ProfileError` for results that it is not of."""
    from gcsim import plots

    plans = [*found.plans, *found.over_load]
    several = len(found.runs) + len(found.sweeps) + len(plans)
    only = next(iter(found.runs.values()), None)
    runs = found.runs if several == len(found.runs) else {}
    if kind in (Kind.breakdown, Kind.latencies) and runs:
        return (plots.breakdown if kind == Kind.breakdown else plots.latencies)(runs)
    if kind is Kind.load and (runs or (several == 1 and found.sweeps)):
        return plots.load_curves(found.sweeps[0] if found.sweeps else list(runs.values()))
    if kind is Kind.frontier and runs:
        return plots.frontier(list(runs.values()))
    if several == 1:
        if kind is Kind.frontier and (found.plans or found.sweeps):
            return plots.frontier(found.plans[0] if found.plans else found.sweeps[0])
        if kind is Kind.costs and found.over_load:
            return plots.costs(found.over_load[0])
        if kind is Kind.tornado and (found.plans or only):
            return plots.tornado(only or found.plans[0], metric)
        if kind in (Kind.steps, Kind.gantt) and only:
            return (plots.steps if kind == Kind.steps else plots.gantt)(only, task)
        if kind in (Kind.timeline, Kind.roofline) and only:
            return (plots.timeline if kind == Kind.timeline else plots.roofline)(only)
    from gcsim.errors import ProfileError

    counts = {"run": len(found.runs), "sweep": len(found.sweeps), "plan": len(plans)}
    given = ", ".join(f"{many} {name}{'s' * (many > 1)}" for name, many in counts.items() if many)
    why = f"is of {OF[kind]}, not of {given}"
    raise ProfileError.one("plot", "KIND", str(kind), why, f"give {OF[kind]}")
