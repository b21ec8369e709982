"""Where profiles live: shipped ones by name or alias, the user's own by path."""

from contextlib import suppress
from functools import cache
from pathlib import Path

import yaml

from gcsim.errors import ProfileError, nearest

FOLDERS = {
    "chip": "hardware_profiles/chips",
    "stack": "hardware_profiles/stacks",
    "factors": "hardware_profiles/factors",
    "deployment": "hardware_profiles/deployments",
    "site": "hardware_profiles/sites",
    "model": "model_profiles",
    "workload": "workloads",
    "scenario": "scenarios",
}


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
    return {path.stem: path for path in sorted((root() / FOLDERS[kind]).glob("*.yaml"))}


def find(kind: str, name: str, beside: Path | None = None) -> Path:
    """The file of a profile that is named by name, alias or path (seen from `beside`, a folder).

    Errors: `ProfileError` when there is no such file or name, with the nearest known name.
    """
    looks_like_a_path = "/" in name or name.endswith((".yaml", ".yml", ".json"))
    if looks_like_a_path:  # or an alias such as openai/gpt-oss-120b
        with suppress(OSError, RuntimeError):  # a name too long, a home that nobody has
            path = Path(name).expanduser()
            for base in (beside, None):
                candidate = base / path if base else path
                if candidate.is_dir():
                    candidate /= "config.json"
                if candidate.is_file():
                    return candidate
    known = shipped(kind)
    if name in known:
        return known[name]
    wanted = plain(name)
    for stem, path in known.items():
        if wanted in (plain(stem), *map(plain, aliases(path))):
            return path
    if looks_like_a_path:
        raise ProfileError.one(name, "", None, "no such file")
    hint = nearest(name, known) + f" (see: gcsim list {kind}s)"
    raise ProfileError.one(f"{kind}", "", name, f"no {kind} of this name", hint)


@cache
def aliases(path: Path) -> tuple[str, ...]:
    """The other names that a profile lists under `aliases`."""
    text = path.read_text(encoding="utf-8")
    if "\naliases:" not in text:
        return ()
    block = text.split("\naliases:", 1)[1]
    end = next((i for i, line in enumerate(block.split("\n")) if i and line[:1].strip("#- ")), None)
    return tuple(map(str, yaml.safe_load("\n".join(block.split("\n")[:end])) or ()))


def plain(name: str) -> str:
    """A name as names are compared: small letters, digits and dots.

    >>> plain("NVIDIA H100-SXM")
    'nvidiah100sxm'
    """
    return "".join(c for c in name.lower() if c.isalnum() or c == ".")
