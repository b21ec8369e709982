"""Sweeps: what is played, what is kept, and that nothing but the inputs shows in the table.

Of gcsim.studies.sweep and the modules beside it, and of gcsim.cli.sweep.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gcsim
from gcsim.cli import app as cli
from gcsim.cli.sweep_text import SHOWN
from gcsim.errors import CapacityError, GcsimError, Interrupted, ProfileError
from gcsim.profiles.resolve import Resolved, resolve, with_settings
from gcsim.studies import workers
from gcsim.studies.finished import TABLE, finished
from gcsim.studies.grid import Axis, axes_of, combinations, has, key_of
from gcsim.studies.sweep import Sweep, sweep
from gcsim.studies.sweep_table import flat, point_table

pytestmark = pytest.mark.slow  # most of these play runs

MONO, OTHER, SPLIT = "sn40l-mono", "sn50-mono", "mi300x-prefill-sn50-decode"
FEW = {"arrivals.agents": 2, "run.trajectories": 2}
SEEDS = {"deployment": [MONO, OTHER], "run.seed": [1, 2, 3]}
DECODE_TP = "deployment.pools.decode.tp"
Run = Callable[[Resolved], dict[str, Any]]


def few(grid: dict[str, Any] = SEEDS, **rest: Any) -> Sweep:
    return sweep("coding-agents", grid, settings=FEW, **rest)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of what this process plays."""
    played: list[str] = []
    real = workers.play_point

    def counted(resolved: Resolved, *rest: Any) -> Any:
        played.append(key_of(resolved))
        return real(resolved, *rest)

    monkeypatch.setattr(workers, "play_point", counted)
    return played


def faked(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Every point gives what `run` says instead of being simulated."""

    class Played:
        def __init__(self, resolved: Resolved) -> None:
            self.summary = run(resolved)

    monkeypatch.setattr(workers, "simulate", Played)


# What is played


def test_the_rows_are_the_product_in_the_order_of_the_grid() -> None:
    grid = {"run.seed": [3, 1], "deployment": [OTHER, MONO], "engine": ["coalesced"]}
    table = few(grid).table
    wanted = list(product([3, 1], [OTHER, MONO], ["coalesced"]))
    assert list(table[list(grid)].itertuples(index=False, name=None)) == wanted


def test_a_row_is_what_the_same_run_gives_alone() -> None:
    table = few(SEEDS, jobs=1).table
    alone = gcsim.run("coding-agents", settings={"deployment": OTHER, **FEW}, seed=2).summary
    row = table[(table["deployment"] == OTHER) & (table["run.seed"] == 2)].iloc[0]
    for key in ("mean_ttft_ms", "p99_e2el_ms", "request_goodput", "completed"):
        assert row[key] == alone[key]
    assert row["ci95_mean_ttft_ms.low"] == alone["ci95_mean_ttft_ms"][0]
    assert row["pools.serve.mfu"] == alone["pools"][0]["mfu"]
    assert row["power_w"] == sum(pool["power_w"] for pool in alone["pools"])


def test_every_number_of_a_summary_has_a_column_that_is_a_number() -> None:
    found = few({"deployment": [SPLIT]})
    summary = gcsim.run("coding-agents", settings={"deployment": SPLIT, **FEW}).summary
    summary["classes"] = []  # one class is the run itself
    names = {name for name, value in flat(summary).items() if value != []}
    assert names <= set(found.table.columns)
    for name, value in flat(summary).items():
        if isinstance(value, bool | int | float):
            assert found.table[name].dtype.kind in "bif", name


@pytest.mark.parametrize(
    ("values", "column", "cells"),
    [
        (("25 Gbit/s", "50 GB/s"), "x_bytes_per_s", (3.125e9, 50e9)),
        (("70 ms", 0, "1 s"), "x_s", (0.07, 0.0, 1.0)),
        (("1 /s", "2/s"), "x_per_s", (1.0, 2.0)),
        ((1, 2.5), "x", (1, 2.5)),
        (("50%", "1"), "x", (0.5, 1.0)),
        (("delta", "full"), "x", ("delta", "full")),
        (("1 s", "1 GB"), "x", ("1 s", "1 GB")),
        ((None, {"b": 1}), "x", (None, '{"b": 1}')),
    ],
)
def test_an_axis_has_one_type_and_its_unit_in_its_name(
    values: tuple[Any, ...], column: str, cells: tuple[Any, ...]
) -> None:
    axis = Axis("x", values)
    assert (axis.column, axis.cells) == (column, cells)


def test_a_setting_that_one_deployment_lacks_is_said_and_played_once(runs: list[str]) -> None:
    found = few({"deployment": [MONO, SPLIT], DECODE_TP: [8, 16, 32]}, jobs=1)
    assert found.lacks == {DECODE_TP: [MONO]}
    assert list(found.table["lacks"].notna()) == [True] * 3 + [False] * 3
    assert len(runs) == len(set(runs)) == 4
    mono, split = found.table[:3]["mean_tpot_ms"], found.table[3:]["mean_tpot_ms"]
    assert (mono.nunique(), split.nunique()) == (1, 3)
    assert len(found.errors) == 0


def test_a_list_without_items_lacks_what_its_items_would_have() -> None:
    link = "deployment.links.bandwidth"
    found = few({"deployment": [MONO, SPLIT], link: ["25 Gbit/s", "400 Gbit/s"]})
    assert found.lacks == {link: [MONO]}
    assert f"{link}_bytes_per_s" in found.keys


def test_a_default_that_no_file_states_is_a_setting() -> None:
    base = resolve("coding-agents")
    assert "pp" not in base.mapping["deployment"]["pools"]["serve"]
    assert has(base, "deployment.pools.serve.pp")
    found = few({"deployment": [MONO, OTHER], "deployment.pools.serve.pp": [1, 0]})
    assert found.lacks == {}
    assert list(found.table["error"].notna()) == [False, True] * 2


def test_settings_that_go_into_others_come_after_them() -> None:
    grid = {"deployment.pools.serve.tp": [8], "deployment": [MONO], "model.layers": [20, 24]}
    grid["model"] = ["gpt-oss-20b"]
    points = combinations("coding-agents", axes_of(grid), {})
    for layers, point in zip((20, 24), points, strict=True):
        scenario = point.resolved().scenario
        assert (scenario.model.name, scenario.model.layers) == ("gpt-oss-20b", layers)
        assert scenario.deployment.pools["serve"].tp == 8


@pytest.mark.parametrize(
    ("grid", "match"),
    [
        ({"run.trajectoris": [1, 2]}, "run.trajectoris.*did you mean 'trajectories'"),
        ({"deployment": [MONO, OTHER], DECODE_TP: [1, 2]}, "pools.decode"),
        (
            {"deployment": [MONO, OTHER], "deployment.links.lanes": [1]},
            "no deployment of this sweep has",
        ),
        ({"run.seed": []}, "has no values"),
        ({"run.seed": "12"}, "has no values"),
        ({"deployment": ["sn40-mono"]}, "did you mean"),
        ({"deployment.pools.serve.tp": [0, -1]}, "serve.tp"),
    ],
)
def test_a_grid_of_which_nothing_can_be_played_is_told_first(
    grid: dict[str, Any], match: str, tmp_path: Path, runs: list[str]
) -> None:
    with pytest.raises(ProfileError, match=match):
        few(grid, out=tmp_path / "out", jobs=1)
    assert not runs
    assert not (tmp_path / "out").exists()


# What fails

WRONG = {"deployment": ["h100-mono"], "deployment.pools.serve.tp": [1, 8, 999]}
WRONG["model"] = ["minimax-m2"]


def test_a_point_that_fails_is_recorded_and_the_others_go_on() -> None:
    found = few(WRONG, jobs=1)
    assert len(found.table) == 3
    assert list(found.errors["deployment.pools.serve.tp"]) == [1, 999]
    does_not_fit, no_such = found.errors["error"]
    assert "fit" in does_not_fit
    assert "reach" in no_such
    assert found.table["completed"].dtype == "Int64"
    assert list(found.table["completed"].isna()) == [True, False, True]
    over = "deployment, deployment.pools.serve.tp, model"
    assert repr(found) == f"Sweep(coding-agents: 3 points over {over}, 2 failed)"
    assert json.loads(found.to_json())["failed"] == 2


@pytest.mark.parametrize(
    ("error", "text", "again"),
    [
        (RuntimeError("of nobody's making"), "RuntimeError: of nobody's making", True),
        (CapacityError.one("m", "f", 1, "is too much"), "m: f: is too much (got 1)", False),
    ],
)
def test_any_exception_is_recorded_and_only_a_wrong_input_is_final(
    error: Exception, text: str, again: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = workers.simulate
    played = []

    def broken(resolved: Resolved) -> Any:
        played.append(resolved.scenario.run.seed)
        if resolved.scenario.run.seed == 2:
            raise error
        return real(resolved)

    monkeypatch.setattr(workers, "simulate", broken)
    found = few({"run.seed": [1, 2, 3]}, jobs=1, out=tmp_path / "out")
    assert list(found.errors["error"]) == [text]
    few({"run.seed": [1, 2, 3]}, jobs=1, out=tmp_path / "out")
    assert played == [1, 2, 3] + [2] * again
    assert isinstance(error, GcsimError) != again


@pytest.mark.slow
def test_a_process_that_dies_of_a_point_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, seeds = workers.play_point, [1, 2, 3, 4, 5, 6]

    def deadly(resolved: Resolved, version: str) -> Any:  # nested: pickled by value
        if resolved.scenario.run.seed == 3:
            os.kill(os.getpid(), 9)
        return real(resolved, version)

    monkeypatch.setattr(workers, "play_point", deadly)
    found = few({"run.seed": seeds}, jobs=2)
    assert list(found.errors["run.seed"]) == [3]
    assert list(found.errors["error"]) == [workers.DIED]
    monkeypatch.setattr(workers, "play_point", real)
    sound = few({"run.seed": seeds}, jobs=1).table
    pd.testing.assert_series_equal(
        found.table["mean_e2el_ms"].drop(2), sound["mean_e2el_ms"].drop(2)
    )


# What is kept


def bytes_of(folder: Path) -> bytes:
    return (folder / TABLE).read_bytes()


@pytest.mark.slow
def test_the_table_is_the_same_on_one_core_and_on_two(tmp_path: Path) -> None:
    for jobs in (1, 2):
        few(out=tmp_path / str(jobs), jobs=jobs)
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2")
    read = pd.read_parquet(tmp_path / "1" / TABLE)
    pd.testing.assert_frame_equal(read, few().table)


@pytest.mark.slow
def test_a_finished_point_is_never_played_again(tmp_path: Path, runs: list[str]) -> None:
    out = tmp_path / "out"
    first = few(out=out, jobs=1)
    assert (len(runs), first.played) == (6, 6)
    before = bytes_of(out)
    assert few(out=out, jobs=1).played == 0
    assert bytes_of(out) == before
    few({**SEEDS, "engine": ["iteration"]}, out=out, jobs=1)
    assert len(runs) == 6  # the engine does not matter
    wider = {"deployment": [OTHER, MONO, SPLIT], "run.seed": [0, 1, 2, 3]}
    assert few(wider, out=out, jobs=1).played == len(runs) - 6 == 6
    assert few({"run.seed": [1]}, out=out, jobs=1).played == 0


@pytest.mark.slow
def test_another_version_plays_all_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[str]
) -> None:
    few(out=tmp_path / "out", jobs=1)
    monkeypatch.setattr("gcsim.studies.grid.__version__", "0.0.1")
    few(out=tmp_path / "out", jobs=1)
    assert len(runs) == 12


def test_the_content_of_a_trace_is_an_input(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    keys = []
    for prompt in (1500, 1501):
        row = {"timestamp": 0, "input_length": prompt, "output_length": 5, "hash_ids": [1, 2, 3]}
        trace.write_text(json.dumps(row))
        path = {"workload.trace.path": str(trace), "deployment": MONO}
        keys.append(key_of(resolve("mooncake-replay", path)))
    assert keys[0] != keys[1]


def test_a_point_that_is_cut_off_is_played_again(tmp_path: Path, runs: list[str]) -> None:
    out = tmp_path / "out"
    few(out=out, jobs=1)
    before = bytes_of(out)
    cut, *_ = sorted((out / "points").iterdir())
    cut.write_text(cut.read_text()[:100])
    assert few(out=out, jobs=1).played == 1
    assert bytes_of(out) == before


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = []

    def interrupt(share: float) -> None:
        told.append(share)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"3 finished points are kept in .*out; the same command"):
        few(out=out, jobs=1, progress=interrupt)
    assert not (out / TABLE).exists()
    assert told == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert few(out=out, jobs=1).played == 3
    few(out=tmp_path / "whole", jobs=1)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


SIXTEEN = {"deployment": [MONO, OTHER], "run.seed": list(range(1, 9))}


def command(out: Path, *more: str) -> list[str]:
    words = [
        "sweep",
        "coding-agents",
        "--out",
        str(out),
        "--set",
        "arrivals.agents=2",
        "--set",
        "run.trajectories=2",
    ]
    words += ["--deployment", MONO, "--deployment", OTHER, "--grid", "run.seed=1,2,3,4,5,6,7,8"]
    return [sys.executable, "-m", "gcsim.cli.app", *words, *more]


def played_in(out: Path, least: int, of: subprocess.Popen[str]) -> None:
    """Wait until so many points are finished."""
    until = time.monotonic() + 120
    while len(list((out / "points").glob("[!.]*.json"))) < least:
        assert of.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_sweep_goes_on_to_the_same_bytes(tmp_path: Path, jobs: str) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    with subprocess.Popen(command(out, "--jobs", jobs), text=True) as process:
        played_in(out, 3, process)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (out / TABLE).exists()
    assert 3 <= 16 - few(SIXTEEN, out=out).played < 16
    few(SIXTEEN, out=whole, jobs=1)
    assert bytes_of(out) == bytes_of(whole)
    assert not list(out.rglob("*.tmp"))


@pytest.mark.slow
def test_two_processes_do_not_write_to_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with finished(out):
        done = subprocess.run(command(out), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("another sweep is writing to it") == 1
    assert "Traceback" not in done.stderr
    assert not (out / TABLE).exists()
    with finished(out):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ProfileError, match="is not the folder of a sweep"):
        few(out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


GRID = {"deployment": [MONO, SPLIT], "run.seed": [1, 2], DECODE_TP: [8, 999]}


@pytest.fixture(scope="module")
def by_key() -> dict[Any, Any]:
    return rows_by_key(few(GRID, jobs=1))


def rows_by_key(found: Sweep) -> dict[Any, Any]:
    keys = sorted(found.keys)
    rows = json.loads(found.to_json())["points"]
    return {tuple(row[key] for key in keys): dict(sorted(row.items())) for row in rows}


@pytest.mark.slow
@given(order=st.permutations(list(GRID)), mix=st.randoms(use_true_random=False))
@settings(max_examples=12)
def test_a_shuffled_grid_gives_the_same_row_for_each_key(
    order: list[str], mix: random.Random, by_key: dict[Any, Any]
) -> None:
    grid = {path: mix.sample(GRID[path], len(GRID[path])) for path in order}
    assert rows_by_key(few(grid, jobs=1)) == by_key


# On a Dask cluster


@pytest.fixture
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as started:
        yield started


MANY = {"deployment": [MONO, OTHER], "run.seed": list(range(1, 31))}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_dask_worker_that_is_killed_changes_no_byte(cluster: Any, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(share: float) -> None:
        if share > 0.1 and not killed:
            killed.append(next(iter(cluster.workers.values())).process.pid)
            os.kill(killed[0], signal.SIGKILL)

    address = cluster.scheduler_address
    found = few(MANY, out=tmp_path / "dask", dask=address, progress=kill)
    assert killed
    assert found.played == 60
    few(MANY, out=tmp_path / "one", jobs=1)
    assert bytes_of(tmp_path / "dask") == bytes_of(tmp_path / "one")


@pytest.mark.slow
def test_a_dask_cluster_is_started_and_a_wrong_point_is_no_matter(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    few(WRONG, out=tmp_path / "dask", dask="local", jobs=1)
    found = few(WRONG, out=tmp_path / "one", jobs=1)
    assert bytes_of(tmp_path / "dask") == bytes_of(tmp_path / "one")
    assert len(found.errors) == 2


def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    monkeypatch.setattr(workers, "CONNECT_S", 0.5)
    with pytest.raises(ProfileError, match="no Dask scheduler answers"):
        few(dask="tcp://127.0.0.1:1")


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(workers, "import_module", absent)
    with pytest.raises(ProfileError, match=r"pip install gcsim\[dask\]"):
        few(dask="local")


@pytest.mark.parametrize(
    ("versions", "match"),
    [({"tcp://a": "0.0.1"}, r"workers with gcsim 0\.0\.1"), (None, "cannot import gcsim")],
)
def test_workers_of_another_version_are_refused(
    versions: dict[str, str] | None, match: str
) -> None:
    class Client:
        def run(self, _: Any) -> Any:
            if versions is None:
                raise ModuleNotFoundError("no gcsim")
            return versions

    with pytest.raises(ProfileError, match=match):
        workers._same_version(Client(), "tcp://a")
    late = workers.play_point(resolve("coding-agents", FEW), "0.0.1")
    assert "the sweep 0.0.1" in late["error"]


# On the command line


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["sweep", *words])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


WORDS = ["coding-agents", "--deployment", MONO, "--deployment", SPLIT]
WORDS += ["--grid", f"{DECODE_TP}=8,999", "--grid", "run.seed=1,123456789"]
WORDS += ["--set", "arrivals.agents=2", "--set", "run.trajectories=2", "--jobs", "1"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_the_printed_table_loses_no_key(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, err = printed(capsys, *WORDS)
    assert code == 0
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= width
    rule = next(number for number, line in enumerate(out.splitlines()) if "───" in line)
    rows = [line.split()[:3] for line in out.splitlines()[rule + 1 : rule + 9]]
    if width >= 60:
        wanted = product([MONO, SPLIT], ["8", "999"], ["1", "123456789"])
        assert [tuple(row) for row in rows] == list(wanted)
    shown = sum(header.split("\n")[0] in out for header, *_ in SHOWN)
    assert (shown == len(SHOWN)) == (width == 200)
    assert f"Without {DECODE_TP}" in " ".join(out.split())
    assert "2 failed" in err


def test_json_has_every_row_and_a_sweep_of_failures_only_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = printed(capsys, *WORDS, "--format", "json")
    found = json.loads(out)
    assert (code, found["runs"], found["failed"], len(found["points"])) == (0, 8, 2, 8)
    assert found["axes"][1] == {"path": DECODE_TP, "column": DECODE_TP, "values": [8, 999]}
    words = ["--set", "deployment=h100-mono", "--set", "model=minimax-m2"]
    words += ["--grid", "deployment.pools.serve.tp=1"]
    code, out, _ = printed(capsys, "coding-agents", *words)
    assert code == 2
    assert "Failed: 1: " in out
    assert "fit" in out


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--grid", "run.seed"], "is no list of values"),
        (["--grid", "run.seed=1", "--grid", "run.seed=2"], "is given twice"),
        (["--load", "fast"], "is no load"),
        (["--load", "0,1"], "is no load"),
        (["--load", "1.5"], "whole agents"),
        (["--set", "arrivals={process: static}", "--load", "1,2"], "no load that --load could set"),
    ],
)
def test_wrong_words_are_told(
    words: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = printed(capsys, "coding-agents", *words)
    assert (code, out) == (2, "")
    assert match in err


def test_the_row_of_a_point_needs_no_summary() -> None:
    [point] = combinations("coding-agents", (), {})
    table = point_table([], [(point, {"error": "why"})])
    assert list(table["error"]) == ["why"]
    assert with_settings(point.base, {}).mapping == point.resolved().mapping
