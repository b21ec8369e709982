"""YAML (or JSON) text to a spec, with every error of the file told at once, by line.

Stricter than YAML: a key may stand once, and no aliases (`*name`), so a file of a few lines can
never expand to gigabytes.
"""

from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from gcsim.errors import Problem, ProfileError, nearest

MAX_BYTES = 4_000_000
RENAMED = {"window": "compact_above"}  # keys that once were, for the hint
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

SpecT = TypeVar("SpecT", bound=BaseModel)
Lines = dict[tuple[str | int, ...], int]


def read_mapping(path: Path) -> tuple[dict[str, Any], Lines]:
    """The mapping in a YAML or JSON file and the lines of its keys; all faults as ProfileError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ProfileError.one(str(path), "", None, f"is larger than {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ProfileError.one(str(path), "", None, f"cannot be read: {why}") from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, file: str) -> tuple[dict[str, Any], Lines]:
    """As `read_mapping`, from a text.

    >>> parse_mapping("a: {b: 1}", "x.yaml")
    ({'a': {'b': 1}}, {('a',): 1, ('a', 'b'): 1})
    """
    lines: Lines = {}
    problems: list[Problem] = []
    try:
        node = yaml.compose(_no_aliases(text, file), Loader=_LOADER)
        data = _build(node, (), lines, problems, file) if node else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or "is not YAML"
        line = mark.line + 1 if mark else None
        raise ProfileError.one(file, "", None, f"is not YAML: {why}", line=line) from error
    except ValueError as error:  # a date such as 2024-13-45, a tag such as !!int x
        raise ProfileError.one(file, "", None, f"is not YAML: {error}") from error
    except RecursionError as error:
        raise ProfileError.one(file, "", None, "is nested too deeply") from error
    if problems:
        raise ProfileError(problems)
    if not isinstance(data, dict):
        raise ProfileError.one(file, "", data, "must be a mapping of keys to values")
    return data, lines


def _no_aliases(text: str, file: str) -> str:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.AliasEvent):
            why, hint = "uses a YAML alias", "write the value out"
            raise ProfileError.one(file, "", f"*{event.anchor}", why, hint, line=line)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > 50:
            raise ProfileError.one(file, "", None, "is nested too deeply", line=line)
    return text


_SCALARS = yaml.constructor.SafeConstructor()


def _build(
    node: Any, where: tuple[str | int, ...], lines: Lines, problems: list[Problem], file: str
) -> Any:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*where, index)] = item.start_mark.line + 1
        return [
            _build(item, (*where, index), lines, problems, file)
            for index, item in enumerate(node.value)
        ]
    if not isinstance(node, yaml.MappingNode):
        return _SCALARS.construct_document(node)  # construct_object would keep the node
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in mapping:
            field = ".".join(map(str, (*where, key)))
            problems.append(Problem(file, field, None, "is given twice", "keep one", line))
        lines[(*where, key)] = line
        mapping[key] = _build(value_node, (*where, key), lines, problems, file)
    return mapping


def validate(cls: type[SpecT], data: Any, file: str, lines: Lines | None = None) -> SpecT:
    """Make a spec of a mapping; on failure one ProfileError with all of its problems."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        raise ProfileError(_problems(cls, error, file, lines or {})) from error


def _problems(
    cls: type[BaseModel], error: ValidationError, file: str, lines: Lines
) -> list[Problem]:
    found = []
    for item in error.errors(include_url=False):
        loc = item["loc"]
        hint = str(item.get("ctx", {}).get("hint", ""))
        why, value = item["msg"].removeprefix("Value error, "), item["input"]
        if item["type"] == "extra_forbidden":
            why, value = "unknown key", None
            known = _keys(cls, loc[:-1])
            now = RENAMED.get(str(loc[-1]))
            hint = f"now called {now!r}" if now in known else nearest(str(loc[-1]), known)
        elif item["type"] == "missing" and "ctx" not in item:
            why, value = "is missing", None
        elif isinstance(value, dict | list | BaseModel):
            value = None
        line = next((lines[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in lines), None)
        found.append(Problem(file, ".".join(map(str, loc)), value, why, hint, line=line))
    return found


def _keys(cls: Any, loc: tuple[str | int, ...]) -> list[str]:
    """The keys known at a place inside a spec, to suggest the nearest one."""
    models = _models(cls)
    for part in loc:
        inner: list[type[BaseModel]] = []
        for model in models:
            fields = {f.alias or name: f.annotation for name, f in model.model_fields.items()}
            if part in fields:
                inner += _models(fields[str(part)])
        models = inner or models
    return [f.alias or name for model in models for name, f in model.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, dict, list, tuple) or get_args(annotation):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []
