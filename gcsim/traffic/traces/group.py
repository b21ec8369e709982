"""Records of a trace, session by session: those of one session may stand apart in the file."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from gcsim.errors import Problem
from gcsim.traffic.traces.files import Line
from gcsim.traffic.traces.row import BadLineError, Format, Record, Records, Skipped


def last_lines(lines: Iterable[Line], form: Format, header: list[str] | None) -> dict[str, int]:
    """For every session of a file the number of its last line: when it is whole, in one pass."""
    if header is not None:
        column = next(header.index(key) for key in form.session if key in header)
        return {
            row[column]: number
            for number, text in lines
            if len(row := cells(text)) > column and number > 1
        }
    pattern = re.compile(rf'"(?:{"|".join(form.session)})"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+)')
    return {
        str(json.loads(found[1])): number
        for number, text in lines
        if (found := pattern.search(text)) is not None
    }


def sessions(
    records: Iterable[tuple[int, Record]], form: Format, last: dict[str, int]
) -> Iterator[Records]:
    """Sessions in the order of their first lines, each as soon as its last line is read.

    Memory: the sessions that are open, and those that wait for an earlier one to end.
    """
    waiting: dict[Any, Records] = {}
    for number, record in records:
        name = next((record[key] for key in form.session if record.get(key) is not None), None)
        key = ("alone", number) if name is None else str(name)
        waiting.setdefault(key, []).append((number, record))
        while waiting:
            first = next(iter(waiting))
            if not isinstance(first, tuple) and last.get(first, 0) > number:
                break
            yield waiting.pop(first)
    yield from waiting.values()


def records(
    lines: Iterable[Line], header: list[str] | None, file: str, skipped: Skipped
) -> Iterator[tuple[int, Record]]:
    """(line, record) of every line that is one."""
    for number, text in lines:
        try:
            yield number, record(text, header)
        except BadLineError as bad:
            skipped.add(Problem(file, bad.field, bad.value, bad.why, bad.hint, number))


def record(text: str, header: list[str] | None) -> Record:
    """A line as a mapping: JSON, or cells under a header."""
    if header is not None:
        found = cells(text)
        if len(found) != len(header):
            why = f"has {len(found)} columns, the header has {len(header)}"
            raise BadLineError("", None, why, "is the line cut?")
        return dict(zip(header, found, strict=True))
    try:
        parsed: Any = json.loads(text)
    except ValueError as error:
        raise BadLineError("", None, f"is not JSON: {error}", "is the line cut?") from None
    except RecursionError:
        raise BadLineError("", None, "is nested too deeply") from None
    if not isinstance(parsed, dict):
        raise BadLineError("", None, "is not a JSON object")
    return parsed


def cells(text: str) -> list[str]:
    """The cells of a CSV line."""
    found = next(csv.reader([text])) if '"' in text else text.split(",")
    return [cell.strip() for cell in found]
