"""`gcsim.profiles.chip`: what makes a chip profile inconsistent."""

from typing import Any

import pytest

from gcsim.errors import ProfileError
from gcsim.profiles.assemble import read_chip
from gcsim.profiles.chip import Chip
from gcsim.profiles.load import validate
from gcsim.profiles.resolve import load_chip


def altered(**changes: Any) -> Chip:
    """The H100 with some dotted fields (`__` for `.`, a digit for a place in a list) replaced."""
    mapping, _, _ = read_chip("h100-sxm")
    for dotted, value in changes.items():
        *path, last = (int(part) if part.isdigit() else part for part in dotted.split("__"))
        place: Any = mapping
        for part in path:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return validate(Chip, mapping, "mine.yaml")


def error(**changes: Any) -> str:
    with pytest.raises(ProfileError) as caught:
        altered(**changes)
    return str(caught.value)


def test_bare_values_are_the_users_own() -> None:
    chip = altered(compute__bf16="1 PFLOP/s")
    assert (chip.compute.bf16.value, chip.compute.bf16.kind) == (1e15, "given")
    assert chip.compute.bf16.source == ""


def test_a_format_may_be_missing_with_its_factor() -> None:
    assert altered(compute__fp8=None, efficiency__gemm_fp8=None).compute.fp8 is None


def test_a_format_may_be_as_fast_as_the_wider_one() -> None:
    chip = altered(compute__fp8="989 TFLOP/s")  # so it is on Gaudi 3
    assert chip.arithmetic("fp8") == "fp8"
    assert chip.compute.fastest_flops_per_s == 989e12


def test_weights_are_multiplied_in_their_own_format_or_widened() -> None:
    hopper = altered()
    assert [hopper.arithmetic(w) for w in ("bf16", "fp8", "int8")] == ["bf16", "fp8", "int8"]
    assert [hopper.arithmetic(w) for w in ("nvfp4", "mxfp4", "int4")] == ["bf16"] * 3
    blackwell = load_chip("b200")
    assert blackwell.arithmetic("mxfp4") == "fp4"
    assert blackwell.arithmetic("mxfp4", "fp8") == "fp8"
    ampere = load_chip("a100")
    assert ampere.arithmetic("int8") == "int8"
    assert ampere.efficiency.gemm("int8") == ampere.efficiency.gemm("bf16")
    assert hopper.efficiency.gemm("int8") == hopper.efficiency.gemm("fp8")
    assert altered(efficiency__gemm_int8=0.3).efficiency.gemm("int8") == 0.3
    assert load_chip("b300").arithmetic("int8") == "bf16", "its INT8 is slower than its BF16"
    assert load_chip("sn50").arithmetic("int8") == "bf16", "no INT8 is published"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"compute__fp8": "500 TFLOP/s"}, "a narrower format is slower than a wider one"),
        ({"compute__fp4": "4 PFLOP/s"}, "efficiency.gemm_fp4 is missing, but compute.fp4 is given"),
        ({"compute__bf16": "0 TFLOP/s"}, "compute.bf16 is zero"),
        ({"memory__1__bandwidth": "0 TB/s"}, "memory.hbm.bandwidth is zero"),
        ({"interconnect__scale_up__bandwidth": 0}, "interconnect.scale_up.bandwidth is zero"),
        ({"efficiency__memory": 1.2}, "efficiency.memory: is more than 1 (got 1.2)"),
        ({"efficiency__link": 0}, "efficiency.link: is less than 0.0001 (got 0)"),
        ({"efficiency__memory": "80 GB"}, "efficiency.memory: is bytes (a capacity)"),
        ({"efficiency__memory": None}, "efficiency.memory: is missing"),
        ({"efficiency__prefill": 0.5}, "efficiency.prefill: unknown key"),
        ({"memory__1__holds": ["kv"]}, "memory: no tier holds weights"),
        ({"memory__1__holds": ["weights"]}, "memory: no tier holds kv"),
        ({"memory__1__holds": ["wieghts"]}, "memory.1.holds.0: Input should be 'weights'"),
        ({"memory": []}, "memory: Tuple should have at least 1 item"),
        ({"memory__1__capacity": "3.35 TB/s"}, "memory.1.capacity: is a rate of bytes"),
        ({"memory__1__bandwidth": "-1 TB/s"}, "memory.1.bandwidth: is negative"),
        ({"default_stack": "tgi"}, "default_stack 'tgi' is not in stacks (vllm, trtllm, sglang"),
        ({"stacks": {}}, "stacks: Dictionary should have at least 1 item"),
        ({"stacks__vllm__layer_overhead": "21 W"}, "stacks.vllm.layer_overhead: is a power"),
        ({"execution": "magic"}, "execution: Input should be 'kernels' or 'fused'"),
        ({"packaging__cooling": "oil"}, "packaging.cooling: Input should be 'air'"),
        ({"packaging__chips_per_node": 0}, "packaging.chips_per_node: Input should be greater"),
        ({"interconnect__scale_up__topology": "star"}, "topology: Input should be 'mesh'"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_what_is_refused(changes: dict[str, Any], expected: str) -> None:
    assert expected in error(**changes)


def test_a_chip_never_changes() -> None:
    chip = altered()
    with pytest.raises(ValueError, match="frozen"):
        chip.name = "other"  # type: ignore[misc]
