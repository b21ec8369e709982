"""All trace formats, how each is known, and the reading of a file.

A new format is one function (`requests.py`, `sessions.py`) and one line in `FORMATS`.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from gcsim.errors import ProfileError, nearest
from gcsim.profiles.bounds import STEPS_MAX, TOKENS_MAX
from gcsim.traffic.traces import by_session, logs, parquet, requests, sessions
from gcsim.traffic.traces.files import Line, members, numbered_lines, whole_json
from gcsim.traffic.traces.row import (
    USUAL,
    BadLineError,
    Cells,
    Options,
    Parsing,
    Record,
    Row,
    Skipped,
    TraceFormat,
)
from gcsim.traffic.traces.weka import weka

NATIVE = "gcsim"  # trajectories as they are: `native.py`

Report = Callable[..., None]  # (what is wrong, line, how many lines): raises, or counts them

# The first one whose keys are there is taken: special ones before general ones.
FORMATS = {
    "weka": TraceFormat(
        "jsonl", frozenset({"requests", "block_size"}), weka, "Weka coding sessions"
    ),
    "aiperf": TraceFormat(
        "jsonl", frozenset({"turns"}), sessions.aiperf, "AIPerf multi_turn JSONL", ("session_id",)
    ),
    "tracelab": TraceFormat(
        "jsonl",
        frozenset({"session_id", "input_tokens_total", "prefix_tokens", "timing_events"}),
        sessions.tracelab,
        "TraceLab round_trace JSONL",
        ("session_id",),
    ),
    "bailian": TraceFormat(
        "jsonl",
        frozenset({"chat_id", "parent_chat_id", "input_length", "output_length"}),
        requests.bailian,
        "Bailian (Qwen) JSONL",
        block_tokens=16,
    ),
    "mooncake": TraceFormat(
        "jsonl",
        frozenset({"input_length", "output_length"}),
        sessions.mooncake,
        "Mooncake JSONL, also with session_id and delay",
        ("session_id",),
        512,
    ),
    "azure": TraceFormat(
        "csv",
        frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}),
        requests.azure,
        "Azure LLM inference 2023 and 2024 CSV",
    ),
    "burstgpt": TraceFormat(
        "csv",
        frozenset({"Timestamp", "Request tokens", "Response tokens"}),
        requests.burstgpt,
        "BurstGPT CSV, with and without Session ID",
    ),
    "splitwise": TraceFormat(
        "csv",
        frozenset({"arrival_timestamp", "prompt_size", "token_size"}),
        requests.splitwise,
        "Splitwise CSV",
    ),
    "tracelab_csv": TraceFormat(
        "csv",
        frozenset({"round_idx", "prefix_len", "input_len", "output_len"}),
        sessions.tracelab_csv,
        "TraceLab replay CSV",
        ("session_id", "id"),
    ),
    "vidur": TraceFormat(
        "csv",
        frozenset({"num_prefill_tokens", "num_decode_tokens"}),
        requests.vidur,
        "Vidur CSV, with arrived_at or lengths only",
    ),
    "log": TraceFormat(
        "any",
        frozenset({"isl", "osl"}),
        logs.log,
        "a log: OpenAI-style usage, OpenTelemetry GenAI spans, named columns",
        logs.ALIASES["session"],
        split=logs.split,
    ),
}
_ALIASES = {"input_tokens": "input_length", "output_tokens": "output_length"}


def read(
    path: Path, options: Options = USUAL, skipped: Skipped | None = None
) -> Iterator[list[Row]]:
    """The requests of a trace, session by session, in the order in which they start.

    path: a file, or a folder whose files are read one after the other (Weka: a file a session)
    options: the format is detected where it is None. Memory: the sessions that are open.
    Errors: `ProfileError` with the line of the first bad one; `skipped` may allow and count them.
    """
    skipped = skipped or Skipped()
    for file in members(path):
        yield from _read(file, options, skipped)


def _read(path: Path, options: Options, skipped: Skipped) -> Iterator[list[Row]]:
    def report(bad: BadLineError, line: int, lines: int = 1) -> None:
        skipped.add(bad.at(str(path), line), lines)

    form, records, last = _opened(path, options, skipped, report)
    parsing = Parsing(options.block_tokens or form.block_tokens, options.columns, skipped=skipped)

    def parsed() -> Iterator[tuple[int, list[Row]]]:
        for session in by_session.sessions(records, form, last, report):
            try:
                rows = _checked(form.parse(session, parsing))
            except BadLineError as bad:
                report(bad, session[0][0], len(session))
                continue
            if rows:
                yield session[0][0], rows

    last_s = 0.0
    for line, rows in parsed() if form.split is None else _sorted(list(parsed()), report):
        try:
            last_s = _in_order(rows[0], last_s)
        except BadLineError as bad:
            report(bad, line, len(rows))
            continue
        yield rows


def _opened(
    path: Path, options: Options, skipped: Skipped, report: Report
) -> tuple[TraceFormat, Iterator[tuple[int, Record]], dict[str, int] | None]:
    """The format of a file, its records, and the last line of every session of them."""
    file, last = str(path), None
    logs.check_columns(file, options.columns)
    name = options.format or ("log" if options.columns else None)
    if parquet.is_parquet(path):
        form = FORMATS[_known(file, name or detect_parquet(path))]
        if form.split is None:
            last = by_session.last_records(parquet.records(path), form) if form.session else {}
        records = parquet.records(path)
    else:
        lines, first = first_line(path, skipped, options)
        form = FORMATS[_known(file, name or detect(file, first))]
        header = _header(file, first, form)
        if form.split is None:
            again = numbered_lines(path, Skipped(True), options)
            last = by_session.last_lines(again, form, header) if form.session else {}
        body = lines if header is not None else chain([first], lines)
        records = by_session.records(body, header, report)
    if options.columns and form.split is None:
        raise ProfileError.one(file, "columns", dict(options.columns), "only a log has them")
    if form.split is not None:
        records = by_session.split(records, form, report)
        if "session" in options.columns:
            form = replace(form, session=(options.columns["session"].removeprefix("attributes."),))
    return form, records, last


def _sorted(
    sessions: list[tuple[int, list[Row]]], report: Report
) -> Iterator[tuple[int, list[Row]]]:
    """Sessions by their starts; the first is at 0 s where an earlier line set another origin."""
    times = [rows[0].time_s for _, rows in sessions]
    known = [time_s for time_s in times if time_s is not None]
    if not known:
        yield from sessions
        return
    early_s = min(0.0, min(known))
    for line, rows in sorted(sessions, key=lambda one: one[1][0].time_s or 0.0):
        if rows[0].time_s is None:
            report(BadLineError("time", None, "is missing, and others have it"), line)
            continue
        yield line, [row._replace(time_s=(row.time_s or 0.0) - early_s) for row in rows]


def _checked(rows: list[Row]) -> list[Row]:
    """The rows of a session: what is summed over its turns stays within bounds too."""
    if len(rows) > STEPS_MAX:
        raise BadLineError("", f"{len(rows)} requests", f"no session has more than {STEPS_MAX}")
    for row in rows:
        if row.isl > TOKENS_MAX:
            why = f"the context grows beyond {TOKENS_MAX} tokens"
            raise BadLineError("", row.isl, why)
    return rows


def first_line(path: Path, skipped: Skipped, options: Options) -> tuple[Iterator[Line], Line]:
    """The lines of a trace after its first, and the first (all of a file that is one object)."""
    lines = numbered_lines(path, skipped, options)
    first = next(lines, None)
    if first is None:
        raise ProfileError.one(str(path), "", None, "the trace is empty")
    if first[1] in ("{", "[") and (text := whole_json(path, options)):
        return iter(()), (1, text)
    return lines, first


def _in_order(row: Row, last_s: float) -> float:
    if row.time_s is None:
        return last_s
    if row.time_s < last_s:
        why = f"the time goes back: {row.time_s:.9g} s after {last_s:.9g} s"
        raise BadLineError("time", None, why, "sort the file by time")
    return row.time_s


def _known(file: str, name: str) -> str:
    if name not in FORMATS:
        raise ProfileError.one(
            file, "format", name, "no trace format of this name", nearest(name, [*FORMATS, NATIVE])
        )
    return name


def detect(file: str, first: Line) -> str:
    """The name of the format whose keys the first line of a file holds.

    >>> detect("x", (1, "TIMESTAMP,ContextTokens,GeneratedTokens"))
    'azure'
    """
    number, text = first
    kind = _kind(text)
    try:
        if kind == "jsonl":
            found = by_session.record(text, None)
        else:
            found = Cells.fromkeys(by_session.cells(text), "?")
    except BadLineError as bad:
        raise ProfileError([bad.at(file, number)]) from bad
    return _detect(file, number, found, kind)


def detect_parquet(path: Path) -> str:
    """As `detect`, by the first row of a parquet file."""
    return _detect(str(path), *next(parquet.records(path), (1, {})), "any")


def _detect(file: str, number: int, record: Record, kind: str) -> str:
    # Mooncake's times are numbers: a log with dates under the same names is none of it.
    mooncake = _ALIASES if not isinstance(record.get("timestamp"), str) or kind == "csv" else {}
    keys = {mooncake.get(key, key) for key in record}
    if kind != "csv" and {"steps", "workload"} <= keys:
        return NATIVE
    found = keys | logs.known(record)
    forms = {
        name: form
        for name, form in FORMATS.items()
        if {form.kind, kind} & {"any"} or form.kind == kind
    }
    for name, form in forms.items():
        if form.needs <= found:
            return name
    name, form = max(forms.items(), key=lambda f: len(f[1].needs & found) / len(f[1].needs))
    missing = sorted(form.needs - found)
    if len(missing) < len(form.needs):
        near = "name it: --columns" if form.split else nearest(missing[0], keys)
        hint = f"{near} ({name}: {form.about})"
        raise ProfileError.one(file, missing[0], None, "is missing", hint, line=number)
    hint = (
        f"known: {', '.join([*FORMATS, NATIVE])}; or name its columns: --columns isl=NAME,osl=NAME"
    )
    raise ProfileError.one(
        file, "", ",".join(sorted(keys)), "is no known trace format", hint, line=number
    )


def _kind(text: str) -> str:
    return "jsonl" if text[:1] in "{[" else "csv"


def _header(file: str, first: Line, form: TraceFormat) -> list[str] | None:
    if form.kind == "jsonl" or (form.kind == "any" and _kind(first[1]) == "jsonl"):
        return None
    try:
        header = by_session.cells(first[1])
    except BadLineError as bad:
        raise ProfileError([bad.at(file, first[0])]) from bad
    missing = sorted(form.needs - set(header))
    if missing and form.split is None:
        hint = nearest(missing[0], header)
        raise ProfileError.one(file, missing[0], None, "the column is missing", hint, line=first[0])
    if twice := [column for column, n in Counter(header).items() if column and n > 1]:
        raise ProfileError.one(file, twice[0], None, "the column is there twice", line=first[0])
    if form.session and form.split is None and not set(form.session) & set(header):
        raise ProfileError.one(file, form.session[0], None, "the column is missing", line=first[0])
    return header
