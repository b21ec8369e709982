"""`gcsim.compare`: the same trajectories on several deployments, also over a parameter."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, overload

from gcsim.errors import ProfileError
from gcsim.profiles.resolve import Resolved, resolve, with_settings
from gcsim.results.comparison import Comparison, Normalize
from gcsim.results.html import Shown
from gcsim.studies.grid import leads
from gcsim.studies.load_curve import Reading, at_load, load_of, reading
from gcsim.studies.parallel import Fraction, simulate_all
from gcsim.studies.sweep_table import at_slo_row, size_of
from gcsim.version import __version__

RATE = "rate"
LOADS = (RATE, "arrivals.rate", "arrivals.agents")
DECIDED_BY = ("mean_task_ms", "request_goodput")


@dataclass(frozen=True, slots=True)
class Crossover:
    """Between two values of the parameter, `ahead` falls behind `then` by a metric.

    clear: at both values the two differ beyond the noise.
    """

    metric: str
    ahead: str
    then: str
    low: Any
    high: Any
    clear: bool


@dataclass(frozen=True)
class Series(Shown):
    """A comparison per value of a parameter; `unchanged`: the runs that it does not touch."""

    parameter: str
    points: tuple[tuple[Any, Comparison], ...]
    unchanged: tuple[str, ...] = ()

    def __repr__(self) -> str:
        values = ", ".join(str(value) for value, _ in self.points)
        return f"Series({self.parameter} = {values}: {self.points[0][1]!r})"

    @property
    def crossovers(self) -> list[Crossover]:
        """Every change of order between neighbouring values, by each of `DECIDED_BY`.

        Two that are both saturated have none: their means say how long the run was.
        """
        found = []
        for (low, before), (high, after) in zip(self.points, self.points[1:], strict=False):
            for metric in DECIDED_BY:
                was, now = before.order(metric), after.order(metric)
                for one, two in combinations(was, 2):
                    none = any({one, two} <= c.saturated.keys() for c in (before, after))
                    if now.index(two) < now.index(one) and not none:
                        clear = all(c.apart(metric, one, two) for c in (before, after))
                        found.append(Crossover(metric, one, two, low, high, clear))
        return found

    @property
    def at_slo(self) -> list[dict[str, Any]]:
        """`at_slo` over the values, where these are loads; else nothing."""
        loads = self.parameter in LOADS
        return at_slo(*(comparison for _, comparison in self.points)) if loads else []

    def to_dict(self) -> dict[str, Any]:
        """What `gcsim compare --rates` and `--vary` print with `--format json`."""
        first = self.points[0][1].to_dict()
        return {
            "scenario": first["scenario"],
            "seed": first["seed"],
            "version": __version__,
            "normalize": first["normalize"],
            "parameter": self.parameter,
            "unchanged": list(self.unchanged),
            "points": [
                {
                    "value": value,
                    "winner": {metric: comparison.winner(metric)[0] for metric in DECIDED_BY},
                    "winner_clear": {m: comparison.winner(m)[1] for m in DECIDED_BY},
                    **{
                        key: part
                        for key, part in comparison.to_dict().items()
                        if key in ("deployments", "ratio_to_first", "saturated", "decides")
                    },
                }
                for value, comparison in self.points
            ],
            "at_slo": self.at_slo,
            "crossovers": [
                {
                    "metric": c.metric,
                    "ahead": c.ahead,
                    "then": c.then,
                    "between": [c.low, c.high],
                    "clear": c.clear,
                }
                for c in self.crossovers
            ],
        }

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)


def at_slo(*comparisons: Comparison) -> list[dict[str, Any]]:
    """The largest load that each deployment was seen to take within its SLO, per chip, kW, USD/h.

    As the `at_slo` of a sweep: where one load was played, that or 0. Nothing where a run has no
    SLO, or arrivals whose load is no number, or where some have agents and others rates.
    """
    rows, kinds = [], set()
    for name, first in comparisons[0].results.items():
        curve: list[Reading] = []
        for comparison in comparisons:
            result = comparison.results[name]
            try:
                kind, load = load_of(result.resolved)
            except ProfileError:
                return []
            kinds.add(kind)
            curve.append(reading(load, result.summary))
        if len(kinds) > 1 or any(one.holds is None for one in curve):
            return []
        rows.append({"name": name, **at_slo_row(kind, curve, size_of(first.summary))})
    return rows


Named = str | Path | Resolved
Over = tuple[str, Sequence[Any]]


@overload
def compare(
    *scenarios: Named,
    deployments: str | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    normalize: Normalize = "none",
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Comparison: ...


@overload
def compare(
    *scenarios: Named,
    over: Over,
    deployments: str | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    normalize: Normalize = "none",
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Series: ...


def compare(
    *scenarios: Named,
    over: Over | None = None,
    deployments: str | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    normalize: Normalize = "none",
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Comparison | Series:
    """Play the same trajectories on several deployments, or several scenarios.

    Common random numbers: all have the seed of the first (or `seed`), so that the ratio to the
    first has its own paired interval.

    deployments: the one scenario on each of these; without, the scenarios as they are
    over: (parameter, values): at every value of a dotted path, or of `rate`: so many new tasks per
    second, by a Poisson process where the scenario has no rate of its own (`load_curve.at_load`)
    normalize: `power`, `cost` or `chips` divides every rate by what the deployment has of it
    jobs: processes; None: as many as are worth it. The result does not depend on it.

    >>> import gcsim
    >>> few = {"run.trajectories": 2, "arrivals.agents": 1}
    >>> both = gcsim.compare("coding-agents", deployments=["sn40l-mono", "sn50-mono"], settings=few)
    >>> both.ratio_to_first["sn50-mono"]["mean_tpot_ms"].ratio < 1
    True
    """
    named = _contenders(scenarios, deployments, settings, seed)
    if over is not None:
        return _compare_over(over, named, normalize, jobs, progress)
    results = simulate_all(list(named.values()), jobs, progress)
    return Comparison(dict(zip(named, results, strict=True)), normalize)


def _compare_over(
    over: Over,
    contenders: Mapping[str, Resolved],
    normalize: Normalize,
    jobs: int | None,
    progress: Fraction | None,
) -> Series:
    """Compare at every value of `rate` or of a dotted path.

    A contender that has no such setting (a link, for one pool alone) stays as it is at all values.
    """
    parameter, values = over
    if not values:
        raise ProfileError.one("compare", parameter, None, "has no values")
    if parameter == RATE:
        grid = [
            {
                name: with_settings(base, at_load(base, value, "rate"))
                for name, base in contenders.items()
            }
            for value in values
        ]
        unchanged: tuple[str, ...] = ()
    else:
        grid, unchanged = _varied(parameter, values, contenders)
    flat = [resolved for point in grid for resolved in point.values()]
    results = iter(simulate_all(flat, jobs, progress))
    points = tuple(
        (value, Comparison({name: next(results) for name in point}, normalize))
        for value, point in zip(values, grid, strict=True)
    )
    return Series(parameter, points, unchanged)


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
            (name, resolve(scenarios[0], {"deployment": name, **(settings or {})}, seed))
            for name in deployments
        ]
        found = [(resolved.scenario.deployment.name, resolved) for _, resolved in found]
    else:
        first = resolve(scenarios[0], settings, seed)
        seed = first.scenario.run.seed if seed is None else seed
        found = [(first.scenario.name, first)]
        for scenario in scenarios[1:]:
            resolved = resolve(scenario, settings, seed)
            found.append((resolved.scenario.name, resolved))
    named: dict[str, Resolved] = {}
    for name, resolved in found:
        number = 2
        unique = name
        while unique in named:
            unique, number = f"{name} ({number})", number + 1
        named[unique] = resolved
    return named


def _varied(
    parameter: str, values: Sequence[Any], contenders: Mapping[str, Resolved]
) -> tuple[list[dict[str, Resolved]], tuple[str, ...]]:
    grid: list[dict[str, Resolved]] = [{} for _ in values]
    unchanged = []
    missing: ProfileError | None = None
    for name, base in contenders.items():
        try:
            varied = [with_settings(base, {parameter: value}) for value in values]
        except ProfileError as error:
            if leads(base.mapping, parameter.split(".")):
                raise
            varied, missing = [base] * len(values), error
        if all(one.mapping == base.mapping for one in varied):
            unchanged.append(name)
        for point, one in zip(grid, varied, strict=True):
            point[name] = one
    if len(unchanged) == len(contenders) and missing is not None:
        raise missing
    return grid, tuple(unchanged)
