"""What options say: shared ones, and lists of values as text."""

import re
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from gcsim.cli.console import OutputFormat
from gcsim.errors import ProfileError

if TYPE_CHECKING:
    from gcsim.profiles.resolve import Resolved

FormatOption = Annotated[
    OutputFormat, typer.Option("--format", help="A table, or one JSON object.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a setting: run.trajectories=10."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Of every random stream.")]
DtypeOption = Annotated[
    str | None, typer.Option(help="Number format of the weights: bf16, fp8, mxfp4, ...")
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", min=1, help="Processes; the result does not depend on it.")
]
LibraryOption = Annotated[
    Path | None,
    typer.Option(
        "--library",
        metavar="DIR",
        help="A folder of your own profiles, searched first; else that in GCSIM_LIBRARY.",
    ),
]

_NUMBER = re.compile(r"\s*[+-]?[\d.]+(?:[eE][+-]?\d+)?\s*")


def scenario_of(name: str, library: Path | None) -> "str | Resolved":
    """A scenario as the studies take it: by name, or resolved where a library is given."""
    if library is None:
        return name
    from gcsim.studies.run import load

    return load(name, library=library)


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
