"""A profile on the base of another: `base: h200-sxm`, and only what differs.

Mappings are merged key by key. Everything else replaces what the base has: plain values, lists, a
number with its origin, a mapping that is another thing (another `process`, `dist` or `kind`, a
`name` of its own). A mapping over a list changes items by their place (`memory: {1: {...}}`), one
over a name is what that name stands for, with changes (`deployment: {pools: {serve: {tp: 4}}}`).
A file inherits neither `name` nor `aliases` nor `description`: they say what it is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gcsim.errors import ProfileError
from gcsim.profiles.library import FOLDERS, Library, is_path
from gcsim.profiles.load import Lines, Mark, Place, mark_of, read_mapping

NOT_INHERITED = ("name", "aliases", "description")
DEEPEST = 20  # files on top of each other
# Keys that name another profile, or a file.
NAMING = ("base", "model", "deployment", "workload", "chip", "cpu", "factors", "from", "path")
PROFILES = ("model", "deployment", "workload", "chip", "cpu")
# What only a profile of a kind has.
EVIDENT = {
    "chip": ("compute",),
    "cpu": ("cores",),
    "stack": ("priors",),
    "deployment": ("pools",),
    "model": ("layers",),
    "workload": ("agent", "trace", "mix"),
    "scenario": ("arrivals",),
    "site": ("basis",),
}


class Entry(NamedTuple):
    """A profile as its files have it: its mapping, where each value stands, its own file."""

    mapping: dict[str, Any]
    lines: Lines
    path: Path


def read(kind: str, name: str, library: Library | None = None) -> Entry:
    """A profile by name, alias or path, with all that it inherits.

    Errors: `ProfileError` for a base that is not there, of another kind, or above itself.

    >>> read("chip", "h200-sxm").mapping["vendor"]
    'NVIDIA'
    """
    library = library or Library()
    return _read(kind, library.find(kind, name), library, ())


def _read(kind: str, path: Path, library: Library, below: tuple[Path, ...]) -> Entry:
    """As `read`, from a file; below: the files that are based on it."""
    if kind == "model" and path.suffix == ".json":
        from gcsim.profiles.huggingface import from_config

        return Entry(from_config(path), {}, path)
    mapping, lines = read_mapping(path)
    return based(kind, Entry(mapping, lines, path), library.seen_from(path), below)


def based(kind: str, own: Entry, library: Library, below: tuple[Path, ...] = ()) -> Entry:
    """A profile with what its `base` has, if it names one.

    library: as seen from its file. In a mapping within a file (its place is in no file of its own)
    the name is inherited too.
    """
    if "base" not in own.mapping:
        return own
    named, mark = own.mapping["base"], own.lines.get(("base",), Mark(str(own.path)))

    def wrong(why: str, hint: str = "") -> ProfileError:
        return ProfileError.one(mark.file, "base", named, why, hint, line=mark.line)

    if not isinstance(named, str):
        raise wrong("must be a name or a file")
    chain = (*below, own.path.resolve())
    if len(chain) > DEEPEST:
        raise wrong(f"is more than {DEEPEST} profiles deep")
    try:
        path = library.find(kind, named, (own.path, own.path.resolve()))
    except ProfileError as error:
        raise wrong(*_missing(kind, named, library, error)) from error
    if path.resolve() in chain:
        names = " on ".join(p.stem for p in (*chain[chain.index(path.resolve()) :], path))
        raise wrong(f"leads back to itself: {names}")
    base = _read(kind, path, library, chain)
    other = next((k for k, keys in EVIDENT.items() if any(key in base.mapping for key in keys)), "")
    if other not in ("", kind):
        raise wrong(f"is a {other}, not a {kind}")
    return merged(_given(base, own), own)


def _missing(kind: str, named: str, library: Library, error: ProfileError) -> tuple[str, str]:
    """Why a base is not found, and what to do."""
    others = [k for k in FOLDERS if k != kind and named in library.profiles(k)]
    if others:
        return f"is a {others[0]}, not a {kind}", ""
    if not is_path(named) and named in library.profiles(kind):
        return "is its own base", "name another"
    return error.problems[0].why, error.problems[0].hint


def _given(base: Entry, own: Entry) -> Entry:
    """What a base gives to a profile: paths in it as seen from its own folder."""
    mapping, lines = base.mapping, base.lines
    if _is_file(own):
        mapping = {key: value for key, value in mapping.items() if key not in NOT_INHERITED}
    folder = base.path.parent
    if folder.resolve() != own.path.parent.resolve():
        mapping = _anchored(mapping, folder)
    return Entry(mapping, lines, base.path)


def within(mapping: dict[str, Any], library: Library, lines: Lines | None = None) -> Entry:
    """A mapping that stands inside another file: nothing names it, and paths are seen from there.

    lines: of its values, as `Mark.above` has them
    """
    return Entry(mapping, lines or {}, (library.beside or Path()) / "inline")


def _is_file(own: Entry) -> bool:
    """Whether a profile is a whole file, not a mapping inside one."""
    return all(mark.above == 0 for mark in own.lines.values()) and bool(own.lines)


def _anchored(node: Any, folder: Path, key: str = "") -> Any:
    """A mapping with every relative path that leads to something from a folder written out."""
    if isinstance(node, dict):
        within = "stacks" if key == "stacks" else ""
        return {k: _anchored(item, folder, within or str(k)) for k, item in node.items()}
    if isinstance(node, list):
        return [_anchored(item, folder, key) for item in node]
    if isinstance(node, str) and key in (*NAMING, "stacks") and (is_path(node) or key == "path"):
        try:
            return str(folder / node) if (folder / node).exists() else node
        except (OSError, ValueError):  # too long, a NUL byte
            return node
    return node


def merged(base: Entry, own: Entry) -> Entry:
    """A profile over its base.

    >>> over = Entry({"name": "mine", "power": {"tdp": "800 W"}}, {}, Path("mine.yaml"))
    >>> found = merged(read("chip", "h200-sxm"), over).mapping
    >>> found["power"]["tdp"], found["power"]["node"]["value"]
    ('800 W', '10.2 kW')
    """
    lines = {
        place: mark for place, mark in base.lines.items() if place and place[0] not in NOT_INHERITED
    }
    changes = {key: value for key, value in own.mapping.items() if key != "base"}
    mapping = _Merge(own.lines, lines, str(own.path)).over(base.mapping, changes, (), ())
    return Entry(mapping, lines, own.path)


class _Merge(NamedTuple):
    """One merge. own: where the changes stand; lines: where everything stands, as it becomes."""

    own: Lines
    lines: Lines
    file: str

    def over(self, base: Any, own: Any, at: Place, own_at: Place) -> Any:
        """`own` over `base`; at: the place in the whole, own_at: in the file of the changes."""
        if isinstance(base, list) and isinstance(own, dict) and own and _are_places(own):
            return self._items(base, own, at, own_at)
        if isinstance(base, list) and isinstance(own, dict) and at[-1:] == ("stacks",):
            base = {name: name for name in base if isinstance(name, str)}
        named = at[-1:] and (at[-1] in PROFILES or at[-2:-1] == ("stacks",))
        if isinstance(base, str) and isinstance(own, dict) and named:
            base = {"base": base}
        if at and (not isinstance(base, dict) or not isinstance(own, dict) or _is_whole(base, own)):
            self._moved(at, own_at)
            return own
        found = {key: own[key] for key in NOT_INHERITED if not at and key in own} | base
        for key, value in own.items():
            where = (*at, key), (*own_at, key)
            if key in base:
                found[key] = self.over(base[key], value, *where)
            else:
                self._moved(*where)
                found[key] = value
        return found

    def _items(self, base: list[Any], own: dict[str, Any], at: Place, own_at: Place) -> list[Any]:
        """Items of a list, changed by their place."""
        found = list(base)
        for key, value in own.items():
            place = (*own_at, key)
            if int(key) >= len(base):
                mark = mark_of(place, self.own) or Mark(self.file)
                why, field = f"there are only {len(base)} items", ".".join(map(str, place))
                raise ProfileError.one(mark.file, field, int(key), why, line=mark.line)
            found[int(key)] = self.over(base[int(key)], value, (*at, int(key)), place)
        return found

    def _moved(self, at: Place, own_at: Place) -> None:
        """What stands at a place is now the file's own."""
        for place in [place for place in self.lines if place[: len(at)] == at]:
            del self.lines[place]
        for place, mark in self.own.items():
            if place[: len(own_at)] == own_at:
                self.lines[(*at, *place[len(own_at) :])] = mark


def _are_places(own: Mapping[str, Any]) -> bool:
    return all(key.isdecimal() and key.isascii() and len(key) < 5 for key in own)


def _is_whole(base: dict[str, Any], own: dict[str, Any]) -> bool:
    """Whether a mapping is no change of the base's but another thing."""
    if any(key in each for key in ("value", "dist", "derived") for each in (base, own)):
        return True
    if "name" in own or "base" in own:
        return True
    return any(key in own and key in base and own[key] != base[key] for key in ("process", "kind"))
