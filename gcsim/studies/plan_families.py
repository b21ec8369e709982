"""Families of chips side by side, at one load or several: the search that both kinds of plan share.

Each chip alone, then the pairs that by the roofline do not cost half as much again as the best of
these; the cheapest at each load are played with all agents, until none that was not could be
cheaper. A load is searched for itself: only runs are shared, so its answer does not depend on which
other loads are asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

from gcsim.errors import ProfileError
from gcsim.profiles.chip import Chip
from gcsim.studies.layouts import chips_of
from gcsim.studies.parallel import Fraction, called
from gcsim.studies.plan_question import Found, Question, Trial
from gcsim.studies.plan_search import guessed_pairs, search, settle

PAIRS_MOST = 12  # chip pairs that are searched: the most promising by the roofline
PAIRS_WORTH = 1.5  # times the best chip alone: what is guessed to cost more is not searched
SETTLED_MOST = 4  # families that are played with all agents
Family = tuple[Chip, ...]


@dataclass(frozen=True, slots=True)
class AtLoad:
    """The families at one load, the answer first, then by cost, then those that do not serve it.

    question: with this load; answer: the cheapest with all agents, None where nothing serves it;
    left_out: pairs that the roofline puts behind.
    """

    question: Question
    families: tuple[Found, ...] = field(repr=False)
    answer: Found | None
    left_out: int = 0

    @property
    def rivals(self) -> list[Found]:
        """What else serves the load, the cheapest first."""
        return [one for one in self.families if one is not self.answer and one.best is not None]

    @property
    def runs(self) -> int:
        """How many simulations it took."""
        return sum(one.runs for one in self.families)


def at_loads(
    question: Question,
    loads: Sequence[float],
    families: Sequence[Family],
    pairs: bool,
    *,
    jobs: int | None,
    tell: Fraction,
) -> list[AtLoad]:
    """All families at each load. pairs: also those of the chips that stand alone in `families`."""
    questions = [replace(question, load=load) for load in loads]
    calls = [(question, loads, one) for one in families]
    every = called(_over, calls, jobs, lambda done: tell(0.4 * done))
    by_load = [list(row) for row in zip(*every, strict=True)]
    left_out = [0] * len(loads)
    if pairs:
        chips = [family[0] for family in families if len(family) == 1]
        wanted: dict[str, tuple[list[float], Family]] = {}
        for place, load in enumerate(loads):
            couples, left_out[place] = _couples(questions[place], chips, by_load[place])
            for couple in couples:
                name = " + ".join(chip.name for chip in couple)
                wanted.setdefault(name, ([], couple))[0].append(load)
        calls = [(question, mine, couple) for mine, couple in wanted.values()]
        played = called(_over, calls, jobs, lambda done: tell(0.4 + 0.4 * done))
        for (mine, _), found in zip(wanted.values(), played, strict=True):
            for load, one in zip(mine, found, strict=True):
                by_load[loads.index(load)].append(one)
    asked = list(zip(questions, by_load, strict=True))
    settled = called(_settled, asked, jobs, lambda done: tell(0.8 + 0.2 * done))
    return [replace(one, left_out=n) for one, n in zip(settled, left_out, strict=True)]


def families_of(question: Question, names: Sequence[str] | None) -> tuple[list[Family], bool]:
    """Each chip, or pair that is named (`a+b`), and whether none is; None: all chips.

    Errors: `ProfileError` with every name that is none.
    """
    known = question.base.library
    given = names or sorted(known.profiles("chip"))
    asked = [tuple(part.strip() for part in name.split("+")) for name in given]
    if odd := ["+".join(parts) for parts in asked if len(parts) > 2]:
        raise ProfileError.one("plan", "--chips", odd[0], "is no pair", "write prefill+decode")
    every = list(dict.fromkeys(name for parts in asked for name in parts))
    chips = dict(zip(every, chips_of(every, known), strict=True))
    families = {tuple(chips[name].name for name in parts): parts for parts in asked}
    found = [tuple(chips[name] for name in parts) for parts in families.values()]
    return found, any(len(family) > 1 for family in found)


def _over(question: Question, loads: Sequence[float], chips: Family) -> list[Found]:
    """A family at each load. Runs that several loads ask for are played once."""
    trials: list[Trial] = []
    every: list[Found] = []
    for load in loads:
        every.append(search(replace(question, load=load), chips, known=trials))
        trials += every[-1].trials
    return every


def _couples(
    question: Question, chips: Sequence[Chip], singles: Sequence[Found]
) -> tuple[list[Family], int]:
    """The pairs worth a search by what the roofline asks for, and how many are not."""
    best = min((one.costs(question.aim) for one in singles), default=inf)
    guesses = guessed_pairs(question, chips)
    worth = [pair for guess, pair in guesses if guess < PAIRS_WORTH * best][:PAIRS_MOST]
    return worth, len(chips) ** 2 - len(worth)


def _settled(question: Question, results: list[Found]) -> AtLoad:
    """The cheapest families played with all agents, until none that was not could be cheaper."""

    def ordered() -> list[Found]:
        return sorted(results, key=lambda one: (one.costs(question.aim), one.family))

    for _ in range(SETTLED_MOST):
        first = ordered()[0]
        if first.best is None or not first.sliced:
            break
        settle(question, first)
    whole = [one for one in ordered() if one.best is not None and not one.sliced]
    answer = next(iter(whole), None)
    return AtLoad(question, tuple(sorted(ordered(), key=lambda one: one is not answer)), answer)
