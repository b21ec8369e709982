"""The tables of a sweep: a row per point, a row per load curve; numeric columns, units in names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gcsim.studies.finished import Record
from gcsim.studies.grid import GridPoint
from gcsim.studies.load_curve import (
    COLUMNS,
    Kind,
    Reading,
    breaches,
    knee,
    last_holding,
    saturation,
)

_WORDS = frozenset({"error", "lacks", "saturated_why", "slo_broken_by", "breaks"})
# What a load at SLO is given per: column, name, how many of it are one.
_PER = (("chips", "chip", 1.0), ("power_w", "kw", 1e3), ("usd_per_hour", "usd_per_hour", 1.0))
# The first key of a table's row that is its name: pools, links, classes, tiers.
_NAMED_BY = ("pool", "link", "workload", "tier", "name")


def point_table(keys: Sequence[str], rows: Sequence[tuple[GridPoint, Record]]) -> pd.DataFrame:
    """One row per point: its keys, what it runs on, every number of its summary, its error.

    `ci95_mean_ttft_ms.low`, `breakdown_ms.queue`, `pools.decode.mfu`: parts of a summary have
    dotted names. Numbers of points that failed are missing.
    """
    cells = [_row(keys, point, record) for point, record in rows]
    names = dict.fromkeys(name for row in cells for name in row)
    last = ("lacks", "error")
    ordered = [*(name for name in names if name not in last), *last]
    return _frame(cells, ordered)


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A summary with dotted names for its parts.

    >>> flat({"a": {"b": 1}, "ci95_x_ms": [1, 2], "pools": [{"pool": "p", "mfu": 0.5}]})
    {'a.b': 1, 'ci95_x_ms.low': 1, 'ci95_x_ms.high': 2, 'pools.p.mfu': 0.5}
    """
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if key.startswith("ci95_"):
            found[f"{name}.low"], found[f"{name}.high"] = value or (None, None)
        elif isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value):
                by = next((by for by in _NAMED_BY if by in item), "")
                rest = {part: cell for part, cell in item.items() if part != by}
                found |= flat(rest, f"{name}.{item.get(by, number)}.")
        else:
            found[name] = value
    return found


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain data, every digit of their numbers, None for what is missing."""
    plain = table.astype(object).where(table.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def size_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """Chips, power and rent of a run's deployment, all pools together."""
    pools = summary["pools"]
    return {
        "chips": sum(pool["chips"] for pool in pools),
        "power_w": sum(pool["power_w"] for pool in pools),
        "usd_per_hour": sum(pool["usd_per_hour"] for pool in pools),
    }


def at_slo_table(
    keys: Sequence[str],
    kind: Kind,
    curves: Sequence[tuple[GridPoint, Sequence[tuple[GridPoint, Record]], Sequence[Reading]]],
) -> pd.DataFrame:
    """One row per load curve: the largest load at which the SLO holds, and what that is per size.

    `<load>_at_slo`; `_breaks_at`: the next load that was played, and `breaks`: what broke there;
    `_per_chip`, `_per_kw`, `_per_usd_per_hour`; `knee_`, `saturation_<load>`; `runs`. 0: not even
    the least; missing: there is no SLO, or nothing was played.
    """
    rows = []
    for point, played, readings in curves:
        row: dict[str, Any] = dict(zip(keys, point.cells, strict=True))
        sizes = next((size_of(r["summary"]) for _, r in played if "summary" in r), None)
        rows.append(row | at_slo_row(kind, readings, sizes))
    return _frame(rows, list(dict.fromkeys(name for row in rows for name in row)))


def at_slo_row(
    kind: Kind, readings: Sequence[Reading], sizes: Mapping[str, float] | None
) -> dict[str, Any]:
    """What `at_slo_table` says of one curve; sizes: of its deployment, as `size_of`."""
    name = COLUMNS[kind]
    low, high = last_holding(readings)
    held = low.load if low is not None else 0.0 if high is not None else None
    row: dict[str, Any] = {
        f"{name}_at_slo": held,
        f"{name}_breaks_at": high.load if high is not None else None,
        "breaks": high.why if high is not None else None,
    }
    for size, per, one in _PER:
        row[size] = sizes[size] if sizes else None
        count = sizes[size] / one if sizes else 0.0
        row[f"{name}_per_{per}"] = held / count if held is not None and count else None
    row |= {f"knee_{name}": knee(readings), f"saturation_{name}": saturation(readings)}
    return {**row, "runs": len(readings)}


def _row(keys: Sequence[str], point: GridPoint, record: Record) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(keys, point.cells, strict=True))
    row.setdefault("deployment", point.base.scenario.deployment.name)
    row |= {"lacks": ", ".join(point.lacks) or None, "error": record.get("error")}
    summary = record.get("summary")
    if summary is None:
        return row
    broken = breaches(summary)
    row |= size_of(summary)
    row |= {
        "slo_holds": None if broken is None else not broken,
        "slo_broken_by": "; ".join(broken or ()) or None,
    }
    row |= {f"slo_{time}_s": bound for time, bound in _bounds(summary["classes"]).items()}
    classes = summary["classes"] if len(summary["classes"]) > 1 else []
    rest = flat({**summary, "classes": classes})
    return row | {key: value for key, value in rest.items() if key not in row and value != []}


def _bounds(classes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The bounds of the SLO that all classes have alike [s]."""
    slos = [one["slo"] for one in classes]
    return {time: s for time, s in slos[0].items() if all(slo.get(time) == s for slo in slos)}


def _frame(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: _column(name, [row.get(name) for row in rows]) for name in names})


def _column(name: str, values: Sequence[Any]) -> "pd.Series[Any]":
    """A column of one type: whole numbers stay whole, and have gaps where some are missing."""
    known = [value for value in values if value is not None]
    whole = len(known) == len(values)
    if all(isinstance(value, bool) for value in known) and known:
        return pd.Series(values, dtype="bool" if whole else "boolean")
    if all(isinstance(value, int) and not isinstance(value, bool) for value in known) and known:
        return pd.Series(values, dtype="int64" if whole else "Int64")
    plain = all(isinstance(value, int | float) for value in known)
    if plain and name not in _WORDS:
        return pd.Series([np.nan if v is None else v for v in values], dtype="float64")
    return pd.Series([None if v is None else str(v) for v in values], dtype="str")
