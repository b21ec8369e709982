"""Pairs of published points that differ in one thing: does the model know which is better?

A ranking is what a comparison of deployments sells. Errors that two points share (a source's
clients, its lengths, its software) fall out of their ratio; what stays is the difference itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, log
from typing import Any

import numpy as np

from gcsim.calibration.points import METRICS

# What two points may differ in; all of a row's other settings must be the same.
KINDS = ("chip", "degree", "precision", "stack", "concurrency")
SAME = ("metric", "model", "source", "release", "load")  # what no pair may differ in ...
CLEAR = 0.10  # a difference above it should be seen with the right sign
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows of one metric that differ in `kind` alone.

    a, b: the rows, a of the larger published value; published, modeled: log(a / b).
    """

    kind: str
    a: Row
    b: Row

    @property
    def published(self) -> float:
        """log(a / b) as measured: not negative."""
        return log(self.a["published"] / self.b["published"])

    @property
    def modeled(self) -> float:
        """log(a / b) in the model."""
        return log(self.a["modeled"] / self.b["modeled"])

    @property
    def cell(self) -> tuple[str, str, str, str, str]:
        """What it is an instance of: kind, metric, model, source, what is compared with what."""
        of = " and ".join(sorted(str(row[self.kind]) for row in (self.a, self.b)))
        of = "" if self.kind == "concurrency" else of
        return self.kind, self.a["metric"], self.a["model"], self.a["source"], of

    @property
    def clear(self) -> bool:
        """Whether the published difference exceeds `CLEAR`."""
        return self.published > log(1.0 + CLEAR)

    @property
    def right(self) -> bool:
        """Whether the model has the sign of the published difference; no difference is wrong."""
        return self.modeled > 0.0

    @property
    def error(self) -> float:
        """By which factor, less 1, the modeled ratio is off, either way."""
        return exp(abs(self.modeled - self.published)) - 1.0


def pairs_of(rows: Sequence[Row]) -> list[Pair]:
    """All pairs among compared rows (`gcsim.calibration.validate`) that differ in one thing.

    >>> row = dict.fromkeys((*SAME, *KINDS), 1) | {"id": "A", "published": 10.0, "modeled": 11.0}
    >>> faster = row | {"id": "B", "degree": 2, "published": 6.0, "modeled": 9.0}
    >>> [pair] = pairs_of([row, faster])
    >>> pair.kind, pair.a["id"], pair.right, round(pair.error, 2)
    ('degree', 'A', True, 0.36)
    """
    return [
        Pair(kind, *sorted((first, second), key=lambda row: -row["published"]))
        for kind in KINDS
        for alike in _groups(rows, kind)
        for first, second in combinations(alike, 2)
        if first[kind] != second[kind]
    ]


def _groups(rows: Sequence[Row], kind: str) -> Iterator[list[Row]]:
    """Rows that agree in all but `kind`; two stacks have two releases."""
    same = [k for k in (*SAME, *KINDS) if k not in (kind, "release" if kind == "stack" else "")]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row[k] for k in same)
        groups.setdefault(key, []).append(row)
    yield from groups.values()


def signs(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Of some pairs: count, those of a clear difference, share of right signs, errors of the ratio.

    `right`: of all pairs; `clear_right`: of those whose published difference exceeds `CLEAR`, None
    without any; `median_error`, `p90_error`: of the ratio.
    """
    clear = [pair.right for pair in pairs if pair.clear]
    errors = np.array([pair.error for pair in pairs])
    return {
        "n": len(pairs),
        "right": float(np.mean([pair.right for pair in pairs])),
        "clear": len(clear),
        "clear_right": float(np.mean(clear)) if clear else None,
        "median_error": float(np.median(errors)),
        "p90_error": float(np.quantile(errors, 0.9)),
    }


# Why clear differences have the wrong sign, as far as the sources let one tell, by what stands in
# "kind metric source what"; the first that fits counts.
REASONS = (
    (r" (DSO|DSF|DSL|ART) ", "first months of a model's support on a stack"),
    (r" ARG ", "static batches on software of 2024"),
    (r" IXS ", "the source calls these runs experimental and warns of errors"),
    (r"^stack", "two stacks are of two releases: months of software move one as far"),
    (r"groups", "how the source spread tokens over data-parallel ranks is not stated"),
    (r"^concurrency ttft AIC", "the first requests of a run are slow, and few clients have few"),
    (r" ttft ", "a mean over few requests after a cold start: repeats differ by 24% (p90)"),
)


def ranking(rows: Sequence[Row]) -> dict[str, Any]:
    """What `gcsim validate` says of pairs: `kinds` (kind and metric) and `exceptions`.

    Exceptions are clear differences with the wrong sign, together where kind, model, source, metric
    and what is compared are the same: `wrong` of `clear`, and the largest of them.
    """
    pairs = pairs_of(rows)
    kinds = [
        {"kind": kind, "metric": metric, **signs(chosen)}
        for kind in KINDS
        for metric in METRICS
        if (chosen := [p for p in pairs if p.kind == kind and p.a["metric"] == metric])
    ]
    return {"kinds": kinds, "exceptions": _exceptions(pairs)}


def _exceptions(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    cells: dict[tuple[str, ...], list[Pair]] = {}
    for pair in pairs:
        if pair.clear:
            cells.setdefault(pair.cell, []).append(pair)
    found: list[dict[str, Any]] = []
    for (kind, metric, model, source, of), clear in cells.items():
        wrong = [pair for pair in clear if not pair.right]
        if not wrong:
            continue
        worst = max(wrong, key=lambda pair: pair.error)
        cell = {"kind": kind, "metric": metric, "model": model, "source": source, "of": of}
        counts = {"wrong": len(wrong), "clear": len(clear)}
        ids = {"worst": [worst.a["id"], worst.b["id"]]}
        ratios = {"published": exp(worst.published), "modeled": exp(worst.modeled)}
        why = {"why": reason_of(f"{kind} {metric} {source} {of}")}
        found.append({**cell, **counts, **ids, **ratios, **why})
    return sorted(found, key=lambda cell: -int(cell["wrong"]))


def reason_of(cell: str) -> str:
    """Why a cell of pairs has wrong signs.

    >>> reason_of("degree tpot AIC TP2 and TP4")
    'not explained by its source'
    """
    found = (why for sign, why in REASONS if re.search(sign, cell))
    return next(found, "not explained by its source")
