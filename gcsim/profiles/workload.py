"""A workload: one class of agents, a recorded trace, or a mix of workloads.

Exactly one of the keys `agent`, `trace` and `mix` says which. Every parameter of an agent class
carries its origin, as the numbers of a chip do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from gcsim.errors import ProfileError
from gcsim.profiles.arrivals import Positive, Price, Slo
from gcsim.profiles.base import (
    Count,
    Name,
    Number,
    PlainBytes,
    PlainSeconds,
    Quantity,
    Seconds,
    Share,
    Spec,
    sourced,
)
from gcsim.profiles.bounds import CALLS_MAX, TASK_S_MAX, TOKENS_MAX
from gcsim.profiles.distribution import (
    Constant,
    Delay,
    Origin,
    Several,
    Steps,
    Tokens,
    constant,
    largest,
    middle,
)
from gcsim.profiles.inherit import DEEPEST, based, read, within
from gcsim.profiles.library import Library
from gcsim.profiles.load import Lines, validate

Priority = Annotated[int, Field(ge=-(10**6), le=10**6)]


class Tools(Spec):
    """What follows an answer that calls tools: `calls` at once, of which the longest counts."""

    append: Tokens
    """Tokens that the tools' results add to the prompt."""
    delay: Delay
    """Time of one call."""
    calls: Several = constant(1)
    """Calls at once, of which the longest counts."""


class User(Spec):
    """A person: speaks `every` so many steps, after a gap, and appends a message."""

    append: Tokens
    """Tokens of a message."""
    gap: Delay
    """Time until it is sent."""
    every: Steps = constant(1)
    """A message every so many steps; tools fill those between."""


class FanOut(Spec):
    """Sub-agents: a `share` of tasks forks `branches` of them once, and then waits for all.

    Each starts from the shared prefix and its own brief (as long as a `first`), and ends with a
    `report`; the reports are what the waiting step appends.
    """

    share: Share
    """Fraction of the tasks that fork."""
    branches: Several
    """Sub-agents of a fork."""
    steps: Steps
    """Calls that each makes."""
    report: Tokens
    """Tokens of its last answer."""
    model: str | None = None
    """What serves them, where that is not the scenario's model."""


class Agent(Spec):
    """The parameters of one class of agents; lengths in tokens.

    First prompt = shared + first; next = previous prompt + previous output + append. When the next
    prompt would exceed `compact_above`, the context shrinks to shared + keep x compact_above.
    """

    shared: Annotated[Quantity, sourced("number", most=TOKENS_MAX)]
    """Tokens that all prompts begin with: system prompt and tool catalogue."""
    first: Tokens
    """Tokens that a task adds to them."""
    output: Tokens
    """Tokens of an answer."""
    last_output: Tokens | None = None
    """Tokens of the last answer of a task, where it differs."""
    steps: Steps = constant(1)
    """Calls of a task."""
    samples: Several = constant(1)
    """Answers drawn in parallel from one prompt."""
    tools: Tools | None = None
    """What follows an answer that calls tools."""
    user: User | None = None
    """What follows an answer to a person."""
    fan_out: FanOut | None = None
    """Sub-agents."""
    start_delay: Delay = constant(0, "seconds")
    """Time before the first call."""
    compact_above: Tokens | None = None
    """Prompt tokens beyond which the context is compacted."""
    keep: Number = Quantity(value=0.25, dimension="number")
    """Fraction of compact_above that compaction keeps."""
    cache_ttl: Seconds | None = None
    """What is private in a context is forgotten when the next step comes later than that."""
    model: str | None = None
    """What serves it, where that is not the scenario's model."""

    @model_validator(mode="after")
    def _consistent(self) -> "Agent":
        one_step = isinstance(self.steps, Constant) and self.steps.value == 1
        if not one_step and self.tools is None and self.user is None:
            raise ValueError("several steps need tools or user: what comes between them?")
        if self.user and self.tools is None and self.user.every != constant(1):
            raise ValueError("user.every needs tools: what fills the steps between?")
        if not one_step and self.samples != constant(1):
            raise ValueError("samples needs steps: 1")
        if self.fan_out and self.tools is None:
            raise ValueError("fan_out needs tools: sub-agents work with them")
        self._bounded()
        if not 0 < self.keep.value < 1:
            raise ValueError(f"keep is {self.keep.value:g}, must lie between 0 and 1")
        return self

    def _bounded(self) -> None:
        """A task has an end: in calls, and on a clock of 292 years."""
        steps = largest(self.steps) * largest(self.samples)
        every = steps
        if self.fan_out:
            every += largest(self.fan_out.branches) * largest(self.fan_out.steps)
        calls = every * (largest(self.tools.calls) if self.tools else 1)
        if calls > CALLS_MAX:
            raise ValueError(
                f"a task can make {calls:.3g} calls of models and tools, more than {CALLS_MAX:.3g}:"
                " give steps, samples, calls or branches a lower high"
            )
        between_s = middle(self.tools.delay) if self.tools else 0.0
        if self.user:
            between_s += middle(self.user.gap) / max(middle(self.user.every), 1.0)
        task_s = middle(self.start_delay) + middle(self.steps) * between_s
        if task_s > TASK_S_MAX:
            raise ValueError(
                f"a task takes {task_s:.3g} s on average, more than {TASK_S_MAX:.3g} s: give"
                " fewer steps, or a shorter tools.delay or user.gap"
            )


class Trace(Spec):
    """A recorded trace."""

    path: str | None = None
    """The file, plain or packed, as seen from the scenario."""
    format: str | None = None
    """Its format; detected where left out."""
    block_tokens: Count | None = None
    """Tokens of a hash block; the format's own where left out."""
    skip_bad_lines: bool = False
    """Whether lines that cannot be read are left out, and counted."""
    requests: Count | None = None
    """Trajectories are played until so many requests are reached."""
    start: PlainSeconds = 0.0
    """Those that start before are left out."""
    end: PlainSeconds | None = None
    """Those that start at this time or later are left out."""
    unpacked_max: PlainBytes | None = None
    """Bytes that a packed file may become; the usual limit where left out."""
    columns: dict[str, str] = Field(default_factory=dict)
    """What holds what in a log: isl, osl, time, end, delay, session, model, cached."""
    models: dict[str, str] = Field(default_factory=dict)
    """Which model serves one that the trace names; the scenario's serves all others."""


class Part(Spec):
    """One workload of a mix, with its weight, and the terms that stand in for the workload's own.

    tier: what users know these terms as. One workload may stand in several tiers: its tasks are
    then dealt among them, so that task k is the same whatever the tiers.
    """

    workload: "Workload"
    """By name or file, or a mapping."""
    weight: Positive
    """Its share of tasks is this over the sum of weights."""
    tier: Name | None = None
    """What users know its terms as."""
    slo: Slo | None = None
    """In place of the workload's."""
    price: Price | None = None
    """In place of the workload's."""
    priority: Priority | None = None
    """In place of the workload's; a higher one is served first."""


class Workload(Spec):
    """What is asked of a deployment, before it is said when (`Arrivals`)."""

    name: Name
    """What it is called; its file is named so too."""
    description: str = ""
    """One sentence, for lists."""
    source: str = ""
    """Where it comes from."""
    slo: Slo = Slo()
    """What its users want; None is no bound."""
    price: Price | None = None
    """What they pay for a million tokens: {input, cached, output}."""
    priority: Priority = 0
    """Higher comes first, under a policy that knows priorities."""
    agent: Agent | None = None
    """A class of agents."""
    trace: Trace | None = None
    """Or a recorded trace."""
    mix: tuple[Part, ...] | None = Field(default=None, min_length=1)
    """Or a mix of workloads: {workload, weight, tier, slo, price, priority} each."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Workload":
        given = [key for key in ("agent", "trace", "mix") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give one of agent, trace and mix, not {' and '.join(given) or 'none'}"
            )
        parts = leaves(self)
        if len({leaf.name for leaf in parts}) != len(parts):
            raise ValueError("the workloads of a mix need different names, or different tiers")
        known: dict[str, Workload] = {}
        for leaf in parts:
            name = leaf.workload.name
            if known.setdefault(name, leaf.workload) != leaf.workload:
                raise ValueError(f"two workloads of the mix are named {name!r} and differ")
        return self


@dataclass(frozen=True, slots=True)
class Leaf:
    """A class or trace of a workload: its share of the trajectories, and the terms it is on."""

    workload: Workload
    share: float
    slo: Slo
    priority: int
    tier: str = ""
    price: Price | None = None

    @property
    def name(self) -> str:
        """Of the class: that of its workload, after that of its tier where it has one."""
        return f"{self.tier}/{self.workload.name}" if self.tier else self.workload.name


def leaves(workload: Workload) -> tuple[Leaf, ...]:
    """The classes and traces that a workload is made of; the shares sum to 1.

    `Trajectory.workload` is the name of its leaf.
    """
    if workload.mix is None:
        own = workload
        return (Leaf(own, 1.0, own.slo, own.priority, price=own.price),)
    total = sum(part.weight for part in workload.mix)
    return tuple(
        Leaf(
            workload=leaf.workload,
            share=leaf.share * part.weight / total,
            slo=leaf.slo if part.slo is None else part.slo,
            priority=leaf.priority if part.priority is None else part.priority,
            tier=leaf.tier if part.tier is None else part.tier,
            price=leaf.price if part.price is None else part.price,
        )
        for part in workload.mix
        for leaf in leaves(part.workload)
    )


def models(workload: Workload) -> set[str]:
    """The models that a workload names beside the scenario's: a deployment must serve them all."""
    named: set[str | None] = set()
    for leaf in leaves(workload):
        if agent := leaf.workload.agent:
            named |= {agent.model, agent.fan_out.model if agent.fan_out else None}
        if trace := leaf.workload.trace:
            named |= set(trace.models.values())
    return {name for name in named if name is not None}


def origins(workload: Workload) -> Iterator[tuple[str, Quantity | Origin]]:
    """Every sourced parameter of a workload under its dotted path."""

    def walk(item: Any, path: str) -> Iterator[tuple[str, Quantity | Origin]]:
        if isinstance(item, Quantity | Origin):
            yield path, item
        elif isinstance(item, Spec):
            for key in type(item).model_fields:
                yield from walk(getattr(item, key), f"{path}.{key}" if path else key)
        elif isinstance(item, tuple):
            for index, inner in enumerate(item):
                yield from walk(inner, f"{path}.{index}")

    yield from walk(workload, "")


def read_workload(name: str, library: Library | None = None) -> tuple[dict[str, Any], Lines, str]:
    """The mapping of a named workload (or of a file), names inside a mix resolved; lines; file."""
    data, lines, path = read("workload", name, library)
    seen = (library or Library()).seen_from(path)
    return resolve_workload(data, seen, (path.resolve(),)), lines, str(path)


def resolve_workload(
    data: dict[str, Any], library: Library | None = None, above: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Put the mapping in place of every workload that a mix names.

    library: where names are looked up, as seen from the workload's file
    Errors: `ProfileError` for a name that is not there, and for a mix that holds itself.
    """
    parts = data.get("mix")
    if not isinstance(parts, list):
        return data
    library = library or Library()
    if len(above) > DEEPEST:
        raise ProfileError.one(str(above[0]), "mix", None, f"is more than {DEEPEST} mixes deep")
    resolved = []
    for part in parts:
        named = part.get("workload") if isinstance(part, dict) else None
        if isinstance(named, str):
            inner = read("workload", named, library)
            if inner.path.resolve() in above:
                raise ProfileError.one(str(inner.path), "mix", named, "the mix holds itself")
        elif isinstance(named, dict):
            inner = based("workload", within(named, library), library)
        else:
            resolved.append(part)
            continue
        seen = library.seen_from(inner.path)
        whole = resolve_workload(inner.mapping, seen, (*above, inner.path.resolve()))
        resolved.append({**part, "workload": whole})
    return {**data, "mix": resolved}


def load_workload(name: str, library: Library | None = None) -> Workload:
    """A workload by name, alias or path.

    >>> load_workload("chatbot").agent.shared.value
    500.0
    """
    data, lines, file = read_workload(name, library)
    return validate(Workload, data, file, lines)
