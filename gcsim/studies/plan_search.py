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


def search(question: Question, chips: Sequence[Chip], whole: bool = False) -> Found:
    """The best unit of one family: one chip, or two (prefill, decode).

    whole: every run has all agents; else large loads are searched by slices.
    """
    found = Found(" + ".join(chip.name for chip in chips))
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
                guesses.append((ways[0][1].costs(question.aim), (one, two)))
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


def _mixed(question: Question, chip: Chip, demand: Demand, found: Found) -> list[tuple[Unit, Unit]]:
    """Layouts of a chip that does both: (at the least, a guess), the cheapest guess first."""
    ways = []
    for layout, low in _sound(question, chip, "mixed", demand, found):
        rate = _rate(question, demand, low)
        least = replicas_least(rate, low.busy_s)
        seqs = _at_once(question, demand, low)
        guess = max(ceil(rate * low.busy_s / BUSY), ceil(seqs / max(low.seqs, 1)), 1)
        ways.append((Unit((layout,), (least,)), Unit((layout,), (guess,))))
    return _ordered(question, ways)


def _side(
    question: Question, chip: Chip, role: str, demand: Demand, found: Found
) -> list[tuple[Unit, Unit]]:
    """The best few layouts of one pool of a pair: (at the least, a guess)."""
    ways = []
    for layout, low in _sound(question, chip, role, demand, found):
        rate = _rate(question, demand, low)
        busy_s = low.prefill_s if role == "prefill" else low.decode_s
        guess = max(ceil(rate * busy_s / BUSY), 1)
        if role == "decode":
            guess = max(guess, ceil(_at_once(question, demand, low) / max(low.seqs, 1)))
        ways.append((Unit((layout,), (replicas_least(rate, busy_s),)), Unit((layout,), (guess,))))
    return sorted(ways, key=lambda way: way[1].costs(question.aim))[:PAIRS_PLAYED]


def _paired(
    question: Question, first: list[tuple[Unit, Unit]], second: list[tuple[Unit, Unit]]
) -> list[tuple[Unit, Unit]]:
    """Every layout of one pool with every one of the other: (at the least, a guess)."""

    def both(one: Unit, two: Unit) -> Unit:
        return Unit(one.layouts + two.layouts, one.replicas + two.replicas)

    ways = [(both(a[0], b[0]), both(a[1], b[1])) for a in first for b in second]
    return _ordered(question, ways)


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
            few = range(least.replicas[0], min(start.replicas[0], SCANNED + 1))
            return next((of(n) for n in few if allowed(of(n)) and holds(of(n))), None)
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
    few = range(least.replicas[0], min(high, SCANNED + 1))
    return next((of(number) for number in few if holds(of(number))), of(high))


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
