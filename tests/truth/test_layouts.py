"""Layouts by hand: pipelines, meshes, rings, groups beyond a domain. The formulas stand here."""

from typing import Any

import numpy as np
import pytest
import toys

from gcsim.machine import network, roofline
from gcsim.machine.counts import kv_bytes_per_token, weight_bytes
from gcsim.machine.machine import bind
from gcsim.machine.placement import place
from gcsim.machine.roofline import PARTS, batch, fullest
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Pool, Speculation
from gcsim.profiles.model import Model
from gcsim.profiles.resolve import load_chip, load_model
from gcsim.results.tables import request_table

US = 1e-6
MOE = {"d_ff": 128, "experts": 16, "experts_per_token": 2}


def parts(pool: Pool, model: Model, **sums: float) -> dict[str, float]:
    """The parts of one iteration [s]; communication: all of it, where nothing else is fixed."""
    found = roofline.iteration_s(bind(model, pool).table, batch(**sums))
    named = dict(zip(PARTS, found, strict=True))
    return {**named, "communication_s": named["links_s"] + named["latency_s"]}


def prompts(count: int, tokens: int, awaited: bool = True) -> dict[str, float]:
    """Chunks of so many tokens each, of as many prompts."""
    return {
        "prompt_tokens": count * tokens,
        "prompts": count,
        "logit_seqs": count * awaited,
        "prefill_pairs": count * roofline.causal_pairs(float(tokens), 0.0),
        "prefill_kv": count * tokens,
    }


def decoding(seqs: int, context: int) -> dict[str, float]:
    return {"decode_seqs": seqs, "logit_seqs": seqs, "decode_kv": seqs * context}


def linked(times: dict[str, Any] | None = None, **scale_up: Any) -> Chip:
    """A toy chip with these links inside a domain; 50 GB/s x 0.8 and 5 us out of it."""
    up = {"bandwidth": "100 GB/s", "latency": "2 us", "max_chips": 8, **scale_up}
    out = {"bandwidth": "50 GB/s", "latency": "5 us", "efficiency": 0.8}
    stack = {"none": {**toys.NO_TIMES, **(times or {})}}
    return toys.chip(interconnect={"scale_up": up, "scale_out": out}, stacks=stack)


# -- pipelines -------------------------------------------------------------------------------


def far_apart(stages: int) -> Pool:
    """Stages that hand over at once: what is left is the stages' own work."""
    links = {"bandwidth": "1e9 TB/s", "latency": 0, "max_chips": 64}
    out = {"bandwidth": "1e9 TB/s"}
    return Pool(chip=toys.chip(interconnect={"scale_up": links, "scale_out": out}), pp=stages)


@pytest.mark.parametrize("stages", [2, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_chunks_fill_a_pipeline(stages: int, count: int) -> None:
    """(p + m - 1) rounds of 1/p of the time of a micro-batch; m = min(p, chunks) of the iteration.

    One chunk is one micro-batch: it goes through all stages, so no pipeline makes it faster.
    """
    model, tokens = toys.model(), 2000
    m = min(stages, count)
    one = batch(**{name: sum_ / m for name, sum_ in prompts(count, tokens).items()})
    whole = roofline.iteration_s(bind(model, far_apart(1)).table, one)[0]
    found = parts(far_apart(stages), model, **prompts(count, tokens))["busy_s"]
    assert found == pytest.approx((stages + m - 1) / stages * whole, rel=1e-9)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_every_micro_batch_launches_in_every_stage(count: int) -> None:
    """(p + m - 1)/p of the launches of all layers, 10 us each, and of an iteration, 50 us."""
    chip, stages = linked({"layer_overhead": "10 us", "iteration_overhead": "50 us"}), 4
    found = parts(Pool(chip=chip, pp=stages), toys.model(), **prompts(count, 500))
    rounds = (stages + min(stages, count) - 1) / stages
    handovers = 3 * 2 * US  # of one micro-batch
    assert found["latency_s"] == pytest.approx(rounds * (90 * US + handovers), rel=1e-9)


def test_one_prompt_on_two_by_four_takes_as_long_as_on_two_chips() -> None:
    """Llama 3.3 70B, 8,192 tokens: 2 N T / (2 P e) at tp 2, whatever pp; hand-overs are 1%."""
    model, chip = load_model("llama-3.3-70b"), load_chip("h200-sxm")
    two = parts(Pool(chip=chip, tp=2), model, **prompts(1, 8192))
    staged = parts(Pool(chip=chip, tp=2, pp=4), model, **prompts(1, 8192))
    floor_s = 2 * 68.5e9 * 8192 / (2 * chip.compute.bf16.value * chip.efficiency.gemm_bf16.value)
    assert staged["compute_s"] == pytest.approx(two["compute_s"], rel=1e-9)
    assert staged["compute_s"] > floor_s
    assert two["busy_s"] < staged["busy_s"] < two["busy_s"] * 1.01


def test_chunks_of_a_long_prompt_follow_each_other() -> None:
    """Four chunks in four stages: 3 rounds that end no prompt, then 4: p + m - 1 = 7."""
    model, pool = toys.model(), far_apart(4)
    chunk = parts(far_apart(1), model, **prompts(1, 2000, awaited=False))["compute_s"] / 4
    first = parts(pool, model, **prompts(1, 2000, awaited=False))["compute_s"]
    last = parts(pool, model, **prompts(1, 2000))["compute_s"]
    assert 3 * first + last == pytest.approx((4 + 4 - 1) * chunk, rel=1e-2)  # the head apart


@pytest.mark.parametrize("seqs", [1, 2, 3, 8, 64])
def test_sequences_decode_without_bubbles(seqs: int) -> None:
    """p batches in flight: a sequence has its next token after p rounds of its own micro-batch."""
    model, stages = toys.model(), 4
    share = min(stages, seqs)
    alone = parts(far_apart(1), model, **decoding(seqs, 500))
    one = batch(**{name: sum_ / share for name, sum_ in decoding(seqs, 500).items()})
    found = parts(far_apart(stages), model, **decoding(seqs, 500))["busy_s"]
    expected = roofline.iteration_s(bind(model, far_apart(1)).table, one)[0]
    assert found == pytest.approx(expected, rel=1e-9)
    assert found <= alone["busy_s"] * (1 + 1e-12)


def test_stages_talk_near_within_the_domain_and_out_beyond_it() -> None:
    """tp 4, pp 4 on domains of 8: stages 0-1 and 2-3 share one, 1-2 do not.

    Near: 2 us + m/4/100e9; out: 5 us + m/4/40e9; each then gathers 3/4 m/100e9 over tp.
    """
    model, tokens = toys.model(), 100
    m = 2.0 * model.hidden * tokens
    near, out = 2 * US + m / 4 / 100e9, 5 * US + m / 4 / 40e9
    way = network.handovers(linked(), 4, 4, 4)
    gather = 0.75 * m / 100e9
    assert way.fixed_s + way.s_per_byte * m == pytest.approx(2 * near + out + 3 * gather, rel=1e-12)
    pool = Pool(chip=linked(), tp=4, pp=4)
    found = parts(pool, model, **prompts(1, tokens))["communication_s"]
    reduces = parts(Pool(chip=linked(), tp=4), model, **prompts(1, tokens))["communication_s"]
    assert found == pytest.approx(reduces + 2 * near + out + 3 * gather, rel=1e-9)


@pytest.mark.parametrize(("layers", "stages", "fullest"), [(4, 2, 2), (5, 2, 3), (61, 8, 8)])
def test_kv_of_a_pipeline_is_what_its_fullest_stage_holds(
    layers: int, stages: int, fullest: int
) -> None:
    """(memory - weights of the fullest stage) / (KV bytes of a token in its layers)."""
    model = toys.model(layers=layers)
    found = place(model, Pool(chip=toys.chip(), pp=stages))
    sizes, part = weight_bytes(model), fullest / layers
    weights = sizes.total * part  # the head and the table are shared out like the layers
    kv = kv_bytes_per_token(model).full * part
    assert found.kv_tokens == pytest.approx((80e9 * 0.92 - weights) / kv, rel=1e-6)


# -- links inside a domain -------------------------------------------------------------------


@pytest.mark.parametrize("chips", [2, 4, 8])
def test_chips_of_a_mesh_have_a_link_to_each_other_and_no_more(chips: int) -> None:
    """MI300X: n - 1 of 7 links of 64 GB/s; 2 (n - 1)/n m over them is 2 m / (n x 64 GB/s)."""
    chip = load_chip("mi300x")
    link = 64e9 * chip.efficiency.link.value
    found = network.reach(chip, chips)
    assert found.near == pytest.approx((chips - 1) * link, rel=1e-12)
    one_shot, two_step = network.all_reduce(found, 0.0)
    assert two_step.s_per_byte == pytest.approx(2 / (chips * link), rel=1e-12)
    assert one_shot.s_per_byte == pytest.approx(1 / link, rel=1e-12)
    assert network.all_to_all(found, 0.0).s_per_byte == pytest.approx(1 / (chips * link), rel=1e-12)


def test_a_switch_gives_each_pair_all_of_it() -> None:
    chip = load_chip("h100-sxm")
    whole = 450e9 * chip.efficiency.link.value
    assert network.reach(chip, 2).near == network.reach(chip, 8).near == pytest.approx(whole)


def test_meshes_of_eight_cross_the_switch() -> None:
    """SN50, 16 chips: 7/8 of m twice over 700 GB/s, and twice half of m/8 over 200 GB/s."""
    chip = load_chip("sn50")
    near, far = (gb * 1e9 * chip.efficiency.link.value for gb in (700, 200))
    hop = chip.interconnect.scale_up.latency.value
    one_shot, two_step = network.all_reduce(network.reach(chip, 16), 3 * US)
    assert two_step.fixed_s == pytest.approx(3 * US + 4 * hop, rel=1e-12)
    assert two_step.s_per_byte == pytest.approx(2 * 7 / 8 / near + 2 / 2 / 8 / far, rel=1e-12)
    assert one_shot.s_per_byte == pytest.approx(max(7 / near, 8 / far), rel=1e-12)
    within = network.all_reduce(network.reach(chip, 8), 0.0)[1]
    assert within.s_per_byte == pytest.approx(2 * 7 / 8 / near, rel=1e-12)
    spread = network.all_to_all(network.reach(chip, 16), 0.0)
    assert spread.s_per_byte == pytest.approx(max(7 / 16 / near, 8 / 16 / far), rel=1e-12)


@pytest.mark.parametrize("chips", [2, 4, 8])
def test_a_ring_passes_on(chips: int) -> None:
    """2 (n - 1) hops of 2 us and 2 (n - 1)/n m / B; in an all-to-all each byte takes n/4 hops."""
    ring = network.reach(linked(topology="torus"), chips)
    one_shot, two_step = network.all_reduce(ring, 7 * US)
    assert two_step.fixed_s == pytest.approx(7 * US + 2 * (chips - 1) * 2 * US, rel=1e-12)
    assert two_step.s_per_byte == pytest.approx(2 * (chips - 1) / chips / 100e9, rel=1e-12)
    assert one_shot.fixed_s == pytest.approx(7 * US + (chips - 1) * 2 * US, rel=1e-12)
    assert one_shot.s_per_byte == pytest.approx((chips - 1) / 100e9, rel=1e-12)
    distances = [min(d, chips - d) for d in range(chips)]
    loaded = sum(distances) / chips / 100e9
    if chips > 2:
        spread = network.all_to_all(ring, 0.0).s_per_byte
        assert spread == pytest.approx(loaded, rel=1e-12)


@pytest.mark.parametrize(("tp", "stages", "crossings"), [(4, 4, 1), (8, 2, 1), (4, 2, 0)])
def test_stages_in_different_meshes_talk_over_the_switch(
    tp: int, stages: int, crossings: int
) -> None:
    """Domains of 16 in meshes of 8: m/tp over a link of 100/7 GB/s, or over 20 GB/s of switch."""
    chip = linked(topology="mesh", mesh_chips=8, max_chips=16, switch_bandwidth="20 GB/s")
    way = network.handovers(chip, tp, tp, stages)
    gather = (tp - 1) / tp / network.reach(chip, tp).near
    near, far = 7 / 100e9 / tp, 1 / 20e9 / tp
    by_hand = (stages - 1 - crossings) * near + crossings * far + (stages - 1) * gather
    assert way.s_per_byte == pytest.approx(by_hand, rel=1e-12)


# -- expert groups ---------------------------------------------------------------------------


def test_an_expert_layer_dispatches_and_combines() -> None:
    """2 x 4 MoE layers x (a + b log2(8/2) + 7/8 m/B); m: 2 of 16 experts, 2 d bytes, T of a group.

    tp 1: no all-reduce. Counted once, or without its chosen experts, it would be half.
    """
    times = {**toys.NO_TIMES, "all_reduce_latency": "10 us"}
    times["all_reduce_latency_per_doubling"] = "3 us"
    chip, model = toys.chip(stacks={"none": times}), toys.model(ffn=MOE)
    tokens = 800
    m = 2 * 2.0 * model.hidden * tokens
    expected = 2 * 4 * (16 * US + 7 / 8 * m / 100e9)
    found = parts(Pool(chip=chip, ep=8), model, **prompts(1, tokens))["communication_s"]
    assert found == pytest.approx(expected, rel=1e-9)


def test_an_expert_layer_reduces_once_over_the_chips_of_its_group() -> None:
    """tp 2 x ep 4: attention is added up over 2 chips, and dispatch and combine do the rest.

    4 x (a + m/B), for the one-shot of two chips sends each its all, and 2 x 4 x (a + b log2(8/2) +
    7/8 min(k, 8)/8 4 m/B), k = 2; m: 2 d bytes of T tokens of a group, of which there are 4.
    """
    times = {**toys.NO_TIMES, "all_reduce_latency": "10 us"}
    times["all_reduce_latency_per_doubling"] = "3 us"
    chip, model, tokens = toys.chip(stacks={"none": times}), toys.model(ffn=MOE), 800
    m = 2.0 * model.hidden * tokens
    expected = 4 * (10 * US + m / 100e9) + 2 * 4 * (16 * US + 7 / 8 * 2 / 8 * 4 * m / 100e9)
    found = parts(Pool(chip=chip, tp=2, ep=4), model, **prompts(1, tokens))
    assert found["communication_s"] == pytest.approx(expected, rel=1e-9)
    whole = parts(Pool(chip=chip, tp=2), model, **prompts(1, tokens))["communication_s"]
    assert whole == pytest.approx(2 * 4 * (10 * US + m / 100e9), rel=1e-9)


def test_launches_and_starts_of_collectives_are_one_latency() -> None:
    """By hand: what is left when rates are infinite, and links what their bytes take.

    tp 4, pp 2 inside of a domain of 8; per layer 10 us to launch, two all-reduces of a 7 us start;
    one hand-over of 2 us. A small batch goes one-shot (3 m/B, no hops), a large one in two steps
    (2 x 3/4 m/B, two hops); 1/4 of all collectives hides behind compute.
    """
    times: dict[str, Any] = {"layer_overhead": "10 us", "all_reduce_latency": "7 us"}
    times |= {"iteration_overhead": "50 us", "comm_overlap": 0.25}
    model, pool = toys.model(), Pool(chip=linked(times), tp=4, pp=2)
    for tokens, hops, part in ((4, 0, 3.0), (4000, 2, 1.5)):
        found, m = parts(pool, model, **prompts(1, tokens)), 2.0 * model.hidden * tokens
        starts = 8 * (7 * US + hops * 2 * US) + 2 * US
        latency = 4 * 10 * US + 50 * US + 0.75 * starts
        links = 0.75 * (8 * part + 0.25 + 0.75) * m / 100e9
        assert found["latency_s"] == pytest.approx(latency, rel=1e-9)
        assert found["links_s"] == pytest.approx(links, rel=1e-9)
        assert sum(found[name] for name in PARTS[1:]) == pytest.approx(found["busy_s"], rel=1e-12)


def test_drafting_takes_of_every_part_as_much_more() -> None:
    chip = linked({"layer_overhead": "10 us", "all_reduce_latency": "7 us"})
    free, dear = (
        parts(Pool(chip=chip, tp=4, speculation=spec), toys.model(), **decoding(8, 900))
        for spec in (Speculation(draft_tokens=2, acceptance=0.7, draft_cost=c) for c in (0.0, 0.3))
    )
    assert dear["busy_s"] > 1.2 * free["busy_s"]
    for name in PARTS:
        assert dear[name] == pytest.approx(free[name] * dear["busy_s"] / free["busy_s"], rel=1e-9)


def test_communication_that_overlaps_is_not_waited_for() -> None:
    def communication_s(**more: Any) -> float:
        chip = toys.chip(stacks={"none": {**toys.NO_TIMES, **more}})
        return parts(Pool(chip=chip, tp=4), toys.model(), **prompts(1, 900))["communication_s"]

    assert communication_s(comm_overlap=0.75) == pytest.approx(communication_s() / 4, rel=1e-12)


def test_groups_beyond_a_domain_go_through_the_cards() -> None:
    """32 ranks in 4 domains of 8, 2 experts a token: once to each of 2 domains, 3/4 of them others.

    Out: 2 x 3/4 t / (32 x 40 GB/s); inside: 2 x 7/8 t / (32 x 100 GB/s); the slower counts.
    """
    way = network.dispatch(linked(), 32, 2, 7 * US)
    assert way.fixed_s == pytest.approx(12 * US, rel=1e-12)
    out, inside = 2 * 3 / 4 / 32 / 40e9, 2 * 7 / 8 / 32 / 100e9
    assert way.s_per_byte == pytest.approx(max(out, inside), rel=1e-12)
    within = network.dispatch(linked(), 8, 2, 7 * US)
    assert within.fixed_s == pytest.approx(7 * US, rel=1e-12)
    assert within.s_per_byte == pytest.approx(2 * 7 / 8 / 8 / 100e9, rel=1e-12)


@pytest.mark.parametrize(("ranks", "published_us"), [(64, 314), (128, 369), (256, 360)])
def test_wide_groups_against_published_kernels(ranks: int, published_us: float) -> None:
    """DeepEP, H800 with 400G cards: combine of 128 tokens a rank, 7168 wide, 8 experts, BF16.

    Its low-latency kernels send a copy per expert; at 8 experts in 8 or more domains that is what
    (6) counts.
    """
    token = 2 * 7168.0
    way = network.dispatch(load_chip("h100-sxm"), ranks, 8, 0.0)
    found_us = (way.fixed_s + way.s_per_byte * token * 128 * ranks) / US
    assert found_us == pytest.approx(published_us, rel=0.15)


def test_only_groups_and_stages_go_beyond_a_domain() -> None:
    chip = load_chip("h200-sxm")
    assert Pool(chip=chip, tp=8, ep=4).chips_per_replica == 32
    with pytest.raises(ValueError, match=r"tp = 16 chips, but the scale-up links .* reach 8"):
        Pool(chip=chip, tp=16)
    with pytest.raises(ValueError, match="fill these"):
        Pool(chip=chip, tp=3, ep=4)


# -- the fullest rank ------------------------------------------------------------------------


def drawn(experts: int, per_token: int, tokens: int, ranks: int) -> tuple[float, float]:
    """Monte Carlo: mean over layers of the most (experts touched, tokens) that a rank has."""
    rng, layers = np.random.default_rng(7), max(60, min(1500, 2_000_000 // (tokens * experts)))
    most = np.zeros(2)
    for _ in range(layers):
        chosen = rng.random((tokens, experts)).argpartition(per_token - 1, axis=1)[:, :per_token]
        hits = np.bincount(chosen.ravel(), minlength=experts).reshape(ranks, -1)
        most += (hits > 0).sum(axis=1).max(), hits.sum(axis=1).max()
    touched, received = most / layers
    return float(touched), float(received)


def test_eight_experts_over_eight_ranks_put_two_and_a_half_on_one() -> None:
    """One token, 8 of 256 experts: the fullest of 8 ranks has 2.55 times the mean of 1."""
    touched, received = drawn(256, 8, 1, 8)
    assert touched == received == pytest.approx(2.55, rel=0.02)
    assert fullest(32.0, 8 / 256, 8.0) == pytest.approx(touched, rel=0.02)
    pool = Pool(chip=toys.chip(), ep=8)
    model = toys.model(ffn={"d_ff": 128, "experts": 256, "experts_per_token": 8})
    even = 4 * 8 / 8 * 3 * model.hidden * 128 * 2 / 1e12  # were each rank to read one expert
    assert parts(pool, model, **decoding(1, 10))["experts_s"] == pytest.approx(
        2.55 * even, rel=0.03
    )


@pytest.mark.parametrize(("experts", "per_token"), [(8, 2), (128, 4), (256, 8), (512, 10)])
@pytest.mark.parametrize("tokens", [1, 3, 16, 128, 1024])
@pytest.mark.parametrize("ranks", [2, 8, 32])
def test_the_fullest_rank_against_a_draw(
    experts: int, per_token: int, tokens: int, ranks: int
) -> None:
    """Within 3%, 8% where a layer gets eight (token, expert) pairs or fewer."""
    if ranks > experts:
        pytest.skip("more ranks than experts")
    own, off = experts / ranks, 0.03 if per_token * tokens > 8 else 0.08
    touched, received = drawn(experts, per_token, tokens, ranks)
    chance = 1 - (1 - per_token / experts) ** tokens
    assert fullest(own, chance, float(ranks)) == pytest.approx(touched, rel=off)
    found = fullest(own * tokens, per_token / experts, float(ranks))
    assert found == pytest.approx(received, rel=off)


def test_an_expert_layer_lasts_as_long_as_its_fullest_rank() -> None:
    """Bytes: touched experts of that rank x size / B; FLOPs: its tokens x 2 x size / P."""
    model = toys.model(ffn=MOE)
    size, tokens = 3.0 * model.hidden * 128, 4096
    pool = Pool(chip=toys.chip(), ep=8)
    at_one = parts(pool, model, **decoding(1, 10))["experts_s"]
    moved = 4 * 2 / 8 * 2 * (2 + 1) * 2.0 * model.hidden / 2 / 1e12  # activations, below 1%
    touched = fullest(2.0, 2 / 16, 8.0)
    assert at_one == pytest.approx(4 * touched * size * 2 / 1e12 + moved, rel=0.01)
    received = fullest(2.0 * tokens, 2 / 16, 8.0)

    def computed_s(**more: Any) -> float:
        stack = {**toys.NO_TIMES, **more}
        busy = Pool(chip=toys.chip(stacks={"none": stack}), ep=8)
        return parts(busy, model, **prompts(1, tokens))["compute_s"]

    even = computed_s()
    extra = 4 * 2 * size * received / 100e12
    assert computed_s(expert_imbalance=1.5) - even == pytest.approx(extra / 2, rel=1e-6)


def test_experts_in_parts_have_no_fullest_rank() -> None:
    """tp alone: every chip has its part of each expert."""
    model = toys.model(ffn=MOE)
    whole = parts(Pool(chip=toys.chip()), model, **decoding(3, 10))["experts_s"]
    split = parts(Pool(chip=toys.chip(), tp=8), model, **decoding(3, 10))["experts_s"]
    assert split == pytest.approx(whole / 8, rel=1e-9)


# -- memory, prompts and drafts --------------------------------------------------------------


def test_kv_of_gpt_oss_on_one_h100_is_what_a_server_logs() -> None:
    """64.4 GiB loaded, about 50,000 tokens of KV (vLLM issues 33155, 27508); we said 375,000.

    0.92 x 80 GiB - 4.3 GB - 60.9 GB x 3072/2880 - 7.4 GiB = 1.8 GB, at 36,864 B a token.
    """
    model, chip = load_model("gpt-oss-120b"), load_chip("h100-sxm")
    found = place(model, Pool(chip=chip))
    weights = sum(sum(use.weights.values()) for use in found.tiers)
    assert weights / 2**30 == pytest.approx(64.4, rel=0.01)
    assert found.kv_tokens == pytest.approx(50_000, rel=0.15)
    sizes = weight_bytes(model)
    by_hand = 0.92 * 80 * 2**30 - (sizes.total - sizes.experts) - sizes.experts * 3072 / 2880
    assert found.kv_tokens == pytest.approx((by_hand - 7.4 * 2**30) / 36_864, rel=0.001)


def test_kv_of_a_dense_model_on_two_h100_is_what_a_server_logs() -> None:
    """Qwen3-32B, tp 2: 307,328 tokens (llm-d's benchmark of vLLM)."""
    found = place(load_model("qwen3-32b"), Pool(chip=load_chip("h100-sxm"), tp=2))
    assert found.kv_tokens == pytest.approx(307_328, rel=0.15)


def test_latent_attention_expands_what_is_cached_or_absorbs() -> None:
    """Per layer and head: 2 x 512 x 256 a cached token to expand; 2 x 320 a pair, or 2 x 1,088.

    128 tokens after 64k: expanding 64k costs more than absorbing; 8,192 after 8,192: less.
    """
    model = load_model("deepseek-r1")
    memory = [
        {"tier": "hbm", "capacity": "9 TB", "bandwidth": "1e9 TB/s", "holds": ["weights", "kv"]}
    ]
    pool = Pool(chip=toys.chip(memory=memory, compute={"bf16": "100 TFLOP/s"}))

    def attention_flops(new: int, past: int) -> float:
        def flops(pairs: float, kv: int) -> float:
            sums = {"prompt_tokens": new, "prompts": 1, "prefill_pairs": pairs, "prefill_kv": kv}
            return parts(pool, model, **sums)["compute_s"] * 100e12

        return flops(roofline.causal_pairs(float(new), float(past)), past + new) - flops(0.0, new)

    for new, past in ((128, 65_536), (8192, 8192), (8192, 0)):
        pairs = new * past + new * (new + 1) / 2
        expanded = 61 * 128 * (2 * 320 * pairs + 2 * 512 * 256 * past)
        absorbed = 61 * 128 * 2 * 1088 * pairs
        assert attention_flops(new, past) == pytest.approx(min(expanded, absorbed), rel=1e-6)


def test_drafting_costs_a_part_of_what_decodes_and_no_prompt() -> None:
    """1.5 x the time of decode alone, and the prompt's own time once."""
    model = toys.model()

    def busy_s(cost: float, **sums: float) -> float:
        spec = {"draft_tokens": 3, "acceptance": 0.5, "draft_cost": cost}
        return parts(Pool(chip=toys.chip(), speculation=spec), model, **sums)["busy_s"]

    decode, both = decoding(8, 1000), {**prompts(1, 4000), **decoding(8, 1000)}
    both["logit_seqs"] = 9
    assert busy_s(0.5, **decode) == pytest.approx(1.5 * busy_s(0.0, **decode), rel=1e-12)
    extra = busy_s(0.5, **both) - busy_s(0.0, **both)
    assert extra == pytest.approx(0.5 * busy_s(0.0, **decode), rel=1e-9)
    assert busy_s(0.5, **prompts(1, 4000)) == busy_s(0.0, **prompts(1, 4000))


# -- tokenizing ------------------------------------------------------------------------------


def test_a_prompt_is_tokenized_before_it_is_queued_and_again_where_it_decodes() -> None:
    """2 us x 1,000 tokens on arrival, part of TTFT and `network`; as much in `kv_transfer`."""

    def served(again: bool, **times: Any) -> Any:
        chip = toys.chip(stacks={"none": {**toys.NO_TIMES, **times, "tokenizes_again": again}})
        what = toys.deployment(
            {"in": {"role": "prefill", "chip": chip}, "out": {"role": "decode", "chip": chip}},
            links=[{"from": "in", "to": "out", "bandwidth": "1 GB/s", "efficiency": 1}],
            kv_handoff={"first_token_from": "decode"},
        )
        played = toys.serve(what, [toys.one_step(0, 1000, 5)])
        return request_table(played).iloc[0]

    free, once = served(False), served(False, tokenize_per_token="2 us")
    twice = served(True, tokenize_per_token="2 us")
    for name in ("ttft_s", "e2e_s", "network_s"):
        assert once[name] - free[name] == pytest.approx(2e-3, abs=1e-9)
    assert once["queue_s"] == free["queue_s"]
    assert twice["kv_transfer_s"] - once["kv_transfer_s"] == pytest.approx(2e-3, abs=1e-9)
    assert twice["ttft_s"] - once["ttft_s"] == pytest.approx(2e-3, abs=1e-9)
