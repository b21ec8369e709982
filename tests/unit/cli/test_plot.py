"""`gcsim plot`: gcsim.cli.plot, gcsim.cli.sources, gcsim.cli.timeline."""

import json
from pathlib import Path

import pytest

import gcsim
from gcsim.cli import app as cli
from gcsim.cli.plot import OF, Kind
from gcsim.cli.sources import read_sources
from gcsim.errors import ProfileError
from gcsim.plots.style import write_picture

pytestmark = pytest.mark.slow  # most of these play runs
FEW = {"arrivals.agents": 1, "run.trajectories": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved: a run, a run with another load, a plan over load."""
    place = tmp_path_factory.mktemp("saved")
    for agents in (1, 2):
        settings = FEW | {"arrivals.agents": agents}
        gcsim.run("coding-agents", settings=settings, out=place / f"run{agents}")
    row = {"family": "a", "deployment": "1 x a", "load": 1.0, "usd_per_hour": 2.0}
    over = {"scenario": "s", "model": "m", "load_kind": "agents", "slo": [], "families": [row]}
    over |= {"runs": 1, "minimize": "cost", "version": "1", "loads": [1.0]}
    (place / "plan.json").write_text(json.dumps(over))
    return place


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["plot", *arguments])
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("latencies", ["run1", "run2"]),
        ("load", ["run1", "run2"]),
        ("gantt", ["run1"]),
        ("roofline", ["run1"]),
        ("costs", ["plan.json"]),
    ],
)
def test_what_was_saved_is_drawn(
    folder: Path, tmp_path: Path, kind: str, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.svg"
    sources = [str(folder / name) for name in names]
    assert told([kind, *sources, "--out", str(out)], capsys) == (0, f"Drawn in {out}\n")
    assert out.read_text().count("<svg") == 1
    code, error = told([kind, *sources, "--out", str(out)], capsys)
    assert code == 2
    assert "--force replaces it" in error


def test_a_picture_of_something_else_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [str(folder / "run1"), str(folder / "run2")]
    for kind, sources in (
        ("gantt", both),
        ("costs", both[:1]),
        ("load", [str(folder / "plan.json")]),
    ):
        code, error = told([kind, *sources, "--out", str(tmp_path / "y.svg")], capsys)
        assert code == 2
        assert f"is of {OF[Kind(kind)]}" in error
    code, error = told(["tornado", both[0], "--out", str(tmp_path / "y.svg")], capsys)
    assert code == 2
    assert "add --bands" in error
    assert set(OF) == set(Kind)


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    for text in ("[1]", "{", '{"loads": []}', '{"scenario": "s"}'):
        path = tmp_path / "plan.json"
        path.write_text(text)
        with pytest.raises(ProfileError):
            read_sources([path])


def test_a_picture_that_cannot_be_finished_leaves_the_one_before(tmp_path: Path) -> None:
    class Broken:
        def savefig(self, path: Path, **_: object) -> None:
            path.write_text("<svg")
            raise OSError(28, "No space left on device")

    out = tmp_path / "x.svg"
    out.write_text("whole")
    with pytest.raises(ProfileError, match="No space left on device"):
        write_picture(Broken(), out)  # type: ignore[arg-type]  # it is saved, and no more
    assert out.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [out]


def test_a_timeline_is_whole_or_not_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "trace.json"
    command = ["timeline", str(folder / "run1"), "--out", str(out), "--force"]
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert not ended.value.code
    whole = out.read_text()
    assert json.loads(whole)["traceEvents"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gcsim.profiles.template.Path.replace", full)
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 2
    assert out.read_text() == whole
    assert list(tmp_path.iterdir()) == [out]
