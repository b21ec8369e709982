"""Intervals of one run cover what is known of closed networks: gcsim.results.intervals.

The machine repairman: N agents think (exponential, mean Z), then ask one server (exponential, mean
S) that takes them in order. Exact by mean value analysis, for n = 1 to N, Q(0) = 0:

    R(n) = S (1 + Q(n - 1)),   X(n) = n / (Z + R(n)),   Q(n) = X(n) R(n)

Ref: Reiser & Lavenberg, Journal of the ACM 27 (1980) 313. A task is one round; the window is that
of `gcsim.engine.window`: it opens when 2 (N - 1) rounds have ended, and what counts is played to
its end. Seeds are fixed; the standard error of a coverage is 1%.
"""

import heapq

import numpy as np
import pandas as pd
import pytest

from gcsim.results.counted import Counted
from gcsim.results.intervals import rate_interval
from gcsim.results.metrics import named
from gcsim.results.statistics import mean_interval

SERVICE_S, RUNS = 1.0, 400
CASES = [(4, 4.0), (10, 20.0), (10, 5.0)]  # agents, thinking: a busy server, a calm, a full one
CROWDS = [(32, 20.0), (64, 20.0)]  # a server that keeps its state for long

pytestmark = pytest.mark.slow


def exact(agents: int, thinking_s: float) -> tuple[float, float]:
    """(rounds per second, mean time at the server)."""
    waiting, rate, time_s = 0.0, 0.0, 0.0
    for n in range(1, agents + 1):
        time_s = SERVICE_S * (1 + waiting)
        rate = n / (thinking_s + time_s)
        waiting = rate * time_s
    return rate, time_s


def rounds(agents: int, thinking_s: float, tasks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(time of the round, time at the server) of those that count, in the order of their starts."""
    rng = np.random.default_rng(seed)
    most = tasks + 8 * agents
    thinking = rng.exponential(thinking_s, most).tolist()
    service = rng.exponential(SERVICE_S, most).tolist()
    free_s, first = 0.0, 3 * (agents - 1)
    asks = [(thinking[k], k, 0.0) for k in range(agents)]
    heapq.heapify(asks)
    started, found = agents, {}
    while len(found) < tasks:
        asked_s, number, start_s = heapq.heappop(asks)
        free_s = max(free_s, asked_s) + service[number]
        if first <= number < first + tasks:
            found[number] = (free_s - start_s, free_s - asked_s)
        if started < most:
            heapq.heappush(asks, (free_s + thinking[started], started, free_s))
            started += 1
    both = np.array([found[number] for number in sorted(found)])
    return both[:, 0], both[:, 1]


def counted(agents: int, round_s: np.ndarray) -> Counted:
    tasks = pd.DataFrame({"trajectory": range(len(round_s)), "task_s": round_s})
    loaded_s = pd.Series(round_s / agents)
    span_s = float(loaded_s.sum())
    return Counted(tasks, tasks, tasks, tasks, pd.DataFrame(), loaded_s, span_s, span_s)


def coverage(agents: int, thinking_s: float, tasks: int) -> tuple[list[float], list[float]]:
    """How often the intervals of the rate and of the mean time cover; the means of both."""
    metric, found = named("task_throughput")[0], []
    for seed in range(RUNS):
        round_s, at_server_s = rounds(agents, thinking_s, tasks, seed)
        of = counted(agents, round_s)
        found.append((rate_interval(metric, of), mean_interval(at_server_s)))
    inside, means = [0.0, 0.0], [0.0, 0.0]
    for pair in found:
        for k, (interval, truth) in enumerate(zip(pair, exact(agents, thinking_s), strict=True)):
            assert interval is not None
            inside[k] += (interval.low <= truth <= interval.high) / RUNS
            means[k] += interval.value / RUNS
    return inside, means


@pytest.mark.parametrize(("agents", "thinking_s"), CASES)
def test_rates_and_times_of_a_machine_repairman_are_covered(agents: int, thinking_s: float) -> None:
    inside, means = coverage(agents, thinking_s, 1000)
    assert means == pytest.approx(exact(agents, thinking_s), rel=0.01)
    assert min(inside) >= 0.93
    assert max(inside) <= 0.98


@pytest.mark.parametrize(("agents", "thinking_s"), CROWDS)
def test_a_busy_server_is_covered_too_at_the_length_that_is_the_default(
    agents: int, thinking_s: float
) -> None:
    """Four tasks an agent, of which each meets the same queue as its neighbours: taken as
    independent, batches cover 53% to 86% of these.
    """
    inside, _ = coverage(agents, thinking_s, 4 * agents)
    assert min(inside) >= 0.88
