"""How often `saturated` errs: gcsim.results.saturation on a queue whose capacity is known.

Tasks arrive at random, of 1 to 9 requests (5 on average) with thinking between them, at one server
of 1 ms a request: it serves 200 tasks per second, so a load says what is right. `python
tests/truth/test_saturation_rates.py` prints the table of docs/results.md, over more seeds.
"""

import sys
from collections.abc import Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toys

from gcsim.engine.window import Window
from gcsim.profiles.arrivals import Poisson
from gcsim.results.counted import window_s
from gcsim.results.saturation import load_of, saturation
from gcsim.traffic.trajectory import Step, Trajectory, chain

SERVICE_S, STEPS = 1e-3, 5
THINKING_S = {"none": 0.0, "20 services": 0.02, "500 services": 0.5}
COUNTS = (40, 200, 1000)
LOADS = (0.5, 0.8, 0.9, 1.1, 1.25, 1.5, 3.0)

pytestmark = pytest.mark.slow


def tasks(load: float, thinking_s: float, seed: int) -> Iterator[Trajectory]:
    rng, start_s, number = np.random.default_rng(seed), 0.0, 0
    while True:
        start_s += rng.exponential(STEPS * SERVICE_S / load)
        delays_s = (0.0, *rng.exponential(thinking_s, int(rng.integers(0, 2 * STEPS - 1))))
        steps = [Step(((number * 100 + k, 4),), 1, float(s)) for k, s in enumerate(delays_s)]
        yield chain(number, "w", steps, start_s)
        number += 1


def called(load: float, count: int, thinking: str, seed: int, warmup_ns: int | None = None) -> bool:
    """Whether a run is called saturated."""
    one = {"batching": {"max_seqs": 1}, "prefix_cache_tokens": 0}
    what = toys.deployment({"main": one})
    costs, window = toys.constant_cost(SERVICE_S, what), Window(count, warmup_ns)
    traffic: Any = tasks(load, THINKING_S[thinking], seed)
    cluster = toys.serve(what, traffic, costs=costs, window=window)
    rate = Poisson.model_validate({"process": "poisson", "rate": "1 /s"})
    scenario: Any = SimpleNamespace(arrivals=rate, deployment=what)
    open_s, _ = window_s(cluster)
    return saturation(scenario, load_of(cluster), open_s) is not None


def share(seeds: int, loads: tuple[float, ...], counts: tuple[int, ...], thinking: str) -> float:
    calls = [
        called(load, count, thinking, seed)
        for load, count, seed in product(loads, counts, range(seeds))
    ]
    return sum(calls) / len(calls)


@pytest.mark.parametrize("thinking", THINKING_S)
def test_false_alarms_are_rare(thinking: str) -> None:
    assert share(3, (0.5, 0.8), (40, 200), thinking) <= 0.1


@pytest.mark.parametrize("thinking", THINKING_S)
def test_what_cannot_be_served_is_found(thinking: str) -> None:
    assert share(4, (3.0,), (40,), thinking) >= 0.75
    assert share(2, (1.5,), (200,), thinking) == 1.0


@pytest.mark.parametrize("count", [100, 400, 1600])
def test_a_ramp_is_no_saturation_however_short_the_run(count: int) -> None:
    """100 tasks per second that think 2 s altogether and ask 5 times for 50 iterations of 1 ms: 25
    requests under way once the first tasks end, all of which the server takes at once.
    """
    rng = np.random.default_rng(1)
    starts_s = np.cumsum(rng.exponential(0.01, 20_000))
    steps = [[Step(((5 * k + i, 4),), 50, 0.5 * (i > 0)) for i in range(5)] for k in range(20_000)]
    traffic: Any = (chain(k, "w", steps[k], float(at)) for k, at in enumerate(starts_s))
    what = toys.deployment({"main": {"batching": {"max_seqs": 500}, "prefix_cache_tokens": 0}})
    costs, window = toys.constant_cost(SERVICE_S, what), Window(count, 0)
    cluster = toys.serve(what, traffic, costs=costs, window=window)
    rate = Poisson.model_validate({"process": "poisson", "rate": "1 /s"})
    scenario: Any = SimpleNamespace(arrivals=rate, deployment=what)
    load = load_of(cluster)
    assert load.spent_s[-1] / load.starts_s[-1] > 5
    assert saturation(scenario, load, 0.0) is None


if __name__ == "__main__":
    seeds = int(sys.argv[1])
    print("| thinking | tasks | " + " | ".join(f"{load:g}" for load in LOADS) + " |")
    print("| --- |" * 1 + " --- |" * (1 + len(LOADS)))
    for thinking, count in product(THINKING_S, COUNTS):
        runs = max(seeds * 40 // count, 3) if count > 40 else seeds
        cells = [f"{share(runs, (load,), (count,), thinking):.0%}" for load in LOADS]
        print(f"| {thinking} | {count:,} ({runs} seeds) | {' | '.join(cells)} |", flush=True)
