"""What moved between two runs: headline metrics of two summaries, and the inputs that differ."""

import hashlib
import json
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gcsim.errors import ProfileError
from gcsim.profiles.library import Library
from gcsim.profiles.load import read_mapping
from gcsim.profiles.resolve import Names, Resolved, content_hash, resolve_mapping
from gcsim.results.folder import complete, read_summary
from gcsim.results.metrics import watched
from gcsim.results.paired import ratios
from gcsim.results.result import Result
from gcsim.results.statistics import Interval, paired_interval, welch_interval

_TEXTS = frozenset({"source", "note", "conflicts", "description"})  # say, and do not act


@dataclass(frozen=True, slots=True)
class Move:
    """A metric before and after; `low`, `high`: the 95% interval of its relative change."""

    metric: str
    before: float | None
    after: float | None
    low: float | None = None
    high: float | None = None

    @property
    def change(self) -> float:
        """Relative change; infinite from 0 or to or from undefined, 0 where nothing moved.

        >>> Move("mean_ttft_ms", 100.0, 105.0).change, Move("rejected", 0, 1).change
        (0.05, inf)
        """
        if self.before == self.after:
            return 0.0
        if self.before is None or self.after is None or not self.before:
            return inf
        return (self.after - self.before) / abs(self.before)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out "no change"."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def headlines(summary: dict[str, Any]) -> dict[str, float | None]:
    """The metrics that are watched, from a summary."""
    return {key: summary.get(key) for key in watched()}


def inputs(resolved: Resolved) -> dict[str, str]:
    """Content hash per input: `chip sn40l`, `model ...`, `deployment ...`, `workload ...`.

    Of what acts: numbers, names and policies. Comments, spaces, the order of keys, sources and
    notes are left out; a trace counts by its content, not by its path.

    >>> from gcsim.profiles.resolve import resolve
    >>> sorted(key.split()[0] for key in inputs(resolve("coding-agents")))
    ['chip', 'deployment', 'model', 'scenario', 'workload']
    """
    return Resolved(resolved.scenario, _acting(resolved.mapping)).hashes()


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The inputs whose content differs, each as it is named.

    >>> changed({"chip a": "1", "model m": "2"}, {"chip a": "3", "model m": "2", "chip b": "4"})
    ['chip a', 'chip b (new)']
    """
    found = [name for name, text in before.items() if after.get(name, text) != text]
    found += [f"{name} (gone)" for name in before if name not in after]
    return sorted(found + [f"{name} (new)" for name in after if name not in before])


def moves(
    before: dict[str, list[float | None]],
    after: dict[str, list[float | None]],
    paired: bool,
    level: float = 0.95,
) -> list[Move]:
    """Metric by metric the mean over replications, and the interval of its relative change.

    paired: value k of both is of the same seed (common random numbers); else after Welch.
    """
    found = []
    for metric, old in before.items():
        ends, known = [], True
        for side in (old, after[metric]):
            defined = [value for value in side if value is not None]
            known = known and len(defined) == len(side)
            ends.append(_mean(defined) if len(defined) == len(side) else None)
        interval = None
        if known:
            interval = (paired_interval if paired else welch_interval)(
                np.array(old, dtype=np.float64), np.array(after[metric], dtype=np.float64), level
            )
        found.append(_move(metric, ends[0], ends[1], interval))
    return found


@dataclass(frozen=True)
class Difference:
    """Two runs side by side; `inputs`: what differs of what went in, None where it is unknown."""

    moves: tuple[Move, ...]
    inputs: list[str] | None
    names: tuple[str, str]
    versions: tuple[str, str]
    saturated: tuple[str | None, str | None]
    how: str

    def to_json(self) -> str:
        """As JSON; a change from 0 or to undefined is null."""
        found = [
            {**asdict(move), "change": None if abs(move.change) == inf else move.change}
            for move in self.moves
        ]
        rest = {key: value for key, value in asdict(self).items() if key != "moves"}
        return json.dumps({**rest, "moves": found}, indent=2, allow_nan=False)


def difference(first: str | Path, other: str | Path) -> Difference:
    """Compare two results folders, or summary.json files.

    Folders of single runs with the same seed and workload: paired over trajectories; folders of
    replications: paired over seeds where they are the same, else after Welch; a summary.json that
    stands alone has no interval. Errors: `ProfileError` for a folder that is not complete.
    """
    sides = [_Side(Path(path)) for path in (first, other)]
    a, b = (side.summary for side in sides)
    values = [{key: [value] for key, value in headlines(s).items()} for s in (a, b)]
    plain = moves(values[0], values[1], paired=False)
    resolved = [side.resolved() for side in sides]
    differs = None
    how = "no intervals: a summary.json alone has none"
    if resolved[0] is not None and resolved[1] is not None:
        differs = changed(inputs(resolved[0]), inputs(resolved[1]))
        plain, how = _with_intervals(sides, plain)
    return Difference(
        moves=tuple(plain),
        inputs=differs,
        names=(str(first), str(other)),
        versions=(a["version"], b["version"]),
        saturated=(a["saturated_why"], b["saturated_why"]),
        how=how,
    )


class _Side:
    """One of the two: a folder, a summary.json in a complete folder, or one that stands alone."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise ProfileError.one(str(path), "", None, "no such file or folder")
        folder = path if path.is_dir() else path.parent
        alone = not path.is_dir() and (path.name != "summary.json" or not _others(path))
        self.folder = None if alone else folder
        self.summary = read_summary(path) if alone else complete(folder)
        self.replicated = "replications" in self.summary

    def resolved(self) -> Resolved | None:
        if self.folder is None:
            return None
        path = self.folder / "scenario.yaml"
        mapping, lines = read_mapping(path)
        return resolve_mapping(mapping, str(path), Names(Library(), lines))

    def result(self) -> Result:
        """As it was before it was saved (without pools, links and timeline)."""
        resolved, none = self.resolved(), pd.DataFrame()
        assert self.folder is not None
        assert resolved is not None
        tables = [
            pd.read_parquet(self.folder / f"{name}.parquet")
            for name in ("requests", "trajectories")
        ]
        return Result(resolved, self.summary, tables[0], tables[1], none, none, none)

    def table(self) -> pd.DataFrame:
        assert self.folder is not None
        return pd.read_parquet(self.folder / "replications.parquet")


def _others(path: Path) -> list[Path]:
    """Files of a results folder beside a summary."""
    known = ("scenario.yaml", "requests.parquet", "trajectories.parquet", "replications.parquet")
    return [path.with_name(name) for name in known if path.with_name(name).exists()]


def _with_intervals(sides: list[_Side], plain: list[Move]) -> tuple[list[Move], str]:
    if all(side.replicated for side in sides):
        tables = [side.table() for side in sides]
        paired = tables[0]["seed"].tolist() == tables[1]["seed"].tolist()
        keys = [move.metric for move in plain if move.metric in tables[0]]
        values = [
            {key: [None if pd.isna(v) else float(v) for v in table[key]] for key in keys}
            for table in tables
        ]
        known = {move.metric: move for move in moves(values[0], values[1], paired)}
        found = [known.get(move.metric, move) for move in plain]
        how = "paired over seeds" if paired else "unpaired: the seeds differ"
        return found, f"95% intervals, {how}, {len(tables[0])} and {len(tables[1])} replications"
    if any(side.replicated for side in sides):
        return plain, "no intervals: a single run and replications"
    found = _by_trajectory(sides[0].result(), sides[1].result(), plain)
    return found, "95% intervals, paired over trajectories where both play the same ones"


def _by_trajectory(first: Result, other: Result, plain: list[Move]) -> list[Move]:
    found, known = [], ratios(first, other)
    for move in plain:
        ratio = known.get(move.metric)
        if ratio is None or ratio.low is None or ratio.high is None:
            found.append(move)
        else:
            bounds = ratio.low - 1, ratio.high - 1
            found.append(Move(move.metric, move.before, move.after, *bounds))
    return found


def _move(
    metric: str, before: float | None, after: float | None, interval: Interval | None
) -> Move:
    if interval is None or not before:
        return Move(metric, before, after)
    return Move(metric, before, after, interval.low / abs(before), interval.high / abs(before))


def _mean(values: list[float]) -> float:
    """The mean; of equal values exactly that value."""
    return values[0] if len(set(values)) == 1 else sum(values) / len(values)


def _acting(node: Any) -> Any:
    """A mapping without what only explains, and with the content of traces for their paths."""
    if isinstance(node, list):
        return [_acting(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _acting(value) for key, value in node.items() if key not in _TEXTS}
    trace = found.get("trace")
    if isinstance(trace, dict) and isinstance(trace.get("path"), str):
        found["trace"] = {**trace, "path": _content(Path(trace["path"]))}
    return found


def _content(path: Path) -> str:
    """Hash of a file's bytes; the path itself where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return content_hash(str(path))
