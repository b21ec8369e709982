"""Waiting times from queueing theory: the engine on iterations of a constant or a random length."""

import numpy as np
import pytest
import toys

SERVICE_S = 0.01
COUNT = 60_000


def waits(replicas: int, load: float, services: np.ndarray, router: str = "round_robin") -> float:
    """Mean queueing time of single-sequence replicas under Poisson arrivals [s]."""
    rng = np.random.default_rng(7)
    starts = np.cumsum(rng.exponential(SERVICE_S / load / replicas, COUNT))
    what = toys.deployment(
        {"main": {"replicas": replicas, "batching": {"max_seqs": 1}, "prefix_cache_tokens": 0}},
        router={"policy": router},
    )
    # An answer of n tokens takes n iterations of the same length.
    requests = [
        toys.one_step(k, 8, int(n), float(t))
        for k, (t, n) in enumerate(zip(starts, services, strict=True))
    ]
    iteration_s = SERVICE_S / float(services.mean())
    cluster = toys.serve(what, requests, costs=toys.constant_cost(iteration_s, what))
    return float(cluster.records.requests["queue_ns"].mean()) * 1e-9


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_m_d_1(load: float) -> None:
    """W_q = rho / (2 mu (1 - rho)), Pollaczek-Khinchine with constant service."""
    theory = load * SERVICE_S / (2 * (1 - load))
    assert waits(1, load, np.full(COUNT, 10)) == pytest.approx(theory, rel=0.05)


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_m_m_1(load: float) -> None:
    """W_q = rho / (mu (1 - rho)): exponential service, here geometric with a mean of 200 tokens."""
    rng = np.random.default_rng(11)
    theory = load * SERVICE_S / (1 - load)
    assert waits(1, load, rng.geometric(1 / 200, COUNT)) == pytest.approx(theory, rel=0.06)


def test_m_d_c_lies_between_its_bounds_and_pooling_helps() -> None:
    """A router to the least loaded of c replicas waits no longer than c separate M/D/1 queues."""
    apart = waits(1, 0.7, np.full(COUNT, 10))
    together = waits(4, 0.7, np.full(COUNT, 10), "least_loaded")
    assert 0 < together < apart


def test_m_m_c_with_one_batch_of_c_places() -> None:
    """Erlang C: a replica with c places and an iteration time that does not grow is an M/M/c."""
    places, load = 3, 0.7
    rng = np.random.default_rng(5)
    services = rng.geometric(1 / 200, COUNT)
    starts = np.cumsum(rng.exponential(SERVICE_S / load / places, COUNT))
    what = toys.deployment({"main": {"batching": {"max_seqs": places}, "prefix_cache_tokens": 0}})
    requests = [
        toys.one_step(k, 8, int(n), float(t))
        for k, (t, n) in enumerate(zip(starts, services, strict=True))
    ]
    costs = toys.constant_cost(SERVICE_S / float(services.mean()), what)
    cluster = toys.serve(what, requests, costs=costs)
    waited = cluster.records.requests["queue_ns"].mean() * 1e-9
    offered = load * places
    terms = [offered**k / np.prod(np.arange(1, k + 1)) for k in range(places + 1)]
    tail = terms[places] / (1 - load)
    erlang_c = tail / (sum(terms[:places]) + tail)
    theory = erlang_c * SERVICE_S / (places * (1 - load))
    # Requests join at iteration boundaries: half an iteration (1/400 of a service) is added.
    assert waited == pytest.approx(theory, rel=0.06)


def test_littles_law() -> None:
    """L = lambda W: the mean number waiting is the arrival rate times the mean wait."""
    rng = np.random.default_rng(3)
    starts = np.cumsum(rng.exponential(SERVICE_S / 0.8, 20_000))
    what = toys.deployment({"main": {"batching": {"max_seqs": 1}, "prefix_cache_tokens": 0}})
    requests = [toys.one_step(k, 8, 10, float(t)) for k, t in enumerate(starts)]
    cluster = toys.serve(what, requests, costs=toys.constant_cost(SERVICE_S / 10, what))
    end_ns = cluster.env.now
    queue = cluster.records.requests["queue_ns"]
    timeline = cluster.replicas[0].meter.timeline
    assert timeline.mean_waiting(end_ns) == pytest.approx(queue.sum() / end_ns, rel=1e-12)
