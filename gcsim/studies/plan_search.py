"""The cheapest deployment that serves N agents within an SLO: chips, layouts, replicas.

A chip family is a chip that does both phases, or a pair that prefills and decodes. For each family

1. the roofline discards layouts in which a lone request already breaks a bound, and says from below
   how many replicas the others need (`gcsim.studies.layouts`);
2. the layouts that are left are played, the most promising first, with as many replicas as would
   make them the cheapest, then bisected: more replicas never serve worse. Where that takes very
   many agents, a slice is played: agents and replicas in the same proportion;
3. the best of the cheapest families are played with all agents, and grown until the SLO holds.

Every decision is a run's, with its interval (`gcsim.studies.slo`); the same in any number of
processes, for each family is searched by itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, Literal

from gcsim.errors import GcsimError, ProfileError
from gcsim.profiles.chip import Chip
from gcsim.profiles.resolve import Resolved, with_settings
from gcsim.profiles.site import Site
from gcsim.profiles.workload import models
from gcsim.simulate import simulate
from gcsim.studies.layouts import (
    Demand,
    Floor,
    Layout,
    demand_of,
    floor,
    layouts,
    replicas_least,
    tasks_per_s,
)
from gcsim.studies.slo import Bound, Verdict, verdict

Aim = Literal["cost", "power", "racks", "chips"]
SLICE = 48  # agents; twice as many and more are searched by slices
LAYOUTS_PLAYED = 6  # of a family: the most promising by the roofline
PAIRS_PLAYED = 3  # layouts of each of the two pools
GROWN_MOST = 40.0  # times what the roofline asks for: beyond that a family does not serve it
BUSY = 0.6  # how busy a pool is that keeps an SLO, for a first guess
# Between pools, as the shipped deployments have it: network cards, vLLM with Mooncake over them.
LINK = {
    "latency": "10 us",
    "setup": "0.2 ms",
    "efficiency": 0.7,
    "ramp": "32 MB",
    "source": "as in the shipped deployments (kvcache-ai.github.io, vllm-v1-support-benchmark)",
}


@dataclass(frozen=True, slots=True)
class Unit:
    """Pools of one or two layouts and how many replicas of each."""

    layouts: tuple[Layout, ...]
    replicas: tuple[int, ...]

    @property
    def chips(self) -> int:
        """All of them."""
        return sum(n * one.chips for one, n in zip(self.layouts, self.replicas, strict=True))

    @property
    def usd_per_hour(self) -> float:
        """Of all chips."""
        return sum(n * one.usd_per_hour for one, n in zip(self.layouts, self.replicas, strict=True))

    @property
    def power_w(self) -> float:
        """Of all chips, with their share of the node."""
        return sum(n * one.power_w for one, n in zip(self.layouts, self.replicas, strict=True))

    @property
    def nodes(self) -> int:
        """Nodes (or racks, where that is how a chip is sold), each pool in its own."""
        return sum(
            ceil(n * one.chips / one.chips_per_node)
            for one, n in zip(self.layouts, self.replicas, strict=True)
        )

    @property
    def family(self) -> str:
        """Such as `sn50`, or `mi300x + sn50`."""
        return " + ".join(one.chip for one in self.layouts)

    def costs(self, aim: Aim) -> float:
        """What is minimized."""
        return {
            "cost": self.usd_per_hour,
            "power": self.power_w,
            "racks": float(self.nodes),
            "chips": float(self.chips),
        }[aim]

    def __str__(self) -> str:
        parts = zip(self.replicas, self.layouts, strict=True)
        return " + ".join(f"{n} x {one.name}" for n, one in parts)

    def deployment(self) -> dict[str, Any]:
        """As YAML has it."""
        names = ("serve",) if len(self.layouts) == 1 else ("prefill", "decode")
        pools = {
            name: {**one.pool, "replicas": n}
            for name, one, n in zip(names, self.layouts, self.replicas, strict=True)
        }
        found: dict[str, Any] = {
            "name": self.family.replace(" + ", "-").replace(".", "-") + "-planned",
            "description": f"Found by gcsim plan: {self}.",
            "source": "gcsim plan",
            "pools": pools,
            "links": [],
        }
        if len(names) == 2:
            rate, width = _cards(self.layouts)
            link = {"from": "prefill", "to": "decode", "bandwidth": f"{rate:g} B/s"}
            found["links"] = [{**link, "lanes": width, **LINK}]
        return found


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of the search."""

    unit: Unit
    load: float
    verdict: Verdict
    summary: Mapping[str, Any] = field(repr=False)


@dataclass(slots=True)
class Found:
    """What the search knows of one family: its best unit, the runs, and why others are not."""

    family: str
    best: Unit | None = None
    trial: Trial | None = None
    sliced: bool = False
    trials: list[Trial] = field(default_factory=list)
    whys: list[str] = field(default_factory=list)
    nearest: Trial | None = None

    def note(self, trial: Trial) -> None:
        """Keep a run, and the one that came nearest to the SLO."""
        self.trials.append(trial)
        if self.nearest is None or trial.verdict.room > self.nearest.verdict.room:
            self.nearest = trial


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a scenario whose load and deployment are replaced, and what must hold.

    replaced: mappings of chips that stand in for those of these names.
    """

    base: Resolved
    kind: Literal["agents", "rate"]
    load: float
    bounds: tuple[Bound, ...]
    aim: Aim
    site: Site
    chips_most: float = inf
    power_most_w: float = inf
    nodes_most: float = inf
    replaced: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    def within(self, unit: Unit) -> bool:
        """Whether a deployment keeps the limits of the site."""
        return (
            unit.chips <= self.chips_most
            and unit.power_w <= self.power_most_w
            and unit.nodes <= self.nodes_most
        )

    def resolved(self, unit: Unit, load: float) -> Resolved:
        """The scenario on a deployment, with a load."""
        if self.kind == "agents":
            arrivals: dict[str, Any] = {"process": "closed", "agents": round(load)}
        else:
            arrivals = {**self.base.mapping["arrivals"], "rate": f"{load!r} /s"}
        run = {k: v for k, v in self.base.mapping.get("run", {}).items() if k == "seed"}
        tasks = max(round(load), 64) if self.kind == "agents" else 200
        mapping = {**self.base.mapping, "run": {**run, "trajectories": tasks}}
        plain, deployment = Resolved(self.base.scenario, mapping), unit.deployment()
        for pool in deployment["pools"].values():
            pool["chip"] = self.replaced.get(pool["chip"], pool["chip"])
        return with_settings(plain, {"deployment": deployment, "arrivals": arrivals})


class Player:
    """Plays units, each once."""

    def __init__(self, question: Question, found: Found) -> None:
        self.question, self.found = question, found
        self._known: dict[tuple[str, float], Trial] = {}

    def whole(self, unit: Unit) -> Trial:
        """With the whole load."""
        return self.at(unit, self.question.load)

    def sliced(self, unit: Unit) -> Trial:
        """With a slice of the load on a slice of the replicas; the whole where that is little."""
        return self.at(*self.slice_of(self.question, unit))

    @staticmethod
    def slice_of(question: Question, unit: Unit) -> tuple[Unit, float]:
        """About `SLICE` agents, and so many replicas of each pool that none has less to do."""
        load, smallest = question.load, min(unit.replicas)
        agents = load if question.kind == "agents" else load * 60.0
        part = max(SLICE / max(agents, 1e-9), 1.0 / smallest)
        if part > 0.5:
            return unit, load
        replicas = tuple(max(int(n * part), 1) for n in unit.replicas)
        part = max(n / whole for n, whole in zip(replicas, unit.replicas, strict=True))
        return Unit(unit.layouts, replicas), (
            float(ceil(load * part)) if question.kind == "agents" else load * part
        )

    def at(self, unit: Unit, load: float) -> Trial:
        """With this load."""
        key = str(unit), load
        if key not in self._known:
            summary = simulate(self.question.resolved(unit, load)).summary
            trial = Trial(unit, load, verdict(summary, self.question.bounds), summary)
            self._known[key] = trial
            self.found.note(trial)
        return self._known[key]


def search(question: Question, chips: Sequence[Chip], whole: bool = False) -> Found:
    """The best unit of one family: one chip, or two (prefill, decode).

    whole: every run has all agents; else large loads are searched by slices.
    """
    found = Found(" + ".join(chip.name for chip in chips))
    player = Player(question, found)
    demand = demand_of(question.base.scenario)
    ways = _mixed(question, chips[0], demand, found)
    if len(chips) == 2:
        ways = _paired(question, chips, demand, found)
    play = player.whole if whole else player.sliced
    slack = 1.0
    for number, (least, guess) in enumerate(ways):
        if number >= LAYOUTS_PLAYED:
            break
        limit = found.best.costs(question.aim) if found.best else inf
        if least.costs(question.aim) >= limit:
            continue
        start = _scaled(guess, slack, least)
        unit = _grow(question, play, least, start, limit)
        if unit is not None:
            slack = max(n / g for n, g in zip(unit.replicas, guess.replicas, strict=True))
            found.best, found.trial = unit, play(unit)
    found.sliced = found.trial is not None and found.trial.load != question.load
    return found


def first_guess(question: Question, chips: Sequence[Chip]) -> float | None:
    """What a family costs by the roofline alone; None where no layout keeps the bounds."""
    nothing, demand = Found(""), demand_of(question.base.scenario)
    pair = len(chips) == 2
    ways = (
        _paired(question, chips, demand, nothing)
        if pair
        else _mixed(question, chips[0], demand, nothing)
    )
    return ways[0][1].costs(question.aim) if ways else None


def settle(question: Question, found: Found) -> Found:
    """The best unit of a family, grown with all agents until the SLO holds, or shrunk."""
    if found.best is None:
        return found
    player = Player(question, found)
    least = Unit(found.best.layouts, tuple(1 for _ in found.best.replicas))
    unit = _grow(question, player.whole, least, found.best, inf, fine=True)
    found.best, found.trial = unit, player.whole(unit) if unit is not None else None
    found.sliced = False
    return found


def _mixed(question: Question, chip: Chip, demand: Demand, found: Found) -> list[tuple[Unit, Unit]]:
    """Layouts of a chip that does both: (at the least, a guess), the cheapest guess first."""
    ways = []
    for layout, low in _sound(question, chip, "mixed", demand, found):
        rate = tasks_per_s(question.load, demand, question.bounds, low.task_s)
        if question.kind == "rate":
            rate = question.load
        least = replicas_least(rate, low.busy_s)
        seqs = _at_once(question, demand, low)
        guess = max(ceil(rate * low.busy_s / BUSY), ceil(seqs / max(low.seqs, 1)), 1)
        ways.append((Unit((layout,), (least,)), Unit((layout,), (guess,))))
    return _ordered(question, ways)


def _paired(
    question: Question, chips: Sequence[Chip], demand: Demand, found: Found
) -> list[tuple[Unit, Unit]]:
    """Layouts of two chips, the best few of each: (at the least, a guess)."""
    sides: list[list[tuple[float, Layout, int, int]]] = []
    for chip, role in zip(chips, ("prefill", "decode"), strict=True):
        side = []
        for layout, low in _sound(question, chip, role, demand, found):
            rate = question.load
            if question.kind == "agents":
                rate = tasks_per_s(question.load, demand, question.bounds, low.task_s)
            busy_s = low.prefill_s if role == "prefill" else low.decode_s
            least, guess = replicas_least(rate, busy_s), max(ceil(rate * busy_s / BUSY), 1)
            if role == "decode":
                guess = max(guess, ceil(_at_once(question, demand, low) / max(low.seqs, 1)))
            costs = Unit((layout,), (guess,)).costs(question.aim)
            side.append((costs, layout, least, guess))
        sides.append(sorted(side, key=lambda one: one[0])[:PAIRS_PLAYED])
    ways = [
        (Unit((one[1], two[1]), (one[2], two[2])), Unit((one[1], two[1]), (one[3], two[3])))
        for one in sides[0]
        for two in sides[1]
    ]
    return _ordered(question, ways)


def _sound(
    question: Question, chip: Chip, role: str, demand: Demand, found: Found
) -> Iterator[tuple[Layout, Floor]]:
    """The layouts of a chip in a role whose floors keep the bounds; why others do not is noted."""
    made, whys = layouts(question.base.scenario, chip, role, question.site)
    if not made and whys:
        found.whys.append(f"{chip.name}: {whys[-1]}")
    for layout in made:
        low = floor(layout, demand, question.bounds)
        if low.why:
            found.whys.append(f"{layout.name}: {low.why}")
        else:
            yield layout, low


def _at_once(question: Question, demand: Demand, low: Floor) -> float:
    """Requests in flight, about: agents x the part of a task in which the model works."""
    if question.kind == "rate":
        return question.load * max(low.task_s - demand.idle_s, 0.0)
    return question.load * max(1.0 - demand.idle_s / max(low.task_s, 1e-9), 0.05)


def _ordered(question: Question, ways: list[tuple[Unit, Unit]]) -> list[tuple[Unit, Unit]]:
    fits = [way for way in ways if question.within(way[0])]
    return sorted(fits, key=lambda way: (way[1].costs(question.aim), way[0].chips, str(way[1])))


def _scaled(guess: Unit, slack: float, least: Unit) -> Unit:
    both = zip(guess.replicas, least.replicas, strict=True)
    return Unit(guess.layouts, tuple(max(round(n * slack), low) for n, low in both))


def _grow(
    question: Question,
    play: Callable[[Unit], Trial],
    least: Unit,
    start: Unit,
    limit: float,
    fine: bool = False,
) -> Unit | None:
    """The cheapest number of replicas that holds, below `limit`; None when there is none.

    One pool: bisected. Two: the pool that binds is grown, then each is shrunk while it holds.
    """

    def allowed(unit: Unit) -> bool:
        return unit.costs(question.aim) < limit and question.within(unit)

    def holds(unit: Unit) -> bool:
        return play(unit).verdict.holds

    if len(start.layouts) == 1:
        return _bisect(least, start, allowed, holds, fine)
    return _balance(question, least, start, allowed, play)


def _bisect(
    least: Unit,
    start: Unit,
    allowed: Callable[[Unit], bool],
    holds: Callable[[Unit], bool],
    fine: bool,
) -> Unit | None:
    def of(replicas: int) -> Unit:
        return Unit(start.layouts, (replicas,))

    low, number = least.replicas[0] - 1, start.replicas[0]  # `low` does not hold
    while number > low + 1 and not allowed(of(number)):
        number = low + 1 + (number - low - 1) // 2
    if not allowed(of(number)):
        return None
    step = max(round(0.03 * number), 1) if fine else max(number // 2, 1)
    high: int | None = None
    while high is None:
        if holds(of(number)):
            high = number
            break
        low, wanted = number, number + step
        step *= 2
        while wanted > low + 1 and not allowed(of(wanted)):
            wanted = low + 1 + (wanted - low - 1) // 2
        if not allowed(of(wanted)) or wanted > GROWN_MOST * max(start.replicas[0], 1):
            return None
        number = wanted
    step = 1 if fine else max((high - low) // 2, 1)
    while high - low > 1:
        middle = max(high - step, low + 1)
        if holds(of(middle)):
            high = middle
            step = max(min(step * 2, (high - low) // 2), 1)
        else:
            low = middle
            step = max((high - low) // 2, 1)
    return of(high)


def _balance(
    question: Question,
    least: Unit,
    start: Unit,
    allowed: Callable[[Unit], bool],
    play: Callable[[Unit], Trial],
) -> Unit | None:
    unit = start
    while not allowed(unit):
        both = zip(unit.replicas, least.replicas, strict=True)
        smaller = tuple(max(n * 3 // 4, low) for n, low in both)
        if smaller == unit.replicas:
            return None
        unit = Unit(unit.layouts, smaller)
    room, idle = -inf, 0
    for _ in range(16):
        trial = play(unit)
        if trial.verdict.holds:
            break
        # Where growing helps no more, another layout is needed.
        idle = idle + 1 if room > -inf and trial.verdict.room < room + 0.01 else 0
        room = max(room, trial.verdict.room)
        if idle == 3:
            return None
        pool = _binding_pool(trial)
        replicas = list(unit.replicas)
        replicas[pool] += max(replicas[pool] // 3, 1)
        grown = Unit(unit.layouts, tuple(replicas))
        if not allowed(grown) or max(grown.replicas) > GROWN_MOST * max(start.replicas):
            return None
        unit = grown
    else:
        return None
    shrunk = True
    while shrunk:
        shrunk = False
        # First where a replica costs most.
        order = sorted((0, 1), key=lambda k: -Unit((unit.layouts[k],), (1,)).costs(question.aim))
        for pool in order:
            step = max(unit.replicas[pool] // 4, 1)
            while step and unit.replicas[pool] - step >= least.replicas[pool]:
                replicas = list(unit.replicas)
                replicas[pool] -= step
                if play(Unit(unit.layouts, tuple(replicas))).verdict.holds:
                    unit, shrunk = Unit(unit.layouts, tuple(replicas)), True
                else:
                    step //= 2
    return unit


def _binding_pool(trial: Trial) -> int:
    """Which of two pools is too small: that of the bound that binds, or the busier."""
    if trial.verdict.room > -inf and "TTFT" in trial.verdict.binds:
        return 0
    if trial.verdict.room > -inf and "TPOT" in trial.verdict.binds:
        return 1
    busy = [pool["utilization"] for pool in trial.summary["pools"]]
    return int(busy[1] > busy[0])


def _cards(both: Sequence[Layout]) -> tuple[float, int]:
    """What the network cards between two pools carry: B/s of the slower, lanes of the fewer."""
    return min(one.card_bytes_per_s for one in both), min(
        one.pool["tp"] * one.pool["ep"] for one in both
    )


def checked(question: Question) -> None:
    """Errors: `ProfileError` where there is nothing to plan for."""
    if not question.bounds:
        hint = 'write --slo "ttft:p95<2s tpot:mean<15ms", or slo: in the scenario'
        raise ProfileError.one("plan", "--slo", None, "there is no SLO to hold", hint)
    served = question.base.scenario.workload
    others = models(served) - {question.base.scenario.model.name}
    if others:
        why = f"asks for {', '.join(sorted(others))} besides {question.base.scenario.model.name}"
        raise ProfileError.one("plan", "workload", served.name, why, "a plan has one model")


def failed(error: GcsimError, family: str) -> Found:
    """A family that could not be searched, and why."""
    return Found(family, whys=[str(error)])
