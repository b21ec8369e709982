"""The 95% intervals of gcsim.results.statistics cover the truth of M/M/1 and M/D/1 queues.

A thousand runs of each queue by Lindley's recursion, W(k+1) = max(0, W(k) + S(k) - A(k+1)), in the
unit of a mean service; that the engine's waits are those of the recursion is a test of its own, so
what holds here holds there. All seeds are fixed; the standard error of a coverage is 0.7%.
"""

from collections.abc import Callable, Iterator
from math import log

import numpy as np
import pytest
import toys

from gcsim.results import statistics
from gcsim.results.statistics import Interval

RUNS = 1000
Array = np.ndarray
Services = Callable[[np.random.Generator, tuple[int, int]], Array]


def exponential(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    return rng.exponential(1.0, shape)


def constant(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    return np.ones(shape)


QUEUES = {"M/M/1": exponential, "M/D/1": constant}


def mean_wait(queue: str, load: float) -> float:
    """W_q of M/M/1 and, half of that, M/D/1 (Pollaczek-Khinchine), in services."""
    return load / (1 - load) * (1 if queue == "M/M/1" else 0.5)


def lindley(gaps: Array, services: Array) -> Array:
    """Waits of customers 0, 1, ... of each run (row): a random walk above its running minimum."""
    steps = services[:, :-1] - gaps[:, 1:]
    walk = np.concatenate([np.zeros((len(gaps), 1)), np.cumsum(steps, axis=1)], axis=1)
    return walk - np.minimum.accumulate(walk, axis=1)


def runs(
    queue: str, load: float, customers: int, seed: int, count: int = RUNS
) -> Iterator[tuple[Array, Array]]:
    """(waits, services) of so many runs, a hundred at a time."""
    rng = np.random.default_rng(seed)
    for _ in range(count // 100):
        shape = (100, customers)
        gaps, services = rng.exponential(1 / load, shape), QUEUES[queue](rng, shape)
        yield lindley(gaps, services), services


def covered(intervals: list[Interval | None], truth: float) -> float:
    assert all(interval is not None for interval in intervals)
    return float(np.mean([i.low <= truth <= i.high for i in intervals if i is not None]))


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize(("load", "customers"), [(0.5, 20_000), (0.8, 40_000)])
def test_batch_means_of_one_long_run(queue: str, load: float, customers: int) -> None:
    found = [
        statistics.mean_interval(run[1000:])
        for waits, _ in runs(queue, load, customers, seed=3)
        for run in waits
    ]
    assert 0.93 <= covered(found, mean_wait(queue, load)) <= 0.97


@pytest.mark.parametrize("queue", QUEUES)
def test_replications_with_a_given_warm_up(queue: str) -> None:
    """1,000 intervals, each over 10 short runs."""
    load = 0.8
    means = [
        float(run[1000:].mean())
        for waits, _ in runs(queue, load, 6000, seed=5, count=10 * RUNS)
        for run in waits
    ]
    groups = np.array(means).reshape(RUNS, 10)
    found = [statistics.replication_interval(group) for group in groups]
    assert 0.93 <= covered(found, mean_wait(queue, load)) <= 0.97


def test_percentiles_of_one_long_run() -> None:
    """The time in an M/M/1 is exponential with rate mu - lambda: p95 = -ln 0.05 / (1 - rho)."""
    load = 0.5
    found = [
        statistics.percentile_interval(wait[1000:] + service[1000:], 95)
        for waits, services in runs("M/M/1", load, 20_000, seed=3)
        for wait, service in zip(waits, services, strict=True)
    ]
    known = [interval for interval in found if interval is not None]
    assert len(known) >= 0.98 * RUNS  # the rest reach beyond the largest value
    assert 0.93 <= covered(known, -log(0.05) / (1 - load)) <= 0.97


def test_paired_intervals_of_a_faster_server() -> None:
    """Common random numbers: the same arrivals, services 5% shorter; far narrower than unpaired."""
    load, faster, pairs = 0.7, 0.95, []
    rng = np.random.default_rng(11)
    for _ in range(RUNS // 10):
        gaps, services = (rng.exponential(m, (100, 8000)) for m in (1 / load, 1.0))
        both = lindley(gaps, services), lindley(gaps, faster * services)
        pairs.append([waits[:, 1000:].mean(axis=1) for waits in both])
    slow, fast = (np.concatenate(side).reshape(RUNS, 10) for side in zip(*pairs, strict=True))
    new = faster * load
    truth = faster * new / (1 - new) - load / (1 - load)
    found = [statistics.paired_interval(a, b) for a, b in zip(slow, fast, strict=True)]
    assert 0.93 <= covered(found, truth) <= 0.97
    other = np.roll(fast, 1, axis=0)  # of other random numbers
    apart = [statistics.welch_interval(a, b) for a, b in zip(slow, other, strict=True)]
    assert 0.93 <= covered(apart, truth) <= 0.97
    halves = [np.mean([i.half for i in kind if i is not None]) for kind in (found, apart)]
    assert halves[0] < halves[1] / 2


def test_as_if_independent_the_interval_would_be_far_too_short() -> None:
    """Why batches: s / sqrt(n) of waits in a queue covers hardly anything."""
    found = [
        statistics.replication_interval(run[1000:])
        for waits, _ in runs("M/M/1", 0.8, 10_000, seed=3, count=200)
        for run in waits
    ]
    assert covered(found, mean_wait("M/M/1", 0.8)) < 0.4


@pytest.mark.parametrize("queue", QUEUES)
def test_the_engine_waits_as_the_recursion_does(queue: str) -> None:
    """20 runs by the engine: each wait is Lindley's, and at least 18 intervals cover."""
    load, customers, token_s, found = 0.7, 1500, 1e-3, []
    rng = np.random.default_rng(13)
    what = toys.deployment({"main": {"batching": {"max_seqs": 1}, "prefix_cache_tokens": 0}})
    costs = toys.constant_cost(token_s, what)
    for _ in range(20):
        tokens = rng.geometric(1 / 50, customers) if queue == "M/M/1" else np.full(customers, 50)
        gaps = np.rint(rng.exponential(50 * token_s / load, customers) * 1e9) * 1e-9
        starts = np.cumsum(gaps)
        requests = [
            toys.one_step(k, 8, int(n), float(t))
            for k, (t, n) in enumerate(zip(starts, tokens, strict=True))
        ]
        records = toys.serve(what, requests, costs=costs).records.requests
        waits = records["queue_ns"] * 1e-9
        sent = records["sent_ns"] * 1e-9
        gaps = np.diff(sent, prepend=sent[0])
        truth = lindley(gaps[None, :], (tokens * token_s)[None, :])[0]
        np.testing.assert_allclose(waits, truth, atol=1e-8)
        found.append(statistics.mean_interval(waits[100:]))
    # Services are whole tokens: geometric, of squared variation 1 - 1/50, nearly exponential.
    variation = 1 - 1 / 50 if queue == "M/M/1" else 0.0
    wait_s = load / (1 - load) * (1 + variation) / 2 * 50 * token_s
    assert covered(found, wait_s) >= 18 / 20
