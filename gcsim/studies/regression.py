"""Whether the scenarios of a baseline still give what was blessed, and if not, why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isclose
from pathlib import Path

from gcsim.profiles.resolve import resolve
from gcsim.studies.baseline import (
    Baseline,
    Exact,
    Pinned,
    Statistical,
    located,
    played,
    read,
    versions,
)
from gcsim.studies.diff import Move, changed, moves
from gcsim.studies.parallel import Fraction
from gcsim.studies.replications import spawned_seeds


@dataclass(frozen=True)
class Verdict:
    """One scenario checked. moved: beyond tolerance; within: moved, and tolerated.

    changed: inputs whose content differs; fails: why it fails, in words, empty when it does not.
    """

    scenario: str
    moved: tuple[Move, ...]
    within: tuple[Move, ...]
    watched: int
    changed: tuple[str, ...]
    cause: str
    fails: str
    kinds: Mapping[str, str]

    @property
    def passes(self) -> bool:
        """Whether all is within tolerance."""
        return not self.fails


def check(
    file: Path,
    *,
    seed: int | None = None,
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> list[Verdict]:
    """Play every scenario of a baseline again, on its seeds, and compare.

    seed: on other seeds, spawned from this one, which is no regression by itself where the
    tolerance is statistical: intervals are unpaired then, and hold for all metrics together
    (Bonferroni). Errors: `ProfileError`.
    """
    baseline = read(file)
    plans = {}
    for name, pinned in baseline.scenarios.items():
        seeds = pinned.seeds if seed is None else spawned_seeds(seed, len(pinned.seeds))
        plans[name] = (resolve(located(name, file), pinned.settings), seeds, pinned.settings)
    now = played(plans, jobs, progress)
    return [_verdict(name, baseline, now[name]) for name in baseline.scenarios]


def _verdict(name: str, baseline: Baseline, now: Pinned) -> Verdict:
    before = baseline.scenarios[name]
    paired = before.seeds == now.seeds
    level = 0.95 if paired else 1 - 0.05 / (len(before.metrics) * len(baseline.scenarios))
    old = {key: list(values) for key, values in before.metrics.items() if key in now.metrics}
    new = {key: list(now.metrics[key]) for key in old}
    tolerance = {key: baseline.tolerance.get(key, baseline.tolerance["default"]) for key in old}
    moved: list[Move] = []
    within: list[Move] = []
    for move in moves(old, new, paired, level):
        if old[move.metric] == new[move.metric] or (not paired and not move.change):
            continue
        beyond = _beyond(move, tolerance[move.metric], old[move.metric], new[move.metric], paired)
        (moved if beyond else within).append(move)
    differs = changed(before.inputs, now.inputs)
    cause = _cause(before.made_with, differs, before.seeds != now.seeds)
    fails = f"{len(moved)} of {len(old)} metrics moved" if moved else ""
    if now.saturated and not before.saturated:
        fails = f"is saturated now: {now.saturated}"
    if not fails and differs and baseline.inputs == "same":
        fails = f"{', '.join(differs)} changed and moved nothing that is watched; bless it if meant"
    kinds = {key: found.kind for key, found in tolerance.items()}
    return Verdict(name, tuple(moved), tuple(within), len(old), tuple(differs), cause, fails, kinds)


def _beyond(
    move: Move,
    tolerance: Exact | Statistical,
    old: list[float | None],
    new: list[float | None],
    paired: bool,
) -> bool:
    if isinstance(tolerance, Exact):
        pairs = zip(old, new, strict=True)
        return not all(_same(a, b, tolerance.relative) for a, b in pairs)
    if abs(move.change) == inf:  # from 0: a matter of chance on other seeds
        return paired or move.before is None or move.after is None
    return move.clear and abs(move.change) > tolerance.move


def _same(a: float | None, b: float | None, relative: float) -> bool:
    if a is None or b is None:
        return a is b
    return isclose(a, b, rel_tol=relative, abs_tol=0.0)


def _cause(made_with: dict[str, str], differs: list[str], reseeded: bool) -> str:
    """Why a metric may have moved: inputs, else versions, else the code itself."""
    causes = list(differs)
    here = versions()
    causes += [
        f"{name} {old} -> {here[name]}"
        for name, old in made_with.items()
        if here.get(name, old) != old
    ]
    causes += ["the seeds"] if reseeded else []
    return ", ".join(causes) or "no input and no version: the code of gcsim itself"
