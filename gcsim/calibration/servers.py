"""Calibration from the user's own server: what AIPerf and `vllm bench serve` write, as points."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcsim.calibration.calibrate import Calibration, rows_of
from gcsim.calibration.chip_files import errors_by_metric
from gcsim.calibration.chip_text import efficiency_block, replace_sections, stacks_block
from gcsim.calibration.factors import Name, prior_of
from gcsim.calibration.fit import fit, prepare
from gcsim.calibration.points import Point, Side
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import load_chip

AIPERF_FILE = "profile_export_aiperf.json"
OWN_WIDTH = 0.3  # how far a server may be from the shipped profile: s.d. of the logarithm


def calibrate_from_aiperf(
    folder: str | Path, chip: str, tp: int = 1, dtype: str = "", framework: str = "vllm",
    out: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Calibrate a chip's factors to the AIPerf runs in a folder (and below it).

    chip, tp, dtype, framework: what the export does not say of the server
    out: where to write the profile. Errors: `ProfileError` when there is no usable export.
    """
    files = sorted(Path(folder).rglob(f"*{AIPERF_FILE}"))
    if not files:
        raise ProfileError.one(str(folder), "", None, f"holds no {AIPERF_FILE}")
    points = [aiperf_point(_read(file), str(file), chip, tp, dtype, framework) for file in files]
    return calibrate_server(points, chip, out)


def calibrate_from_vllm_bench(
    file: str | Path, chip: str, tp: int = 1, dtype: str = "", framework: str = "vllm",
    out: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Calibrate a chip's factors to a result of `vllm bench serve --save-result`, or a folder."""
    path = Path(file)
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ProfileError.one(str(path), "", None, "holds no result of vllm bench serve")
    points = [vllm_point(_read(item), str(item), chip, tp, dtype, framework) for item in files]
    return calibrate_server(points, chip, out)


def calibrate_server(
    points: list[Point], chip: str, out: str | Path | None = None
) -> dict[str, Any]:
    """Fit to a few points of one server, drawn to the shipped profile where they say nothing."""
    spec = load_chip(chip)

    def prior(name: Name) -> tuple[float, float]:
        owner = spec.stacks.get(name[1]) if name[1] else spec.efficiency
        number = getattr(owner, name[2], None) if owner is not None else None
        value = (
            number.value if number is not None and number.value > 0 else prior_of(*name[:0:-1])[0]
        )
        return value, OWN_WIDTH

    ready = prepare(points)
    if not ready.points:
        reasons = ", ".join(sorted(set(ready.reasons.values())))
        raise ProfileError.one("points", "", spec.name, f"no run can be used: {reasons}")
    found = fit(ready, prior)
    result = Calibration(found.values, found.sigma)
    for setup in ready.setups:
        for key in ((spec.name, ""), (spec.name, setup.stack)):
            result.counts[key] = result.counts.get(key, 0) + 1
            result.sources[key] = ("own server",)
    if out is not None:
        from gcsim.profiles import library

        path = library.find("chip", spec.name)
        stacks = sorted({*spec.stacks, *(s.stack for s in ready.setups)})
        text = replace_sections(
            path.read_text(encoding="utf-8"), efficiency_block(spec, result, ""),
            stacks_block(spec, result, stacks, ""),
        )  # fmt: skip
        Path(out).write_text(text, encoding="utf-8")
    factors = [
        {"stack": n[1] or None, "factor": n[2], "value": v, "shipped": prior(n)[0]}
        for n, v in sorted(found.values.items())
    ]
    return {
        "chip": spec.name, "points": len(ready.points), "factors": factors,
        "errors": errors_by_metric(rows_of(ready, found.values)), "skipped": ready.reasons,
    }  # fmt: skip


def aiperf_point(
    data: Mapping[str, Any], name: str, chip: str, tp: int, dtype: str, framework: str
) -> Point:
    """One AIPerf export (averages of its metrics, in ms) as a point.

    >>> data = {"time_to_first_token": {"avg": 80.0}, "inter_token_latency": {"avg": 9.0}}
    >>> data |= {"request_latency": {"avg": 2000.0}, "input_sequence_length": {"avg": 1000}}
    >>> data |= {"output_sequence_length": {"avg": 200}}
    >>> data |= {
    ...     "input_config": {
    ...         "endpoint": {"model_names": ["gpt-oss-120b"]},
    ...         "loadgen": {"concurrency": 4},
    ...     }
    ... }
    >>> aiperf_point(data, "x", "h100-sxm", 2, "", "vllm").published["tpot"]
    0.009
    """
    settings = data.get("input_config", {})
    names = settings.get("endpoint", {}).get("model_names") or [""]
    published = {
        metric: _average(data, key) / 1e3
        for metric, key in (
            ("ttft", "time_to_first_token"), ("tpot", "inter_token_latency"),
            ("e2e", "request_latency"),
        )
        if _average(data, key) > 0
    }  # fmt: skip
    return _point(
        name, chip, tp, dtype, framework, str(names[0]),
        _average(data, "input_sequence_length"), _average(data, "output_sequence_length"),
        settings.get("loadgen", {}).get("concurrency"), published,
    )  # fmt: skip


def vllm_point(
    data: Mapping[str, Any], name: str, chip: str, tp: int, dtype: str, framework: str
) -> Point:
    """One result of `vllm bench serve --save-result` (means, in ms) as a point.

    >>> data = {"model_id": "gpt-oss-120b", "max_concurrency": 4, "completed": 40}
    >>> data |= {"total_input_tokens": 40000, "total_output_tokens": 8000, "mean_ttft_ms": 80.0}
    >>> vllm_point(data, "x", "h100-sxm", 2, "", "vllm").isl
    1000
    """
    completed = float(data.get("completed") or 0)
    if not completed:
        raise ProfileError.one(name, "completed", data.get("completed"), "no completed request")
    keys = (("ttft", "mean_ttft_ms"), ("tpot", "mean_tpot_ms"), ("e2e", "mean_e2el_ms"))
    published = {m: float(data[k]) / 1e3 for m, k in keys if float(data.get(k) or 0) > 0}
    return _point(
        name, chip, tp, dtype, framework, str(data.get("model_id", "")),
        float(data.get("total_input_tokens") or 0) / completed,
        float(data.get("total_output_tokens") or 0) / completed,
        data.get("max_concurrency"), published,
    )  # fmt: skip


def _point(
    name: str, chip: str, tp: int, dtype: str, framework: str, model: str, isl: float,
    osl: float, concurrency: Any, published: dict[str, float],
) -> Point:  # fmt: skip
    for value, field in ((isl, "input length"), (osl, "output length")):
        if not value >= 1:
            raise ProfileError.one(name, field, value, "is missing or below one token")
    if not isinstance(concurrency, int) or concurrency < 1:
        why = "is not set: calibration needs a closed loop"
        hint = "run with --max-concurrency (vllm bench serve) or --concurrency (aiperf)"
        raise ProfileError.one(name, "concurrency", concurrency, why, hint)
    return Point(
        id=name, source="own server", date="", hardware=chip, model=model, dtype=dtype,
        framework=framework, isl=round(isl), osl=round(osl), concurrency=concurrency, cached=0,
        serving=Side(1, tp, 1), prefill=None, low=1.0, batch=False, whole_run=False, median=False,
        steady=True, fitted=True, ttft_of_prefill_run=False, published=published,
    )  # fmt: skip


def _average(data: Mapping[str, Any], key: str) -> float:
    entry = data.get(key)
    return float(entry.get("avg") or 0.0) if isinstance(entry, Mapping) else 0.0


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "is not JSON"
        raise ProfileError.one(str(path), "", None, f"cannot be read: {why}") from error
    if not isinstance(data, dict):
        raise ProfileError.one(str(path), "", None, "must be a JSON object")
    return data
