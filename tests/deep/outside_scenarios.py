"""Random scenarios as a user might write them, on shipped chips and models, on every engine."""

import random
from typing import Any

from outside_files import JSON, Tried, as_yaml, known_keys, mutate
from outside_odd import ODD

ENGINES = ("coalesced", "iteration", "compiled")
CHIPS = {"h100-sxm": 8, "mi300x": 8, "sn40l": 16, "sn50": 16, "b200": 8, "gb200": 72, "gh200": 1}
DENSE = ("llama-3.1-8b", "mistral-7b", "llama-2-7b", "llama-3.3-70b", "qwen3-32b")
SPARSE = ("gpt-oss-20b", "gpt-oss-120b", "qwen3-30b-a3b", "mixtral-8x7b", "deepseek-r1")
BATCHING = {
    "mixed": ("continuous", "prefill_first", "static", "shortest_first"),
    "prefill": ("prefill_only", "continuous", "static", "shortest_first"),
    "decode": ("decode_only", "continuous", "prefill_first"),
}
ARRIVALS: tuple[dict[str, Any], ...] = (
    {"process": "static"},
    {"process": "closed", "agents": 1},
    {"process": "closed", "agents": 5},
    {"process": "closed", "agents": 4, "start": "midway"},
    {"process": "closed", "agents": 6, "ramp": "1 s"},
    {"process": "poisson", "rate": "0.5 /s"},
    {"process": "poisson", "rate": "100 /s"},
    {"process": "gamma", "rate": "5 /s", "cv": 3},
    {"process": "steps", "points": [{"at": "0 s", "rate": "5 /s"}, {"at": "1 s", "rate": "9 /s"}]},
    {"process": "ramp", "points": [{"at": "0 s", "rate": "0 /s"}, {"at": "3 s", "rate": "20 /s"}]},
)


def scenario(rng: random.Random) -> Tried:
    """A scenario, one in eight with something wrong in it."""
    sparse = rng.random() < 0.5
    run: dict[str, Any] = {
        "seed": rng.randrange(10**6),
        "trajectories": rng.choice([1, 3, 8, 15]),
        "limit": "8 s",
    }
    maybe(rng, 0.15, run, horizon=["0.001 s", "0.5 s", "5 s", "60 s"])
    maybe(rng, 0.25, run, warmup=["0 s", "0.2 s", "3 s", "auto"])
    maybe(rng, 0.1, run, time=["1 s", "20 s"])
    tree = {
        "name": "mine",
        "model": rng.choice(SPARSE if sparse else DENSE),
        "deployment": deployment(rng, sparse),
        "workload": workload(rng),
        "arrivals": rng.choice(ARRIVALS),
        "run": run,
    }
    maybe(rng, 0.3, tree, network=[{"round_trip": "0 s", "gateway": "0 s"}])
    maybe(rng, 0.3, tree, slo=[{"ttft": "1 s", "tpot": "50 ms"}])
    if rng.random() < 0.12:
        mutate(rng, tree, ODD, known_keys())
    calls = tuple(["run", "FILE", "--engine", engine, *JSON] for engine in ENGINES)
    return Tried("mine.yaml", tree, as_yaml, calls)


def maybe(rng: random.Random, chance: float, into: dict[str, Any], **choices: list[Any]) -> None:
    """Give keys one of their values each, sometimes."""
    if rng.random() < chance:
        into.update({key: rng.choice(values) for key, values in choices.items()})


def deployment(rng: random.Random, sparse: bool) -> dict[str, Any]:
    """Mixed pools, or prefill and decode pools with most of the links between them."""
    router: dict[str, Any] = {
        "policy": rng.choice(["prefix_affinity", "least_loaded", "round_robin", "sticky"])
    }
    if rng.random() < 0.45:
        pools = {f"m{k}": pool(rng, "mixed", sparse) for k in range(rng.choice([1, 1, 2, 3]))}
        if len(pools) > 1:
            maybe(rng, 0.3, pools["m1"], model=["gpt-oss-20b", "llama-3.1-8b"])
        return {"name": "mine", "pools": pools, "router": router}
    prefills = [f"p{k}" for k in range(rng.choice([1, 1, 2]))]
    decodes = [f"d{k}" for k in range(rng.choice([1, 1, 2, 3]))]
    pools = {name: pool(rng, "prefill", sparse) for name in prefills}
    pools |= {name: pool(rng, "decode", sparse) for name in decodes}
    if rng.random() < 0.2:
        pools["m"] = pool(rng, "mixed", sparse)
    pairs = [(p, d) for p in prefills for d in decodes]
    links = [link(rng, *ends) for p, d in pairs for ends in ((p, d), (d, p)) if rng.random() < 0.93]
    handoff = {
        "layerwise": rng.random() < 0.5,
        "transfer": rng.choice(["delta", "full"]),
        "return_kv": rng.random() < 0.5,
    }
    maybe(rng, 0.4, handoff, first_token_from=["prefill", "decode"])
    maybe(rng, 0.3, router, prefill_locally_below=[0, 10, 200, 5000])
    both = {"pools": pools, "links": links}
    return {"name": "mine", **both, "kv_handoff": handoff, "router": router}


def link(rng: random.Random, source: str, target: str) -> dict[str, Any]:
    """A link between two pools."""
    return {
        "from": source,
        "to": target,
        "bandwidth": rng.choice(["400 Gbit/s", "25 Gbit/s", "1 GB/s", "900 GB/s"]),
        "efficiency": rng.choice([0.5, 0.7, 1]),
        "lanes": rng.choice([1, 2, 8]),
        "latency": rng.choice(["0 us", "10 us"]),
        "setup": rng.choice(["0 ms", "0.2 ms", "5 ms"]),
        "ramp": rng.choice(["0 MB", "1 MB", "32 MB"]),
    }


def pool(rng: random.Random, role: str, sparse: bool) -> dict[str, Any]:
    """A pool of shipped chips, its memory often tight."""
    chip = rng.choice([*CHIPS])
    seqs = rng.choice([1, 2, 5, 16, 64, 256])
    tokens = max(seqs, rng.choice([1, 64, 512, 2048, 8192]))
    batching = {"policy": rng.choice(BATCHING[role]), "max_seqs": seqs}
    found: dict[str, Any] = {
        "role": role,
        "chip": chip,
        "tp": rng.choice([n for n in (1, 2, 4, 8, 16) if n <= CHIPS[chip]]),
        "replicas": rng.choice([1, 1, 1, 2, 3]),
        "batching": {**batching, "max_iteration_tokens": tokens},
    }
    limits = [{"context": 1000, "max_seqs": seqs}, {"context": 9000, "max_seqs": 1}]
    maybe(rng, 0.15, found["batching"], max_seqs_by_context=[limits])
    if sparse:
        maybe(rng, 0.3, found, ep=[1, 2, 4])
    maybe(rng, 0.2, found, pp=[1, 2, 3, 4])
    maybe(rng, 0.45, found, kv_tokens=[64, 500, 2000, 5000, 12000, 40000, 10**6])
    maybe(rng, 0.45, found, block_tokens=[1, 1, 2, 7, 16, 64, 128])
    maybe(rng, 0.3, found, prefix_cache_tokens=[0, 1, 100, 3000, 20000])
    offloads = [{"efficiency": 0.1}, {"efficiency": 1, "duplex": False, "bandwidth": "1 GB/s"}]
    maybe(rng, 0.3, found, kv_offload=offloads)
    maybe(rng, 0.2, found, kv_dtype=["fp8", "bf16"])
    if role != "prefill":
        drafts = {"draft_tokens": rng.choice([1, 3, 8]), "acceptance": rng.choice([0.5, 0.9, 1])}
        maybe(rng, 0.2, found, speculation=[{**drafts, "draft_cost": 0.1}])
    maybe(rng, 0.1, found, memory_utilization=[0.5, 0.95, 1])
    return found


def workload(rng: random.Random) -> dict[str, Any]:
    """A class of agents, or a mix of two."""
    if rng.random() < 0.75:
        return {"name": "w", "agent": agent(rng)}
    parts = [
        {
            "workload": {"name": f"w{k}", "agent": agent(rng)},
            "weight": rng.choice([1, 3, 0.5]),
            "priority": rng.choice([0, 0, 1, 5, -1]),
        }
        for k in range(2)
    ]
    return {"name": "mix", "mix": parts}


def agent(rng: random.Random) -> dict[str, Any]:
    """Short tasks of every form."""
    first, output = rng.choice([20, 300, 3000]), rng.choice([2, 30, 150])
    found: dict[str, Any] = {
        "shared": rng.choice([0, 0, 1, 200, 1500]),
        "first": draws(rng, 1, first),
        "output": draws(rng, 1, output),
    }
    kind = rng.choice(["one", "tools", "user", "both", "fan", "samples"])
    if kind in ("tools", "both", "fan"):
        delay = draws(rng, 0, rng.choice([0.001, 1, 20]), "s")
        found["tools"] = {"append": draws(rng, 1, 300), "delay": delay}
        maybe(rng, 0.3, found["tools"], calls=[draws(rng, 1, 4)])
    if kind in ("user", "both"):
        gap = draws(rng, 0, rng.choice([0.01, 5]), "s")
        found["user"] = {"append": draws(rng, 1, 100), "gap": gap}
    if kind in ("tools", "user", "both", "fan"):
        found["steps"] = draws(rng, 1, 7)
    if kind == "fan":
        parts = {"branches": draws(rng, 1, 4), "steps": draws(rng, 1, 3)}
        found["fan_out"] = {"share": 0.8, **parts, "report": draws(rng, 1, 60)}
    if kind == "samples":
        found["samples"] = rng.choice([1, 2, 5])
    maybe(rng, 0.3, found, compact_above=[100, 1000, 3000])
    maybe(rng, 0.2, found, keep=[0.05, 0.25, 0.9])
    maybe(rng, 0.2, found, cache_ttl=["1 ms", "1 s", "5 min"])
    maybe(rng, 0.2, found, start_delay=[draws(rng, 0, 1, "s")])
    return found


def draws(rng: random.Random, least: float, most: float, unit: str = "") -> Any:
    """A value, or a distribution of values, between two."""
    low, high = sorted((rng.uniform(least, most), rng.uniform(least, most)))

    def value(number: float) -> Any:
        return f"{number:g} {unit}" if unit else max(int(number), 1)

    some: list[Any] = [
        value(high),
        {"dist": "lognormal", "median": value(high + 1), "sigma": 1, "high": value(most + 1)},
        {"dist": "uniform", "low": value(low), "high": value(high + 1)},
        {"dist": "choice", "values": [value(low), value(high + 1)], "weights": [1, 2]},
        {"dist": "gamma", "mean": value(high + 1), "cv": 1, "high": value(most + 1)},
        {"dist": "weibull", "k": 0.5, "scale": value(high + 1), "high": value(most + 1)},
    ]
    return rng.choice(some)
