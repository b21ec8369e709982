"""The results folder: gcsim.results.result."""

import json
from pathlib import Path

import pandas as pd
import pytest

import gcsim
from gcsim.errors import ProfileError
from gcsim.results.folder import FILES, check_target
from gcsim.results.result import Result

SETTINGS = {
    "arrivals.agents": 2,
    "run.trajectories": 3,
    "deployment": "mi300x-prefill-sn50-decode",
    "deployment.links.bandwidth": "100 Gbit/s",
}


@pytest.fixture(scope="module")
def result() -> Result:
    return gcsim.run("coding-agents", settings=SETTINGS, seed=4)


def test_the_folder_reproduces_the_run_byte_by_byte(result: Result, tmp_path: Path) -> None:
    first = result.save(tmp_path / "first")
    assert {path.name for path in first.iterdir()} >= set(FILES)
    again = gcsim.run(first / "scenario.yaml", out=tmp_path / "again")
    assert again.resolved.mapping == result.resolved.mapping
    for name in sorted(path.name for path in first.iterdir()):
        assert (first / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_the_tables_read_back_as_they_were(result: Result, tmp_path: Path) -> None:
    folder = result.save(tmp_path / "x")
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "requests.parquet"), result.requests)
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "trajectories.parquet"), result.trajectories
    )
    assert json.loads((folder / "summary.json").read_text()) == json.loads(result.to_json())


def test_an_earlier_results_folder_is_replaced(result: Result, tmp_path: Path) -> None:
    target = result.save(tmp_path / "x")
    (target / "old").write_text("")
    result.save(target)
    assert not (target / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_folder_of_somebody_else_is_left_alone(result: Result, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ProfileError, match="is not a results folder"):
        result.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_failure_leaves_the_earlier_folder_whole(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = result.save(tmp_path / "x")
    before = (target / "requests.parquet").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(ProfileError, match=r"cannot be written.*No space left on device"):
        result.save(target)
    assert (target / "requests.parquet").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_target_is_checked_without_a_trace(tmp_path: Path) -> None:
    assert check_target(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert list((tmp_path / "a").iterdir()) == []
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(ProfileError, match="--out"):
            check_target(wrong)
