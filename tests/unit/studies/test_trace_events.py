"""A run as trace events: gcsim.studies.trace_events, gcsim.engine.log, gcsim.results.spans."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gcsim
from gcsim.cli import app as cli
from gcsim.errors import ProfileError
from gcsim.results.result import Result
from gcsim.results.spans import in_rows, spans
from gcsim.studies.trace_events import LINKS, POOLS, TASKS, WAITS, Trace, trace_events

pytestmark = pytest.mark.slow  # most of these play runs
FEW = {"arrivals.agents": 2, "run.trajectories": 3, "run.warmup": "0s"}


@pytest.fixture(scope="module")
def result() -> Result:
    return gcsim.run("coding-agents", settings=FEW | {"deployment": "mi300x-prefill-sn50-decode"})


@pytest.fixture(scope="module")
def trace(result: Result) -> Trace:
    return trace_events(result)


def of(trace: Trace, pid: int, kind: str = "X") -> list[dict[str, Any]]:
    return [one for one in trace.events if one["pid"] == pid and one["ph"] == kind]


def test_it_is_what_the_trace_event_format_says(trace: Trace) -> None:
    text = json.dumps(trace.to_dict(), allow_nan=False)
    found = json.loads(text)
    assert set(found) == {"traceEvents", "displayTimeUnit", "otherData"}
    named = set()
    for event in found["traceEvents"]:
        assert isinstance(event["name"], str)
        assert all(isinstance(event[key], int) for key in ("pid", "tid"))
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert isinstance(event.get("args", {}), dict)
        elif event["ph"] == "C":
            assert all(isinstance(value, float) for value in event["args"].values())
        else:
            assert event["ph"] == "M"
            assert event["name"] in ("process_name", "process_sort_index", "thread_name")
            named.add((event["pid"], event["tid"], event["name"]))
    for pid, tid in {(one["pid"], one["tid"]) for one in trace.events}:
        assert (pid, 0, "process_name") in named
        assert not tid or (pid, tid, "thread_name") in named
    times = [one["ts"] for one in trace.events]
    assert times == sorted(times)


def test_slices_of_one_track_nest(trace: Trace) -> None:
    tracks: dict[tuple[int, int], list[float]] = {}
    for one in trace.events:
        if one["ph"] != "X":
            continue
        above = tracks.setdefault((one["pid"], one["tid"]), [])
        while above and above[-1] <= one["ts"] + 2e-3:  # ns; times are given to them
            above.pop()
        end = one["ts"] + one["dur"]
        assert not above or end <= above[-1] + 2e-3, one
        above.append(end)


def test_tracks_hold_what_the_tables_say(trace: Trace, result: Result) -> None:
    steps = [one for one in of(trace, TASKS) if one["name"].startswith("step")]
    done = result.requests[result.requests["status"] == "completed"]
    assert len(steps) == len(done)
    assert sum(one["dur"] for one in steps) == pytest.approx(done["e2e_s"].sum() * 1e6)
    assert sum(one["args"]["osl"] for one in steps) == done["osl"].sum()
    waits = sum(one["dur"] for one in of(trace, WAITS))
    assert waits == pytest.approx(result.trajectories["tools_s"].sum() * 1e6)
    links = of(trace, LINKS)
    assert len(links) == result.links["transfers"].sum()
    assert sum(one["args"]["bytes"] for one in links) == pytest.approx(
        result.links["sent_bytes"].sum()
    )
    counters = {(one["pid"], next(iter(one["args"]))) for one in trace.events if one["ph"] == "C"}
    assert counters == {(POOLS + k, name) for k in (0, 1) for name in ("queue", "batch", "KV %")}


def test_replicas_are_busy_for_as_long_as_their_pools(trace: Trace, result: Result) -> None:
    for place, pool in result.pools.iterrows():
        played = of(trace, POOLS + int(str(place)))
        busy_us = sum(one["dur"] for one in played)
        share = busy_us * 1e-6 / result.summary["simulated_s"] / pool["replicas"]
        assert share == pytest.approx(pool["utilization"])
        assert sum(one["args"]["iterations"] for one in played) == pool["iterations"]
        assert sum(one["args"]["prompt_tokens"] for one in played) == pool["prompt_tokens"]
        assert all(one["args"]["bound"] for one in played)


def test_each_iteration_can_be_seen_by_itself(trace: Trace, result: Result) -> None:
    window = (0.0, 30.0)
    few, every = (trace_events(result, window, each=each) for each in (False, True))
    for pid in (POOLS, POOLS + 1):
        alike, single = of(few, pid), of(every, pid)
        assert {one["args"]["iterations"] for one in single} == {1}
        assert len(single) == sum(one["args"]["iterations"] for one in alike)
        assert len(single) > len(alike) or pid == POOLS  # prompts are never alike
        ends = [max(one["ts"] + one["dur"] for one in some) for some in (alike, single)]
        assert ends[0] == pytest.approx(ends[1])


def test_a_window_is_kept_and_a_limit_cuts(trace: Trace, result: Result) -> None:
    part = trace_events(result, (100.0, 200.0), iterations=False)
    assert 0 < len(part.events) < len(trace.events)
    for one in part.events:
        assert one["ts"] <= 200e6
        assert one["ts"] + one.get("dur", 0.0) >= 100e6
    few = trace_events(result, iterations=False, most=50)
    assert (len(few.events), few.cut) == (50, True)
    assert few.until_s < trace.until_s
    assert few.to_dict()["otherData"]["cut"] is True
    with pytest.raises(ProfileError, match="no part of the run"):
        trace_events(result, (1e9, 2e9))


def test_another_run_is_not_shown_as_this_one(result: Result) -> None:
    moved = result.requests.assign(e2e_s=result.requests["e2e_s"] + 1e-6)
    with pytest.raises(ProfileError, match="plays otherwise now"):
        trace_events(replace(result, requests=moved), (0.0, 100.0))


def test_spans_of_a_task_fill_it_and_rows_do_not_overlap(result: Result) -> None:
    found = spans(result)
    total = (found["end_s"] - found["start_s"]).groupby(found["trajectory"]).sum()
    tasks = result.trajectories.set_index("trajectory")["task_s"]
    assert total.to_dict() == pytest.approx(tasks.to_dict())
    table = pd.DataFrame({"lane": "a", "start_s": [0.0, 1.0, 2.0], "end_s": [2.0, 3.0, 4.0]})
    assert in_rows(table)["row"].tolist() == [0, 1, 0]
    assert in_rows(table)["rows"].tolist() == [2, 2, 2]


def test_a_saved_run_becomes_a_file(
    result: Result, trace: Trace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = result.save(tmp_path / "run"), tmp_path / "trace.json"
    for arguments, error in (
        (["--window", "a:b"], "is no window"),
        (["--each", "--no-iterations"], "goes not with"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(["timeline", str(folder), "--out", str(out), *arguments])
        assert ended.value.code == 2
        assert error in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.main(["timeline", str(folder), "--out", str(out)])
    assert ended.value.code == 0
    assert json.loads(out.read_text()) == json.loads(json.dumps(trace.to_dict()))
    with pytest.raises(SystemExit) as ended:
        cli.main(["timeline", str(folder), "--out", str(out)])
    assert "--force" in capsys.readouterr().err
