"""Latency against load: agents or rates, the SLO's verdict, the knee, and where to look next.

holds       p95 of every time that the SLO bounds is within its bound, for every class
knee        the load where throughput / latency is largest: before it latency is cheap,
            after it throughput is dear (Kleinrock 1979, "power")
saturation  the load from which twice as much brings less than 5% more throughput, or from
            which a queue grows without end
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, log2, nan, sqrt
from typing import Any, Literal

from gcsim.errors import ProfileError
from gcsim.profiles.arrivals import Closed, GammaArrivals, Poisson
from gcsim.profiles.resolve import Resolved
from gcsim.studies.slo import NAMES, lost, own_bounds

Summary = Mapping[str, Any]
Kind = Literal["agents", "rate"]

COLUMNS: dict[Kind, str] = {"agents": "agents", "rate": "rate_per_s"}
GROWTH_LEAST = 1.05  # of a rate at twice the load; less is none
FINE = 1.05  # the largest load that holds is known to 5%
KNEE_FINE = 1.25  # the knee to 25%, for it is flat there
DOUBLINGS_MOST = 20
HALVINGS_MOST = 10  # of a rate that is too much
BEYOND = 3  # doublings after saturation, where the SLO still holds


@dataclass(frozen=True, slots=True)
class Reading:
    """What a curve needs of one run. holds: None without an SLO; why: what breaks it."""

    load: float
    holds: bool | None
    why: str
    goodput: float
    throughput: float
    e2e_ms: float
    saturated: bool

    @property
    def power(self) -> float:
        """Throughput over latency; 0 where there is none."""
        sound = not self.saturated and self.e2e_ms > 0
        return self.throughput / self.e2e_ms if sound else 0.0


def load_of(resolved: Resolved) -> tuple[Kind, float]:
    """What the load of a scenario is, and how much of it: agents at any time, or tasks per second.

    Errors: `ProfileError` for arrivals that have neither.

    >>> from gcsim.profiles.resolve import resolve
    >>> load_of(resolve("coding-agents")), load_of(resolve("chatbot"))
    (('agents', 16), ('rate', 1.0))
    """
    arrivals = resolved.scenario.arrivals
    match arrivals:
        case Closed():
            return "agents", arrivals.agents
        case Poisson() | GammaArrivals():
            return "rate", arrivals.rate
    hint = "give closed, poisson or gamma arrivals, or sweep its own settings with --grid"
    why = "have no load that --load could set"
    raise ProfileError.one(resolved.scenario.name, "arrivals", arrivals.process, why, hint)


def at_load(resolved: Resolved, load: float, kind: Kind | None = None) -> dict[str, Any]:
    """The settings of a load: so many agents at any time, or so many new tasks per second.

    kind: what the load is, for any arrivals: others than closed (agents) and poisson or gamma
    (rate) are replaced; None: what it is in the scenario. As many tasks count as
    `Scenario.tasks` says; their rates and times do not hang on it.

    >>> from gcsim.profiles.resolve import resolve
    >>> at_load(resolve("coding-agents"), 300)
    {'arrivals.agents': 300}
    >>> at_load(resolve("coding-agents"), 0.1, "rate")
    {'arrivals': {'process': 'poisson', 'rate': '0.1 /s'}}
    """
    arrivals = resolved.scenario.arrivals
    if (kind or load_of(resolved)[0]) == "agents":
        if isinstance(arrivals, Closed):
            return {"arrivals.agents": int(load)}
        return {"arrivals": {"process": "closed", "agents": int(load)}}
    if isinstance(arrivals, Poisson | GammaArrivals):
        return {"arrivals.rate": f"{load!r} /s"}
    return {"arrivals": {"process": "poisson", "rate": f"{load!r} /s"}}


def check_loads(kind: Kind, loads: Iterable[Any]) -> tuple[float, ...]:
    """Loads, rising, each once. Errors: `ProfileError` for what is none.

    >>> check_loads("agents", [4, 1, 4])
    (1, 4)
    """
    found: set[float] = set()
    for load in loads:
        number = isinstance(load, int | float) and not isinstance(load, bool) and 0 < load < inf
        if not number or (kind == "agents" and load != int(load)):
            hint = "write --load 1,2,4" + (
                " (whole agents)" if kind == "agents" else " (per second)"
            )
            raise ProfileError.one("sweep", "--load", load, "is no load", f"{hint} or --load auto")
        found.add(int(load) if kind == "agents" else float(load))
    if not found:
        raise ProfileError.one("sweep", "--load", None, "has no values", "write --load 1,2,4")
    return tuple(sorted(found))


def breaches(summary: Summary) -> list[str] | None:
    """What breaks the SLO, in words; empty where it holds, None where there is none.

    A request that was rejected or not finished has broken it, whatever its bounds.
    """
    if not any(one["slo"] for one in summary["classes"]):
        return None
    found = ["saturated"] if summary["saturated"] else []
    several = len(summary["classes"]) > 1
    for one in summary["classes"]:
        where = f"{one['workload']}: " if several else ""
        found += [f"{where}{text}" for text in _breached(one)]
    return found


def _breached(one: Summary) -> list[str]:
    """Of a class: what `gcsim.studies.slo.verdict` asks too, without its confidence."""
    found = [why] if one["slo"] and (why := lost(one)) else []
    for bound in own_bounds(one["slo"]):
        value, limit_ms = one.get(bound.key), bound.limit_s * 1e3
        if value is not None and value > limit_ms:
            what = f"{bound.statistic} {NAMES[bound.time]}"
            found.append(f"{what} {_ms(value)} > {_ms(limit_ms)}")
    return found


def _ms(value: float) -> str:
    return f"{value:,.3g} ms" if value < 1e3 else f"{value / 1e3:,.4g} s"


def reading(load: float, summary: Summary | None) -> Reading:
    """What a curve needs of a run; `None` for one that failed, which holds nothing."""
    if summary is None:
        return Reading(load, False, "the run failed", 0.0, 0.0, nan, True)
    why = breaches(summary)
    return Reading(
        load,
        None if why is None else not why,
        "; ".join(why or ()),
        summary["request_goodput"],
        summary["request_throughput"],
        summary["mean_e2el_ms"] or nan,
        bool(summary["saturated"]),
    )


def next_load(played: Sequence[Reading], kind: Kind, first: float) -> float | None:
    """Where to play next, from what is known; None when the curve is done.

    First it doubles the load until neither goodput nor anything else is to be had there; rates,
    which have no least, are halved first until one is served well. Then it bisects between the
    largest load that holds and the next, and beside the knee. The choice depends on `played`
    alone, not on the order in which several curves come.
    """
    if not played:
        return first
    curve = sorted(played, key=lambda r: r.load)
    low, top = curve[0], curve[-1]
    poor = low.saturated or low.holds is False
    if kind == "rate" and poor and low.load > first * 2.0**-HALVINGS_MOST:
        return low.load / 2
    if not _done(curve):
        return top.load * 2
    for one, two, fine in _brackets(curve):
        middle = _between(one, two, fine, kind)
        if middle is not None:
            return middle
    return None


def _done(curve: Sequence[Reading]) -> bool:
    """Whether larger loads have nothing to show any more."""
    top = curve[-1]
    if top.saturated or top.load > curve[0].load * 2.0**DOUBLINGS_MOST:
        return True
    full = _stops(curve, "goodput")
    if full is None:
        return False
    # A loose SLO may hold where nothing more is done: more agents then only wait longer.
    return top.holds is not True or top.load >= full * 2.0 ** (1 + BEYOND)


def _brackets(curve: Sequence[Reading]) -> list[tuple[float, float, float]]:
    """What to bisect: (low, high, how finely)."""
    found = []
    low, high = last_holding(curve)
    if low is not None and high is not None:
        found.append((low.load, high.load, FINE))
    place = max(range(len(curve)), key=lambda k: curve[k].power)
    if curve[place].power:
        loads = [r.load for r in curve[max(place - 1, 0) : place + 2]]
        found += [(a, b, KNEE_FINE) for a, b in pairwise(loads)]
    return found


def _between(low: float, high: float, fine: float, kind: Kind) -> float | None:
    """The middle of two loads; None when they are close enough."""
    if high / low <= fine * (1 + 1e-9):
        return None
    if kind == "rate":
        return float(f"{sqrt(low * high):.4g}")
    middle = round(sqrt(low * high))
    middle = min(max(middle, int(low) + 1), int(high) - 1)
    return middle if low < middle < high else None


def last_holding(curve: Sequence[Reading]) -> tuple[Reading | None, Reading | None]:
    """The largest load up to which the SLO held wherever it was played, and the next, which broke.

    Loads beyond the first that breaks do not count, should one hold by luck.
    """
    held: Reading | None = None
    for one in sorted(curve, key=lambda r: r.load):
        if not one.holds:
            return held, one if one.holds is False else None
        held = one
    return held, None


def saturation(curve: Sequence[Reading]) -> float | None:
    """The load from which twice as much brings no more; None where that was not seen.

    >>> flat = [Reading(n, None, "", min(n, 5), min(n, 5), 1.0, False) for n in (1, 2, 4, 8, 16)]
    >>> saturation(flat)
    8
    """
    grows = min((one.load for one in curve if one.saturated), default=None)
    flat = _stops([one for one in curve if not one.saturated], "throughput")
    return min((load for load in (grows, flat) if load is not None), default=None)


def _stops(curve: Sequence[Reading], rate: Literal["goodput", "throughput"]) -> float | None:
    """The first load from which twice as much brings less than `GROWTH_LEAST` times the rate.

    Between loads a and b the least growth is that to the power of log2(b / a).
    """
    ordered = sorted(curve, key=lambda r: r.load)
    for place, one in enumerate(ordered):
        double = next((r for r in ordered[place:] if r.load >= 2 * one.load), None)
        if double is not None:
            least = GROWTH_LEAST ** log2(double.load / one.load)
            if getattr(double, rate) < getattr(one, rate) * least:
                return one.load
    return None


def knee(curve: Sequence[Reading]) -> float | None:
    """The load where throughput over latency is largest, of those that were played."""
    best = max(curve, key=lambda r: r.power, default=None)
    return best.load if best is not None and best.power else None
