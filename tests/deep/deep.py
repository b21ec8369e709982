"""`make deep`: all that looks for faults by the thousand, in one command with a table at its end.

    python tests/deep/deep.py                       all of it, with new random numbers
    python tests/deep/deep.py --share 0.01 engines  a hundredth of one part
    python tests/deep/deep.py --number 1976 engines what is wrong with one number, made small

A failing number is made small (`shrink`) and printed as files that show the fault. Ends with code
1 when anything failed.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

# A script, and its neighbours: found only now.
import breaks  # noqa: E402
import engines  # noqa: E402
import kills  # noqa: E402
import outside  # noqa: E402

HANGS_S = 20.0  # of processor time, for one number
CHUNK = 25
TOLD = 3  # failing numbers of a part that are made small
Found = tuple[Counter[str], list[tuple[int, str]]]


class Part(NamedTuple):
    """`fault(number)` says how it was played, and what is wrong; `report` tells it in full."""

    about: str
    count: int
    fault: Callable[[int], tuple[str, str]]
    report: Callable[[int], str]


PARTS = {
    "engines": Part("scenarios, all engines", 20_000, engines.fault, engines.report),
    **{
        name: Part(about, count, outside.Fault(name), outside.Report(name))
        for name, about, count in (
            ("deployments", "scenarios by the command line", 2_000),
            ("profiles", "mutated profiles", 20_000),
            ("traces", "mutated traces", 20_000),
            ("configs", "mutated config.json", 18_000),
        )
    },
}
KILLS = 200


class Row(NamedTuple):
    """A line of the table."""

    part: str
    count: int
    seconds: float
    failures: list[str]
    about: str


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises `TimeoutError` after so much processor time."""

    def end(*_: object) -> None:
        raise TimeoutError(f"takes more than {seconds:g} s")

    earlier = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, earlier)


def many(task: tuple[str, range]) -> Found:
    """How the numbers of a part were played, and the failing ones."""
    name, numbers = task
    counts, failing = Counter[str](), []
    for number in numbers:
        try:
            with limited(HANGS_S):
                how, why = PARTS[name].fault(number)
        except TimeoutError as error:
            how, why = "hangs", f"TimeoutError: {error}"
        counts[how] += 1
        if why:
            failing.append((number, why))
    return counts, failing


def killed(task: tuple[str, int, int]) -> kills.Tally:
    """A command, killed so many times."""
    return kills.part(*task)


def calm() -> None:
    """In a worker: no warnings of loaded libraries, no bars, one thread."""
    os.environ |= {"NUMBA_NUM_THREADS": "1", "MPLBACKEND": "Agg", "COLUMNS": "120"}


def fuzzed(name: str, share: float, first: int, cores: int) -> Row:
    """A part, over so many numbers from the first on."""
    part, begun = PARTS[name], time.monotonic()
    count = max(round(part.count * share), 1)
    chunks = [
        (name, range(at, min(at + CHUNK, first + count)))
        for at in range(first, first + count, CHUNK)
    ]
    counts, failing = Counter[str](), []
    with multiprocessing.get_context("spawn").Pool(cores, calm, maxtasksperchild=40) as pool:
        for more, wrong in pool.imap_unordered(many, chunks):
            counts += more
            failing += wrong
            for number, why in wrong:
                print(f"{name} {number}: {why.splitlines()[0]}", flush=True)
    told = [
        f"{name} {number}: {part.report(number) if k < TOLD else why}"
        for k, (number, why) in enumerate(sorted(failing))
    ]
    about = f"{part.about}: {', '.join(f'{n:,} {how}' for how, n in counts.most_common())}"
    return Row(name, count, time.monotonic() - begun, told, about)


def all_kills(share: float, first: int, cores: int) -> Row:
    """Every command that writes, killed in the middle."""
    begun, each = time.monotonic(), max(round(KILLS * share / len(kills.COMMANDS)), 1)
    tasks = [(command.name, each, first + k) for k, command in enumerate(kills.COMMANDS)]
    with multiprocessing.get_context("spawn").Pool(cores, calm) as pool:
        tallies = pool.map(killed, tasks, chunksize=1)
    failures = [why for tally in tallies for why in tally.failures]
    changed, late = (sum(getattr(t, name) for t in tallies) for name in ("changed", "late"))
    about = f"kill -9 while writing: {changed} had written, {late} more came too late"
    return Row("kills", sum(t.kills for t in tallies), time.monotonic() - begun, failures, about)


def broken(share: float, cores: int) -> Row:
    """Our own code, broken: every break must turn a test red."""
    begun = time.monotonic()
    words = [] if share == 1 else ["clock.py"]
    count, alive = breaks.played(words, cores)
    return Row("breaks", count, time.monotonic() - begun, alive, "breaks of our own code")


def table(rows: list[Row]) -> str:
    """What was played, in how long, and how much of it failed."""
    lines = [f"{'part':12} {'count':>7} {'seconds':>8} {'failures':>9}"]
    lines += [
        f"{row.part:12} {row.count:7,} {row.seconds:8,.0f} {len(row.failures):9}  {row.about}"
        for row in rows
    ]
    total = sum(row.seconds for row in rows)
    lines.append(f"{'all':12} {'':7} {total:8,.0f} {sum(len(row.failures) for row in rows):9}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join([*PARTS, 'kills', 'breaks'])}")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual numbers")
    parser.add_argument("--first", type=int, default=random.randrange(10**9), help="number")
    parser.add_argument("--number", type=int, help="tell what is wrong with this one")
    wanted = parser.parse_args(arguments)
    names = wanted.parts or [*PARTS, "kills", "breaks"]
    if wanted.number is not None:
        for name in names:
            print(PARTS[name].report(wanted.number))
        return 0
    cores, rows = os.cpu_count() or 1, []
    print(f"from number {wanted.first}; on {cores} processors", flush=True)
    for name in names:
        if name == "kills":
            rows.append(all_kills(wanted.share, wanted.first, cores))
        elif name == "breaks":
            rows.append(broken(wanted.share, cores))
        else:
            rows.append(fuzzed(name, wanted.share, wanted.first, cores))
        print(table(rows[-1:]), flush=True)
    for row in rows:
        print("".join(f"\n{failure}\n" for failure in row.failures), end="")
    print(f"\n{table(rows)}")
    return 1 if any(row.failures for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
