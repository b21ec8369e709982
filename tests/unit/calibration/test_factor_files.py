"""What `make calibrate` writes (gcsim.calibration.factor_files, gcsim.calibration.chip_files)."""

from pathlib import Path

import pytest
import yaml

from gcsim.calibration.calibrate import Calibration
from gcsim.calibration.chip_files import write_from
from gcsim.calibration.factor_files import factors_text
from gcsim.calibration.factors import prior_of
from gcsim.profiles.assemble import read_chip
from gcsim.profiles.chip import Chip
from gcsim.profiles.library import FOLDERS, shipped
from gcsim.profiles.load import read_mapping, validate
from gcsim.profiles.resolve import load_chip

LAYER = ("h100-sxm", "vllm", "layer_overhead")
SHEET = """
name: abacus-2
vendor: Abacus
execution: kernels
compute: {bf16: 500 TFLOP/s, fp8: 500 TFLOP/s}
memory:
  - {tier: hbm, capacity: 96 GiB, bandwidth: 4 TB/s, holds: [activations, weights, kv]}
interconnect:
  scale_up: {bandwidth: 300 GB/s, latency: 1 us}
  scale_out: {bandwidth: 50 GB/s}
factors: abacus-2
stacks: [vllm, sglang]
default_stack: vllm
power: {node: 6 kW}
price: {usd_per_chip_hour: 2 USD/h}
packaging: {chips_per_node: 8, cooling: air}
"""


def calibration() -> Calibration:
    values = {LAYER: 20e-6, ("h100-sxm", "", "memory"): 0.9}
    keys = {name[:2]: 7 for name in values}
    sources = dict.fromkeys(keys, ("AIC",))
    return Calibration(values, dict.fromkeys(values, 0.1), keys, sources)


def test_a_fit_is_read_back_and_its_origin_is_said_once() -> None:
    text = factors_text(load_chip("h100-sxm"), calibration(), "; tested")
    assert text.count("fit: 7 points of aiconfigurator") == 2  # of the chip, and of its stack
    data = yaml.safe_load(text)
    assert data["chip"] == "h100-sxm"
    found = data["stacks"]["vllm"][0]
    assert found["kind"] == "fitted"
    assert found["source"].endswith("; tested")
    assert found["values"] == {
        "layer_overhead": {"value": "20 us", "low": "17 us", "high": "23.6 us"}
    }
    assert "iteration_overhead" not in text, "never fitted: it stands with the stack"
    assert "'aiconfigurator' in a source" in " ".join(data["notes"])


@pytest.mark.parametrize("name", sorted(shipped("factors")))
def test_shipped_factors_are_of_a_chip_that_lists_their_stacks(name: str) -> None:
    """A factor that no chip reads would be a fit for nothing."""
    sheet, factors = (read_mapping(shipped(kind)[name])[0] for kind in ("chip", "factors"))
    assert sheet["factors"] == factors["chip"] == name
    assert set(factors["stacks"]) <= set(sheet["stacks"])


@pytest.mark.parametrize("name", sorted(shipped("factors")))
def test_each_origin_is_said_once(name: str) -> None:
    factors = read_mapping(shipped("factors")[name])[0]
    for groups in (factors["efficiency"], *factors["stacks"].values()):
        origins = [(group["kind"], group["source"]) for group in groups]
        assert len(origins) == len(set(origins))


def test_make_calibrate_takes_a_chip_of_a_new_vendor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data sheet and no point of it: factors are the priors, and then the chip loads."""
    folders = {kind: tmp_path / kind for kind in ("chip", "factors")}
    for kind, folder in folders.items():
        folder.mkdir()
        monkeypatch.setitem(FOLDERS, kind, str(folder))
    (folders["chip"] / "abacus-2.yaml").write_text(SHEET)
    (folders["factors"] / "abacus-2.yaml").write_text(ideal())
    write_from(Calibration())
    chip = load_chip("abacus-2")
    layer = chip.stacks["sglang"].layer_overhead
    assert (layer.value, layer.kind) == (pytest.approx(prior_of(LAYER[2], "sglang")[0]), "assumed")
    assert chip.efficiency.memory.value == pytest.approx(prior_of("memory", "")[0])
    assert chip.efficiency.gemm_fp4 is None, "it has no FP4"
    assert chip.stacks["vllm"].overlap_scheduling


def ideal() -> str:
    """Factors to begin with: every efficiency 1."""
    names = ("memory", "kv_read", "gemm_bf16", "gemm_fp8", "expert_gemm", "attention", "link")
    values = {name: {"value": 1} for name in names}
    group = {"kind": "assumed", "source": "to begin with", "values": values}
    return yaml.safe_dump({"chip": "abacus-2", "efficiency": [group]})


def test_a_chip_in_one_file_is_left_alone() -> None:
    mapping, _, file = read_chip("h100-sxm")
    assert not {"factors"} & set(mapping)
    assert validate(Chip, mapping, file) == load_chip("h100-sxm")
