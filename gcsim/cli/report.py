"""`gcsim report`: results as one page that can be sent."""

from pathlib import Path
from typing import Annotated

import typer

from gcsim.cli.console import guarded, note

PAGE_BYTES_MAX = 3_000_000


@guarded
def report(
    results: Annotated[
        list[Path],
        typer.Argument(help="Folders of --out (runs, sweeps); plans as --format json has them."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The page.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Runs, comparisons of them and plans as one page: answer, tables, pictures, inputs."""
    check_out(out, force)
    text = page_of(results)
    write_page(out, text)
    note(f"Written to {out} ({len(text.encode()) / 1e6:.2g} MB)")


def page_of(sources: list[Path]) -> str:
    """The page of what was saved: each plan, each sweep, then the runs together.

    Errors: `ProfileError` for what is none of these.
    """
    from gcsim.cli import report_over_load, report_plan, report_runs, report_sweep
    from gcsim.cli.page import page
    from gcsim.cli.sources import read_sources
    from gcsim.results.html import words
    from gcsim.version import __version__

    found = read_sources(sources)
    plans, sweeps, runs = found.plans, found.sweeps, found.runs
    asked = [(report_plan.question(one), one["sentence"]) for one in plans]
    asked += [
        (report_over_load.question(one), report_over_load.answer(one)) for one in found.over_load
    ]
    asked += [(report_sweep.question(one), report_sweep.answer(one)) for one in sweeps]
    if runs:
        asked.append((report_runs.question(runs), report_runs.answer(runs)))
    parts: list[str] = []
    for number, (question, answer) in enumerate(asked):
        parts.append(f"<h{min(number, 1) + 1}>{words(question)}</h{min(number, 1) + 1}>")
        parts.append(f'<p class="answer">{words(answer[:1].upper() + answer[1:])}</p>')
    for one in plans:
        parts += report_plan.sections(one)
    for one in found.over_load:
        parts += report_over_load.sections(one)
    for each in sweeps:
        parts += report_sweep.sections(each)
    if runs:
        parts += report_runs.sections(runs)
    foot = f"gcsim {__version__}. ± and intervals: 95%, from chance alone. Bands: what the values"
    foot += " of the chips leave open."
    return page(asked[0][0], parts, foot)


def check_out(out: Path, force: bool) -> None:
    """Errors: `ProfileError` for a place that no page can go to; asked before the work."""
    from gcsim.errors import ProfileError
    from gcsim.profiles.template import check_folder

    if out.suffix.lower() not in (".html", ".htm"):
        why, hint = "is no name of a page", "write --out report.html"
        raise ProfileError.one("report", "--out", str(out), why, hint)
    if out.is_dir() or (out.exists() and not force):
        hint = "name another" if out.is_dir() else "--force replaces it"
        raise ProfileError.one("report", "--out", str(out), "is there already", hint)
    check_folder(out, "report")


def write_page(out: Path, text: str) -> None:
    """All of a page or nothing: a temporary file beside it is renamed.

    Errors: `ProfileError` when it cannot be written, or is too large to be sent.
    """
    from gcsim.errors import ProfileError
    from gcsim.results.folder import cannot_write
    from gcsim.traffic.traces.atomic import beside

    content = text.encode()
    if len(content) > PAGE_BYTES_MAX:
        why = f"would have {len(content) / 1e6:.1f} MB, more than {PAGE_BYTES_MAX / 1e6:.0f}"
        raise ProfileError.one("report", "--out", str(out), why, "report on fewer runs")
    target = out.absolute()
    try:
        with beside(target) as folder:
            part = folder / target.name
            part.write_bytes(content)
            part.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from error
