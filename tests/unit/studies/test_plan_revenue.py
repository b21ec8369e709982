"""The most revenue from so much power: against every other way to share it out."""

import json
from itertools import product
from typing import Any

import pytest

from gcsim.cli import app
from gcsim.cli.plan_text import revenue_table
from gcsim.errors import ProfileError
from gcsim.results.cost import Cost
from gcsim.studies.layouts import Layout
from gcsim.studies.plan import Terms
from gcsim.studies.plan_question import Trial, Unit
from gcsim.studies.plan_revenue import most_revenue, shared_out
from gcsim.studies.slo import Verdict
from gcsim.studies.tiers import Offer

NO_MACHINE: Any = None
LIMITS = {"max_seqs": 256, "max_iteration_tokens": 8192}
POOL = {"role": "mixed", "tp": 1, "ep": 1, "pp": 1, "batching": LIMITS}


def offer(tier: str, chip: str, tasks_per_s: float, site_w: float, paid: float) -> Offer:
    """A deployment of a tier. paid: USD per task."""
    layout = Layout(chip, POOL, NO_MACHINE, 1, 2.0, site_w, 8, 1.0, usual=LIMITS)
    trial = Trial(
        Unit((layout,), (1,)), 1, Verdict(True, "", 0.1), {"task_throughput": tasks_per_s}
    )
    revenue = 3600 * paid * tasks_per_s
    numbers: Any = dict.fromkeys(Cost.__dataclass_fields__)
    numbers |= {"usd_per_hour": 2.0, "site_power_w": site_w, "revenue_usd_per_hour": revenue}
    numbers |= {"revenue_usd_per_mw_hour": revenue / site_w * 1e6}
    return Offer(tier, chip, trial, Cost(**numbers))


OFFERS = [
    offer("free", "a", 2.0, 1000.0, 0.0),
    offer("free", "b", 9.0, 3000.0, 0.0),
    offer("dear", "a", 1.0, 2000.0, 0.5),
    offer("dear", "b", 0.5, 1500.0, 0.5),
]
SHARES = {"free": 0.8, "dear": 0.2}


def revenue(offers: tuple[Offer, ...], power_w: float) -> float:
    """Of one offer for each tier, in the shares: equations (1) and (2)."""
    least = rate = 0.0
    for one in offers:
        assert one.trial is not None
        assert one.cost is not None
        x = one.trial.summary["task_throughput"]
        least += SHARES[one.tier] * one.cost.site_power_w / x
        rate += SHARES[one.tier] * (one.cost.revenue_usd_per_hour or 0.0) / x
    return power_w / least * rate


def test_no_other_choice_of_chips_earns_more() -> None:
    power_w = 40e6
    found = shared_out("x", OFFERS, SHARES, power_w)
    most = max(revenue(both, power_w) for both in product(OFFERS[:2], OFFERS[2:]))
    assert found.usd_per_hour[0] == pytest.approx(most, rel=1e-3)
    assert {one.tier: one.offer.chip for one in found.served} == {"free": "b", "dear": "a"}


def test_power_is_kept_and_tiers_stand_in_their_shares() -> None:
    found = shared_out("x", OFFERS, SHARES, 40e6)
    assert 0.99 * 40e6 < found.used_w <= 40e6
    free, dear = (one.tasks_per_s for one in found.served)
    assert free / dear == pytest.approx(4, rel=1e-3)


def test_the_best_payer_is_named_for_demand_without_end() -> None:
    found = shared_out("x", OFFERS, SHARES, 40e6)
    assert "If dear alone found users without end: 3.6e+07 USD/h, on a." in found.sentence


def test_what_no_chip_serves_is_left_out_and_the_others_keep_their_proportion() -> None:
    ultra = Offer("ultra", "a", None, None, "TPOT: a sequence alone takes 4 ms a token")
    shares = {"free": 0.4, "dear": 0.1, "ultra": 0.5}
    found = shared_out("x", [*OFFERS, ultra], shares, 40e6)
    same = shared_out("x", OFFERS, SHARES, 40e6)
    assert [one.copies for one in found.served] == [one.copies for one in same.served]
    assert found.left_out == {"ultra": "TPOT: a sequence alone takes 4 ms a token"}
    nothing = shared_out("x", [ultra], {"ultra": 1.0}, 40e6)
    assert nothing.sentence == "No chip serves any tier within its SLO."
    assert json.loads(nothing.to_json())["revenue_usd_per_hour"] == 0
    for one in (found, nothing):
        assert revenue_table(one) is not None


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["gtc-2026-tiers", "--maximize", "revenue"], "is needed for --maximize"),
        (["gtc-2026-tiers", "--maximize", "beauty", "--site-power", "1MW"], "is not revenue"),
        (
            ["gtc-2026-tiers", "--maximize", "revenue", "--site-power", "1MW", "--slo", "ttft<1s"],
            "goes not with --slo",
        ),
        (["coding-agents", "--maximize", "revenue", "--site-power", "1MW"], "has no tiers"),
        (["gtc-2026-tiers", "--maximize", "revenue", "--site-power", "0 W"], "must be above 0"),
    ],
)
def test_what_is_asked_wrongly_is_said(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        app.main(["plan", *arguments])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


TIERS = """
name: two-tiers
model: gpt-oss-20b
deployment: h100-mono
workload:
  name: two
  mix:
    - {tier: free, workload: support, weight: 70, slo: {ttft: 5 s, tpot: 40 ms}}
    - tier: premium
      workload: support
      weight: 30
      slo: {ttft: 1 s, tpot: 9 ms}
      price: {output: 3 USD/Mtok}
arrivals: {process: closed, agents: 4}
run: {seed: 1, trajectories: 24}
"""


@pytest.mark.slow
def test_a_scenario_with_tiers_is_planned(tmp_path: Any) -> None:
    file = tmp_path / "two-tiers.yaml"
    file.write_text(TIERS)
    alone = Terms(pairs=False)
    found = most_revenue(file, 2e6, chips=["h100-sxm", "sn50"], terms=alone, jobs=1)
    assert {one.tier for one in found.served} == {"free", "premium"}
    assert found.usd_per_hour[0] > 0
    assert 0.9 * 2e6 < found.used_w <= 2e6
    file.write_text(TIERS.replace("      price: {output: 3 USD/Mtok}\n", ""))
    with pytest.raises(ProfileError, match="has no prices"):
        most_revenue(file, 2e6, chips=["h100-sxm"], jobs=1)
