"""`gcsim bless`, `check`, `diff`, and `gcsim run --replications`: what holds, and what moved."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcsim.cli.check_text import Checked, diff_table, replications_table, verdicts_as
from gcsim.cli.console import OutputFormat, emit, guarded, note, progress
from gcsim.cli.options import JobsOption, LibraryOption, SeedOption, SetOption

if TYPE_CHECKING:
    from gcsim.profiles.resolve import Resolved

BASELINE = Path("gcsim-baseline.json")

BaselineOption = Annotated[Path, typer.Option(help="The baseline file.")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `gcsim run` is told about replications."""

    count: int | None
    precision: str | None
    resume: bool


@guarded
def bless(
    scenarios: Annotated[
        list[str] | None, typer.Argument(help="Shipped names or files; none: all of the file.")
    ] = None,
    baseline: BaselineOption = BASELINE,
    why: Annotated[str, typer.Option(help="Which change is blessed, and why.")] = "",
    move: Annotated[
        str | None,
        typer.Option(metavar="X%", help="Statistical: only a clear move beyond this fails."),
    ] = None,
    replications: Annotated[
        int | None, typer.Option(min=1, help="Seeds per scenario: 1, or 5 with --move.")
    ] = None,
    seed: SeedOption = None,
    settings: SetOption = None,
    jobs: JobsOption = None,
    library: LibraryOption = None,
) -> None:
    """Write what scenarios give now to a baseline file, for `gcsim check`."""
    from gcsim.profiles.library import opened
    from gcsim.profiles.resolve import parse_settings
    from gcsim.results.statistics import parse_share
    from gcsim.studies import baseline as study

    extra = parse_settings(settings or ()) | ({} if seed is None else {"run.seed": seed})
    options: dict[str, Any] = {
        "why": why,
        "move": parse_share(move, "--move") if move else None,
        "replications": replications,
        "settings": extra,
        "jobs": jobs,
    }
    own = opened(library).owned("scenario")
    named = [str(own.get(name, name)) for name in scenarios or ()]
    with progress("bless", 1.0) as tell:
        found = study.bless(named, baseline, progress=tell, **options)
    for name, what in found.blessed.items():
        moved = "new" if what == "new" else f"{len(what['moved'])} metrics moved"
        causes = ", ".join(what["inputs"]) if isinstance(what, dict) else ""
        note(f"{name}: {moved}{f' ({causes})' if causes else ''}")
    for name, pinned in found.scenarios.items():
        if pinned.saturated:
            note(f"{name} is SATURATED, its means say nothing: {pinned.saturated}")
    note(f"Written to {baseline}")


@guarded
def check(
    baseline: BaselineOption = BASELINE,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report here too.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Other seeds: for statistical tolerances.")
    ] = None,
    jobs: JobsOption = None,
    library: LibraryOption = None,
    output: Annotated[
        Checked, typer.Option("--format", help="github: annotations of a workflow.")
    ] = Checked.table,
) -> None:
    """Play a baseline again. Exit code 0: all within tolerance, 1: a metric moved, 2: an error."""
    from gcsim.studies import baseline as study

    with progress("check", 1.0) as tell:
        how: dict[str, Any] = {"jobs": jobs, "library": library}
        verdicts = study.check(baseline, seed=seed, progress=tell, **how)
    emit(verdicts_as(output, verdicts, baseline))
    if junit is not None:
        from gcsim.cli.check_text import write_junit

        write_junit(verdicts, junit)
    if not all(verdict.passes for verdict in verdicts):
        raise typer.Exit(1)


@guarded
def diff(
    first: Annotated[Path, typer.Argument(help="A results folder or summary.json.")],
    other: Annotated[Path, typer.Argument(help="Another.")],
    output: Annotated[
        OutputFormat, typer.Option("--format", help="A table, or JSON.")
    ] = OutputFormat.table,
) -> None:
    """What moved between two results, and which inputs differ. Refuses an incomplete folder."""
    from gcsim.studies.diff import difference

    found = difference(first, other)
    emit(found.to_json() if output is OutputFormat.json else diff_table(found))


def run_replications(
    resolved: "Resolved", wanted: Wanted, out: Path | None, bands: bool, output: OutputFormat
) -> None:
    """`gcsim run --replications N` and `--precision 2%`, with `--bands` or without."""
    from gcsim.results.statistics import parse_share
    from gcsim.studies import replicate as study
    from gcsim.studies.bands import banded_replications, design

    share = parse_share(wanted.precision, "--precision") if wanted.precision else None
    if bands:
        design(resolved)  # a range that is wrong is told before anything is played
    how: dict[str, Any] = {"out": out, "resume": wanted.resume}
    with progress(f"{resolved.scenario.name}, replications", 1.0) as tell:
        found = study.replicate(resolved, wanted.count, share, progress=tell, **how)
    if bands:
        with progress(f"{resolved.scenario.name}, bands", 1.0) as tell:
            found = banded_replications(found, out, progress=tell)
    emit(found.to_json() if output is OutputFormat.json else replications_table(found.summary))
    if share is not None and not found.summary["precision_reached"]:
        note(f"The precision was not reached in {len(found.summaries)} replications.")
    if out is not None:
        note(f"Written to {out}")
