"""Pictures: gcsim.results.plots, gcsim.results.text, gcsim.cli.run_text, gcsim.cli.library."""

from pathlib import Path

import numpy as np
import pytest

import gcsim
from gcsim.cli.library import listed
from gcsim.cli.run_text import bar, task_parts
from gcsim.errors import ProfileError
from gcsim.results import plots
from gcsim.results.comparison import Comparison
from gcsim.results.summary import PHASES
from gcsim.results.text import PHASE_NAMES, bound_name, three


@pytest.fixture(scope="module")
def both() -> Comparison:
    names = ["sn40l-mono", "mi300x-prefill-sn50-decode"]
    return gcsim.compare(
        "coding-agents", deployments=names, settings={"arrivals.agents": 2, "run.trajectories": 3}
    )


def test_the_bars_of_a_task_are_its_steps(both: Comparison) -> None:
    result = both.results["sn40l-mono"]
    figure = plots.steps(result, 1)
    top, bottom = figure.axes
    mine = result.requests[result.requests["trajectory"] == 1]
    heights: dict[float, float] = {}
    for patch in top.patches:
        middle = round(patch.get_x() + patch.get_width() / 2)
        heights[middle] = heights.get(middle, 0.0) + patch.get_height()
    assert len(heights) == len(mine)
    tops = max(patch.get_y() + patch.get_height() for patch in top.patches)
    assert tops == pytest.approx(mine["e2e_s"].max() * 1e3)  # the parts stand on each other
    assert sum(heights.values()) == pytest.approx(mine["e2e_s"].sum() * 1e3)
    prompts = sum(patch.get_height() for patch in bottom.patches)
    assert prompts == pytest.approx(mine["isl"].sum())
    assert (top.get_ylabel(), bottom.get_xlabel()) == ("time of the step [ms]", "step")
    with pytest.raises(ProfileError, match="no completed step"):
        plots.steps(result, 99)


def test_a_distribution_ends_at_one(both: Comparison) -> None:
    for axis in plots.latencies(both.results).axes:
        assert len(axis.lines) == 2
        for line in axis.lines:
            heights = np.asarray(line.get_ydata())
            assert (np.diff(heights) > 0).all()
            assert heights[-1] == 1


def test_no_legend_lies_on_the_data(both: Comparison) -> None:
    result = both.results["sn40l-mono"]
    for figure in (
        plots.breakdown(both.results),
        plots.latencies(both.results),
        plots.timeline(result),
        plots.steps(result),
    ):
        figure.draw_without_rendering()
        own = [axis.get_legend() for axis in figure.axes]
        legends = [legend for legend in (*own, *figure.legends) if legend is not None]
        assert legends
        for legend in legends:
            for axis in figure.axes:
                assert not legend.get_window_extent().overlaps(axis.patch.get_window_extent())


def test_the_ticks_of_a_distribution_are_numbers(both: Comparison) -> None:
    figure = plots.latencies(both.results)
    figure.draw_without_rendering()
    for axis in figure.axes:
        labels = [label.get_text() for label in axis.get_xticklabels(which="both")]
        told = [label for label in labels if label]
        assert len(told) >= 2
        assert all(float(label.replace(",", "")) > 0 for label in told)


def test_a_timeline_keeps_the_means(both: Comparison) -> None:
    result = both.results["mi300x-prefill-sn50-decode"]
    top, bottom = plots.timeline(result).axes
    assert len(bottom.patches) == 2  # a line per pool
    decode = result.timeline[result.timeline["pool"] == "decode"]
    ends = np.append(decode["time_s"].to_numpy()[1:], result.summary["simulated_s"])
    wanted = (decode["running"] * (ends - decode["time_s"])).sum() / result.summary["simulated_s"]
    line = next(p for p in top.patches if p.get_label() == "decode: running")
    assert line.get_data().values.mean() == pytest.approx(wanted)


def test_a_timeline_has_every_replica_with_its_share_of_kv(both: Comparison) -> None:
    for result in both.results.values():
        table = result.timeline
        share = table["kv_occupancy"]
        assert ((share >= 0) & (share <= 1)).all()
        assert share.max() > 0
        of_pools = table.groupby("pool")["replica"].nunique()
        wanted = {n: p.replicas for n, p in result.resolved.scenario.deployment.pools.items()}
        assert of_pools.to_dict() == wanted
        assert (table.groupby("replica")["time_s"].diff().dropna() > 0).all()


@pytest.mark.slow
def test_every_picture_can_be_saved(both: Comparison, tmp_path: Path) -> None:
    result = both.results["sn40l-mono"]
    figures = (
        plots.steps(result), plots.latencies(result), plots.timeline(result),
        plots.breakdown(both.results),
    )  # fmt: skip
    for number, figure in enumerate(figures):
        path = tmp_path / f"{number}.png"
        figure.savefig(path)
        assert path.stat().st_size > 5_000


def test_numbers_and_names_for_people() -> None:
    assert [three(x) for x in (999.6, 0.9996, 1e6, -2.5, float("nan"))] == [
        "1,000", "1.00", "1,000,000", "-2.50", "-"
    ]  # fmt: skip
    assert set(PHASE_NAMES) == set(PHASES)
    assert bound_name("memory_ddr") == "DDR bandwidth"
    assert (bar(1.0, 4), bar(0.0, 4), bar(0.125, 2)) == ("████", "", "▎")


def test_the_parts_of_a_task_leave_out_what_is_nothing(both: Comparison) -> None:
    parts = task_parts(both.results["sn40l-mono"])
    assert "tools" in parts
    assert "human" not in parts
    tasks = both.results["sn40l-mono"].trajectories
    assert sum(parts.values()) == pytest.approx(tasks[tasks["counted"]]["task_s"].mean())
    assert {row["name"] for row in listed("chip")} >= {"sn40l", "mi300x"}
