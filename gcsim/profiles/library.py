"""Where profiles live: a project's own, then the shipped ones, by name or alias; files by path."""

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from gcsim.errors import ProfileError, nearest

FOLDERS = {
    "chip": "hardware_profiles/chips",
    "stack": "hardware_profiles/stacks",
    "factors": "hardware_profiles/factors",
    "cpu": "hardware_profiles/cpus",
    "deployment": "hardware_profiles/deployments",
    "site": "hardware_profiles/sites",
    "model": "model_profiles",
    "workload": "workloads",
    "scenario": "scenarios",
}
VARIABLE = "GCSIM_LIBRARY"


@cache
def root() -> Path:
    """The folder that holds the shipped folders: inside an installed wheel, or the checkout."""
    package = Path(__file__).resolve().parent.parent
    return package / "data" if (package / "data").is_dir() else package.parent


def shipped(kind: str) -> dict[str, Path]:
    """Name -> file of every shipped profile of a kind (a key of `FOLDERS`), sorted by name.

    >>> "sn40l" in shipped("chip")
    True
    """
    return _yaml_files(root() / FOLDERS[kind])


def _yaml_files(folder: Path) -> dict[str, Path]:
    found = {path.stem: path for path in folder.glob("*.yaml") if path.is_file()}
    return {name: found[name] for name in sorted(found)}


@dataclass(frozen=True, slots=True)
class Library:
    """Where names of profiles are looked up: the user's own folder, then the shipped ones.

    own: a project folder with sub-folders as in `FOLDERS`; beside: the folder that paths in a file
    are seen from, that of the file itself.

    >>> Library().find("chip", "sn40l").stem
    'sn40l'
    """

    own: Path | None = None
    beside: Path | None = None

    def seen_from(self, file: Path) -> "Library":
        """The same for what a file names: paths from its folder, names from its own project first.

        A file in a project's folder (`FOLDERS`) belongs to that project, also where nobody says so.
        """
        return replace(self, own=self.own or _project(file), beside=file.parent)

    def profiles(self, kind: str) -> dict[str, Path]:
        """Name -> file of every profile of a kind; the user's own stand in for shipped ones."""
        return {**shipped(kind), **self.owned(kind)}

    def owned(self, kind: str) -> dict[str, Path]:
        """Name -> file of the user's own profiles of a kind."""
        return _yaml_files(self.own / FOLDERS[kind]) if self.own else {}

    def find(self, kind: str, name: str, above: Collection[Path] = ()) -> Path:
        """The file of a profile that is named by name, alias or path (seen from `beside`).

        above: files that are passed over, so that a profile may be based on one of its own name
        Errors: `ProfileError` when there is no such file or name, with the nearest known name.
        """
        looks_like_a_path = is_path(name)
        if looks_like_a_path:  # or an alias such as openai/gpt-oss-120b
            with suppress(OSError, RuntimeError):  # a name too long, a home that nobody has
                path = Path(name).expanduser()
                for base in (self.beside, None):
                    candidate = base / path if base else path
                    if candidate.is_dir():
                        candidate /= "config.json"
                    if candidate.is_file():
                        return candidate
        for known in (self.owned(kind), shipped(kind)):
            found = _named(name, {k: path for k, path in known.items() if path not in above})
            if found is not None:
                return found
        if looks_like_a_path:
            raise ProfileError.one(name, "", None, "no such file")
        hint = nearest(name, self.profiles(kind)) + f" (see: gcsim list {kind}s)"
        raise ProfileError.one(f"{kind}", "", name, f"no {kind} of this name", hint)


def opened(folder: str | Path | None = None) -> Library:
    """The library that somebody asks for: a project folder, or that in `GCSIM_LIBRARY`, or none.

    Errors: `ProfileError` when it is no folder, or has no sub-folder of profiles.
    """
    own, option = asked_for(folder), "--library" if folder else VARIABLE
    if own is None:
        return Library()
    if not own.is_dir():
        hint = "make one with: gcsim new chip NAME --library DIR"
        raise ProfileError.one(option, "", str(folder or own), "is no folder", hint)
    if not any((own / sub).is_dir() for sub in FOLDERS.values()):
        why = "has no folder of profiles"
        hint = f"profiles stand in {', '.join(FOLDERS.values())} of it"
        raise ProfileError.one(option, "", str(folder or own), why, hint)
    return Library(own)


def asked_for(folder: str | Path | None = None) -> Path | None:
    """The project folder that is given, or else that in `GCSIM_LIBRARY`; it need not be there."""
    named = folder or os.environ.get(VARIABLE)
    if not named:
        return None
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError as error:  # ~nobody
        raise ProfileError.one("--library", "", str(named), "is no folder") from error


def is_path(name: str) -> bool:
    """Whether a name looks like that of a file: profiles are named without a folder or suffix.

    >>> is_path("mine.yaml"), is_path("h100-sxm")
    (True, False)
    """
    return "/" in name or name.endswith((".yaml", ".yml", ".json"))


def _project(file: Path) -> Path | None:
    """The project folder that a file stands in, but not the shipped one."""
    folder = file.absolute().parent
    for sub in map(Path, FOLDERS.values()):
        if len(folder.parts) > len(sub.parts) and folder.parts[-len(sub.parts) :] == sub.parts:
            found = folder.parents[len(sub.parts) - 1]
            return None if found == root() else found
    return None


def _named(name: str, known: Mapping[str, Path]) -> Path | None:
    """The one of some files that has a name, or else an alias."""
    if name in known:
        return known[name]
    wanted = plain(name)
    for stem, path in known.items():
        if wanted in (plain(stem), *map(plain, aliases(path))):
            return path
    return None


def aliases(path: Path) -> tuple[str, ...]:
    """The other names that a profile lists under `aliases`; none where it cannot be read."""
    if path.is_relative_to(root()):
        return _shipped_aliases(path)
    with suppress(OSError, ValueError, yaml.YAMLError):  # told when it is loaded
        return _aliases(path.read_text(encoding="utf-8"))
    return ()


@cache
def _shipped_aliases(path: Path) -> tuple[str, ...]:
    return _aliases(path.read_text(encoding="utf-8"))


def _aliases(text: str) -> tuple[str, ...]:
    if "\naliases:" not in text:
        return ()
    block = text.split("\naliases:", 1)[1]
    end = next((i for i, line in enumerate(block.split("\n")) if i and line[:1].strip("#- ")), None)
    found = yaml.safe_load("\n".join(block.split("\n")[:end]))
    named = found if isinstance(found, list) else ()
    return tuple(str(name) for name in named if not isinstance(name, dict | list))


def plain(name: str) -> str:
    """A name as names are compared: small letters, digits and dots.

    >>> plain("NVIDIA H100-SXM")
    'nvidiah100sxm'
    """
    return "".join(c for c in name.lower() if c.isalnum() or c == ".")
