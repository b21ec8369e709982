"""Interrupts and full disks leave a complete results folder or none (gcsim.results.folder).

Real processes: killed at every call of the code that writes, with SIGKILL; stopped with SIGTERM and
SIGINT in the middle of a run; with a limit on file sizes as a full disk.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gcsim import run
from gcsim.cli.interrupts import terminable
from gcsim.errors import Interrupted, ProfileError
from gcsim.results.folder import complete, write_folder
from gcsim.studies.diff import difference

ENDLESS = ["run", "coding-agents", "--set", "run.trajectories=7000"]
SMALL = ["run", "coding-agents", "--set", "arrivals.agents=2", "--set", "run.trajectories=3"]
FEW = {"arrivals.agents": 2, "run.trajectories": 2}

pytestmark = pytest.mark.slow  # `make quick` leaves it out

# Writes results to argv[1], again and again, in children that kill themselves at their k-th call of
# what touches files, k = argv[3], + argv[4], ...; says the exit code of each and stops after 0.
KILLED = """
import os, signal, sys
import gcsim
FILES = ("folder.py", "result.py", "pathlib.py", "shutil.py", "tempfile.py", "parquet.py")
target = sys.argv[1]
few = {"arrivals.agents": 2, "run.trajectories": int(sys.argv[2])}
result = gcsim.run("coding-agents", settings=few)
result.save(target + ".warm")  # what is loaded on first use
for moment in range(int(sys.argv[3]), 100_000, int(sys.argv[4])):
    child = os.fork()
    if child == 0:
        calls = 0
        def count(frame, event, argument):
            global calls
            file = frame.f_code.co_filename.rsplit("/", 1)[-1]
            if event in ("call", "c_call") and file in FILES:
                calls += 1
                if calls == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(count)
        result.save(target)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
    sys.stdin.readline()
    if status == 0:
        break
"""


def start(*arguments: str, limit: int | None = None) -> "subprocess.Popen[str]":
    """`gcsim` as a process of its own; limit: the largest file it may write [bytes].

    It is told to mind SIGINT: what a shell starts in the background does not.
    """

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, limit or 0))

    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"import gcsim.cli.app; gcsim.cli.app.main({list(arguments)!r})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ, preexec_fn=small_files if limit else None,
    )  # fmt: skip


def accepted(folder: Path) -> bool:
    """Whether it counts as complete, as `gcsim diff` asks; if so, all of it must be there."""
    try:
        complete(folder)
    except ProfileError:
        return False
    summary = json.loads((folder / "summary.json").read_text())
    requests = pd.read_parquet(folder / "requests.parquet")
    tasks = pd.read_parquet(folder / "trajectories.parquet")
    assert {"requests": len(requests), "trajectories": len(tasks)} == summary["recorded"]
    ended = sum(summary[key] for key in ("completed", "rejected", "unfinished"))
    assert (requests["counted"].sum(), tasks["counted"].sum()) == (ended, summary["trajectories"])
    assert (folder / "scenario.yaml").read_text().endswith("\n")
    return True


@pytest.mark.parametrize("earlier", [False, True], ids=["nothing before", "an earlier folder"])
def test_kill_9_at_any_moment_of_writing(tmp_path: Path, earlier: bool) -> None:
    """Between any two calls while a folder is written: it is absent or complete, old or new."""
    target = tmp_path / "out"
    if earlier:
        run("coding-agents", settings={**FEW, "run.trajectories": 3}, out=tmp_path / "earlier")
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(target), "2", "1", "29"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    codes, seen = [], set()

    def prepare() -> None:
        for path in tmp_path.glob("out*"):
            shutil.rmtree(path)
        for path in tmp_path.glob(".out*"):
            shutil.rmtree(path)
        if earlier:
            shutil.copytree(tmp_path / "earlier", target)

    prepare()
    for line in process.stdout:
        codes.append(int(line))
        if target.exists():
            assert accepted(target), f"at call {len(codes)}"
            seen.add(json.loads((target / "summary.json").read_text())["trajectories"])
        else:
            seen.add(0)
        for left in tmp_path.glob(".out*"):  # what is left over is complete, or refused
            accepted(left)
        prepare()
        process.stdin.write("\n")
        process.stdin.flush()
    process.stdin.close()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert set(codes) == {-signal.SIGKILL, 0}
    assert len(codes) > 12
    assert seen >= ({3, 2} if earlier else {0, 2})


def test_diff_asks_whether_a_folder_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run("coding-agents", settings=FEW, out=folder)
    assert difference(folder, folder).moves
    (folder / "requests.parquet").write_bytes(b"PAR1")
    with pytest.raises(ProfileError, match="is not a complete results folder"):
        difference(folder, folder)


def test_ctrl_c_while_modules_are_loading_is_answered_in_one_line() -> None:
    code = """
import sys
class Late:
    def find_spec(self, name, path, target=None):
        if name == "gcsim.cli.app":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Late())
from gcsim.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_python_loses_in_a_callback_is_sent_again(number: int, code: int) -> None:
    """What a handler raises while a weak reference calls back is printed and dropped by Python."""
    program = f"""
import os, signal, time, weakref
signal.signal(signal.SIGINT, signal.default_int_handler)
from gcsim.cli import app
class Loading: pass
def lists(*_, **__):
    it = Loading()
    back = weakref.ref(it, lambda _: os.kill(os.getpid(), {int(number)}))
    del it
    time.sleep(9)
app.app = lists
app.main()
"""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert time.monotonic() - begun < 8
    assert (done.returncode, done.stderr) == (code, "Interrupted.\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_cleans_up_and_says_what_is_lost(tmp_path: Path, number: int, code: int) -> None:
    out = tmp_path / "out"
    run("coding-agents", settings=FEW, out=out)
    before = (out / "summary.json").read_bytes()
    process = start(*ENDLESS, "--out", str(out))
    until = time.monotonic() + 60
    while not (tmp_path / ".out.lock").exists() and time.monotonic() < until:
        time.sleep(0.05)  # a busy machine takes its time to start
    time.sleep(3)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "ended trajectories of coding-agents are lost" in err
    assert f"{out} stays as it was, nothing was written." in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "summary.json").read_bytes() == before


def test_sigterm_keeps_the_replications_that_have_ended(tmp_path: Path) -> None:
    arguments = [*SMALL, "--out", str(tmp_path / "out"), "--replications"]
    process = start(*arguments, "100000")
    partial = tmp_path / "out.partial"
    begun = time.monotonic()
    while len(list(partial.glob("*.json"))) < 4 and time.monotonic() - begun < 60:
        time.sleep(0.1)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "replications are kept in" in err
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]
    assert not accepted(partial)
    kept = {path.name: path.stat().st_mtime_ns for path in partial.glob("000*.json")}
    done = start(*arguments, str(len(kept) + 1), "--resume")
    _, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    assert complete(tmp_path / "out")["replications"] == len(kept) + 1
    assert not partial.exists()


def test_a_full_disk_leaves_the_earlier_folder(tmp_path: Path) -> None:
    """A limit of 4 kB on files stands for it: scenario.yaml is larger."""
    out = tmp_path / "out"
    run("coding-agents", settings=FEW, out=out)
    before = (out / "summary.json").read_bytes()
    process = start(*SMALL, "--out", str(out), limit=4096)
    stdout, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "cannot be written: File too large" in err
    assert stdout == ""
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "summary.json").read_bytes() == before


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
def test_an_interrupt_between_the_two_renames_puts_the_earlier_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def fill(text: str) -> Any:
        return lambda folder: (folder / "summary.json").write_text(text)

    target = write_folder(tmp_path / "out", fill("earlier"))
    real, calls = Path.rename, []

    def rename(self: Path, other: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:
            raise kind(28, "No space left on device")
        return real(self, other)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises((KeyboardInterrupt, ProfileError)):
        write_folder(target, fill("new"))
    assert (target / "summary.json").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_sigterm_is_an_interrupt_only_inside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as ended, terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
