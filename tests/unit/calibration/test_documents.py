"""The generated documents: what they tell, from a small made-up result."""

from typing import Any

from gcsim.calibration.calibrate import Calibration
from gcsim.calibration.documents import calibration_markdown, reason_of, validation_markdown
from gcsim.calibration.pairs import KINDS, SAME, ranking
from gcsim.calibration.validate import summary


def test_the_pages_tell_errors_factors_and_claims() -> None:
    point: dict[str, Any] = {
        "id": "A-1",
        **dict.fromkeys((*SAME, *KINDS), "same"),
        "chip": "h100-sxm",
        "model": "m",
        "stack": "vllm",
        "kind": "one pool",
        "group": "m/A",
        "metric": "tpot",
        "published": 10.0,
        "modeled": 12.0,
        "ape": 0.2,
    }
    name = ("h100-sxm", "vllm", "layer_overhead")
    calibration = Calibration({name: 20e-6}, {name: 0.1}, {name[:2]: 7}, shown={name: 0.3})
    calibration.with_which[name] = (("h100-sxm", "", "memory"), -0.9)
    tails = {"ttft_p90": 0.4, "tpot_p90": 0.2, "e2e_p90": 0.2}
    bought: list[dict[str, float | str]] = [
        {"without": without, "ttft": ttft, "tpot": 0.05, "e2e": 0.05, **tails}
        for without, ttft in (("-", 0.1), ("link", 0.14), ("memory", 0.101))
    ]
    other = {**point, "id": "A-2", "chip": "h200-sxm", "published": 8.0, "modeled": 13.0}
    result = summary([point, other], ["unknown chip"]) | {"pairs": ranking([point, other])}
    page = validation_markdown(result, calibration, [])
    for text in ("20.0%", "unknown chip", "A-1", "SN50", "Noise floor", "chip: h100-sxm and h200"):
        assert text in page
    page = calibration_markdown(calibration, bought)
    assert "20 us" in page
    assert "assumed (30%) | memory -0.90 |" in page
    assert "| link | 14.0% (40%) | 5.0% (20%) | 5.0% (20%) | buys 4.0 points of TTFT |" in page
    assert "| memory | 10.1% (40%)" in page
    assert "no memory reaches its peak" in page
    assert reason_of(point) == "not explained by its source"
