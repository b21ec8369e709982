"""hardware_profiles/factors/NAME.yaml: what a calibration found for a chip, as text.

A factor that no point of the chip shows comes from its relatives; kind and source say so, once for
all values of one origin.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gcsim.calibration.calibrate import BORROWS, Calibration, ranges
from gcsim.calibration.factors import (
    COMPUTE,
    EFFICIENCIES,
    HANDOFF,
    HELD,
    KERNELS,
    TIMES,
    Name,
    bounds,
    prior_of,
)
from gcsim.calibration.handoff import HandoffTime
from gcsim.calibration.pooling import SHOWN, siblings
from gcsim.profiles.base import Kind, Quantity
from gcsim.profiles.chip import Chip

DATE = "2026-11-21"
SOURCES = {  # prefix of a point's id -> whose measurement it is
    "AIC": "aiconfigurator",
    "ARG": "Argonne",
    "ART": "Argonne",
    "BKT": "vLLM buildkite",
    "DSF": "dstack",
    "DSL": "dstack",
    "DSO": "dstack",
    "IXF": "InferenceX",
    "IXT": "InferenceX",
    "IXD": "InferenceX",
    "RVL": "ROCm/vLLM",
    "SPW": "Splitwise",
    "VUL": "Vultr",
}
LONG_NAMES = {
    "fit": "least squares of gcsim's cost equations (docs/cost-model.md) on published measurements",
    "aiconfigurator": "GitHub ai-dynamo/aiconfigurator, silicon samples",
    "Argonne": "GitHub argonne-lcf/LLM-Inference-Bench, 2024 software, static batches",
    "dstack": "GitHub dstackai/benchmarks, DeepSeek-R1 (early 2025) and Llama 3.1 405B (2024)",
    "InferenceX": "SemiAnalysis InferenceX (inferencex.semianalysis.com)",
    "ROCm/vLLM": "AMD's ROCm/vLLM README, Llama 3.1 70B and 405B FP8 on 8 MI300X",
    "Splitwise": "GitHub Azure/AzurePublicDataset, Splitwise perf_model.csv (vLLM of 2023)",
    "vLLM buildkite": "vLLM's continuous benchmarks of 2024/25 (buildkite.com/vllm)",
}
# Factors that published points of a chip cannot show: set by hand, and kept.
KEPT = {
    "sn40l": (
        "gemm_bf16",
        "expert_gemm",
        "attention",
        "link",
        "moe_layer_overhead",
        "prompt_layer_overhead",
        "request_overhead",
    )
}
# Priors from a source that is a point of no chip, by vendor, stack and factor: value, low, high.
ELSEWHERE = {("AMD", "vllm", "moe_layer_overhead"): (125e-6, 95e-6, 160e-6)}
ELSEWHERE_SOURCE = (
    "what two curves of 8 AMD Instinct of unstated model lack in time per token at 4 to 16 users, "
    "whichever it was: gpt-oss-120b, MiniMax-M2.5 (InferenceX, multi-node results, April 2026)"
)
HEAD = "# Written by `make calibrate`; do not edit.\n"


@dataclass(frozen=True, slots=True)
class Finding:
    """A factor's value with its range and its origin."""

    value: float
    low: float
    high: float
    kind: Kind
    source: str
    note: str = ""


def factors_text(chip: Chip, result: Calibration, tested: str) -> str:
    """The factors file of a chip; tested: what is known of the error, for the sources."""
    name = chip.name
    fitted = {s for c, s in result.counts if c == BORROWS.get(name, name) and s}
    stacks = [*chip.stacks, *sorted(fitted - set(chip.stacks))]
    efficiency = _efficiency(chip, result, tested)
    by_stack = {stack: _times(chip, result, stack, tested) for stack in stacks}
    lines = [f"chip: {name}", "efficiency:", *_groups(efficiency, "  "), "stacks:"]
    for stack, times in by_stack.items():
        lines += [f"  {stack}:", *_groups(times, "    ")]
    text = "\n".join(lines)
    notes = [
        f"  - \"'{short}' in a source: {long}\""
        for short, long in LONG_NAMES.items()
        if (f'"{short}: ' if short == "fit" else short) in text
    ]
    return HEAD + "\n".join([text, *(["notes:", *notes] if notes else ()), ""])


def _efficiency(chip: Chip, result: Calibration, tested: str) -> dict[str, Finding]:
    found = {}
    for factor in EFFICIENCIES:
        if getattr(chip.compute, factor.removeprefix("gemm_"), 1) is None:
            continue
        name = (BORROWS.get(chip.name, chip.name), "", factor)
        if factor == "gemm_int8" and name not in result.values:
            continue  # as gemm_fp8
        kept = factor in KEPT.get(chip.name, ())
        own = getattr(chip.efficiency, factor)
        found[factor] = _kept(own) if kept else _finding(result, chip, "", factor, tested)
    return found


def _times(chip: Chip, result: Calibration, stack: str, tested: str) -> dict[str, Finding]:
    """The factors of a stack on a chip; those that are never fitted stand with the stack."""
    before = chip.stacks.get(stack)
    factors = [*TIMES, *(f for f in KERNELS if chip.execution == "kernels" and f not in HELD)]
    if any(n[1:] == (stack, COMPUTE) for n in result.values):
        factors.append(COMPUTE)
    found = {}
    for factor in factors:
        own = getattr(before, factor, None)
        if factor in KEPT.get(chip.name, ()) and own is not None:
            found[factor] = _kept(own)
        else:
            found[factor] = _finding(result, chip, stack, factor, tested)
    handoff = before.handoff_overhead if before else None
    if stack in result.handoffs:
        donor = BORROWS.get(chip.name, chip.name)
        found[HANDOFF] = _handoff(result.handoffs[stack], donor, stack)
    elif handoff is not None:  # the points of one chip alone do not show it
        found[HANDOFF] = _kept(handoff)
    return found


def _handoff(found: HandoffTime, chip: str, stack: str) -> Finding:
    where = f"{found.points} disaggregated points of {stack} on {', '.join(found.chips)}"
    kind: Kind = "assumed"
    source = f"no point of this chip shows it: {where}"
    if chip in found.chips:
        kind, source = "fitted", f"fit: {where}, {DATE}"
    return Finding(found.value, found.low, found.high, kind, source)


def _kept(own: Quantity) -> Finding:
    low = own.value if own.low is None else own.low
    high = own.value if own.high is None else own.high
    return Finding(own.value, low, high, own.kind, own.source, own.note)


def _finding(result: Calibration, chip: Chip, stack: str, factor: str, tested: str) -> Finding:
    """A factor of a chip: fitted, else borrowed, else as its die, its stack and its vendor say."""
    if factor in HELD:
        value, width = prior_of(factor, stack)
        source = "held: fitting it bought less than a point (docs/calibration.md)"
        return _around(value, width, source)
    donor = BORROWS.get(chip.name, chip.name)
    name: Name = (donor, stack, factor)
    if name in result.values and (donor, stack) in result.counts:
        own = Finding(result.values[name], *ranges(result, name), "fitted", "")
        if donor != chip.name:
            points = points_of(result, (donor, stack))
            return _wider(own, f"borrowed from {donor}, its nearest relative ({points})")
        if result.shown.get(name, 1.0) >= SHOWN:
            return replace(own, source=fitted_source(result, (donor, stack), tested))
        source = f"{points_of(result, (donor, stack))} hardly show it: near what others say"
        return replace(own, kind="assumed", source=source, note=_entangled(result, name))
    for die in siblings(name):
        if die in result.values:
            own = Finding(result.values[die], *ranges(result, die), "fitted", "")
            return _wider(own, f"no point of this chip shows it: as {die[0]}, the same die")
    if (chip.vendor, stack, factor) in ELSEWHERE:
        return Finding(*ELSEWHERE[chip.vendor, stack, factor], "assumed", ELSEWHERE_SOURCE)
    value, spread = result.expects(name, chip.vendor)
    others = sorted({n[0] for n in result.values if n[1:] == name[1:]})
    source = "no published point shows it: general prior (docs/calibration.md)"
    if others:
        source = f"no point of this chip shows it: from {', '.join(others)}, by vendor"
    return _around(value, spread, source)


def _entangled(result: Calibration, name: Name) -> str:
    """How much of a factor points show, and which other goes with it."""
    text = f"points take {result.shown[name]:.0%} of the prior's variance away"
    if name in result.with_which:
        (_, stack, factor), correlation = result.with_which[name]
        where = f" of {stack}" if stack and stack != name[1] else ""
        text += f"; its error goes with {factor}{where} ({correlation:+.2f})"
    return text


def _around(value: float, spread: float, source: str) -> Finding:
    low, high = (value * float(np.exp(side * 1.64 * spread)) for side in (-1, 1))
    return Finding(value, low, high, "assumed", source)


def _wider(finding: Finding, source: str) -> Finding:
    low, high = finding.low * 0.8, finding.high * 1.25
    return Finding(finding.value, low, high, "assumed", source)


def points_of(result: Calibration, key: tuple[str, str]) -> str:
    """How many points of whom a fit has; key: (chip, stack or "")."""
    sets = ", ".join(dict.fromkeys(SOURCES.get(p, p) for p in result.sources[key]))
    return f"{result.counts[key]} points of {sets}"


def fitted_source(result: Calibration, key: tuple[str, str], tested: str = "") -> str:
    """Where a fitted value comes from; key: (chip, stack or "")."""
    return f"fit: {points_of(result, key)}, {DATE}{tested}"


def _groups(findings: Mapping[str, Finding], indent: str) -> Iterable[str]:
    """Findings by origin, each origin said once."""
    for kind, source in dict.fromkeys((f.kind, f.source) for f in findings.values()):
        yield f"{indent}- kind: {kind}"
        yield f"{indent}  source: {_quoted(source)}"
        yield f"{indent}  values:"
        for factor, finding in findings.items():
            if (finding.kind, finding.source) == (kind, source):
                yield f"{indent}    {factor}: {{{_ends(finding, factor)}}}"


def _ends(finding: Finding, factor: str) -> str:
    value, low, high = finding.value, finding.low, finding.high
    ratio = factor in (*EFFICIENCIES, COMPUTE)
    if ratio:
        high = min(high, 1.0)
    low = max(low, min(bounds(factor)[0], value))
    if high <= low:
        low, high = low * 0.95, high * 1.05
        high = min(high, 1.0) if ratio else high
    ends = {"value": value, "low": low, "high": high}
    parts = [f"{key}: {number_text(factor, end)}" for key, end in ends.items()]
    return ", ".join([*parts, *([f"note: {_quoted(finding.note)}"] if finding.note else ())])


def _quoted(text: str) -> str:
    return '"' + " ".join(text.split()).replace('"', "'") + '"'


def number_text(factor: str, value: float) -> str:
    """A factor's value as a profile writes it.

    >>> number_text("memory", 0.8), number_text("layer_overhead", 23.45e-6)
    ('0.800', '23.4 us')
    """
    if factor not in (*TIMES, HANDOFF):
        return f"{value:.3f}"
    if value >= 2e-3:
        return f"{value * 1e3:.3g} ms"
    return f"{float(f'{value * 1e6:.3g}'):g} us"
