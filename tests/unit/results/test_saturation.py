"""Runs that were asked for too much: gcsim.results.saturation."""

import numpy as np
import pytest
import toys

import gcsim
from gcsim.results.saturation import load_of, trend

pytestmark = pytest.mark.slow  # `make quick` leaves it out

LOAD: dict[str, object] = {"run.trajectories": 20}


def at(rate: float, **more: object) -> dict[str, object]:
    return {**LOAD, "arrivals": {"process": "poisson", "rate": f"{rate} /s"}, **more}


def test_the_load_is_what_requests_spend_at_the_servers() -> None:
    """A request of 9 iterations of 1 ms from 0 s on, another from 4 ms on."""
    what = toys.deployment({"main": {}})
    tasks = [toys.one_step(0, 10, 9, start_s=0.0), toys.one_step(1, 10, 9, start_s=0.004)]
    tasks.append(toys.one_step(2, 10, 9, start_s=0.02))
    load = load_of(toys.serve(what, tasks, costs=toys.constant_cost(1e-3, what)))
    assert load.starts_s.tolist() == pytest.approx([0.0, 0.004, 0.02])
    assert load.served.tolist() == [0, 0, 2]
    assert load.spent_s.tolist() == pytest.approx([0.0, 0.004, 0.018])
    assert (load.served_since(0.0), load.until_s) == (2, pytest.approx(0.02))


def test_a_trend_is_told_from_noise() -> None:
    rng = np.random.default_rng(1)
    noise = [trend(10 + rng.normal(0, 1, 20))[1] for _ in range(300)]
    assert np.mean(np.abs(noise) > 4) < 0.02
    assert trend(np.arange(20.0) + rng.normal(0, 1, 20))[1] > 10
    assert trend(np.full(20, 3.0)) == (0.0, 0.0)


@pytest.mark.parametrize(("rate", "saturated"), [(0.02, False), (0.5, True)])
def test_an_overload_is_recognised(rate: float, saturated: bool) -> None:
    summary = gcsim.run("coding-agents", settings=at(rate)).summary
    assert summary["saturated"] is saturated
    assert bool(summary["saturated_why"]) is saturated


def test_waiting_for_the_second_pool_counts() -> None:
    """It decodes 0.14 tasks per second with all agents at work (a closed loop of 800)."""
    settings = at(0.6, deployment="mi300x-prefill-sn50-decode")
    assert gcsim.run("coding-agents", settings=settings).summary["saturated"]


def test_the_horizon_does_not_hide_it() -> None:
    settings = at(2.0, **{"run.horizon": "150 s", "run.warmup": "0 s"})
    summary = gcsim.run("coding-agents", settings=settings).summary
    assert summary["saturated"]
    assert summary["unfinished"] > 0


def test_a_closed_loop_and_a_batch_job_cannot_saturate() -> None:
    for arrivals in ({"process": "closed", "agents": 100}, {"process": "static"}):
        settings = {"run.trajectories": 20, "run.warmup": "0 s", "arrivals": arrivals}
        assert gcsim.run("coding-agents", settings=settings).summary["saturated"] is False
