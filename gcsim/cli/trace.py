"""`gcsim trace info`, `convert` and `generate`: what is in a trace, traces in and traces out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcsim.cli.console import OutputFormat, Tell, emit, guarded, note, progress
from gcsim.cli.options import LibraryOption
from gcsim.cli.run_text import bar, plain_table
from gcsim.results.text import three

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from rich.console import RenderableType

    from gcsim.traffic.traces.describe import Description
    from gcsim.traffic.traces.row import Options, Skipped
    from gcsim.traffic.trajectory import Trajectory

BINS_MAX = 12  # of a histogram
PROBLEMS_TOLD = 3  # of the lines that were skipped

trace = typer.Typer(
    name="trace",
    help="Traces of real traffic: what is in one, other formats, synthetic ones.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ReadAs = Annotated[
    str | None, typer.Option("--trace-format", metavar="NAME", help="Of the file; else detected.")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-bad-lines", help="Leave lines out that cannot be read; count them.")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="isl=NAME,...",
        help="Of a log: isl, osl, time, end, delay, session, model, cached; a unit: time=ts:ms.",
    ),
]
UnpackedOption = Annotated[
    str | None,
    typer.Option("--unpacked-max", metavar="SIZE", help="What a packed file may become: 20 GiB."),
]
ToOption = Annotated[
    str, typer.Option("--to", metavar="FORMAT", help="mooncake, aiperf or gcsim (without loss).")
]


@trace.command()
@guarded
def info(
    file: Annotated[Path, typer.Argument(help="A trace, plain or .gz.")],
    trace_format: ReadAs = None,
    skip_bad_lines: SkipOption = False,
    columns: ColumnsOption = None,
    unpacked_max: UnpackedOption = None,
    output: Annotated[
        OutputFormat, typer.Option("--format", help="A table with histograms, or one JSON object.")
    ] = OutputFormat.table,
) -> None:
    """Requests, lengths, burstiness, and how much of it a cache could reuse."""
    from dataclasses import replace

    from gcsim.traffic.traces.describe import describe
    from gcsim.traffic.traces.replay import format_of
    from gcsim.traffic.traces.row import Skipped

    skipped = Skipped(allowed=skip_bad_lines)
    options = _options(trace_format, columns, unpacked_max)
    options = replace(options, format=format_of(file, options))
    found = describe(file, options, skipped)
    summary = found.summary()
    if skip_bad_lines:
        summary["skipped_lines"] = skipped.count
    if output is OutputFormat.json:
        emit(summary)
    else:
        emit(info_table(file.name, str(options.format), found, summary))
    _tell_skipped(skipped)


@trace.command()
@guarded
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A trace of any format.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Packed where it ends in .gz.")],
    to: ToOption,
    trace_format: ReadAs = None,
    skip_bad_lines: SkipOption = False,
    columns: ColumnsOption = None,
    unpacked_max: UnpackedOption = None,
) -> None:
    """Write a trace as another format; what that cannot hold is told on stderr."""
    from gcsim.traffic.traces.row import Skipped
    from gcsim.traffic.traces.write import stored

    skipped = Skipped(allowed=skip_bad_lines)
    _write(target, stored(source, _options(trace_format, columns, unpacked_max), skipped), to)
    _tell_skipped(skipped)


@trace.command()
@guarded
def generate(
    workload: Annotated[str, typer.Option(help="A shipped workload or a file; a mix too.")],
    sessions: Annotated[int, typer.Option(min=1, help="How many trajectories.")],
    to: ToOption,
    out: Annotated[Path, typer.Option(help="The file; packed where it ends in .gz.")],
    seed: Annotated[int, typer.Option(min=0, help="Of every random stream.")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(metavar="R", help="Starts per second, at random; else no times are written."),
    ] = None,
    library: LibraryOption = None,
) -> None:
    """Write the traffic that gcsim would play, to send it at a real server."""
    from dataclasses import replace
    from math import inf

    import numpy as np

    from gcsim.errors import ProfileError
    from gcsim.profiles.arrivals import Poisson, Static
    from gcsim.profiles.library import opened
    from gcsim.profiles.workload import load_workload
    from gcsim.traffic.generate import trajectories

    if rate is not None and not 0 < rate < inf:
        raise ProfileError.one("trace generate", "--rate", rate, "is no rate: starts per second")
    what = load_workload(workload, opened(library))
    stream = np.random.SeedSequence(seed)
    if rate is None:
        drawn = trajectories(what, Static(process="static"), stream, sessions)
        _write(out, (replace(one, start_s=None) for one in drawn), to, sessions)
        return
    arrivals = Poisson.model_validate({"process": "poisson", "rate": f"{rate!r} /s"})
    _write(out, trajectories(what, arrivals, stream, sessions), to, sessions)


def _options(trace_format: str | None, columns: str | None, unpacked_max: str | None) -> "Options":
    from gcsim.errors import ProfileError
    from gcsim.traffic.traces.row import Options
    from gcsim.units import UnitError, parse

    def bad(option: str, value: str | None, why: str, hint: str = "") -> ProfileError:
        return ProfileError.one("gcsim trace", option, value, why, hint)

    named: dict[str, str] = {}
    for pair in columns.split(",") if columns is not None else ():
        what, _, name = (part.strip() for part in pair.partition("="))
        if not name or what in named:
            raise bad("--columns", columns, "is not isl=NAME,osl=NAME,...")
        named[what] = name
    try:
        most = None if unpacked_max is None else parse(unpacked_max, "bytes")
    except UnitError as error:
        raise bad("--unpacked-max", unpacked_max, error.why, error.hint) from error
    if most is not None and most <= 0:
        raise bad("--unpacked-max", unpacked_max, "must be above 0")
    return Options(trace_format, unpacked_max=most, columns=named)


def _write(
    target: Path, trajectories: "Iterable[Trajectory]", to: str, total: int | None = None
) -> None:
    from gcsim.traffic.traces.atomic import write_atomic

    written = 0

    def counted(tell: Tell) -> "Iterator[Trajectory]":
        nonlocal written
        for one in trajectories:
            written += 1
            yield one
            tell(written)

    with progress(f"{target.name}, sessions", total) as tell:
        dropped = write_atomic(target, counted(tell), to)
    for what, count in dropped.items():
        note(f"Dropped: {count:,} {what}")
    note(f"Written to {target}: {written:,} sessions")


def _tell_skipped(skipped: "Skipped") -> None:
    if skipped.count:
        note(f"Skipped: {skipped.count:,} bad lines, among them")
        for problem in skipped.problems[:PROBLEMS_TOLD]:
            note(f"  {problem}")
    if skipped.failed:
        note(f"Left out: {skipped.failed:,} requests that the trace marks as failed")
    if skipped.others:
        note(f"Left out: {skipped.others:,} spans of tools and the like")


def info_table(
    file: str, name: str, found: "Description", summary: dict[str, Any]
) -> "RenderableType":
    """The statistics of a trace, and histograms of its lengths."""
    import numpy as np
    from rich.console import Group
    from rich.text import Text

    from gcsim.traffic.traces.formats import FORMATS

    about = FORMATS[name].about if name in FORMATS else "gcsim's own format"
    table = plain_table("tokens", "mean", "p50", "p90", "p99")
    for label, key in (("prompt", "isl"), ("output", "osl")):
        values = summary[key] or {}
        table.add_row(label, *(three(values.get(p)) for p in ("mean", "p50", "p90", "p99")))
    parts: list[RenderableType] = [Text(f"{file}: {about}", style="bold"), Text(_counts(summary))]
    parts.append(table)
    for label, lengths in (("prompt tokens", found.isl), ("output tokens", found.osl)):
        if lengths:
            parts.append(histogram(label, np.frombuffer(lengths, np.int64)))
    return Group(*parts)


def _counts(s: dict[str, Any]) -> str:
    text = f"{s['requests']:,} requests in {s['sessions']:,} sessions"
    if s["span_s"] is not None:
        text += f" over {three(s['span_s'])} s"
    if s["arrival_cv"] is not None:
        text += f"; the CV of the gaps between starts is {three(s['arrival_cv'])}"
    if "sub_agent_requests" in s:
        text += f"; {s['sub_agent_requests']:,} requests of sub-agents come on top"
    hits = [("prompt tokens", s["token_hit"]), ("hash blocks", s["block_hit"])]
    known = [f"{share:.1%} of the {what}" for what, share in hits if share is not None]
    if known:
        text += f". A cache without end would find {' and '.join(known)}"
    if s.get("skipped_lines"):
        text += f". {s['skipped_lines']:,} bad lines were skipped"
    return f"{text}."


def histogram(label: str, lengths: "NDArray[Any]") -> "RenderableType":
    """How lengths are spread, in bins of a factor of 2 (or more, for at most `BINS_MAX` of them).

    What lies beyond the last percent at either end is in the first and last bin.
    """
    table = plain_table(label, "requests", "share", "")
    table.columns[3].justify = "left"
    rows = bins(lengths)
    top = max(count for _, _, count in rows)
    for low, high, count in rows:
        share = f"{count / len(lengths):.1%}"
        table.add_row(f"{low:,} - {high:,}", f"{count:,}", share, bar(count / top))
    return table


def bins(lengths: "NDArray[Any]") -> list[tuple[int, int, int]]:
    """(first, last length, how many) of the bins of a histogram; they hold every length.

    >>> import numpy as np
    >>> bins(np.array([1, 3, 5, 9]))
    [(1, 1, 1), (2, 3, 1), (4, 7, 1), (8, 9, 1)]
    """
    import numpy as np

    low, high = (int(max(v, 1)).bit_length() - 1 for v in np.percentile(lengths, [1, 99]))
    wide = -(-(high + 1 - low) // BINS_MAX)
    edges = [2**power for power in range(low, high + 1, wide)]
    edges[0] = int(lengths.min())
    edges.append(int(lengths.max()) + 1)
    counts, _ = np.histogram(lengths, np.array(edges) - 0.5)
    return [
        (first, last - 1, int(count))
        for first, last, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
