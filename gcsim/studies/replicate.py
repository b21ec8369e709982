"""A scenario played several times with independent seeds, until its intervals are narrow enough.

A run that is cut off keeps the replications it has ended in `<out>.partial`; `--resume` goes on
from them and gives the same bytes as a run that was never cut off.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from gcsim.errors import Interrupted, ProfileError
from gcsim.profiles.resolve import Resolved, content_hash, with_settings
from gcsim.results.folder import cannot_write, check_target, claimed, write_folder
from gcsim.results.intervals import bounds
from gcsim.results.metrics import settles
from gcsim.results.statistics import replication_interval
from gcsim.studies.parallel import WORTH_S, Fraction, cores, simulate_all
from gcsim.version import __version__

LEAST = 10  # before the stop rule looks: fewer give too short an interval (Law, 5th ed., 9.4.1)
MOST = 1000
PRECISION_METRIC = "mean_e2el_ms"
_NO_METRIC = frozenset({"seed", "assumed_values"})


@dataclass(frozen=True)
class Replications:
    """The summaries of all replications; `summary` is theirs together, with intervals."""

    resolved: Resolved
    summaries: tuple[dict[str, Any], ...]
    precision: float | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """See `combined`; `precision_reached` where one was asked."""
        found = combined(self.summaries)
        if self.precision is not None:
            found["precision"] = self.precision
            found["precision_reached"] = is_precise(self.summaries, self.precision)
        return found

    @property
    def table(self) -> pd.DataFrame:
        """One row per replication: the plain numbers of its summary."""
        plain = (
            {key: value for key, value in s.items() if not isinstance(value, list | dict)}
            for s in self.summaries
        )
        return pd.DataFrame(plain)

    def to_json(self) -> str:
        """The summary as JSON; undefined metrics are null."""
        return json.dumps(self.summary, indent=2, allow_nan=False)

    def save(self, folder: str | Path) -> Path:
        """Write scenario.yaml, replications.parquet and summary.json: all, or nothing."""
        return write_folder(folder, self._write)

    def _write(self, folder: Path) -> None:
        (folder / "scenario.yaml").write_text(self.resolved.to_yaml(), encoding="utf-8")
        self.table.to_parquet(folder / "replications.parquet", index=False)
        (folder / "summary.json").write_text(self.to_json() + "\n", encoding="utf-8")


def replicate(
    resolved: Resolved,
    count: int | None = None,
    precision: float | None = None,
    *,
    jobs: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Fraction | None = None,
) -> Replications:
    """Play a scenario `count` times, or until the interval of mean E2E is narrow enough.

    precision: half of the 95% interval of mean E2E over the mean, at most; looked at after every
    replication from the 10th on, in order, so that the result does not depend on `jobs`; `count`
    (else 1000) is the most. A saturated scenario stops there too: more runs do not help it.
    out: a results folder; resume: go on from an interrupted run to the same folder.
    Errors: `ProfileError` (bad input); `Interrupted` says what is kept.

    >>> from gcsim.profiles.resolve import resolve
    >>> few = resolve("coding-agents", {"run.trajectories": 2})
    >>> found = replicate(few, 3).summary
    >>> low, high = found["ci95_mean_e2el_ms"]
    >>> low < found["mean_e2el_ms"] < high
    True
    """
    most = _most(count, precision)
    if resume and out is None:
        raise ProfileError.one("run", "--resume", None, "needs --out", "name the same folder")
    with claimed(out):
        kept = _Kept(resolved, out, resume) if out is not None else None
        return _replicated(resolved, most, precision, kept, jobs, progress)


def _replicated(
    resolved: Resolved,
    most: int,
    precision: float | None,
    kept: "_Kept | None",
    jobs: int | None,
    progress: Fraction | None,
) -> Replications:
    seeds = spawned_seeds(resolved.scenario.run.seed, most)
    done = kept.read(seeds) if kept else []
    tell = progress or (lambda _: None)
    begun, before = perf_counter(), len(done)
    try:
        while (stop := _stop_at(done, most, precision)) is None:
            missing = (LEAST if precision is not None else most) - len(done)
            workers = jobs or _workers(perf_counter() - begun, len(done) - before, missing)
            wave = seeds[len(done) : len(done) + workers]
            runs = [with_settings(resolved, {"run.seed": seed}) for seed in wave]
            for result in simulate_all(runs, jobs=len(runs)):
                if kept:
                    kept.write(len(done), result.summary)
                done.append(result.summary)
            tell(min(len(done) / max(len(done) + 1, LEAST), 1.0) if precision else len(done) / most)
        found = Replications(resolved, tuple(done[:stop]), precision)
        if kept is not None:
            found.save(kept.out)
            kept.remove()
    except KeyboardInterrupt as error:
        raise Interrupted.by(error, kept.told(len(done)) if kept else "") from error
    return found


def is_precise(summaries: Iterable[dict[str, Any]], precision: float) -> bool:
    """Whether the 95% interval of mean E2E is at most that wide, relative to the mean.

    Against the true mean, not the estimate: half <= mean p / (1 + p). Ref: Law, 5th ed., 9.4.1.
    """
    values = [s[PRECISION_METRIC] for s in summaries if s[PRECISION_METRIC] is not None]
    interval = replication_interval(values)
    return interval is not None and interval.relative <= precision / (1 + precision)


def _most(count: int | None, precision: float | None) -> int:
    if count is None and precision is None:
        why = "neither a number of replications nor a precision"
        raise ProfileError.one("run", "--replications", None, why)
    if precision is not None and count is not None and count < LEAST:
        why = f"is less than the {LEAST} that --precision needs"
        raise ProfileError.one("run", "--replications", count, why, "give more, or one of the two")
    return count or MOST


def _stop_at(done: list[dict[str, Any]], most: int, precision: float | None) -> int | None:
    """After how many replications the rule stops; None: not among these."""
    for number in range(LEAST, len(done) + 1) if precision is not None else ():
        part = done[:number]
        if 2 * sum(bool(s["saturated"]) for s in part) >= number:
            return number
        if precision is not None and is_precise(part, precision):
            return number
    return most if len(done) >= most else None


def _workers(spent_s: float, here: int, missing: int) -> int:
    """Processes at once: one until the rest is worth starting them."""
    many = cores()
    if not here or many == 1:
        return 1
    worth = spent_s / here * max(missing, many) * (1 - 1 / many) > WORTH_S
    return many if worth else 1


class _Kept:
    """The ended replications of a run that is not yet complete: `<out>.partial/0003.json`."""

    def __init__(self, resolved: Resolved, out: str | Path, resume: bool) -> None:
        target = check_target(out)
        self.out = out
        self.folder = target.with_name(f"{target.name}.partial")
        self.of = {"hash": content_hash(resolved.mapping), "version": __version__}
        if self._begun() and not resume:
            why = "holds the replications of an interrupted run"
            hint = "add --resume to go on, or delete it"
            raise ProfileError.one(str(self.folder), "", None, why, hint)

    def read(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """What is there, in order, up to the first gap."""
        if not self._begun():
            self._mkdir()
            self._put("run.json", self.of)
            return []
        if _json(self.folder / "run.json") != self.of:
            why = "is of another scenario or version of gcsim"
            raise ProfileError.one(str(self.folder), "--resume", None, why, "delete it")
        found: list[dict[str, Any]] = []
        while len(found) < len(seeds):
            summary = _json(self.folder / f"{len(found):04d}.json")
            if summary is None or summary.get("seed") != seeds[len(found)]:
                break
            found.append(summary)
        return found

    def write(self, number: int, summary: dict[str, Any]) -> None:
        """Keep one more."""
        self._put(f"{number:04d}.json", summary)

    def remove(self) -> None:
        """The run is complete: all goes at once, or a kill meanwhile would leave a part."""
        target = Path(self.out).absolute()
        with suppress(OSError):
            gone = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            self.folder.rename(gone / "partial")
            shutil.rmtree(gone, ignore_errors=True)

    def _begun(self) -> bool:
        """Whether there is more than what a kill before its first file leaves."""
        return self.folder.exists() and any(p.suffix != ".tmp" for p in self.folder.iterdir())

    def _mkdir(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def told(self, number: int) -> str:
        """For somebody who interrupts."""
        return f"{number} replications are kept in {self.folder}; --resume goes on from them"

    def _put(self, name: str, data: dict[str, Any]) -> None:
        path = self.folder / name
        try:
            path.with_suffix(".tmp").write_text(json.dumps(data), encoding="utf-8")
            path.with_suffix(".tmp").replace(path)
        except OSError as error:
            raise cannot_write(path, error) from error


def _json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def spawned_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Seeds of so many replications: the scenario's own, then independent ones spawned from it.

    The k-th does not depend on how many there are. They have 53 bits, so that JSON keeps them.

    >>> spawned_seeds(7, 3) == spawned_seeds(7, 5)[:3], spawned_seeds(7, 1)
    (True, (7,))
    """
    children = np.random.SeedSequence(seed).spawn(max(count - 1, 0))
    words = (child.generate_state(1, np.uint64)[0] for child in children)
    return (seed, *(int(word) >> 11 for word in words))


def combined(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The summary of all replications: every number is their mean, counts too.

    `ci95_<key>` is the 95% interval of that mean over replications (of a percentile too). When at
    least half of the replications are saturated, so is the whole: its times are None.
    """
    first = summaries[0]
    found = {key: _mean([s.get(key) for s in summaries]) for key in first}
    found = {key: value for key, value in found.items() if not key.startswith("ci95_")}
    bad = [s["saturated_why"] for s in summaries if s["saturated"]]
    saturated = 2 * len(bad) >= len(summaries)
    for key in [key for key, value in first.items() if _is_metric(key, value, summaries)]:
        known = [s[key] for s in summaries if s.get(key) is not None]
        lost = saturated and settles(key)
        found[key] = None if lost or not known else found[key]
        found[f"ci95_{key}"] = None if lost else bounds(replication_interval(known))
    if saturated:
        found = _without_times(found)
    found["seed"] = first["seed"]
    found["saturated"] = saturated
    found["saturated_why"] = f"{len(bad)} of {len(summaries)}: {bad[0]}" if bad else None
    found["replications"] = len(summaries)
    found["seeds"] = [s["seed"] for s in summaries]
    return found


def _without_times(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary whose times are None, those of its classes and tiers too."""
    lost: dict[str, Any] = {}
    for key, value in summary.items():
        if key in ("classes", "tiers"):
            lost[key] = [_without_times(one) for one in value]
        elif settles(key):
            lost[key] = dict.fromkeys(value) if isinstance(value, dict) else None
        else:
            lost[key] = value
    return lost


def _is_metric(key: str, value: Any, summaries: Sequence[dict[str, Any]]) -> bool:
    if key in _NO_METRIC or key.startswith("ci95_"):
        return False
    return any(_is_number(s.get(key)) for s in (*summaries, {key: value}))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mean(values: list[Any]) -> Any:
    """Numbers to their mean, mappings and lists of mappings by place, anything else as it is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    one = known[0]
    if all(_is_number(value) for value in known):
        return one if all(value == one for value in known) else sum(known) / len(known)
    if isinstance(one, dict):
        keys = dict.fromkeys(key for value in known for key in value)
        return {key: _mean([value.get(key) for value in known]) for key in keys}
    if isinstance(one, list) and all(len(value) == len(one) for value in known):
        return [_mean(list(items)) for items in zip(*known, strict=True)]
    return one
