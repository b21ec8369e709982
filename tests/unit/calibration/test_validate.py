"""Validation, its report, and calibration from a user's own exports."""

import json
from pathlib import Path

import pytest

from gcsim.calibration.one_chip import calibrate
from gcsim.calibration.points import COLUMNS
from gcsim.calibration.report import claims_rows, html_report, validation_text
from gcsim.calibration.validate import shipped_points, validate
from gcsim.errors import ProfileError

H100 = "lab,2026-01,NVIDIA H100 SXM"
LLAMA = "2,2,meta-llama/Llama-3.1-70B,fp8,vllm 0.19,1024,128"
SPLIT = "median; PD: prefill 1xTP8EP1=8gpu decode 1xTP8EP1=8gpu"
R1 = "DeepSeek-R1-0528 671B,fp4,mori-sglang,1024,64"
ROWS = (
    f"A-1,{H100},{LLAMA},4,0,150,14,,,mean",
    f"A-2,{H100},{LLAMA},8,0,180,15,,,mean",
    f"B-1,{H100},1,1,meta-llama/Meta-Llama-3-8B,bf16,vLLM (2024),128,128,4,0,,,1100,,static batch",
    f"C-1,lab,2026-01,AMD MI355X,16,,{R1},8,0,900,12,,,{SPLIT}",
    "D-1,lab,2026-01,Abacus,1,1,meta-llama/Meta-Llama-3-8B,bf16,vllm,128,128,1,0,1,1,,,",
    f"E-1,{H100},1,1,meta-llama/Meta-Llama-3-8B,bf16,vllm,128,128,,0,1,1,,,",
)


@pytest.fixture
def points(tmp_path: Path) -> Path:
    path = tmp_path / "points.csv"
    path.write_text("\n".join([",".join(COLUMNS), *ROWS, ""]), encoding="utf-8")
    return path


def test_every_point_is_compared_or_skipped_with_a_reason(points: Path) -> None:
    result = validate(points, jobs=1)
    compared = {(p["id"], p["metric"]) for p in result["points"]}
    assert compared == {
        ("A-1", "ttft"),
        ("A-1", "tpot"),
        ("A-2", "ttft"),
        ("A-2", "tpot"),
        ("B-1", "e2e"),
        ("C-1", "ttft"),
        ("C-1", "tpot"),
    }
    assert result["skipped"] == {"unknown chip": 1, "no concurrency or batch": 1}
    assert result["overall"]["tpot"]["n"] == 3
    for item in result["points"]:
        assert item["ape"] == pytest.approx(abs(item["modeled"] / item["published"] - 1))
        assert item["modeled"] > 0
    assert {"by": {"kind": "disaggregated", "metric": "tpot"}}.items() <= next(
        g for g in result["groups"] if g["by"] == {"kind": "disaggregated", "metric": "tpot"}
    ).items()
    json.dumps(result, allow_nan=False)
    assert "unknown chip" in validation_text(result)
    assert "C-1" in html_report(result)


def test_the_shipped_table_can_be_read_and_is_of_some_size() -> None:
    lines = shipped_points().read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("id,source,url_or_repo")
    assert len(lines) > 200


@pytest.mark.slow
def test_calibrate_one_chip(points: Path, tmp_path: Path) -> None:
    out = tmp_path / "h100.yaml"
    result = calibrate(points, "h100-sxm", out, jobs=1)
    assert result["points"] == 3
    assert {f["factor"] for f in result["factors"]} >= {"memory", "layer_overhead"}
    for factor in result["factors"]:
        assert factor["low"] <= factor["value"] <= factor["high"]
    text = out.read_text(encoding="utf-8")
    assert "kind: fitted" in text
    with pytest.raises(ProfileError, match="no usable point of this chip"):
        calibrate(points, "b200", jobs=1)


def test_claims_as_cells() -> None:
    claim = {
        "claim": "c",
        "source": "s",
        "unit": "ms",
        "claimed": 10.0,
        "modeled": 9.0,
        "low": 8.0,
        "high": 11.0,
        "verdict": "supported",
        "condition": "",
        "scenario": "f.yaml",
    }
    assert claims_rows([claim])[0][1:3] == ("10 ms", "9")
