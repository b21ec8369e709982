"""`gcsim validate`, `calibrate` and `claims`: how far off the model is, as far as is known."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcsim.cli.console import OutputFormat, emit, guarded, note, progress
from gcsim.cli.options import LibraryOption

if TYPE_CHECKING:
    from rich.console import RenderableType

JobsOption = Annotated[int, typer.Option(min=-1, help="Processes; -1: all cores.")]


@guarded
def validate(
    points: Annotated[
        Path | None, typer.Option(help="A CSV of measurements; without, the shipped table.")
    ] = None,
    open_loop: Annotated[
        Path | None, typer.Option(help="A CSV of loads at a rate, and of shared prefixes.")
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Write what prediction intervals are made of anew.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write a report in HTML (of --open-loop in Markdown).")
    ] = None,
    output: Annotated[
        OutputFormat, typer.Option("--format", help="A table, or one JSON object.")
    ] = (OutputFormat.table),
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Rank points that differ in one thing instead.")
    ] = False,
    jobs: JobsOption = -1,
) -> None:
    """Play published measurements and tell how far off the modeled times are."""
    if open_loop is not None:
        _validate_open_loop(points, open_loop, out, output, jobs)
        return
    from gcsim.calibration import report
    from gcsim.calibration.validate import shipped_points
    from gcsim.calibration.validate import validate as compare

    with progress("points", 1.0) as tell:
        result = compare(points, jobs, lambda done, of: tell(done / of))
    if out is not None:
        out.write_text(report.html_report(result), encoding="utf-8")
    if evidence:
        _write_evidence(points or shipped_points(), result)
    text = report.pairs_text(result["pairs"]) if pairs else report.validation_text(result)
    emit(result if output is OutputFormat.json else text)


def _write_evidence(points: Path, result: dict[str, Any]) -> None:
    """`gcsim validate --points FILE --evidence`: the table beside the profiles, and its page."""
    from gcsim.calibration.evidence_table import intervals_markdown, write
    from gcsim.profiles import library

    root = library.root()
    found = write(points, result, root / "validation" / "evidence.csv.gz")
    note(f"Written to {root / 'validation' / 'evidence.csv.gz'}")
    if (root / "docs").is_dir():
        (root / "docs" / "intervals.md").write_text(intervals_markdown(found), encoding="utf-8")


def _validate_open_loop(
    points: Path | None, open_loop: Path, out: Path | None, output: OutputFormat, jobs: int
) -> None:
    """`gcsim validate --open-loop FILE`."""
    from gcsim.calibration.open_loop import compare_open_loops
    from gcsim.calibration.open_loop_text import open_loop_markdown, open_loop_text
    from gcsim.errors import ProfileError

    if points is not None:
        raise ProfileError.one("validate", "--points", None, "and --open-loop do not go together")
    arms, found, skipped = compare_open_loops(open_loop, jobs)
    if out is not None:
        out.write_text(open_loop_markdown(arms, found, skipped), encoding="utf-8")
    if output is OutputFormat.json:
        emit(
            {
                "figures": [asdict(item) | {"error": item.error} for item in found],
                "skipped": skipped,
            }
        )
    else:
        emit(open_loop_text(arms, found, skipped))


@guarded
def calibrate(
    chip: Annotated[
        str, typer.Option(help="The chip whose named factors are fitted: a name or a file.")
    ],
    points: Annotated[Path | None, typer.Option(help="A CSV of measurements.")] = None,
    from_aiperf: Annotated[
        Path | None, typer.Option(help="A folder of AIPerf exports of your server.")
    ] = None,
    from_vllm_bench: Annotated[
        Path | None, typer.Option(help="A result of `vllm bench serve --save-result`.")
    ] = None,
    tp: Annotated[int, typer.Option(min=1, help="Tensor-parallel degree of your server.")] = 1,
    dtype: Annotated[str, typer.Option(help="Number format of the weights there.")] = "",
    framework: Annotated[str, typer.Option(help="Its serving stack, e.g. vllm 0.18.")] = "vllm",
    out: Annotated[Path | None, typer.Option(help="Write the profile with these factors.")] = None,
    name: Annotated[
        str, typer.Option(help="Write it as a chip of this name, in --library or in this folder.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="In place of a chip of that name.")
    ] = False,
    library: LibraryOption = None,
    output: Annotated[
        OutputFormat, typer.Option("--format", help="A table, or one JSON object.")
    ] = (OutputFormat.table),
) -> None:
    """Fit a chip's named factors to measurements, with their cross-validated error."""
    from gcsim.calibration import one_chip, servers
    from gcsim.errors import ProfileError
    from gcsim.profiles.library import Library, asked_for, opened
    from gcsim.profiles.template import check_free, place_of

    folder = asked_for(library)
    known = Library(folder) if name else opened(library)  # a name may make the folder
    chip = str(known.owned("chip").get(chip, chip))
    if name:
        if out is not None:
            why, hint = "says where it goes, and so does --name", "give one of them"
            raise ProfileError.one("calibrate", "--out", str(out), why, hint)
        out = place_of("chip", name, folder)
        check_free(out, force)
    given = [source for source in (points, from_aiperf, from_vllm_bench) if source is not None]
    if len(given) != 1:
        why = "needs exactly one source of measurements"
        hint = "give --points, --from-aiperf or --from-vllm-bench"
        raise ProfileError.one("calibrate", "--points", None, why, hint)
    if points is not None:
        result = one_chip.calibrate(points, chip, out, name=name)
    else:
        server = servers.Server(chip, tp, dtype, framework)
        if from_aiperf is not None:
            result = servers.calibrate_from_aiperf(from_aiperf, server, out, name)
        else:
            result = servers.calibrate_from_vllm_bench(given[0], server, out, name)
    emit(result if output is OutputFormat.json else _factors(result))
    if out is not None:
        note(f"Written to {out}")


def _factors(result: dict[str, Any]) -> "RenderableType":
    """The fitted factors with their ranges; below, the errors within the fit and left out of it."""
    from rich.console import Group

    from gcsim.calibration.factor_files import number_text
    from gcsim.calibration.report import METRICS
    from gcsim.cli.run_text import plain_table

    factors = plain_table("stack", "factor", "value", "low", "high", "before", left=2)
    for f in result["factors"]:
        ends = (number_text(f["factor"], f[key]) for key in ("value", "low", "high", "before"))
        factors.add_row(f["stack"] or "any", f["factor"], *ends)
    errors = plain_table("error", "points", "median", "p90", "left out: median", "p90")
    for metric, within in result["errors"].items():
        left = result["cross_validated"].get(metric)
        shares = [f"{e[k]:.1%}" if e else "" for e in (within, left) for k in _SHARES]
        errors.add_row(METRICS[metric], f"{within['n']:,}", *shares)
    head = f"{result['chip']}: factors from {result['points']:,} points\n"
    skipped = [f"Skipped: {n:,}, {reason}" for reason, n in result["skipped"].items()]
    return Group(head, factors, errors, "\n".join(skipped))


_SHARES = ("median_ape", "p90_ape")


@guarded
def claims(
    output: Annotated[
        OutputFormat, typer.Option("--format", help="A table, or one JSON object.")
    ] = (OutputFormat.table),
) -> None:
    """What vendors publish, in the model: claim, modeled value, range and verdict."""
    from gcsim.calibration.claims import claims as ledger

    found = ledger()
    emit({"claims": found} if output is OutputFormat.json else _ledger(found))


def _ledger(found: list[dict[str, Any]]) -> "RenderableType":
    """The claims as a table; below, by number, under what each holds, its source, its scenario."""
    from rich.console import Group
    from rich.text import Text

    from gcsim.calibration.report import claim_scenario, figure
    from gcsim.cli.run_text import plain_table

    table = plain_table("", "claim", "claimed", "modeled", "all at once", "verdict")
    notes = plain_table("", "what it takes, who says it, how to see it")
    for each in (table, notes):
        each.columns[1].justify, each.columns[1].no_wrap = "left", False
    table.columns[-1].justify = "left"
    for number, c in enumerate(found, start=1):
        ends = f"{figure(c['low'])} .. {figure(c['high'])}"
        claimed = f"{figure(c['claimed'])} {c['unit']}"
        table.add_row(str(number), c["claim"], claimed, figure(c["modeled"]), ends, c["verdict"])
        condition = f"{c['condition'][:1].upper()}{c['condition'][1:]}. " if c["condition"] else ""
        notes.add_row(str(number), f"{condition}{c['source']}")
        notes.add_row("", Text(f"gcsim run {claim_scenario(c)}", overflow="fold"))
    return Group(table, notes)
