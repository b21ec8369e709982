"""Replications and their stop rule, interrupted and resumed (gcsim.studies.replicate)."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gcsim.errors import Interrupted, ProfileError
from gcsim.profiles.resolve import Resolved, resolve
from gcsim.results.folder import complete
from gcsim.studies import replicate as module
from gcsim.studies.replicate import LEAST, is_precise, replicate, spawned_seeds

FEW = {"arrivals.agents": 2, "run.trajectories": 2}


@pytest.fixture
def small() -> Resolved:
    return resolve("coding-agents", FEW)


def faked(
    monkeypatch: pytest.MonkeyPatch, means: Sequence[float], saturated: bool = False
) -> list[int]:
    """Replications that give these means of E2E; returns the seeds that are played."""
    known = dict(zip(spawned_seeds(1, len(means)), means, strict=True))
    played: list[int] = []

    def simulate_all(runs: list[Resolved], jobs: int | None = None) -> list[Any]:
        found = []
        for run in runs:
            seed = run.scenario.run.seed
            played.append(seed)
            summary = {
                "seed": seed, "mean_e2el_ms": known[seed], "pools": [],
                "saturated": saturated, "saturated_why": "it grows" if saturated else None,
            }  # fmt: skip
            found.append(SimpleNamespace(summary=summary))
        return found

    monkeypatch.setattr(module, "simulate_all", simulate_all)
    return played


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_processes(small: Resolved) -> None:
    one = replicate(small, 3, jobs=1)
    two = replicate(small, 3, jobs=2)
    assert one.to_json() == two.to_json()
    assert one.summary["seeds"] == list(spawned_seeds(1, 3))
    assert len({s["mean_e2el_ms"] for s in one.summaries}) == 3


@pytest.mark.parametrize("jobs", [1, 4, 7])
def test_it_stops_at_the_first_narrow_interval(
    small: Resolved, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    means = [100.0 + 30 * (-1) ** k for k in range(6)] + [100.0 + k % 3 for k in range(300)]
    faked(monkeypatch, means)
    found = replicate(small, 306, 0.05, jobs=jobs)
    number = len(found.summaries)
    assert LEAST < number < 306
    assert is_precise(found.summaries, 0.05)
    assert not is_precise(found.summaries[:-1], 0.05)
    low, high = found.summary["ci95_mean_e2el_ms"]
    assert (high - low) / 2 <= 0.05 * found.summary["mean_e2el_ms"]
    assert found.summary["precision_reached"]


def test_it_never_stops_before_the_least_and_tells_what_it_did_not_reach(
    small: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = faked(monkeypatch, [1.0] * 20)
    assert len(replicate(small, 20, 0.01).summaries) == LEAST
    assert len(played) == LEAST
    faked(monkeypatch, [1.0, 9.0] * 10)
    found = replicate(small, 20, 0.01)
    assert len(found.summaries) == 20
    assert found.summary["precision_reached"] is False


def test_a_saturated_scenario_is_not_played_for_ever(
    small: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    faked(monkeypatch, [1.0, 9.0] * 500, saturated=True)
    found = replicate(small, precision=0.01)
    assert len(found.summaries) == LEAST
    assert found.summary["saturated"] is True
    assert found.summary["mean_e2el_ms"] is None


@pytest.mark.slow
def test_interrupted_replications_are_kept_and_resumed(
    small: Resolved, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, real, calls = tmp_path / "out", module.simulate_all, 0

    def interrupted(runs: list[Resolved], jobs: int | None = None) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(runs, jobs)

    monkeypatch.setattr(module, "simulate_all", interrupted)
    with pytest.raises(Interrupted, match=r"2 replications are kept in .*out\.partial; --resume"):
        replicate(small, 4, jobs=1, out=out)
    assert not out.exists()
    with pytest.raises(ProfileError, match="add --resume"):
        replicate(small, 4, jobs=1, out=out)
    calls = 3
    replicate(small, 4, jobs=1, out=out, resume=True)
    assert calls == 5  # the two that were missing
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert complete(out)["replications"] == 4
    replicate(small, 4, jobs=1, out=tmp_path / "at-once")
    for name in ("summary.json", "replications.parquet", "scenario.yaml"):
        assert (out / name).read_bytes() == (tmp_path / "at-once" / name).read_bytes()


def test_another_scenario_is_not_resumed(small: Resolved, tmp_path: Path) -> None:
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / "run.json").write_text(json.dumps({"hash": "other", "version": "0"}))
    with pytest.raises(ProfileError, match="is of another scenario or version"):
        replicate(small, 2, out=tmp_path / "out", resume=True)


def test_a_half_written_replication_is_played_again(small: Resolved, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kept = module._Kept(small, out, False)
    kept.read(spawned_seeds(1, 2))
    (kept.folder / "0000.json").write_text('{"seed": 1, "mean')
    replicate(small, 2, out=out, resume=True)
    assert complete(out)["replications"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "neither a number"),
        ({"count": 3, "precision": 0.1}, "less than the 10"),
        ({"count": 3, "resume": True}, "needs --out"),
    ],
)
def test_what_does_not_go_together(small: Resolved, arguments: Any, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        replicate(small, **arguments)
