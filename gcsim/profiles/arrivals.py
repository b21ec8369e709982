"""When trajectories start, what a user wants of them and pays: `Arrivals`, `Slo`, `Price`."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gcsim.profiles.base import (
    PlainNumber,
    PlainPerS,
    PlainSeconds,
    Quantity,
    Spec,
    UsdPerMtok,
)

PositivePerS = Annotated[PlainPerS, Field(gt=0)]
Positive = Annotated[PlainNumber, Field(gt=0)]
Cv = Annotated[PlainNumber, Field(ge=0.01, le=100)]


class Slo(Spec):
    """What a request and a whole task must keep [s]; None is no bound."""

    ttft: PlainSeconds | None = None
    """Time to the first token."""
    tpot: PlainSeconds | None = None
    """Time per token after it."""
    e2e: PlainSeconds | None = None
    """Time to the last token."""
    task: PlainSeconds | None = None
    """Time of a whole task."""


FREE = Quantity(value=0.0, dimension="usd_per_mtok")


class Price(Spec):
    """What a user pays for a million tokens of each sort; of a sort that is left out, nothing."""

    input: UsdPerMtok = FREE
    """Prompt tokens that are computed."""
    cached: UsdPerMtok = FREE
    """Prompt tokens that the prefix cache holds."""
    output: UsdPerMtok = FREE
    """Tokens that are generated."""


class Poisson(Spec):
    """Independent starts at `rate` per second."""

    process: Literal["poisson"]
    """Which of the processes."""
    rate: PositivePerS
    """New tasks per second."""


class GammaArrivals(Spec):
    """Gamma-distributed gaps: `rate` per second, coefficient of variation `cv` (1 is Poisson)."""

    process: Literal["gamma"]
    """Which of the processes."""
    rate: PositivePerS
    """New tasks per second."""
    cv: Cv
    """Coefficient of variation of the gaps; 1 is Poisson."""


class Closed(Spec):
    """`agents` trajectories at any time: when one ends the next starts."""

    process: Literal["closed"]
    """Which of the processes."""
    agents: Annotated[int, Field(ge=1, le=10**6, strict=True)]
    """How many at any time."""
    ramp: PlainSeconds = 0.0
    """The first ones start spread evenly over this time, not all at once."""
    start: Literal["fresh", "midway"] = "fresh"
    """midway: the first session of each is under way, at a random step of it; it does not count."""


class Static(Spec):
    """All at t = 0: a batch job."""

    process: Literal["static"]
    """Which of the processes."""


class RateFrom(Spec):
    """From time `at` on the rate is `rate`."""

    at: PlainSeconds
    """Since the start of the run."""
    rate: PlainPerS
    """New tasks per second."""


class ChangingRate(Spec):
    """A rate that changes over time: in `steps`, or as a `ramp` (straight lines between points).

    The last rate holds on; where it is 0 the load ends. `cv` as in `gamma`.
    """

    process: Literal["steps", "ramp"]
    """Which of the processes."""
    points: tuple[RateFrom, ...] = Field(min_length=1)
    """When the rate becomes what."""
    cv: Cv = 1.0
    """Coefficient of variation of the gaps; 1 is Poisson."""

    @model_validator(mode="after")
    def _rising(self) -> "ChangingRate":
        times = [point.at for point in self.points]
        if times[0] != 0:
            raise ValueError("the first point must be at 0")
        if any(a >= b for a, b in pairwise(times)):
            raise ValueError("the times of the points must rise")
        if not any(point.rate for point in self.points):
            raise ValueError("every rate is 0: nothing ever starts")
        return self


class TraceArrivals(Spec):
    """The trace's own times, `rate_scale` times as fast."""

    process: Literal["trace"]
    """Which of the processes."""
    rate_scale: Positive = 1.0
    """How much faster than the trace."""


Arrivals = Annotated[
    Poisson | GammaArrivals | Closed | Static | ChangingRate | TraceArrivals,
    Field(discriminator="process"),
]
