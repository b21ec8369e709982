"""Names to profiles: a scenario file, with settings applied, as one mapping that needs no other.

The resolved mapping is written beside the results, reproduces the run by itself, and is what the
content hashes of a baseline are made of.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gcsim.errors import Problem, ProfileError
from gcsim.profiles import library
from gcsim.profiles.assemble import assembled, read_chip
from gcsim.profiles.base import Spec
from gcsim.profiles.chip import Chip
from gcsim.profiles.load import Lines, read_mapping, validate
from gcsim.profiles.model import Model
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.stack import ServingStack
from gcsim.profiles.workload import Workload, read_workload, resolve_workload

# Where a scenario may name a profile instead of giving its mapping.
_NAMED = {"model": "model", "deployment": "deployment", "workload": "workload"}
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Resolved:
    """A scenario and the mapping it was made of (all names replaced by what they name)."""

    scenario: Scenario
    mapping: dict[str, Any]

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
            spec = self.scenario.deployment.pools[name]
            for kind, named in (("chip", spec.chip), ("model", spec.model)):
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
    name: "str | Path | Resolved", settings: Settings | None = None, seed: int | None = None
) -> Resolved:
    """Load a scenario by name or path, apply settings (dotted path -> value), check everything.

    One that is resolved already gets further settings. Errors: `ProfileError` with every problem
    of the first file that has any.
    """
    if isinstance(name, Resolved):
        more = dict(settings or {}) | ({} if seed is None else {"run.seed": seed})
        return with_settings(name, more) if more else name
    path = library.find("scenario", str(name))
    mapping, lines = read_mapping(path)
    beside = path.parent
    _trace_beside(mapping.get("workload"), beside)
    for key in _NAMED:
        if key not in (settings or {}):
            _inline(mapping, key, beside)
    for dotted, value in (settings or {}).items():
        _set(mapping, dotted.split("."), value, dotted, beside)
    if seed is not None:
        _set(mapping, ["run", "seed"], seed, "run.seed", beside)
    return resolve_mapping(mapping, str(path), beside, lines)


def with_settings(resolved: Resolved, settings: Settings) -> Resolved:
    """A resolved scenario with further settings; the given one stays as it is.

    >>> base = resolve("coding-agents")
    >>> with_settings(base, {"run.seed": 7}).scenario.run.seed, base.scenario.run.seed
    (7, 1)
    """
    mapping = copy.deepcopy(resolved.mapping)
    for dotted, value in settings.items():
        _set(mapping, dotted.split("."), copy.deepcopy(value), dotted, None)
    return resolve_mapping(mapping, resolved.scenario.name)


def resolve_mapping(
    mapping: dict[str, Any], file: str, beside: Path | None = None, lines: Lines | None = None
) -> Resolved:
    """As `resolve`, from a mapping (which is completed in place)."""
    for key in _NAMED:
        _inline(mapping, key, beside)
    deployment = mapping.get("deployment")
    pools = deployment.get("pools") if isinstance(deployment, dict) else None
    for pool in pools.values() if isinstance(pools, dict) else ():
        if isinstance(pool, dict):
            _inline(pool, "chip", beside)
            _inline(pool, "model", beside)
            if isinstance(pool.get("chip"), dict):
                validate(Chip, pool["chip"], str(pool["chip"].get("name", "chip")))
    for key, cls in (("model", Model), ("workload", Workload)):
        if isinstance(mapping.get(key), dict):
            validate(cls, mapping[key], f"{key} {mapping[key].get('name', '')}".strip())
    scenario = validate(Scenario, mapping, file, lines)
    if found := [Problem(file, *one) for one in scenario.contradictions()]:
        raise ProfileError(found)
    return Resolved(scenario, mapping)


def load_chip(name: str, beside: Path | None = None) -> Chip:
    """A chip by name, alias or path (seen from `beside`, a folder).

    >>> load_chip("sn40l").vendor
    'SambaNova'
    """
    data, lines, file = read_chip(name, beside)
    return validate(Chip, data, file, lines)


def load_stack(name: str, beside: Path | None = None) -> ServingStack:
    """A serving stack by name, alias or path.

    >>> load_stack("sglang").batching.policy
    'prefill_first'
    """
    path = library.find("stack", name, beside)
    mapping, lines = read_mapping(path)
    return validate(ServingStack, mapping, str(path), lines)


def load_model(name: str) -> Model:
    """A model by name, alias or path (a Hugging Face `config.json` too).

    >>> load_model("gpt-oss-120b").layers
    36
    """
    mapping, lines, file = _read("model", name, None)
    return validate(Model, mapping, file, lines)


def _read(kind: str, name: str, beside: Path | None) -> tuple[dict[str, Any], Lines, str]:
    if kind == "workload":
        return read_workload(name, beside)
    if kind == "chip":
        return read_chip(name, beside)
    path = library.find(kind, name, beside)
    if kind == "model" and path.suffix == ".json":
        from gcsim.profiles.huggingface import from_config

        return from_config(path), {}, str(path)
    mapping, lines = read_mapping(path)
    return mapping, lines, str(path)


def _inline(holder: dict[str, Any], key: str, beside: Path | None) -> None:
    """Put the mapping of a named profile in the place of its name, and check it by itself."""
    value = holder.get(key)
    kind = _NAMED.get(key, key)
    if isinstance(value, str):
        mapping, lines, file = _read(kind, value, beside)
        specs: dict[str, type[Spec]] = {"chip": Chip, "model": Model, "workload": Workload}
        cls = specs.get(kind)
        if cls is not None:
            validate(cls, mapping, file, lines)
        holder[key] = mapping
    elif kind == "workload" and isinstance(value, dict):
        holder[key] = resolve_workload(value, beside)
    elif kind == "chip" and isinstance(value, dict):
        holder[key] = assembled(value, f"chip {value.get('name', '')}".strip(), beside)


def _trace_beside(workload: Any, beside: Path) -> None:
    """A trace path in a scenario file is seen from that file."""
    trace = workload.get("trace") if isinstance(workload, dict) else None
    if isinstance(trace, dict) and isinstance(trace.get("path"), str):
        candidate = beside / trace["path"]
        if candidate.is_file():
            trace["path"] = str(candidate)


def _set(node: Any, keys: list[str], value: Any, dotted: str, beside: Path | None) -> None:
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
            _set(node, keys, value, dotted, beside)
            return
        for item in node:
            _set(item, keys, value, dotted, beside)
        return
    if not isinstance(node, dict):
        raise ProfileError.one("--set", dotted, value, f"{key!r} leads into a plain value")
    if len(keys) == 1:
        # Another arrival process has other keys: it replaces the whole.
        if isinstance(value, dict) and isinstance(node.get(key), dict) and key != "arrivals":
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
    if key in _NAMED or key == "chip":
        _inline(node, key, beside)
    child = node.setdefault(key, {})
    # A number with its origin, set to a bare value, loses the origin with the value.
    _set(child, keys[1:], value, dotted, beside)
