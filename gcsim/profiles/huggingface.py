"""A Hugging Face `config.json` to the mapping of a model profile, or the key that forbids it.

Only shapes that `gcsim.profiles.model` can express are taken: layers of one attention, full or
sliding, dense or of experts, and the families of `gcsim.profiles.hf_layers`, whose layers differ.
Everything else (other state-space models, encoder-decoder, dense layers among those of experts) is
an error that names its key.
"""

import json
import re
from pathlib import Path
from typing import Any

from gcsim.errors import ProfileError, nearest
from gcsim.profiles.hf_layers import LISTED, WRITE_A_PROFILE, Config, Kind, Parts, Source
from gcsim.profiles.load import MAX_BYTES

# The defaults that matter of each family's config class: keys that its config.json may leave out.
_GEMMA = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}
_GEMMA_3 = _GEMMA | {
    "vocab_size": 262_208,
    "max_position_embeddings": 131_072,
    "sliding_window_pattern": 6,
}
_DEEPSEEK = ("deepseek_v2", "deepseek_v3", "kimi_k2", "kimi_k25")
_PLAIN = ("llama", "mistral", "mixtral", "phi3", "qwen3_moe", "minimax_m2", *_DEEPSEEK)
FAMILIES: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in (*_PLAIN, *LISTED)},
    "qwen2": {"attention_bias": True},
    "qwen2_moe": {"attention_bias": True},
    "qwen3": {"head_dim": 128},
    "seed_oss": {"attention_bias": True},
    "gemma": _GEMMA | {"num_key_value_heads": None, "sliding_window": None},
    "gemma2": _GEMMA | {"vocab_size": 256_000, "max_position_embeddings": 8192},
    "gemma3": _GEMMA_3,
    "gemma3_text": _GEMMA_3,
    "gpt_oss": {"head_dim": 64, "attention_bias": True, "mlp_bias": True},
    "glm4_moe": {"head_dim": 128},
    "gemma4": {"tie_word_embeddings": True},
    "gemma4_text": {"tie_word_embeddings": True},
    "nemotron_h": {"mlp_hidden_act": "relu2"},
}
ALTERNATING = ("gpt_oss", "gemma2")  # window, full, window, ... where `layer_types` is left out
SOME_WINDOWS = ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe")  # from `max_window_layers` up
ALL_WINDOWS = ("mistral", "mixtral", "phi3")

# Keys of mechanisms that a model profile cannot say.
BLOCKERS = {
    "ssm_cfg": "state-space (Mamba) layers",
    "ssm_state_size": "state-space (Mamba) layers",
    "state_size": "state-space (Mamba) layers",
    "mamba_d_state": "state-space (Mamba) layers",
    "mamba_num_heads": "state-space (Mamba) layers",
    "hybrid_override_pattern": "a hybrid of attention and state-space layers",
    "layers_block_type": "a hybrid of attention and other layers",
    "attn_layer_period": "a hybrid of attention and state-space layers",
    "linear_attn_config": "linear attention layers",
    "linear_num_key_heads": "linear attention layers",
    "linear_num_value_heads": "linear attention layers",
    "index_topk": "sparse attention with an indexer",
    "attention_chunk_size": "chunked attention",
    "is_encoder_decoder": "an encoder beside the decoder",
    "block_configs": "layers of different shapes",
}

# What `quantization_config` may say -> a weight format of `gcsim.profiles.model`.
_METHODS = {"fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "mxfp4"}
_BITS = {4: "int4", 8: "int8"}
_ALGORITHMS = {"fp8": "fp8", "nvfp4": "nvfp4", "mxfp4": "mxfp4", "w4a16_awq": "int4"}


def from_config(path: Path) -> dict[str, Any]:
    """The model-profile mapping of a Hugging Face `config.json`; validate it as a `Model`.

    The name is the folder's. `torch_dtype` gives the format of the weights, `quantization_config`
    that of its parts; vision towers and multi-token-prediction layers are left out. Errors:
    `ProfileError` with every key that is missing, or the key that cannot be mapped.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "tiny"
    >>> folder.mkdir()
    >>> _ = (folder / "config.json").write_text('''{
    ...     "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 100,
    ...     "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2,
    ...     "max_position_embeddings": 2048}''')
    >>> from_config(folder / "config.json")["attention"]
    {'kind': 'gqa', 'q_heads': 4, 'kv_heads': 2, 'head_dim': 16}
    """
    outer = _read(path)
    inner = outer.get("text_config")
    config = {**outer, **inner} if isinstance(inner, dict) else outer
    kind = str(config.get("model_type"))
    _refuse(config, kind, str(path))
    given = {key: value for key, value in config.items() if value is not None}
    source = Source(str(path), {**FAMILIES[kind], **given})
    mapping = _model(source, kind)
    mapping["name"] = path.resolve().parent.name if path.stem == "config" else path.stem
    mapping["source"] = f"Hugging Face config.json (model_type {kind})"
    if source.problems:
        raise ProfileError(source.problems)
    return mapping


def _read(path: Path) -> dict[str, Any]:
    file = str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ProfileError.one(file, "", None, f"is larger than {MAX_BYTES} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ProfileError.one(
            file, "", None, f"is not JSON: {error.msg}", line=error.lineno
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ProfileError.one(file, "", None, f"cannot be read: {why}") from error
    except RecursionError as error:
        raise ProfileError.one(file, "", None, "is nested too deeply") from error
    if not isinstance(config, dict):
        raise ProfileError.one(file, "", None, "must be a mapping of keys to values")
    return config


def _refuse(config: Config, kind: str, file: str) -> None:
    for key, what in BLOCKERS.items():
        if config.get(key) and kind not in LISTED:
            why = f"cannot be mapped: it means {what}"
            value = config[key] if isinstance(config[key], str | int) else None
            raise ProfileError.one(file, key, value, why, WRITE_A_PROFILE)
    types = config.get("attn_type_list")
    if isinstance(types, list) and 0 in types:
        why = "cannot be mapped: 0 means a linear attention layer"
        raise ProfileError.one(file, "attn_type_list", None, why, WRITE_A_PROFILE)
    if "model_type" not in config:
        hint = "is this a Hugging Face config.json?"
        raise ProfileError.one(file, "model_type", None, "is missing", hint)
    if kind not in FAMILIES:
        hint = f"{nearest(kind, FAMILIES)}, or {WRITE_A_PROFILE}"
        raise ProfileError.one(file, "model_type", kind, "cannot be mapped: unknown family", hint)


def _model(source: Source, kind: str) -> dict[str, Any]:
    layers = source.whole("num_hidden_layers")
    if kind in LISTED:
        return _listed(source, kind, layers)
    context = source.whole("max_position_embeddings")
    mapping: dict[str, Any] = {
        "layers": layers,
        "hidden": source.whole("hidden_size"),
        "vocab": source.whole("vocab_size"),
        "context_window": context,
        "tied_embeddings": bool(source.config.get("tie_word_embeddings", False)),
        "ffn": _ffn(source, layers),
        **_formats(source, layers),
    }
    mapping["attention"] = _attention(source, mapping["hidden"])
    window = source.whole("sliding_window", default=0)
    windowed = _window_layers(source, kind, layers)
    if windowed and 0 < window < context:
        mapping["attention"] |= {"window": window, "window_layers": windowed}
    return mapping


def _listed(source: Source, kind: str, layers: int) -> dict[str, Any]:
    """A config whose layers differ: its parts, and the runs that its family makes of them."""
    hidden, gated = source.whole("hidden_size"), source.config.get("mlp_hidden_act") != "relu2"
    short, plain = _ffn(source, layers), {"kind": "dense"} | ({} if gated else {"gated": False})
    dense = {
        **plain,
        "d_ff": source.whole("dense_intermediate_size", "intermediate_size", default=1),
    }
    experts: Kind | None = None
    if short.get("experts"):
        skip = ("dense_layers", "dense_d_ff")
        named = {key: value for key, value in short.items() if key not in skip}
        latent = source.whole("moe_latent_size", default=0)
        experts = {**named, **plain, "kind": "moe"}
        if latent:
            experts |= {"kind": "latent_moe", "latent": latent}
            experts.pop("shared_experts", None)
    attention = _attention(source, hidden)
    parts = Parts(layers, attention, experts, dense, short.get("dense_layers", 0))
    return {
        "layers": LISTED[kind](source, parts),
        "hidden": hidden,
        "vocab": source.whole("vocab_size"),
        "context_window": source.whole("max_position_embeddings"),
        "tied_embeddings": bool(source.config.get("tie_word_embeddings", False)),
        **_formats(source, layers),
    }


def _attention(source: Source, hidden: int) -> dict[str, Any]:
    heads = source.whole("num_attention_heads")
    if source.config.get("kv_lora_rank") is not None:
        return {
            "kind": "mla",
            "q_heads": heads,
            "q_lora": source.whole("q_lora_rank", default=0),
            "kv_lora": source.whole("kv_lora_rank"),
            "rope_dim": source.whole("qk_rope_head_dim"),
            "nope_dim": source.whole("qk_nope_head_dim"),
            "v_dim": source.whole("v_head_dim"),
        }
    if not source.config.get("head_dim") and hidden % max(heads, 1):
        why = f"is missing, and hidden_size {hidden} is no multiple of num_attention_heads {heads}"
        source.complain("head_dim", None, why)
    attention: dict[str, Any] = {
        "kind": "gqa",
        "q_heads": heads,
        "kv_heads": source.whole("num_key_value_heads", default=heads),
        "head_dim": source.whole("head_dim", default=hidden // max(heads, 1)),
    }
    return attention | ({"bias": True} if source.config.get("attention_bias") else {})


def _ffn(source: Source, layers: int) -> dict[str, Any]:
    bias = {"bias": True} if source.config.get("mlp_bias") else {}
    experts = source.whole("n_routed_experts", "num_local_experts", "num_experts", default=0)
    if not experts:
        return {"d_ff": source.whole("intermediate_size")} | bias
    ffn: dict[str, Any] = {
        "d_ff": source.whole("moe_intermediate_size", "intermediate_size"),
        "experts": experts,
        "experts_per_token": source.whole(
            "num_experts_per_tok", "num_experts_per_token", "experts_per_token"
        ),
    }
    shared = source.whole("n_shared_experts", "num_shared_experts", default=0)
    width = source.whole(
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
        default=0,
    )
    if shared or width:
        ffn |= {"shared_experts": shared or 1, "shared_d_ff": width or ffn["d_ff"]}
    dense = _dense_layers(source, layers)
    if dense:
        wide = source.whole("dense_intermediate_size", "intermediate_size")
        ffn |= {"dense_layers": dense, "dense_d_ff": wide}
    return ffn | bias


def _dense_layers(source: Source, layers: int) -> int:
    """How many leading layers have no experts; dense layers elsewhere cannot be expressed."""
    config = source.config
    first = config.get("moe_layer_freq")
    if isinstance(first, list) and len(first) == layers:
        dense = first.count(0)  # 0 for each dense layer, 1 for the others after them
        if first == [0] * dense + [1] * (layers - dense):
            return dense
    for key in ("decoder_sparse_step", "moe_layer_freq"):
        step = config.get(key, 1)
        if any(each != 1 for each in (step if isinstance(step, list) else [step])):
            why = "cannot be mapped: dense and expert layers take turns"
            source.complain(key, str(step), why, WRITE_A_PROFILE)
    plain = config.get("mlp_only_layers") or []
    if not isinstance(plain, list) or plain != list(range(len(plain))):
        why = "cannot be mapped: dense layers must be the first ones"
        source.complain("mlp_only_layers", str(plain), why, WRITE_A_PROFILE)
        plain = []
    return min(source.whole("first_k_dense_replace", default=len(plain)), layers)


def _window_layers(source: Source, kind: str, layers: int) -> int:
    """How many layers see the sliding window only."""
    config = source.config
    if isinstance(types := config.get("layer_types"), list):
        unknown = sorted({str(name) for name in types} - {"full_attention", "sliding_attention"})
        if unknown:
            why = f"cannot be mapped: it has {', '.join(unknown)} layers"
            source.complain("layer_types", None, why, WRITE_A_PROFILE)
        if len(types) != layers:
            source.complain("layer_types", len(types), f"must name all {layers} layers")
        return types.count("sliding_attention")
    if kind in SOME_WINDOWS:
        if not config.get("use_sliding_window"):
            return 0
        return max(layers - source.whole("max_window_layers", default=0), 0)
    if kind in ALTERNATING:
        return (layers + 1) // 2
    if pattern := source.whole("sliding_window_pattern", "_sliding_window_pattern", default=0):
        return layers - layers // pattern
    return layers if kind in ALL_WINDOWS else 0


def _formats(source: Source, layers: int) -> dict[str, Any]:
    """`weights` and `kv`: the format of `torch_dtype`, and what `quantization_config` replaces."""
    stored = str(source.config.get("torch_dtype") or source.config.get("dtype") or "bfloat16")
    base = "fp32" if stored.endswith("float32") else "bf16"
    weights = {"attention": base, "ffn": base, "experts": base, "embedding": base}
    quantization = source.config.get("quantization_config")
    if not isinstance(quantization, dict):
        return {"weights": weights, "kv": "bf16"}
    narrow = _narrow_format(source, quantization)
    kept = quantization.get("modules_to_not_convert") or quantization.get("ignore") or []
    for part, words in (("attention", ("attn", "attention")), ("ffn", ("mlp", "shared_expert"))):
        if not _is_kept(kept, words, layers):
            weights[part] = narrow
    weights["experts"] = "mxfp4" if source.config.get("expert_dtype") == "fp4" else narrow
    if narrow == "mxfp4":  # the experts only; they are multiplied with 8-bit activations
        weights |= {"attention": base, "ffn": base, "expert_math": "fp8"}
    scheme = quantization.get("kv_cache_scheme") or quantization.get("kv_cache_quant_algo")
    eight = scheme.get("num_bits") == 8 if isinstance(scheme, dict) else bool(scheme)
    return {"weights": weights, "kv": "fp8" if eight else "bf16"}


def _narrow_format(source: Source, quantization: Config) -> str:
    method = str(quantization.get("quant_method", "")).lower()
    weights = _first_group(quantization)
    bits = quantization.get("bits", weights.get("num_bits"))
    found: str | None = None
    if method in _METHODS:
        found = _METHODS[method]
    elif method == "modelopt":
        found = _ALGORITHMS.get(str(quantization.get("quant_algo", "")).lower())
    elif method in ("awq", "gptq", "compressed-tensors"):
        found = _BITS.get(bits) if isinstance(bits, int) else None
        if weights.get("type") == "float":
            sixteen = weights.get("group_size") == 16
            found = {8: "fp8", 4: "nvfp4" if sixteen else "mxfp4"}.get(bits or 0)
    if found is None:
        value = {key: quantization.get(key) for key in ("quant_method", "quant_algo", "bits")}
        known = ", ".join((*_METHODS, "awq", "gptq", "compressed-tensors", "modelopt"))
        said = ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
        why = "cannot be mapped: unknown quantization"
        source.complain("quantization_config", said, why, f"known methods: {known}")
    return found or "bf16"


def _first_group(quantization: Config) -> Config:
    """The weight settings of compressed-tensors; several groups of one format are the norm."""
    groups = quantization.get("config_groups")
    if not isinstance(groups, dict):
        return {}
    for group in groups.values():
        if isinstance(group, dict) and isinstance(group.get("weights"), dict):
            return group["weights"]  # type: ignore[no-any-return]
    return {}


def _is_kept(names: object, words: tuple[str, ...], layers: int) -> bool:
    """Do the names of unquantized modules leave most layers' modules with such a word as they are?

    A pattern without a layer number ("self_attn") means all; single layers count one by one.
    """
    if not isinstance(names, list):
        return False
    numbers: set[str] = set()
    for name in map(str, names):
        last = name.rstrip(".*$")
        if not any(word in last for word in words) or last.endswith(("gate", "router")):
            continue
        number = re.search(r"layers\.(\d+)\.", name)
        if number is None:
            return True
        numbers.add(number[1])
    return 2 * len(numbers) > layers
