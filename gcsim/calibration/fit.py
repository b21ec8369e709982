"""Robust least squares on the logarithms of errors: named factors from published points.

Every point is scheduled once (`gcsim.calibration.tape`); a candidate then costs one `bind` per
distinct pool and one compiled pricing of all schedules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from gcsim.calibration.factors import (
    COMPUTE,
    Name,
    bounds,
    held,
    is_dated,
    prior_of,
    with_factors,
    with_stacks,
)
from gcsim.calibration.match import Setup, on_chips, setup_of
from gcsim.calibration.points import Point
from gcsim.calibration.pooling import (
    Columns,
    Hierarchy,
    hierarchy,
    independent,
    shown_by_points,
    tied,
)
from gcsim.calibration.solve import Solved, solve
from gcsim.calibration.tape import binned, iterations_of, load_of
from gcsim.errors import CapacityError
from gcsim.machine.layers import layers_of
from gcsim.machine.machine import bind, quantizes, stacked
from gcsim.machine.roofline import price
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Pool
from gcsim.profiles.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

# One standard deviation of the logarithm of a good prediction's error, by metric.
NOISE = {"ttft": 0.08, "tpot": 0.06, "e2e": 0.06, "throughput": 0.08}
CROWD = -0.25  # a group of rows weighs as the root of its size
FITTED = ("ttft", "tpot", "e2e")  # throughput follows from them
STEP = 1e-4  # of a logarithm, for slopes
_COLUMN = {"ttft": 0, "tpot": 1, "e2e": 2}


@dataclass(slots=True)
class Prepared:
    """Points scheduled and ready to be priced.

    points, setups: those that fit, in order; which: their distinct pool (model, pool); first,
    bins: their iterations; reasons: id -> why a point was left out; shift: (id, metric) -> what
    the schedule leaves out (`gcsim.calibration.feedback`), added to the logarithm of its time.
    """

    points: list[Point] = field(default_factory=list)
    setups: list[Setup] = field(default_factory=list)
    pools: list[tuple[Model, Pool]] = field(default_factory=list)
    which: list[int] = field(default_factory=list)
    bins: list["NDArray[np.float64]"] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    shift: dict[tuple[str, str], float] = field(default_factory=dict)


def prepare(points: Sequence[Point], own: Chip | None = None) -> Prepared:
    """Match and schedule points; disaggregated and cached ones are left out (time feeds back).

    own: a chip that is not shipped, or not as it is shipped.
    """
    ready = Prepared()
    known: dict[str, int] = {}
    for point in points:
        if point.prefill is not None:
            ready.reasons[point.id] = "disaggregated: validated, not fitted"
            continue
        if point.cached:
            ready.reasons[point.id] = "prefix cache: validated, not fitted"
            continue
        setup = setup_of(point, own)
        if isinstance(setup, str):
            ready.reasons[point.id] = setup
            continue
        setup = _to_fit(setup)
        pool = setup.pool
        try:
            machine = bind(setup.model, pool)
        except CapacityError:
            ready.reasons[point.id] = "weights do not fit the chips"
            continue
        rows = iterations_of(point, setup, machine, load_of(point))
        if not rows.size:
            ready.reasons[point.id] = "a request does not fit the KV cache"
            continue
        key = (
            f"{setup.chip} {setup.stack} {pool.tp} {pool.ep} {pool.kv_dtype} {setup.model.name} "
            + repr(setup.model.weights)
        )
        if key not in known:
            known[key] = len(ready.pools)
            ready.pools.append((setup.model, pool))
        ready.points.append(point)
        ready.setups.append(setup)
        ready.which.append(known[key])
        ready.bins.append(binned(rows))
    return ready


def _to_fit(setup: Setup) -> Setup:
    """A setup whose chip has the published stack, and what is never fitted at its prior."""
    return on_chips(setup, lambda chip: held(with_stacks(chip, {setup.stack})))


def subset(ready: Prepared, keep: Callable[[Point, Setup], bool]) -> Prepared:
    """The prepared points that satisfy a condition, with only the pools that they need."""
    chosen = [k for k, p in enumerate(ready.points) if keep(p, ready.setups[k])]
    used = sorted({ready.which[k] for k in chosen})
    place = {old: new for new, old in enumerate(used)}
    return Prepared(
        [ready.points[k] for k in chosen],
        [ready.setups[k] for k in chosen],
        [ready.pools[k] for k in used],
        [place[ready.which[k]] for k in chosen],
        [ready.bins[k] for k in chosen],
        {},
        ready.shift,
    )


def rows_in(ready: Prepared) -> list[tuple[int, int, str, float]]:
    """Every published time of prepared points: its point, column of weights, metric, time [s]."""
    return [
        (k, _COLUMN[m], m, p.published[m])
        for k, p in enumerate(ready.points)
        for m in FITTED
        if m in p.published
    ]


class Pricer:
    """Modeled times of prepared points as a function of the factors."""

    def __init__(self, ready: Prepared) -> None:
        self.ready = ready
        self.rows = rows_in(ready)
        served = [(s.chip, s.stack) for s in ready.setups]
        self._parts = [
            _Part(self, served, key) for key in sorted({served[row[0]] for row in self.rows})
        ]

    def errors(self, values: Mapping[Name, float]) -> "NDArray[np.float64]":
        """log(modeled / published) of every row in `rows`."""
        found = np.zeros(len(self.rows))
        for part in self._parts:
            found[part.places] = part.errors(values)
        return found

    def slopes(
        self, values: Mapping[Name, float], columns: Sequence[Sequence[Name]]
    ) -> "NDArray[np.float64]":
        """How the errors grow with the logarithm of each column's factors, which move together."""
        found = np.zeros((len(self.rows), len(columns)))
        for column, names in enumerate(columns):
            moved = {**values, **{n: values[n] * np.exp(STEP) for n in names}}
            for part in self._parts:
                if any(part.reads(name) for name in names):
                    change = part.priced(moved) - part.errors(values)
                    found[part.places, column] = change / STEP
        return found


class _Part:
    """The rows of one chip and stack: what is priced anew when one of its factors moves."""

    def __init__(
        self, pricer: Pricer, served: Sequence[tuple[str, str]], key: tuple[str, str]
    ) -> None:
        ready = pricer.ready
        self.key = key
        self.places = np.array([i for i, row in enumerate(pricer.rows) if served[row[0]] == key])
        rows = [pricer.rows[i] for i in self.places]
        own = sorted({row[0] for row in rows})
        place = {k: i for i, k in enumerate(own)}
        pools = sorted({ready.which[k] for k in own})
        self._pools = [ready.pools[i] for i in pools]
        self._which = np.array([pools.index(ready.which[k]) for k in own], dtype=np.int64)
        bins = [ready.bins[k] for k in own]
        self._first = np.cumsum([0, *map(len, bins)])
        self._bins = np.concatenate(bins)
        self._point = np.array([place[row[0]] for row in rows], dtype=np.int64)
        self._metric = np.array(
            [3 if ready.points[k].whole_run else column for k, column, *_ in rows], dtype=np.int64
        )
        self._with_request = np.array([row[2] != "tpot" for row in rows])
        shift = [ready.shift.get((ready.points[row[0]].id, row[2]), 0.0) for row in rows]
        self._log_published = np.log([row[3] for row in rows]) - np.array(shift)
        self._last: tuple[tuple[tuple[Name, float], ...], NDArray[np.float64]] | None = None

    def reads(self, name: Name) -> bool:
        """Whether its times depend on a factor."""
        return name[0] == self.key[0] and name[1] in ("", self.key[1])

    def errors(self, values: Mapping[Name, float]) -> "NDArray[np.float64]":
        """Errors of its rows; those of the last values are kept."""
        own = tuple(item for item in values.items() if self.reads(item[0]))
        if self._last is None or self._last[0] != own:
            self._last = (own, self.priced(values))
        return self._last[1]

    def priced(self, values: Mapping[Name, float]) -> "NDArray[np.float64]":
        """As `errors`, without keeping them."""
        chip = with_factors(self._pools[0][1].chip, values)
        machines = [bind(m, pool.model_copy(update={"chip": chip})) for m, pool in self._pools]
        tables = stacked([machine.table for machine in machines])
        request = np.array([machine.request_overhead_s for machine in machines])
        times = price(tables, self._which, self._first, self._bins)
        modeled = times[self._point, self._metric]
        modeled = modeled + request[self._which[self._point]] * self._with_request
        return np.asarray(np.log(np.maximum(modeled, 1e-9)) - self._log_published)


def names_of(ready: Prepared) -> list[Name]:
    """The factors that some prepared point depends on."""
    found: set[Name] = set()
    for model, pool in ready.pools:
        chip, stack = pool.chip, str(pool.stack)
        used = {"memory", "kv_read", "gemm_bf16"}
        own, moe = model.weights, layers_of(model).moe
        for fmt in (own.attention, own.ffn, own.experts if moe else own.ffn):
            wide = fmt == own.experts and moe
            used.add(f"gemm_{chip.arithmetic(fmt, own.expert_math if wide else 'native')}")
        times = {"layer_overhead", "sequence_overhead", "prompt_layer_overhead", "request_overhead"}
        if is_dated(stack):
            times.add(COMPUTE)
        if _quantizing(model, chip):
            times.add("quantized_kernels")
        if moe:
            used.add("expert_gemm")
            times.add("moe_layer_overhead")
        if pool.tp > 1 or pool.ep > 1:
            used.add("link")
            times |= {"all_reduce_latency", "all_reduce_latency_per_doubling"}
        found |= {(chip.name, "", f) for f in used}
        found |= {(chip.name, stack, f) for f in times}
    return sorted(found)


def _quantizing(model: Model, chip: Chip) -> bool:
    """Whether some layer quantizes its activations; a fused chip launches one kernel anyway."""
    own = model.weights
    experts = layers_of(model).moe and own.expert_math == "native" and quantizes(chip, own.experts)
    return chip.execution == "kernels" and bool(experts or quantizes(chip, own.attention))


Prior = Callable[[Name], tuple[float, float]]


def default_prior(name: Name) -> tuple[float, float]:
    """The shipped prior of a factor."""
    return prior_of(name[2], name[1])


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted factors, and what is known of each.

    sigma: one standard error of its logarithm; shown: which part of the prior's variance the points
    take away (`gcsim.calibration.pooling`); with_which: the factor whose error goes most with its
    own, and their correlation; columns, solved, pool: the system at the solution, and the means
    behind it.
    """

    values: dict[Name, float]
    sigma: dict[Name, float]
    shown: dict[Name, float] = field(default_factory=dict)
    with_which: dict[Name, tuple[Name, float]] = field(default_factory=dict)
    columns: Columns = ()
    solved: Solved | None = None
    pool: Hierarchy | None = None

    def without(self, rows: "NDArray[np.bool_]") -> dict[Name, float]:
        """The factors had some rows of `Pricer.rows` not been there."""
        assert self.solved is not None
        found = np.exp(self.solved.without(rows)).tolist()
        return self.values | {
            n: v for names, v in zip(self.columns, found, strict=True) for n in names
        }


def fit(
    ready: Prepared,
    prior: Prior = default_prior,
    fixed: Mapping[Name, float] | None = None,
    max_evaluations: int = 25,
    pooled: bool = False,
    start: Mapping[Name, float] | None = None,
) -> Fit:
    """Factors that minimise the weighted robust error of the prepared points.

    minimise sum over rows of soft_l1(w log(modeled/published) / s) + pull

    x: logarithms of the factors, within physical bounds; s: `NOISE` of the metric; w: rows of a
    large (model, source) group count less, so that a group weighs as the root of its size; pull: to
    the prior, or (pooled) to what the same stack on other chips says (`gcsim.calibration.pooling`).
    Chips of one die share what the die decides. start: where the search begins, else at the priors.
    """
    pricer = Pricer(ready)
    columns = tied([n for n in names_of(ready) if n not in (fixed or {})])
    vendors = {pool.chip.name: pool.chip.vendor for _, pool in ready.pools}
    pool = hierarchy(columns, prior, vendors) if pooled else None
    pull = pool.pull() if pool else independent(columns, prior)
    if start:
        pull = pull.from_here(np.log([start.get(n[0], prior(n[0])[0]) for n in columns]))
    limits = np.log([bounds(names[0][2]) for names in columns]).T.reshape(2, -1)
    weights = row_weights(pricer)
    fixed = dict(fixed or {})

    def values_at(x: "NDArray[np.float64]") -> dict[Name, float]:
        found = {n: v for names, v in zip(columns, np.exp(x), strict=False) for n in names}
        return fixed | {n: float(v) for n, v in found.items()}

    def errors(x: "NDArray[np.float64]") -> "NDArray[np.float64]":
        return weights * pricer.errors(values_at(x))

    def slopes(x: "NDArray[np.float64]") -> "NDArray[np.float64]":
        return weights[:, None] * pricer.slopes(values_at(x), columns)

    solved = solve(errors, slopes, pull, limits, max_evaluations)
    found = told(columns, values_at(solved.x), solved, [prior(names[0])[1] for names in columns])
    return replace(found, pool=pool)


def told(
    columns: Columns, values: dict[Name, float], solved: Solved, widths: Sequence[float]
) -> Fit:
    """A solved system as factors; widths: of the priors."""
    spread = np.sqrt(np.diag(np.linalg.pinv(solved.normal)))
    shown, correlation = shown_by_points(solved, widths)
    np.fill_diagonal(correlation, 0.0)
    found = Fit(values, {}, {}, {}, columns, solved)
    for k, names in enumerate(columns):
        other = int(np.argmax(np.abs(correlation[k])))
        for name in names:
            found.sigma[name], found.shown[name] = float(spread[k]), float(shown[k])
            if len(columns) > 1:
                found.with_which[name] = (columns[other][0], float(correlation[k, other]))
    return found


def row_weights(pricer: Pricer) -> "NDArray[np.float64]":
    """1 / noise of each row, less in large groups: (rows of the group)^`CROWD`."""
    groups = [(*pricer.ready.points[k].group, pricer.ready.setups[k].chip) for k, *_ in pricer.rows]
    sizes = {g: groups.count(g) for g in set(groups)}
    return np.array(
        [
            1.0 / NOISE[m] * (sizes[g] / 30.0) ** CROWD
            for g, (_, _, m, _) in zip(groups, pricer.rows, strict=True)
        ]
    )
