"""Tables of `gcsim compare`: one row per deployment, ratios to the first, what decides."""

from typing import TYPE_CHECKING, Any

from gcsim.cli.run_text import caveats, plain_table, scaled, size_text, verdict
from gcsim.results.comparison import Comparison, decides
from gcsim.results.metric import Metric
from gcsim.results.metrics import named, using
from gcsim.results.paired import Ratio
from gcsim.results.text import PHASE_NAMES, causes, three
from gcsim.studies.compare import DECIDED_BY, Crossover, at_slo

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from gcsim.studies.compare import Series

BAR = 24
NAME = 18  # characters of a name that stay on one line
GLYPHS = {"network": "░", "queue": "▒", "prefill": "▓", "kv_transfer": "×", "decode": "█"}
_COLOURS = {
    "network": "bright_black",
    "queue": "red",
    "prefill": "yellow",
    "kv_transfer": "magenta",
    "decode": "cyan",
}


def comparison_table(comparison: Comparison) -> "RenderableType":
    """Side by side, the ratios, and what decides."""
    from rich.console import Group
    from rich.text import Text

    first = next(iter(comparison.results.values())).summary
    same = len({r.summary["scenario"] for r in comparison.results.values()}) == 1
    head = f"{first['scenario']}: {first['workload']} with {first['model']}" if same else "compare"
    parts: list[RenderableType] = [Text(f"{head}, seed {first['seed']}", style="bold")]
    parts += [_side_by_side(comparison), _legend(), _sizes(comparison), _busy(comparison)]
    parts += _at_slo(at_slo(comparison))
    if len(comparison.results) > 1:
        parts += [_ratios(comparison), Text(decides(comparison))]
    if comparison.normalize != "none":
        parts.append(Text(f"tok/s and goodput are per {comparison.unit}; times are as they are."))
    parts.append(Text("\n".join(_caveats(comparison)), style="dim"))
    return Group(*parts)


def _caveats(comparison: Comparison) -> list[str]:
    """Each caveat once, with the deployments that it is about."""
    about: dict[str, list[str]] = {}
    for name, result in comparison.results.items():
        for line in caveats(result.summary):
            about.setdefault(line, []).append(name)
    everywhere = len(comparison.results)
    return [
        f"{'all' if len(names) == everywhere else ', '.join(names)}: {line}"
        for line, names in about.items()
    ]


def _side_by_side(comparison: Comparison) -> "Table":
    """What users see: means and p95 of times, whether the SLO holds, where a step's time goes."""
    results = comparison.results
    times = (metric for metric in using("compare") if metric.per is None)
    units = {metric: _unit(metric, comparison) for metric in times}
    titles = {m: m.head.split("\n")[0] or m.label for m in units}
    heads = [h for m, unit in units.items() for h in (f"{titles[m]}\n{unit}", "\np95")]
    table = plain_table("", *heads, "\nSLO", "time of a step")
    for column in table.columns[-2:]:
        column.justify = "left"
    last = table.columns[-1]  # this one and the names shrink where the terminal is narrow
    last.no_wrap, last.overflow, table.columns[0].overflow = False, "crop", "fold"
    table.columns[0].min_width = min(NAME, max(map(len, results)))
    longest = max(r.summary["mean_e2el_ms"] or 0.0 for r in results.values())
    for name, result in results.items():
        s = result.summary
        cells = [
            three(None if s[key] is None else s[key] * (1e-3 if unit == "s" else 1.0))
            for metric, unit in units.items()
            for key in metric.keys(("mean", "p95")).values()
        ]
        mark = " (!)" if s["saturated"] else ""
        bar = stacked(s["breakdown_ms"], longest)
        table.add_row(name + mark, *cells, verdict(s), bar)
    return table


def _unit(metric: Metric, comparison: Comparison) -> str:
    """ms, or s where one of the times would have six digits."""
    keys, results = metric.keys(("mean", "p95")).values(), comparison.results.values()
    values = (result.summary[key] or 0.0 for result in results for key in keys)
    return "s" if metric.unit == "s" or max(values) >= 99_950 else "ms"


def _sizes(comparison: Comparison) -> "Table":
    """What it takes: chips, power, price, and what a task costs."""
    sums = [*using("size"), *(metric for metric in using("compare") if metric.per is not None)]
    heads = (_head(metric, comparison) for metric in sums)
    table = plain_table("", "chips", "kW", "USD/h", *heads)
    table.columns[0].overflow = "fold"
    for name, result in comparison.results.items():
        s = result.summary
        cells = (_cell(metric, comparison, name) for metric in sums)
        size = (str(result.pools["chips"].sum()), three(s["power_w"] / 1e3))
        table.add_row(name, *size, three(s["usd_per_hour"]), *cells)
    return table


def _busy(comparison: Comparison) -> "Table":
    """What the busy time of every pool goes to."""
    pools = [(name, p) for name, r in comparison.results.items() for p in r.summary["pools"]]
    shares = [causes(pool) for _, pool in pools]
    heads = list(dict.fromkeys(key for share in shares for key in share))
    heads.sort(key=lambda key: (key == "latency", "links" in key, key != "arithmetic"))
    table = plain_table("Of its busy time", "pool", "busy", *heads)
    table.columns[0].overflow, table.columns[1].justify = "fold", "left"
    for (name, pool), share in zip(pools, shares, strict=True):
        cells = (f"{share[key]:.0%}" if key in share else "-" for key in heads)
        table.add_row(name, pool["pool"], f"{pool['utilization']:.0%}", *cells)
    return table


def _at_slo(rows: list[dict[str, Any]]) -> "list[RenderableType]":
    """What each takes at the SLO, per chip, kW and dollar; one load says only: no less, or less."""
    if not rows:
        return []
    load = next(key for key in rows[0] if key.endswith("_at_slo")).removesuffix("_at_slo")
    title = f"{'Agents' if load == 'agents' else 'Tasks/s'} at SLO"
    table = plain_table(title, "", "per chip", "per kW", "per USD/h", "broken by")
    for row in rows:
        held, broken = row[f"{load}_at_slo"], row[f"{load}_breaks_at"]
        mark = "" if held and broken else "≥" if held else "<"
        known = held or broken
        sizes = [row["chips"], row["power_w"] / 1e3, row["usd_per_hour"]]
        cells = [mark + three(known / size) for size in sizes]
        table.add_row(row["name"], f"{mark}{known:g}", *cells, row["breaks"] or "")
    return [table]


def _head(metric: Metric, comparison: Comparison) -> str:
    per = f"/{comparison.unit}" if comparison.unit and metric.rate else ""
    return (metric.head or f"{metric.label}\n{metric.unit}") + per


def _cell(metric: Metric, comparison: Comparison, name: str) -> str:
    """The mean of a run, or its sum; a rate per what it is normalised by."""
    value = comparison.results[name].summary[metric.keys(("mean",)).popitem()[1]]
    if value is not None and metric.rate:
        value /= comparison.divisor(comparison.results[name])
    return scaled(value, metric)


def stacked(parts: dict[str, float | None], longest: float, width: int = BAR) -> "Text":
    """The phases of a step as one bar; `longest` is as long as `width`.

    Each character stands for the phase at its middle.

    >>> str(stacked({"prefill": 1.0, "decode": 3.0}, 4.0, 8))
    '▓▓██████'
    """
    from rich.text import Text

    text, drawn, upto = Text(), 0, 0.0
    for phase, value in parts.items():
        upto += value or 0.0
        end = int(upto / longest * width + 0.5) if longest else 0
        text.append(GLYPHS[phase] * (end - drawn), style=_COLOURS[phase])
        drawn = end
    return text


def _legend() -> "Text":
    from rich.text import Text

    text = Text("Means per request; ")
    for phase, glyph in GLYPHS.items():
        text.append(f"{glyph} ", style=_COLOURS[phase])
        text.append(f"{PHASE_NAMES[phase]}  ")
    text.rstrip()
    return text


def _ratios(comparison: Comparison) -> "Table":
    first, *others = comparison.results
    title = f"Ratio to {first}, ± half of its 95% paired interval"
    heads = {_head(m, comparison).split("\n")[0]: m.keys(("mean",)) for m in using("ratio")}
    table = plain_table("", *heads, title=title)
    for name in others:
        found = comparison.ratio_to_first[name]
        table.add_row(
            name, *(_ratio(found[key]) for keys in heads.values() for key in keys.values())
        )
    return table


def _ratio(ratio: Ratio) -> str:
    if ratio.ratio is None:
        return "-"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.ratio:.2f}"
    return f"{ratio.ratio:.2f} ±{(ratio.high - ratio.low) / 2:.2f}"


def series_table(series: "Series") -> "RenderableType":
    """Per value who wins, and between which values the order changes."""
    from rich.console import Group
    from rich.text import Text

    what = "rate\n1/s" if series.parameter == "rate" else series.parameter.rpartition(".")[2]
    first = series.points[0][1]
    summary = next(iter(first.results.values())).summary
    head = f"{summary['scenario']}: {summary['workload']} with {summary['model']} over"
    head += f" {series.parameter}, seed {summary['seed']}"
    heads = (_head(metric, first) for metric in using("series"))
    table = plain_table(what, "", *heads, "wins by")
    table.columns[0].no_wrap = True
    for column in (table.columns[1], table.columns[-1]):  # these shrink in a narrow terminal
        column.justify, column.no_wrap, column.overflow = "left", False, "fold"
    notes = []
    for value, comparison in series.points:
        _series_rows(table, value, comparison)
        notes += [
            f"{value}: {name} is saturated: {why}" for name, why in comparison.saturated.items()
        ]
    lines = [_crossover(c) for c in series.crossovers] or ["The order is the same at all values."]
    lines += [
        size_text(name, result.summary) for name, result in series.points[-1][1].results.items()
    ]
    if series.unchanged:
        lines.append(f"Without such a setting, so the same: {', '.join(series.unchanged)}.")
    parts: list[RenderableType] = [Text(head, style="bold"), table, *_at_slo(series.at_slo)]
    parts.append(Text("\n".join(lines)))
    if notes:
        parts.append(Text("(!) " + "\n(!) ".join(notes), style="dim"))
    value, comparison = series.points[-1]
    if why := decides(comparison):
        parts.append(Text(f"At {value}: {why}"))
    return Group(*parts)


def _series_rows(table: "Table", value: Any, comparison: Comparison) -> None:
    best = {named(key)[0].label: comparison.winner(key) for key in DECIDED_BY}
    for number, (name, result) in enumerate(comparison.results.items()):
        wins = [
            label + ("" if clear else " (close)")
            for label, (winner, clear) in best.items()
            if winner == name
        ]
        cells = (_cell(metric, comparison, name) for metric in using("series"))
        mark = " (!)" if result.summary["saturated"] else ""
        table.add_row(str(value) if number == 0 else "", name + mark, *cells, ", ".join(wins))
    table.add_section()


def _crossover(c: Crossover) -> str:
    text = (
        f"By {named(c.metric)[0].label}, {c.then} overtakes {c.ahead} between {c.low} and {c.high}"
    )
    return text + ("." if c.clear else ", within the noise.")
