"""Records of a trace, session by session: those of one session may stand apart in the file."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from gcsim.traffic.traces import fields
from gcsim.traffic.traces.files import Line
from gcsim.traffic.traces.row import BadLineError, Cells, Record, Records, TraceFormat

Report = Callable[[BadLineError, int], None]  # what is wrong with a line: raises, or counts it


def last_lines(
    lines: Iterable[Line], form: TraceFormat, header: list[str] | None
) -> dict[str, int]:
    """For every session of a file the number of its last line: when it is whole, in one pass."""
    if header is not None:
        return _last_of_csv(lines, [header.index(key) for key in form.session if key in header])
    key = rf'"(?:{"|".join(form.session)})"\s*:\s*'
    pattern = re.compile(key + r'("(?:[^"\\]|\\.)*"|-?\d+)')
    last: dict[str, int] = {}
    names = [f'"{key}"' for key in form.session]
    for number, text in lines:
        times = sum(map(text.count, names))
        found = pattern.search(text) if times == 1 else None
        if found and "\\" not in found[1]:
            last[found[1].strip('"')] = number
        elif times or "\\u" in text:  # which of them is the record's own?
            try:
                own = session_name(record(text, None), form)
            except BadLineError:
                continue
            if own is not None:
                last[own] = number
    return last


def _last_of_csv(lines: Iterable[Line], columns: list[int]) -> dict[str, int]:
    last = {}
    for number, text in lines:
        try:
            row = cells(text)
        except BadLineError:
            continue
        if number > 1 and len(row) > max(columns):
            last[next(filter(None, (row[column] for column in columns)), "")] = number
    return last


def session_name(record: Record, form: TraceFormat) -> str | None:
    """The session of a record under the first key of `form.session` that has one."""
    for key in form.session:
        if found := fields.name(record, key):
            return found
    return None


def last_records(records: Iterable[tuple[int, Record]], form: TraceFormat) -> dict[str, int]:
    """As `last_lines`, of records."""
    last: dict[str, int] = {}
    for number, record in records:
        try:
            name = session_name(record, form)
        except BadLineError:
            continue
        if name is not None:
            last[name] = number
    return last


def sessions(
    records: Iterable[tuple[int, Record]],
    form: TraceFormat,
    last: dict[str, int] | None,
    report: Report,
) -> Iterator[Records]:
    """Sessions in the order of their first lines, each as soon as its last line is read.

    last: the last line of every session; None: not known, so that they come when all is read.
    Memory: the sessions that are open, those that wait for an earlier one to end, and the names.
    """
    waiting: dict[str | int, Records] = {}
    for place, (number, record) in enumerate(records):
        try:
            name = session_name(record, form)
            if name is not None and last is not None and last.setdefault(name, number) < number:
                raise BadLineError(form.session[0], name, "the session has ended before this line")
        except BadLineError as bad:
            report(bad, number)
            continue
        waiting.setdefault(place if name is None else name, []).append((number, record))
        while waiting and last is not None:
            first = next(iter(waiting))
            if isinstance(first, str) and last[first] > number:
                break
            yield waiting.pop(first)
    yield from waiting.values()


def records(
    lines: Iterable[Line], header: list[str] | None, report: Report
) -> Iterator[tuple[int, Record]]:
    """(line, record) of every line that is one."""
    for number, text in lines:
        try:
            yield number, record(text, header)
        except BadLineError as bad:
            report(bad, number)


def split(
    records: Iterable[tuple[int, Record]], form: TraceFormat, report: Report
) -> Iterator[tuple[int, Record]]:
    """The records of lines that may hold several; flat, as `form.split` makes them."""
    assert form.split is not None
    for number, line in records:
        try:
            for one in form.split(line):
                yield number, one
        except BadLineError as bad:
            report(bad, number)


def record(text: str, header: list[str] | None) -> Record:
    """A line as a mapping: JSON, or cells under a header.

    >>> record('{"a": NaN}', None)
    Traceback (most recent call last):
    ...
    gcsim.traffic.traces.row.BadLineError: is not JSON: NaN is no number
    """
    if header is not None:
        found = cells(text)
        if len(found) != len(header):
            why = f"has {len(found)} columns, the header has {len(header)}"
            raise BadLineError("", None, why, "is the line cut?")
        return Cells(zip(header, found, strict=True))
    try:
        parsed: Any = _JSON.decode(text)
        if "\\ud" in text or "\\uD" in text:  # half a character, which no file can hold
            json.dumps(parsed, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        why = f"is not JSON: {error.msg} in column {error.pos + 1}"
        raise BadLineError("", None, why, "is the line cut?") from None
    except UnicodeEncodeError:
        raise BadLineError("", None, "is not JSON: half a character (a lone surrogate)") from None
    except ValueError as error:
        raise BadLineError("", None, f"is not JSON: {error}") from None
    except RecursionError:
        raise BadLineError("", None, "is nested too deeply") from None
    if not isinstance(parsed, dict):
        raise BadLineError("", None, "is not a JSON object")
    return parsed


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


_JSON = json.JSONDecoder(parse_constant=_no_number)


def cells(text: str) -> list[str]:
    """The cells of a CSV line."""
    if '"' not in text:
        return [cell.strip() for cell in text.split(",")]
    try:
        return [cell.strip() for cell in next(csv.reader([text], strict=True))]
    except (csv.Error, StopIteration) as error:
        raise BadLineError("", None, f"is not CSV: {error}", "is the line cut?") from None
