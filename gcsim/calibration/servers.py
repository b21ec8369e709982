"""Calibration from the user's own server: what AIPerf and `vllm bench serve` write, as points."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcsim.calibration.one_chip import calibrate_server
from gcsim.calibration.points import Point, Side
from gcsim.errors import ProfileError

AIPERF_FILE = "profile_export_aiperf.json"
AIPERF = {
    "ttft": "time_to_first_token",
    "tpot": "inter_token_latency",
    "e2e": "request_latency",
    "isl": "input_sequence_length",
    "osl": "output_sequence_length",
}
VLLM = {"ttft": "mean_ttft_ms", "tpot": "mean_tpot_ms", "e2e": "mean_e2el_ms"}


@dataclass(frozen=True, slots=True)
class Server:
    """What an export does not say: chip (a name or a file), chips of a replica, format, stack."""

    chip: str
    tp: int = 1
    dtype: str = ""
    framework: str = "vllm"


@dataclass(frozen=True, slots=True)
class Measured:
    """What an export says: model, mean lengths [tokens], clients, mean times [s] by metric."""

    model: str
    isl: float
    osl: float
    concurrency: Any
    published: dict[str, float]


def calibrate_from_aiperf(
    folder: str | Path, server: Server, out: str | Path | None = None, name: str = ""
) -> dict[str, Any]:
    """Calibrate a chip's factors to the AIPerf runs in a folder (and below it).

    out: where to write the chip's profile; name: what it is called there. Returns what
    `one_chip.calibrate` does.
    Errors: `ProfileError` when there is no usable export.
    """
    files = sorted(Path(folder).rglob(f"*{AIPERF_FILE}"))
    if not files:
        raise ProfileError.one(str(folder), "", None, f"holds no {AIPERF_FILE}")
    runs = [(str(file), data) for file in files for data in _read(file)]
    points = [point(source, server, aiperf(data)) for source, data in runs]
    return calibrate_server(points, server.chip, out, name)


def calibrate_from_vllm_bench(
    file: str | Path, server: Server, out: str | Path | None = None, name: str = ""
) -> dict[str, Any]:
    """As `calibrate_from_aiperf`, from what `vllm bench serve --save-result` wrote.

    file: one result, several of them (`--append-result`: one a line), or a folder of such files.
    """
    path = Path(file)
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ProfileError.one(str(path), "", None, "holds no result of vllm bench serve")
    runs = [(str(item), data) for item in files for data in _read(item)]
    points = [point(source, server, vllm_bench(data, source)) for source, data in runs]
    return calibrate_server(points, server.chip, out, name)


def aiperf(data: Mapping[str, Any]) -> Measured:
    """One AIPerf export: the averages of its metrics, which are in ms.

    >>> data = {"time_to_first_token": {"avg": 80.0}, "inter_token_latency": {"avg": 9.0}}
    >>> data |= {"input_sequence_length": {"avg": 1000}, "output_sequence_length": {"avg": 200}}
    >>> aiperf(data | {"input_config": {"loadgen": {"concurrency": 4}}}).published
    {'ttft': 0.08, 'tpot': 0.009}
    """
    settings = _part(data, "input_config")
    names = _part(settings, "endpoint").get("model_names") or [""]
    means = {key: _number(_part(data, metric).get("avg")) for key, metric in AIPERF.items()}
    times = {key: means[key] / 1e3 for key in VLLM if means[key] > 0}
    clients = _part(settings, "loadgen").get("concurrency")
    return Measured(str(names[0]), means["isl"], means["osl"], clients, times)


def vllm_bench(data: Mapping[str, Any], name: str = "result") -> Measured:
    """One result of `vllm bench serve --save-result`: its means, which are in ms.

    name: the file, for errors
    >>> data = {"model_id": "gpt-oss-120b", "max_concurrency": 4, "completed": 40}
    >>> data |= {"total_input_tokens": 40000, "total_output_tokens": 8000, "mean_ttft_ms": 80.0}
    >>> vllm_bench(data).isl, vllm_bench(data).published
    (1000.0, {'ttft': 0.08})
    """
    completed = _number(data.get("completed"))
    if not completed:
        raise ProfileError.one(name, "completed", data.get("completed"), "no completed request")
    rate = data.get("request_rate")
    if rate not in (None, "inf", float("inf")):
        why, hint = "requests came at a rate: calibration needs a closed loop", "leave it at inf"
        raise ProfileError.one(name, "request_rate", rate, why, hint)
    lengths = (_number(data.get(f"total_{way}_tokens")) / completed for way in ("input", "output"))
    isl, osl = lengths
    times = {m: _number(data.get(k)) / 1e3 for m, k in VLLM.items() if _number(data.get(k)) > 0}
    return Measured(str(data.get("model_id", "")), isl, osl, data.get("max_concurrency"), times)


def point(name: str, server: Server, run: Measured) -> Point:
    """A run on a server as a point; name: the file, for errors."""
    for value, field in ((run.isl, "input length"), (run.osl, "output length")):
        if not value >= 1:
            raise ProfileError.one(name, field, value, "is missing or below one token")
    clients = run.concurrency
    if not isinstance(clients, int) or clients < 1:
        why = "is not set: calibration needs a closed loop"
        hint = "run with --max-concurrency (vllm bench serve) or --concurrency (aiperf)"
        raise ProfileError.one(name, "concurrency", clients, why, hint)
    if not run.published:
        why = "holds no mean of TTFT, TPOT or E2E"
        raise ProfileError.one(name, "", None, why, "was the endpoint asked to stream?")
    return Point(
        id=name,
        source="own server",
        date="",
        hardware=server.chip,
        model=run.model,
        dtype=server.dtype,
        framework=server.framework,
        isl=round(run.isl),
        osl=round(run.osl),
        concurrency=clients,
        cached=0,
        serving=Side(1, server.tp, 1),
        prefill=None,
        low=1.0,
        batch=False,
        whole_run=False,
        median=False,
        steady=True,
        fitted=True,
        ttft_of_prefill_run=False,
        published=run.published,
    )


def _part(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = data.get(key)
    return part if isinstance(part, Mapping) else {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value == value else 0.0


def _read(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file: one, or one a line."""
    try:
        text = path.read_text(encoding="utf-8")
        try:
            data = [json.loads(text)]
        except ValueError:
            data = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "is not JSON"
        raise ProfileError.one(str(path), "", None, f"cannot be read: {why}") from error
    if not data or not all(isinstance(item, dict) for item in data):
        raise ProfileError.one(str(path), "", None, "must be a JSON object, or one a line")
    return data
