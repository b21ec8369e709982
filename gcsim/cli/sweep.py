"""`gcsim sweep`: every combination of several settings, at one load or along a load curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcsim.cli.console import OutputFormat, emit, guarded, note, progress
from gcsim.cli.options import LibraryOption, scenario_of

if TYPE_CHECKING:
    from gcsim.studies.sweep import Sweep


@guarded
def sweep(
    scenario: Annotated[str, typer.Argument(help="A shipped name or a file.")],
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="PATH=A,B,...", help="A setting and its values; repeat it."),
    ] = None,
    deployments: Annotated[
        list[str] | None,
        typer.Option("--deployment", metavar="NAME", help="On each of these."),
    ] = None,
    load: Annotated[
        str | None,
        typer.Option(metavar="1,2,4|auto", help="At each load: agents, or tasks per second."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for the table; what is in it is not played again.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw the load curves: svg, png or pdf."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes, else all cores; the table is the same.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS|local", help="On a Dask cluster: tcp://HOST:8786."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of every stream.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a setting.")
    ] = None,
    library: LibraryOption = None,
    output: Annotated[
        OutputFormat, typer.Option("--format", help="A table, or JSON.")
    ] = OutputFormat.table,
) -> None:
    """Every combination of settings and deployments, each a run of its own, as one table."""
    from gcsim.cli.sweep_text import sweep_table
    from gcsim.profiles.resolve import parse_settings
    from gcsim.studies.sweep import sweep as play

    common = parse_settings(settings or ())
    if seed is not None:
        common["run.seed"] = seed
    axes = _grid(grid or (), deployments or ())
    if plot is not None:
        _check_plot(plot, load)
    with progress(f"{scenario}, points", 1.0) as tell:
        found = play(
            scenario_of(scenario, library),
            axes,
            _load(load),
            settings=common,
            out=out,
            jobs=jobs,
            dask=dask,
            progress=tell,
        )
    emit(found.to_json() if output is OutputFormat.json else sweep_table(found))
    if plot is not None:
        _draw(found, plot)
    _talk(found, out)
    if len(found.errors) == len(found.table):
        raise typer.Exit(2)


def _draw(found: "Sweep", plot: Path) -> None:
    from gcsim.plots import load_curves, write_picture
    from gcsim.plots.style import plain_names

    with plain_names():
        write_picture(load_curves(found), plot, "--plot")
    note(f"Drawn in {plot}")


def _grid(texts: Sequence[str], deployments: Sequence[str]) -> dict[str, list[Any]]:
    from gcsim.cli.options import parse_values
    from gcsim.errors import ProfileError

    axes: dict[str, list[Any]] = {"deployment": list(deployments)} if deployments else {}
    for text in texts:
        path, separator, values = (part.strip() for part in text.partition("="))
        if not separator or not path or not values.strip(", "):
            hint = "write path=a,b,c"
            raise ProfileError.one("sweep", "--grid", text, "is no list of values", hint)
        if path in axes:
            hint = "give all of its values at once"
            raise ProfileError.one("sweep", "--grid", path, "is given twice", hint)
        axes[path] = parse_values(values)
    return axes


def _check_plot(path: Path, load: str | None) -> None:
    from gcsim.errors import ProfileError
    from gcsim.plots.style import check_picture

    if load is None:
        raise ProfileError.one("sweep", "--plot", str(path), "shows load curves", "add --load auto")
    check_picture(path, "--plot")


def _load(text: str | None) -> Any:
    from gcsim.cli.options import parse_values

    return text if text is None or text == "auto" else parse_values(text.replace("/s", ""))


def _talk(found: "Sweep", out: Path | None) -> None:
    """What is no result: how many runs it took, and where it is."""
    from gcsim.cli.sweep_text import points

    there = "" if found.played == len(found.table) else f", {found.played} runs now"
    note(f"{points(len(found.table))}{there}")
    if len(found.errors):
        note(f"{len(found.errors)} failed; the column error says why")
    if out is not None:
        from gcsim.studies.finished import TABLE

        note(f"Written to {out / TABLE}")
