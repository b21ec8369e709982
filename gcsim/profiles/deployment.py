"""A deployment: pools of replicas, the links between them, and the router in front."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gcsim.profiles.base import (
    Chips,
    Count,
    Fraction,
    Length,
    Name,
    PlainBytes,
    PlainBytesPerS,
    PlainFixedSeconds,
    PlainNumber,
    Spec,
    Whole,
)
from gcsim.profiles.chip import Chip, Stack, Tier
from gcsim.profiles.model import KvFormat, Model


class ContextLimit(Spec):
    """Contexts of up to so many tokens run at most so many at a time."""

    context: Count
    """Tokens of the longest prompt."""
    max_seqs: Count
    """Sequences of a batch."""


class Batching(Spec):
    """The batching policy of a pool and its limits per iteration, of a replica's group each.

    As serving stacks do, which state `max_seqs` and `max_iteration_tokens` per data-parallel rank.
    `max_seqs_by_context`: of a machine that runs graphs compiled for a context length and a batch
    size, its largest batch by context, ascending. The longest prompt of a batch decides, and what
    is longer than the last is refused.
    """

    policy: str = "continuous"
    """A function of gcsim.engine.batching: continuous, prefill_first, decode_only,
    prefill_only, ...
    """
    max_seqs: Annotated[int, Field(ge=1, le=10**6, strict=True)] = 256
    """Sequences that run at a time, per replica."""
    max_iteration_tokens: Count = 8192
    """New tokens of one iteration; prompts are cut to it."""
    max_seqs_by_context: tuple[ContextLimit, ...] = ()
    """Graphs: the most sequences of a batch by its longest prompt, ascending."""

    @model_validator(mode="after")
    def _room_for_decode(self) -> "Batching":
        limits = self.max_seqs_by_context
        for short, long in pairwise(limits):
            if long.context <= short.context or long.max_seqs > short.max_seqs:
                raise ValueError(
                    "max_seqs_by_context: contexts must rise and max_seqs must not, but"
                    f" {short.context}: {short.max_seqs} is before {long.context}: {long.max_seqs}"
                )
        if self.max_iteration_tokens < self.max_seqs:
            raise ValueError(
                f"max_iteration_tokens {self.max_iteration_tokens} is less than max_seqs"
                f" {self.max_seqs}: every running sequence needs a token of each iteration"
            )
        return self


class Speculation(Spec):
    """Speculative decoding: by a drafter of the model, or with a chance and a cost."""

    draft_tokens: Annotated[int, Field(ge=1, le=1000, strict=True)]
    """How many are drafted at a time."""
    drafter: str | None = None
    """One of the model's `drafters`: its layers and published acceptance count."""
    domain: str = ""
    """Of the text, as the drafter's acceptance has it; the first one where left out."""
    acceptance: Annotated[PlainNumber, Field(le=1)] | None = None
    """Chance that a drafted token is accepted, after those before it."""
    draft_cost: Annotated[PlainNumber, Field(le=1e3)] | None = None
    """Time of the drafting, as a fraction of an iteration; a drafter's is that of its layers."""

    @model_validator(mode="after")
    def _consistent(self) -> "Speculation":
        if self.drafter is None and (self.acceptance is None or self.draft_cost is None):
            raise ValueError("speculation needs a drafter, or acceptance and draft_cost")
        if self.drafter is not None and self.draft_cost is not None:
            raise ValueError("draft_cost: the time of a drafter follows from its layers")
        if self.domain and self.drafter is None:
            raise ValueError("domain needs a drafter")
        return self


class KvOffload(Spec):
    """What the prefix cache evicts goes to a lower memory tier of the chip, and comes back from it.

    Both ways run beside the iterations: only a request whose KV is on its way back waits.
    """

    tier: str | None = None
    """Name of the tier; the first that holds kv_spill where left out."""
    bandwidth: Annotated[PlainBytesPerS, Field(gt=0)] | None = None
    """Of the link of each chip, one way; the tier's where left out."""
    efficiency: Fraction
    """What is reached of it."""
    duplex: bool = True
    """Whether the link carries both ways at once, as PCIe does."""
    source: str = ""
    """Where the numbers come from."""


class Pool(Spec):
    """Identical replicas of the model; one replica spans tp x ep x pp chips.

    A request lives in one of `ep` groups of `tp` chips (data-parallel attention): each has its own
    KV cache, batch and queue, and its own copy of all but the routed experts, which are spread over
    all tp x ep chips. Layers are split over `pp` stages. A group stands within the chip's scale-up
    domain; groups and stages may go beyond, over scale-out.
    """

    role: Literal["mixed", "prefill", "decode"] = "mixed"
    """mixed: prompts and tokens; prefill or decode: one of them, with a pool of the other."""
    chip: Chip
    """A chip by name or file, or a mapping."""
    model: Model | None = None
    """What it serves, where that is not the scenario's model."""
    tp: Chips = 1
    """Tensor-parallel chips: attention and dense layers are split over them."""
    ep: Chips = 1
    """Groups of tp chips that share the routed experts; a request lives in one of them."""
    pp: Chips = 1
    """Pipeline stages, each with its part of the layers."""
    replicas: Annotated[int, Field(ge=1, le=10**4, strict=True)] = 1
    """Copies of all that."""
    stack: str | None = None
    """Serving stack of the chip; its default where left out."""
    batching: Batching = Batching()
    """How iterations are formed."""
    memory_utilization: Fraction = 0.92
    """Fraction of the memory that weights and KV share."""
    kv_reserve: Fraction = 0.1
    """Fraction of that kept for KV; weights that do not fit beside it go to the next tier."""
    kv_tokens: Annotated[int, Field(ge=1, le=10**12, strict=True)] | None = None
    """Replaces the computed KV capacity of a group, in studies of caches."""
    block_tokens: Length = 16
    """Tokens of a KV block."""
    prefix_cache_tokens: Whole | None = None
    """Limits what the prefix cache of a group keeps; 0: no prefix cache."""
    state_snapshot_tokens: Length = 8192
    """How far apart the prefix cache keeps states, for layers that have them: hits end there."""
    kv_offload: KvOffload | None = None
    """Where the prefix cache's evicted KV goes; without, it is gone."""
    kv_dtype: KvFormat | None = None
    """Number format of KV, where that is not the model's: bf16 or fp8."""
    speculation: Speculation | None = None
    """Speculative decoding; none where left out."""

    @model_validator(mode="after")
    def _consistent(self) -> "Pool":
        if self.stack is not None and self.stack not in self.chip.stacks:
            known = ", ".join(self.chip.stacks)
            raise ValueError(f"stack {self.stack!r} is not one of {self.chip.name}'s: {known}")
        self._offloads()
        domain = self.chip.interconnect.scale_up.max_chips
        if self.tp > domain:
            raise ValueError(
                f"tp = {self.tp} chips, but the scale-up links of {self.chip.name} reach {domain};"
                " only expert groups (ep) and pipeline stages (pp) go beyond"
            )
        beyond = self.tp * self.ep > domain
        if beyond and (domain % self.tp or not self.chip.interconnect.scale_out.bandwidth.value):
            raise ValueError(
                f"tp x ep = {self.tp * self.ep} chips go beyond the {domain} of the scale-up links"
                f" of {self.chip.name}: that takes groups of tp chips which fill these, and a"
                " scale_out.bandwidth"
            )
        return self

    def _offloads(self) -> None:
        if self.kv_offload is None:
            return
        lower = [tier.tier for tier in self.chip.memory if "kv_spill" in tier.holds]
        wanted = self.kv_offload.tier
        if not lower or (wanted and wanted not in lower):
            name = f" {wanted!r}" if wanted else ""
            raise ValueError(
                f"kv_offload: {self.chip.name} has no tier{name} that holds kv_spill"
                f" (such are: {', '.join(lower) or 'none'})"
            )

    @property
    def offload_tier(self) -> Tier | None:
        """The memory tier that takes evicted KV, if one does."""
        if self.kv_offload is None:
            return None
        wanted = self.kv_offload.tier
        lower = (tier for tier in self.chip.memory if "kv_spill" in tier.holds)
        return next(tier for tier in lower if wanted in (None, tier.tier))

    @property
    def serving_stack(self) -> Stack:
        """The stack that it is served with: its own choice, else the chip's default."""
        return self.chip.stacks[self.stack or self.chip.default_stack]

    @property
    def snapshot_tokens(self) -> int:
        """Tokens from one snapshot of states in the prefix cache to the next: whole blocks."""
        return max(self.state_snapshot_tokens // self.block_tokens, 1) * self.block_tokens

    @property
    def chips_per_replica(self) -> int:
        """tp x ep x pp."""
        return self.tp * self.ep * self.pp

    @property
    def chips(self) -> int:
        """All chips of the pool."""
        return self.chips_per_replica * self.replicas


class Link(Spec):
    """KV cache travels over `lanes` parallel lanes of `bandwidth` each, one way.

    A message of m bytes reaches `efficiency` x m / (m + `ramp`) of the bandwidth.
    """

    from_: str = Field(alias="from")
    """The pool that it leads from."""
    to: str
    """The pool that it leads to."""
    bandwidth: Annotated[PlainBytesPerS, Field(gt=0)]
    """Of one lane."""
    lanes: Chips = 1
    """Parallel lanes; a transfer takes all of them."""
    latency: PlainFixedSeconds = 0.0
    """Of a transfer, not on the lanes."""
    setup: PlainFixedSeconds = 0.0
    """Of a transfer too, not on the lanes."""
    efficiency: Fraction
    """What a long message reaches of the bandwidth."""
    ramp: PlainBytes = 0.0
    """A message of so many bytes reaches half of that."""
    source: str = ""
    """Where the numbers come from."""


class KvHandoff(Spec):
    """What travels from prefill to decode, and when."""

    layerwise: bool = True
    """Whether each layer's KV leaves while the next one computes."""
    transfer: Literal["delta", "full"] = "delta"
    """delta: only what decode lacks; full: all."""
    return_kv: bool = False
    """Whether decode sends back the KV of what it generated."""
    first_token_from: Literal["prefill", "decode"] = "decode"
    """Whose token the client sees first; that of decode comes after the handoff."""
    conversion_bandwidth: Annotated[PlainBytesPerS, Field(gt=0)] | None = None
    """Rate at which KV is converted, where two pools keep it in different formats; nobody
    publishes one, so it has no default.
    """


class Router(Spec):
    """Which replica gets a request; policies are the functions in `gcsim.engine.router`."""

    policy: str = "prefix_affinity"
    """A function of gcsim.engine.router: prefix_affinity, prefix_filter, least_loaded,
    round_robin, sticky.
    """
    affinity_gap: Whole = 286_704
    """prefix_filter: a group that holds the prompt is left where so many tokens more are in flight
    than in the least loaded: llm-d's 18 s at the prefill rate of its default, Qwen3-32B on 2 H100.
    """
    prefill_locally_below: Whole = 0
    """Prompts with fewer uncached tokens are prefilled where they decode."""


class Deployment(Spec):
    """Everything that serves: pools, links, KV handoff, router."""

    name: Name
    """What it is called; its file is named so too."""
    description: str = ""
    """One sentence, for lists."""
    source: str = ""
    """Where the layout comes from."""
    pools: dict[str, Pool] = Field(min_length=1)
    """Pools by name."""
    links: tuple[Link, ...] = ()
    """Links between pools, one way each."""
    kv_handoff: KvHandoff = KvHandoff()
    """What travels from prefill to decode."""
    router: Router = Router()
    """Which replica gets a request."""

    @model_validator(mode="after")
    def _connected(self) -> "Deployment":
        roles = {name: pool.role for name, pool in self.pools.items()}
        for link in self.links:
            for end in (link.from_, link.to):
                if end not in roles:
                    raise ValueError(f"links: no pool is named {end!r}; known: {', '.join(roles)}")
        prefills = [name for name, role in roles.items() if role == "prefill"]
        decodes = [name for name, role in roles.items() if role == "decode"]
        if bool(prefills) != bool(decodes):
            raise ValueError("pools: prefill and decode pools need each other")
        reached = {(link.from_, link.to) for link in self.links}
        for source in prefills:
            if not any((source, target) in reached for target in decodes):
                raise ValueError(f"links: no link leads from {source!r} to a decode pool")
        for target in decodes:
            if not any((source, target) in reached for source in prefills):
                raise ValueError(f"links: no link reaches decode pool {target!r}")
        if self.kv_handoff.return_kv:
            for source, target in reached:
                if (target, source) not in reached:
                    raise ValueError(f"kv_handoff.return_kv needs a link {target} -> {source}")
        return self
