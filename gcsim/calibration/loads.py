"""The lightest load that gives a rate on one replica: which prompts, format, layout and users?

`lightest` searches closed forms of the cost model, `played` corrects what it finds by the engine.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from gcsim.errors import CapacityError
from gcsim.machine.machine import Machine, bind
from gcsim.machine.roofline import batch, causal_pairs, iteration_s, window_pairs, windowed
from gcsim.profiles.deployment import Pool
from gcsim.profiles.model import Model, WeightFormat
from gcsim.profiles.scenario import Scenario

PROMPTS = (1_000, 8_000, 32_000)  # tokens
OUTPUT = 1_000
FORMATS: tuple[WeightFormat, ...] = ("fp8", "mxfp4")


@dataclass(frozen=True, slots=True)
class Load:
    """So many users at any time, each with a prompt and `OUTPUT` tokens; rate: of all [tokens/s].

    tp, ep: chips that share a sequence's attention, groups of them; dtype: of the weights; most:
    users that the KV cache holds.
    """

    prompt: int
    dtype: str
    tp: int
    ep: int
    users: int
    most: int
    rate: float

    def settings(self) -> dict[str, Any]:
        """What makes a scenario of it: every user sends two requests."""
        return {
            "dtype": self.dtype,
            "deployment.pools.serve.tp": self.tp,
            "deployment.pools.serve.ep": self.ep,
            "workload.agent.first.value": self.prompt,
            "arrivals.agents": self.users,
            "run.trajectories": 2 * self.users,
        }


Loads = dict[tuple[int, str], Load]


def lightest(scenario: Scenario, wanted: float) -> Loads:
    """By prompt and format: the fewest users that reach a rate, or the highest rate where none do.

    scenario: its pool `serve` says chip, chips and limits. A combination that does not fit is left
    out.
    """
    pool = scenario.deployment.pools["serve"]
    chips = pool.tp * pool.ep
    found: Loads = {}
    widths = (tp for tp in range(chips, 0, -1) if chips % tp == 0)
    layouts = [pool.model_copy(update={"tp": tp, "ep": chips // tp}) for tp in widths]
    for prompt, dtype in product(PROMPTS, FORMATS):
        tried = (_best(scenario.model, laid, prompt, dtype, wanted) for laid in layouts)
        loads = [load for load in tried if load is not None]
        if loads:
            found[prompt, dtype] = min(loads, key=lambda load: _weight(load, wanted))
    return found


def _best(model: Model, pool: Pool, prompt: int, dtype: WeightFormat, wanted: float) -> Load | None:
    """The fewest users that reach the rate, else all that the KV cache holds; None: no room."""
    try:
        machine = bind(model, pool, dtype)
    except CapacityError:
        return None
    room = machine.kv_blocks // -(-(prompt + OUTPUT) // pool.block_tokens)
    most = min(room, pool.batching.max_seqs)  # users of a group
    if not most:
        return None
    rate = _rates(machine, prompt, pool)
    users = (smallest(lambda n: rate(n) >= wanted, 1, most) or most) * pool.ep
    return Load(prompt, dtype, pool.tp, pool.ep, users, most * pool.ep, rate(users // pool.ep))


def played(load: Load, wanted: float, play: Callable[[Load], float]) -> Load:
    """The load with the users and the rate that the engine (`play`) gives it.

    The fewest users that reach the rate, looked for within a quarter of what the closed form says.
    """
    low, high = load.users * 3 // 4 // load.ep, min(load.users * 5 // 4, load.most) // load.ep

    def rate(groups: int) -> float:
        return play(replace(load, users=groups * load.ep))

    users = (smallest(lambda n: rate(n) >= wanted, max(low, 1), high) or high) * load.ep
    return replace(load, users=users, rate=play(replace(load, users=users)))


def smallest(reaches: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest number of low..high that reaches it (if one does, so do all above), or None.

    >>> smallest(lambda n: n * n >= 50, 1, 100), smallest(lambda n: n > 100, 1, 100)
    (8, None)
    """
    if not reaches(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if reaches(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _weight(load: Load, wanted: float) -> tuple[bool, float]:
    reached = load.rate >= wanted
    return not reached, load.users if reached else -load.rate


def _rates(machine: Machine, prompt: int, pool: Pool) -> Callable[[int], float]:
    """Output tokens/s by the number n of equal users of each of g groups: g n o / (n p + o d(n)).

    o output tokens; p: seconds of a prompt, packed with others into full iterations; d: of a
    decode iteration at the mean context. Prompts and decodes that share an iteration are ignored,
    so the engine's rate is a little higher.
    """
    prompt_s = _prompt_s(machine, prompt, pool)
    context = prompt + OUTPUT / 2
    seen = machine.seen(context)

    def rate(users: int) -> float:
        n = float(users)
        decodes = batch(
            decode_seqs=n,
            logit_seqs=n,
            decode_kv=n * context,
            decode_window_kv=n * seen,
            other_tokens=(pool.ep - 1) * n * machine.tokens_per_seq,
            other_decoded=(pool.ep - 1) * n * machine.tokens_per_seq,
        )
        decode_s = iteration_s(machine.table, decodes)[0] * 1e6 / machine.accepted_ppm
        return pool.ep * n * OUTPUT / (n * prompt_s + OUTPUT * decode_s)

    return rate


def _prompt_s(machine: Machine, prompt: int, pool: Pool) -> float:
    """Seconds of a prompt while every group computes such prompts."""
    budget = pool.batching.max_iteration_tokens
    packed, total, window = max(budget // prompt, 1), 0.0, float(machine.window)
    for past in range(0, prompt, budget):
        new = min(budget, prompt - past)
        chunk = batch(
            prompt_tokens=new,
            prompts=1,
            logit_seqs=1,
            prefill_pairs=causal_pairs(float(new), float(past)),
            prefill_kv=past + new,
            other_tokens=(pool.ep - 1) * new,
        )
        if window:
            chunk += batch(
                prefill_window_pairs=window_pairs(float(new), float(past), window),
                prefill_window_kv=windowed(float(past), window) + new,
            )
        total += iteration_s(machine.table, packed * chunk)[0]
    return total / packed
