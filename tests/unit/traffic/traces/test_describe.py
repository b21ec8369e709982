"""What a trace holds: counts, percentiles, burstiness, reuse; None where it does not say."""

import json
from pathlib import Path
from typing import Any

import pytest

from gcsim.traffic.traces.describe import Description, Reuse, describe
from gcsim.traffic.traces.native import line
from gcsim.traffic.traces.row import Skipped
from gcsim.traffic.trajectory import Step, Trajectory, chain


def summary(tmp_path: Path, *records: dict[str, Any]) -> dict[str, Any]:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return describe(path).summary()


def row(timestamp: float, isl: int, *hash_ids: int, osl: int = 1) -> dict[str, Any]:
    return {
        "timestamp": timestamp,
        "input_length": isl,
        "output_length": osl,
        "hash_ids": list(hash_ids),
    }


def test_reuse_is_the_longest_prefix_seen(tmp_path: Path) -> None:
    found = summary(
        tmp_path,
        row(0, 1024, 1, 2),
        row(1000, 1024, 1, 3),  # hits the first block
        row(1500, 1024, 9, 2),  # 2 was seen, but not as the beginning
        row(3500, 600, 1, 3),  # hits both, the last with 88 tokens
    )
    assert found["block_hit"] == 3 / 8
    assert found["token_hit"] == (512 + 600) / (3 * 1024 + 600)
    assert (found["requests"], found["sessions"], found["span_s"]) == (4, 4, 3.5)
    gaps = (1.0, 0.5, 2.0)
    average = sum(gaps) / 3
    spread = (sum((gap - average) ** 2 for gap in gaps) / 3) ** 0.5
    assert found["arrival_cv"] == pytest.approx(spread / average)
    assert found["isl"] == {"mean": 918.0, "p50": 1024.0, "p90": 1024.0, "p99": 1024.0}


def test_turns_of_a_session_hit_what_went_before(tmp_path: Path) -> None:
    found = summary(
        tmp_path,
        {**row(0, 512, 1, osl=88), "session_id": "a"},
        {"session_id": "a", "delay": 1, "input_length": 100, "output_length": 1},
        {**row(5, 512, 1), "session_id": "b"},
    )
    assert found["isl"]["mean"] == (512 + 700 + 512) / 3
    assert found["token_hit"] == (0 + 600 + 512) / (512 + 700 + 512)
    assert (found["requests"], found["sessions"]) == (3, 2)
    assert found["span_s"] == 0.005


def test_what_a_trace_does_not_say_is_none(tmp_path: Path) -> None:
    found = summary(tmp_path, {"input_length": 10, "output_length": 5})
    assert found["token_hit"] is found["block_hit"] is found["arrival_cv"] is None
    assert found["span_s"] is None
    assert Description().summary()["isl"] is None


def test_sub_agents_are_counted_apart(tmp_path: Path) -> None:
    call = {"in": 130, "out": 20, "h": [1, 2]}
    found = summary(
        tmp_path,
        {"id": "x", "block_size": 64, "requests": [call, {"sub": "a", "requests": [call]}, call]},
    )
    assert (found["requests"], found["sub_agent_requests"], found["sessions"]) == (2, 1, 1)
    assert found["token_hit"] == 128 / 260
    assert found["block_hit"] == 0.5


def test_trajectories_hit_parents_shared_prefixes_and_samples() -> None:
    reuse = Reuse([(9, 100)])
    first = chain(0, "w", [Step(((9, 100), (1, 50)), 10), Step(((2, 20),), 10)])
    assert reuse.steps(first.steps) == [(150, 100), (180, 160)]
    samples = (Step(((9, 100), (3, 50)), 1), Step(((9, 100), (3, 50)), 1))
    assert reuse.steps(samples) == [(150, 100), (150, 150)]
    shorter = (Step(((9, 60), (4, 50)), 1),)
    assert reuse.steps(shorter) == [(110, 60)]
    kept = (*first.steps, Step(((5, 5),), 1, 0.0, 0, (1,), keep=120))
    assert Reuse().steps(kept) == [(150, 0), (180, 160), (125, 120)]


def test_a_gcsim_trace_is_described_as_its_trajectories(tmp_path: Path) -> None:
    path = tmp_path / "t"
    tasks = [
        Trajectory(k, "w", chain(k, "w", [Step(((9, 100), (k + 1, 50)), 10)]).steps, float(k))
        for k in range(3)
    ]
    path.write_text("".join(line(task) + "\n" for task in tasks))
    found = describe(path).summary()
    assert found["token_hit"] == pytest.approx(200 / 450)
    assert (found["block_hit"], found["span_s"], found["arrival_cv"]) == (None, 2.0, 0.0)


def test_skipped_lines_are_counted_for_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(row(0, 512, 1)) + '\n{"cut')
    skipped = Skipped(allowed=True)
    assert describe(path, skipped=skipped).summary()["requests"] == 1
    assert skipped.count == 1
