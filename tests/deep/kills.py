"""`kill -9` at random moments of what writes: nothing false is left, nothing lost that was kept.

Each command runs in a child of this process (forked, so that it starts at once), is killed, and
what it leaves is looked at: a result that counts as complete must be one that a run which was never
killed gives, byte for byte; what was there before and what is kept to go on from must still be
there; and the same command, run again, ends with those bytes and leaves nothing else behind.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import gcsim
from gcsim.cli import app, check_text, run_text, sweep_text  # noqa: F401 (loaded before a fork)
from gcsim.errors import ProfileError
from gcsim.results.folder import complete
from gcsim.studies import baseline, replicate, sweep  # noqa: F401 (as above)

WARM = {"arrivals.agents": 2, "run.trajectories": 3}
FEW = ["--set", "arrivals.agents=2", "--set", "run.trajectories=3"]
Files = dict[str, bytes]


@dataclass(frozen=True)
class Command:
    """What is killed. target: what it writes; kept: the files that it goes on from, beside it."""

    name: str
    arguments: list[str]
    target: str
    kept: str = ""
    ignored: tuple[str, ...] = ()  # inside the target: locks

    def whole(self, folder: Path) -> None:
        """Raises where what it wrote does not count as complete."""
        if self.name in ("run", "replications"):
            complete(folder / self.target)
        elif self.name == "bless":
            baseline.read(folder / self.target)


COMMANDS = (
    Command("run", ["run", "coding-agents", *FEW, "--out", "out"], "out"),
    Command(
        "replications",
        ["run", "coding-agents", *FEW, "--replications", "5", "--resume", "--out", "out"],
        "out",
        "out.partial/0*.json",
    ),
    Command(
        "sweep",
        ["sweep", "coding-agents", *FEW, "--grid", "run.seed=1,2,3", "--jobs=1", "--out=out"],
        "out",
        "out/points/*.json",
        (".lock",),
    ),
    Command("bless", ["bless", "coding-agents", *FEW, "--why", "a test"], "gcsim-baseline.json"),
)


@dataclass
class Tally:
    """What became of a command: kills, those that came too late, and what was wrong."""

    kills: int = 0
    late: int = 0
    changed: int = 0  # kills after which the folder was another one than before
    failures: list[str] = field(default_factory=list)


def kills(command: Command, folder: Path, count: int, rng: random.Random) -> Tally:
    """Kill it so many times, at moments drawn between its start and its end."""
    folder.mkdir(parents=True)
    before = _before(command, folder)
    begun = time.monotonic()
    _wait(_started(command, folder))
    longest_s = time.monotonic() - begun
    expected, tally = _files(command, folder), Tally()
    assert expected, command.name
    _restore(command, folder, before)
    while tally.kills < count:
        earlier, kept = _files(command, folder), _kept(command, folder)
        child = _started(command, folder)
        earliest = rng.choice([0.0, 0.8])  # what is written is written at the end
        time.sleep(rng.uniform(earliest * longest_s, 1.1 * longest_s))
        os.kill(child, signal.SIGKILL)
        if _wait(child) != -signal.SIGKILL:
            tally.late += 1
        else:
            tally.kills += 1
            tally.changed += _files(command, folder) != earlier or _kept(command, folder) != kept
        why = _wrong(command, folder, (before, expected), kept)
        if not why and (not command.kept or _files(command, folder) == expected):
            why = _goes_on(command, folder, expected)
            _restore(command, folder, before)
        if why:
            tally.failures.append(f"{command.name}, kill {tally.kills}: {why}")
            _restore(command, folder, before)
    return tally


def _before(command: Command, folder: Path) -> Files:
    """An earlier result in its place, for those that replace one."""
    if command.kept:
        return {}
    other = Command(command.name, [*command.arguments, "--seed", "7"], command.target)
    assert _wait(_started(other, folder)) == 0
    return _files(command, folder)


def _wrong(command: Command, folder: Path, whole: tuple[Files, Files], kept: Files) -> str:
    found = _files(command, folder)
    if not command.ignored and found:
        try:
            command.whole(folder)
        except ProfileError as error:
            return f"is there and not complete: {error}"
    if not command.ignored and found and found not in whole:
        return "is neither what was there nor what the command gives"
    if whole[0] and not found and not list(folder.glob(".out~old.*/earlier")):
        return "what was there before is gone"
    now = _kept(command, folder)
    done = bool(found) and found == whole[1]
    if lost := [name for name in kept if now.get(name) != kept[name] and not done]:
        return f"was kept and is gone or another: {', '.join(lost)}"
    return ""


def _goes_on(command: Command, folder: Path, expected: Files) -> str:
    if command.name == "bless" and _files(command, folder) == expected:
        return ""  # twice gives another file: nothing has moved
    code = _wait(_started(command, folder))
    if code:
        return f"run again it ends with {code}: {(folder / 'said').read_text()[-300:]}"
    if _files(command, folder) != expected:
        return "run again it gives other bytes"
    left = {path.name for path in folder.iterdir()} - {command.target, "said"}
    return f"leaves {', '.join(sorted(left))}" if left else ""


def _started(command: Command, folder: Path) -> int:
    """A child that runs it; what it says goes to the file `said`."""
    child = os.fork()
    if child:
        return child
    try:
        os.chdir(folder)
        said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        app.main(command.arguments)
        os._exit(0)
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(int(end.code or 0))
    except BaseException as error:  # a fork must not go on in what its parent was about
        os.write(2, repr(error).encode())
        os._exit(1)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _files(command: Command, folder: Path) -> Files:
    target = folder / command.target
    paths = [target] if target.is_file() else sorted(target.rglob("*"))
    if command.ignored:  # a sweep: complete when its table is there
        paths = [path for path in paths if path.parent == target]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if path.is_file() and path.name not in command.ignored and not path.name.endswith(".tmp")
    }


def _kept(command: Command, folder: Path) -> Files:
    found = sorted(folder.glob(command.kept)) if command.kept else []
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def _restore(command: Command, folder: Path, before: Files) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in before.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def part(name: str, count: int, seed: int) -> Tally:
    """One command, killed so many times."""
    with tempfile.TemporaryDirectory(prefix="gcsim-kills-") as folder:
        gcsim.run("coding-agents", settings=WARM).save(Path(folder) / "warm")  # as children start
        command = next(command for command in COMMANDS if command.name == name)
        return kills(command, Path(folder) / name, count, random.Random(seed))
