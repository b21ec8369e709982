"""What stands on the pictures of load curves: gcsim.studies.sweep_plots."""

from pathlib import Path

import numpy as np
import pytest

import gcsim
from gcsim.cli import app as cli
from gcsim.errors import ProfileError
from gcsim.results.plots import new_axes
from gcsim.studies.sweep import Sweep
from gcsim.studies.sweep_plots import check_plot, latency_against_load, load_curves, write_plot

LOADS = [1.0, 64.0]


@pytest.fixture(scope="module")
def found() -> Sweep:
    """Two deployments of which one is saturated at the higher load."""
    grid = {"deployment": ["sn40l-mono", "h100-mono"]}
    return gcsim.sweep("chatbot", grid, LOADS, settings={"run.trajectories": 120}, jobs=1)


def test_curves_are_the_table(found: Sweep) -> None:
    figure = load_curves(found)
    keys = ("p95_ttft_ms", "p95_tpot_ms", "request_goodput")
    names = ("p95 TTFT [ms]", "p95 TPOT [ms]", "goodput [1/s]")
    for axis, key, name in zip(figure.axes, keys, names, strict=True):
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("tasks per second", name)
        lines = [drawn.lines[0] for drawn in axis.containers]
        assert [line.get_label() for line in axis.containers] == ["sn40l-mono", "h100-mono"]
        for line, (_, rows) in zip(
            lines, found.table.groupby("deployment", sort=False), strict=True
        ):
            assert np.asarray(line.get_xdata()).tolist() == LOADS
            assert np.asarray(line.get_ydata()) == pytest.approx(rows[key].to_numpy())
        assert len({line.get_color() for line in lines}) == 2
        assert len({axis.lines[k].get_marker() for k in range(len(axis.lines))} - {"None", "*"}) > 1


def test_the_bound_and_the_most_at_the_slo_are_marked(found: Sweep) -> None:
    assert found.at_slo is not None
    ttft, _, goodput = load_curves(found).axes
    bound = next(line for line in ttft.lines if line.get_linestyle() == "--")
    assert set(np.asarray(bound.get_ydata()).tolist()) == {1000.0}
    stars = [line for line in goodput.lines if line.get_marker() == "*"]
    held = [float(np.asarray(star.get_xdata())[0]) for star in stars]
    assert held == found.at_slo["rate_per_s_at_slo"].tolist()


def test_what_is_saturated_is_hollow(found: Sweep) -> None:
    ttft = load_curves(found).axes[0]
    hollow = [line for line in ttft.lines if line.get_markerfacecolor() == "#FFFFFF"]
    drawn = sum(len(np.asarray(line.get_xdata())) for line in hollow)
    assert drawn == found.table["saturated"].sum() > 0


def test_an_axis_may_be_anybodys(found: Sweep) -> None:
    _, axis = new_axes(1, 1, (4, 3))
    assert latency_against_load(found, axis, "tpot") is axis


def test_a_picture_is_the_same_bytes_each_time(found: Sweep, tmp_path: Path) -> None:
    one, two = tmp_path / "one.svg", tmp_path / "two.svg"
    write_plot(found, one)
    write_plot(found, two)
    assert one.read_bytes() == two.read_bytes()


def test_what_cannot_be_drawn_is_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path / "a.txt", tmp_path / "none" / "a.svg"):
        with pytest.raises(ProfileError, match="--plot"):
            check_plot(path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", "coding-agents", "--plot", "a.svg"])
    assert ended.value.code == 2
    assert "add --load auto" in capsys.readouterr().err
