"""What `gcsim check`, `diff` and `run --replications` print: tables, JSON, annotations, JUnit."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcsim.cli.run_text import bands_table, ends, plain_table, scaled
from gcsim.errors import ProfileError
from gcsim.results import metrics
from gcsim.results.metric import WATCHED
from gcsim.results.per import once
from gcsim.results.text import three

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gcsim.studies.baseline import Verdict
    from gcsim.studies.diff import Difference, Move

SHOWN = 12  # metrics of a scenario in an annotation


class Checked(StrEnum):
    """How verdicts are given."""

    table = "table"
    json = "json"
    github = "github"


def verdicts_as(how: Checked, verdicts: "Sequence[Verdict]", file: Path) -> "RenderableType":
    """All verdicts for people, for programs or for a workflow's annotations."""
    if how is Checked.json:
        passes = all(verdict.passes for verdict in verdicts)
        found = [_as_dict(verdict) for verdict in verdicts]
        whole = {"baseline": str(file), "passes": passes, "scenarios": found}
        return json.dumps(whole, indent=2, allow_nan=False)
    if how is Checked.github:
        return "\n".join(annotation(verdict, file) for verdict in verdicts)
    return _verdicts_table(verdicts, file)


def percent(change: float) -> str:
    """A relative change, signed.

    >>> percent(0.0512), percent(-1e-7), percent(float("inf"))
    ('+5.12%', '-0.0000100%', 'from 0 or undefined')
    """
    if abs(change) == inf:
        return "from 0 or undefined"
    return f"{'+' if change > 0 else '-' if change < 0 else ''}{three(abs(100 * change))}%"


def annotation(verdict: "Verdict", file: Path) -> str:
    """One workflow command of GitHub Actions; a changed input that moved nothing is a notice."""
    if verdict.passes:
        text = f"{verdict.watched} metrics hold{_tolerated(verdict)}"
        return f"::notice title=gcsim {_escaped(verdict.scenario, True)}::{_escaped(text)}"
    lines = [f"{verdict.fails}. Cause: {verdict.cause}", *map(_line, verdict.moved[:SHOWN])]
    if len(verdict.moved) > SHOWN:
        lines.append(f"and {len(verdict.moved) - SHOWN} more")
    title, text = _escaped(verdict.scenario, True), _escaped("\n".join(lines))
    return f"::error file={_escaped(file.as_posix(), True)},title=gcsim {title}::{text}"


def write_junit(verdicts: "Sequence[Verdict]", file: Path) -> None:
    """A JUnit report: a suite per scenario, a case per metric, one more for the inputs."""
    from xml.etree import ElementTree as Xml

    root = Xml.Element("testsuites", name="gcsim check")
    for verdict in verdicts:
        moved = {move.metric: move for move in verdict.moved}
        other = bool(verdict.fails) and not moved
        suite = Xml.SubElement(root, "testsuite", name=verdict.scenario)
        suite.set("tests", str(verdict.watched + 1))
        suite.set("failures", str(len(moved) + other))
        for metric in verdict.kinds:
            case = Xml.SubElement(suite, "testcase", classname=verdict.scenario, name=metric)
            if metric in moved:
                failure = Xml.SubElement(case, "failure", message=_line(moved[metric]))
                failure.text = f"Cause: {verdict.cause}"
        case = Xml.SubElement(suite, "testcase", classname=verdict.scenario, name="inputs")
        if other:
            Xml.SubElement(case, "failure", message=verdict.fails).text = f"Cause: {verdict.cause}"
    Xml.indent(root)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        Xml.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise ProfileError.one(str(file), "--junit", None, why) from error


def diff_table(found: "Difference") -> "RenderableType":
    """Two runs, metric by metric; `*` where the interval leaves out "no change"."""
    from rich.console import Group
    from rich.text import Text

    table = plain_table("", "A", "B", "change", "95% interval", "")
    for move in found.moves:
        if move.before == move.after:
            continue
        table.add_row(*_cells(move), "*" if move.clear else "")
    lines = [f"A {found.names[0]} (gcsim {found.versions[0]})"]
    lines += [f"B {found.names[1]} (gcsim {found.versions[1]})"]
    if found.inputs is not None:
        lines.append(f"Inputs that differ: {', '.join(found.inputs) or 'none'}.")
    for name, why in zip("AB", found.saturated, strict=True):
        if why:
            lines.append(f"{name} is SATURATED, its means say nothing ({why}).")
    same = "" if table.row_count else "All headline metrics are the same."
    parts: list[RenderableType] = [Text("\n".join(lines)), table if table.row_count else Text(same)]
    return Group(*parts, Text(f"{found.how}."))


def replications_table(summary: dict[str, Any]) -> "RenderableType":
    """Means over replications with their 95% intervals; a saturated one has no means."""
    from rich.console import Group
    from rich.text import Text

    head = f"{summary['scenario']}: {summary['workload']} with {summary['model']} on"
    head += f" {summary['deployment']}, {summary['replications']} replications"
    table = plain_table("", "mean", "± 95%", "low", "high")
    for key, (metric, statistic) in metrics.columns(WATCHED).items():
        if not {"paired", "watched"} & set(metric.uses.split()) or metric.per is once:
            continue
        name = metric.title(statistic)
        value, bounds = summary[key], summary[f"ci95_{key}"]
        if value is None:
            table.add_row(name, "saturated" if summary["saturated"] else "-", "", "", "")
            continue
        half = f"{(bounds[1] - bounds[0]) / 2 / abs(value):.1%}" if bounds and value else "-"
        table.add_row(name, scaled(value, metric), half, *ends(bounds, metric))
    lines = []
    if summary["saturated_why"]:
        word = "SATURATED" if summary["saturated"] else "Some are saturated"
        lines.append(f"{word}: {summary['saturated_why']}.")
    if "precision" in summary:
        reached = "" if summary["precision_reached"] else "not "
        lines.append(f"Mean E2E is {reached}known to ±{summary['precision']:.3g} of itself.")
    more = [bands_table(summary)] if "bands" in summary else []
    return Group(Text(head, style="bold"), table, Text("\n".join(lines)), *more)


def _verdicts_table(verdicts: "Sequence[Verdict]", file: Path) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for verdict in verdicts:
        if verdict.passes:
            text = f"{verdict.scenario}: {verdict.watched} metrics hold{_tolerated(verdict)}"
            parts.append(Text(text))
            continue
        parts.append(Text(f"{verdict.scenario}: {verdict.fails}", style="bold"))
        parts.append(Text(f"Cause: {verdict.cause}"))
        if verdict.moved:
            table = plain_table("", "baseline", "now", "change", "95% interval", "tolerance")
            for move in verdict.moved:
                table.add_row(*_cells(move), verdict.kinds[move.metric])
            parts.append(table)
    bad = sum(not verdict.passes for verdict in verdicts)
    if bad:
        word = f"{bad} of {len(verdicts)} scenarios do not hold. If that is meant:"
        parts.append(Text(f'{word} gcsim bless --baseline {file} --why "..."'))
    return Group(*parts)


def _tolerated(verdict: "Verdict") -> str:
    found = f", {len(verdict.within)} moved within tolerance" if verdict.within else ""
    return found + (f" (changed: {', '.join(verdict.changed)})" if verdict.changed else "")


def _cells(move: "Move") -> tuple[str, ...]:
    interval = ""
    if move.low is not None and move.high is not None:
        interval = f"{percent(move.low)} .. {percent(move.high)}"
    metric, statistic = metrics.named(move.metric)
    values = (scaled(value, metric) for value in (move.before, move.after))
    return metric.title(statistic), *values, percent(move.change), interval


def _line(move: "Move") -> str:
    metric, statistic = metrics.named(move.metric)
    values = f"{scaled(move.before, metric)} -> {scaled(move.after, metric)}"
    return f"{metric.title(statistic)}: {values} ({percent(move.change)})"


def _as_dict(verdict: "Verdict") -> dict[str, Any]:
    def one(move: "Move") -> dict[str, Any]:
        change = None if abs(move.change) == inf else move.change
        return {**asdict(move), "change": change, "tolerance": verdict.kinds[move.metric]}

    return {
        "scenario": verdict.scenario,
        "passes": verdict.passes,
        "fails": verdict.fails,
        "cause": verdict.cause if verdict.fails else "",
        "changed": list(verdict.changed),
        "watched": verdict.watched,
        "moved": [one(move) for move in verdict.moved],
        "within": [one(move) for move in verdict.within],
    }


def _escaped(text: str, in_property: bool = False) -> str:
    """As workflow commands want it."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if in_property else text
