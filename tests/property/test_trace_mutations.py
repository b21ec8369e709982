"""A valid file of every format with something wrong in it: read soundly, refused or counted.

Whatever stands in a field, the reader raises nothing but our own errors, and what it accepts can
be: lengths above 0, finite times, names that are text, links to earlier steps.
"""

import copy
import gzip
import json
import tempfile
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from gcsim.errors import ProfileError
from gcsim.profiles.bounds import DELAY_S_MAX, TIME_S_MAX, TOKENS_MAX
from gcsim.traffic.traces.describe import describe
from gcsim.traffic.traces.formats import FORMATS, NATIVE
from gcsim.traffic.traces.row import Options, Skipped
from gcsim.traffic.traces.write import stored
from gcsim.traffic.trajectory import Trajectory


def call(isl: int, osl: int, h: list[int], **more: Any) -> dict[str, Any]:
    known = {"m": "opus", "it": ["tool_result"], "api_time": 1.5, "think_time": 2.0}
    return {"t": 0.0, "in": isl, "out": osl, "h": h, **known, **more}


def at(second: int, kind: str) -> dict[str, Any]:
    return {"event_type": kind, "timestamp": f"2026-06-01T05:40:{second}.000Z"}


def records(*fields: str, rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(fields, row, strict=True)) for row in rows]


TURN = {"input_length": 600, "output_length": 40}
STEP = {"append": [[1, 10]], "osl": 4}
VALID: dict[str, list[dict[str, Any]]] = {
    "mooncake": [
        {"timestamp": 0, **TURN, "hash_ids": [7, 8]},
        {"session_id": "a", "timestamp": 5, **TURN, "hash_ids": [7, 9]},
        {"session_id": "b", "timestamp": 6, **TURN},
        {
            "session_id": "a",
            "delay": 50,
            "input_length": 1100,
            "output_length": 4,
            "hash_ids": [7, 3, 4],
        },
        {"session_id": "b", "timestamp": 90, **TURN, "prefix_reset": True},
    ],
    "aiperf": [
        {
            "session_id": "s",
            "turns": [
                {"role": "system", "text": "a" * 40},
                {"text": "b" * 8, "timestamp": 500, "output_length": 50},
                {"texts": ["c" * 12, {"contents": ["d"]}], "delay": 1000},
            ],
        },
        {"turns": [{"text": "e", "timestamp": 600}]},
    ],
    "tracelab": [
        {
            "session_id": "s",
            "round_index": k,
            "model": "m",
            "input_tokens_total": 100 + 50 * k,
            "prefix_tokens": 60,
            "output_tokens": 10,
            "tools": [{"tool_wall_latency_ms": 860}],
            "timing_events": [at(10 + 9 * k, "user_message"), at(15 + 9 * k, "text")],
        }
        for k in range(3)
    ],
    "weka": [
        {
            "id": "x",
            "block_size": 64,
            "tool_tokens": 10,
            "system_tokens": 5,
            "requests": [
                call(130, 20, [1, 2]),
                {"sub": "one", "dur_ms": 5, "t": 1.0, "requests": [call(140, 3, [50, 2])]},
                call(200, 5, [1, 3], t=5.0),
            ],
        },
        {
            "id": "y",
            "block_size": 64,
            "requests": [
                {
                    "t": 0.0,
                    "model": "m",
                    "in": 200,
                    "out": 5,
                    "hash_ids": [1, 2, 9],
                    "input_types": ["text"],
                },
            ],
        },
    ],
    "bailian": records(
        "chat_id",
        "parent_chat_id",
        "timestamp",
        "input_length",
        "output_length",
        "hash_ids",
        rows=[[1, -1, 61.1, 20, 132, [89, 90]], [2, 1, 62.5, 33, 13, [89, 90, 5]]],
    ),
    "azure": records(
        "TIMESTAMP",
        "ContextTokens",
        "GeneratedTokens",
        rows=[["2023-11-16 18:17:03.97", 4808, 10], ["2023-11-16 18:17:04.03", 3180, 8]],
    ),
    "burstgpt": records(
        "Timestamp",
        "Session ID",
        "Model",
        "Request tokens",
        "Response tokens",
        rows=[[5, "a", "GPT-4", 472, 18], [6, "a", "GPT-4", 9, 0], [45, "", "GPT-4", 1087, 230]],
    ),
    "splitwise": records(
        "arrival_timestamp", "prompt_size", "token_size", rows=[[1, 4096, 32], [1.25, 12, 3]]
    ),
    "tracelab_csv": records(
        "session_id",
        "round_idx",
        "prefix_len",
        "input_len",
        "output_len",
        "tool_wait_after_ms",
        rows=[[0, 0, 12461, 5875, 124, 182], [0, 1, 18336, 324, 50, 0], [1, 0, 100, 20, 5, 7.5]],
    ),
    "vidur": records(
        "arrived_at", "num_prefill_tokens", "num_decode_tokens", rows=[[0, 374, 44], [0.5, 39, 19]]
    ),
    "log": [
        {
            "created": 1_700_000_000 + 20 * k,
            "model": "m",
            "session_id": "s",
            "usage": {
                "prompt_tokens": 100 + 50 * k,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 10},
            },
        }
        for k in range(2)
    ]
    + [
        {
            "spanId": "1",
            "startTimeUnixNano": "1700000009000000000",
            "endTimeUnixNano": "1700000010000000000",
            "attributes": [
                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}},
                {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "3"}},
            ],
        }
    ],
    NATIVE: [
        {
            "workload": "w",
            "start_s": 0.5,
            "priority": -2,
            "steps": [
                STEP,
                {**STEP, "parent": -1, "delay_s": 0.3, "model": "worker"},
                {"append": [], "osl": 7, "parent": 0, "waits_for": [0], "human": True, "keep": 9},
                {**STEP, "parent": 2, "waits_for": [1, 2]},
            ],
        },
        {"workload": "v", "start_s": 2.0, "steps": [STEP, STEP]},
    ],
}
JUNK: list[Any] = [
    -1,
    0,
    1.5,
    -1.5,
    True,
    False,
    None,
    "",
    "x",
    "12",
    "-1",
    "nan",
    [],
    {},
    [1],
    [[]],
    [None],
    [True],
    {"a": 1},
    nan,
    inf,
    -inf,
    1e308,
    10**30,
    10**400,
    2**63,
    2**64,
    -(2**63),
    1e-300,
    "\0",
    "\ud800",
    "9" * 500,
    "1_0",
    "\u0661",
    "0001-01-01 00:00:00+23:59",
    "a" * 3000,
]

KINDS: list[Any] = [  # one of each kind, for every place
    -1,
    0,
    1.5,
    True,
    "",
    "x",
    "12",
    [],
    {},
    [1],
    [[]],
    nan,
    1e308,
    10**400,
    2**64,
    "\ud800",
]


def test_there_is_a_valid_file_of_every_format(tmp_path: Path) -> None:
    assert VALID.keys() == {*FORMATS, NATIVE}
    for name, valid in VALID.items():
        path = tmp_path / name
        path.write_bytes(written(name, valid))
        assert all(sound(trajectory) for trajectory in stored(path, Options(), Skipped()))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a value."""
    inner = value.items() if isinstance(value, dict) else []
    inner = enumerate(value) if isinstance(value, list) else inner
    found = [path] if path else []
    return found + [place for key, item in inner for place in places(item, (*path, key))]


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """The file with one to three values replaced, taken away, repeated or moved."""
    valid = copy.deepcopy(VALID[name])
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(valid)))
        holder: Any = valid
        for key in path:
            holder = holder[key]
        what = draw(st.sampled_from(["junk", "junk", "junk", "scale", "drop", "repeat", "drawn"]))
        if what == "drop" and len(holder) > 1:
            del holder[last]
        elif what == "repeat" and isinstance(holder, list):
            holder.insert(draw(st.integers(0, len(holder))), copy.deepcopy(holder[last]))
        elif what == "scale" and isinstance(holder[last], int | float):
            holder[last] *= draw(st.sampled_from([-1, 10, 10**6, 0.3, 1e9]))
        elif what == "drawn":
            holder[last] = draw(st.integers() | st.floats() | st.text(max_size=5))
        else:
            holder[last] = draw(st.sampled_from(JUNK))
        if not valid:
            break
    return written(name, valid)


def written(name: str, valid: list[Any]) -> bytes:
    if name == NATIVE or FORMATS[name].kind != "csv":
        text = "".join(json.dumps(record) + "\n" for record in valid)
    else:
        header = [*VALID[name][0]]
        rows = [r.values() if isinstance(r, dict) else [r] for r in valid]
        cells = [
            ",".join(
                str(cell)[:3000] if isinstance(cell, str) else json.dumps(cell)[:3000]
                for cell in row
            )
            for row in rows
        ]
        text = "\n".join([",".join(header), *cells, ""])
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """The file with something done to its bytes."""
    raw = written(name, VALID[name])
    place = draw(st.integers(0, len(raw)))
    return draw(
        st.sampled_from(
            [
                b"\xef\xbb\xbf" + raw,
                raw.replace(b"\n", b"\r\n"),
                raw.replace(b"\n", b"\r"),
                raw.decode().encode("utf-16"),
                raw.decode().encode("utf-32"),
                raw[:place],
                raw[:place] + draw(st.binary(max_size=5)) + raw[place:],
                raw[:place] + b"\0" + raw[place:],
                raw[:place] + b'{"a":' * 100_000 + raw[place:],
                raw + raw,
                gzip.compress(raw)[: place + 2],
                gzip.compress(raw) + b"junk",
                gzip.compress(raw)[: place // 3 + 10]
                + b"x"
                + gzip.compress(raw)[place // 3 + 11 :],
            ]
        )
    )


def sound(trajectory: Trajectory) -> bool:
    """Can this be? Brute force, without the reader's own checks."""
    ended: list[set[int]] = []
    totals: list[int] = []
    start_s = trajectory.start_s
    assert start_s is None or 0 <= start_s <= TIME_S_MAX
    assert type(trajectory.priority) is int
    for number, step in enumerate(trajectory.steps):
        assert all(type(wait) is int and 0 <= wait < number for wait in step.waits_for)
        ended.append({*step.waits_for}.union(*(ended[wait] for wait in step.waits_for)))
        assert step.parent == -1 or step.parent in ended[number]
        held = totals[step.parent] + trajectory.steps[step.parent].osl if step.parent >= 0 else 0
        assert step.keep is None or 0 < step.keep <= held
        assert all(type(item) is int for span in step.append for item in span)
        assert all(content >= 0 and count >= 1 for content, count in step.append)
        held = held if step.keep is None else step.keep
        totals.append(held + sum(count for _, count in step.append))
        assert 1 <= totals[number] <= TOKENS_MAX
        assert type(step.osl) is int
        assert 1 <= step.osl <= TOKENS_MAX
        assert isfinite(step.delay_s)
        assert 0 <= step.delay_s <= DELAY_S_MAX
        assert type(step.human) is bool
        assert step.model is None or (type(step.model) is str and step.model.isprintable())
    return bool(trajectory.steps)


def check(raw: bytes, name: str) -> None:
    """Named or detected, strict or not: sound, or an error that says where."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t"
        path.write_bytes(raw)
        for options, allowed in ((Options(name), True), (Options(name), False), (Options(), False)):
            skipped = Skipped(allowed)
            try:
                assert all(map(sound, stored(path, options, skipped)))
                summary = describe(path, options, Skipped(allowed)).summary()
                json.dumps(summary, allow_nan=False)
            except ProfileError as error:
                (problem,) = error.problems
                assert problem.why
                assert problem.line is not None or "the trace is empty" in problem.why
                header = "column is missing" in problem.why or "is there twice" in problem.why
                assert not allowed or problem.line in (None, 1) or header, "it could be left out"


@pytest.mark.parametrize("name", VALID)
def test_any_one_wrong_value_is_refused_or_sound(name: str, tmp_path: Path) -> None:
    path, errors = tmp_path / "t", []
    for place in places(VALID[name]):
        for junk in KINDS:
            valid = copy.deepcopy(VALID[name])
            *way, last = place
            holder: Any = valid
            for key in way:
                holder = holder[key]
            holder[last] = junk
            path.write_bytes(written(name, valid))
            try:
                assert all(map(sound, stored(path, Options(name), Skipped())))
            except ProfileError as error:
                errors.append(error)
    assert len(errors) > 100
    assert all(problem.line is not None for error in errors for problem in error.problems)


@pytest.mark.parametrize("name", VALID)
def test_wrong_values_together_are_refused_or_counted(name: str) -> None:
    given(mutated(name))(toys.examples(60)(lambda raw: check(raw, name)))()


@pytest.mark.parametrize("name", VALID)
def test_a_damaged_file_is_refused_or_counted(name: str) -> None:
    given(damaged(name))(toys.examples(25)(lambda raw: check(raw, name)))()
