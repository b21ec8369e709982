"""Recorded coding sessions replayed as closed-loop agents: scenarios/weka-replay.yaml."""

import pytest
from toys import public_trace

import gcsim
from gcsim.errors import ProfileError
from gcsim.traffic.traces.formats import read
from gcsim.traffic.traces.row import Options

SESSIONS = 80
BOTH = ("sn40l-mono", "mi300x-prefill-sn50-decode")


@pytest.mark.slow
@pytest.mark.parametrize("deployment", BOTH)
def test_weka_sessions_replay_and_only_those_beyond_the_window_are_rejected(
    deployment: str,
) -> None:
    path = public_trace("weka_claude_code_sessions.jsonl.gz")
    settings = {"workload.trace.path": str(path), "deployment": deployment}
    result = gcsim.run("weka-replay", settings={**settings, "run.trajectories": SESSIONS})
    s, tasks = result.summary, result.trajectories
    window = result.resolved.scenario.model.context_window
    sessions = [rows for _, rows in zip(range(SESSIONS), read(path, Options("weka")), strict=False)]
    fit = [max(row.isl for row in rows) < window for rows in sessions]
    assert (tasks["status"] == "completed").tolist() == fit
    assert 0 < s["rejected"] < s["completed"] / 100
    assert set(s["reasons"]) == {"context_window"}
    assert s["unfinished"] == 0
    whole = [len(rows) for rows, fits in zip(sessions, fit, strict=True) if fits]
    assert tasks.loc[fit, "steps_done"].tolist() == whole
    assert (tasks.loc[fit, "tools_s"] + tasks.loc[fit, "human_s"]).sum() > 0


@pytest.mark.slow
def test_weka_agents_are_a_closed_loop() -> None:
    path = public_trace("weka_claude_code_sessions.jsonl.gz")
    settings = {"workload.trace.path": str(path), "arrivals.agents": 4, "run.trajectories": 12}
    tasks = gcsim.run("weka-replay", settings=settings).trajectories
    for at_s in tasks["start_s"]:
        live = (tasks["start_s"] <= at_s) & (at_s < tasks["end_s"])
        assert 1 <= live.sum() <= 4
    assert (tasks["start_s"] == 0).sum() == 4


def test_a_replay_without_a_path_says_how_to_give_one() -> None:
    with pytest.raises(ProfileError, match=r"--set workload\.trace\.path=FILE"):
        gcsim.run("weka-replay")
