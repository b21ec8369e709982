"""Distributions in a profile: what a length or a delay may be, with where the numbers come from.

In YAML a bare value (`250`, `0.2 s`), a value with its origin (`{value: 250, kind: paper, source:
"..."}`) or a distribution with its origin (`{dist: lognormal, median: 210, sigma: 1.3, low: 8,
high: 16000, kind: fitted, source: "..."}`). Lengths are bare numbers, times carry a unit.
"""

from itertools import pairwise
from math import exp, gamma, inf, log1p, sqrt
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gcsim import units
from gcsim.errors import nearest
from gcsim.profiles.base import Conflict, Kind, Spec, si
from gcsim.profiles.bounds import DELAY_S_MAX, PARALLEL_MAX, STEPS_MAX, TOKENS_MAX

NAMES = (
    "constant",
    "lognormal",
    "weibull",
    "geometric",
    "gamma",
    "uniform",
    "histogram",
    "choice",
)


class Origin(Spec):
    """What all distributions share: unit, origin and the bounds to which every draw is clipped."""

    dimension: str
    kind: Kind = "given"
    source: str = ""
    note: str = ""
    conflicts: tuple[Conflict, ...] = ()
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Origin":
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


class Constant(Origin):
    """Always `value`."""

    dist: Literal["constant"]
    value: float


class Lognormal(Origin):
    """exp(N(ln median, sigma^2)): half of the draws lie below `median`."""

    dist: Literal["lognormal"]
    median: float = Field(gt=0)
    sigma: float = Field(ge=0, le=20)


class Weibull(Origin):
    """`scale` (-ln U)^(1/k), U uniform in (0, 1)."""

    dist: Literal["weibull"]
    k: float = Field(ge=0.05, le=100)
    scale: float = Field(gt=0)


class Geometric(Origin):
    """1, 2, 3, ... with P(n) = p (1-p)^(n-1), p = 1/mean."""

    dist: Literal["geometric"]
    mean: float = Field(ge=1)


class Gamma(Origin):
    """Gamma by mean and coefficient of variation: shape 1/cv^2, scale mean cv^2."""

    dist: Literal["gamma"]
    mean: float = Field(gt=0)
    cv: float = Field(ge=0.01, le=100)


class Uniform(Origin):
    """Between `low` and `high`, both needed; whole numbers include both ends."""

    dist: Literal["uniform"]

    @model_validator(mode="after")
    def _bounded(self) -> "Uniform":
        if self.low is None or self.high is None:
            raise ValueError("uniform needs low and high")
        return self


class Histogram(Origin):
    """Bin i, from edges[i] to edges[i+1], has weight weights[i]; uniform inside a bin."""

    dist: Literal["histogram"]
    edges: tuple[float, ...] = Field(min_length=2)
    weights: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Histogram":
        if len(self.edges) != len(self.weights) + 1:
            raise ValueError(
                f"{len(self.weights)} weights need {len(self.weights) + 1} edges,"
                f" not {len(self.edges)}"
            )
        if any(a >= b for a, b in pairwise(self.edges)):
            raise ValueError("edges must rise")
        _weighted(self.weights)
        return self


class Choice(Origin):
    """One of `values`, chosen by `weights`."""

    dist: Literal["choice"]
    values: tuple[float, ...] = Field(min_length=1, max_length=10_000)
    weights: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Choice":
        if len(self.values) != len(self.weights):
            raise ValueError(f"{len(self.values)} values need as many weights")
        again = [value for value in self.values if self.values.count(value) > 1]
        if again:
            raise ValueError(f"{again[0]:g} is given twice: add its weights up")
        _weighted(self.weights)
        return self


def _weighted(weights: tuple[float, ...]) -> None:
    if not sum(weights) > 0:
        raise ValueError("the weights sum to 0")


LEFT_OUT = 1e-6  # of the draws, beyond what is called the largest
_SIDE = 4.75  # standard deviations of a normal distribution beyond which LEFT_OUT lies
_LOG = -log1p(LEFT_OUT - 1)  # exponential units


def largest(dist: "Distribution") -> float:
    """What all but a millionth of the draws stay below, or a bound on it.

    >>> largest(constant(7)), largest(Geometric(dist="geometric", dimension="number", mean=1))
    (7.0, 1.0)
    """
    match dist:
        case Constant():
            found = dist.value
        case Lognormal():
            found = dist.median * exp(_SIDE * dist.sigma)
        case Weibull():
            found = dist.scale * _LOG ** (1 / dist.k)
        case Geometric():
            found = 1.0 if dist.mean == 1 else 1 + _LOG / -log1p(-1 / dist.mean)
        case Gamma():  # Wilson and Hilferty's cube; below a shape of 1 an exponential is above it
            shape = dist.cv**-2
            cube = (1 - 1 / (9 * shape) + _SIDE / (3 * sqrt(shape))) ** 3
            found = dist.mean * (cube if shape >= 1 else _LOG / shape)
        case Uniform():
            found = inf
        case Histogram():
            found = dist.edges[-1]
        case Choice():
            found = max(dist.values)
    return min(found, inf if dist.high is None else max(dist.high, 0.0))


def middle(dist: "Distribution") -> float:
    """The mean of the draws, before they are clipped at `low`; at most `high`."""
    match dist:
        case Constant():
            found = dist.value
        case Lognormal():
            found = dist.median * exp(min(dist.sigma**2 / 2, 600.0))
        case Weibull():
            found = dist.scale * gamma(1 + 1 / dist.k)
        case Geometric() | Gamma():
            found = dist.mean
        case Uniform():
            found = ((dist.low or 0.0) + (dist.high or 0.0)) / 2
        case Histogram():
            bins = zip(pairwise(dist.edges), dist.weights, strict=True)
            found = sum((a + b) / 2 * weight for (a, b), weight in bins) / sum(dist.weights)
        case Choice():
            pairs = zip(dist.values, dist.weights, strict=True)
            found = sum(value * weight for value, weight in pairs) / sum(dist.weights)
    return min(found, inf if dist.high is None else max(dist.high, 0.0))


def smallest(dist: "Distribution") -> float:
    """What no draw is below; that of a histogram is the end of its first bin with a weight."""
    match dist:
        case Constant():
            found = dist.value
        case Histogram():
            edges = zip(dist.edges[1:], dist.weights, strict=False)
            found = next(edge for edge, weight in edges if weight)
        case Choice():
            found = min(dist.values)
        case Uniform():
            found = 0.0
        case _:
            found = 1.0  # rounded up to it
    return max(found, dist.low or 0.0)


Distribution = Constant | Lognormal | Weibull | Geometric | Gamma | Uniform | Histogram | Choice

# Fields in the unit of the quantity, and fields that are numbers whatever the unit.
_IN_UNIT = ("value", "median", "mean", "scale", "low", "high")
_NUMBERS = ("sigma", "k", "cv")
_LISTS = {"edges": True, "values": True, "weights": False}


def _read(raw: Any, dimension: str) -> Any:
    if isinstance(raw, Origin):
        return raw
    if not isinstance(raw, dict):
        return {"dist": "constant", "value": si(raw, dimension), "dimension": dimension}
    name = raw.get("dist", "constant")
    if name not in NAMES:
        hint = nearest(str(name), NAMES)
        why = {"why": f"unknown distribution {name!r}", "hint": hint}
        raise PydanticCustomError("dist", "{why}", why)
    if raw.get("kind", "given") != "given" and not raw.get("source"):
        why = {"why": f"is of kind {raw['kind']} and names no source", "hint": "add source: ..."}
        raise PydanticCustomError("source", "{why}", why)
    data = {**raw, "dist": name, "dimension": dimension}
    for key in _IN_UNIT:
        if data.get(key) is not None:
            data[key] = si(data[key], dimension)
    for key in _NUMBERS:
        if key in data:
            data[key] = si(data[key], "number")
    for key, in_unit in _LISTS.items():
        if isinstance(data.get(key), list | tuple):
            data[key] = [si(item, dimension if in_unit else "number") for item in data[key]]
    return data


def _of(dimension: str) -> BeforeValidator:
    return BeforeValidator(lambda raw: _read(raw, dimension))


def _sound(dist: Distribution, least: float, most: float) -> Distribution:
    """Refuse draws that cannot be."""
    unit = dist.dimension
    if smallest(dist) < least:
        why = f"can be {smallest(dist):.3g}, must be at least {least:g}"
        raise PydanticCustomError("bound", "{why}", {"why": why, "hint": "give low: 1"})
    if (top := largest(dist)) > most:
        limit = units.show(most, unit) if unit == "seconds" else f"{most:,.0f}"
        why = f"can be {units.show(top, unit)}, and nothing is more than {limit}"
        raise PydanticCustomError("bound", "{why}", {"why": why, "hint": "give high: ..."})
    return dist


def _whole(most: float) -> AfterValidator:
    return AfterValidator(lambda dist: _sound(dist, 0.5, most))


_Union = Annotated[Distribution, Field(discriminator="dist")]
Tokens = Annotated[_Union, _whole(TOKENS_MAX), _of("number")]
Steps = Annotated[_Union, _whole(STEPS_MAX), _of("number")]  # of a task, a sub-agent, a turn
Several = Annotated[_Union, _whole(PARALLEL_MAX), _of("number")]  # calls, branches, answers at once
Delay = Annotated[
    _Union, AfterValidator(lambda dist: _sound(dist, 0.0, DELAY_S_MAX)), _of("seconds")
]


def constant(value: float, dimension: str = "number") -> Constant:
    """A distribution without spread, for defaults in code."""
    return Constant(dist="constant", value=value, dimension=dimension)
