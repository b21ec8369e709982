"""Laws that both engines keep, each by the smallest scenario that once broke it.

gcsim.engine.clock, gcsim.engine.replica, gcsim.engine.run, gcsim.engine.router,
gcsim.engine.session; gcsim.traffic.agent.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import toys

import gcsim
from gcsim.engine.clock import Call, Clock
from gcsim.engine.window import Window
from gcsim.machine.roofline import TOTALS
from gcsim.results.result import Result
from gcsim.traffic.trajectory import Step, Trajectory

CANCELLED = """
name: cancelled
model: llama-3.1-8b
deployment:
  name: d
  pools:
    p: {role: prefill, chip: mi300x}
    d: {role: decode, chip: mi300x, pp: 2}
    m: {chip: b300, replicas: 2}
  links: [{from: p, to: d, bandwidth: 5 GB/s, efficiency: 1.0}]
workload:
  name: samples
  agent:
    shared: 1
    first: 1
    output: 3
    samples: 4
    last_output: {dist: choice, values: [1, 2, 1.2], weights: [1, 1, 1]}
arrivals: {process: static}
run: {trajectories: 1, seed: 3}
"""
EVICTING = """
name: evicting
model: llama-3.1-8b
deployment:
  name: d
  pools:
    p: {role: prefill, chip: mi300x}
    d: {role: decode, chip: a100-40gb, block_tokens: 1, kv_tokens: 2999}
  links: [{from: p, to: d, bandwidth: 400 Gbit/s, efficiency: 0.7}]
workload: {name: w, agent: {shared: 0, first: 250, output: 3}}
arrivals: {process: closed, agents: 1}
"""
TINY_WINDOW = """
name: tiny-window
model: gpt-oss-20b
deployment: {name: d, pools: {n: {chip: b300}}}
workload:
  name: w
  agent:
    shared: 0
    first: {dist: histogram, edges: [0, 1, 2], weights: [1, 1]}
    output: 1
    compact_above: {dist: histogram, edges: [0, 1, 2], weights: [1, 1]}
arrivals: {process: steps, points: [{at: 0 s, rate: 2 /s}]}
"""
OUTGROWN = """
name: outgrown
model: deepseek-r1
deployment:
  name: d
  pools:
    q: {role: prefill, chip: sn50, tp: 2}
    d: {role: decode, chip: mi355x, tp: 3, kv_tokens: 16}
    e: {role: decode, chip: sn50, tp: 2}
  links:
    - {from: q, to: d, bandwidth: 5 GB/s, efficiency: 0.7}
    - {from: q, to: e, bandwidth: 0.1 GB/s, efficiency: 0.3}
  router: {policy: sticky}
workload:
  name: w
  agent:
    shared: 0
    first: {dist: histogram, edges: [0, 1, 2], weights: [1, 1]}
    output: 1
    user: {append: 3, gap: 0.2 s}
    steps: {dist: histogram, edges: [0, 1, 6], weights: [1, 1]}
arrivals: {process: ramp, points: [{at: 0 s, rate: 0 /s}, {at: 3 s, rate: 9 /s}]}
"""


def run_both(text: str, folder: Path, **settings: Any) -> Result:
    """The result of a scenario, which is the same under every engine."""
    path = folder / "scenario.yaml"
    path.write_text(text)
    engines = ("coalesced", "iteration", "compiled")
    fast, *others = (gcsim.run(path, settings=settings, engine=name) for name in engines)
    assert others[1].played == "compiled"
    for other in others:
        assert json.dumps(fast.summary) == json.dumps(other.summary)
        for name in ("requests", "trajectories", "pools", "links", "timeline"):
            assert getattr(fast, name).equals(getattr(other, name)), name
    return fast


def test_a_run_ends_with_its_last_event_and_not_with_one_that_was_cancelled(
    tmp_path: Path,
) -> None:
    run_both(CANCELLED, tmp_path)
    clock = Clock()
    Call(clock, 5, lambda _: None)
    Call(clock, 9, lambda _: None).cancel()
    clock.run()
    assert clock.now == 5


def test_kv_is_evicted_when_the_iteration_that_needs_it_ends(tmp_path: Path) -> None:
    """Else the peak, and what the router finds cached, hang on how iterations are grouped."""
    result = run_both(EVICTING, tmp_path)
    assert result.pools["kv_peak"].max() == 1.0


@pytest.mark.parametrize("coalesce", [True, False])
def test_the_router_finds_no_more_in_a_cache_than_the_iterations_so_far_have_left(
    coalesce: bool,
) -> None:
    """A long answer drives a cached prompt out; who asks for it then goes to the other replica."""
    what = toys.deployment(
        {"main": {"replicas": 2, "kv_tokens": 1_600, "block_tokens": 1}},
        router={"policy": "prefix_affinity"},
    )
    costs = toys.constant_cost(1e-3, what)
    steps = (Step(((7, 600),), 2), Step(((8, 10),), 2, 0.9, 0, (0,)))
    tasks = [
        Trajectory(0, "cached", steps, 0.0),
        Trajectory(1, "blocker", toys.one_step(1, 10, 8).steps, 0.0),
        Trajectory(2, "evicts", toys.one_step(2, 600, 990).steps, 0.004),
    ]
    cluster = toys.serve(what, tasks, coalesce=coalesce, costs=costs)
    homes = {
        (r["trajectory"], r["step"]): (r["replica"], r["cached_tokens"]) for r in toys.rows(cluster)
    }
    assert homes[0, 0] == homes[2, 0] == (0, 0)
    assert homes[0, 1] == (1, 0), "most of its cache is gone when it comes back"


def test_a_horizon_counts_every_iteration_that_has_ended(tmp_path: Path) -> None:
    text = EVICTING.replace("output: 3", "output: 300").replace("2999", "29990")
    result = run_both(text, tmp_path, **{"run.horizon": "0.5 s"})
    assert result.pools["decoded_tokens"].max() > 0
    assert (result.requests["status"] == "unfinished").any()


def test_a_context_shrinks_to_one_token_at_least(tmp_path: Path) -> None:
    result = run_both(TINY_WINDOW, tmp_path)
    assert result.requests["isl"].min() == 1


def test_a_session_leaves_a_replica_that_cannot_hold_its_next_request(tmp_path: Path) -> None:
    result = run_both(OUTGROWN, tmp_path)
    assert (result.requests["status"] == "completed").all()


def test_kv_that_travels_back_is_that_of_the_request_though_its_context_was_cut_since() -> None:
    """The next step keeps 30 of 105 tokens and is sent while the answer's KV is on its way."""
    link = {"bandwidth": "1 MB/s", "efficiency": 1.0}
    sides = {"p": {"role": "prefill"}, "d": {"role": "decode"}}
    what = toys.deployment(
        sides,
        links=[{"from": "p", "to": "d", **link}, {"from": "d", "to": "p", **link}],
        kv_handoff={"return_kv": True},
    )
    steps = (
        Step(((1, 100),), 6),
        Step(((2, 200),), 2, 0.0, 0, (0,), keep=30),
    )
    cluster = toys.serve(what, [Trajectory(0, "t", steps, 0.0)])
    prefill = cluster.groups[0].kv.tree
    first = [(1, 100), (-1, 5)]
    assert prefill.match(first, 0).depth == 105
    assert prefill.match([(1, 30), (2, 200)], 0).depth == 230


def test_who_follows_a_request_that_will_not_come_is_asked_at_the_next_iteration() -> None:
    """Decode is busy for long; the large request ahead in its line ends with its first token."""
    sides = {"p": {"role": "prefill"}, "d": {"role": "decode", "kv_tokens": 800}}
    link = {"from": "p", "to": "d", "bandwidth": "1 GB/s", "efficiency": 1.0}
    early = {"first_token_from": "prefill"}
    what = toys.deployment(sides, links=[link], kv_handoff=early)
    costs = toys.constant_cost(1e-3, what)
    tasks = [
        toys.one_step(0, 100, 300),
        toys.one_step(1, 750, 1, 0.0105),  # no room beside the first
        toys.one_step(2, 100, 9, 0.0105),
    ]
    fast, slow = (toys.serve(what, tasks, coalesce=c, costs=costs) for c in (True, False))
    assert fast.records.requests.tolist() == slow.records.requests.tolist()
    assert slow.records.requests["e2e_ns"][2] < 20_000_000, "it does not wait for the first to end"


def test_a_load_that_ends_after_its_warm_up_ends_the_run(tmp_path: Path) -> None:
    """A replica that idles when the window opens has no boundary to wait for."""
    text = """
name: idle
model: llama-3.1-8b
deployment: {name: d, pools: {p: {chip: mi300x, replicas: 3}}}
workload: {name: w, agent: {shared: 0, first: 100, output: 20}}
arrivals: {process: steps, points: [{at: 0 s, rate: 9 /s}, {at: 9 s, rate: 0 /s}]}
run: {trajectories: 60}
"""
    result = run_both(text, tmp_path)
    assert 5 < result.summary["simulated_s"] < 12


@pytest.mark.parametrize("compiled", [0, 64])
@pytest.mark.parametrize("coalesce", [True, False])
@pytest.mark.parametrize("opens", [False, True])
def test_what_a_later_replica_ends_comes_after_a_boundary_of_the_same_instant(
    compiled: int, coalesce: bool, opens: bool
) -> None:
    """Replica 1 ends a step after 5 ms, when an iteration of replica 0 ends as well: the next step,
    which goes there without a delay, is not part of the batch that replica 0 has just formed. If
    the window opens just then, the iteration that starts then counts.
    """
    what = toys.deployment(
        {"m": {"role": "mixed", "replicas": 2}}, router={"policy": "round_robin"}
    )
    steps = (Step(((1, 50),), 5), Step(((2, 50),), 3, 0.0, 0, (0,)))
    cluster = toys.serve(
        what,
        [toys.one_step(0, 50, 20), Trajectory(1, "t", steps, 0.0, entered=opens)],
        coalesce=coalesce,
        costs=toys.constant_cost(1e-3, what),
        compiled=compiled,
        window=Window(None, None, None, 1, True) if opens else None,
    )
    served = {row["step"]: row for row in toys.rows(cluster) if row["trajectory"] == 1}
    assert served[0]["replica"] == 1
    assert served[0]["e2e_ns"] == 5_000_000
    assert served[1]["replica"] == 0
    assert served[1]["ttft_ns"] == 2_000_000
    iterations = [replica.meter.totals[TOTALS.index("iterations")] for replica in cluster.replicas]
    assert iterations == ([4, 0] if opens else [20, 5])
