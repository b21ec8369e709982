"""Kinds of mixers and FFNs: gcsim.machine.kinds, and what a run makes of them."""

from typing import Any

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from gcsim.errors import ProfileError
from gcsim.machine import kinds
from gcsim.machine.counts import count, kv_bytes_per_token
from gcsim.machine.layers import layers_of
from gcsim.machine.machine import bind
from gcsim.machine.placement import place
from gcsim.machine.roofline import FLOPS, PARTS, SUMS, batch, iteration_s, window_pairs, windowed
from gcsim.profiles.deployment import Pool
from gcsim.profiles.model import Model
from gcsim.traffic.trajectory import Step, chain

GQA = {"kind": "gqa", "q_heads": 8, "kv_heads": 4, "head_dim": 32}
STATES = {"kind": "linear", "heads": 8, "key_dim": 32, "value_dim": 32}
STATE = 8 * 32 * 32 * 4 + 3 * (3 * 8 * 32) * 2


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 50))
def test_pairs_of_chunks_are_those_that_are_counted_one_by_one(n: int, past: int, c: int) -> None:
    assert window_pairs(float(n), float(past), -float(c)) == sum(
        (past + i) % c + 1 for i in range(n)
    )
    assert windowed(float(past), -float(c)) == past % c


def test_a_hybrid_without_linear_layers_is_the_plain_model() -> None:
    plain, hybrid = toys.runs((4, GQA)), toys.runs((0, STATES), (4, GQA))
    assert count(plain) == count(hybrid)
    pool = toys.deployment({"p": {"kv_tokens": 2_000}})
    steps = [Step(((1, 300),), 20), Step(((2, 90),), 7)]
    tasks = [chain(k, "toy", steps, 0.001 * k) for k in range(8)]
    one, other = (
        toys.rows(toys.serve(pool, tasks, of, costs={"p": bind(of, pool.pools["p"])}))
        for of in (plain, hybrid)
    )
    assert one == other
    tables = [bind(of, pool.pools["p"]).table for of in (plain, hybrid)]
    assert np.array_equal(*tables)


def test_sparse_attention_to_all_without_an_index_is_the_attention_itself() -> None:
    plain = toys.runs((4, GQA))
    sparse = toys.runs((4, {"kind": "sparse", "of": GQA, "top_k": 50_000}))
    pool = Pool(chip=toys.chip(), tp=2)
    one, other = bind(plain, pool), bind(sparse, pool)
    assert kv_bytes_per_token(plain) == kv_bytes_per_token(sparse)
    assert one.kv_blocks == other.kv_blocks
    tokens = {"decode_seqs": 9, "logit_seqs": 9, "decode_kv": 9 * 40_000}
    both = batch(**tokens), batch(**tokens, decode_window_kv=9 * 40_000)
    assert iteration_s(one.table, both[0]) == pytest.approx(iteration_s(other.table, both[1]))
    assert one.prompt_ns(9_000) == pytest.approx(other.prompt_ns(9_000), rel=1e-9)


def test_beyond_top_k_only_the_index_of_a_token_is_read() -> None:
    mixer = {"kind": "sparse", "of": GQA, "top_k": 512, "index_heads": 2, "index_dim": 16}
    machine = bind(toys.runs((4, mixer)), Pool(chip=toys.chip()))

    def kv_s(context: int) -> float:
        what = {"decode_seqs": 4, "logit_seqs": 4, "decode_kv": 4 * context}
        return iteration_s(machine.table, batch(**what, decode_window_kv=4 * min(context, 512)))[
            PARTS.index("kv_s")
        ]

    assert kv_s(60_000) - kv_s(50_000) == pytest.approx(4 * 10_000 * 4 * 16 / 1e12)
    assert machine.kv_bytes == 4 * (2 * 4 * 32 * 2 + 16), "but all of it is kept and sent"
    work = dict(zip(SUMS, machine.table[FLOPS], strict=False))
    assert work["decode_pairs"] == work["prefill_pairs"] == 4 * 2 * 2 * 16, "ranking"
    assert work["decode_window_pairs"] == work["prefill_window_pairs"] == 4 * 4 * 8 * 32


def test_states_take_memory_by_sequence_and_by_snapshot() -> None:
    hybrid = toys.runs((3, STATES), (1, GQA))
    assert layers_of(hybrid).total(lambda s: s.state_bytes) == 3 * STATE
    placed = place(hybrid, Pool(chip=toys.chip(), state_snapshot_tokens=1000))
    kv = 2 * 4 * 32 * 2
    assert placed.kv_bytes_per_chip_token == kv + 3 * STATE / 992, "whole blocks of 16"
    without = Pool(chip=toys.chip(), prefix_cache_tokens=0)
    assert place(hybrid, without).kv_bytes_per_chip_token == kv
    machine = bind(hybrid, without)
    assert machine.blocks_per_seq == -(-3 * STATE // (16 * kv))
    assert machine.handoff_bytes(100, 500) == 100 * kv + 3 * STATE


@pytest.mark.parametrize(("snapshots", "hit"), [(64, 448), (128, 384), (512, 0), (7, 496)])
def test_a_hit_of_states_counts_to_the_last_snapshot(snapshots: int, hit: int) -> None:
    """500 + 10 tokens are there, of 16 to a block, when the next step asks for 509 of them."""
    hybrid = toys.runs((3, STATES), (1, GQA))
    pools = {"p": {"kv_tokens": 20_000, "state_snapshot_tokens": snapshots}}
    tasks = [chain(0, "toy", [Step(((1, 500),), 10), Step(((2, 1),), 5)], 0.0)]
    for more in ({}, {"coalesce": False}, {"compiled": 1}):
        found = toys.rows(toys.serve(toys.deployment(pools), tasks, hybrid, **more))
        assert [row["cached_tokens"] for row in found] == [0, hit if snapshots > 16 else 496]


def test_parameters_of_published_layers() -> None:
    """Attention of a DeepSeek V4 layer of each kind, in its 19.47e9 of 61 layers."""
    shape = {"q_heads": 128, "head_dim": 512, "q_lora": 1536, "o_groups": 16, "o_lora": 1024}
    wide = kinds.compressed(7168, ratio=128, window=128, **shape)
    ranked = kinds.sparse(
        7168,
        of=kinds.compressed(7168, ratio=4, window=128, **shape),
        top_k=4096,
        index_heads=64,
        index_lora=1536,
    )
    total = 31 * wide.attention_params + 30 * ranked.attention_params
    assert total / 1e9 == pytest.approx(19.47, rel=0.01)
    assert wide.state_bytes == 128 * 512 * 2


def test_an_expert_of_a_latent_mixture_sees_the_latent_alone() -> None:
    small = kinds.latent_moe(4096, latent=1024, d_ff=2688, experts=512, experts_per_token=22)
    assert small.expert_params == 3 * 1024 * 2688
    assert (small.ffn_params, small.router_params) == (2 * 4096 * 1024, 4096 * 512)


@pytest.mark.parametrize(
    ("mixer", "why"),
    [
        ({**GQA, "kind": "chunked", "chunk": 0}, r"layers.0.mixer.*chunk must be 1 or more"),
        ({"kind": "sparse", "of": GQA, "top_k": 0}, r"layers.0.mixer.*top_k"),
        ({"kind": "sparse", "of": {**GQA, "window": 4}, "top_k": 9}, r"sees all tokens"),
        ({"kind": "sparse", "of": {"kind": "gpa"}, "top_k": 9}, r"mixer.of.kind.*did you mean"),
        ({"kind": "sparse", "of": 7, "top_k": 9}, r"layers.0.mixer.of.kind"),
        ({"kind": "sparse", "top_k": 9}, r"layers.0.mixer.of.*is missing"),
        (
            {"kind": "compressed", "q_heads": 2, "head_dim": 32, "q_lora": 8, "o_groups": 2}
            | {"o_lora": 8, "ratio": 5, "window": 4},
            r"no multiple of ratio 5",
        ),
    ],
)
def test_what_is_wrong_with_a_mixer_is_told(mixer: dict[str, Any], why: str) -> None:
    with pytest.raises(ProfileError, match=why):
        layers_of(toys.runs((1, mixer)))


def test_patterns_of_layers_are_written_out() -> None:
    dense = {"kind": "dense", "d_ff": 1024}
    inner = [{"repeat": 3, "mixer": STATES, "ffn": dense}, {"mixer": GQA, "ffn": dense}]
    data = toys.model().model_dump(exclude={"attention", "ffn", "runs"})
    pattern = Model.model_validate({**data, "layers": [{"repeat": 5, "layers": inner}]})
    flat = Model.model_validate(
        {**data, "layers": [{**inner[0], "repeat": 15}, {**inner[1], "repeat": 5}]}
    )
    assert pattern == flat
    assert pattern.layers == 20


def test_a_layer_may_be_a_mixer_alone() -> None:
    """Then there is one all-reduce less."""
    dense = {"kind": "dense", "d_ff": 1024}
    data = toys.model().model_dump(exclude={"attention", "ffn", "runs"})
    runs = [{"repeat": 2, "mixer": GQA, "ffn": dense}, {"mixer": GQA}]
    found = layers_of(Model.model_validate({**data, "layers": runs}))
    assert (found.count, found.reduced) == (3, 5)
