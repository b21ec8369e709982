"""Published names to profiles."""

import pytest

from gcsim.calibration.match import find_model, formats_of, kv_format, setup_of, stack_of
from gcsim.calibration.points import COLUMNS, Point, parse_row
from gcsim.profiles.resolve import load_chip, load_model


def point(**cells: str) -> Point:
    row = dict.fromkeys(COLUMNS, "") | {
        "id": "X-1",
        "hardware": "NVIDIA H200 SXM",
        "chips": "8",
        "tp": "8",
        "model": "deepseek-ai/DeepSeek-R1",
        "weight_dtype": "fp8",
        "framework": "sglang 0.5.9",
        "isl": "1000",
        "osl": "100",
        "concurrency_or_batch": "4",
        "tpot_ms": "10",
    }
    found = parse_row(row | cells)
    assert isinstance(found, Point), found
    return found


@pytest.mark.parametrize(
    ("framework", "date", "stack"),
    [
        ("vllm 0.19.0", "2026-04-01", "vllm"),
        ("vLLM (2024)", "2024", "vllm-2024"),
        ("vLLM (2023)", "2023", "vllm-2023"),
        ("trt-llm", "2025-03-12", "trtllm-2025-q1"),
        ("trt-llm", "2024-12-30", "trtllm-2024"),
        ("trtllm 1.0.0rc3", "", "trtllm-2025"),
        ("dynamo-trt 0.8.1", "2026-01-10", "trtllm"),
        ("vLLM 0.7.3 ROCm 6.3.1", "2025-03-27", "vllm"),
        ("atom rocm7.2.0", "2026-02-01", "atom"),
        ("sambaflow (2024)", "2024", "sambaflow"),
    ],
)
def test_stacks(framework: str, date: str, stack: str) -> None:
    assert stack_of(framework, date) == stack


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "llama-3.1-8b"),
        ("Llama-3.1-405B FP8 (Meta ckpt)", "llama-3.1-405b"),
        ("nvidia/DeepSeek-R1-0528-FP4", "deepseek-r1"),
        ("moonshotai/Kimi-K2.5", "kimi-k2"),
    ],
)
def test_models(name: str, found: str) -> None:
    model = find_model(name)
    assert model is not None
    assert model.name == found


def test_number_formats() -> None:
    h200, b200, mi355x = map(load_chip, ("h200-sxm", "b200", "mi355x"))
    oss, deepseek, llama = map(load_model, ("gpt-oss-120b", "deepseek-r1", "llama-3.3-70b"))
    assert formats_of(oss, "fp4", h200) == oss.weights
    assert formats_of(llama, "fp4", b200).attention == "nvfp4"
    assert formats_of(deepseek, "fp4", b200).attention == "bf16"
    assert formats_of(deepseek, "fp4", mi355x).experts == "mxfp4"
    assert formats_of(llama, "unstated (bf16/fp16)", h200).ffn == "bf16"
    assert formats_of(llama, "fp8", h200).ffn == "fp8"
    assert kv_format(llama, b200, "vllm") == "bf16"
    eight = llama.model_copy(update={"weights": formats_of(llama, "fp8", b200)})
    assert kv_format(eight, b200, "vllm") == "fp8"
    assert kv_format(eight, h200, "vllm") == "bf16"


def test_setups() -> None:
    setup = setup_of(point(notes="attn-DP8", tp="1"))
    assert not isinstance(setup, str)
    assert (setup.chip, setup.stack, setup.pool.tp, setup.pool.ep) == ("h200-sxm", "sglang", 1, 8)
    assert setup.pool.batching.policy == "prefill_first"
    assert setup_of(point(hardware="Abacus")) == "unknown chip"
    assert setup_of(point(model="Parrot-1B")) == "unknown model"
    split = setup_of(point(notes="PD: prefill 1xTP8EP1=8gpu decode 2xTP8EP1=16gpu"))
    assert not isinstance(split, str)
    assert [p.role for p in split.deployment.pools.values()] == ["prefill", "decode"]
    assert split.deployment.links[0].lanes == 8
