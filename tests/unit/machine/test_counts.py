"""`gcsim.machine.counts` on small shapes; the published sizes are in `tests/truth`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcsim.machine.counts import KvBytes, count, formats, kv_bytes_per_token, weight_bytes
from gcsim.machine.layers import layers_of
from gcsim.profiles.model import FORMAT_BYTES, Attention, FeedForward, Model, Weights

GQA: dict[str, Any] = {"kind": "gqa", "q_heads": 4, "kv_heads": 2, "head_dim": 8}
MLA: dict[str, Any] = {
    "kind": "mla",
    "q_heads": 4,
    "kv_lora": 16,
    "rope_dim": 8,
    "nope_dim": 12,
    "v_dim": 10,
}
MOE: dict[str, Any] = {"d_ff": 48, "experts": 8, "experts_per_token": 2}


def model(attention: dict[str, Any] = GQA, ffn: dict[str, Any] | None = None, **more: Any) -> Model:
    return Model(
        name="tiny",
        layers=more.pop("layers", 3),
        hidden=64,
        vocab=100,
        context_window=1000,
        attention=Attention(**attention),
        ffn=FeedForward(**(ffn or {"d_ff": 96})),
        **more,
    )


def test_grouped_query_attention() -> None:
    matrices = 64 * (4 * 8) + 2 * 64 * (2 * 8) + (4 * 8) * 64
    assert count(model()).attention == 3 * matrices
    biases = 4 * 8 + 2 * (2 * 8) + 64
    assert count(model(GQA | {"bias": True})).attention == 3 * (matrices + biases)


def test_latent_attention() -> None:
    rest = 64 * (16 + 8) + 16 * 4 * (12 + 10) + 4 * 10 * 64
    assert count(model(MLA)).attention == 3 * (64 * 4 * (12 + 8) + rest)
    compressed = count(model(MLA | {"q_lora": 32})).attention
    assert compressed == 3 * (64 * 32 + 32 * 4 * (12 + 8) + rest)


@pytest.mark.parametrize(
    ("ffn", "params"),
    [
        ({"d_ff": 96}, 3 * 64 * 96),
        ({"d_ff": 96, "gated": False}, 2 * 64 * 96),
        ({"d_ff": 96, "bias": True}, 3 * 64 * 96 + 2 * 96 + 64),
        ({"d_ff": 96, "gated": False, "bias": True}, 2 * 64 * 96 + 96 + 64),
    ],
    ids=["gated", "plain", "gated-bias", "plain-bias"],
)
def test_dense_ffn(ffn: dict[str, Any], params: int) -> None:
    counts = count(model(ffn=ffn))
    assert counts.ffn == 3 * params
    assert counts.experts == counts.active_experts == counts.router == 0


def test_mixture_of_experts() -> None:
    shared = {"shared_experts": 2, "shared_d_ff": 40, "dense_layers": 1, "dense_d_ff": 200}
    counts = count(model(ffn=MOE | shared))
    assert counts.ffn == 3 * 64 * 200 + 2 * (2 * 3 * 64 * 40)
    assert counts.experts == 2 * 8 * (3 * 64 * 48)
    assert counts.router == 2 * 64 * 8
    layers = counts.attention + counts.ffn + counts.experts + counts.router
    assert counts.total == layers + (2 * 64 * 3 + 64) + 2 * 100 * 64
    assert counts.total - counts.active() == 2 * 6 * (3 * 64 * 48)


def test_shared_experts_have_the_width_of_the_routed_ones_unless_told() -> None:
    counts = count(model(ffn=MOE | {"shared_experts": 2}))
    assert counts.ffn == 2 * counts.experts / 8


def test_active_counts_the_matrices_asked_for() -> None:
    counts = count(model(ffn=MOE))
    matrix = 100 * 64
    assert counts.active() - counts.active(["head"]) == matrix
    assert counts.active(["head"]) - counts.active([]) == matrix
    assert counts.active(["embedding"]) == counts.active(["head"])


def test_tied_embeddings_are_stored_once_and_still_multiplied() -> None:
    tied, untied = count(model(tied_embeddings=True)), count(model())
    assert untied.total - tied.total == 100 * 64
    assert tied.head == untied.head == 100 * 64
    assert tied.active() == tied.active(["head"]) == tied.active(["embedding"]) == tied.total
    stored = weight_bytes(model(tied_embeddings=True))
    assert (stored.embedding, stored.head) == (0, 2 * 100 * 64)


def test_native_formats() -> None:
    own = Weights(attention="bf16", ffn="fp8", experts="mxfp4", embedding="bf16")
    spec = model(ffn=MOE | {"shared_experts": 1, "dense_layers": 1, "dense_d_ff": 80}, weights=own)
    counts, stored = count(spec), weight_bytes(spec)
    assert stored.attention == 2 * counts.attention
    assert stored.ffn == counts.ffn
    assert stored.experts == pytest.approx(4.25 / 8 * counts.experts)
    assert stored.router == 2 * counts.router
    assert stored.norms == 2 * counts.norms
    assert stored.embedding == stored.head == 2 * counts.head
    parts = (stored.attention, stored.ffn, stored.experts, stored.router, stored.norms)
    assert stored.total == pytest.approx(sum(parts) + stored.embedding + stored.head)


@pytest.mark.parametrize("dtype", sorted(FORMAT_BYTES))
def test_a_dtype_replaces_the_layers_and_spares_the_16_bit_parts(dtype: Any) -> None:
    spec = model(ffn=MOE)
    own, other = weight_bytes(spec, "bf16"), weight_bytes(spec, dtype)
    assert other.attention / own.attention == pytest.approx(FORMAT_BYTES[dtype] / 2)
    assert other.experts / own.experts == pytest.approx(FORMAT_BYTES[dtype] / 2)
    assert (other.embedding, other.head, other.router, other.norms) == (
        own.embedding, own.head, own.router, own.norms,
    )  # fmt: skip


def test_no_dtype_means_the_models_own_formats() -> None:
    spec = model(weights=Weights(attention="int8", ffn="int4"))
    assert formats(spec) == spec.weights
    assert formats(spec, "fp8").attention == formats(spec, "fp8").ffn == "fp8"
    assert formats(spec, "fp8").expert_math == spec.weights.expert_math


def test_kv_of_windows_and_latents() -> None:
    assert kv_bytes_per_token(model()) == KvBytes(full=3 * 2 * 2 * 8 * 2, window=0)
    windows = GQA | {"window": 10, "window_layers": 2}
    assert kv_bytes_per_token(model(windows)) == KvBytes(full=64, window=128)
    assert kv_bytes_per_token(model(MLA)) == KvBytes(full=3 * (16 + 8) * 2, window=0)
    assert kv_bytes_per_token(model(), "fp8").full == 96
    assert kv_bytes_per_token(model(kv="fp8")).full == 96
    assert kv_bytes_per_token(model(kv="fp8"), "bf16").full == 192


@given(
    experts=st.integers(1, 64),
    active=st.integers(1, 64),
    shared=st.integers(0, 3),
    dense=st.integers(0, 5),
)
def test_active_is_total_only_when_every_expert_is_used(
    experts: int, active: int, shared: int, dense: int
) -> None:
    ffn = {
        "d_ff": 16,
        "experts": max(experts, active),
        "experts_per_token": active,
        "shared_experts": shared,
        "dense_layers": dense,
        "dense_d_ff": 32,
    }
    spec = model(ffn=ffn, layers=5)
    counts, layers = count(spec), layers_of(spec)
    assert layers.count == 5
    assert layers.moe == 5 - dense
    all_used = layers.experts_per_token == layers.experts or not layers.moe
    assert (counts.active() == counts.total) is all_used
    assert counts.active() <= counts.total
