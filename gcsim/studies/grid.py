"""What a sweep plays: the product of its axes, each combination with its settings and its key."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gcsim.errors import ProfileError
from gcsim.profiles.resolve import Resolved, content_hash, resolve, with_settings
from gcsim.units import DIMENSIONS, UnitError, parse
from gcsim.version import __version__

DEPLOYMENT = "deployment"
_SUFFIX = {"seconds": "_s", "watts": "_w", "number": ""}


@dataclass(frozen=True)
class Axis:
    """A setting by its dotted path, and the values that it takes."""

    path: str
    values: tuple[Any, ...]

    @property
    def column(self) -> str:
        """The name of its column: the path, and the unit where the values have one.

        >>> Axis("deployment.links.bandwidth", ("100 Gbit/s", "50 GB/s")).column
        'deployment.links.bandwidth_bytes_per_s'
        """
        dimension = self._dimension
        return self.path + _SUFFIX.get(dimension, f"_{dimension}") if dimension else self.path

    @property
    def cells(self) -> tuple[Any, ...]:
        """The values as the table has them: quantities in SI, plain values as they are.

        >>> Axis("run.warmup", ("0 s", "2 min")).cells
        (0.0, 120.0)
        """
        if (dimension := self._dimension) is not None:
            return tuple(parse(value, dimension) for value in self.values)
        plain = all(v is None or isinstance(v, int | float) for v in self.values)
        return self.values if plain else tuple(map(_text, self.values))

    @property
    def _dimension(self) -> str | None:
        """What all values are, where they are texts with units."""
        if not any(isinstance(value, str) for value in self.values):
            return None
        return next((name for name in DIMENSIONS if all(_is(v, name) for v in self.values)), None)


@dataclass(frozen=True)
class GridPoint:
    """One combination: the base with `settings`; `key` names it and all that its numbers need.

    cells: its values on the axes; lacks: the settings that its deployment does not have, left out;
    error: why it is no scenario (then it has no key).
    """

    cells: tuple[Any, ...]
    base: Resolved
    settings: dict[str, Any]
    lacks: tuple[str, ...] = ()
    key: str = ""
    size: int = 0
    error: str | None = None

    def resolved(self) -> Resolved:
        """The scenario; not kept, for a sweep may have very many."""
        return with_settings(self.base, self.settings)

    def at(self, cell: Any, settings: Mapping[str, Any]) -> "GridPoint":
        """The same with one more value, and what that sets."""
        cells = (*self.cells, cell)
        if self.error is not None:
            return replace(self, cells=cells)
        return _point(cells, self.base, {**self.settings, **settings}, self.lacks)

    def failed(self, why: str) -> "GridPoint":
        """The same, known to be none."""
        return replace(self, key="", error=why)


def axes_of(grid: Mapping[str, Sequence[Any]]) -> tuple[Axis, ...]:
    """The axes of a grid, in its order. Errors: `ProfileError` for one without values."""
    axes = []
    for path, values in grid.items():
        if isinstance(values, str) or not len(values):
            why, hint = "has no values", "give a list of them: path=a,b,c"
            raise ProfileError.one("sweep", path, values or None, why, hint)
        axes.append(Axis(path, tuple(values)))
    return tuple(axes)


def combinations(
    scenario: str | Path | Resolved, axes: Sequence[Axis], settings: Mapping[str, Any]
) -> list[GridPoint]:
    """Every combination of the values of the axes, the last axis fastest.

    A setting that one deployment lacks (a pool, for another layout) is left out there and said in
    `lacks`; one that no combination has, or a grid without any valid point, is an error.
    """
    paths = [axis.path for axis in axes]
    deployments = next((axis.values for axis in axes if axis.path == DEPLOYMENT), (None,))
    bases = [_base(scenario, deployment, settings) for deployment in deployments]
    which = paths.index(DEPLOYMENT) if DEPLOYMENT in paths else None
    cells = [axis.cells for axis in axes]
    points, found = [], _Lacking(axes)
    for place in product(*(range(len(axis.values)) for axis in axes)):
        chosen = {axis.path: axis.values[k] for axis, k in zip(axes, place, strict=True)}
        chosen.pop(DEPLOYMENT, None)
        number = 0 if which is None else place[which]
        lacks = found.of(number, bases[number], chosen)
        own = {path: chosen[path] for path in _shallow_first(chosen) if path not in lacks}
        named = tuple(axis[k] for axis, k in zip(cells, place, strict=True))
        points.append(_point(named, bases[number], own, lacks))
    _refuse_what_nobody_has(points, axes, bases)
    if all(point.error is not None for point in points):
        points[0].resolved()  # raises its error, with all of its problems
    return points


def key_of(resolved: Resolved) -> str:
    """Names a run: content of all inputs (of a recorded trace too) and version, not the engine.

    >>> base = resolve("coding-agents")
    >>> other = with_settings(base, {"engine": "iteration"})
    >>> key_of(base) == key_of(other) != key_of(with_settings(base, {"run.seed": 2}))
    True
    """
    inputs = {key: value for key, value in resolved.mapping.items() if key != "engine"}
    traces = [_file_hash(path) for path in _traces(resolved.mapping.get("workload"))]
    return content_hash({"inputs": inputs, "traces": traces, "version": __version__})


def has(resolved: Resolved, path: str) -> bool:
    """Whether a scenario has a setting: its mapping gives it, or its profile knows the key.

    >>> base = resolve("coding-agents")
    >>> has(base, "deployment.pools.serve.pp"), has(base, "deployment.pools.decode.pp")
    (True, False)
    """
    keys = path.split(".")
    return leads(resolved.mapping, keys) or leads(resolved.scenario, keys)


class _Lacking:
    """Which settings a deployment does not have, under the other settings of a combination."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.values = {axis.path: axis.values for axis in axes}
        self.known: dict[tuple[Any, ...], bool] = {}

    def of(self, number: int, base: Resolved, chosen: Mapping[str, Any]) -> tuple[str, ...]:
        """Their paths. Settings that go into others (a model, then its layers) come after them."""
        whole = {
            path: chosen[path]
            for path in _shallow_first(chosen)
            if any(other.startswith(f"{path}.") for other in chosen)
        }
        under = (number, content_hash(whole))
        try:
            return tuple(
                path
                for path in chosen
                if path not in whole and self._lacks(base, whole, under, path)
            )
        except ProfileError:
            return ()  # the combination has an error of its own

    def _lacks(
        self, base: Resolved, whole: Mapping[str, Any], under: tuple[Any, ...], path: str
    ) -> bool:
        key = (*under, path)
        if key not in self.known:
            here = with_settings(base, whole) if whole else base
            self.known[key] = not has(here, path) and not any(
                _changes(here, path, value) for value in self.values[path]
            )
        return self.known[key]


def _changes(base: Resolved, path: str, value: Any) -> bool:
    """Whether a setting that is not there yet can be made: a key of a free mapping."""
    try:
        return with_settings(base, {path: value}).mapping != base.mapping
    except ProfileError:
        return False


def _refuse_what_nobody_has(
    points: Sequence[GridPoint], axes: Sequence[Axis], bases: Sequence[Resolved]
) -> None:
    """A typing error is told before anything is played."""
    for axis in axes:
        if all(axis.path in point.lacks for point in points):
            why, cause = "is a setting that no deployment of this sweep has", ""
            try:
                with_settings(bases[0], {axis.path: axis.values[0]})
            except ProfileError as error:
                cause = str(error.problems[0])
            raise ProfileError.one("sweep", axis.path, None, why, cause)


def _base(
    scenario: str | Path | Resolved, deployment: Any, settings: Mapping[str, Any]
) -> Resolved:
    own = dict(settings) if deployment is None else {DEPLOYMENT: deployment, **settings}
    return (
        with_settings(scenario, own) if isinstance(scenario, Resolved) else resolve(scenario, own)
    )


def _point(
    cells: tuple[Any, ...], base: Resolved, settings: dict[str, Any], lacks: tuple[str, ...]
) -> GridPoint:
    try:
        resolved = with_settings(base, settings)
        key = key_of(resolved)
    except ProfileError as error:
        return GridPoint(cells, base, settings, lacks, error=str(error))
    size = resolved.scenario.tasks or 100
    return GridPoint(cells, base, settings, lacks, key, size)


def _shallow_first(settings: Mapping[str, Any]) -> list[str]:
    return sorted(settings, key=lambda path: path.count("."))


def leads(node: Any, keys: list[str]) -> bool:
    """Whether a dotted path leads to something (in a list: in any of its items)."""
    if not keys:
        return True
    key, *rest = keys
    if isinstance(node, list | tuple):
        if key.isdigit():
            return int(key) < len(node) and leads(node[int(key)], rest)
        return any(leads(item, keys) for item in node)
    if isinstance(node, BaseModel):
        fields = {field.alias or name: name for name, field in type(node).model_fields.items()}
        return key in fields and leads(getattr(node, fields[key]), rest)
    return isinstance(node, Mapping) and key in node and leads(node[key], rest)


def _is(value: Any, dimension: str) -> bool:
    try:
        parse(value, dimension)
    except (UnitError, TypeError):
        return False
    return True


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def _traces(node: Any) -> list[str]:
    """The paths of all recorded traces in a workload."""
    if isinstance(node, list):
        return [path for item in node for path in _traces(item)]
    if not isinstance(node, Mapping):
        return []
    path = node.get("path") if "format" in node else None
    own = [path] if isinstance(path, str) else []
    return own + [path for item in node.values() for path in _traces(item)]


def _file_hash(path: str) -> str:
    """Content of a file, or of all files of a folder; empty where there is none."""
    root = Path(path)
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    stats = [(file, file.stat()) for file in files if file.is_file()]
    return _hash_of(tuple((str(file), s.st_mtime_ns, s.st_size) for file, s in stats))


@lru_cache(maxsize=64)
def _hash_of(files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, size in files:
        digest.update(f"{Path(name).name}:{size}:".encode())
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16] if files else ""
