"""`plan`: the cheapest deployment for so many agents within an SLO, and how sure that is.

The search of one family stands in `gcsim.studies.plan_search`; here families are searched side by
side, the cheapest are played with all agents, and what a buyer asks next is answered: how much more
it could take, who comes next and why not, and which single value would change the choice.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from gcsim.errors import ProfileError
from gcsim.profiles.chip import Chip
from gcsim.profiles.resolve import Resolved, resolve
from gcsim.profiles.site import Site, load_site
from gcsim.results.html import Shown
from gcsim.studies.layouts import chips_of
from gcsim.studies.load_curve import Kind, load_of
from gcsim.studies.parallel import Fraction, called, nobody
from gcsim.studies.plan_question import Aim, Found, Player, Question, Trial, Unit, checked
from gcsim.studies.plan_robust import Sway, sways
from gcsim.studies.plan_search import guessed_pairs, search, settle
from gcsim.studies.slo import Bound, parse_slo, slo_of
from gcsim.studies.sweep_table import plain_rows
from gcsim.version import __version__

PAIRS_MOST = 12  # chip pairs that are searched: the most promising by the roofline
SETTLED_MOST = 4  # families that are played with all agents
RIVALS = 2  # families that the choice is weighed against
MORE = (1.1, 1.25, 1.5, 2.0)  # of the load: how much the answer could take
AIMS = {"cost": "USD/h", "power": "W", "racks": "racks", "chips": "chips"}


@dataclass(frozen=True)
class Plan(Shown):
    """What was found. `answer` is None where nothing keeps the SLO; `nearest` came closest then.

    families: the best of each, the cheapest first, then those without; runs: how many simulations;
    left_out: pairs that the roofline puts behind; headroom: the load up to which the answer holds,
    as a multiple, of those that were tried (`MORE`), None without an answer; sways: what could
    overturn the choice.
    """

    question: Question = field(repr=False)
    families: tuple[Found, ...] = field(repr=False)
    answer: Found | None
    runs: int
    left_out: int = 0
    headroom: float | None = None
    sways: tuple[Sway, ...] = ()

    @property
    def nearest(self) -> Trial | None:
        """The run that came nearest to the SLO."""
        runs = [one.nearest for one in self.families if one.nearest is not None]
        return max(runs, key=lambda trial: trial.verdict.room, default=None)

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        asked = self.question
        load = f"{asked.load:g} {'agents' if asked.kind == 'agents' else 'tasks per second'}"
        slo = ", ".join(map(str, asked.bounds))
        if self.answer is None or self.answer.best is None:
            near = self.nearest
            closest = f"; nearest: {near.unit}, {near.verdict.binds}" if near else ""
            return f"Nothing that was tried serves {load} within {slo}{closest}."
        unit = self.answer.best
        return (
            f"{load} within {slo}: {unit}, {unit.chips} chip{'s' * (unit.chips > 1)},"
            f" {unit.power_w / 1e3:.3g} kW,"
            f" {unit.usd_per_hour:,.4g} USD/h."
        )

    @property
    def table(self) -> pd.DataFrame:
        """A row per family: its best deployment, what it costs, and what binds."""
        return pd.DataFrame([_row(one) for one in self.families])

    @property
    def frontier(self) -> pd.DataFrame:
        """Speed of a user against output of a chip: the runs that no other beats in both."""
        rows = [
            {"family": one.family, **_point(trial)} for one in self.families for trial in one.trials
        ]
        rows = [row for row in rows if row["tok_s_user"] and row["tok_s_chip"]]
        kept, most = [], 0.0
        for row in sorted(rows, key=lambda row: (-row["tok_s_user"], -row["tok_s_chip"])):
            if row["tok_s_chip"] > most:
                most = row["tok_s_chip"]
                kept.append(row)
        return pd.DataFrame(kept)

    def deployment_yaml(self) -> str:
        """The answer as a deployment profile. Errors: `ValueError` where there is none."""
        if self.answer is None or self.answer.best is None:
            raise ValueError("nothing keeps the SLO")
        text: str = yaml.safe_dump(
            self.answer.best.deployment(), sort_keys=False, allow_unicode=True, width=100
        )
        return text

    def to_dict(self) -> dict[str, Any]:
        """What `gcsim plan --format json` prints."""
        asked = self.question
        best = self.answer.best if self.answer else None
        return {
            "version": __version__,
            "scenario": asked.base.scenario.name,
            "model": asked.base.scenario.model.name,
            "load": asked.load,
            "load_kind": asked.kind,
            "slo": [str(bound) for bound in asked.bounds],
            "minimize": asked.aim,
            "sentence": self.sentence,
            "holds": best is not None,
            "deployment": best.deployment() if best else None,
            "headroom": self.headroom,
            "runs": self.runs,
            "families": plain_rows(self.table),
            "frontier": plain_rows(self.frontier),
            "sways": [sway.to_dict() for sway in self.sways],
        }

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, default=str)

    def __repr__(self) -> str:
        return f"Plan({self.sentence})"


@dataclass(frozen=True)
class Terms:
    """What a plan may choose from and what it is to make least.

    minimize: `cost` (USD/h), `power`, `racks` (nodes) or `chips`; site: whose terms costs are by
    (`gcsim.profiles.site`); limits: the most of `chips`, `power_w`, `racks`; pairs: also prefill on
    one chip and decode on another; robustness: also move assumed and fitted values to their ends.
    """

    minimize: Aim = "cost"
    site: str | Site = "rented"
    limits: Mapping[str, float] = field(default_factory=dict)
    pairs: bool = True
    robustness: bool = True


def plan(
    scenario: str | Path | Resolved,
    agents: int | None = None,
    slo: str | Sequence[Bound] | None = None,
    *,
    chips: Sequence[str] | None = None,
    terms: Terms | None = None,
    settings: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Plan:
    """The cheapest deployment that serves a load within an SLO.

    agents: of a closed loop; None: the scenario's own load, agents or tasks per second.
    slo: `ttft:p95<2s tpot:mean<15ms`; None: the scenario's own, for 95% of its requests.
    chips: to choose from; None: all of the library. The answer does not depend on `jobs`.
    Errors: `ProfileError`.

    >>> import gcsim
    >>> found = gcsim.plan("coding-agents", 1, "tpot:mean<30ms", chips=["h200-sxm"])
    >>> found.answer.best.chips <= 8
    True
    """
    terms = terms or Terms()
    question = question_of(resolve(scenario, settings), agents, slo, terms)
    checked(question)
    known = question.base.library
    found = chips_of(sorted(known.profiles("chip")) if chips is None else chips, known)
    tell = progress or nobody
    singles = [(question, (chip,)) for chip in found.values()]
    results = called(search, singles, jobs, lambda done: tell(0.35 * done))
    left_out = 0
    if terms.pairs:
        couples, left_out = _couples(question, list(found.values()), results)
        pairs = [(question, couple) for couple in couples]
        results += called(search, pairs, jobs, lambda done: tell(0.35 + 0.35 * done))
    answer = _settled(question, results)
    tell(0.8)
    ordered = sorted(results, key=lambda one: (_costs(question, one), one.family))
    headroom = _headroom(question, answer) if answer else None
    tell(0.85)
    moved: tuple[Sway, ...] = ()
    if terms.robustness and answer is not None:
        rivals = [one for one in ordered if one is not answer and one.best is not None][:RIVALS]
        moved = sways(question, answer, rivals, jobs, lambda done: tell(0.85 + 0.15 * done))
    runs = sum(len(one.trials) for one in results) + sum(sway.runs for sway in moved)
    return Plan(question, tuple(ordered), answer, runs, left_out, headroom, moved)


def question_of(
    base: Resolved, agents: int | None, slo: str | Sequence[Bound] | None, terms: Terms
) -> Question:
    """What is asked, checked. Errors: `ProfileError`."""
    kind: Kind = "agents"
    load = float(agents or 0)
    if agents is None:
        kind, load = load_of(base)
    if not 0 < load < inf:
        raise ProfileError.one("plan", "agents", agents, "must be above 0")
    if terms.minimize not in AIMS:
        why = f"is none of {', '.join(AIMS)}"
        raise ProfileError.one("plan", "--minimize", terms.minimize, why)
    unknown = set(terms.limits) - {"chips", "power_w", "racks"}
    if unknown:
        raise ProfileError.one("plan", "limits", sorted(unknown), "is no limit of a plan")
    bounds = parse_slo(slo) if isinstance(slo, str) else tuple(slo or slo_of(base.scenario))
    site = load_site(terms.site, base.library) if isinstance(terms.site, str) else terms.site
    chips, power_w, nodes = (terms.limits.get(key, inf) for key in ("chips", "power_w", "racks"))
    return Question(base, kind, load, bounds, terms.minimize, site, chips, power_w, nodes)


def _couples(
    question: Question, chips: Sequence[Chip], singles: Sequence[Found]
) -> tuple[list[tuple[Chip, ...]], int]:
    """The pairs worth a search by what the roofline asks for, and how many are not."""
    guesses = guessed_pairs(question, chips)
    best = min((_costs(question, one) for one in singles), default=inf)
    worth = [pair for guess, pair in guesses if guess < 1.5 * best][:PAIRS_MOST]
    return worth, len(chips) ** 2 - len(worth)


def _settled(question: Question, results: list[Found]) -> Found | None:
    """The family whose best deployment is the cheapest with all agents.

    What was searched with slices is played whole, the cheapest first, until none that was not
    could be cheaper.
    """
    for _ in range(SETTLED_MOST):
        ordered = sorted(
            (one for one in results if one.best is not None),
            key=lambda one: (_costs(question, one), one.family),
        )
        if not ordered:
            return None
        first = ordered[0]
        if not first.sliced:
            return first
        settle(question, first)
    whole = [one for one in results if one.best is not None and not one.sliced]
    return min(whole, key=lambda one: (_costs(question, one), one.family), default=None)


def _headroom(question: Question, answer: Found) -> float:
    """The largest load of `MORE` up to which the answer holds, as a multiple; at the least 1."""
    player, held = Player(question, answer), 1.0
    for more in MORE:
        load = question.load * more
        load = round(load) if question.kind == "agents" else load
        if not player.at(_of(answer), load).verdict.holds:
            return held
        held = more
    return held


def _of(found: Found) -> Unit:
    assert found.best is not None
    return found.best


def _costs(question: Question, found: Found) -> float:
    return found.best.costs(question.aim) if found.best is not None else inf


def _row(found: Found) -> dict[str, Any]:
    unit, trial = found.best, found.trial
    row: dict[str, Any] = {"family": found.family, "deployment": str(unit) if unit else None}
    for key in ("chips", "usd_per_hour", "power_w", "nodes"):
        row[key] = getattr(unit, key) if unit is not None else None
    near = trial or found.nearest
    row["binds"] = near.verdict.binds if near else (found.whys[0] if found.whys else None)
    row["room"] = near.verdict.room if near and near.verdict.room > -inf else None
    row["sliced"] = found.sliced
    return row | (_point(trial) if trial else {})


def _point(trial: Trial) -> dict[str, Any]:
    """What a run says of speed and of what it costs; None where a run has no times."""
    summary, unit = trial.summary, trial.unit
    tpot, rate = summary["mean_tpot_ms"], summary["output_throughput"] or 0.0
    tasks = summary.get("task_throughput") or 0.0
    sound = not summary["saturated"] and rate > 0
    return {
        "deployment": str(unit),
        "load": trial.load,
        "holds": trial.verdict.holds,
        "tok_s_user": 1e3 / tpot if tpot and sound else None,
        "tok_s_chip": rate / unit.chips if sound else None,
        "usd_per_mtok": unit.usd_per_hour / 3600 / rate * 1e6 if sound else None,
        "usd_per_task": unit.usd_per_hour / 3600 / tasks if tasks and sound else None,
        "tok_per_joule": rate / unit.power_w if sound else None,
    }
