"""Intervals and warm-up by hand, on edges (statistics, intervals, replications).

That the intervals cover what they should: tests/truth/test_interval_coverage.py.
"""

import numpy as np
import pytest

from gcsim import run
from gcsim.cli.run_text import caveats
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import resolve
from gcsim.results import statistics
from gcsim.results.statistics import Interval, percentile_interval, t_quantile
from gcsim.simulate import simulate
from gcsim.studies import replicate


@pytest.mark.parametrize(("freedom", "t"), [(1, 12.706), (4, 2.776), (9, 2.262), (1e9, 1.960)])
def test_t_is_that_of_the_tables(freedom: float, t: float) -> None:
    assert t_quantile(freedom) == pytest.approx(t, abs=5e-4)


def test_a_replication_interval_by_hand() -> None:
    """The ten values of Law, chapter 4, with their 90% interval 1.34 +- 0.24."""
    values = [1.20, 1.50, 1.68, 1.89, 0.95, 1.49, 1.58, 1.55, 0.50, 1.09]
    found = statistics.replication_interval(values, level=0.90)
    assert found is not None
    assert (round(found.value, 2), round(found.half, 2)) == (1.34, 0.24)


def test_too_few_values_have_no_interval() -> None:
    assert statistics.replication_interval([1.0]) is None
    assert statistics.paired_interval([1.0], [2.0]) is None
    assert statistics.welch_interval([1.0], [2.0, 3.0]) is None
    assert statistics.batch_means(np.arange(19.0)) is None
    assert statistics.mean_interval([]) is None
    assert statistics.mean_interval([1.0, 2.0], [0, 0]) is None
    assert percentile_interval([], 50) is None


def test_pairs_cancel_what_they_share() -> None:
    rng = np.random.default_rng(2)
    shared = rng.normal(100, 30, 8)
    first, other = shared + rng.normal(0, 0.1, 8), shared + 1 + rng.normal(0, 0.1, 8)
    paired = statistics.paired_interval(first, other)
    apart = statistics.welch_interval(first, other)
    assert paired is not None
    assert apart is not None
    assert paired.value == pytest.approx(apart.value)
    assert paired.low > 0
    assert apart.low < 0 < apart.high


def test_welch_with_equal_numbers_and_spreads_is_the_t_test() -> None:
    found = statistics.welch_interval([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0])
    assert found is not None
    half = t_quantile(6) * (2 * (5 / 3) / 4) ** 0.5
    assert (found.value, found.half) == pytest.approx((2.0, half))


def test_clusters_widen_what_is_alike_within() -> None:
    """Values equal within each of 20 clusters: as good as 20 values, however many there are."""
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 1, 20)
    order = rng.permutation(np.repeat(np.arange(20), 50))
    found = statistics.mean_interval(centres[order], order)
    plain = statistics.batch_means(centres[order])
    assert found is not None
    assert plain is not None
    assert found.half == pytest.approx(t_quantile(19) * centres.std(ddof=1) / 20**0.5)
    assert found.half > 3 * plain.half


def test_a_percentile_of_independent_values_lies_between_binomial_ranks() -> None:
    rng = np.random.default_rng(4)
    found = percentile_interval(rng.permutation(np.arange(10_000.0)), 50)
    assert found is not None
    assert found.low == pytest.approx(5000 - 98, abs=150)
    assert found.high == pytest.approx(5000 + 98, abs=150)
    assert found.low <= found.value <= found.high


def test_a_percentile_that_the_sample_does_not_bound_has_no_interval() -> None:
    values = np.random.default_rng(5).random(150)
    assert percentile_interval(values, 99) is None
    assert percentile_interval(values, 50) is not None


def test_an_interval_relative_to_its_estimate() -> None:
    assert Interval(0.0, -1.0, 1.0).relative == float("inf")
    assert Interval(0.0, 0.0, 0.0).relative == 0.0
    assert Interval(-10.0, -11.0, -9.0).relative == pytest.approx(0.1)


@pytest.mark.parametrize("text", ["", "x", "0%", "100%", "-1%", "nan"])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(ProfileError, match="write 2%"):
        statistics.parse_share(text, "--move")


def test_a_run_has_intervals_around_its_metrics() -> None:
    summary = run("coding-agents").summary
    for key in ("mean_ttft_ms", "median_ttft_ms", "mean_e2el_ms", "median_tpot_ms", "mean_task_ms"):
        low, high = summary[f"ci95_{key}"]
        assert low <= summary[key] <= high
        assert low < high


def test_a_saturated_run_has_no_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = resolve("chatbot", {"run.trajectories": 30, "run.warmup": "0 s"})
    assert simulate(resolved).summary["ci95_mean_ttft_ms"] is not None
    monkeypatch.setattr("gcsim.simulate.saturation", lambda *_: "it grows")
    summary = simulate(resolved).summary
    keys = [key for key in summary if key.startswith("ci95_")]
    assert len(keys) == 40
    assert all(summary[key] is None for key in keys)


def test_fewer_tasks_than_agents_have_no_intervals() -> None:
    """All of them are under way at once, so they saw one spell of the machine."""
    agents = {"arrivals.agents": 12}
    few, enough = (
        run("coding-agents", settings=agents | {"run.trajectories": tasks}) for tasks in (11, 12)
    )
    assert few.summary["ci95_mean_ttft_ms"] is None
    assert few.summary["ci95_output_throughput"] is None
    assert enough.summary["ci95_mean_ttft_ms"] is not None
    assert any("too few for intervals" in line for line in caveats(few.summary))
    assert not any("too few for intervals" in line for line in caveats(enough.summary))


def summary(seed: int, mean: float | None, saturated: bool = False) -> dict[str, object]:
    return {
        "seed": seed, "scenario": "s", "mean_ttft_ms": mean, "request_throughput": 2.0,
        "ci95_mean_ttft_ms": [0.0, 1.0], "breakdown_ms": {"decode": mean},
        "saturated": saturated, "saturated_why": "it grows" if saturated else None,
        "assumed_values": 3, "pools": [{"pool": "p", "mfu": 0.5}],
    }  # fmt: skip


def test_replications_combine_to_their_mean_and_its_interval() -> None:
    found = replicate.combined([summary(1, 10.0), summary(2, 11.0), summary(3, 12.0)])
    interval = statistics.replication_interval([10.0, 11.0, 12.0])
    assert interval is not None
    assert found["mean_ttft_ms"] == 11.0
    assert found["ci95_mean_ttft_ms"] == [interval.low, interval.high]
    assert found["ci95_request_throughput"] == [2.0, 2.0]
    assert (found["seed"], found["seeds"], found["replications"]) == (1, [1, 2, 3], 3)
    assert found["pools"] == [{"pool": "p", "mfu": 0.5}]
    assert (found["assumed_values"], found["saturated"]) == (3, False)
    assert "ci95_seed" not in found


def test_replications_that_are_saturated_have_no_mean() -> None:
    half = replicate.combined([summary(1, 10.0, True), summary(2, 11.0)])
    assert half["saturated"] is True
    assert half["saturated_why"] == "1 of 2: it grows"
    assert half["mean_ttft_ms"] is half["ci95_mean_ttft_ms"] is None
    assert half["breakdown_ms"] == {"decode": None}
    assert half["request_throughput"] == 2.0
    few = replicate.combined([summary(1, 10.0, True), summary(2, 11.0), summary(3, 12.0)])
    assert few["saturated"] is False
    assert few["mean_ttft_ms"] == 11.0


def test_spawned_seeds_are_different_and_fit_json() -> None:
    seeds = replicate.spawned_seeds(1, 1000)
    assert len(set(seeds)) == 1000
    assert seeds[0] == 1
    assert max(seeds) < 2**53
    assert not set(seeds) & set(replicate.spawned_seeds(2, 1000))
