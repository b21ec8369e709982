"""What the cost model must say in the cases that can be computed by hand."""

import itertools

import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from gcsim.machine import roofline
from gcsim.machine.counts import count, kv_bytes_per_token, weight_bytes
from gcsim.machine.layers import layers_of
from gcsim.machine.machine import Machine, bind
from gcsim.machine.roofline import TOTALS, batch
from gcsim.profiles.deployment import Pool
from gcsim.profiles.resolve import load_chip, load_model

CHIPS = ["sn40l", "sn50", "mi300x", "h100-sxm", "h200-sxm", "b200"]
MODELS = ["llama-3.1-8b", "gpt-oss-120b", "deepseek-r1", "mixtral-8x7b"]
PROFILES = {name: load_chip(name) for name in CHIPS}


def replica(chip, of: str) -> Pool:
    """Eight chips, or sixteen for the model that does not fit eight H100."""
    return Pool(chip=chip, tp=8, pp=2 if of == "deepseek-r1" else 1)


def decoding(model, context: int, seqs: int = 1):
    """A batch of sequences that decode."""
    window = min(layers_of(model).window, context) * seqs
    return batch(
        decode_seqs=seqs, logit_seqs=seqs, decode_kv=context * seqs, decode_window_kv=window
    )


def prompt(model, tokens: int):
    """A batch of one prompt."""
    window = layers_of(model).window
    inside = roofline.window_pairs(float(tokens), 0.0, float(window)) if window else 0.0
    return batch(
        prompt_tokens=tokens,
        prompts=tokens > 0,
        logit_seqs=tokens > 0,
        prefill_pairs=roofline.causal_pairs(float(tokens), 0.0),
        prefill_window_pairs=inside,
        prefill_kv=tokens,
        prefill_window_kv=min(tokens, window),
    )


def decode_s(pool: Pool, model, context: int, seqs: int = 1) -> float:
    return roofline.iteration_s(bind(model, pool).table, decoding(model, context, seqs))[0]


def prefill_s(pool: Pool, model, tokens: int) -> float:
    return roofline.iteration_s(bind(model, pool).table, prompt(model, tokens))[0]


def accounted(machine: Machine, what) -> dict[str, float]:
    """What one iteration adds to the totals in which every group has such a batch."""
    totals = np.zeros(len(TOTALS))
    gaps = np.zeros(roofline.GAP_BINS, np.int64)
    batches, firsts = np.tile(what, (machine.groups, 1)), np.zeros(machine.groups, np.int64)
    roofline.join(machine.table, batches)
    roofline.account_groups(machine.table, batches, totals, gaps, 1, firsts)
    return dict(zip(TOTALS, totals.tolist(), strict=True))


def test_an_iteration_is_shared_by_the_tokens_of_both_phases() -> None:
    """A prompt of 96 tokens beside 32 sequences: 3/4 prefill; alone all of it, or none."""
    model = load_model("llama-3.1-8b")
    machine = bind(model, Pool(chip=toys.chip()))
    both = prompt(model, 96) + decoding(model, 1000, 32)
    for what, share in ((prompt(model, 96), 1.0), (decoding(model, 1000, 32), 0.0), (both, 0.75)):
        found = accounted(machine, what)
        assert found["prefill_s"] == pytest.approx(share * found["busy_s"], rel=1e-12)
        assert found["prefill_compute_s"] == pytest.approx(share * found["compute_s"], rel=1e-12)
        alone, gaps = np.zeros(len(TOTALS)), np.zeros(roofline.GAP_BINS, np.int64)
        roofline.account(machine.table, what, alone, gaps, 1, 0)
        assert dict(zip(TOTALS, alone.tolist(), strict=True)) == pytest.approx(found, rel=1e-12)


def test_decode_of_one_sequence_reads_every_weight_once() -> None:
    """Batch 1 on an ideal chip: (weights + KV + activations) / bandwidth, embedding table apart."""
    model = load_model("llama-3.1-8b")
    pool = Pool(chip=toys.chip())
    context = 1000
    sizes = weight_bytes(model)
    moved = sizes.total - sizes.embedding - sizes.norms + context * kv_bytes_per_token(model).full
    ideal_s = moved / 1e12
    assert ideal_s <= decode_s(pool, model, context) < ideal_s * 1.001


def test_a_long_prompt_reaches_peak_flops() -> None:
    """Prefill on an ideal chip: 2 FLOPs per parameter and token, and 4 d per pair and layer."""
    model = load_model("llama-3.1-8b")
    tokens, sizes = 8192, count(load_model("llama-3.1-8b"))
    linear = 2 * tokens * (sizes.attention + sizes.ffn)
    attention = 4 * 4096 * 32 * (tokens * (tokens + 1) / 2)
    ideal_s = (linear + attention) / 100e12
    found = prefill_s(Pool(chip=toys.chip()), model, tokens)
    # The head multiplies one token only, but its weights are read.
    assert found == pytest.approx(ideal_s + 2 * sizes.head / 1e12, rel=1e-3)


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("of", MODELS)
def test_nothing_is_faster_than_physics(name: str, of: str) -> None:
    """No prediction lies below bytes / bandwidth or FLOPs / peak of the whole replica."""
    chip, model = PROFILES[name], load_model(of)
    pool = replica(chip, of)
    cost = bind(model, pool)
    for new, seqs, context in itertools.product([0, 1, 512], [0, 1, 64], [1, 4096]):
        if not new + seqs:
            continue
        found = accounted(cost, prompt(model, new) + decoding(model, context, seqs))
        busy_s = found["busy_s"]
        assert busy_s >= found["flops"] / cost.peak_flops_per_s * (1 - 1e-12)
        if chip.execution == "kernels":
            assert busy_s >= found["bytes"] / cost.peak_bytes_per_s * (1 - 1e-12)
        assert sum(found[part] for part in roofline.PARTS[1:]) == pytest.approx(busy_s, rel=1e-12)


def scaled(name: str, rate: float, latency: float):
    """A chip with all rates and all fixed times multiplied."""
    raw = PROFILES[name].model_dump(exclude_none=True)

    def scale(node):
        if isinstance(node, dict):
            if "dimension" in node:
                factor = {"flops_per_s": rate, "bytes_per_s": rate, "seconds": latency}
                return {
                    **node,
                    **{
                        k: node[k] * factor.get(node["dimension"], 1.0)
                        for k in ("value", "low", "high")
                        if k in node
                    },
                }
            return {key: scale(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [scale(item) for item in node]
        return node

    from gcsim.profiles.base import Quantity
    from gcsim.profiles.chip import Chip

    def build(node):
        if isinstance(node, dict):
            if "dimension" in node:
                return Quantity.model_validate(node)
            return {key: build(value) for key, value in node.items()}
        return [build(item) for item in node] if isinstance(node, list) else node

    return Chip.model_validate(build(scale(raw)))


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("of", MODELS)
def test_doubling_all_rates_and_halving_all_latencies_halves_time(name: str, of: str) -> None:
    model = load_model(of)
    slow, fast = replica(PROFILES[name], of), replica(scaled(name, 2.0, 0.5), of)
    for seqs in (1, 64):
        assert decode_s(fast, model, 4096, seqs) == pytest.approx(
            decode_s(slow, model, 4096, seqs) / 2, rel=1e-12
        )
    assert prefill_s(fast, model, 3000) == pytest.approx(
        prefill_s(slow, model, 3000) / 2, rel=1e-12
    )


@given(
    st.sampled_from(CHIPS),
    st.sampled_from(MODELS),
    st.integers(1, 128),
    st.integers(1, 100_000),
    st.floats(1.0, 10.0),
)
@settings(max_examples=30)
def test_more_bandwidth_is_never_slower(
    name: str, of: str, seqs: int, context: int, factor: float
) -> None:
    model = load_model(of)
    base, more = replica(PROFILES[name], of), replica(scaled(name, factor, 1.0), of)
    assert decode_s(more, model, context, seqs) <= decode_s(base, model, context, seqs) * (
        1 + 1e-12
    )


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 200))
def test_window_pairs_count_every_pair(new: int, past: int, window: int) -> None:
    brute = sum(min(past + k, window) for k in range(1, new + 1))
    assert roofline.window_pairs(float(new), float(past), float(window)) == brute
    assert roofline.causal_pairs(float(new), float(past)) == sum(
        past + k for k in range(1, new + 1)
    )


def test_expected_experts_against_a_draw() -> None:
    rng = np.random.default_rng(1)
    draws = [
        len(set(np.concatenate([rng.choice(64, 4, replace=False) for _ in range(20)])))
        for _ in range(2_000)
    ]
    assert roofline.distinct_experts(64.0, 4.0, 20.0) == pytest.approx(np.mean(draws), rel=0.005)


@given(st.integers(1, 300), st.integers(0, 10**12), st.integers(1, 50), st.integers(0, 10**6))
def test_a_run_is_the_sum_of_its_iterations(n: int, start: int, seqs: int, kv: int) -> None:
    table = bind(load_model("gpt-oss-120b"), replica(PROFILES["mi300x"], "")).table

    def after(tokens: int):
        return batch(
            decode_seqs=seqs,
            logit_seqs=seqs,
            decode_kv=kv + tokens * seqs,
            decode_window_kv=seqs * 128,
        )

    whole = roofline.run_ns(table, after(0), n, 0, start, 1 << 62)
    now = start
    for k in range(n):
        _, now = roofline.run_ns(table, after(k), 1, k, now, 1 << 62)
    assert whole == (n, now)
    played, end = roofline.run_ns(table, after(0), n, 0, start, (start + now) // 2)
    assert played <= n
    assert end >= (start + now) // 2


def test_pipeline_stages_share_the_work_of_a_batch() -> None:
    """Two stages, two sequences: a round takes as long as one sequence through all layers."""
    model = toys.model()
    whole, staged = Pool(chip=toys.chip()), Pool(chip=toys.chip(), pp=2)
    assert decode_s(staged, model, 100, 2) == pytest.approx(
        decode_s(whole, model, 100, 1), rel=1e-2
    )


def test_speculation_verifies_more_tokens_and_yields_the_expected_number() -> None:
    """Expected tokens per iteration (1 - a^(k+1)) / (1 - a); Leviathan et al., ICML 2023."""
    spec = {"draft_tokens": 3, "acceptance": 0.5, "draft_cost": 0.0}
    cost = bind(toys.model(), Pool(chip=toys.chip(), speculation=spec))
    assert cost.accepted_ppm == 1_875_000
    assert cost.tokens_per_seq == 4


def ideal(model, flops: str, bandwidth: str, **parallel: int) -> Pool:
    memory = [
        {"tier": "hbm", "capacity": "9 TB", "bandwidth": bandwidth, "holds": ["weights", "kv"]}
    ]
    links = {"scale_up": {"bandwidth": "1e9 TB/s", "latency": 0, "max_chips": 64}}
    chip = toys.chip(
        compute={"bf16": flops},
        memory=memory,
        interconnect={**links, "scale_out": {"bandwidth": "1 GB/s"}},
    )
    return Pool(chip=chip, **parallel)


@pytest.mark.parametrize("of", [*MODELS, "qwen3-235b-a22b", "minimax-m2"])
@pytest.mark.parametrize("parallel", [{}, {"tp": 8}, {"tp": 2, "ep": 4}])
@pytest.mark.parametrize(("new", "seqs", "context"), [(700, 0, 0), (0, 16, 5000), (300, 8, 900)])
def test_without_memory_limits_time_is_the_flops_that_mfu_counts(
    of: str, parallel: dict[str, int], new: int, seqs: int, context: int
) -> None:
    model = load_model(of)
    if not model.ffn.experts and "ep" in parallel:
        pytest.skip("groups share experts")
    cost = bind(model, ideal(model, "100 TFLOP/s", "1e12 TB/s", **parallel))
    found = accounted(cost, prompt(model, new) + decoding(model, context, seqs))
    ideal_s = found["flops"] / cost.peak_flops_per_s
    if "ep" in parallel and model.ffn.experts:  # as long as the fullest rank takes
        assert ideal_s < found["busy_s"] < ideal_s * 1.7
    else:
        assert found["busy_s"] == pytest.approx(ideal_s, rel=1e-6)


@pytest.mark.parametrize("of", [*MODELS, "qwen3-235b-a22b", "minimax-m2"])
@pytest.mark.parametrize("seqs", [1, 64])
def test_without_compute_limits_time_is_the_bytes_that_mbu_counts(of: str, seqs: int) -> None:
    """On one chip; activations, which MBU leaves out, add less than a hundredth."""
    model = load_model(of)
    cost = bind(model, ideal(model, "1e12 TFLOP/s", "1 TB/s"))
    found = accounted(cost, decoding(model, 5000, seqs))
    ideal_s = found["bytes"] / 1e12
    assert ideal_s <= found["busy_s"] < ideal_s * 1.01


@pytest.mark.parametrize("drafts", [1, 3])
def test_every_verified_token_attends_to_the_whole_context(drafts: int) -> None:
    """4 q h FLOPs a pair and layer; 1 + k tokens of a sequence see all of its KV."""
    memory = [
        {"tier": "hbm", "capacity": "9 TB", "bandwidth": "1e9 TB/s", "holds": ["weights", "kv"]}
    ]
    model, chip = toys.model(), toys.chip(memory=memory)
    spec = {"draft_tokens": drafts, "acceptance": 0.5, "draft_cost": 0}
    table = bind(model, Pool(chip=chip, speculation=spec)).table

    def computed_s(context: int) -> float:
        return roofline.iteration_s(table, decoding(model, context))[1]

    per_pair = 4 * 4 * model.hidden / 100e12
    grown = computed_s(50_000) - computed_s(10_000)
    assert grown == pytest.approx(40_000 * (1 + drafts) * per_pair, rel=1e-9)


@pytest.mark.parametrize("seqs", [1, 40, 400])
@pytest.mark.parametrize("context", [1, 100, 300, 1000, 10_000])
def test_a_fused_chip_computes_and_reads_at_once(seqs: int, context: int) -> None:
    """t = max(sum of all C x, sum of all M x), and it counts as what is larger: equation (2)."""
    model = toys.model()
    machine = bind(model, Pool(chip=toys.chip(execution="fused")))
    what = decoding(model, context, seqs)
    x = {"iterations": 1, "tokens": seqs, "logits": seqs, "states": seqs}
    x |= {"decode_pairs": seqs * context, "kv": seqs * context}

    def times(rows) -> float:
        return sum(value * x.get(name, 0.0) for row in rows for name, value in row.items())

    computed = times(o.compute for o in machine.operators)
    read = times(o.memory for o in machine.operators)
    parts = dict(zip(roofline.PARTS, roofline.iteration_s(machine.table, what), strict=True))
    reading = parts["weights_s"] + parts["experts_s"] + parts["kv_s"]
    assert parts["busy_s"] == pytest.approx(max(computed, read), rel=1e-12)
    assert parts["compute_s"] == pytest.approx(computed if computed >= read else 0.0, rel=1e-12)
    assert reading == pytest.approx(0.0 if computed >= read else read, rel=1e-12)


def test_products_of_experts_reach_a_part_of_what_others_reach() -> None:
    """2 x active parameters x tokens / (P e_gemm e_expert): half of it takes twice as long."""
    model = toys.model(ffn={"d_ff": 512, "experts": 8, "experts_per_token": 2})

    def computed_s(part: float) -> float:
        chip = toys.chip(efficiency={**toys.EFFICIENCY, "expert_gemm": part})
        return roofline.iteration_s(bind(model, Pool(chip=chip)).table, prompt(model, 8192))[1]

    experts = 2 * 8192 * count(model).active_experts / 100e12
    assert computed_s(0.5) - computed_s(1) == pytest.approx(experts, rel=1e-9)


def test_a_prompt_adds_its_overhead_in_every_layer_once() -> None:
    """An iteration with prompts, however many, takes layers x the time longer."""
    times = {**toys.NO_TIMES, "prompt_layer_overhead": "7 us"}
    model, slow = toys.model(), toys.chip(stacks={"none": times})
    extra = prefill_s(Pool(chip=slow), model, 500) - prefill_s(Pool(chip=toys.chip()), model, 500)
    assert extra == pytest.approx(4 * 7e-6, rel=1e-9)
    assert decode_s(Pool(chip=slow), model, 500) == decode_s(Pool(chip=toys.chip()), model, 500)


def test_a_handoff_carries_whole_windows() -> None:
    """Sliding layers keep the last W tokens of a prompt: all of them travel, though few are new."""
    attention = {"kind": "gqa", "q_heads": 8, "kv_heads": 4, "head_dim": 32}
    model = toys.model(attention={**attention, "window": 100, "window_layers": 3})
    machine = bind(model, Pool(chip=toys.chip()))
    layer = 2 * 4 * 32 * 2  # K and V, 4 heads, 16 bit
    assert machine.handoff_bytes(10, 5000) == 10 * layer + 3 * 100 * layer
    assert machine.handoff_bytes(10, 40) == 10 * layer + 3 * 40 * layer


def test_groups_read_their_own_weights_each_and_experts_once() -> None:
    """Bytes of an iteration, as MBU counts them, of g groups with a token at context 1 each:

    g (attention + dense FFN + router + head + KV) + D(2 g) / E experts
    """
    model = toys.model(ffn={"d_ff": 512, "experts": 8, "experts_per_token": 2})
    sizes, what = weight_bytes(model), decoding(model, 1)
    own = sizes.attention + sizes.ffn + sizes.router + sizes.head + kv_bytes_per_token(model).full
    for groups in (1, 4):
        found = accounted(bind(model, Pool(chip=toys.chip(), ep=groups)), what)
        touched = 8 * (1 - (1 - 2 / 8) ** groups) / 8 * sizes.experts
        assert found["bytes"] == pytest.approx(groups * own + touched, rel=1e-9)


@given(st.integers(1, 64), st.integers(1, 50_000))
def test_an_iteration_ends_at_the_nearest_nanosecond(seqs: int, context: int) -> None:
    """Rounded, not cut off: over many iterations the clock is not fast."""
    model, pool = toys.model(), Pool(chip=toys.chip())
    table, what = bind(model, pool).table, decoding(model, context, seqs)
    exact_ns = roofline.iteration_s(table, what)[0] * 1e9
    assert abs(roofline.iteration_ns(table, what) - exact_ns) <= 0.5 + 1e-6
