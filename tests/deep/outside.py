"""Fuzzing from outside: files that somebody else might write, through the commands themselves.

Knows the shipped profiles, the documents and nothing of the code. What a command says is a result,
which must be possible, or an error with exit code 2. `tried(name, number)` is what number n is.
"""

import contextlib
import io
import json
import math
import random
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import outside_files
import outside_scenarios
from outside_files import Tried
from shrink import shrunk

from gcsim.cli.app import main

SHARES = ("mfu", "mbu", "utilization", "cache_hit_rate", "good_request_fraction", "peak_kv")
SIGNED = ("ci95", "seed", "priority")


def tried(name: str, number: int) -> Tried:
    """The file of a number, and the command that it is given to."""
    rng = random.Random(f"{name} {number}")
    makers = {
        "deployments": outside_scenarios.scenario,
        "profiles": outside_files.profile,
        "traces": outside_files.trace,
        "configs": outside_files.config,
    }
    return makers[name](rng)


def called(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `gcsim ...`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return int(code), out.getvalue(), err.getvalue()


def wrong(one: Tried, folder: Path) -> tuple[str, str]:
    """Whether it was accepted, and what is wrong with that; `kind: details`."""
    path = one.written(folder)
    said: dict[str, str] = {}
    for arguments in one.commands(str(path)):
        try:
            code, out, err = called(arguments)
        except TimeoutError:
            raise
        except Exception as error:  # a traceback, in a process
            where = traceback.extract_tb(error.__traceback__)[-1]
            return "traceback", f"{type(error).__name__} in {Path(where.filename).name}: {error}"
        if code:
            named = "Error" in err or "Invalid value" in err
            return "refused", "" if code == 2 and named else f"refused without a word: {err}"
        if arguments[0] in ("run", "estimate") and "json" in arguments:
            if why := impossible(json.loads(out), arguments[0] == "run"):
                return "nonsense", f"nonsense: {why}"
            said[" ".join(arguments)] = out
    if len(set(said.values())) > 1:
        return "differs", f"engines differ: {' | '.join(said)}"
    return "accepted", ""


def impossible(found: dict[str, Any], run: bool) -> str:
    """Why figures cannot be, whatever was played; empty where they can."""
    bad = [f"{name} = {value}" for name, value in numbers(found) if _cannot(name, value)]
    if not run:
        return "; ".join(bad[:4])
    for of in ("ttft", "tpot", "e2el", "task"):
        ranks = [found[f"{p}_{of}_ms"] for p in ("median", "p90", "p95", "p99")]
        if None not in ranks and ranks != sorted(ranks):
            bad.append(f"percentiles of {of} fall")
    mean = found["mean_e2el_ms"]
    if mean is not None:
        parts = sum(found["breakdown_ms"].values())
        if not math.isclose(parts, mean, rel_tol=1e-6, abs_tol=1e-6):
            bad.append(f"the parts of a step sum to {parts}, not {mean}")
        if mean <= 0 or not 0 < found["mean_ttft_ms"] <= mean * (1 + 1e-9):
            bad.append(f"TTFT {found['mean_ttft_ms']} of E2E {mean}")
    return "; ".join(bad[:4])


def numbers(node: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number with the keys above it."""
    if isinstance(node, dict | list):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, item in pairs:
            yield from numbers(item, f"{name}.{key}")
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield name, node


def _cannot(name: str, value: float) -> bool:
    if not math.isfinite(value):
        return True
    if any(sign in name for sign in SIGNED):
        return False
    return value < 0 or (name.rsplit(".", 1)[-1] in SHARES and value > 1 + 1e-9)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a number of one kind of file."""

    name: str

    def __call__(self, number: int) -> tuple[str, str]:
        with tempfile.TemporaryDirectory(prefix="gcsim-outside-") as folder:
            return wrong(tried(self.name, number), Path(folder))


@dataclass(frozen=True)
class Report:
    """The same, with the smallest file that shows it."""

    name: str

    def __call__(self, number: int) -> str:
        one = tried(self.name, number)
        why = self._why(one)
        kind = why.split(":")[0]
        if one.tree is not None:
            small = shrunk(one.tree, lambda t: self._why(one.of(t)).split(":")[0] == kind, 60.0)
            one = one.of(small)
            why = self._why(one)
        commands = "\n".join(f"# gcsim {' '.join(c)}" for c in one.commands(one.name))
        return f"{why}\n{commands}\n# {one.name}\n{one.raw()[:3000].decode(errors='replace')}"

    def _why(self, one: Tried) -> str:
        with tempfile.TemporaryDirectory(prefix="gcsim-outside-") as folder:
            return wrong(one, Path(folder))[1]
