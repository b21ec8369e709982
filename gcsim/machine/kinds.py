"""What a layer is: one function per kind of mixer and per kind of FFN, in a dict.

A layer is a mixer (attention, or whatever mixes tokens) and an FFN. A function takes the width of
the model and the settings of its kind, and returns a `Sublayer`: parameters, KV, state, FLOPs. All
else (counts, placement, the rows of a machine) sums over these and asks for no kind by name, so a
new kind is one function and one line here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

OVERLAP_BELOW = 128  # entries of `compressed` that stand for fewer tokens overlap by half


@dataclass(frozen=True, slots=True)
class Sublayer:
    """One mixer or one FFN of a model.

    attention_params: of a mixer's projections; ffn_params: of what each token uses (a dense FFN,
    shared experts); expert_params: of each of `experts`, `expert_width` wide, of which a token uses
    `experts_per_token`;
    moved: activations of a token that are read and written, in widths of the model;
    kv_elements: KV cache of a token, kept for the last `window` tokens (0: for all; below 0: for
    those of its chunk of -window);
    selected: how many tokens of all that are kept a query attends to (0: to all), chosen by an
    index, of which a token has `index_bytes`;
    heads: over how many chips KV and state may be split;
    state_bytes: of a sequence, however long, read and written in every iteration;
    flops_per_token: of the core, beside 2 per parameter; *_flops_per_pair: of a (query, key) pair,
    index_flops_per_pair: to rank one;
    expand_flops_per_token: to make keys and values of a cached latent, which prefill needs;
    latent: compresses and expands its projections, which takes more kernels (`mla_kernels`).
    """

    attention_params: int = 0
    ffn_params: int = 0
    router_params: int = 0
    expert_params: int = 0
    experts: int = 0
    expert_width: int = 0
    experts_per_token: int = 0
    moved: int = 0
    kv_elements: int = 0
    window: int = 0
    selected: int = 0
    index_bytes: int = 0
    index_flops_per_pair: float = 0.0
    heads: int = 1
    state_bytes: int = 0
    flops_per_token: float = 0.0
    decode_flops_per_pair: float = 0.0
    prefill_flops_per_pair: float = 0.0
    expand_flops_per_token: float = 0.0
    latent: bool = False

    def kept_bytes(self, element: int) -> int:
        """What a token leaves in the cache, KV of `element` bytes a number and its index [B]."""
        return self.kv_elements * element + self.index_bytes


def gqa(
    hidden: int,
    *,
    q_heads: int,
    kv_heads: int = 1,
    head_dim: int = 128,
    bias: bool = False,
    window: int = 0,
    output_gate: bool = False,
    shared_kv: bool = False,
) -> Sublayer:
    """Grouped-query attention: d hidden, q and g query and KV heads of size h.

    params = d q h + 2 d g h + q h d (Q; K, V; O), and a bias of each output; output_gate: another
    d q h, which gates the heads; shared_kv: keys are values, d g h for both
    kv = 2 g h (g h if shared); pair = 4 q h (scores and values)

    >>> gqa(4096, q_heads=32, kv_heads=8).attention_params
    41943040
    """
    if not kv_heads or q_heads % kv_heads:
        raise ValueError(f"q_heads {q_heads} is no multiple of kv_heads {kv_heads}")
    q, kv = q_heads * head_dim, kv_heads * head_dim * (1 if shared_kv else 2)
    into = q * (2 if output_gate else 1) + kv
    pair = 4.0 * q_heads * head_dim
    return Sublayer(
        attention_params=hidden * into + q * hidden + (into + hidden) * bias,
        moved=4,
        kv_elements=kv,
        window=window,
        heads=kv_heads,
        decode_flops_per_pair=pair,
        prefill_flops_per_pair=pair,
    )


def mla(
    hidden: int,
    *,
    q_heads: int,
    kv_lora: int,
    rope_dim: int,
    nope_dim: int,
    v_dim: int,
    q_lora: int = 0,
    window: int = 0,
) -> Sublayer:
    """Latent attention: d hidden, q heads, latents of r_q and r, sizes n, p, v per head.

    params = d r_q + r_q q (n + p) (Q; d q (n + p) without r_q) + d (r + p) + r q (n + v) + q v d
    kv = r + p, one copy per chip
    pair = 2 q (2 r + p) in decode, absorbed; 2 q (n + p + v) in prefill, expanded

    >>> mla(
    ...     7168, q_heads=128, q_lora=1536, kv_lora=512, rope_dim=64, nope_dim=128, v_dim=128
    ... ).kv_elements
    576
    """
    if not (kv_lora and nope_dim and v_dim):
        raise ValueError("mla needs kv_lora, rope_dim, nope_dim and v_dim")
    q = q_heads * (nope_dim + rope_dim)
    down = hidden * q_lora + q_lora * q if q_lora else hidden * q
    kv_up = kv_lora * q_heads * (nope_dim + v_dim)
    return Sublayer(
        attention_params=down + hidden * (kv_lora + rope_dim) + kv_up + q_heads * v_dim * hidden,
        moved=4,
        kv_elements=kv_lora + rope_dim,
        window=window,
        decode_flops_per_pair=2.0 * q_heads * (2 * kv_lora + rope_dim),
        prefill_flops_per_pair=2.0 * q_heads * (nope_dim + rope_dim + v_dim),
        expand_flops_per_token=2.0 * kv_up,
        latent=True,
    )


def chunked(
    hidden: int,
    *,
    q_heads: int,
    kv_heads: int = 1,
    head_dim: int = 128,
    bias: bool = False,
    chunk: int,
) -> Sublayer:
    """Grouped-query attention within chunks of C tokens: the token at p sees p mod C + 1 of them.

    As `gqa`; KV is kept of the chunk under way. Ref: Llama 4 model code (Meta, 2025).

    >>> chunked(5120, q_heads=40, kv_heads=8, chunk=8192).window
    -8192
    """
    if not chunk:
        raise ValueError("chunk must be 1 or more")
    plain = gqa(hidden, q_heads=q_heads, kv_heads=kv_heads, head_dim=head_dim, bias=bias)
    return replace(plain, window=-chunk)


def compressed(
    hidden: int,
    *,
    q_heads: int,
    head_dim: int,
    q_lora: int,
    o_groups: int,
    o_lora: int,
    ratio: int,
    window: int,
) -> Sublayer:
    """Attention to one entry of h numbers, key and value of all q heads, for every `ratio` tokens.

    params = d r + r q h (Q, by a latent of r) + q h o + g o d (O, by latents of o in g groups)
             + d h (the `window`) + 2 d h (2 if ratio < 128, whose entries overlap) (compression)
    kv = h / ratio; pair = 4 q h / ratio; beside it the last `window` tokens uncompressed: so few
    that they are a state of window x h 16-bit numbers, and 4 q h window FLOPs of every token.
    Ref: DeepSeek-V4 report, arXiv 2606.19348, and the model code beside the weights.

    >>> compressed(
    ...     7168,
    ...     q_heads=128,
    ...     head_dim=512,
    ...     q_lora=1536,
    ...     o_groups=16,
    ...     o_lora=1024,
    ...     ratio=4,
    ...     window=128,
    ... ).kv_elements
    128
    """
    if not ratio or head_dim % ratio:
        raise ValueError(f"head_dim {head_dim} is no multiple of ratio {ratio}")
    q, pair = q_heads * head_dim, 4.0 * q_heads * head_dim
    packing = 2 * hidden * head_dim * (2 if ratio < OVERLAP_BELOW else 1)
    out = q * o_lora + o_groups * o_lora * hidden
    return Sublayer(
        attention_params=hidden * q_lora + q_lora * q + out + hidden * head_dim + packing,
        moved=4,
        kv_elements=head_dim // ratio,
        state_bytes=window * head_dim * 2,
        flops_per_token=pair * window,
        decode_flops_per_pair=pair / ratio,
        prefill_flops_per_pair=pair / ratio,
        latent=True,
    )


def sparse(
    hidden: int,
    *,
    of: Sublayer,
    top_k: int,
    index_heads: int = 0,
    index_dim: int = 128,
    index_lora: int = 0,
    index_block: int = 1,
    index_bytes: int = 0,
) -> Sublayer:
    """Attention (`of`: a mixer) to the `top_k` tokens that an index of all tokens finds.

    The index has i heads of e numbers, made of a latent of r (of d without), one key per token, and
    a weight per head: params = r i e + d e + d i. A token leaves `index_bytes` (e, as FP8); ranking
    a pair takes 2 i e, or that for every block of b tokens. A query of a prompt has a choice of its
    own, so its pairs cost what they cost in decode. index_heads 0: the choice of another layer.
    Ref: DeepSeek-V3.2 report (2025), section 2.1.

    >>> sparse(6144, of=gqa(6144, q_heads=64, kv_heads=4), top_k=2048, index_heads=4).index_bytes
    128
    """
    if not top_k or not index_block:
        raise ValueError("top_k and index_block must be 1 or more")
    if of.window or of.selected:
        raise ValueError("sparse goes with a mixer that sees all tokens")
    ranked = index_heads * index_dim
    params = (index_lora or hidden) * ranked + hidden * (index_dim + index_heads)
    return replace(
        of,
        attention_params=of.attention_params + (params if index_heads else 0),
        selected=top_k,
        index_bytes=(index_bytes or index_dim) if index_heads else 0,
        index_flops_per_pair=2.0 * ranked / index_block,
        prefill_flops_per_pair=of.decode_flops_per_pair,
        expand_flops_per_token=0.0,
    )


def linear(
    hidden: int,
    *,
    heads: int,
    key_dim: int,
    value_dim: int,
    key_heads: int = 0,
    conv: int = 4,
    gate_lora: int = 0,
) -> Sublayer:
    """A state of k x v numbers per head in place of KV: gated delta net, KDA, Mamba 2.

    With K = key_heads k and V = heads v:
    params = d (2 K + V) (Q, K, V; C, B, x of Mamba) + d V (the gate) + 2 d heads (decay, step)
             + V d (O) + conv (2 K + V)
    With gate_lora r, as KDA has it, the gate takes d r + r V, and the decay d r + r K.
    state = heads k v 4 B + (conv - 1) (2 K + V) 2 B; per token three products of the state with a
    vector, 6 heads k v FLOPs, and 2 conv (2 K + V).
    Ref: Yang et al., Gated Delta Networks, ICLR 2025; Kimi Linear, arXiv 2510.26692; Dao and Gu,
    Mamba 2, ICML 2024.

    >>> linear(4096, heads=64, key_heads=16, key_dim=128, value_dim=128).state_bytes
    4268032
    """
    keys, values = (key_heads or heads) * key_dim, heads * value_dim
    mixed = 2 * keys + values
    gates = hidden * values + 2 * hidden * heads
    if gate_lora:
        gates = 2 * hidden * gate_lora + gate_lora * (keys + values) + hidden * heads
    return Sublayer(
        attention_params=hidden * mixed + gates + values * hidden + conv * mixed,
        moved=4,
        heads=heads,
        state_bytes=heads * key_dim * value_dim * 4 + max(conv - 1, 0) * mixed * 2,
        flops_per_token=6.0 * heads * key_dim * value_dim + 2.0 * conv * mixed,
    )


def fused(hidden: int, *, of: Sublayer, inputs: int) -> Sublayer:
    """A mixer that is fed n hidden states at once, as drafters are: n d^2 parameters beside it.

    >>> fused(64, of=Sublayer(), inputs=2).attention_params
    8192
    """
    return replace(of, attention_params=of.attention_params + inputs * hidden * hidden)


def dense(hidden: int, *, d_ff: int, gated: bool = True, bias: bool = False) -> Sublayer:
    """A dense FFN of width f: 3 d f if gated (SwiGLU), else 2 d f, and a bias of each output.

    >>> dense(4096, d_ff=14336).ffn_params
    176160768
    """
    into = 2 if gated else 1
    params = (into + 1) * hidden * d_ff + (into * d_ff + hidden) * bias
    return Sublayer(ffn_params=params, moved=3)


def moe(
    hidden: int,
    *,
    d_ff: int,
    experts: int,
    experts_per_token: int,
    shared_experts: int = 0,
    shared_d_ff: int = 0,
    gated: bool = True,
    bias: bool = False,
) -> Sublayer:
    """A mixture of E experts of width f, k per token, shared ones, and a router d E.

    >>> moe(2880, d_ff=2880, experts=128, experts_per_token=4, bias=True).expert_params
    24891840
    """
    if not 1 <= experts_per_token <= experts:
        raise ValueError("experts_per_token must be between 1 and experts")
    shared = shared_experts * (shared_d_ff or d_ff)
    return Sublayer(
        ffn_params=dense(hidden, d_ff=shared, gated=gated, bias=bias).ffn_params if shared else 0,
        router_params=hidden * experts + experts * bias,
        expert_width=d_ff,
        expert_params=dense(hidden, d_ff=d_ff, gated=gated, bias=bias).ffn_params,
        experts=experts,
        experts_per_token=experts_per_token,
        moved=2 * (experts_per_token + 1),
    )


def latent_moe(
    hidden: int,
    *,
    latent: int,
    d_ff: int,
    experts: int,
    experts_per_token: int,
    shared_d_ff: int = 0,
    gated: bool = True,
) -> Sublayer:
    """A mixture whose experts work on a latent of l numbers: `moe`, with d = l for the experts.

    Beside them 2 d l down and up, the shared expert and the router on the whole width.

    >>> latent_moe(
    ...     4096, latent=1024, d_ff=2688, experts=512, experts_per_token=22, gated=False
    ... ).expert_params
    5505024
    """
    small = moe(
        latent, d_ff=d_ff, experts=experts, experts_per_token=experts_per_token, gated=gated
    )
    shared = dense(hidden, d_ff=shared_d_ff, gated=gated).ffn_params if shared_d_ff else 0
    return replace(
        small,
        ffn_params=2 * hidden * latent + shared,
        router_params=hidden * experts,
        moved=2 * (-(-experts_per_token * latent // hidden) + 1),
    )


MIXERS: dict[str, Callable[..., Sublayer]] = {
    "gqa": gqa,
    "mla": mla,
    "chunked": chunked,
    "compressed": compressed,
    "sparse": sparse,
    "linear": linear,
    "fused": fused,
}
FFNS: dict[str, Callable[..., Sublayer]] = {
    "dense": dense,
    "moe": moe,
    "latent_moe": latent_moe,
}
