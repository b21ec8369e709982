"""The page of results: gcsim.cli.report, report_runs, report_plan, page.

Modules: gcsim.cli.report_runs, gcsim.cli.report_plan, gcsim.cli.page.
"""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import gcsim
from gcsim import plots
from gcsim.cli import page as pages
from gcsim.cli import report as reports
from gcsim.cli.app import main
from gcsim.cli.report import page_of
from gcsim.cli.report_runs import _by_bands, _overlaps, answer, numbers
from gcsim.errors import ProfileError
from gcsim.profiles.assumed import assumed_values
from gcsim.results.comparison import Comparison
from gcsim.results.text import three

pytestmark = pytest.mark.slow  # most of these play runs

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
VOID = {"meta", "br", "img", "input"}
NAMES = ["sn40l-mono", "mi300x-prefill-sn50-decode"]
PLAN: dict[str, Any] = {
    "scenario": "s", "model": "m<1>", "load": 8.0, "load_kind": "agents", "slo": ["p95 TTFT < 2 s"],
    "sentence": "8 agents: 1 x <i>.", "minimize": "cost", "runs": 3, "version": "1",
    "families": [{"family": "a", "deployment": "1 x a", "chips": 8, "usd_per_hour": 15.123456}],
    "frontier": [],
    "sways": [
        {
            "chip": "a", "cause": "fixed times", "end": "slow", "answer": 3.0, "rival": 2.0,
            "rival_family": "b", "overturns": True, "runs": 2,
        }
    ],
}  # fmt: skip


class Page(HTMLParser):
    """The tags, texts and tables of a page; tags that are not closed in order are told."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def both() -> Comparison:
    settings = {"arrivals.agents": 2, "run.trajectories": 3}
    return gcsim.compare("coding-agents", deployments=NAMES, settings=settings)


@pytest.fixture(scope="module")
def folders(both: Comparison, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("results")
    return [result.save(place / name) for name, result in both.results.items()]


@pytest.fixture(scope="module")
def text(folders: list[Path]) -> str:
    return page_of(folders)


@pytest.mark.slow
def test_every_number_is_that_of_the_summary(folders: list[Path], text: str) -> None:
    rows = {row[0]: row[1:] for row in Page(text).rows if len(row) == 1 + len(folders)}
    for column, folder in enumerate(folders):
        summary = json.loads((folder / "summary.json").read_text())
        for key, value in summary.items():
            if isinstance(value, int | float):
                assert json.loads(rows[key][column]) == value, key
        assert float(rows["breakdown_ms.decode"][column]) == summary["breakdown_ms"]["decode"]
        assert float(rows["ci95_mean_ttft_ms.low"][column]) == summary["ci95_mean_ttft_ms"][0]


def test_the_tables_and_the_answer_have_its_digits(folders: list[Path], text: str) -> None:
    seen = " ".join(Page(text).texts)
    for folder in folders:
        summary = json.loads((folder / "summary.json").read_text())
        for key in ("mean_ttft_ms", "p95_ttft_ms", "mean_tpot_ms", "mean_e2el_ms"):
            assert three(summary[key]) in seen, key
    best = min((json.loads((f / "summary.json").read_text()) for f in folders),
               key=lambda s: s["mean_task_ms"])  # fmt: skip
    low, high = (three(end / 1e3) for end in best["ci95_mean_task_ms"])
    said = re.search(r'<p class="answer">(.*?)</p>', text)
    assert said is not None
    assert (
        f"task time {best['deployment']} is ahead with {three(best['mean_task_ms'] / 1e3)} s"
        in (said[1])
    )
    assert f"(95% interval {low} .. {high}" in said[1]


def test_a_page_needs_nothing_else(text: str) -> None:
    for tag, attributes in Page(text).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for key in ("src", "href", "xlink:href", "action", "poster"):
            value = attributes.get(key) or "#"
            assert value.startswith(("#", "data:")), (tag, value)
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    assert len(text.encode()) < reports.PAGE_BYTES_MAX


def test_what_is_on_it(both: Comparison, text: str) -> None:
    found = Page(text)
    kinds = [tag for tag, _ in found.tags]
    assert kinds.count("h1") == 1
    assert kinds.count("svg") == 4  # phases, latencies, two timelines
    labels = [attributes["aria-label"] for tag, attributes in found.tags if tag == "svg"]
    assert len(set(labels)) == 4
    names = {row[0] for row in found.rows if row}
    for result in both.results.values():
        assert set(assumed_values(result.resolved.scenario)) <= names
        assert result.resolved.to_yaml() in "".join(found.texts)
    seen = " ".join(found.texts)
    assert "gcsim run sn40l-mono.yaml --out sn40l-mono" in seen
    assert "(--bands)" in seen
    for one in ("prefers-color-scheme: dark", "@media print", 'name="viewport"'):
        assert one in text


def test_what_comes_from_files_is_no_markup(both: Comparison, tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>$\\frac$"
    one = both.results["sn40l-mono"]
    summary = {**one.summary, "deployment": bad, "workload": bad, "scenario": bad, "model": bad}
    summary["pools"] = [{**pool, "pool": bad, "chip": bad} for pool in summary["pools"]]
    mapping = {**one.resolved.mapping, "name": bad}
    resolved = replace(one.resolved, mapping=mapping)
    folder = replace(one, summary=summary, resolved=resolved).save(tmp_path / "a")
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({**PLAN, "sentence": bad, "scenario": bad}))
    text = page_of([folder, plan])
    assert text.count("<script") == 1
    assert bad in "".join(Page(text).texts)


def test_a_run_says_its_band_and_what_could_overturn_it(both: Comparison, tmp_path: Path) -> None:
    one = both.results["sn40l-mono"]
    band = {"low": 1.0, "high": 1e5, "lost": None, "cause": "fixed times"}
    metrics = dict.fromkeys(("mean_e2el_ms", "mean_ttft_ms", "p95_ttft_ms"), band)
    summary = {**one.summary, "bands": {"metrics": metrics}}
    told = answer({"x": replace(one, summary=summary)})
    assert "; band 1.00 .. 100,000)" in told
    assert told.endswith(("holds.", "the SLO."))
    lines = list(_by_bands(summary))
    assert "mean E2E [ms] within 1.00 .. 100,000, mostly from fixed times." in lines
    assert "The bound of TTFT, 2,000 ms, lies in its band 1.00 .. 100,000." in lines
    assert "bands" not in " ".join(numbers(summary))


def test_bands_that_overlap_are_told(both: Comparison) -> None:
    def told(high: float) -> list[str]:
        runs = {}
        for (name, one), low in zip(both.results.items(), (1e3, 5e3), strict=True):
            band = {"low": low, "high": low + high, "lost": None, "cause": "x"}
            bands = {"metrics": {"mean_task_ms": band}}
            runs[name] = replace(one, summary={**one.summary, "bands": bands})
        return list(_overlaps(runs, "mean_task_ms", NAMES[0]))

    assert told(3e3) == []
    (line,) = told(4e3)
    assert line.startswith(f"By task time the bands of {NAMES[0]} and {NAMES[1]} overlap")
    assert line.endswith(": 1.00 .. 5.00 and 5.00 .. 9.00 s.")


def test_saturated_runs_have_no_answer(both: Comparison) -> None:
    lost = {
        name: replace(result, summary={**result.summary, "saturated": True, "saturated_why": "q"})
        for name, result in both.results.items()
    }
    assert answer(lost) == "All runs are saturated: none is the best."
    assert "its mean times say nothing: q." in answer({"a": lost["sn40l-mono"]})


def test_a_plan_is_a_page(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN))
    found = Page(page_of([path]))
    seen = " ".join(found.texts)
    assert "What is the best deployment for 8 agents of s with m<1>?" in seen
    assert "8 agents: 1 x <i>." in seen
    assert "fixed times of a at the slow end: 3.00, b 2.00 (cost)." in seen
    assert any(row[:2] == ["a", "1 x a"] and "15.123456" in row for row in found.rows)


@pytest.mark.parametrize(
    ("content", "why"),
    [("{", "is no JSON"), ("[]", "is no saved plan"), ('{"sentence": 1}', "is no saved plan")],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, content: str, why: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(ProfileError, match=why):
        page_of([path])


def ended(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main(["report", *map(str, arguments)])
    return int(end.value.code or 0)


@pytest.mark.slow
def test_the_command_writes_all_or_nothing(
    folders: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "a.html"
    assert ended(folders[0], "--out", out) == 0
    before = out.read_bytes()
    assert before.startswith(b"<!DOCTYPE html>")
    assert capsys.readouterr().err.startswith(f"Written to {out} (")
    assert ended(folders[0], "--out", out) == 2
    assert "is there already" in capsys.readouterr().err
    assert ended(folders[0], "--out", out, "--force") == 0
    assert out.read_bytes() == before, "the same bytes each time"
    out.write_text("earlier")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(reports, "PAGE_BYTES_MAX", 1000)
        assert ended(folders[0], "--out", out, "--force") == 2
        assert "more than" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        assert ended(folders[0], "--out", out, "--force") == 2
        assert "No space left on device" in capsys.readouterr().err
    assert out.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


@pytest.mark.parametrize("wrong", ["a.pdf", "none/a.html"])
def test_a_wrong_place_is_told_first(
    tmp_path: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(tmp_path / "no-results", "--out", tmp_path / wrong) == 2
    assert "--out" in capsys.readouterr().err
    assert ended(tmp_path / "no-results", "--out", tmp_path / "a.html") == 2
    assert "not a complete results folder" in capsys.readouterr().err


def colours(scheme: str) -> dict[str, str]:
    block = re.findall(r":root \{(.*?)\}", pages.STYLE, re.DOTALL)[scheme == "dark"]
    return dict(re.findall(r"--(\w+): (#\w{6})", block))


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_that_of_wcag_aa(scheme: str) -> None:
    found = colours(scheme)
    for ink in ("ink", "soft", "mark"):
        for ground in ("page", "shade"):
            one, two = sorted((luminance(found[ink]), luminance(found[ground])))
            assert (two + 0.05) / (one + 0.05) >= 4.5, (ink, ground)


def test_a_large_picture_becomes_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    figure, _ = plots.new_axes(1, 1, (2, 2))
    assert "<svg" in pages.picture(figure, "a", "<x>")
    monkeypatch.setattr(pages, "PICTURE_BYTES_MAX", 10)
    found = pages.picture(figure, "a", "<x>")
    assert found.startswith('<figure><img src="data:image/png;base64,')
    assert 'alt="&lt;x&gt;"' in found


def test_two_pictures_on_a_page_share_no_ids() -> None:
    figures = [plots.new_axes(1, 1, (2, 2)) for _ in range(2)]
    ids = []
    for name, (figure, axis) in zip("ab", figures, strict=True):
        axis.plot([1, 2])
        found = re.findall(r'<clipPath id="(.*?)"', pages.picture(figure, name, ""))
        assert found
        ids += found
    assert len(ids) == len(set(ids))


PROBE = """
<script>
const told = [], sorted = document.querySelector("table.sorted"), body = sorted.tBodies[0];
const texts = () => [...body.rows].map(row => row.cells[0].textContent);
const before = texts().join();
sorted.querySelector("th button").click();
told.push(texts().join() === [...texts()].sort((a, b) => a.localeCompare(b)).join());
told.push(texts().join() !== before);
const input = document.querySelector("input");
input.value = "mean_ttft_ms";
input.dispatchEvent(new Event("input"));
told.push([...body.rows].filter(row => !row.hidden).length);
const one = document.querySelector("details:not([open])");
one.querySelector("summary").click();
told.push(one.open, document.querySelectorAll("svg").length);
told.push(document.documentElement.scrollWidth <= innerWidth);
document.title = JSON.stringify(told);
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(text.replace("</body>", PROBE + "</body>"))
    browse = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900"]
    browse += [f"--user-data-dir={tmp_path}/profile", "--enable-logging=stderr"]
    dumped = subprocess.run(
        [*browse, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", dumped.stdout)
    assert title is not None
    sorts, moved, rows, toggles, pictures, fits = json.loads(title[1])
    assert (sorts, moved, toggles, pictures, fits) == (True, True, True, 4, True)
    assert 1 <= rows < 20
    assert "CONSOLE" not in dumped.stderr
    printed = tmp_path / "a.pdf"
    subprocess.run(
        [*browse, f"--print-to-pdf={printed}", path.as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert printed.read_bytes().startswith(b"%PDF")
