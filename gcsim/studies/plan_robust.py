"""Which assumed or fitted value would change a plan: each cause is moved to its ends by itself.

The values of one cause (`gcsim.studies.bands.CAUSES`) of one chip move together. Where the answer
does not hold any more it is grown until it does; where growing does not help, its family is
searched anew; where a rival holds with less it is shrunk. The choice is overturned when the rival
then costs less.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

from gcsim.errors import CapacityError
from gcsim.profiles.chip import Chip
from gcsim.profiles.load import validate
from gcsim.simulate import simulate
from gcsim.studies.bands import CAUSES, shifted
from gcsim.studies.parallel import Fraction, called
from gcsim.studies.plan_question import Found, Player, Question, Unit
from gcsim.studies.plan_search import search
from gcsim.studies.slo import verdict

GROWN: tuple[float, ...] = (1.0, 1.15, 1.35, 1.6, 2.0, 3.0)
SHRUNK: tuple[float, ...] = (0.85, 0.7, 0.5, 0.35)


@dataclass(frozen=True, slots=True)
class Sway:
    """One cause of one chip at one end: what the answer and the cheapest rival cost then.

    answer, rival: None where it does not hold at any size that was tried; overturns: the rival is
    cheaper.
    """

    chip: str
    cause: str
    end: str
    answer: float | None
    rival: float | None
    rival_family: str
    overturns: bool
    runs: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def sways(
    question: Question,
    answer: Found,
    rivals: Sequence[Found],
    jobs: int | None,
    tell: Fraction,
) -> tuple[Sway, ...]:
    """Every cause of every chip of the answer and its rivals, at both ends."""
    assert answer.best is not None
    if not rivals:
        return ()
    units = [one.best for one in (answer, *rivals) if one.best is not None]
    chips = dict.fromkeys(layout.chip for unit in units for layout in unit.layouts)
    asked = [
        (question, units, chip, cause, end)
        for chip in chips
        for cause in CAUSES
        for end in ("slow", "fast")
        if any(_moves(question, unit, chip, cause, end) for unit in units)
    ]
    return tuple(called(_sway, asked, jobs, tell))


def _moves(question: Question, unit: Unit, chip: str, cause: str, end: str) -> bool:
    return shifted(question.resolved(unit, 1), cause, end, chip) is not None


def _sway(question: Question, units: Sequence[Unit], chip: str, cause: str, end: str) -> Sway:
    costs: list[float] = []
    runs = 0
    for unit in units:
        cost, played = _cost(question, unit, chip, cause, end)
        costs.append(cost)
        runs += played
    rival = min(range(1, len(units)), key=lambda k: costs[k])
    return Sway(
        chip,
        cause,
        end,
        costs[0] if costs[0] < inf else None,
        costs[rival] if costs[rival] < inf else None,
        units[rival].family,
        costs[rival] < costs[0],
        runs,
    )


def _cost(question: Question, unit: Unit, chip: str, cause: str, end: str) -> tuple[float, int]:
    """What a family costs with a cause of a chip at one end, and how many runs that took."""
    moved = shifted(question.resolved(unit, 1), cause, end, chip)
    if moved is None:
        return unit.costs(question.aim), 0
    pools = moved.mapping["deployment"]["pools"].values()
    changed = {pool["chip"]["name"]: pool["chip"] for pool in pools}
    other, runs, best = replace(question, replaced=changed), 0, inf
    sizes = GROWN
    while sizes:
        scaled = Unit(unit.layouts, tuple(max(round(n * sizes[0]), 1) for n in unit.replicas))
        runs += 1
        if _holds(other, scaled):
            best = min(best, scaled.costs(question.aim))
            # It holds as it is: with less, perhaps. Where it had to grow, nothing smaller does.
            sizes = SHRUNK if sizes == GROWN else sizes[1:] if sizes[0] < 1.0 else ()
        else:
            sizes = sizes[1:] if sizes[0] >= 1.0 else ()
    if best < inf:
        return best, runs
    chips = [validate(Chip, changed[layout.chip], layout.chip) for layout in unit.layouts]
    found = search(other, chips)
    cost = found.best.costs(question.aim) if found.best is not None else inf
    return cost, runs + len(found.trials)


def _holds(question: Question, unit: Unit) -> bool:
    sliced, load = Player.slice_of(question, unit)
    try:
        return verdict(simulate(question.resolved(sliced, load)).summary, question.bounds).holds
    except CapacityError:
        return False
