"""The named factors that calibration fits: efficiencies of a chip, fixed times of its stacks."""

from collections.abc import Mapping
from functools import cache

import numpy as np

from gcsim.errors import GcsimError
from gcsim.profiles.base import Quantity
from gcsim.profiles.chip import Chip, Stack
from gcsim.profiles.resolve import load_stack
from gcsim.profiles.stack import ServingStack

# Where a fit of an efficiency starts and what it is drawn to: (value, one standard deviation of its
# logarithm), from vendors' GEMM and STREAM figures. Those of fixed times stand with the stacks.
EFFICIENCIES = {
    "memory": (0.82, 0.12),
    "kv_read": (0.70, 0.3),
    "gemm_bf16": (0.62, 0.25),
    "gemm_fp8": (0.50, 0.25),
    "gemm_int8": (0.50, 0.25),
    "gemm_fp4": (0.40, 0.25),
    "expert_gemm": (0.42, 0.4),
    "attention": (0.35, 0.4),
    "link": (0.40, 0.4),
}
# Physical bounds: an efficiency is a fraction, a fixed time is not negative (and not 0: its
# logarithm is fitted).
EFFICIENCY_BOUNDS = (0.02, 1.0)
TIMES = {  # seconds
    "layer_overhead": (1e-6, 400e-6),
    "moe_layer_overhead": (1e-6, 200e-6),
    "all_reduce_latency": (0.5e-6, 150e-6),
    "all_reduce_latency_per_doubling": (0.2e-6, 40e-6),
    "sequence_overhead": (0.5e-6, 150e-6),
    "prompt_layer_overhead": (5e-6, 600e-6),
    "request_overhead": (2e-3, 400e-3),
}
HANDOFF, HANDOFF_BOUNDS = "handoff_overhead", (1e-3, 400e-3)  # fitted to disaggregated points
# Ratios of a stack: kernels of a layer relative to one of grouped-query attention in 16 bit; the
# share of achievable arithmetic that software of earlier years reaches.
KERNELS = {"mla_kernels": (1.0, 3.0), "quantized_kernels": (0.05, 1.5)}
COMPUTE = "compute"
HELD = ("attention", "mla_kernels")  # at their prior: fitting them bought less than a point

Name = tuple[str, str, str]  # (chip, stack or "", factor)


def bounds(factor: str) -> tuple[float, float]:
    """Lowest and highest value of a factor."""
    return {**TIMES, **KERNELS, HANDOFF: HANDOFF_BOUNDS}.get(factor, EFFICIENCY_BOUNDS)


@cache
def serving_stack(name: str) -> ServingStack:
    """A shipped stack; for one of the user's that is not shipped, vLLM stands in."""
    try:
        return load_stack(name)
    except GcsimError:
        return load_stack("vllm")


def is_dated(stack: str) -> bool:
    """Whether a stack is software of earlier years, whose reach of the arithmetic is fitted too.

    >>> is_dated("vllm-2023"), is_dated("vllm")
    (True, False)
    """
    return serving_stack(stack).priors.compute is not None


def prior_of(factor: str, stack: str) -> tuple[float, float]:
    """Where a factor starts, within its bounds, and the standard deviation of its logarithm."""
    if factor in EFFICIENCIES:
        value, spread = EFFICIENCIES[factor]
    else:
        prior = getattr(serving_stack(stack).priors, factor)
        value, spread = prior.value, prior.spread
    return float(np.clip(value, *bounds(factor))), spread


def with_factors(chip: Chip, values: Mapping[Name, float]) -> Chip:
    """A chip with some of its factors replaced; those of other chips are ignored."""
    own = {key: value for key, value in values.items() if key[0] == chip.name}
    if not own:
        return chip
    efficiency = chip.efficiency.model_copy(
        update={f: _ratio(v) for (_, s, f), v in own.items() if not s}
    )
    stacks = dict(chip.stacks)
    for name in {s for _, s, _ in own if s}:
        mine = {f: v for (_, s, f), v in own.items() if s == name}
        new = {f: _time(v) if f in TIMES else _ratio(v) for f, v in mine.items()}
        stacks[name] = stacks.get(name, chip.stacks[chip.default_stack]).model_copy(update=new)
    return chip.model_copy(update={"efficiency": efficiency, "stacks": stacks})


def held(chip: Chip) -> Chip:
    """A chip whose `HELD` factors are at their prior; a fused one keeps what its profile says."""
    if chip.execution == "fused":
        return chip
    attention = _ratio(EFFICIENCIES["attention"][0])
    efficiency = chip.efficiency.model_copy(update={"attention": attention})
    stacks = {
        name: stack.model_copy(update={"mla_kernels": serving_stack(name).mla_kernels})
        for name, stack in chip.stacks.items()
    }
    return chip.model_copy(update={"efficiency": efficiency, "stacks": stacks})


def with_stacks(chip: Chip, names: set[str]) -> Chip:
    """A chip that has at least these stacks, new ones like its default."""
    model: Stack = chip.stacks[chip.default_stack]
    new = {
        name: model.model_copy(
            update={"overlap_scheduling": serving_stack(name).overlap_scheduling}
        )
        for name in sorted(names)
    }
    return chip.model_copy(update={"stacks": new | chip.stacks})


def _ratio(value: float) -> Quantity:
    return Quantity(value=value, dimension="number", kind="fitted", source="fit: candidate")


def _time(value: float) -> Quantity:
    return Quantity(value=value, dimension="seconds", kind="fitted", source="fit: candidate")
