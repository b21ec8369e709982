"""Where the tools of agents run: a node of CPUs, and a pool of such nodes in a deployment."""

from typing import Annotated, Literal

from pydantic import model_validator

from gcsim.profiles.base import (
    Bytes,
    Capacity,
    Chips,
    FixedSeconds,
    Name,
    Quantity,
    Spec,
    Usd,
    UsdPerHour,
    Watts,
    sourced,
)


class CpuPower(Spec):
    """Electrical power of the whole node."""

    node: Annotated[Quantity, sourced("watts", least=1.0)]
    """At full load."""
    idle: Watts | None = None
    """When it does nothing; the site's share of full power where left out."""


class CpuPrice(Spec):
    """What the whole node costs to rent, and to buy where known."""

    usd_per_node_hour: UsdPerHour
    """What an hour of the node costs to rent."""
    purchase: Usd | None = None
    """What the node costs to buy, memory and all."""


class Cpu(Spec):
    """A node of CPUs; `gcsim show cpu NAME` shows every number with its origin."""

    name: Name
    """What it is called; its file is named so too."""
    aliases: tuple[str, ...] = ()
    """Other names that find it."""
    vendor: str
    """Who makes it."""
    description: str = ""
    """One sentence, for lists."""
    cores: Annotated[Quantity, sourced("number", least=1, most=1e5)]
    """Physical cores of the node."""
    memory: Capacity
    """Memory of the node."""
    power: CpuPower
    """Electrical power."""
    price: CpuPrice
    """What it costs."""
    cooling: Literal["air", "liquid", "air or liquid"] = "air"
    """air, liquid, or air or liquid."""
    notes: tuple[str, ...] = ()
    """What sources leave out."""

    @model_validator(mode="after")
    def _whole(self) -> "Cpu":
        if self.cores.value != int(self.cores.value):
            raise ValueError(f"cores is {self.cores.value:g}, must be a whole number")
        return self


class ToolPool(Spec):
    """Nodes of CPUs that run the tool calls of agents, in one line: first come, first served.

    A call of D seconds (drawn, or recorded) is split by `cpu_share`: it takes its cores for
    `sandbox_start` + `cpu_share` x D, then waits (1 - `cpu_share`) x D for what is no CPU of ours
    (network, others). It holds `sandbox_memory` on its node from the one end to the other.
    """

    role: Literal["tools"]
    """What tells it from the pools that serve a model."""
    cpu: Cpu
    """A node by name or file, or a mapping."""
    nodes: Chips = 1
    """How many of them."""
    cpu_share: Annotated[Quantity, sourced("number", least=1e-6, most=1)]
    """Part of a call's time in which it computes; the rest is latency that needs no core."""
    cores_per_call: Chips = 1
    """Cores that it then takes."""
    sandbox_start: FixedSeconds = Quantity(value=0.0, dimension="seconds")
    """Time to start the sandbox of a call, on its cores; in no recorded delay, so it is added."""
    sandbox_memory: Bytes = Quantity(value=0.0, dimension="bytes")
    """Memory that a call holds from its start to its end; 0: memory limits nothing."""

    @property
    def cores(self) -> int:
        """Cores of all nodes."""
        return int(self.cpu.cores.value) * self.nodes

    @property
    def sandboxes(self) -> int:
        """Calls that a node has memory for."""
        held = self.sandbox_memory.value
        return int(self.cpu.memory.value / held) if held else 1 << 62

    @model_validator(mode="after")
    def _room(self) -> "ToolPool":
        if self.cores_per_call > self.cpu.cores.value:
            raise ValueError(
                f"cores_per_call is {self.cores_per_call}, but a node of {self.cpu.name} has"
                f" {self.cpu.cores.value:g} cores"
            )
        if not self.sandboxes:
            raise ValueError(
                f"sandbox_memory is {self.sandbox_memory}, but a node of {self.cpu.name} has"
                f" {self.cpu.memory}"
            )
        return self


def kind_of_pool(raw: object) -> str:
    """Which of both kinds of pool a mapping (or a spec) is, by its role."""
    role = raw.get("role") if isinstance(raw, dict) else getattr(raw, "role", None)
    return "tools" if role == "tools" else "serving"
