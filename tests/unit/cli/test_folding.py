"""No key and no digit is lost in a narrow terminal: gcsim.cli.folding."""

from collections import Counter
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

import gcsim
from gcsim.cli.compare import comparison_table, series_table
from gcsim.cli.folding import FoldingTable
from gcsim.cli.library import listed, listed_table
from gcsim.cli.run_text import estimate_table, plain_table, run_table
from gcsim.studies.compare import Series

WIDTHS = (60, 80, 100, 120)
BARS = set("█▓▒░×▏▎▍▌▋▊▉")


def drawn(table: Any, width: int) -> str:
    console = Console(width=width, highlight=False, markup=False, file=StringIO())
    console.print(table)
    text = console.file.getvalue()
    assert isinstance(text, str)
    return text


def letters(text: str) -> Counter[str]:
    return Counter(letter for letter in text if letter.isalnum() and letter not in BARS)


@pytest.mark.slow
def test_every_table_keeps_its_keys_and_digits_at_every_width() -> None:
    few = {"run.trajectories": 2, "arrivals.agents": 2, "run.warmup": "0s"}
    names = ["sn40l-mono", "mi300x-prefill-sn50-decode"]
    both = gcsim.compare("coding-agents", deployments=names, settings=few, jobs=1)
    series = Series("arrivals.agents", ((2, both), (3, both)))
    point = gcsim.estimate("sn40l", 16, "gpt-oss-120b", isl=1000, osl=10)
    for table in (
        run_table(both.results["mi300x-prefill-sn50-decode"]),
        comparison_table(both),
        series_table(series),
        estimate_table(point),
        *(listed_table(f"{kind}s", listed(kind)) for kind in ("chip", "model", "deployment")),
    ):
        whole = letters(drawn(table, 400))
        for width in WIDTHS:
            text = drawn(table, width)
            assert whole - letters(text) == Counter(), (width, text)
            assert "…" not in text
            assert max(map(len, text.splitlines())) <= width


def test_a_table_folds_with_its_keys() -> None:
    heads = [f"column {number}" for number in range(9)]
    table = plain_table("name", *heads, title="all of it")
    assert isinstance(table, FoldingTable)
    for name in ("first", "second"):
        table.add_row(name, *(f"{number}.123456" for number in range(9)))
    text = drawn(table, 60)
    assert text.count("name") == text.count("first") == text.count("second") == 2
    assert text.count("all of it") == 1
    assert all(text.count(f"{number}.123456") == 2 for number in range(9))
    assert drawn(table, 200).count("first") == 1
