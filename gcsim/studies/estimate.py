"""One operating point: alike requests, so many at a time, played by the engine."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from gcsim.engine.play import forgotten
from gcsim.errors import CapacityError, Problem, ProfileError
from gcsim.machine.machine import Machine
from gcsim.machine.roofline import PARTS, batch, causal_pairs, iteration_s, window_pairs, windowed
from gcsim.profiles.assumed import assumed_values
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Pool
from gcsim.profiles.library import opened
from gcsim.profiles.load import validate
from gcsim.profiles.model import Model
from gcsim.profiles.resolve import load_chip, load_model
from gcsim.profiles.scenario import Scenario
from gcsim.results.tables import request_table, split_bounds
from gcsim.simulate import bind_pools, play_scenario
from gcsim.traffic.trajectory import Step, Trajectory, chain
from gcsim.version import __version__

WAVES, LEAST = 4, 64  # counted waves of requests, and requests; two waves before, one after
SPREAD = 0.2  # outputs of a steady load vary by so much either way: no user keeps pace with another


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
    chip: str | Chip,
    tp: int,
    model: str | Model,
    isl: int,
    osl: int,
    *,
    concurrency: int = 1,
    cached: int = 0,
    dtype: str | None = None,
    **pool: Any,
) -> Estimate:
    """TTFT, TPOT and E2E of `concurrency` alike requests at any time on one replica, no network.

    chip, model: by name, alias or path, or loaded; cached: prompt tokens in the prefix cache
    pool: what else a pool of a deployment may say: ep, pp, stack, kv_dtype, batching, ...
    The load is steady: users are out of step, for outputs vary by `SPREAD`. (In step they are a
    static batch: `arrivals: {process: static}` of a scenario.) output_throughput = concurrency osl
    / E2E (Little's law). Errors: `ProfileError`, `CapacityError`.

    >>> import gcsim
    >>> point = gcsim.estimate("sn40l", 16, "gpt-oss-120b", isl=10_000, osl=700)
    >>> 600 < point.tok_s_user < 800
    True
    """
    load = _Load(isl, osl, concurrency, cached)
    scenario = _scenario({"chip": chip, "tp": tp, **pool}, model, dtype, load)
    cluster = play_scenario(scenario, _steady(load, _room(scenario, load)))
    requests = request_table(cluster)
    _all_completed(requests, scenario, load)
    counted = requests.iloc[2 * concurrency : -concurrency]
    ttft_ms, e2el_ms = (float(counted[key].mean() * 1e3) for key in ("ttft_s", "e2e_s"))
    tpot_ms = float(counted["tpot_s"].mean() * 1e3) if osl > 1 else None
    machine = cluster.replicas[0].cost
    held = int(counted["cached_tokens"].iloc[0])
    prefill = _prefill_ms(machine, isl - held, held, _pool(scenario).batching.max_iteration_tokens)
    tokenize_s = isl * machine.tokenize_s_per_token
    prefill["request"] = (machine.request_overhead_s + tokenize_s) * 1e3
    prefill["waiting"] = _rest(ttft_ms, prefill)
    breakdown, total = {"prefill": prefill}, prefill
    if tpot_ms is not None:
        decoding = max(1.0, concurrency * (1 - ttft_ms / e2el_ms))  # by Little's law
        decode = _decode_ms(machine, isl + osl / 2, decoding)
        decode["waiting"] = _rest(tpot_ms, decode)
        breakdown["decode"] = decode
        total = {key: prefill[key] + (osl - 1) * decode.get(key, 0.0) for key in prefill}
    played = _pool(scenario)
    return Estimate(
        chip=played.chip.name,
        stack=played.stack or played.chip.default_stack,
        tp=played.tp,
        ep=played.ep,
        pp=played.pp,
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


@dataclass(frozen=True, slots=True)
class _Load:
    """Equal requests: their lengths, how many at a time, what of each prompt is cached."""

    isl: int
    osl: int
    concurrency: int
    cached: int


def _scenario(pool: dict[str, Any], model: str | Model, dtype: str | None, load: _Load) -> Scenario:
    least = {"isl": 1, "osl": 1, "concurrency": 1, "cached": 0}
    problems = [
        Problem("estimate", name, getattr(load, name), f"must be at least {floor}")
        for name, floor in least.items()
        if getattr(load, name) < floor
    ]
    if load.cached > load.isl:
        problems.append(Problem("estimate", "cached", load.cached, f"is more than isl {load.isl}"))
    if problems:
        raise ProfileError(problems)
    shape = load_model(model, opened()) if isinstance(model, str) else model
    tokens = load.isl + load.osl
    if tokens > shape.context_window:
        why = f"isl + osl is more than the context window of {shape.name}, {shape.context_window}"
        raise ProfileError.one("estimate", "isl", tokens, why)
    seqs = load.concurrency
    batching = {"max_seqs": seqs, "max_iteration_tokens": max(8192, seqs)}
    chip = load_chip(pool["chip"], opened()) if isinstance(pool["chip"], str) else pool["chip"]
    pool = {"batching": batching, **pool, "chip": chip}
    equal = {"shared": 0, "first": load.isl, "output": load.osl}
    return validate(
        Scenario,
        {
            "name": "estimate",
            "model": shape,
            "dtype": dtype,
            "deployment": {"name": "estimate", "pools": {"serve": pool}},
            "workload": {"name": "equal", "agent": equal},
            "arrivals": {"process": "closed", "agents": seqs},
            "network": {"round_trip": 0, "gateway": 0},
        },
        "estimate",
    )


def _pool(scenario: Scenario) -> Pool:
    return scenario.deployment.pools["serve"]


def _room(scenario: Scenario, load: _Load) -> float:
    """How much longer than osl an output may be: 0.2 where context window and KV have room."""
    machine, pool = bind_pools(scenario)["serve"], _pool(scenario)
    kv = (machine.kv_blocks - machine.blocks_per_seq) * pool.block_tokens
    longest = min(machine.context_window, kv) - load.isl - 1
    return min(SPREAD, max(longest / load.osl - 1, 0.0)) if load.concurrency > 1 else 0.0


def _steady(load: _Load, spread: float) -> Iterator[Trajectory]:
    """Requests with a common prefix of `cached` tokens, the next when one ends, out of step.

    Users are met in the middle of their work: of the first output of user k of n, k / n are left.
    The others are evenly spread over osl (1 -+ spread), in random order.
    """
    users, rng = load.concurrency, np.random.default_rng(0)
    later = users + max(WAVES * users, LEAST if users > 1 else WAVES) + users
    sizes = 1 + spread * (2 * (np.arange(later) + 0.5) / later - 1)
    shares = [*(np.arange(1, users + 1) / users), *rng.permutation(sizes)]
    for index, share in enumerate(shares):
        spans = ((0, load.cached), (1 + index, load.isl - load.cached))
        osl = max(round(load.osl * float(share)), 1)
        start_s = 0.0 if index < users else None
        yield chain(index, "alike", [Step(spans, osl)], start_s)


def _all_completed(requests: pd.DataFrame, scenario: Scenario, load: _Load) -> None:
    if (requests["status"] != "completed").any():
        pool = _pool(scenario)
        name = f"{pool.chips_per_replica} x {pool.chip.name}"
        why = f"a request of {load.isl} + {load.osl} tokens does not fit the KV cache"
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
                prefill_window_kv=windowed(float(past), window) + chunk,
            )
        total += iteration_s(machine.table, part)
        past += chunk
    return _ms(total, machine)


def _decode_ms(machine: Machine, context: float, seqs: float) -> dict[str, float]:
    """The parts of one token of `seqs` sequences that decode with a mean context [ms].

    They are spread evenly over the groups of a replica.
    """
    every, seqs = seqs, max(1.0, seqs / machine.groups)
    others = max(every - seqs, 0.0) * machine.tokens_per_seq
    decodes = batch(
        decode_seqs=seqs,
        logit_seqs=seqs,
        decode_kv=seqs * context,
        decode_window_kv=seqs * machine.seen(context),
        other_tokens=others,
        other_decoded=others,
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
