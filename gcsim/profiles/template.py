"""A profile to begin with: every key of its spec, with a value that loads and what it means.

Values are those of a shipped profile, without their sources: whoever takes the file puts his own in
their place. What each key means is read from the spec itself, so that it stands in one place.
"""

import ast
import inspect
import os
import re
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gcsim import units
from gcsim.errors import ProfileError
from gcsim.profiles.assemble import Factors
from gcsim.profiles.base import Quantity
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Deployment
from gcsim.profiles.distribution import Origin
from gcsim.profiles.inherit import PROFILES, read
from gcsim.profiles.library import FOLDERS, Library, is_path
from gcsim.profiles.load import models_of, validate
from gcsim.profiles.resolve import resolve, whole
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.workload import Workload

SPECS: dict[str, type[BaseModel]] = {
    "chip": Chip,
    "deployment": Deployment,
    "workload": Workload,
    "scenario": Scenario,
}
EXAMPLES = {
    "chip": "h100-sxm",
    "deployment": "h100-mono",
    "workload": "coding-agent",
    "scenario": "coding-agents",
}
WIDTH = 100
ABOUT = "#\0"  # of a line that is a comment and nothing else, until all are put together
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# What a new profile does not take over: whose it is, and where its numbers come from.
OF_THE_EXAMPLE = ("name", "aliases", "description", "source", "notes")
OF_A_SOURCE = ("kind", "source", "note", "conflicts")


def template(kind: str, name: str, base: str | None = None, library: Library | None = None) -> str:
    """The text of a new profile.

    base: based on that one, with all that could differ in comments; None: whole, with the values of
    a shipped one. Errors: `ProfileError` for a name that cannot be one, for a base that is wrong.

    >>> print(template("scenario", "mine").splitlines()[3])
    name: mine  # What it is called; its file is named so too.
    """
    checked_name(name)
    library = library or Library()
    example = base or EXAMPLES[kind]
    entry = _checked(kind, example, library if base else Library())
    head = [f"A {kind} on the base of {example}: take the # off what differs."]
    if base is None:
        head = [f"A {kind} to begin with; its values are those of {example}: put yours there."]
    head.append("A value is bare (5.3 TB/s), or says where it comes from:")
    head.append('{value: 5.3 TB/s, kind: datasheet, source: "...", low: ..., high: ...}')
    lines = [f"# {line}" for line in head]
    body = list(_lines(SPECS[kind], _shown(entry, name), 0))
    first = [line for line in body if line.startswith("name:")]
    if base is None:
        text = "\n".join([*lines, *body])
    else:
        rest = [f"# {line}" for line in body if line not in first]
        text = "\n".join([*lines, *first, f"base: {_flow(base)}", *rest])
    return text.replace(ABOUT, "#") + "\n"


def checked_name(name: str) -> None:
    """Errors: `ProfileError` for a name that could lead anywhere but to a file of its own."""
    if not NAME.fullmatch(name) or is_path(name):
        hint = "letters, digits, '.', '-' and '_', without a folder or suffix"
        raise ProfileError.one("new", "NAME", name, "cannot be the name of a profile", hint)


def place_of(kind: str, name: str, folder: Path | None) -> Path:
    """The file of a new profile: in its folder of a project, or here."""
    checked_name(name)
    return (folder / FOLDERS[kind] if folder else Path()) / f"{name}.yaml"


ANOTHER = "take another name, or --force"


def check_free(path: Path | None, force: bool = False, hint: str = ANOTHER) -> None:
    """Before long work: that its file can be written. Errors: `ProfileError` where one is there."""
    if path is not None and path.exists() and not force:
        raise _taken(path, hint)


def check_folder(path: Path, command: str, option: str = "--out") -> None:
    """Before long work: that the folder of its file is there. Errors: `ProfileError`, else."""
    folder = path.absolute().parent
    if not folder.is_dir():
        why = f"lies in {folder}, which is no folder"
        raise ProfileError.one(command, option, str(path), why, "name another file")


def _taken(path: Path, hint: str = ANOTHER) -> ProfileError:
    return ProfileError.one(str(path), "", None, "is there already", hint)


def write_new(path: Path, text: str, force: bool = False) -> None:
    """Write a file whole, or not at all; over another one only by `force`.

    Errors: `ProfileError` when there is one, or when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _unwritten(path, error) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(unfinished).chmod(0o644)
        if force:
            Path(unfinished).replace(path)
        else:
            os.link(unfinished, path)  # unlike a rename, never over another
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        raise _unwritten(path, error) from error
    finally:
        with suppress(FileNotFoundError):
            Path(unfinished).unlink()


def _unwritten(path: Path, error: OSError) -> ProfileError:
    return ProfileError.one(str(path), "", None, f"cannot be written: {error.strerror or error}")


def _checked(kind: str, name: str, library: Library) -> dict[str, Any]:
    """The mapping of an example, as its files have it; whole and sound."""
    if kind == "scenario":
        resolve(name, library=library)
    else:
        entry = whole(kind, name, library)
        validate(SPECS[kind], entry.mapping, str(entry.path), entry.lines)
    return read(kind, name, library).mapping


def _shown(mapping: dict[str, Any], name: str) -> dict[str, Any]:
    """What of an example's mapping a new profile shows."""
    kept = {key: value for key, value in mapping.items() if key not in OF_THE_EXAMPLE}
    return {"name": name, **kept}


def _lines(spec: type[BaseModel], mapping: dict[str, Any], indent: int) -> Iterator[str]:
    """The keys of a spec with the values of a mapping; those that it lacks in comments."""
    docs = descriptions(spec)
    for name, info in spec.model_fields.items():
        key = info.alias or name
        if key == "efficiency" and "factors" in mapping:
            about = (Factors.__doc__ or "").partition("\n")[0]
            yield from _line("factors", _flow(mapping["factors"]), about, indent)
        if key in mapping and key not in ("source", "description"):
            yield from _entry(key, mapping[key], info, docs.get(name, ""), indent)
        else:
            yield from _left_out(key, info, docs.get(name, ""), indent)


def _entry(key: str, value: Any, info: FieldInfo, about: str, indent: int) -> Iterator[str]:
    specs = models_of(info.annotation)
    inner = next((spec for spec in specs if not issubclass(spec, Quantity | Origin)), None)
    if isinstance(value, dict) and inner is not None and specs[0] is not Quantity:
        yield from _line(key, "", about, indent)
        if "dict" in str(info.annotation):
            for name, item in value.items():
                yield f"{' ' * (indent + 2)}{_flow(name)}:"
                yield from _lines(_variant(specs, item), item, indent + 4)
        else:
            yield from _lines(_variant(specs, value), value, indent + 2)
    elif isinstance(value, list) and inner is not None and all(isinstance(v, dict) for v in value):
        yield from _line(key, "", about, indent)
        for item in value:
            first, *rest = _lines(inner, item, indent + 4)
            yield f"{first[: indent + 2]}- {first.lstrip()}"
            yield from rest
    else:
        yield from _line(key, _flow(_bare(value)), about, indent)


def _variant(specs: list[type[BaseModel]], value: dict[str, Any]) -> type[BaseModel]:
    """The one of a union that a mapping is: arrivals tell by `process`, pools by `role`."""
    for spec in specs:
        for tag in ("process", "role"):
            field = spec.model_fields.get(tag)
            if field is not None and value.get(tag) in get_args(field.annotation):
                return spec
    return specs[0]


def _left_out(key: str, info: FieldInfo, about: str, indent: int) -> Iterator[str]:
    """A key that the example has not, with its default, or with the keys below it: in comments."""
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    dimension = next((text for text in info.metadata if isinstance(text, str)), None)
    if isinstance(default, float) and dimension and dimension != "number":
        default = units.show(default, dimension)
    if isinstance(default, BaseModel):
        default = None
    lines = list(_line(key, "" if default is None else _flow(default), about, 0))
    inner = [spec for spec in models_of(info.annotation) if not issubclass(spec, Quantity | Origin)]
    several = "tuple[" in str(info.annotation)
    if len(inner) == 1 and not several and key not in PROFILES:
        lines += [line.replace("# ", "", 1) for line in _lines(inner[0], {}, 2)]
    yield from (f"{' ' * indent}# {line}" for line in lines)


def _line(key: str, value: str, about: str, indent: int) -> Iterator[str]:
    """A key, its value and what it means: beside it, or above where that is too long."""
    head = f"{' ' * indent}{key}:{f' {value}' if value else ''}"
    beside = f"{head}  # {about}" if about else head
    if len(beside) <= WIDTH - 4:
        yield beside
        return
    above = textwrap.wrap(about, WIDTH - 6 - indent)
    yield from (f"{' ' * indent}{ABOUT} {line}" for line in above)
    yield head


def _bare(value: Any) -> Any:
    """A number without its source; its origin is the user's own."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in OF_A_SOURCE}
        return value["value"] if "value" in value and "dist" not in value else kept
    return value


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, tuple):
        value = list(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


@cache
def descriptions(spec: type[BaseModel]) -> dict[str, str]:
    """Field -> what stands below it in the spec's source (PEP 258).

    >>> descriptions(Deployment)["router"]
    'Which replica gets a request.'
    """
    found = {}
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(spec))).body
    assert isinstance(body, ast.ClassDef)
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match below:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[field.target.id] = " ".join(text.split())
    return found
