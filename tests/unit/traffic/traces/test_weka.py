"""Weka sessions: which request a prompt goes on from, sub-agents, and what a delay is."""

import json
from pathlib import Path
from typing import Any

import pytest

from gcsim.errors import ProfileError
from gcsim.traffic import ids
from gcsim.traffic.traces import weka
from gcsim.traffic.traces.formats import read
from gcsim.traffic.traces.replay import steps
from gcsim.traffic.traces.row import Row


def call(isl: int, osl: int, h: list[int], t: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"t": t, "m": "claude", "in": isl, "out": osl, "h": h, "it": ["tool_result"], **more}


def session(tmp_path: Path, *requests: dict[str, Any], **more: Any) -> list[Row]:
    record = {"id": "x", "block_size": 64, "requests": list(requests), **more}
    path = tmp_path / "weka.jsonl"
    path.write_text(json.dumps(record) + "\n")
    (rows,) = read(path)
    return rows


def links(rows: list[Row]) -> list[tuple[int, int | None, tuple[int, ...]]]:
    return [(row.parent, row.keep, row.waits_for) for row in rows]


def test_a_prompt_that_holds_the_last_one_goes_on_with_its_output(tmp_path: Path) -> None:
    rows = session(tmp_path, call(130, 20, [1, 2]), call(200, 5, [1, 3]), call(300, 5, [1, 4]))
    assert links(rows) == [(-1, None, ()), (0, None, (0,)), (1, None, (1,))]
    assert [row.block_hits for row in rows] == [0, 2, 3]
    assert [row.block_count for row in rows] == [2, 3, 4]


def test_a_prompt_that_drops_the_output_keeps_the_prompt_before_it(tmp_path: Path) -> None:
    rows = session(tmp_path, call(130, 200, [1, 2]), call(200, 5, [1, 3]))
    assert links(rows)[1] == (0, 130, (0,))


def test_a_prompt_that_changes_blocks_keeps_those_before_them(tmp_path: Path) -> None:
    rows = session(tmp_path, call(640, 20, [1, 10]), call(700, 5, [1, 4, 11, 6]))
    assert links(rows)[1] == (0, 4 * 64, (0,))


def test_a_prompt_goes_on_from_the_last_request_that_holds_its_beginning(tmp_path: Path) -> None:
    rows = session(
        tmp_path,
        call(640, 20, [1, 10]),
        call(320, 9, [1, 2, 20, 3]),
        call(700, 5, [1, 10]),
        call(384, 5, [1, 2, 20, 4]),
    )
    assert links(rows) == [
        (-1, None, ()),
        (0, 2 * 64, (0,)),
        (0, None, (1,)),
        (1, None, (2,)),
    ]


def test_blocks_after_a_new_one_are_no_beginning(tmp_path: Path) -> None:
    rows = session(tmp_path, call(256, 20, [1, 4]), call(256, 9, [1, 1, 20, 1, 3, 2]))
    assert (rows[1].block_hits, rows[1].keep) == (1, 64)


def test_sub_agents_run_between_two_requests(tmp_path: Path) -> None:
    agent = {"tool_tokens": 100, "system_tokens": 28, "dur_ms": 7000}
    rows = session(
        tmp_path,
        call(130, 20, [1, 2]),
        {"sub": "one", "requests": [call(140, 3, [50, 2]), call(260, 4, [50, 4])], **agent},
        {"sub": "two", "requests": [call(150, 3, [50, 2])], **agent},
        call(200, 5, [1, 3], think_time=12.0, api_time=4.0),
    )
    assert links(rows) == [
        (-1, None, ()),
        (-1, None, (0,)),
        (1, None, (1,)),
        (-1, None, (0,)),
        (0, None, (2, 3)),
    ]
    assert [row.main for row in rows] == [True, False, False, False, True]
    assert [row.opens for row in rows] == [True, False, False, False, False]
    assert rows[4].delay_s == 1.0
    shared = ids.shared("weka", "100 tools 28 system")
    played = steps(rows, 0, 1 << 20)
    assert [step.append[0] for step in played[1:4]] == [
        (shared, 128),
        ((1 << 20) + 2, 117),
        (shared, 128),
    ]


@pytest.mark.parametrize(
    ("more", "delay_s", "human"),
    [
        ({"think_time": 9.0, "api_time": 7.5}, 1.5, False),
        ({"think_time": 5.0, "api_time": 7.5}, 0.0, False),
        ({"think_time": 5.0}, 5.0, False),
        ({"t": 30.0, "api_time": 2.0}, 30.0 - 7.0 - 2.0, False),
        ({"think_time": 9.0, "api_time": 7.5, "it": ["text"]}, 9.0, True),
    ],
)
def test_think_time_is_a_gap_only_of_people(
    tmp_path: Path, more: dict[str, Any], delay_s: float, human: bool
) -> None:
    _, row = session(tmp_path, call(130, 20, [1, 2], api_time=7.0), call(200, 5, [1, 3], **more))
    assert (row.delay_s, row.human) == (delay_s, human)


def test_the_upstream_form_gives_the_same(tmp_path: Path) -> None:
    short = [call(130, 20, [1, 2]), call(200, 5, [1, 2, 9, 1])]
    upstream = [
        {
            "t": 0.0,
            "type": "s",
            "model": "claude",
            "in": 130,
            "out": 20,
            "hash_ids": [1, 2],
            "input_types": ["tool_result"],
        },
        {
            "t": 0.0,
            "type": "n",
            "model": "claude",
            "in": 200,
            "out": 5,
            "hash_ids": [1, 2, 9],
            "input_types": ["tool_result"],
        },
    ]
    agent = {"agent_id": "a", "duration_ms": 5, "requests": upstream}
    one = session(tmp_path, *short, {"sub": "a", "dur_ms": 5, "requests": short})
    two = session(tmp_path, *upstream, {"type": "subagent", **agent})
    assert one == two


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (call(130, 20, [1, 10**9]), "130 tokens are 2 blocks of 64"),
        (call(130, 20, [1]), "is not a list of [start, length] runs"),
        (call(130, 20, [-1, 2]), "is not a list of block ids"),
        (call(130, 20, [2**24, 2]), "a block id is above"),
        (call(-130, 20, [1, 2]), "in: is negative"),
        ({"t": 0.0, "in": 1, "out": 1}, "is not a list of block ids"),
    ],
)
def test_a_fault_is_told(tmp_path: Path, request_: dict[str, Any], why: str) -> None:
    with pytest.raises(ProfileError) as caught:
        session(tmp_path, request_)
    assert why in str(caught.value)
    assert "weka.jsonl:1:" in str(caught.value)


def test_blocks_of_no_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="block_size: must be above 0"):
        session(tmp_path, call(130, 20, [1, 2]), block_size=0)
    assert weka.BLOCK_IDS_MAX * 4 < 100_000_000  # bytes that one session may take
