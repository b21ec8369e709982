"""A chip profile: peaks, memory tiers, links, named factors, power, price; each with a source."""

from typing import Literal

from pydantic import Field, model_validator

from gcsim.profiles.base import (
    Bytes,
    BytesPerS,
    Count,
    FlopsPerS,
    Number,
    Seconds,
    Spec,
    Usd,
    UsdPerHour,
    Watts,
)
from gcsim.profiles.model import WeightFormat

# The number format in which products with weights of a format are computed, where a chip has it.
_ARITHMETIC: dict[WeightFormat, str] = {
    "fp32": "bf16",
    "bf16": "bf16",
    "fp8": "fp8",
    "int8": "int8",
    "mxfp4": "fp4",
    "nvfp4": "fp4",
    "int4": "bf16",  # weight-only: small bytes, 16-bit arithmetic
}

Holds = Literal["weights", "kv", "kv_spill"]


class Compute(Spec):
    """Dense peak rates by number format; a format that is left out is not native to the chip.

    `int8` counts operations as the others count floating-point ones.
    """

    bf16: FlopsPerS
    fp8: FlopsPerS | None = None
    fp4: FlopsPerS | None = None
    int8: FlopsPerS | None = None

    @property
    def fastest_flops_per_s(self) -> float:
        """The highest floating-point peak [FLOP/s]: what MFU is a fraction of."""
        return max(peak.value for peak in (self.bf16, self.fp8, self.fp4) if peak is not None)


class Tier(Spec):
    """One level of memory, per chip, and what of it outlasts an iteration is placed there.

    One that holds nothing is a cache, whose traffic is in the efficiencies of the others.
    `overlaps_compute`: reloads from it hide behind iterations.
    """

    tier: str
    capacity: Bytes
    bandwidth: BytesPerS
    holds: tuple[Holds, ...]
    overlaps_compute: bool = False


class ScaleUp(Spec):
    """The links inside a replica: bandwidth per chip and direction, latency of one hop.

    In a mesh each chip has an equal link to each other: `bandwidth` is that of all together. Where
    a domain of `max_chips` is made of meshes of `mesh_chips`, `switch_bandwidth` is what a chip has
    besides, to a switch between them.
    """

    bandwidth: BytesPerS
    latency: Seconds
    topology: Literal["mesh", "switch", "torus"] = "switch"
    max_chips: Count = 8
    mesh_chips: Count | None = None
    switch_bandwidth: BytesPerS | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "ScaleUp":
        if self.mesh_chips is None and self.switch_bandwidth is None:
            return self
        if self.topology != "mesh":
            raise ValueError(
                f"mesh_chips and switch_bandwidth belong to a mesh, not a {self.topology}"
            )
        mesh = self.mesh_chips or self.max_chips
        if mesh > self.max_chips or (mesh < self.max_chips) != bool(self.switch_bandwidth):
            raise ValueError(
                f"meshes of {mesh} in a domain of {self.max_chips} chips: mesh_chips below"
                " max_chips and switch_bandwidth need each other"
            )
        if self.switch_bandwidth is not None and not self.switch_bandwidth.value:
            raise ValueError("switch_bandwidth is zero")
        return self


class ScaleOut(Spec):
    """The network card that a chip has for links beyond its scale-up domain, and to other pools.

    Bandwidth per direction; `latency` of one message (0 where left out) and `efficiency`, what is
    reached of the bandwidth (1 where left out), count between the chips of one replica; links
    between pools have their own (`links` of a deployment).
    """

    bandwidth: BytesPerS
    latency: Seconds | None = None
    efficiency: Number | None = None


class Interconnect(Spec):
    """How chips talk: inside a replica (scale-up) and between replicas or pools (scale-out)."""

    scale_up: ScaleUp
    scale_out: ScaleOut


class Efficiency(Spec):
    """Named fractions of a peak that are reached; a property of the chip (docs/cost-model.md).

    `gemm_int8` is as `gemm_fp8` where left out (as `gemm_bf16` on a chip without FP8).
    """

    memory: Number
    kv_read: Number
    gemm_bf16: Number
    gemm_fp8: Number | None = None
    gemm_fp4: Number | None = None
    gemm_int8: Number | None = None
    expert_gemm: Number
    attention: Number
    link: Number

    def gemm(self, fmt: str) -> float:
        """The fraction of its peak that matrix products in a format (`Chip.arithmetic`) reach."""
        names = ("gemm_int8", "gemm_fp8", "gemm_bf16") if fmt == "int8" else (f"gemm_{fmt}",)
        return next(float(own.value) for name in names if (own := getattr(self, name)) is not None)


class Stack(Spec):
    """Fixed times of a serving stack on this chip: what an iteration costs beyond the roofline.

    `handoff_overhead`: of a request that goes on to another pool, beside the travel of its KV (0
    where left out); `tokenize_per_token`: of the host, for each token of a prompt, cached or not,
    before the request is queued (0 where left out: then part of `request_overhead`), and
    `tokenizes_again`: once more where it decodes in another pool; `overlap_scheduling`: the
    scheduler fixes the next iteration while one runs, so that a request which arrives meanwhile
    joins the one after; `mla_kernels`: layer_overhead
    of a layer with latent attention, as a multiple of one with grouped-query attention (1 where
    left out); `quantized_kernels`: what quantizing activations adds, as a fraction (0 where left
    out); `expert_imbalance`: tokens of the expert rank that has most, as a multiple of what
    uniform routing gives it, with `ep` (1 where left out); `runtime_reserve`: memory of a chip that
    graphs, activations and contexts take from weights and KV (0 where left out); `mxfp4_tile`: its
    kernels store experts in MXFP4 padded to a multiple of this width; `compute`: what its kernels
    reach of the chip's achievable arithmetic (software of 2023 and 2024 reaches less; 1 where left
    out).
    """

    layer_overhead: Seconds
    moe_layer_overhead: Seconds
    all_reduce_latency: Seconds
    all_reduce_latency_per_doubling: Seconds
    sequence_overhead: Seconds
    prompt_layer_overhead: Seconds
    iteration_overhead: Seconds
    request_overhead: Seconds
    handoff_overhead: Seconds | None = None
    tokenize_per_token: Seconds | None = None
    tokenizes_again: bool = False
    overlap_scheduling: bool = False
    comm_overlap: Number | None = None
    expert_imbalance: Number | None = None
    runtime_reserve: Bytes | None = None
    mxfp4_tile: Count | None = None
    mla_kernels: Number | None = None
    quantized_kernels: Number | None = None
    compute: Number | None = None


class Power(Spec):
    """Electrical power per chip, and of the whole node or rack where that is published."""

    tdp: Watts | None = None
    idle: Watts | None = None
    node: Watts


class Price(Spec):
    """What a chip costs to rent, and to buy where known."""

    usd_per_chip_hour: UsdPerHour
    purchase: Usd | None = None


class Packaging(Spec):
    """How many chips stand in one node (or rack) and how it is cooled."""

    chips_per_node: Count
    cooling: Literal["air", "liquid", "air or liquid"]


class Chip(Spec):
    """One accelerator; `gcsim show chip NAME` shows every number with its origin."""

    name: str
    aliases: tuple[str, ...] = ()
    vendor: str
    description: str = ""
    execution: Literal["kernels", "fused"]
    compute: Compute
    memory: tuple[Tier, ...] = Field(min_length=1)
    interconnect: Interconnect
    efficiency: Efficiency
    stacks: dict[str, Stack] = Field(min_length=1)
    default_stack: str
    power: Power
    price: Price
    packaging: Packaging
    notes: tuple[str, ...] = ()

    def arithmetic(self, weights: WeightFormat, wanted: str = "native") -> str:
        """The format in which products with weights of a format are computed (a key of `compute`).

        The weights' own, or the `wanted` one (4-bit weights with 8-bit arithmetic). BF16 where the
        chip lacks it, or where it is slower than BF16: then the weights are widened.
        """
        own = _ARITHMETIC[weights]
        peak = getattr(self.compute, own)
        if peak is None or peak.value < self.compute.bf16.value:
            return "bf16"
        if wanted != "native" and getattr(self.compute, wanted) is not None:
            return wanted
        return own

    @model_validator(mode="after")
    def _consistent(self) -> "Chip":
        compute = self.compute
        for wide, narrow in ((compute.bf16, compute.fp8), (compute.fp8, compute.fp4)):
            if wide and narrow and narrow.value < wide.value:
                raise ValueError("compute: a narrower format is slower than a wider one")
        for fmt in ("fp8", "fp4"):
            if getattr(compute, fmt) and not getattr(self.efficiency, f"gemm_{fmt}"):
                raise ValueError(f"efficiency.gemm_{fmt} is missing, but compute.{fmt} is given")
        rates = [("compute.bf16", compute.bf16)]
        rates += [(f"memory.{tier.tier}.bandwidth", tier.bandwidth) for tier in self.memory]
        rates += [("interconnect.scale_up.bandwidth", self.interconnect.scale_up.bandwidth)]
        for name, rate in rates:
            if rate.value == 0:
                raise ValueError(f"{name} is zero")
        for name, factor in self.efficiency:
            if factor is not None and not 0 < factor.value <= 1:
                raise ValueError(f"efficiency.{name} must be above 0 and at most 1")
        if not any("weights" in tier.holds for tier in self.memory):
            raise ValueError("memory: no tier holds weights")
        if not any("kv" in tier.holds for tier in self.memory):
            raise ValueError("memory: no tier holds kv")
        if self.default_stack not in self.stacks:
            known = ", ".join(self.stacks)
            raise ValueError(f"default_stack {self.default_stack!r} is not in stacks ({known})")
        return self
