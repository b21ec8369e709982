"""KV that was evicted to a lower memory tier: gcsim.engine.offload, and whom it costs what."""

from typing import Any

import pytest
import toys

from gcsim.engine.cluster import Cluster
from gcsim.errors import ProfileError
from gcsim.machine.counts import kv_bytes_per_token
from gcsim.profiles.library import shipped
from gcsim.profiles.resolve import load_chip, resolve_mapping
from gcsim.results.tables import pool_table
from gcsim.traffic.trajectory import Step, Trajectory, chain

SLOW = {"bandwidth": "1 GB/s", "efficiency": 0.5}
# A context that goes on after another one took its place in memory.
TASKS = [
    chain(0, "a", [Step(((1, 4000),), 2), Step(((2, 100),), 2, 1.0)], 0.0),
    chain(1, "b", [Step(((3, 5000),), 2)], 0.5),
]


def play(tasks: list[Trajectory], offload: dict[str, Any] | None, **more: Any) -> Cluster:
    """Both engines on a replica of 6,000 tokens of KV; iterations take 1 ms."""
    pool = {"kv_tokens": 6000, "kv_offload": offload, **more.pop("pool", {})}
    what = toys.deployment({"main": pool})
    of = more.get("of")
    costs = toys.constant_cost(1e-3, what, of)
    fast, slow = (toys.serve(what, tasks, coalesce=c, costs=costs, **more) for c in (True, False))
    assert fast.records.requests.tobytes() == slow.records.requests.tobytes()
    return fast


def of_step(cluster: Cluster, trajectory: int, step: int) -> Any:
    rows = cluster.records.requests
    return rows[(rows["trajectory"] == trajectory) & (rows["step"] == step)][0]


def test_evicted_kv_is_gone_unless_the_deployment_says_otherwise() -> None:
    assert of_step(play(TASKS, None), 0, 1)["cached_tokens"] < 4000
    assert of_step(play(TASKS, SLOW), 0, 1)["cached_tokens"] == 4000
    scenario = {"model": "llama-3.1-8b", "workload": "rag"}
    scenario["arrivals"] = {"process": "closed", "agents": 1}  # type: ignore[assignment]
    for name in shipped("deployment"):
        made = resolve_mapping({"name": "s", "deployment": name, **scenario}, "s").scenario
        having = [pool for pool in made.deployment.pools.values() if pool.kv_offload]
        assert bool(having) is (name == "h100-offload")
        assert all(pool.kv_offload.source for pool in having if pool.kv_offload)


def test_what_comes_back_takes_its_bytes_over_the_link() -> None:
    """TTFT of the second step = its lost KV / (bandwidth x efficiency) + one iteration."""
    cluster = play(TASKS, SLOW)
    offload = cluster.replicas[0].groups[0].offload
    assert offload is not None
    per_token = kv_bytes_per_token(toys.model()).full
    back_ns = round(offload.read_tokens * per_token / 0.5e9 * 1e9)
    row = of_step(cluster, 0, 1)
    assert row["ttft_ns"] == back_ns + 1_000_000
    assert row["prefill_ns"] == row["ttft_ns"]
    assert 0 < offload.read_tokens <= offload.written_tokens, "what comes back went down before"
    assert offload.written_tokens == cluster.replicas[0].groups[0].kv.tree.offloaded_blocks * 16
    (pool,) = pool_table(cluster, 1.0).to_dict("records")
    assert pool["kv_offloaded_tokens"] == offload.written_tokens
    assert pool["kv_reloaded_tokens"] == offload.read_tokens


def test_windows_of_sliding_layers_are_counted_as_in_a_handoff() -> None:
    """Of the layers that slide only the window comes back: half the bytes, not all of them."""
    attention = {"kind": "gqa", "q_heads": 8, "kv_heads": 4, "head_dim": 32}
    sliding = toys.model(attention={**attention, "window": 40, "window_layers": 2})
    plain = toys.model(attention=attention)
    times = {}
    for name, of in (("sliding", sliding), ("plain", plain)):
        cluster = play(TASKS, SLOW, of=of)
        offload = cluster.replicas[0].groups[0].offload
        assert offload is not None
        kv = kv_bytes_per_token(of)
        moved = offload.read_tokens * kv.full + 40 * kv.window
        times[name] = of_step(cluster, 0, 1)["ttft_ns"] - 1_000_000
        assert times[name] == round(moved / 0.5e9 * 1e9)
        assert cluster.replicas[0].cost.handoff_bytes(offload.read_tokens, 4100) == moved
    assert times["sliding"] < 0.55 * times["plain"]


@pytest.mark.parametrize("chip", ["mi300x", "sn40l"])
def test_only_the_request_that_waits_is_stalled(chip: str) -> None:
    """Who decodes beside a reload keeps its pace, on GPUs as on RDUs: 300 tokens in 300 ms."""
    beside = toys.one_step(2, 100, 301, 1.05)
    slow = {"bandwidth": "0.05 GB/s", "efficiency": 0.5}
    execution = load_chip(chip).execution
    cluster = play([*TASKS, beside], slow, pool={"chip": toys.chip(execution=execution)})
    late, other = of_step(cluster, 0, 1), of_step(cluster, 2, 0)
    back_ns = late["sent_ns"] + late["ttft_ns"]
    first_ns = other["sent_ns"] + other["ttft_ns"]
    assert first_ns < back_ns < first_ns + 300_000_000, "it comes back while the other decodes"
    assert other["decode_ns"] == 300_000_000, "a prompt beside takes no more iterations"
    assert other["prefill_ns"] == 1_000_000


def test_reloads_go_one_after_another_and_share_memory_with_what_is_written() -> None:
    """A link of one direction at a time: two that come back, and what makes room for them."""
    tasks = [
        chain(k, "a", [Step(((10 * k + 1, 1900),), 2), Step(((10 * k + 2, 50),), 2, 1.0)], 0.0)
        for k in range(2)
    ]
    tasks.append(chain(9, "b", [Step(((99, 5500),), 2)], 0.5))
    found = {}
    for duplex in (True, False):
        cluster = play(tasks, {**SLOW, "duplex": duplex})
        ttft = sorted(of_step(cluster, k, 1)["ttft_ns"] for k in range(2))
        assert ttft[1] - ttft[0] > 0.4 * ttft[1], "the second waits for the first"
        found[duplex] = ttft[1]
    assert found[False] > found[True]


def test_a_tier_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no tier 'attic' that holds kv_spill"):
        toys.deployment({"main": {"kv_offload": {**SLOW, "tier": "attic"}}})
    old = {"name": "s", "deployment": "h100-mono", "model": "llama-3.1-8b", "workload": "rag"}
    old["arrivals"] = {"process": "closed", "agents": 1}  # type: ignore[assignment]
    made = resolve_mapping(old, "s").mapping  # type: ignore[arg-type]
    made["deployment"]["pools"]["serve"]["spill"] = True
    with pytest.raises(ProfileError, match="spill: unknown key; now called 'kv_offload'"):
        resolve_mapping(made, "s")
