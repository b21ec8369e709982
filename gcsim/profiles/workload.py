"""A workload: one class of agents, a recorded trace, or a mix of workloads.

Exactly one of the keys `agent`, `trace` and `mix` says which. Every parameter of an agent class
carries its origin, as the numbers of a chip do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from gcsim.errors import ProfileError
from gcsim.profiles import library
from gcsim.profiles.arrivals import Positive, Slo
from gcsim.profiles.base import Count, Number, PlainBytes, PlainSeconds, Quantity, Seconds, Spec
from gcsim.profiles.distribution import Constant, Delay, Origin, Tokens, constant
from gcsim.profiles.load import Lines, read_mapping, validate


class Tools(Spec):
    """What follows an answer that calls tools: `calls` at once, of which the longest counts."""

    append: Tokens
    delay: Delay
    calls: Tokens = constant(1)


class User(Spec):
    """A person: speaks `every` so many steps, after a gap, and appends a message."""

    append: Tokens
    gap: Delay
    every: Tokens = constant(1)


class FanOut(Spec):
    """Sub-agents: a `share` of tasks forks `branches` of them once, and then waits for all.

    Each starts from the shared prefix and its own brief (as long as a `first`), makes `steps` calls
    and ends with a `report`; the reports are what the waiting step appends.
    """

    share: Number
    branches: Tokens
    steps: Tokens
    report: Tokens
    model: str | None = None


class Agent(Spec):
    """The parameters of one class of agents; lengths in tokens.

    First prompt = shared + first; next = previous prompt + previous output + append. When the next
    prompt would exceed `compact_above`, the context shrinks to shared + keep x compact_above.
    `samples` answers are drawn in parallel from one prompt. With a `cache_ttl` what is private in a
    context is forgotten when the next step comes later than that.
    """

    shared: Number
    first: Tokens
    output: Tokens
    last_output: Tokens | None = None
    steps: Tokens = constant(1)
    samples: Tokens = constant(1)
    tools: Tools | None = None
    user: User | None = None
    fan_out: FanOut | None = None
    start_delay: Delay = constant(0, "seconds")
    compact_above: Tokens | None = None
    keep: Number = Quantity(value=0.25, dimension="number")
    cache_ttl: Seconds | None = None
    model: str | None = None

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
        if not 0 < self.keep.value < 1:
            raise ValueError(f"keep is {self.keep.value:g}, must lie between 0 and 1")
        return self


class Trace(Spec):
    """A recorded trace; `format` None detects it, `block_tokens` None is the format's own size.

    Of the file the trajectories that start within [`start`, `end`) are played, until `requests`
    requests are reached. `models`: which model serves one that the trace names; the scenario's
    serves all others. `unpacked_max`: bytes that a packed file may become; None is the usual limit.
    `columns`: what holds what in a log (isl, osl, time, end, delay, session, model, cached).
    """

    path: str | None = None
    format: str | None = None
    block_tokens: Count | None = None
    skip_bad_lines: bool = False
    requests: Count | None = None
    start: PlainSeconds = 0.0
    end: PlainSeconds | None = None
    unpacked_max: PlainBytes | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    models: dict[str, str] = Field(default_factory=dict)


class Part(Spec):
    """One workload of a mix, with its weight; SLO and priority stand in for the workload's own."""

    workload: "Workload"
    weight: Positive
    slo: Slo | None = None
    priority: int | None = None


class Workload(Spec):
    """What is asked of a deployment, before it is said when (`Arrivals`)."""

    name: str
    description: str = ""
    source: str = ""
    slo: Slo = Slo()
    priority: int = 0
    agent: Agent | None = None
    trace: Trace | None = None
    mix: tuple[Part, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_kind(self) -> "Workload":
        given = [key for key in ("agent", "trace", "mix") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give one of agent, trace and mix, not {' and '.join(given) or 'none'}"
            )
        names = [leaf.workload.name for leaf in leaves(self)]
        if len(set(names)) != len(names):
            raise ValueError("the workloads of a mix need different names")
        return self


@dataclass(frozen=True, slots=True)
class Leaf:
    """A class or trace of a workload with its share of the trajectories, SLO and priority."""

    workload: Workload
    share: float
    slo: Slo
    priority: int


def leaves(workload: Workload) -> tuple[Leaf, ...]:
    """The classes and traces that a workload is made of; the shares sum to 1.

    `Trajectory.workload` is the name of its leaf.
    """
    if workload.mix is None:
        return (Leaf(workload, 1.0, workload.slo, workload.priority),)
    total = sum(part.weight for part in workload.mix)
    return tuple(
        Leaf(
            workload=leaf.workload,
            share=leaf.share * part.weight / total,
            slo=leaf.slo if part.slo is None else part.slo,
            priority=leaf.priority if part.priority is None else part.priority,
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


def read_workload(name: str, beside: Path | None = None) -> tuple[dict[str, Any], Lines, str]:
    """The mapping of a named workload (or of a file), names inside a mix resolved; lines; file."""
    path = library.find("workload", name, beside)
    data, lines = read_mapping(path)
    return resolve_workload(data, path.parent, (path.resolve(),)), lines, str(path)


def resolve_workload(
    data: dict[str, Any], beside: Path | None = None, above: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Put the mapping in place of every workload that a mix names.

    Errors: `ProfileError` for a name that is not there, and for a mix that holds itself.
    """
    parts = data.get("mix")
    if not isinstance(parts, list):
        return data
    resolved = []
    for part in parts:
        if isinstance(part, dict) and isinstance(part.get("workload"), str):
            path = library.find("workload", part["workload"], beside).resolve()
            if path in above:
                raise ProfileError.one(str(path), "mix", part["workload"], "the mix holds itself")
            inner, _ = read_mapping(path)
            part = {**part, "workload": resolve_workload(inner, path.parent, (*above, path))}
        resolved.append(part)
    return {**data, "mix": resolved}


def load_workload(name: str, beside: Path | None = None) -> Workload:
    """A workload by name (shipped) or path.

    >>> load_workload("chatbot").agent.shared.value
    500.0
    """
    data, lines, file = read_workload(name, beside)
    return validate(Workload, data, file, lines)
