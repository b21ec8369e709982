"""`gcsim trace info`, `convert`, `generate`, and `run --budget`: gcsim.cli.trace, traces.atomic."""

import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcsim.cli import app as cli
from gcsim.cli.trace import BINS_MAX, bins
from gcsim.errors import ProfileError
from gcsim.traffic.traces.atomic import write_atomic
from gcsim.traffic.traces.describe import describe
from gcsim.traffic.traces.write import WRITERS
from gcsim.traffic.trajectory import Step, Trajectory, chain

Call = Callable[..., tuple[int, str, str]]
KEYS = ["requests", "sessions", "span_s", "isl", "osl", "arrival_cv", "token_hit", "block_hit"]
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109\r\n"
    "2023-11-16 18:15:51.2224670,879,55\r\n"
)
MOONCAKE = [
    {"timestamp": 0, "input_length": 1000, "output_length": 5, "hash_ids": [7, 8]},
    {"timestamp": 1000, "input_length": 1024, "output_length": 52, "hash_ids": [7, 9]},
    {"timestamp": 4000, "input_length": 100, "output_length": 1, "hash_ids": [10]},
]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `gcsim` with arguments: (exit code, stdout, stderr)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def mooncake(tmp_path: Path) -> Path:
    file = tmp_path / "mooncake.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in MOONCAKE))
    return file


def test_info_as_json_has_exactly_the_keys(call: Call, mooncake: Path) -> None:
    code, out, err = call("trace", "info", mooncake, "--format", "json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert list(found) == KEYS
    assert list(found["isl"]) == list(found["osl"]) == ["mean", "p50", "p90", "p99"]
    assert (found["requests"], found["span_s"], found["isl"]["mean"]) == (3, 4.0, 708.0)
    assert found["arrival_cv"] == 0.5  # gaps of 1 s and 3 s
    assert found["token_hit"] == pytest.approx(512 / 2124)
    assert found["block_hit"] == pytest.approx(1 / 5)


def test_what_a_format_does_not_say_is_null(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "azure.csv.gz"
    file.write_bytes(gzip.compress(AZURE.encode()))
    found = json.loads(call("trace", "info", file, "--format", "json")[1])
    assert (found["requests"], found["token_hit"], found["block_hit"]) == (3, None, None)


def test_info_as_a_table_has_histograms(call: Call, mooncake: Path) -> None:
    code, out, err = call("trace", "info", mooncake)
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    assert "3 requests in 3 sessions over 4.00 s" in text
    assert "24.1% of the prompt tokens and 20.0% of the hash blocks" in text
    assert all(words in text for words in ("Mooncake", "prompt tokens", "output tokens", "██"))


def test_a_histogram_holds_every_length_in_few_bins() -> None:
    rng = np.random.default_rng(1)
    for lengths in (np.array([5]), np.array([0, 1]), (rng.pareto(0.3, 5000) + 1).astype(np.int64)):
        found = bins(lengths)
        assert sum(count for _, _, count in found) == len(lengths)
        assert len(found) <= BINS_MAX
        assert (found[0][0], found[-1][1]) == (lengths.min(), lengths.max())
        assert all(a[1] + 1 == b[0] for a, b in pairwise(found))
        for first, last, count in found:
            assert count == ((lengths >= first) & (lengths <= last)).sum()


BAD = {
    "a negative length": ('{"timestamp": 3, "input_length": -1, "output_length": 2}', ":2:"),
    "no JSON": ("nothing", ":2:"),
    "a cut line": ('{"timestamp": 3, "input_le', ":2:"),
    "a wrong key": ('{"timestamp": 3, "input": 1, "output_length": 2}', ":2: input_length"),
}


@pytest.mark.parametrize(("line", "words"), BAD.values(), ids=BAD)
def test_a_bad_line_is_an_error_with_its_number_or_counted(
    call: Call, tmp_path: Path, line: str, words: str
) -> None:
    file = tmp_path / "bad.jsonl"
    rows = [json.dumps(row) for row in (MOONCAKE[0], MOONCAKE[2])]
    file.write_text("\n".join((rows[0], line, rows[1])) + "\n")
    for arguments in (("info", file), ("convert", file, tmp_path / "x", "--to", "gcsim")):
        code, out, err = call("trace", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("Error: ")
        assert f"bad.jsonl{words}" in err
        assert "Traceback" not in err
        assert not (tmp_path / "x").exists()
        code, out, err = call("trace", *arguments, "--skip-bad-lines")
        assert code == 0
        assert "Skipped: 1 bad lines" in err
        assert f"bad.jsonl{words}" in err
    found = call("trace", "info", file, "--skip-bad-lines", "--format", "json")[1]
    assert json.loads(found)["requests"] == 2
    assert json.loads(found)["skipped_lines"] == 1


WRONG = {
    "no file": (("info", "{folder}/none.jsonl"), "cannot be read"),
    "no such format": (("info", "{file}", "--trace-format", "moonkake"), "mean 'mooncake'?"),
    "another format": (("info", "{file}", "--trace-format", "azure"), "is missing"),
    "an unknown target format": (("convert", "{file}", "{folder}/x", "--to", "vidur"), "no such"),
    "no such folder": (("convert", "{file}", "{folder}/a/b", "--to", "gcsim"), "cannot be written"),
    "a folder": (("convert", "{file}", "{folder}", "--to", "gcsim"), "cannot be written"),
    "no such workload": (
        ("generate", "--workload", "coding", "--sessions", "1", "--to", "gcsim", "--out", "x"),
        "no workload",
    ),
    "a rate of 0": (
        ("generate", "--workload", "rag", "--sessions", "1", "--to", "gcsim", "--out", "x",
         "--rate", "0"),
        "is no rate",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_input_is_a_message_and_nothing_is_written(
    call: Call, mooncake: Path, arguments: tuple[str, ...], words: str
) -> None:
    folder = str(mooncake.parent)
    texts = [a.replace("{file}", str(mooncake)).replace("{folder}", folder) for a in arguments]
    code, out, err = call("trace", *texts)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert words in err
    assert "Traceback" not in err
    assert [path.name for path in mooncake.parent.iterdir()] == ["mooncake.jsonl"]


@pytest.mark.parametrize("to", WRITERS)
def test_convert_keeps_the_requests(call: Call, mooncake: Path, tmp_path: Path, to: str) -> None:
    target = tmp_path / "out.jsonl.gz"
    code, out, err = call("trace", "convert", mooncake, target, "--to", to)
    assert (code, out) == (0, "")
    assert f"Written to {target}: 3 sessions" in err
    before, after = describe(mooncake).summary(), describe(target).summary()
    for key in ("requests", "isl", "osl", "span_s"):
        assert after[key] == before[key], key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mooncake.jsonl", "out.jsonl.gz"]


def test_convert_says_what_was_dropped(call: Call, tmp_path: Path) -> None:
    made, out = tmp_path / "research.jsonl", tmp_path / "out.jsonl"
    arguments = ("--workload", "research", "--sessions", "30", "--to", "gcsim", "--out", made)
    code, _, err = call("trace", "generate", *arguments)
    assert (code, err) == (0, f"Written to {made}: 30 sessions\n")
    err = call("trace", "convert", made, out, "--to", "mooncake")[2]
    steps = sum(len(json.loads(line)["steps"]) for line in made.read_text().splitlines())
    gone = steps - len(out.read_text().splitlines())
    assert gone > 0
    assert f"Dropped: {gone:,} steps of sub-agents\n" in err


def test_generate_is_seeded_and_has_times_only_at_a_rate(call: Call, tmp_path: Path) -> None:
    def made(*more: str) -> str:
        out = tmp_path / "x.jsonl"
        common = ("--workload", "coding-agent", "--sessions", "20", "--to", "gcsim", "--out", out)
        assert call("trace", "generate", *common, *more)[0] == 0
        return out.read_text()

    assert made("--seed", "3") == made("--seed", "3") != made("--seed", "4")
    assert "start_s" not in made()
    timed = [json.loads(line) for line in made("--rate", "0.5").splitlines()]
    starts = [session["start_s"] for session in timed]
    assert starts == sorted(starts)
    assert 15 < starts[-1] < 80  # 20 starts at 0.5 per second
    untimed = [json.loads(line) for line in made().splitlines()]
    assert [session["steps"] for session in timed] == [session["steps"] for session in untimed]


def test_an_interrupted_writing_leaves_the_earlier_file(tmp_path: Path) -> None:
    target = tmp_path / "x.jsonl"
    target.write_text("earlier")

    def broken() -> Any:
        yield one()
        raise ProfileError.one("trace", "", None, "is broken")

    def one() -> Trajectory:
        return chain(0, "demo", [Step(((1, 9),), 4)])

    for interruption in (ProfileError, KeyboardInterrupt):

        def stopped(what: type[BaseException] = interruption) -> Any:
            yield one()
            if what is KeyboardInterrupt:
                raise KeyboardInterrupt
            yield from broken()

        with pytest.raises(interruption):
            write_atomic(target, stopped(), "gcsim")
        assert target.read_text() == "earlier"
        assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]
    assert write_atomic(target, [one()], "gcsim") == {}
    assert json.loads(target.read_text())["workload"] == "demo"


def test_a_trace_may_be_converted_in_its_place(call: Call, mooncake: Path) -> None:
    assert call("trace", "convert", mooncake, mooncake, "--to", "gcsim")[0] == 0
    assert json.loads(mooncake.read_text().splitlines()[0])["workload"] == "mooncake"


@pytest.mark.slow
def test_a_budget_is_told_in_the_summary_and_the_table(call: Call) -> None:
    few = ("run", "mixed-agents", "--budget", "30s", "--set", "run.trajectories=30",
           "--set", "run.warmup=0 s")  # fmt: skip
    found = json.loads(call(*few, "--format", "json")[1])
    within = found["steps_within_budget"]
    assert set(within) == {"budget_s", "tasks", "mean", "median", "p10", "p90", "finished"}
    assert within["budget_s"] == 30.0
    assert within["tasks"] == sum(c["steps_within_budget"]["tasks"] for c in found["classes"])
    out = call(*few)[1]
    assert all(words in out for words in ("steps in 30.0 s", "research", "good tasks", "human s"))
    code, out, err = call("run", "chatbot", "--budget", "soon")
    assert (code, out) == (2, "")
    assert "run.budget" in err


def test_one_class_needs_no_table_of_classes(call: Call) -> None:
    out = call("run", "chatbot", "--set", "run.trajectories=5", "--set", "run.warmup=0 s")[1]
    assert "good tasks" not in out
