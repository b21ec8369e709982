"""The table of `gcsim plan --load`: per chip, kW and dollar over load, with ranges and order."""

from math import inf
from typing import TYPE_CHECKING

from gcsim.cli.run_text import plain_table
from gcsim.results.text import three

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

    from gcsim.studies.plan_load import PlanOverLoad, Served

WHYS_SHOWN = 4
WIDE = 95  # columns of a terminal


def plan_load_table(found: "PlanOverLoad") -> "RenderableType":
    """A row per load and family, the cheapest first; then what of the order is known."""
    from rich.console import Group
    from rich.text import Text

    asked = found.question
    slo = ", ".join(map(str, asked.bounds))
    head = f"{asked.base.scenario.name} with {asked.base.scenario.model.name} within {slo}"
    lines = [_order(found, load) for load in found.loads]
    return Group(Text(head, style="bold"), _Table(found), Text("\n".join(lines + _words(found))))


class _Table:
    """The table; without what binds where the terminal is narrow."""

    def __init__(self, found: "PlanOverLoad") -> None:
        self.found = found

    def __rich_console__(self, _: "Console", options: "ConsoleOptions") -> "RenderResult":
        yield _table(self.found, binds=options.max_width >= WIDE)


def _table(found: "PlanOverLoad", binds: bool) -> "Table":
    unit = "agents" if found.question.kind == "agents" else "tasks/s"
    per = ["per\nchip", "per\nkW", "per\nUSD/h"]
    names = ["chips", *per, "USD/h", *(["range"] if found.ranges else []), "TTFT\nms"]
    last = ["binds"] if binds else []
    table = plain_table(unit, "deployment", *names, "tok/s\n/user", *last, left=2)
    table.columns[0].justify, table.columns[0].no_wrap = "right", True
    table.columns[1].no_wrap, table.columns[1].overflow = False, "fold"
    table.columns[1].min_width = 9
    if binds:
        table.columns[-1].justify = "left"
    for load in found.loads:
        rows = found.at(load)
        for one in rows:
            cells = [f"{load:g}" if one is rows[0] else "", *_cells(found, one)]
            table.add_row(*cells[: len(table.columns)], end_section=one is rows[-1])
    return table


def _cells(found: "PlanOverLoad", one: "Served") -> list[str]:
    unit, trial = one.best.best, one.best.trial
    ends = [_range(one)] if found.ranges else []
    if unit is None or trial is None:
        return [one.family, "none", "-", "-", "-", "-", *ends, "-", "-", ""]
    tpot = trial.summary["mean_tpot_ms"]
    return [
        str(unit),
        f"{unit.chips}",
        three(one.load / unit.chips),
        three(one.load / unit.power_w * 1e3),
        three(one.load / unit.usd_per_hour),
        three(unit.usd_per_hour),
        *ends,
        three(trial.summary["mean_ttft_ms"]),
        three(1e3 / tpot if tpot else None),
        trial.verdict.binds.split(" <")[0],
    ]


def _range(one: "Served") -> str:
    low, high = one.ends
    if low == inf:
        return "-"
    return f"{three(low)}–{three(high) if high < inf else 'none'}"


def _order(found: "PlanOverLoad", load: float) -> str:
    """Which family costs least, and which may as well."""
    first, *others = found.at(load)
    unit = {"agents": "agent" if load == 1 else "agents"}.get(found.question.kind, "tasks/s")
    where = f"{load:g} {unit}"
    if first.best.best is None:
        return f"{where}: nothing serves them."
    if not found.ranges or not others:
        return f"{where}: {first.family} costs least."
    rivals = [one.family for one in found.rivals(load)]
    if not rivals:
        return f"{where}: {first.family} costs least, wherever assumed and fitted values lie."
    return f"{where}: {first.family} costs least; not decided against {', '.join(rivals)}."


def _words(found: "PlanOverLoad") -> list[str]:
    lines = []
    if found.ranges:
        ends = "at their fast, at their slow end"
        lines.append(f"range: USD/h with the chips' assumed and fitted values {ends}.")
    failed = [one for one in found.served if one.best.best is None]
    lines += [
        f"{one.family} does not serve {one.load:g} ({one.why})." for one in failed[:WHYS_SHOWN]
    ]
    if len(failed) > WHYS_SHOWN:
        lines.append(f"{len(failed) - WHYS_SHOWN} more do not.")
    return lines
