"""A scenario: model + deployment + workload + arrivals + run settings, everything a run needs."""

from math import nan
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gcsim.profiles.arrivals import Arrivals, Slo
from gcsim.profiles.base import Count, PlainSeconds, Spec, Whole, si
from gcsim.profiles.deployment import Deployment
from gcsim.profiles.model import Model, WeightFormat
from gcsim.profiles.workload import Workload, models


def _warmup(raw: Any) -> float:
    return nan if raw == "auto" else si(raw, "seconds")


class Network(Spec):
    """Between client and deployment: part of TTFT and E2E."""

    round_trip: PlainSeconds = 0.02
    gateway: PlainSeconds = 0.002


class RunSettings(Spec):
    """How much is played, and what of it counts.

    trajectories: how many start; horizon: when the run is cut off (None: when all have ended);
    warmup: requests sent before are not counted; `auto`, here NaN: a first run finds it (MSER-5),
    a second one is counted from there. seed: of every random stream. budget: also report how many
    steps of a task end within this time from its start.
    """

    trajectories: Count | None = 100
    horizon: PlainSeconds | None = None
    warmup: Annotated[float, BeforeValidator(_warmup)] = 0.0
    seed: Whole = 1
    budget: Annotated[PlainSeconds, Field(gt=0)] | None = None


class Scenario(Spec):
    """Everything a run needs; names of profiles are resolved by `gcsim.profiles.resolve`."""

    name: str
    description: str = ""
    model: Model
    dtype: WeightFormat | None = None
    deployment: Deployment
    workload: Workload
    arrivals: Arrivals
    slo: Slo | None = None
    network: Network = Network()
    run: RunSettings = RunSettings()
    engine: Literal["coalesced", "iteration"] = "coalesced"

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
