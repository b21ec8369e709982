"""Published open loops and prefix caches through the engine, run by run, and the errors.

Every run (`gcsim.calibration.arms.Arm`) is played as its source ran it: the same stages one after
another on the same caches, each until its last request has ended, before the next one begins.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcsim.calibration.arms import Arm, Server, Stage, read_arms
from gcsim.calibration.factors import serving_stack
from gcsim.calibration.match import find_model, formats_of, kv_format, stack_of
from gcsim.engine.cluster import Cluster, Terms
from gcsim.engine.compiled.why import GaveUpError, unplayable
from gcsim.engine.play import forgotten, play, play_compiled
from gcsim.engine.window import Window
from gcsim.errors import GcsimError
from gcsim.machine.machine import Machine, bind
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Batching, Deployment, KvOffload, Pool, Router
from gcsim.profiles.model import Model
from gcsim.profiles.resolve import load_chip, whole
from gcsim.traffic.trajectory import Step, Trajectory, chain

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 8192  # tokens of the chunk whose prefill rate sources state
APART_S = 36_000.0  # simulated time between the starts of stages: each ends within it
SEATS = 1024  # vLLM's and SGLang's limit of sequences on GPUs of this class
SEED = 7
GAP_S = 18.0  # llm-d's maxTTFTPenaltyMs, at the prefill rate that its servers are given
PASSES_S = 1.0  # mean TTFT at which a run is called saturated
METRICS = ("ttft", "ttft_p90", "tpot", "e2e", "throughput", "served")
Played = dict[str, float]


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of one stage: published and modeled, times in s, rates per s.

    measured: whether the server was given its source's own prefill rate.
    """

    id: str
    arm: str
    policy: str
    rate: float
    metric: str
    published: float
    modeled: float
    measured: bool

    @property
    def error(self) -> float:
        """|modeled / published - 1|."""
        return abs(self.modeled / self.published - 1.0)


def compare_open_loops(
    path: str | Path, jobs: int = 1, measured: bool = True
) -> tuple[list[Arm], list[Compared], dict[str, str]]:
    """All runs of a points file: the runs, every figure compared, and id -> why not played.

    measured: play a run also with the prefill rate that its source measured.
    Errors: `ProfileError` when the file cannot be read.
    """
    from joblib import Parallel, delayed

    arms, skipped = read_arms(path)
    tasks = [(arm, False) for arm in arms]
    tasks += [(arm, True) for arm in arms if measured and arm.server.prefill]
    found: list[Compared] = []
    outcomes = Parallel(n_jobs=jobs)(delayed(compare_arm)(arm, own) for arm, own in tasks)
    for (arm, _), outcome in zip(tasks, outcomes, strict=True):
        if isinstance(outcome, str):
            skipped |= {stage.id: outcome for stage in arm.stages if stage.id}
        else:
            found += outcome
    return arms, found, skipped


def compare_arm(arm: Arm, measured: bool = False) -> list[Compared] | str:
    """A run through the engine, or why not; measured: with its source's prefill rate."""
    setup = setup_of(arm.server)
    if isinstance(setup, str):
        return setup
    model, pool = setup
    if measured and arm.server.prefill:
        pool = at_prefill_rate(model, pool, arm.server.prefill)
    try:
        played = play_arm(arm, model, pool)
    except GcsimError as error:
        return str(error)
    return [
        Compared(
            stage.id,
            arm.name,
            arm.server.policy,
            stage.rate,
            metric,
            value,
            found[metric],
            measured,
        )
        for stage, found in zip(arm.stages, played, strict=True)
        for metric, value in stage.published.items()
        if stage.id and not math.isnan(found[metric])
    ]


def setup_of(server: Server) -> tuple[Model, Pool] | str:
    """The model with its formats and the pool of a server, or why it cannot be matched."""
    chip, model = _chip(server.hardware), find_model(server.model)
    if chip is None:
        return "unknown chip"
    if model is None:
        return "unknown model"
    stack = stack_of(server.framework, server.date, tuple(chip.stacks))
    model = model.model_copy(update={"weights": formats_of(model, server.dtype, chip)})
    model = model.model_copy(update={"context_window": 1 << 40})
    habits = serving_stack(stack).batching
    pool = Pool(
        chip=chip,
        tp=server.tp,
        replicas=server.replicas,
        stack=stack if stack in chip.stacks else chip.default_stack,
        batching=Batching(
            policy=habits.policy,
            max_seqs=SEATS,
            max_iteration_tokens=max(habits.max_iteration_tokens, SEATS),
        ),
        kv_dtype=kv_format(model, chip, stack, server.model),
        kv_tokens=server.kv_tokens,
        memory_utilization=server.utilization,
    )
    return model, with_tier(pool, server.tier_bytes) if server.tier else pool


def _chip(name: str) -> Chip | None:
    try:
        return load_chip(name)
    except GcsimError:
        return None


def with_tier(pool: Pool, size: float) -> Pool:
    """A pool whose replicas send evicted KV to host memory of `size` bytes each."""
    shipped = whole("deployment", "h100-offload").mapping["pools"]["serve"]["kv_offload"]
    memory = tuple(
        tier.model_copy(
            update={"capacity": tier.capacity.model_copy(update={"value": size / pool.tp})}
        )
        if "kv_spill" in tier.holds
        else tier
        for tier in pool.chip.memory
    )
    chip = pool.chip.model_copy(update={"memory": memory})
    return pool.model_copy(update={"chip": chip, "kv_offload": KvOffload.model_validate(shipped)})


def at_prefill_rate(model: Model, pool: Pool, rate: float) -> Pool:
    """The pool with arithmetic so efficient that one chunk of `CHUNK` tokens runs at `rate`.

    All efficiencies of matrix products change by one factor, to 1 at most. Ref: bisection.
    """
    low, high = 0.05, 20.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _prefill_rate(model, pool, middle) < rate else (low, middle)
    return pool.model_copy(update={"chip": _quicker(pool.chip, high)})


def _prefill_rate(model: Model, pool: Pool, factor: float) -> float:
    machine = bind(model, pool.model_copy(update={"chip": _quicker(pool.chip, factor)}))
    return CHUNK / (machine.prompt_ns(CHUNK) * 1e-9)


def _quicker(chip: Chip, factor: float) -> Chip:
    efficiency = chip.efficiency
    names = [
        n for n in type(efficiency).model_fields if n == "expert_gemm" or n.startswith("gemm_")
    ]
    values = {name: getattr(efficiency, name) for name in names}
    changed = {
        name: quantity.model_copy(update={"value": min(quantity.value * factor, 1.0)})
        for name, quantity in values.items()
        if quantity is not None
    }
    return chip.model_copy(update={"efficiency": efficiency.model_copy(update=changed)})


@forgotten()
def play_arm(arm: Arm, model: Model, pool: Pool) -> list[Played]:
    """Every stage of a run as the engine plays it: metric -> value, nan where there is none."""
    deployment = Deployment(name="published", pools={"serve": pool}, router=_router(arm.server))
    traffic, stages = trajectories(arm)
    costs = {"serve": bind(model, pool)}
    rows = _played(deployment, costs, traffic, model.name).records.requests
    if (rows["status"] != 0).any():
        raise GcsimError("a request does not fit the KV cache")
    stage = np.array(stages)[rows["trajectory"]]
    if arm.whole:
        stage = np.minimum(stage, 1)
    return [_figures(arm, rows[stage == k]) for k in range(len(arm.stages))]


def _router(server: Server) -> Router:
    gap = {} if server.prefill is None else {"affinity_gap": round(GAP_S * server.prefill)}
    return Router(policy=server.policy, **gap)


def _played(
    deployment: Deployment, costs: dict[str, Machine], traffic: Sequence[Trajectory], model: str
) -> Cluster:
    terms = Terms(model, round_trip_s=0.0, gateway_s=0.0, window=Window(), coalesce=True)
    if unplayable(deployment, costs) is None:
        try:
            return play_compiled(deployment, costs, traffic, terms)
        except GaveUpError:
            pass
    return play(deployment, costs, traffic, terms)


def trajectories(arm: Arm) -> tuple[list[Trajectory], list[int]]:
    """The requests of a run in order, and the stage of each.

    Prompts are every question to every prefix in one random order that repeats, as
    inference-perf's shared_prefix sends them: round again, a question is known too. A stage sends
    rate x seconds requests, at intervals that are exponential, or even.
    Ref: kubernetes-sigs/inference-perf, inference_perf/datagen/shared_prefix_datagen.py
    """
    rng = np.random.default_rng([SEED, arm.prefixes, arm.each, arm.prefix])
    if arm.turns:
        return [_conversation(arm, k) for k in range(arm.prefixes)], [0] * arm.prefixes
    prompts = max(arm.prefixes * arm.each, 1)
    order = rng.permutation(prompts)
    if arm.clients:
        starts = [0.0 if k < arm.clients else None for k in range(prompts)]
        return [_request(arm, k, int(order[k]), starts[k]) for k in range(prompts)], [0] * prompts
    found: list[Trajectory] = []
    stages: list[int] = []
    for index, stage in enumerate(arm.stages):
        for start_s in _starts(rng, stage, arm.poisson).tolist():
            prompt = int(order[len(found) % prompts])
            found.append(_request(arm, len(found), prompt, index * APART_S + start_s))
            stages.append(index)
    return found, stages


def _starts(rng: np.random.Generator, stage: Stage, poisson: bool) -> "NDArray[np.float64]":
    count = max(round(stage.rate * stage.seconds), 1)
    gaps = rng.exponential(1 / stage.rate, count) if poisson else np.full(count, 1 / stage.rate)
    return np.asarray(np.cumsum(gaps))


def _request(arm: Arm, index: int, prompt: int, start_s: float | None) -> Trajectory:
    own = 1_000_000 + (prompt if arm.prefixes else index)
    spans = ((1 + prompt // arm.each, arm.prefix), (own, arm.question))
    step = Step(spans if arm.prefixes and arm.prefix else spans[1:], arm.osl)
    return Trajectory(index, "published", (step,), start_s)


def _conversation(arm: Arm, index: int) -> Trajectory:
    first = Step(((1 + index, arm.prefix), (1_000_000 + index, arm.question)), arm.osl)
    more = [
        Step(((2_000_000 + index * arm.each + turn, arm.question),), arm.osl)
        for turn in range(1, arm.each)
    ]
    return chain(index, "published", [first, *more], 0.0 if index < arm.clients else None)


def _figures(arm: Arm, rows: "NDArray[Any]") -> Played:
    """What is published of a stage, as modeled; rates from its start to its last request's end."""
    if not rows.size:
        return dict.fromkeys(METRICS, math.nan)
    middle = np.median if arm.median else np.mean
    ttft, e2e = rows["ttft_ns"] * 1e-9, rows["e2e_ns"] * 1e-9
    sent, several = rows["sent_ns"] * 1e-9, rows["osl"] > 1
    tpot = (e2e - ttft)[several] / (rows["osl"][several] - 1)
    # Stages are APART_S apart in simulated time, which is no part of any of them.
    lasted = sum(
        float((sent + e2e)[of].max() - begin * APART_S)
        for begin in np.unique(sent // APART_S)
        for of in [sent // APART_S == begin]
    )
    return {
        "ttft": float(middle(ttft)),
        "ttft_p90": float(np.quantile(ttft, 0.9)),
        "tpot": float(middle(tpot)) if tpot.size else math.nan,
        "e2e": float(middle(e2e)),
        "throughput": float(rows["osl"].sum() / lasted),
        "served": rows.size / lasted,
    }
