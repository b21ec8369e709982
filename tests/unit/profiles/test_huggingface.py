"""`gcsim.profiles.huggingface`: real configs (abridged to what matters) to model profiles."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from gcsim.errors import ProfileError
from gcsim.machine.counts import count, kv_bytes_per_token
from gcsim.profiles.huggingface import BLOCKERS, from_config
from gcsim.profiles.library import shipped
from gcsim.profiles.load import read_mapping, validate
from gcsim.profiles.model import Model

Config = dict[str, Any]

LLAMA_8B: Config = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
GPT_OSS_120B: Config = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_size": 2880,
    "initial_context_length": 4096,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 18,
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "num_local_experts": 128,
    "quantization_config": {
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
        "quant_method": "mxfp4",
    },
    "sliding_window": 128,
    "tie_word_embeddings": False,
    "vocab_size": 201088,
}
DEEPSEEK_R1: Config = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "first_k_dense_replace": 3,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_group": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
    },
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "v_head_dim": 128,
    "vocab_size": 129280,
}
MINIMAX_M2: Config = {
    "architectures": ["MiniMaxM2ForCausalLM"],
    "attn_type_list": [1] * 62,
    "head_dim": 128,
    "hidden_size": 3072,
    "intermediate_size": 1536,
    "max_position_embeddings": 196608,
    "mlp_intermediate_size": 8192,
    "model_type": "minimax_m2",
    "num_attention_heads": 48,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 62,
    "num_key_value_heads": 8,
    "num_local_experts": 256,
    "num_mtp_modules": 3,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "float8_e4m3fn",
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"],
    },
    "rotary_dim": 64,
    "shared_intermediate_size": 0,
    "tie_word_embeddings": False,
    "vocab_size": 200064,
}
MIXTRAL: Config = {
    "head_dim": None,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mixtral",
    "num_attention_heads": 32,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
    "vocab_size": 32000,
}
QWEN3_32B: Config = {
    "attention_bias": False,
    "head_dim": 128,
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "max_position_embeddings": 40960,
    "max_window_layers": 64,
    "model_type": "qwen3",
    "num_attention_heads": 64,
    "num_hidden_layers": 64,
    "num_key_value_heads": 8,
    "sliding_window": None,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_235B: Config = {
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "max_window_layers": 94,
    "mlp_only_layers": [],
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 1536,
    "num_attention_heads": 64,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 94,
    "num_key_value_heads": 4,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
GEMMA3_27B: Config = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "text_config": {
        "head_dim": 128,
        "hidden_size": 5376,
        "intermediate_size": 21504,
        "model_type": "gemma3_text",
        "num_attention_heads": 32,
        "num_hidden_layers": 62,
        "num_key_value_heads": 16,
        "sliding_window": 1024,
    },
    "torch_dtype": "bfloat16",
    "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27},
}
GLM_45_AIR: Config = {
    "attention_bias": True,
    "first_k_dense_replace": 1,
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 10944,
    "max_position_embeddings": 131072,
    "model_type": "glm4_moe",
    "moe_intermediate_size": 1408,
    "n_routed_experts": 128,
    "n_shared_experts": 1,
    "num_attention_heads": 96,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 46,
    "num_key_value_heads": 8,
    "num_nextn_predict_layers": 1,
    "tie_word_embeddings": False,
    "vocab_size": 151552,
}
MISTRAL_7B: Config = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
    "vocab_size": 32000,
}
PHI3_MINI: Config = {
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "model_type": "phi3",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "sliding_window": 262144,
    "vocab_size": 32064,
}
QWEN2_7B: Config = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "model_type": "qwen2",
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131072,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
GEMMA2_9B: Config = {
    "head_dim": 256,
    "hidden_size": 3584,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "model_type": "gemma2",
    "num_attention_heads": 16,
    "num_hidden_layers": 42,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
    "vocab_size": 256000,
}
DEEPSEEK_V2_LITE: Config = {
    "first_k_dense_replace": 1,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v2",
    "moe_intermediate_size": 1408,
    "moe_layer_freq": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_attention_heads": 16,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 27,
    "num_key_value_heads": 16,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 102400,
}
QWEN15_MOE: Config = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "max_position_embeddings": 8192,
    "model_type": "qwen2_moe",
    "moe_intermediate_size": 1408,
    "num_attention_heads": 16,
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 16,
    "shared_expert_intermediate_size": 5632,
    "vocab_size": 151936,
}


def write(folder: Path, config: object, name: str = "some-model") -> Path:
    file = folder / name / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return file


def model(folder: Path, config: Config, **changes: Any) -> Model:
    mapping = from_config(write(folder, config | changes))
    return validate(Model, mapping, "config.json")


def error(folder: Path, config: object) -> str:
    file = write(folder, config)
    with pytest.raises(ProfileError) as caught:
        from_config(file)
    assert all(problem.file == str(file) for problem in caught.value.problems)
    return "; ".join(str(problem).removeprefix(f"{file}: ") for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("name", "config", "context"),
    [
        ("gpt-oss-120b", GPT_OSS_120B, 131072),
        ("llama-3.1-8b", LLAMA_8B, 131072),
        ("deepseek-r1", DEEPSEEK_R1, 163840),
        ("minimax-m2", MINIMAX_M2, 196608),
        ("mixtral-8x7b", MIXTRAL, 32768),
        ("qwen3-32b", QWEN3_32B, 40960),  # natively; the profile has the stretched context
        ("qwen3-235b-a22b", QWEN3_235B, 40960),
    ],
)
def test_the_shipped_profiles_follow_from_their_configs(
    name: str, config: Config, context: int, tmp_path: Path
) -> None:
    mapping, _ = read_mapping(shipped("model")[name])
    profile = validate(Model, mapping, name)
    mapped = model(tmp_path, config)
    assert mapped.context_window == context
    told = {"name", "aliases", "description", "source", "published", "notes", "context_window"}
    told |= {"drafters"}
    assert mapped.model_dump(exclude=told | {"weights"}) == profile.model_dump(
        exclude=told | {"weights"}
    )
    parts = {"attention", "embedding"} | ({"experts"} if profile.ffn.experts else {"ffn"})
    assert mapped.weights.model_dump(include=parts) == profile.weights.model_dump(include=parts)
    assert mapped.weights.expert_math == profile.weights.expert_math


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        (MISTRAL_7B, 7.24),
        (PHI3_MINI, 3.82),
        (QWEN2_7B, 7.62),
        (GEMMA2_9B, 9.24),
        (GEMMA3_27B, 27.0),  # 27.4 with the vision tower of 0.4
        (GLM_45_AIR, 106.8),  # 110 with its multi-token-prediction layer
        (DEEPSEEK_V2_LITE, 15.7),
        (QWEN15_MOE, 14.3),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_other_families_come_to_their_published_size(
    config: Config, billions: float, tmp_path: Path
) -> None:
    total = count(model(tmp_path, config)).total
    assert total / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize(
    ("config", "changes", "window", "layers"),
    [
        (GPT_OSS_120B, {}, 128, 18),
        (GPT_OSS_120B, {"layer_types": None}, 128, 18),
        (GPT_OSS_120B, {"layer_types": ["full_attention"] * 36}, 0, 0),
        (GPT_OSS_120B, {"sliding_window": None}, 0, 0),
        (GEMMA2_9B, {}, 4096, 21),
        (GEMMA3_27B, {}, 1024, 52),  # one full layer in six: 62 - 10
        (MISTRAL_7B, {}, 4096, 32),
        (MISTRAL_7B, {"sliding_window": None}, 0, 0),
        (PHI3_MINI, {}, 0, 0),  # a window wider than the context is none
        (QWEN2_7B, {}, 0, 0),
        (QWEN2_7B, {"use_sliding_window": True, "sliding_window": 4096}, 0, 0),
        (QWEN2_7B, {"sliding_window": 4096, "max_window_layers": 21}, 0, 0),  # told not to use it
        (
            QWEN2_7B,
            {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 21},
            4096,
            7,
        ),
        (LLAMA_8B, {"sliding_window": 4096}, 0, 0),  # Llama does not read the key
    ],
)
def test_windows(config: Config, changes: Config, window: int, layers: int, tmp_path: Path) -> None:
    attention = model(tmp_path, config, **changes).attention
    assert (attention.window, attention.window_layers) == (window, layers)


@pytest.mark.parametrize(
    ("quantization", "attention", "ffn", "experts"),
    [
        (None, "bf16", "bf16", "bf16"),
        ({"quant_method": "fp8"}, "fp8", "fp8", "fp8"),
        ({"quant_method": "awq", "bits": 4}, "int4", "int4", "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8", "int8", "int8"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", "fp8", "fp8"),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "NVFP4",
                "ignore": ["lm_head", "model.layers.*.self_attn*", "*.mlp.gate"],
            },
            "bf16",
            "nvfp4",
            "nvfp4",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
                "ignore": ["lm_head", "re:.*self_attn.*", "re:.*mlp.gate$"],
            },
            "bf16",
            "fp8",
            "fp8",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}
                },
            },
            "nvfp4",
            "nvfp4",
            "nvfp4",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}},
                "ignore": ["re:.*attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up)_proj.*"],
            },
            "bf16",
            "bf16",
            "int4",
        ),
        (  # single layers: too few to matter, and most of them
            {
                "quant_method": "fbgemm_fp8",
                "modules_to_not_convert": [
                    *[f"model.layers.{n}.self_attn.q_proj" for n in range(61)],
                    "model.layers.0.mlp.down_proj",
                    "model.layers.60.mlp.down_proj",
                ],
            },
            "bf16",
            "fp8",
            "fp8",
        ),
    ],
)
def test_quantized_checkpoints(
    quantization: Config | None, attention: str, ffn: str, experts: str, tmp_path: Path
) -> None:
    weights = model(tmp_path, DEEPSEEK_R1, quantization_config=quantization).weights
    assert (weights.attention, weights.ffn, weights.experts) == (attention, ffn, experts)
    assert weights.embedding == "bf16"


def test_mxfp4_is_for_the_experts_only(tmp_path: Path) -> None:
    weights = model(tmp_path, GPT_OSS_120B).weights
    assert (weights.attention, weights.experts, weights.expert_math) == ("bf16", "mxfp4", "fp8")


@pytest.mark.parametrize(
    "told",
    [{"kv_cache_scheme": {"num_bits": 8, "type": "float"}}, {"kv_cache_quant_algo": "FP8"}],
)
def test_a_quantized_kv_cache(told: Config, tmp_path: Path) -> None:
    quantization = {"quant_method": "modelopt", "quant_algo": "FP8"} | told
    spec = model(tmp_path, LLAMA_8B, quantization_config=quantization)
    assert spec.kv == "fp8"
    assert kv_bytes_per_token(spec).full == 65_536


@pytest.mark.parametrize(
    ("stored", "fmt"),
    [("bfloat16", "bf16"), ("float16", "bf16"), ("float32", "fp32"), (None, "bf16")],
)
def test_torch_dtype(stored: str | None, fmt: str, tmp_path: Path) -> None:
    assert model(tmp_path, LLAMA_8B, torch_dtype=stored).weights.ffn == fmt
    without = {key: value for key, value in LLAMA_8B.items() if key != "torch_dtype"}
    assert model(tmp_path, without, dtype=stored).weights.ffn == fmt


def test_defaults_of_a_family(tmp_path: Path) -> None:
    assert model(tmp_path, GEMMA3_27B).tied_embeddings
    assert model(tmp_path, GEMMA3_27B).vocab == 262_208
    assert not model(
        tmp_path, {k: v for k, v in LLAMA_8B.items() if k[:3] != "tie"}
    ).tied_embeddings
    assert model(tmp_path, LLAMA_8B, tie_word_embeddings=True).tied_embeddings
    without = {key: value for key, value in QWEN3_32B.items() if key != "head_dim"}
    assert model(tmp_path, without).attention.head_dim == 128  # not 5120 / 64
    assert model(tmp_path, LLAMA_8B, num_key_value_heads=None).attention.kv_heads == 32
    assert model(tmp_path, QWEN2_7B).attention.bias
    assert model(tmp_path, QWEN15_MOE).ffn.shared_d_ff == 5632


def test_the_name_is_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, LLAMA_8B, "My-Llama")
    assert from_config(file)["name"] == "My-Llama"
    monkeypatch.chdir(file.parent)
    assert from_config(Path("config.json"))["name"] == "My-Llama"
    assert from_config(file.rename(tmp_path / "llama.json"))["name"] == "llama"


@pytest.mark.parametrize("key", sorted(BLOCKERS))
def test_a_mechanism_that_cannot_be_mapped_is_named(key: str, tmp_path: Path) -> None:
    told = error(tmp_path, LLAMA_8B | {key: 16})
    assert told.startswith(f"{key}: cannot be mapped: it means {BLOCKERS[key]} (got 16); write a")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # other mechanisms, as their publishers write them
        ({"model_type": "mamba", "state_size": 16, "num_hidden_layers": 64}, "state_size: cannot"),
        (
            LLAMA_8B | {"model_type": "zamba", "hybrid_override_pattern": "M-M*-M"},
            "hybrid_override_pattern: cannot be mapped",
        ),
        (
            QWEN3_235B | {"model_type": "qwen9", "linear_num_key_heads": 16},
            "linear_num_key_heads: cannot be mapped: it means linear attention",
        ),
        (
            MINIMAX_M2 | {"model_type": "minimax", "attn_type_list": [0] * 7 + [1]},
            "attn_type_list: cannot be mapped: 0 means a linear attention layer",
        ),
        (
            DEEPSEEK_R1 | {"index_topk": 2048},
            "index_topk: cannot be mapped: it means sparse attention",
        ),
        (
            LLAMA_8B | {"layer_types": ["linear_attention"] * 32},
            "layer_types: cannot be mapped: it has linear_attention layers",
        ),
        (GPT_OSS_120B | {"layer_types": ["full_attention"]}, "must name all 36 layers (got 1)"),
        (LLAMA_8B | {"model_type": "llama5"}, "unknown family (got 'llama5'); did you mean 'llama"),
        (LLAMA_8B | {"model_type": "rwkv"}, "model_type: cannot be mapped: unknown family"),
        ({}, "model_type: is missing; is this a Hugging Face config.json?"),
        # experts where a profile cannot have them
        (QWEN3_235B | {"decoder_sparse_step": 2}, "decoder_sparse_step: cannot be mapped: dense"),
        (QWEN3_235B | {"mlp_only_layers": [3, 9]}, "mlp_only_layers: cannot be mapped"),
        (DEEPSEEK_R1 | {"moe_layer_freq": 2}, "moe_layer_freq: cannot be mapped"),
        (DEEPSEEK_R1 | {"moe_layer_freq": [0, 1]}, "moe_layer_freq: cannot be mapped"),
        # quantization
        (
            LLAMA_8B | {"quantization_config": {"quant_method": "hqq", "bits": 3}},
            "quantization_config: cannot be mapped: unknown quantization (got 'quant_method hqq, b",
        ),
        (
            LLAMA_8B | {"quantization_config": {"quant_method": "gptq", "bits": 3}},
            "(got 'quant_method gptq, bits 3'); known methods: fp8",
        ),
        (LLAMA_8B | {"quantization_config": {"load_in_4bit": True}}, "unknown quantization"),
        # keys of the wrong kind
        (LLAMA_8B | {"num_hidden_layers": "32"}, "num_hidden_layers: must be a whole number"),
        (LLAMA_8B | {"hidden_size": 4096.0}, "hidden_size: must be a whole number (got 4096.0)"),
        (LLAMA_8B | {"vocab_size": True}, "vocab_size: must be a whole number (got True)"),
        (LLAMA_8B | {"vocab_size": -1}, "vocab_size: must be a whole number (got -1)"),
        (LLAMA_8B | {"num_attention_heads": [32] * 32}, "num_attention_heads: must be a whole"),
        (LLAMA_8B | {"num_attention_heads": 30}, "head_dim: is missing, and hidden_size 4096 is"),
        (DEEPSEEK_R1 | {"v_head_dim": None}, "v_head_dim: is missing"),
        # no config at all
        ("[1]", "must be a mapping of keys to values"),
        ('{"model_type": ', "is not JSON: Expecting value"),
        ("[" * 100_000, "is nested too deeply"),
        ("", "is not JSON: Expecting value"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_cannot_be_mapped(config: object, expected: str, tmp_path: Path) -> None:
    assert expected in error(tmp_path, config)


def test_all_missing_keys_are_told_at_once(tmp_path: Path) -> None:
    told = error(tmp_path, {"model_type": "qwen3_moe", "num_experts": 8})
    for key in (
        "num_hidden_layers",
        "hidden_size",
        "vocab_size",
        "max_position_embeddings",
        "num_attention_heads",
        "moe_intermediate_size",
        "num_experts_per_tok",
    ):
        assert f"{key}: is missing" in told
    assert "moe_intermediate_size: is missing (or intermediate_size)" in told


def test_a_config_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        from_config(tmp_path / "config.json")
    file = tmp_path / "config.json"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match="cannot be read: is not UTF-8 text"):
        from_config(file)


WRONG: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    0.5,
    10**30,
    "",
    "x",
    {},
    {"x": 1},
    {"weights": 1},
    [],
    [0],
    [1, "x"],
    [None],
    [[1]],
    [{"x": 1}],
)


@pytest.mark.parametrize(
    "config",
    [LLAMA_8B, GPT_OSS_120B, DEEPSEEK_R1, QWEN3_235B, QWEN2_7B, GEMMA3_27B, MINIMAX_M2],
    ids=lambda config: config["model_type"],
)
@pytest.mark.slow
def test_any_value_of_any_key_gives_a_model_or_a_profile_error(
    config: Config, tmp_path: Path
) -> None:
    inner = {"ignore": None, "config_groups": None, "kv_cache_scheme": None, "bits": None}
    quantization = {"quant_method": "compressed-tensors"} | config.get("quantization_config", inner)
    keys = {*config, *BLOCKERS, "sliding_window", "layer_types", "sliding_window_pattern"}
    for key, value in itertools.product(sorted(keys), WRONG):
        attempt(tmp_path, config | {key: value})
    for key, value in itertools.product(inner, WRONG):
        attempt(tmp_path, config | {"quantization_config": quantization | {key: value}})


def attempt(folder: Path, config: Config) -> None:
    try:
        spec = validate(Model, from_config(write(folder, config)), "config.json")
    except ProfileError as told:
        assert told.problems  # noqa: PT017
    else:
        assert count(spec).total > 0
