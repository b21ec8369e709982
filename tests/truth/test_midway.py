"""Sessions that are entered midway are those of a load that has been on: gcsim.traffic.midway.

Agents that never meet at a server (it takes all of them at once) have known rates from the first
second on, if they are found where a load that has been on has them: at any step of any session with
the same chance. So no ramp is needed; where all start fresh, there is one.
"""

from dataclasses import replace
from functools import cache
from math import sqrt
from typing import Any

import numpy as np
import pytest
import toys

import gcsim
from gcsim.profiles.arrivals import Closed
from gcsim.profiles.load import validate
from gcsim.profiles.workload import Workload, load_workload
from gcsim.traffic.generate import trajectories
from gcsim.traffic.midway import enter
from gcsim.traffic.trajectory import Trajectory

AGENTS, STEPS, THINKING_S, APPEND = 2000, 12.0, 1.0, 100
pytestmark = pytest.mark.slow
SEED = np.random.SeedSequence(5)


def workload(steps_cv: float, delay_cv: float) -> Workload:
    """Agents whose prompts grow by 100 tokens a step, on average a second after the last answer."""
    sigma = sqrt(np.log(1 + steps_cv**2))
    steps = {"dist": "lognormal", "median": STEPS, "sigma": sigma} if steps_cv else STEPS
    agent = {
        "steps": steps,
        "shared": 0,
        "first": APPEND,
        "output": 1,
        "start_delay": {"dist": "gamma", "mean": f"{THINKING_S} s", "cv": delay_cv},
        "tools": {
            "append": APPEND,
            "delay": {"dist": "gamma", "mean": f"{THINKING_S} s", "cv": delay_cv},
        },
    }
    return validate(Workload, {"name": "w", "agent": agent}, "w")


def by_the_clock(of: Workload, start: str, seconds: float) -> tuple[float, float, float]:
    """Requests and ends of sessions per second, and mean prompt, between 0.05 s and so long later.

    In the first 0.05 s those that are entered midway have their first answer.
    """
    arrivals = Closed(process="closed", agents=AGENTS, start=start)  # type: ignore[arg-type]
    batching = {"max_seqs": AGENTS, "max_iteration_tokens": 10**8}
    what = toys.deployment({"main": {"batching": batching, "prefix_cache_tokens": 0}})
    machines = {name: replace(m, context_window=10**6)
                for name, m in toys.constant_cost(1e-3, what).items()}  # fmt: skip
    played: Any = trajectories(of, arrivals, SEED)
    found = toys.serve(what, played, costs=machines, horizon_s=0.05 + seconds)
    prompts = np.array([row["isl"] for row in toys.rows(found) if row["sent_ns"] > 5e7])
    sessions = toys.records(found.records.trajectories)
    ended = sum(row["status"] == 0 and row["end_ns"] > 5e7 for row in sessions)
    return len(prompts) / seconds, ended / seconds, float(prompts.mean())


@pytest.mark.parametrize(("steps_cv", "delay_cv"), [(0.0, 1.0), (0.5, 0.5), (0.9, 2.0)])
def test_the_first_seconds_are_those_of_a_load_that_has_been_on(
    steps_cv: float, delay_cv: float
) -> None:
    """Requests N / Z, sessions that / E[n], prompts 100 E[n (n + 1) / 2] / E[n], by renewal.

    A session of n steps waits n times and asks 100, 200, ... 100 n tokens.
    """
    of, alone = workload(steps_cv, delay_cv), Closed(process="closed", agents=1)
    n = np.array([len(t.steps) for t in trajectories(of, alone, SEED, 8_000)], dtype=float)
    rate, prompt = AGENTS / THINKING_S, APPEND * (n * (n + 1) / 2).mean() / n.mean()
    found = by_the_clock(of, "midway", 3.0)
    assert found[0] == pytest.approx(rate, rel=0.04)
    assert found[1] == pytest.approx(rate / n.mean(), rel=0.12)
    assert found[2] == pytest.approx(prompt, rel=0.06)
    fresh = by_the_clock(of, "fresh", 3.0)
    assert fresh[2] < 0.6 * prompt


@pytest.mark.parametrize("name", ["coding-agent", "research", "long-horizon"])
def test_who_enters_asks_what_the_whole_session_would(name: str) -> None:
    """Prompts and, after the first answer, cache hits: with sub-agents, compaction, forgetting."""
    what = toys.deployment({"main": {"kv_tokens": 20_000_000}})
    machines = toys.constant_cost(1e-3, what)
    machines = {key: replace(machine, context_window=10**7) for key, machine in machines.items()}
    arrivals, rng = Closed(process="closed", agents=1), np.random.default_rng(3)
    chains = 0
    for whole in trajectories(load_workload(name), arrivals, SEED, 8):
        count = len(whole.steps)
        at = int(rng.integers(1, count))
        begin = max(whole.steps[at].waits_for)
        steps = enter(whole.steps, at, 0.5, number=0)
        assert len(steps) == count - begin
        assert steps[at - begin].delay_s == whole.steps[at].delay_s / 2
        assert steps[0].delay_s == 0.0
        rows = []
        for played in (whole.steps, steps):
            session = Trajectory(0, name, played, 0.0)
            cluster = toys.serve(what, [session], costs=machines)
            rows.append(sorted(toys.rows(cluster), key=lambda row: row["step"]))
        both = list(zip(rows[0][begin:], rows[1], strict=True))
        assert all(old["isl"] == new["isl"] for old, new in both)
        assert both[0][1]["cached_tokens"] == 0
        if all(step.parent == k for k, step in enumerate(steps[1:])):
            chains += 1
            assert all(old["cached_tokens"] == new["cached_tokens"] for old, new in both[1:])
    assert chains


@cache
def long_run() -> dict[str, Any]:
    """24 agents that all start fresh, long after that."""
    settings = {"arrivals.agents": 24, "run.trajectories": 200}
    return gcsim.run("coding-agents", settings=settings).summary


def test_coding_agents_need_no_ramp() -> None:
    """Requests per second by the clock, in the first 5 minutes after the first answers; 8 seeds."""
    agents, long = {"arrivals.agents": 24}, long_run()
    rates: dict[str, list[float]] = {"midway": [], "fresh": []}
    for start, found in rates.items():
        for seed in range(1, 9):
            cut = {"arrivals.start": start, "run.warmup": "0 s", "run.horizon": "340 s"}
            played = gcsim.run("coding-agents", settings={**agents, **cut, "run.seed": seed})
            sent_s = played.requests["sent_s"]
            found.append(float(((sent_s > 40) & (sent_s < 340)).sum()) / 300)
    low, high = long["ci95_request_throughput"]
    mean = np.mean(rates["midway"])
    off = 2.4 * np.std(rates["midway"], ddof=1) / sqrt(8)  # t(0.975, 7)
    assert mean - off < high
    assert low < mean + off
    assert np.mean(rates["fresh"]) > 1.3 * long["request_throughput"]


def test_an_hour_from_the_first_answers_on_says_what_a_long_run_does() -> None:
    """AgentX's window: lanes over 3,600 s, entered midway. Both engines play it bit for bit."""
    settings = {"arrivals.agents": 24, "arrivals.start": "midway"}
    found, long = gcsim.run("coding-agents", settings={**settings, "run.time": "1 h"}), long_run()
    opened_s, closed_s = found.summary["window_s"]
    assert closed_s - opened_s == pytest.approx(3600, rel=1e-9)
    assert opened_s < 60
    entered = found.trajectories.iloc[:24]
    assert not entered["counted"].any()
    for key in ("request_throughput", "output_throughput", "mean_e2el_ms", "mean_task_ms"):
        (low, high), (least, most) = found.summary[f"ci95_{key}"], long[f"ci95_{key}"]
        assert low <= most
        assert least <= high
    begun = {**settings, "run.horizon": "100 s"}
    both = [gcsim.run("coding-agents", settings={**begun, "engine": engine})
            for engine in ("coalesced", "iteration")]  # fmt: skip
    assert len(both[0].requests) > 24
    assert both[0].requests.equals(both[1].requests)
