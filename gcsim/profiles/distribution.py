"""Distributions in a profile: what a length or a delay may be, with where the numbers come from.

In YAML a bare value (`250`, `0.2 s`), a value with its origin (`{value: 250, kind: paper, source:
"..."}`) or a distribution with its origin (`{dist: lognormal, median: 210, sigma: 1.3, low: 8,
high: 16000, kind: fitted, source: "..."}`). Lengths are bare numbers, times carry a unit.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gcsim.errors import nearest
from gcsim.profiles.base import Conflict, Kind, Spec, si

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
    sigma: float = Field(ge=0)


class Weibull(Origin):
    """`scale` (-ln U)^(1/k), U uniform in (0, 1)."""

    dist: Literal["weibull"]
    k: float = Field(gt=0)
    scale: float = Field(gt=0)


class Geometric(Origin):
    """1, 2, 3, ... with P(n) = p (1-p)^(n-1), p = 1/mean."""

    dist: Literal["geometric"]
    mean: float = Field(ge=1)


class Gamma(Origin):
    """Gamma by mean and coefficient of variation: shape 1/cv^2, scale mean cv^2."""

    dist: Literal["gamma"]
    mean: float = Field(gt=0)
    cv: float = Field(gt=0)


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
    values: tuple[float, ...] = Field(min_length=1)
    weights: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Choice":
        if len(self.values) != len(self.weights):
            raise ValueError(f"{len(self.values)} values need as many weights")
        _weighted(self.weights)
        return self


def _weighted(weights: tuple[float, ...]) -> None:
    if not sum(weights) > 0:
        raise ValueError("the weights sum to 0")


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


_Union = Annotated[Distribution, Field(discriminator="dist")]
Tokens = Annotated[_Union, _of("number")]  # also counts of steps, turns, branches, calls
Delay = Annotated[_Union, _of("seconds")]


def constant(value: float, dimension: str = "number") -> Constant:
    """A distribution without spread, for defaults in code."""
    return Constant(dist="constant", value=value, dimension=dimension)
