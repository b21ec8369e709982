"""What stands on pictures of loads and of plans: gcsim.plots.loads, frontier, tornado."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pictures import assert_tidy

import gcsim
from gcsim.cli import app as cli
from gcsim.errors import ProfileError
from gcsim.plots import (
    costs,
    frontier,
    latency_against_load,
    load_curves,
    new_axes,
    tornado,
    write_picture,
)
from gcsim.plots.frontier import best, points_of
from gcsim.plots.style import BOUND, check_picture
from gcsim.plots.tornado import moves_of
from gcsim.studies.bands import banded
from gcsim.studies.sweep import Sweep

pytestmark = pytest.mark.slow  # most of these play runs
LOADS = [1.0, 64.0]
SAVED = {"scenario": "s", "model": "m", "slo": ["p95 TTFT < 2 s"], "load_kind": "agents"}
OVER_LOAD: dict[str, Any] = SAVED | {
    "families": [
        {
            "load": load,
            "family": family,
            "deployment": None if lost else f"1 x {family}",
            "usd_per_hour": None if lost else rent * load,
            "usd_per_hour_slow": None if lost else 2 * rent * load,
            "usd_per_hour_fast": None,
        }
        for load in (1.0, 8.0, 64.0)
        for family, rent in (("a", 1.0), ("b", 3.0))
        for lost in [family == "b" and load == 64.0]
    ]
}
PLAN: dict[str, Any] = SAVED | {
    "minimize": "cost",
    "families": [
        {
            "family": "a",
            "deployment": "1 x a",
            "usd_per_hour": 4.0,
            "tok_s_user": 100.0,
            "tok_s_chip": 20.0,
            "holds": True,
        },
        {"family": "b", "deployment": None, "usd_per_hour": None},
    ],
    "frontier": [
        {
            "family": "a",
            "deployment": "1 x a",
            "tok_s_user": 80.0,
            "tok_s_chip": 50.0,
            "holds": False,
        },
        {
            "family": "b",
            "deployment": "1 x b",
            "tok_s_user": 300.0,
            "tok_s_chip": 2.0,
            "holds": True,
        },
    ],
    "sways": [
        {"chip": "a", "cause": "memory", "end": "slow", "answer": 9.0, "rival": 1.0},
        {"chip": "a", "cause": "memory", "end": "fast", "answer": 3.0, "rival": 1.0},
        {"chip": "a", "cause": "arithmetic", "end": "slow", "answer": None, "rival": 1.0},
        {"chip": "b", "cause": "memory", "end": "slow", "answer": 4.0, "rival": 1.0},
    ],
}


@pytest.fixture(scope="module")
def found() -> Sweep:
    """Two deployments of which one is saturated at the higher load."""
    grid = {"deployment": ["sn40l-mono", "h100-mono"]}
    return gcsim.sweep("chatbot", grid, LOADS, settings={"run.trajectories": 120}, jobs=1)


def test_curves_are_the_table(found: Sweep) -> None:
    figure = load_curves(found)
    assert_tidy(figure)
    keys = {"p95_ttft_ms": 1, "p95_tpot_ms": 1, "p95_task_ms": 1e-3, "request_goodput": 1}
    names = ("p95 TTFT [ms]", "p95 TPOT [ms]", "p95 task time [s]", "goodput [1/s]")
    for axis, key, name in zip(figure.axes, keys, names, strict=True):
        assert axis.get_ylabel() == name
        lines = [drawn.lines[0] for drawn in axis.containers]
        assert [line.get_label() for line in axis.containers] == ["sn40l-mono", "h100-mono"]
        for line, (_, rows) in zip(
            lines, found.table.groupby("deployment", sort=False), strict=True
        ):
            assert np.asarray(line.get_xdata()).tolist() == LOADS
            assert np.asarray(line.get_ydata()) == pytest.approx(rows[key].to_numpy() * keys[key])
        assert len({line.get_color() for line in lines}) == 2
        assert len({axis.lines[k].get_marker() for k in range(len(axis.lines))} - {"None", "*"}) > 1


def test_the_bound_and_the_most_at_the_slo_are_marked(found: Sweep) -> None:
    assert found.at_slo is not None
    ttft, *_, goodput = load_curves(found).axes
    bound = next(line for line in ttft.lines if line.get_color() == BOUND["color"])
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
    write_picture(load_curves(found), one)
    write_picture(load_curves(found), two)
    assert one.read_bytes() == two.read_bytes()


def test_what_cannot_be_drawn_is_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path / "a.txt", tmp_path / "none" / "a.svg"):
        with pytest.raises(ProfileError, match="--plot"):
            check_picture(path, "--plot")
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", "coding-agents", "--plot", "a.svg"])
    assert ended.value.code == 2
    assert "add --load auto" in capsys.readouterr().err


def test_runs_at_several_loads_are_curves_with_their_bands() -> None:
    few = {"run.trajectories": 2, "run.warmup": "0s"}
    runs = [
        gcsim.run("coding-agents", settings=few | {"arrivals.agents": agents}) for agents in (1, 3)
    ]
    with_bands = [banded(runs[0], jobs=1), runs[1]]
    figure = load_curves(with_bands)
    assert_tidy(figure)
    for axis, key in zip(figure.axes, ("p95_ttft_ms", "p95_tpot_ms"), strict=False):
        line = axis.containers[0].lines[0]
        assert np.asarray(line.get_ydata()) == pytest.approx([run.summary[key] for run in runs])
        band = with_bands[0].summary["bands"]["metrics"][key]
        [area] = axis.collections[1:]
        low, high = (edge(area.get_paths()[0].vertices[:, 1]) for edge in (min, max))
        assert (low, high) == pytest.approx((band["low"], band["high"]))


def test_the_frontier_is_what_nothing_beats(found: Sweep) -> None:
    points = points_of(found)
    sound = found.table[~found.table["saturated"].astype(bool)]
    assert points["tok_s_user"].tolist() == pytest.approx((1e3 / sound["mean_tpot_ms"]).tolist())
    chip = (sound["output_throughput"] / sound["chips"]).tolist()
    assert points["tok_s_chip"].tolist() == pytest.approx(chip)
    edge = best(points)
    for _, point in points.iterrows():
        beaten = (edge["tok_s_user"] >= point["tok_s_user"]) & (
            edge["tok_s_chip"] >= point["tok_s_chip"]
        )
        assert beaten.any()
    assert edge["tok_s_user"].is_monotonic_increasing
    assert edge["tok_s_chip"].is_monotonic_decreasing
    assert_tidy(frontier(found))
    saved = frontier(PLAN)
    assert_tidy(saved)
    names = [text.get_text() for text in saved.legends[0].get_texts()]
    assert names == ["frontier", "a", "b", "breaks the SLO"]
    nothing = pd.DataFrame(columns=["family"]).to_dict("records")
    with pytest.raises(ProfileError, match="not saturated"):
        frontier(PLAN | {"families": nothing, "frontier": []})


def test_costs_have_a_line_per_family_and_a_range() -> None:
    figure = costs(OVER_LOAD)
    assert_tidy(figure)
    rent, per_agent = figure.axes
    one, two = rent.lines
    assert np.asarray(one.get_ydata()).tolist() == [1, 8, 64]
    assert np.asarray(two.get_xdata()).tolist() == [1, 8]  # nothing of b serves 64
    assert np.asarray(per_agent.lines[1].get_ydata()).tolist() == [3, 3]
    highs = [area.get_paths()[0].vertices[:, 1].max() for area in rent.collections]
    assert highs == [128, 48]


def test_a_tornado_has_the_widest_on_top() -> None:
    few = {"run.trajectories": 1, "arrivals.agents": 1}
    result = banded(gcsim.run("coding-agents", settings=few), jobs=1)
    table, base, _ = moves_of(result, "mean_e2el_ms")
    assert base == result.summary["mean_e2el_ms"]
    runs = {(run["cause"], run["end"]): run for run in result.summary["bands"]["runs"]}
    for cause, row in table.iterrows():
        for end in ("slow", "fast"):
            if row[end] is not None:
                assert row[end] == runs[cause, end]["mean_e2el_ms"]
    wide = [
        max(abs((row[end] or base) - base) for end in ("slow", "fast"))
        for _, row in table.iterrows()
    ]
    assert wide == sorted(wide, reverse=True)
    assert_tidy(tornado(result))
    table, base, name = moves_of(PLAN, "")
    assert (base, name) == (4.0, "rent of the choice [USD/h]")
    assert list(table.index) == ["a: arithmetic", "a: memory"]  # b does not move it
    figure = tornado(PLAN)
    assert_tidy(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["slow: serves it at no size"]
    with pytest.raises(ProfileError, match="add --bands"):
        tornado(PLAN | {"sways": []})
