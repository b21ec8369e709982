"""A scenario: model + deployment + workload + arrivals + run settings, everything a run needs."""

from collections.abc import Iterator
from math import isnan, nan
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gcsim.profiles.arrivals import Arrivals, Closed, Price, Slo, Static, TraceArrivals
from gcsim.profiles.base import Count, Name, PlainSeconds, Spec, si
from gcsim.profiles.deployment import Deployment
from gcsim.profiles.model import Model, WeightFormat
from gcsim.profiles.workload import Workload, leaves, models


def _warmup(raw: Any) -> float:
    return nan if raw == "auto" else si(raw, "seconds")


TASKS_PER_AGENT, TASKS_LEAST, TASKS = 4, 64, 200


class Network(Spec):
    """Between client and deployment: part of TTFT and E2E."""

    round_trip: PlainSeconds = 0.02
    """Between client and deployment, both ways."""
    gateway: PlainSeconds = 0.002
    """What a gateway adds to a request."""


class RunSettings(Spec):
    """What of a run counts: the tasks that start in its window, under a load that stays on.

    The window opens when the warm-up is over and closes with the task after the last that counts;
    the load stays on until all that count have ended (`gcsim.engine.window`).
    """

    trajectories: Count | None = None
    """How many tasks count; where left out, what the load calls for (4 for each agent)."""
    time: Annotated[PlainSeconds, Field(gt=0)] | None = None
    """The window is no longer than this."""
    horizon: PlainSeconds | None = None
    """The run is cut off here, with what is unfinished then."""
    warmup: Annotated[float, BeforeValidator(_warmup), "seconds"] = nan
    """A time, or auto: until twice as many tasks have ended as are under way, or each that was
    entered midway has its first answer; a trace and a batch have none.
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
    price: Price | None = None
    """In place of the workload's: {input, cached, output}, as in 3 USD/Mtok."""
    network: Network = Network()
    """Between client and deployment."""
    run: RunSettings = RunSettings()
    """How much is played."""
    engine: Literal["auto", "compiled", "coalesced", "iteration"] = "auto"
    """coalesced: runs of iterations are one event; iteration: each is; compiled: as one compiled
    loop where that can play it; auto: where it can and the run is long. The same results.
    """

    @property
    def ends(self) -> bool:
        """Whether the load ends by itself: a trace, or a batch."""
        recorded = any(leaf.workload.trace is not None for leaf in leaves(self.workload))
        return recorded or isinstance(self.arrivals, Static | TraceArrivals)

    @property
    def midway(self) -> bool:
        """Whether sessions are under way when the run begins."""
        return isinstance(self.arrivals, Closed) and self.arrivals.start == "midway"

    @property
    def tasks(self) -> int | None:
        """How many tasks count; None: all of a trace, or those that start in `run.time`.

        Where the scenario does not say: a closed loop's 4 for each agent and at least 64, else 200.
        """
        run = self.run
        if run.trajectories is not None or run.time is not None:
            return run.trajectories
        if isinstance(self.arrivals, Closed):
            most = max(TASKS_PER_AGENT * self.arrivals.agents, TASKS_LEAST)
            return None if self.ends else most
        return None if self.ends and not isinstance(self.arrivals, Static) else TASKS

    @property
    def warmup_s(self) -> float | None:
        """When the window opens [s]; None: as `gcsim.engine.window` says."""
        if not isnan(self.run.warmup):
            return self.run.warmup
        return 0.0 if self.ends and not self.midway else None

    def contradictions(self) -> Iterator[tuple[str, object, str, str]]:
        """Settings that leave nothing to count: (field, value, reason, what to do)."""
        run, warmup_s = self.run, self.warmup_s or 0.0
        batch = isinstance(self.arrivals, Static)
        if run.horizon is not None and run.horizon <= warmup_s:
            why = f"cuts the run off before its warm-up of {warmup_s:g} s is over: nothing counts"
            yield "run.horizon", run.horizon, why, "make it longer, or run.warmup shorter"
        if batch and warmup_s:
            why = "is over after all tasks of a batch have started: none counts"
            yield "run.warmup", warmup_s, why, "leave it out, or give other arrivals"
        if batch and run.time is not None:
            why = "cuts nothing, for all tasks of a batch start at 0 s"
            yield "run.time", run.time, why, "give run.trajectories, or other arrivals"

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
