"""Ratios with paired intervals: gcsim.results.paired."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import gcsim
from gcsim.profiles.resolve import resolve, with_settings
from gcsim.results import paired
from gcsim.results.paired import Ratio, ratio_of_sums, ratios
from gcsim.results.result import Result


@pytest.fixture(scope="module")
def two() -> tuple[Result, Result]:
    resolved = resolve("coding-agents", {"arrivals.agents": 4, "run.trajectories": 12})
    return gcsim.run(resolved), gcsim.run(resolved, settings={"deployment": "h100-mono"})


def test_the_interval_of_a_ratio_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    covered, width, unpaired_width = 0, 0.0, 0.0
    for _ in range(600):
        first = rng.gamma(4, 1, 40)
        other = 0.8 * first + rng.normal(0, 0.3, 40)
        ratio = ratio_of_sums(first, other)
        assert ratio.low is not None
        assert ratio.high is not None
        covered += ratio.low <= 0.8 <= ratio.high
        width += ratio.high - ratio.low
        shuffled = ratio_of_sums(first, rng.permutation(other))
        assert shuffled.low is not None
        assert shuffled.high is not None
        unpaired_width += shuffled.high - shuffled.low
    assert 0.92 <= covered / 600 <= 0.98
    assert width < 0.5 * unpaired_width  # what the pairs are for


def test_a_ratio_by_hand() -> None:
    ratio = ratio_of_sums(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert ratio.ratio == 1
    # d = (1, -1), s = sqrt(2/1 * 2) / 4 = 0.5, t(0.975, 1) = 12.706
    assert ratio.high == pytest.approx(1 + 12.706205 * 0.5)
    assert not ratio.clear
    assert Ratio(0.5, 0.4, 0.6).clear
    assert ratio_of_sums(np.zeros(3), np.ones(3)) == Ratio(None)
    assert ratio_of_sums(np.ones(1), np.ones(1)) == Ratio(1.0)


def test_ratios_of_means_are_those_of_the_summaries(two: tuple[Result, Result]) -> None:
    first, other = two
    found = ratios(first, other)
    for metric, ratio in found.items():
        wanted = other.summary[metric] / first.summary[metric]
        assert ratio.ratio == pytest.approx(wanted, rel=1e-9), metric
        assert ratio.low is not None
        assert ratio.high is not None
        assert ratio.low <= ratio.ratio <= ratio.high


def test_a_scale_multiplies_rates_only(two: tuple[Result, Result]) -> None:
    plain, scaled = ratios(*two), ratios(*two, scale=2.0)
    assert scaled["mean_ttft_ms"] == plain["mean_ttft_ms"]
    rate, double = plain["output_throughput"], scaled["output_throughput"]
    assert rate.ratio is not None
    assert rate.high is not None
    assert double.ratio == pytest.approx(2 * rate.ratio)
    assert double.high == pytest.approx(2 * rate.high)


def test_what_only_one_completed_is_left_out(two: tuple[Result, Result]) -> None:
    first, other = two
    counted = other.requests[other.requests["counted"]]
    fewer = replace(other, requests=counted.iloc[: len(counted) // 2])
    kept = first.requests.merge(fewer.requests, on=["trajectory", "step"])
    wanted = kept["ttft_s_y"].mean() / kept["ttft_s_x"].mean()
    assert ratios(first, fewer)["mean_ttft_ms"].ratio == pytest.approx(wanted)


def test_different_workloads_are_not_paired(two: tuple[Result, Result]) -> None:
    chat = gcsim.run("chatbot", settings={"run.trajectories": 30, "run.warmup": "0 s"})
    assert not paired.paired(two[0], chat)
    assert not paired.paired(two[0], gcsim.run(two[0].resolved, seed=2))
    found = ratios(two[0], chat)
    e2e = found["mean_e2el_ms"]
    wanted = chat.summary["mean_e2el_ms"] / two[0].summary["mean_e2el_ms"]
    assert e2e.ratio == pytest.approx(wanted)
    assert e2e.low is not None
    assert e2e.low < wanted
    assert found["output_throughput"].low is None


def test_nothing_completed_gives_no_ratio(two: tuple[Result, Result]) -> None:
    first, _ = two
    empty = replace(first, requests=first.requests.iloc[:0])
    found = ratios(first, empty)
    assert found["mean_ttft_ms"] == Ratio(None)
    assert found["output_throughput"] == Ratio(0.0)


def test_percentiles_of_resampled_values_count_by_weight() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    weights = np.array([1, 0, 0, 3])
    found = paired._weighted(values, weights, np.array([0.25, 0.5, 0.99]))
    assert found.tolist() == [1.0, 4.0, 4.0]
    table = pd.DataFrame({"trajectory": [1, 1], "value": [1.0, 2.0], "value_other": [2.0, 4.0]})
    assert paired._percentiles(table)[0] == Ratio(2.0)  # one trajectory: no interval


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)], ids=["paired", "unpaired"])
def test_a_percentile_of_nothing_has_no_ratio(
    two: tuple[Result, Result], seeds: tuple[int, int]
) -> None:
    """Where most requests wait for 0 s; what a draw gives is 0 now and then, too."""
    first, other = (
        replace(result, resolved=with_settings(result.resolved, {"run.seed": seed}))
        for result, seed in zip(two, seeds, strict=True)
    )
    for result in (first, other):
        part = result.requests["ttft_s"].where(result.requests.index % 12 == 0, 0.0)
        object.__setattr__(result, "requests", result.requests.assign(ttft_s=part))
    found = ratios(first, other)
    assert found["median_ttft_ms"] == Ratio(None)
    assert found["mean_ttft_ms"].ratio is not None
    assert found["p99_ttft_ms"].ratio is not None
    nothing = replace(first, requests=first.requests.assign(ttft_s=0.0))
    assert ratios(nothing, other)["mean_ttft_ms"] == Ratio(None)
    assert ratios(other, nothing)["mean_ttft_ms"].ratio == 0
