"""Binds a model and a pool to a machine: all that the engine needs to know of both, once per run.

The operators of the model on the chips of one replica become the rows of C and M, the serving
stack's fixed times the row h, of `gcsim.machine.roofline`. The efficiencies are the chip's.
Equations: docs/cost-model.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

import numpy as np

from gcsim.machine import roofline
from gcsim.machine.counts import count, formats, kv_bytes_per_token, weight_bytes
from gcsim.machine.placement import Placement, kv_shards, place
from gcsim.machine.roofline import SUMS
from gcsim.profiles.chip import Chip, Stack, Tier
from gcsim.profiles.deployment import Pool
from gcsim.profiles.model import FORMAT_BYTES, Model, WeightFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

ACTIVATION_BYTES = 2.0  # activations and logits are 16 bit
Row = dict[str, float]  # by the names of `SUMS`: of one unit of each


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of an iteration, all layers together, on one chip of a group.

    compute, memory: seconds per unit of each sum of a batch (rows of C and M); reads: what the
    time of M counts as.
    """

    name: str
    compute: Row
    memory: Row
    reads: float = roofline.WEIGHTS


@dataclass(frozen=True, slots=True)
class Machine:
    """A model on one replica of a pool: what the engine needs to know of both.

    model, layers, context_window: of the model; operators: what an iteration computes and reads;
    table: operators, fixed times, work and collectives for the kernels of `gcsim.machine.roofline`;
    tokens_per_seq, accepted_ppm: tokens that a decode iteration verifies, and yields in millionths;
    window: of the sliding layers, 0 without;
    groups: of a replica (`ep`);
    kv_blocks, blocks_per_seq, spill_blocks: KV capacity of a group in blocks;
    reload_s_per_token: per lower tier; peak_flops_per_s, peak_bytes_per_s: of a replica;
    kv_bytes, window_kv_bytes: of one token, once, as it travels over a link; the overheads, and
    overlap_scheduling: of the serving stack.
    """

    model: str
    layers: int
    context_window: int
    operators: tuple[Operator, ...]
    table: "NDArray[np.float64]"
    placement: Placement
    tokens_per_seq: int
    accepted_ppm: int
    window: int
    groups: int
    kv_blocks: int
    blocks_per_seq: int
    spill_blocks: tuple[int, ...]
    reload_s_per_token: tuple[float, ...]
    reload_overlaps: bool
    request_overhead_s: float
    handoff_overhead_s: float
    overlap_scheduling: bool
    peak_flops_per_s: float
    peak_bytes_per_s: float
    kv_bytes: float
    window_kv_bytes: float
    weight_tiers: dict[str, float]
    expert_tiers: dict[str, float]
    kv_tier: str

    def reload_ns(self, tier: int, tokens: int) -> int:
        """Time to bring the KV of `tokens` tokens back from lower tier 1, 2, ... [ns]."""
        return round(tokens * self.reload_s_per_token[tier - 1] * 1e9)

    def prompt_ns(self, tokens: int) -> int:
        """Time to compute a lone prompt in one iteration [ns]."""
        new, seen = float(tokens), float(self.window)
        what = roofline.batch(
            prompt_tokens=new,
            prompts=1,
            logit_seqs=1,
            prefill_pairs=roofline.causal_pairs(new, 0.0),
            prefill_window_pairs=roofline.window_pairs(new, 0.0, seen) if seen else 0.0,
            prefill_kv=new,
            prefill_window_kv=new if seen else 0.0,
        )
        return int(roofline.iteration_ns(self.table, what))

    def handoff_bytes(self, tokens: int, prompt_tokens: int) -> float:
        """Bytes of KV of the last `tokens` of a prompt; sliding layers travel as windows [B]."""
        return tokens * self.kv_bytes + min(prompt_tokens, self.window) * self.window_kv_bytes


def math_flops_per_s(chip: Chip, weights: WeightFormat, wanted: str = "native") -> float:
    """Achievable rate of a matrix product on weights of a format, per chip [FLOP/s].

    Dense peak x efficiency of the format that computes (`Chip.arithmetic`).
    """
    fmt = chip.arithmetic(weights, wanted)
    return float(getattr(chip.compute, fmt).value * chip.efficiency.gemm(fmt))


def bind(model: Model, pool: Pool, dtype: WeightFormat | None = None) -> Machine:
    """Fold a model on one replica of a pool into a `Machine`; the seconds are per chip.

    Equations: docs/cost-model.md. tp chips share a sequence: its attention, KV, dense FFN, shared
    experts and head. ep such groups hold different sequences; the routed experts are spread over
    the tp x ep chips of all. pp stages share the layers. Batches, operators and KV capacity are of
    one group.
    """
    placement = place(model, pool, dtype)
    speculation = pool.speculation
    verified, accepted, drafting = 1, 1.0, 0.0
    if speculation is not None:
        a, k = speculation.acceptance, speculation.draft_tokens
        verified, drafting = k + 1, speculation.draft_cost
        accepted = k + 1.0 if a == 1 else (1 - a ** (k + 1)) / (1 - a)
    ppm = round(accepted * 1e6)
    operators = (
        *_attention(model, pool, dtype, placement),
        *_feed_forward(model, pool, dtype, placement),
    )
    table = table_of(operators)
    table[roofline.OVERHEAD] = row_of(_overheads(model, pool, dtype))
    flops, moved = _work(model, pool, dtype)
    table[roofline.FLOPS], table[roofline.BYTES] = row_of(flops), row_of(moved)
    _communication(table, model, pool)
    terms = table[roofline.TERMS]
    terms[roofline.VERIFIED], terms[roofline.ACCEPTED_PPM] = verified, ppm
    terms[roofline.DRAFT_FACTOR] = 1.0 + drafting
    chip, chips, stack = pool.chip, pool.chips_per_replica, _stack(pool)
    per_token = kv_bytes_per_token(model, pool.kv_dtype)
    window = model.attention.window
    block_bytes = placement.kv_bytes_per_chip_token * pool.block_tokens
    main = _kv_tier(pool)
    return Machine(
        model=model.name,
        layers=model.layers,
        context_window=model.context_window,
        operators=operators,
        table=table,
        placement=placement,
        tokens_per_seq=verified,
        accepted_ppm=ppm,
        window=window,
        groups=pool.ep,
        kv_blocks=placement.kv_tokens // pool.block_tokens,
        blocks_per_seq=int(-(-window * placement.window_bytes_per_chip_token // block_bytes)),
        spill_blocks=tuple(tokens // pool.block_tokens for _, tokens in placement.spill),
        reload_s_per_token=tuple(
            (placement.kv_bytes_per_chip_token + placement.window_bytes_per_chip_token)
            / (tier.bandwidth.value * chip.efficiency.memory.value)
            for tier, _ in placement.spill
        ),
        reload_overlaps=any(tier.overlaps_compute for tier, _ in placement.spill),
        request_overhead_s=stack.request_overhead.value,
        handoff_overhead_s=stack.handoff_overhead.value if stack.handoff_overhead else 0.0,
        overlap_scheduling=stack.overlap_scheduling,
        peak_flops_per_s=chips * chip.compute.fastest_flops_per_s,
        peak_bytes_per_s=chips * main.bandwidth.value,
        kv_bytes=float(per_token.full),
        window_kv_bytes=float(per_token.window),
        weight_tiers=placement.share("attention"),
        expert_tiers=placement.share("experts") or placement.share("ffn"),
        kv_tier=main.tier,
    )


def row_of(row: Row) -> "NDArray[np.float64]":
    """A row of a machine's table from what it says of each sum; what is left out is 0."""
    values = np.zeros(roofline.WIDTH)
    for name, value in row.items():
        values[SUMS.index(name)] = value
    return values


def table_of(operators: Iterable[Operator]) -> "NDArray[np.float64]":
    """The table of a machine that does nothing but these operators, on one chip, without drafts."""
    rows = [np.zeros(roofline.WIDTH) for _ in range(roofline.OPERATORS)]
    for operator in operators:
        rows += [row_of(operator.compute), row_of(operator.memory)]
        rows[-1][roofline.READS] = operator.reads
    table = np.stack(rows)
    for term in (roofline.STAGES, roofline.VERIFIED, roofline.DRAFT_FACTOR):
        table[roofline.TERMS, term] = 1.0
    for term in (roofline.EXPERT_SKEW, roofline.EXPOSED, roofline.LINK):
        table[roofline.TERMS, term] = 1.0
    table[roofline.TERMS, roofline.ACCEPTED_PPM] = roofline.MILLION
    return table


def stacked(tables: Sequence["NDArray[np.float64]"]) -> "NDArray[np.float64]":
    """Tables as one array: a row of zeros is an operator that takes no time."""
    most = max(len(table) for table in tables)
    found = np.zeros((len(tables), most, roofline.WIDTH))
    for k, table in enumerate(tables):
        found[k, : len(table)] = table
    return found


def _stack(pool: Pool) -> Stack:
    return pool.chip.stacks[pool.stack or pool.chip.default_stack]


def _reached(pool: Pool) -> float:
    compute = _stack(pool).compute
    return compute.value if compute else 1.0


def _kv_tier(pool: Pool) -> Tier:
    return next(tier for tier in pool.chip.memory if "kv" in tier.holds)


def _s_per_byte(pool: Pool, placement: Placement, component: str) -> float:
    """Seconds to read one byte of a component: tiers one after another, or at once when fused."""
    chip = pool.chip
    rates = {t.tier: t.bandwidth.value * chip.efficiency.memory.value for t in chip.memory}
    parts = [share / rates[tier] for tier, share in placement.share(component).items()]
    if not parts:
        return 1.0 / rates[_kv_tier(pool).tier]
    return max(parts) if chip.execution == "fused" else sum(parts)


def _attention(
    model: Model, pool: Pool, dtype: WeightFormat | None, placement: Placement
) -> tuple[Operator, Operator]:
    chip, attention, counts = pool.chip, model.attention, count(model)
    own = formats(model, dtype)
    params = counts.layers * counts.attention_params
    moved = ACTIVATION_BYTES * 4 * model.hidden * counts.layers
    s_per_byte = _s_per_byte(pool, placement, "attention")
    reached = _reached(pool)
    rate = math_flops_per_s(chip, own.attention) * pool.tp * reached
    per_pair = chip.compute.bf16.value * chip.efficiency.attention.value * pool.tp * reached
    decode, prefill = _flops_per_pair(model)
    full_layers = counts.layers - attention.window_layers
    kv = kv_bytes_per_token(model, pool.kv_dtype)
    kv_rate = _kv_tier(pool).bandwidth.value * chip.efficiency.kv_read.value
    kv_rate *= kv_shards(model, pool.tp)
    projection = Operator(
        "projection",
        {"tokens": 2 * params / rate},
        {
            "iterations": params * FORMAT_BYTES[own.attention] / pool.tp * s_per_byte,
            "tokens": moved / pool.tp * s_per_byte,
        },
    )
    core = Operator(
        "attention",
        {
            "decode_pairs": full_layers * decode / per_pair,
            "decode_window_pairs": attention.window_layers * decode / per_pair,
            "prefill_pairs": full_layers * prefill / per_pair,
            "prefill_window_pairs": attention.window_layers * prefill / per_pair,
        },
        {"kv": kv.full / kv_rate, "window_kv": kv.window / kv_rate},
        roofline.KV,
    )
    return projection, core


def _flops_per_pair(model: Model) -> tuple[float, float]:
    """FLOPs of one (query, key) pair in one layer: (decode, prefill).

    GQA: 4 q hd (scores and values). MLA decodes absorbed, on latents: 2 q (2 kv_lora + rope); it
    prefills expanded: 2 q (nope + rope + v).
    """
    a = model.attention
    if a.kind == "gqa":
        return 4.0 * a.q_heads * a.head_dim, 4.0 * a.q_heads * a.head_dim
    decode = 2.0 * a.q_heads * (2 * a.kv_lora + a.rope_dim)
    return decode, 2.0 * a.q_heads * (a.nope_dim + a.rope_dim + a.v_dim)


def _feed_forward(
    model: Model, pool: Pool, dtype: WeightFormat | None, placement: Placement
) -> tuple[Operator, Operator, Operator]:
    chip, counts, own = pool.chip, count(model), formats(model, dtype)
    wide, hidden = pool.tp * pool.ep, model.hidden
    reached = _reached(pool)
    sizes = weight_bytes(model, dtype)
    dense = counts.dense_layers * counts.dense_ffn_params
    dense += counts.moe_layers * (counts.shared_params + counts.router_params)
    rate = math_flops_per_s(chip, own.ffn) * pool.tp * reached
    expert_rate = math_flops_per_s(chip, own.experts, own.expert_math)
    expert_rate *= chip.efficiency.expert_gemm.value * wide * reached
    chosen = counts.moe_layers * counts.experts_per_token * counts.expert_params
    ffn_byte = _s_per_byte(pool, placement, "ffn")
    expert_byte = _s_per_byte(pool, placement, "experts")
    ffn_moved = ACTIVATION_BYTES * 3 * hidden * counts.dense_layers
    expert_moved = ACTIVATION_BYTES * 2 * (counts.experts_per_token + 1) * hidden
    one_expert = counts.moe_layers * counts.expert_params * FORMAT_BYTES[own.experts]
    head_rate = chip.compute.bf16.value * chip.efficiency.gemm_bf16.value * pool.tp * reached
    head_byte = _s_per_byte(pool, placement, "head")
    ffn = Operator(
        "ffn",
        {"tokens": 2 * dense / rate},
        {
            "iterations": (sizes.ffn + sizes.router) / pool.tp * ffn_byte,
            "tokens": ffn_moved * ffn_byte,
        },
    )
    experts = Operator(
        "experts",
        {"routed": 2 * chosen / expert_rate},
        {
            "experts": one_expert / wide * expert_byte,
            "routed": expert_moved * counts.moe_layers / wide * expert_byte,
        },
        roofline.EXPERTS,
    )
    head = Operator(
        "head",
        {"logits": 2 * counts.head_params / head_rate},
        {"iterations": sizes.head / pool.tp * head_byte},
    )
    return ffn, experts, head


def _communication(table: "NDArray[np.float64]", model: Model, pool: Pool) -> None:
    """Write the collectives of an iteration, and what they depend on, into a table.

    Two all-reduces per layer over tp; with ep, MoE layers dispatch and combine instead of one. The
    latency of an all-reduce over n chips is a + b log2(n / 2), both of the serving stack.
    """
    chip, stack, counts = pool.chip, _stack(pool), count(model)
    up = chip.interconnect.scale_up
    wide = pool.tp * pool.ep

    def latency(chips: int) -> float:
        doublings = log2(max(chips, 2) / 2)
        first = float(stack.all_reduce_latency.value)
        return first + float(stack.all_reduce_latency_per_doubling.value) * doublings

    token = ACTIVATION_BYTES * model.hidden
    dispatches = counts.moe_layers if pool.ep > 1 else 0
    hidden_part = stack.comm_overlap.value if stack.comm_overlap is not None else 0.0
    spread = min(counts.experts_per_token, wide) if counts.experts else 0
    one_way = up.latency.value

    def collective(kind: int, count: float, chips: int, phases: int, moved: float) -> None:
        row = table[kind]
        row[roofline.COUNT], row[roofline.CHIPS] = count, chips
        row[roofline.LATENCY_S] = one_way if kind == roofline.HANDOVER else latency(chips)
        row[roofline.PHASES_S] = one_way * phases
        row[roofline.BYTES_PER_TOKEN] = moved

    reduces = 2.0 * counts.layers - dispatches
    phases = _phases(up.topology, pool.tp)
    collective(roofline.ALL_REDUCE, reduces, pool.tp, phases, token)
    collective(roofline.DISPATCH, 2.0 * dispatches, wide, 0, token * spread / pool.tp)
    collective(roofline.HANDOVER, pool.pp - 1.0, pool.pp, 0, token)
    terms = table[roofline.TERMS]
    terms[roofline.LINK] = up.bandwidth.value * chip.efficiency.link.value
    terms[roofline.EXPOSED] = 1.0 - hidden_part
    terms[roofline.STAGES] = pool.pp
    terms[roofline.FUSED] = chip.execution == "fused"
    terms[roofline.EXPERT_COUNT] = counts.experts
    terms[roofline.EXPERTS_PER_TOKEN] = counts.experts_per_token


def _phases(topology: str, chips: int) -> int:
    """Steps of a reduce-scatter and an all-gather: direct exchange needs one each, a ring n - 1."""
    return 2 * (chips - 1) if topology == "torus" else 2


def _overheads(model: Model, pool: Pool, dtype: WeightFormat | None) -> Row:
    """Fixed times of an iteration [s]; latent attention and quantization take more kernels."""
    stack, counts, own = _stack(pool), count(model), formats(model, dtype)
    quantized = stack.quantized_kernels.value if stack.quantized_kernels else 0.0
    mla = stack.mla_kernels if model.attention.kind == "mla" else None
    attention = mla.value if mla else 1.0
    attention += quantized if quantizes(pool.chip, own.attention) else 0.0
    native = own.expert_math == "native" and quantizes(pool.chip, own.experts)
    experts = 1.0 + (quantized if native else 0.0)
    layers = counts.layers * stack.layer_overhead.value * attention
    layers += counts.moe_layers * stack.moe_layer_overhead.value * experts
    return {
        "iterations": layers + stack.iteration_overhead.value,
        "prompts": counts.layers * stack.prompt_layer_overhead.value,
        "logits": stack.sequence_overhead.value,
    }


def quantizes(chip: Chip, weights: WeightFormat) -> bool:
    """Whether products with weights of this format take quantized activations on a chip."""
    return chip.arithmetic(weights) != "bf16"


def _work(model: Model, pool: Pool, dtype: WeightFormat | None) -> tuple[Row, Row]:
    """FLOPs and bytes of a group, all its chips, without any efficiency: what MFU and MBU count."""
    counts, sizes = count(model), weight_bytes(model, dtype)
    decode, prefill = _flops_per_pair(model)
    windowed = model.attention.window_layers
    full = counts.layers - windowed
    per_token = counts.layers * counts.attention_params
    per_token += counts.dense_layers * counts.dense_ffn_params
    per_token += counts.moe_layers * (
        counts.shared_params
        + counts.router_params
        + counts.experts_per_token * counts.expert_params
    )
    kv = kv_bytes_per_token(model, pool.kv_dtype)
    experts = counts.experts or 1
    flops = {
        "tokens": 2.0 * per_token,
        "logits": 2.0 * counts.head_params,
        "decode_pairs": full * decode,
        "decode_window_pairs": windowed * decode,
        "prefill_pairs": full * prefill,
        "prefill_window_pairs": windowed * prefill,
    }
    moved = {
        "iterations": sizes.attention + sizes.ffn + sizes.router + sizes.head,
        "experts": sizes.experts / experts,
        "kv": float(kv.full),
        "window_kv": float(kv.window),
    }
    return flops, moved
