"""The commands: a thin layer over `gcsim.run` and its like. Results to stdout, talk to stderr."""

import io
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcsim.cli.calibrate import calibrate, claims, validate
from gcsim.cli.check import Wanted, bless, check, diff, run_replications
from gcsim.cli.console import OutputFormat, emit, guarded, note, progress
from gcsim.cli.cost import cost
from gcsim.cli.interrupts import terminable
from gcsim.cli.options import (
    DtypeOption,
    FormatOption,
    JobsOption,
    LibraryOption,
    SeedOption,
    SetOption,
    scenario_of,
)
from gcsim.cli.plan import plan
from gcsim.cli.plot import plot
from gcsim.cli.report import report
from gcsim.cli.sweep import sweep
from gcsim.cli.tiers import tiers
from gcsim.cli.timeline import timeline
from gcsim.cli.trace import trace

if TYPE_CHECKING:
    from gcsim.profiles.resolve import Resolved

app = typer.Typer(
    name="gcsim",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Engine(StrEnum):
    """How events are played; all give the same records."""

    auto = "auto"
    compiled = "compiled"
    coalesced = "coalesced"
    iteration = "iteration"


class Normalize(StrEnum):
    """What rates are divided by."""

    none = "none"
    power = "power"
    cost = "cost"
    chips = "chips"


class Listed(StrEnum):
    """What can be listed."""

    chips = "chips"
    stacks = "stacks"
    models = "models"
    deployments = "deployments"
    workloads = "workloads"
    scenarios = "scenarios"
    sites = "sites"


class Made(StrEnum):
    """What can be begun."""

    chip = "chip"
    deployment = "deployment"
    workload = "workload"
    scenario = "scenario"


class Shown(StrEnum):
    """What can be shown."""

    chip = "chip"
    stack = "stack"
    model = "model"
    deployment = "deployment"
    workload = "workload"
    scenario = "scenario"
    site = "site"
    placement = "placement"


def _version(wanted: bool) -> None:
    if wanted:
        from gcsim.version import __version__

        emit(f"gcsim {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def gcsim(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What TTFT, TPOT, E2E and task time will LLM agents see on this hardware, and why?

    [dim]Start with: gcsim run coding-agents[/dim]
    """
    if context.invoked_subcommand is None:
        emit(context.get_help())


@app.command()
@guarded
def run(
    scenario: Annotated[str, typer.Argument(help="A shipped name or a file.")],
    out: Annotated[
        Path | None, typer.Option(help="A folder for summary.json, the tables and scenario.yaml.")
    ] = None,
    engine: Annotated[
        Engine | None, typer.Option(help="How events are played; the results are the same.")
    ] = None,
    replications: Annotated[
        int | None, typer.Option(min=1, help="Runs with seeds of their own; gives intervals.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="2%", help="Runs until the interval of mean E2E is that narrow."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with interrupted replications in --out.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(metavar="30s", help="Also: how many steps of a task end within this time?"),
    ] = None,
    bands: Annotated[
        bool, typer.Option("--bands", help="Also: play the low and high of the chips' values.")
    ] = False,
    limit: Annotated[
        str | None,
        typer.Option(metavar="30min", help="About so long, of real time: cuts, or allows, a run."),
    ] = None,
    seed: SeedOption = None,
    settings: SetOption = None,
    library: LibraryOption = None,
    output: FormatOption = OutputFormat.table,
) -> None:
    """Play one scenario: latencies, rates, and where the time goes."""
    from gcsim.profiles.library import opened
    from gcsim.profiles.resolve import parse_settings, resolve

    extra = parse_settings(settings or ())
    if engine:
        extra["engine"] = engine.value
    if budget:
        extra["run.budget"] = budget
    resolved = resolve(
        scenario, extra, seed, opened(library)
    )  # a wrong input is told before anything heavy loads
    resolved = _within(resolved, limit)
    if replications or precision or resume:
        wanted = Wanted(replications, precision, resume)
        run_replications(resolved, wanted, out, bands, output)
        return
    from gcsim.cli.run_text import run_table
    from gcsim.studies import run as study
    from gcsim.studies.bands import design

    runs = 1 + len(design(resolved)) if bands else 1  # so a range that is wrong is told first
    total = (resolved.scenario.tasks or 0) * runs or None
    with progress(f"{resolved.scenario.name}, trajectories", total) as tell:
        result = study.run(resolved, out=out, bands=bands, progress=tell)
    from gcsim.cli.evidence_text import prediction_table, with_prediction
    from gcsim.studies.evidence import of_result, predicted

    found = predicted(of_result(result))
    if output is OutputFormat.json:
        emit(with_prediction(result.summary, found))
    else:
        emit(run_table(result))
        if found is not None:
            emit(prediction_table(found))
    if out is not None:
        note(f"Written to {out}")


def _within(resolved: "Resolved", limit: str | None) -> "Resolved":
    """A run as large as a limit allows; one that takes longer than a minute is announced."""
    from gcsim.profiles.resolve import with_settings
    from gcsim.traffic.expected import NOTED_S, check_size, size, that_fit, told

    if limit is not None:
        resolved = with_settings(resolved, {"run.limit": limit})
        found, limit_s = size(resolved.scenario), resolved.scenario.run.limit
        if found.takes_s > limit_s:
            cut = that_fit(resolved.scenario, limit_s)
            note(f"Cut to {cut:,} trajectories by --limit: {told(found)}")
            resolved = with_settings(resolved, {"run.trajectories": cut})
    found = check_size(resolved.scenario)
    if found.takes_s > NOTED_S:
        note(f"{resolved.scenario.name}: {told(found)}; --limit TIME cuts it")
    return resolved


@app.command()
@guarded
def compare(
    scenarios: Annotated[list[str], typer.Argument(help="Shipped names or files.")],
    deployments: Annotated[
        list[str] | None,
        typer.Option("--deployment", metavar="NAME", help="Play the scenario on each of these."),
    ] = None,
    normalize: Annotated[
        Normalize, typer.Option(help="Divide throughput and goodput by what a deployment has.")
    ] = Normalize.none,
    rates: Annotated[
        str | None,
        typer.Option(metavar="R1,R2,...", help="At each rate of new trajectories [1/s]: who wins?"),
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(metavar="PATH=A,B,...", help="At each value of a setting: who wins?"),
    ] = None,
    jobs: JobsOption = None,
    seed: SeedOption = None,
    settings: SetOption = None,
    library: LibraryOption = None,
    output: FormatOption = OutputFormat.table,
) -> None:
    """The same trajectories on several deployments, side by side: ratios to the first."""
    from gcsim.cli.compare import comparison_table, series_table
    from gcsim.cli.evidence_text import wins, wins_text
    from gcsim.cli.options import parse_rates, parse_vary
    from gcsim.errors import ProfileError
    from gcsim.profiles.resolve import parse_settings
    from gcsim.studies import compare as study

    if rates and vary:
        raise ProfileError.one("compare", "--rates", None, "and --vary do not go together")
    common: dict[str, Any] = {
        "deployments": deployments or (),
        "settings": parse_settings(settings or ()),
        "seed": seed,
        "normalize": normalize.value,
        "jobs": jobs,
    }
    named = [scenario_of(scenario, library) for scenario in scenarios]
    over = (study.RATE, parse_rates(rates)) if rates else parse_vary(vary) if vary else None
    with progress("compare", 1.0) as tell:
        if over is not None:
            series = study.compare(*named, over=over, progress=tell, **common)
        else:
            comparison = study.compare(*named, progress=tell, **common)
    if over is not None:
        emit(series.to_json() if output is OutputFormat.json else series_table(series))
    else:
        found = {**comparison.to_dict(), "at_slo": study.at_slo(comparison)}
        if output is OutputFormat.json:
            emit({**found, "wins": wins(comparison)})
        else:
            emit(comparison_table(comparison))
            emit(wins_text(wins(comparison)))


@app.command()
@guarded
def estimate(
    chip: Annotated[str, typer.Option(help="A shipped chip or a file.")],
    model: Annotated[str, typer.Option(help="A shipped model, a file or a config.json.")],
    isl: Annotated[int, typer.Option(help="Prompt tokens.")],
    osl: Annotated[int, typer.Option(help="Output tokens.")],
    tp: Annotated[int, typer.Option(help="Tensor-parallel chips.")] = 1,
    ep: Annotated[int, typer.Option(help="Expert-parallel groups of them.")] = 1,
    pp: Annotated[int, typer.Option(help="Pipeline stages.")] = 1,
    concurrency: Annotated[int, typer.Option(help="Requests at any time.")] = 1,
    cached: Annotated[int, typer.Option(help="Prompt tokens in the prefix cache.")] = 0,
    dtype: DtypeOption = None,
    stack: Annotated[str | None, typer.Option(help="Serving stack of the chip.")] = None,
    library: LibraryOption = None,
    output: FormatOption = OutputFormat.table,
) -> None:
    """One operating point: equal requests on one replica, and what each millisecond is made of."""
    from gcsim.cli.evidence_text import prediction_table, with_prediction
    from gcsim.cli.run_text import estimate_table
    from gcsim.profiles.library import opened
    from gcsim.profiles.resolve import load_chip, load_model
    from gcsim.studies import estimate as study
    from gcsim.studies import evidence

    load: dict[str, Any] = {"isl": isl, "osl": osl, "concurrency": concurrency, "cached": cached}
    own = opened(library)
    which = load_chip(chip, own), tp, load_model(model, own)
    point = study.estimate(*which, **load, dtype=dtype, ep=ep, pp=pp, stack=stack)
    found = evidence.predicted(evidence.of_estimate(point, which[2]))
    if output is OutputFormat.json:
        emit(with_prediction(point.to_dict(), found))
        return
    emit(estimate_table(point))
    if found is not None:
        emit(prediction_table(found))


@app.command("list")
@guarded
def list_(
    what: Annotated[Listed, typer.Argument(help="Kind of profile.")],
    library: LibraryOption = None,
    output: FormatOption = OutputFormat.table,
) -> None:
    """The profiles that gcsim ships, and your own."""
    from gcsim.cli.library import listed, listed_table
    from gcsim.profiles.library import opened

    rows = listed(what.value.removesuffix("s"), opened(library))
    emit({what.value: rows} if output is OutputFormat.json else listed_table(what.value, rows))


@app.command()
@guarded
def new(
    what: Annotated[Made, typer.Argument(help="Kind of profile.")],
    name: Annotated[str, typer.Argument(help="Of the profile, and so of its file.")],
    base: Annotated[
        str | None, typer.Option(help="On the base of this one: only what differs is written.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="In place of a file of that name.")
    ] = False,
    library: LibraryOption = None,
) -> None:
    """A profile of your own to begin with, every key explained; in --library, else in this folder.

    It loads as it is: its values are those of a shipped profile.
    """
    from gcsim.profiles.library import Library, asked_for
    from gcsim.profiles.template import place_of, template, write_new

    folder = asked_for(library)
    path = place_of(what.value, name, folder)
    write_new(path, template(what.value, name, base, Library(folder)), force)
    note(f"Written to {path}")


@app.command()
@guarded
def show(
    what: Annotated[Shown, typer.Argument(help="Kind of profile, or placement.")],
    name: Annotated[str | None, typer.Argument(help="A shipped name or a file.")] = None,
    chip: Annotated[str | None, typer.Option(help="placement: the chip.")] = None,
    tp: Annotated[int, typer.Option(help="placement: tensor-parallel chips.")] = 1,
    ep: Annotated[int, typer.Option(help="placement: expert-parallel groups.")] = 1,
    pp: Annotated[int, typer.Option(help="placement: pipeline stages.")] = 1,
    model: Annotated[str | None, typer.Option(help="placement: the model.")] = None,
    dtype: DtypeOption = None,
    library: LibraryOption = None,
    output: FormatOption = OutputFormat.table,
) -> None:
    """A profile, every number with its origin; or what lies where in a chip's memory."""
    from gcsim.cli.library import Shape, shown
    from gcsim.errors import ProfileError
    from gcsim.profiles.library import opened

    own = opened(library)

    if what is Shown.placement:
        missing = [key for key, given in (("--chip", chip), ("--model", model)) if not given]
        if missing or not chip or not model:
            raise ProfileError.one("show placement", " ".join(missing), None, "is missing")
        emit(shown("placement", "", output, own, Shape(chip, model, tp, ep, pp, dtype)))
        return
    if name is None:
        hint = f"see: gcsim list {what.value}s"
        raise ProfileError.one(f"show {what.value}", "NAME", None, "is missing", hint)
    emit(shown(what.value, name, output, own))


_STUDIES = (sweep, plan, plot, report, timeline, tiers, cost)
for _command in (*_STUDIES, bless, check, diff, validate, calibrate, claims):
    app.command()(_command)
app.add_typer(trace)


def main(arguments: list[str] | None = None) -> None:
    """The console entry point. Exit codes: 0 done, 2 wrong input, 130, 143 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without block characters
            stream.reconfigure(errors="replace")
    try:
        with terminable():
            app(args=arguments, prog_name="gcsim")
    except KeyboardInterrupt as error:
        note("Interrupted.")
        sys.exit(getattr(error, "code", 130))


if __name__ == "__main__":
    main()
