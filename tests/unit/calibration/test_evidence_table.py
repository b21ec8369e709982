"""The table of evidence: its rows, what is left out of it, coverage (evidence_table)."""

from dataclasses import replace
from math import exp
from pathlib import Path

import numpy as np
import pytest

from gcsim.calibration import evidence_table as table
from gcsim.calibration.calibrate import rows_of
from gcsim.calibration.fit import prepare
from gcsim.calibration.match import setup_of
from gcsim.calibration.points import COLUMNS, read_points
from gcsim.calibration.tape import load_of
from gcsim.calibration.validate import shipped_points, simulate_point
from gcsim.studies import evidence as ev

HEAD = ",".join((*COLUMNS[:2], "url_or_repo", *COLUMNS[2:]))
ROW = "{0},a lab,lab.example/{0},2026,NVIDIA H100 SXM,1,1,{1},bf16,vllm 0.19,{2},64,{3},0,"
ROW += "{4},{5},,,secret"


@pytest.fixture
def points(tmp_path: Path) -> Path:
    rows = [
        ROW.format(f"A-{k}", model, 1024, 2**k, 60 + 10 * k, 9 + k)
        for model in ("meta-llama/Llama-3.1-8B", "mistralai/Mistral-7B-v0.1")
        for k in range(3)
    ]
    rows = [row.replace("A-", f"{'AB'[k // 3]}-") for k, row in enumerate(rows)]
    path = tmp_path / "points.csv"
    path.write_text("\n".join([HEAD, *rows, ""]), encoding="utf-8")
    return path


def test_the_table_has_figures_and_sources_and_no_notes(points: Path, tmp_path: Path) -> None:
    result = {
        "points": [
            {"id": f"{source}-{k}", "metric": metric, "modeled": 50.0}
            for source in "AB"
            for k in range(3)
            for metric in ("ttft", "tpot")
        ]
    }
    path = tmp_path / "evidence.csv.gz"
    fitted = table.write(points, result, path)
    known = ev.read(path)
    assert known.fitted == fitted
    assert [row["id"] for row in known.rows] == ["A-0", "A-1", "A-2", "B-0", "B-1", "B-2"]
    assert known.rows[0]["url"] == "lab.example/A-0"
    assert not any("secret" in cell for row in known.rows for cell in row.values())
    assert known.residuals["ttft"][:2] == pytest.approx(np.log([60 / 50, 70 / 50]))
    assert np.isnan(known.residuals["e2e"]).all()
    for against in ("model", "chip"):
        assert not np.isnan(known.column("tpot", against)).any()
    again = tmp_path / "again.csv.gz"
    table.write(points, result, again)
    assert path.read_bytes() == again.read_bytes()
    assert "| TPOT | point |" in table.intervals_markdown(fitted)


def test_points_left_out_of_a_fit_are_predicted_worse(points: Path) -> None:
    """Fitted factors bend to their points; without these they stay where the others are."""
    ready = prepare(read_points(points)[0])
    values = table.shipped_values(ready)
    inside = {(r.point.id, r.metric): r.log_error for r in rows_of(ready, values)}
    without = {(r.point.id, r.metric): r.log_error for r in table.without_model(ready, values)}
    assert inside.keys() == without.keys()
    worse = [abs(without[key]) >= abs(inside[key]) - 1e-9 for key in inside]
    assert np.mean(worse) > 0.8
    assert any(abs(without[key] - inside[key]) > 1e-3 for key in inside)
    assert len(table.without_chip(ready, values)) == len(inside)


def _normal(rng: np.random.Generator, sweeps: int) -> ev.Evidence:
    asked = ev.Question("h100", "vllm", "m", "bf16 bf16", False, 1, 8, 1000, 1000, 100)
    rows = []
    for sweep in range(sweeps):
        of = replace(
            asked, model=f"m{sweep % 6}", chip="ab"[sweep % 2], context=100.0 * (1 + sweep)
        )
        shift = rng.normal(0, 0.15)
        for seqs in (1, 4, 16):
            cells = {
                "chip": of.chip,
                "stack": of.stack,
                "model": of.model,
                "precision": of.precision,
                "chips": "1",
                "split": "0",
                "seqs": f"{seqs}",
                "isl": f"{of.context}",
                "osl": "100",
                "cached": "0",
            }
            modeled = f"{100 * exp(shift + rng.normal(0, 0.05)):.6f}"
            for metric in ev.METRICS:
                cells |= {f"{metric}_ms": "100", f"{metric}_modeled_ms": modeled}
                cells |= {f"{metric}_{out}_ms": modeled for out in ("model", "chip")}
            rows.append(cells)
    return ev.Evidence(rows, {})


def test_intervals_hold_what_they_promise_on_groups_that_are_left_out() -> None:
    fitted = table.conformal(_normal(np.random.default_rng(3), 60))
    for depth in ("point", "sweep"):
        found = fitted["coverage"]["tpot"][depth]
        assert 0.74 <= found["within80"] <= 0.86
        assert 0.85 <= found["within90"] <= 0.95
        assert found["groups"] == 60
    widths = [fitted["coverage"]["tpot"][depth]["factor90"] for depth in ("point", "sweep")]
    assert widths[0] < widths[1], "what is near is known better"


def test_the_shipped_table_is_of_these_factors() -> None:
    """The modeled column is what the engine says now: else `gcsim validate --evidence` is due."""
    points = {point.id: point for point in read_points(shipped_points())[0]}
    known = {row["id"]: row for row in ev.evidence().rows}
    ratios = []
    for point in points.values():
        near = [r for r in known.values() if _same(point.isl, point.concurrency, r)]
        setup = setup_of(point)
        if isinstance(setup, str) or point.concurrency > 16 or point.prefill or not near:
            continue
        of = [r for r in near if r["chip"] == setup.chip and r["model"] == setup.model.name]
        of = [r for r in of if r["stack"] == setup.stack and r["tpot_ms"]]
        of = [r for r in of if r["chips"] == str(setup.pool.chips_per_replica)]
        of = [
            r
            for r in of
            if abs(float(r["tpot_ms"]) / 1e3 / point.published.get("tpot", 9) - 1) < 1e-4
        ]
        if of and len(ratios) < 12:
            modeled = simulate_point(point, setup, load_of(point))
            if modeled:
                ratios.append(modeled["tpot"] * 1e3 / float(of[0]["tpot_modeled_ms"]))
    assert len(ratios) >= 3
    assert abs(np.log(np.median(ratios))) < 0.1


def _same(isl: int, concurrency: int, row: dict[str, str]) -> bool:
    return abs(float(row["isl"]) / isl - 1) < 0.11 and float(row["seqs"]) == concurrency
