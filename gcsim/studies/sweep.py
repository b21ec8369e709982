"""Every combination of several settings as a run of its own, as one table that can be resumed.

The table is the same, byte for byte, in one process, in many, and on a Dask cluster, interrupted
and gone on with, or not: its rows are in the order of the grid, and no clock is in it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from gcsim.errors import Interrupted, ProfileError
from gcsim.profiles.resolve import Resolved
from gcsim.results.html import Shown
from gcsim.studies.finished import Finished, Record, finished
from gcsim.studies.grid import Axis, GridPoint, axes_of, combinations
from gcsim.studies.load_curve import (
    COLUMNS,
    Kind,
    at_load,
    check_loads,
    load_of,
    next_load,
    reading,
)
from gcsim.studies.parallel import Fraction
from gcsim.studies.sweep_table import at_slo_table, plain_rows, point_table
from gcsim.studies.workers import play_points
from gcsim.version import __version__

AUTO_RUNS = 14  # of a curve, about, until it is known: for the progress alone
Loads = Sequence[float] | Literal["auto"] | None


@dataclass(frozen=True, eq=False)
class Sweep(Shown):
    """All points of a sweep.

    axes: the settings and their values, a load too; table: a row per point, in the order of the
    grid (a column per axis, then every number of the summary); at_slo: a row per load curve (the
    largest load at which the SLO holds, per chip, kW and dollar, the knee, the saturation);
    played: how many runs it took now, the others were there.
    """

    scenario: str
    axes: tuple[Axis, ...]
    table: pd.DataFrame = field(repr=False)
    at_slo: pd.DataFrame | None = field(default=None, repr=False)
    played: int = 0

    @property
    def keys(self) -> list[str]:
        """The columns of the table that tell one point from another."""
        return [axis.column for axis in self.axes]

    @property
    def errors(self) -> pd.DataFrame:
        """The points that failed: their keys, and why."""
        failed = self.table[self.table["error"].notna()]
        return failed[[*self.keys, "error"]]

    @property
    def lacks(self) -> dict[str, list[str]]:
        """Setting -> the deployments that do not have it, where it was left out."""
        found: dict[str, list[str]] = {}
        rows = self.table[self.table["lacks"].notna()]
        for _, row in rows.iterrows():
            for path in row["lacks"].split(", "):
                names = found.setdefault(path, [])
                if row["deployment"] not in names:
                    names.append(row["deployment"])
        return found

    def to_dict(self) -> dict[str, Any]:
        """What `gcsim sweep --format json` prints; what is undefined is None."""
        found: dict[str, Any] = {
            "scenario": self.scenario,
            "version": __version__,
            "axes": [
                {"path": axis.path, "column": axis.column, "values": list(axis.values)}
                for axis in self.axes
            ],
            "runs": len(self.table),
            "failed": len(self.errors),
            "points": plain_rows(self.table),
        }
        if self.at_slo is not None:
            found["at_slo"] = plain_rows(self.at_slo)
        return found

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, default=str)

    def __repr__(self) -> str:
        failed = f", {len(self.errors)} failed" if len(self.errors) else ""
        over = ", ".join(self.keys) or "nothing"
        return f"Sweep({self.scenario}: {len(self.table)} points over {over}{failed})"


def sweep(
    scenario: str | Path | Resolved,
    grid: Mapping[str, Sequence[Any]] | None = None,
    load: Loads = None,
    *,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    dask: str | None = None,
    progress: Fraction | None = None,
) -> Sweep:
    """Play every combination of the values of a grid, each a run of its own.

    grid: dotted path -> values; `deployment` may be one of them. A setting that one deployment
        lacks is left out there (`Sweep.lacks`); a point that fails has its error in the table.
    load: also at each of these loads, agents of closed loops or tasks per second; `auto`: doubles
        the load until nothing is gained, then bisects for the SLO and the knee.
    out: a folder for the finished points and `sweep.parquet`. What is finished there is never
        played again, so the same call goes on from where another was cut off.
    jobs: processes, else all cores; dask: the address of a scheduler, or `local`. The table does
        not depend on them.
    Errors: `ProfileError` (wrong input, nothing is played); `Interrupted` says what is kept.

    >>> import gcsim
    >>> grid = {"deployment": ["sn40l-mono", "sn50-mono"], "run.seed": [1, 2]}
    >>> found = gcsim.sweep("coding-agents", grid, settings={"arrivals.agents": 1})
    >>> found.table[["deployment", "run.seed", "completed"]].shape, len(found.errors)
    ((4, 3), 0)
    """
    axes = axes_of(grid or {})
    points = combinations(scenario, axes, settings or {})
    curves = _curves(points, load)
    with finished(out) as kept:
        book = _Book(curves, kept, progress)
        try:
            play_points(book.begin(), book.ended, jobs, dask)
        except KeyboardInterrupt as error:
            raise Interrupted.by(error, book.told()) from error
        found = _made(axes, curves, book.played)
        about = {key: value for key, value in found.to_dict().items() if key != "points"}
        kept.write_table(found.table, about)
    return found


def _curves(points: Sequence[GridPoint], load: Loads) -> list["_Curve"]:
    """A curve per combination; one without a load is a single point."""
    if load is None:
        return [_Curve(point) for point in points]
    sound = next(point for point in points if point.error is None)
    kind, own = load_of(sound.resolved())
    loads = None if isinstance(load, str) else check_loads(kind, load)
    if loads is None and load != "auto":
        raise ProfileError.one("sweep", "--load", load, "is no load", "write 1,2,4 or auto")
    return [_Curve(point, kind, loads, 1 if kind == "agents" else own) for point in points]


class _Curve:
    """One combination, at its loads: those that are given, or those that show themselves useful."""

    def __init__(
        self,
        point: GridPoint,
        kind: Kind | None = None,
        loads: Sequence[float] | None = None,
        first: float = 1,
    ) -> None:
        self.point, self.kind, self.loads, self.first = point, kind, loads, first
        self.records: dict[float, tuple[GridPoint, Record]] = {}
        self._asked: dict[float, GridPoint] = {}
        self._resolved = None if point.error is not None or kind is None else point.resolved()

    @property
    def is_open(self) -> bool:
        """Whether the next load depends on what the earlier ones gave."""
        return self.kind is not None and self.loads is None

    def wanted(self) -> list[tuple[float, GridPoint]]:
        """What is to be played next, each asked for once."""
        if self.kind is None:
            loads: Sequence[float] = (0.0,)
        elif self.loads is not None:
            loads = self.loads
        elif len(self.records) < len(self._asked):
            return []
        else:
            found = next_load(self.readings(), self.kind, self.first)
            loads = () if found is None else (found,)
        new = [load for load in loads if load not in self._asked]
        self._asked |= {load: self._at(load) for load in new}
        return [(load, self._asked[load]) for load in new]

    def readings(self) -> list[Any]:
        """What is known of the curve."""
        return [reading(load, record.get("summary")) for load, (_, record) in self.records.items()]

    def rows(self) -> list[tuple[GridPoint, Record]]:
        """Its points, by rising load."""
        return [self.records[load] for load in sorted(self.records)]

    def _at(self, load: float) -> GridPoint:
        if self.kind is None:
            return self.point
        if self._resolved is None:
            return self.point.at(load, {})
        try:
            kind, _ = load_of(self._resolved)
            if kind != self.kind:
                why = f"has a load in {kind}, the first point in {self.kind}"
                raise ProfileError.one(self._resolved.scenario.name, "arrivals", None, why)
            return self.point.at(load, at_load(self._resolved, load))
        except ProfileError as error:
            return self.point.at(load, {}).failed(str(error))


class _Book:
    """Who waits for which point, and what is known already."""

    def __init__(self, curves: Sequence[_Curve], kept: Finished, progress: Fraction | None) -> None:
        self.curves, self.kept, self.progress = curves, kept, progress
        self.played, self.size_done, self.size_asked = 0, 0, 0
        self._known: dict[str, Record] = {}
        self._waiting: dict[str, list[tuple[_Curve, float, GridPoint]]] = {}

    def begin(self) -> list[GridPoint]:
        """What all curves want first and nobody has played."""
        return [point for curve in self.curves for point in self._more(curve)]

    def ended(self, point: GridPoint, record: Record) -> Iterator[GridPoint]:
        """A point was played: keep it, and say what to play further."""
        if "summary" in record or record.get("final"):
            self.kept.write(point.key, record)
        self._known[point.key] = record
        self.played += 1
        self.size_done += point.size
        more = []
        for curve, load, mine in self._waiting.pop(point.key):
            curve.records[load] = mine, record
            more += self._more(curve)
        self._tell()
        return iter(more)

    def told(self) -> str:
        """For somebody who interrupts."""
        if self.kept.folder is None:
            return f"{self.played} finished points are lost; with --out they would be kept"
        kept = f"{len(self._known)} finished points are kept in {self.kept.folder}"
        return f"{kept}; the same command goes on from them"

    def _more(self, curve: _Curve) -> list[GridPoint]:
        """The points that a curve wants next and that must be played for it."""
        needed: list[GridPoint] = []
        while wanted := curve.wanted():
            for load, point in wanted:
                record = {"error": point.error} if point.error is not None else self._find(point)
                if record is not None:
                    curve.records[load] = point, record
                    continue
                waiting = self._waiting.setdefault(point.key, [])
                if not waiting:
                    needed.append(point)
                    self.size_asked += point.size
                waiting.append((curve, load, point))
            if not curve.is_open:
                break
        return needed

    def _find(self, point: GridPoint) -> Record | None:
        if point.key not in self._known:
            record = self.kept.read(point.key)
            if record is None:
                return None
            self._known[point.key] = record
        return self._known[point.key]

    def _tell(self) -> None:
        if self.progress is None:
            return
        done = self.size_done / self.size_asked
        if any(curve.is_open for curve in self.curves):  # how many more there will be is a guess
            done = self.played / max(self.played + len(self._waiting), AUTO_RUNS * len(self.curves))
        self.progress(done)


def _made(axes: tuple[Axis, ...], curves: Sequence[_Curve], played: int) -> Sweep:
    scenario = curves[0].point.base.scenario.name
    rows = [row for curve in curves for row in curve.rows()]
    kind = curves[0].kind
    at_slo = None
    if kind is not None:
        own = tuple(axis.column for axis in axes)
        at_slo = at_slo_table(own, kind, [(c.point, c.rows(), c.readings()) for c in curves])
        loads = sorted({load for curve in curves for load in curve.records})
        axes = (*axes, Axis(COLUMNS[kind], tuple(loads)))
    table = point_table([axis.column for axis in axes], rows)
    return Sweep(scenario, axes, table, at_slo, played)
