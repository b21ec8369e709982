"""What moved between two results, and what is refused (difference, folder, gcsim diff)."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import gcsim
from gcsim import run
from gcsim.cli import app as cli
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import resolve
from gcsim.results import folder
from gcsim.results.metrics import watched
from gcsim.studies.diff import Move, changed, difference, headlines, inputs, moves
from gcsim.studies.replicate import replicate

pytestmark = pytest.mark.slow  # most of these play runs

FEW = {"arrivals.agents": 2, "run.trajectories": 4}
FASTER = {**FEW, "deployment": "sn50-mono"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two single runs (a, b), a third with another seed (c), two of replications (m, n)."""
    home = tmp_path_factory.mktemp("results")
    run("coding-agents", settings=FEW, out=home / "a")
    run("coding-agents", settings=FASTER, out=home / "b")
    run("coding-agents", settings=FEW, seed=9, out=home / "c")
    replicate(resolve("coding-agents", FEW), 3, out=home / "m")
    replicate(resolve("coding-agents", FASTER), 3, out=home / "n")
    return home


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A results folder that a test may spoil."""
    return lambda name: Path(shutil.copytree(made / name, tmp_path / name))


@pytest.mark.slow
def test_two_runs_are_paired_and_the_inputs_that_differ_are_named(made: Path) -> None:
    found = difference(made / "a", made / "b")
    known = {move.metric: move for move in found.moves}
    assert tuple(known) == watched()
    tpot = known["mean_tpot_ms"]
    assert tpot.low is not None
    assert tpot.high is not None
    assert -1 < tpot.low <= tpot.change <= tpot.high < 0
    assert tpot.clear
    assert found.inputs is not None
    assert "chip sn40l (gone)" in found.inputs
    assert "chip sn50 (new)" in found.inputs
    assert not any(name.startswith(("model", "workload")) for name in found.inputs)
    assert "paired over trajectories" in found.how


def test_a_run_does_not_differ_from_itself(made: Path) -> None:
    found = difference(made / "a", made / "a")
    assert found.inputs == []
    assert all(move.change == 0 and not move.clear for move in found.moves)


def test_replications_are_paired_over_seeds(made: Path) -> None:
    found = difference(made / "m", made / "n")
    tpot = next(move for move in found.moves if move.metric == "mean_tpot_ms")
    assert tpot.clear
    assert "paired over seeds" in found.how
    mixed = difference(made / "m", made / "a")
    assert all(move.low is None for move in mixed.moves)


def test_a_summary_alone_is_compared_without_intervals(made: Path, tmp_path: Path) -> None:
    """As a workflow keeps them; in its complete folder it counts as the folder."""
    alone = [Path(shutil.copy(made / name / "summary.json", tmp_path / name)) for name in "ab"]
    found = difference(*alone)
    assert found.inputs is None
    assert "no intervals" in found.how
    assert found.moves[0].change != 0
    whole = difference(made / "a" / "summary.json", made / "b" / "summary.json")
    assert whole.moves == difference(made / "a", made / "b").moves


@pytest.mark.parametrize("name", ["a", "m"])
def test_a_folder_that_lacks_a_file_is_refused(copy: Callable[[str], Path], name: str) -> None:
    whole = copy(name)
    files = folder.FILES if name == "a" else folder.REPLICATED
    for file in files:
        spoilt = Path(shutil.copytree(whole, whole.with_name("spoilt")))
        (spoilt / file).unlink()
        with pytest.raises(ProfileError, match="is not a complete results folder"):
            difference(whole, spoilt)
        shutil.rmtree(spoilt)


def test_a_file_cut_off_anywhere_is_refused(copy: Callable[[str], Path]) -> None:
    """As by a kill in the middle of a write, at each of many lengths."""
    whole = copy("a")
    for file in ("summary.json", "requests.parquet", "trajectories.parquet"):
        content = (whole / file).read_bytes()
        # The last character of the summary is a line break, which says nothing.
        for part in (0, 1, 4, len(content) // 3, len(content) // 2, len(content) - 2):
            (whole / file).write_bytes(content[:part])
            with pytest.raises(ProfileError, match="is not a complete results folder"):
                folder.complete(whole)
            with pytest.raises(ProfileError):
                difference(whole / "summary.json", whole / "summary.json")
        (whole / file).write_bytes(content)
    assert folder.complete(whole)["completed"] > 0


def test_tables_of_another_run_are_refused(made: Path, copy: Callable[[str], Path]) -> None:
    mixed = copy("a")
    shutil.copy(made / "c" / "requests.parquet", mixed / "requests.parquet")
    with pytest.raises(ProfileError, match=r"requests.parquet has \d+ rows, not \d+"):
        difference(mixed, mixed)


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    for path, words in ((tmp_path / "no", "no such"), (tmp_path / "other.json", "no summary")):
        with pytest.raises(ProfileError, match=words):
            difference(path, path)


@pytest.mark.slow
def test_the_command(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["diff", *arguments])
        return int(ended.value.code or 0), *capsys.readouterr()

    code, out, _ = call(str(made / "a"), str(made / "b"))
    assert code == 0
    assert "chip sn40l (gone)" in " ".join(out.split())
    assert "mean TPOT [ms]" in out
    code, out, _ = call(str(made / "a"), str(made / "a"))
    assert "All headline metrics are the same." in out
    code, out, _ = call(str(made / "a"), str(made / "b"), "--format", "json")
    assert json.loads(out)["moves"][0]["metric"] == "mean_ttft_ms"
    code, out, err = call(str(made), str(made / "b"))
    assert (code, out) == (2, "")
    assert "is not a complete results folder" in err


def test_a_move_from_nothing_is_infinite_and_an_undefined_one_has_no_interval() -> None:
    found = moves({"a": [None, None], "b": [1.0, 2.0]}, {"a": [3.0, 4.0], "b": [1.0, None]}, True)
    assert found == [Move("a", None, 3.5), Move("b", 1.5, None)]
    assert all(move.change == float("inf") for move in found)
    assert Move("a", None, None).change == 0


def test_power_and_price_are_those_of_all_pools() -> None:
    settings = {**FEW, "deployment": "mi300x-prefill-sn50-decode"}
    summary = gcsim.run("coding-agents", settings=settings).summary
    assert len(summary["pools"]) == 2
    for key in ("power_w", "usd_per_hour"):
        assert headlines(summary)[key] == sum(pool[key] for pool in summary["pools"]) > 0


def test_hashes_see_what_acts() -> None:
    base = inputs(resolve("coding-agents"))
    for path, value, kind in (
        ("model.layers", 35, "model"),
        ("workload.agent.steps.median", 34, "workload"),
        ("deployment.pools.serve.batching.policy", "continuous", "deployment"),
        ("deployment.pools.serve.chip.memory.1.bandwidth", "1.7 TB/s", "chip"),
        ("network.round_trip", "30 ms", "scenario"),
        ("run.seed", 2, "scenario"),
    ):
        found = changed(base, inputs(resolve("coding-agents", {path: value})))
        assert [name.split()[0] for name in found] == [kind], path
