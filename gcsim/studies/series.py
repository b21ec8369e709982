"""The same comparison at several values of one parameter, and where the order changes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, inf, nan
from typing import Any

import yaml

from gcsim import __version__
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import Resolved, with_settings
from gcsim.results.comparison import Comparison, Normalize
from gcsim.studies.parallel import Fraction, simulate_all

RATE = "rate"
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
class Series:
    """A comparison per value of a parameter; `unchanged`: the runs that it does not touch."""

    parameter: str
    points: tuple[tuple[Any, Comparison], ...]
    unchanged: tuple[str, ...] = ()

    @property
    def crossovers(self) -> list[Crossover]:
        """Every change of order between neighbouring values, by each of `DECIDED_BY`."""
        found = []
        for (low, before), (high, after) in zip(self.points, self.points[1:], strict=False):
            for metric in DECIDED_BY:
                was, now = before.order(metric), after.order(metric)
                for one, two in combinations(was, 2):
                    if now.index(two) < now.index(one):
                        clear = all(c.apart(metric, one, two) for c in (before, after))
                        found.append(Crossover(metric, one, two, low, high, clear))
        return found

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
            "crossovers": [
                {
                    "metric": c.metric, "ahead": c.ahead, "then": c.then,
                    "between": [c.low, c.high], "clear": c.clear,
                }
                for c in self.crossovers
            ],
        }  # fmt: skip

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)


def over(
    parameter: str,
    values: Sequence[Any],
    contenders: Mapping[str, Resolved],
    normalize: Normalize = "none",
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Series:
    """Compare at every value of `rate` or of a dotted path.

    A contender that has no such setting (a link, for one pool alone) stays as it is at all values.
    """
    if not values:
        raise ProfileError.one("compare", parameter, None, "has no values")
    if parameter == RATE:
        slowest = min(values)
        grid = [
            {name: at_rate(base, value, slowest) for name, base in contenders.items()}
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


def at_rate(base: Resolved, rate: float, slowest: float) -> Resolved:
    """A scenario with Poisson arrivals; `run.trajectories` is that of the slowest rate.

    At every rate the trajectories arrive over the same time: more of them at a higher rate.
    """
    settings: dict[str, Any] = {"arrivals": {"process": "poisson", "rate": f"{rate!r} /s"}}
    if base.scenario.run.trajectories is not None:
        settings["run.trajectories"] = ceil(base.scenario.run.trajectories * rate / slowest)
    return with_settings(base, settings)


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
            if _has(base.mapping, parameter.split(".")):
                raise
            varied, missing = [base] * len(values), error
        if all(one.mapping == base.mapping for one in varied):
            unchanged.append(name)
        for point, one in zip(grid, varied, strict=True):
            point[name] = one
    if len(unchanged) == len(contenders) and missing is not None:
        raise missing
    return grid, tuple(unchanged)


def _has(node: Any, keys: list[str]) -> bool:
    """Whether a mapping gives a dotted path (in a list: any of its items)."""
    if not keys:
        return True
    if isinstance(node, list):
        if keys[0].isdigit():
            return int(keys[0]) < len(node) and _has(node[int(keys[0])], keys[1:])
        return any(_has(item, keys) for item in node)
    return isinstance(node, dict) and keys[0] in node and _has(node[keys[0]], keys[1:])


_NUMBER = re.compile(r"\s*[+-]?[\d.]+(?:[eE][+-]?\d+)?\s*")


def parse_values(text: str) -> list[Any]:
    """`a,b,c` as values; a unit at the end of the last is that of the bare numbers before it.

    >>> parse_values("100,400,1600Gbit/s"), parse_values("delta,full"), parse_values("1,2")
    (['100 Gbit/s', '400 Gbit/s', '1600 Gbit/s'], ['delta', 'full'], [1, 2])
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    number = _NUMBER.match(parts[-1]) if parts else None
    unit = parts[-1][number.end() :].strip() if number else ""
    if unit and all(_NUMBER.fullmatch(part) for part in parts[:-1]):
        numbers = [*parts[:-1], parts[-1][: -len(unit)].strip()]
        return [f"{number} {unit}" for number in numbers]
    return [yaml.safe_load(part) for part in parts]


def parse_vary(text: str) -> tuple[str, list[Any]]:
    """`path=a,b,c` as a dotted path and its values.

    Errors: `ProfileError` when it is not of that form.
    """
    path, separator, values = text.partition("=")
    if not separator or not path.strip() or not values.strip(", "):
        raise ProfileError.one("--vary", "", text, "is no list of values", "write path=a,b,c")
    return path.strip(), parse_values(values)


def parse_rates(text: str) -> list[float]:
    """`0.5,1,2` as rising rates per second.

    Errors: `ProfileError` for what is no positive number.
    """
    rates = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            rates.append(float(part.removesuffix("/s")))
        except ValueError:
            rates.append(nan)
        if not 0 < rates[-1] < inf:
            hint = "write --rates 0.5,1,2 (trajectories per second)"
            raise ProfileError.one("--rates", "", part, "is no rate", hint)
    return sorted(set(rates))
