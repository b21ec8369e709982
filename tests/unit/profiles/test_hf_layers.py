"""Configs whose layers differ, to the profiles that are shipped: gcsim.profiles.hf_layers."""

import json
from pathlib import Path
from typing import Any

import pytest

from gcsim.errors import ProfileError
from gcsim.machine.counts import count, kv_bytes_per_token
from gcsim.machine.layers import layers_of
from gcsim.profiles.hf_layers import LISTED
from gcsim.profiles.huggingface import from_config
from gcsim.profiles.load import validate
from gcsim.profiles.model import Model
from gcsim.profiles.resolve import load_model

Config = dict[str, Any]

QWEN3_NEXT: Config = {
    "model_type": "qwen3_next",
    "decoder_sparse_step": 1,
    "full_attention_interval": 4,
    "head_dim": 256,
    "hidden_size": 2048,
    "intermediate_size": 5120,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
    "max_position_embeddings": 262144,
    "mlp_only_layers": [],
    "moe_intermediate_size": 512,
    "num_attention_heads": 16,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "num_hidden_layers": 48,
    "num_key_value_heads": 2,
    "shared_expert_intermediate_size": 512,
    "torch_dtype": "bfloat16",
    "vocab_size": 151936,
}
QWEN35: Config = {
    "model_type": "qwen3_5_moe",
    "text_config": QWEN3_NEXT
    | {
        "model_type": "qwen3_5_moe_text",
        "hidden_size": 4096,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 15,
        "linear_num_value_heads": 64,
        "moe_intermediate_size": 1024,
        "num_attention_heads": 32,
        "num_hidden_layers": 60,
        "shared_expert_intermediate_size": 1024,
        "vocab_size": 248320,
    },
}
KIMI_LINEAR: Config = {
    "model_type": "kimi_linear",
    "hidden_size": 2304,
    "num_hidden_layers": 27,
    "vocab_size": 163840,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "num_experts": 256,
    "num_experts_per_token": 8,
    "num_shared_experts": 1,
    "moe_intermediate_size": 1024,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 1,
    "intermediate_size": 9216,
    "model_max_length": 1048576,
    "max_position_embeddings": 1048576,
    "linear_attn_config": {
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
        "kda_layers": [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26],
        "head_dim": 128,
        "num_heads": 32,
        "short_conv_kernel_size": 4,
    },
}
DEEPSEEK_V32: Config = {
    "model_type": "deepseek_v32",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "index_topk": 2048,
    "index_n_heads": 64,
    "index_head_dim": 128,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
}
GLM_52: Config = DEEPSEEK_V32 | {
    "model_type": "glm_moe_dsa",
    "hidden_size": 6144,
    "intermediate_size": 12288,
    "num_hidden_layers": 78,
    "num_attention_heads": 64,
    "q_lora_rank": 2048,
    "qk_nope_head_dim": 192,
    "v_head_dim": 256,
    "index_n_heads": 32,
    "index_topk_freq": 4,
    "index_skip_topk_offset": 3,
    "vocab_size": 154880,
    "max_position_embeddings": 1048576,
}
M3: Config = {
    "model_type": "minimax_m3_vl",
    "text_config": {
        "hidden_size": 6144,
        "intermediate_size": 3072,
        "dense_intermediate_size": 12288,
        "shared_intermediate_size": 3072,
        "num_hidden_layers": 60,
        "num_attention_heads": 64,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "vocab_size": 200064,
        "max_position_embeddings": 1048576,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "n_shared_experts": 1,
        "moe_layer_freq": [0] * 3 + [1] * 57,
        "sparse_attention_config": {
            "sparse_index_dim": 128,
            "sparse_num_index_heads": 4,
            "sparse_topk_blocks": 16,
            "sparse_block_size": 128,
            "sparse_attention_freq": [0] * 3 + [1] * 57,
        },
    },
}
GEMMA_4: Config = {
    "model_type": "gemma4",
    "text_config": {
        "model_type": "gemma4_text",
        "attention_k_eq_v": True,
        "global_head_dim": 512,
        "head_dim": 256,
        "hidden_size": 5376,
        "intermediate_size": 21504,
        "max_position_embeddings": 262144,
        "num_attention_heads": 32,
        "num_global_key_value_heads": 4,
        "num_hidden_layers": 60,
        "num_key_value_heads": 16,
        "sliding_window": 1024,
        "vocab_size": 262144,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
    },
}
NEMOTRON_SUPER: Config = {
    "model_type": "nemotron_h",
    "hidden_size": 4096,
    "intermediate_size": 2688,
    "num_hidden_layers": 88,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "vocab_size": 131072,
    "max_position_embeddings": 262144,
    "hybrid_override_pattern": "ME" * 32 + "M*E" * 8,
    "n_routed_experts": 512,
    "num_experts_per_tok": 22,
    "moe_intermediate_size": 2688,
    "moe_latent_size": 1024,
    "moe_shared_expert_intermediate_size": 5376,
    "n_shared_experts": 1,
    "ssm_state_size": 128,
    "conv_kernel": 4,
    "mamba_num_heads": 128,
    "mamba_head_dim": 64,
    "n_groups": 8,
}
DEEPSEEK_V4: Config = {
    "model_type": "deepseek_v4",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 1,
    "head_dim": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "o_groups": 16,
    "o_lora_rank": 1024,
    "sliding_window": 128,
    "n_routed_experts": 384,
    "n_shared_experts": 1,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 3072,
    "index_topk": 1024,
    "index_n_heads": 64,
    "index_head_dim": 128,
    "vocab_size": 129280,
    "max_position_embeddings": 1048576,
    "expert_dtype": "fp4",
    "compress_ratios": [128, 128, *[4, 128] * 29, 4, 0],
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
SCOUT: Config = {
    "model_type": "llama4",
    "text_config": {
        "model_type": "llama4_text",
        "attention_chunk_size": 8192,
        "head_dim": 128,
        "hidden_size": 5120,
        "interleave_moe_layer_step": 1,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "max_position_embeddings": 262144,
        "no_rope_layers": [],
        "num_attention_heads": 40,
        "num_experts_per_tok": 1,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "num_local_experts": 16,
        "vocab_size": 202048,
    },
}
MAVERICK: Config = {
    **SCOUT,
    "text_config": {
        **SCOUT["text_config"],
        "interleave_moe_layer_step": 2,
        "num_local_experts": 128,
        "layer_types": (["chunked_attention"] * 3 + ["full_attention"]) * 12,
    },
}
SHIPPED: dict[str, Config] = {
    "qwen3-coder-next": QWEN3_NEXT,
    "qwen3.5-397b-a17b": QWEN35,
    "kimi-linear-48b-a3b": KIMI_LINEAR,
    "deepseek-v3.2": DEEPSEEK_V32,
    "glm-5.2": GLM_52,
    "glm-5": {k: v for k, v in GLM_52.items() if k not in ("index_topk_freq",)},
    "minimax-m3": M3,
    "gemma-4-31b": GEMMA_4,
    "nemotron-3-super-120b": NEMOTRON_SUPER,
    "deepseek-v4-pro": DEEPSEEK_V4,
    "llama-4-scout": SCOUT,
    "llama-4-maverick": MAVERICK,
}


def read(config: Config, folder: Path) -> Model:
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return validate(Model, from_config(path), str(path))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_profile_follows_from_its_config(name: str, tmp_path: Path) -> None:
    found, shipped = read(SHIPPED[name], tmp_path), load_model(name)
    assert count(found) == count(shipped)
    assert kv_bytes_per_token(found) == kv_bytes_per_token(shipped)
    sizes = [
        (of.vocab, of.hidden, of.layers, layers_of(of).window, layers_of(of).reduced)
        for of in (found, shipped)
    ]
    assert sizes[0] == sizes[1]
    states = [layers_of(of).total(lambda s: s.state_bytes) for of in (found, shipped)]
    assert states[0] == states[1]


def test_the_formats_of_deepseek_v4(tmp_path: Path) -> None:
    found = read(DEEPSEEK_V4, tmp_path).weights
    assert (found.attention, found.ffn, found.experts) == ("fp8", "fp8", "mxfp4")


def test_every_family_has_a_config_here() -> None:
    used = {config.get("text_config", config).get("model_type", "") for config in SHIPPED.values()}
    used |= {config["model_type"] for config in SHIPPED.values()}
    dense = {"qwen3_5", "qwen3_5_text", "minimax_m3"}
    assert set(LISTED) - dense == used - {""} - dense


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.slow
def test_any_value_of_any_key_gives_a_model_or_a_profile_error(name: str, tmp_path: Path) -> None:
    config = SHIPPED[name]
    flat = {**config, **config.get("text_config", {})}
    flat.pop("text_config", None)
    for key in flat:
        for wrong in (
            None,
            -1,
            0,
            3,
            2.5,
            "x",
            True,
            [],
            [1],
            {},
            {"x": 1},
            [None] * 90,
            ["x"] * 90,
        ):
            try:
                assert count(read({**flat, key: wrong}, tmp_path)).total >= 0
            except ProfileError as told:
                assert told.problems  # noqa: PT017


@pytest.mark.parametrize(
    ("config", "changes", "told"),
    [
        (QWEN3_NEXT, {"linear_num_value_heads": None}, "linear_num_value_heads: is missing"),
        (QWEN3_NEXT, {"layer_types": ["odd"] * 48}, "layer_types: cannot be mapped: it has odd"),
        (QWEN3_NEXT, {"layer_types": ["odd"]}, "layer_types: must be a list of 48 layers"),
        (KIMI_LINEAR, {"linear_attn_config": None}, "full_attn_layers: is missing"),
        (DEEPSEEK_V32, {"index_topk": None}, "index_topk: is missing"),
        (DEEPSEEK_V4, {"compress_ratios": [0] * 61}, "compress_ratios: cannot be mapped"),
        (DEEPSEEK_V4, {"compress_ratios": None}, "compress_ratios: is missing"),
        (NEMOTRON_SUPER, {"hybrid_override_pattern": "ME"}, "must name all 88 blocks"),
        (NEMOTRON_SUPER, {"hybrid_override_pattern": "E" * 88}, "an FFN that follows no mixer"),
        (NEMOTRON_SUPER, {"hybrid_override_pattern": "?" * 88}, "is no known block"),
        (GEMMA_4["text_config"], {"enable_moe_block": True}, "enable_moe_block: cannot be mapped"),
        (SCOUT["text_config"], {"attention_chunk_size": None}, "attention_chunk_size: is missing"),
    ],
)
def test_what_cannot_be_mapped_is_named(
    config: Config, changes: Config, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ProfileError, match=told):
        read({**config, **changes}, tmp_path)
