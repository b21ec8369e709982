"""Prediction intervals from published points (gcsim.studies.evidence, and how they are printed)."""

from dataclasses import replace
from itertools import pairwise
from math import exp, log

import numpy as np
import pytest

import gcsim
from gcsim.cli.evidence_text import wins, wins_text, with_prediction
from gcsim.profiles import library
from gcsim.profiles.resolve import load_model
from gcsim.studies import evidence as ev
from gcsim.studies.compare import compare

ASKED = ev.Question("h100", "vllm", "m8", "bf16 bf16", False, 1, 8, 1000, 1000, 100)
QUANTILES = {metric: {depth: [1.28, 1.645] for depth in ev.DEPTHS} for metric in ev.METRICS}


def row(question: ev.Question, off: float, **changes: str) -> dict[str, str]:
    """A point that was published e^off times as long as the model says."""
    cells = {
        "chip": question.chip,
        "stack": question.stack,
        "model": question.model,
        "precision": question.precision,
        "chips": f"{question.chips}",
        "split": "0",
        "seqs": f"{question.seqs}",
        "isl": f"{question.context}",
        "osl": f"{question.osl}",
        "cached": "0",
    }
    for metric in ev.METRICS:
        cells |= {f"{metric}_ms": f"{100 * exp(off)}", f"{metric}_modeled_ms": "100"}
    return cells | changes


def of(*rows: dict[str, str]) -> ev.Evidence:
    return ev.Evidence(rows, {"quantiles": QUANTILES})


NEAR = [row(replace(ASKED, seqs=8 * 1.1**k), 0.2) for k in range(-3, 4)]


def test_points_near_a_question_pull_its_middle_and_narrow_its_interval() -> None:
    known = of(*NEAR)
    near = known.predict(ASKED, {"tpot": 10.0})
    far = known.predict(replace(ASKED, chip="mi300x", model="m70"), {"tpot": 10.0})
    one, other = near.intervals["tpot"], far.intervals["tpot"]
    assert one.middle == pytest.approx(10 * exp(0.2), rel=0.03)
    assert other.middle == pytest.approx(10.0, rel=0.03)
    assert one.high90 / one.low90 < 0.6 * other.high90 / other.low90
    for interval in (one, other):
        ends = (interval.low90, interval.low80, interval.middle, interval.high80, interval.high90)
        assert all(low < high for low, high in pairwise(ends))
        assert interval.modeled == 10.0
    assert (near.near, far.near) == (7, 0)
    assert near.median_error == pytest.approx(1 - exp(-0.2), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "depth", "told"),
    [
        ({}, "point", "7 published points near this, median error 18%"),
        ({"context": 9000, "fresh": 9000}, "sweep", "nothing published near this; 7 points of m8"),
        ({"fresh": 100}, "sweep", "nothing published near this"),
        ({"chips": 4}, "sweep", "at other loads"),
        ({"model": "m70"}, "model", "no m70 published there; 7 points of other models on h100"),
        ({"stack": "sglang"}, "chip", "nothing published with sglang there; 7 points of h100"),
        ({"chip": "sn50"}, "chip", "nothing published of sn50 but what its vendor says"),
    ],
)
def test_how_deep_evidence_lies_is_told(changes: dict[str, object], depth: str, told: str) -> None:
    found = of(*NEAR).predict(replace(ASKED, **changes), {"tpot": 10.0})  # type: ignore[arg-type]
    assert found.depth == depth
    assert told in found.told


def test_smoothing_is_that_of_a_gaussian_process() -> None:
    """At one known point: m = k/(k + n) r, s2 = k - k2/(k + n), with k the prior variance."""
    at = ev.features([ASKED])
    mean, covariance = ev.smoothed(at, at, np.array([0.3]), "tpot")
    prior, noise = sum(ev.VARIANCES["tpot"][:5]), ev.VARIANCES["tpot"][5]
    assert mean[0] == pytest.approx(0.3 * prior / (prior + noise))
    assert covariance[0, 0] == pytest.approx(prior - prior**2 / (prior + noise))
    many = ev.features([replace(ASKED, seqs=2.0**k, model=f"m{k % 3}") for k in range(12)])
    assert np.linalg.eigvalsh(ev.kernel(many, many, "ttft")).min() > -1e-9


def test_the_far_and_odd_do_not_pull() -> None:
    odd = of(*NEAR, row(ASKED, log(130.0)))
    assert odd.predict(ASKED, {"tpot": 10.0}).intervals["tpot"].middle < 10 * exp(0.5)


def test_e2e_is_made_of_its_parts_where_only_these_were_measured_near() -> None:
    bare = {"e2e_ms": "", "e2e_modeled_ms": ""}
    far = row(replace(ASKED, model="m70"), 0.0)
    found = of(*[cells | bare for cells in NEAR], far)
    times: dict[str, float | None] = {"ttft": 50.0, "tpot": 10.0, "e2e": 50.0 + 99 * 10.0}
    parts = found.predict(ASKED, times).intervals
    assert (parts["tpot"].depth, parts["e2e"].depth) == ("point", "parts")
    whole = parts["ttft"].high90 + 99 * parts["tpot"].high90
    assert parts["e2e"].high90 == pytest.approx(whole)


def test_the_chance_to_win_is_one_half_for_equals_and_certain_for_giants() -> None:
    known = of(*NEAR)
    other = replace(ASKED, chip="mi300x")
    assert known.beats(ASKED, ASKED, "tpot", 1.0)[1] == pytest.approx(0.5)
    ahead, behind = (
        known.beats(*pair, "tpot", 0.8)[1] for pair in ((ASKED, other), (other, ASKED))
    )
    assert ahead != pytest.approx(behind), "what is known of one of them counts"
    there = known.beats(ASKED, other, "tpot", 0.8)
    back = known.beats(other, ASKED, "tpot", 1 / 0.8)
    assert there[1] + back[1] == pytest.approx(1.0)
    assert there[0] * back[0] == pytest.approx(1.0)
    assert known.beats(ASKED, other, "tpot", 0.01)[1] > 0.99
    assert abs(known.beats(ASKED, other, "tpot", 0.8, chance=3.0)[1] - 0.5) < 0.1


def test_the_shipped_table_is_small_and_says_where_its_figures_are_from() -> None:
    path = library.root() / "validation" / "evidence.csv.gz"
    assert path.stat().st_size < 400_000
    known = ev.evidence()
    assert len(known.rows) > 2000
    assert "notes" not in known.rows[0]
    assert all(each["source"] and each["id"] for each in known.rows)
    chips = set(library.shipped("chip"))
    assert {question.chip for question in known.questions} <= chips
    for metric, depths in known.fitted["coverage"].items():
        for depth, found in depths.items():
            assert 0.85 <= found["within90"] <= 0.95, (metric, depth)
            low, high = known.fitted["quantiles"][metric][depth]
            assert 0 < low < high


def test_an_estimate_and_a_run_ask_for_what_they_played() -> None:
    model = load_model("gpt-oss-120b")
    point = gcsim.estimate("h100-sxm", 2, model, isl=1000, osl=200, concurrency=4, cached=512)
    question, times = ev.of_estimate(point, model)
    assert (question.fresh, question.context, question.seqs) == (1000 - point.cached, 1000, 4)
    assert times == {"ttft": point.ttft_ms, "tpot": point.tpot_ms, "e2e": point.e2el_ms}
    few = {"run.trajectories": 4, "arrivals.agents": 2}
    result = gcsim.run("coding-agents", settings={**few, "deployment": "h100-mono"})
    asked = ev.of_result(result)
    assert asked is not None
    assert asked[0].chip == "h100-sxm"
    assert asked[0].fresh < asked[0].context
    assert 0 < asked[0].seqs <= 2
    found = ev.predicted(asked)
    assert found is not None
    shown = with_prediction(result.summary, found)["prediction"]
    assert set(shown["intervals"]) == {"ttft", "tpot", "e2e"}
    assert "prediction" not in result.summary, "evidence is beside the run, not in it"


def test_compare_tells_with_which_chance_one_is_quicker() -> None:
    few = {"run.trajectories": 4, "arrivals.agents": 2}
    both = compare("coding-agents", deployments=("h100-mono", "sn50-mono"), settings=few)
    found = wins(both)
    assert [item["metric"] for item in found] == ["ttft", "tpot", "e2e"]
    assert all(0 <= item["probability_less"] <= 1 for item in found)
    text = wins_text(found)
    assert "sn50-mono is quicker than h100-mono" in text
    assert "Nothing is published of sn50" in text
    assert max(map(len, text.splitlines())) <= 100
