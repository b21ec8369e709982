"""A serving stack as a thing of its own: its habits, and what its fixed times are likely to be."""

from math import exp
from typing import Annotated, Any, Literal

from pydantic import Field

from gcsim.profiles.base import (
    Bytes,
    Chips,
    Count,
    FixedSeconds,
    Name,
    PlainFixedSeconds,
    PlainNumber,
    Ratio,
    Spec,
)

NEVER_FITTED = (
    "iteration_overhead",
    "mla_kernels",
    "expert_imbalance",
    "runtime_reserve",
    "mxfp4_tile",
    "handoff_per_token",
    "tokenize_per_token",
    "tokenizes_again",
)
# One standard deviation of a logarithm: 5 is a factor of 150 to either side.
Spread = Annotated[PlainNumber, Field(le=5)]
SIDE_90 = 1.64  # standard deviations from the middle to either end of a 90% range


class TimePrior(Spec):
    """A fixed time [s] and one standard deviation of its logarithm."""

    value: PlainFixedSeconds
    """Where a fit starts."""
    spread: Spread
    """One standard deviation of its logarithm."""


class RatioPrior(Spec):
    """A ratio and one standard deviation of its logarithm."""

    value: Annotated[PlainNumber, Field(gt=0, le=1e3)]
    """Where a fit starts."""
    spread: Spread
    """One standard deviation of its logarithm."""


class Priors(Spec):
    """Where a fit of the stack on a chip starts, and what it is drawn to where no point says more.

    The names are those of `gcsim.profiles.chip.Stack`. `compute`: only of software of earlier
    years, which reaches less of a chip's achievable arithmetic.
    """

    layer_overhead: TimePrior
    """Of a layer in every iteration: launches of its kernels."""
    moe_layer_overhead: TimePrior
    """Of a layer with experts, besides."""
    all_reduce_latency: TimePrior
    """Of an all-reduce of two chips."""
    all_reduce_latency_per_doubling: TimePrior
    """What twice as many chips add."""
    sequence_overhead: TimePrior
    """Of each sequence in every iteration."""
    prompt_layer_overhead: TimePrior
    """Of a layer in an iteration with prompts."""
    request_overhead: TimePrior
    """Of a request, on arrival."""
    quantized_kernels: RatioPrior | None = None
    """What quantizing activations adds, as a fraction."""
    compute: RatioPrior | None = None
    """What its kernels reach of the chip's achievable arithmetic."""


class Habits(Spec):
    """How the stack forms batches where nobody sets it otherwise; published runs are played so."""

    policy: str = "continuous"
    """How iterations are formed: a policy of `gcsim.engine.batching`."""
    max_iteration_tokens: Count = 8192
    """The most tokens that an iteration computes."""


class ServingStack(Spec):
    """A serving software (`kind: stack`), which the chips of several vendors may share.

    What it takes on a chip stands in that chip's factors; a chip without such has the priors.
    What follows the priors is never fitted: the same on every chip.
    """

    kind: Literal["stack"]
    """What the file is."""
    name: Name
    """What it is called; its file is named so too."""
    aliases: tuple[str, ...] = ()
    """Other names that find it."""
    description: str = ""
    """One sentence, for lists."""
    source: str
    """Where its habits and times come from."""
    batching: Habits = Habits()
    """How it forms batches where nobody sets it otherwise."""
    overlap_scheduling: bool = False
    """Whether the scheduler is one iteration ahead of the device."""
    priors: Priors
    """Where a fit on a chip starts."""
    iteration_overhead: FixedSeconds
    """Of every iteration, once."""
    mla_kernels: Ratio | None = None
    """layer_overhead of a layer with latent attention, as a multiple."""
    expert_imbalance: Ratio | None = None
    """Tokens of the expert rank that has most, with ep, as a multiple of even."""
    runtime_reserve: Bytes | None = None
    """Memory of a chip that graphs, activations and contexts take."""
    mxfp4_tile: Chips | None = None
    """Its kernels store experts in MXFP4 padded to a multiple of this width."""
    handoff_per_token: FixedSeconds | None = None
    """Of a handoff, for each token that travels."""
    tokenize_per_token: FixedSeconds | None = None
    """Of the host, for each token of a prompt."""
    tokenizes_again: bool = False
    """Whether the pool that decodes tokenizes the prompt once more."""


def on_any_chip(stack: ServingStack, raw: dict[str, Any]) -> dict[str, Any]:
    """What a stack is on a chip without factors, in the form of a chip's `stacks.NAME`.

    raw: the mapping that the stack was made of, whose texts are kept
    """
    found: dict[str, Any] = {"overlap_scheduling": True} if stack.overlap_scheduling else {}
    for name, prior in stack.priors:
        if prior is None:
            continue
        unit = " s" if isinstance(prior, TimePrior) else ""
        ends = {"low": exp(-SIDE_90 * prior.spread), "high": exp(SIDE_90 * prior.spread)}
        if name == "compute":
            ends["high"] = min(ends["high"], 1 / prior.value)
        number = {end: f"{prior.value * factor:.4g}{unit}" for end, factor in ends.items()}
        source = f"prior of {stack.name}: {stack.source}"
        value = raw["priors"][name]["value"]
        found[name] = {"value": value, **number, "kind": "assumed", "source": source}
    return found | {name: raw[name] for name in NEVER_FITTED if name in raw}
