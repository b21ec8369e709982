"""A deployment: pools of replicas, the links between them, and the router in front."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gcsim.profiles.base import (
    Count,
    Fraction,
    PlainBytes,
    PlainBytesPerS,
    PlainNumber,
    PlainSeconds,
    Spec,
    Whole,
)
from gcsim.profiles.chip import Chip, Stack
from gcsim.profiles.model import KvFormat, Model


class ContextLimit(Spec):
    """Contexts of up to so many tokens run at most so many at a time."""

    context: Count
    max_seqs: Count


class Batching(Spec):
    """The batching policy of a pool and its limits per iteration.

    `max_seqs_by_context`: of a machine that runs graphs compiled for a context length and a batch
    size, its largest batch by context, ascending. The longest prompt of a batch decides, and what
    is longer than the last is refused.
    """

    policy: str = "continuous"
    max_seqs: Count = 256
    max_iteration_tokens: Count = 8192
    max_seqs_by_context: tuple[ContextLimit, ...] = ()

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
    """Speculative decoding: `draft_tokens` are drafted, each accepted with `acceptance`.

    `draft_cost` is the time of the drafting as a fraction of an iteration.
    """

    draft_tokens: Count
    acceptance: Fraction
    draft_cost: PlainNumber


class Pool(Spec):
    """Identical replicas of the model; one replica spans tp x ep x pp chips.

    Attention runs tensor-parallel over `tp` chips and data-parallel over `ep` groups of them;
    experts are spread over all tp x ep; layers over `pp` stages. A group of tp chips stands within
    the chip's scale-up domain; groups and stages may go beyond, over scale-out. `model` is what it
    serves (None: the scenario's model). Weights and KV share `memory_utilization` of the memory;
    weights that do not fit beside `kv_reserve` of it go to the next tier, if there is one.
    `kv_tokens` replaces the computed KV capacity of a replica (studies of caches);
    `prefix_cache_tokens` limits what the prefix cache keeps (0: no prefix cache).
    """

    role: Literal["mixed", "prefill", "decode"] = "mixed"
    chip: Chip
    model: Model | None = None
    tp: Count = 1
    ep: Count = 1
    pp: Count = 1
    replicas: Count = 1
    stack: str | None = None
    batching: Batching = Batching()
    memory_utilization: Fraction = 0.92
    kv_reserve: Fraction = 0.1
    kv_tokens: Count | None = None
    block_tokens: Count = 16
    prefix_cache_tokens: Whole | None = None
    spill: bool = True
    kv_dtype: KvFormat | None = None
    speculation: Speculation | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Pool":
        if self.stack is not None and self.stack not in self.chip.stacks:
            known = ", ".join(self.chip.stacks)
            raise ValueError(f"stack {self.stack!r} is not one of {self.chip.name}'s: {known}")
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

    @property
    def serving_stack(self) -> Stack:
        """The stack that it is served with: its own choice, else the chip's default."""
        return self.chip.stacks[self.stack or self.chip.default_stack]

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
    to: str
    bandwidth: Annotated[PlainBytesPerS, Field(gt=0)]
    lanes: Count = 1
    latency: PlainSeconds = 0.0
    setup: PlainSeconds = 0.0
    efficiency: Fraction
    ramp: PlainBytes = 0.0
    source: str = ""


class KvHandoff(Spec):
    """What travels from prefill to decode, and when.

    `first_token_from`: whose token the client sees first. `decode`: it comes after the handoff, as
    in vLLM (whose router drops the token of prefill), SGLang and TensorRT-LLM (whose decode side
    streams it); published runs are played so. `prefill`: a server that streams prefill's own token
    at once, and the others from decode.
    `conversion_bandwidth`: rate at which KV is converted, where two pools keep it in different
    formats; it has no default, for nobody publishes one.
    """

    layerwise: bool = True
    transfer: Literal["delta", "full"] = "delta"
    return_kv: bool = False
    first_token_from: Literal["prefill", "decode"] = "decode"
    conversion_bandwidth: Annotated[PlainBytesPerS, Field(gt=0)] | None = None


class Router(Spec):
    """Which replica gets a request; policies are the functions in `gcsim.engine.router`."""

    policy: str = "prefix_affinity"
    prefill_locally_below: Whole = 0


class Deployment(Spec):
    """Everything that serves: pools, links, KV handoff, router."""

    name: str
    description: str = ""
    source: str = ""
    pools: dict[str, Pool] = Field(min_length=1)
    links: tuple[Link, ...] = ()
    kv_handoff: KvHandoff = KvHandoff()
    router: Router = Router()

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
