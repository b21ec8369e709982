"""Drafters by their layers and their published acceptance, against pairs measured off and on.

No factor is fitted to these pairs. Tokens per step are those of SPEED-Bench coding, which is not
the text of the pairs, and the stacks are not the versions of the shipped factors.
"""

import numpy as np
import pytest
import toys

from gcsim.calibration.match import formats_of
from gcsim.errors import ProfileError
from gcsim.machine.drafter import bytes_of, tokens_per_step
from gcsim.machine.machine import bind
from gcsim.machine.placement import place
from gcsim.machine.roofline import BYTES, X_STATES, batch, iteration_s
from gcsim.profiles.deployment import Pool
from gcsim.profiles.model import Model
from gcsim.profiles.resolve import load_chip, load_model

# model, drafter, chip, tp, format as published; (users, draft tokens): tokens/s on over off.
KIMI_GB200 = {(1, 3): 320.0 / 157.5, (4, 3): 214.6 / 125.6, (16, 3): 132.1 / 79.6}
KIMI_MI355X = {
    (4, 3): 157 / 83,
    (8, 3): 269 / 142,
    (16, 3): 400 / 220,
    (32, 3): 628 / 342,
    (64, 3): 902 / 533,
}
V4_OFF = {1: 101, 16: 71.8, 64: 45.7, 128: 37.3, 256: 29.4}
V4_ON = {
    1: {1: 154, 16: 90.7, 64: 64.2, 128: 50.3, 256: 39.8},
    3: {1: 233, 16: 125.8, 64: 82.0, 128: 64.2, 256: 44.2},
    7: {1: 253, 16: 126.1, 64: 79.2, 128: 54.6, 256: 34.3},
}
V4 = {(n, k): on / V4_OFF[n] for k, row in V4_ON.items() for n, on in row.items()}
PAIRS = [
    # vLLM blog 2026-05-26-eagle-3-1 (Kimi K2.6, k = 3)
    ("kimi-k2", "eagle3", "gb200", 4, "nvfp4", KIMI_GB200),
    # vLLM blog 2026-07-13-eagle-3-amd-instinct (Kimi K2.5, 1k/1k, per GPU)
    ("kimi-k2", "eagle3", "mi355x", 4, "mxfp4", KIMI_MI355X),
    # vLLM blog 2026-08-14-dspark-adaptive-verification (read from its chart)
    ("deepseek-v4-pro", "dspark", "b300", 8, "unstated", V4),
]
CONTEXT = 1500  # tokens, on the way through 1k/1k

GQA = {"kind": "gqa", "q_heads": 8, "kv_heads": 4, "head_dim": 32}
DENSE = {"kind": "dense", "d_ff": 1024}
ACCEPTED = {"tokens_per_step": [1.5, 1.8], "kind": "given", "source": "nobody"}


def drafted(**changes: object) -> Model:
    drafter = {
        "name": "toy",
        "method": "a layer of the model",
        "layers": [{"mixer": {"kind": "fused", "inputs": 2, "of": GQA}, "ffn": DENSE}],
        "accepted": [{"domain": "code", **ACCEPTED}, {"domain": "chat", **ACCEPTED}],
        **changes,
    }
    return toys.runs((4, GQA), drafters=[drafter])


def token_s(model: Model, pool: Pool, users: int) -> float:
    machine = bind(model, pool)
    what = {"decode_seqs": users, "logit_seqs": users, "decode_kv": users * CONTEXT}
    sums = batch(**what, decode_window_kv=users * machine.seen(CONTEXT))
    return float(iteration_s(machine.table, sums)[0]) * 1e6 / machine.accepted_ppm


def test_the_gain_is_that_of_published_pairs() -> None:
    published, modeled = [], []
    for name, drafter, chip_name, tp, dtype, pairs in PAIRS:
        chip, model = load_chip(chip_name), load_model(name)
        model = model.model_copy(update={"weights": formats_of(model, dtype, chip)})
        off = Pool(chip=chip, tp=tp, stack="vllm" if "vllm" in chip.stacks else None)
        for (users, k), gain in pairs.items():
            speculation = {"drafter": drafter, "draft_tokens": k}
            on = Pool.model_validate({**dict(off), "speculation": speculation})
            published.append(gain)
            modeled.append(token_s(model, off, users) / token_s(model, on, users))
    errors = np.abs(np.array(modeled) / published - 1)
    same = (np.array(modeled) > 1) == (np.array(published) > 1)
    assert len(errors) == 23
    assert np.median(errors) < 0.15
    assert np.mean(same) >= 0.9
    assert np.max(errors) < 0.4


def test_a_pass_of_a_drafter_reads_its_layer_and_the_head() -> None:
    """At one sequence of a memory-bound machine, k times what it has to read, and its KV."""
    model, pool = drafted(), Pool(chip=toys.chip())
    machines = {
        k: bind(model, pool.model_copy(update={"speculation": speculation(k)})) for k in (1, 2)
    }
    alone = batch(decode_seqs=1, logit_seqs=1, decode_kv=1000)
    layer = 256 * 256 * 2 + 3 * 256 * 256 + 128 * 2 * 256 - 256 * 256 + 3 * 256 * 1024
    one, two = (iteration_s(machines[k].table, alone)[0] for k in (1, 2))
    floor = (2 * layer + 2 * 256 * 1000 + 2 * 4 * 32 * 2 * 1000) / 1e12
    assert two - one == pytest.approx(floor, rel=0.02)


def speculation(k: int, **more: object) -> object:
    return Pool.model_validate(
        {"chip": toys.chip(), "speculation": {"drafter": "toy", "draft_tokens": k, **more}}
    ).speculation


def test_a_drafter_takes_memory_and_kv() -> None:
    plain, pool = toys.runs((4, GQA)), Pool(chip=toys.chip())
    on = pool.model_copy(update={"speculation": speculation(2)})
    without, beside = place(plain, pool), place(drafted(), on)
    assert beside.kv_bytes_per_chip_token == without.kv_bytes_per_chip_token * 5 / 4
    assert bind(drafted(), on).handoff_bytes(10, 10) == 50 * 2 * 4 * 32 * 2, "and it is sent"
    own = drafted(vocab=500)
    assert bytes_of(own, on).rest - bytes_of(drafted(), on).rest == 500 * 256 * 2
    held = [sum(sum(use.weights.values()) for use in of.tiers) for of in (without, beside)]
    assert held[1] - held[0] == pytest.approx(bytes_of(drafted(), on).rest)


def test_a_state_is_kept_after_every_token_that_is_verified() -> None:
    """So that a refused one leaves no trace: one state is read, and 1 + k are written."""
    states = {"kind": "linear", "heads": 8, "key_dim": 32, "value_dim": 32}
    model, state = toys.runs((3, states), (1, GQA)), 3 * (8 * 32 * 32 * 4 + 3 * 3 * 256 * 2)
    plain = Pool(chip=toys.chip(), prefix_cache_tokens=0)
    given = {"draft_tokens": 3, "acceptance": 0.5, "draft_cost": 0}
    on = Pool.model_validate({**dict(plain), "speculation": given})
    off, machine = bind(model, plain), bind(model, on)
    block = 16 * 2 * 4 * 32 * 2
    assert (off.blocks_per_seq, machine.blocks_per_seq) == (
        -(-state // block),
        -(-4 * state // block),
    )
    assert machine.table[BYTES, X_STATES] == 5 * state
    assert off.table[BYTES, X_STATES] == 2 * state


def test_prompts_pass_the_drafter_too() -> None:
    pool = Pool(chip=toys.chip())
    on = pool.model_copy(update={"speculation": speculation(2)})
    times = [bind(drafted(), each).prompt_ns(20_000) for each in (pool, on)]
    assert 1.15 < times[1] / times[0] < 1.45, "a fifth layer, and what it is fed with"


def test_tokens_per_step() -> None:
    def of(**given: object) -> tuple[int, float]:
        pool = Pool.model_validate({"chip": toys.chip(), "speculation": given})
        return tokens_per_step(drafted(), pool)

    assert of(draft_tokens=2, drafter="toy") == (3, 1.8)
    assert of(draft_tokens=3, drafter="toy", acceptance=0.5) == (4, 1.875)
    assert of(draft_tokens=3, acceptance=0, draft_cost=0) == (4, 1.0)
    assert of(draft_tokens=3, acceptance=1, draft_cost=0) == (4, 4.0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"drafter": "top"}, r"no drafter of this name \(it has: toy\).*did you mean 'toy'"),
        ({"draft_tokens": 3}, "published for 1 to 2 draft tokens"),
        ({"domain": "law"}, "no acceptance in domain 'law', only in code, chat"),
    ],
)
def test_what_a_drafter_cannot_do_is_told(given: dict[str, object], told: str) -> None:
    asked = {"drafter": "toy", "draft_tokens": 2, **given}
    pool = Pool.model_validate({"chip": toys.chip(), "speculation": asked})
    with pytest.raises(ProfileError, match=told):
        bind(drafted(), pool)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"draft_tokens": 2}, "a drafter, or acceptance and draft_cost"),
        ({"draft_tokens": 2, "drafter": "toy", "draft_cost": 0.1}, "follows from its layers"),
        ({"draft_tokens": 2, "domain": "x", "acceptance": 1, "draft_cost": 0}, "needs a drafter"),
    ],
)
def test_contradictions_are_told(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Pool.model_validate({"chip": toys.chip(), "speculation": given})


def test_more_tokens_than_are_drafted_are_impossible() -> None:
    with pytest.raises(ValueError, match=r"1 drafted tokens cannot yield 2\.5 per step"):
        drafted(accepted=[{"domain": "x", **ACCEPTED, "tokens_per_step": [2.5]}])


def test_the_window_of_a_drafter_is_its_models() -> None:
    mixer = {"kind": "fused", "inputs": 2, "of": {**GQA, "window": 64}}
    pool = Pool(chip=toys.chip()).model_copy(update={"speculation": speculation(2)})
    with pytest.raises(ProfileError, match="sees 64 tokens, its model 0"):
        bind(drafted(layers=[{"mixer": mixer, "ffn": DENSE}]), pool)
