"""Small chips, models and deployments for tests, built from specs as a user's YAML would be."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from gcsim.engine.cluster import Cluster, Terms
from gcsim.engine.play import play, play_compiled
from gcsim.engine.window import Window
from gcsim.machine import roofline
from gcsim.machine.machine import Machine, Operator, bind, table_of
from gcsim.machine.roofline import SUMS
from gcsim.profiles import bounds
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Deployment
from gcsim.profiles.model import Model
from gcsim.traffic.trajectory import Step, Trajectory, chain

SIBLING = Path(__file__).parents[2] / "shared"

EFFICIENCY = dict.fromkeys(
    ("memory", "kv_read", "gemm_bf16", "gemm_fp8", "expert_gemm", "attention", "link"), 1
)
NO_TIMES = dict.fromkeys(
    (
        "layer_overhead",
        "moe_layer_overhead",
        "all_reduce_latency",
        "all_reduce_latency_per_doubling",
        "sequence_overhead",
        "prompt_layer_overhead",
        "iteration_overhead",
        "request_overhead",
    ),
    0,
)


def examples(few: int, deep: int) -> settings:
    """How many random examples: `deep` by `make deep`, else `few`, more or less by profile.

    Profiles of hypothesis (tests/conftest.py): quick a tenth, explore twenty times as many.
    """
    usual = settings().max_examples
    return settings(max_examples=deep if usual >= 5_000 else max(few * usual // 100, 2))


@contextmanager
def boundless() -> Iterator[None]:
    """Values of any size may be given: theory wants links that take no time."""
    usual = bounds.BOUNDS.copy()
    bounds.BOUNDS.update(dict.fromkeys(usual, (0.0, inf)))
    try:
        yield
    finally:
        bounds.BOUNDS.update(usual)


def chip(**changes: Any) -> Chip:
    """An ideal chip: 100 TFLOP/s, 1 TB/s, every efficiency 1, every fixed time 0."""
    data: dict[str, Any] = {
        "name": "toy",
        "vendor": "nobody",
        "execution": "kernels",
        "compute": {"bf16": "100 TFLOP/s", "fp8": "200 TFLOP/s"},
        "memory": [
            {"tier": "hbm", "capacity": "80 GB", "bandwidth": "1 TB/s", "holds": ["weights", "kv"]},
            {"tier": "ddr", "capacity": "80 GB", "bandwidth": "100 GB/s", "holds": ["kv_spill"]},
        ],
        "interconnect": {
            "scale_up": {"bandwidth": "100 GB/s", "latency": 0, "max_chips": 64},
            "scale_out": {"bandwidth": "50 GB/s"},
        },
        "efficiency": EFFICIENCY,
        "stacks": {"none": NO_TIMES},
        "default_stack": "none",
        "power": {"node": "1 kW"},
        "price": {"usd_per_chip_hour": "1 USD/h"},
        "packaging": {"chips_per_node": 8, "cooling": "air"},
    }
    with boundless():
        return Chip.model_validate({**data, **changes})


def model(**changes: Any) -> Model:
    """A dense model of 4 layers, 10 M parameters."""
    data: dict[str, Any] = {
        "name": "toy-model",
        "layers": 4,
        "hidden": 256,
        "vocab": 1000,
        "context_window": 100_000,
        "attention": {"kind": "gqa", "q_heads": 8, "kv_heads": 4, "head_dim": 32},
        "ffn": {"d_ff": 1024},
    }
    return Model.model_validate({**data, **changes})


def runs(*mixers: tuple[int, dict[str, Any]], **changes: Any) -> Model:
    """The dense model with listed layers: so many of each mixer."""
    dense = {"kind": "dense", "d_ff": 1024}
    listed = [{"repeat": n, "mixer": mixer, "ffn": dense} for n, mixer in mixers]
    data = model().model_dump(exclude={"attention", "ffn", "runs"})
    return Model.model_validate({**data, "layers": listed, **changes})


def deployment(pools: dict[str, dict[str, Any]], **rest: Any) -> Deployment:
    """A deployment of toy chips."""
    filled = {name: {"chip": chip(), **pool} for name, pool in pools.items()}
    with boundless():
        return Deployment.model_validate({"name": "toy", "pools": filled, **rest})


def serve(
    what: Deployment,
    trajectories: list[Trajectory],
    of: Model | None = None,
    coalesce: bool = True,
    horizon_s: float | None = None,
    warmup_s: float = 0.0,
    round_trip_s: float = 0.0,
    costs: dict[str, Machine] | None = None,
    window: Window | None = None,
    compiled: int = 0,
) -> Cluster:
    """Play trajectories on a deployment; compiled: by the compiled loop, so many drawn ahead."""
    of = of or model()
    costs = costs or {name: bind(pool.model or of, pool) for name, pool in what.pools.items()}
    window = window or Window(warmup_ns=int(warmup_s * 1e9))
    terms = Terms(of.name, round_trip_s, 0.0, window, coalesce)
    if compiled:
        return play_compiled(what, costs, trajectories, terms, ahead=compiled, horizon_s=horizon_s)
    return play(what, costs, trajectories, terms, horizon_s=horizon_s)


def records(table: Any) -> list[dict[str, int]]:
    """Named records as mappings."""
    return [dict(zip(table.dtype.names, row, strict=True)) for row in table.tolist()]


def rows(cluster: Cluster) -> list[dict[str, int]]:
    """The requests of a run."""
    return records(cluster.records.requests)


def one_step(
    index: int, isl: int, osl: int, start_s: float | None = 0.0, content: int | None = None
) -> Trajectory:
    """A single request whose prompt is its own (or `content`)."""
    span = (1_000_000 + index if content is None else content, isl)
    return chain(index, "toy", [Step((span,), osl)], start_s)


def constant_cost(seconds: float, what: Deployment, of: Model | None = None) -> dict[str, Machine]:
    """Costs in which every iteration takes the same time, whatever is in it."""
    found = {}
    for name, pool in what.pools.items():
        machine = bind(of or model(), pool)
        table = table_of([Operator("attention", {}, {}, roofline.KV)])
        table[roofline.OVERHEAD, SUMS.index("iterations")] = seconds
        found[name] = replace(machine, table=table, request_overhead_s=0.0)
    return found


def public_trace(name: str) -> Path:
    """A public trace that is too large to ship; the test is skipped where it is absent."""
    folder = os.environ.get("GCSIM_TRACES")
    path = (Path(folder) if folder else SIBLING / "traces") / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {path.parent}; set GCSIM_TRACES to the folder that has it")
    return path


def public_points(name: str) -> Path:
    """A public table of measurements; the test is skipped where it is absent."""
    folder = os.environ.get("GCSIM_FACTS")
    path = (Path(folder) if folder else SIBLING / "facts") / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {path.parent}; set GCSIM_FACTS to the folder that has it")
    return path
