"""A plan over load: what each family of chips takes from one agent to many, and its range.

Every load is a plan of its own, by the search that `plan` has (`gcsim.studies.plan_families`), so
that each family stands with the layout that serves it best there. Besides, its best is played with
all assumed, claimed and fitted values of its chips at the slow and at the fast end of their ranges
(`gcsim.studies.plan_robust`), all at once. Where the ranges of two families overlap their order
hangs on values that nobody knows, or that a fit knows no better.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd

from gcsim.profiles.resolve import Resolved, resolve
from gcsim.results.html import Shown
from gcsim.studies.load_curve import check_loads
from gcsim.studies.parallel import Fraction, called, nobody
from gcsim.studies.plan import Terms, question_of
from gcsim.studies.plan_families import AtLoad, at_loads, families_of
from gcsim.studies.plan_question import Found, Question, checked
from gcsim.studies.plan_robust import ENDS, found_then, moved
from gcsim.studies.slo import Bound
from gcsim.studies.sweep_table import plain_rows
from gcsim.version import __version__


@dataclass(frozen=True, slots=True)
class Served:
    """One family at one load: its best deployment, and what it would be at either end of values.

    best: its `best` is None where nothing serves the load, and `why`; slow, fast: with the values
    of its chips at their ends, None where none of them has a range.
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
    families, named = families_of(asked, chips)
    pairs, part = terms.pairs and not named, 0.6 if terms.robustness else 1.0
    found = at_loads(asked, loads, families, pairs, jobs, lambda done: tell(part * done))
    served, runs = _with_ends(found, terms.robustness, jobs, lambda done: tell(0.6 + 0.4 * done))
    runs += sum(one.runs for one in found)
    return PlanOverLoad(asked, tuple(served), runs, terms.robustness)


def _with_ends(
    found: Sequence[AtLoad], ranges: bool, jobs: int | None, tell: Fraction
) -> tuple[list[Served], int]:
    """Every family at every load, with both ends where they are asked for; runs of these."""
    rows = [(at.question, one) for at in found for one in at.families]
    asked, calls = [], []
    for number, (question, one) in enumerate(rows):
        tried = one.best or (one.nearest.unit if one.nearest else None)
        for end in ENDS if ranges else ():
            other = moved(question, tried, end) if tried is not None else None
            if other is not None:
                asked.append((number, end))
                calls.append((other, tried))
    ends = dict(zip(asked, called(found_then, calls, jobs, tell), strict=True))
    served = [
        Served(question.load, one.family, one, ends.get((k, "slow")), ends.get((k, "fast")))
        for k, (question, one) in enumerate(rows)
    ]
    return served, sum(one.runs for one in ends.values())


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
