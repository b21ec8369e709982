"""Logs from anywhere: OpenAI-style usage, OpenTelemetry spans, named columns."""

import json
from pathlib import Path
from typing import Any

import pytest

from gcsim.errors import ProfileError
from gcsim.profiles.load import validate
from gcsim.profiles.workload import Workload
from gcsim.traffic.traces import logs
from gcsim.traffic.traces.formats import FORMATS, read
from gcsim.traffic.traces.replay import format_of, plans
from gcsim.traffic.traces.row import Options, Row, Skipped
from gcsim.traffic.traces.turns import turn_after

AT = 1_700_000_000


def rows(
    tmp_path: Path, *records: Any, skipped: Skipped | None = None, **columns: str
) -> list[list[Row]]:
    path = tmp_path / "log"
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n")
    return list(read(path, Options(columns=columns), skipped))


def numbers(found: list[list[Row]]) -> list[tuple[int, int, float | None]]:
    assert all(len(session) == 1 for session in found)
    return [(row.isl, row.osl, row.time_s) for (row,) in found]


def span(start_s: float, isl: int, osl: int, **attributes: str) -> dict[str, Any]:
    """A span as OpenTelemetry's file exporter writes it: 64-bit numbers are text."""
    counts = {"gen_ai.usage.input_tokens": isl, "gen_ai.usage.output_tokens": osl}
    return {
        "spanId": "1",
        "startTimeUnixNano": str(AT * 10**9 + int(start_s * 1e9)),
        "endTimeUnixNano": str(AT * 10**9 + int((start_s + 1) * 1e9)),
        "attributes": [
            *({"key": key, "value": {"intValue": str(n)}} for key, n in counts.items()),
            *({"key": key, "value": {"stringValue": text}} for key, text in attributes.items()),
        ],
    }


USAGES: dict[str, dict[str, Any]] = {
    "openai": {"created": AT, "usage": {"prompt_tokens": 50, "completion_tokens": 7}},
    "openai responses": {"created_at": AT, "usage": {"input_tokens": 50, "output_tokens": 7}},
    "openai batch": {
        "response": {
            "body": {"created": AT, "usage": {"prompt_tokens": 50, "completion_tokens": 7}}
        }
    },
    "anthropic": {
        "timestamp": "2023-11-14T22:13:20Z",
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 35,
            "cache_creation_input_tokens": 5,
            "output_tokens": 7,
        },
    },
    "litellm": {"start_time": AT + 0.0, "prompt_tokens": 50, "completion_tokens": 7},
    "otel": span(0, 50, 7),
    "otel flat": {
        "start_time": "2023-11-14T22:13:20.000000Z",
        "attributes": {"gen_ai.usage.input_tokens": 50, "gen_ai.usage.output_tokens": 7},
    },
    "openinference": {
        "start_time": "2023-11-14 22:13:20",
        "attributes": {"llm": {"token_count": {"prompt": 50, "completion": 7}}},
    },
    "dates under other names": {
        "timestamp": "2023-11-14T22:13:20Z",
        "input_tokens": 50,
        "output_tokens": 7,
    },
}


@pytest.mark.parametrize("name", USAGES)
def test_usage_is_found_under_its_usual_names(tmp_path: Path, name: str) -> None:
    found = rows(tmp_path, USAGES[name])
    assert numbers(found) == [(50, 7, 0.0)]
    assert format_of(tmp_path / "log") == "log"


def test_cached_tokens_are_a_prefix_and_turns_go_on(tmp_path: Path) -> None:
    def turn(second: int, isl: int, cached: int) -> dict[str, Any]:
        details = {"cached_tokens": cached}
        usage = {"prompt_tokens": isl, "completion_tokens": 20, "prompt_tokens_details": details}
        return {"created": AT + second, "session_id": "a", "model": "gpt", "usage": usage}

    ((first, whole, cut, new),) = rows(
        tmp_path, turn(0, 900, 512), turn(9, 1400, 0), turn(12, 1410, 1024), turn(13, 40, 0)
    )
    assert first.prefix is not None
    assert (first.prefix[1], first.model, first.parent) == (512, "gpt", -1)
    assert (whole.parent, whole.keep, whole.delay_s, whole.waits_for) == (0, None, 9.0, (0,))
    assert (cut.parent, cut.keep, cut.delay_s) == (1, 1024, 3.0)
    assert (new.parent, new.keep, new.waits_for) == (-1, None, (2,))


def test_a_log_is_sorted_by_the_starts_and_turns_wait_from_end_to_start(tmp_path: Path) -> None:
    """Spans are written when they end: the longest of those under way last."""
    skipped = Skipped()
    tool = {"spanId": "2", "startTimeUnixNano": "5", "attributes": []}
    chat = {"gen_ai.conversation.id": "c", "gen_ai.request.model": "m"}
    record = {"resourceSpans": [{"scopeSpans": [{"spans": [tool, span(5, 100, 9, **chat)]}, {}]}]}
    found = rows(tmp_path, record, tool, span(9.5, 200, 9, **chat), span(2, 50, 1), skipped=skipped)
    assert [[(row.isl, row.time_s) for row in session] for session in found] == [
        [(50, 0.0)],
        [(100, 3.0), (200, 7.5)],
    ]
    assert (found[1][1].delay_s, found[1][1].model) == (3.5, "m")
    assert (skipped.others, skipped.count) == (2, 0)


def test_columns_are_named_with_their_units(tmp_path: Path) -> None:
    text = "sent,p,c,who\n2500,10,3,a\n4000,40,5,a\n3000,7,1,b\n"
    named = {"isl": "p", "osl": "c", "time": "sent:ms", "session": "who"}
    (a, b) = rows(tmp_path, text, **named)
    assert [(row.isl, row.osl, row.time_s, row.delay_s) for row in a] == [
        (10, 3, 2.5, 0.0),
        (40, 5, 4.0, 1.5),
    ]
    assert [(row.isl, row.time_s) for row in b] == [(7, 3.0)]
    (first, _, _) = rows(
        tmp_path, text.replace("sent", "sent_us"), isl="p", osl="c", time="sent_us"
    )
    assert first[0].time_s == 0.0025
    nested = {"a": {"b": 5}, "attributes": {"n.out": 2}, "wait_ms": 40, "sid": 1}
    ((_, second),) = rows(
        tmp_path, nested, nested, isl="a.b", osl="attributes.n.out", delay="wait_ms", session="sid"
    )
    assert (second.isl, second.osl, second.delay_s) == (5, 2, 0.04)


def test_a_run_names_columns_in_its_workload(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("at,p,c\n1.5,10,3\n")
    columns = {"isl": "p", "osl": "c", "time": "at"}
    trace = {"path": str(path), "columns": columns}
    workload = validate(Workload, {"name": "t", "trace": trace}, "t")
    assert workload.trace is not None
    ((steps, start_s),) = plans(workload.trace, 0, Skipped())
    assert (steps[0].osl, start_s) == (3, 1.5)


FAULTS: list[tuple[Any, dict[str, str], str]] = [
    ({"usage": {"prompt_tokens": 5}}, {}, "log:1: osl: is missing; name it: --columns"),
    ({"p": 5, "c": 5}, {"isl": "x", "osl": "c"}, "log:1: x: is missing"),
    ({"p": 5}, {"isk": "p"}, "log: columns.isk: no such column; did you mean 'isl'"),
    ({"hello": 5}, {}, "or name its columns: --columns isl=NAME,osl=NAME"),
    ({"isl": 5, "osl": -1}, {}, "log:1: osl: is negative"),
    ({"isl": 5, "osl": 1, "time": "noon"}, {}, "log:1: time: is not a time"),
    ({"isl": 5, "osl": 1, "time": 5, "end_time": 4}, {}, "log:1: end_time: is before the start"),
    ({"isl": 5, "osl": 1, "cached_tokens": 6}, {}, "log:1: cached_tokens: the prompt has only 5"),
    ({"isl": 5, "osl": 1, "a.b": 1, "a": {"b": 2}}, {}, "log:1: a.b: comes twice"),
    ({"isl": 5, "osl": 1, "session_id": []}, {}, "log:1: session_id: is no name"),
    ({"isl": 5, "osl": 1, "delay": True}, {}, "log:1: delay: is not a time"),
    ({"isl": 5, "osl": 1, "resourceSpans": 1}, {}, "log:1: resourceSpans: is not a list"),
]


@pytest.mark.parametrize(("record", "columns", "why"), FAULTS, ids=[f[2] for f in FAULTS])
def test_a_fault_is_told(
    tmp_path: Path, record: dict[str, Any], columns: dict[str, str], why: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        rows(tmp_path, record, **columns)
    assert why in str(caught.value)


def test_times_are_all_there_or_none(tmp_path: Path) -> None:
    good = {"isl": 5, "osl": 1, "time": 3}
    assert numbers(rows(tmp_path, {"isl": 5, "osl": 1})) == [(5, 1, None)]
    with pytest.raises(ProfileError, match="time: is missing, and others have it"):
        rows(tmp_path, good, {"isl": 5, "osl": 1})
    with pytest.raises(ProfileError, match=r"log:2: time: is more than 1e\+08 s from the first"):
        rows(tmp_path, good, {**good, "time": AT})


def test_columns_are_of_logs(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text('{"input_length": 1, "output_length": 1}\n')
    with pytest.raises(ProfileError, match="columns: only a log has them"):
        list(read(path, Options("mooncake", columns={"isl": "a"})))


def test_a_turn_cannot_keep_more_than_there_is() -> None:
    first = turn_after([], 100, 0, 10, 7)
    assert first.prefix is None
    assert turn_after([first], 90, 500, 1, 7).keep == 90
    assert turn_after([first], 105, 500, 1, 7).keep == 100


def test_every_name_means_one_thing() -> None:
    names = [name for known in logs.ALIASES.values() for name in known]
    assert len(names) == len(set(names))
    assert FORMATS["log"].needs <= logs.ALIASES.keys()
