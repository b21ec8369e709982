"""A scenario: model + deployment + workload + arrivals + run settings, everything a run needs."""

from math import nan
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gcsim.spec.arrivals import Arrivals, Slo
from gcsim.spec.base import Count, PlainSeconds, Spec, Whole, si
from gcsim.spec.deployment import Deployment
from gcsim.spec.model import Model, WeightFormat
from gcsim.spec.workload import Workload


def _warmup(raw: Any) -> float:
    return nan if raw == "auto" else si(raw, "seconds")


class Network(Spec):
    """Between client and deployment: part of TTFT and E2E."""

    round_trip: PlainSeconds = 0.02
    gateway: PlainSeconds = 0.002


class Run(Spec):
    """How much is played, and what of it counts.

    trajectories: how many start; horizon: when the run is cut off (None: when all have ended);
    warmup: requests sent before are not counted; `auto`, here NaN: a first run finds it (MSER-5),
    a second one is counted from there. seed: of every random stream.
    """

    trajectories: Count | None = 100
    horizon: PlainSeconds | None = None
    warmup: Annotated[float, BeforeValidator(_warmup)] = 0.0
    seed: Whole = 1


class Scenario(Spec):
    """Everything a run needs; names of profiles are resolved by `gcsim.spec.resolve`."""

    name: str
    description: str = ""
    model: Model
    dtype: WeightFormat | None = None
    deployment: Deployment
    workload: Workload
    arrivals: Arrivals
    slo: Slo | None = None
    network: Network = Network()
    run: Run = Field(default=Run())
    engine: Literal["coalesced", "iteration"] = "coalesced"
