"""The parameter counts of every shipped model against what its publisher says."""

import pytest

from gcsim.machine.counts import count, kv_bytes_per_token, weight_bytes
from gcsim.machine.layers import layers_of
from gcsim.profiles.library import shipped
from gcsim.profiles.load import read_mapping, validate
from gcsim.profiles.model import Model

TOLERANCE = 0.01

# Written out here as well as in the profiles, so that a profile cannot bend to its own count.
PUBLISHED = {  # total, active [1e9 parameters]
    "gpt-oss-120b": (116.8, 5.1),
    "gpt-oss-20b": (20.9, 3.6),
    "llama-3.1-8b": (8.03, 8.03),
    "llama-3.3-70b": (70.6, 70.6),
    "llama-3.1-405b": (405.9, 405.9),
    "deepseek-r1": (671, 36.7),
    "minimax-m2": (229.9, 9.8),
    "qwen3-32b": (32.8, 32.8),
    "qwen3-235b-a22b": (235, 22),
    "mixtral-8x7b": (46.7, 12.9),
    "mixtral-8x22b": (141, 39.1),
    "kimi-k2": (1026, 32),
    "llama-2-7b": (6.74, 6.74),
    "llama-2-70b": (69.0, 69.0),
    "llama-4-scout": (108, 17.2),
    "llama-4-maverick": (400, 17.2),
    "mistral-7b": (7.24, 7.24),
    "mistral-nemo-12b": (12.2, 12.2),
    "qwen2-72b": (72.7, 72.7),
    "qwen2.5-7b": (7.62, 7.62),
    "qwen3-30b-a3b": (30.5, 3.3),
    "yi-34b": (34.4, 34.4),
    "bloom-176b": (176.2, 176.2),
    "qwen3.5-397b-a17b": (397, 17),
    "qwen3-coder-next": (79.7, 3.9),
    "kimi-linear-48b-a3b": (49.12, 3),
    "deepseek-v3.2": (671.9, 37.5),
    "deepseek-v4-pro": (1572.6, 49),
    "glm-4.6": (355, 32),
    "glm-5": (744, 40),
    "glm-5.2": (744, 40),
    "minimax-m3": (428, 23),
    "gemma-4-31b": (30.7, 30.7),
    "nemotron-3-super-120b": (120.6, 12.7),
    "nemotron-3-nano-30b": (31.6, 3.6),
}
# Their active counts are published as whole billions, part of the name: "A17B".
NAMED = ("qwen3.5-397b-a17b", "kimi-linear-48b-a3b", "minimax-m3")

KV_BYTES = {  # per token at 16 bits, in the layers whose KV grows with the context
    "gpt-oss-120b": 36_864,
    "gpt-oss-20b": 24_576,
    "llama-3.1-8b": 131_072,
    "llama-3.3-70b": 327_680,
    "llama-3.1-405b": 516_096,
    "deepseek-r1": 70_272,
    "minimax-m2": 253_952,
    "qwen3-235b-a22b": 192_512,
    "qwen3-32b": 262_144,
    "mixtral-8x7b": 131_072,
    "mixtral-8x22b": 229_376,
    "kimi-k2": 70_272,
    "llama-2-7b": 524_288,
    "llama-2-70b": 327_680,
    "llama-4-scout": 49_152,  # a quarter of its layers; the rest keep 8,192 tokens at most
    "llama-4-maverick": 49_152,
    "mistral-7b": 131_072,
    "mistral-nemo-12b": 163_840,
    "qwen2-72b": 327_680,
    "qwen2.5-7b": 57_344,
    "qwen3-30b-a3b": 98_304,
    "yi-34b": 245_760,
    "bloom-176b": 4_014_080,
    "qwen3.5-397b-a17b": 30_720,
    "qwen3-coder-next": 24_576,
    "kimi-linear-48b-a3b": 8_064,
    "deepseek-v3.2": 70_272,
    "deepseek-v4-pro": 9_850 - 30 * 64,
    "glm-4.6": 376_832,
    "glm-5": 89_856,
    "glm-5.2": 89_856,
    "minimax-m3": 122_880,
    "gemma-4-31b": 40_960,
    "nemotron-3-super-120b": 8_192,
    "nemotron-3-nano-30b": 6_144,
}

INDEX_BYTES = {  # per token, of the index of sparse attention
    "deepseek-v3.2": 61 * 128,
    "deepseek-v4-pro": 30 * 64,
    "glm-5": 78 * 128,
    "glm-5.2": 21 * 128,
    "minimax-m3": 57 * 256,
}

STATE_BYTES = {  # of a sequence, without the convolution: value heads x key x value dim x 4 B
    "qwen3.5-397b-a17b": 189e6,
    "qwen3-coder-next": 75e6,
    "kimi-linear-48b-a3b": 42e6,
    "nemotron-3-super-120b": 168e6,
    "nemotron-3-nano-30b": 48e6,
    "deepseek-v4-pro": 8e6,  # the last 128 tokens, uncompressed
}

each_model = pytest.mark.parametrize("name", PUBLISHED)


def model(name: str) -> Model:
    path = shipped("model")[name]
    mapping, lines = read_mapping(path)
    return validate(Model, mapping, str(path), lines)


def test_every_shipped_model_is_held_to_its_publisher() -> None:
    """But for the stand-in of scenario gtc-2026-tiers, whose model has no published shape."""
    assert set(shipped("model")) - {"moe-2t"} == set(PUBLISHED) == set(KV_BYTES)


@each_model
def test_total(name: str) -> None:
    assert count(model(name)).total / 1e9 == pytest.approx(PUBLISHED[name][0], rel=TOLERANCE)


@each_model
def test_active(name: str) -> None:
    spec = model(name)
    assert spec.published is not None
    active = count(spec).active(spec.published.active_includes)
    # Publishers round to 0.1e9, which is more than 1% of a small active count, or to whole ones.
    rounding = 0.55 if name in NAMED else 0.055
    assert active / 1e9 == pytest.approx(PUBLISHED[name][1], rel=TOLERANCE, abs=rounding)


@each_model
def test_the_profile_cites_the_same_figures(name: str) -> None:
    published = model(name).published
    assert published is not None
    cited = (published.total.value / 1e9, published.active.value / 1e9)
    assert cited == pytest.approx(PUBLISHED[name])
    assert published.total.source
    assert published.active.source


@each_model
def test_kv_bytes_per_token(name: str) -> None:
    index = INDEX_BYTES.get(name, 0)
    assert kv_bytes_per_token(model(name)).full - index == pytest.approx(KV_BYTES[name], abs=2)
    assert (kv_bytes_per_token(model(name), "fp8").full - index) * 2 == pytest.approx(
        KV_BYTES[name], abs=2
    )


@each_model
def test_state_bytes(name: str) -> None:
    """Published figures count states; beside them stand 3 values per channel of a convolution."""
    state, published = layers_of(model(name)).total(lambda s: s.state_bytes), STATE_BYTES.get(name)
    assert state == pytest.approx(published * 1.018, rel=0.02) if published else state == 0


def test_windowed_kv_of_gpt_oss() -> None:
    spec = model("gpt-oss-120b")
    window_bytes = layers_of(spec).window * kv_bytes_per_token(spec).window
    assert window_bytes == pytest.approx(4.7e6, rel=0.01)  # per sequence, however long


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("gpt-oss-120b", 65.2),  # 60.8 GiB: "fits a single 80 GB GPU" (model card)
        ("gpt-oss-20b", 13.8),  # 12.8 GiB (model card)
        ("llama-3.1-8b", 16.06),  # the safetensors index of the checkpoint
        ("llama-3.3-70b", 141.1),
    ],
)
def test_checkpoint_size(name: str, gigabytes: float) -> None:
    assert weight_bytes(model(name)).total / 1e9 == pytest.approx(gigabytes, rel=TOLERANCE)


def test_weights_read_per_token() -> None:
    """gpt-oss-120b at batch 1: attention and head in 16 bits, 4 of 128 experts in MXFP4."""
    spec = model("gpt-oss-120b")
    counts, stored = count(spec), weight_bytes(spec)
    experts = stored.experts * counts.active_experts / counts.experts
    assert (stored.attention + experts + stored.head) / 1e9 == pytest.approx(4.97, rel=TOLERANCE)
