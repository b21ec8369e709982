"""The table of metrics (gcsim.results.metrics): one row is a metric everywhere."""

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import gcsim
from gcsim.cli.check_text import diff_table, replications_table
from gcsim.cli.compare import comparison_table, series_table
from gcsim.cli.run_text import run_table
from gcsim.profiles.resolve import resolve
from gcsim.results import metrics
from gcsim.results.counted import Counted
from gcsim.results.metric import Metric
from gcsim.results.metrics import METRICS
from gcsim.results.summary import summed
from gcsim.studies import parallel
from gcsim.studies.baseline import bless, check
from gcsim.studies.diff import difference
from gcsim.studies.replicate import replicate

RESULTS = Path(__file__).parents[3] / "docs" / "results.md"
FEW = {"arrivals.agents": 2, "run.trajectories": 3}


def joule(of: Counted) -> float:
    return float(of.pools["power_w"].sum()) * of.span_s


NEW = (
    Metric(
        key="output_per_joule",
        column="osl",
        per=joule,
        label="output",
        unit="tokens/J",
        better="higher",
        uses="paired watched run compare ratio series bands",
        definition="output tokens of the counted requests / energy of all pools",
    ),
    Metric(
        key="wait_ms",
        column="queue_s",
        label="wait",
        unit="ms",
        better="lower",
        uses="paired watched run compare ratio series bands",
        definition="arrival to admission",
    ),
)


@pytest.fixture
def more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, *NEW))
    # Other processes do not have the new rows: on a slow machine runs are given to some.
    monkeypatch.setattr(parallel, "WORTH_S", float("inf"))


def render(table: Any) -> str:
    from rich.console import Console

    console = Console(width=200, markup=False)
    with console.capture() as drawn:
        console.print(table)
    return drawn.get()


@pytest.mark.usefixtures("more")
def test_a_new_row_is_in_the_summary_and_in_the_tables() -> None:
    result = gcsim.run("mixed-agents", settings={"run.trajectories": 12, "run.warmup": "0 s"})
    s = result.summary
    power_w = result.pools["power_w"].sum()
    assert s["output_per_joule"] == pytest.approx(s["output_throughput"] / power_w)
    assert s["mean_wait_ms"] == pytest.approx(s["breakdown_ms"]["queue"])
    done = result.requests[result.requests["status"] == "completed"]
    assert s["p95_wait_ms"] == pytest.approx(done["queue_s"].quantile(0.95) * 1e3)
    assert "ci95_p95_wait_ms" in s
    assert sum(c["output_per_joule"] for c in s["classes"]) == pytest.approx(s["output_per_joule"])
    text = render(run_table(result))
    assert re.search(r"wait \[ms\] +\d", text)
    assert "output tokens/J" in text


@pytest.mark.usefixtures("more")
@pytest.mark.slow
def test_a_new_row_is_compared_and_orders() -> None:
    names = ("sn40l-mono", "h100-mono")
    two = gcsim.compare("coding-agents", deployments=names, settings=FEW, normalize="power")
    ratio = two.ratio_to_first["h100-mono"]
    here, there = (result.summary["output_per_joule"] for result in two.results.values())
    # Not a rate: already per something, so it is not divided by kW again.
    assert ratio["output_per_joule"].ratio == pytest.approx(there / here)
    assert ratio["output_per_joule"].low is not None
    assert {"mean_wait_ms", "p95_wait_ms"} <= ratio.keys()
    assert two.order("output_per_joule")[0] == names[here < there]
    text = render(comparison_table(two))
    assert text.count("tokens/J") == 1
    assert text.count("wait") >= 2
    series = gcsim.compare("coding-agents", over=("rate", [0.1]), settings=FEW)
    assert "tokens/J" in render(series_table(series))


@pytest.mark.usefixtures("more")
@pytest.mark.slow
def test_a_new_row_is_watched_and_has_bands(tmp_path: Path) -> None:
    for seed in (1, 2):
        gcsim.run("coding-agents", settings=FEW, seed=seed, out=tmp_path / str(seed))
    found = difference(tmp_path / "1", tmp_path / "2")
    moved = {move.metric: move for move in found.moves}
    assert moved["output_per_joule"].change
    assert {"mean_wait_ms", "median_wait_ms", "p95_wait_ms", "p99_wait_ms"} <= moved.keys()
    assert "output [tokens/J]" in render(diff_table(found))
    few = replicate(resolve("coding-agents", FEW), 2)
    assert "p95 wait [ms]" in render(replications_table(few.summary))
    base = tmp_path / "base.json"
    bless(["coding-agents"], base, settings=FEW)
    pinned = yaml.safe_load(base.read_text())["scenarios"]["coding-agents"]
    assert {"output_per_joule", "p95_wait_ms"} <= pinned["metrics"].keys()
    assert check(base)[0].passes
    banded = gcsim.run(
        "coding-agents", settings={"arrivals.agents": 2, "run.trajectories": 1}, bands=True
    )
    band = banded.summary["bands"]["metrics"]["output_per_joule"]
    assert band["low"] <= banded.summary["output_per_joule"] <= band["high"]
    assert "output [tokens/J]" in render(run_table(banded))


@pytest.mark.parametrize("key", ["request_throughput", "cache_hit_rate", "completed", "power_w"])
def test_a_sum_is_that_of_its_column_per_what_it_says(key: str) -> None:
    """By hand, on two requests of which one kept its SLO."""
    rows = pd.DataFrame(
        {"isl": [30, 10], "cached_tokens": [20, 0], "status": "completed", "good": [True, False]}
    )
    pools = pd.DataFrame({"power_w": [1.5, 2.0]})
    of = Counted(rows, rows, rows, rows, pools, pd.Series([2.0, 2.0]), 4.0, 9.0)
    wanted = {"request_throughput": 0.5, "cache_hit_rate": 0.5, "completed": 2, "power_w": 3.5}
    assert summed(of, metrics.named(key)[0]) == wanted[key]


def test_what_is_divided_by_nothing_is_undefined() -> None:
    none = pd.DataFrame({"isl": [], "cached_tokens": []})
    of = Counted(none, none, none, none, none, pd.Series([]), 1.0, 1.0)
    assert summed(of, metrics.named("cache_hit_rate")[0]) is None
    assert summed(of, metrics.named("request_throughput")[0]) == 0


def test_rows_are_well_formed() -> None:
    uses = {"paired", "watched", "grows", "run", "size"}
    uses |= {"compare", "ratio", "series", "bands", "tail"}
    for metric in METRICS:
        assert set(metric.uses.split()) <= uses, metric.key
        assert "ratio" not in metric or "paired" in metric, metric.key
        assert "bands" not in metric or "watched" in metric, metric.key
        per_time = metric.unit.endswith("/s") or "revenue" in metric.key
        assert metric.rate == per_time, metric.key
    keys = [key for metric in METRICS for key in metric.keys().values()]
    assert list(metrics.columns()) == keys, "some key comes twice"


def test_the_documentation_has_the_table() -> None:
    """`make examples` writes it."""
    lines = ["| key | unit | definition |", "| --- | --- | --- |"]
    for metric in METRICS:
        key = f"..._{metric.key}" if metric.per is None else metric.key
        unit = metric.key.rpartition("_")[2] if metric.per is None else metric.unit
        unit = {"%": "fraction", "kJ": "J"}.get(unit, unit)
        lines.append(f"| `{key}` | {unit} | {metric.definition} |")
    text = RESULTS.read_text(encoding="utf-8")
    head, rest = text.split("<!-- metrics -->\n")
    _, tail = rest.split("\n<!-- end -->")
    wanted = "\n".join(lines)
    if os.environ.get("GCSIM_REWRITE_EXAMPLES"):
        found = f"{head}<!-- metrics -->\n{wanted}\n<!-- end -->{tail}"
        RESULTS.write_text(found, encoding="utf-8")
    else:
        assert rest == f"{wanted}\n<!-- end -->{tail}"
