"""The cheapest deployment that serves N agents within an SLO: chips, layouts, replicas.

A chip family is a chip that does both phases, or a pair that prefills and decodes. For each family

1. the roofline discards layouts in which a lone request already breaks a bound, and says from below
   how many replicas the others need (`gcsim.studies.layouts`); of what a layout may be served with
   (stack, speculation) it keeps the best and what is usual;
2. the layouts that are left are played, the most promising first, and replicas bisected
   (`gcsim.studies.plan_replicas`). Where that takes very many agents, a slice is played: agents and
   replicas in the same proportion;
3. what misses the SLO by little and would cost less is played with other limits of its batches
   (`gcsim.studies.plan_tune`);
4. the best of the cheapest families are played with all agents, and grown until the SLO holds.

Every decision is a run's, with its interval (`gcsim.studies.slo`); the same in any number of
processes, for each family is searched by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, inf
from typing import Any, NamedTuple

from gcsim.profiles.chip import Chip
from gcsim.studies.layouts import (
    USUAL,
    Choice,
    Demand,
    Floor,
    Layout,
    choices,
    demand_of,
    floor,
    layouts,
    replicas_least,
    tasks_per_s,
)
from gcsim.studies.plan_question import Found, Player, Question, Trial, Unit
from gcsim.studies.plan_replicas import fewest
from gcsim.studies.plan_tune import tune

PAIRED = ("prefill", "decode")
LAYOUTS_PLAYED = 8  # of a family: the most promising by the roofline
PAIRS_PLAYED = 3  # layouts of each of the two pools
BUSY = 0.6  # how busy a pool is that keeps an SLO, for a first guess
SURE = 1.25  # times what is allowed: a layout that is thought to need more is not played


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
) -> Found:
    """The best unit of one family: one chip, or two (prefill, decode).

    whole: every run has all agents; else replicas stand for each other. known: runs that need not
    be played again.
    """
    found = Found(" + ".join(chip.name for chip in chips))
    player = Player(question, found, known)
    demand = demand_of(question.base.scenario)
    if len(chips) == 1:
        ways = _ordered(question, _ways(question, chips[0], "mixed", demand, found))
    else:
        first, second = (
            _side(question, chip, role, demand, found)
            for chip, role in zip(chips, PAIRED, strict=True)
        )
        ways = _paired(question, first, second)
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
        unit = fewest(question, play, way.least, start, limit)
        if unit is not None:
            both = zip(unit.replicas, way.guess.replicas, strict=True)
            slack = max(n / guessed for n, guessed in both)
            one = _costs_of(question, unit.layouts, [1] * len(unit.layouts))
            # It took more than a replica less, and as many at most: in the middle, half one less.
            factor = min(max(unit.costs(question.aim) - one / 2, one / 2) / way.asks, 1.0)
            found.best, found.trial = unit, play(unit)
    if question.tuned:
        tune(question, found, play)
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
    unit = fewest(question, player.whole, least, found.best, fine=True)
    found.best, found.trial = unit, player.whole(unit) if unit is not None else None
    found.sliced = False
    return found


def way_of(question: Question, layout: Layout, demand: Demand) -> Way | str:
    """Replicas of a layout in its role, at the least and as guessed; or why it breaks a bound."""
    low = floor(layout, demand, question.bounds)
    if low.why:
        return low.why
    rate = _rate(question, demand, low)
    role = layout.pool["role"]
    busy_s = {"mixed": low.busy_s, "prefill": low.prefill_s, "decode": low.decode_s}[role]
    seqs = 0.0 if role == "prefill" else _at_once(question, demand, low) / max(low.seqs, 1)
    return _way(question, layout, rate * busy_s, seqs)


def _ways(question: Question, chip: Chip, role: str, demand: Demand, found: Found) -> list[Way]:
    """Of every shape that keeps the bounds what is usual, and the best of all that it may have."""
    best: dict[str, list[Way]] = {}
    for choice in _choices(question, chip, role):
        for way in _sound(question, chip, role, choice, demand, found):
            pool = way.guess.layouts[0].pool
            mine = best.setdefault(f"{pool['tp']} {pool['ep']} {pool['pp']}", [])
            if choice == USUAL or not mine:
                mine.append(way)
            elif mine[-1].asks > way.asks:
                # The usual one stays: the roofline does not see how a stack forms its batches.
                usual = mine[:1] if _is_usual(mine[0]) else []
                mine[:] = [*usual, way]
    return [way for ways in best.values() for way in ways]


def _is_usual(way: Way) -> bool:
    pool = way.guess.layouts[0].pool
    return not (pool.get("stack") or pool.get("speculation"))


def _choices(question: Question, chip: Chip, role: str) -> list[Choice]:
    if not question.tuned:
        return [USUAL]
    pools = question.base.mapping["deployment"]["pools"].values()
    drafts: list[Mapping[str, Any]] = []
    for pool in pools:
        if pool.get("speculation") and pool["speculation"] not in drafts:
            drafts.append(pool["speculation"])
    return choices(chip, role, drafts)


def _side(question: Question, chip: Chip, role: str, demand: Demand, found: Found) -> list[Way]:
    """The best few layouts of one pool of a pair."""
    ways = _ways(question, chip, role, demand, found)
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
    question: Question, chip: Chip, role: str, choice: Choice, demand: Demand, found: Found
) -> Iterator[Way]:
    """The layouts of a chip in a role whose floors keep the bounds; why others do not is noted."""
    base = question.base
    made, whys = layouts(base.scenario, chip, role, question.site, choice, library=base.library)
    if not made and whys:
        found.whys.append(f"{chip.name}: {whys[-1]}")
    for layout in made:
        way = way_of(question, layout, demand)
        if isinstance(way, str):
            found.whys.append(f"{layout.name}: {way}")
        else:
            yield way


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
