"""Layers as kinds: gcsim.machine.kinds, layers. A new kind is one function, one line in a dict."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import toys

from gcsim.errors import ProfileError
from gcsim.machine import kinds, roofline
from gcsim.machine.counts import count, kv_bytes_per_token
from gcsim.machine.kinds import Sublayer
from gcsim.machine.layers import layers_of
from gcsim.machine.machine import bind
from gcsim.machine.placement import place
from gcsim.machine.roofline import batch, iteration_s
from gcsim.profiles.deployment import Pool
from gcsim.profiles.load import parse_mapping, validate
from gcsim.profiles.model import Model
from gcsim.profiles.resolve import load_chip, load_model

GQA = {"kind": "gqa", "q_heads": 8, "kv_heads": 4, "head_dim": 32}
LINEAR = {"kind": "toy", "heads": 8, "head_dim": 32}
DENSE = {"kind": "dense", "d_ff": 1024}


def linear(hidden: int, *, heads: int, head_dim: int) -> Sublayer:
    """A toy: a state of h^2 16-bit numbers per head, updated and read by every token; no KV."""
    return Sublayer(
        attention_params=4 * hidden * heads * head_dim,
        moved=4,
        heads=heads,
        state_bytes=2 * heads * head_dim**2,
        flops_per_token=4.0 * heads * head_dim**2,
    )


@pytest.fixture
def _linear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.MIXERS, "toy", linear)


def model(*runs: dict[str, Any], **more: Any) -> Model:
    data = toys.model().model_dump(exclude={"attention", "ffn", "runs"})
    return validate(Model, {**data, **more, "layers": list(runs)}, "toy.yaml")


def listed(of: Model) -> Model:
    """A shipped model written as runs of layers."""
    attention, ffn = of.attention, of.ffn
    assert attention is not None
    assert ffn is not None
    names = {"gqa": ("q_heads", "kv_heads", "head_dim", "bias")}
    names["mla"] = ("q_heads", "q_lora", "kv_lora", "rope_dim", "nope_dim", "v_dim")
    mixer = {name: getattr(attention, name) for name in ("kind", *names[attention.kind])}
    sliding = {**mixer, "window": attention.window}
    expert = {"kind": "moe", **ffn.model_dump(exclude={"dense_layers", "dense_d_ff"})}
    plain = {"kind": "dense", "d_ff": ffn.dense_d_ff or ffn.d_ff, "gated": ffn.gated}
    plain["bias"] = ffn.bias
    wide = ffn.dense_layers if ffn.experts else of.layers
    runs = [
        {
            "mixer": sliding if k < attention.window_layers else mixer,
            "ffn": plain if k < wide else expert,
        }
        for k in range(of.layers)
    ]
    data = of.model_dump(exclude={"attention", "ffn", "runs", "published"})
    return validate(Model, {**data, "layers": runs}, of.name)


@pytest.mark.parametrize("name", ["gpt-oss-120b", "deepseek-r1", "llama-3.1-8b", "bloom-176b"])
def test_a_model_means_the_same_in_short_and_as_listed_runs(name: str) -> None:
    short, long = load_model(name), listed(load_model(name))
    assert count(short) == count(long)
    assert kv_bytes_per_token(short) == kv_bytes_per_token(long)
    pool = Pool(chip=load_chip("mi355x"), tp=8)
    one, other = bind(short, pool), bind(long, pool)
    assert np.allclose(one.table, other.table, rtol=1e-12, atol=0)
    assert (one.kv_blocks, one.blocks_per_seq) == (other.kv_blocks, other.blocks_per_seq)


def test_runs_are_read_from_yaml_and_written_back() -> None:
    text = """
    name: tiny
    layers:
      - {repeat: 3, mixer: {kind: gqa, q_heads: 4}, ffn: {kind: dense, d_ff: 128}}
      - mixer: {kind: gqa, q_heads: 4, window: 8}
        ffn: {kind: moe, d_ff: 32, experts: 8, experts_per_token: 2}
    hidden: 64
    vocab: 100
    context_window: 1000
    """
    mapping, lines = parse_mapping(text, "tiny.yaml")
    tiny = validate(Model, mapping, "tiny.yaml", lines)
    found = layers_of(tiny)
    assert (tiny.layers, found.count, found.moe, found.window) == (4, 4, 1, 8)
    again = validate(Model, tiny.model_dump(mode="json", exclude_none=True), "tiny.yaml")
    assert again == tiny
    assert layers_of(again) == found


@pytest.mark.usefixtures("_linear")
def test_a_new_kind_is_bound_placed_and_timed() -> None:
    """Three linear layers for each of full attention: no KV, no pairs, a state per sequence."""
    run = {"mixer": LINEAR, "ffn": DENSE, "repeat": 3}
    hybrid = model(run, {"mixer": GQA, "ffn": DENSE})
    full = model({"mixer": GQA, "ffn": DENSE, "repeat": 4})
    pool = Pool(chip=toys.chip(), tp=2)
    state = 3 * 2 * 8 * 32**2
    assert kv_bytes_per_token(hybrid).full * 4 == kv_bytes_per_token(full).full
    assert count(hybrid).attention == 3 * 4 * 256 * 256 + count(full).attention // 4
    one, other = bind(hybrid, pool), bind(full, pool)
    assert one.state_bytes == state
    assert place(hybrid, pool).state_bytes_per_chip == state / 2
    assert one.blocks_per_seq == -(-state // (16 * kv_bytes_per_token(hybrid).full))
    assert other.blocks_per_seq == 0
    assert one.kv_blocks > 3.9 * other.kv_blocks
    assert one.handoff_bytes(10, 10) == 10 * one.kv_bytes + state

    def kv_s(machine: Any, context: int) -> float:
        sums = batch(decode_seqs=64, logit_seqs=64, decode_kv=64 * context)
        return iteration_s(machine.table, sums)[roofline.PARTS.index("kv_s")]

    assert kv_s(one, 100_000) < 0.3 * kv_s(other, 100_000)
    grown = (kv_s(one, 20_000) - kv_s(one, 10_000)) / (kv_s(other, 20_000) - kv_s(other, 10_000))
    assert grown == pytest.approx(0.25)
    assert kv_s(one, 10_000) - 10_000 / 20_000 * kv_s(one, 20_000) == pytest.approx(
        64 * 2 * state / 2 / 1e12 / 2
    ), "each state is read and written once, over two chips of 1 TB/s"

    # A prompt chunk reads and writes the state of its sequence as a decoding sequence does.
    chunks = batch(prompt_tokens=64, prompts=64, prefill_kv=64 * 10_000, prefill_pairs=64 * 10_000)
    read_s = iteration_s(one.table, chunks)[roofline.PARTS.index("kv_s")]
    assert read_s == pytest.approx(kv_s(one, 10_000))


@pytest.mark.usefixtures("_linear")
def test_a_model_of_states_alone_holds_sequences_of_any_length() -> None:
    pure = model({"mixer": LINEAR, "ffn": DENSE, "repeat": 4})
    machine = bind(pure, Pool(chip=toys.chip()))
    assert machine.blocks_per_seq == 8192 // 16, "a snapshot every 8192 tokens, and one to go on"
    assert machine.kv_bytes == 0
    short, long = (
        iteration_s(machine.table, batch(decode_seqs=9, logit_seqs=9, decode_kv=9 * context))
        for context in (10, 1_000_000)
    )
    assert short == long


@pytest.mark.usefixtures("_linear")
def test_the_engine_plays_a_new_kind() -> None:
    hybrid = model({"mixer": LINEAR, "ffn": DENSE}, {"mixer": GQA, "ffn": DENSE})
    what = toys.deployment({"main": {}})
    calls = [toys.one_step(k, 2_000, 50) for k in range(4)]
    ends = {}
    for coalesce in (True, False):
        cluster = toys.serve(what, calls, of=hybrid, coalesce=coalesce)
        ends[coalesce] = (cluster.env.now, len(cluster.records.requests))
    assert ends[True] == ends[False]
    assert ends[True][1] == 4


@pytest.mark.parametrize(
    ("mixer", "ffn", "expected"),
    [
        ({"kind": "gpa", "q_heads": 4}, DENSE, r"layers.0.mixer.kind.*did you mean 'gqa'"),
        ({"kind": "gqa", "heads": 4}, DENSE, r"layers.0.mixer.heads.*unknown key"),
        ({"kind": "gqa"}, DENSE, r"layers.0.mixer.q_heads.*is missing"),
        ({"kind": "gqa", "q_heads": 2.5}, DENSE, r"q_heads.*must be a number of type int"),
        ({"kind": "gqa", "q_heads": -4}, DENSE, r"q_heads.*must be a number of type int"),
        ({"kind": "gqa", "q_heads": 5, "kv_heads": 3}, DENSE, r"is no multiple of kv_heads"),
        (GQA, {"kind": "moe", "d_ff": 8, "experts": 4, "experts_per_token": 5}, "between 1 and"),
    ],
)
def test_what_a_kind_does_not_have_is_told(
    mixer: dict[str, Any], ffn: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ProfileError, match=expected):
        layers_of(model({"mixer": mixer, "ffn": ffn}))


def test_all_problems_of_all_runs_are_told_at_once() -> None:
    with pytest.raises(ProfileError) as caught:
        layers_of(model({"mixer": {"kind": "x"}, "ffn": {"kind": "y"}}))
    assert [p.field for p in caught.value.problems] == ["layers.0.mixer.kind", "layers.0.ffn.kind"]


def test_one_size_of_window_and_of_experts_per_model() -> None:
    windows = [{"mixer": {**GQA, "window": size}, "ffn": DENSE} for size in (8, 16)]
    with pytest.raises(ProfileError, match="differ in their window"):
        layers_of(model(*windows))
    moe = {"kind": "moe", "d_ff": 8, "experts_per_token": 2}
    runs = [{"mixer": GQA, "ffn": {**moe, "experts": n}} for n in (4, 8)]
    with pytest.raises(ProfileError, match="differ in their experts"):
        layers_of(model(*runs))


def test_the_short_form_and_runs_exclude_each_other() -> None:
    run = {"mixer": GQA, "ffn": DENSE}
    with pytest.raises(ProfileError, match="belong into each run"):
        model(run, attention=GQA)
    data = toys.model().model_dump(exclude={"attention"})
    with pytest.raises(ProfileError, match="attention and ffn are missing"):
        validate(Model, data, "toy.yaml")


def test_a_sublayer_is_frozen_data() -> None:
    found = kinds.dense(64, d_ff=128)
    assert replace(found, moved=0) != found
    with pytest.raises(AttributeError):
        found.moved = 1  # type: ignore[misc]
