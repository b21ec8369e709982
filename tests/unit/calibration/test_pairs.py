"""Pairs of points that differ in one thing: which pairs there are, and when a sign is right."""

from math import exp, log
from typing import Any

import pytest

from gcsim.calibration.pairs import KINDS, SAME, Pair, pairs_of, ranking, reason_of, signs
from gcsim.calibration.report import pairs_text

ROW = {
    **dict.fromkeys(SAME, "same"),
    "metric": "tpot",
    "chip": "h100-sxm",
    "degree": "TP2",
    "precision": "8 bit",
    "stack": "vllm",
    "concurrency": 8,
}


def row(name: str, published: float, modeled: float, **other: Any) -> dict[str, Any]:
    return {**ROW, "id": name, "published": published, "modeled": modeled, **other}


BASE = row("A", 10.0, 10.0)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("chip", "h200-sxm"),
        ("degree", "TP4"),
        ("precision", "4 bit"),
        ("stack", "trtllm"),
        ("concurrency", 16),
    ],
)
def test_two_rows_that_differ_in_one_thing_are_a_pair_of_its_kind(kind: str, value: Any) -> None:
    other = row("B", 5.0, 6.0, **{kind: value})
    [pair] = pairs_of([BASE, other])
    assert (pair.kind, pair.a["id"], pair.b["id"]) == (kind, "A", "B")
    assert pairs_of([other, BASE]) == [pair], "whatever their order"
    second = "chip" if kind != "chip" else "degree"
    assert pairs_of([BASE, {**other, second: "else"}]) == [], "two things differ"


@pytest.mark.parametrize("same", ["metric", "model", "source", "release", "load"])
def test_rows_of_another_load_source_or_release_are_not_compared(same: str) -> None:
    other = row("B", 5.0, 6.0, chip="h200-sxm", **{same: "another"})
    assert pairs_of([BASE, other]) == []


def test_two_stacks_may_be_of_two_releases() -> None:
    other = row("B", 5.0, 6.0, stack="trtllm", release="another")
    assert [pair.kind for pair in pairs_of([BASE, other])] == ["stack"]


@pytest.mark.parametrize(
    ("published", "modeled", "right", "error"),
    [
        (5.0, 8.0, True, 0.6),
        (5.0, 10.0, False, 1.0),
        (5.0, 12.5, False, 1.5),
        (20.0, 15.0, True, 1 / 3),
    ],
)
def test_a_sign_is_right_only_if_the_model_sees_the_difference(
    published: float, modeled: float, right: bool, error: float
) -> None:
    [pair] = pairs_of([BASE, row("B", published, modeled, chip="b200")])
    assert pair.right is right
    assert pair.error == pytest.approx(error)


def test_only_differences_above_a_tenth_are_clear() -> None:
    near, far = (Pair("chip", row("B", 10.0 * x, 1.0), BASE) for x in (1.09, 1.11))
    assert (near.clear, far.clear) == (False, True)


def test_a_ranking_counts_what_is_right_and_names_what_is_wrong() -> None:
    rows = [
        BASE,
        row("B", 5.0, 6.0, chip="b200"),
        row("C", 2.5, 3.0, chip="b300"),
        row("D", 5.0, 9.0, chip="b200", concurrency=16),
        row("E", 4.0, 9.5, chip="b300", concurrency=16),
        row("F", 4.9, 9.9, chip="h200-sxm", concurrency=16),
    ]
    found = ranking(rows)
    [chip] = [k for k in found["kinds"] if k["kind"] == "chip"]
    assert (chip["n"], chip["clear"], chip["clear_right"]) == (6, 5, 4 / 5)
    errors = sorted(pair.error for pair in pairs_of(rows) if pair.kind == "chip")
    assert chip["median_error"] == pytest.approx((errors[2] + errors[3]) / 2)
    wrong = {e["of"]: (e["wrong"], e["clear"]) for e in found["exceptions"] if e["kind"] == "chip"}
    assert wrong == {"b200 and b300": (1, 2)}
    text = pairs_text(found)
    assert "b200 and b300" in text
    assert set(KINDS) >= {k["kind"] for k in found["kinds"]}


def test_without_a_clear_difference_no_share_is_claimed() -> None:
    pairs = pairs_of([BASE, row("B", 10.2, 9.0, chip="b200")])
    assert signs(pairs)["clear_right"] is None
    assert signs(pairs)["median_error"] == pytest.approx(exp(log(1.02) + log(10 / 9)) - 1)


def test_reasons_go_by_kind_metric_and_source() -> None:
    assert "2024" in reason_of("chip e2e ARG b200 and h100-sxm")
    assert reason_of("chip tpot AIC b200 and h100-sxm") == "not explained by its source"
