"""Points made by known factors are fitted back to them; no fitted value is asserted anywhere."""

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from gcsim.calibration.ablation import ablation, neutral
from gcsim.calibration.calibrate import (
    calibrate_all,
    cross_validate,
    errors_by_metric,
    ranges,
    rows_of,
)
from gcsim.calibration.factors import Name, with_factors
from gcsim.calibration.fit import Prepared, Pricer, fit, names_of, prepare, subset
from gcsim.calibration.points import COLUMNS, Point, parse_row
from gcsim.calibration.validate import validate

TRUE = {
    "memory": 0.7,
    "kv_read": 0.6,
    "gemm_bf16": 0.5,
    "layer_overhead": 40e-6,
    "all_reduce_latency": 15e-6,
    "request_overhead": 60e-3,
}


def made(name: str, model: str, chips: int, isl: int, osl: int, users: int) -> Point:
    row = dict.fromkeys(COLUMNS, "") | {
        "id": name,
        "hardware": "h100-sxm",
        "chips": str(chips),
        "model": model,
        "weight_dtype": "bf16",
        "framework": "vllm 0.19",
        "isl": str(isl),
        "osl": str(osl),
        "concurrency_or_batch": str(users),
        "ttft_ms": "1",
        "tpot_ms": "1",
        "e2e_ms": "1",
    }
    point = parse_row(row)
    assert isinstance(point, Point)
    return point


def synthetic(noise: float) -> tuple[Prepared, dict[Name, float]]:
    """Prepared points whose published times are those of `TRUE`, with lognormal noise."""
    shapes = product(
        (("A", "llama-3.1-8b", 1), ("B", "llama-3.1-8b", 2), ("C", "llama-3.3-70b", 4)),
        ((200, 200), (4000, 100)),
        (1, 8, 48),
    )
    points = [
        made(f"{s[0]}-{k}", s[1], s[2], *lengths, users)
        for k, (s, lengths, users) in enumerate(shapes)
    ]
    ready = prepare(points)
    assert len(ready.points) == len(points)
    efficiencies = ("memory", "kv_read", "gemm_bf16")
    values: dict[Name, float] = {
        ("h100-sxm", "" if f in efficiencies else "vllm", f): v for f, v in TRUE.items()
    }
    pricer = Pricer(ready)
    errors = pricer.errors(values)
    rng = np.random.default_rng(1)
    for (k, _, metric, published), error in zip(pricer.rows, errors, strict=True):
        times = ready.points[k].published
        times[metric] = published * float(np.exp(error + noise * rng.standard_normal()))
    return ready, values


def test_known_factors_are_recovered() -> None:
    ready, values = synthetic(noise=0.0)
    chip = ready.pools[0][1].chip
    others = {
        n: getattr(chip.stacks[n[1]] if n[1] else chip.efficiency, n[2]).value
        for n in names_of(ready)
        if n not in values
    }
    found = fit(ready, lambda name: (values[name] * 1.2, 3.0), others, max_evaluations=60)
    errors = np.abs([row.log_error for row in rows_of(ready, found.values)])
    assert np.median(errors) < 0.01
    assert errors.max() < 0.15
    for name in values:
        assert found.values[name] == pytest.approx(values[name], rel=0.1), name


def test_noise_widens_the_errors_but_not_the_bias() -> None:
    ready, values = synthetic(noise=0.05)
    found = fit(ready, lambda name: (values.get(name, 1e-5), 1.0))
    errors = errors_by_metric(rows_of(ready, found.values))
    for metric in ("tpot", "e2e"):
        assert abs(errors[metric]["bias"]) < 0.03
        assert errors[metric]["median_ape"] < 0.06


def test_left_out_groups_are_predicted_from_the_others() -> None:
    ready, _ = synthetic(noise=0.0)
    result = cross_validate(ready, calibrate_all(ready), jobs=1)
    assert {row.point.id for row in result.left_out} == {p.id for p in ready.points}
    assert errors_by_metric(result.left_out)["tpot"]["median_ape"] < 0.25
    for name, value in result.values.items():
        low, high = ranges(result, name)
        assert low <= value * (1 + 1e-9)
        assert value <= high * (1 + 1e-9)
    bought = {str(row["without"]): row for row in ablation(ready, result)}
    assert float(bought["memory"]["tpot"]) > float(bought["-"]["tpot"])
    assert neutral(("h100-sxm", "", "memory")) == 1.0


def test_factors_of_other_chips_change_nothing() -> None:
    ready, values = synthetic(noise=0.0)
    chip = ready.pools[0][1].chip
    assert with_factors(chip, {("b200", "", "memory"): 0.1}) is chip
    part = subset(ready, lambda p, s: p.concurrency == 1)
    assert {p.concurrency for p in part.points} == {1}
    assert np.abs(Pricer(part).errors(values)).max() < 1e-6


def shared_points() -> Iterator[Path]:
    """The large set, where the machine has it."""
    named = os.environ.get("GCSIM_POINTS")
    if named:
        yield Path(named)
    yield Path(__file__).parents[2].parent / "shared" / "facts" / "points.csv"


@pytest.mark.slow
def test_the_shipped_profiles_predict_published_points() -> None:
    path = next((p for p in shared_points() if p.is_file()), None)
    if path is None:
        pytest.skip("no large set of points: set GCSIM_POINTS")
    overall = validate(path, jobs=2)["overall"]
    assert overall["tpot"]["median_ape"] < 0.10
    assert overall["e2e"]["median_ape"] < 0.10
