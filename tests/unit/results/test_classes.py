"""Results by class and steps within a budget: gcsim.results.classes, gcsim.cli.run_text."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gcsim
from gcsim.cli.run_text import caveats, class_tables
from gcsim.engine.session import PATH
from gcsim.profiles.resolve import resolve
from gcsim.results.classes import class_summaries, steps_done, steps_within
from gcsim.results.counted import Counted
from gcsim.results.paired import counted_of
from gcsim.results.result import Result
from gcsim.results.summary import PHASES
from gcsim.simulate import simulate
from gcsim.studies.replicate import combined
from gcsim.traffic.trajectory import Step, chain

COUNTS = ("completed", "rejected", "unfinished", "counted", "trajectories", "preemptions")
RATES = (
    "request_throughput", "output_throughput", "request_goodput", "task_throughput", "task_goodput",
)  # fmt: skip
MIX = {"run.trajectories": 60, "run.warmup": "30 s", "run.budget": "60 s"}


@pytest.fixture(scope="module")
def mixed() -> Result:
    return gcsim.run("mixed-agents", settings=MIX)


@pytest.mark.slow
def test_the_classes_of_a_mix_sum_to_the_run(mixed: Result) -> None:
    s, classes = mixed.summary, mixed.summary["classes"]
    assert [c["workload"] for c in classes] == ["chatbot", "coding-agent", "research"]
    assert [c["priority"] for c in classes] == [2, 1, 0]
    assert sum(c["share"] for c in classes) == pytest.approx(1)
    for key in (*COUNTS, *RATES):
        assert sum(c[key] for c in classes) == pytest.approx(s[key]), key
    assert all(c["trajectories"] for c in classes)
    for number in ("mean_e2el_ms", "cache_hit_rate"):
        values = [c[number] for c in classes]
        assert min(values) < s[number] < max(values)


@pytest.mark.slow
def test_a_class_has_the_metrics_of_its_own_rows(mixed: Result) -> None:
    for one in mixed.summary["classes"]:
        mine = mixed.requests[mixed.requests["workload"] == one["workload"]]
        done = mine[mine["counted"] & (mine["status"] == "completed")]
        assert one["mean_ttft_ms"] == pytest.approx(done["ttft_s"].mean() * 1e3)
        assert one["p99_e2el_ms"] == pytest.approx(np.percentile(done["e2e_s"] * 1e3, 99))
        assert sum(one["breakdown_ms"].values()) == pytest.approx(one["mean_e2el_ms"])


@pytest.mark.slow
def test_the_split_of_a_classs_task_time_sums_to_it(mixed: Result) -> None:
    for one in (mixed.summary, *mixed.summary["classes"]):
        parts = ("tools", "human", *PHASES)
        assert tuple(one["task_breakdown_ms"]) == parts
        assert ("tools", "tool_queue", *parts[1:]) == PATH
        assert sum(one["task_breakdown_ms"].values()) == pytest.approx(
            one["mean_task_ms"], rel=1e-12
        )
    chat, coding, _ = mixed.summary["classes"]
    assert chat["task_breakdown_ms"]["human"] > 0 == chat["task_breakdown_ms"]["tools"]
    assert coding["task_breakdown_ms"]["tools"] > 0 == coding["task_breakdown_ms"]["human"]


@pytest.mark.slow
def test_each_class_is_held_to_its_own_slo() -> None:
    tight: dict[str, Any] = {"run.trajectories": 40, "run.warmup": "0 s"}
    tight["workload.mix.1.slo.ttft"] = "1 ms"
    chat, coding, research = gcsim.run("mixed-agents", settings=tight).summary["classes"]
    assert coding["slo"] == {"ttft": 0.001, "task": 1800.0}
    assert coding["request_goodput"] == coding["task_goodput"] == 0
    assert chat["good_request_fraction"] > 0.5 < research["good_request_fraction"]
    tight["workload.mix.1.slo"] = {"ttft": "1 h", "task": "1 ms"}
    coding = gcsim.run("mixed-agents", settings=tight).summary["classes"][1]
    assert coding["request_goodput"] > 0 == coding["task_goodput"] == coding["good_task_fraction"]


def test_a_class_that_nobody_asked_for_has_no_means() -> None:
    one_task = {"run.trajectories": 1, "run.warmup": "0 s"}
    chat = gcsim.run("mixed-agents", settings=one_task).summary["classes"]
    absent = [c for c in chat if not c["trajectories"]]
    assert len(absent) == 2
    for one in absent:
        assert one["completed"] == one["request_goodput"] == 0
        assert one["mean_ttft_ms"] is None is one["good_task_fraction"]
        assert set(one["task_breakdown_ms"].values()) == {None}
    assert len(class_tables(chat)) == 2


def requests(*rows: tuple[int, float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["trajectory", "sent_s", "e2e_s", "status"])


def tasks(*rows: tuple[int, float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["trajectory", "start_s", "task_s", "status"])


def window(asked: pd.DataFrame, begun: pd.DataFrame, end_s: float) -> Counted:
    loaded_s = pd.Series(1.0, begun["trajectory"])
    return Counted(asked, begun, asked, begun, pd.DataFrame(), loaded_s, 3.0, end_s)


def test_steps_count_when_their_answer_is_there_in_time() -> None:
    table = requests(
        (7, 100.0, 4.0, "completed"), (7, 109.0, 1.0, "completed"), (7, 109.5, 0.6, "completed"),
        (8, 100.0, np.nan, "rejected"), (9, 100.0, 1.0, "completed"),
    )  # fmt: skip
    starts = pd.Series({7: 100.0, 8: 100.0})
    assert steps_done(table, starts, 10.0).to_dict() == {7: 2, 8: 0}  # 110.0 is in time
    assert steps_done(table, starts, 3.9).to_dict() == {7: 0, 8: 0}


def test_budgets_leave_out_what_the_end_of_the_run_or_the_warm_up_hides() -> None:
    asked = requests(
        (0, 5.0, 1.0, "completed"), (1, 6.0, 1.0, "completed"), (2, 6.0, 20.0, "completed"),
        (3, 40.0, 1.0, "completed"),
    )  # fmt: skip
    begun = tasks((1, 6, 1, "completed"), (2, 6, 20, "completed"),
                  (3, 40, 1, "completed"))  # fmt: skip
    found = steps_within(window(asked, begun, 45.0), 10.0)
    wanted = {"budget_s": 10.0, "tasks": 3, "mean": 2 / 3, "median": 1.0, "p10": 0.2, "p90": 1.0}
    assert found == pytest.approx({**wanted, "finished": 2 / 3})
    begun.loc[1, ["task_s", "status"]] = [np.nan, "unfinished"]  # cut off at 45 s: 3 is not known
    found = steps_within(window(asked, begun, 45.0), 10.0)
    assert found is not None
    assert (found["tasks"], found["mean"], found["finished"]) == (2, 0.5, 0.5)
    assert steps_within(window(asked, begun, 45.0), None) is None


def test_tool_time_counts_against_the_budget() -> None:
    """Steps of a second or less, tools of 10 s between them: three fit into 25 s, not 25."""
    steps = [Step(((1, 100),), 4), *(Step(((k, 10),), 4, delay_s=10.0) for k in range(2, 9))]
    resolved = resolve("coding-agents", {"run.budget": "25 s"})
    found = simulate(resolved, [chain(0, "coding-agent", steps, 0.0)]).summary
    within = found["steps_within_budget"]
    assert (within["mean"], within["median"], within["finished"]) == (3.0, 3.0, 0.0)
    assert found["classes"][0]["steps_within_budget"] == within
    whole = simulate(
        resolve("coding-agents", {"run.budget": "1h"}), [chain(0, "coding-agent", steps, 0.0)]
    )
    assert whole.summary["steps_within_budget"]["mean"] == 8.0
    assert whole.summary["steps_within_budget"]["finished"] == 1.0


@pytest.mark.slow
def test_a_budget_changes_nothing_else(mixed: Result) -> None:
    without = {k: v for k, v in MIX.items() if k != "run.budget"}
    plain = gcsim.run("mixed-agents", settings=without)
    assert plain.summary["steps_within_budget"] is None
    pd.testing.assert_frame_equal(plain.requests, mixed.requests)
    again = class_summaries(plain.resolved.scenario, counted_of(plain))
    assert again == plain.summary["classes"]


TRACE = (
    '{"timestamp": 0, "input_length": 10, "output_length": 2}\n'
    '{"timestamp": 1, "input_length": -5, "output_length": 2}\n'
    "what is this\n"
    '{"timestamp": 2, "input_length": 20, "output_length": 2}\n'
)


def test_skipped_lines_are_in_the_summary_and_told(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(TRACE)
    settings: dict[str, Any] = {"workload.trace.path": str(file)}
    with pytest.raises(gcsim.errors.ProfileError, match=r"trace\.jsonl:2"):
        gcsim.run("mooncake-replay", settings=settings)
    settings["workload.trace.skip_bad_lines"] = True
    summary = gcsim.run("mooncake-replay", settings=settings).summary
    assert (summary["completed"], summary["skipped_lines"], summary["skipped_failed"]) == (2, 2, 0)
    assert "2 bad lines of the trace were skipped." in caveats(summary)


def test_failed_requests_of_a_trace_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "burst.csv"
    file.write_text(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n"
    )
    settings = {"workload.trace": {"format": "burstgpt", "path": str(file)}}
    summary = gcsim.run("mooncake-replay", settings=settings).summary
    assert (summary["completed"], summary["skipped_failed"], summary["skipped_lines"]) == (1, 1, 0)
    assert any("marks as failed were left out" in text for text in caveats(summary))


@pytest.mark.slow
def test_saturated_replications_have_no_times_in_their_classes_either(mixed: Result) -> None:
    saturated = {**mixed.summary, "saturated": True, "saturated_why": "its load grows"}
    found = combined([saturated, saturated])
    for one in (found, *found["classes"]):
        assert one["mean_e2el_ms"] is None
        assert set(one["breakdown_ms"].values()) == {None} == set(one["task_breakdown_ms"].values())
        assert one["completed"] > 0
    kept = combined([mixed.summary, mixed.summary])
    assert kept["classes"] == mixed.summary["classes"]
