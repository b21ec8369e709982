"""`tiers`: which tiers of service a rack of each kind of chip should serve.

Each tier of a workload by itself on each kind of chip: the fewest chips that keep its SLO for so
many agents (`gcsim.studies.plan_search`; both phases on all chips, or on two pools), which then get
as many agents as they take. With output within the SLO X and revenue within it R of that run

    per rack    X / k, R / k    k racks of such nodes, as full as their power allows, parts too
    per MW      X / W, R / W    W [MW]: full power of the nodes x PUE, what a site must provide

Limit: replicas are the same everywhere in a rack, so a rack does k^-1 times what was played.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gcsim.errors import ProfileError
from gcsim.profiles.chip import Chip
from gcsim.profiles.resolve import Resolved, resolve, with_settings
from gcsim.profiles.site import Site, load_site
from gcsim.profiles.workload import leaves
from gcsim.results.cost import Cost, cost
from gcsim.studies.layouts import chips_of
from gcsim.studies.load_curve import load_of
from gcsim.studies.parallel import Fraction, called
from gcsim.studies.plan_question import Found, Player, Question, Trial
from gcsim.studies.plan_search import search
from gcsim.studies.slo import slo_of
from gcsim.studies.sweep_table import plain_rows
from gcsim.version import __version__

MORE = (1.25, 1.5, 2.0, 3.0, 4.0)  # times the load: what a deployment takes beyond what was asked


@dataclass(frozen=True, slots=True)
class Offer:
    """A tier on a kind of chip: the run with the most load within the SLO, and what it costs.

    trial, cost: None where nothing that was tried keeps the SLO, and why.
    """

    tier: str
    chip: str
    trial: Trial | None = field(repr=False)
    cost: Cost | None = field(repr=False)
    why: str = ""

    def row(self) -> dict[str, Any]:
        """As a row of the table; numbers are None where the chip does not serve the tier."""
        trial, money = self.trial, self.cost
        found: dict[str, Any] = {"tier": self.tier, "chip": self.chip, "why": self.why or None}
        if trial is None or money is None:
            return found | dict.fromkeys(NUMBERS)
        tokens, racks = trial.summary["output_goodput"], money.racks_full
        site_mw = money.site_power_w * 1e-6
        return found | {
            "deployment": str(trial.unit),
            "chips": trial.unit.chips,
            "load": trial.load,
            "output_tok_s_per_rack": tokens / racks if racks else None,
            "output_tok_s_per_mw": tokens / site_mw,
            "revenue_usd_per_rack_hour": money.revenue_usd_per_rack_hour,
            "revenue_usd_per_mw_hour": money.revenue_usd_per_mw_hour,
            "cost_usd_per_rack_hour": money.usd_per_hour / racks if racks else None,
            "cost_usd_per_mw_hour": money.usd_per_hour / site_mw,
        }


NUMBERS = (
    "deployment",
    "chips",
    "load",
    "output_tok_s_per_rack",
    "output_tok_s_per_mw",
    "revenue_usd_per_rack_hour",
    "revenue_usd_per_mw_hour",
    "cost_usd_per_rack_hour",
    "cost_usd_per_mw_hour",
)


@dataclass(frozen=True)
class Tiers:
    """Every tier on every kind of chip, in the order of the workload and of the chips."""

    scenario: str
    site: str
    offers: tuple[Offer, ...] = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """A row per tier and chip."""
        return pd.DataFrame([offer.row() for offer in self.offers])

    def serves(self, chip: str) -> list[str]:
        """The tiers that a chip serves, by what they pay for a MW of the site, the most first."""
        rows = [one.row() for one in self.offers if one.chip == chip and one.trial is not None]
        paid = sorted(rows, key=lambda row: -(row["revenue_usd_per_mw_hour"] or 0.0))
        return [row["tier"] for row in paid]

    def best(self, tier: str) -> str | None:
        """The chip that gives a tier the most output for a MW of the site; None: no chip does."""
        rows = [one.row() for one in self.offers if one.tier == tier and one.trial is not None]
        top = max(rows, key=lambda row: row["output_tok_s_per_mw"], default=None)
        return top["chip"] if top else None

    def to_dict(self) -> dict[str, Any]:
        """What `gcsim tiers --format json` prints."""
        chips = dict.fromkeys(offer.chip for offer in self.offers)
        tiers = dict.fromkeys(offer.tier for offer in self.offers)
        return {
            "version": __version__,
            "scenario": self.scenario,
            "site": self.site,
            "offers": plain_rows(self.table),
            "serves": {chip: self.serves(chip) for chip in chips},
            "best": {tier: self.best(tier) for tier in tiers},
        }

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)


def tiers(
    scenario: str | Path | Resolved,
    chips: Sequence[str] | None = None,
    *,
    load: float | None = None,
    pairs: bool = False,
    site: str | Site = "rented",
    settings: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Tiers:
    """Each tier of a scenario on each kind of chip: what a rack gives and earns within its SLO.

    chips: None: all of the library. load: agents (or tasks per second) that a tier is given at the
    least; None: the scenario's. pairs: also prefill on some chips of a kind and decode on others.
    The result does not depend on `jobs`.
    Errors: `ProfileError`, as for a workload without tiers.
    """
    base = resolve(scenario, settings)
    terms = load_site(site, base.library) if isinstance(site, str) else site
    known = base.library.profiles("chip")
    kinds = chips_of(sorted(known) if chips is None else chips, base.library)
    asked = [(name, _question(base, name, load, terms)) for name in tier_names(base)]
    calls = [(name, question, chip, pairs) for name, question in asked for chip in kinds]
    offers = called(_offer, calls, jobs, progress)
    return Tiers(base.scenario.name, terms.name, tuple(offers))


def tier_names(base: Resolved) -> list[str]:
    """The tiers of a workload. Errors: `ProfileError` where it has none."""
    found = dict.fromkeys(leaf.tier for leaf in leaves(base.scenario.workload) if leaf.tier)
    if not found:
        hint = "give the parts of a mix a tier, as scenario gtc-2026-tiers does"
        raise ProfileError.one(base.scenario.name, "workload.mix", None, "has no tiers", hint)
    return list(found)


def _question(base: Resolved, tier: str, load: float | None, site: Site) -> Question:
    """A scenario of one tier alone, with the model that it asks for, and the tier's SLO to keep."""
    workload = base.mapping["workload"]
    parts = [part for part in workload["mix"] if part.get("tier") == tier]
    if not parts:
        hint = "name it in the outermost mix"
        raise ProfileError.one(base.scenario.name, "workload.mix", tier, "is an inner tier", hint)
    mine = [leaf for leaf in leaves(base.scenario.workload) if leaf.tier == tier]
    named = {leaf.workload.agent.model for leaf in mine if leaf.workload.agent}
    if len(named) > 1:
        why = f"asks for several models: {', '.join(sorted(map(str, named)))}"
        raise ProfileError.one(base.scenario.name, "workload.mix", tier, why, "a tier has one")
    model = next(iter(named), None)
    changes: dict[str, Any] = {"workload": {"name": workload["name"], "mix": parts}}
    alone = with_settings(base, changes | ({"model": model} if model else {}))
    kind, own = load_of(base)
    bounds = slo_of(alone.scenario)
    if not bounds:
        hint = "give it slo: {ttft: ..., tpot: ...}"
        raise ProfileError.one(base.scenario.name, "workload.mix", tier, "has no SLO", hint)
    return Question(alone, kind, own if load is None else load, bounds, "chips", site)


def _offer(tier: str, question: Question, chip: Chip, pairs: bool) -> Offer:
    """The best of one pool (or of two pools, too) of a chip, with as much load as it takes."""
    families = ((chip,), (chip, chip)) if pairs else ((chip,),)
    ways = [search(question, family) for family in families]
    held = [_filled(question, one) for one in ways if one.best is not None]
    if not held:
        near = max(
            (one.nearest for one in ways if one.nearest is not None),
            key=lambda trial: trial.verdict.room,
            default=None,
        )
        why = near.verdict.binds if near else next((w for one in ways for w in one.whys), "")
        return Offer(tier, chip.name, None, None, why)
    best = max(held, key=lambda trial: trial.summary["output_goodput"] / trial.unit.chips)
    deployment = question.resolved(best.unit, best.load).scenario.deployment
    return Offer(tier, chip.name, best, cost(deployment, best.summary, question.site))


def _filled(question: Question, found: Found) -> Trial:
    """The run of a family's best with the largest load that was seen to keep the SLO."""
    assert found.trial is not None
    player, held = Player(question, found), found.trial
    for more in MORE:
        load = found.trial.load * more
        trial = player.at(held.unit, float(round(load)) if question.kind == "agents" else load)
        if not trial.verdict.holds:
            break
        held = trial
    return held
