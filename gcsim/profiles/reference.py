"""docs/reference.md: every field of every YAML file, read from the specs themselves.

What a field means stands below it in its class; here it is put in tables, with unit, default and an
example from what is shipped. `make examples` writes the page, and a test holds it to be up to date.
"""

import re
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gcsim import units
from gcsim.profiles.base import Conflict, Quantity
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Deployment
from gcsim.profiles.distribution import Distribution, Origin
from gcsim.profiles.inherit import read
from gcsim.profiles.library import Library
from gcsim.profiles.load import models_of
from gcsim.profiles.model import Model
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.site import Site
from gcsim.profiles.stack import ServingStack
from gcsim.profiles.template import descriptions
from gcsim.profiles.workload import Workload

# Kind of file -> its spec, where it lies, and the shipped one that the examples are from.
FILES: dict[str, tuple[type[BaseModel], str, str]] = {
    "scenario": (Scenario, "scenarios", "coding-agents"),
    "workload": (Workload, "workloads", "coding-agent"),
    "deployment": (Deployment, "hardware_profiles/deployments", "mi300x-prefill-sn50-decode"),
    "chip": (Chip, "hardware_profiles/chips", "h100-sxm"),
    "stack": (ServingStack, "hardware_profiles/stacks", "vllm"),
    "model": (Model, "model_profiles", "gpt-oss-120b"),
    "site": (Site, "hardware_profiles/sites", "owned"),
}
ORIGIN = ("dimension", "kind", "source", "note", "conflicts", "low", "high", "dist")
EXAMPLE_MOST = 40  # characters
HEAD = """\
# Every field of every file

Written from the code by `make examples`. A file may say `base: NAME`, and then only what differs;
`gcsim new KIND NAME` writes one to begin with. Any field is a setting, by its path:
`--set deployment.pools.serve.tp=4`.

A *quantity* is a number with a unit (`5.3 TB/s`), bare or with its origin: `{value: 5.3 TB/s, kind:
datasheet, source: "...", low: ..., high: ...}`; `kind` is one of datasheet, paper, measured,
vendor_claim, fitted, assumed, given, and all but the last name a `source`. `low` and `high` are the
ends that `--bands` plays. A *distribution* is what [the table below](#distributions) has.
Units may have prefixes (k, M, G, T, P; Ki, Mi, Gi for bytes; ms, us, ns).
"""


def reference() -> str:
    """The page.

    >>> "| `isl`" in reference() or "| `tp` |" in reference()
    True
    """
    lines = [HEAD]
    told: set[type[BaseModel]] = set()
    for kind, (spec, folder, name) in FILES.items():
        lines.append(f"## {kind.capitalize()}\n")
        lines.append(f"{_about(spec)}\nFiles: `{folder}/*.yaml`; examples from `{name}`.\n")
        example = read(kind, name, Library()).mapping
        lines += _tables(spec, example, told, kind)
    lines.append("## Distributions\n")
    lines.append("A length is a bare number, a time carries its unit; draws are clipped to `low`")
    lines.append("and `high` where these are given.\n")
    lines.append("| `dist` | what it draws | keys |\n| --- | --- | --- |")
    for one in get_args(Distribution):
        keys = ", ".join(f"`{key}`" for key in one.model_fields if key not in ORIGIN)
        (name,) = get_args(one.model_fields["dist"].annotation)
        lines.append(f"| `{name}` | {_cell(_about(one))} | {keys or '`low`, `high`'} |")
    return "\n".join(lines) + "\n"


def _tables(
    spec: type[BaseModel], example: Any, told: set[type[BaseModel]], path: str
) -> Iterator[str]:
    """The table of a spec, then those of the specs in it that have not been told yet."""
    told.add(spec)
    docs, inner = descriptions(spec), []
    values = example if isinstance(example, Mapping) else {}
    yield "| key | meaning | unit or values | default | example |\n| --- | --- | --- | --- | --- |"
    for name, info in spec.model_fields.items():
        key = info.alias or name
        value = values.get(key)
        cells = (f"`{key}`", docs.get(name, ""), _type(info), _default(info), _example(value))
        yield f"| {' | '.join(map(_cell, cells))} |"
        below = [one for one in _specs(info.annotation) if one not in told and not _is_file(one)]
        inner += [(one, key, value) for one in below]
    yield ""
    for one, key, value in inner:
        if one in told:
            continue
        yield f"### {_place(path, key, one)}\n"
        yield f"{_about(one)}\n"
        yield from _tables(one, _first(value, one), told, f"{path}.{key}")


def _specs(annotation: Any) -> list[type[BaseModel]]:
    """The specs that a field holds, quantities and distributions left out."""
    none = Quantity | Origin | Conflict
    return [one for one in dict.fromkeys(models_of(annotation)) if not issubclass(one, none)]


def _is_file(spec: type[BaseModel]) -> bool:
    return any(spec is own for own, _, _ in FILES.values())


def _place(path: str, key: str, spec: type[BaseModel]) -> str:
    field = spec.model_fields.get("process")
    which = f" with `process: {get_args(field.annotation)[0]}`" if field is not None else ""
    return f"`{path}.{key}`{which}"


def _first(value: Any, spec: type[BaseModel]) -> Any:
    """What of an example stands for a spec: of a list or a mapping of several, the first."""
    keys = {info.alias or name for name, info in spec.model_fields.items()}
    if isinstance(value, list):
        return value[0] if value else {}
    if isinstance(value, Mapping) and not keys & set(value):
        return next(iter(value.values()), {})
    return value


def _type(info: FieldInfo) -> str:
    """In what unit, or which values; of specs which kind."""
    dimension = next((text for text in _texts(info) if text in units.DIMENSIONS), None)
    specs = models_of(info.annotation)
    if any(issubclass(one, Origin) for one in specs):
        return f"distribution{f' [{_unit(dimension)}]' if dimension == 'seconds' else ''}"
    if dimension is not None:
        kind = "quantity" if Quantity in specs else ""
        return f"{kind} [{_unit(dimension)}]".strip() if _unit(dimension) else kind or "number"
    if Quantity in specs:
        return "quantity"
    return _named(info.annotation)


def _texts(info: FieldInfo) -> Iterator[str]:
    """Texts among the metadata of a field, those within unions too."""
    waiting: list[Any] = [*info.metadata, info.annotation]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, str):
            yield one
        waiting += [*getattr(one, "__metadata__", ())]
        if get_origin(one) is not Literal:
            waiting += [part for part in get_args(one) if not isinstance(part, str | int)]


def _unit(dimension: str) -> str:
    return {"bytes": "B", "seconds": "s"}.get(dimension, units.DIMENSIONS[dimension])


def _named(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"{annotation.__name__.lower()}, by name" if _is_file(annotation) else "mapping"
    if hasattr(annotation, "__metadata__"):
        return _named(get_args(annotation)[0])
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_named(part) for part in parts if part is not NoneType))
    if origin in (tuple, list):
        return f"list of {_named(parts[0])}"
    if origin is dict:
        return f"names with {_named(parts[1])}"
    return {int: "whole number", float: "number", str: "text", bool: "true, false"}.get(
        annotation, "any"
    )


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**needed**"
    value = info.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or value in ("", (), {}):
        return ""
    if value != value:  # NaN stands for what is looked for
        return "`auto`"
    dimension = next((text for text in _texts(info) if text in units.DIMENSIONS), None)
    if isinstance(value, Quantity):
        return f"`{value}`"
    if isinstance(value, BaseModel):
        return f"`{getattr(value, 'value', None)}`" if isinstance(value, Origin) else "its defaults"
    if isinstance(value, float) and dimension:
        return f"`{units.show(value, dimension)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _example(value: Any) -> str:
    """A value of the shipped file, without its origin; of what is long, nothing."""
    if isinstance(value, Mapping) and "value" in value:
        value = value["value"]
    if isinstance(value, Mapping) and "dist" in value:
        value = {key: part for key, part in value.items() if key not in ORIGIN or key == "dist"}
    if value is None or (isinstance(value, Mapping) and "dist" not in value):
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value).replace("'", "")
    return f"`{text}`" if len(text) <= EXAMPLE_MOST else ""


def _about(spec: type[BaseModel]) -> str:
    """The docstring of a spec, one line a paragraph."""
    text = re.sub(r"\n {4,}", "\n", (spec.__doc__ or "").strip())
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
