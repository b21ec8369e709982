"""A plan over load: what each family of chips takes from one agent to many, and its range.

Every load is a plan of its own (`gcsim.studies.plan_search`), so that each family stands with the
layout that serves it best there. Besides, the same is searched with all assumed and claimed values
of a family's chips at the slow and at the fast end of their ranges (`gcsim.studies.bands`), all at
once. Where the ranges of two families overlap their order hangs on values that nobody knows.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd

from gcsim.errors import ProfileError
from gcsim.profiles.chip import Chip
from gcsim.profiles.load import validate
from gcsim.profiles.resolve import Resolved, resolve
from gcsim.results.html import Shown
from gcsim.studies.bands import shifted
from gcsim.studies.layouts import chips_of
from gcsim.studies.load_curve import check_loads
from gcsim.studies.parallel import Fraction, called, nobody
from gcsim.studies.plan import PAIRS_MOST, Terms, question_of
from gcsim.studies.plan_question import Found, Player, Question, Trial, checked
from gcsim.studies.plan_search import guessed_pairs, search
from gcsim.studies.slo import Bound
from gcsim.studies.sweep_table import plain_rows
from gcsim.version import __version__

ENDS = ("slow", "fast")
UNKNOWN = ("assumed", "vendor_claim")  # kinds of values that move; what is fitted has its error
Family = tuple[Chip, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """One family at one load: its best deployment, and what it would be at either end of values.

    best: its `best` is None where nothing serves the load, and `why`; slow, fast: with the assumed
    values of its chips at their ends, None where none of them has a range.
    """

    load: float
    family: str
    best: Found
    slow: Found | None = None
    fast: Found | None = None

    @property
    def why(self) -> str:
        """What binds, or why nothing serves the load."""
        if self.best.trial is not None:
            return self.best.trial.verdict.binds
        near = self.best.nearest
        return f"nearest {near.unit}: {near.verdict.binds}" if near else _first(self.best.whys)

    @property
    def usd_per_hour(self) -> float:
        """Of the best; infinite where nothing serves the load."""
        return _usd_per_hour(self.best)

    @property
    def ends(self) -> tuple[float, float]:
        """USD/h at the least and at the most, the value as it is among them; inf: nothing serves.

        Not USD per task: families are played with other slices of the load, so with other tasks,
        whose time with tools differs by chance.
        """
        ends = [_usd_per_hour(one) for one in (self.best, self.slow, self.fast) if one is not None]
        return min(ends), max(ends)


@dataclass(frozen=True)
class PlanOverLoad(Shown):
    """What was found: a row per load and family, the cheapest of each load first.

    question: with the largest load; runs: how many simulations; ranges: whether ends were played.
    """

    question: Question = field(repr=False)
    served: tuple[Served, ...] = field(repr=False)
    runs: int
    ranges: bool

    @property
    def loads(self) -> tuple[float, ...]:
        """The loads, rising."""
        return tuple(dict.fromkeys(one.load for one in self.served))

    def at(self, load: float) -> list[Served]:
        """The families at a load, the cheapest first."""
        return [one for one in self.served if one.load == load]

    def rivals(self, load: float) -> list[Served]:
        """Families that may cost less than the first: their ranges overlap."""
        first, *others = self.at(load)
        return [one for one in others if one.ends[0] < first.ends[1] and one.ends[0] < inf]

    @property
    def table(self) -> pd.DataFrame:
        """A row per load and family."""
        return pd.DataFrame([_row(one) for one in self.served])

    def to_dict(self) -> dict[str, Any]:
        """What `gcsim plan --load ... --format json` prints."""
        asked = self.question
        return {
            "version": __version__,
            "scenario": asked.base.scenario.name,
            "model": asked.base.scenario.model.name,
            "load_kind": asked.kind,
            "loads": list(self.loads),
            "slo": [str(bound) for bound in asked.bounds],
            "minimize": asked.aim,
            "runs": self.runs,
            "families": plain_rows(self.table),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, default=str)

    def __repr__(self) -> str:
        return f"PlanOverLoad({', '.join(f'{load:g}' for load in self.loads)} {self.question.kind})"


def plan_over_load(
    scenario: str | Path | Resolved,
    loads: Sequence[float],
    slo: str | Sequence[Bound] | None = None,
    *,
    chips: Sequence[str] | None = None,
    terms: Terms | None = None,
    settings: dict[str, Any] | None = None,
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> PlanOverLoad:
    """The cheapest deployment of each family of chips at each load, with its range.

    loads: agents of closed loops, or tasks per second where the scenario's arrivals are open; the
    rest as `gcsim.studies.plan.plan` has it. chips: `a+b` is prefill on one, decode on the other;
    with any such no other pairs are searched. `terms.robustness`: also at both ends of the values.
    Errors: `ProfileError`.

    >>> import gcsim
    >>> from gcsim.studies.plan import Terms
    >>> chips, alone = ["h200-sxm"], Terms(pairs=False, robustness=False)
    >>> few = {"run.trajectories": 8}
    >>> asked = {"chips": chips, "terms": alone, "settings": few}
    >>> found = gcsim.plan_over_load("coding-agents", [1, 2], **asked)
    >>> [found.at(load)[0].family for load in found.loads]
    ['h200-sxm', 'h200-sxm']
    """
    terms = terms or Terms()
    base = resolve(scenario, settings)
    asked = question_of(base, None, slo, terms)
    loads = check_loads(asked.kind, loads)
    checked(asked)
    asked = replace(asked, load=loads[-1])
    tell = progress or nobody
    families = _families(asked, loads, chips, terms.pairs)
    calls = [(asked, loads, one) for one in families]
    played = called(over_loads, calls, jobs, lambda done: tell(0.6 * done))
    served, runs = _with_ends(asked, loads, families, played, terms.robustness, jobs, tell)
    ordered = sorted(served, key=lambda one: (one.load, one.usd_per_hour, one.family))
    return PlanOverLoad(asked, tuple(ordered), runs, terms.robustness)


def over_loads(
    question: Question, loads: Sequence[float], chips: Family, only: Sequence[str] = ()
) -> list[Found]:
    """The best of a family at each load. Runs that several loads ask for are played once.

    What serves more agents serves fewer: where that is cheaper than what was found it is played.
    only: layouts by name, and all where none of these serves a load; none: all.
    """
    trials: list[Trial] = []
    every: list[Found] = []
    for load in loads:
        found = search(replace(question, load=load), chips, known=trials, only=only)
        if only and found.best is None:
            found = search(replace(question, load=load), chips, known=found.trials)
        trials = list(found.trials)
        every.append(found)
    for place in range(len(loads) - 2, -1, -1):
        mine, more = every[place], every[place + 1]
        if more.best is None:
            continue
        if mine.best is None or more.best.costs(question.aim) < mine.best.costs(question.aim):
            player = Player(replace(question, load=loads[place]), mine)
            trial = player.sliced(more.best)
            if trial.verdict.holds:
                mine.best, mine.trial = more.best, trial
                mine.sliced = trial.load != loads[place]
    return every


def _families(
    question: Question, loads: Sequence[float], names: Sequence[str] | None, pairs: bool
) -> list[Family]:
    """Each chip, and pairs: those that are named (`a+b`), else the cheapest by the roofline."""
    known = question.base.library
    given = [name.split("+") for name in names or sorted(known.profiles("chip"))]
    asked = [tuple(part.strip() for part in parts) for parts in given]
    if odd := ["+".join(parts) for parts in asked if len(parts) > 2]:
        raise ProfileError.one("plan", "--chips", odd[0], "is no pair", "write prefill+decode")
    every = dict.fromkeys(name for parts in asked for name in parts)
    chips_of(list(every), known)  # says all that is wrong at once
    chips = {name: next(iter(chips_of([name], known).values())) for name in every}
    families = [tuple(chips[name] for name in parts) for parts in asked]
    if pairs and all(len(family) == 1 for family in families):
        families += _pairs(question, loads, [family[0] for family in families])
    return families


def _pairs(question: Question, loads: Sequence[float], chips: Sequence[Chip]) -> list[Family]:
    """The pairs of chips, also of one with itself, that the roofline finds cheapest at some load.

    Those that are within `PAIRS_MOST` by the least of what they cost per agent.
    """
    found: dict[str, tuple[float, Family]] = {}
    for load in loads:
        for guess, pair in guessed_pairs(replace(question, load=load), chips):
            row = guess / load, pair
            name = _guess(row)[1]
            found[name] = min(found.get(name, row), row, key=_guess)
    return [pair for _, pair in sorted(found.values(), key=_guess)[:PAIRS_MOST]]


def _guess(row: tuple[float, Family]) -> tuple[float, str]:
    return row[0], " + ".join(chip.name for chip in row[1])


def _with_ends(
    question: Question,
    loads: Sequence[float],
    families: Sequence[Family],
    played: Sequence[Sequence[Found]],
    ranges: bool,
    jobs: int | None,
    tell: Fraction,
) -> tuple[list[Served], int]:
    """Every family at every load, with both ends where they are asked for; how many runs."""
    ends: list[tuple[int, str]] = []
    calls = []
    for number, (chips, found) in enumerate(zip(families, played, strict=True)):
        for end in ENDS if ranges else ():
            moved = _moved(question, chips, found, end)
            if moved is not None:
                asked, family, only = moved
                ends.append((number, end))
                calls.append((asked, loads, family, only))
    results = called(over_loads, calls, jobs, lambda done: tell(0.6 + 0.4 * done))
    at = dict(zip(ends, results, strict=True))
    served = []
    for number, (chips, found) in enumerate(zip(families, played, strict=True)):
        name = " + ".join(chip.name for chip in chips)
        for place, load in enumerate(loads):
            both = {end: at[number, end][place] for end in ENDS if (number, end) in at}
            served.append(Served(load, name, found[place], **both))
    return served, sum(len(one[-1].trials) for one in (*played, *results))


def _moved(
    question: Question, chips: Family, played: Sequence[Found], end: str
) -> tuple[Question, Family, tuple[str, ...]] | None:
    """The question, the chips with all their values at one end, and the layouts that were best."""
    units = [found.best for found in played if found.best is not None]
    if not units:
        return None
    moved = shifted(question.resolved(units[0], 1), None, end, kinds=UNKNOWN)
    if moved is None:
        return None
    pools = moved.mapping["deployment"]["pools"].values()
    changed = {pool["chip"]["name"]: pool["chip"] for pool in pools}
    try:
        family = tuple(validate(Chip, changed[chip.name], chip.name) for chip in chips)
    except ProfileError:  # an end that is no chip: bands say which
        return None
    names = tuple(dict.fromkeys(one.name for unit in units for one in unit.layouts))
    return replace(question, replaced=changed), family, names


def _usd_per_hour(found: Found) -> float:
    return found.best.usd_per_hour if found.best is not None else inf


def _first(whys: Sequence[str]) -> str:
    more = "; no other layout either" if len(whys) > 1 else ""
    return whys[0] + more if whys else "no layout fits"


def _row(one: Served) -> dict[str, Any]:
    """Numbers per chip, kW and dollar; latencies are of the run of the deployment, or its slice."""
    unit, trial = one.best.best, one.best.trial
    row: dict[str, Any] = {"load": one.load, "family": one.family}
    row["deployment"] = str(unit) if unit else None
    for key in ("chips", "usd_per_hour", "power_w"):
        row[key] = getattr(unit, key) if unit is not None else None
    row["load_per_chip"] = one.load / unit.chips if unit else None
    row["load_per_kw"] = one.load / unit.power_w * 1e3 if unit else None
    row["load_per_usd_per_hour"] = one.load / unit.usd_per_hour if unit else None
    for key in ("mean_ttft_ms", "p95_ttft_ms", "mean_tpot_ms", "p95_tpot_ms", "mean_e2el_ms"):
        row[key] = trial.summary[key] if trial else None
    for end in ENDS:
        found: Found | None = getattr(one, end)
        moved = found.best if found is not None else None
        row[f"usd_per_hour_{end}"] = moved.usd_per_hour if moved is not None else None
        row[f"chips_{end}"] = moved.chips if moved is not None else None
    row["sliced"] = one.best.sliced
    row["binds"] = one.why
    return row
