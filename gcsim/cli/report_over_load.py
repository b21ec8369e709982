"""What a report says of a saved plan over load: `gcsim plan --load ... --format json`."""

from collections.abc import Iterator
from typing import Any

from gcsim.cli.page import folded, listed, picture, sorted_table
from gcsim.cli.sources import Saved
from gcsim.results.text import three

FAMILIES = (
    "load",
    "family",
    "deployment",
    "chips",
    "power_w",
    "usd_per_hour",
    "usd_per_hour_slow",
    "usd_per_hour_fast",
    "load_per_chip",
    "load_per_kw",
    "load_per_usd_per_hour",
    "p95_ttft_ms",
    "p95_tpot_ms",
    "binds",
)
ENDS = ("usd_per_hour", "usd_per_hour_slow", "usd_per_hour_fast")


def question(found: Saved) -> str:
    """What was planned for."""
    loads = ", ".join(f"{load:g}" for load in found["loads"])
    what = f"{found['scenario']} with {found['model']}"
    return f"Which chips serve {loads} {_unit(found)} of {what} cheapest?"


def answer(found: Saved) -> str:
    """The cheapest family at each load, and whom it is not decided against."""
    parts = []
    for load in found["loads"]:
        rows = _served(found, load)
        if not rows:
            parts.append(f"{load:g}: nothing that was tried serves it")
            continue
        first, *others = rows
        text = f"{load:g}: {first['family']} ({_span(first)})"
        rivals = [row["family"] for row in others if _ends(row)[0] < _ends(first)[1]]
        parts.append(f"{text}, not decided against {', '.join(rivals)}" if rivals else text)
    return f"By {_unit(found)}, within {', '.join(found['slo'])}: {'; '.join(parts)}."


def sections(found: Saved) -> Iterator[str]:
    """The picture of rents, every family at every load, what is left open, how it was asked."""
    from gcsim.plots import costs
    from gcsim.plots.style import plain_names

    yield "<h2>Rent against load</h2>"
    if any(row.get("deployment") for row in found["families"]):
        text = "Rent of the best of each family against load; bands: assumed values at their ends"
        with plain_names():
            drawn = picture(costs(found), f"costs {found['scenario']}", text)
        yield folded(text, drawn, is_open=True, printed=True)
    yield "<h2>The best of each family at each load</h2>"
    rows = ([row.get(key) for key in FAMILIES] for row in found["families"])
    yield sorted_table(FAMILIES, rows, "families over load", rounded=True)
    yield "<h2>What could overturn it</h2>"
    yield listed(_open(found))
    yield "<h2>How it was asked</h2>"
    asked: list[list[Any]] = [["slo", ", ".join(map(str, found["slo"]))]]
    asked += [[key, found[key]] for key in ("minimize", "runs", "version")]
    yield sorted_table(["", "value"], asked, "the question over load")


def _open(found: Saved) -> Iterator[str]:
    """Where ranges overlap the order hangs on values that nobody publishes."""
    for load in found["loads"]:
        rows = _served(found, load)
        if not rows:
            continue
        first, *others = rows
        rivals = [row for row in others if _ends(row)[0] < _ends(first)[1]]
        for row in rivals:
            ranges = f"{row['family']} {_span(row)}, {first['family']} {_span(first)}"
            yield f"At {load:g} {_unit(found)} the ranges overlap: {ranges}."
        if not rivals:
            yield f"At {load:g} {_unit(found)} {first['family']} costs least within all ranges."


def _served(found: Saved, load: float) -> list[dict[str, Any]]:
    """The families that serve a load, the cheapest first."""
    rows = (row for row in found["families"] if row.get("load") == load and row.get("deployment"))
    return sorted(rows, key=lambda row: float(row["usd_per_hour"]))


def _ends(row: dict[str, Any]) -> tuple[float, float]:
    known = [float(row[key]) for key in ENDS if row.get(key) is not None]
    return min(known), max(known)


def _span(row: dict[str, Any]) -> str:
    low, high = _ends(row)
    value = f"{three(float(row['usd_per_hour']))} USD/h"
    return value if low == high else f"{value}, range {three(low)} to {three(high)}"


def _unit(found: Saved) -> str:
    return "agents" if found["load_kind"] == "agents" else "tasks per second"
