"""Speed of the engine; `make bench`. Figures: docs/performance.md."""

import gc
from typing import Any

import pytest

from gcsim.profiles.resolve import Resolved, resolve
from gcsim.simulate import play_scenario

MONO = {"deployment": "sn40l-mono", "deployment.pools.serve.replicas": 16}
SPLIT = {
    "deployment": "mi300x-prefill-sn40l-decode",
    "deployment.pools.prefill.replicas": 8,
    "deployment.pools.decode.replicas": 8,
}


def scenario(deployment: dict[str, Any], tasks: int = 1500, **more: Any) -> Resolved:
    """1,000 coding agents at any time."""
    settings = {
        **deployment,
        "arrivals": {"process": "closed", "agents": 1000},
        "run.trajectories": tasks,
        "run.warmup": "0 s",
        **more,
    }
    return resolve("coding-agents", settings)


@pytest.mark.parametrize(("name", "where"), [("one pool", MONO), ("prefill and decode", SPLIT)])
def test_agent_steps(benchmark: Any, name: str, where: dict[str, Any]) -> None:
    """Agent steps per second of wall time; aim: 10,000 or more on one core."""
    resolved = scenario(where)
    play_scenario(scenario(where, 4, engine="compiled").scenario)  # compiles
    gc.collect()
    cluster = benchmark.pedantic(play_scenario, (resolved.scenario,), rounds=3, warmup_rounds=0)
    steps = cluster.created  # those that keep the load on are played and not recorded
    benchmark.extra_info |= {
        "steps": steps,
        "steps_per_s": round(steps / benchmark.stats["min"]),
    }


@pytest.mark.parametrize("factor", [1, 2])
def test_longer_outputs(benchmark: Any, factor: int) -> None:
    """The same with every output twice as long: cost grows with requests, not with tokens."""
    more = {
        "workload.agent.output.median": 210 * factor,
        "workload.agent.output.high": 16000 * factor,
        "workload.agent.output.low": 8 * factor,
    }
    resolved = scenario(MONO, **more)
    play_scenario(scenario(MONO, 4, engine="compiled").scenario)
    cluster = benchmark.pedantic(play_scenario, (resolved.scenario,), rounds=3)
    benchmark.extra_info["steps"] = cluster.created
