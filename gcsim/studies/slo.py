"""What a planner asks of a deployment: bounds on statistics of times, and whether a run keeps them.

    ttft:p95<2s tpot:mean<15ms task:p90<20min

A run keeps a bound when the upper end of the 95% interval of the statistic is within it, so that
chance does not pick the hardware; where a run is too short for an interval its value decides.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gcsim.errors import Problem, ProfileError, nearest
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.workload import leaves
from gcsim.results.metric import BOUNDED
from gcsim.units import UnitError, parse

Summary = Mapping[str, Any]

TIMES = {"ttft": "ttft_ms", "tpot": "tpot_ms", "e2e": "e2el_ms", "task": "task_ms"}
NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E", "task": "task time"}
PERCENT = "p95"  # of a scenario's own SLO, which bounds every request
LOST_MOST = 0.05  # of the requests may be rejected or unfinished
_BOUND = re.compile(r"\s*(\w+)(?::(\w+))?\s*<=?\s*(.+?)\s*")


@dataclass(frozen=True, slots=True)
class Bound:
    """At most `limit_s` for a statistic of a time: `TIMES`, `gcsim.results.metric.BOUNDED`."""

    time: str
    statistic: str
    limit_s: float

    @property
    def key(self) -> str:
        """Of the summary."""
        return f"{self.statistic}_{TIMES[self.time]}"

    def __str__(self) -> str:
        return f"{self.statistic} {NAMES[self.time]} < {seconds(self.limit_s)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a run keeps all bounds, and what binds: the bound with the least room, or `why`.

    room: 1 - time / limit of what binds; negative where it is broken; -inf where the run says
    nothing of times (saturated, or requests lost).
    """

    holds: bool
    binds: str
    room: float


def parse_slo(text: str) -> tuple[Bound, ...]:
    """The bounds in a text. Errors: `ProfileError` with every one that is none.

    >>> [str(bound) for bound in parse_slo("ttft:p95<2s tpot<15 ms, task:p90 < 20min")]
    ['p95 TTFT < 2 s', 'p95 TPOT < 15 ms', 'p90 task time < 1200 s']
    """
    found, problems = [], []
    for part in _split(text):
        made = _bound(part)
        if isinstance(made, Bound):
            found.append(made)
        else:
            problems.append(made)
    if not found and not problems:
        hint = 'write --slo "ttft:p95<2s tpot:mean<15ms"'
        problems.append(Problem("plan", "--slo", text, "has no bounds", hint))
    if problems:
        raise ProfileError(problems)
    return tuple(found)


def slo_of(scenario: Scenario) -> tuple[Bound, ...]:
    """The bounds of a scenario's own SLO, each for 95% of its requests; the tightest of a mix.

    >>> from gcsim.profiles.resolve import resolve
    >>> [str(bound) for bound in slo_of(resolve("coding-agents").scenario)]
    ['p95 TTFT < 2 s', 'p95 TPOT < 20 ms']
    """
    limits: dict[str, float] = {}
    for slo in [scenario.slo] if scenario.slo else [leaf.slo for leaf in leaves(scenario.workload)]:
        for time in TIMES:
            limit = getattr(slo, time)
            if limit is not None:
                limits[time] = min(limits.get(time, limit), limit)
    return own_bounds(limits)


def own_bounds(limits: Mapping[str, float]) -> tuple[Bound, ...]:
    """Limits by time [s] as bounds, each for 95% of the requests."""
    return tuple(Bound(time, PERCENT, limit) for time, limit in limits.items())


def lost(summary: Summary) -> str:
    """How many requests were rejected or not finished, where these are too many; else nothing."""
    count = summary["rejected"] + summary["unfinished"]
    many = count > LOST_MOST * (count + summary["completed"])
    return f"{count:,} requests rejected or unfinished" if many else ""


def verdict(summary: Summary, bounds: Sequence[Bound]) -> Verdict:
    """Whether a run keeps the bounds, with confidence."""
    if why := lost(summary):
        return Verdict(False, why, float("-inf"))
    if summary["saturated"]:
        return Verdict(False, "saturated: the queue grows without end", float("-inf"))
    worst, binds = 1.0, ""
    for bound in bounds:
        interval, value = summary.get(f"ci95_{bound.key}"), summary[bound.key]
        if value is None:
            continue
        high_s = max(value, interval[1] if interval else value) * 1e-3
        room = 1.0 - high_s / bound.limit_s
        if room < worst:
            worst, binds = room, f"{bound}: {seconds(value * 1e-3)}"
            if interval and high_s > value * 1e-3:
                binds += f" (up to {seconds(high_s)})"
    return Verdict(worst >= 0.0, binds, worst)


def seconds(value: float) -> str:
    """A time for people: ms below a second.

    >>> seconds(0.0152), seconds(2), seconds(1234.5)
    ('15.2 ms', '2 s', '1234 s')
    """
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"


def _split(text: str) -> list[str]:
    """Parts at commas, and at blanks before the next name."""
    return [part for part in re.split(r"[,;]|\s+(?=\w+(?::\w+)?\s*<)", text) if part.strip()]


def _bound(text: str) -> Bound | Problem:
    matched = _BOUND.fullmatch(text)
    if not matched:
        return Problem("plan", "--slo", text, "is no bound", "write ttft:p95<2s")
    time, statistic, limit = matched[1], matched[2] or PERCENT, matched[3]
    if time not in TIMES:
        hint = nearest(time, TIMES) or f"one of {', '.join(TIMES)}"
        return Problem("plan", "--slo", text, f"there is no time {time!r}", hint)
    if statistic not in BOUNDED:
        hint = nearest(statistic, BOUNDED) or f"one of {', '.join(BOUNDED)}"
        return Problem("plan", "--slo", text, f"there is no statistic {statistic!r}", hint)
    try:
        limit_s = float(parse(limit, "seconds"))
    except UnitError as error:
        return Problem("plan", "--slo", text, str(error), "write a time: 15ms, 2s, 20min")
    if not limit_s > 0:
        return Problem("plan", "--slo", text, "a bound must be above 0", "write ttft:p95<2s")
    return Bound(time, statistic, limit_s)
