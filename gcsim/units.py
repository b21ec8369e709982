"""Text with a unit to a float in SI, strictly: a bit is not a byte, GB is not GiB.

A small pint registry holds only the units that a profile may use, so that "Tb" (bit or byte?) or
"5.3 TB/s" for a capacity is an error, never a guess.
"""

import math
import re
from functools import cache, lru_cache
from typing import Any

from gcsim.errors import nearest

# What a field holds -> the SI unit that its float is in.
DIMENSIONS = {
    "bytes": "B",
    "bytes_per_s": "B/s",
    "flops_per_s": "FLOP/s",
    "seconds": "s",
    "watts": "W",
    "usd": "USD",
    "usd_per_hour": "USD/h",
    "usd_per_kwh": "USD/kWh",
    "usd_per_mtok": "USD/Mtok",
    "per_s": "1/s",
    "number": "",
}

# What a value of each looks like, for hints.
EXAMPLES = {
    "bytes": "64 GB",
    "bytes_per_s": "1.5 TB/s",
    "flops_per_s": "989 TFLOP/s",
    "seconds": "10 us",
    "watts": "700 W",
    "usd": "25000 USD",
    "usd_per_hour": "2.5 USD/h",
    "usd_per_kwh": "0.08 USD/kWh",
    "usd_per_mtok": "3 USD/Mtok",
    "per_s": "5/s",
    "number": "0.5",
}

# The usual units by themselves, so that a run need not load pint: the factors that it finds.
USUAL: dict[str, dict[str, float]] = {
    "bytes": {
        "B": 1.0,
        "kB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "TB": 1e12,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
        "TiB": 2.0**40,
    },
    "bytes_per_s": {"MB/s": 1e6, "GB/s": 1e9, "TB/s": 1e12, "Gbit/s": 1.25e8},
    "flops_per_s": {"TFLOP/s": 1e12, "PFLOP/s": 1e15},
    "seconds": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0, "d": 86400.0},
    "watts": {"W": 1.0, "kW": 1e3, "MW": 1e6},
    "usd": {"USD": 1.0},
    "usd_per_hour": {"USD/h": 1.0},
    "usd_per_kwh": {"USD/kWh": 1.0},
    "usd_per_mtok": {"USD/Mtok": 1.0},
    "per_s": {"/s": 1.0},
    "number": {"": 1.0},
}

_DEFINITIONS = """
kilo- = 1e3 = k-
mega- = 1e6 = M-
giga- = 1e9 = G-
tera- = 1e12 = T-
peta- = 1e15 = P-
exa- = 1e18 = E-
milli- = 1e-3 = m-
micro- = 1e-6 = u-
nano- = 1e-9 = n-
kibi- = 2**10 = Ki-
mebi- = 2**20 = Mi-
gibi- = 2**30 = Gi-
tebi- = 2**40 = Ti-
bit = [information]
byte = 8 * bit = B
flop = [work] = FLOP
second = [time] = s
minute = 60 * second = min
hour = 3600 * second = h
day = 24 * hour = d
year = 8766 * hour = y
watt = [power] = W
watt_hour = watt * hour = Wh
dollar = [money] = USD
token = [text] = tok
percent = 0.01 = %
"""


class UnitError(ValueError):
    """A value that cannot be read in the wanted unit; carries the hint beside the reason."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


_TINY = re.compile(r"(m|u|n|milli|micro|nano)(B|bit|byte|FLOP|flop)")
_QUANTITY = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z%/]*)\s*")


@cache
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry(None)
    for line in _DEFINITIONS.strip().splitlines():
        registry.define(line)
    return registry


@lru_cache(maxsize=None, typed=True)  # typed: True is not the number 1
def parse(text: str | float, dimension: str) -> float:
    """Read a quantity as a float in the SI unit of its dimension (a key of `DIMENSIONS`).

    A bare number is taken only where no unit is possible (dimension "number"), or when it is 0:
    "5.3" may be GB or GiB, and gcsim does not guess.

    >>> parse("5.3 TB/s", "bytes_per_s")
    5300000000000.0
    >>> parse("400 Gbit/s", "bytes_per_s") == 50e9
    True
    >>> parse("64 GiB", "bytes") - parse("64 GB", "bytes")
    4719476736.0
    >>> parse("5.3 TB/s", "bytes")
    Traceback (most recent call last):
    ...
    gcsim.units.UnitError: is a rate of bytes, wanted bytes (a capacity)
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise UnitError("is not a quantity", _example(dimension))
    if isinstance(text, str):
        value = _read(text, dimension)
    elif dimension == "number" or text == 0:
        value = float(text)
    else:
        raise UnitError("has no unit", _example(dimension))
    if not math.isfinite(value):
        raise UnitError("is not a finite number")
    return value


def _read(text: str, dimension: str) -> float:
    # Only "number unit": pint would also compute "10**10**10 B", for hours.
    parts = _QUANTITY.fullmatch(
        text.replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")
    )
    if parts is None:
        raise UnitError("cannot be read as a quantity", _example(dimension))
    number, unit = float(parts[1]), parts[2]
    if not unit and dimension != "number":
        if number == 0:
            return number
        raise UnitError("has no unit", _example(dimension))
    factor = USUAL[dimension].get(unit)
    if factor is not None:
        return number * factor
    if _TINY.match(unit):
        hint = "prefixes are case-sensitive: 'MB' is a million bytes, 'mB' a thousandth of one"
        raise UnitError("cannot be read as a quantity", hint)
    try:
        quantity = _registry().Quantity(number, unit.replace("/", "1/", unit[:1] == "/"))
    except Exception as error:  # pint raises many kinds
        hint = _unit_hint(unit) or _example(dimension)
        raise UnitError("cannot be read as a quantity", hint) from error
    try:
        return float(quantity.to(DIMENSIONS[dimension]).magnitude)
    except Exception as error:
        why = f"is {_kind(quantity)}, wanted {_NAMES[dimension]}"
        raise UnitError(why, _example(dimension)) from error


def _example(dimension: str) -> str:
    return f"write it like '{EXAMPLES[dimension]}'"


_NAMES = {
    "bytes": "bytes (a capacity)",
    "bytes_per_s": "a rate of bytes",
    "flops_per_s": "FLOP/s",
    "seconds": "a time",
    "watts": "a power",
    "usd": "US dollars",
    "usd_per_hour": "US dollars per hour",
    "usd_per_kwh": "US dollars per kWh",
    "usd_per_mtok": "US dollars per million tokens",
    "per_s": "a rate (1/s)",
    "number": "a number without a unit",
}


def _kind(quantity: Any) -> str:
    for dimension, unit in DIMENSIONS.items():
        if quantity.is_compatible_with(unit or "1"):
            return _NAMES[dimension]
    return f"in {quantity.units}"


def _unit_hint(text: str) -> str:
    words = text.split("/")
    for word in filter(None, words):
        if word.endswith(("b", "ps")):
            return "bits and bytes differ: write 'Gbit/s' or 'GB/s'"
    known = [p + u for u in ("B", "bit", "FLOP") for p in ("", "k", "M", "G", "T", "P")]
    known += ["KiB", "MiB", "GiB", "TiB", "s", "ms", "us", "ns", "min", "h", "W", "kW", "USD", "%"]
    known.append("Mtok")
    unknown = [word for word in words if word and word not in known]
    return nearest(unknown[0], known) if unknown else ""


def show(value: float, dimension: str) -> str:
    """A float in SI as a short text with a prefix, the inverse of `parse` for people.

    >>> show(5.3e12, "bytes_per_s"), show(2.1e-05, "seconds"), show(0.45, "number")
    ('5.3 TB/s', '21 us', '0.45')
    """
    unit = DIMENSIONS[dimension]
    if dimension == "per_s":
        return f"{value:.6g}/s"
    if dimension == "number" or dimension.startswith("usd") or value == 0:
        return f"{value:.6g} {unit}".strip()
    prefixes = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")]
    if dimension == "seconds":
        prefixes = [(1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n")]
    for scale, prefix in prefixes:
        if abs(value) >= scale * (1 - 1e-12):
            return f"{value / scale:.6g} {prefix}{unit}"
    scale, prefix = prefixes[-1]
    return f"{value / scale:.6g} {prefix}{unit}"
