"""Chips and servers of the user (gcsim.calibration.one_chip, gcsim.calibration.servers)."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from gcsim.calibration.one_chip import calibrate
from gcsim.calibration.servers import Server, calibrate_from_aiperf, calibrate_from_vllm_bench
from gcsim.cli.app import main
from gcsim.errors import ProfileError
from gcsim.profiles.assemble import read_chip
from gcsim.profiles.library import Library
from gcsim.profiles.resolve import load_chip

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def vllm_bench(clients: int, **changes: Any) -> dict[str, Any]:
    """What `vllm bench serve --save-result --max-concurrency N` writes, from a slowish server."""
    return {
        "date": "20261101-101112",
        "endpoint_type": "openai",
        "label": None,
        "model_id": MODEL,
        "tokenizer_id": MODEL,
        "num_prompts": 10 * clients,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": clients,
        "duration": 30.5,
        "completed": 10 * clients,
        "failed": 0,
        "total_input_tokens": 10_000 * clients,
        "total_output_tokens": 2_000 * clients,
        "request_throughput": 1.3,
        "request_goodput": None,
        "output_throughput": 262.0,
        "total_token_throughput": 1573.0,
        "mean_ttft_ms": 60.0 + 9 * clients,
        "median_ttft_ms": 55.0,
        "std_ttft_ms": 9.0,
        "p99_ttft_ms": 180.0,
        "mean_tpot_ms": 9.0 + clients / 8,
        "median_tpot_ms": 11.9,
        "std_tpot_ms": 0.1,
        "p99_tpot_ms": 12.5,
        "mean_itl_ms": 12.0,
        "median_itl_ms": 11.7,
        **changes,
    }


def aiperf(clients: int) -> dict[str, Any]:
    """The `profile_export_aiperf.json` of a run with `--concurrency N`."""

    def metric(avg: float, unit: str = "ms") -> dict[str, Any]:
        return {"unit": unit, "avg": avg, "min": avg * 0.9, "max": avg * 1.2, "p50": avg, "std": 1}

    return {
        "schema_version": "1.5",
        "request_throughput": {"unit": "requests/sec", "avg": 1.4},
        "request_latency": metric(199 * (9 + clients / 8) + 60 + 9 * clients),
        "request_count": {"unit": "requests", "avg": 10.0 * clients},
        "time_to_first_token": metric(60.0 + 9 * clients),
        "inter_token_latency": metric(9.0 + clients / 8),
        "input_sequence_length": metric(1000.0, "tokens"),
        "output_sequence_length": metric(200.0, "tokens"),
        "input_config": {
            "endpoint": {"model_names": [MODEL], "type": "chat", "streaming": True},
            "loadgen": {"concurrency": clients, "request_count": 10 * clients},
        },
        "run_info": {"random_seed": 1, "cli_command": "aiperf profile ..."},
        "was_cancelled": False,
        "error_summary": [],
    }


@pytest.fixture
def own_chip(tmp_path: Path) -> Path:
    """A chip of a vendor that nobody knows, in one file, with a stack of its own."""
    mapping, _, _ = read_chip("h100-sxm")
    mapping |= {"name": "abacus-2", "aliases": ["Abacus Two"], "vendor": "Abacus"}
    mapping["stacks"] = {"ours": mapping["stacks"]["vllm"]}
    mapping["default_stack"] = "ours"
    path = tmp_path / "own" / "abacus-2.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(mapping, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.slow
def test_vllm_bench_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "result.json", tmp_path / "mine.yaml"
    file.write_text(json.dumps(vllm_bench(4)) + "\n" + json.dumps(vllm_bench(16)) + "\n")
    arguments = ["calibrate", "--chip", "h100-sxm", "--from-vllm-bench", str(file)]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--out", str(out)])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for text in ("2 points", "layer_overhead", "before", "TTFT", "TPOT"):
        assert text in told
    before, after = load_chip("h100-sxm"), load_chip(str(out))
    assert after.stacks["vllm"].layer_overhead.value > before.stacks["vllm"].layer_overhead.value
    assert "2 points of own server" in after.stacks["vllm"].layer_overhead.source
    # What these points cannot show is as it was.
    assert after.stacks["trtllm"] == before.stacks["trtllm"]
    assert after.stacks["vllm"].moe_layer_overhead == before.stacks["vllm"].moe_layer_overhead
    assert after.efficiency.gemm_fp8 == before.efficiency.gemm_fp8
    assert (after.compute, after.memory, after.power) == (
        before.compute,
        before.memory,
        before.power,
    )


@pytest.mark.slow
def test_a_stack_that_is_not_the_default_keeps_what_is_not_shown(tmp_path: Path) -> None:
    """And one that the chip did not have starts as its default."""
    file, out = tmp_path / "result.json", tmp_path / "mine.yaml"
    file.write_text(json.dumps(vllm_bench(4)))
    before = load_chip("h100-sxm")
    for framework, stack, like in (("sglang", "sglang", "sglang"), ("atom", "atom", "vllm")):
        calibrate_from_vllm_bench(file, Server("h100-sxm", framework=framework), out)
        after, theirs = load_chip(str(out)).stacks[stack], before.stacks[like]
        assert "own server" in after.sequence_overhead.source
        assert after.moe_layer_overhead == theirs.moe_layer_overhead
        assert after.all_reduce_latency == theirs.all_reduce_latency


def test_aiperf_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for clients in (4, 16):
        run = tmp_path / f"run-{clients}"
        run.mkdir()
        (run / "profile_export_aiperf.json").write_text(json.dumps(aiperf(clients)))
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", "--chip", "h100", "--from-aiperf", str(tmp_path), "--format", "json"])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["chip"], told["points"], told["skipped"]) == ("h100-sxm", 2, {})
    for factor in told["factors"]:
        assert factor["low"] <= factor["value"] * (1 + 1e-9)
        assert factor["value"] <= factor["high"] * (1 + 1e-9)
    assert told["errors"]["tpot"]["n"] == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_concurrency": None}, "calibration needs a closed loop"),
        ({"request_rate": 4.0}, "requests came at a rate"),
        ({"completed": 0}, "no completed request"),
        ({"total_output_tokens": 0}, "below one token"),
        ({"model_id": "Parrot-1B"}, "no run can be used: unknown model"),
        ({"mean_ttft_ms": None, "mean_tpot_ms": 0.0}, "holds no mean of TTFT"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_result_that_cannot_be_used(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps(vllm_bench(4, **change)))
    with pytest.raises(ProfileError, match=said):
        calibrate_from_vllm_bench(file, Server("h100-sxm"))


def test_a_folder_without_exports_and_a_file_that_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="holds no profile_export_aiperf"):
        calibrate_from_aiperf(tmp_path, Server("h100-sxm"))
    (tmp_path / "x.json").write_text("not json")
    with pytest.raises(ProfileError, match="is not JSON"):
        calibrate_from_vllm_bench(tmp_path, Server("h100-sxm"))


def test_an_own_chip_is_calibrated_to_its_server(own_chip: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "result.json", tmp_path / "mine.yaml"
    file.write_text(json.dumps(vllm_bench(8)))
    told = calibrate_from_vllm_bench(file, Server(str(own_chip), framework="ours 2.1"), out)
    assert told["chip"] == "abacus-2"
    assert {f["stack"] for f in told["factors"]} == {None, "ours"}
    mine = load_chip(str(out))
    assert (mine.vendor, tuple(mine.stacks)) == ("Abacus", ("ours",))
    assert mine.stacks["ours"].layer_overhead.kind == "fitted"


@pytest.mark.parametrize("called", ["abacus-2", "Abacus Two"])
def test_an_own_chip_is_calibrated_to_points(own_chip: Path, tmp_path: Path, called: str) -> None:
    points, out = tmp_path / "points.csv", tmp_path / "mine.yaml"
    head = "id,hardware,chips,tp,model,weight_dtype,framework,isl,osl,concurrency_or_batch,tpot_ms"
    row = "A-{1},{0},1,1,meta-llama/Llama-3.1-8B,bf16,ours,500,50,{1},{2}"
    rows = [row.format(called, users, 9 + users / 9) for users in (1, 8, 30)]
    points.write_text("\n".join([head, *rows]) + "\n")
    told = calibrate(points, str(own_chip), out, jobs=1)
    assert (told["chip"], told["points"]) == ("abacus-2", 3)
    assert told["errors"]["tpot"]["median_ape"] < 0.1
    assert load_chip(str(out)).stacks["ours"].layer_overhead.kind == "fitted"


def test_a_shipped_name_in_an_own_file_means_the_own_file(own_chip: Path, tmp_path: Path) -> None:
    """A copy of the H100 with half the bandwidth, under its old name: points of H100 are its."""
    mapping, _, _ = read_chip("h100-sxm")
    mapping["memory"][1]["bandwidth"] = "1.675 TB/s"
    copy, points = tmp_path / "copy.yaml", tmp_path / "points.csv"
    copy.write_text(yaml.safe_dump(mapping), encoding="utf-8")
    head = "id,hardware,chips,tp,model,weight_dtype,framework,isl,osl,concurrency_or_batch,tpot_ms"
    row = "A-1,NVIDIA H100 SXM,1,1,meta-llama/Llama-3.1-8B,bf16,vllm 0.19,500,50,1,12"
    points.write_text(f"{head}\n{row}\n")
    found = [calibrate(points, name, jobs=1)["factors"] for name in ("h100-sxm", str(copy))]
    layers = [next(f for f in each if f["factor"] == "layer_overhead") for each in found]
    assert all(b["value"] < a["value"] for a, b in pairwise(layers))


def code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    return int(str(done.value.code))


def test_a_name_puts_the_chip_into_the_library(tmp_path: Path, capsys: Any) -> None:
    file, project = tmp_path / "result.json", tmp_path / "project"
    file.write_text(json.dumps(vllm_bench(8)))
    words = ["calibrate", "--chip", "h100-sxm", "--from-vllm-bench", str(file)]
    words += ["--library", str(project), "--name"]
    assert code_of(*words, "ours") == 0
    made = project / "hardware_profiles" / "chips" / "ours.yaml"
    assert f"Written to {made}" in "".join(capsys.readouterr())
    found = load_chip("ours", Library(project))
    assert found.name == "ours"
    assert not found.aliases, "H100's other names still mean the shipped one"
    shipped = load_chip("h100-sxm").stacks["vllm"]
    assert found.stacks["vllm"].layer_overhead != shipped.layer_overhead
    before = made.read_bytes()
    assert code_of(*words, "ours") == 2
    assert "is there already" in "".join(capsys.readouterr())
    assert made.read_bytes() == before
    assert code_of(*words, "ours", "--force") == 0
    assert code_of(*words, "ours", "--out", str(tmp_path / "x.yaml")) == 2
    assert "--name" in "".join(capsys.readouterr())
    assert code_of(*words, "../ours") == 2
    assert "cannot be the name of a profile" in "".join(capsys.readouterr())
