"""Logs of requests from anywhere: OpenAI-style usage, OpenTelemetry GenAI spans, any named columns.

A log says how long prompts and outputs were and when they were sent; what prompts share it says at
most by a session's name and by the tokens that its server found cached.
"""

import re
from collections.abc import Mapping
from typing import Any

from gcsim.errors import ProfileError, nearest
from gcsim.profiles.bounds import DELAY_S_MAX
from gcsim.traffic import ids
from gcsim.traffic.traces.fields import (
    clock_ns,
    delay,
    listed,
    text,
    tokens,
)
from gcsim.traffic.traces.row import BadLineError, Cells, Parsing, Record, Records, Row
from gcsim.traffic.traces.turns import turn_after

# What a column holds -> its names in the wild, inner keys behind a point; the first one counts.
# OpenAI chat completions and responses, Anthropic messages, batch results, OTel GenAI 1.27 to 1.41.
_USAGE = ("usage.", "response.usage.", "response.body.usage.", "gen_ai.usage.", "")
ALIASES = {
    "isl": (
        "isl",
        *(f"{at}{name}" for at in _USAGE for name in ("prompt_tokens", "input_tokens")),
        "input_length",
        "prompt_length",
        "llm.token_count.prompt",
    ),
    "osl": (
        "osl",
        *(f"{at}{name}" for at in _USAGE for name in ("completion_tokens", "output_tokens")),
        "output_length",
        "generated_tokens",
        "llm.token_count.completion",
    ),
    "cached": (
        *(f"{at}prompt_tokens_details.cached_tokens" for at in _USAGE),
        *(f"{at}input_tokens_details.cached_tokens" for at in _USAGE),
        *(f"{at}cache_read_input_tokens" for at in _USAGE),
        "gen_ai.usage.cache_read.input_tokens",
        "cached_tokens",
    ),
    "time": (
        "time",
        "timestamp",
        "startTimeUnixNano",
        "start_time_unix_nano",
        "start_time",
        "created",
        "created_at",
        "response.created",
        "response.created_at",
        "response.body.created",
    ),
    "end": ("endTimeUnixNano", "end_time_unix_nano", "end_time", "end", "completed_at"),
    "delay": ("delay", "delay_s", "delay_ms"),
    "session": ("session_id", "session", "conversation_id", "gen_ai.conversation.id", "session.id"),
    "model": (
        "model",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "request.model",
        "response.model",
        "response.body.model",
    ),
}
# Anthropic counts tokens that its cache wrote or read beside the input tokens, not among them.
_BESIDE = ("cache_read_input_tokens", "cache_creation_input_tokens")
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NAMED_UNIT = re.compile(r".*_(ms|us|ns|s)$")
SPAN_S_MAX = 1e8  # of a log: three years; a larger first time is a date, in Unix time
_DIGITS = re.compile(r"\d{1,20}", re.ASCII)


def roles(record: Record, columns: Mapping[str, str]) -> dict[str, str]:
    """The column that holds what: those that are named, then the first known name that is there.

    >>> roles({"usage.prompt_tokens": 5, "output_tokens": 3}, {})
    {'isl': 'usage.prompt_tokens', 'osl': 'output_tokens'}
    """
    found = {}
    for role, names in ALIASES.items():
        if role in columns:
            found[role] = _unit_of(columns[role])[0].removeprefix("attributes.")
        elif here := next((name for name in names if record.get(name) not in (None, "")), None):
            found[role] = here
    return found


def known(record: Record) -> set[str]:
    """What a record says, by the names of `ALIASES`; of a span everything, for others may."""
    if "resourceSpans" in record or _is_span(record):
        return {"isl", "osl"}
    try:
        flat = split(record)
    except BadLineError:
        return set()
    return {role for one in flat for role in roles(one, {})}


def check_columns(file: str, columns: Mapping[str, str]) -> None:
    """Raise for a name that says nothing of a request."""
    for role in columns:
        if role not in ALIASES:
            hint = nearest(role, ALIASES)
            raise ProfileError.one(file, f"columns.{role}", None, "no such column", hint)


def split(record: Record) -> list[Record]:
    """The requests of a line, each flat: inner keys behind a point, attributes without theirs.

    A line of OpenTelemetry's file exporter holds many spans.

    >>> split({"usage": {"prompt_tokens": 5}, "attributes": {"gen_ai.request.model": "m"}})
    [{'usage.prompt_tokens': 5, 'gen_ai.request.model': 'm'}]
    """
    if "resourceSpans" not in record:
        return [record if isinstance(record, Cells) else _flat(record)]
    return [
        _flat(span)
        for resource in listed(record, "resourceSpans")
        for scope in listed(resource, "scopeSpans", least=0)
        for span in listed(scope, "spans", least=0)
    ]


def _flat(record: Record) -> Record:
    found: dict[str, Any] = {}
    todo: list[tuple[str, Any]] = [("", record)]
    while todo:
        prefix, inner = todo.pop(0)
        for key, value in inner.items():
            if key == "attributes" and isinstance(value, list):
                value = {
                    text(one, "key") or "": _otlp(one.get("value"))
                    for one in listed(inner, key, least=0)
                }
            name = f"{prefix}{key}"
            if isinstance(value, dict):
                todo.append(("" if key == "attributes" else f"{name}.", value))
            elif name in found and found[name] != value:
                raise BadLineError(name, value, "comes twice")
            elif name.endswith("UnixNano") and isinstance(value, str):
                found[name] = int(value) if _DIGITS.fullmatch(value) else value
            else:
                found[name] = value
    return found


def _otlp(value: Any) -> Any:
    """A value as OpenTelemetry's JSON writes it: {"intValue": "12"}."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((kind, raw),) = value.items()
    if kind == "intValue" and isinstance(raw, str) and _DIGITS.fullmatch(raw):
        return int(raw)
    return raw if kind in ("intValue", "stringValue", "doubleValue", "boolValue") else None


def log(records: Records, parsing: Parsing) -> list[Row]:
    """A session of a log, or a request that stands alone; times as dates, or s from any start.

    A turn follows the answer before it: by its delay, or the time between that one's end (its
    start, where no end is logged) and its own start. Its prompt goes on where it is long enough to
    hold the last prompt and output; else with the tokens that were cached. Cached tokens of a first
    turn are a prefix that all share. A span without token counts is no request, and left out.
    """
    timed = []
    for line, record in records:
        column = roles(record, parsing.columns)
        if not {"isl", "osl"} & column.keys() and _is_span(record):
            parsing.skipped.other()
        else:
            timed.append((_times(line, record, column, parsing), line, record, column))
    if all(times[0] is not None for times, *_ in timed):
        timed.sort(key=lambda one: one[0][0] or 0)
    rows: list[Row] = []
    ended_ns: int | None = None
    for (start_ns, end_ns), line, record, column in timed:
        try:
            row = _row(rows, record, column)
            delay_s = _delay(record, column, parsing)
            if delay_s is None and rows and start_ns is not None and ended_ns is not None:
                delay_s = min(max(0, start_ns - ended_ns) / 1e9, DELAY_S_MAX)
            time_s = None if start_ns is None else (start_ns - (parsing.origin or 0)) / 1e9
            rows.append(row._replace(time_s=time_s, delay_s=delay_s or 0.0))
            ended_ns = start_ns if end_ns is None else end_ns
        except BadLineError as bad:
            bad.line = line
            raise
    return rows


def _is_span(record: Record) -> bool:
    return "spanId" in record or "span_id" in record or "context.span_id" in record


def _row(rows: list[Row], record: Record, column: Mapping[str, str]) -> Row:
    for role in ("isl", "osl"):
        if role not in column:
            hint = f"name its column: --columns {role}=NAME, workload.trace.columns"
            raise BadLineError(role, None, "is missing", hint)
    isl, osl = tokens(record, column["isl"]), tokens(record, column["osl"])
    cached = tokens(record, column["cached"]) if "cached" in column else 0
    usage = column["isl"].removesuffix("input_tokens")
    for name in _BESIDE if usage != column["isl"] else ():
        if record.get(usage + name) is not None:
            isl += tokens(record, usage + name)
    if cached > isl:
        raise BadLineError(column["cached"], cached, f"the prompt has only {isl}")
    model = text(record, column["model"]) if "model" in column else None
    return turn_after(rows, isl, cached, osl, ids.shared("log", "prefix"))._replace(model=model)


def _times(
    line: int, record: Record, column: Mapping[str, str], parsing: Parsing
) -> tuple[int | None, int | None]:
    """Start and end [ns]; where the first time of a log is a date, it is the origin."""
    found: list[int | None] = []
    try:
        for role in ("time", "end"):
            name = column.get(role, "")
            unit = _unit_of(parsing.columns.get(role, name))[1]
            found.append(clock_ns(record, name, unit) if name else None)
        start_ns, end_ns = found
        if start_ns is None:
            return None, end_ns
        if end_ns is not None and end_ns < start_ns:
            raise BadLineError(column["end"], record[column["end"]], "is before the start")
        if parsing.origin is None:
            parsing.origin = start_ns if start_ns > SPAN_S_MAX * 1e9 else 0
        if abs(start_ns - parsing.origin) > SPAN_S_MAX * 1e9:
            why = f"is more than {SPAN_S_MAX:g} s from the first time of the log"
            raise BadLineError(column["time"], record[column["time"]], why)
    except BadLineError as bad:
        bad.line = line
        raise
    return start_ns, end_ns


def _delay(record: Record, column: Mapping[str, str], parsing: Parsing) -> float | None:
    if "delay" not in column:
        return None
    unit = _unit_of(parsing.columns.get("delay", column["delay"]))[1]
    return delay(record, column["delay"], unit or 1)


def _unit_of(column: str) -> tuple[str, int | None]:
    """The name of a column and its unit, 1/s: `ts:ms`, or as its name says: `sent_ms`.

    >>> _unit_of("ts:ms"), _unit_of("sent_us"), _unit_of("created")
    (('ts', 1000), ('sent_us', 1000000), ('created', None))
    """
    name, _, unit = column.rpartition(":")
    if name and unit in _UNITS:
        return name, _UNITS[unit]
    said = _NAMED_UNIT.fullmatch(column)
    return column, _UNITS[said[1]] if said else None
