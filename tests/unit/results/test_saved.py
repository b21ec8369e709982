"""Results in notebooks and read back: gcsim.results.saved, gcsim.results.html."""

import json
import shutil
from html import unescape
from importlib import import_module
from pathlib import Path
from re import sub

import pandas as pd
import pytest
from rich.console import Console, Group
from rich.text import Text

import gcsim
from gcsim import plots
from gcsim.cli.run_text import plain_table
from gcsim.errors import ProfileError
from gcsim.results.comparison import Comparison
from gcsim.results.folder import FILES
from gcsim.results.html import TABLES, Shown, html, table_of
from gcsim.results.result import Result
from gcsim.studies.compare import Series
from gcsim.studies.plan import Plan
from gcsim.studies.plan_load import PlanOverLoad
from gcsim.studies.sweep import Sweep

pytestmark = pytest.mark.slow  # most of these play runs

KINDS = {
    Result: ("gcsim.cli.run_text", "run_table"),
    Comparison: ("gcsim.cli.compare", "comparison_table"),
    Series: ("gcsim.cli.compare", "series_table"),
    Sweep: ("gcsim.cli.sweep_text", "sweep_table"),
    Plan: ("gcsim.cli.plan_text", "plan_table"),
    PlanOverLoad: ("gcsim.cli.plan_load_text", "plan_load_table"),
}
TABLES_OF = ("requests", "trajectories", "pools", "links", "timeline")


@pytest.fixture(scope="module")
def both() -> Comparison:
    names = ["sn40l-mono", "mi300x-prefill-sn50-decode"]
    settings = {"arrivals.agents": 2, "run.trajectories": 3}
    return gcsim.compare("coding-agents", deployments=names, settings=settings)


@pytest.mark.parametrize("name", ["sn40l-mono", "mi300x-prefill-sn50-decode"])
def test_a_saved_result_is_what_it_was(both: Comparison, tmp_path: Path, name: str) -> None:
    played = both.results[name]
    found = gcsim.load_results(played.save(tmp_path / "x"))
    for table in TABLES_OF:
        pd.testing.assert_frame_equal(getattr(found, table), getattr(played, table))
    assert found.summary == json.loads(played.to_json())
    assert found.resolved == played.resolved
    assert repr(found) == repr(played)
    assert len(plots.timeline(found).axes) == len(plots.steps(found).axes) + 1 == 3
    again = found.save(tmp_path / "again")
    for file in FILES:
        assert (again / file).read_bytes() == (tmp_path / "x" / file).read_bytes(), file


def test_saved_results_are_compared_as_played_ones(both: Comparison, tmp_path: Path) -> None:
    saved = {
        name: gcsim.load_results(result.save(tmp_path / name))
        for name, result in both.results.items()
    }
    assert Comparison(saved).ratio_to_first == both.ratio_to_first


def test_a_number_that_is_missing_everywhere_stays_a_number(
    both: Comparison, tmp_path: Path
) -> None:
    folder = both.results["sn40l-mono"].save(tmp_path / "x")
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    summary["pools"][0]["mfu"] = None
    path.write_text(json.dumps(summary))
    assert gcsim.load_results(folder).pools["mfu"].dtype == float


@pytest.mark.parametrize("file", FILES)
def test_a_folder_that_lacks_a_file_says_which(both: Comparison, tmp_path: Path, file: str) -> None:
    folder = both.results["sn40l-mono"].save(tmp_path / "x")
    (folder / file).unlink()
    with pytest.raises(ProfileError, match=rf"is not a complete results folder: {file}"):
        gcsim.load_results(folder)


def test_what_is_no_folder_of_a_run_is_refused(both: Comparison, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="not a complete results folder"):
        gcsim.load_results(tmp_path / "nothing")
    folder = both.results["sn40l-mono"].save(tmp_path / "x")
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    del summary["links"]
    path.write_text(json.dumps(summary))
    with pytest.raises(ProfileError, match="links: is the summary of another version"):
        gcsim.load_results(folder)
    shutil.rmtree(folder)


def test_a_result_is_short_and_shows_the_tables_of_the_terminal(both: Comparison) -> None:
    one = next(iter(both.results.values()))
    over = Series("rate", ((0.5, both), (1, both)))
    for found in (one, both, over):
        assert len(repr(found)) < 200
        assert type(found).__name__ in TABLES
        terminal = Console(width=10_000, highlight=False, markup=False)
        with terminal.capture() as drawn:
            terminal.print(table_of(found))
        shown = words_of(found._repr_html_())
        for word in drawn.get().split():
            if set(word) - set("─"):
                assert word in shown, word
    assert repr(both).startswith("Comparison(coding-agents on sn40l-mono, mi300x")


def words_of(page: str) -> set[str]:
    """The words that a reader of HTML sees."""
    return set(unescape(sub(r"<[^>]*>", " ", page)).split())


def test_nothing_becomes_markup() -> None:
    table = plain_table("<i>a</i>", "b", title="<script>")
    table.add_row("<img src=x>", '"&')
    page = html(Group(table, Text("<b>\n2"), "<u>"))
    for tag in ("<i>", "<script>", "<img", "<b>", "<u>"):
        assert tag not in page
    assert '<th scope="row">&lt;img src=x&gt;</th>' in page
    assert "&lt;b&gt;<br>2" in page


def test_every_result_has_its_table() -> None:
    for kind, (home, function) in KINDS.items():
        module, _, name = TABLES[kind.__name__].rpartition(".")
        assert issubclass(kind, Shown)
        assert (module, name) == (home, function)
        assert callable(getattr(import_module(module), name))
    assert len(KINDS) == len(TABLES)


def test_a_sweep_shows_every_column(tmp_path: Path) -> None:
    grid = {"deployment": ["sn40l-mono", "h100-mono"]}
    found = gcsim.sweep("coding-agents", grid, settings={"run.trajectories": 1}, jobs=1)
    shown = words_of(found._repr_html_())
    assert {"sn40l-mono", "h100-mono", "TTFT", "USD/h", "tok/s"} <= shown
    assert "wider" not in shown


def test_a_column_of_numbers_is_numeric(both: Comparison) -> None:
    table = both.table
    assert table.loc["sn40l-mono", "completed"] == both.results["sn40l-mono"].summary["completed"]
    assert table["mean_ttft_ms"].dtype == float
    assert table["completed"].dtype == int
