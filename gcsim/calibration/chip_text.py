"""Fitted factors back into the text of a chip profile; everything else stays as it was written."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gcsim.calibration.calibrate import BORROWS, Calibration, ranges
from gcsim.calibration.factors import (
    COMPUTE,
    EFFICIENCIES,
    HANDOFF,
    HELD,
    KERNELS,
    OVERLAPPING,
    TIMES,
    Name,
    bounds,
    prior_of,
)
from gcsim.calibration.handoff import Handoff
from gcsim.profiles.base import Quantity
from gcsim.profiles.chip import Chip

DATE = "2026-11-21"
SOURCES = {
    "AIC": "aiconfigurator", "ARG": "Argonne", "ART": "Argonne", "BKT": "vLLM buildkite",
    "DSF": "dstack", "DSL": "dstack", "DSO": "dstack", "IXF": "InferenceX", "IXT": "InferenceX",
    "IXD": "InferenceX", "RVL": "ROCm/vLLM", "SPW": "Splitwise", "VUL": "Vultr",
}  # fmt: skip
LONG_NAMES = {
    "aiconfigurator": "GitHub ai-dynamo/aiconfigurator, silicon samples",
    "Argonne": "GitHub argonne-lcf/LLM-Inference-Bench, 2024 software, static batches",
    "dstack": "GitHub dstackai/benchmarks, DeepSeek-R1 (early 2025) and Llama 3.1 405B (2024)",
    "InferenceX": "SemiAnalysis InferenceX (inferencex.semianalysis.com)",
    "ROCm/vLLM": "AMD's ROCm/vLLM README, Llama 3.1 70B and 405B FP8 on 8 MI300X",
    "Splitwise": "GitHub Azure/AzurePublicDataset, Splitwise perf_model.csv (vLLM of 2023)",
    "vLLM buildkite": "vLLM's continuous benchmarks of 2024/25 (buildkite.com/vllm)",
}
NEVER_FITTED = {
    "iteration_overhead": "not separable from layer_overhead in published data: "
    "its share is counted there",
}
# Whom a chip asks first for a factor that its own points do not show.
NEAREST = {"a100": "a100-40gb", "a100-40gb": "a100", "b300": "b200", "mi355x": "mi300x"}
# Factors that published points of a chip cannot show; its profile has them from elsewhere.
KEPT = {
    "sn40l": ("gemm_bf16", "expert_gemm", "attention", "link", "moe_layer_overhead",
              "prompt_layer_overhead", "request_overhead"),
}  # fmt: skip


def efficiency_block(chip: Chip, result: Calibration, tested: str) -> str:
    """The `efficiency:` section of a chip.

    A factor that no point of the chip shows is borrowed from its relatives (kind assumed).
    """
    name = chip.name
    donor = BORROWS.get(name, name)
    lines = ["efficiency: # fractions of the peaks above; written by `make calibrate`"]
    for factor in EFFICIENCIES:
        if getattr(chip.compute, factor.removeprefix("gemm_"), 1) is None:
            continue
        if factor == "gemm_int8" and (donor, "", factor) not in result.values:
            continue  # as gemm_fp8
        if factor in KEPT.get(name, ()):
            number: Mapping[str, Any] = _kept(getattr(chip.efficiency, factor))
        else:
            number = _number(result, name, donor, "", factor, tested)
        lines += _entry(number, factor, "")
    return "\n".join(lines) + "\n"


def stacks_block(chip: Chip, result: Calibration, stacks: Sequence[str], tested: str) -> str:
    """The `stacks:` section and the default stack."""
    name = chip.name
    donor = BORROWS.get(name, name)
    lines = ["stacks: # fixed times beyond the roofline, per serving software"]
    for stack in stacks:
        lines.append(f"  {stack}:")
        if stack in OVERLAPPING:
            lines.append("    overlap_scheduling: true")
        factors = [*TIMES, "iteration_overhead"]
        factors += KERNELS if chip.execution == "kernels" else ()
        if any(n[1] == stack and n[2] == COMPUTE for n in result.values):
            factors.append(COMPUTE)
        for factor in factors:
            if factor in KEPT.get(name, ()):
                number: Mapping[str, Any] = _kept(getattr(chip.stacks[stack], factor))
            else:
                number = _number(result, name, donor, stack, factor, tested)
            lines += _entry(number, factor, "  ")
        before = chip.stacks[stack].handoff_overhead if stack in chip.stacks else None
        if stack in result.handoffs:
            lines += _entry(_handoff(result.handoffs[stack], donor, stack), HANDOFF, "  ")
        elif before is not None:  # the points of one chip alone do not show it
            lines += _entry(_kept(before), HANDOFF, "  ")
    return "\n".join(lines) + f"\ndefault_stack: {chip.default_stack}\n"


def _handoff(found: Handoff, chip: str, stack: str) -> dict[str, Any]:
    where = f"{found.points} disaggregated points of {stack} on {', '.join(found.chips)}"
    number = {"value": found.value, "low": found.low, "high": found.high}
    if chip in found.chips:
        return {**number, "kind": "fitted", "source": f"fit: {where}, {DATE}"}
    return {**number, "kind": "assumed", "source": f"no point of this chip shows it: {where}"}


def _kept(quantity: Quantity) -> dict[str, Any]:
    value = quantity.value
    low = value if quantity.low is None else quantity.low
    high = value if quantity.high is None else quantity.high
    found = {"value": value, "low": low, "high": high, "kind": quantity.kind}
    return {**found, "source": quantity.source, "note": quantity.note}


def _number(
    result: Calibration, chip: str, donor: str, stack: str, factor: str, tested: str
) -> Mapping[str, Any]:
    if factor in HELD:
        value, width = prior_of(factor, stack)
        low, high = (value * float(np.exp(side * 1.64 * width)) for side in (-1, 1))
        source = "held: fitting it bought less than a point (docs/validation.md)"
        return {"value": value, "low": low, "high": high, "kind": "assumed", "source": source}
    if factor in NEVER_FITTED:
        source = NEVER_FITTED[factor]
        return {"value": 0.0, "low": 0.0, "high": 2e-3, "kind": "assumed", "source": source}
    name: Name = (donor, stack, factor)
    if name in result.values and (donor, stack) in result.counts:
        low, high = ranges(result, name)
        value, key = result.values[name], (donor, stack)
        points = _points(result, key)
        if donor != chip:
            source = f"borrowed from {donor}, its nearest relative ({points})"
            return {"value": value, "low": low * 0.8, "high": high * 1.25, "kind": "assumed",
                    "source": source}  # fmt: skip
        source = fitted_source(result, key, tested)
        return {"value": value, "low": low, "high": high, "kind": "fitted", "source": source}
    near = (NEAREST.get(donor, donor), stack, factor)
    if near in result.values and near[0] != donor:
        low, high = ranges(result, near)
        value, source = result.values[near], f"no point of this chip shows it: as {near[0]}"
        return {"value": value, "low": low * 0.8, "high": high * 1.25,
                "kind": "assumed", "source": source}  # fmt: skip
    value, low, high, voices = _relatives_of(result, donor, stack, factor)
    source = (f"no point of this chip shows it: mean of {', '.join(voices)}" if voices
              else "no published point shows it: general prior (docs/validation.md)")  # fmt: skip
    return {"value": value, "low": low, "high": high, "kind": "assumed", "source": source}


def _points(result: Calibration, key: tuple[str, str]) -> str:
    sets = ", ".join(dict.fromkeys(SOURCES.get(p, p) for p in result.sources[key]))
    return f"{result.counts[key]} points of {sets}"


def fitted_source(result: Calibration, key: tuple[str, str], tested: str = "") -> str:
    """Where a fitted value comes from; key: (chip, stack or "")."""
    return f"fit: {_points(result, key)}, {DATE}{tested}"


def _relatives_of(
    result: Calibration, chip: str, stack: str, factor: str
) -> tuple[float, float, float, list[str]]:
    others = {
        n[0]: v for n, v in result.values.items() if n[1:] == (stack, factor) and n[0] != chip
    }
    if not others:
        prior, width = prior_of(factor, stack)
        return prior, prior * float(np.exp(-1.64 * width)), prior * float(np.exp(1.64 * width)), []
    logs = np.log(list(others.values()))
    value = float(np.exp(logs.mean()))
    low, high = float(np.exp(logs.min())) * 0.7, float(np.exp(logs.max())) * 1.4
    return value, low, high, sorted(others)


def _entry(number: Mapping[str, Any], factor: str, indent: str) -> list[str]:
    value, low, high = (float(number[k]) for k in ("value", "low", "high"))
    if factor in (*EFFICIENCIES, COMPUTE):
        high = min(high, 1.0)
    if factor not in NEVER_FITTED:
        low = max(low, min(bounds(factor)[0], value))
    if high <= low:
        low, high = low * 0.95, high * 1.05
        high = min(high, 1.0) if factor in (*EFFICIENCIES, COMPUTE) else high
    texts = [number_text(factor, x) for x in (value, low, high)]
    head = f"  {indent}{factor}:"
    note = [f"    {indent}note: {_quoted(number['note'])}"] if number.get("note") else []
    return [
        head,
        f"    {indent}value: {texts[0]}",
        f"    {indent}low: {texts[1]}",
        f"    {indent}high: {texts[2]}",
        f"    {indent}kind: {number['kind']}",
        f"    {indent}source: {_quoted(number['source'])}",
        *note,
    ]


def _quoted(text: str) -> str:
    return '"' + " ".join(text.split()).replace('"', "'") + '"'


def number_text(factor: str, value: float) -> str:
    """A factor's value as a profile writes it.

    >>> number_text("memory", 0.8), number_text("layer_overhead", 23.45e-6)
    ('0.800', '23.4 us')
    """
    return (_time if factor in (*TIMES, *NEVER_FITTED, HANDOFF) else _ratio)(value)


def _ratio(value: float) -> str:
    return f"{value:.3f}"


def _time(seconds: float) -> str:
    if seconds >= 2e-3:
        return f"{seconds * 1e3:.3g} ms"
    return f"{float(f'{seconds * 1e6:.3g}'):g} us"


def replace_sections(text: str, efficiency: str, stacks: str) -> str:
    """A profile's text with its `efficiency:` and `stacks:` sections replaced."""
    begin = text.index("\nefficiency:") + 1
    end = text.index("\npower:") + 1
    text = text[:begin] + efficiency + "\n" + stacks + "\n" + text[end:]
    missing = [
        f"  - \"'{name}' in a source: {long}\"\n"
        for name, long in LONG_NAMES.items()
        if name in efficiency + stacks and f"'{name}' in a source" not in text
    ]
    if missing and "\nnotes:" not in text:
        text = text.rstrip("\n") + "\n\nnotes:\n"
    return text.rstrip("\n") + "\n" + "".join(missing)
