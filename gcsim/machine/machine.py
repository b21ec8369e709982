"""Binds a model and a pool to a machine: all that the engine needs to know of both, once per run.

The operators of the model on the chips of one replica become the rows of C and M, the serving
stack's fixed times the row h, of `gcsim.machine.roofline`. The efficiencies are the chip's.
Equations: docs/cost-model.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gcsim.machine import network, roofline
from gcsim.machine.counts import KV_BYTES, KvBytes, count, formats, kv_bytes_per_token, weight_bytes
from gcsim.machine.drafter import shape_of, tokens_per_step
from gcsim.machine.layers import Layers, layers_of
from gcsim.machine.placement import Placement, kv_shards, place
from gcsim.machine.roofline import SUMS
from gcsim.profiles.chip import Chip, Tier
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
class OffloadRate:
    """The way of a replica's KV to a lower memory tier and back: every chip has a link.

    bytes_per_s: one way, or both together where not `duplex`; kv_bytes, window_kv_bytes: of a token
    on a chip; state_bytes: of a sequence there; window: tokens that sliding layers keep.
    """

    bytes_per_s: float
    duplex: bool
    kv_bytes: float
    window_kv_bytes: float
    state_bytes: float
    window: int

    def ns(self, tokens: int, context: int) -> int:
        """How long the last `tokens` of a context occupy the link [ns].

        t = (n kv + min(context, W) window_kv + state) / rate, as in a handoff
        """
        windows = roofline.windowed(context, self.window) * self.window_kv_bytes
        moved = tokens * self.kv_bytes + windows + self.state_bytes
        return round(moved / self.bytes_per_s * 1e9)


@dataclass(frozen=True, slots=True)
class Machine:
    """A model on one replica of a pool: what the engine needs to know of both.

    model, layers, context_window: of the model; operators: what an iteration computes and reads;
    table: operators, fixed times, work and collectives for the kernels of `gcsim.machine.roofline`;
    tokens_per_seq, accepted_ppm: tokens that a decode iteration verifies, and yields in millionths;
    window: of the sliding layers, 0 without, below 0 for chunks of -window;
    groups: of a replica (`ep`);
    kv_blocks, blocks_per_seq, spill_blocks: KV capacity of a group in blocks;
    hit_tokens: a hit of the prefix cache is a multiple of so many tokens: a block, or what lies
    between two snapshots of states;
    offload: the link to the tier that takes evicted KV, if one does;
    peak_flops_per_s, peak_bytes_per_s: of a replica;
    kv_bytes, window_kv_bytes: of one token, once, as it travels over a link, and state_bytes of a
    sequence; the overheads, what tokenizing a token takes (on arrival, and again after a handoff)
    and overlap_scheduling: of the serving stack.
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
    hit_tokens: int
    spill_blocks: tuple[int, ...]
    offload: "OffloadRate | None"
    request_overhead_s: float
    handoff_overhead_s: float
    handoff_s_per_token: float
    tokenize_s_per_token: float
    retokenize_s_per_token: float
    overlap_scheduling: bool
    peak_flops_per_s: float
    peak_bytes_per_s: float
    kv_bytes: float
    window_kv_bytes: float
    state_bytes: float
    weight_tiers: dict[str, float]
    expert_tiers: dict[str, float]
    kv_tier: str

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
        """Bytes of the last `tokens` of a prompt: KV, the windows of sliding layers, states [B]."""
        windows = roofline.windowed(prompt_tokens, self.window) * self.window_kv_bytes
        return tokens * self.kv_bytes + windows + self.state_bytes

    def seen(self, context: float) -> float:
        """Tokens that a token sees in sliding layers at a mean context: half a chunk, of chunks."""
        if self.window < 0:
            return min(context, 0.5 * (1.0 - self.window))
        return min(context, float(self.window))


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
    placement, stack = place(model, pool, dtype), pool.serving_stack
    verified, accepted = tokens_per_step(model, pool)
    drafting = (pool.speculation.draft_cost or 0.0) if pool.speculation else 0.0
    ppm = round(accepted * 1e6)
    operators = (
        *_attention(model, pool, dtype, placement),
        *_feed_forward(model, pool, dtype, placement),
    )
    table = table_of(operators)
    table[roofline.OVERHEAD] = row_of(_overheads(model, pool, dtype))
    flops, moved = _work(model, pool, dtype)
    table[roofline.FLOPS], table[roofline.BYTES] = row_of(flops), row_of(moved)
    network.write(table, model, pool, stack)
    terms = table[roofline.TERMS]
    terms[roofline.VERIFIED], terms[roofline.ACCEPTED_PPM] = verified, ppm
    terms[roofline.DRAFT_FACTOR] = 1.0 + drafting
    _terms(terms, model, pool, dtype)
    table = _with_drafter(table, model, pool, placement)
    chip, chips = pool.chip, pool.chips_per_replica
    tokenize = stack.tokenize_per_token.value if stack.tokenize_per_token else 0.0
    per_token, drafted = kv_bytes_per_token(model, pool.kv_dtype), shape_of(model, pool)
    own = kv_bytes_per_token(drafted, pool.kv_dtype) if drafted else KvBytes(0, 0)
    window = layers_of(model).window
    beside = abs(window) * placement.window_bytes_per_chip_token
    beside += (_state_moves(pool) - 1) * placement.state_bytes_per_chip
    block_bytes = placement.kv_bytes_per_chip_token * pool.block_tokens
    main = _kv_tier(pool)
    graphs = [limit.context for limit in pool.batching.max_seqs_by_context[-1:]]
    return Machine(
        model=model.name,
        layers=model.layers,
        context_window=min([model.context_window, *graphs]),
        operators=operators,
        table=table,
        placement=placement,
        tokens_per_seq=verified,
        accepted_ppm=ppm,
        window=window,
        groups=pool.ep,
        kv_blocks=placement.kv_tokens // pool.block_tokens,
        blocks_per_seq=int(-(-beside // block_bytes)),
        hit_tokens=pool.snapshot_tokens if placement.state_bytes_per_chip else pool.block_tokens,
        spill_blocks=tuple(tokens // pool.block_tokens for _, tokens in placement.spill),
        offload=_offload(pool, placement, window),
        request_overhead_s=stack.request_overhead.value,
        handoff_overhead_s=stack.handoff_overhead.value if stack.handoff_overhead else 0.0,
        handoff_s_per_token=stack.handoff_per_token.value if stack.handoff_per_token else 0.0,
        tokenize_s_per_token=tokenize,
        retokenize_s_per_token=tokenize if stack.tokenizes_again else 0.0,
        overlap_scheduling=stack.overlap_scheduling,
        peak_flops_per_s=chips * chip.compute.fastest_flops_per_s,
        peak_bytes_per_s=chips * main.bandwidth.value,
        kv_bytes=float(per_token.full + own.full),
        window_kv_bytes=float(per_token.window + own.window),
        state_bytes=float(layers_of(model).total(lambda s: s.state_bytes)),
        weight_tiers=placement.share("attention"),
        expert_tiers=placement.share("experts") or placement.share("ffn"),
        kv_tier=main.tier,
    )


def _with_drafter(
    table: "NDArray[np.float64]", model: Model, pool: Pool, placement: Placement
) -> "NDArray[np.float64]":
    """The table with the rows of a drafter below, if the pool has one.

    Its pairs and KV go to the core's rows, which alone grow in decode: a pass per drafted token,
    one over prompts.
    """
    shape = shape_of(model, pool)
    if shape is None:
        return table
    verified = table[roofline.TERMS, roofline.VERIFIED]
    passes, c = verified - 1.0, roofline.OPERATORS + 2 * int(table[roofline.TERMS, roofline.CORE])
    operators = (
        *_attention(shape, pool, None, placement),
        *_feed_forward(shape, pool, None, placement),
    )
    own = _overheads(shape, pool, None)
    own["iterations"] -= pool.serving_stack.iteration_overhead.value  # drafts need no scheduler
    rows = [row_of(own)]
    for operator in operators:
        rows += [row_of(operator.compute), row_of(operator.memory)]
        if operator.reads == roofline.KV:
            for decoding in (roofline.X_PAIRS, roofline.X_WINDOW_PAIRS):
                table[c, decoding] += rows[-2][decoding] * passes / verified
            for prefill in (roofline.X_PREFILL_PAIRS, roofline.X_PREFILL_WINDOW_PAIRS):
                table[c, prefill] += rows[-2][prefill]
            for kv in (roofline.X_KV, roofline.X_WINDOW_KV):
                table[c + 1, kv] += rows[-1][kv] * passes
    table[roofline.TERMS, roofline.DRAFTER] = len(table)
    table[roofline.TERMS, roofline.DRAFT_REDUCES] = layers_of(shape).reduced
    return np.vstack([table, *rows])


def _offload(pool: Pool, placement: Placement, window: int) -> OffloadRate | None:
    offload, tier = pool.kv_offload, pool.offload_tier
    if offload is None or tier is None:
        return None
    return OffloadRate(
        bytes_per_s=(offload.bandwidth or tier.bandwidth.value) * offload.efficiency,
        duplex=offload.duplex,
        kv_bytes=placement.kv_bytes_per_chip_token - placement.snapshot_bytes_per_chip_token,
        window_kv_bytes=placement.window_bytes_per_chip_token,
        state_bytes=placement.state_bytes_per_chip,
        window=window,
    )


def _terms(
    terms: "NDArray[np.float64]", model: Model, pool: Pool, dtype: WeightFormat | None
) -> None:
    """Write what the kernels ask of the layout and of the layers into row TERMS of a table."""
    layers, imbalance = layers_of(model), pool.serving_stack.expert_imbalance
    terms[roofline.STAGES], terms[roofline.FUSED] = pool.pp, pool.chip.execution == "fused"
    terms[roofline.EXPERT_COUNT] = layers.experts
    terms[roofline.EXPERTS_PER_TOKEN] = layers.experts_per_token
    if pool.ep > 1 and layers.experts:
        terms[roofline.EXPERT_RANKS] = min(pool.tp * pool.ep, layers.experts)
    if imbalance is not None:
        terms[roofline.EXPERT_IMBALANCE] = imbalance.value
    terms[roofline.EXPANDED], terms[roofline.ABSORBED] = _latents(model, pool, dtype)


def row_of(row: Row) -> "NDArray[np.float64]":
    """A row of a machine's table from what it says of each sum; what is left out is 0."""
    values = np.zeros(roofline.WIDTH)
    for name, value in row.items():
        values[SUMS.index(name)] = value
    return values


def table_of(operators: Sequence[Operator]) -> "NDArray[np.float64]":
    """The table of a machine that does nothing but these operators, on one chip, without drafts."""
    rows = [np.zeros(roofline.WIDTH) for _ in range(roofline.OPERATORS)]
    for operator in operators:
        rows += [row_of(operator.compute), row_of(operator.memory)]
        rows[-1][roofline.READS] = operator.reads
    table = np.stack(rows)
    reads = [operator.reads for operator in operators]
    table[roofline.TERMS, roofline.CORE] = reads.index(roofline.KV)
    for term in (roofline.STAGES, roofline.VERIFIED, roofline.DRAFT_FACTOR):
        table[roofline.TERMS, term] = 1.0
    for term in (roofline.EXPERT_RANKS, roofline.EXPERT_IMBALANCE, roofline.EXPOSED):
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


def _reached(pool: Pool) -> float:
    compute = pool.serving_stack.compute
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
    chip, layers, own = pool.chip, layers_of(model), formats(model, dtype)
    params = layers.total(lambda s: s.attention_params)
    mixers = layers.total(lambda s: s.moved * (s.attention_params > 0))
    moved = ACTIVATION_BYTES * mixers * model.hidden
    s_per_byte = _s_per_byte(pool, placement, "attention")
    reached = _reached(pool)
    rate = math_flops_per_s(chip, own.attention) * pool.tp * reached
    projection = Operator(
        "projection",
        {"tokens": 2 * params / rate},
        {
            "iterations": params * FORMAT_BYTES[own.attention] / pool.tp * s_per_byte,
            "tokens": moved / pool.tp * s_per_byte,
        },
    )
    per_flop = chip.compute.bf16.value * chip.efficiency.attention.value * pool.tp * reached
    core = {name: flops / per_flop for name, flops in _core_flops(layers).items()}
    kv_rate = _kv_tier(pool).bandwidth.value * chip.efficiency.kv_read.value
    element = KV_BYTES[pool.kv_dtype or model.kv]
    read = {"kv": 0.0, "window_kv": 0.0, "states": 0.0}
    for number, mixer in layers.runs:
        rate = kv_rate * kv_shards(mixer, pool.tp)
        seen = "window_kv" if mixer.window or mixer.selected else "kv"
        read[seen] += number * mixer.kv_elements * element / rate
        read["kv"] += number * mixer.index_bytes / rate
        read["states"] += _state_moves(pool) * number * mixer.state_bytes / rate
    return projection, Operator("attention", core, read, roofline.KV)


def _state_moves(pool: Pool) -> int:
    """States of a sequence that an iteration moves: one is read, one written per verified token.

    Ref: vLLM, `MambaSpec.num_speculative_blocks`; a token that is refused must leave no trace.
    """
    return 2 + (pool.speculation.draft_tokens if pool.speculation else 0)


def _core_flops(layers: Layers) -> Row:
    """FLOPs of the attention core: per pair, and per token where a state is updated."""
    row = dict.fromkeys(
        ("decode_pairs", "decode_window_pairs", "prefill_pairs", "prefill_window_pairs"), 0.0
    )
    row["tokens"] = 0.0
    for number, mixer in layers.runs:
        seen = "window_pairs" if mixer.window or mixer.selected else "pairs"
        row[f"decode_{seen}"] += number * mixer.decode_flops_per_pair
        row[f"prefill_{seen}"] += number * mixer.prefill_flops_per_pair
        row["decode_pairs"] += number * mixer.index_flops_per_pair
        row["prefill_pairs"] += number * mixer.index_flops_per_pair
        row["tokens"] += number * mixer.flops_per_token
    return row


def _latents(model: Model, pool: Pool, dtype: WeightFormat | None) -> tuple[float, float]:
    """Of MLA prefill, in times of one expanded pair: expanding a cached latent, an absorbed pair.

    A latent becomes keys and values by a matrix product (`Sublayer.expand_flops_per_token`).
    """
    layers, chip = layers_of(model), pool.chip
    expand = sum(number * mixer.expand_flops_per_token for number, mixer in layers.runs)
    if not expand:
        return 0.0, 1.0
    latents = [(number, mixer) for number, mixer in layers.runs if mixer.expand_flops_per_token]
    decode = sum(number * mixer.decode_flops_per_pair for number, mixer in latents)
    prefill = sum(number * mixer.prefill_flops_per_pair for number, mixer in latents)
    pair_rate = chip.compute.bf16.value * chip.efficiency.attention.value
    rate = math_flops_per_s(chip, formats(model, dtype).attention)
    return expand / rate / (prefill / pair_rate), decode / prefill


def _feed_forward(
    model: Model, pool: Pool, dtype: WeightFormat | None, placement: Placement
) -> tuple[Operator, Operator, Operator]:
    chip, layers, counts, own = pool.chip, layers_of(model), count(model), formats(model, dtype)
    wide, hidden = pool.tp * pool.ep, model.hidden
    reached = _reached(pool)
    sizes = weight_bytes(model, dtype)
    rate = math_flops_per_s(chip, own.ffn) * pool.tp * reached
    expert_rate = math_flops_per_s(chip, own.experts, own.expert_math)
    expert_rate *= chip.efficiency.expert_gemm.value * wide * reached
    ffn_byte = _s_per_byte(pool, placement, "ffn")
    expert_byte = _s_per_byte(pool, placement, "experts")
    ffn_moved = layers.total(lambda s: s.moved * (s.ffn_params > 0 and not s.experts))
    expert_moved = layers.total(lambda s: s.moved * (s.experts > 0))
    one_expert = layers.total(lambda s: s.expert_params) * FORMAT_BYTES[own.experts]
    head_rate = chip.compute.bf16.value * chip.efficiency.gemm_bf16.value * pool.tp * reached
    head_byte = _s_per_byte(pool, placement, "head")
    ffn = Operator(
        "ffn",
        {"tokens": 2 * (counts.ffn + counts.router) / rate},
        {
            "iterations": (sizes.ffn + sizes.router) / pool.tp * ffn_byte,
            "tokens": ACTIVATION_BYTES * ffn_moved * hidden * ffn_byte,
        },
    )
    experts = Operator(
        "experts",
        {"fullest_tokens": 2 * counts.active_experts / expert_rate},
        {
            "fullest_experts": one_expert / wide * expert_byte,
            "fullest_tokens": ACTIVATION_BYTES * expert_moved * hidden / wide * expert_byte,
        },
        roofline.EXPERTS,
    )
    head = Operator(
        "head",
        {"logits": 2 * counts.head / head_rate},
        {"iterations": sizes.head / pool.tp * head_byte},
    )
    return ffn, experts, head


def _overheads(model: Model, pool: Pool, dtype: WeightFormat | None) -> Row:
    """Fixed times of an iteration [s]; latent attention and quantization take more kernels."""
    stack, layers, own = pool.serving_stack, layers_of(model), formats(model, dtype)
    quantized = stack.quantized_kernels.value if stack.quantized_kernels else 0.0
    latent = stack.mla_kernels.value if stack.mla_kernels else 1.0
    own_quantized = quantized if quantizes(pool.chip, own.attention) else 0.0
    native = own.expert_math == "native" and quantizes(pool.chip, own.experts)
    experts = 1.0 + (quantized if native else 0.0)
    number = layers.total(lambda s: s.latent)
    fixed = 0.0
    for many, kernels in ((layers.count - number, 1.0), (number, latent)):
        fixed += many * stack.layer_overhead.value * (kernels + own_quantized)
    fixed += layers.moe * stack.moe_layer_overhead.value * experts
    return {
        "iterations": fixed + stack.iteration_overhead.value,
        "prompts": layers.count * stack.prompt_layer_overhead.value,
        "logits": stack.sequence_overhead.value,
    }


def quantizes(chip: Chip, weights: WeightFormat) -> bool:
    """Whether products with weights of this format take quantized activations on a chip."""
    return chip.arithmetic(weights) != "bf16"


def _work(model: Model, pool: Pool, dtype: WeightFormat | None) -> tuple[Row, Row]:
    """FLOPs and bytes of a group, all its chips, without any efficiency: what MFU and MBU count."""
    counts, sizes, layers = count(model), weight_bytes(model, dtype), layers_of(model)
    flops = _core_flops(layers)
    flops["tokens"] += 2.0 * (counts.attention + counts.ffn + counts.router + counts.active_experts)
    flops["logits"] = 2.0 * counts.head
    kv = kv_bytes_per_token(model, pool.kv_dtype)
    element = KV_BYTES[pool.kv_dtype or model.kv]
    selected = layers.total(lambda s: s.kv_elements * (s.selected > 0)) * element
    moved = {
        "iterations": sizes.attention + sizes.ffn + sizes.router + sizes.head,
        "experts": sizes.experts / (layers.experts or 1),
        "kv": float(kv.full - selected),
        "window_kv": float(kv.window + selected),
        "states": float(_state_moves(pool) * layers.total(lambda s: s.state_bytes)),
    }
    return flops, moved
