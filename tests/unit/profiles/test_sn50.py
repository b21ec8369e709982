"""SN50 has no measurement of its software: what its profile argues holds of its numbers."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from gcsim.profiles.assumed import quantities
from gcsim.profiles.base import Quantity
from gcsim.profiles.chip import Chip, Stack
from gcsim.profiles.library import shipped
from gcsim.profiles.load import read_mapping
from gcsim.profiles.resolve import load_chip

SN50, SN40L = load_chip("sn50"), load_chip("sn40l")
GPUS = [load_chip(name) for name in shipped("chip") if load_chip(name).execution == "kernels"]


def rules(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every `derived` of a profile and its place."""
    if isinstance(node, dict):
        if "derived" in node:
            yield place, node["derived"]
        for key, item in node.items():
            yield from rules(item, (*place, key))
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from rules(item, (*place, index))


DERIVED = list(rules(read_mapping(shipped("chip")["sn50"])[0]))


def at(chip: Chip, place: tuple[Any, ...]) -> Quantity:
    found: Any = chip
    for key in place:
        found = found[key] if isinstance(found, tuple | dict) else getattr(found, key)
    assert isinstance(found, Quantity)
    return found


@pytest.mark.parametrize(("place", "rule"), DERIVED, ids=str)
def test_what_is_derived_is_its_sibling_s_times_the_rule(
    place: tuple[Any, ...], rule: dict[str, Any]
) -> None:
    assert rule["from"] == "sn40l"
    mine, theirs = at(SN50, place), at(SN40L, place)
    assert mine.value == pytest.approx(theirs.value * rule.get("times", 1), rel=1e-4)
    assert theirs.low is not None
    assert theirs.high is not None
    assert mine.low == pytest.approx(theirs.low * rule.get("low", 1), rel=1e-4)
    assert mine.high == pytest.approx(theirs.high * rule.get("high", 1), rel=1e-4)


def test_all_fixed_times_are_derived() -> None:
    derived = {place for place, _ in DERIVED}
    for path, _ in quantities(SN50.stacks["sambaflow"]):
        assert ("stacks", "sambaflow", path) in derived, path


def layer_us(stack: Stack, end: str) -> float:
    """A MoE layer and its two all-reduces over 16 chips [us]."""

    def us(quantity: Quantity) -> float:
        return float(getattr(quantity, end)) * 1e6

    doublings = 3 * us(stack.all_reduce_latency_per_doubling)
    layers = us(stack.layer_overhead) + us(stack.moe_layer_overhead)
    return layers + 2 * (us(stack.all_reduce_latency) + doublings)


def test_the_band_of_a_layer_holds_the_published_speeds_and_the_sibling() -> None:
    mine, theirs = SN50.stacks["sambaflow"], SN40L.stacks["sambaflow"]
    assert layer_us(mine, "value") == pytest.approx(layer_us(theirs, "value") / 2, rel=1e-3)
    assert layer_us(mine, "low") <= 6, "763 and 1,900 tok/s need 6-10 us"
    assert layer_us(mine, "high") >= layer_us(theirs, "value")


def test_the_band_of_a_sequence_holds_vllm_on_gpus_and_the_sibling() -> None:
    mine = SN50.stacks["sambaflow"].sequence_overhead
    fitted = [chip.stacks["vllm"].sequence_overhead for chip in GPUS]
    values = sorted(own.value for own in fitted if own.kind == "fitted")
    assert mine.low is not None
    assert mine.high is not None
    assert mine.low <= values[len(values) // 2] <= mine.high
    assert mine.low <= SN40L.stacks["sambaflow"].sequence_overhead.value <= mine.high


@pytest.mark.parametrize("factor", ["kv_read", "expert_gemm", "attention", "link"])
def test_the_band_of_an_efficiency_holds_the_sibling_and_the_gpus(factor: str) -> None:
    mine = getattr(SN50.efficiency, factor)
    others = [getattr(chip.efficiency, factor) for chip in (*GPUS, SN40L)]
    values = [own.value for own in others if own.kind == "fitted"]
    assert all(mine.low * 0.99 <= value <= mine.high for value in values)


@pytest.mark.parametrize("kind", ["chip", "factors", "stack"])
def test_no_text_quotes_a_fit_of_another_chip(kind: str) -> None:
    """Such a number goes stale with the next calibration; a rule does not."""
    for path in shipped(kind).values():
        text = " ".join(path.read_text(encoding="utf-8").split())
        assert not re.search(r"fitted( all-reduce)?( is)? (at )?\d", text), path.name
