"""Tables of `gcsim sweep`: a row per point, never without a key; what each deployment can take."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import pandas as pd

from gcsim.cli.run_text import plain_table
from gcsim.results.text import three

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

    from gcsim.studies.sweep import Sweep

# Of the printed table, the first to go last: header, column, scale.
SHOWN = (
    ("TTFT\nms", "mean_ttft_ms", 1.0),
    ("TPOT\nms", "mean_tpot_ms", 1.0),
    ("goodput\n1/s", "request_goodput", 1.0),
    ("SLO", "slo_holds", 1.0),
    ("E2E\nms", "mean_e2el_ms", 1.0),
    ("task\ns", "mean_task_ms", 1e-3),
    ("output\ntok/s", "output_throughput", 1.0),
    ("chips", "chips", 1.0),
    ("kW", "power_w", 1e-3),
    ("USD/h", "usd_per_hour", 1.0),
)
ERRORS_SHOWN = 5


def sweep_table(found: "Sweep") -> "RenderableType":
    """The points, by their keys; for load curves also what each deployment can take."""
    from rich.console import Group
    from rich.text import Text

    table = found.table
    parts: list[RenderableType] = [Text(_head(found), style="bold"), _Points(found)]
    if found.at_slo is not None:
        parts += _at_slo(found)
    lines = [
        f"Without {path}, so the same at all of its values: {', '.join(names)}."
        for path, names in found.lacks.items()
    ]
    if bool(table.get("saturated", False * table["error"].isna()).fillna(False).any()):
        lines.append("(!) saturated: the times there say nothing.")
    lines += _failures(found)
    if lines:
        parts.append(Text("\n".join(lines)))
    return Group(*parts)


class _Points:
    """The table of points: every key, and as many metrics as the terminal is wide."""

    def __init__(self, found: "Sweep") -> None:
        self.names = [_label(axis.path, found.keys) for axis in found.axes]
        self.shown = [one for one in SHOWN if one[1] in found.table]
        self.rows = [
            [*(_key(row[key]) for key in found.keys), *(_cell(row, *one[1:]) for one in self.shown)]
            for _, row in found.table.iterrows()
        ]
        self.curves = found.at_slo is not None

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.measure import Measurement

        # Measured without the limit: a table that is too wide would be squeezed.
        free = options.update(width=10_000)
        metrics = len(self.shown)
        while metrics and (
            Measurement.get(console, free, self._table(metrics)).maximum > options.max_width
        ):
            metrics -= 1
        yield self._table(metrics)
        if left := len(self.shown) - metrics:
            yield f"{left} more columns fit a wider terminal; all are in the table of --out."

    def _table(self, metrics: int) -> "Table":
        keys = len(self.names)
        headers = (header for header, *_ in self.shown[:metrics])
        table = plain_table(*self.names, *headers, left=keys)
        for column in table.columns[:keys]:
            column.no_wrap, column.overflow = False, "fold"  # too long for a line: not cut off
        for row, after in zip_longest(self.rows, self.rows[1:]):
            ends = self.curves and after is not None and row[: keys - 1] != after[: keys - 1]
            table.add_row(*row[: keys + metrics], end_section=ends)
        return table


def _head(found: "Sweep") -> str:
    first = found.table[found.table["error"].isna()].head(1)
    names = {key: str(first[key].iloc[0]) for key in ("workload", "model") if len(first)}
    what = " with ".join(names[key] for key in names if key not in found.keys)
    count = points(len(found.table))
    return ": ".join(filter(None, (found.scenario, f"{what}, {count}" if what else count)))


def points(count: int) -> str:
    """So many points, in words."""
    return f"{count:,} point{'s' if count != 1 else ''}"


def _label(path: str, keys: Sequence[str]) -> str:
    """The shortest end of a path that no other key has.

    >>> _label("deployment.pools.serve.tp", ["deployment.pools.serve.tp", "run.seed"])
    'tp'
    """
    parts = path.split(".")
    for length in range(1, len(parts)):
        label = ".".join(parts[-length:])
        if sum(f".{key}".endswith((f".{label}", f".{label}_s")) for key in keys) <= 1:
            return label
    return path


def _key(value: Any) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(row: "pd.Series[Any]", column: str, scale: float) -> str:
    if row["error"] is not None and not pd.isna(row["error"]):
        return "failed" if column == SHOWN[0][1] else "-"
    value = row[column]
    if pd.isna(value):
        return "-"
    if isinstance(value, bool) or column == "slo_holds":
        return "holds" if value else "broken"
    if column == "chips":
        return f"{value:.0f}"
    mark = " (!)" if column == SHOWN[0][1] and row["saturated"] else ""
    low, high = row.get(f"ci95_{column}.low"), row.get(f"ci95_{column}.high")
    spread = "" if pd.isna(low) or pd.isna(high) else f" ±{three((high - low) / 2 * scale)}"
    return f"{three(float(value) * scale)}{spread}{mark}"


def _at_slo(found: "Sweep") -> Iterator["RenderableType"]:
    """What each deployment takes at the SLO, per size; what breaks then; the knee."""
    from rich.text import Text

    from gcsim.cli.run_text import plain_table

    table, load = found.at_slo, found.keys[-1]
    assert table is not None
    keys = found.keys[:-1]
    unit = "agents" if load == "agents" else "tasks/s"
    names = [_label(axis.path, keys) for axis in found.axes[:-1]] or [""]
    headers = ["at\nSLO", "per\nchip", "per\nkW", "per\nUSD/h", "knee", "saturation", "runs"]
    drawn = plain_table(*names, *headers, left=len(names), title=f"{unit.capitalize()} at SLO")
    sizes = ("chip", "kw", "usd_per_hour")
    columns = [f"{load}_at_slo", *(f"{load}_per_{size}" for size in sizes)]
    columns += [f"knee_{load}", f"saturation_{load}", "runs"]
    for column in drawn.columns[: len(names)]:
        column.no_wrap, column.overflow = False, "fold"
    for _, row in table.iterrows():
        cells = [_key(row[key]) for key in keys] or [found.scenario]
        held, *rest = (_amount(row[column], column, load) for column in columns)
        more = "≥" if held != "-" and pd.isna(row[f"{load}_breaks_at"]) else ""
        drawn.add_row(*cells, more + held, *rest)
    yield drawn
    lines = []
    for _, row in table.iterrows():
        name = ", ".join(_key(row[key]) for key in keys) or found.scenario
        if isinstance(row["breaks"], str):
            broken = f"{load}_breaks_at"
            lines.append(
                f"{name}: at {_amount(row[broken], broken, load)} {unit}, {row['breaks']}."
            )
    if table[f"{load}_at_slo"].isna().all():
        lines.append("No SLO: give one, --set slo.ttft=2s --set slo.tpot=20ms.")
    yield Text("\n".join(lines))


def _amount(value: Any, column: str, load: str) -> str:
    """A number of the table of curves; agents and runs are whole."""
    whole = column == "runs" or (load == "agents" and "_per_" not in column)
    if pd.isna(value):
        return "-"
    return f"{value:,.0f}" if whole else three(value)


def _failures(found: "Sweep") -> list[str]:
    """Each reason once, with the first points that it holds for."""
    about: dict[str, list[str]] = {}
    for _, row in found.errors.iterrows():
        name = ", ".join(_key(row[key]) for key in found.keys) or found.scenario
        about.setdefault(str(row["error"]), []).append(name)
    lines = []
    for why, names in list(about.items())[:ERRORS_SHOWN]:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"Failed: {names[0]}{more}: {why}")
    if len(about) > ERRORS_SHOWN:
        lines.append(f"{len(about) - ERRORS_SHOWN} more reasons are in the column error.")
    return lines
