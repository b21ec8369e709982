"""A chip profile: peaks, memory tiers, links, named factors, power, price; each with a source."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gcsim.profiles.base import (
    Bytes,
    BytesPerS,
    Capacity,
    Chips,
    FixedSeconds,
    FlopsPerS,
    Name,
    Quantity,
    Ratio,
    Reached,
    Share,
    Spec,
    Usd,
    UsdPerHour,
    Watts,
    sourced,
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
    """Dense peak rates by number format; a format that is left out is not native to the chip."""

    bf16: FlopsPerS
    """Dense peak of 16-bit arithmetic."""
    fp8: FlopsPerS | None = None
    """Dense peak of 8-bit floating point."""
    fp4: FlopsPerS | None = None
    """Dense peak of 4-bit floating point."""
    int8: FlopsPerS | None = None
    """Dense peak of 8-bit integers: operations as the others count floating-point ones."""

    @property
    def fastest_flops_per_s(self) -> float:
        """The highest floating-point peak [FLOP/s]: what MFU is a fraction of."""
        return max(peak.value for peak in (self.bf16, self.fp8, self.fp4) if peak is not None)


class Tier(Spec):
    """One level of memory, per chip, and what of it outlasts an iteration is placed there.

    One that holds nothing is a cache, whose traffic is in the efficiencies of the others.
    """

    tier: Name
    """Its name: sram, hbm, host."""
    capacity: Capacity
    """Bytes of one chip; of what several chips share, its part."""
    bandwidth: BytesPerS
    """Peak rate at which one chip reads it."""
    holds: tuple[Holds, ...]
    """What may lie there: weights, kv, kv_spill (evicted KV, where a
    deployment has `kv_offload`).
    """


class ScaleUp(Spec):
    """The links inside a replica."""

    bandwidth: BytesPerS
    """Per chip and direction. In a mesh each chip has an equal link to each other: all
    together.
    """
    latency: FixedSeconds
    """Of one hop."""
    topology: Literal["mesh", "switch", "torus"] = "switch"
    """mesh: a link to each other chip; switch; or torus."""
    max_chips: Chips = 8
    """How many chips these links join: the largest tp."""
    mesh_chips: Chips | None = None
    """Chips of one mesh, where a domain is made of several."""
    switch_bandwidth: BytesPerS | None = None
    """What a chip has besides, to a switch between its mesh and others."""

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

    `latency` and `efficiency` count between the chips of one replica; links between pools have
    their own (`links` of a deployment).
    """

    bandwidth: BytesPerS
    """Per chip and direction."""
    latency: FixedSeconds | None = None
    """Of one message between the chips of a replica; 0 where left out."""
    efficiency: Reached | None = None
    """What is reached of the bandwidth there; 1 where left out."""


class Interconnect(Spec):
    """How chips talk: inside a replica (scale-up) and between replicas or pools (scale-out)."""

    scale_up: ScaleUp
    """Links inside a replica."""
    scale_out: ScaleOut
    """Links beyond, between replicas and pools."""


class Efficiency(Spec):
    """Named fractions of a peak that are reached; a property of the chip (docs/cost-model.md)."""

    memory: Reached
    """Of the bandwidth of weights."""
    kv_read: Reached
    """Of the bandwidth with which attention reads KV."""
    gemm_bf16: Reached
    """Of the 16-bit peak, in dense products."""
    gemm_fp8: Reached | None = None
    """Of the 8-bit peak, in dense products."""
    gemm_fp4: Reached | None = None
    """Of the 4-bit peak, in dense products."""
    gemm_int8: Reached | None = None
    """Of the integer peak; as gemm_fp8 where left out (as gemm_bf16 on a chip without FP8)."""
    expert_gemm: Reached
    """Of its peak, in the products of experts."""
    attention: Reached
    """Of the 16-bit peak, in the core of attention."""
    link: Reached
    """Of the bandwidth of scale-up links."""

    def gemm(self, fmt: str) -> float:
        """The fraction of its peak that matrix products in a format (`Chip.arithmetic`) reach."""
        names = ("gemm_int8", "gemm_fp8", "gemm_bf16") if fmt == "int8" else (f"gemm_{fmt}",)
        return next(float(own.value) for name in names if (own := getattr(self, name)) is not None)


class Stack(Spec):
    """Fixed times of a serving stack on this chip: what an iteration costs beyond the roofline."""

    layer_overhead: FixedSeconds
    """Of each layer, in each iteration."""
    moe_layer_overhead: FixedSeconds
    """More, of a layer with experts."""
    all_reduce_latency: FixedSeconds
    """Of an all-reduce between two chips."""
    all_reduce_latency_per_doubling: FixedSeconds
    """More, each time the chips double."""
    sequence_overhead: FixedSeconds
    """Of each sequence of a batch."""
    prompt_layer_overhead: FixedSeconds
    """Of each layer, in an iteration that has prompts."""
    iteration_overhead: FixedSeconds
    """Of each iteration, whatever its layers."""
    request_overhead: FixedSeconds
    """Of a request, once, before its prompt."""
    handoff_overhead: FixedSeconds | None = None
    """Of a request that goes on to another pool, beside the travel of its KV; 0 where left
    out.
    """
    handoff_per_token: FixedSeconds | None = None
    """Of a handoff too, for each token that travels: blocks that are registered and named."""
    tokenize_per_token: FixedSeconds | None = None
    """Of the host, for each token of a prompt, cached or not, before the request is queued;
    where left out it is part of request_overhead.
    """
    tokenizes_again: bool = False
    """Whether a request is tokenized once more where it decodes in another pool."""
    overlap_scheduling: bool = False
    """Whether the scheduler fixes the next iteration while one runs, so that a request which
    arrives meanwhile joins the one after.
    """
    comm_overlap: Share | None = None
    """Fraction of communication that hides behind arithmetic; 0 where left out."""
    expert_imbalance: Annotated[Quantity, sourced("number", least=1, most=1e3)] | None = None
    """Tokens of the expert rank that has most, with ep, as a multiple of what uniform routing
    gives it; 1 where left out.
    """
    runtime_reserve: Bytes | None = None
    """Memory of a chip that graphs, activations and contexts take from weights and KV; 0 where
    left out.
    """
    mxfp4_tile: Chips | None = None
    """Its kernels store experts in MXFP4 padded to a multiple of this width."""
    mla_kernels: Ratio | None = None
    """layer_overhead of a layer with latent attention, as a multiple of one with grouped-query
    attention; 1 where left out.
    """
    quantized_kernels: Ratio | None = None
    """What quantizing activations adds, as a fraction; 0 where left out."""
    compute: Annotated[Quantity, sourced("number", least=1e-4, most=10)] | None = None
    """What its kernels reach of the chip's achievable arithmetic (software of 2023 and 2024
    reaches less); 1 where left out.
    """


class Power(Spec):
    """Electrical power per chip, and of the whole node or rack where that is published."""

    tdp: Watts | None = None
    """Of one chip, on the data sheet."""
    idle: Watts | None = None
    """Of one chip that does nothing."""
    node: Annotated[Quantity, sourced("watts", least=1.0)]
    """Of the whole node or rack, chips and all."""


class Price(Spec):
    """What a chip costs to rent, and to buy where known."""

    usd_per_chip_hour: UsdPerHour
    """What an hour of one chip costs to rent."""
    purchase: Usd | None = None
    """What one chip costs to buy."""


class Packaging(Spec):
    """How many chips stand in one node (or rack) and how it is cooled."""

    chips_per_node: Chips
    """Chips in one node or rack."""
    cooling: Literal["air", "liquid", "air or liquid"]
    """air, liquid, or air or liquid."""


class Chip(Spec):
    """One accelerator; `gcsim show chip NAME` shows every number with its origin."""

    name: Name
    """What it is called; its file is named so too."""
    aliases: tuple[str, ...] = ()
    """Other names that find it."""
    vendor: str
    """Who makes it."""
    description: str = ""
    """One sentence, for lists."""
    execution: Literal["kernels", "fused"]
    """kernels: operations run one after another; fused: a layer streams as one pipeline
    (dataflow).
    """
    compute: Compute
    """Dense peak rates by number format; one that is left out is not native."""
    memory: tuple[Tier, ...] = Field(min_length=1)
    """Levels of memory per chip, fastest first."""
    interconnect: Interconnect
    """How chips talk."""
    efficiency: Efficiency
    """Named fractions of a peak that are reached: your own, or those that `factors` names."""
    stacks: dict[str, Stack] = Field(min_length=1)
    """Serving stacks: names, or their fixed times on this chip."""
    default_stack: str
    """The one where a pool names none."""
    power: Power
    """Electrical power."""
    price: Price
    """What it costs."""
    packaging: Packaging
    """How it stands in a node."""
    notes: tuple[str, ...] = ()
    """What sources leave out."""

    @property
    def node_power_w(self) -> float:
        """Full power of its node, the share of one chip [W]."""
        return self.power.node.value / self.packaging.chips_per_node

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
        tiers = [tier.tier for tier in self.memory]
        if len(set(tiers)) < len(tiers):
            raise ValueError(f"memory: two tiers have one name ({', '.join(tiers)})")
        if not any("weights" in tier.holds for tier in self.memory):
            raise ValueError("memory: no tier holds weights")
        if not any("kv" in tier.holds for tier in self.memory):
            raise ValueError("memory: no tier holds kv")
        if self.default_stack not in self.stacks:
            known = ", ".join(self.stacks)
            raise ValueError(f"default_stack {self.default_stack!r} is not in stacks ({known})")
        return self
