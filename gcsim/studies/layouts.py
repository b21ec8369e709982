"""What a planner may build, and what can be said of it without a run: layouts, demand, floors.

A layout is one replica: tp x ep x pp chips of a kind with a serving stack, its batching limits and
perhaps speculation. What it takes for one task of the workload follows from the roofline: with n
steps, of each of which `new` prompt tokens are computed and `osl` are generated,

    prefill_s = sum over steps of t(prompt chunk)         shared by `PACKED` prompts an iteration
    decode_s  = sum over steps of osl t(b) / (b a)        b sequences at once, a tokens a step

and a pool of R replicas serves at most R / (prefill_s + decode_s) tasks per second. Agents in a
closed loop ask for N / T of them, with the time of a task T no longer than its bounds allow.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, inf
from typing import Any

import numpy as np

from gcsim.errors import CapacityError, GcsimError, Problem, ProfileError
from gcsim.machine.machine import Machine, bind
from gcsim.machine.roofline import batch, causal_pairs, iteration_s, window_pairs, windowed
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Pool
from gcsim.profiles.inherit import read
from gcsim.profiles.library import Library
from gcsim.profiles.load import validate
from gcsim.profiles.resolve import load_chip, load_stack
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.site import Site
from gcsim.results.cost import served_usd_per_hour
from gcsim.studies.slo import Bound
from gcsim.traffic import ids
from gcsim.traffic.generate import trajectories, within
from gcsim.traffic.trajectory import Trajectory

SAMPLED = 64  # trajectories that demand is taken from
PACKED = 8  # prompts that share what an iteration costs besides its tokens
CHIPS_MOST = 64  # of one replica
TAILS = ("p95", "p99")  # what a bound of these holds for, one prompt in twenty must keep alone
SAMPLE_ERR = 0.9  # of the 95th percentile of a sample, to lie below that of any run
PAST = re.compile(r"(.+)-20\d\d(-q\d)?")  # a stack of a year that is over: `vllm-2024`
# Of a pool; what a mixed one does besides is its stack's habit (`habits`).
ROLES: dict[str, dict[str, Any]] = {
    "mixed": {"policy": "continuous", "max_seqs": 256, "max_iteration_tokens": 8192},
    "prefill": {"policy": "prefill_only", "max_seqs": 64, "max_iteration_tokens": 16384},
    "decode": {"policy": "decode_only", "max_seqs": 256, "max_iteration_tokens": 8192},
}


@dataclass(frozen=True, slots=True)
class Demand:
    """A task of the workload in the mean, over a sample of it.

    steps: calls; idle_s: tools and people; new, past: prompt tokens computed and read at a step;
    osl; longest: tokens of the longest sequence; p_new: prompt tokens computed, 95th percentile.
    """

    steps: float
    idle_s: float
    new: float
    past: float
    osl: float
    longest: int
    p_new: float


@dataclass(frozen=True, slots=True)
class Layout:
    """One replica: its pool as YAML has it (without `replicas`), and its machine.

    usual: the batching of such a pool where nothing else is chosen.
    """

    chip: str
    pool: dict[str, Any]
    machine: Machine
    chips: int
    usd_per_hour: float
    power_w: float
    chips_per_node: int
    card_bytes_per_s: float
    usual: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Such as `h200-sxm tp 4 x ep 2 (sglang)`: what is not as usual in brackets."""
        parts = [f"{key} {self.pool[key]}" for key in ("tp", "ep", "pp") if self.pool[key] > 1]
        choices = [self.pool["stack"]] if self.pool.get("stack") else []
        if drafts := self.pool.get("speculation"):
            choices.append(f"{drafts['draft_tokens']} drafts")
        for key, unit in (("max_seqs", "seqs"), ("max_iteration_tokens", "tokens")):
            if self.pool["batching"][key] != self.usual[key]:
                choices.append(f"{self.pool['batching'][key]} {unit}")
        shape = f"{self.chip} {' x '.join(parts) or 'tp 1'}"
        return f"{shape} ({', '.join(choices)})" if choices else shape


@dataclass(frozen=True, slots=True)
class Floor:
    """What a layout takes at the least. seqs: sequences that may decode at once.

    why: what makes it impossible, or nothing.
    """

    prefill_s: float
    decode_s: float
    seqs: int
    task_s: float
    why: str = ""

    @property
    def busy_s(self) -> float:
        """Of one replica that does both phases, for one task."""
        return self.prefill_s + self.decode_s


def demand_of(scenario: Scenario, sampled: int = SAMPLED) -> Demand:
    """What a task asks for.

    >>> from gcsim.profiles.resolve import resolve
    >>> found = demand_of(resolve("coding-agents").scenario)
    >>> 30 < found.steps < 50, 1000 < found.new < 4000, 20_000 < found.past < 120_000
    (True, True, True)
    """
    workload = within(scenario.workload, scenario.model.context_window)
    seed = np.random.SeedSequence(scenario.run.seed)
    made = list(islice(trajectories(workload, scenario.arrivals, seed), sampled))
    rows = [row for one in made for row in _steps(one, scenario.model.context_window)]
    new, past, osl, delays = np.array(rows, dtype=float).T
    return Demand(
        steps=len(rows) / len(made),
        idle_s=float(delays.sum()) / len(made),
        new=float(new.mean()),
        past=float(past.mean()),
        osl=float(osl.mean()),
        longest=int((new + past + osl).max()),
        p_new=float(np.percentile(new, 95)),
    )


def _steps(one: Trajectory, most: int) -> Iterator[tuple[int, int, int, float]]:
    """Of each step: prompt tokens that no cache can hold, those that one can, osl, delay [s]."""
    seen: set[int] = set()
    contexts: list[int] = []

    def shared(content: int) -> bool:
        return ids.SHARED <= content < ids.HASHED

    for step in one.steps:
        kept = contexts[step.parent] if step.parent >= 0 else 0
        if step.keep is not None:
            kept = min(kept, step.keep)
        # What all tasks share is in the cache before this one begins.
        fresh = sum(n for content, n in step.append if content not in seen and not shared(content))
        known = sum(n for _, n in step.append) - fresh
        seen.update(content for content, _ in step.append)
        isl = min(kept + known + fresh, most - 1)
        contexts.append(kept + known + fresh + step.osl)
        yield max(min(fresh, isl), 1), isl - max(min(fresh, isl), 1), step.osl, step.delay_s


def chips_of(names: Sequence[str], library: Library | None = None) -> list[Chip]:
    """Chips by name or file. Errors: `ProfileError` with every name that is none."""
    problems: list[Problem] = []
    found: list[Chip] = []
    for name in names:
        try:
            found.append(load_chip(name, library))
        except ProfileError as error:
            problems += error.problems
    if problems:
        raise ProfileError(problems)
    return found


@dataclass(frozen=True, slots=True)
class Choice:
    """What a replica is served with: a stack (None: the chip's default), speculation or none."""

    stack: str | None = None
    speculation: Mapping[str, Any] | None = None


USUAL = Choice()


def choices(chip: Chip, role: str, drafts: Sequence[Mapping[str, Any]]) -> list[Choice]:
    """What a chip may be served with: its stacks but those of past years, with and without drafts.

    drafts: settings of speculation; a pool that prefills has no use for them.

    >>> from gcsim.profiles.resolve import load_chip
    >>> [choice.stack for choice in choices(load_chip("h200-sxm"), "mixed", [])]
    [None, 'trtllm', 'sglang']
    """
    past = {name for name in chip.stacks if (old := PAST.fullmatch(name)) and old[1] in chip.stacks}
    stacks = [name for name in chip.stacks if name not in past | {chip.default_stack}]
    options: list[Mapping[str, Any] | None] = [None, *(drafts if role != "prefill" else ())]
    return [Choice(stack, option) for stack in (None, *stacks) for option in options]


def layouts(
    scenario: Scenario,
    chip: Chip,
    role: str,
    site: Site,
    choice: Choice = USUAL,
    *,
    library: Library | None = None,
) -> tuple[list[Layout], list[str]]:
    """All layouts of a chip that hold the model, the smallest first; and why others do not.

    tp: powers of two in the chip's scale-up domain; ep, for a mixture of experts: powers of two
    that keep a replica within it and within `CHIPS_MOST`; pp: 1, and more where nothing else fits.
    """
    domain = min(chip.interconnect.scale_up.max_chips, CHIPS_MOST)
    widths = [1 << k for k in range(domain.bit_length())]
    moe = bool(scenario.model.ffn and scenario.model.ffn.experts) or bool(scenario.model.runs)
    shapes = [(tp, ep) for tp in widths for ep in widths if tp * ep <= domain and (moe or ep == 1)]
    usual = {**ROLES[role], **(habits(chip, choice.stack, library) if role == "mixed" else {})}
    pool: dict[str, Any] = {"role": role, "batching": usual}
    if choice.stack is not None:
        pool["stack"] = choice.stack
    if choice.speculation is not None:
        pool["speculation"] = dict(choice.speculation)
    found: list[Layout] = []
    whys: list[str] = []
    for tp, ep in sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape[1])):
        made = layout_of(scenario, chip, {**pool, "tp": tp, "ep": ep, "pp": 1}, site)
        if isinstance(made, Layout):
            found.append(made)
        else:
            whys.append(made)
    if not found:
        for pp in (2, 4, 8):
            made = layout_of(scenario, chip, {**pool, "tp": domain, "ep": 1, "pp": pp}, site)
            if isinstance(made, Layout):
                return [made], whys
    return found, whys


def habits(chip: Chip, stack: str | None, library: Library | None = None) -> dict[str, Any]:
    """How a chip forms batches: as its shipped deployments have it, else as its stack does.

    >>> from gcsim.profiles.resolve import load_chip
    >>> habits(load_chip("sn40l"), None)["policy"], habits(load_chip("b300"), "trtllm")["policy"]
    ('prefill_first', 'continuous')
    """
    known = library or Library()
    found: dict[str, Any] = {}
    try:
        habit = load_stack(stack or chip.default_stack, library).batching
        tokens = max(habit.max_iteration_tokens, ROLES["mixed"]["max_seqs"])
        found = {"policy": habit.policy, "max_iteration_tokens": tokens}
    except ProfileError:  # a stack of this chip alone
        pass
    if stack is None:
        for name in sorted(known.profiles("deployment")):
            for pool in read("deployment", name, library)[0].get("pools", {}).values():
                if pool.get("chip") == chip.name and pool.get("role") == "mixed":
                    return found | {"policy": pool.get("batching", {}).get("policy", "continuous")}
    return found


def layout_of(scenario: Scenario, chip: Chip, pool: dict[str, Any], site: Site) -> Layout | str:
    """The layout of a pool on a chip, or why there is none."""
    pool = {**pool, "chip": chip.name}
    try:
        spec = validate(Pool, {**pool, "chip": chip}, "plan")
        machine = bind(scenario.model, spec, scenario.dtype)
        usd_per_hour = served_usd_per_hour(chip, site)
    except CapacityError as error:
        return error.problems[0].why
    except GcsimError as error:
        return str(error)
    chips, packaging = spec.chips_per_replica, chip.packaging
    return Layout(
        chip=chip.name,
        pool=pool,
        machine=machine,
        chips=chips,
        usd_per_hour=chips * usd_per_hour,
        power_w=chips * chip.node_power_w,
        chips_per_node=packaging.chips_per_node,
        card_bytes_per_s=chip.interconnect.scale_out.bandwidth.value,
        usual=pool["batching"],
    )


def floor(layout: Layout, demand: Demand, bounds: Sequence[Bound]) -> Floor:
    """What a layout takes at the least for one task, with as many at once as the bounds allow.

    A bound on a mean, or on what most requests keep, is not kept where a lone request breaks it:
    the mean one, or the one in twenty with the most to compute.
    """
    machine, role = layout.machine, layout.pool["role"]
    room = machine.kv_blocks * layout.pool.get("block_tokens", 16)
    if room < demand.longest:
        why = f"room for {room:,} tokens of KV, the longest sequence has {demand.longest:,}"
        return Floor(inf, inf, 0, inf, why)
    limits = {bound.time: bound.limit_s for bound in bounds}
    alone, context = decode_s(machine, 1, demand, 1), demand.past + demand.new + demand.osl / 2
    ttft_s = prompt_s(machine, demand.new, demand.past, 1, 1)
    task_s = demand.idle_s + demand.steps * (ttft_s + demand.osl * alone)
    why = ""
    if any(bound.time == "ttft" and bound.statistic in TAILS for bound in bounds):
        ttft_s = prompt_s(machine, SAMPLE_ERR * demand.p_new, demand.past, 1, 1)
    if role != "decode" and ttft_s > limits.get("ttft", inf):
        why = f"TTFT: a prompt alone takes {ttft_s:.3g} s"
    if role != "prefill" and alone > limits.get("tpot", inf):
        why = f"TPOT: a sequence alone takes {alone * 1e3:.3g} ms a token"
    if role == "mixed" and task_s > limits.get("task", inf):
        why = f"task time: an agent alone takes {task_s:.4g} s"
    if why:
        return Floor(inf, inf, 0, task_s, why)
    most = max(min(int(room // context), layout.pool["batching"]["max_seqs"]), 1)
    groups = machine.groups
    while most > 1 and decode_s(machine, most, demand, groups) > limits.get("tpot", inf):
        most = most * 3 // 4
    prefill = demand.steps * prompt_s(machine, demand.new, demand.past, PACKED, groups) / groups
    token_s = min(decode_s(machine, n, demand, groups) / (n * groups) for n in (1, most))
    return Floor(prefill, demand.steps * demand.osl * token_s, most * groups, task_s)


def prompt_s(machine: Machine, new: float, past: float, packed: int, groups: int) -> float:
    """Time of a prompt's share of an iteration with `packed` of them in each of so many groups [s].

    The share is of its group's iteration, which the other groups play at the same time.
    """
    part = batch(
        prompt_tokens=packed * new,
        prompts=packed,
        logit_seqs=packed,
        prefill_pairs=packed * causal_pairs(new, past),
        prefill_kv=packed * (past + new),
        other_tokens=(groups - 1) * packed * new,
    )
    if machine.window:
        seen = float(machine.window)
        part += batch(
            prefill_window_pairs=packed * window_pairs(new, past, seen),
            prefill_window_kv=packed * (windowed(past, seen) + new),
        )
    return float(iteration_s(machine.table, part)[0]) / packed


def decode_s(machine: Machine, seqs: int, demand: Demand, groups: int) -> float:
    """Time between tokens of `seqs` sequences of the mean context in each of so many groups [s]."""
    context = demand.past + demand.new + demand.osl / 2
    part = batch(
        decode_seqs=seqs,
        logit_seqs=seqs,
        decode_kv=seqs * context,
        decode_window_kv=seqs * machine.seen(context),
        other_tokens=(groups - 1) * seqs * machine.tokens_per_seq,
        other_decoded=(groups - 1) * seqs * machine.tokens_per_seq,
    )
    return float(iteration_s(machine.table, part)[0]) * 1e6 / machine.accepted_ppm


def tasks_per_s(agents: float, demand: Demand, bounds: Sequence[Bound], fastest_s: float) -> float:
    """Tasks that N agents ask for per second, at the least: N / T, the slowest that is allowed.

    With bounds on TTFT and TPOT, T = idle + steps (TTFT + osl TPOT); with one on the task, that. A
    deployment that is no slower than `fastest_s` sets the least T where nothing bounds it.
    """
    limits = {bound.time: bound.limit_s for bound in bounds}
    slowest = limits.get("task", inf)
    if "e2e" in limits:
        slowest = min(slowest, demand.idle_s + demand.steps * limits["e2e"])
    if "ttft" in limits and "tpot" in limits:
        step_s = limits["ttft"] + demand.osl * limits["tpot"]
        slowest = min(slowest, demand.idle_s + demand.steps * step_s)
    if slowest == inf:
        slowest = 10 * fastest_s
    return agents / max(slowest, fastest_s)


def replicas_least(rate: float, busy_s: float) -> int:
    """Replicas that are busy all the time at this rate, at the least 1."""
    return max(ceil(rate * busy_s - 1e-9), 1)
