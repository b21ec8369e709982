"""All trace formats, how each is known, and the reading of a file's rows.

A new format is one function (`requests.py`, `sessions.py`) and one line in `FORMATS`.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gcsim.errors import Problem, ProfileError, nearest
from gcsim.traffic.traces import requests
from gcsim.traffic.traces.files import numbered_lines
from gcsim.traffic.traces.row import BadLine, Context, Format, Record, Row, Skipped

FORMATS = {
    "mooncake": Format(
        "jsonl",
        frozenset({"input_length", "output_length"}),
        requests.mooncake,
        "Mooncake JSONL: one request a line, hashes of 512-token blocks",
        512,
    ),
}


def read(
    path: Path,
    name: str | None = None,
    block_tokens: int | None = None,
    skipped: Skipped | None = None,
) -> Iterator[list[Row]]:
    """The requests of a trace, session by session where a record holds one, else one by one.

    name: a key of `FORMATS`; None detects it. Memory: one record at a time.
    Errors: `ProfileError` with the line, for the first bad line; `skipped` may allow and count them.
    """
    skipped = skipped or Skipped()
    lines = numbered_lines(path, skipped)
    first = next(lines, None)
    if first is None:
        raise ProfileError.one(str(path), "", None, "is empty")
    header = _cells(first[1]) if first[1][:1] not in "{[" else None
    name = name or detect(str(path), first[1])
    form = FORMATS[name]
    context = Context(block_tokens=block_tokens or form.block_tokens)
    if form.kind == "csv":
        _check_header(str(path), header, form)
    else:
        lines = _chain(first, lines)
    last_s = 0.0
    for number, text in lines:
        context.line = number
        try:
            rows = form.parse(_record(text, header if form.kind == "csv" else None), context)
            last_s = _in_order(rows, last_s)
        except BadLine as bad:
            skipped.add(Problem(str(path), bad.field, bad.value, bad.why, bad.hint, number))
            continue
        yield rows


def _in_order(rows: list[Row], last_s: float) -> float:
    for row in rows:
        if row.time_s is not None and row.main:
            if row.time_s < last_s and len(rows) == 1:
                why = f"the time goes back: {row.time_s:g} s after {last_s:g} s"
                raise BadLine("time", row.time_s, why, "sort the file by time")
            last_s = row.time_s
    return last_s


def detect(file: str, first: str) -> str:
    """The name of the format whose keys the first line of a file holds.

    >>> detect("x", '{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]}')
    'mooncake'
    """
    kind = "jsonl" if first[:1] in "{[" else "csv"
    try:
        keys = _record(first, None).keys() if kind == "jsonl" else set(_cells(first))
    except BadLine as bad:
        raise ProfileError.one(file, "", bad.value, bad.why, bad.hint, 1) from bad
    for name, form in FORMATS.items():
        if form.kind == kind and form.needs <= keys:
            return name
    known = "; ".join(f"{name}: {', '.join(sorted(f.needs))}" for name, f in FORMATS.items())
    raise ProfileError.one(
        file, "", ",".join(keys), "is no trace format that gcsim knows", f"known by keys: {known}", 1
    )


def _check_header(file: str, header: list[str] | None, form: Format) -> None:
    missing = sorted(form.needs - set(header or ()))
    if missing:
        hint = nearest(missing[0], header or ())
        raise ProfileError.one(file, missing[0], None, "the column is missing", hint, 1)


def _record(text: str, header: list[str] | None) -> Record:
    if header is not None:
        cells = _cells(text)
        if len(cells) != len(header):
            why = f"has {len(cells)} columns, the header has {len(header)}"
            raise BadLine("", None, why)
        return dict(zip(header, cells, strict=True))
    try:
        record: Any = json.loads(text)
    except ValueError as error:
        raise BadLine("", None, f"is not JSON: {error}") from None
    except RecursionError:
        raise BadLine("", None, "is nested too deeply") from None
    if not isinstance(record, dict):
        raise BadLine("", None, "is not a JSON object")
    return record


def _cells(text: str) -> list[str]:
    cells = next(csv.reader([text])) if '"' in text else text.split(",")
    return [cell.strip() for cell in cells]


def _chain(first: tuple[int, str], rest: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from rest
