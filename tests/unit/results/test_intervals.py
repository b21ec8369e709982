"""Intervals of rates: gcsim.results.intervals, and what sums are divided by: gcsim.results.per."""

import numpy as np
import pandas as pd
import pytest

from gcsim.results import per
from gcsim.results.counted import Counted
from gcsim.results.intervals import per_task, rate_interval
from gcsim.results.metrics import named

AGENTS = 4


def counted(tasks_s: list[float], osl: list[int]) -> Counted:
    """A closed loop of 4 agents, a request to each task."""
    numbers = list(range(len(tasks_s)))
    requests = pd.DataFrame(
        {"trajectory": numbers, "osl": osl, "isl": 10, "e2e_s": tasks_s, "tpot_s": 0.01}
    )
    tasks = pd.DataFrame({"trajectory": numbers, "task_s": tasks_s, "good": True})
    pools = pd.DataFrame({"usd_per_hour": [36.0], "power_w": [1000.0]})
    loaded_s = pd.Series(np.array(tasks_s) / AGENTS, numbers)
    span_s = float(loaded_s.sum())
    return Counted(requests, tasks, requests, tasks, pools, loaded_s, span_s, span_s)


def test_the_sums_of_the_tasks_are_those_of_the_run() -> None:
    of = counted([2.0, 4.0, 6.0], [10, 20, 60])
    wanted = {
        "output_throughput": 90 / 3.0,
        "task_throughput": 1.0,  # 4 agents, 4 s each
        "usd_per_task": 0.01,
        "joules_per_task": 1000.0,
        "mean_in_flight": 4.0,
        "e2e_avg_interactivity": 90 / 12,
    }
    for key, value in wanted.items():
        metric, _ = named(key)
        sums, pers = per_task(metric, of)
        assert sums.sum() / pers.sum() == pytest.approx(value), key
        interval = rate_interval(metric, of)
        assert interval is not None
        assert interval.value == pytest.approx(value), key
        assert interval.low <= value <= interval.high


def test_a_rate_that_every_task_has_is_certain() -> None:
    interval = rate_interval(named("output_throughput")[0], counted([2.0, 4.0], [10, 20]))
    assert interval is not None
    assert interval.half == pytest.approx(0, abs=1e-12)
    assert rate_interval(named("output_throughput")[0], counted([2.0], [10])) is None


@pytest.mark.slow
def test_the_interval_of_a_rate_covers_it_as_often_as_it_says() -> None:
    """Tasks of mean 8 s by 4 agents: 1/2 per second. A ratio of sums, so far more than 40 tasks."""
    rng = np.random.default_rng(1)
    metric, covered, runs = named("task_throughput")[0], 0, 400
    for _ in range(runs):
        tasks_s = rng.gamma(3.0, 8 / 3, 200)
        interval = rate_interval(metric, counted(tasks_s.tolist(), [1] * 200))
        assert interval is not None
        covered += interval.low <= 0.5 <= interval.high
    assert 0.92 <= covered / runs <= 0.98


def test_what_a_sum_is_divided_by() -> None:
    of = counted([2.0, 4.0, 6.0], [10, 20, 60])
    assert (per.once(of), per.second(of), per.loaded(of)) == (1.0, 3.0, 3.0)
    assert (per.request(of), per.task(of), per.prompt_token(of)) == (3, 3, 30.0)
    assert per.answering(of) == 12.0
    assert per.slow_token(of) == pytest.approx(0.03)
    assert per.tasks_per_hour(of) == pytest.approx(3600 * per.tasks_per_second(of))
