"""Little's law in random closed and open loads: gcsim.results.counted against the engine's areas.

What the metrics say, from the tasks that count: requests per second x their time at the servers.
What the engine has seen, of all tasks while the window was open: the area below the number of
requests at the servers; starts of tasks by the clock; and in a closed loop N = X R.
`pytest --hypothesis-profile=explore` plays 1,000 loads; all agree within 3%.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from gcsim.engine.window import Window
from gcsim.profiles.resolve import resolve
from gcsim.results.counted import count_run, window_s
from gcsim.results.saturation import load_of, saturation
from gcsim.results.tables import pool_table, request_table, trajectory_table
from gcsim.traffic.trajectory import Step, Trajectory, chain

TASKS = 2500
FEW = settings().max_examples <= 100  # not exploring

pytestmark = pytest.mark.slow


def traffic(
    rng: np.random.Generator, agents: int, rate: float, steps: int, thinking_s: float, osl: int
) -> Iterator[Trajectory]:
    now_s, number = 0.0, 0
    while True:
        now_s += rng.exponential(1 / rate) if rate else 0.0
        lengths = rng.integers(1, 2 * osl, int(rng.integers(1, 2 * steps))).tolist()
        delays_s = rng.exponential(thinking_s, len(lengths)).tolist()
        asked = [
            Step(((64 * number + k, 4),), n, delays_s[k] * (k > 0)) for k, n in enumerate(lengths)
        ]
        start_s = now_s if rate else (0.0 if number < agents else None)
        yield chain(number, "w", asked, start_s)
        number += 1


@pytest.mark.parametrize("overload", [1.5, 3.0])
def test_the_rate_of_a_saturated_run_is_what_its_server_can_do(overload: float) -> None:
    """One at a time, so many iterations of 1 ms each: 1000 / E[output tokens] per second.

    What arrives is more, and what of the window completes is less than what is served meanwhile.
    """
    osl = 5
    capacity = 1 / (1e-3 * osl)
    what = toys.deployment({"main": {"batching": {"max_seqs": 1}, "prefix_cache_tokens": 0}})
    played: Any = traffic(np.random.default_rng(3), 0, overload * capacity, 1, 0.0, osl)
    window = Window(1000, int(2e9))
    cluster = toys.serve(what, played, costs=toys.constant_cost(1e-3, what), window=window)
    load, (open_s, close_s) = load_of(cluster), window_s(cluster)
    arrivals = {"process": "poisson", "rate": f"{overload * capacity} /s"}
    scenario = resolve("chatbot", {"arrivals": arrivals}).scenario
    assert saturation(scenario, load, open_s)
    summary = {
        "simulated_s": cluster.env.now * 1e-9,
        "window_s": [open_s, close_s],
        "load_on_until_s": load.until_s,
        "served_under_load": load.served_since(open_s),
        "saturated": True,
    }
    tables = (request_table(cluster), trajectory_table(cluster), pool_table(cluster, 1.0))
    of = count_run(*tables, scenario, summary)
    assert len(of.requests) / of.span_s == pytest.approx(capacity, rel=0.04)


@given(st.integers(0, 2**32))
@settings(max_examples=6 if FEW else 1000)
def test_requests_under_way_are_their_rate_times_their_time(seed: int) -> None:
    rng = Random(seed)
    closed, steps, osl = rng.random() < 0.5, rng.choice([1, 2, 4]), rng.choice([1, 5])
    seqs, thinking_s = rng.choice([1, 4]), rng.choice([0.0, 0.01, 0.05])
    agents = rng.randint(1, 12) if closed else 0
    work_s = 1e-3 * steps * osl  # of a task, alone
    rate = 0.0 if closed else rng.uniform(0.1, 0.6) / work_s
    what = toys.deployment({"main": {"batching": {"max_seqs": seqs}, "prefix_cache_tokens": 0}})
    played: Any = traffic(np.random.default_rng(seed), agents, rate, steps, thinking_s, osl)
    window = Window(TASKS, None)
    cluster = toys.serve(what, played, costs=toys.constant_cost(1e-3, what), window=window)

    load, (open_s, close_s) = load_of(cluster), window_s(cluster)
    process: dict[str, Any] = {"process": "poisson", "rate": f"{rate} /s"}
    if closed:
        process = {"process": "closed", "agents": agents}
    scenario = resolve("chatbot", {"arrivals": process}).scenario
    end_s = cluster.env.now * 1e-9
    summary = {"simulated_s": end_s, "window_s": [open_s, close_s], "saturated": False}
    tables = (request_table(cluster), trajectory_table(cluster), pool_table(cluster, 1.0))
    of = count_run(*tables, scenario, summary)
    said = float((of.requests["e2e_s"] - of.requests["network_s"]).sum()) / of.span_s
    spent_s = np.interp([open_s, close_s], load.starts_s, load.spent_s)
    seen = float(np.diff(spent_s)[0]) / (close_s - open_s)
    assert said == pytest.approx(seen, rel=0.03)
    ended = len(of.tasks) / of.span_s
    by_clock = np.searchsorted(load.starts_s, close_s) - np.searchsorted(load.starts_s, open_s)
    assert ended == pytest.approx(float(by_clock) / (close_s - open_s), rel=0.03)
    if closed:
        assert agents == pytest.approx(ended * float(of.tasks["task_s"].mean()), rel=1e-9)
