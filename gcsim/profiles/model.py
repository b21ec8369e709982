"""A model profile: the shape of a transformer and the number formats of its weights."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from gcsim.profiles.base import Kind as Origin
from gcsim.profiles.base import Length, Name, Number, PlainNumber, Spec, Whole, Width

WeightFormat = Literal["fp32", "bf16", "fp8", "int8", "mxfp4", "nvfp4", "int4"]
Positive = Annotated[Width, Field(ge=1)]
Layers = Annotated[int, Field(ge=1, le=10_000, strict=True)]
KvFormat = Literal["bf16", "fp8"]

# Bytes per weight with its scales: 1 per 32 weights (mxfp4), 1 per 16 (nvfp4), 2 per 64 (int4).
FORMAT_BYTES = {
    "fp32": 4.0,
    "bf16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "mxfp4": 0.53125,
    "nvfp4": 0.5625,
    "int4": 0.53125,
}


class Attention(Spec):
    """Attention of a model: a kind of `gcsim.machine.kinds.MIXERS` and the settings it has.

    `window_layers` of the layers see only the last `window` tokens; the others see all.
    """

    kind: str
    """Which mixer of `gcsim.machine.layers`: gqa, mla, ..."""
    q_heads: Positive
    """Query heads."""
    kv_heads: Positive = 1
    """Key and value heads; 1 is multi-query."""
    head_dim: Positive = 128
    """Width of a head."""
    bias: bool = False
    """Whether its projections have biases."""
    window: Whole = 0
    """Tokens that a sliding layer sees; 0: all."""
    window_layers: Whole = 0
    """How many of the layers slide."""
    q_lora: Width = 0
    """mla: width that queries are compressed to; 0: they are not."""
    kv_lora: Width = 0
    """mla: width of the cached latent."""
    rope_dim: Width = 0
    """mla: width of the part of a key that has a position."""
    nope_dim: Width = 0
    """mla: width of the part that has none."""
    v_dim: Width = 0
    """mla: width of a value."""

    @model_validator(mode="after")
    def _consistent(self) -> "Attention":
        latent = (self.kv_lora, self.nope_dim, self.v_dim)
        if any(latent) and not all(latent):
            raise ValueError("mla needs kv_lora, rope_dim, nope_dim and v_dim")
        if self.q_heads % self.kv_heads:
            raise ValueError(f"q_heads {self.q_heads} is no multiple of kv_heads {self.kv_heads}")
        if bool(self.window) != bool(self.window_layers):
            raise ValueError("window and window_layers go together")
        return self


class FeedForward(Spec):
    """The FFN of one model: `dense_layers` dense layers first, the rest mixture-of-experts.

    With `experts: 0` all layers are dense. `gated` (SwiGLU) has three matrices, plain two.
    """

    d_ff: Positive
    """Width of the FFN, or of one expert."""
    gated: bool = True
    """SwiGLU, of three matrices; else two."""
    bias: bool = False
    """Whether its matrices have biases."""
    experts: Width = 0
    """Routed experts of a layer; 0: dense."""
    experts_per_token: Width = 0
    """Experts that a token goes through."""
    shared_experts: Width = 0
    """Experts that every token goes through besides."""
    shared_d_ff: Width = 0
    """Width of a shared expert; that of the others where 0."""
    dense_layers: Whole = 0
    """Layers before the first with experts."""
    dense_d_ff: Width = 0
    """Width of the FFN of those."""

    @model_validator(mode="after")
    def _consistent(self) -> "FeedForward":
        if self.experts and not 1 <= self.experts_per_token <= self.experts:
            raise ValueError("experts_per_token must be between 1 and experts")
        if not self.experts and (self.experts_per_token or self.shared_experts):
            raise ValueError("experts_per_token and shared_experts need experts")
        if self.dense_layers and not self.dense_d_ff:
            raise ValueError("dense_layers needs dense_d_ff")
        return self


class Kind(Spec):
    """A mixer or an FFN: the name of a function of `gcsim.machine.kinds`, and its settings."""

    model_config = ConfigDict(extra="allow")

    kind: str
    """The name of a function of `gcsim.machine.kinds`; its settings stand beside."""


class LayerRun(Spec):
    """So many layers of one make; a layer without `ffn` is a mixer alone."""

    repeat: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 1
    """How many layers of this make."""
    mixer: Kind
    """Its attention, or what stands for it."""
    ffn: Kind | None = None
    """Its FFN; none: a mixer alone."""


class Weights(Spec):
    """Native number format of each part, and of the arithmetic on expert weights."""

    attention: WeightFormat = "bf16"
    """Of attention."""
    ffn: WeightFormat = "bf16"
    """Of dense FFNs and shared experts."""
    experts: WeightFormat = "bf16"
    """Of routed experts."""
    embedding: WeightFormat = "bf16"
    """Of the embedding and the output head."""
    expert_math: Literal["native", "fp8", "bf16"] = "native"
    """What experts are computed in; native: the format of their weights."""


class Accepted(Spec):
    """Tokens that a verification step yields, its own included, by drafted tokens from 1 on."""

    domain: str
    """Of the text it was measured on."""
    tokens_per_step: tuple[Annotated[PlainNumber, Field(ge=1, le=1001)], ...]
    """For one drafted token, for two, and so on."""
    kind: Origin
    """Where it is from: measured, paper, ..."""
    source: Annotated[str, Field(min_length=1)]
    """Who published it."""

    @model_validator(mode="after")
    def _possible(self) -> "Accepted":
        for drafted, tokens in enumerate(self.tokens_per_step, 1):
            if tokens > drafted + 1:
                raise ValueError(f"{drafted} drafted tokens cannot yield {tokens:g} per step")
        if not self.tokens_per_step:
            raise ValueError("tokens_per_step is empty")
        return self


class Drafter(Spec):
    """What guesses tokens for a model to verify: its own layers, of the model's width.

    `vocab: 0` uses the output head of the model; another number is a head of its own. It keeps KV
    as the model does.
    """

    name: Name
    """What `speculation.drafter` calls it."""
    method: str
    """How it drafts: multi-token prediction, EAGLE-3, ..."""
    layers: tuple[LayerRun, ...] = Field(min_length=1)
    """Runs of its own layers, as those of a model."""
    vocab: Width = 0
    """Of its own output head; 0: it uses the model's."""
    weights: Weights = Weights()
    """Number formats of its weights."""
    accepted: tuple[Accepted, ...] = Field(min_length=1)
    """What is published of its acceptance, by domain."""
    note: str = ""
    """What is assumed of it."""

    def tokens_per_step(self, draft_tokens: int, domain: str) -> float:
        """What is published of a draft length, of a domain or (without) the first one.

        Errors: `ValueError` with what there is.
        """
        known = ", ".join(each.domain for each in self.accepted)
        found = next((each for each in self.accepted if domain in ("", each.domain)), None)
        if found is None:
            raise ValueError(f"no acceptance in domain {domain!r}, only in {known}")
        if draft_tokens > len(found.tokens_per_step):
            most = len(found.tokens_per_step)
            raise ValueError(f"acceptance is published for 1 to {most} draft tokens")
        return found.tokens_per_step[draft_tokens - 1]


class Published(Spec):
    """Published parameter counts, and which embeddings the active count includes."""

    total: Number
    """Parameters in all."""
    active: Number
    """Parameters that a token goes through."""
    active_includes: tuple[Literal["embedding", "head"], ...] = ("embedding", "head")
    """Which embeddings the active count has in it."""


def _flat(runs: Any, times: int = 1) -> list[Any]:
    """Runs with patterns written out: each of a pattern's runs as often as the pattern repeats."""
    found: list[Any] = []
    for run in runs:
        if not isinstance(run, dict) or not isinstance(repeat := run.get("repeat", 1), int):
            found.append(run)
        elif isinstance(run.get("layers"), list | tuple) and not run.keys() - {"repeat", "layers"}:
            found += _flat(run["layers"], times * repeat)
        else:
            found.append({**run, "repeat": times * repeat} if times > 1 else run)
    return found


class Model(Spec):
    """One model; what its layers are follows in `gcsim.machine.layers`.

    In short, `attention` and `ffn` say what the `layers` are; or `layers` lists runs of them, each
    `{repeat, mixer: {kind, ...}, ffn: {kind, ...}}`, or a pattern of runs that repeats,
    `{repeat, layers: [...]}` (read as `runs`).
    """

    name: Name
    """What it is called; its file is named so too."""
    aliases: tuple[str, ...] = ()
    """Other names that find it."""
    description: str = ""
    """One sentence, for lists."""
    source: str = ""
    """Where the shape comes from."""
    layers: Layers
    """How many, or a list of runs of them: {repeat, mixer, ffn}."""
    hidden: Positive
    """Width of the residual stream."""
    vocab: Positive
    """Tokens of the vocabulary."""
    context_window: Length
    """The most tokens of prompt and answer."""
    tied_embeddings: bool = False
    """Whether embedding and output head are one matrix."""
    attention: Attention | None = None
    """Of all layers, where these are alike."""
    ffn: FeedForward | None = None
    """Of all layers, where these are alike."""
    runs: tuple[LayerRun, ...] | None = None
    """What a list in `layers` is read as."""
    weights: Weights = Weights()
    """Number formats as published."""
    kv: KvFormat = "bf16"
    """Number format of the KV cache."""
    published: Published | None = None
    """Parameter counts to check against."""
    drafters: tuple[Drafter, ...] = ()
    """What may guess tokens for it: names for `speculation` of a pool."""
    notes: tuple[str, ...] = ()
    """What sources leave out."""

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, raw: Any) -> Any:
        """`layers` as a list becomes `runs` and their number."""
        if not isinstance(raw, dict) or not isinstance(raw.get("layers"), list | tuple):
            return raw
        runs = _flat(raw["layers"])
        repeats = [run.get("repeat", 1) if isinstance(run, dict) else 1 for run in runs]
        return {**raw, "runs": runs, "layers": sum(r for r in repeats if isinstance(r, int))}

    @model_validator(mode="after")
    def _consistent(self) -> "Model":
        if self.runs:
            if self.attention or self.ffn:
                raise ValueError("layers lists runs: attention and ffn belong into each run")
            if sum(run.repeat for run in self.runs) != self.layers:
                raise ValueError("layers is not the sum of what its runs repeat")
            return self
        if self.attention is None or self.ffn is None:
            raise ValueError("attention and ffn are missing, or a list of runs in layers")
        if self.attention.window_layers > self.layers:
            raise ValueError("attention.window_layers is more than layers")
        if self.ffn.dense_layers > self.layers:
            raise ValueError("ffn.dense_layers is more than layers")
        return self
