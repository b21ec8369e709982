"""The building blocks of every profile: a strict frozen model and a number with its origin."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from gcsim import units
from gcsim.profiles.bounds import FIXED_S_MAX, TOKENS_MAX, beyond

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


def si(raw: Any, dimension: str, least: float | None = None, most: float | None = None) -> float:
    """`units.parse` for a validator, within bounds; errors become pydantic's and keep their hint.

    least, most: of a field, in place of those of the dimension (`gcsim.profiles.bounds`)
    """
    try:
        value = units.parse(raw, dimension)
    except (units.UnitError, TypeError) as error:
        why, hint = getattr(error, "why", "is not a quantity"), getattr(error, "hint", "")
        raise PydanticCustomError("unit", "{why}", {"why": why, "hint": hint}) from error
    if value < 0:
        raise PydanticCustomError("unit", "{why}", {"why": "is negative", "hint": ""})
    if why := beyond(value, dimension, least, most):
        raise PydanticCustomError("bound", "{why}", {"why": why, "hint": ""})
    return value


def _quantity(raw: Any, dimension: str, least: float | None, most: float | None) -> Any:
    if isinstance(raw, Quantity):
        return raw
    if not isinstance(raw, dict):
        return {"value": si(raw, dimension, least, most), "dimension": dimension}
    if "value" not in raw:
        hint = "write {value: ..., kind: ..., source: ...}"
        raise PydanticCustomError("missing", "{why}", {"why": "has no value", "hint": hint})
    numbers = {
        key: si(raw[key], dimension, least, most) for key in ("value", "low", "high") if key in raw
    }
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


def sourced(
    dimension: str, least: float | None = None, most: float | None = None
) -> BeforeValidator:
    """Reads a `Quantity`; least, most: of a field, in SI (a `least` rules out 0)."""
    return BeforeValidator(lambda raw: _quantity(raw, dimension, least, most))


def plain(dimension: str, least: float | None = None, most: float | None = None) -> BeforeValidator:
    """Reads a plain float; as `sourced`."""
    return BeforeValidator(lambda raw: si(raw, dimension, least, most))


# With an origin: what a chip profile is made of.
Capacity = Annotated[Quantity, sourced("bytes", least=1e3), "bytes"]
Bytes = Annotated[Quantity, sourced("bytes"), "bytes"]
BytesPerS = Annotated[Quantity, sourced("bytes_per_s"), "bytes_per_s"]
FlopsPerS = Annotated[Quantity, sourced("flops_per_s"), "flops_per_s"]
Seconds = Annotated[Quantity, sourced("seconds"), "seconds"]
FixedSeconds = Annotated[Quantity, sourced("seconds", most=FIXED_S_MAX), "seconds"]
Watts = Annotated[Quantity, sourced("watts"), "watts"]
UsdPerHour = Annotated[Quantity, sourced("usd_per_hour"), "usd_per_hour"]
UsdPerKwh = Annotated[Quantity, sourced("usd_per_kwh"), "usd_per_kwh"]
UsdPerMtok = Annotated[Quantity, sourced("usd_per_mtok"), "usd_per_mtok"]
Usd = Annotated[Quantity, sourced("usd"), "usd"]
Number = Annotated[Quantity, sourced("number"), "number"]
Reached = Annotated[Quantity, sourced("number", least=1e-4, most=1), "number"]
Share = Annotated[Quantity, sourced("number", most=1), "number"]
Ratio = Annotated[Quantity, sourced("number", most=1e3), "number"]

# Plain floats in SI: settings that somebody chooses, which need no source. The text is the
# dimension, for who shows them.
PlainSeconds = Annotated[float, plain("seconds"), "seconds"]
PlainFixedSeconds = Annotated[float, plain("seconds", most=FIXED_S_MAX), "seconds"]
PlainBytes = Annotated[float, plain("bytes"), "bytes"]
PlainBytesPerS = Annotated[float, plain("bytes_per_s"), "bytes_per_s"]
PlainPerS = Annotated[float, plain("per_s"), "per_s"]
PlainNumber = Annotated[float, plain("number"), "number"]
Fraction = Annotated[float, plain("number"), Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10**9, strict=True)]
Whole = Annotated[int, Field(ge=0, le=10**12, strict=True)]
Chips = Annotated[int, Field(ge=1, le=10**5, strict=True)]  # of a domain, a replica, a pool
Width = Annotated[int, Field(ge=0, le=10**7, strict=True)]  # of a matrix
Length = Annotated[int, Field(ge=1, le=TOKENS_MAX, strict=True)]  # tokens of a sequence
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
