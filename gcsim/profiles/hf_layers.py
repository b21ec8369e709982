"""The layers of a Hugging Face `config.json` whose layers are not all of one kind, as listed runs.

One function per family of configs: which of its keys say which layer is what. It is given the
attention, the experts and the dense FFN that `gcsim.profiles.huggingface` has read already.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gcsim.errors import Problem

Config = Mapping[str, Any]
Kind = dict[str, Any]
WRITE_A_PROFILE = "write a model profile instead (gcsim show model gpt-oss-120b is an example)"


@dataclass
class Source:
    """A config with the defaults of its family, and what was found wrong while reading it."""

    file: str
    config: Config
    problems: list[Problem] = field(default_factory=list)

    def complain(self, key: str, value: object, why: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, key, value, why, hint))

    def whole(self, *keys: str, default: int | None = None) -> int:
        """The first of the keys that is there, as a whole number; without a default one must be."""
        for key in keys:
            value = self.config.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                self.complain(key, value, "must be a whole number")
                return 1
            return value
        if default is None:
            others = f" (or {', '.join(keys[1:])})" if keys[1:] else ""
            self.complain(keys[0], None, f"is missing{others}", "a language model's config has it")
        return default if default is not None else 1

    def inside(self, key: str) -> "Source":
        """The mapping at a key, over this one; what is wrong with it is told here."""
        inner = self.config.get(key)
        own = inner if isinstance(inner, dict) else {}
        return Source(self.file, {**self.config, **own}, self.problems)

    def each(self, key: str, layers: int) -> list[Any]:
        """A list with one entry per layer; [] where the key is not there."""
        value = self.config.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) < layers:
            self.complain(key, None, f"must be a list of {layers} layers")
            return []
        return value[:layers]


@dataclass(frozen=True)
class Parts:
    """What the layers of a config are made of, and how many there are; the first are dense."""

    layers: int
    attention: Kind
    experts: Kind | None
    dense: Kind
    dense_layers: int

    def ffn(self, layer: int) -> Kind:
        """The FFN of a layer."""
        expert = self.experts is not None and layer >= self.dense_layers
        return self.experts if expert and self.experts else self.dense


def runs(mixers: Sequence[Kind], ffns: Sequence[Kind | None]) -> list[Kind]:
    """Layers as runs: alike ones together, for their order changes no time."""
    found: list[Kind] = []
    for mixer, ffn in zip(mixers, ffns, strict=True):
        made = {"mixer": mixer, "ffn": ffn}
        same = next((run for run in found if {**run, "repeat": 0} == {**made, "repeat": 0}), None)
        if same is None:
            found.append({"repeat": 1, **made})
        else:
            same["repeat"] += 1
    return found


def _chosen(
    source: Source, parts: Parts, kinds: Mapping[str, Kind], types: list[Any]
) -> list[Kind]:
    """Layers whose mixers go by the names in `layer_types`."""
    if not types:
        return []
    unknown = sorted(
        {str(name) for name in types if not isinstance(name, str)}
        | {name for name in types if isinstance(name, str) and name not in kinds}
    )
    if unknown:
        why = f"cannot be mapped: it has {', '.join(unknown)} layers"
        source.complain("layer_types", None, why, WRITE_A_PROFILE)
        return []
    mixers = [kinds[name] for name in types]
    return runs(mixers, [parts.ffn(k) for k in range(parts.layers)])


def gated_delta(source: Source, parts: Parts) -> list[Kind]:
    """Qwen3-Next, Qwen3.5: every `full_attention_interval`-th layer is gated attention."""
    every = max(source.whole("full_attention_interval", default=4), 1)
    types = source.each("layer_types", parts.layers) or [
        "linear_attention" if (k + 1) % every else "full_attention" for k in range(parts.layers)
    ]
    linear = {
        "kind": "linear",
        "heads": source.whole("linear_num_value_heads"),
        "key_heads": source.whole("linear_num_key_heads"),
        "key_dim": source.whole("linear_key_head_dim"),
        "value_dim": source.whole("linear_value_head_dim"),
        "conv": source.whole("linear_conv_kernel_dim", default=4),
    }
    full = {**parts.attention, "output_gate": True}
    return _chosen(source, parts, {"linear_attention": linear, "full_attention": full}, types)


def kimi_delta(source: Source, parts: Parts) -> list[Kind]:
    """Kimi Linear: `linear_attn_config` lists the layers of each mixer, counted from 1."""
    own = source.inside("linear_attn_config")
    size = own.whole("head_dim")
    linear = {
        "kind": "linear",
        "heads": own.whole("num_heads"),
        "key_dim": size,
        "value_dim": size,
        "conv": own.whole("short_conv_kernel_size", default=4),
        "gate_lora": size,
    }
    full = own.config.get("full_attn_layers")
    if not isinstance(full, list):
        source.complain("linear_attn_config.full_attn_layers", None, "is missing")
        full = []
    types = ["full" if k + 1 in full else "linear" for k in range(parts.layers)]
    return _chosen(source, parts, {"linear": linear, "full": parts.attention}, types)


def indexed(source: Source, parts: Parts) -> list[Kind]:
    """DeepSeek V3.2, GLM-5: an index of all layers, or of those that `indexer_types` calls full."""
    reused = {"kind": "sparse", "top_k": source.whole("index_topk"), "of": parts.attention}
    own = {
        **reused,
        "index_heads": source.whole("index_n_heads"),
        "index_dim": source.whole("index_head_dim"),
        "index_lora": source.whole("q_lora_rank", default=0),
    }
    every = max(source.whole("index_topk_freq", default=1), 1)
    first = source.whole("index_skip_topk_offset", default=0)
    types = source.each("indexer_types", parts.layers) or [
        "full" if k < first or (k - first + 1) % every == 0 else "shared"
        for k in range(parts.layers)
    ]
    return _chosen(source, parts, {"full": own, "shared": reused}, types)


def by_blocks(source: Source, parts: Parts) -> list[Kind]:
    """MiniMax M3: `sparse_attention_config` says which layers attend to the best blocks alone."""
    own = source.inside("sparse_attention_config")
    block = own.whole("sparse_block_size", "index_block_size")
    size = own.whole("sparse_index_dim", "index_head_dim")
    sparse = {
        "kind": "sparse",
        "top_k": block * own.whole("sparse_topk_blocks", "index_topk_blocks"),
        "index_heads": own.whole("sparse_num_index_heads", "index_n_heads"),
        "index_dim": size,
        "index_bytes": 2 * size,
        "of": parts.attention,
    }
    flags = own.each("sparse_attention_freq", parts.layers) or [
        name != "full_attention" for name in source.each("layer_types", parts.layers)
    ]
    if not flags:
        source.complain("sparse_attention_config.sparse_attention_freq", None, "is missing")
    mixers = [sparse if flag else parts.attention for flag in flags]
    return runs(mixers, [parts.ffn(k) for k in range(len(mixers))])


def wide_and_local(source: Source, parts: Parts) -> list[Kind]:
    """Gemma 4: layers that see all have heads of their own size, and keys that are values."""
    if source.config.get("enable_moe_block"):
        why = "cannot be mapped: experts beside a dense FFN in one layer"
        source.complain("enable_moe_block", True, why, WRITE_A_PROFILE)
    local = {**parts.attention, "window": source.whole("sliding_window")}
    size = source.whole("global_head_dim", default=parts.attention["head_dim"])
    heads = source.whole("num_global_key_value_heads", default=parts.attention["kv_heads"])
    shared = bool(source.config.get("attention_k_eq_v"))
    wide = {**parts.attention, "head_dim": size, "kv_heads": heads, "shared_kv": shared}
    types = source.each("layer_types", parts.layers)
    if not types:
        source.complain("layer_types", None, "is missing")
    return _chosen(source, parts, {"sliding_attention": local, "full_attention": wide}, types)


BLOCKS = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}


def alternating_blocks(source: Source, parts: Parts) -> list[Kind]:
    """Nemotron H: a block is a mixer or an FFN; a mixer and the FFN after it are one layer."""
    text = source.config.get("hybrid_override_pattern")
    letters = list(text) if isinstance(text, str) else []
    blocks = source.each("layers_block_type", parts.layers) or [BLOCKS.get(c, c) for c in letters]
    if len(blocks) != parts.layers:
        source.complain("hybrid_override_pattern", text, f"must name all {parts.layers} blocks")
        return []
    linear = {
        "kind": "linear",
        "heads": source.whole("mamba_num_heads"),
        "key_heads": source.whole("n_groups", "mamba_n_groups"),
        "key_dim": source.whole("ssm_state_size"),
        "value_dim": source.whole("mamba_head_dim"),
        "conv": source.whole("conv_kernel", default=4),
    }
    mixer_kinds = {"mamba": linear, "attention": parts.attention}
    ffn_kinds = {"moe": parts.experts, "mlp": parts.dense}
    mixers: list[Kind] = []
    ffns: list[Kind | None] = []
    for number, block in enumerate(blocks):
        if block in mixer_kinds:
            mixers.append(mixer_kinds[block])
            ffns.append(None)
        elif ffn_kinds.get(block) and ffns and ffns[-1] is None:
            ffns[-1] = ffn_kinds[block]
        else:
            why = "cannot be mapped: an FFN that follows no mixer"
            known = block in ffn_kinds
            why = why if known else "is no known block"
            source.complain(f"hybrid_override_pattern.{number}", block, why, WRITE_A_PROFILE)
            return []
    return runs(mixers, ffns)


def by_compression(source: Source, parts: Parts) -> list[Kind]:
    """DeepSeek V4: `compress_ratios` says for how many tokens an entry of a layer stands."""
    top_k, wide = source.whole("index_topk"), 128
    kinds: dict[str, Kind] = {}
    ratios = source.each("compress_ratios", parts.layers)
    if not ratios:
        source.complain("compress_ratios", None, "is missing")
    for ratio in sorted({r for r in ratios if isinstance(r, int) and r > 0}):
        plain = {
            "kind": "compressed",
            "q_heads": source.whole("num_attention_heads"),
            "head_dim": source.whole("head_dim"),
            "q_lora": source.whole("q_lora_rank"),
            "o_groups": source.whole("o_groups"),
            "o_lora": source.whole("o_lora_rank"),
            "ratio": ratio,
            "window": source.whole("sliding_window"),
        }
        size = source.whole("index_head_dim")
        index = {
            "index_heads": source.whole("index_n_heads"),
            "index_dim": size,
            "index_lora": source.whole("q_lora_rank"),
            "index_block": ratio,
            "index_bytes": max(2 * size // ratio, 1),
        }
        ranked = {"kind": "sparse", "top_k": top_k * ratio, **index, "of": plain}
        kinds[str(ratio)] = plain if ratio >= wide else ranked
    if any(str(ratio) not in kinds for ratio in ratios):
        why = "cannot be mapped: layers that compress nothing"
        source.complain("compress_ratios", 0, why, WRITE_A_PROFILE)
        return []
    return _chosen(source, parts, kinds, [str(ratio) for ratio in ratios])


def in_chunks(source: Source, parts: Parts) -> list[Kind]:
    """Llama 4: every fourth layer sees all, the others their chunk; experts in every n-th layer."""
    chunk, step = source.whole("attention_chunk_size"), source.whole("interleave_moe_layer_step")
    local = {**parts.attention, "kind": "chunked", "chunk": chunk}
    rope = (
        source.each("no_rope_layers", parts.layers) if source.config.get("no_rope_layers") else []
    )
    types = source.each("layer_types", parts.layers) or [
        "chunked_attention" if used else "full_attention"
        for used in rope or [(k + 1) % 4 for k in range(parts.layers)]
    ]
    dense = {**parts.dense, "d_ff": source.whole("intermediate_size_mlp")}
    width = source.whole("intermediate_size")
    experts = {**(parts.experts or {}), "shared_experts": 1, "shared_d_ff": width}
    kinds = {"chunked_attention": local, "full_attention": parts.attention}
    mixers = [kinds.get(name, local) for name in types]
    ffns = [dense if (k + 1) % max(step, 1) else experts for k in range(parts.layers)]
    return runs(mixers, ffns)


LISTED: dict[str, Callable[[Source, Parts], list[Kind]]] = {
    "qwen3_next": gated_delta,
    "qwen3_5": gated_delta,
    "qwen3_5_text": gated_delta,
    "qwen3_5_moe": gated_delta,
    "qwen3_5_moe_text": gated_delta,
    "kimi_linear": kimi_delta,
    "deepseek_v32": indexed,
    "glm_moe_dsa": indexed,
    "minimax_m3": by_blocks,
    "minimax_m3_vl": by_blocks,
    "gemma4": wide_and_local,
    "gemma4_text": wide_and_local,
    "nemotron_h": alternating_blocks,
    "deepseek_v4": by_compression,
    "llama4": in_chunks,
    "llama4_text": in_chunks,
}
