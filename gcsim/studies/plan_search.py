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

from collections.abc import Callable, Iterator, Sequence
from math import ceil, inf
from typing import NamedTuple

from gcsim.profiles.chip import Chip
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
from gcsim.studies.plan_question import Found, Player, Question, Trial, Unit

PAIRED = ("prefill", "decode")
LAYOUTS_PLAYED = 6  # of a family: the most promising by the roofline
PAIRS_PLAYED = 3  # layouts of each of the two pools
GROWN_MOST = 40.0  # times what the roofline asks for: beyond that a family does not serve it
SCANNED = 4  # replicas: so few are all tried
BUSY = 0.6  # how busy a pool is that keeps an SLO, for a first guess
SURE = 1.25  # times what is allowed: a layout that is thought to need more is not played
HOPELESS = 1.0  # of a bound: a run that misses by more, and no less with more replicas


class Way(NamedTuple):
    """A layout, or two: units at the least and as guessed, and the guess's cost before rounding."""

    least: Unit
    guess: Unit
    asks: float


def search(
    question: Question,
    chips: Sequence[Chip],
    whole: bool = False,
    *,
    known: Sequence[Trial] = (),
    only: Sequence[str] = (),
) -> Found:
    """The best unit of one family: one chip, or two (prefill, decode).

    whole: every run has all agents; else replicas stand for each other. known: runs that need not
    be played again; only: layouts by name, none: all.
    """
    found = Found(" + ".join(chip.name for chip in chips), trials=list(known), before=len(known))
    player = Player(question, found)
    demand = demand_of(question.base.scenario)
    if len(chips) == 1:
        ways = _mixed(question, chips[0], demand, found)
    else:
        first, second = (
            _side(question, chip, role, demand, found)
            for chip, role in zip(chips, PAIRED, strict=True)
        )
        ways = _paired(question, first, second)
    if only:
        ways = [way for way in ways if all(one.name in only for one in way.least.layouts)]
    play = player.whole if whole else player.sliced
    slack, factor = 1.0, 0.0  # what was found over what was guessed: replicas, cost (1 at most)
    left = LAYOUTS_PLAYED
    for way in ways:
        if not left:
            break
        limit = found.best.costs(question.aim) if found.best else inf
        if way.least.costs(question.aim) >= limit:
            continue
        if factor * way.asks > SURE * _allowed(question, way.guess, limit):
            continue
        left -= 1
        start = _scaled(way.guess, slack, way.least)
        unit = _grow(question, play, way.least, start, limit)
        if unit is not None:
            both = zip(unit.replicas, way.guess.replicas, strict=True)
            slack = max(n / guessed for n, guessed in both)
            one = _costs_of(question, unit.layouts, [1] * len(unit.layouts))
            # It took more than a replica less, and as many at most: in the middle, half one less.
            factor = min(max(unit.costs(question.aim) - one / 2, one / 2) / way.asks, 1.0)
            found.best, found.trial = unit, play(unit)
    found.sliced = found.trial is not None and found.trial.load != question.load
    return found


def guessed_pairs(
    question: Question, chips: Sequence[Chip]
) -> list[tuple[float, tuple[Chip, ...]]]:
    """What each pair that keeps the bounds costs by the roofline alone, the cheapest first."""
    demand, nothing = demand_of(question.base.scenario), Found("")
    sides = {
        role: [_side(question, chip, role, demand, nothing) for chip in chips] for role in PAIRED
    }
    guesses: list[tuple[float, tuple[Chip, ...]]] = []
    for one, first in zip(chips, sides["prefill"], strict=True):
        for two, second in zip(chips, sides["decode"], strict=True):
            if ways := _paired(question, first, second):
                least = min(way.guess.costs(question.aim) for way in ways)
                guesses.append((least, (one, two)))
    return sorted(guesses, key=lambda row: (row[0], row[1][0].name, row[1][1].name))


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


def _mixed(question: Question, chip: Chip, demand: Demand, found: Found) -> list[Way]:
    """Layouts of a chip that does both, the cheapest guess first."""
    ways = []
    for layout, low in _sound(question, chip, "mixed", demand, found):
        rate = _rate(question, demand, low)
        seqs = _at_once(question, demand, low) / max(low.seqs, 1)
        ways.append(_way(question, layout, rate * low.busy_s, seqs))
    return _ordered(question, ways)


def _side(question: Question, chip: Chip, role: str, demand: Demand, found: Found) -> list[Way]:
    """The best few layouts of one pool of a pair."""
    ways = []
    for layout, low in _sound(question, chip, role, demand, found):
        rate = _rate(question, demand, low)
        busy_s = low.prefill_s if role == "prefill" else low.decode_s
        seqs = _at_once(question, demand, low) / max(low.seqs, 1) if role == "decode" else 0.0
        ways.append(_way(question, layout, rate * busy_s, seqs))
    return sorted(ways, key=lambda way: way.guess.costs(question.aim))[:PAIRS_PLAYED]


def _way(question: Question, layout: Layout, busy: float, seqs: float) -> Way:
    """So many replicas are busy, so many have room for the sequences that decode at once."""
    asks = max(busy / BUSY, seqs, 1e-9)
    least = Unit((layout,), (replicas_least(1.0, busy),))
    guess = Unit((layout,), (max(ceil(asks), 1),))
    return Way(least, guess, asks * _costs_of(question, (layout,), (1,)))


def _paired(question: Question, first: list[Way], second: list[Way]) -> list[Way]:
    """Every layout of one pool with every one of the other."""

    def both(one: Unit, two: Unit) -> Unit:
        return Unit(one.layouts + two.layouts, one.replicas + two.replicas)

    ways = [
        Way(both(a.least, b.least), both(a.guess, b.guess), a.asks + b.asks)
        for a in first
        for b in second
    ]
    return _ordered(question, ways)


def _costs_of(question: Question, layouts: Sequence[Layout], replicas: Sequence[int]) -> float:
    return Unit(tuple(layouts), tuple(replicas)).costs(question.aim)


def _allowed(question: Question, unit: Unit, limit: float) -> float:
    """The most that whole replicas may cost below a limit; of two pools, the limit."""
    if limit == inf or len(unit.layouts) > 1:
        return limit
    one = _costs_of(question, unit.layouts, (1,))
    return max(ceil(limit / one - 1e-9) - 1, 0) * one


def _rate(question: Question, demand: Demand, low: Floor) -> float:
    """Tasks per second that are asked for, at the least."""
    if question.kind == "rate":
        return question.load
    return tasks_per_s(question.load, demand, question.bounds, low.task_s)


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


def _ordered(question: Question, ways: list[Way]) -> list[Way]:
    """Those that a site has room for, the cheapest first; of equals the one that asks for least.

    Last come those with groups: the guess, which sees only means, is too good for them.
    """

    def key(way: Way) -> tuple[bool, float, float, str]:
        grouped = any(one.machine.groups > 1 for one in way.guess.layouts)
        return grouped, way.guess.costs(question.aim), way.asks, str(way.guess)

    return sorted((way for way in ways if question.within(way.least)), key=key)


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

    if len(start.layouts) == 1:
        return _bisect(least, start, allowed, play, fine)
    return _balance(question, least, start, allowed, play)


def _bisect(
    least: Unit,
    start: Unit,
    allowed: Callable[[Unit], bool],
    play: Callable[[Unit], Trial],
    fine: bool,
) -> Unit | None:
    def of(replicas: int) -> Unit:
        return Unit(start.layouts, (replicas,))

    def holds(unit: Unit) -> bool:
        return play(unit).verdict.holds

    low, number = least.replicas[0] - 1, start.replicas[0]  # `low` does not hold
    while number > low + 1 and not allowed(of(number)):
        number = low + 1 + (number - low - 1) // 2
    if not allowed(of(number)):
        return None
    step = max(round(0.03 * number), 1) if fine else max(number // 2, 1)
    high: int | None = None
    miss, stuck = inf, 0
    while high is None:
        trial = play(of(number))
        if trial.verdict.holds:
            high = number
            break
        # Where growing helps no more, another layout is needed.
        stuck += -trial.verdict.room > 0.9 * miss
        miss = min(miss, -trial.verdict.room)
        if stuck > 1 or (stuck and miss > HOPELESS):
            return _few(least, start.replicas[0] - 1, allowed, holds)
        low, wanted = number, number + step
        step *= 2
        while wanted > low + 1 and not allowed(of(wanted)):
            wanted = low + 1 + (wanted - low - 1) // 2
        if not allowed(of(wanted)) or wanted > GROWN_MOST * max(start.replicas[0], 1):
            return _few(least, start.replicas[0] - 1, allowed, holds)
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
    # Where memory or a policy limits the batch, fewer replicas may keep a bound that more break.
    return _few(least, high - 1, allowed, holds) or of(high)


def _few(
    least: Unit, most: int, allowed: Callable[[Unit], bool], holds: Callable[[Unit], bool]
) -> Unit | None:
    """The first of few replicas, at most `most`, that holds."""
    for number in range(least.replicas[0], min(most, SCANNED) + 1):
        unit = Unit(least.layouts, (number,))
        if allowed(unit) and holds(unit):
            return unit
    return None


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
