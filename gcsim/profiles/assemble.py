"""A chip from its parts: data sheet, fitted factors, serving stacks, and what a sibling says.

    factors: h100-sxm         efficiencies and fixed times of a factors file, by name or path
    stacks: [vllm, sglang]    serving stacks by name or path; or NAME: mapping, all inline

Any number may be `{derived: {from: sn40l, times: 0.5, low: 0.25, high: 1}, source: why}`: the same
number of another chip, times a factor, with its low and high times theirs. A chip in one file has
nothing of this and stays as it is. What comes out names no other file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from gcsim.errors import ProfileError, nearest
from gcsim.profiles.base import Kind, PlainNumber, Spec
from gcsim.profiles.inherit import read
from gcsim.profiles.library import Library
from gcsim.profiles.load import Lines, validate
from gcsim.profiles.stack import ServingStack, on_any_chip

Raw = dict[str, Any]


class Found(Spec):
    """Values of one origin: kind and source are said once for all of them."""

    kind: Kind
    source: str
    values: dict[str, dict[str, Any]]


class Factors(Spec):
    """The factors of one chip as `make calibrate` writes them: of the chip, and of its stacks."""

    chip: str
    efficiency: tuple[Found, ...] = ()
    stacks: dict[str, tuple[Found, ...]] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Derived(Spec):
    """The same number of another chip: its value times `times`, its ends times `low` and `high`."""

    from_: str = Field(alias="from")
    times: PlainNumber = 1.0
    low: PlainNumber = 1.0
    high: PlainNumber = 1.0


def read_chip(
    name: str, library: Library | None = None, below: tuple[str, ...] = ()
) -> tuple[Raw, Lines, str]:
    """The whole mapping of a chip by name, alias or path, where its values stand, and its file.

    below: files of chips that are derived from it
    """
    mapping, lines, path = read("chip", name, library)
    if str(path) in below:
        why = f"is derived from itself: {', '.join(below)}"
        raise ProfileError.one(str(path), "derived", None, why)
    seen = (library or Library()).seen_from(path)
    return assembled(mapping, str(path), seen, below), lines, str(path)


def assembled(
    mapping: Raw, file: str, library: Library | None = None, below: tuple[str, ...] = ()
) -> Raw:
    """A chip's mapping with the parts that it names put in their places.

    library: where names are looked up, as seen from the file
    """
    library = library or Library()
    factors = _factors(mapping.get("factors"), file, library)
    whole = {key: value for key, value in mapping.items() if key != "factors"}
    own = mapping.get("efficiency", {})
    if isinstance(own, dict) and (own or factors.efficiency):
        whole["efficiency"] = {**_inline(factors.efficiency), **own}
    if "stacks" in mapping:
        whole["stacks"] = _stacks(mapping["stacks"], factors, file, library)
    if factors.notes and isinstance(mapping.get("notes", []), list):
        own_notes = mapping.get("notes", [])
        whole["notes"] = [*own_notes, *(n for n in factors.notes if n not in own_notes)]
    found: Raw = _derived(whole, (), Siblings(file, library, below))
    return found


def _factors(named: Any, file: str, library: Library) -> Factors:
    if named is None:
        return Factors(chip="")
    path, mapping, lines = _read("factors", named, file, library)
    return validate(Factors, mapping, str(path), lines)


def _read(kind: str, name: Any, file: str, library: Library) -> tuple[Path, Raw, Lines]:
    """A file that a chip's file names under a key."""
    field = "stacks" if kind == "stack" else kind
    if not isinstance(name, str):
        raise ProfileError.one(file, field, name, "must be a name or a file")
    try:
        library.find(kind, name)
    except ProfileError as error:
        hint = nearest(name, library.profiles(kind))
        raise ProfileError.one(file, field, name, f"no {kind} of this name", hint) from error
    mapping, lines, path = read(kind, name, library)
    return path, mapping, lines


def _inline(groups: Sequence[Found]) -> Raw:
    """Each value with the origin of its group."""
    return {
        factor: {**number, "kind": group.kind, "source": group.source}
        for group in groups
        for factor, number in group.values.items()
    }


def _stacks(named: Any, factors: Factors, file: str, library: Library) -> Any:
    """Name -> fixed times, from names (a list, or NAME: name) and from what is inline already.

    A mapping with a `base` is the stack of that name on this chip, with changes.
    """
    if isinstance(named, list):
        named = {name if isinstance(name, str) else str(name): name for name in named}
    if not isinstance(named, dict):
        return named
    found: Raw = {}
    for key, own in named.items():
        changes = own if isinstance(own, dict) else {"base": own}
        if "base" not in changes:
            found[key] = own
            continue
        based_on = changes["base"]
        path, raw, lines = _read("stack", based_on, file, library)
        stack = validate(ServingStack, raw, str(path), lines)
        name = stack.name if key == based_on else key
        fitted = _inline(factors.stacks.get(name, ()))
        whole = {**on_any_chip(stack, raw), **fitted, **changes}
        found[name] = {factor: value for factor, value in whole.items() if factor != "base"}
    return found


@dataclass
class Siblings:
    """The chips that a file derives numbers from, each read once."""

    file: str
    library: Library
    below: tuple[str, ...]
    read: dict[str, Raw] = field(default_factory=dict)

    def number(self, derived: Derived, place: tuple[str | int, ...]) -> Raw:
        """The number of a sibling at a place."""
        if derived.from_ not in self.read:
            chain = (*self.below, self.file)
            self.read[derived.from_] = read_chip(derived.from_, self.library, chain)[0]
        node: Any = self.read[derived.from_]
        for key in place:
            known = isinstance(node, dict) and key in node
            known |= isinstance(node, list) and isinstance(key, int) and key < len(node)
            node = node[key] if known else None
        if not isinstance(node, dict) or "value" not in node:
            why = f"{derived.from_} has no such number"
            raise ProfileError.one(self.file, ".".join(map(str, place)), None, why)
        return node


def _derived(node: Any, place: tuple[str | int, ...], siblings: Siblings) -> Any:
    """A mapping in which every number that is derived is written out."""
    if isinstance(node, list):
        return [_derived(item, (*place, k), siblings) for k, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    if "derived" not in node:
        return {key: _derived(item, (*place, key), siblings) for key, item in node.items()}
    rule = validate(Derived, node["derived"], f"{siblings.file}: {'.'.join(map(str, place))}")
    theirs = siblings.number(rule, place)
    of = f"{rule.from_}'s {theirs['value']} ({theirs.get('kind', 'given')})"
    source = f"{of if rule.times == 1 else f'{rule.times:g} x {of}'}; {node.get('source', '')}"
    return {
        **{key: value for key, value in node.items() if key != "derived"},
        "value": _times(theirs["value"], rule.times),
        "low": _times(theirs.get("low", theirs["value"]), rule.low),
        "high": _times(theirs.get("high", theirs["value"]), rule.high),
        "kind": "assumed",
        "source": source.rstrip("; "),
    }


def _times(quantity: Any, factor: float) -> str:
    """A quantity as a text, times a factor, in its own unit.

    >>> _times("112 us", 0.5), _times(0.498, 1.0)
    ('56 us', '0.498')
    """
    number, _, unit = str(quantity).partition(" ")
    return f"{float(number) * factor:.6g} {unit}".rstrip()
