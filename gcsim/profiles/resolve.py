"""Names to profiles: a scenario file, with settings applied, as one mapping that needs no other.

The resolved mapping is written beside the results, reproduces the run by itself, and is what the
content hashes of a baseline are made of.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from gcsim.errors import Problem, ProfileError
from gcsim.profiles.assemble import assembled, read_chip
from gcsim.profiles.chip import Chip
from gcsim.profiles.inherit import Entry, based, read, within
from gcsim.profiles.library import Library, opened
from gcsim.profiles.load import Lines, Mark, Place, validate
from gcsim.profiles.model import Model
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.stack import ServingStack
from gcsim.profiles.tools import Cpu
from gcsim.profiles.workload import resolve_workload

# Where a scenario may name a profile instead of giving its mapping.
_NAMED = {"model": "model", "deployment": "deployment", "workload": "workload"}
Settings = Mapping[str, Any]
SET = Mark("--set")  # where the value of a setting stands


@dataclass(frozen=True)
class Resolved:
    """A scenario and the mapping it was made of (all names replaced by what they name).

    library: where further settings look up the names in them
    """

    scenario: Scenario
    mapping: dict[str, Any]
    library: Library = field(default=Library(), compare=False)

    def to_yaml(self) -> str:
        """The mapping as YAML: `gcsim run` on it repeats the run."""
        text: str = yaml.safe_dump(self.mapping, sort_keys=False, allow_unicode=True, width=100)
        return text

    def hashes(self) -> dict[str, str]:
        """Content hash of every input: changed numbers change it, comments and spaces do not."""
        parts = {
            f"model {self.scenario.model.name}": self.mapping["model"],
            f"workload {self.scenario.workload.name}": self.mapping["workload"],
        }
        deployment = dict(self.mapping["deployment"])
        pools = {name: dict(pool) for name, pool in deployment["pools"].items()}
        for name, pool in pools.items():
            spec = self.scenario.deployment.all_pools[name]
            for kind in ("chip", "model", "cpu"):
                named = getattr(spec, kind, None)
                if named is None:
                    continue
                part, key = pool.pop(kind), f"{kind} {named.name}"
                # Two of one name that differ (by settings) are two inputs.
                same = parts.setdefault(key, part) == part
                if not same:
                    parts[f"{key} of {name}"] = part
        parts[f"deployment {self.scenario.deployment.name}"] = {**deployment, "pools": pools}
        rest = {k: v for k, v in self.mapping.items() if k not in _NAMED}
        parts[f"scenario {self.scenario.name}"] = rest
        return {name: content_hash(part) for name, part in parts.items()}


def content_hash(data: Any) -> str:
    """Hash of plain data, whatever the order of its keys.

    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """`dotted.path=value` texts to settings; values are read as YAML scalars.

    >>> parse_settings(["run.seed=7", "model=minimax-m2"])
    {'run.seed': 7, 'model': 'minimax-m2'}
    """
    settings: dict[str, Any] = {}
    problems = []
    for text in texts:
        path, separator, value = text.partition("=")
        if not separator or not path.strip("."):
            problems.append(Problem("--set", "", text, "is not a setting", "write path=value"))
            continue
        try:
            settings[path.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            settings[path.strip()] = value
    if problems:
        raise ProfileError(problems)
    return settings


def resolve(
    name: "str | Path | Resolved",
    settings: Settings | None = None,
    seed: int | None = None,
    library: Library | None = None,
) -> Resolved:
    """Load a scenario by name or path, apply settings (dotted path -> value), check everything.

    One that is resolved already gets further settings. library: where names are looked up first;
    None: in the project folder that `GCSIM_LIBRARY` names, if it does. Errors: `ProfileError` with
    every problem of the first file that has any.
    """
    if isinstance(name, Resolved):
        more = dict(settings or {}) | ({} if seed is None else {"run.seed": seed})
        return with_settings(name, more) if more else name
    library = opened() if library is None else library
    mapping, lines, path = read("scenario", str(name), library)
    names = Names(library.seen_from(path), lines)
    _trace_beside(mapping.get("workload"), path.parent)
    for key in _NAMED:
        if key not in (settings or {}):
            names.inline(mapping, (key,))
    more = dict(settings or {}) | ({} if seed is None else {"run.seed": seed})
    for dotted, value in more.items():
        _set(mapping, dotted.split("."), value, dotted, names)
        names.changed(dotted)
    return resolve_mapping(mapping, str(path), names)


def with_settings(resolved: Resolved, settings: Settings) -> Resolved:
    """A resolved scenario with further settings; the given one stays as it is.

    >>> base = resolve("coding-agents")
    >>> with_settings(base, {"run.seed": 7}).scenario.run.seed, base.scenario.run.seed
    (7, 1)
    """
    mapping = copy.deepcopy(resolved.mapping)
    names = Names(replace(resolved.library, beside=None), {})
    for dotted, value in settings.items():
        _set(mapping, dotted.split("."), copy.deepcopy(value), dotted, names)
    return resolve_mapping(mapping, resolved.scenario.name, names)


def resolve_mapping(mapping: dict[str, Any], file: str, names: "Names | None" = None) -> Resolved:
    """As `resolve`, from a mapping (which is completed in place)."""
    names = names or Names(Library(), {})
    for key in _NAMED:
        names.inline(mapping, (key,))
    scenario = validate(Scenario, mapping, file, names.lines)
    if found := [Problem(file, *one) for one in scenario.contradictions()]:
        raise ProfileError(found)
    return Resolved(scenario, mapping, names.library)


def load_chip(name: str, library: Library | None = None) -> Chip:
    """A chip by name, alias or path.

    >>> load_chip("sn40l").vendor
    'SambaNova'
    """
    data, lines, file = read_chip(name, library)
    return validate(Chip, data, file, lines)


def load_cpu(name: str, library: Library | None = None) -> Cpu:
    """A node of CPUs by name, alias or path.

    >>> load_cpu("xeon-6980p").vendor
    'Intel'
    """
    mapping, lines, path = read("cpu", name, library)
    return validate(Cpu, mapping, str(path), lines)


def load_stack(name: str, library: Library | None = None) -> ServingStack:
    """A serving stack by name, alias or path.

    >>> load_stack("sglang").batching.policy
    'prefill_first'
    """
    mapping, lines, path = read("stack", name, library)
    return validate(ServingStack, mapping, str(path), lines)


def load_model(name: str, library: Library | None = None) -> Model:
    """A model by name, alias or path (a Hugging Face `config.json` too).

    >>> load_model("gpt-oss-120b").layers
    36
    """
    mapping, lines, path = read("model", name, library)
    return validate(Model, mapping, str(path), lines)


def whole(kind: str, name: str, library: Library | None = None) -> Entry:
    """A profile by name, alias or path, with what it inherits, and with what it names in place."""
    library = library or Library()
    entry = read(kind, name, library)
    names = Names(library.seen_from(entry.path), dict(entry.lines))
    mapping = names.completed(kind, Entry(copy.deepcopy(entry.mapping), names.lines, entry.path))
    return Entry(mapping, names.lines, entry.path)


@dataclass
class Names:
    """Names in a mapping, in whose place what they name is put.

    library: where they are looked up, as seen from the file; lines: where each value stands.
    """

    library: Library
    lines: Lines

    def inline(self, holder: dict[str, Any], place: Place) -> None:
        """Complete one entry of a mapping: a name, or a mapping that may have a `base`.

        place: of the entry; its last part is the key
        """
        key = str(place[-1])
        value, kind = holder.get(key), _NAMED.get(key, key)
        if isinstance(value, str):
            entry = read(kind, value, self.library)
            inner = Names(self.library.seen_from(entry.path), entry.lines)
        elif isinstance(value, dict):
            entry = based(kind, within(value, self.library, self._below(place)), self.library)
            inner = Names(self.library, entry.lines)
        else:
            return
        holder[key] = inner.completed(kind, entry)
        if isinstance(value, str):
            self._replaced(place, Mark(str(entry.path)), entry.lines)
        elif "base" in value:
            self._replaced(place, self.lines.get(place), entry.lines)

    def completed(self, kind: str, entry: Entry) -> dict[str, Any]:
        """A profile's mapping with what it names in place; where a chip's parts stand stays."""
        if kind == "chip":
            return assembled(entry.mapping, str(entry.path), self.library)
        if kind == "workload":
            return resolve_workload(entry.mapping, self.library, (entry.path.resolve(),))
        pools = entry.mapping.get("pools") if kind == "deployment" else None
        for name, pool in pools.items() if isinstance(pools, dict) else ():
            if isinstance(pool, dict):
                for key in ("chip", "model", "cpu"):
                    self.inline(pool, ("pools", name, key))
        return entry.mapping

    def _below(self, place: Place) -> Lines:
        """Where the values below a place stand, by their places in it."""
        cut = len(place)
        return {
            at[cut:]: mark._replace(above=mark.above - cut)
            for at, mark in self.lines.items()
            if at[:cut] == place and len(at) > cut
        }

    def _replaced(self, place: Place, whole: Mark | None, lines: Lines) -> None:
        """What is below a place stands elsewhere now."""
        cut = len(place)
        for at in [at for at in self.lines if at[:cut] == place]:
            del self.lines[at]
        if whole is not None:
            self.lines[place] = whole._replace(above=cut if whole.line is None else whole.above)
        for at, mark in lines.items():
            self.lines[(*place, *at)] = mark._replace(above=mark.above + cut)

    def changed(self, dotted: str) -> None:
        """A setting stands in no file."""
        self.lines[tuple(int(key) if key.isdecimal() else key for key in dotted.split("."))] = SET
        keys = [key for key in dotted.split(".") if not key.isdigit()]
        for at in list(self.lines):
            if [key for key in at if not isinstance(key, int)][: len(keys)] == keys:
                self.lines[at] = SET


def _trace_beside(workload: Any, beside: Path) -> None:
    """A trace path in a scenario file is seen from that file."""
    trace = workload.get("trace") if isinstance(workload, dict) else None
    if isinstance(trace, dict) and isinstance(trace.get("path"), str):
        candidate = beside / trace["path"]
        if candidate.is_file():
            trace["path"] = str(candidate)


def _set(node: Any, keys: list[str], value: Any, dotted: str, names: Names) -> None:
    """Set one dotted path; in a list without an index it is set in every item."""
    key = keys[0]
    if isinstance(node, list):
        if key.isdigit():
            if int(key) >= len(node):
                raise ProfileError.one("--set", dotted, value, f"there are only {len(node)} items")
            if len(keys) == 1:
                node[int(key)] = value
                return
            node, keys = node[int(key)], keys[1:]
            _set(node, keys, value, dotted, names)
            return
        for item in node:
            _set(item, keys, value, dotted, names)
        return
    if not isinstance(node, dict):
        raise ProfileError.one("--set", dotted, value, f"{key!r} leads into a plain value")
    if len(keys) == 1:
        # Another arrival process or distribution has other keys: it replaces the whole.
        another = key == "arrivals" or (isinstance(value, dict) and "dist" in value)
        if isinstance(value, dict) and isinstance(node.get(key), dict) and not another:
            node[key] = {**node[key], **value}
        else:
            node[key] = value
        return
    if dotted.split(".")[: -len(keys)] == ["deployment"] and key == "pools":
        pools = node.get("pools")
        if isinstance(pools, dict) and len(keys) > 2 and keys[1] not in pools:
            why = f"{node.get('name')} has no pool {keys[1]!r}, only {', '.join(pools)}"
            hint = "gcsim compare --vary changes what has such a setting"
            raise ProfileError.one("--set", dotted, value, why, hint)
    if key in _NAMED or key in ("chip", "cpu"):
        names.inline(node, tuple(dotted.split(".")[: 1 - len(keys)]))
    child = node.setdefault(key, {})
    # A number with its origin, set to a bare value, loses the origin with the value.
    _set(child, keys[1:], value, dotted, names)
