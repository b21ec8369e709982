"""Each class of agents, drawn with fixed seeds, has the statistics that its data have.

Published: a Monte-Carlo of the same parameter sets by other code, set against recorded sessions
(Weka: context 101k/211k, 272 input tokens per output token, hit 0.974; Codex on SWE-bench Pro:
131, 0.942). Shared prefix warm, infinite cache, research without sub-agents and long last answer.
"""

from typing import Any

import numpy as np
import pytest

from gcsim.profiles.arrivals import Static
from gcsim.profiles.base import Quantity
from gcsim.profiles.workload import Agent, load_workload
from gcsim.traffic import ids
from gcsim.traffic.generate import trajectories
from gcsim.traffic.traces.describe import Reuse

K = 1000
TOLERANCE = 0.15
# trajectories drawn; steps p50; context p50, p90; input per output; fresh tokens per step; hit
PUBLISHED: dict[str, tuple[int, float, float, float | None, float, float | None, float]] = {
    "coding-interactive": (1_000, 63, 89 * K, 167 * K, 212, 1.6 * K, 0.985),
    "coding-agent": (1_000, 33, 60 * K, 125 * K, 139, 2.0 * K, 0.970),
    "research": (1_000, 20, 51 * K, 100 * K, 119, 4.1 * K, 0.92),
    "voice": (1_000, 16, 4.5 * K, None, 98, 0.13 * K, 0.975),
    "support": (1_000, 11, 7.1 * K, None, 93, 0.15 * K, 0.98),
    "long-horizon": (600, 168, 101 * K, 147 * K, 180, 2.2 * K, 0.978),
    "chatbot": (4_000, 2, 1.7 * K, None, 6, None, 0.85),
    "reasoning": (4_000, 1, 0.4 * K, None, 0.8, None, 0.17),
    "batch-summary": (4_000, 1, 2.9 * K, None, 17, None, 0.05),
    "rag": (4_000, 1, 3.8 * K, None, 14, None, 0.19),
}
PLAIN: dict[str, dict[str, Any]] = {"research": {"fan_out": None, "last_output": None}}


def drawn(name: str, count: int, **changes: Any) -> dict[str, float]:
    """Statistics of `count` trajectories of a class, the prefix that they share being warm."""
    workload = load_workload(name)
    assert workload.agent is not None
    agent: Agent = workload.agent.model_copy(update={**PLAIN.get(name, {}), **changes})
    workload = workload.model_copy(update={"agent": agent})
    warm = (ids.shared(name, "prefix"), round(agent.shared.value))
    steps, isl, osl, hits, shrunk = [], [], [], [], 0
    static = Static(process="static")
    for trajectory in trajectories(workload, static, np.random.SeedSequence(20_26), count):
        found = Reuse([warm]).steps(trajectory.steps)
        steps.append(len(found))
        isl += [tokens for tokens, _ in found]
        hits += [tokens for _, tokens in found]
        osl += [step.osl for step in trajectory.steps]
        shrunk += sum(step.parent < 0 for step in trajectory.steps[1:])
    total = sum(isl)
    return {
        "steps": float(np.median(steps)),
        "steps_mean": float(np.mean(steps)),
        "context_p50": float(np.median(isl)),
        "context_p90": float(np.percentile(isl, 90)),
        "input_per_output": total / sum(osl),
        "fresh": (total - sum(hits)) / len(isl),
        "hit": sum(hits) / total,
        "compactions": shrunk / count,
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_class_has_its_published_statistics(name: str) -> None:
    count, steps, p50, p90, ratio, fresh, hit = PUBLISHED[name]
    found = drawn(name, count)
    assert found["steps"] == pytest.approx(steps, rel=TOLERANCE)
    assert found["context_p50"] == pytest.approx(p50, rel=TOLERANCE)
    assert found["input_per_output"] == pytest.approx(ratio, rel=TOLERANCE)
    assert found["hit"] == pytest.approx(hit, rel=TOLERANCE)
    # Of a hit rate near 1 this says little: what misses is held to the same tolerance.
    assert 1 - found["hit"] == pytest.approx(1 - hit, rel=TOLERANCE)
    if p90 is not None:
        assert found["context_p90"] == pytest.approx(p90, rel=TOLERANCE)
    if fresh is not None:
        assert found["fresh"] == pytest.approx(fresh, rel=TOLERANCE)


def test_chats_have_three_turns_on_average() -> None:
    assert drawn("chatbot", 4_000)["steps_mean"] == pytest.approx(3, rel=TOLERANCE)


def test_developers_sessions_are_compacted_as_often_as_published() -> None:
    assert drawn("coding-interactive", 1_000)["compactions"] == pytest.approx(0.48, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "count", "hit"), [("coding-interactive", 1_000, 0.943), ("long-horizon", 600, 0.965)]
)
def test_a_cache_that_forgets_after_five_minutes_hits_less(
    name: str, count: int, hit: float
) -> None:
    five = Quantity(value=300, dimension="seconds")
    found = drawn(name, count, cache_ttl=five)
    assert 1 - found["hit"] == pytest.approx(1 - hit, rel=TOLERANCE)
