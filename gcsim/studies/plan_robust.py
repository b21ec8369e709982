"""What a family costs where its chips' values are others than the profiles say, and who wins then.

Assumed, claimed and fitted values that have a low and a high (`gcsim.studies.bands`) go to the end
of their ranges: those of one cause of one chip, or all at once. The family's best is bound anew,
the roofline says by how much its replicas grow or shrink, and runs decide; where it does not serve
the load at any size the family is searched anew. A chip's price has a range too, and needs no run.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any, Literal

from gcsim.errors import ProfileError
from gcsim.profiles.base import Quantity
from gcsim.profiles.chip import Chip
from gcsim.profiles.load import validate
from gcsim.profiles.resolve import load_chip
from gcsim.results.cost import served_usd_per_hour
from gcsim.studies.bands import CAUSES, shifted
from gcsim.studies.layouts import Demand, Layout, demand_of, layout_of
from gcsim.studies.parallel import Fraction, called
from gcsim.studies.plan_question import Found, Player, Question, Unit
from gcsim.studies.plan_replicas import fewest
from gcsim.studies.plan_search import search, way_of

ENDS = ("slow", "fast")
PRICE_ENDS: tuple[Literal["low", "high"], ...] = ("low", "high")


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


def moved(
    question: Question, unit: Unit, end: str, cause: str | None = None, chip: str | None = None
) -> Question | None:
    """The question with values of a unit's chips at one end; None where none has a range.

    cause: None: those of all causes; chip: of this one only.
    """
    try:
        found = shifted(question.resolved(unit, 1), cause, end, chip)
    except ProfileError:  # an end that is no chip: `gcsim run --bands` says which
        return None
    if found is None:
        return None
    pools = found.mapping["deployment"]["pools"].values()
    return replace(question, replaced={pool["chip"]["name"]: pool["chip"] for pool in pools})


def found_then(question: Question, unit: Unit) -> Found:
    """The best of a family whose best was `unit`, with the values of a `moved` question.

    In slices, where the unit is large: `gcsim.studies.plan_question.Player`.
    """
    chips = [validate(Chip, question.replaced[one.chip], one.chip) for one in unit.layouts]
    demand = demand_of(question.base.scenario)
    found = Found(unit.family)
    start = _scaled(question, unit, chips, demand)
    if start is not None:
        play = Player(question, found).sliced
        least = Unit(start.layouts, tuple(1 for _ in start.replicas))
        found.best = fewest(question, play, least, start, fine=True)
    if found.best is None:
        tried = found.trials
        found = search(question, chips, known=tried)
        found.reused = 0  # all of these are this search's own
        mine = {id(trial) for trial in found.trials}
        found.trials += [trial for trial in tried if id(trial) not in mine]
    else:
        found.trial = play(found.best)
        found.sliced = found.trial.load != question.load
    return found


def _scaled(question: Question, unit: Unit, chips: Sequence[Chip], demand: Demand) -> Unit | None:
    """The unit on other chips, with replicas as the roofline asks; None: it cannot be, or hold."""
    made: list[Layout] = []
    replicas: list[int] = []
    for one, n, chip in zip(unit.layouts, unit.replicas, chips, strict=True):
        layout = layout_of(question.base.scenario, chip, one.pool, question.site)
        if not isinstance(layout, Layout):
            return None
        now, then = (way_of(question, each, demand) for each in (layout, one))
        if isinstance(now, str):
            return None
        times = 1.0 if isinstance(then, str) else now.asks / then.asks
        made.append(replace(layout, usual=one.usual))
        replicas.append(max(round(n * times), 1))
    return Unit(tuple(made), tuple(replicas))


def sways(
    question: Question,
    answer: Found,
    rivals: Sequence[Found],
    jobs: int | None,
    tell: Fraction,
) -> tuple[Sway, ...]:
    """Every cause of every chip of the answer and its rivals, at both ends."""
    units = [one.best for one in (answer, *rivals) if one.best is not None]
    if len(units) < 2:
        return ()
    chips = dict.fromkeys(layout.chip for unit in units for layout in unit.layouts)
    asked = [
        (question, units, chip, cause, end) for chip in chips for cause in CAUSES for end in ENDS
    ]
    found = called(_sway, asked, jobs, tell)
    if question.aim == "cost":
        found += [_priced(question, units, chip, end) for chip in chips for end in PRICE_ENDS]
    return tuple(sway for sway in found if sway is not None)


def _priced(
    question: Question, units: Sequence[Unit], name: str, end: Literal["low", "high"]
) -> Sway | None:
    """What the units cost with the price of a chip at one end; None where it has no range."""
    chip = load_chip(name, question.base.library)
    numbers: dict[str, Quantity | None] = {
        "usd_per_chip_hour": chip.price.usd_per_chip_hour,
        "purchase": chip.price.purchase,
    }
    ends = {
        key: number.model_copy(update={"value": getattr(number, end)})
        for key, number in numbers.items()
        if number is not None and getattr(number, end) not in (None, number.value)
    }
    other = chip.model_copy(update={"price": chip.price.model_copy(update=ends)})
    usd, before = (served_usd_per_hour(one, question.site) for one in (other, chip))
    if usd == before:
        return None
    costs = [
        sum(
            n * (one.chips * usd if one.chip == name else one.usd_per_hour)
            for n, one in zip(unit.replicas, unit.layouts, strict=True)
        )
        for unit in units
    ]
    return _swayed(units, costs, name, "price", end, 0)


def _sway(
    question: Question, units: Sequence[Unit], chip: str, cause: str, end: str
) -> Sway | None:
    """What the units cost with a cause of a chip at one end; None where nothing moves."""
    others = [moved(question, unit, end, cause, chip) for unit in units]
    if not any(others):
        return None
    costs: list[float] = []
    runs = 0
    for unit, other in zip(units, others, strict=True):
        found = found_then(other, unit) if other is not None else None
        costs.append(unit.costs(question.aim) if found is None else found.costs(question.aim))
        runs += found.runs if found is not None else 0
    return _swayed(units, costs, chip, cause, end, runs)


def _swayed(
    units: Sequence[Unit], costs: Sequence[float], chip: str, cause: str, end: str, runs: int
) -> Sway:
    rival = min(range(1, len(units)), key=lambda k: costs[k])
    answer, other = (cost if cost < inf else None for cost in (costs[0], costs[rival]))
    overturns = costs[rival] < costs[0]
    return Sway(chip, cause, end, answer, other, units[rival].family, overturns, runs)
