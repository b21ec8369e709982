"""Uncertainty of the factors in the result: a designed set of runs over their low and high.

Factors of one cause move together (`CAUSES`), one cause at a time, slow and fast; independent
causes add as squares. Two more runs move all causes at once: the outer bounds.
"""

from collections.abc import Callable, Mapping

import numpy as np

from gcsim.spec.base import Quantity
from gcsim.spec.chip import Chip
from gcsim.spec.scenario import Scenario

CAUSES = {
    "memory": ("memory", "kv_read"),
    "arithmetic": ("gemm_bf16", "gemm_fp8", "gemm_fp4", "expert_gemm", "attention", "compute"),
    "links": ("link", "all_reduce_latency", "all_reduce_latency_per_doubling"),
    "fixed times": ("layer_overhead", "moe_layer_overhead", "sequence_overhead",
                    "prompt_layer_overhead", "iteration_overhead"),
    "per request": ("request_overhead",),
}  # fmt: skip
_FASTER_WHEN_HIGH = {*CAUSES["memory"], *CAUSES["arithmetic"], "link"}

Runner = Callable[[Scenario], Mapping[str, float]]


def bands(scenario: Scenario, run: Runner) -> dict[str, dict[str, float]]:
    """Headline metrics with the range that the factors' low and high give them.

    run: plays a scenario and returns metrics by name. For each metric: `value`, `low`, `high`
    (independent causes, added as squares) and `least`, `most` (everything at one end at once).
    """
    base = run(scenario)
    below = dict.fromkeys(base, 0.0)
    above = dict.fromkeys(base, 0.0)
    for causes in CAUSES.values():
        for slow in (True, False):
            changed = shifted(scenario, causes, slow)
            if changed is None:
                continue
            outcome = run(changed)
            for key, value in base.items():
                change = outcome.get(key, value) - value
                side = above if change > 0 else below
                if np.isfinite(change):
                    side[key] += change**2
    every = tuple(factor for causes in CAUSES.values() for factor in causes)
    ends = [run(s) for slow in (True, False) if (s := shifted(scenario, every, slow)) is not None]
    return {
        key: {
            "value": value,
            "low": value - below[key] ** 0.5,
            "high": value + above[key] ** 0.5,
            "least": min([value, *(e[key] for e in ends if np.isfinite(e.get(key, value)))]),
            "most": max([value, *(e[key] for e in ends if np.isfinite(e.get(key, value)))]),
        }
        for key, value in base.items()
    }


def shifted(scenario: Scenario, factors: tuple[str, ...], slow: bool) -> Scenario | None:
    """The scenario with some factors of its chips at their slow (or fast) end; None: no range."""
    moved = False
    pools = {}
    for name, pool in scenario.deployment.pools.items():
        stack = pool.stack or pool.chip.default_stack
        chip = shifted_chip(pool.chip, stack, factors, slow)
        moved = moved or chip != pool.chip
        pools[name] = pool.model_copy(update={"chip": chip})
    if not moved:
        return None
    deployment = scenario.deployment.model_copy(update={"pools": pools})
    return scenario.model_copy(update={"deployment": deployment})


def shifted_chip(chip: Chip, stack: str, factors: tuple[str, ...], slow: bool) -> Chip:
    """A chip with some factors of it and of one stack at one end of their range."""

    def end(factor: str, number: Quantity) -> Quantity:
        wanted = number.low if (factor in _FASTER_WHEN_HIGH) is slow else number.high
        if wanted is None or wanted == number.value:
            return number
        return number.model_copy(update={"value": wanted})

    def moved(spec: object) -> dict[str, Quantity]:
        found = {f: getattr(spec, f, None) for f in factors}
        return {f: end(f, q) for f, q in found.items() if isinstance(q, Quantity)}

    efficiency = chip.efficiency.model_copy(update=moved(chip.efficiency))
    own = chip.stacks[stack].model_copy(update=moved(chip.stacks[stack]))
    stacks = {**chip.stacks, stack: own}
    return chip.model_copy(update={"efficiency": efficiency, "stacks": stacks})
