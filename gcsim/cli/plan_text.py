"""Tables of `gcsim plan`: the answer, the families behind it, what could overturn it."""

from typing import TYPE_CHECKING, Any

from gcsim.cli.run_text import plain_table
from gcsim.results.text import three

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gcsim.studies.plan import Plan
    from gcsim.studies.plan_robust import Sway

FAMILIES_SHOWN = 10
FRONTIER_SHOWN = 6
FAILED_SHOWN = 4


def plan_table(found: "Plan") -> "RenderableType":
    """One screen: the answer, the families, the frontier, robustness."""
    from rich.console import Group
    from rich.text import Text

    asked = found.question
    head = f"{asked.base.scenario.name} with {asked.base.scenario.model.name}"
    parts: list[RenderableType] = [Text(head, style="bold"), Text(found.sentence)]
    if found.answer is not None:
        parts.append(Text(_headroom(found)))
    rows = [row for row in found.to_dict()["families"] if row["deployment"]]
    if rows:
        parts.append(_families(rows))
    parts.append(Text("\n".join(_words(found, len(rows)))))
    frontier = found.to_dict()["frontier"]
    if len(frontier) > 1:
        parts.append(_frontier(frontier))
    if found.sways:
        parts.append(Text("\n".join(_robust(found))))
    return Group(*parts)


def _headroom(found: "Plan") -> str:
    room = found.headroom or 1.0
    load = found.question.load
    asked = "agents" if found.question.kind == "agents" else "tasks per second"
    if room >= 2.0:
        return f"It still holds with {load * room:g} {asked}, twice as many."
    if room == 1.0:
        return f"It holds no more with {load * 1.1:.4g} {asked}, 10% more."
    return f"It still holds with {load * room:.4g} {asked}, {room - 1:.0%} more."


def _families(rows: list[dict[str, Any]]) -> "RenderableType":
    table = plain_table(
        "deployment",
        "chips",
        "racks",
        "kW",
        "USD/h",
        "USD\n/task",
        "tok/s\n/user",
        "binds",
        title="The best of each family",
    )
    table.columns[-1].justify, table.columns[-1].no_wrap = "left", False
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    for row in rows[:FAMILIES_SHOWN]:
        table.add_row(
            row["deployment"] + (" *" if row["sliced"] else ""),
            f"{row['chips']:.0f}",
            f"{row['nodes']:.0f}",
            three(row["power_w"] / 1e3),
            three(row["usd_per_hour"]),
            three(row["usd_per_task"]),
            three(row["tok_s_user"]),
            row["binds"] or "",
        )
    return table


def _words(found: "Plan", shown: int) -> list[str]:
    lines = []
    if any(one.sliced and one.best for one in found.families):
        lines.append("* from a slice of the agents and replicas, in proportion.")
    failed = [one for one in found.families if one.best is None]
    for one in failed[:FAILED_SHOWN]:
        near = one.nearest
        why = (one.whys or ["no layout fits"])[0]
        if near is not None:
            why = f"nearest {near.unit}: {near.verdict.binds}"
        lines.append(f"{one.family} does not serve it ({why}).")
    if len(failed) > FAILED_SHOWN:
        lines.append(f"{len(failed) - FAILED_SHOWN} more families do not serve it.")
    if shown > FAMILIES_SHOWN:
        lines.append(f"{shown - FAMILIES_SHOWN} dearer families are left out here.")
    if found.left_out:
        lines.append(
            f"{found.left_out} pairs of chips were not played: by the roofline they cost more."
        )
    return lines


def _frontier(rows: list[dict[str, Any]]) -> "RenderableType":
    table = plain_table(
        "deployment",
        "load",
        "tok/s\n/user",
        "tok/s\n/chip",
        "USD/M tok",
        "tok/J",
        "SLO",
        title="Speed against output: what nothing else that was played beats in both",
    )
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    step = max(len(rows) / FRONTIER_SHOWN, 1.0)
    for k in range(min(len(rows), FRONTIER_SHOWN)):
        row = rows[int(k * step)]
        table.add_row(
            row["deployment"],
            f"{row['load']:g}",
            three(row["tok_s_user"]),
            three(row["tok_s_chip"]),
            three(row["usd_per_mtok"]),
            three(row["tok_per_joule"]),
            "holds" if row["holds"] else "broken",
        )
    return table


def _robust(found: "Plan") -> list[str]:
    """In which part of the ranges the choice stands, and what overturns it."""
    turned = [sway for sway in found.sways if sway.overturns]
    stays = len(found.sways) - len(turned)
    family = found.answer.family if found.answer else ""
    moves = f"{len(found.sways)} moves of values and prices to their ends"
    lines = [f"{family} stays the choice in {stays} of {moves}."]
    from gcsim.studies.plan import AIMS

    lines += [_turned(sway, AIMS[found.question.aim]) for sway in turned]
    return lines


def _turned(sway: "Sway", unit: str) -> str:
    own = f"{three(sway.answer)} {unit}" if sway.answer is not None else "at no size"
    other = f"{three(sway.rival)} {unit}"
    return (
        f"  {sway.cause} of {sway.chip} at the {sway.end} end: {own}, {sway.rival_family} {other}"
    )
