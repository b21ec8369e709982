"""How large a run will be, told before it starts (gcsim.traffic.expected)."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import gcsim
from gcsim.cli import app as cli
from gcsim.errors import ProfileError
from gcsim.profiles.library import shipped
from gcsim.profiles.resolve import resolve
from gcsim.profiles.workload import load_workload
from gcsim.traffic.expected import calls, check_size, recorded, size, span, that_fit

POISSON = {"process": "poisson", "rate": "2/s"}


@pytest.mark.parametrize("name", ["coding-agents", "chatbot", "mixed-agents"])
@pytest.mark.slow
def test_requests_are_at_least_those_that_are_played(name: str) -> None:
    """On average; what fills the machine around the window is counted for more than it is."""
    resolved = resolve(name, {"run.trajectories": 60})
    played = len(gcsim.run(resolved).requests)
    assert 0.8 * played < size(resolved.scenario).requests < 20 * played


@pytest.mark.parametrize("name", shipped("workload"))
def test_every_shipped_class_has_a_size(name: str) -> None:
    agent = load_workload(name).agent
    assert agent is None or 1 <= calls(agent) < 1_000


def test_how_many_start() -> None:
    """Those that count, and more around them; of a batch just these, and none beyond the end."""
    small, large = (
        size(resolve("coding-agents", {"run.trajectories": n}).scenario).trajectories
        for n in (100, 1100)
    )
    assert small > 100
    assert large - small == 1000
    batch = {"arrivals": {"process": "static"}, "run.trajectories": 7}
    assert size(resolve("coding-agents", batch).scenario).trajectories == 7
    cut = {"arrivals": POISSON, "run.horizon": "10 s", "run.trajectories": 10**6}
    assert size(resolve("chatbot", cut).scenario).trajectories < 10_000
    points = [{"at": "0 s", "rate": "1/s"}, {"at": "10 s", "rate": "0/s"}]
    ended = {"arrivals": {"process": "steps", "points": points}, "run.trajectories": 10**6}
    assert size(resolve("coding-agents", ended).scenario).trajectories == 11


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"run.trajectories": 10**9}, "and the limit is 1 h; run.trajectories="),
        ({"run.trajectories": 10**6, "run.limit": "1 min"}, "and the limit is 1 min"),
        ({"run.trajectories": 10**9, "run.limit": "5000 h"}, "GB for it; fewer trajectories"),
    ],
)
def test_what_is_not_begun(settings: dict[str, Any], said: str) -> None:
    large = resolve("coding-agents", settings)
    with pytest.raises(ProfileError) as caught:
        check_size(large.scenario)
    assert said in str(caught.value)


def test_every_study_asks_before_it_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcsim.simulate.play_scenario", None)  # nothing may be played
    large = resolve("coding-agents", {"run.trajectories": 10**9})
    for study in (gcsim.run, gcsim.compare, gcsim.replicate):
        with pytest.raises(ProfileError, match="and the limit is 1 h"):
            study(*([large, 2] if study is gcsim.replicate else [large]))


def test_what_fits_fits() -> None:
    large = resolve("coding-agents", {"run.trajectories": 10**7}).scenario
    cut = {"run.trajectories": that_fit(large, 600.0), "run.limit": "10.1 min"}
    again = resolve("coding-agents", cut).scenario
    assert check_size(again).takes_s == pytest.approx(600, rel=0.05)
    assert that_fit(resolve("coding-agents").scenario, 600.0) == 64
    assert that_fit(large, 1e-3) == 1, "what fills the machine is there however few count"


def test_more_replicas_take_longer() -> None:
    many = {"deployment.pools.serve.replicas": 1000}
    base, wide = (size(resolve("coding-agents", more).scenario) for more in ({}, many))
    assert wide.takes_s > 5 * base.takes_s
    assert wide.requests == base.requests


@pytest.mark.slow
def test_limit_cuts_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "coding-agents", "--set", "run.trajectories=1000000", "--limit", "2 s"]
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert (end.value.code or 0) == 0
    assert "Cut to " in err
    assert "about 37," in err
    assert "requests/s" in out
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "coding-agents", "--limit", "soon"])
    assert end.value.code == 2


def test_times_in_words() -> None:
    assert [span(s) for s in (0.5, 59, 60, 3600, 86_400, 4e7)] == [
        "0.5 s",
        "59 s",
        "1 min",
        "1 h",
        "1 d",
        "1.27 years",
    ]


def _trace(folder: Path, lines: int, packed: bool = False) -> Path:
    record = '{"timestamp": 0, "input_length": 9, "output_length": 2}\n'
    path = folder / "trace.jsonl"
    path.write_bytes((gzip.compress if packed else bytes)(record.encode() * lines))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_trace_is_judged_by_its_beginning(tmp_path: Path, packed: bool) -> None:
    path = str(_trace(tmp_path, 200_000, packed))
    found = size(resolve("mooncake-replay", {"workload.trace.path": path}).scenario)
    assert found.requests == pytest.approx(200_000, rel=0.02)
    few = {"workload.trace.path": path, "workload.trace.requests": 100}
    assert size(resolve("mooncake-replay", few).scenario).requests == pytest.approx(100)
    weka = tmp_path / "weka.jsonl"
    weka.write_text('{"requests": [{"out": 1}, {"out": 2}, {"out": 3}]}\n' * 10)
    assert recorded(weka) == (10, 30)
    weka.write_text('{\n"requests": [\n{\n"in": 1,\n"out": 1\n},\n{"out": 2}\n]\n}\n')
    assert recorded(weka) == (2, 2), "one object over several lines"
    weka.write_text('"time","output_length"\n1,2\n3,4\n')
    assert recorded(weka) == (3, 3), "a header counts as a line"
    assert recorded(tmp_path / "absent") == (0, 0)
    broken = tmp_path / "broken.gz"
    broken.write_bytes(b"\x1f\x8b\x08junk")
    assert recorded(broken) == (0, 0)


def test_a_trace_that_takes_too_long_is_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"workload.trace.path={_trace(tmp_path, 50_000)}"
    call = ["run", "mooncake-replay", "--set", where, "--format", "json"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*call, "--set", "run.limit=1 s"])
    assert ended.value.code == 2
    assert "about 50,000 requests" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.main([*call, "--limit", "0.05 s"])
    out, err = capsys.readouterr()
    assert not ended.value.code
    assert "by --limit" in err
    assert 20 < json.loads(out)["completed"] < 1_000
