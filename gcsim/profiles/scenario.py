"""A scenario: model + deployment + workload + arrivals + run settings, everything a run needs."""

from math import nan
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gcsim.profiles.arrivals import Arrivals, Slo
from gcsim.profiles.base import Count, Name, PlainSeconds, Spec, si
from gcsim.profiles.deployment import Deployment
from gcsim.profiles.model import Model, WeightFormat
from gcsim.profiles.workload import Workload, models


def _warmup(raw: Any) -> float:
    return nan if raw == "auto" else si(raw, "seconds")


class Network(Spec):
    """Between client and deployment: part of TTFT and E2E."""

    round_trip: PlainSeconds = 0.02
    """Between client and deployment, both ways."""
    gateway: PlainSeconds = 0.002
    """What a gateway adds to a request."""


class RunSettings(Spec):
    """How much is played, and what of it counts."""

    trajectories: Count | None = 100
    """How many start."""
    horizon: PlainSeconds | None = None
    """When the run is cut off; where left out, when all have ended."""
    warmup: Annotated[float, BeforeValidator(_warmup), "seconds"] = 0.0
    """Requests sent before are not counted. auto: a first run finds it (MSER-5), a second one
    is counted from there.
    """
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 1
    """Of every random stream."""
    budget: Annotated[PlainSeconds, Field(gt=0)] | None = None
    """Also report how many steps of a task end within this time from its start."""
    limit: Annotated[PlainSeconds, Field(gt=0)] = 3600.0
    """A run that would take longer, in real time and as far as can be told, is not begun."""


class Scenario(Spec):
    """Everything a run needs; names of profiles are resolved by `gcsim.profiles.resolve`."""

    name: Name
    """What it is called; its file is named so too."""
    description: str = ""
    """One sentence, for lists."""
    model: Model
    """A model by name or file, or a config.json of Hugging Face."""
    dtype: WeightFormat | None = None
    """Number format of the weights, where that is not the model's own."""
    deployment: Deployment
    """By name or file, or a mapping."""
    workload: Workload
    """By name or file, or a mapping."""
    arrivals: Arrivals
    """When trajectories start. closed: agents at any time; poisson: a rate; gamma, steps,
    ramp, static, trace.
    """
    slo: Slo | None = None
    """In place of the workload's."""
    network: Network = Network()
    """Between client and deployment."""
    run: RunSettings = RunSettings()
    """How much is played."""
    engine: Literal["coalesced", "iteration"] = "coalesced"
    """coalesced: runs of iterations are one event; iteration: each is; the same results."""

    @model_validator(mode="after")
    def _served(self) -> "Scenario":
        pools = self.deployment.pools.values()
        served = {pool.model.name if pool.model else self.model.name for pool in pools}
        for name in sorted(models(self.workload) - served):
            raise ValueError(
                f"workload {self.workload.name} asks for model {name!r}, which no pool serves;"
                f" served: {', '.join(sorted(served))} (see pools.NAME.model)"
            )
        return self
