"""One operating point: equal requests, so many at a time, played by the engine."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from gcsim import __version__
from gcsim.engine.play import forgotten
from gcsim.errors import CapacityError, Problem, ProfileError
from gcsim.machine.machine import Machine
from gcsim.machine.roofline import PARTS, batch, causal_pairs, iteration_s, window_pairs
from gcsim.profiles.assumed import assumed_values
from gcsim.profiles.load import validate
from gcsim.profiles.resolve import load_chip, load_model
from gcsim.profiles.scenario import Scenario
from gcsim.results.tables import request_table, split_bounds
from gcsim.simulate import play_scenario
from gcsim.traffic.trajectory import Step, Trajectory, chain

WAVES = 4  # counted waves of requests, after one that fills the cache and before one that drains


@dataclass(frozen=True)
class Estimate:
    """What one user sees at an operating point; times in ms.

    breakdown_ms: of `ttft_ms` (`prefill`) and of `tpot_ms` (`decode`); each sums to its time.
    `waiting` is what an iteration or a place in it is waited for because of other requests,
    `request` the fixed time of a request. bound: the largest physical part of the whole.
    """

    chip: str
    stack: str
    tp: int
    ep: int
    pp: int
    model: str
    dtype: str | None
    isl: int
    osl: int
    cached: int
    concurrency: int
    ttft_ms: float
    tpot_ms: float | None
    e2el_ms: float
    tok_s_user: float | None
    output_throughput: float
    bound: str
    bound_prefill: str
    bound_decode: str | None
    breakdown_ms: dict[str, dict[str, float]]
    assumed_values: int
    version: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """What `gcsim estimate --format json` prints."""
        return asdict(self)

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)


@forgotten()
def estimate(
    chip: str,
    tp: int,
    model: str,
    isl: int,
    osl: int,
    *,
    concurrency: int = 1,
    cached: int = 0,
    dtype: str | None = None,
    ep: int = 1,
    pp: int = 1,
    stack: str | None = None,
) -> Estimate:
    """TTFT, TPOT and E2E of `concurrency` equal requests at any time on one replica, no network.

    cached: prompt tokens that the prefix cache holds (floored to whole blocks).
    Means are over `WAVES` x concurrency requests; output_throughput = concurrency osl / E2E
    (Little's law). Errors: `ProfileError`, `CapacityError`.

    >>> import gcsim
    >>> point = gcsim.estimate("sn40l", 16, "gpt-oss-120b", isl=10_000, osl=700)
    >>> 600 < point.tok_s_user < 800
    True
    """
    scenario = _scenario(chip, tp, model, isl, osl, concurrency, cached, dtype, ep, pp, stack)
    cluster = play_scenario(scenario, _waves(isl, osl, concurrency, cached))
    requests = request_table(cluster)
    _all_completed(requests, scenario, isl, osl)
    first, last = concurrency, concurrency * (1 + WAVES)
    counted = requests.iloc[first:last]
    ttft_ms, e2el_ms = (float(counted[key].mean() * 1e3) for key in ("ttft_s", "e2e_s"))
    tpot_ms = float(counted["tpot_s"].mean() * 1e3) if osl > 1 else None
    machine = cluster.replicas[0].cost
    held = int(counted["cached_tokens"].iloc[0])
    prefill = _prefill_ms(machine, isl - held, held, _pool(scenario).batching.max_iteration_tokens)
    prefill["request"] = machine.request_overhead_s * 1e3
    prefill["waiting"] = _rest(ttft_ms, prefill)
    breakdown, total = {"prefill": prefill}, prefill
    if tpot_ms is not None:
        decoding = max(1.0, concurrency * (1 - ttft_ms / e2el_ms))  # by Little's law
        decode = _decode_ms(machine, isl + osl / 2, decoding)
        decode["waiting"] = _rest(tpot_ms, decode)
        breakdown["decode"] = decode
        total = {key: prefill[key] + (osl - 1) * decode.get(key, 0.0) for key in prefill}
    pool = _pool(scenario)
    return Estimate(
        chip=pool.chip.name,
        stack=pool.stack or pool.chip.default_stack,
        tp=tp,
        ep=ep,
        pp=pp,
        model=scenario.model.name,
        dtype=dtype,
        isl=isl,
        osl=osl,
        cached=held,
        concurrency=concurrency,
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms,
        e2el_ms=e2el_ms,
        tok_s_user=1e3 / tpot_ms if tpot_ms else None,
        output_throughput=concurrency * osl / (e2el_ms * 1e-3),
        bound=_bound(total),
        bound_prefill=_bound(prefill),
        bound_decode=_bound(breakdown["decode"]) if tpot_ms else None,
        breakdown_ms=breakdown,
        assumed_values=len(assumed_values(scenario)),
    )


def _scenario(
    chip: str, tp: int, model: str, isl: int, osl: int, concurrency: int, cached: int,
    dtype: str | None, ep: int, pp: int, stack: str | None,
) -> Scenario:  # fmt: skip
    problems = [
        Problem("estimate", name, value, f"must be at least {least}")
        for name, value, least in (
            ("isl", isl, 1), ("osl", osl, 1), ("concurrency", concurrency, 1),
            ("cached", cached, 0),
        )
        if value < least
    ]  # fmt: skip
    if cached > isl:
        problems.append(Problem("estimate", "cached", cached, f"is more than isl {isl}"))
    if problems:
        raise ProfileError(problems)
    shape = load_model(model)
    if isl + osl > shape.context_window:
        why = f"isl + osl is more than the context window of {shape.name}, {shape.context_window}"
        raise ProfileError.one("estimate", "isl", isl + osl, why)
    pool = {
        "chip": load_chip(chip), "tp": tp, "ep": ep, "pp": pp, "stack": stack,
        "batching": {"max_seqs": concurrency, "max_iteration_tokens": max(8192, concurrency)},
    }  # fmt: skip
    return validate(
        Scenario,
        {
            "name": "estimate",
            "model": shape,
            "dtype": dtype,
            "deployment": {"name": "estimate", "pools": {"serve": pool}},
            "workload": {"name": "equal", "agent": {"shared": 0, "first": isl, "output": osl}},
            "arrivals": {"process": "closed", "agents": concurrency},
            "network": {"round_trip": 0, "gateway": 0},
        },
        "estimate",
    )


def _pool(scenario: Scenario):  # type: ignore[no-untyped-def]
    return scenario.deployment.pools["serve"]


def _waves(isl: int, osl: int, concurrency: int, cached: int) -> Iterator[Trajectory]:
    """Equal requests with a common prefix of `cached` tokens, the next when one ends."""
    for index in range(concurrency * (WAVES + 2)):
        spans = ((0, cached), (1 + index, isl - cached))
        start_s = 0.0 if index < concurrency else None
        yield chain(index, "equal", [Step(spans, osl)], start_s)


def _all_completed(requests: pd.DataFrame, scenario: Scenario, isl: int, osl: int) -> None:
    failed = requests[requests["status"] != "completed"]
    if len(failed):
        pool = _pool(scenario)
        name = f"{pool.chips_per_replica} x {pool.chip.name}"
        why = f"a request of {isl} + {osl} tokens does not fit the KV cache"
        raise CapacityError.one(name, "", None, why, "use more chips or a smaller dtype")


def _prefill_ms(machine: Machine, new: int, past: int, budget: int) -> dict[str, float]:
    """The parts of computing a lone prompt, in chunks of the iteration budget [ms]."""
    total = np.zeros(len(PARTS))
    window = float(machine.window)
    while new > 0:
        chunk = min(new, budget)
        new -= chunk
        part = batch(
            prompt_tokens=chunk,
            prompts=1,
            logit_seqs=0 if new else 1,
            prefill_pairs=causal_pairs(float(chunk), float(past)),
            prefill_kv=past + chunk,
        )
        if window:
            part += batch(
                prefill_window_pairs=window_pairs(float(chunk), float(past), window),
                prefill_window_kv=min(past, window) + chunk,
            )
        total += iteration_s(machine.table, part)
        past += chunk
    return _ms(total, machine)


def _decode_ms(machine: Machine, context: float, seqs: float) -> dict[str, float]:
    """The parts of one token of `seqs` sequences that decode with a mean context [ms]."""
    windowed = min(context, float(machine.window)) if machine.window else 0.0
    decodes = batch(
        decode_seqs=seqs,
        logit_seqs=seqs,
        decode_kv=seqs * context,
        decode_window_kv=seqs * windowed,
    )
    parts = iteration_s(machine.table, decodes)
    return _ms(np.array(parts) * 1e6 / machine.accepted_ppm, machine)


def _ms(parts: Any, machine: Machine) -> dict[str, float]:
    seconds = split_bounds(dict(zip(PARTS, parts.tolist(), strict=True)), machine)
    return {name: value * 1e3 for name, value in seconds.items()}


def _rest(total: float, parts: dict[str, float]) -> float:
    """What the parts leave; whole nanoseconds apart, so a rounding is nothing."""
    rest = total - sum(parts.values())
    return rest if abs(rest) > 1e-3 * total else 0.0


def _bound(parts: dict[str, float]) -> str:
    physical = {key: value for key, value in parts.items() if key != "waiting"}
    return max(physical, key=lambda key: physical[key])
