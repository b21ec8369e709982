"""The list of breaks (`tests/deep`) is about the code as it is."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "deep"))

from breaks import Break, read  # noqa: E402


@pytest.mark.parametrize("broken", read(), ids=lambda b: b.before.strip()[:50])
def test_a_break_is_of_code_that_is_there(broken: Break) -> None:
    text = (ROOT / broken.file).read_text(encoding="utf-8")
    assert text.count(broken.before) == 1
    assert broken.after != broken.before
    assert all((ROOT / test).exists() for test in broken.tests.split())
