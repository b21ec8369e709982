"""The documentation is whole: every key, factor and policy is explained, every link leads on."""

import re
from pathlib import Path

import pytest

import gcsim
from gcsim.engine.batching import POLICIES as BATCHING
from gcsim.engine.router import POLICIES as ROUTING
from gcsim.profiles.chip import Efficiency, Stack

ROOT = Path(__file__).parents[2]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = [text for text in TEXTS if not text.read_text(encoding="utf-8").startswith("<!--")]
# Groups of docs/validation.md by their name in the README.
GROUPS = {"all chips": ["all"], "two pools": ["disaggregated"], "SN40L": ["sn40l"]}
GROUPS["sources left out of the fit"] = []
LATENCY = re.compile(r"(ci95_)?(mean|std|median|p90|p95|p99)_(ttft|tpot|e2el|task|itl)_ms")


def words(name: str) -> set[str]:
    """Everything that a text names between backticks."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    return {
        word.strip() for quoted in re.findall(r"`([^`\n]+)`", text) for word in quoted.split(",")
    }


def test_every_key_of_the_summary_is_explained() -> None:
    deployment = {
        "deployment": "mi300x-prefill-sn50-decode",
        "arrivals.agents": 2,
        "run.trajectories": 2,
    }
    summary = gcsim.run("coding-agents", settings=deployment).summary
    known = words("results.md")
    keys = {key.removeprefix("ci95_") for key in summary if not LATENCY.fullmatch(key)}
    assert keys - known - {"pools", "links"} == set()
    assert {f"..._{name}_ms" for name in ("ttft", "tpot", "e2el", "task", "itl")} <= known
    columns = {key for pool in summary["pools"] for key in pool}
    columns = {re.sub(r"^bound_memory_\w+", "bound_memory_<tier>", key) for key in columns}
    assert columns - known == set()
    assert {key for link in summary["links"] for key in link} - known == set()
    assert set(summary["breakdown_ms"]) <= known


def test_every_factor_is_explained() -> None:
    known = words("cost-model.md")
    assert set(Efficiency.model_fields) - known == set()
    assert set(Stack.model_fields) - known == set()


def test_every_policy_is_explained() -> None:
    assert {*BATCHING, *ROUTING} - words("engine.md") == set()


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading(text: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (text.parent / name) if name else text
        assert path.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w-]", "", h.lower().replace(" ", "-")) for h in headings}


def rows(text: str) -> list[list[str]]:
    """The rows of all tables, cell by cell, without the commas of numbers."""
    found = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[re.sub(r"(?<=\d),(?=\d)", "", cell.strip()) for cell in row] for row in found]


def test_the_errors_that_the_readme_states_are_those_of_the_validation() -> None:
    validation = rows((ROOT / "docs" / "validation.md").read_text(encoding="utf-8"))
    stated = 0
    for what, published, *errors in rows((ROOT / "README.md").read_text(encoding="utf-8")):
        group, _, metric = what.partition(", ")
        if not published.endswith(" points") or group not in GROUPS:
            continue
        wanted = [*GROUPS[group], metric.split()[0], published.removesuffix(" points")]
        found = next(row for row in validation if row[: len(wanted)] == wanted)[len(wanted) :]
        assert errors == [f"{float(cell.rstrip('%')):.0f}%" for cell in found[:2]], what
        stated += 1
    assert stated == 7


@pytest.mark.parametrize("text", WRITTEN, ids=lambda path: path.name)
def test_lines_of_prose_are_short(text: Path) -> None:
    content = re.sub(r"```.*?```", "", text.read_text(encoding="utf-8"), flags=re.DOTALL)
    prose = [line for line in content.splitlines() if not line.startswith(("|", "    ", "<!--"))]
    assert not [line for line in prose if len(line) > 100]


def test_the_first_screen_answers_what_how_and_how_far_off() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = text[: text.index("## ")]
    assert first.index("?**") < first.index("$ make demo") < first.index("How far off")


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_every_table_has_a_head(text: Path) -> None:
    """A blank line in a table makes text of its rest."""
    tables = re.findall(r"(?:^\|.*\n)+", text.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert not [rows for rows in tables if not re.match(r".*\n\|( -+:? \|)+\n", rows)]
