"""How far a prediction may be off: what published measurements near a question say of the model.

The table that ships holds every measured point with what the model says of it, so r = log(published
/ modeled). Around a question these residuals are smoothed (a Gaussian process over named features,
on the nearest points), which gives a middle m and a spread s; an interval is

    modeled x exp(m -+ q s)

with q so that 80% or 90% of the points lie within when all that is as near to them as the nearest
evidence is to the question is left out (split conformal, by depth: point, sweep, model, chip).
Refs: Rasmussen and Williams, Gaussian Processes, 2.2; Angelopoulos and Bates, arXiv 2107.07511.
"""

import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import erf, exp, log, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gcsim.machine.counts import formats
from gcsim.machine.layers import layers_of
from gcsim.profiles import library
from gcsim.profiles.model import Model, WeightFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcsim.results.result import Result
    from gcsim.studies.estimate import Estimate

DEPTHS = ("point", "sweep", "model", "chip")  # what is nearest to a question, from near to far
METRICS = ("ttft", "tpot", "e2e")
LEVELS = (0.8, 0.9)
NEAREST = 96  # points that a prediction is smoothed over
CLIP = 1.2  # a residual beyond this (a factor of 3.3) pulls no more than one of this
NEAR = 2.0  # a point is near whose load and lengths are within this factor
# Variances of the logarithm, by what points have in common with a question; the last of a point
# alone. And over which factor of (sequences, fresh prompt, context, output, chips) loads differ.
VARIANCES = {
    "ttft": (0.015, 0.067, 0.02, 0.033, 0.049, 0.011),
    "tpot": (0.007, 0.001, 0.0075, 0.015, 0.019, 0.0006),
    "e2e": (0.004, 0.0065, 0.012, 0.005, 0.039, 0.006),
}
SCALES = (1.2, 1.2, 1.5, 1.5, 1.0)

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What a prediction is asked for, in what decides how far it may be off.

    precision: formats of weights; split: prefill elsewhere; chips: of a replica; seqs: requests
    under way there; fresh, context, osl: tokens to compute of a prompt, of all of it, of an answer.
    """

    chip: str
    stack: str
    model: str
    precision: str
    split: bool
    chips: float
    seqs: float
    fresh: float
    context: float
    osl: float

    @property
    def names(self) -> tuple[Words, ...]:
        """What points may have in common with it: stack, model, family, setup."""
        served = (self.chip, self.stack, str(int(self.split)))
        family = (*served, self.model, self.precision)
        return served, (self.model,), family, (*family, f"{self.chips:g}")

    @property
    def load(self) -> tuple[float, ...]:
        """Logarithms of load, lengths and chips."""
        sizes = (self.seqs, self.fresh, self.context, self.osl, self.chips)
        return tuple(log(max(size, 1.0)) for size in sizes)


@dataclass(frozen=True, slots=True)
class Features:
    """Questions as arrays: a code for each kind of name, by column, and their loads."""

    names: "NDArray[np.int64]"
    loads: "NDArray[np.float64]"

    def at(self, rows: "NDArray[np.int64]") -> "Features":
        """Some of them."""
        return Features(self.names[rows], self.loads[rows])


def features(questions: Sequence[Question], known: dict[Words, int] | None = None) -> Features:
    """Questions as arrays; known: the codes of names, to which those of new names are added."""
    known = {} if known is None else known
    codes = [[known.setdefault(name, len(known)) for name in q.names] for q in questions]
    return Features(np.array(codes, dtype=np.int64), np.array([q.load for q in questions]))


def kernel(a: Features, b: Features, metric: str) -> "NDArray[np.float64]":
    """Covariance of the residuals of questions a with those of b, noise left out.

    v1 [same stack] + v2 [same model] + v3 [same family] + (v4 [same setup] + v5 [same stack]) g

    g = exp(-|difference of loads / scales|^2 / 2)
    """
    stack, model, family, setup = (
        a.names[:, k, None] == b.names[None, :, k] for k in range(a.names.shape[1])
    )
    apart = (a.loads[:, None, :] - b.loads[None, :, :]) / np.array(SCALES)
    near = np.exp(-0.5 * (apart**2).sum(axis=2))
    v = VARIANCES[metric]
    shared = v[0] * stack + v[1] * model + v[2] * family
    return np.asarray(shared + (v[3] * setup + v[4] * stack) * near, dtype=np.float64)


def smoothed(
    at: Features, known: Features, residuals: "NDArray[np.float64]", metric: str
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]"]:
    """Mean and covariance of the residuals at some questions, noise left out.

    known, residuals: of the points to learn from; the nearest `NEAREST` count
    """
    across = kernel(at, known, metric)
    if across.shape[1] > NEAREST:
        chosen = np.argsort(-across.max(axis=0), kind="stable")[:NEAREST]
        across, known, residuals = across[:, chosen], known.at(chosen), residuals[chosen]
    within = kernel(known, known, metric)
    within[np.diag_indices_from(within)] += VARIANCES[metric][5]
    gain = np.linalg.solve(within, across.T).T
    mean = gain @ np.clip(residuals, -CLIP, CLIP)
    return np.asarray(mean, dtype=np.float64), kernel(at, at, metric) - gain @ across.T


@dataclass(frozen=True, slots=True)
class Interval:
    """A prediction interval: modeled value, middle and ends, in the unit of what was modeled.

    depth: of the nearest points that have this metric, `parts` where it is made of other metrics'
    """

    depth: str
    modeled: float
    middle: float
    low80: float
    high80: float
    low90: float
    high90: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What evidence says of one question: intervals by metric, depth of the nearest, in words.

    near: points whose setup is that of the question and whose load is near; median_error: of the
    model on these, or else on those that are nearest.
    """

    depth: str
    near: int
    nearest: int
    median_error: float | None
    told: str
    intervals: dict[str, Interval]


class Evidence:
    """The measured points that ship: what was published, what the model says, and how far off."""

    def __init__(self, rows: Sequence[dict[str, str]], fitted: dict[str, Any]) -> None:
        self.rows, self.fitted = list(rows), fitted
        self._codes: dict[Words, int] = {}
        self.questions = [_question(row) for row in self.rows]
        self.features = features(self.questions, self._codes)
        self.residuals = {metric: self.column(metric, "modeled") for metric in METRICS}

    def column(self, metric: str, against: str) -> "NDArray[np.float64]":
        """log(published / what the model says) of every row, nan where there is none.

        against: `modeled`, or what it says with factors fitted without the row's `model` or `chip`
        """
        found = [(row[f"{metric}_ms"], row[f"{metric}_{against}_ms"]) for row in self.rows]
        logs = (log(float(p) / float(m)) if p and m else np.nan for p, m in found)
        return np.fromiter(logs, dtype=np.float64, count=len(found))

    def measured(self, chip: str) -> bool:
        """Whether any point is of a chip."""
        return any(question.chip == chip for question in self.questions)

    def near(self, question: Question) -> "NDArray[np.bool_]":
        """Which points have the question's setup and are within `NEAR` of its load."""
        at = features([question], self._codes)
        alike = self.features.names[:, 3] == at.names[0, 3]
        apart = np.abs(self.features.loads - at.loads[0]).max(axis=1)
        return np.asarray(alike & (apart <= log(NEAR) + 1e-9))

    def depth(
        self, question: Question, metric: str | None = None
    ) -> tuple[str, "NDArray[np.bool_]"]:
        """How deep one has to look for evidence (of a metric), and the points found there."""
        at = features([question], self._codes).names[0]
        of = ~np.isnan(self.residuals[metric]) if metric else np.ones(len(self.rows), dtype=bool)
        chip = np.array([q.chip == question.chip for q in self.questions])
        found = (
            ("point", self.near(question)),
            ("sweep", self.features.names[:, 2] == at[2]),
            ("model", self.features.names[:, 0] == at[0]),
            ("chip", chip),
        )
        return next(((d, mask & of) for d, mask in found if (mask & of).any()), ("chip", chip & of))

    def predict(self, question: Question, modeled: dict[str, float | None]) -> Prediction:
        """Intervals around modeled values (`ttft`, `tpot`, `e2e`: any unit)."""
        depth, found = self.depth(question)
        intervals = {
            metric: self._interval(question, metric, value)
            for metric, value in modeled.items()
            if value is not None and value > 0
        }
        if intervals.keys() >= {"ttft", "tpot", "e2e"}:
            deep = {metric: DEPTHS.index(i.depth) for metric, i in intervals.items()}
            if deep["e2e"] > max(deep["ttft"], deep["tpot"]):
                intervals["e2e"] = _of_parts(question, intervals)
        errors = [np.abs(np.expm1(-r[found & ~np.isnan(r)])) for r in self.residuals.values()]
        every = np.concatenate(errors) if errors else np.zeros(0)
        error = float(np.median(every)) if every.size else None
        near = int(found.sum()) if depth == "point" else 0
        told = _told(depth, question, int(found.sum()), error)
        return Prediction(depth, near, int(found.sum()), error, told, intervals)

    def _interval(self, question: Question, metric: str, value: float) -> Interval:
        depth, _ = self.depth(question, metric)
        mean, covariance = self._smoothed([question], metric)
        spread = sqrt(covariance[0, 0] + VARIANCES[metric][5])
        q80, q90 = self.fitted["quantiles"][metric][depth]
        ends = [mean[0] + q * spread for q in (0.0, -q80, q80, -q90, q90)]
        return Interval(depth, value, *(value * exp(end) for end in ends))

    def beats(
        self, first: Question, other: Question, metric: str, ratio: float, chance: float = 0.0
    ) -> tuple[float, float]:
        """A ratio of times as measurements near both would have it, and the chance of below 1.

        ratio: modeled time of other / of first; chance: standard deviation of its logarithm
        The difference of their residuals is taken to be normal, as wide as the intervals say.
        """
        mean, covariance = self._smoothed([first, other], metric)
        noise = VARIANCES[metric][5]
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] + 2 * noise
        depths = (self.depth(question, metric)[0] for question in (first, other))
        wide = max(self.fitted["quantiles"][metric][depth][1] for depth in depths)
        spread = sqrt(max(variance, 0.0) * (wide / Z90) ** 2 + chance**2)
        middle = log(ratio) + float(mean[1] - mean[0])
        return exp(middle), 0.5 * (1 - erf(middle / max(spread, 1e-9) / sqrt(2)))

    def _smoothed(
        self, questions: Sequence[Question], metric: str
    ) -> tuple["NDArray[np.float64]", "NDArray[np.float64]"]:
        known = ~np.isnan(self.residuals[metric])
        rows = np.flatnonzero(known)
        at = features(questions, self._codes)
        return smoothed(at, self.features.at(rows), self.residuals[metric][rows], metric)


def _of_parts(question: Question, intervals: dict[str, Interval]) -> Interval:
    """E2E where only its parts were measured near: the ends of TTFT + (osl - 1) TPOT together."""
    first, each, whole = (intervals[metric] for metric in ("ttft", "tpot", "e2e"))
    scale = whole.modeled / (first.modeled + (question.osl - 1) * each.modeled)
    ends = (
        scale * (getattr(first, name) + (question.osl - 1) * getattr(each, name))
        for name in ("middle", "low80", "high80", "low90", "high90")
    )
    return Interval("parts", whole.modeled, *ends)


Z90 = 1.6449  # half of a normal 90% interval, in standard deviations


def precision_of(model: Model, dtype: WeightFormat | None = None) -> str:
    """The formats of a model's weights, as evidence names them: attention, FFN, experts.

    >>> from gcsim.profiles.resolve import load_model
    >>> precision_of(load_model("gpt-oss-120b")), precision_of(load_model("llama-3.1-8b"), "fp8")
    ('bf16 bf16 mxfp4', 'fp8 fp8')
    """
    own = formats(model, dtype)
    parts = (own.attention, own.ffn, own.experts if layers_of(model).moe else "")
    return " ".join(part for part in parts if part)


def _question(row: dict[str, str]) -> Question:
    isl, cached = float(row["isl"]), float(row["cached"])
    return Question(
        chip=row["chip"],
        stack=row["stack"],
        model=row["model"],
        precision=row["precision"],
        split=row["split"] == "1",
        chips=float(row["chips"]),
        seqs=float(row["seqs"]),
        fresh=isl - cached,
        context=isl,
        osl=float(row["osl"]),
    )


def _told(depth: str, question: Question, found: int, error: float | None) -> str:
    """What the evidence is, in words."""
    off = "" if error is None else f", median error {error:.0%}"
    many = f"{found:,} point{'s' * (found != 1)}"
    if depth == "point":
        return f"{found:,} published point{'s' * (found != 1)} near this{off}"
    if depth == "sweep":
        of = f"{question.model} on {question.chip} with {question.stack}"
        return f"nothing published near this; {many} of {of} at other loads{off}"
    if depth == "model":
        of = f"other models on {question.chip} with {question.stack}"
        return f"no {question.model} published there; {many} of {of}{off}"
    if found:
        return f"nothing published with {question.stack} there; {many} of {question.chip}{off}"
    return (
        f"nothing published of {question.chip} but what its vendor says: from other chips' errors"
    )


def of_estimate(point: "Estimate", model: Model) -> tuple[Question, dict[str, float | None]]:
    """The question that an estimate answers, and its answers [ms]; model: as it was given."""
    dtype = cast("WeightFormat | None", point.dtype)
    question = Question(
        chip=point.chip,
        stack=point.stack,
        model=point.model,
        precision=precision_of(model, dtype),
        split=False,
        chips=point.tp * point.ep * point.pp,
        seqs=point.concurrency,
        fresh=point.isl - point.cached,
        context=point.isl,
        osl=point.osl,
    )
    return question, {"ttft": point.ttft_ms, "tpot": point.tpot_ms, "e2e": point.e2el_ms}


def of_result(result: "Result") -> tuple[Question, dict[str, float | None]] | None:
    """The question that a run answers with its means, and these [ms]; None where it has none.

    That of the pool that decodes: requests under way there by Little's law, mean lengths. A run
    that is saturated, or serves several models, answers no single one.
    """
    scenario, summary = result.resolved.scenario, result.summary
    pools = list(scenario.deployment.pools.values())
    models = {(pool.model or scenario.model).name for pool in pools}
    counted = result.requests.loc[result.requests["status"] == "completed"]
    if summary["saturated"] or not summary["counted"] or len(models) > 1 or counted.empty:
        return None
    pool, model = pools[-1], pools[-1].model or scenario.model
    means = {name: summary[f"mean_{key}_ms"] for name, key in NAMES.items()}
    under_way = summary["request_throughput"] * means["e2e"] * 1e-3
    isl, cached, osl = (float(counted[key].mean()) for key in ("isl", "cached_tokens", "osl"))
    question = Question(
        chip=pool.chip.name,
        stack=pool.stack or pool.chip.default_stack,
        model=model.name,
        precision=precision_of(model, scenario.dtype),
        split=pool.role == "decode",
        chips=pool.chips_per_replica,
        seqs=under_way / pool.replicas,
        fresh=isl - cached,
        context=isl,
        osl=osl,
    )
    return question, means


NAMES = {"ttft": "ttft", "tpot": "tpot", "e2e": "e2el"}  # of a metric here, in a summary


def predicted(asked: tuple[Question, dict[str, float | None]] | None) -> Prediction | None:
    """What the shipped evidence says of what was asked; None without a question."""
    return None if asked is None else evidence().predict(*asked)


@cache
def evidence() -> Evidence:
    """The shipped table, read once."""
    return read(library.root() / "validation" / "evidence.csv.gz")


def read(path: Path) -> Evidence:
    """A table as `gcsim.calibration.evidence_table` writes it."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        fitted = json.loads(file.readline().removeprefix("#"))
        return Evidence(list(csv.DictReader(file)), fitted)
