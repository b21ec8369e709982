"""A baseline holds until something moves, and says what (baseline, regression, cli_check)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from gcsim.cli import app as cli
from gcsim.cli import check as cli_check
from gcsim.cli.check_text import Checked, annotation, percent
from gcsim.errors import ProfileError
from gcsim.profiles import library
from gcsim.results.metrics import watched
from gcsim.studies.baseline import Verdict, bless, check, read

pytestmark = pytest.mark.slow  # most of these play runs

SCENARIO = """
name: plan
model: gpt-oss-120b
deployment:
  name: mine
  pools: {serve: {role: mixed, chip: ./chip.yaml, tp: 16, replicas: 1}}
workload: coding-agent
arrivals: {process: closed, agents: 3}
run: {trajectories: 4, seed: 1}
"""
BANDWIDTH = "value: 1.6 TB/s"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository of a team: a plan and a chip of its own."""
    chip = library.Library().find("chip", "sn40l").read_text(encoding="utf-8")
    assert BANDWIDTH in chip
    (tmp_path / "chip.yaml").write_text(chip, encoding="utf-8")
    (tmp_path / "plan.yaml").write_text(SCENARIO, encoding="utf-8")
    return tmp_path


@pytest.fixture
def gcsim(capsys: pytest.CaptureFixture[str], folder: Path) -> Run:
    """Run `gcsim` on the folder's baseline: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, "--baseline", str(folder / "base.json")])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def test_a_changed_number_is_red_and_names_the_profile_and_back_is_green(
    gcsim: Run, folder: Path
) -> None:
    assert gcsim("bless", str(folder / "plan.yaml"), "--why", "the first plan")[0] == 0
    code, out, _ = gcsim("check")
    assert code == 0
    assert f"{len(watched())} metrics hold" in out
    edit(folder / "chip.yaml", BANDWIDTH, "value: 1.5 TB/s")
    code, out, _ = gcsim("check")
    assert code == 1
    assert "Cause: chip sn40l\n" in out
    assert re.search(r"mean TPOT \[ms\] +[\d.]+ +[\d.]+ +\+[\d.]+%", out)
    edit(folder / "chip.yaml", "value: 1.5 TB/s", BANDWIDTH)
    assert gcsim("check")[0] == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (BANDWIDTH, f"{BANDWIDTH} # about"),
        ("execution: fused\n", "execution:   fused\n\n\n"),
        ("source: Hot Chips 2024", "source: Hot Chips 36"),
        ("description: >-", "description: >-\n  Better than its fame."),
    ],
    ids=["comment", "spaces", "source", "description"],
)
def test_what_does_not_act_stays_green(gcsim: Run, folder: Path, old: str, new: str) -> None:
    gcsim("bless", str(folder / "plan.yaml"))
    edit(folder / "chip.yaml", old, new)
    code, out, _ = gcsim("check", "--format", "json")
    assert code == 0
    assert json.loads(out)["scenarios"][0]["changed"] == []


def test_a_number_that_moves_nothing_is_red_when_exact(gcsim: Run, folder: Path) -> None:
    gcsim("bless", str(folder / "plan.yaml"))
    edit(folder / "chip.yaml", "high: 500 TB/s", "high: 400 TB/s")
    code, out, _ = gcsim("check")
    assert code == 1
    assert "chip sn40l changed and moved nothing that is watched" in out
    rewrite(folder / "base.json", lambda data: data.update(inputs="any"))
    code, out, _ = gcsim("check")
    assert code == 0
    assert "(changed: chip sn40l)" in out


@pytest.mark.slow
def test_a_changed_seed_alone_is_no_regression_when_statistical(gcsim: Run, folder: Path) -> None:
    gcsim("bless", str(folder / "plan.yaml"), "--move", "2%", "--replications", "4")
    edit(folder / "plan.yaml", "seed: 1", "seed: 2")
    assert gcsim("check")[0] == 0
    for seed in ("17", "18", "19"):  # really other random numbers
        code, out, _ = gcsim("check", "--seed", seed)
        assert code == 0
        assert "moved within tolerance" in out


def test_a_changed_seed_is_told_when_exact(gcsim: Run, folder: Path) -> None:
    gcsim("bless", str(folder / "plan.yaml"))
    edit(folder / "plan.yaml", "seed: 1", "seed: 2")
    code, out, _ = gcsim("check")
    assert code == 1
    assert "scenario plan changed" in out
    code, out, _ = gcsim("check", "--seed", "5")
    assert code == 1
    assert "the seeds" in out


@pytest.mark.slow
def test_statistical_passes_small_moves_and_catches_large_ones(gcsim: Run, folder: Path) -> None:
    gcsim("bless", str(folder / "plan.yaml"), "--move", "2%", "--replications", "3")
    edit(folder / "chip.yaml", BANDWIDTH, "value: 1.599 TB/s")
    code, out, _ = gcsim("check")
    assert code == 0
    assert "moved within tolerance (changed: chip sn40l)" in out
    edit(folder / "chip.yaml", "value: 1.599 TB/s", "value: 1.2 TB/s")
    code, out, _ = gcsim("check", "--format", "json")
    assert code == 1
    moved = {move["metric"]: move for move in json.loads(out)["scenarios"][0]["moved"]}
    tpot = moved["mean_tpot_ms"]
    assert 0.02 < tpot["low"] < tpot["change"] < tpot["high"]


def test_a_tolerance_holds_for_its_metric(folder: Path) -> None:
    file = folder / "base.json"
    bless([str(folder / "plan.yaml")], file)
    edit(folder / "chip.yaml", BANDWIDTH, "value: 1.59 TB/s")
    loose = {"kind": "exact", "relative": 0.5}
    rewrite(file, lambda data: data["tolerance"].update(mean_tpot_ms=loose))
    (verdict,) = check(file)
    assert "mean_tpot_ms" in {move.metric for move in verdict.within}
    assert "p99_tpot_ms" in {move.metric for move in verdict.moved}


def test_no_changed_input_means_that_the_code_moved_it(folder: Path) -> None:
    file = folder / "base.json"
    bless([str(folder / "plan.yaml")], file)

    def older(data: dict[str, Any]) -> None:
        pinned = data["scenarios"]["./plan.yaml"]
        pinned["metrics"]["mean_ttft_ms"][0] *= 1 + 1e-8

    rewrite(file, older)
    (verdict,) = check(file)
    assert [move.metric for move in verdict.moved] == ["mean_ttft_ms"]
    assert verdict.cause == "no input and no version: the code of gcsim itself"
    made = {"gcsim": "0.0.1"}
    rewrite(file, lambda d: d["scenarios"]["./plan.yaml"]["made_with"].update(made))
    assert "gcsim 0.0.1 -> " in check(file)[0].cause


def test_a_move_below_the_exact_tolerance_is_none(folder: Path) -> None:
    file = folder / "base.json"
    bless([str(folder / "plan.yaml")], file)

    def nudge(data: dict[str, Any]) -> None:
        data["scenarios"]["./plan.yaml"]["metrics"]["mean_ttft_ms"][0] *= 1 + 5e-10

    rewrite(file, nudge)
    (verdict,) = check(file)
    assert verdict.passes
    assert [move.metric for move in verdict.within] == ["mean_ttft_ms"]


@pytest.mark.slow
def test_a_queue_that_grows_now_is_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "base.json"
    bless([str(folder / "plan.yaml")], file)
    monkeypatch.setattr("gcsim.simulate.saturation", lambda *_: "it grows")
    (verdict,) = check(file)
    assert verdict.fails == "is saturated now: it grows"
    with pytest.raises(ProfileError, match="is saturated: it grows"):
        bless([str(folder / "plan.yaml")], folder / "other.json", move=0.02)


@pytest.mark.slow
def test_blessing_says_what_it_accepts_and_keeps_the_rest(gcsim: Run, folder: Path) -> None:
    few = ["--set", "run.trajectories=2"]
    gcsim("bless", str(folder / "plan.yaml"))
    gcsim("bless", "chatbot", *few, "--set", "run.warmup=0 s")
    edit(folder / "chip.yaml", BANDWIDTH, "value: 1.5 TB/s")
    code, _, err = gcsim("bless", "--why", "#12: measured again")
    assert code == 0
    assert "(chip sn40l)" in err
    found = read(folder / "base.json")
    assert found.why == "#12: measured again"
    assert set(found.scenarios) == {"./plan.yaml", "chatbot"}
    assert found.scenarios["chatbot"].settings["run.trajectories"] == 2
    assert found.blessed["./plan.yaml"]["inputs"] == ["chip sn40l"]
    old, new = found.blessed["./plan.yaml"]["moved"]["mean_tpot_ms"]
    assert old < new
    assert "chatbot" not in found.blessed
    assert gcsim("check")[0] == 0


def test_a_trace_counts_by_its_content(folder: Path) -> None:
    trace = folder / "trace.jsonl"
    rows = [{"timestamp": k * 1000, "input_length": 600, "output_length": 5, "hash_ids": [k, 7]}
            for k in range(4)]  # fmt: skip
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    workload = "workload: {name: t, trace: {format: mooncake, path: trace.jsonl}}"
    text = SCENARIO.replace("workload: coding-agent", workload)
    text = text.replace("{process: closed, agents: 3}", "{process: trace}")
    (folder / "plan.yaml").write_text(text)
    file = folder / "base.json"
    bless([str(folder / "plan.yaml")], file)
    assert check(file)[0].passes
    (folder / "same.jsonl").write_text(trace.read_text())
    edit(folder / "plan.yaml", "trace.jsonl", "same.jsonl")
    assert check(file)[0].passes
    edit(folder / "plan.yaml", "same.jsonl", "trace.jsonl")
    trace.write_text(trace.read_text().replace('"output_length": 5', '"output_length": 6', 1))
    (verdict,) = check(file)
    assert not verdict.passes
    assert verdict.changed == ("workload t",)


def test_the_reports_of_a_workflow(gcsim: Run, folder: Path) -> None:
    gcsim("bless", str(folder / "plan.yaml"))
    junit = folder / "reports" / "junit.xml"
    code, out, _ = gcsim("check", "--format", "github", "--junit", str(junit))
    assert code == 0
    assert out.startswith("::notice title=gcsim ./plan.yaml::")
    suite = Xml.parse(junit).getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == (str(len(watched()) + 1), "0")
    edit(folder / "chip.yaml", BANDWIDTH, "value: 1.5 TB/s")
    code, out, _ = gcsim("check", "--format", "github", "--junit", str(junit))
    assert code == 1
    assert out.startswith("::error file=")
    assert out.count("\n") == 1  # one command: its line breaks are escaped
    assert "Cause: chip sn40l%0A" in out
    failures = Xml.parse(junit).getroot().findall(".//failure")
    assert len(failures) > 5
    assert failures[0].text == "Cause: chip sn40l"


def test_texts_of_an_annotation_are_escaped() -> None:
    verdict = Verdict("a:b,c", (), (), 3, (), "5%\nno", "fails", {})
    text = annotation(verdict, Path("x.json"))
    assert text == "::error file=x.json,title=gcsim a%3Ab%2Cc::fails. Cause: 5%25%0Ano"
    assert percent(float("inf")) == "from 0 or undefined"
    assert {how.value for how in Checked} == {"table", "json", "github"}
    assert cli_check.BASELINE.name == "gcsim-baseline.json"


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "an unknown metric": (
        lambda d: d["tolerance"].update(mean_tttf_ms={"kind": "exact"}), "'mean_ttft_ms'"
    ),
    "no default": (lambda d: d["tolerance"].pop("default"), "tolerance.default: is missing"),
    "statistical on one seed": (
        lambda d: d["tolerance"].update(default={"kind": "statistical", "move": 0.1}), "2 seeds"
    ),
    "a value too few": (
        lambda d: d["scenarios"]["./plan.yaml"]["seeds"].append(2), "one value for each seed"
    ),
    "an unknown key": (lambda d: d.update(tolerances={}), "mean 'tolerance'?"),
    "a scenario that is gone": (
        lambda d: d["scenarios"].update(gone=d["scenarios"]["./plan.yaml"]), "no scenario of this"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_baseline_is_an_error_and_no_verdict(
    gcsim: Run, folder: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    gcsim("bless", str(folder / "plan.yaml"))
    rewrite(folder / "base.json", lambda data: (change(data), None)[1])
    code, out, err = gcsim("check")
    assert (code, out) == (2, "")
    assert words in err


def test_errors_are_exit_code_2(gcsim: Run, folder: Path) -> None:
    assert gcsim("check")[0] == 2
    assert "make one: gcsim bless" in gcsim("check")[2]
    assert gcsim("bless")[0] == 2
    assert gcsim("bless", "chatbots")[0] == 2
    assert gcsim("bless", "chatbot", "--move", "two")[0] == 2
    assert gcsim("bless", "chatbot", "--move", "2%", "--replications", "1")[0] == 2
    gcsim("bless", str(folder / "plan.yaml"))
    (folder / "chip.yaml").unlink()
    code, _, err = gcsim("check")
    assert code == 2
    assert "chip.yaml" in err
