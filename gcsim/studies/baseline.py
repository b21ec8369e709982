"""A baseline: what a set of scenarios gave when somebody blessed it, and whether it still does.

The file is JSON, made by `gcsim bless`, meant to be committed beside the plan that it guards:

    why         what change blessed it, in words
    blessed     what it accepted: the metrics that moved then, and the inputs that differed
    tolerance   metric, or `default` -> exact or statistical
    inputs      `same` fails when an input acts differently and moved nothing that is watched
    scenarios   name or file (as seen from the baseline) -> settings, seeds, hash per input,
                versions, and per metric one value for each seed
"""

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isclose
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from gcsim.errors import Problem, ProfileError, nearest
from gcsim.profiles.base import Spec
from gcsim.profiles.library import opened
from gcsim.profiles.load import read_mapping, validate
from gcsim.profiles.resolve import Resolved, resolve, with_settings
from gcsim.results.metrics import watched
from gcsim.studies.diff import Move, changed, headlines, inputs, moves
from gcsim.studies.parallel import Fraction, simulate_all
from gcsim.studies.replicate import spawned_seeds
from gcsim.version import __version__

REPLICATIONS = 5  # of a statistical baseline, where no number is given
EXACT = 1e-9


class Exact(Spec):
    """The same seeds give the same value: |after - before| <= relative x the larger."""

    kind: Literal["exact"] = "exact"
    relative: float = Field(default=EXACT, ge=0)


class Statistical(Spec):
    """A move counts when its 95% interval leaves out 0 and it is larger than `move` (relative)."""

    kind: Literal["statistical"] = "statistical"
    move: float = Field(gt=0)


Tolerance = Annotated[Exact | Statistical, Field(discriminator="kind")]
Values = tuple[float | None, ...]


class Pinned(Spec):
    """One scenario of a baseline."""

    settings: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] = Field(min_length=1)
    inputs: dict[str, str]
    made_with: dict[str, str]
    metrics: dict[str, Values]
    saturated: str | None = None


class Baseline(Spec):
    """The whole file."""

    gcsim_baseline: Literal[1] = 1
    why: str
    blessed: dict[str, Any] = Field(default_factory=dict)
    tolerance: dict[str, Tolerance]
    inputs: Literal["same", "any"] = "same"
    scenarios: dict[str, Pinned]


def read(file: Path) -> Baseline:
    """A baseline file. Errors: `ProfileError` with everything that is wrong with it."""
    if not file.is_file():
        hint = "make one: gcsim bless SCENARIO --baseline FILE"
        raise ProfileError.one(str(file), "", None, "no such baseline", hint)
    data, lines = read_mapping(file)
    found = validate(Baseline, data, str(file), lines)
    _check(found, file)
    return found


def bless(
    scenarios: Sequence[str],
    file: Path,
    *,
    why: str = "",
    move: float | None = None,
    replications: int | None = None,
    settings: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Baseline:
    """Play scenarios and write what they give; those of an existing file that are not named stay.

    scenarios: names or files; none: all of the file again, as they were blessed
    move: statistical, a move of more than this fails; None: exact, or as the file has it
    replications: seeds per scenario; 1 when exact, else `REPLICATIONS`, or as the file has it
    settings: in place of those that the file remembers; a seed alone is added to them
    """
    earlier = read(file) if file.is_file() else None
    tolerance: dict[str, Exact | Statistical] = dict(earlier.tolerance) if earlier else {}
    if move is not None:
        tolerance = {**tolerance, "default": Statistical(move=move)}
    tolerance = tolerance or {"default": Exact()}
    statistical = any(isinstance(t, Statistical) for t in tolerance.values())
    if statistical and replications is not None and replications < 2:
        why_not = "are too few for a statistical tolerance"
        raise ProfileError.one("bless", "--replications", replications, why_not, "give at least 2")
    plans: dict[str, tuple[Resolved, tuple[int, ...], dict[str, Any]]] = {}
    for name in scenarios or (earlier.scenarios if earlier else ()):
        key = name if name in (earlier.scenarios if earlier else ()) else _key(name, file)
        old = earlier.scenarios.get(key) if earlier else None
        own = dict(old.settings) if old and not set(settings or {}) - {"run.seed"} else {}
        own |= settings or {}
        base = resolve(located(key, file), own)
        least = REPLICATIONS if statistical else 1
        count = replications or max(len(old.seeds) if old else 1, least)
        plans[key] = (base, spawned_seeds(base.scenario.run.seed, count), own)
    if not plans:
        raise ProfileError.one("bless", "SCENARIO", None, "names no scenario")
    pinned = played(plans, jobs, progress)
    _refuse_saturated(pinned, statistical)
    found = Baseline(
        why=why or ("blessed again, no reason given" if earlier else "first baseline"),
        blessed=_what_moved(earlier, pinned),
        tolerance=tolerance,
        inputs=("any" if statistical else "same") if move or not earlier else earlier.inputs,
        scenarios={**(earlier.scenarios if earlier else {}), **pinned},
    )
    _check(found, file)
    _write(found, file)
    return found


def played(
    plans: Mapping[str, tuple[Resolved, tuple[int, ...], dict[str, Any]]],
    jobs: int | None,
    progress: Fraction | None,
) -> dict[str, Pinned]:
    """Every scenario on its seeds: key -> what a baseline pins of it.

    plans: key -> (scenario, seeds, the settings to remember).
    """
    runs = [
        with_settings(base, {"run.seed": seed})
        for base, seeds, _ in plans.values()
        for seed in seeds
    ]
    results = iter(simulate_all(runs, jobs, progress))
    found = {}
    for name, (base, seeds, settings) in plans.items():
        summaries = [next(results).summary for _ in seeds]
        rows = [headlines(summary) for summary in summaries]
        bad = [summary["saturated_why"] for summary in summaries if summary["saturated"]]
        found[name] = Pinned(
            settings=settings,
            seeds=seeds,
            inputs=inputs(base),
            made_with=versions(),
            metrics={metric: tuple(row[metric] for row in rows) for metric in watched()},
            saturated=bad[0] if 2 * len(bad) >= len(seeds) else None,
        )
    return found


def _check(found: Baseline, file: Path) -> None:
    problems = [
        Problem(str(file), f"tolerance.{name}", None, "no such metric", nearest(name, watched()))
        for name in found.tolerance
        if name not in (*watched(), "default")
    ]
    if "default" not in found.tolerance:
        problems.append(Problem(str(file), "tolerance.default", None, "is missing"))
    for name, pinned in found.scenarios.items():
        for metric, values in pinned.metrics.items():
            where = f"scenarios.{name}.metrics.{metric}"
            if metric not in watched():
                hint = nearest(metric, watched())
                problems.append(Problem(str(file), where, None, "no such metric", hint))
            if len(values) != len(pinned.seeds):
                problems.append(Problem(str(file), where, None, "has not one value for each seed"))
        few = len(pinned.seeds) < 2
        if few and any(isinstance(t, Statistical) for t in found.tolerance.values()):
            why, hint = "a statistical tolerance needs at least 2 seeds", "bless it again"
            problems.append(Problem(str(file), f"scenarios.{name}.seeds", None, why, hint))
    if problems:
        raise ProfileError(problems)


def _refuse_saturated(pinned: Mapping[str, Pinned], statistical: bool) -> None:
    bad = {name: p.saturated for name, p in pinned.items() if p.saturated and statistical}
    if bad:
        hint = "its means say nothing: lower its load, or bless it exact"
        raise ProfileError(
            [Problem(n, "", None, f"is saturated: {w}", hint) for n, w in bad.items()]
        )


def _what_moved(earlier: Baseline | None, pinned: Mapping[str, Pinned]) -> dict[str, Any]:
    """What this blessing accepts, scenario by scenario: inputs that changed, metrics that moved."""
    found: dict[str, Any] = {}
    for name, now in pinned.items():
        old = earlier.scenarios.get(name) if earlier else None
        if old is None:
            found[name] = "new"
            continue
        both = {key: list(values) for key, values in old.metrics.items() if key in now.metrics}
        new = {key: list(now.metrics[key]) for key in both}
        gone = [m for m in moves(both, new, False) if m.change]
        if gone or old.inputs != now.inputs:
            found[name] = {
                "inputs": changed(old.inputs, now.inputs),
                "moved": {move.metric: [move.before, move.after] for move in gone},
            }
    return found


def versions() -> dict[str, str]:
    """What a simulated number may depend on beside its inputs."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"gcsim": __version__, "python": python, "numpy": np.__version__}


def _key(name: str, file: Path) -> str:
    """How the baseline names a scenario: shipped ones by name, files as seen from the baseline."""
    library, path = opened(), Path(name)
    if not path.is_file():
        path = library.find("scenario", name)
        if path not in library.owned("scenario").values():
            return name
    return "./" + Path(os.path.relpath(path, file.absolute().parent)).as_posix()


def located(key: str, file: Path) -> str:
    """A scenario of a baseline as a name, or as a path that can be opened from here."""
    return str(file.absolute().parent / key) if key.startswith("./") else key


def _write(baseline: Baseline, file: Path) -> None:
    """As JSON with lists of numbers on one line, so that a diff of it can be read."""
    text = json.dumps(baseline.model_dump(mode="json"), indent=2, allow_nan=False)
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    temporary = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        why = f"cannot be written: {error.strerror or error}"
        raise ProfileError.one(str(file), "--baseline", None, why) from error


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
    library: str | Path | None = None,
) -> list[Verdict]:
    """Play every scenario of a baseline again, on its seeds, and compare.

    seed: on other seeds, spawned from this one, which is no regression by itself where the
    tolerance is statistical: intervals are unpaired then, and hold for all metrics together
    (Bonferroni). library: as in `gcsim.load`. Errors: `ProfileError`.
    """
    baseline = read(file)
    plans = {}
    for name, pinned in baseline.scenarios.items():
        seeds = pinned.seeds if seed is None else spawned_seeds(seed, len(pinned.seeds))
        base = resolve(located(name, file), pinned.settings, library=opened(library))
        plans[name] = (base, seeds, pinned.settings)
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
