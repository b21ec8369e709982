"""How large a model is: parameters, bytes of weights, bytes of KV per token.

The one home of these figures: time, memory and capacity all count with these functions, and
`tests/truth/test_parameter_counts.py` holds them to the published sizes of every shipped model.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gcsim.profiles.model import FORMAT_BYTES, KvFormat, Model, WeightFormat, Weights

KV_BYTES = {"bf16": 2, "fp8": 1}  # per element of the KV cache

Embedding = Literal["embedding", "head"]
BOTH: tuple[Embedding, ...] = ("embedding", "head")


@dataclass(frozen=True, slots=True)
class Counts:
    """Parameters of a model, part by part; each field says of how much it is the count.

    With tied embeddings the one matrix is counted as the head, because every token multiplies by
    it, and `embedding_params` is 0; so the parts always add up to `total`.
    """

    layers: int
    dense_layers: int
    moe_layers: int
    experts: int  # per MoE layer
    experts_per_token: int
    attention_params: int  # per layer: Q, K, V and O projections, with biases
    dense_ffn_params: int  # per dense layer
    expert_params: int  # per routed expert
    shared_params: int  # per MoE layer: all its shared experts
    router_params: int  # per MoE layer
    norms_params: int  # whole model
    embedding_params: int  # whole model: the input table, 0 if tied to the head
    head_params: int  # whole model: the matrix from hidden states to logits
    tied: bool

    @property
    def total(self) -> int:
        """All stored parameters.

        total = L*attention + L_dense*ffn + L_moe*(E*expert + shared + router)
        + norms + embedding + head
        """
        return self._layers(self.experts) + self.embedding_params + self.head_params

    def active(self, include: Collection[Embedding] = BOTH) -> int:
        """Parameters that one token uses: `total` with k of the E experts.

        Publishers differ in whether the input table and the output head count: `include` says.
        The table is a lookup of one row, so leaving it out is nearer to the work done.
        """
        matrix = self.head_params
        vocabulary = matrix * (len({*include} & {*BOTH}) if not self.tied else bool(include))
        return self._layers(self.experts_per_token) + vocabulary

    def _layers(self, experts: int) -> int:
        moe = experts * self.expert_params + self.shared_params + self.router_params
        return (
            self.layers * self.attention_params
            + self.dense_layers * self.dense_ffn_params
            + self.moe_layers * moe
            + self.norms_params
        )


def count(model: Model) -> Counts:
    """Count the parameters of a model from its shape.

    With d = hidden, q and g = query and KV heads, h = head dimension, E experts of width f:

    - GQA attention: d*q*h (Q) + 2*d*g*h (K, V) + q*h*d (O), and a bias of each output if `bias`
    - MLA attention: d*r_q + r_q*q*(n + r) (Q; d*q*(n + r) without q_lora), d*(r_kv + r) and
      r_kv*q*(n + v) (K, V), q*v*d (O); n, r, v = nope, rope and value dimensions per head
    - FFN of width f: 3*d*f if gated (SwiGLU), else 2*d*f
    - MoE layer: E experts, the shared ones, and a router d*E
    - norms: 2*d per layer + d; per-head norms and attention sinks are left out (below 0.01%)

    A layer without experts has `d_ff`, or `dense_d_ff` among the leading dense layers of an MoE.

    >>> from gcsim.profiles.model import Attention, FeedForward, Model
    >>> llama_8b = Model(
    ...     name="llama-3.1-8b",
    ...     layers=32,
    ...     hidden=4096,
    ...     vocab=128256,
    ...     context_window=131072,
    ...     attention=Attention(kind="gqa", q_heads=32, kv_heads=8, head_dim=128),
    ...     ffn=FeedForward(d_ff=14336),
    ... )
    >>> f"{count(llama_8b).total:,}"
    '8,030,261,248'
    """
    ffn, hidden = model.ffn, model.hidden
    dense_layers = ffn.dense_layers if ffn.experts else model.layers
    shared_width = ffn.shared_experts * (ffn.shared_d_ff or ffn.d_ff)
    router = hidden * ffn.experts + (ffn.experts if ffn.bias else 0)
    return Counts(
        layers=model.layers,
        dense_layers=dense_layers,
        moe_layers=model.layers - dense_layers,
        experts=ffn.experts,
        experts_per_token=ffn.experts_per_token,
        attention_params=_attention(model),
        dense_ffn_params=_ffn(model, ffn.dense_d_ff or ffn.d_ff) if dense_layers else 0,
        expert_params=_ffn(model, ffn.d_ff) if ffn.experts else 0,
        shared_params=_ffn(model, shared_width) if shared_width else 0,
        router_params=router,
        norms_params=2 * hidden * model.layers + hidden,
        embedding_params=0 if model.tied_embeddings else model.vocab * hidden,
        head_params=model.vocab * hidden,
        tied=model.tied_embeddings,
    )


def _attention(model: Model) -> int:
    attention, hidden = model.attention, model.hidden
    heads = attention.q_heads
    if attention.kind == "gqa":
        q, kv = heads * attention.head_dim, attention.kv_heads * attention.head_dim
        bias = q + 2 * kv + hidden if attention.bias else 0
        return hidden * (q + 2 * kv) + q * hidden + bias
    q = heads * (attention.nope_dim + attention.rope_dim)
    down = hidden * attention.q_lora + attention.q_lora * q if attention.q_lora else hidden * q
    kv_down = hidden * (attention.kv_lora + attention.rope_dim)
    kv_up = attention.kv_lora * heads * (attention.nope_dim + attention.v_dim)
    return down + kv_down + kv_up + heads * attention.v_dim * hidden


def _ffn(model: Model, width: int) -> int:
    into = 2 if model.ffn.gated else 1
    bias = into * width + model.hidden if model.ffn.bias else 0
    return (into + 1) * model.hidden * width + bias


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Bytes of all weights of a model by component; with tied embeddings the table is in `head`."""

    attention: float
    ffn: float  # dense FFNs and shared experts
    experts: float
    router: float
    norms: float
    embedding: float
    head: float

    @property
    def total(self) -> float:
        """The sum: what the memory of one replica has to hold."""
        layers = self.attention + self.ffn + self.experts + self.router + self.norms
        return layers + self.embedding + self.head


def formats(model: Model, dtype: WeightFormat | None = None) -> Weights:
    """Number format of each part: the model's own, or `dtype` for attention, FFN and experts.

    Quantized checkpoints keep embeddings, head, router and norms in 16 bits; so does `dtype`.

    >>> from gcsim.profiles.model import Attention, FeedForward, Model
    >>> model = Model(
    ...     name="m",
    ...     layers=1,
    ...     hidden=64,
    ...     vocab=9,
    ...     context_window=9,
    ...     ffn=FeedForward(d_ff=64),
    ...     attention=Attention(kind="gqa", q_heads=1, head_dim=64),
    ... )
    >>> formats(model).ffn, formats(model, "fp8").ffn, formats(model, "fp8").embedding
    ('bf16', 'fp8', 'bf16')
    """
    if dtype is None:
        return model.weights
    replaced = {"attention": dtype, "ffn": dtype, "experts": dtype}
    return model.weights.model_copy(update=replaced)


def weight_bytes(model: Model, dtype: WeightFormat | None = None) -> WeightBytes:
    """Bytes of the weights: parameters x `FORMAT_BYTES` of each part's format (see `formats`).

    >>> from gcsim.profiles.model import Attention, FeedForward, Model
    >>> llama_8b = Model(
    ...     name="llama-3.1-8b",
    ...     layers=32,
    ...     hidden=4096,
    ...     vocab=128256,
    ...     context_window=131072,
    ...     attention=Attention(kind="gqa", q_heads=32, kv_heads=8, head_dim=128),
    ...     ffn=FeedForward(d_ff=14336),
    ... )
    >>> weight_bytes(llama_8b).total / 1e9, weight_bytes(llama_8b, "fp8").total / 1e9
    (16.060522496, 9.08120064)
    """
    counts, own = count(model), formats(model, dtype)
    ffn = counts.dense_layers * counts.dense_ffn_params + counts.moe_layers * counts.shared_params
    experts = counts.moe_layers * counts.experts * counts.expert_params
    sixteen_bit = FORMAT_BYTES["bf16"]
    return WeightBytes(
        attention=counts.layers * counts.attention_params * FORMAT_BYTES[own.attention],
        ffn=ffn * FORMAT_BYTES[own.ffn],
        experts=experts * FORMAT_BYTES[own.experts],
        router=counts.moe_layers * counts.router_params * sixteen_bit,
        norms=counts.norms_params * sixteen_bit,
        embedding=counts.embedding_params * FORMAT_BYTES[own.embedding],
        head=counts.head_params * FORMAT_BYTES[own.embedding],
    )


class KvBytes(NamedTuple):
    """Bytes of KV cache that one token adds, summed over the layers of each attention kind."""

    full: int  # in layers that see the whole context
    window: int  # in sliding-window layers, held for the last `window` tokens only


def kv_bytes_per_token(model: Model, kv_dtype: KvFormat | None = None) -> KvBytes:
    """KV cache per token and replica, one copy, no padding.

    GQA: 2 * kv_heads * head_dim * bytes per layer (K and V); MLA: (kv_lora + rope_dim) * bytes
    per layer (the latent and the shared rotary key). `kv_dtype` replaces the model's own format.

    >>> from gcsim.profiles.model import Attention, FeedForward, Model
    >>> model = Model(
    ...     name="m",
    ...     layers=36,
    ...     hidden=2880,
    ...     vocab=201088,
    ...     context_window=131072,
    ...     attention=Attention(
    ...         kind="gqa", q_heads=64, kv_heads=8, head_dim=64, window=128, window_layers=18
    ...     ),
    ...     ffn=FeedForward(d_ff=2880, experts=128, experts_per_token=4),
    ... )
    >>> kv_bytes_per_token(model)
    KvBytes(full=36864, window=36864)
    """
    attention = model.attention
    if attention.kind == "gqa":
        elements = 2 * attention.kv_heads * attention.head_dim
    else:
        elements = attention.kv_lora + attention.rope_dim
    per_layer = elements * KV_BYTES[kv_dtype or model.kv]
    windowed = attention.window_layers
    return KvBytes(per_layer * (model.layers - windowed), per_layer * windowed)
