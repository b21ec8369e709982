"""Pictures of runs: gcsim.plots.runs, gcsim.plots.gantt, gcsim.plots.chips, gcsim.plots.style."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from pictures import assert_tidy

import gcsim
from gcsim import plots
from gcsim.errors import ProfileError
from gcsim.plots.chips import points_of
from gcsim.plots.gantt import bars_of
from gcsim.plots.runs import mean_phases, p99_phases, task_of
from gcsim.plots.style import COLOURS, SERIES_MOST, check_picture, finished, new_axes, short, style
from gcsim.profiles.resolve import Resolved
from gcsim.results.comparison import Comparison
from gcsim.results.paired import counted_of
from gcsim.simulate import bind_pools

pytestmark = pytest.mark.slow  # most of these play runs
FEW = {"arrivals.agents": 2, "run.trajectories": 3}


@pytest.fixture(scope="module")
def both() -> Comparison:
    names = ["sn40l-mono", "mi300x-prefill-sn50-decode"]
    return gcsim.compare("coding-agents", deployments=names, settings=FEW, jobs=1)


def test_every_picture_is_tidy(both: Comparison) -> None:
    result = both.results["mi300x-prefill-sn50-decode"]
    for figure in (
        plots.breakdown(both),
        plots.latencies(both),
        plots.steps(result),
        plots.gantt(result),
        plots.timeline(result),
        plots.roofline(result),
    ):
        assert_tidy(figure)


def test_many_long_names_fit_too(both: Comparison) -> None:
    result = both.results["sn40l-mono"]
    runs = {f"a-deployment-with-a-long-name-{'x' * n}-{n}": result for n in range(9, 18)}
    for figure in (plots.breakdown(runs), plots.latencies(runs)):
        assert_tidy(figure)


def test_an_untidy_picture_is_told() -> None:
    figure, axis = new_axes(1, 1, (4, 3))
    axis.plot([0, 1], [0, 1], label="one")
    axis.set(xlabel="time [s]", ylabel="speed [m/s]")
    finished(figure, "Fine")
    assert_tidy(figure)
    axis.plot([0, 1], [1, 0], color=axis.lines[0].get_color(), label="two")
    with pytest.raises(AssertionError):
        assert_tidy(figure)
    axis.lines[1].set_linestyle(":")
    assert_tidy(figure)
    figure.text(0.99, 0.5, "beyond the edge")
    with pytest.raises(AssertionError, match="beyond the edge"):
        assert_tidy(figure)
    figure.texts[-1].remove()
    axis.legend(loc="center")
    with pytest.raises(AssertionError, match="on the data"):
        assert_tidy(figure)


def test_series_differ_in_colour_or_marker_and_are_seen_on_white() -> None:
    looks = [style(number) for number in range(SERIES_MOST)]
    assert len({(look.colour, look.marker) for look in looks}) == SERIES_MOST
    for one, two in pairwise(looks):
        assert all(
            getattr(one, part) != getattr(two, part) for part in ("colour", "marker", "dash")
        )
    for colour in COLOURS:
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        luminance = float(linear @ [0.2126, 0.7152, 0.0722])
        assert 1.05 / (luminance + 0.05) >= 3  # WCAG 1.4.11


def test_names_that_are_cut_stay_different() -> None:
    long = ["a" * 30 + "1" + "b" * 30, "a" * 30 + "2" + "b" * 30]
    assert len(set(short(long, 20))) == 2


def test_the_bars_of_a_step_are_the_summary(both: Comparison) -> None:
    mean, tail = plots.breakdown(both).axes
    for axis, of in ((mean, mean_phases), (tail, p99_phases)):
        for place, name in enumerate(list(both.results)[::-1]):
            ends = [
                p.get_x() + p.get_width() for p in axis.patches if round(p.get_y() + 0.4) == place
            ]
            total = sum(of(both.results[name]).values())
            assert max(ends) == pytest.approx(total, rel=0.01)  # what cannot be seen is not drawn
    for name, result in both.results.items():
        assert sum(mean_phases(result).values()) == pytest.approx(result.summary["mean_e2el_ms"])
        done = counted_of(result).requests["e2e_s"] * 1e3
        assert sum(p99_phases(result).values()) >= np.percentile(done, 97), name


def test_the_bars_of_a_task_are_its_steps(both: Comparison) -> None:
    result = both.results["mi300x-prefill-sn50-decode"]
    top, bottom = plots.steps(result, 1).axes
    mine = result.requests[result.requests["trajectory"] == 1]
    heights: dict[float, float] = {}
    for patch in top.patches:
        middle = round(patch.get_x() + patch.get_width() / 2)
        heights[middle] = heights.get(middle, 0.0) + patch.get_height()
    assert len(heights) == len(mine)
    tops = max(patch.get_y() + patch.get_height() for patch in top.patches)
    assert tops == pytest.approx(mine["e2e_s"].max() * 1e3)  # the parts stand on each other
    assert sum(heights.values()) == pytest.approx(mine["e2e_s"].sum() * 1e3, rel=0.01)
    prompts = sum(patch.get_height() for patch in bottom.patches)
    assert prompts == pytest.approx(mine["isl"].sum())
    with pytest.raises(ProfileError, match="no completed step"):
        plots.steps(result, 99)


def test_a_distribution_ends_at_one_and_has_its_bound(both: Comparison) -> None:
    slo = both.results["sn40l-mono"].summary["classes"][0]["slo"]
    for axis, time in zip(plots.latencies(both).axes, ("ttft", "tpot", "e2e"), strict=True):
        lines = [line for line in axis.lines if not str(line.get_label()).startswith("_")]
        assert len(lines) == 2
        for line in lines:
            heights = np.asarray(line.get_ydata())
            assert (np.diff(heights) > 0).all()
            assert heights[-1] == 1
        bounds = [line.get_xdata()[0] for line in axis.lines if line not in lines]
        assert bounds == ([slo[time] * 1e3] if slo.get(time) else [])


def test_the_lanes_of_a_task_are_its_time(both: Comparison) -> None:
    for result in both.results.values():
        wanted, mine = task_of(result, 1)
        bars = bars_of(result, wanted)
        spent = (bars["end_s"] - bars["start_s"]).groupby(bars["part"]).sum()
        for phase in ("network", "queue", "prefill", "kv_transfer", "decode"):
            assert spent.get(phase, 0.0) == pytest.approx(mine[f"{phase}_s"].sum())
        task = result.trajectories[result.trajectories["trajectory"] == wanted].iloc[0]
        assert spent["tools"] == pytest.approx(task["tools_s"])
        ends = bars["end_s"].max() - bars["start_s"].min()
        assert ends == pytest.approx(task["task_s"])
        for _, lane in bars.groupby(["lane", "row"]):
            assert (lane["start_s"].to_numpy()[1:] >= lane["end_s"].to_numpy()[:-1] - 1e-9).all()


def test_a_timeline_keeps_the_means(both: Comparison) -> None:
    result = both.results["mi300x-prefill-sn50-decode"]
    batch, queue, kv = plots.timeline(result).axes
    assert all(len(axis.lines) == 2 for axis in (batch, queue, kv))  # a line per pool
    decode = result.timeline[result.timeline["pool"] == "decode"]
    ends = np.append(decode["time_s"].to_numpy()[1:], result.summary["simulated_s"])
    wanted = (decode["running"] * (ends - decode["time_s"])).sum() / result.summary["simulated_s"]
    line = next(line for line in batch.lines if line.get_label() == "pool decode")
    assert np.mean(line.get_ydata()) == pytest.approx(wanted)


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


def test_no_point_lies_above_its_roofline() -> None:
    for where in ("sn40l-mono", "mi300x-prefill-sn50-decode"):
        resolved: Resolved = gcsim.load("coding-agents", {"deployment": where})
        for name, machine in bind_pools(resolved.scenario).items():
            pool = resolved.scenario.deployment.pools[name]
            chips = pool.chips_per_replica
            points = points_of(machine, pool, 8192)
            roles = {"mixed": {"prefill", "decode"}}.get(pool.role, {pool.role})
            assert {phase for phase, *_ in points} == roles
            for _, _, intensity, flops_per_s in points:
                roof = min(machine.peak_flops_per_s, intensity * machine.peak_bytes_per_s)
                assert 0 < flops_per_s <= roof / chips


def test_an_axis_may_be_anybodys(both: Comparison) -> None:
    result = both.results["sn40l-mono"]
    figure, axes = new_axes(2, 3, (12, 7))
    panels = (
        plots.phases_of_step(both, axes[0, 0]),
        plots.spread(result, axes[0, 1], "tpot"),
        plots.over_time(result, axes[0, 2], "waiting"),
        plots.lanes_of_task(result, axes[1, 0]),
        plots.roofline_of(result, axes[1, 1]),
    )
    assert [panel.figure for panel in panels] == [figure] * 5
    assert panels == (*axes[0], *axes[1, :2])


def test_what_is_no_picture_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "a.txt", tmp_path / "none" / "a.svg"):
        with pytest.raises(ProfileError, match="--out"):
            check_picture(path)
