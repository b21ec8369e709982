"""Breaks of our own code, and the tests that must turn red: is there a test that sees each?

    python tests/deep/breaks.py [WORD ...]     those whose file or text holds every word

Each break is made in a copy of the repository, so nothing here changes. Ends with code 1 and the
list when a break survives its tests. `tests/unit/test_deep.py` holds the list to the code.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "gcsim", "tests", "hardware_profiles", "model_profiles", "workloads", "scenarios",
    "validation", "pyproject.toml", "README.md", "docs", "CONTRIBUTING.md", "CHANGELOG.md",
)  # fmt: skip


class Break(NamedTuple):
    """`before` stands once in `file`; with `after` in its place, one of `tests` must fail."""

    file: str
    before: str
    after: str
    tests: str


def read() -> list[Break]:
    """The list: blocks of `file | tests`, then lines `- before` and `+ after`."""
    found: list[Break] = []
    where = tests = before = ""
    listed = Path(__file__).with_name("breaks.txt").read_text(encoding="utf-8")
    for line in listed.splitlines():
        if line.startswith("= "):
            where, tests = (part.strip() for part in line[2:].split("|"))
        elif line.startswith("- "):
            before = line[2:]
        elif line.startswith("+"):
            found.append(Break(where, before, line[2:], tests))
    return found


def survives(work: Path, broken: Break) -> bool:
    """Whether its tests stay green."""
    target = work / broken.file
    text = target.read_text(encoding="utf-8")
    try:
        target.write_text(text.replace(broken.before, broken.after), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
        command += ["--hypothesis-profile=quick", *broken.tests.split()]
        environment = {**os.environ, "PYTHONPATH": str(work)}
        ran = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=900
        )
    finally:
        target.write_text(text, encoding="utf-8")
    if ran.returncode not in (0, 1):  # 1: a test failed; others: it could not be asked
        broke = re.search(r"^E  .*", ran.stdout, re.MULTILINE)
        print(
            f"    (pytest ended with {ran.returncode}: {broke[0] if broke else ran.stderr[-200:]})"
        )
    return ran.returncode == 0


def copied(folder: Path) -> Path:
    """A copy of what the tests need, to break."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        elif source.exists():
            shutil.copy2(source, folder / name)
    return folder


def played(words: list[str], cores: int) -> tuple[int, list[str]]:
    """Make every break that holds all words, one on each core; how many, and what survives."""
    chosen = [b for b in read() if all(w in b.file + b.before for w in words)]
    with tempfile.TemporaryDirectory(prefix="gcsim-breaks-") as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for k in range(cores):
            free.put(copied(Path(folder) / str(k)))

        def made(broken: Break) -> bool:
            work, start = free.get(), time.monotonic()
            lives = survives(work, broken)
            free.put(work)
            verdict = "SURVIVES" if lives else "red"
            taken = time.monotonic() - start
            print(f"{verdict:8} {taken:4.0f} s  {broken.file}: {broken.before.strip()}", flush=True)
            return lives

        with ThreadPoolExecutor(cores) as threads:
            lived = list(threads.map(made, chosen))
    alive = (broken for broken, lives in zip(chosen, lived, strict=True) if lives)
    return len(chosen), [f"{b.file} survives\n  - {b.before}\n  + {b.after}" for b in alive]


def main(words: list[str]) -> int:
    """Make the breaks and say which survive."""
    count, alive = played(words, os.cpu_count() or 1)
    print(f"{count - len(alive)} of {count} breaks turn a test red")
    print("\n".join(alive))
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
