"""`plan`: the cheapest deployment for so many agents within an SLO, and how sure that is.

The search stands in `gcsim.studies.plan_families`, the same as for a plan over load; here what a
buyer asks next is answered: how much more it could take, who comes next and why not, and which
value would change the choice.
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
from gcsim.profiles.resolve import Resolved, resolve
from gcsim.profiles.site import Site, load_site
from gcsim.results.html import Shown
from gcsim.studies.load_curve import Kind, load_of
from gcsim.studies.parallel import Fraction, nobody
from gcsim.studies.plan_families import at_loads, families_of
from gcsim.studies.plan_question import Aim, Found, Player, Question, Trial, Unit, checked
from gcsim.studies.plan_robust import Sway, sways
from gcsim.studies.slo import Bound, parse_slo, slo_of
from gcsim.studies.sweep_table import plain_rows
from gcsim.version import __version__

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
            f" {unit.usd_per_hour:,.4g} USD/h.{_drafts(unit)}"
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
    one chip and decode on another; tuned: also serving stacks, speculation (as the scenario's
    deployment has it) and batching limits; robustness: also move assumed and fitted values.
    """

    minimize: Aim = "cost"
    site: str | Site = "rented"
    limits: Mapping[str, float] = field(default_factory=dict)
    pairs: bool = True
    tuned: bool = True
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
    chips: to choose from, None: all of the library; `a+b`: prefill on one, decode on the other,
    and then no other pairs. The answer does not depend on `jobs`.
    Errors: `ProfileError`.

    >>> import gcsim
    >>> found = gcsim.plan("coding-agents", 1, "tpot:mean<30ms", chips=["h200-sxm"])
    >>> found.answer.best.chips <= 8
    True
    """
    terms = terms or Terms()
    question = question_of(resolve(scenario, settings), agents, slo, terms)
    checked(question)
    families, named = families_of(question, chips)
    tell = progress or nobody
    (at,) = at_loads(
        question,
        [question.load],
        families,
        terms.pairs and not named,
        jobs,
        lambda done: tell(0.8 * done),
    )
    headroom = _headroom(question, at.answer) if at.answer else None
    tell(0.85)
    moves: tuple[Sway, ...] = ()
    if terms.robustness and at.answer is not None:
        rivals = at.rivals[:RIVALS]
        moves = sways(question, at.answer, rivals, jobs, lambda done: tell(0.85 + 0.15 * done))
    runs = at.runs + sum(sway.runs for sway in moves)
    return Plan(question, at.families, at.answer, runs, at.left_out, headroom, moves)


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
    return Question(
        base, kind, load, bounds, terms.minimize, site, chips, power_w, nodes, tuned=terms.tuned
    )


def _headroom(question: Question, answer: Found) -> float:
    """The largest load of `MORE` up to which the answer holds, as a multiple; at the least 1."""
    assert answer.best is not None
    player, held = Player(question, answer), 1.0
    for more in MORE:
        load = question.load * more
        load = round(load) if question.kind == "agents" else load
        if not player.at(answer.best, load).verdict.holds:
            return held
        held = more
    return held


def _drafts(unit: Unit) -> str:
    """What a deployment that speculates takes for granted."""
    drafts = [one.pool["speculation"] for one in unit.layouts if one.pool.get("speculation")]
    said = [
        f"as published of {one['drafter']}"
        if one.get("acceptance") is None
        else f"with a chance of {one['acceptance']}"
        for one in drafts
    ]
    return f" Assumed: drafted tokens are accepted {', '.join(said)}." if drafts else ""


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
