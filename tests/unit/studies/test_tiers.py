"""What a rack of each kind of chip gives and earns in each tier: gcsim.studies.tiers."""

from types import SimpleNamespace
from typing import Any

import pytest

from gcsim.cli.tiers import tiers_table
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import Resolved, resolve
from gcsim.profiles.site import load_site
from gcsim.simulate import simulate
from gcsim.studies.tiers import Tiers, _filled, tier_names, tiers

pytestmark = pytest.mark.slow  # most of these play runs

SHORT = {
    "name": "short",
    "agent": {
        "shared": 200,
        "first": 400,
        "steps": 3,
        "output": 20,
        "tools": {"append": 50, "delay": "1 s"},
    },
}
EASY, PRICE = {"ttft": "2 s", "tpot": "50 ms"}, {"output": "10 USD/Mtok"}
PARTS = (
    {"tier": "free", "weight": 1, "workload": SHORT, "slo": EASY},
    {"tier": "paid", "weight": 1, "workload": SHORT, "slo": EASY, "price": PRICE},
    {"tier": "dream", "weight": 1, "workload": SHORT, "slo": {"tpot": "1 us"}, "price": PRICE},
)


def tiered(*parts: dict[str, Any]) -> Resolved:
    workload = {"name": "tiers", "mix": list(parts)}
    settings = {"workload": workload, "slo": None, "model": "gpt-oss-20b", "arrivals.agents": 4}
    return resolve("coding-agents", settings)


@pytest.fixture(scope="module")
def found() -> Tiers:
    return tiers(tiered(*PARTS), ["h200-sxm"], site="owned", jobs=1)


@pytest.mark.slow
def test_a_rack_is_as_many_of_what_was_played_as_fill_it(found: Tiers) -> None:
    """h200: 8 chips and 10.2 kW a node; by hand from the run of the offer, played again."""
    one = next(offer for offer in found.offers if offer.tier == "paid")
    assert one.trial is not None
    row, unit, site = one.row(), one.trial.unit, load_site("owned")
    node_w = float(unit.layouts[0].power_w) / unit.layouts[0].chips * 8
    nodes, power_w = unit.chips / 8, unit.chips / 8 * node_w * site.pue.value
    racks = nodes / int(site.rack_power.value / node_w)
    rate = one.trial.summary["output_goodput"]
    assert row["output_tok_s_per_rack"] == pytest.approx(rate / racks)
    assert row["output_tok_s_per_mw"] == pytest.approx(rate / power_w * 1e6)
    assert row["revenue_usd_per_mw_hour"] == pytest.approx(rate / power_w * 1e6 * 3600 * 10 / 1e6)
    assert row["revenue_usd_per_rack_hour"] == pytest.approx(rate / racks * 3600 * 10 / 1e6)


def test_an_offer_is_a_run_that_keeps_the_slo_of_its_tier(found: Tiers) -> None:
    one = next(offer for offer in found.offers if offer.tier == "paid")
    assert one.trial is not None
    assert one.trial.verdict.holds
    assert one.trial.load >= 4
    again = tiered({**PARTS[1], "weight": 7})
    deployment = {"deployment": one.trial.unit.deployment(), "arrivals.agents": int(one.trial.load)}
    mapping = resolve(again, {**deployment, "run.trajectories": max(int(one.trial.load), 64)})
    s = simulate(mapping).summary
    assert s["output_goodput"] == pytest.approx(one.trial.summary["output_goodput"], rel=1e-12)


def test_a_deployment_is_filled_up_to_the_first_load_that_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """8 agents ask for it; 1.25 and 1.5 times as many hold, twice does not, three times would."""
    held = {8.0, 10.0, 12.0, 24.0}

    class Fake:
        def __init__(self, *_: Any) -> None: ...

        def at(self, unit: Any, load: float) -> Any:
            verdict = SimpleNamespace(holds=load in held)
            return SimpleNamespace(unit=unit, load=load, verdict=verdict)

    monkeypatch.setattr("gcsim.studies.tiers.Player", Fake)
    question: Any = SimpleNamespace(kind="agents")
    start: Any = SimpleNamespace(trial=Fake().at("some", 8.0))
    assert _filled(question, start).load == 12.0


def test_a_price_changes_what_is_earned_and_nothing_else(found: Tiers) -> None:
    free, paid, _ = (offer.row() for offer in found.offers)
    same = ("deployment", "load", "output_tok_s_per_rack", "output_tok_s_per_mw")
    assert [free[key] for key in same] == [paid[key] for key in same]
    assert free["revenue_usd_per_mw_hour"] is None
    assert paid["revenue_usd_per_mw_hour"] > 0


def test_the_best_payer_comes_first_and_what_nothing_keeps_not_at_all(found: Tiers) -> None:
    dream = found.offers[2]
    assert dream.trial is None
    assert "TPOT" in dream.why
    assert dream.row()["output_tok_s_per_rack"] is None
    assert found.serves("h200-sxm") == ["paid", "free"]
    assert (found.best("dream"), found.best("paid")) == (None, "h200-sxm")
    assert found.to_dict()["serves"] == {"h200-sxm": ["paid", "free"]}
    assert tiers_table(found) is not None


@pytest.mark.slow
def test_processes_change_nothing(found: Tiers) -> None:
    again = tiers(tiered(*PARTS), ["h200-sxm"], site="owned", jobs=2)
    assert again.to_json() == found.to_json()


def test_what_has_no_tiers_or_no_slo_is_refused() -> None:
    with pytest.raises(ProfileError, match="has no tiers"):
        tiers("mixed-agents", ["h200-sxm"])
    with pytest.raises(ProfileError, match="has no SLO"):
        tiers(tiered({**PARTS[0], "slo": {}}), ["h200-sxm"])
    inner = {"name": "in", "mix": [{**PARTS[0]}]}
    nested = tiered({"weight": 1, "workload": inner})
    assert tier_names(nested) == ["free"]
    with pytest.raises(ProfileError, match="is an inner tier"):
        tiers(nested, ["h200-sxm"])


def test_the_shipped_tiers_each_have_a_model_a_price_and_an_slo() -> None:
    base = resolve("gtc-2026-tiers")
    assert tier_names(base) == ["free", "medium", "high", "premium", "ultra"]
    paid = [part.price.output.value for part in base.scenario.workload.mix if part.price]
    assert paid == [0, 3, 6, 45, 150]
    speeds = [1 / part.slo.tpot for part in base.scenario.workload.mix]
    assert speeds == pytest.approx([50, 100, 200, 400, 1000])
