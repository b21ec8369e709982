"""The evidence that ships: every compared point with what the model says, and how far that is off.

`write` makes validation/evidence.csv.gz of a points file: the measured columns with their sources
(no notes), the modeled values with the shipped factors and with factors fitted without the point's
model or chip; and, in its first line, the quantiles of `gcsim.studies.evidence` and their coverage.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, hypot
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcsim.calibration.calibrate import Compared, rows_of
from gcsim.calibration.factors import EFFICIENCIES, Name, bounds, prior_of
from gcsim.calibration.fit import Prepared, Pricer, names_of, prepare, row_weights, subset
from gcsim.calibration.match import Setup, setup_of
from gcsim.calibration.points import Point, read_points
from gcsim.calibration.pooling import CHIPS, CHIPS_EFFICIENCY, VENDORS, VENDORS_EFFICIENCY
from gcsim.calibration.report import METRICS as METRIC_TITLES
from gcsim.calibration.report import markdown_table
from gcsim.profiles.resolve import load_chip
from gcsim.studies.evidence import (
    DEPTHS,
    LEVELS,
    METRICS,
    UNANCHORED,
    VARIANCES,
    Evidence,
    Question,
    precision_of,
    smoothed,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows per metric and depth whose being left out is played, spread evenly over the table.
SAMPLE = 700
STEP = 1.0  # of a logarithm, the longest
HEADS: tuple[str, ...] = (
    "id",
    "source",
    "url",
    "date",
    "chip",
    "stack",
    "model",
    "precision",
    "chips",
    "split",
)
HEADS += ("seqs", "isl", "osl", "cached")
MEASURED = tuple(f"{metric}_ms" for metric in METRICS)
MODELED = tuple(
    f"{metric}_{against}_ms" for metric in METRICS for against in ("modeled", "model", "chip")
)


def write(points_path: str | Path, result: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write the table of a points file; the quantiles and their coverage.

    result: of `validate` on these points, with the factors that are shipped
    """
    ready = prepare(read_points(points_path)[0])
    values = shipped_values(ready)
    left_out = {"model": without_model(ready, values), "chip": without_chip(ready, values)}
    rows = table(points_path, result, left_out)
    fitted = conformal(Evidence(rows, {}))
    write_rows(rows, fitted, path)
    return fitted


def write_rows(rows: Sequence[Mapping[str, str]], fitted: Mapping[str, Any], path: Path) -> None:
    """The table as a file: the same bytes whenever it is written."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, (*HEADS, *MEASURED, *MODELED), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(gzip.compress(f"#{json.dumps(fitted)}\n{text.getvalue()}".encode(), mtime=0))


def shipped_values(ready: Prepared) -> dict[Name, float]:
    """The factors of the shipped profiles that points depend on; of what no profile has, priors."""
    values: dict[Name, float] = {}
    for name in names_of(ready):
        chip, stack, factor = name
        profile = load_chip(chip)
        owner = profile.stacks.get(stack) if stack else profile.efficiency
        found = getattr(owner, factor, None)
        values[name] = found.value if found is not None else prior_of(factor, stack)[0]
    return values


def table(
    points_path: str | Path, result: Mapping[str, Any], left_out: Mapping[str, Sequence[Compared]]
) -> list[dict[str, str]]:
    """The rows of the table: points that were compared, in their order."""
    points, _ = read_points(points_path)
    with Path(points_path).open(encoding="utf-8", newline="") as file:
        told = {row["id"]: row for row in csv.DictReader(file)}
    modeled: dict[str, dict[str, float]] = {}
    for item in result["points"]:
        modeled.setdefault(item["id"], {})[item["metric"]] = item["modeled"]
    without = {
        (depth, row.point.id, row.metric): row.log_error
        for depth, rows in left_out.items()
        for row in rows
    }
    found = []
    for point in points:
        setup = setup_of(point)
        if point.id not in modeled or isinstance(setup, str):
            continue
        row = _described(point, setup) | {
            "source": told[point.id]["source"],
            "url": told[point.id].get("url_or_repo", ""),
        }
        for metric in METRICS:
            published, value = point.published.get(metric), modeled[point.id].get(metric)
            if published is None or value is None:
                row |= dict.fromkeys((f"{metric}_ms", f"{metric}_modeled_ms"), "")
                row |= {f"{metric}_{depth}_ms": "" for depth in left_out}
                continue
            row |= {
                f"{metric}_ms": f"{published * 1e3:.6g}",
                f"{metric}_modeled_ms": f"{value:.5g}",
            }
            for depth in left_out:
                error = without.get((depth, point.id, metric))
                text = "" if error is None else f"{published * 1e3 * exp(error):.5g}"
                row[f"{metric}_{depth}_ms"] = text
        found.append(row)
    return found


def _described(point: Point, setup: Setup) -> dict[str, str]:
    pool = setup.pool
    return {
        "id": point.id,
        "date": point.date,
        "chip": setup.chip,
        "stack": setup.stack,
        "model": setup.model.name,
        "precision": precision_of(setup.model),
        "chips": str(pool.chips_per_replica),
        "split": str(int(point.prefill is not None)),
        "seqs": f"{point.concurrency / pool.replicas:.5g}",
        "isl": str(round(point.isl * (1 + point.low) / 2)),
        "osl": str(round(point.osl * (1 + point.low) / 2)),
        "cached": str(min(point.cached, point.isl - 1)),
    }


def without_model(ready: Prepared, values: Mapping[Name, float]) -> list[Compared]:
    """Errors of every model's points with the factors that the other models' points would give.

    By one Newton step from the fitted factors x: with errors e, their derivatives J by log x,
    weights W and prior precision P, leaving out the rows G moves log x by

        (J' W J - J_G' W_G J_G + P)^-1 J_G' W_G e_G

    Ref: Giordano et al., A Swiss Army infinitesimal jackknife, AISTATS 2019.
    """
    found: list[Compared] = []
    for chip in sorted({setup.chip for setup in ready.setups}):
        part = subset(ready, _of(chip))
        pricer, names = Pricer(part), names_of(part)
        errors = pricer.errors(values)
        slopes = pricer.slopes(values, [(name,) for name in names])
        weights = row_weights(pricer) ** 2
        weights /= np.sqrt(1.0 + weights * errors**2)  # as soft_l1 weighs a row
        fitted = np.array([part.points[k].fitted for k, *_ in pricer.rows])
        weighted = slopes * (weights * fitted)[:, None]
        whole = weighted.T @ slopes + np.diag([1.0 / _width(name) ** 2 for name in names])
        models = np.array([part.setups[k].model.name for k, *_ in pricer.rows])
        for model in np.unique(models):
            own = models == model
            without = whole - weighted[own].T @ slopes[own]
            step = np.linalg.solve(without, weighted[own].T @ errors[own])
            factors = np.exp(np.clip(step, -STEP, STEP)).tolist()
            moved = {n: values[n] * f for n, f in zip(names, factors, strict=True)}
            left = subset(part, _serving(str(model)))
            found += rows_of(left, dict(values) | _bounded(moved))
    return found


def _width(name: Name) -> float:
    """How far chips differ in a factor: as `gcsim.calibration.pooling` has it."""
    efficiency = name[2] in EFFICIENCIES
    levels = (VENDORS_EFFICIENCY, CHIPS_EFFICIENCY) if efficiency else (VENDORS, CHIPS)
    return min(prior_of(name[2], name[1])[1], hypot(*levels))


def _bounded(values: Mapping[Name, float]) -> dict[Name, float]:
    return {name: float(np.clip(value, *bounds(name[2]))) for name, value in values.items()}


def without_chip(ready: Prepared, values: Mapping[Name, float]) -> list[Compared]:
    """Errors of every chip's points with the factors that the other chips have: their means."""
    found: list[Compared] = []
    for chip in sorted({setup.chip for setup in ready.setups}):
        others = {name: v for name, v in values.items() if name[0] != chip}
        left = subset(ready, _of(chip))
        found += rows_of(left, {name: _mean(name, others) for name in names_of(left)})
    return found


def _serving(model: str) -> Callable[[Point, Setup], bool]:
    return lambda _, setup: setup.model.name == model


def _of(chip: str) -> Callable[[Point, Setup], bool]:
    return lambda _, setup: setup.chip == chip


def _mean(name: Name, others: Mapping[Name, float]) -> float:
    """The geometric mean of a factor over the chips that have it, else the general prior."""
    logs = [np.log(value) for other, value in others.items() if other[1:] == name[1:]]
    value = float(np.exp(np.mean(logs))) if logs else prior_of(name[2], name[1])[0]
    return float(np.clip(value, *bounds(name[2])))


def conformal(known: Evidence) -> dict[str, Any]:
    """Quantiles of the scaled errors of what is left out, by metric and depth, and their coverage.

    A row's score is |r - m| / s: r its residual with factors fitted without its group, m and s what
    the rows outside of its group say. Coverage is that of each group under the quantiles of all
    other groups' scores.
    """
    quantiles: dict[str, dict[str, list[float]]] = {}
    coverage: dict[str, dict[str, dict[str, float]]] = {}
    for metric in METRICS:
        quantiles[metric], coverage[metric] = {}, {}
        for depth in DEPTHS:
            left = left_out(known, metric, depth)
            if left.scores.size:
                quantiles[metric][depth] = [round(quantile(left.scores, at), 4) for at in LEVELS]
                coverage[metric][depth] = covered(left)
        for depth in DEPTHS:  # a metric of few rows: as far as is known
            last = max(quantiles[metric].values(), default=[1.3, 1.7])
            quantiles[metric].setdefault(depth, last)
    return {"rows": len(known.rows), "quantiles": quantiles, "coverage": coverage}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows predicted without their groups: residuals, their middles and spreads, and the groups."""

    residuals: "NDArray[np.float64]"
    middles: "NDArray[np.float64]"
    spreads: "NDArray[np.float64]"
    group: "NDArray[np.int64]"

    @property
    def scores(self) -> "NDArray[np.float64]":
        """|residual - middle| / spread."""
        return np.asarray(np.abs(self.residuals - self.middles) / self.spreads)


def left_out(known: Evidence, metric: str, depth: str) -> LeftOut:
    """Rows of a metric, each predicted without its group of a depth."""
    against = depth if depth in ("model", "chip") else "modeled"
    seen, left = known.residuals[metric], known.column(metric, against)
    group = groups_of(known, depth)
    usable = np.flatnonzero(~np.isnan(left) & ~np.isnan(seen))
    chosen = usable[:: max(usable.size // SAMPLE, 1)]
    middles, spreads = [], []
    for row in chosen.tolist():
        rest = np.flatnonzero(~np.isnan(seen) & (group != group[row]))
        at = known.features.at(np.array([row]))
        mean, covariance = smoothed(at, known.features.at(rest), seen[rest], metric)
        middles.append(0.0 if depth in UNANCHORED else float(mean[0]))
        spreads.append(float(np.sqrt(covariance[0, 0] + VARIANCES[metric][5])))
    whole = groups_of(known, "sweep" if depth == "point" else depth)
    return LeftOut(left[chosen], np.array(middles), np.array(spreads), whole[chosen])


def groups_of(known: Evidence, depth: str) -> "NDArray[np.int64]":
    """A number for each row: rows of one number are left out together."""

    def key(index: int, q: Question) -> object:
        if depth == "point":
            return index
        if depth == "sweep":
            return (q.names[3], q.fresh, q.osl)
        return q.model if depth == "model" else q.chip

    codes: dict[object, int] = {}
    keys = [key(index, q) for index, q in enumerate(known.questions)]
    return np.array([codes.setdefault(k, len(codes)) for k in keys])


INTERVALS = """\
<!-- Written by `make calibrate`, or `gcsim validate --points FILE --evidence`; do not edit. -->
# Prediction intervals

`gcsim run` and `gcsim estimate` give each mean time a middle ("anchored") and intervals that hold
80% and 90% of what is measured, as far as published points tell, and say what these are: "17
published points near this, median error 4%", or "nothing published of sn50 but what its vendor
says". `gcsim compare` says with which probability one deployment is quicker than another under
them.

The table validation/evidence.csv.gz holds {rows:,} measured points (figures and where they were
published, nothing else) with what the model says of each. r = log(published / modeled) is smoothed
around a question by a Gaussian process over chip, stack, model, formats, chips of a replica,
requests under way and lengths, on the 96 nearest points: a middle m and a spread s. The interval is
modeled x exp(m -+ q s), and q is set so that it holds (split conformal prediction): every point is
predicted without all that is as near to it as the nearest evidence is to the question.

| depth | the nearest evidence | what is left out to find q |
| --- | --- | --- |
| point | the same setup, load and lengths within a factor of 2 | the point |
| sweep | the same model and formats on that chip and stack | its sweep of loads |
| model | other models on that chip and stack | its model, from the fit of the factors too |
| chip | other stacks of that chip, or other chips | its chip; its factors are other chips' means |

That factors are fitted without a model is one Newton step from the fit (Giordano et al., A Swiss
Army infinitesimal jackknife, AISTATS 2019); a point or a sweep stays in the fit, which has some 280
factors for 4,900 figures. The physics is not touched: `modeled` is what the
engine says, floors and all, and `anchored` stands beside it. Intervals are those of means; they
know nothing of chance (`--replications`) and nothing of a chip whose values are assumed beyond what
other chips' errors say (`--bands`).

## Coverage

Of each group of points (a sweep, a model, a chip), with the q that all other groups give.

"""


ANCHORED = """

## What the anchor buys

Median error (and 90th percentile) of what is left out, as modeled and as anchored. Where points of
the same model on the chip are left, the anchor is nearer to the measurement than the model. To a
model or a chip that was never seen other points' residuals pull nowhere that helps (they made the
median worse by 1 to 3 points), so there is no anchor then: the physics stands alone.

"""


def intervals_markdown(fitted: Mapping[str, Any]) -> str:
    """The page on prediction intervals, with their coverage."""
    heads = (
        "metric",
        "depth",
        "rows",
        "groups",
        "80% holds",
        "90% holds",
        "90% within a factor of",
    )
    rows = [
        (
            METRIC_TITLES[metric],
            depth,
            f"{found['rows']:,}",
            f"{found['groups']:,}",
            f"{found['within80']:.1%}",
            f"{found['within90']:.1%}",
            f"{found['factor90']:.2f}",
        )
        for metric, depths in fitted["coverage"].items()
        for depth, found in depths.items()
    ]
    errors = [
        (
            METRIC_TITLES[metric],
            depth,
            *(f"{found[n]:.1%} ({found[f'{n}_p90']:.0%})" for n in ("modeled", "anchored")),
        )
        for metric, depths in fitted["coverage"].items()
        for depth, found in depths.items()
    ]
    page = INTERVALS.format(rows=fitted["rows"]) + markdown_table(heads, rows) + ANCHORED
    return page + markdown_table(("metric", "left out", "modeled", "anchored"), errors) + "\n"


def quantile(scores: "NDArray[np.float64]", level: float) -> float:
    """The conformal quantile: of n scores the one of rank ceil((n + 1) level).

    >>> quantile(np.arange(1.0, 10.0), 0.8)
    8.0
    """
    rank = min(int(np.ceil((scores.size + 1) * level)), scores.size)
    return float(np.sort(scores)[rank - 1])


def covered(left: LeftOut) -> dict[str, float]:
    """Share of rows within the intervals that the other groups give, their width, and the errors.

    factor90: median factor from the middle to an end; modeled, anchored: median |error| of the
    model alone and with the middle that evidence gives it, and their 90th percentiles
    """
    scores, group = left.scores, left.group
    inside = np.zeros((len(LEVELS), scores.size), dtype=bool)
    ends = np.zeros((len(LEVELS), scores.size))
    for one in np.unique(group):
        own = group == one
        others = scores[~own] if (~own).any() else scores
        for k, level in enumerate(LEVELS):
            q = quantile(others, level)
            inside[k, own], ends[k, own] = scores[own] <= q, np.exp(q * left.spreads[own])
    found = {
        "rows": int(scores.size),
        "groups": int(np.unique(group).size),
        "within80": float(inside[0].mean()),
        "within90": float(inside[1].mean()),
        "factor90": float(np.median(ends[1])),
    }
    for name, middles in (("modeled", 0.0), ("anchored", left.middles)):
        errors = np.abs(np.expm1(middles - left.residuals))
        found[name] = float(np.median(errors))
        found[f"{name}_p90"] = float(np.quantile(errors, 0.9))
    return {name: round(value, 4) for name, value in found.items()}
