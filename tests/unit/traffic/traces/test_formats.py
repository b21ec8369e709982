"""Every format: known by its content, read to the right requests, and its faults told by line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gcsim.errors import ProfileError
from gcsim.traffic.traces import requests, sessions
from gcsim.traffic.traces.formats import FORMATS, NATIVE, detect, read
from gcsim.traffic.traces.replay import format_of, steps
from gcsim.traffic.traces.row import Options, Row, Skipped

MOONCAKE = [
    {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [7, 8]},
    {"timestamp": 27482, "input_length": 1024, "output_length": 52, "hash_ids": [7, 9]},
]
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:04.0319600,3180,8"
)
AZURE_2024 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01.509930+00:00,23,9\n"
)
BURST = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,230,1317,Conversation log\n"
)
BURST_SESSIONS = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,a,3,GPT-4,472,18,490,Conversation log\n6,a,0,GPT-4,9,0,9,Conversation log\n"
    "45,a,9,GPT-4,1087,230,1317,Conversation log\n46,,9,GPT-4,10,20,30,API log\n"
)
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,374,44\n0.5,396,109\n"
LENGTHS = (
    "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n"
    "3772,54,3826,69.85\n2015,156,2171,12.9\n"
)
SPLITWISE = (
    "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
    "0,2,0,1,1,4096,32\n1,2,0,1.25,1,12,3\n"
)
TRACELAB_CSV = (
    "session_id,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"
    "0,0,12461,5875,124,182\n0,1,18336,324,50,0\n1,0,100,20,5,7.5\n"
)
BAILIAN = [
    {
        "chat_id": 1,
        "parent_chat_id": -1,
        "timestamp": 61.114,
        "input_length": 20,
        "output_length": 132,
        "type": "text",
        "turn": 1,
        "hash_ids": [1089, 1090],
    },
    {
        "chat_id": 2,
        "parent_chat_id": 1,
        "timestamp": 62.5,
        "input_length": 33,
        "output_length": 13,
        "type": "text",
        "turn": 2,
        "hash_ids": [1089, 1090, 5],
    },
]
AIPERF = [
    {
        "session_id": "s",
        "turns": [
            {"role": "system", "text": "a" * 40},
            {"text": "b" * 8, "timestamp": 500, "output_length": 50},
            {"texts": ["c" * 12], "delay": 1000},
        ],
    },
]
EVENTS = [
    [("user_message", "20.000"), ("text", "30.000")],
    [("tool_result", "31.000"), ("text", "40.500")],
    [("user_message", "50.000"), ("text", "51.000")],
]
TRACELAB = [
    {
        "session_id": "s",
        "round_index": k,
        "model": "m",
        "input_tokens_total": isl,
        "prefix_tokens": prefix,
        "newly_append_tokens": isl - prefix,
        "output_tokens": 10,
        "timing_events": [
            {"event_type": kind, "timestamp": f"2026-06-01T05:40:{at}Z"} for kind, at in EVENTS[k]
        ],
        "tools": [{"tool_wall_latency_ms": ms} for ms in tools],
    }
    for k, (isl, prefix, tools) in enumerate(
        [(100, 60, [860, 1291]), (150, 100, []), (140, 90, [])]
    )
]


def jsonl(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


TEXTS = {
    "mooncake": jsonl(MOONCAKE),
    "azure": AZURE,
    "burstgpt": BURST,
    "vidur": VIDUR,
    "splitwise": SPLITWISE,
    "tracelab_csv": TRACELAB_CSV,
    "bailian": jsonl(BAILIAN),
    "aiperf": jsonl(AIPERF),
    "tracelab": jsonl(TRACELAB),
    "log": jsonl([{"usage": {"prompt_tokens": 70, "completion_tokens": 5}}]),
    "weka": jsonl([{"id": "x", "block_size": 64, "requests": [{"in": 70, "out": 1, "h": [1, 1]}]}]),
}


def rows(
    tmp_path: Path, text: str, skipped: Skipped | None = None, **options: Any
) -> list[list[Row]]:
    path = tmp_path / "trace"
    path.write_bytes(text.encode())
    return list(read(path, Options(**options), skipped))


def one_by_one(tmp_path: Path, text: str) -> list[tuple[int, int, float | None]]:
    found = rows(tmp_path, text)
    assert all(len(session) == 1 for session in found)
    return [(row.isl, row.osl, row.time_s) for (row,) in found]


def test_every_format_is_known_by_its_content(tmp_path: Path) -> None:
    assert TEXTS.keys() == FORMATS.keys()
    for name, text in TEXTS.items():
        assert detect("x", (1, text.split("\n")[0].strip())) == name
        path = tmp_path / "packed"
        path.write_bytes(gzip.compress(text.encode()))
        assert format_of(path) == name
        assert list(read(path)) == rows(tmp_path, text)
    assert detect("x", (1, '{"workload": "w", "steps": []}')) == NATIVE


def test_parsers_are_plain_functions_in_the_dict() -> None:
    assert FORMATS["azure"].parse is requests.azure
    assert FORMATS["mooncake"].parse is sessions.mooncake


def test_mooncake(tmp_path: Path) -> None:
    (first,), (second,) = rows(tmp_path, TEXTS["mooncake"])
    assert (first.isl, first.osl, first.time_s, first.blocks) == (600, 5, 0.0, (7, 8))
    assert (second.time_s, second.blocks, second.block_tokens) == (27.482, (7, 9), 512)


def test_mooncake_sessions_append_and_wait(tmp_path: Path) -> None:
    text = jsonl(
        [
            {"session_id": "a", "timestamp": 10, "input_length": 300, "output_length": 40},
            {"session_id": "b", "timestamp": 20, "input_length": 30, "output_length": 4},
            {"session_id": "a", "delay": 2500, "input_length": 150, "output_length": 20},
            {
                "session_id": "b",
                "delay_ms": 1,
                "input_tokens": 7,
                "output_tokens": 2,
                "prefix_reset": True,
            },
        ]
    )
    a, b = rows(tmp_path, text)
    assert [(r.isl, r.delay_s, r.parent, r.waits_for) for r in a] == [
        (300, 0.0, -1, ()),
        (490, 2.5, 0, (0,)),
    ]
    assert [(r.isl, r.delay_s, r.parent, r.waits_for) for r in b] == [
        (30, 0.0, -1, ()),
        (7, 0.001, -1, (0,)),
    ]
    assert (a[0].time_s, b[0].time_s) == (0.01, 0.02)


def test_mooncake_turns_that_repeat_the_first_hash_hold_their_whole_prompt(tmp_path: Path) -> None:
    text = jsonl(
        [
            {"session_id": "a", "input_length": 600, "output_length": 40, "hash_ids": [1, 2]},
            {"session_id": "a", "input_length": 1100, "output_length": 4, "hash_ids": [1, 3, 4]},
            {"session_id": "a", "input_length": 100, "output_length": 4, "hash_ids": [9]},
        ]
    )
    ((_, whole, delta),) = rows(tmp_path, text)
    assert (whole.isl, whole.parent, whole.keep, whole.whole) == (1100, 0, None, True)
    assert (delta.isl, delta.parent, delta.whole) == (1100 + 4 + 100, 1, False)
    mode = {"context_mode": "message_array_with_responses"}
    plain = [{"session_id": "a", "input_length": n, "output_length": 4, **mode} for n in (50, 80)]
    ((_, whole),) = rows(tmp_path, jsonl(plain))
    assert (whole.isl, whole.parent, whole.keep) == (80, 0, None)
    plain = [{"session_id": "a", "input_length": n, "output_length": 4, **mode} for n in (50, 53)]
    ((_, short),) = rows(tmp_path, jsonl(plain))
    assert (short.isl, short.parent, short.keep) == (53, 0, 50)


def test_a_whole_prompt_goes_on_where_its_hashes_do(tmp_path: Path) -> None:
    def turn(isl: int, *hash_ids: int) -> dict[str, Any]:
        return {"session_id": "a", "input_length": isl, "output_length": 40, "hash_ids": hash_ids}

    turns = [
        turn(300, 1),  # less than a block: its hash is that of another, longer block later
        turn(1100, 2, 3, 4),
        turn(1140, 2, 3, 5),  # all whole blocks and the output
        turn(1150, 2, 3, 5),  # all of that, but too short to hold the output
        turn(700, 2, 6),  # an edit in the second block
        turn(2000, 2, 3, 5, 7),  # back to before the edit
        turn(600, 8, 9),  # what begins in another way is appended
    ]
    (found,) = rows(tmp_path, jsonl(turns))
    assert [(row.isl, row.parent, row.keep) for row in found] == [
        (300, -1, None),
        (1100, -1, None),
        (1140, 1, None),
        (1150, 2, 1140),
        (700, 3, 512),
        (2000, 3, None),
        (2000 + 40 + 600, 5, None),
    ]
    played = steps(found, 1000, 50)
    assert played[2].append == ()
    assert played[3].append == ((1005, 10),)
    assert played[4].append == ((1006, 188),)
    assert played[5].append == ((1005, 1536 - 1190), (1007, 464))
    assert [sum(n for _, n in step.append) for step in played] == [300, 1100, 0, 10, 188, 810, 600]


def test_azure_of_both_years(tmp_path: Path) -> None:
    assert one_by_one(tmp_path, AZURE) == [(4808, 10, 0.0), (3180, 8, 0.052)]
    assert one_by_one(tmp_path, AZURE_2024) == [(2162, 5, 0.0), (23, 9, 1.5)]


def test_burstgpt_with_and_without_sessions(tmp_path: Path) -> None:
    assert one_by_one(tmp_path, BURST) == [(472, 18, 5.0), (1087, 230, 45.0)]
    skipped = Skipped()
    found = rows(tmp_path, BURST_SESSIONS, skipped=skipped)
    assert [(row.isl, row.opens, row.model) for (row,) in found] == [
        (472, True, "GPT-4"),
        (1087, False, "GPT-4"),
        (10, True, "GPT-4"),
    ]
    assert (skipped.failed, skipped.count) == (1, 0)


def test_vidur_and_splitwise(tmp_path: Path) -> None:
    assert one_by_one(tmp_path, VIDUR) == [(374, 44, 0.0), (396, 109, 0.5)]
    assert one_by_one(tmp_path, LENGTHS) == [(3772, 54, None), (2015, 156, None)]
    assert one_by_one(tmp_path, SPLITWISE) == [(4096, 32, 1.0), (12, 3, 1.25)]


def test_bailian_has_small_blocks_and_counts_chats(tmp_path: Path) -> None:
    (first,), (second,) = rows(tmp_path, TEXTS["bailian"])
    assert (first.time_s, first.blocks, first.block_tokens) == (61.114, (1089, 1090), 16)
    assert (first.opens, second.opens) == (True, False)


def test_aiperf_counts_four_characters_a_token(tmp_path: Path) -> None:
    ((first, second),) = rows(tmp_path, TEXTS["aiperf"])
    assert (first.isl, first.osl, first.time_s) == (12, 50, 0.5)
    assert first.prefix is not None
    assert first.prefix[1] == 10
    assert (second.isl, second.osl, second.delay_s, second.parent) == (12 + 50 + 3, 128, 1.0, 0)


def test_tracelab_csv_waits_for_the_tools_of_the_round_before(tmp_path: Path) -> None:
    (first, second), (alone,) = rows(tmp_path, TRACELAB_CSV)
    assert (first.isl, first.osl, first.delay_s, first.prefix and first.prefix[1]) == (
        12461 + 5875,
        124,
        0.0,
        12461,
    )
    assert (second.isl, second.parent, second.keep, second.delay_s) == (18660, 0, None, 0.182)
    assert (alone.isl, alone.waits_for) == (120, ())
    dropped = TRACELAB_CSV.replace("18336,324", "18000,400")  # 18,336 <= isl < 18,336 + 124
    (_, second), _ = rows(tmp_path, dropped)
    assert (second.isl, second.keep) == (18400, 18000)
    upstream = (
        "id,input_len,output_len,arrival_time,round_idx,tool_wait_after_ms,prefix_len\n"
        "0,5,2,1500.000000,0,10.000000,7\n0,3,2,1500.000000,1,0.000000,4\n"
    )
    ((first, second),) = rows(tmp_path, upstream)
    assert (first.time_s, first.isl) == (1.5, 12)
    assert (second.isl, second.keep, second.delay_s) == (7, 4, 0.01)


def test_tracelab_rounds_wait_for_tools_or_people(tmp_path: Path) -> None:
    ((first, tool, human),) = rows(tmp_path, TEXTS["tracelab"])
    assert (first.delay_s, first.human, first.prefix and first.prefix[1]) == (0.0, False, 60)
    assert (tool.delay_s, tool.human, tool.parent, tool.keep) == (1.291, False, 0, None)
    assert (human.delay_s, human.human, human.parent, human.keep) == (9.5, True, 1, 90)


def test_a_file_that_is_one_object_over_many_lines(tmp_path: Path) -> None:
    text = json.dumps(json.loads(TEXTS["weka"]), indent=2)
    assert rows(tmp_path, text) == rows(tmp_path, TEXTS["weka"])


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ProfileError, match="the folder holds no files"):
        list(read(folder))
    for name in ("b.json", "a.json"):
        (folder / name).write_text(TEXTS["weka"].replace('"in": 70', f'"in": {64 + ord(name[0])}'))
    with pytest.raises(ProfileError, match=r"a\.json:1: h: 161 tokens are 2 blocks"):
        list(read(folder))
    for name in ("b.json", "a.json"):
        (folder / name).write_text(TEXTS["weka"].replace("70", str(ord(name[0]))))
    assert format_of(folder) == "weka"
    assert [rows[0].isl for rows in read(folder)] == [ord("a"), ord("b")]


M = TEXTS["mooncake"]
FAULTS = [
    ("cut in the middle of a line", M[:-30], 2, "is not JSON"),
    ("cut in the middle of a CSV line", VIDUR[:-5], 3, "has 2 columns, the header has 3"),
    ("a negative length", M.replace("1024", "-4"), 2, "input_length: is negative (got -4)"),
    ("a negative length in CSV", VIDUR.replace("396", "-4"), 3, "num_prefill_tokens: is negative"),
    ("half a token", VIDUR.replace("396", "3.5"), 3, "is not a whole number of tokens"),
    ("a word", VIDUR.replace("396", "many"), 3, "is not a whole number of tokens (got 'many')"),
    ("nothing", VIDUR.replace("396", ""), 3, "num_prefill_tokens: is missing"),
    ("not a number", VIDUR.replace("0.5", "nan"), 3, "arrived_at: is not a time"),
    ("a time that goes back", M.replace("27482", "-1"), 2, "timestamp: is negative"),
    ("an earlier time", VIDUR.replace("0.0,", "9.5,"), 3, "the time goes back: 0.5 s after 9.5 s"),
    ("an earlier date", AZURE.replace("17:04", "17:02"), 3, "the time goes back"),
    ("no date", AZURE.replace("-16 18:17:04", "-99 18:17:04"), 3, "is not a date and time"),
    ("too large", M.replace("1024", "10000000000"), 2, "is too large: no request has more than"),
    ("a missing hash", M.replace("[7, 9]", "[7]"), 2, "1024 tokens are 2 blocks of 512"),
    ("a word as a hash", M.replace("[7, 9]", '[7, "x"]'), 2, "is not a list of whole numbers"),
    ("a list", M + "[1]\n", 3, "is not a JSON object"),
    ("deep nesting", M + '{"a":' * 9999 + "1" + "}" * 9999, 3, "is nested too deeply"),
    ("a wrong round", TRACELAB_CSV.replace("0,1,", "0,2,"), 3, "round 1 of the session should"),
    ("text that is none", jsonl([*AIPERF, {"turns": [{"text": 5}]}]), 2, "is not text"),
    ("no turns", jsonl([*AIPERF, {"turns": []}]), 2, "turns: is not a list of objects"),
]


@pytest.mark.parametrize(
    ("text", "line", "why"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_a_fault_is_told_with_its_line_or_counted(
    tmp_path: Path, text: str, line: int, why: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        rows(tmp_path, text)
    assert f"trace:{line}: " in str(caught.value)
    assert why in str(caught.value)
    skipped = Skipped(allowed=True)
    good = rows(tmp_path, text, skipped=skipped)
    assert len(good) >= 1
    assert skipped.count >= 1
    assert skipped.problems[0].line == line


def test_a_wrong_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ProfileError, match="ContextTokens: is missing; did you mean 'ContextToken'"
    ):
        rows(tmp_path, AZURE.replace("ContextTokens", "ContextToken"))
    with pytest.raises(ProfileError, match="TIMESTAMP: the column is missing; did you mean"):
        rows(tmp_path, AZURE.replace("TIMESTAMP", "TIMESTAM"), format="azure")
    with pytest.raises(ProfileError, match="output_length: is missing"):
        rows(tmp_path, M.replace("output_length", "out_length"))


def test_what_is_no_trace_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="the trace is empty"):
        rows(tmp_path, "")
    with pytest.raises(ProfileError, match="is no known trace format"):
        rows(tmp_path, "hello,world\n1,2\n")
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        list(read(tmp_path / "absent"))
    with pytest.raises(ProfileError, match="did you mean 'mooncake'"):
        rows(tmp_path, M, format="moncake")


def test_a_cut_gzip_stream_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    lines = "".join(f"{k},{k + 1},{(k * 7919) % 997}\n" for k in range(5000))
    path.write_bytes(gzip.compress((VIDUR.split("\n")[0] + "\n" + lines).encode())[:-4000])
    with pytest.raises(ProfileError, match="cut or damaged: its gzip stream does not end"):
        list(read(path))
    skipped = Skipped(allowed=True)
    assert 100 < len(list(read(path, skipped=skipped))) < 5000
    assert skipped.count >= 1


def test_another_block_size_can_be_named(tmp_path: Path) -> None:
    text = M.replace("[7, 8]", "[7, 8, 9]").replace("[7, 9]", "[7, 8, 9, 10]")
    with pytest.raises(ProfileError, match="block_tokens"):
        rows(tmp_path, text)
    assert [row.block_tokens for (row,) in rows(tmp_path, text, block_tokens=256)] == [256, 256]


def test_a_whole_session_with_a_bad_line_is_left_out_and_counted(tmp_path: Path) -> None:
    text = TRACELAB_CSV.replace("18336,324", "18336,-324")
    skipped = Skipped(allowed=True)
    found = rows(tmp_path, text, skipped=skipped)
    assert [session[0].isl for session in found] == [120]
    assert skipped.count == 2
