"""Validation as text: a table for the terminal, a page in HTML, the documents in Markdown."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

METRICS = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E", "throughput": "throughput"}
HEADS = ("group", "metric", "points", "median", "p90", "worst", "bias")


def table_rows(result: Mapping[str, Any], keys: Sequence[str] = ("chip",)) -> list[tuple[str, ...]]:
    """Cells of the error table: all points, then the groups by some keys.

    >>> entry = {"n": 2, "median_ape": 0.05, "p90_ape": 0.1, "worst_ape": 0.2, "bias": -0.01}
    >>> table_rows({"overall": {"tpot": entry}, "groups": []})
    [('all', 'TPOT', '2', '5.0%', '10.0%', '20.0%', '-1.0%')]
    """
    rows = [("all", *_cells(metric, entry)) for metric, entry in result["overall"].items()]
    for group in result["groups"]:
        label = next(((k, v) for k, v in group["by"].items() if k in keys), None)
        if label is not None:
            rows.append((str(label[1]), *_cells(group["by"]["metric"], group)))
    return rows


def _cells(metric: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    shares = [f"{entry[k]:.1%}" for k in ("median_ape", "p90_ape", "worst_ape")]
    return (METRICS[metric], str(entry["n"]), *shares, f"{entry['bias']:+.1%}")


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table with aligned columns.

    >>> print(text_table(("a", "b"), [("x", "10")]))
    a   b
    x  10
    """
    lines = [tuple(heads), *map(tuple, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


PAIR_HEADS = ("differ in", "metric", "pairs", "over 10%", "right", "ratio: median", "p90")
EXCEPTION_HEADS = ("differ in", "metric", "model", "source", "wrong", "the worst: ratio", "why")


def pair_rows(pairs: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Cells of the table of rankings: pairs, those that differ by over 10%, right signs of these.

    >>> kind = {"kind": "chip", "metric": "tpot", "n": 3, "right": 1.0, "clear": 2}
    >>> kind |= {"clear_right": 0.5, "median_error": 0.04, "p90_error": 0.1}
    >>> pair_rows({"kinds": [kind]})
    [('chip', 'TPOT', '3', '2', '50.0%', '4.0%', '10.0%')]
    """
    return [
        (
            k["kind"],
            METRICS[k["metric"]],
            f"{k['n']:,}",
            f"{k['clear']:,}",
            "" if k["clear_right"] is None else f"{k['clear_right']:.1%}",
            f"{k['median_error']:.1%}",
            f"{k['p90_error']:.1%}",
        )
        for k in pairs["kinds"]
    ]


def exception_rows(pairs: Mapping[str, Any], most: int | None = None) -> list[tuple[str, ...]]:
    """Cells of the table of wrong signs, the most frequent first."""
    return [
        (
            e["kind"] + (f": {e['of']}" if e["of"] else ""),
            METRICS[e["metric"]],
            e["model"],
            e["source"],
            f"{e['wrong']} of {e['clear']}",
            f"{e['worst'][0]}/{e['worst'][1]} {e['published']:.2f}, modeled {e['modeled']:.2f}",
            e["why"],
        )
        for e in pairs["exceptions"][:most]
    ]


def pairs_text(pairs: Mapping[str, Any]) -> str:
    """Rankings for a terminal: the table, then where signs are wrong."""
    parts = [text_table(PAIR_HEADS, pair_rows(pairs))]
    if pairs["exceptions"]:
        parts.append("Wrong signs:\n" + text_table(EXCEPTION_HEADS, exception_rows(pairs)))
    return "\n\n".join(parts)


def validation_text(result: Mapping[str, Any]) -> str:
    """The whole result for a terminal."""
    parts = [text_table(HEADS, table_rows(result, ("chip", "model")))]
    if result["skipped"]:
        parts.append("Skipped:\n" + "\n".join(f"  {n:5d}  {r}" for r, n in _skips(result)))
    return "\n\n".join(parts)


def _skips(result: Mapping[str, Any]) -> list[tuple[str, int]]:
    return sorted(result["skipped"].items(), key=lambda item: -item[1])


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def html_report(result: Mapping[str, Any]) -> str:
    """A page that needs nothing else: the error tables and every point."""
    points = [
        (
            p["id"],
            p["chip"],
            p["model"],
            METRICS[p["metric"]],
            f"{p['published']:.4g}",
            f"{p['modeled']:.4g}",
            f"{p['ape']:.1%}",
        )
        for p in sorted(result["points"], key=lambda p: -p["ape"])
    ]
    heads = ("id", "chip", "model", "metric", "published", "modeled", "error")
    skips = [(reason, str(n)) for reason, n in _skips(result)]
    style = (
        "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}"
        "td,th{padding:2px 10px;border-bottom:1px solid #ddd;text-align:right}"
        "td:first-child,th:first-child{text-align:left}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>gcsim validate</title>'
        f"<style>{style}</style><h1>gcsim against published measurements</h1>"
        + _html_table(HEADS, table_rows(result, ("chip", "model", "stack", "kind")))
        + "<h2>Skipped</h2>"
        + _html_table(("reason", "points"), skips)
        + "<h2>Every point, the worst first (ms; tokens/s)</h2>"
        + _html_table(heads, points)
        + "</html>\n"
    )


def _html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def claims_rows(ledger: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Cells of the claims ledger: claim, claimed, modeled, range, verdict, scenario."""
    return [
        (
            f"{c['claim']} ({c['source']})",
            f"{figure(c['claimed'])} {c['unit']}",
            figure(c["modeled"]),
            f"{figure(c['low'])} to {figure(c['high'])}",
            c["verdict"] + (f": {c['condition']}" if c["condition"] else ""),
            claim_scenario(c),
        )
        for c in ledger
    ]


def figure(value: float) -> str:
    """A number of the ledger, in plain notation.

    >>> figure(0.14271), figure(738), figure(15163.2)
    ('0.1427', '738', '15,163')
    """
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:,.4g}"


def claim_scenario(claim: Mapping[str, Any]) -> str:
    """What `gcsim run` needs for the modeled value of a claim."""
    settings = (f"{key}={value}" for key, value in claim.get("settings", {}).items())
    return " --set ".join((claim["scenario"], *settings))


CLAIM_HEADS = ("claim", "claimed", "modeled", "range", "verdict", "scenario")
