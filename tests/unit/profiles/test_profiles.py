"""The shipped library: everything loads, every number says where it comes from."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from gcsim.machine.counts import weight_bytes
from gcsim.profiles.base import Quantity
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Deployment, Link
from gcsim.profiles.library import Library, root, shipped
from gcsim.profiles.load import read_mapping, validate
from gcsim.profiles.model import Model
from gcsim.profiles.resolve import load_chip, resolve

CHIPS, DEPLOYMENTS = tuple(shipped("chip")), tuple(shipped("deployment"))


@cache
def chip(name: str) -> Chip:
    return load_chip(name)


@cache
def model(name: str) -> Model:
    path = shipped("model")[name]
    mapping, lines = read_mapping(path)
    return validate(Model, mapping, str(path), lines)


@cache
def deployment(name: str) -> Deployment:
    return resolve("coding-agents", {"deployment": name}).scenario.deployment


def quantities(spec: BaseModel, where: str = "") -> Iterator[tuple[str, Quantity]]:
    """Every number with an origin inside a spec, and its dotted place."""
    for name, value in spec:
        place = f"{where}.{name}".strip(".")
        parts = {place: value}
        if isinstance(value, tuple):
            parts = {f"{place}.{index}": item for index, item in enumerate(value)}
        elif isinstance(value, dict):
            parts = {f"{place}.{key}": item for key, item in value.items()}
        for at, part in parts.items():
            if isinstance(part, Quantity):
                yield at, part
            elif isinstance(part, BaseModel):
                yield from quantities(part, at)


each_chip = pytest.mark.parametrize("name", CHIPS)
each_deployment = pytest.mark.parametrize("name", DEPLOYMENTS)


def test_what_is_shipped() -> None:
    """In the order of their names; a wheel has them too (tests/unit/test_packaging.py)."""
    assert {"sn40l", "sn50", "mi300x", "h100-sxm"} <= set(CHIPS)
    assert list(DEPLOYMENTS) == sorted(DEPLOYMENTS)


@pytest.mark.parametrize("kind", ["chip", "model", "deployment"])
def test_a_profile_is_named_like_its_file(kind: str) -> None:
    loaders = {"chip": chip, "model": model, "deployment": deployment}
    for stem in shipped(kind):
        assert loaders[kind](stem).name == stem


@pytest.mark.parametrize("kind", ["chip", "model"])
def test_every_alias_leads_to_its_profile_alone(kind: str) -> None:
    for stem, path in shipped(kind).items():
        spec = chip(stem) if kind == "chip" else model(stem)
        for alias in spec.aliases:
            assert Library().find(kind, alias) == path, alias


@each_chip
def test_every_number_of_a_chip_has_an_origin(name: str) -> None:
    found = dict(quantities(chip(name)))
    assert len(found) > 25
    for place, quantity in found.items():
        assert quantity.kind != "given", place
        assert quantity.source, place


@each_chip
def test_what_is_assumed_has_a_range(name: str) -> None:
    for place, quantity in quantities(chip(name)):
        if quantity.kind == "assumed":
            assert quantity.low is not None, place
            assert quantity.high is not None, place
            assert quantity.low < quantity.high, place


@each_chip
def test_measured_and_fitted_values_are_not_assumed_ones_in_disguise(name: str) -> None:
    for place, quantity in quantities(chip(name)):
        told = quantity.source.startswith("fit: ")
        assert told is (quantity.kind == "fitted"), place


def test_nothing_about_sn50_is_called_measured() -> None:
    spec = chip("sn50")
    assert {number.kind for _, number in quantities(spec)} == {"assumed", "vendor_claim"}
    for place, number in [*quantities(spec.efficiency), *quantities(spec.stacks["sambaflow"])]:
        assert number.kind == "assumed", place


@each_chip
def test_short_source_names_are_spelled_out(name: str) -> None:
    spec = chip(name)
    notes = " ".join(spec.notes)
    for short in ("ml-engineering", "Argonne", "InferenceX", "Hot Chips 20", "Infercom"):
        if any(short in quantity.source for _, quantity in quantities(spec)):
            assert f"'{short}" in notes


@each_chip
def test_tiers_go_from_fast_and_small_to_slow_and_large(name: str) -> None:
    tiers = chip(name).memory
    bandwidths = [tier.bandwidth.value for tier in tiers]
    capacities = [tier.capacity.value for tier in tiers]
    assert bandwidths == sorted(bandwidths, reverse=True)
    assert capacities == sorted(capacities)


# What vendors print for so many chips, in PFLOP/s (INT8: POP/s); with 2:4 sparsity where so named.
PRINTED = {
    "a100": (1, {"bf16 sparse": 0.624, "int8 sparse": 1.248}),
    "a100-40gb": (1, {"bf16 sparse": 0.624, "int8 sparse": 1.248}),
    "b200": (8, {"bf16 sparse": 36, "fp8 sparse": 72, "fp4": 72, "int8 sparse": 72}),
    "b300": (8, {"bf16 sparse": 36, "fp8 sparse": 72, "fp4": 108}),
    "gb200": (72, {"bf16 sparse": 360, "fp8 sparse": 720, "fp4 sparse": 1440, "int8 sparse": 720}),
    "gb300": (72, {"bf16 sparse": 360, "fp8 sparse": 720, "fp4": 1080, "int8 sparse": 24}),
    "gh200": (1, {"bf16 sparse": 1.979, "fp8 sparse": 3.958, "int8 sparse": 3.958}),
    "h100-sxm": (1, {"bf16 sparse": 1.979, "fp8 sparse": 3.958, "int8 sparse": 3.958}),
    "h200-sxm": (1, {"bf16 sparse": 1.979, "fp8 sparse": 3.958, "int8 sparse": 3.958}),
    "mi300x": (8, {"bf16": 10.5, "fp8": 20.9, "int8": 20.9}),
    "mi325x": (8, {"bf16": 10.5, "fp8": 20.9, "int8": 20.9}),
    "mi355x": (8, {"bf16 sparse": 40.3, "fp8": 40.3, "fp4": 80.5, "int8": 40.3}),
    "sn40l": (16, {"bf16": 10.2}),
    "sn50": (16, {"bf16": 25.6, "fp8": 51.2}),
}


@pytest.mark.parametrize("name", PRINTED)
def test_datasheet_peaks_are_dense(name: str) -> None:
    """Totals that vendors print for a card, a node or a rack, half of those with 2:4 sparsity."""
    count, printed = PRINTED[name]
    compute = chip(name).compute
    for what, total in printed.items():
        fmt, _, sparse = what.partition(" ")
        peak = getattr(compute, fmt).value
        dense = total * 1e15 / (2 if sparse else 1)
        assert count * peak == pytest.approx(dense, rel=0.01), what
    native = {fmt for fmt, peak in compute if peak}
    assert native - {what.partition(" ")[0] for what in printed} <= {"int8"}


@pytest.mark.parametrize(
    ("name", "terabytes_per_s", "petaflops"),
    [("sn40l", 25.6, 10.2), ("sn50", 29.4, 25.6), ("mi300x", 42.4, 10.5), ("h200-sxm", 38.4, 7.9)],
)
def test_totals_of_a_node_close(name: str, terabytes_per_s: float, petaflops: float) -> None:
    spec = chip(name)
    count = spec.packaging.chips_per_node
    hbm = next(tier for tier in spec.memory if tier.tier == "hbm")
    assert count * hbm.bandwidth.value / 1e12 == pytest.approx(terabytes_per_s, rel=0.01)
    assert count * spec.compute.bf16.value / 1e15 == pytest.approx(petaflops, rel=0.01)
    assert count <= spec.interconnect.scale_up.max_chips


def test_conflicts_stay_visible() -> None:
    hbm = next(tier for tier in chip("sn40l").memory if tier.tier == "hbm")
    assert hbm.bandwidth.value == 1.6e12
    assert "1.8 TB/s" in [conflict.value for conflict in hbm.bandwidth.conflicts]
    assert all(conflict.source for conflict in hbm.bandwidth.conflicts)


@each_deployment
def test_a_deployment_loads_and_holds_gpt_oss(name: str) -> None:
    needed = weight_bytes(model("gpt-oss-120b")).total
    for pool in deployment(name).pools.values():
        hbm = next(tier for tier in pool.chip.memory if tier.tier == "hbm")
        assert needed < hbm.capacity.value * pool.chips_per_replica * pool.memory_utilization


@each_deployment
def test_roles_and_policies_agree(name: str) -> None:
    wanted = {
        "mixed": {"continuous", "prefill_first"},
        "prefill": {"prefill_only"},
        "decode": {"decode_only"},
    }
    spec = deployment(name)
    assert all(pool.batching.policy in wanted[pool.role] for pool in spec.pools.values())
    assert bool(spec.links) is (len(spec.pools) > 1)


def test_the_published_pair_has_its_published_size() -> None:
    pools = deployment("h200-prefill-sn50-decode").pools
    assert (pools["prefill"].chips, pools["decode"].chips) == (4, 16)


@each_deployment
def test_links_are_as_slow_as_measured(name: str) -> None:
    """18, 48, 64 and 71% of 200 GB/s at 20 MB, 146 MB, 1.1 GB and 4.5 GB (vLLM with Mooncake)."""

    def reached(link: Link, size: float) -> float:
        line = 200e9
        return size / (link.setup + (size + link.ramp) / (link.efficiency * line)) / line

    for link in deployment(name).links:
        assert link.source
        for size, share in ((20e6, 0.18), (146e6, 0.48), (1.1e9, 0.64), (4.5e9, 0.71)):
            assert reached(link, size) == pytest.approx(share, rel=0.07), size


@pytest.mark.parametrize("kind", ["chip", "deployment", "model"])
def test_sources_are_public(kind: str) -> None:
    for path in shipped(kind).values():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\.\./|facts|\[(M|D|MLE|HC\d\d|TRK|CAT|DS40)\]", text), path
        assert not re.search(r"\bidx \d", text), path


def test_the_library_is_found_from_anywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (root() / "model_profiles").is_dir()
    assert Library().find("chip", "sn40l").is_file()
