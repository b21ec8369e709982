"""The site of docs/: mkdocs.yml, `make docs`."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    values = nav.values() if isinstance(nav, dict) else nav
    return [page for value in values for page in pages(value)]


def test_every_page_is_in_the_navigation_once() -> None:
    named = pages(SITE["nav"])
    assert sorted(named) == sorted(path.name for path in DOCS.glob("*.md"))
    assert SITE["strict"] is True  # a warning fails the build


def test_what_the_python_page_names_exists() -> None:
    for name in re.findall(r"^::: (\S+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.M):
        module, _, last = name.rpartition(".")
        whole = Path(*name.split(".")).with_suffix(".py")
        package = Path(*name.split(".")) / "__init__.py"
        if (ROOT / whole).exists() or (ROOT / package).exists():
            continue
        text = (ROOT / Path(*module.split(".")).with_suffix(".py")).read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {last}\b", text, re.M), name


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs mkdocs: make docs")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    made = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "reference.html").is_file()
