"""What is printed, where, and with which exit code: gcsim.cli.app, gcsim.cli.console."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gcsim.cli import app as cli
from gcsim.cli import console as cli_output
from gcsim.errors import GcsimError

SMALL = ["--set", "arrivals.agents=2", "--set", "run.trajectories=3"]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `gcsim` with arguments: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def as_json(call: Call, *arguments: str) -> Any:
    code, out, err = call(*arguments, "--format", "json")
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command(call: Call, arguments: list[str]) -> None:
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert all(word in out for word in ("run", "compare", "estimate", "list", "show"))


def test_version(call: Call) -> None:
    assert call("--version")[:2] == (0, "gcsim 0.1.0\n")


def test_run_gives_one_json_object_on_stdout(call: Call) -> None:
    found = as_json(call, "run", "coding-agents", "--seed", "7", *SMALL)
    assert (found["scenario"], found["seed"]) == ("coding-agents", 7)
    assert found["completed"] > 0
    assert sum(found["breakdown_ms"].values()) == pytest.approx(found["mean_e2el_ms"], rel=1e-9)


@pytest.mark.slow
def test_both_engines_print_the_same(call: Call) -> None:
    one = call("run", "coding-agents", "--engine", "coalesced", *SMALL)
    two = call("run", "coding-agents", "--engine", "iteration", *SMALL)
    assert one == two
    assert "where" not in one[2]


def test_a_table_has_units_and_points_to_what_is_assumed(call: Call) -> None:
    code, out, _ = call("run", "coding-agents", *SMALL)
    assert code == 0
    assert all(text in out for text in ("TTFT [ms]", "task time [s]", "gcsim show chip sn40l"))
    assert all(line == line.rstrip() for line in out.splitlines())


def test_run_writes_a_folder_and_says_so_on_stderr(call: Call, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "results"
    code, out, err = call("run", "coding-agents", "--out", str(target), "--format", "json", *SMALL)
    assert code == 0
    shown = json.loads(out)
    assert set(shown.pop("prediction")["intervals"]) == {"ttft", "tpot", "e2e"}
    assert shown == json.loads((target / "summary.json").read_text())
    assert str(target) in err


@pytest.mark.slow
def test_compare_prints_ratios_and_what_decides(call: Call) -> None:
    arguments = ["compare", "coding-agents", "--deployment", "sn40l-mono"]
    arguments += ["--deployment", "sn50-mono", *SMALL]
    code, out, _ = call(*arguments)
    assert code == 0
    assert "Ratio to sn40l-mono" in out
    assert "is bound by" in " ".join(out.split())
    found = as_json(call, *arguments)
    assert [entry["name"] for entry in found["deployments"]] == ["sn40l-mono", "sn50-mono"]
    ratio = found["ratio_to_first"]["sn50-mono"]["mean_e2el_ms"]
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"] < 1
    assert set(found["deployments"][0]) >= {"mean_ttft_ms", "breakdown_ms", "assumed_values"}


@pytest.mark.slow
def test_rates_and_vary_tell_who_wins_at_each_value(call: Call) -> None:
    two = ["--deployment", "sn40l-mono", "--deployment", "mi300x-prefill-sn50-decode", *SMALL]
    found = as_json(call, "compare", "coding-agents", *two, "--rates", "0.02,0.01")
    assert [point["value"] for point in found["points"]] == [0.01, 0.02]
    assert set(found["points"][0]["winner"]) == {"mean_task_ms", "request_goodput"}
    path = "deployment.links.bandwidth"
    code, out, _ = call("compare", "coding-agents", *two, "--vary", f"{path}=100,400Gbit/s")
    assert code == 0
    assert "400 Gbit/s" in out
    assert "Without such a setting, so the same: sn40l-mono." in out


def test_estimate_hits_the_published_single_stream(call: Call) -> None:
    point = ["--chip", "sn40l", "--tp", "16", "--model", "gpt-oss-120b"]
    found = as_json(call, "estimate", *point, "--isl", "10000", "--osl", "700")
    assert found["tok_s_user"] == pytest.approx(713, rel=0.15)  # Infercom
    assert found["ttft_ms"] == pytest.approx(388, rel=0.25)
    assert set(found) >= {"e2el_ms", "output_throughput", "bound", "breakdown_ms"}
    code, out, _ = call("estimate", *point, "--isl", "10000", "--osl", "700")
    assert code == 0
    assert "tok/s per user" in out
    assert "Bound by" in out


LISTED = ["chips", "stacks", "models", "deployments", "workloads", "scenarios"]


@pytest.mark.parametrize("what", LISTED)
def test_list_names_what_is_shipped(call: Call, what: str) -> None:
    rows = as_json(call, "list", what)[what]
    code, out, _ = call("list", what)
    assert code == 0
    assert rows
    assert all(row["name"] in out and Path(row["file"]).is_file() for row in rows)


@pytest.mark.parametrize(
    ("kind", "name", "word"),
    [
        ("chip", "SambaNova SN40L", "not taken: 1.64 TB/s"),
        ("stack", "sglang", "policy: prefill_first"),
        ("model", "gpt-oss-120b", "116.8 B"),
        ("deployment", "mi300x-prefill-sn50-decode", "400 Gbit/s"),
        ("workload", "coding-agent", "lognormal"),
        ("scenario", "coding-agents", "sn40l"),
    ],
)
def test_show_tells_all(call: Call, kind: str, name: str, word: str) -> None:
    code, out, err = call("show", kind, name)
    assert (code, err) == (0, "")
    assert word in out
    assert as_json(call, "show", kind, name)["name"]


def test_show_chip_gives_every_number_with_its_origin(call: Call) -> None:
    found = as_json(call, "show", "chip", "sn50")
    efficiency = found["efficiency"]["gemm_bf16"]
    assert efficiency["kind"] == "assumed"
    assert efficiency["low"] < efficiency["value"] < efficiency["high"]
    assert efficiency["source"]
    out = call("show", "chip", "sn50")[1]
    assert "0.4 .. 0.79" in out
    assert "of these numbers are assumed" in out


def test_placement_streams_a_large_model_from_the_lower_tier(call: Call) -> None:
    shape = ["show", "placement", "--chip", "sn40l", "--tp", "16", "--model", "deepseek-r1"]
    bf16 = as_json(call, *shape, "--dtype", "bf16")["tiers_per_chip"]
    ddr = next(tier for tier in bf16 if tier["tier"] == "ddr")
    assert ddr["weights_bytes"]["experts"] > 1e9
    fp8 = as_json(call, *shape)["tiers_per_chip"]
    assert next(tier for tier in fp8 if tier["tier"] == "ddr")["weights_bytes"]["experts"] == 0
    assert "room for" in call(*shape)[1]


WRONG = {
    "no such scenario": (["run", "coding-agent"], "did you mean 'coding-agents'?"),
    "no such file": (["run", "./no.yaml"], "no such file"),
    "not YAML": (["run", "{folder}/broken.yaml"], "is not YAML"),
    "an alias bomb": (["run", "{folder}/bomb.yaml"], "uses a YAML alias"),
    "a key given twice": (["run", "{folder}/twice.yaml"], "is given twice"),
    "a setting without a value": (["run", "coding-agents", "--set", "x"], "write path=value"),
    "an unknown setting": (["run", "coding-agents", "--set", "run.sed=1"], "mean 'seed'?"),
    "a value of the wrong kind": (["run", "coding-agents", "--set", "run.seed=x"], "run.seed"),
    "a folder that is a file": (["run", "coding-agents", "--out", "{folder}/bomb.yaml"], "--out"),
    "a folder inside a file": (["run", "coding-agents", "--out", "{folder}/bomb.yaml/x"], "--out"),
    "a model that does not fit": (
        ["run", "coding-agents", "--set", "model=llama-3.1-405b", "--set", "dtype=fp32",
         "--set", "deployment=h100-mono"],
        "do not fit",
    ),
    "a trace without a path": (["run", "mooncake-replay"], "--set workload.trace.path=FILE"),
    "an unknown deployment": (["compare", "chatbot", "--deployment", "x"], "no deployment"),
    "rates and vary": (["compare", "chatbot", "--rates", "1", "--vary", "a=1"], "do not go"),
    "a rate of zero": (["compare", "chatbot", "--rates", "0,1"], "is no rate"),
    "no values": (["compare", "chatbot", "--vary", "a="], "write path=a,b,c"),
    "a path that nothing has": (["compare", "chatbot", "--vary", "a.b=1,2"], "unknown key"),
    "two scenarios and a deployment": (
        ["compare", "chatbot", "coding-agents", "--deployment", "sn50-mono"], "give one scenario"
    ),
    "no prompt": (
        ["estimate", "--chip", "sn50", "--model", "llama-3.1-8b", "--isl", "0", "--osl", "1"],
        "isl: must be at least 1",
    ),
    "more than the context": (
        ["estimate", "--chip", "sn50", "--model", "llama-3.1-8b", "--isl", "9999999", "--osl", "1"],
        "context window",
    ),
    "an unknown number format": (
        ["show", "placement", "--chip", "sn50", "--model", "llama-3.1-8b", "--dtype", "fp16"],
        "no number format",
    ),
    "nothing to show": (["show", "chip"], "gcsim list chips"),
    "a placement of nothing": (["show", "placement", "--chip", "sn50"], "--model: is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_input_is_a_message_and_exit_code_2(
    call: Call, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "broken.yaml").write_text("a: [1")
    (tmp_path / "bomb.yaml").write_text("a: &a [1, 1]\nb: [*a, *a]\n")
    (tmp_path / "twice.yaml").write_text("name: a\nname: b\n")
    code, out, err = call(*(part.replace("{folder}", str(tmp_path)) for part in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments", [["run", "chatbot", "--format", "xml"], ["run"], ["fly"], ["list", "x"]]
)
def test_a_wrong_usage_is_told_on_stderr(call: Call, arguments: list[str]) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert "Error" in err
    assert "Traceback" not in err


def test_an_unwritable_folder_is_told_before_the_run(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the run was started")

    monkeypatch.setattr("gcsim.studies.run.simulate", never)
    (tmp_path / "file").write_text("")
    assert call("run", "coding-agents", "--out", str(tmp_path / "file" / "x"))[0] == 2


def test_errors_and_interrupts_become_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    @cli_output.guarded
    def fails(error: BaseException) -> None:
        raise error

    for error, code in ((GcsimError("so it is"), 2), (KeyboardInterrupt(), 130)):
        with pytest.raises(cli.typer.Exit) as ended:
            fails(error)
        assert ended.value.exit_code == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["Error: so it is", "Interrupted: nothing was written."]


@pytest.mark.parametrize("command", ["run", "compare"])
@pytest.mark.slow
def test_ctrl_c_ends_it_with_one_line_and_writes_nothing(tmp_path: Path, command: str) -> None:
    endless = ["coding-agents", "--set", "arrivals.agents=2", "--set", "run.trajectories=5000"]
    endless += ["--out", str(tmp_path / "x")] if command == "run" else ["--deployment", "sn50-mono"]
    code = (  # what a shell starts in the background does not mind SIGINT by itself
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"import gcsim.cli.app; gcsim.cli.app.main({[command, *endless]!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    time.sleep(5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert err.startswith("Interrupted: ")
    assert err.endswith("nothing was written.\n")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_output_is_the_same_whatever_the_hash_seed_and_survives_a_narrow_encoding() -> None:
    code = f"import gcsim.cli.app; gcsim.cli.app.main({['run', 'coding-agents', *SMALL]!r})"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | extra, capture_output=True, check=True
        ).stdout
        for extra in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"},
                      {"PYTHONIOENCODING": "ascii", "COLUMNS": "wide"})
    ]  # fmt: skip
    assert outputs[0] == outputs[1]
    assert b"TTFT [ms]" in outputs[2]


@pytest.mark.slow
def test_a_pipe_that_closes_is_no_error() -> None:
    code = "import gcsim.cli.app; gcsim.cli.app.main(['list', 'models', '--format', 'json'])"
    line = f'"{sys.executable}" -c "{code}" | head -c 10'
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_progress_is_drawn_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_output, "AFTER_S", 0.0)
    with cli_output.progress("work", 2) as tell:
        time.sleep(0.2)
        tell(1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with cli_output.progress("work", 2) as tell:
        time.sleep(0.2)
        tell(1)
    assert "work" in capsys.readouterr().err


@pytest.mark.slow
def test_a_saturated_run_shows_no_mean_that_grows_with_its_length() -> None:
    from dataclasses import replace

    from rich.console import Console

    from gcsim.cli.run_text import run_table
    from gcsim.results.metrics import each
    from gcsim.studies.run import run

    sound = run("chatbot", settings={"run.trajectories": 20, "run.warmup": "0 s"})
    why = {"saturated": True, "saturated_why": "the queue grows"}
    texts = []
    for result in (sound, replace(sound, summary={**sound.summary, **why})):
        console = Console(width=100, markup=False, record=True, file=io.StringIO())
        console.print(run_table(result))
        texts.append(console.export_text())
    assert "saturated" not in texts[0]
    assert "A step takes" in texts[0]
    assert texts[1].count("saturated") == sum("grows" in metric for metric in each())
    assert "A step takes" not in texts[1]
