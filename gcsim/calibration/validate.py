"""Validation: every published point as a simulated run of the engine, and the errors in groups."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gcsim.calibration.match import Setup, precision_of, release_of, setup_of
from gcsim.calibration.pairs import ranking
from gcsim.calibration.points import METRICS, Point, read_points
from gcsim.calibration.tape import Requests, load_of
from gcsim.engine.cluster import Cluster, Terms
from gcsim.engine.play import play
from gcsim.engine.window import Window
from gcsim.errors import CapacityError
from gcsim.machine.machine import bind
from gcsim.profiles import library
from gcsim.traffic.trajectory import Step, Trajectory

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS = 10  # requests per client, as InferenceX and AIPerf play them
CHUNK = 24  # points per parallel task
Progress = Callable[[int, int], None]
Item = TypeVar("Item")


def validate(
    points_path: str | Path | None = None, jobs: int = -1, progress: Progress | None = None
) -> dict[str, Any]:
    """Simulate every usable point of a points file and compare.

    points_path: a CSV with the columns of `gcsim.calibration.points`; None is the table that is
    shipped
    Returns `groups`, `overall`, `skipped` (reason -> count), `points`, and `pairs` of points that
    differ in one thing (`gcsim.calibration.pairs.ranking`); times in ms, throughput in tokens/s,
    `ape` = |modeled / published - 1|, `bias` the median of modeled / published - 1.
    Errors: `ProfileError` when the file cannot be read.
    """
    from joblib import Parallel, delayed

    path = Path(points_path) if points_path is not None else shipped_points()
    points, skipped = read_points(path)
    results: list[list[dict[str, Any]]] = []
    outcomes = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(compare_points)(task) for task in in_tasks(points, lambda p: p.concurrency)
    )
    for outcome in outcomes:
        results.append(outcome)
        if progress is not None:
            progress(sum(map(len, results)), len(points))
    reasons = list(skipped.values())
    compared: dict[str, list[dict[str, Any]]] = {}
    for item in (item for result in results for item in result):
        if "skipped" in item:
            reasons.append(item["skipped"])
        else:
            compared.setdefault(item["id"], []).append(item)
    rows = [item for point in points for item in compared.get(point.id, ())]
    return summary(rows, reasons) | {"pairs": ranking(rows)}


def in_tasks(items: Sequence[Item], clients: Callable[[Item], int]) -> list[list[Item]]:
    """Runs in parallel tasks, the long ones first, so that no worker is left with one at the end.

    >>> in_tasks([3, 50, 7], lambda clients: clients)
    [[50, 7, 3]]
    """
    order = sorted(items, key=lambda item: -clients(item))
    parts = -(-len(order) // CHUNK)
    return [order[k::parts] for k in range(parts)]


def shipped_points() -> Path:
    """The curated table in the repository (or the installed package)."""
    return library.root() / "validation" / "published.csv"


def compare_points(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Each point's metrics, published and modeled; or one item that says why it was skipped."""
    found: list[dict[str, Any]] = []
    for point in points:
        outcome = compare_point(point)
        found += [{"id": point.id, "skipped": outcome}] if isinstance(outcome, str) else outcome
    return found


def compare_point(point: Point) -> list[dict[str, Any]] | str:
    """One point through the engine, or why not."""
    setup = setup_of(point)
    if isinstance(setup, str):
        return setup
    load = load_of(point, ROUNDS)
    try:
        modeled = simulate_point(point, setup, load)
    except CapacityError:
        return "weights do not fit the chips"
    if modeled is None:
        return "a request does not fit the KV cache"
    settings = {
        "source": point.id.partition("-")[0],
        "release": release_of(point.framework, point.date),
        "degree": point.degree,
        "precision": precision_of(setup.model),
        "concurrency": point.concurrency,
        "load": point.load,
    }
    return [
        {
            "id": point.id,
            "chip": setup.chip,
            "model": setup.model.name,
            "stack": setup.stack,
            "kind": "disaggregated" if point.prefill else "one pool",
            "group": "/".join(point.group),
            **settings,
            "metric": metric,
            "published": published * (1.0 if metric == "throughput" else 1e3),
            "modeled": modeled[metric] * (1.0 if metric == "throughput" else 1e3),
            "ape": abs(modeled[metric] / published - 1.0),
        }
        for metric, published in point.published.items()
        if np.isfinite(modeled[metric])
    ]


def simulate_point(point: Point, setup: Setup, load: Requests) -> dict[str, float] | None:
    """TTFT, TPOT, E2E [s] and throughput [tokens/s] of a point; None when a request never fits."""
    model = setup.model.model_copy(update={"context_window": 1 << 40})
    costs = {name: bind(model, pool) for name, pool in setup.deployment.pools.items()}
    terms = Terms(model.name, round_trip_s=0.0, gateway_s=0.0, window=Window(), coalesce=True)
    cluster = play(setup.deployment, costs, _trajectories(point, load), terms)
    return _metrics(point, load, cluster)


def _trajectories(point: Point, load: Requests) -> Iterable[Trajectory]:
    for index, (isl, osl) in enumerate(zip(load.isl.tolist(), load.osl.tolist(), strict=True)):
        shared = min(point.cached, isl - 1)
        own = (index + 1, isl - shared)
        spans = ((0, shared), own) if shared else (own,)
        start = 0.0 if index < load.clients else None
        yield Trajectory(index, "published", (Step(spans, osl),), start)


def _metrics(point: Point, load: Requests, cluster: Cluster) -> dict[str, float] | None:
    table = cluster.records.requests
    if (table["status"] != 0).any():
        return None
    ttft = table["ttft_ns"] * 1e-9
    e2e = table["e2e_ns"] * 1e-9
    osl = table["osl"]
    elapsed = cluster.env.now * 1e-9
    middle = _median if point.median else _mean
    several = osl > 1
    tpot = (e2e - ttft)[several] / (osl[several] - 1)
    return {
        "ttft": float(ttft.max()) if point.ttft_of_prefill_run else middle(ttft),
        "tpot": middle(tpot) if tpot.size else float("nan"),
        "e2e": elapsed if point.whole_run else middle(e2e),
        "throughput": float(load.osl.sum() / elapsed),
    }


def _mean(values: "NDArray[Any]") -> float:
    return float(np.mean(values))


def _median(values: "NDArray[Any]") -> float:
    return float(np.median(values))


def summary(rows: Sequence[dict[str, Any]], reasons: Sequence[str] = ()) -> dict[str, Any]:
    """Rows of comparisons as the result of `validate`: groups, overall, skipped, points.

    >>> row = {"id": "A", "chip": "c", "model": "m", "stack": "s", "kind": "one pool"}
    >>> row |= {"metric": "tpot", "published": 10.0, "modeled": 11.0, "ape": 0.1}
    >>> summary([row])["overall"]["tpot"]["n"]
    1
    """
    groups = []
    for key in ("chip", "model", "stack", "kind"):
        for value in sorted({row[key] for row in rows}):
            for metric in METRICS:
                chosen = [r for r in rows if r[key] == value and r["metric"] == metric]
                if chosen:
                    groups.append({"by": {key: value, "metric": metric}, **errors_of(chosen)})
    overall = {
        metric: errors_of(chosen)
        for metric in METRICS
        if (chosen := [r for r in rows if r["metric"] == metric])
    }
    counted = {reason: list(reasons).count(reason) for reason in sorted(set(reasons))}
    return {"groups": groups, "overall": overall, "skipped": counted, "points": list(rows)}


def errors_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count, median, 90th percentile and worst absolute error, and the signed bias."""
    signed = np.array([row["modeled"] / row["published"] - 1.0 for row in rows])
    absolute = np.abs(signed)
    return {
        "n": len(rows),
        "median_ape": float(np.median(absolute)),
        "p90_ape": float(np.quantile(absolute, 0.9)),
        "worst_ape": float(absolute.max()),
        "bias": float(np.median(signed)),
    }
