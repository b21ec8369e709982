"""The building blocks of every profile: a strict frozen model and a number with its origin."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from gcsim import units

Kind = Literal["datasheet", "paper", "measured", "vendor_claim", "fitted", "assumed", "given"]


class Spec(BaseModel):
    """Base of all specs: unknown keys are errors, instances never change.

    What stands below a field is its description: `gcsim new` writes it beside the value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False)


class Conflict(Spec):
    """Another source's value for the same quantity, kept visible and not used."""

    value: str
    source: str


class Quantity(Spec):
    """A number in SI with where it comes from.

    In YAML either bare (`5.3 TB/s`, kind `given`: the user's own) or with its origin
    (`{value: 5.3 TB/s, kind: datasheet, source: "..."}`); `low` and `high` bound what it may be.
    """

    value: float
    dimension: str
    kind: Kind = "given"
    source: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""
    conflicts: tuple[Conflict, ...] = ()

    def __str__(self) -> str:
        return units.show(self.value, self.dimension)


def si(raw: Any, dimension: str) -> float:
    """`units.parse` for a validator: a bad unit becomes a pydantic error that keeps its hint."""
    try:
        value = units.parse(raw, dimension)
    except (units.UnitError, TypeError) as error:
        why, hint = getattr(error, "why", "is not a quantity"), getattr(error, "hint", "")
        raise PydanticCustomError("unit", "{why}", {"why": why, "hint": hint}) from error
    if value < 0:
        raise PydanticCustomError("unit", "{why}", {"why": "is negative", "hint": ""})
    return value


def _quantity(raw: Any, dimension: str) -> Any:
    if isinstance(raw, Quantity):
        return raw
    if not isinstance(raw, dict):
        return {"value": si(raw, dimension), "dimension": dimension}
    if "value" not in raw:
        hint = "write {value: ..., kind: ..., source: ...}"
        raise PydanticCustomError("missing", "{why}", {"why": "has no value", "hint": hint})
    numbers = {key: si(raw[key], dimension) for key in ("value", "low", "high") if key in raw}
    low, high = numbers.get("low"), numbers.get("high")
    if (low is not None and low > numbers["value"]) or (
        high is not None and high < numbers["value"]
    ):
        hint = f"low {raw.get('low')}, value {raw['value']}, high {raw.get('high')}"
        raise PydanticCustomError("range", "{why}", {"why": "is outside its range", "hint": hint})
    if raw.get("kind", "given") not in ("given",) and not raw.get("source"):
        why = f"is of kind {raw['kind']} and names no source"
        raise PydanticCustomError("source", "{why}", {"why": why, "hint": "add source: ..."})
    return {**raw, **numbers, "dimension": dimension}


def _of(dimension: str) -> BeforeValidator:
    return BeforeValidator(lambda raw: _quantity(raw, dimension))


def _plain(dimension: str) -> BeforeValidator:
    return BeforeValidator(lambda raw: si(raw, dimension))


# With an origin: what a chip profile is made of.
Bytes = Annotated[Quantity, _of("bytes")]
BytesPerS = Annotated[Quantity, _of("bytes_per_s")]
FlopsPerS = Annotated[Quantity, _of("flops_per_s")]
Seconds = Annotated[Quantity, _of("seconds")]
Watts = Annotated[Quantity, _of("watts")]
UsdPerHour = Annotated[Quantity, _of("usd_per_hour")]
UsdPerKwh = Annotated[Quantity, _of("usd_per_kwh")]
Usd = Annotated[Quantity, _of("usd")]
Number = Annotated[Quantity, _of("number")]

# Plain floats in SI: settings that somebody chooses, which need no source. The text is the
# dimension, for who shows them.
PlainSeconds = Annotated[float, _plain("seconds"), "seconds"]
PlainBytes = Annotated[float, _plain("bytes"), "bytes"]
PlainBytesPerS = Annotated[float, _plain("bytes_per_s"), "bytes_per_s"]
PlainPerS = Annotated[float, _plain("per_s"), "per_s"]
PlainNumber = Annotated[float, _plain("number"), "number"]
Fraction = Annotated[float, _plain("number"), Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, strict=True)]
Whole = Annotated[int, Field(ge=0, strict=True)]
