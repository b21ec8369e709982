"""`gcsim validate`, `calibrate` and `claims` on the command line (gcsim.cli.calibrate)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gcsim.profiles.resolve import load_chip

pytestmark = pytest.mark.slow  # `make quick` leaves it out


def gcsim(*arguments: str) -> subprocess.CompletedProcess[str]:
    run = "import sys; from gcsim.cli.app import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", run, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("validate", "--points", "absent.csv"), "absent.csv"),
        (("calibrate", "--chip", "sn40l"), "exactly one source"),
        (("calibrate", "--chip", "sn41l", "--points", "absent.csv"), "absent.csv"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: tuple[str, ...], said: str) -> None:
    done = gcsim(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_calibrate_prints_factors_and_errors_and_writes_a_profile(tmp_path: Path) -> None:
    points, profile = tmp_path / "points.csv", tmp_path / "mine.yaml"
    head = "id,hardware,chips,tp,model,weight_dtype,framework,isl,osl,concurrency_or_batch,tpot_ms"
    row = "{0},NVIDIA H100 SXM,1,1,meta-llama/Llama-3.1-8B,bf16,vllm 0.19,500,50,{1},{2}"
    rows = [row.format(f"{s}-{users}", users, 6 + users / 9) for s in "AB" for users in (1, 8, 30)]
    points.write_text("\n".join([head, *rows]) + "\n")
    done = gcsim("calibrate", "--chip", "h100-sxm", "--points", str(points), "--out", str(profile))
    assert done.returncode == 0, done.stderr
    for text in ("6 points", "layer_overhead", " us", "TPOT", "left out"):
        assert text in done.stdout
    assert gcsim("show", "chip", str(profile)).returncode == 0
    stacks = load_chip(str(profile)).stacks
    assert stacks["vllm"].handoff_overhead == load_chip("h100-sxm").stacks["vllm"].handoff_overhead


def test_validate_reads_any_file_with_the_columns(tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    points.write_text(
        "id,hardware,chips,tp,model,weight_dtype,framework,isl,osl,concurrency_or_batch,tpot_ms,"
        "more\n"
        "A-1,NVIDIA H100 SXM,2,2,meta-llama/Llama-3.1-8B,bf16,vllm 0.10,1000,100,1,5.0,x\n"
        "A-2,abacus,2,2,meta-llama/Llama-3.1-8B,bf16,vllm 0.10,1000,100,1,5.0,\n"
        "A-3,NVIDIA H100 SXM,4,4,meta-llama/Llama-3.1-8B,bf16,vllm 0.10,1000,100,1,9.0,x\n"
    )
    done = gcsim("validate", "--points", str(points), "--format", "json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [p["id"] for p in result["points"]] == ["A-1", "A-3"]
    point = result["points"][0]
    assert point["ape"] == pytest.approx(abs(point["modeled"] / point["published"] - 1))
    assert sum(result["skipped"].values()) == 1
    [pairs] = result["pairs"]["kinds"]
    assert (pairs["kind"], pairs["n"], pairs["clear_right"]) == ("degree", 1, 0.0)
    done = gcsim("validate", "--points", str(points), "--pairs")
    assert done.returncode == 0, done.stderr
    assert "differ in" in done.stdout
    assert "degree: TP2 and TP4" in done.stdout
