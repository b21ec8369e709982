"""Robust least squares on the logarithms of errors: named factors from published points.

Every point is scheduled once (`gcsim.calibration.tape`); a candidate then costs one `bind` per
distinct pool and one compiled pricing of all schedules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from gcsim.calibration.tape import binned, iterations_of, load_of
from gcsim.engine.closed_loop import WIDTH
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


class Pricer:
    """Modeled times of prepared points as a function of the factors."""

    def __init__(self, ready: Prepared) -> None:
        self.ready = ready
        sizes = [0, *(len(b) for b in ready.bins)]
        self._first = np.cumsum(sizes)
        self._bins = np.concatenate(ready.bins) if ready.bins else np.zeros((0, WIDTH))
        self._which = np.array(ready.which, dtype=np.int64)
        self.rows = [
            (k, _COLUMN[m], m, p.published[m])
            for k, p in enumerate(ready.points)
            for m in FITTED
            if m in p.published
        ]
        self._point = np.array([r[0] for r in self.rows], dtype=np.int64)
        self._metric = np.array(
            [3 if ready.points[r[0]].whole_run else r[1] for r in self.rows], dtype=np.int64
        )
        self._with_request = np.array([r[2] != "tpot" for r in self.rows])
        shift = [ready.shift.get((ready.points[r[0]].id, r[2]), 0.0) for r in self.rows]
        self._log_published = np.log(np.array([r[3] for r in self.rows])) - np.array(shift)
        self._cache: dict[int, tuple[tuple[float, ...], NDArray[np.float64], float]] = {}

    def errors(self, values: Mapping[Name, float]) -> "NDArray[np.float64]":
        """log(modeled / published) of every row in `rows`."""
        tables, request = [], []
        for index, (model, pool) in enumerate(self.ready.pools):
            key = tuple(
                v
                for (chip, stack, _), v in values.items()
                if chip == pool.chip.name and stack in ("", pool.stack)
            )
            cached = self._cache.get(index)
            if cached is None or cached[0] != key:
                chip = with_factors(pool.chip, values)
                machine = bind(model, pool.model_copy(update={"chip": chip}))
                cached = (key, machine.table, machine.request_overhead_s)
                self._cache[index] = cached
            tables.append(cached[1])
            request.append(cached[2])
        times = price(stacked(tables), self._which, self._first, self._bins)
        modeled = times[self._point, self._metric]
        modeled = modeled + np.array(request)[self._which[self._point]] * self._with_request
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


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted factors and one standard error of their logarithms."""

    values: dict[Name, float]
    sigma: dict[Name, float]


Prior = Callable[[Name], tuple[float, float]]


def default_prior(name: Name) -> tuple[float, float]:
    """The shipped prior of a factor."""
    return prior_of(name[2], name[1])


def fit(
    ready: Prepared,
    prior: Prior = default_prior,
    fixed: Mapping[Name, float] | None = None,
    max_evaluations: int = 25,
) -> Fit:
    """Factors that minimise the weighted robust error of the prepared points.

    minimise sum over rows of soft_l1(w log(modeled/published) / s) + sum of ((x - x0) / s0)^2

    x: logarithms of the factors, within physical bounds; s: `NOISE` of the metric; w: rows of a
    large (model, source) group count less, so that a group weighs as the root of its size.
    Ref: scipy.optimize.least_squares, trust region reflective.
    """
    from scipy.optimize import least_squares

    pricer = Pricer(ready)
    names = [n for n in names_of(ready) if n not in (fixed or {})]
    start = np.array([np.log(prior(n)[0]) for n in names])
    low, high = (np.log([bounds(n[2])[i] for n in names]) for i in (0, 1))
    start = np.clip(start, low + 1e-6, high - 1e-6)
    centre = np.log([prior(n)[0] for n in names])
    width = np.array([prior(n)[1] for n in names])
    weights = row_weights(pricer)

    def residuals(x: "NDArray[np.float64]") -> "NDArray[np.float64]":
        values = dict(fixed or {}) | dict(zip(names, np.exp(x).tolist(), strict=True))
        scaled = weights * pricer.errors(values)
        # soft_l1 by hand, so that priors stay plain squares
        soft = np.sign(scaled) * np.sqrt(2.0 * (np.sqrt(1.0 + scaled**2) - 1.0))
        return np.concatenate([soft, (x - centre) / width])

    found = least_squares(
        residuals,
        start,
        bounds=(low, high),
        max_nfev=max_evaluations,
        diff_step=np.array([1e-4]),
        x_scale=width,
        ftol=1e-4,
        xtol=1e-4,
    )
    values = dict(fixed or {}) | dict(zip(names, np.exp(found.x).tolist(), strict=True))
    jacobian = np.asarray(found.jac, dtype=np.float64)
    spread = np.sqrt(np.diag(np.linalg.pinv(jacobian.T @ jacobian)))
    return Fit(values, dict(zip(names, spread.tolist(), strict=True)))


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
