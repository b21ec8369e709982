"""Where weights lie and what that costs: gcsim.machine.machine, gcsim.machine.placement."""

import pytest
import toys

from gcsim.errors import CapacityError
from gcsim.machine.counts import kv_bytes_per_token, weight_bytes
from gcsim.machine.layers import layers_of
from gcsim.machine.machine import bind, math_flops_per_s
from gcsim.machine.placement import kv_shards, place
from gcsim.machine.roofline import OVERHEAD, X_ITERATIONS
from gcsim.profiles.deployment import Pool
from gcsim.profiles.model import Model
from gcsim.profiles.resolve import load_chip, load_model


def read_s(pool: Pool, model, operator: str, per: str, dtype=None) -> float:
    """Seconds that an operator reads per unit of a sum."""
    found = {o.name: o for o in bind(model, pool, dtype).operators}
    return found[operator].memory[per]


def test_weights_and_kv_share_the_memory() -> None:
    model, pool = load_model("llama-3.3-70b"), Pool(chip=load_chip("h100-sxm"), tp=8)
    placement = place(model, pool)
    hbm = next(use for use in placement.tiers if use.tier.tier == "hbm")
    assert sum(hbm.weights.values()) == pytest.approx(weight_bytes(model).total / 8, rel=1e-9)
    per_token = kv_bytes_per_token(model).full / 8
    reserve = pool.chip.stacks["vllm"].runtime_reserve
    assert reserve is not None
    room = hbm.tier.capacity.value * 0.92 - reserve.value - sum(hbm.weights.values())
    assert placement.kv_tokens == int(room / per_token)


def test_a_model_that_does_not_fit_says_how_many_chips_it_needs() -> None:
    with pytest.raises(CapacityError, match=r"use at least 2 chips per replica"):
        bind(load_model("llama-3.3-70b"), Pool(chip=load_chip("h100-sxm")))
    bind(load_model("llama-3.3-70b"), Pool(chip=load_chip("h100-sxm"), tp=2))
    # Beside its weights, a server's own memory counts; what is left for KV may be little.
    with pytest.raises(CapacityError, match=r"use at least 4 chips per replica"):
        bind(load_model("deepseek-r1"), Pool(chip=load_chip("b200"), tp=3))
    left = bind(load_model("deepseek-r1"), Pool(chip=load_chip("b200"), tp=4)).kv_blocks * 16
    assert (
        left
        < 0.2 * bind(load_model("deepseek-r1"), Pool(chip=load_chip("b200"), tp=5)).kv_blocks * 16
    )


def test_what_does_not_fit_the_fast_tier_is_read_from_the_next_and_is_slow() -> None:
    """DeepSeek-R1 on 16 SN40L: FP8 fits HBM; BF16 streams experts from DDR, as claimed capacity."""
    model, pool = load_model("deepseek-r1"), Pool(chip=load_chip("sn40l"), tp=16)
    native, wide = place(model, pool), place(model, pool, "bf16")
    assert set(native.share("experts")) == {"hbm"}
    assert set(wide.share("attention")) == {"hbm"}, "what is read most often stays in the fast tier"
    assert 0 < wide.share("experts")["ddr"] < 1
    per = "fullest_experts"
    fast, slow = (read_s(pool, model, "experts", per, dtype) for dtype in (None, "bf16"))
    assert slow > 4 * fast


def test_mla_keeps_one_latent_per_chip_and_gqa_shards_heads() -> None:
    def shards(name: str, tp: int) -> int:
        return kv_shards(layers_of(load_model(name)).runs[0][1], tp)

    assert shards("deepseek-r1", 16) == 1
    assert shards("llama-3.1-8b", 4) == 4
    assert shards("llama-3.1-8b", 16) == 8


def test_expert_parallel_groups_hold_kv_of_their_own() -> None:
    model, chip = load_model("deepseek-r1"), load_chip("h200-sxm")
    shared, grouped = place(model, Pool(chip=chip, tp=8)), place(model, Pool(chip=chip, ep=8))
    # 8 latents of 8 sequences instead of 8 copies of one; the parts that are not shared cost room.
    assert 8 * grouped.kv_tokens > 4 * shared.kv_tokens
    per_chip = sum(sum(use.weights.values()) for use in grouped.tiers)
    sizes = weight_bytes(model)
    assert per_chip == pytest.approx(sizes.total - 7 / 8 * sizes.experts, rel=1e-9)
    hbm = next(use for use in grouped.tiers if use.tier.tier == "hbm")
    reserve = Pool(chip=chip).serving_stack.runtime_reserve
    assert reserve is not None
    room = hbm.tier.capacity.value * 0.92 - reserve.value - per_chip
    assert grouped.kv_tokens == int(room / kv_bytes_per_token(model).full)


def test_groups_without_experts_to_share_are_refused() -> None:
    with pytest.raises(CapacityError, match=r"pools\.ep: .* has none \(got 4\); use replicas"):
        bind(load_model("llama-3.3-70b"), Pool(chip=load_chip("h200-sxm"), tp=2, ep=4))


def test_arithmetic_falls_back_to_bf16_where_a_format_is_not_native() -> None:
    old, new = load_chip("mi300x"), load_chip("b200")
    assert math_flops_per_s(old, "mxfp4") == math_flops_per_s(old, "bf16")
    assert math_flops_per_s(new, "nvfp4") > math_flops_per_s(new, "fp8")
    assert math_flops_per_s(new, "mxfp4", "fp8") == math_flops_per_s(new, "fp8")
    assert math_flops_per_s(old, "mxfp4", "fp8") == math_flops_per_s(old, "bf16")


def test_kernels_read_tiers_one_after_another_and_fused_chips_at_once() -> None:
    memory = [
        {"tier": "hbm", "capacity": "6 MB", "bandwidth": "1 GB/s", "holds": ["weights", "kv"]},
        {"tier": "ddr", "capacity": "1 GB", "bandwidth": "1 GB/s", "holds": ["weights"]},
    ]
    model = toys.model()
    both = {
        how: Pool(chip=toys.chip(execution=how, memory=memory), memory_utilization=1.0)
        for how in ("kernels", "fused")
    }
    shares = place(model, both["fused"]).share("ffn")
    assert len(shares) == 2
    serial, at_once = (
        read_s(both[how], model, "ffn", "iterations") for how in ("kernels", "fused")
    )
    assert at_once == pytest.approx(serial * max(shares.values()), rel=1e-9)


def test_sliding_layers_cost_a_fixed_window_of_blocks() -> None:
    model = load_model("gpt-oss-120b")
    cost = bind(model, Pool(chip=load_chip("mi300x"), tp=8))
    kv = kv_bytes_per_token(model)
    assert cost.window == 128
    assert cost.blocks_per_seq == -(-128 * kv.window // (16 * kv.full))
    assert cost.handoff_bytes(1000, 1000) == 1000 * kv.full + 128 * kv.window


def test_smaller_weights_read_faster() -> None:
    pool = Pool(chip=load_chip("mi300x"))
    model = load_model("llama-3.1-8b")
    wide, narrow = (read_s(pool, model, "ffn", "iterations", dtype) for dtype in (None, "fp8"))
    assert narrow == pytest.approx(wide / 2, rel=1e-9)


def test_latent_attention_and_quantization_launch_more_kernels() -> None:
    """layers x (layer_overhead x (mla + quantized) + moe_layer_overhead x (1 + quantized))."""
    times = {**toys.NO_TIMES, "layer_overhead": "10 us", "moe_layer_overhead": "20 us"}
    ratios = {"mla_kernels": 1.5, "quantized_kernels": 0.25}

    def overhead_s(model: Model, **more: float) -> float:
        chip = toys.chip(stacks={"none": {**times, **more}})
        return float(bind(model, Pool(chip=chip)).table[OVERHEAD, X_ITERATIONS])

    latent = {
        "kind": "mla",
        "q_heads": 4,
        "q_lora": 16,
        "kv_lora": 32,
        "rope_dim": 8,
        "nope_dim": 16,
        "v_dim": 16,
    }
    experts = {"d_ff": 128, "experts": 16, "experts_per_token": 2}
    narrow = {"attention": "fp8", "ffn": "fp8", "experts": "fp8"}
    wide, mla = toys.model(), toys.model(attention=latent)
    moe = toys.model(ffn=experts, weights=narrow)
    assert overhead_s(wide, **ratios) == overhead_s(wide) == pytest.approx(4 * 10e-6)
    assert overhead_s(mla, **ratios) == pytest.approx(4 * 15e-6)
    assert overhead_s(mla) == pytest.approx(4 * 10e-6)
    assert overhead_s(moe, **ratios) == pytest.approx(4 * (12.5e-6 + 25e-6))
    assert overhead_s(moe) == pytest.approx(4 * (10e-6 + 20e-6))
