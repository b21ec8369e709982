"""Reading published rows: what is understood, and what is skipped with which reason."""

from pathlib import Path

import pytest

from gcsim.calibration.points import COLUMNS, Point, Side, parse_row, read_points
from gcsim.errors import ProfileError

ROW = dict.fromkeys(COLUMNS, "") | {
    "id": "X-1",
    "hardware": "NVIDIA H100 SXM",
    "chips": "4.0",
    "tp": "4",
    "model": "meta-llama/Llama-3.1-70B",
    "weight_dtype": "fp8",
    "framework": "vllm 0.19.0",
    "isl": "1024",
    "osl": "1024",
    "concurrency_or_batch": "16",
    "ttft_ms": "200",
    "tpot_ms": "20",
}


def parsed(**cells: str) -> Point:
    point = parse_row(ROW | cells)
    assert isinstance(point, Point), point
    return point


def test_a_closed_loop() -> None:
    point = parsed(notes="len~U[0.8L,L]; median")
    assert (point.isl, point.concurrency, point.low, point.median) == (1024, 16, 0.8, True)
    assert point.serving == Side(1, 4, 1)
    assert not point.batch
    assert point.published == {"ttft": pytest.approx(0.2), "tpot": pytest.approx(0.02)}
    assert point.group == ("llama-3.1-70b", "X")


@pytest.mark.parametrize(
    ("notes", "chips", "tp", "side"),
    [
        ("attn-DP8 moe_tp1 ep8", "8", "1", Side(1, 1, 8)),
        ("attn-DP2 moe_tp1 ep4", "4", "2", Side(1, 2, 2)),
        ("EP8 DPA", "8", "8", Side(1, 1, 8)),
        ("layout dep8", "8", "8", Side(1, 1, 8)),
        ("EP8 moe_tp1", "8", "8", Side(1, 8, 1)),
        ("", "8", "2", Side(4, 2, 1)),
        ("", "8", "", Side(1, 8, 1)),
    ],
)
def test_layouts(notes: str, chips: str, tp: str, side: Side) -> None:
    assert parsed(notes=notes, chips=chips, tp=tp).serving == side


def test_disaggregated_layouts() -> None:
    point = parsed(notes="median; PD: prefill 2xTP4EP4DPA=8gpu decode 1xTP8EP1=8gpu; x")
    assert (point.prefill, point.serving) == (Side(2, 1, 4), Side(1, 8, 1))
    point = parsed(notes="PD: prefill 1x(tp4 dp1 mtp1 ep4)=4gpu decode 4x(tp1 dp8 mtp1 ep8)=32gpu")
    assert (point.prefill, point.serving.chips) == (Side(1, 4, 1), 32)
    assert parse_row(ROW | {"notes": "PD: 2 + 2 nodes"}) == "disaggregated layout not stated"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"notes": "spec=mtp"}, "speculative decoding of unknown acceptance"),
        ({"notes": "UNSTEADY: stalls"}, "marked unsteady by the source"),
        ({"isl": ""}, "no prompt length"),
        ({"osl": "nan"}, "no output length"),
        ({"concurrency_or_batch": "max load"}, "no concurrency or batch"),
        ({"chips": "", "tp": ""}, "no chip count"),
        ({"ttft_ms": "", "tpot_ms": "0"}, "no time or throughput"),
    ],
)
def test_skips(cells: dict[str, str], reason: str) -> None:
    assert parse_row(ROW | cells) == reason


def test_static_batches() -> None:
    point = parsed(notes="static batch, isl=osl", e2e_ms="5000", tok_s_total="1", ttft_ms="")
    assert point.batch
    assert "throughput" not in point.published  # it is computed from the latency
    whole = parsed(notes="offline, all requests at once; e2e = whole-run elapsed", e2e_ms="9")
    assert whole.whole_run
    assert not whole.fitted


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("id,hardware,model,isl,osl,extra\nA,h100,m,1,1,z\n", encoding="utf-8")
    assert read_points(path) == ([], {"A": "no concurrency or batch"})
    path.write_text("id,hardware\n", encoding="utf-8")
    with pytest.raises(ProfileError, match="has no column model, isl, osl"):
        read_points(path)
    with pytest.raises(ProfileError, match="cannot be read"):
        read_points(tmp_path / "absent.csv")
