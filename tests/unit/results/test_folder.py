"""Two processes, one folder: one whole result and one clear error (gcsim.results.folder)."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gcsim
from gcsim.errors import ProfileError
from gcsim.results.folder import FILES, claimed, complete, write_folder
from gcsim.studies.diff import difference

HOLD = """
import sys, time
from gcsim.results.folder import claimed
with claimed(sys.argv[1]):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_a_claimed_folder_is_refused_to_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with claimed(out) as there:
        assert not there
        with pytest.raises(ProfileError, match="is being written to by another run"), claimed(out):
            pass
    with claimed(out):
        pass
    assert list(tmp_path.iterdir()) == [], "nothing is left"


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    with pytest.raises(ProfileError, match="is being written to by another run"), claimed(out):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with claimed(out):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_tidied_and_put_back(tmp_path: Path) -> None:
    out = write_folder(
        tmp_path / "out", lambda folder: [(folder / n).touch() for n in FILES] and None
    )
    aside = tmp_path / ".out~old.abcd_123"
    aside.mkdir()
    out.rename(aside / "earlier")  # killed between the two renames
    (tmp_path / ".out.zzzzzzzz").mkdir()
    for mine in (".out.other.abcdefgh", ".outer.abcdefgh", ".out.ABCDEFGH", "out.partial"):
        (tmp_path / mine).mkdir()
    with claimed(out) as there:
        assert there
    assert (out / "summary.json").is_file()
    assert not aside.exists()
    assert not (tmp_path / ".out.zzzzzzzz").exists()
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.slow
def test_two_runs_at_once_leave_one_whole_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "gcsim.cli.app", "run", "coding-agents", "--out", str(out)]
    command += ["--set", "run.trajectories=200"]
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = "".join(process.communicate()[1] for process in both)
    assert sorted(process.returncode for process in both) == [0, 2], said
    assert "is being written to by another run" in said
    assert complete(out)["completed"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["gone", "cut", "empty"])
def test_a_folder_that_lacks_any_of_its_files_is_refused(
    name: str, how: str, tmp_path: Path, whole: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    assert complete(folder)["completed"] > 0
    path = folder / name
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3] if how == "cut" else b"")
    if name == "scenario.yaml" and how != "gone":
        return  # a text: `diff` reads it, and says what is wrong with it
    with pytest.raises(ProfileError, match="is not a complete results folder"):
        complete(folder)
    with pytest.raises(ProfileError, match="is not a complete results folder"):
        difference(folder, whole)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with all of its files."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    few = {"arrivals.agents": 1, "run.trajectories": 2}
    gcsim.run("coding-agents", settings=few, out=folder)
    return folder


def test_a_summary_of_another_version_is_refused(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    summary = json.loads((folder / "summary.json").read_text())
    del summary["recorded"]
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ProfileError, match="is not a complete results folder"):
        complete(folder)
