"""What lies where: weights and KV cache of one replica over the memory tiers of its chips.

Weights are placed by how often a byte of them is read, the most often read first: attention, head
and dense FFN are read in every iteration, an expert in a fraction of them, the embedding by row.
"""

from dataclasses import dataclass

from gcsim.errors import CapacityError
from gcsim.machine.counts import KV_BYTES, count, formats, weight_bytes
from gcsim.machine.drafter import bytes_of, shape_of
from gcsim.machine.kinds import Sublayer
from gcsim.machine.layers import layers_of
from gcsim.profiles.chip import Chip, Tier
from gcsim.profiles.deployment import Pool
from gcsim.profiles.model import Model, WeightFormat

COMPONENTS = ("attention", "head", "ffn", "experts", "embedding")  # the most often read first


@dataclass(frozen=True, slots=True)
class TierUse:
    """What one tier of one chip holds [B]: weights by component, room for KV."""

    tier: Tier
    weights: dict[str, float]
    kv_bytes: float


@dataclass(frozen=True, slots=True)
class Placement:
    """The placement of one replica: per chip by tier, and what KV it holds.

    kv_tokens: tokens of KV that each of its `ep` groups holds in the tier of the KV cache, windows
    of sliding layers apart; spill: the same for the tier that takes evicted KV, if one does;
    kv_bytes_per_chip_token, window_bytes_per_chip_token: bytes that a token takes on each chip that
    holds it, its part of the snapshots of states included; state_bytes_per_chip: what a sequence
    takes there besides, however long; snapshot_bytes_per_chip_token: that part.
    """

    tiers: tuple[TierUse, ...]
    kv_tokens: int
    spill: tuple[tuple[Tier, int], ...]
    kv_bytes_per_chip_token: float
    window_bytes_per_chip_token: float
    state_bytes_per_chip: float
    snapshot_bytes_per_chip_token: float = 0.0

    def share(self, component: str) -> dict[str, float]:
        """Fraction of a component's bytes per tier name."""
        held = {use.tier.tier: use.weights.get(component, 0.0) for use in self.tiers}
        total = sum(held.values())
        return {tier: part / total for tier, part in held.items() if part} if total else {}


def kv_shards(mixer: Sublayer, tp: int) -> int:
    """Over how many of `tp` chips the KV and the state of a mixer are split: by head."""
    return min(tp, mixer.heads)


def _stages(model: Model, pool: Pool) -> float:
    """Stages as the fullest one sees them: 61 layers in 2 are 31 and 30, so it holds 31/61."""
    return model.layers / -(-model.layers // pool.pp)


def _reserve_bytes(pool: Pool) -> float:
    """Memory of a chip that the stack takes for itself [B]."""
    reserve = pool.serving_stack.runtime_reserve
    return reserve.value if reserve else 0.0


def _padding(model: Model, dtype: WeightFormat | None, tile: int | None) -> float:
    """Bytes of experts as stored, in those of the checkpoint: MXFP4 kernels take padded widths."""
    width = max(sublayer.expert_width for _, sublayer in layers_of(model).runs)
    if tile is None or not width or formats(model, dtype).experts != "mxfp4":
        return 1.0
    return -(-width // tile) * tile / width


def place(model: Model, pool: Pool, dtype: WeightFormat | None = None) -> Placement:
    """Place a model on the chips of one replica of a pool.

    Routed experts are spread over tp x ep chips; all other weights are split over tp, and there in
    each of the ep groups. Layers are split over pp: the chips are those of the stage that has the
    most. The stack's `runtime_reserve` is kept free in the tier of the KV cache. Errors:
    `CapacityError` when the weights fit no tiers, when no room for KV is left, or for groups (`ep`)
    without experts to share.
    """
    chip = pool.chip
    if pool.ep > 1 and not layers_of(model).experts:
        raise _no_experts(model, pool)
    sizes = weight_bytes(model, dtype)
    stages, reserve = _stages(model, pool), _reserve_bytes(pool)
    own = pool.tp * stages
    padding = _padding(model, dtype, pool.serving_stack.mxfp4_tile)
    left = {
        "attention": (sizes.attention + sizes.norms) / own,
        "head": sizes.head / own,
        "ffn": (sizes.ffn + sizes.router) / own,
        "experts": sizes.experts / (own * pool.ep) * padding,
        "embedding": sizes.embedding / own,
    }
    drafted = bytes_of(model, pool)
    left["experts"] += drafted.experts / (pool.tp * pool.ep)
    left["ffn"] += drafted.rest / pool.tp  # all of it in the stage that has the most
    total = sum(left.values())
    uses: list[TierUse] = []
    for tier in chip.memory:
        capacity = tier.capacity.value * pool.memory_utilization
        if "kv" in tier.holds:
            capacity = max(capacity - reserve, 0.0)
        room = capacity
        full = sum(left.values()) > capacity * (1 - pool.kv_reserve)
        if "kv" in tier.holds and full and _goes_on(chip):
            room = capacity * (1 - pool.kv_reserve)
        if "weights" not in tier.holds:
            room = 0.0
        placed: dict[str, float] = {}
        for component in COMPONENTS:
            part = min(left[component], room)
            if part > 0:
                placed[component] = part
                left[component] -= part
                room -= part
        kv = capacity - sum(placed.values()) if {"kv", "kv_spill"} & set(tier.holds) else 0.0
        uses.append(TierUse(tier, placed, kv))
    if sum(left.values()) > 0.5:
        raise _too_large(model, pool, total)
    return _with_kv(model, pool, tuple(uses), total)


def _goes_on(chip: Chip) -> bool:
    """Whether weights that would leave too little for KV have another tier to go to."""
    return sum("weights" in tier.holds for tier in chip.memory) > 1


def _with_kv(model: Model, pool: Pool, uses: tuple[TierUse, ...], weights: float) -> Placement:
    # Each group holds KV of its own sequences, split over its tp chips.
    element, full, window, state = KV_BYTES[pool.kv_dtype or model.kv], 0.0, 0.0, 0.0
    for number, mixer in layers_of(model).runs:
        chips = kv_shards(mixer, pool.tp) * _stages(model, pool)
        kept = number * mixer.kept_bytes(element) / chips
        full, window = (full, window + kept) if mixer.window else (full + kept, window)
        state += number * mixer.state_bytes / chips
    snapshots = 0.0
    if state and pool.prefix_cache_tokens != 0:
        snapshots = state / pool.snapshot_tokens
    shape = shape_of(model, pool)
    for number, mixer in layers_of(shape).runs if shape else ():
        kept = number * mixer.kept_bytes(element) / kv_shards(mixer, pool.tp)
        full, window = (full, window + kept) if mixer.window else (full + kept, window)
    # A model of sliding layers alone is counted as if it saw everything, one without KV as if a
    # token took a byte.
    grown = full + snapshots or window or 1.0
    main = sum(use.kv_bytes for use in uses if "kv" in use.tier.holds)
    tokens = pool.kv_tokens or int(main / grown)
    if tokens < pool.block_tokens:
        raise _too_large(model, pool, weights)
    spill = tuple(
        (use.tier, int(use.kv_bytes / grown)) for use in uses if use.tier is pool.offload_tier
    )
    beside = window if full + snapshots else 0.0
    return Placement(uses, tokens, spill, grown, beside, state, snapshots)


def _too_large(model: Model, pool: Pool, per_chip: float) -> CapacityError:
    chip = pool.chip
    memory = sum(t.capacity.value for t in chip.memory if "weights" in t.holds)
    reserve = _reserve_bytes(pool)
    kept = pool.kv_reserve if _goes_on(chip) else 0.0
    room = sum(  # a tier that holds KV too keeps a part free for it
        (t.capacity.value * pool.memory_utilization - reserve) * (1 - kept)
        if "kv" in t.holds
        else t.capacity.value * pool.memory_utilization
        for t in chip.memory
        if "weights" in t.holds
    )
    need = -(-per_chip * pool.chips_per_replica // max(room, 1.0))
    need = max(need, pool.chips_per_replica + 1)
    problem = (
        f"weights of {per_chip / 1e9:.1f} GB per chip and the KV cache do not fit the"
        f" {memory / 1e9:.1f} GB that a {chip.name} has for them"
        f" (memory_utilization {pool.memory_utilization:g}, runtime_reserve {reserve / 1e9:.1f} GB)"
    )
    hint = f"use at least {need:.0f} chips per replica, a smaller dtype or another chip"
    total = count(model).total / 1e9
    error = CapacityError.one(
        chip.name, "pools", f"{model.name} ({total:.1f} B parameters)", problem, hint
    )
    assert isinstance(error, CapacityError)
    return error


def _no_experts(model: Model, pool: Pool) -> CapacityError:
    hint = f"use replicas for data parallelism (replicas: {pool.ep}), or tp for lower latency"
    problem = f"groups of chips that share experts, but {model.name} has none"
    error = CapacityError.one(model.name, "pools.ep", pool.ep, problem, hint)
    assert isinstance(error, CapacityError)
    return error
