"""How large a model is: parameters, bytes of weights, bytes of KV per token.

The one home of these figures: time, memory and capacity all count with these functions, and
`tests/truth/test_parameter_counts.py` holds them to the published sizes of every shipped model.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gcsim.machine.layers import layers_of
from gcsim.profiles.model import FORMAT_BYTES, KvFormat, Model, WeightFormat, Weights

KV_BYTES = {"bf16": 2, "fp8": 1}  # per element of the KV cache

Embedding = Literal["embedding", "head"]
BOTH: tuple[Embedding, ...] = ("embedding", "head")


@dataclass(frozen=True, slots=True)
class Counts:
    """Parameters of a whole model, part by part.

    With tied embeddings the one matrix is counted as the head, because every token multiplies by
    it, and `embedding` is 0; so the parts always add up to `total`.
    """

    attention: int  # projections of all mixers, with biases
    ffn: int  # dense FFNs and shared experts
    router: int
    experts: int  # all routed experts
    active_experts: int  # those that one token uses
    norms: int
    embedding: int  # the input table, 0 if tied to the head
    head: int  # the matrix from hidden states to logits
    tied: bool

    @property
    def total(self) -> int:
        """All stored parameters: the sum of the parts."""
        return self._layers + self.experts + self.embedding + self.head

    def active(self, include: Collection[Embedding] = BOTH) -> int:
        """Parameters that one token uses: `total` with k of the E experts.

        Publishers differ in whether the input table and the output head count: `include` says.
        The table is a lookup of one row, so leaving it out is nearer to the work done.
        """
        vocabulary = self.head * (len({*include} & {*BOTH}) if not self.tied else bool(include))
        return self._layers + self.active_experts + vocabulary

    @property
    def _layers(self) -> int:
        return self.attention + self.ffn + self.router + self.norms


def count(model: Model) -> Counts:
    """Count the parameters of a model: sums over its layers (`gcsim.machine.layers`).

    norms: 2 d per layer + d; per-head norms and attention sinks are left out (below 0.01%).

    >>> from gcsim.profiles.resolve import load_model
    >>> f"{count(load_model('llama-3.1-8b')).total:,}"
    '8,030,261,248'
    """
    layers, hidden = layers_of(model), model.hidden
    return Counts(
        attention=layers.total(lambda s: s.attention_params),
        ffn=layers.total(lambda s: s.ffn_params),
        router=layers.total(lambda s: s.router_params),
        experts=layers.total(lambda s: s.experts * s.expert_params),
        active_experts=layers.total(lambda s: s.experts_per_token * s.expert_params),
        norms=2 * hidden * layers.count + hidden,
        embedding=0 if model.tied_embeddings else model.vocab * hidden,
        head=model.vocab * hidden,
        tied=model.tied_embeddings,
    )


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

    >>> from gcsim.profiles.resolve import load_model
    >>> model = load_model("llama-3.1-8b")
    >>> formats(model).ffn, formats(model, "fp8").ffn, formats(model, "fp8").embedding
    ('bf16', 'fp8', 'bf16')
    """
    if dtype is None:
        return model.weights
    replaced = {"attention": dtype, "ffn": dtype, "experts": dtype}
    return model.weights.model_copy(update=replaced)


def weight_bytes(model: Model, dtype: WeightFormat | None = None) -> WeightBytes:
    """Bytes of the weights: parameters x `FORMAT_BYTES` of each part's format (see `formats`).

    >>> from gcsim.profiles.resolve import load_model
    >>> llama_8b = load_model("llama-3.1-8b")
    >>> weight_bytes(llama_8b).total / 1e9, weight_bytes(llama_8b, "fp8").total / 1e9
    (16.060522496, 9.08120064)
    """
    counts, own = count(model), formats(model, dtype)
    sixteen_bit = FORMAT_BYTES["bf16"]
    return WeightBytes(
        attention=counts.attention * FORMAT_BYTES[own.attention],
        ffn=counts.ffn * FORMAT_BYTES[own.ffn],
        experts=counts.experts * FORMAT_BYTES[own.experts],
        router=counts.router * sixteen_bit,
        norms=counts.norms * sixteen_bit,
        embedding=counts.embedding * FORMAT_BYTES[own.embedding],
        head=counts.head * FORMAT_BYTES[own.embedding],
    )


class KvBytes(NamedTuple):
    """Bytes of KV cache that one token adds, summed over layers, one copy."""

    full: int  # in layers that see the whole context
    window: int  # in sliding-window layers, held for the last `window` tokens only


def kv_bytes_per_token(model: Model, kv_dtype: KvFormat | None = None) -> KvBytes:
    """KV cache per token and replica (`Sublayer.kept_bytes`), its index included, no padding.

    `kv_dtype` replaces the model's own format.

    >>> from gcsim.profiles.resolve import load_model
    >>> kv_bytes_per_token(load_model("gpt-oss-120b"))
    KvBytes(full=36864, window=36864)
    """
    layers, element = layers_of(model), KV_BYTES[kv_dtype or model.kv]
    full = layers.total(lambda s: 0 if s.window else s.kept_bytes(element))
    return KvBytes(full, layers.total(lambda s: s.kept_bytes(element)) - full)
