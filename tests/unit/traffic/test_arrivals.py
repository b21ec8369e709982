"""Start times: rates, burstiness, steps and ramps of load, closed loops."""

from itertools import islice

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats

from gcsim.profiles.arrivals import Arrivals
from gcsim.traffic.arrivals import starts

READ: TypeAdapter[Arrivals] = TypeAdapter(Arrivals)


def times(count: int, seed: int = 1, **data: object) -> list[float | None]:
    arrivals = READ.validate_python(data)
    return list(islice(starts(arrivals, np.random.default_rng(seed)), count))


def floats(
    count: int, seed: int = 1, **data: object
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(times(count, seed, **data), dtype=np.float64)


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(floats(20_000, process="poisson", rate="4 /s"))
    assert stats.kstest(gaps, stats.expon(scale=0.25).cdf).pvalue > 0.01


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.5])
def test_gamma_arrivals_have_their_rate_and_cv(cv: float) -> None:
    gaps = np.diff(floats(50_000, process="gamma", rate="4 /s", cv=cv))
    assert gaps.mean() == pytest.approx(0.25, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


def test_a_rate_stretches_the_same_pattern() -> None:
    slow = floats(5_000, process="poisson", rate="1 /s")
    fast = floats(5_000, process="poisson", rate="4 /s")
    assert np.allclose(slow, 4 * fast)
    constant = floats(5_000, process="steps", points=[{"at": 0, "rate": "1 /s"}])
    assert np.allclose(constant, slow)


def test_steps_and_ramps_give_the_cumulated_rate() -> None:
    points = [{"at": 0, "rate": "2 /s"}, {"at": "1000 s", "rate": "10 /s"}]
    steps = floats(30_000, process="steps", points=points)
    ramp = floats(30_000, process="ramp", points=points)
    for at, count in ((500, 1_000), (1_000, 2_000), (1_500, 7_000)):
        assert np.sum(steps <= at) == pytest.approx(count, abs=4 * count**0.5)
    for at, count in ((500, 500 * 4), (1_000, 6_000), (1_500, 11_000)):
        assert np.sum(ramp <= at) == pytest.approx(count, abs=4 * count**0.5)


def test_times_rise_over_every_segment() -> None:
    points = [
        {"at": 0, "rate": "0 /s"}, {"at": "10 s", "rate": "50 /s"}, {"at": "20 s", "rate": "0 /s"},
        {"at": "30 s", "rate": "0 /s"}, {"at": "40 s", "rate": "5 /s"},
    ]  # fmt: skip
    for process in ("steps", "ramp"):
        found = floats(3_000, process=process, points=points)
        assert np.all(np.diff(found) >= 0)
        assert not np.any((found > 20) & (found < 30))


def test_a_load_that_falls_to_nothing_ends() -> None:
    points = [{"at": 0, "rate": "10 /s"}, {"at": "20 s", "rate": "0 /s"}]
    found = times(10_000, process="ramp", points=points)
    assert 60 < len(found) < 140
    assert max(time for time in found if time is not None) < 20


def test_a_closed_loop_starts_its_agents_and_then_leaves_it_to_the_engine() -> None:
    assert times(4, process="closed", agents=2, ramp="10 s") == [0.0, 5.0, None, None]
    assert times(2, process="static") == [0.0, 0.0]
    assert times(2, process="trace") == [None, None]
