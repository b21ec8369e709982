"""Pages that are written from the code: gcsim.profiles.reference, gcsim.cli.reference."""

import os
from pathlib import Path

import pytest

from gcsim.cli.app import app
from gcsim.cli.reference import commands
from gcsim.profiles.load import models_of
from gcsim.profiles.reference import FILES, reference
from gcsim.profiles.template import descriptions

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("name", "made"), [("reference.md", reference), ("commands.md", commands)])
def test_a_page_is_what_the_code_says(name: str, made: object) -> None:
    """`make examples` writes it."""
    assert callable(made)
    text, path = made(), DOCS / name
    if os.environ.get("GCSIM_REWRITE_EXAMPLES"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_every_field_of_every_file_is_there_with_what_it_means() -> None:
    text = reference()
    seen: set[type] = set()
    waiting = [spec for spec, _, _ in FILES.values()]
    while waiting:
        spec = waiting.pop()
        if spec in seen:
            continue
        seen.add(spec)
        known = descriptions(spec)
        for name, info in spec.model_fields.items():
            if spec.__module__.endswith(("base", "distribution")):
                continue
            assert known.get(name), f"{spec.__name__}.{name} says nowhere what it means"
            assert f"| `{info.alias or name}` | {known[name].split('|')[0]}" in text
            waiting += models_of(info.annotation)
    assert "| `ttft` | Time to the first token. | [s] |" in text
    assert "| `bandwidth` |" in text
    assert "quantity [B/s]" in text
    assert "| `lognormal` |" in text


def test_every_command_is_there() -> None:
    text = commands()
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(names) > 15
    for name in names:
        assert f"## gcsim {name.strip('_')}\n" in text
    assert "## gcsim trace " in text
    assert "| `--out FILE.svg` |" in text
