"""What a report says of a sweep: its table, its load curves, what each takes at the SLO."""

from collections.abc import Iterator

from gcsim.cli.page import folded, picture, scrolled, sorted_table
from gcsim.cli.sweep_text import points
from gcsim.results.html import html, table_of
from gcsim.studies.sweep import Sweep
from gcsim.studies.sweep_table import plain_rows


def question(found: Sweep) -> str:
    """What was swept."""
    return f"How does {found.scenario} change with {', '.join(found.keys) or 'nothing'}?"


def answer(found: Sweep) -> str:
    """The load that each curve takes within the SLO; else how much was played."""
    if found.at_slo is None:
        failed = f", {len(found.errors)} of them failed" if len(found.errors) else ""
        return f"{points(len(found.table))} were played{failed}: see the table."
    load = found.keys[-1]
    unit = "agents" if load == "agents" else "tasks per second"
    parts = []
    for row in plain_rows(found.at_slo):
        name = ", ".join(str(row[key]) for key in found.keys[:-1]) or found.scenario
        held, broken = row.get(f"{load}_at_slo"), row.get(f"{load}_breaks_at")
        least = "at least " if held and broken is None else ""
        parts.append(f"{name} {least}{held:g}" if held else f"{name} none that was played")
    return f"Within the SLO, in {unit}: {', '.join(parts)}."


def sections(found: Sweep) -> Iterator[str]:
    """Tables of the terminal, load curves, every number of every point."""
    yield "<h2>The sweep</h2>"
    yield scrolled(html(table_of(found)), "points", "tall")
    if found.at_slo is not None:
        from gcsim.plots import load_curves
        from gcsim.plots.style import plain_names

        text = "Latency and goodput against load; whiskers: 95% intervals, hollow: saturated"
        with plain_names():
            drawn = picture(load_curves(found), f"load {found.scenario}", text)
        yield folded(text, drawn, is_open=True, printed=True)
    rows = plain_rows(found.table)
    table = sorted_table(
        list(map(str, found.table)), (list(row.values()) for row in rows), "every number"
    )
    yield folded("Every number of every point", table)
