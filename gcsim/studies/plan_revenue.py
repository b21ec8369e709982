"""The most revenue from so much power: which chips serve which tiers, and how many of each.

The traffic is that of the scenario's mix: tier t has a share s_t of the tasks. Of each tier alone
(`gcsim.studies.tiers`) a deployment serves x_t tasks per second within its SLO, earns R_t and takes
W_t of the site (full power of its nodes x PUE). With P of the site to give, all tiers grow together

    tasks per second = P / sum over t of s_t W_t / x_t        (1)
    revenue = tasks per second x sum over t of s_t R_t / x_t  (2)

which is most where every tier is on the chip with the least W_t / x_t. Deployments are whole: (1)
is rounded down for each tier. What no chip serves is left out, the others keep their proportion.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, inf
from pathlib import Path
from typing import Any

import pandas as pd

from gcsim.errors import ProfileError
from gcsim.profiles.resolve import Resolved, resolve
from gcsim.profiles.workload import leaves
from gcsim.results.html import Shown
from gcsim.studies.parallel import Fraction
from gcsim.studies.plan import Terms
from gcsim.studies.sweep_table import plain_rows
from gcsim.studies.tiers import Offer, tiers
from gcsim.version import __version__


@dataclass(frozen=True, slots=True)
class Served:
    """A tier on the chip that needs least power for its tasks. copies: of the deployment."""

    tier: str
    share: float
    offer: Offer
    copies: int

    @property
    def tasks_per_s(self) -> float:
        """Of all copies."""
        return self.copies * _tasks_per_s(self.offer)

    @property
    def power_w(self) -> float:
        """What the site gives to all copies."""
        return self.copies * _site_w(self.offer)

    @property
    def usd_per_hour(self) -> tuple[float, float]:
        """Revenue and cost of all copies."""
        money = self.offer.cost
        assert money is not None
        return self.copies * (money.revenue_usd_per_hour or 0.0), self.copies * money.usd_per_hour


@dataclass(frozen=True)
class Revenue(Shown):
    """What a site of so much power earns. left_out: tiers that no chip serves, and why."""

    scenario: str
    power_w: float
    served: tuple[Served, ...] = field(repr=False)
    left_out: dict[str, str]
    best_payer: Offer | None = field(repr=False)

    @property
    def usd_per_hour(self) -> tuple[float, float]:
        """Revenue and cost of all tiers."""
        both = [one.usd_per_hour for one in self.served]
        return sum(revenue for revenue, _ in both), sum(cost for _, cost in both)

    @property
    def used_w(self) -> float:
        """Of the power, what whole deployments take."""
        return sum(one.power_w for one in self.served)

    @property
    def sentence(self) -> str:
        """The answer in one sentence, and what demand without end would change."""
        if not self.served:
            return "No chip serves any tier within its SLO."
        revenue, cost = self.usd_per_hour
        rate = sum(one.tasks_per_s for one in self.served)
        text = (
            f"{self.power_w * 1e-6:g} MW serve {rate:,.4g} tasks per second of this mix:"
            f" {revenue:,.4g} USD/h of revenue, {cost:,.4g} USD/h of cost,"
            f" {revenue - cost:,.4g} USD/h left."
        )
        if (top := self.best_payer) is not None and top.cost is not None:
            most = (top.cost.revenue_usd_per_mw_hour or 0.0) * self.power_w * 1e-6
            text += (
                f" If {top.tier} alone found users without end: {most:,.4g} USD/h, on {top.chip}."
            )
        return text

    @property
    def table(self) -> pd.DataFrame:
        """A row per tier."""
        return pd.DataFrame([_row(one) for one in self.served])

    def to_dict(self) -> dict[str, Any]:
        """What `gcsim plan --maximize revenue --format json` prints."""
        revenue, cost = self.usd_per_hour
        return {
            "version": __version__,
            "scenario": self.scenario,
            "site_power_w": self.power_w,
            "used_w": self.used_w,
            "sentence": self.sentence,
            "revenue_usd_per_hour": revenue,
            "cost_usd_per_hour": cost,
            "tiers": plain_rows(self.table),
            "left_out": self.left_out,
        }

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __repr__(self) -> str:
        return f"Revenue({self.sentence})"


def most_revenue(
    scenario: str | Path | Resolved,
    power_w: float,
    *,
    chips: Sequence[str] | None = None,
    load: float | None = None,
    terms: Terms | None = None,
    settings: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> Revenue:
    """What a site of `power_w` earns at the most with a scenario's tiers, in the shares of its mix.

    load: agents (or tasks per second) that a tier is given at the least; terms: `pairs` and `site`.
    Errors: `ProfileError`, as for a workload without tiers or without prices.
    """
    if not 0 < power_w < inf:
        raise ProfileError.one("plan", "--site-power", power_w, "must be above 0", "write 15MW")
    base = resolve(scenario, settings)
    parts = [leaf for leaf in leaves(base.scenario.workload) if leaf.tier]
    if parts and not any(leaf.price for leaf in parts):
        hint = "give tiers a price, as scenario gtc-2026-tiers does"
        raise ProfileError.one(base.scenario.name, "workload.mix", None, "has no prices", hint)
    terms = terms or Terms()
    asked: dict[str, Any] = {"load": load, "pairs": terms.pairs, "site": terms.site}
    found = tiers(base, chips, **asked, jobs=jobs, progress=progress)
    shares: dict[str, float] = {}
    for leaf in parts:
        shares[leaf.tier] = shares.get(leaf.tier, 0.0) + leaf.share
    return shared_out(base.scenario.name, found.offers, shares, power_w)


def shared_out(
    scenario: str, offers: Sequence[Offer], shares: Mapping[str, float], power_w: float
) -> Revenue:
    """Power among tiers in the shares of their tasks, each on the chip that needs least of it."""
    best: dict[str, Offer] = {}
    left_out: dict[str, str] = {}
    for tier in shares:
        mine = [one for one in offers if one.tier == tier]
        good = [one for one in mine if one.trial is not None and _tasks_per_s(one) > 0]
        if good:
            best[tier] = min(good, key=lambda one: (_site_w(one) / _tasks_per_s(one), one.chip))
        else:
            left_out[tier] = next((one.why for one in mine if one.why), "no chip was tried")
    least_w = sum(shares[tier] * _site_w(one) / _tasks_per_s(one) for tier, one in best.items())
    rate = power_w / least_w if best else 0.0
    served = [
        Served(tier, shares[tier], one, floor(rate * shares[tier] / _tasks_per_s(one) + 1e-9))
        for tier, one in best.items()
    ]
    paying = [one for one in offers if one.cost is not None and one.cost.revenue_usd_per_mw_hour]
    top = max(paying, key=_paid, default=None)
    return Revenue(scenario, power_w, tuple(served), left_out, top)


def _paid(offer: Offer) -> float:
    return (offer.cost.revenue_usd_per_mw_hour if offer.cost else None) or 0.0


def _tasks_per_s(offer: Offer) -> float:
    return float(offer.trial.summary["task_throughput"] or 0.0) if offer.trial else 0.0


def _site_w(offer: Offer) -> float:
    assert offer.cost is not None
    return offer.cost.site_power_w


def _row(one: Served) -> dict[str, Any]:
    assert one.offer.trial is not None
    revenue, cost = one.usd_per_hour
    return {
        "tier": one.tier,
        "share_of_tasks": one.share,
        "chip": one.offer.chip,
        "deployment": str(one.offer.trial.unit),
        "copies": one.copies,
        "chips": one.copies * one.offer.trial.unit.chips,
        "site_power_w": one.power_w,
        "tasks_per_s": one.tasks_per_s,
        "revenue_usd_per_hour": revenue,
        "cost_usd_per_hour": cost,
    }
