"""The generated documents: what they tell, from a small made-up result."""

from gcsim.calibration.calibrate import Calibration
from gcsim.calibration.documents import calibration_markdown, reason_of, validation_markdown
from gcsim.calibration.validate import summary


def test_the_pages_tell_errors_factors_and_claims() -> None:
    point = {
        "id": "A-1",
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
    calibration = Calibration({name: 20e-6}, {name: 0.1}, {name[:2]: 7})
    bought = [
        {
            "without": "-",
            "ttft": 0.1,
            "tpot": 0.05,
            "e2e": 0.05,
            "ttft_p90": 0.4,
            "tpot_p90": 0.2,
            "e2e_p90": 0.2,
        }
    ]
    page = validation_markdown(summary([point], ["unknown chip"]), calibration, bought, [])
    for text in ("20.0%", "unknown chip", "A-1", "SN50", "Noise floor"):
        assert text in page
    assert "20 us" in calibration_markdown(calibration)
    assert reason_of(point) == "not explained by its source"
