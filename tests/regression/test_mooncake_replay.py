"""The shipped scenario of a recorded trace, on a small trace and on the public one."""

import json
from pathlib import Path

import pytest
from toys import public_trace

import gcsim
from gcsim.errors import ProfileError
from gcsim.results.result import Result


def replay(path: Path, **settings: object) -> Result:
    return gcsim.run("mooncake-replay", settings={"workload.trace.path": str(path), **settings})


def test_a_trace_without_a_path_names_the_setting() -> None:
    with pytest.raises(ProfileError, match=r"--set workload\.trace\.path=FILE"):
        gcsim.run("mooncake-replay")


def test_each_request_of_a_trace_ends_once_and_shared_blocks_are_hits(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 1000 * k, "input_length": 1500, "output_length": 5, "hash_ids": [7, 8, k]}
        for k in range(100, 120)
    ]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    result = replay(path, deployment="sn40l-mono")
    assert result.summary["completed"] == len(result.requests) == 20
    assert result.requests["sent_s"].diff().iloc[1:].round(9).eq(1.0).all()
    assert result.requests["cached_tokens"].tolist() == [0] + [1024] * 19
    assert gcsim.run(result.resolved).to_json() == result.to_json()


def test_the_public_trace_replays_wholly() -> None:
    result = replay(public_trace("mooncake_conversation_trace.jsonl.gz"))
    summary, table = result.summary, result.requests
    assert len(table) == 12_031
    ends = [summary[key] for key in ("completed", "rejected", "unfinished")]
    assert sum(ends) == 12_031
    assert summary["completed"] > 12_000
    assert sum(summary["reasons"].values()) == summary["rejected"]
    assert not table.duplicated(["trajectory", "step"]).any()
