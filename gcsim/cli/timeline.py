"""`gcsim timeline`: a run as a file that Perfetto opens."""

import json
from pathlib import Path
from typing import Annotated

import typer

from gcsim.cli.console import guarded, note


@guarded
def timeline(
    results: Annotated[Path, typer.Argument(help="A folder that gcsim run --out wrote.")],
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="For ui.perfetto.dev.")],
    window: Annotated[
        str | None, typer.Option(metavar="FROM:TO", help="Only this time, in simulated seconds.")
    ] = None,
    iterations: Annotated[
        bool,
        typer.Option(
            "--iterations/--no-iterations",
            help="Play the run again for the batches of replicas and the transfers of links.",
        ),
    ] = True,
    each: Annotated[
        bool, typer.Option("--each", help="Every iteration by itself, not runs of alike ones.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """A run as a timeline for Perfetto or chrome://tracing: tasks, replicas, links, tools, queues.

    At most 250,000 events (about 40 MB) are written; a longer run is cut there, and told so.
    """
    from gcsim.errors import ProfileError
    from gcsim.profiles.template import check_folder, check_free, write_new
    from gcsim.results.saved import load_results
    from gcsim.studies.trace_events import trace_events

    check_free(out, force, "--force replaces it")
    check_folder(out, "timeline")
    if each and not iterations:
        why = "goes not with --no-iterations"
        raise ProfileError.one("timeline", "--each", None, why, "give one of them")
    shown = _window(window)
    trace = trace_events(load_results(results), shown, iterations=iterations, each=each)
    text = json.dumps(trace.to_dict(), separators=(",", ":"), allow_nan=False)
    write_new(out, text + "\n", force)
    what = f"{len(trace.events):,} events, {len(text) / 1e6:.2g} MB"
    note(f"Written to {out}: {trace.from_s:g} to {trace.until_s:.6g} s, {what}")
    if trace.cut:
        note(f"Cut at {trace.until_s:.6g} s, there is more: --window {trace.until_s:.0f}:TO")


def _window(text: str | None) -> tuple[float, float] | None:
    from gcsim.errors import ProfileError

    if text is None:
        return None
    start, separator, end = text.partition(":")
    try:
        if separator:
            return float(start or 0), float(end or "inf")
    except ValueError:
        pass
    why, hint = "is no window", "write --window 10:20, in seconds"
    raise ProfileError.one("timeline", "--window", text, why, hint)
