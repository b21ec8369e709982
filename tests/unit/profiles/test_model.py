"""`gcsim.profiles.model`: what makes a model profile inconsistent."""

from typing import Any

import pytest

from gcsim.errors import ProfileError
from gcsim.profiles.load import validate
from gcsim.profiles.model import FORMAT_BYTES, Model, Weights

TINY: dict[str, Any] = {
    "name": "tiny",
    "layers": 4,
    "hidden": 64,
    "vocab": 100,
    "context_window": 1000,
    "attention": {"kind": "gqa", "q_heads": 8, "kv_heads": 2, "head_dim": 8},
    "ffn": {"d_ff": 128},
}
MLA = {"kind": "mla", "q_heads": 8, "kv_lora": 16, "rope_dim": 8, "nope_dim": 8, "v_dim": 8}
MOE = {"d_ff": 16, "experts": 8, "experts_per_token": 2}


def model(**changes: Any) -> Model:
    return validate(Model, TINY | changes, "tiny.yaml")


def test_defaults() -> None:
    spec = model()
    assert spec.weights == Weights()
    assert (spec.kv, spec.tied_embeddings, spec.published) == ("bf16", False, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": MLA},
        {"ffn": MOE},
        {"ffn": MOE | {"dense_layers": 4, "dense_d_ff": 32}},
        {"attention": TINY["attention"] | {"window": 10, "window_layers": 4}},
        {"weights": {"experts": "mxfp4", "expert_math": "fp8"}, "kv": "fp8"},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_what_is_accepted(changes: dict[str, Any]) -> None:
    assert model(**changes).layers == 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"attention": MLA | {"v_dim": 0}}, "mla needs kv_lora, rope_dim, nope_dim and v_dim"),
        ({"attention": {"kind": "gqa", "q_heads": 8, "kv_heads": 3}}, "is no multiple of kv_heads"),
        ({"attention": TINY["attention"] | {"window": 10}}, "go together"),
        ({"attention": TINY["attention"] | {"window_layers": 1}}, "go together"),
        (
            {"attention": TINY["attention"] | {"window": 10, "window_layers": 5}},
            "attention.window_layers is more than layers",
        ),
        ({"ffn": MOE | {"experts_per_token": 0}}, "experts_per_token must be between 1 and"),
        ({"ffn": MOE | {"experts_per_token": 9}}, "experts_per_token must be between 1 and"),
        ({"ffn": {"d_ff": 16, "shared_experts": 1}}, "shared_experts need experts"),
        ({"ffn": MOE | {"dense_layers": 1}}, "dense_layers needs dense_d_ff"),
        ({"ffn": MOE | {"dense_layers": 5, "dense_d_ff": 9}}, "ffn.dense_layers is more than"),
        ({"layers": 0}, "layers: Input should be greater than or equal to 1"),
        ({"layers": 3.5}, "layers: Input should be a valid integer"),
        ({"weights": {"experts": "fp6"}}, "weights.experts: Input should be"),
        ({"kv": "int4"}, "kv: Input should be 'bf16' or 'fp8'"),
        ({"heads": 8}, "heads: unknown key"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ProfileError) as caught:
        model(**changes)
    assert expected in str(caught.value)


def test_block_scales_are_part_of_a_format() -> None:
    assert FORMAT_BYTES["mxfp4"] == 4 / 8 + 1 / 32  # an 8-bit scale per 32 weights
    assert FORMAT_BYTES["nvfp4"] == 4 / 8 + 1 / 16  # an 8-bit scale per 16 weights
    assert FORMAT_BYTES["int4"] == 4 / 8 + 2 / 64  # a 16-bit scale per 64 weights
