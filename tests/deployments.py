"""Random deployments and traffic, wide on purpose: every policy, role, limit and kind of agent."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import toys
from pydantic import TypeAdapter

from gcsim.engine.batching import POLICIES as BATCHING
from gcsim.engine.cluster import Cluster
from gcsim.engine.compiled.why import unplayable
from gcsim.engine.router import POLICIES as ROUTING
from gcsim.engine.session import PATH
from gcsim.engine.window import Part, Window
from gcsim.machine.machine import bind
from gcsim.profiles.arrivals import Arrivals
from gcsim.profiles.deployment import ContextLimit, Deployment, Speculation
from gcsim.profiles.model import Model
from gcsim.profiles.workload import Workload
from gcsim.traffic.generate import trajectories
from gcsim.traffic.trajectory import Step, Trajectory

SLIDING = {
    "kind": "gqa",
    "q_heads": 8,
    "kv_heads": 4,
    "head_dim": 32,
    "window": 40,
    "window_layers": 2,
}
MODELS = {
    "dense": toys.model(),
    "sliding": toys.model(attention=SLIDING),
    "moe": toys.model(ffn={"d_ff": 128, "experts": 16, "experts_per_token": 2}),
    "short": toys.model(context_window=300),
}

GQA = {"kind": "gqa", "q_heads": 8, "kv_heads": 4, "head_dim": 32}
STATES = {"kind": "linear", "heads": 8, "key_dim": 32, "value_dim": 32}
KINDS = {
    "hybrid": toys.runs((3, STATES), (1, GQA)),
    "states": toys.runs((4, STATES)),
    "chunked": toys.runs((3, {**GQA, "kind": "chunked", "chunk": 40}), (1, GQA)),
    "drafted": toys.runs(
        (4, GQA),
        drafters=[
            {
                "name": "toy",
                "method": "a layer",
                "layers": [{"mixer": GQA, "ffn": {"kind": "dense", "d_ff": 1024}}],
                "accepted": [
                    {
                        "domain": "any",
                        "tokens_per_step": [1.7, 2.4],
                        "kind": "given",
                        "source": "nobody",
                    }
                ],
            }
        ],
    ),
    "sparse": toys.runs((4, {"kind": "sparse", "of": GQA, "top_k": 50, "index_heads": 2})),
}


@dataclass(frozen=True)
class Case:
    """What is played, and how."""

    deployment: Deployment
    model: Model
    trajectories: list[Trajectory]
    round_trip_s: float
    warmup_s: float
    horizon_s: float | None
    window: Callable[[], Window] | None = None

    def play(self, coalesce: bool, compiled: int = 0) -> Cluster:
        """The engine on it; compiled: the compiled loop, so many trajectories drawn at a time."""
        return toys.serve(
            self.deployment,
            self.trajectories,
            self.model,
            coalesce,
            self.horizon_s,
            self.warmup_s,
            self.round_trip_s,
            window=self.window() if self.window else None,
            compiled=compiled,
        )

    @property
    def unplayable(self) -> str | None:
        """Why the compiled loop cannot play it."""
        pools = self.deployment.pools.items()
        return unplayable(
            self.deployment, {name: bind(pool.model or self.model, pool) for name, pool in pools}
        )


def case(rng: Random) -> Case:
    """A random case; the same numbers give the same one."""
    model = MODELS[rng.choice([*sorted(MODELS), "moe"])]
    while True:
        try:
            what = deployment(rng, groups=[1, 2, 4] if model.ffn.experts else [1])
        except ValueError:  # not one that can be served: another
            continue
        break
    return Case(
        what,
        model,
        agents(rng) if rng.random() < 0.5 else crowd(rng, rng.choice([1, 1, 1, 8])),
        rng.choice([0.0, 0.0, 0.001]),
        rng.choice([0.0, 0.0, 0.003, 0.1]),
        rng.choice([None, None, None, 0.0005, 0.004, 0.05, 0.5]),
    )


def mixed_case(rng: Random) -> Case:
    """A random case of one or two mixed pools, under a window of any kind."""
    found = case(rng)
    groups = [1, 2, 4] if found.model.ffn.experts else [1]
    sides = {f"m{k}": pool(rng, "mixed", groups) for k in range(rng.choice([1, 1, 2]))}
    for side in sides.values():
        side.pop("kv_offload", None)
    gap = rng.choice([0, 5_000, 286_704])
    router = {"policy": rng.choice(sorted(ROUTING)), "affinity_gap": gap}
    what = toys.deployment(sides, router=router)
    tasks, time_ns = rng.choice([None, 2, 5]), rng.choice([None, None, 5_000_000])
    warmup_ns, midway = rng.choice([None, 0, 3_000_000]), rng.choice([0, 0, 1, 3])
    played = [replace(t, entered=k < midway) for k, t in enumerate(found.trajectories)]
    return replace(
        found,
        deployment=what,
        trajectories=played,
        window=lambda: Window(tasks, warmup_ns, time_ns, midway),
    )


def kinds_case(rng: Random) -> Case:
    """A random case of a model with other mixers; states are kept every few tokens."""
    found, kind = playable_case(rng), rng.choice(sorted(KINDS))
    changes = {"state_snapshot_tokens": rng.choice([1, 30, 200, 8192]), "ep": 1}
    drafts = Speculation(drafter="toy", draft_tokens=2) if KINDS[kind].drafters else None
    pools = {}
    for name, side in found.deployment.pools.items():
        own = side.speculation if drafts is None or side.role == "prefill" else drafts
        pools[name] = side.model_copy(update={**changes, "speculation": own})
    what = found.deployment.model_copy(update={"all_pools": pools})
    return replace(found, model=KINDS[kind], deployment=what)


def playable_case(rng: Random) -> Case:
    """A random case of any pools, without what the compiled loop does not play yet."""
    found, pools = case(rng), {}
    for name, side in found.deployment.pools.items():
        pools[name] = side.model_copy(update={"kv_offload": None})
    handoff = found.deployment.kv_handoff.model_copy(update={"return_kv": False})
    changes = {"all_pools": pools, "kv_handoff": handoff}
    return replace(found, deployment=found.deployment.model_copy(update=changes))


def with_tools(rng: Random, found: Case) -> Case:
    """The same case on a deployment with a tools pool: roomy, or short of cores or of memory."""
    tools = toys.tool_pool(
        cores=rng.choice([1, 2, 3, 100]),
        nodes=rng.choice([1, 1, 2]),
        cpu_share=rng.choice([1e-6, 0.3, 1]),
        sandbox_start=rng.choice([0, 0, "1 ms", "0.1 s"]),
        sandbox_memory=rng.choice([0, 0, "30 GB", "100 GB"]),
    )
    pools = {**found.deployment.all_pools, "tools": tools}
    tasks = [
        replace(task, steps=tuple(_several_calls(rng, step) for step in task.steps))
        for task in found.trajectories
    ]
    what = found.deployment.model_copy(update={"all_pools": pools})
    return replace(found, deployment=what, trajectories=tasks)


def _several_calls(rng: Random, step: Step) -> Step:
    if step.human or rng.random() < 0.7:
        return step
    return replace(step, calls=(step.delay_s, *(step.delay_s * rng.random() for _ in range(2))))


def several(rng: Random) -> Case:
    """A random case in which steps ask for other models too: one that is served, one that is not.

    Contexts go from model to model, each with a prefix cache of its own.
    """
    one = case(rng)
    more = {}
    for k in range(rng.choice([1, 1, 2])):
        more[f"o{k}"] = pool(rng, "mixed", [1]) | {"model": toys.model(name="other", layers=2)}
    while True:
        try:
            beside = toys.deployment(more).pools
            break
        except ValueError:
            more = {"o0": pool(rng, "mixed", [1]) | {"model": toys.model(name="other", layers=2)}}
    pools = {**one.deployment.pools, **beside}
    if rng.random() < 0.5:
        pools = dict(reversed(pools.items()))
    asked = [None, None, "other", "other", "nobody's"]
    tasks = [
        replace(task, steps=tuple(replace(s, model=rng.choice(asked)) for s in task.steps))
        for task in one.trajectories
    ]
    what = one.deployment.model_copy(update={"all_pools": pools})
    return replace(one, deployment=what, trajectories=tasks)


def limited(rng: Random) -> Case:
    """A random case whose longest prompt limits the batch (`max_seqs_by_context`)."""
    one, pools = case(rng), {}
    for name, side in one.deployment.pools.items():
        most = [rng.choice([1, 2, 5]), 1]
        limits = zip((rng.choice([40, 200, 600]), rng.choice([900, 10**6])), most, strict=True)
        graphs = tuple(ContextLimit(context=tokens, max_seqs=n) for tokens, n in limits)
        batching = side.batching.model_copy(update={"max_seqs_by_context": graphs})
        pools[name] = side.model_copy(update={"batching": batching})
    return replace(one, deployment=one.deployment.model_copy(update={"all_pools": pools}))


def chip(rng: Random) -> Any:
    """A toy chip: fast or slow, small or large spill, one of two ways to execute."""
    spill = {
        "tier": "ddr",
        "capacity": rng.choice(["80 GB", "80 GB", "0.2 MB", "2 MB"]),
        "bandwidth": rng.choice(["100 GB/s", "1 GB/s"]),
        "holds": ["kv_spill"],
    }
    rng.random()
    fast = {
        "tier": "hbm",
        "capacity": "80 GB",
        "bandwidth": rng.choice(["1 TB/s", "50 GB/s", "7 TB/s"]),
        "holds": ["weights", "kv"],
    }
    stack = {**toys.NO_TIMES, "overlap_scheduling": rng.random() < 0.5}
    if rng.random() < 0.5:
        stack["layer_overhead"] = rng.choice(["1 us", "50 us"])
    if rng.random() < 0.5:
        stack["handoff_overhead"] = rng.choice(["30 us", "3 ms"])
    if rng.random() < 0.3:
        stack["request_overhead"] = "1 ms"
    return toys.chip(
        memory=[fast] if rng.random() < 0.2 else [fast, spill],
        stacks={"none": stack},
        execution=rng.choice(["kernels", "fused"]),
    )


def pool(rng: Random, role: str, groups: list[int]) -> dict[str, Any]:
    """A pool of a role, its replicas of one of some numbers of groups."""
    seqs = rng.choice([1, 2, 3, 8, 64])
    block = rng.choice([1, 1, 3, 16, 64])
    found: dict[str, Any] = {
        "role": role,
        "chip": chip(rng),
        "replicas": rng.randint(1, 3),
        "tp": rng.choice([1, 2]),
        "ep": rng.choice(groups),
        "pp": rng.choice([1, 1, 2]),
        "kv_tokens": max(rng.choice([16, 120, 260, 600, 1_500, 2_999, 5_000, 20_000]), block),
        "block_tokens": block,
        "batching": {
            "policy": rng.choice(sorted(BATCHING)),
            "max_seqs": seqs,
            "max_iteration_tokens": max(seqs, rng.choice([1, 8, 100, 1_000])) * rng.choice([1, 4]),
        },
    }
    if rng.random() < 0.7 and len(found["chip"].memory) > 1:
        duplex = seqs % 2 == 0
        found["kv_offload"] = {"efficiency": 0.7, "duplex": duplex}
    if rng.random() < 0.4:
        found["prefix_cache_tokens"] = rng.choice([0, 100, 320])
    if role != "prefill" and rng.random() < 0.25:
        found["speculation"] = {"draft_tokens": rng.choice([1, 2, 5]), "acceptance": 0.63}
        found["speculation"]["draft_cost"] = 0.1
    if rng.random() < 0.15:
        found["kv_dtype"] = "fp8"
    return found


def deployment(rng: Random, groups: list[int]) -> Deployment:
    """One or two mixed pools, or prefill and decode pools with links, perhaps a mixed one too."""
    sides: dict[str, dict[str, Any]] = {}
    router: dict[str, Any] = {"policy": rng.choice(sorted(ROUTING))}
    if rng.random() < 0.4:
        for k in range(rng.choice([1, 1, 2])):
            sides[f"m{k}"] = pool(rng, "mixed", groups)
        return toys.deployment(sides, router=router)
    prefills = [f"p{k}" for k in range(rng.choice([1, 1, 2]))]
    decodes = [f"d{k}" for k in range(rng.choice([1, 2, 2, 3]))]
    sides |= {name: pool(rng, "prefill", groups) for name in prefills}
    sides |= {name: pool(rng, "decode", groups) for name in decodes}
    if rng.random() < 0.3:
        sides["m"] = pool(rng, "mixed", groups)
    names = list(sides)
    rng.shuffle(names)
    links = []
    for source in prefills:
        for target in decodes:
            if rng.random() < 0.85 or target == decodes[0] or source == prefills[0]:
                links += [link(rng, source, target), link(rng, target, source)]
    router["prefill_locally_below"] = rng.choice([0, 0, 50, 1_000])
    handoff = {
        "layerwise": rng.random() < 0.5,
        "transfer": rng.choice(["delta", "full"]),
        "return_kv": rng.random() < 0.5,
        "first_token_from": rng.choice(["prefill", "decode"]),
        "conversion_bandwidth": "10 GB/s",
    }
    ordered = {name: sides[name] for name in names}
    return toys.deployment(ordered, links=links, kv_handoff=handoff, router=router)


def link(rng: Random, source: str, target: str) -> dict[str, Any]:
    """A link, fast or slow."""
    return {
        "from": source,
        "to": target,
        "bandwidth": rng.choice(["1 GB/s", "20 MB/s", "100 GB/s"]),
        "efficiency": rng.choice([0.7, 1.0]),
        "lanes": rng.choice([1, 4]),
        "setup": rng.choice(["0 us", "20 us", "1 ms"]),
        "latency": rng.choice(["0 us", "7 us"]),
        "ramp": rng.choice(["0 kB", "10 kB"]),
    }


def graphs(rng: Random) -> list[Trajectory]:
    """Some agents: shared prefixes, growing contexts, forks, compactions, zero delays (ties)."""
    closed = rng.random() < 0.4
    found = []
    for index in range(rng.randint(1, 14)):
        steps: list[Step] = []
        for number in range(rng.randint(1, 6)):
            fresh = (10_000 + index * 100 + number, rng.choice([1, 5, 40, 200]))
            parent, waits = number - 1, (number - 1,) if number else ()
            if number >= 2 and rng.random() < 0.3:  # a branch beside the last step
                parent = steps[-1].parent
                waits = steps[-1].waits_for
            if number >= 2 and rng.random() < 0.2:  # a step that waits for two
                waits = (number - 2, number - 1)
            append: tuple[tuple[int, int], ...] = (fresh,)
            keep = None
            if number == 0 or rng.random() < 0.1:
                parent, append = -1, ((1, 70), (2, rng.randint(1, 60)), fresh)
            elif rng.random() < 0.15:
                keep = rng.randint(1, 100)
            osl = rng.choice([1, 1, 2, 3, 5, 40, 300])
            delay_s = rng.choice([0.0, 0.0, 0.001, 0.2])
            steps.append(Step(append, osl, delay_s, parent, waits, keep=keep))
        start = None if closed and index > 2 else rng.choice([0.0, 0.01 * index, 0.0001 * index])
        found.append(Trajectory(index, "toy", tuple(steps), start, rng.choice([0, 0, 1, 2])))
    if not closed:
        found.sort(key=lambda t: t.start_s or 0.0)
    return found


def crowd(rng: Random, parts: int) -> list[Trajectory]:
    """Several such groups, one after another, before the last has ended."""
    every_s = rng.choice([0.0005, 0.005, 0.05])
    found = []
    for part in range(parts):
        for task in graphs(rng):
            start = task.start_s if parts == 1 else every_s * part
            found.append(replace(task, index=task.index + 100 * part, start_s=start))
    return found


def length(rng: Random, most: int) -> Any:
    """A length in tokens, or its distribution."""
    return rng.choice(
        [
            rng.randint(1, most),
            1,
            {"dist": "histogram", "edges": [1, 2, most + 2], "weights": [1, 1]},
            {"dist": "choice", "values": [1, 2, most], "weights": [1, 1, 1]},
            {"dist": "lognormal", "median": max(most / 4, 1), "sigma": 1, "high": most},
            {"dist": "geometric", "mean": max(most / 5, 1)},
            {"dist": "uniform", "low": 1, "high": most + 1},
        ]
    )


def delay(rng: Random) -> Any:
    """A time, or its distribution."""
    return rng.choice(["0 s", "1 ms", "0.2 s", {"dist": "uniform", "low": "0 s", "high": "0.01 s"}])


def agent(rng: Random) -> dict[str, Any]:
    """A class of agents."""
    found: dict[str, Any] = {
        "shared": rng.choice([0, 1, 100]),
        "first": length(rng, 250),
        "output": length(rng, rng.choice([3, 200])),
    }
    if rng.random() < 0.3:
        found["last_output"] = length(rng, 30)
    kind = rng.choice(["one", "samples", "tools", "user", "both", "fan_out"])
    if kind == "samples":
        found["samples"] = rng.choice([2, 4, length(rng, 6)])
    if kind in ("tools", "both", "fan_out"):
        found["tools"] = {"append": length(rng, 60), "delay": delay(rng)}
        found["steps"] = length(rng, 6)
    if kind in ("user", "both"):
        found["user"] = {"append": length(rng, 30), "gap": delay(rng)}
        found["steps"] = length(rng, 6)
    if kind == "both":
        found["user"]["every"] = length(rng, 3)
    if kind == "fan_out":
        found["fan_out"] = {
            "share": 0.7,
            "branches": length(rng, 4),
            "steps": length(rng, 3),
            "report": length(rng, 20),
        }
    if rng.random() < 0.4:
        found["compact_above"] = rng.choice([length(rng, 300), 200])
    if rng.random() < 0.2:
        found["cache_ttl"] = "5 ms"
    if rng.random() < 0.3:
        found["start_delay"] = delay(rng)
    return found


def agents(rng: Random) -> list[Trajectory]:
    """Trajectories of a random workload, drawn as a scenario would draw them."""
    parts = [{"name": f"w{k}", "agent": agent(rng)} for k in range(rng.choice([1, 1, 2]))]
    mix = [{"workload": p, "weight": 1 + k, "priority": k} for k, p in enumerate(parts)]
    workload = Workload.model_validate({"name": "mix", "mix": mix} if len(mix) > 1 else parts[0])
    arrivals = TypeAdapter(Arrivals).validate_python(
        rng.choice(
            [
                {"process": "static"},
                {"process": "closed", "agents": rng.randint(1, 5)},
                {"process": "poisson", "rate": rng.choice(["2 /s", "300 /s"])},
                {"process": "steps", "points": [{"at": "0 s", "rate": "40 /s"}]},
            ]
        )
    )
    seed = np.random.SeedSequence(rng.randrange(2**32))
    return list(trajectories(workload, arrivals, seed, rng.randint(1, 12)))


def state(cluster: Cluster) -> dict[str, Any]:
    """All that a run leaves behind, bit for bit."""
    replicas, links = cluster.replicas, cluster.links
    return {
        "requests": cluster.records.requests.tobytes(),
        "trajectories": cluster.records.trajectories.tobytes(),
        "tool_calls": cluster.records.tool_calls.tobytes(),
        "totals": [r.meter.totals.tobytes() for r in replicas],
        "gaps": [r.meter.gaps.tobytes() for r in replicas],
        "busy": [(r.meter.busy_ns, r.meter.decoded_tokens) for r in replicas],
        "timeline": [r.meter.timeline.means(cluster.env.now) for r in replicas],
        "peaks": [(g.kv.peak, g.requests) for g in cluster.groups],
        "waiting": [r.meter.timeline.peak_waiting for r in replicas],
        "kv": [(g.kv.used, g.kv.tree.evicted_blocks, g.kv.tree.blocks) for g in cluster.groups],
        "sent": [(u.sent_bytes, u.received_bytes, u.transfers) for u in links],
        "links": [(u.busy_ns, u.waited_ns) for u in links],
        "end": cluster.env.now,
        "created": cluster.created,
        "window": (*cluster.window.starts, *cluster.window.served, *cluster.window.spent_ns),
    }


def differences(one: Case) -> list[str]:
    """The names of what the two engines leave behind differently."""
    played = one.play(True)
    fast, slow = state(played), state(one.play(False))
    tasks = played.records.trajectories
    if one.horizon_s is None:
        assert (tasks["status"] < 2)[tasks["part"] == Part.COUNTED].all(), "what counts ends"
        tools = played.tools
        under_way = played.live or (tools is not None and tools.made > tools.ended)
        if not under_way and one.window is None:  # else what is not counted was cut off
            check(played, one)
    return [name for name in fast if fast[name] != slow[name]]


def compiled_differences(one: Case, ahead: int) -> list[str]:
    """The names of what the compiled loop leaves behind in another way than the engine."""
    expected, found = state(one.play(True)), state(one.play(True, ahead))
    return [name for name in expected if expected[name] != found[name]]


def check(cluster: Cluster, one: Case) -> None:
    """The invariants of a run to its end, and that nothing is left over."""
    table = cluster.records.requests
    column = {name: table[name] for name in table.dtype.names}
    ids = column["request"]
    assert len(set(ids.tolist())) == len(ids) == cluster.created
    assert len(ids) <= sum(len(t.steps) for t in one.trajectories)
    assert len(cluster.records.trajectories) == len(one.trajectories)
    assert (column["status"] < 2).all(), "everything ends: completed or rejected"
    done = column["status"] == 0
    parts = ("network", "queue", "prefill", "kv_transfer", "decode")
    phases = sum(column[f"{part}_ns"] for part in parts)
    assert (phases == column["e2e_ns"])[done].all()
    for name in column:
        if name not in ("trajectory", "reason", "replica", "ttft_ns", "e2e_ns"):
            assert (column[name] >= 0).all(), name
    assert (column["isl"] > 0).all()
    assert (column["ttft_ns"] <= column["e2e_ns"])[done].all()
    assert (column["cached_tokens"] < column["isl"]).all()
    assert (column["own_cached_tokens"] <= column["cached_tokens"]).all()
    for use in cluster.links:
        # A load that ends with its warm-up ends the run, with KV on its way back.
        assert use.received_bytes <= use.sent_bytes
        assert one.warmup_s or use.sent_bytes == use.received_bytes
    for group in cluster.groups:
        group.kv.check()
        for line in (group.waiting, group.running, group.inbox, group.arrived):
            assert not line
        assert group.coming == group.load == group.line_tokens == 0
        assert group.kv.private == group.kv.tree.pinned_blocks == 0
        decode = group.decode
        assert (decode.seqs, decode.kv, decode.window_kv, decode.growing) == (0, 0, 0, 0)
        assert group.kv.peak <= group.kv.total
    sums = cluster.records.trajectories
    tasks = sums[sums["status"] == 0]
    assert (tasks["end_ns"] - tasks["start_ns"] == sum(tasks[f"{p}_ns"] for p in PATH)).all()
