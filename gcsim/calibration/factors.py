"""The named factors that calibration fits: efficiencies of a chip, fixed times of its stacks."""

from collections.abc import Mapping

import numpy as np

from gcsim.profiles.base import Quantity
from gcsim.profiles.chip import Chip, Stack

EFFICIENCIES = (
    "memory", "kv_read", "gemm_bf16", "gemm_fp8", "gemm_int8", "gemm_fp4", "expert_gemm",
    "attention", "link",
)  # fmt: skip
TIMES = (
    "layer_overhead", "moe_layer_overhead", "all_reduce_latency",
    "all_reduce_latency_per_doubling", "sequence_overhead", "prompt_layer_overhead",
    "request_overhead",
)  # fmt: skip
# Ratios of a stack: kernels of a layer relative to one of grouped-query attention in 16 bit; the
# share of achievable arithmetic that software of the years before reaches.
KERNELS, COMPUTE = ("mla_kernels", "quantized_kernels"), "compute"
HANDOFF = "handoff_overhead"  # fitted by itself, to disaggregated points
HELD = ("attention", "mla_kernels")  # at their prior: fitting them bought less than a point
OLD = ("vllm-2023", "vllm-2024", "trtllm-2024", "sglang-2024")  # stacks that have `compute`
# Schedulers one iteration ahead of the device: vLLM's asynchronous scheduling, TensorRT-LLM's and
# SGLang's overlap scheduler, ATOM's (built on vLLM's).
OVERLAPPING = ("vllm", "trtllm", "sglang", "atom")

KERNEL_BOUNDS = {"mla_kernels": (1.0, 3.0), "quantized_kernels": (0.05, 1.5)}

# Physical bounds: an efficiency is a fraction, a fixed time is not negative (and not 0: its
# logarithm is fitted).
EFFICIENCY_BOUNDS = (0.02, 1.0)
TIME_BOUNDS = {  # seconds
    "layer_overhead": (1e-6, 400e-6),
    "moe_layer_overhead": (1e-6, 200e-6),
    "all_reduce_latency": (0.5e-6, 150e-6),
    "all_reduce_latency_per_doubling": (0.2e-6, 40e-6),
    "sequence_overhead": (0.5e-6, 150e-6),
    "prompt_layer_overhead": (5e-6, 600e-6),
    "request_overhead": (2e-3, 400e-3),
    HANDOFF: (1e-3, 400e-3),
}

# Where a fit starts and what it is drawn to where points say nothing: (value, one standard
# deviation of its logarithm). From vendors' GEMM and STREAM figures and the stacks of 2025.
PRIORS = {
    "memory": (0.82, 0.12), "kv_read": (0.70, 0.3), "gemm_bf16": (0.62, 0.25),
    "gemm_fp8": (0.50, 0.25), "gemm_int8": (0.50, 0.25), "gemm_fp4": (0.40, 0.25),
    "expert_gemm": (0.42, 0.4), "attention": (0.35, 0.4), "link": (0.40, 0.4),
    "layer_overhead": (25e-6, 0.7), "moe_layer_overhead": (30e-6, 0.7),
    "all_reduce_latency": (13e-6, 0.7), "all_reduce_latency_per_doubling": (3e-6, 0.6),
    "sequence_overhead": (10e-6, 0.9), "prompt_layer_overhead": (110e-6, 0.7),
    "request_overhead": (35e-3, 0.6), "compute": (0.8, 0.4),
    # Latent attention compresses, expands and absorbs its projections: about 15 kernels, not 10;
    # each of four products quantizes its activations first.
    "mla_kernels": (1.5, 0.06), "quantized_kernels": (0.5, 0.12),
}  # fmt: skip

Name = tuple[str, str, str]  # (chip, stack or "", factor)


def bounds(factor: str) -> tuple[float, float]:
    """Lowest and highest value of a factor."""
    return {**TIME_BOUNDS, **KERNEL_BOUNDS}.get(factor, EFFICIENCY_BOUNDS)


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
    attention, mla = (_ratio(PRIORS[factor][0]) for factor in HELD)
    efficiency = chip.efficiency.model_copy(update={"attention": attention})
    stacks = {n: s.model_copy(update={"mla_kernels": mla}) for n, s in chip.stacks.items()}
    return chip.model_copy(update={"efficiency": efficiency, "stacks": stacks})


def with_stacks(chip: Chip, names: set[str]) -> Chip:
    """A chip that has at least these stacks, new ones like its default."""
    model: Stack = chip.stacks[chip.default_stack]
    new = {
        name: model.model_copy(update={"overlap_scheduling": name in OVERLAPPING})
        for name in sorted(names)
    }
    return chip.model_copy(update={"stacks": new | chip.stacks})


def _ratio(value: float) -> Quantity:
    return Quantity(value=value, dimension="number", kind="fitted", source="fit: candidate")


def _time(value: float) -> Quantity:
    return Quantity(value=value, dimension="seconds", kind="fitted", source="fit: candidate")


def prior_of(factor: str, stack: str) -> tuple[float, float]:
    """Prior of a factor: software of 2023 and 2024 has longer fixed times, dataflow shorter."""
    value, sigma = PRIORS[factor]
    if stack in OLD:
        value *= {"layer_overhead": 3.0, "sequence_overhead": 4.0}.get(factor, 1.0)
    if stack == "sambaflow":
        value *= {"layer_overhead": 0.15, "moe_layer_overhead": 0.5, "all_reduce_latency": 0.1,
                  "all_reduce_latency_per_doubling": 0.3}.get(factor, 1.0)  # fmt: skip
    return float(np.clip(value, *bounds(factor))), sigma
