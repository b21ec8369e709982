"""How many replicas a layout needs, or two pools: searched, for more replicas never serve worse.

Once something serves the load, only what costs less is worth a run. So the most replicas that would
are played first: where these miss, one run has discarded the layout.
"""

from collections.abc import Callable
from math import inf

from gcsim.studies.plan_question import Question, Trial, Unit

Play = Callable[[Unit], Trial]
Allowed = Callable[[Unit], bool]

GROWN_MOST = 40.0  # times what the roofline asks for: beyond that a family does not serve it
FAR = 2.0  # times the guess: where more would be allowed the guess is played first
SCANNED = 4  # replicas: so few are all tried
HOPELESS = 1.0  # of a bound: a run that misses by more, and no less with more replicas
ROOMY = 0.1  # of a bound: with so much left the next step down is a longer one
GROWTHS = 16  # of two pools


def fewest(
    question: Question,
    play: Play,
    least: Unit,
    start: Unit,
    limit: float = inf,
    fine: bool = False,
) -> Unit | None:
    """The cheapest number of replicas that holds, below `limit`; None when there is none.

    least, start: of the same layouts: fewer are not tried, and the guess; fine: the guess is known
    to be near. One pool: bisected. Two: the pool that binds is grown, then each is shrunk while the
    SLO holds.
    """

    def allowed(unit: Unit) -> bool:
        return unit.costs(question.aim) < limit and question.within(unit)

    if len(start.layouts) == 1:
        return _bisect(least, start, allowed, play, limit < inf, fine)
    return _balance(question, least, start, allowed, play)


def _bisect(
    least: Unit, start: Unit, allowed: Allowed, play: Play, limited: bool, fine: bool
) -> Unit | None:
    def of(replicas: int) -> Unit:
        return Unit(start.layouts, (replicas,))

    first, guess = least.replicas[0], start.replicas[0]
    most = _most(lambda number: allowed(of(number)), first, round(GROWN_MOST * guess))
    if most < first:
        return None
    guess = min(max(guess, first), most)
    high = _holding(of, play, first, guess, most, limited, fine)
    if high is None:
        return None
    number, low = high
    if low < guess < number:  # the most that is allowed holds: the guess is played after all
        number, low = (guess, low) if play(of(guess)).verdict.holds else (number, guess)
    step = 1 if fine else max((number - low) // 2, 1)
    while number - low > 1:
        middle = max(number - step, low + 1)
        trial = play(of(middle))
        if trial.verdict.holds:
            number = middle
            step = max(min(step * 2 if trial.verdict.room > ROOMY else 1, (number - low) // 2), 1)
        else:
            low = middle
            step = max((number - low) // 2, 1)
    # Where memory or a policy limits the batch, fewer replicas may keep a bound that more break.
    return _few(of, play, first, number - 1) or of(number)


def _most(allowed: Callable[[int], bool], first: int, most: int) -> int:
    """The largest number up to `most` that is allowed; less than `first` where none is."""
    low, high = first - 1, max(most, first) + 1
    while high - low > 1:
        middle = low + (high - low) // 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low


def _holding(
    of: Callable[[int], Unit],
    play: Play,
    first: int,
    guess: int,
    most: int,
    limited: bool,
    fine: bool,
) -> tuple[int, int] | None:
    """A number that holds, and the largest that is known not to; None where nothing allowed does.

    Where growing helps no more, another layout is needed.
    """
    low = first - 1
    number = most if limited and most <= FAR * guess else guess
    step = max(round(0.03 * number), 1) if fine else max(number // 2, 1)
    miss, stuck = inf, 0
    while True:
        trial = play(of(number))
        if trial.verdict.holds:
            return number, low
        missed = -trial.verdict.room
        stuck += missed > 0.9 * miss
        miss = min(miss, missed)
        if number == most or stuck > 1 or (stuck and miss > HOPELESS):
            few = _few(of, play, first, min(guess, number) - 1) if miss <= HOPELESS else None
            return (few.replicas[0], few.replicas[0] - 1) if few is not None else None
        low, number = number, min(number + step, most)
        step *= 2


def _few(of: Callable[[int], Unit], play: Play, first: int, most: int) -> Unit | None:
    """The first of few replicas, at most `most`, that holds; all where these are few."""
    first = first if most <= SCANNED else max(first, most // 2)
    for number in range(first, min(most, SCANNED) + 1):
        if play(of(number)).verdict.holds:
            return of(number)
    return None


def _balance(
    question: Question, least: Unit, start: Unit, allowed: Allowed, play: Play
) -> Unit | None:
    unit = start
    while not allowed(unit):
        both = zip(unit.replicas, least.replicas, strict=True)
        smaller = tuple(max(n * 3 // 4, low) for n, low in both)
        if smaller == unit.replicas:
            return None
        unit = Unit(unit.layouts, smaller)
    grown = _grown(unit, max(start.replicas), allowed, play)
    return _shrunk(question, grown, least, play) if grown is not None else None


def _grown(unit: Unit, most: int, allowed: Allowed, play: Play) -> Unit | None:
    """Two pools, the one that binds a third larger each time, until the SLO holds."""
    room, idle = -inf, 0
    for _ in range(GROWTHS):
        trial = play(unit)
        if trial.verdict.holds:
            return unit
        # Where growing helps no more, another layout is needed.
        idle = idle + 1 if room > -inf and trial.verdict.room < room + 0.01 else 0
        if idle == 3:
            return None
        room = max(room, trial.verdict.room)
        pool = _binding_pool(trial)
        replicas = list(unit.replicas)
        replicas[pool] += max(replicas[pool] // 3, 1)
        unit = Unit(unit.layouts, tuple(replicas))
        if not allowed(unit) or max(unit.replicas) > GROWN_MOST * most:
            return None
    return None


def _shrunk(question: Question, unit: Unit, least: Unit, play: Play) -> Unit:
    """Two pools, each as small as the SLO allows."""
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
