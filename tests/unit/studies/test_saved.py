"""Sweeps read back, and on a page: gcsim.studies.saved, gcsim.cli.report_sweep."""

from pathlib import Path

import pandas as pd
import pytest

import gcsim
from gcsim.cli.report import page_of
from gcsim.cli.report_sweep import answer
from gcsim.errors import ProfileError
from gcsim.plots import load_curves
from gcsim.results.html import words
from gcsim.results.text import three
from gcsim.studies.finished import ABOUT, TABLE
from gcsim.studies.saved import load_sweep
from gcsim.studies.sweep import Sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeps") / "a"


@pytest.fixture(scope="module")
def played(folder: Path) -> Sweep:
    grid = {"deployment": ["sn40l-mono", "h100-mono"]}
    settings = {"run.trajectories": 2}
    return gcsim.sweep("coding-agents", grid, [1, 2], settings=settings, out=folder, jobs=1)


def test_a_saved_sweep_is_what_it_was(played: Sweep, folder: Path) -> None:
    found = load_sweep(folder)
    assert found.to_json() == played.to_json()
    assert (found.keys, repr(found)) == (played.keys, repr(played))
    pd.testing.assert_frame_equal(found.table, played.table)
    assert found._repr_html_() == played._repr_html_()
    assert len(load_curves(found).axes) == 4


def test_a_sweep_is_a_page(played: Sweep, folder: Path) -> None:
    page = page_of([folder])
    assert words(answer(played)) in page
    assert played.at_slo is not None
    for held in played.at_slo["agents_at_slo"].dropna():
        assert f" {held:g}" in answer(played)
    assert page.count("<svg") == 1
    for value in played.table["mean_ttft_ms"]:
        assert str(value) in page
        assert three(value) in page


@pytest.mark.parametrize("file", [ABOUT, TABLE])
def test_a_sweep_that_is_cut_off_is_told(
    played: Sweep, folder: Path, tmp_path: Path, file: str
) -> None:
    for name in (ABOUT, TABLE):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert load_sweep(tmp_path).scenario == played.scenario
    (tmp_path / file).write_bytes(b"{")
    with pytest.raises(ProfileError, match="not the folder of a finished sweep"):
        load_sweep(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(ProfileError, match=f"{file}: No such file"):
        load_sweep(tmp_path)
