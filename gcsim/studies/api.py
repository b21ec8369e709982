"""gcsim from Python: `run`, `compare`, `estimate`. The command line is a thin layer over these."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcsim.errors import Interrupted, ProfileError
from gcsim.profiles.resolve import Resolved, resolve, with_settings
from gcsim.results.comparison import Comparison, Normalize
from gcsim.results.folder import check_target
from gcsim.results.result import Result
from gcsim.simulate import Progress, simulate
from gcsim.studies.bands import banded, design
from gcsim.studies.estimate import Estimate, estimate
from gcsim.studies.parallel import Fraction, simulate_all
from gcsim.studies.series import Series, over

__all__ = ["Estimate", "compare", "compare_over", "estimate", "run"]

Named = str | Path | Resolved


def run(
    scenario: Named,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    engine: str | None = None,
    out: str | Path | None = None,
    bands: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Play one scenario.

    scenario: a shipped name, a path, or what `gcsim.profiles.resolve.resolve` returned
    settings: dotted path -> value, as `--set` on the command line
    engine: `coalesced` or `iteration`; the same records, bit for bit
    out: a folder for the results; progress: called with the number of ended trajectories
    bands: also play the low and high of the chips' values: `summary["bands"]` (docs/results.md)
    jobs: processes for that; None: as many as are worth it. The result does not depend on it.
    Errors: `ProfileError` (bad input), `CapacityError` (the model does not fit).

    >>> import gcsim
    >>> result = gcsim.run("coding-agents", settings={"run.trajectories": 4}, seed=1)
    >>> result.summary["completed"] == len(result.requests)
    True
    """
    earlier = out is not None and check_target(out).exists()
    resolved = _resolved(scenario, settings, seed, engine)
    ended = 0

    def tell(count: int) -> None:
        nonlocal ended
        ended = count
        if progress is not None:
            progress(count)

    try:
        result = simulate(resolved, progress=tell)
        if bands:
            base, more = ended, ended * len(design(resolved))
            result = banded(result, jobs, lambda done: tell(base + int(done * more)))
        if out is not None:
            result.save(out)
    except KeyboardInterrupt as error:
        lost = f"{ended} ended trajectories of {resolved.scenario.name} are lost"
        kept = f"{out} stays as it was, nothing" if earlier else "nothing"
        raise Interrupted.by(error, f"{lost}; {kept} was written") from error
    return result


def compare(
    *scenarios: Named,
    deployments: str | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    normalize: Normalize = "none",
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Comparison:
    """Play the same trajectories on several deployments, or several scenarios.

    Common random numbers: all have the seed of the first (or `seed`), so that the ratio to the
    first has its own paired interval.

    deployments: the one scenario on each of these; without, the scenarios as they are
    normalize: `power`, `cost` or `chips` divides every rate by what the deployment has of it
    jobs: processes; None: as many as are worth it. The result does not depend on it.

    >>> import gcsim
    >>> few = {"run.trajectories": 4}
    >>> both = gcsim.compare("coding-agents", deployments=["sn40l-mono", "sn50-mono"], settings=few)
    >>> both.ratio_to_first["sn50-mono"]["mean_tpot_ms"].ratio < 1
    True
    """
    named = _contenders(scenarios, deployments, settings, seed)
    results = simulate_all(list(named.values()), jobs, progress)
    return Comparison(dict(zip(named, results, strict=True)), normalize)


def compare_over(
    *scenarios: Named,
    parameter: str,
    values: Sequence[Any],
    deployments: str | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    normalize: Normalize = "none",
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Series:
    """`compare` at every value of a parameter (a dotted path, or `rate`): where the order changes.

    `rate` replaces the arrivals by a Poisson process of so many trajectories per second; the
    number of trajectories grows with it, so that they arrive over the same time at every rate.
    """
    named = _contenders(scenarios, deployments, settings, seed)
    return over(parameter, values, named, normalize, jobs, progress)


def _contenders(
    scenarios: Sequence[Named],
    deployments: str | Sequence[str],
    settings: Mapping[str, Any] | None,
    seed: int | None,
) -> dict[str, Resolved]:
    """Name -> resolved scenario, in the order given; a name that comes again gets a number."""
    deployments = (deployments,) if isinstance(deployments, str) else deployments
    if not scenarios:
        raise ProfileError.one("compare", "", None, "names no scenario")
    if deployments and len(scenarios) > 1:
        why, hint = "several scenarios and deployments", "give one scenario with --deployment"
        raise ProfileError.one("compare", "", None, why, hint)
    if deployments:
        found = [
            (name, _resolved(scenarios[0], {"deployment": name, **(settings or {})}, seed))
            for name in deployments
        ]
        found = [(resolved.scenario.deployment.name, resolved) for _, resolved in found]
    else:
        first = _resolved(scenarios[0], settings, seed)
        seed = first.scenario.run.seed if seed is None else seed
        found = [(first.scenario.name, first)]
        for scenario in scenarios[1:]:
            resolved = _resolved(scenario, settings, seed)
            found.append((resolved.scenario.name, resolved))
    named: dict[str, Resolved] = {}
    for name, resolved in found:
        number = 2
        unique = name
        while unique in named:
            unique, number = f"{name} ({number})", number + 1
        named[unique] = resolved
    return named


def _resolved(
    scenario: Named,
    settings: Mapping[str, Any] | None,
    seed: int | None,
    engine: str | None = None,
) -> Resolved:
    extra = dict(settings or {})
    if engine is not None:
        extra["engine"] = engine
    if not isinstance(scenario, Resolved):
        return resolve(scenario, extra, seed)
    if seed is not None:
        extra["run.seed"] = seed
    return with_settings(scenario, extra) if extra else scenario
