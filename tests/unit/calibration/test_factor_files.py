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
  - {tier: hbm, capacity: 96 GiB, bandwidth: 4 TB/s, holds: [weights, kv]}
interconnect:
  scale_up: {bandwidth: 300 GB/s, latency: 1 us}
  scale_out: {bandwidth: 50 GB/s}
factors: h100-sxm
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
    for groups in (data["efficiency"], *data["stacks"].values()):
        origins = [(group["kind"], group["source"]) for group in groups]
        assert len(origins) == len(set(origins))
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


def test_make_calibrate_takes_a_chip_of_a_new_vendor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data sheet with a relative's factors and the first points: they give it its own."""
    folders = {kind: tmp_path / kind for kind in ("chip", "factors")}
    relative = shipped("factors")["h100-sxm"].read_text()
    for kind, folder in folders.items():
        folder.mkdir()
        monkeypatch.setitem(FOLDERS, kind, str(folder))
    sheet, own = folders["chip"] / "abacus-2.yaml", folders["factors"] / "abacus-2.yaml"
    sheet.write_text(SHEET)
    (folders["factors"] / "h100-sxm.yaml").write_text(relative)
    write_from(Calibration())
    assert not own.exists(), "no point, nothing of its own"
    layer = ("abacus-2", "sglang", "layer_overhead")
    key = layer[:2]
    write_from(Calibration({layer: 33e-6}, {layer: 0.1}, {key: 3}, {key: ("LAB",)}))
    sheet.write_text(SHEET.replace("h100-sxm", "abacus-2"))
    chip = load_chip("abacus-2")
    found = chip.stacks["sglang"].layer_overhead
    assert (found.value, found.kind) == (pytest.approx(33e-6), "fitted")
    assert found.source.startswith("fit: 3 points of LAB")
    assert chip.efficiency.memory.value == pytest.approx(prior_of("memory", "")[0])
    assert chip.efficiency.gemm_fp4 is None, "it has no FP4"
    assert chip.stacks["vllm"].overlap_scheduling


def test_a_chip_in_one_file_is_left_alone() -> None:
    mapping, _, file = read_chip("h100-sxm")
    assert not {"factors"} & set(mapping)
    assert validate(Chip, mapping, file) == load_chip("h100-sxm")
