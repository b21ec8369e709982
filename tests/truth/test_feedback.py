"""What the engine adds to the fit: gcsim.calibration.feedback, gcsim.calibration.handoff."""

from dataclasses import replace
from math import exp

import pytest

from gcsim.calibration.factors import HANDOFF, prior_of, with_factors
from gcsim.calibration.feedback import with_feedback
from gcsim.calibration.fit import Pricer, names_of, prepare, subset
from gcsim.calibration.handoff import FEW, handoffs
from gcsim.calibration.match import Setup, on_chips, setup_of
from gcsim.calibration.points import COLUMNS, Point, parse_row
from gcsim.calibration.tape import load_of
from gcsim.calibration.validate import simulate_point
from gcsim.profiles.chip import Chip


def point(name: str, users: int, notes: str = "", **cells: str) -> Point:
    row = dict.fromkeys(COLUMNS, "") | {
        "id": name,
        "hardware": "h100-sxm",
        "chips": "2",
        "tp": "2",
        "model": "llama-3.1-8b",
        "framework": "vllm 0.19",
        "date": "2026-04-01",
        "isl": "900",
        "osl": "60",
        "concurrency_or_batch": str(users),
        "ttft_ms": "50",
        "tpot_ms": "5",
        "notes": notes,
    }
    found = parse_row(row | cells)
    assert isinstance(found, Point)
    return found


def test_with_feedback_a_schedule_costs_what_the_engine_plays() -> None:
    points = [point("A-1", 1), point("A-2", 12, "not from InferenceX: NVIDIA in-house run; mean")]
    ready = prepare(points)
    values = {n: prior_of(n[2], n[1])[0] for n in names_of(ready)}
    slow = {n: 0.1 if n[2] == "request_overhead" else v for n, v in values.items()}
    plain = Pricer(ready).errors(slow)
    fed = with_feedback(ready, slow, jobs=1)
    pricer = Pricer(fed)
    assert max(abs(pricer.errors(slow) - plain)) > 0.02, "a long overhead changes who meets whom"
    for (k, _, metric, published), error in zip(pricer.rows, pricer.errors(slow), strict=True):
        setup = fed.setups[k]
        played = simulate_point(
            fed.points[k],
            on_chips(setup, lambda chip: with_factors(chip, slow)),
            load_of(fed.points[k]),
        )
        assert played is not None
        assert published * exp(error) == pytest.approx(played[metric], rel=1e-9)
    kept = subset(fed, lambda p, s: p.id == "A-2")
    assert Pricer(kept).errors(slow) == pytest.approx(pricer.errors(slow)[2:])


def test_the_fixed_time_of_a_handoff_is_found_again() -> None:
    """Published TTFT = what the engine says without one, and 80 ms; a wild point does no harm."""
    notes = "PD: 1 prefill node TP2 and 2 decode nodes TP2"
    points = []
    for n in range(FEW + 1):
        bare = point(f"B-{n}", 1 + n, notes, chips="6", tpot_ms="")
        setup = setup_of(bare)
        assert isinstance(setup, Setup)
        played = simulate_point(bare, on_chips(setup, without_handoff), load_of(bare))
        assert played is not None
        gap = 0.080 if n else 9.0
        points.append(replace(bare, published={"ttft": played["ttft"] + gap}))
    (found,) = handoffs(points, {}, jobs=1).values()
    assert found.value == pytest.approx(0.080, abs=1e-6)
    assert found.low <= found.value <= found.high
    assert found.points == FEW + 1
    assert handoffs(points[: FEW - 1], {}, jobs=1) == {}, "too few points say nothing"
    crowd = [replace(p, concurrency=1000) for p in points]
    assert handoffs(crowd, {}, jobs=1) == {}, "queues would hide it"


def without_handoff(chip: Chip) -> Chip:
    bare = {n: s.model_copy(update={HANDOFF: None}) for n, s in chip.stacks.items()}
    return chip.model_copy(update={"stacks": bare})
