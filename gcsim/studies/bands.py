"""Bands: what the low and high of a chip's values make of a result, by one designed set of runs.

Values of one cause (`CAUSES`) move together, to their slow and to their fast end, one cause at a
time; two more runs have every value at one end. All runs have the same seed and count the same
tasks, so that what differs is the values' doing. Settings that have no low and high (links between
pools) do not move.
"""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gcsim.errors import CapacityError, Interrupted, ProfileError
from gcsim.profiles.arrivals import Closed
from gcsim.profiles.assumed import quantities
from gcsim.profiles.base import Quantity
from gcsim.profiles.deployment import Pool
from gcsim.profiles.resolve import Resolved, resolve_mapping, with_settings
from gcsim.results.metrics import banded as banded_keys
from gcsim.results.metrics import named, settles
from gcsim.results.result import Result
from gcsim.simulate import bind_pools
from gcsim.studies.parallel import Fraction, simulate_all
from gcsim.studies.replicate import Replications

CAUSES = {  # of a chip, `stack`: its serving stack; a name stands for everything below it
    "data sheet": ("compute", "memory", "interconnect"),
    "memory": ("efficiency.memory", "efficiency.kv_read"),
    "arithmetic": (
        "efficiency.gemm_bf16",
        "efficiency.gemm_fp8",
        "efficiency.gemm_fp4",
        "efficiency.gemm_int8",
        "efficiency.expert_gemm",
        "efficiency.attention",
        "stack.compute",
        "stack.expert_imbalance",
    ),
    "chip-to-chip links": (
        "efficiency.link",
        "stack.all_reduce_latency",
        "stack.all_reduce_latency_per_doubling",
        "stack.comm_overlap",
    ),
    "fixed times": (
        "stack.layer_overhead",
        "stack.moe_layer_overhead",
        "stack.sequence_overhead",
        "stack.prompt_layer_overhead",
        "stack.iteration_overhead",
        "stack.mla_kernels",
        "stack.quantized_kernels",
    ),
    "fixed time per request": (
        "stack.request_overhead",
        "stack.handoff_overhead",
        "stack.handoff_per_token",
        "stack.tokenize_per_token",
    ),
    "room for KV": ("stack.runtime_reserve",),
}
EVERY = "all at once"
SATURATED, NO_FIT = "saturated", "does not fit"
UNDEFINED, NO_RANGES = "undefined", "no ranges"  # nothing to take a mean of; nothing to play
Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shift:
    """One run of the set: the values of a cause (or `EVERY`) at their `slow` or `fast` end."""

    cause: str
    end: str
    resolved: Resolved


def banded(result: Result, jobs: int | None = None, progress: Fraction | None = None) -> Result:
    """A result whose summary has `bands`; plays the set, in `jobs` processes.

    >>> from gcsim.simulate import simulate
    >>> from gcsim.profiles.resolve import resolve
    >>> few = simulate(resolve("coding-agents", {"run.trajectories": 1, "arrivals.agents": 1}))
    >>> band = banded(few).summary["bands"]["metrics"]["mean_e2el_ms"]
    >>> band["low"] < few.summary["mean_e2el_ms"] < band["high"]
    True
    """
    found = bands(result.resolved, result.summary, result.summary, jobs, progress)
    return replace(result, summary={**result.summary, "bands": found})


def banded_replications(
    found: Replications,
    out: str | Path | None = None,
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Replications:
    """Replications whose summary has `bands`: around their means, as wide as those of the first.

    The set is played with the seed of the first replication only. out: their results folder,
    written again.
    """
    first, *others = found.summaries
    try:
        made = bands(found.resolved, first, found.summary, jobs, progress)
        with_bands = replace(found, summaries=({**first, "bands": made}, *others))
        if out is not None:
            with_bands.save(out)
    except KeyboardInterrupt as error:
        kept = f"; {out} has the replications without them" if out is not None else ""
        raise Interrupted.by(error, f"the bands are lost{kept}") from error
    return with_bands


def bands(
    resolved: Resolved,
    base: Mapping[str, Any],
    centre: Mapping[str, Any],
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> dict[str, Any]:
    """The `bands` of a summary (docs/results.md): `metrics`, the `runs` behind them, the `chips`.

    base: summary of the run with every value as it is; centre: what the bands lie around.
    With the changes d that a cause makes to a metric, on each side, band = value -+ sqrt(sum d^2),
    within the least and the most that any run of the set gave.
    """
    scenario = resolved.scenario
    if scenario.warmup_s is None and not isinstance(scenario.arrivals, Closed):
        resolved = with_settings(resolved, {"run.warmup": f"{base['window_s'][0]!r} s"})
    shifts = design(resolved)
    fit = [_fits(shift.resolved) for shift in shifts]
    playable = [shift.resolved for shift, fits in zip(shifts, fit, strict=True) if fits]
    played = iter(simulate_all(playable, jobs, progress))
    runs = [
        _row(shift, next(played).summary if fits else None)
        for shift, fits in zip(shifts, fit, strict=True)
    ]
    own = _row(Shift("", "", resolved), base)
    return {
        "metrics": {key: _band(key, centre.get(key), own, runs) for key in banded_keys()},
        "runs": runs,
        "chips": _chips(resolved),
    }


def design(resolved: Resolved) -> list[Shift]:
    """The set: each cause at its slow and its fast end, then all; left out is what moves nothing.

    >>> from gcsim.profiles.resolve import resolve
    >>> [(s.cause, s.end) for s in design(resolve("coding-agents"))][-2:]
    [('all at once', 'slow'), ('all at once', 'fast')]
    """
    found = []
    for cause in (*CAUSES, EVERY):
        for end in ("slow", "fast"):
            moved = shifted(resolved, None if cause == EVERY else cause, end)
            if moved is not None:
                found.append(Shift(cause, end, moved))
    return found


def shifted(
    resolved: Resolved,
    cause: str | None,
    end: str,
    chip: str | None = None,
    kinds: Collection[str] = (),
) -> Resolved | None:
    """The scenario with the values of a cause (None: of all) at one end; None: nothing moves.

    chip: of this one only; kinds: only values of these kinds (`assumed`, ...), none: of all.
    """
    mapping = copy.deepcopy(resolved.mapping)
    moved = False
    for name, pool in resolved.scenario.deployment.pools.items():
        for path, keys, number in ranged(pool) if chip in (None, pool.chip.name) else ():
            # Times and kernels are slow when they are many, rates and fractions when they are few.
            costs = number.dimension == "seconds" or path.endswith("_kernels")
            side = "high" if costs is (end == "slow") else "low"
            if cause_of(path) != (cause or cause_of(path)) or not _moves(number, side):
                continue
            if kinds and number.kind not in kinds:
                continue
            node = mapping["deployment"]["pools"][name]["chip"]
            for key in keys[:-1]:
                node = node[int(key)] if isinstance(node, list) else node[key]
            node[keys[-1]] = {**node[keys[-1]], "value": node[keys[-1]][side]}
            moved = True
    if not moved:
        return None
    try:
        return resolve_mapping(mapping, resolved.scenario.name)
    except ProfileError as error:
        hint = f"--bands plays the {end} end of its low and high: mend that"
        raise ProfileError(replace(problem, hint=hint) for problem in error.problems) from error


def ranged(pool: Pool) -> Iterator[tuple[str, Keys, Quantity]]:
    """What has a range among the values of a pool's chip and stack: (path, keys in YAML, value)."""
    stack = pool.stack or pool.chip.default_stack
    parts = {name: getattr(pool.chip, name) for name in ("compute", "memory", "interconnect")}
    parts |= {"efficiency": pool.chip.efficiency, "stack": pool.chip.stacks[stack]}
    for part, spec in parts.items():
        for path, number in quantities(spec, part):
            if _moves(number, "low") or _moves(number, "high"):
                above = ("stacks", stack) if part == "stack" else (part,)
                yield path, (*above, *path.split(".")[1:]), number


def cause_of(path: str) -> str:
    """The cause that a value belongs to.

    >>> cause_of("memory.1.bandwidth"), cause_of("stack.layer_overhead")
    ('data sheet', 'fixed times')
    """
    return next(
        cause
        for cause, names in CAUSES.items()
        if any(path == name or path.startswith(f"{name}.") for name in names)
    )


def _moves(number: Quantity, side: str) -> bool:
    return getattr(number, side) not in (None, number.value)


def _fits(resolved: Resolved) -> bool:
    try:
        bind_pools(resolved.scenario)
    except CapacityError:
        return False
    return True


def _row(shift: Shift, summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """A run as plain data; `lost`: why it has no times (`SATURATED`, `NO_FIT`), or None."""
    lost = NO_FIT if summary is None else SATURATED if summary["saturated"] else None
    row: dict[str, Any] = {"cause": shift.cause, "end": shift.end, "lost": lost}
    for key in banded_keys():
        known = summary is not None and not (lost and settles(key))
        row[key] = summary[key] if summary is not None and known else None
    return row


def _band(
    key: str, value: float | None, base: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Ends of one metric. An end that some run leaves without a number is None, and `lost` why.

    least, most: over all runs; cause: what moves it most. Where the value is not the base's own
    (a mean of replications), the changes are as large in proportion.
    """
    band: dict[str, Any] = dict.fromkeys(("low", "high", "least", "most", "cause", "lost"))
    if not runs or value is None or base[key] is None:
        return {**band, "lost": base["lost"] or (UNDEFINED if runs else NO_RANGES)}
    scale = value / base[key] if base[key] else 1.0
    changes: dict[str, list[float]] = {cause: [0.0] for cause in (*CAUSES, EVERY)}
    for run in runs:
        if run[key] is not None:
            changes[run["cause"]].append(scale * (run[key] - base[key]))
    alone = {cause: (min(changes[cause]), max(changes[cause])) for cause in CAUSES}
    down, up = (sum(ends[side] ** 2 for ends in alone.values()) ** 0.5 for side in (0, 1))
    least = value + min(min(mine) for mine in changes.values())
    most = value + max(max(mine) for mine in changes.values())
    widest = max(alone, key=lambda cause: alone[cause][1] - alone[cause][0])
    band |= {"low": max(value - down, least), "high": min(value + up, most)}
    band |= {"least": least, "most": most, "cause": widest if down or up else None}
    # A load that never settles has no longest time, what does not fit has no rate.
    inner, outer = ("high", "most") if named(key)[0].better == "lower" else ("low", "least")
    for run in (run for run in reversed(runs) if run[key] is None):
        band |= {outer: None, "lost": run["lost"] or UNDEFINED}
        if run["cause"] != EVERY:
            band |= {inner: None, "cause": run["cause"]}
    return band


def _chips(resolved: Resolved) -> list[dict[str, Any]]:
    """Per chip how many of its values move, and how many of these are assumed."""
    moving: dict[str, dict[str, bool]] = {}
    for pool in resolved.scenario.deployment.pools.values():
        mine = moving.setdefault(pool.chip.name, {})
        mine |= {path: number.kind == "assumed" for path, _, number in ranged(pool)}
    return [
        {"chip": chip, "values": len(mine), "assumed": sum(mine.values())}
        for chip, mine in moving.items()
    ]
