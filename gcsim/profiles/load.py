"""YAML (or JSON) text to a spec, with every error of the file told at once, by line.

Stricter than YAML: a key may stand once, and no aliases (`*name`), so a file of a few lines can
never expand to gigabytes.
"""

from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from gcsim.errors import OBEYED, Problem, ProfileError, nearest

MAX_BYTES = 4_000_000
# Keys that once were, for the hint.
RENAMED = {"window": "compact_above", "spill": "kv_offload"}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

SpecT = TypeVar("SpecT", bound=BaseModel)
Place = tuple[str | int, ...]


class Mark(NamedTuple):
    """Where a value stands: its file, its line, and how many keys of its place are not there.

    above: of `deployment.pools.serve.tp`, 1 when the deployment is a file of its own
    """

    file: str
    line: int | None = None
    above: int = 0


Lines = dict[Place, Mark]


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

    >>> parse_mapping("a: 1", "x.yaml")
    ({'a': 1}, {('a',): Mark(file='x.yaml', line=1, above=0)})
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


def _build(node: Any, where: Place, lines: Lines, problems: list[Problem], file: str) -> Any:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*where, index)] = Mark(file, item.start_mark.line + 1)
        return [
            _build(item, (*where, index), lines, problems, file)
            for index, item in enumerate(node.value)
        ]
    if not isinstance(node, yaml.MappingNode):
        value = _SCALARS.construct_document(node)  # construct_object would keep the node
        if isinstance(value, str) and OBEYED.search(value):
            why, hint = "holds control characters", "a terminal would obey them: leave them out"
            field, line = ".".join(map(str, where)), node.start_mark.line + 1
            problems.append(Problem(file, field, value, why, hint, line))
        return value
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in mapping:
            field = ".".join(map(str, (*where, key)))
            problems.append(Problem(file, field, None, "is given twice", "keep one", line))
        lines[(*where, key)] = Mark(file, line)
        mapping[key] = _build(value_node, (*where, key), lines, problems, file)
    return mapping


def validate(cls: type[SpecT], data: Any, file: str, lines: Lines | None = None) -> SpecT:
    """Make a spec of a mapping; on failure one ProfileError with all of its problems."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        raise ProfileError(_problems(cls, error, file, data, lines or {})) from error


def _problems(
    cls: type[BaseModel], error: ValidationError, file: str, data: Any, lines: Lines
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
            if loc[-1] in known:
                hint = "it belongs to another dist, process or kind"
        elif item["type"] == "missing" and "ctx" not in item:
            why, value = "is missing", None
        elif isinstance(value, dict | list | BaseModel):
            value = None
        place = _place(loc, data, item["type"] in ("extra_forbidden", "missing"))
        mark = mark_of(place, lines) or Mark(file)
        field = ".".join(map(str, place[mark.above :]))
        found.append(Problem(mark.file, field, value, why, hint, line=mark.line))
    return found


def _place(loc: Place, data: Any, about_a_key: bool) -> Place:
    """Where an error is in the data: pydantic's place, without the names of what a union may be.

    about_a_key: the last part is a key that should be there, or should not
    """
    found: list[str | int] = []
    node = data
    for index, part in enumerate(loc):
        inside = isinstance(node, dict) and part in node
        inside |= isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        if inside:
            node = node[part]
        elif isinstance(node, dict) and (index < len(loc) - 1 or not about_a_key):
            continue
        found.append(part)
    return tuple(found)


def mark_of(place: Place, lines: Lines) -> Mark | None:
    """Where the value at a place stands, or the nearest one above it that stands anywhere."""
    return next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)


def _keys(cls: Any, loc: tuple[str | int, ...]) -> list[str]:
    """The keys known at a place inside a spec, to suggest the nearest one."""
    models = models_of(cls)
    for part in loc:
        inner: list[type[BaseModel]] = []
        for model in models:
            fields = {f.alias or name: f.annotation for name, f in model.model_fields.items()}
            if part in fields:
                inner += models_of(fields[str(part)])
        models = inner or models
    return [f.alias or name for model in models for name, f in model.model_fields.items()]


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The specs in an annotation: of a union, a list, a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, dict, list, tuple) or get_args(annotation):
        return [model for part in get_args(annotation) for model in models_of(part)]
    return []
