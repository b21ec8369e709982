"""Money and energy by hand."""

from typing import Any

import pytest
import toys

import gcsim
from gcsim.errors import ProfileError
from gcsim.profiles.site import Site, load_site
from gcsim.results.cost import chip_usd_per_hour, cost, mean_power_w, racks_of, served_usd_per_hour

TERMS: dict[str, Any] = {
    "name": "here",
    "basis": "purchase",
    "electricity": "0.1 USD/kWh",
    "pue": 1.5,
    "rack_power": "3 kW",
    "amortisation": "4 y",
    "interest": 0.1,
    "in_use": 0.5,
    "beside_chips": 2,
    "idle_power": 0.4,
    "memory_power": 0.5,
    "cached_price": 0.1,
    "output_price": 5,
}
PRICED = {"price": {"usd_per_chip_hour": "1 USD/h", "purchase": "10000 USD"}}


def site(**changes: Any) -> Site:
    return Site.model_validate({**TERMS, **changes})


def summary(**changes: Any) -> dict[str, Any]:
    """8 chips of 1 kW a node, 90% of the prompts cached."""
    found = {
        "pools": [
            {
                "pool": "serve",
                "utilization": 0.6,
                "bound_compute": 0.25,
                "prefill_share": 0.4,
                "prefill_arithmetic": 0.5,
            }
        ],
        "saturated": False,
        "task_throughput": 0.02,
        "output_throughput": 100.0,
        "total_token_throughput": 4100.0,
        "cache_hit_rate": 0.9,
    }
    return found | changes


def served(**terms: Any) -> Any:
    pools = {"serve": {"tp": 8, "chip": toys.chip(**PRICED)}}
    return cost(toys.deployment(pools), summary(), site(**terms))


def test_what_is_bought_is_an_annuity() -> None:
    """20,000 USD x 0.1 / (1 - 1.1^-4) a year, in half of 8,766 hours; 4 payments pay it back."""
    yearly = chip_usd_per_hour(toys.chip(**PRICED), site()) * 8766 * 0.5
    left = 20_000.0
    for _ in range(4):
        left = left * 1.1 - yearly
    assert left == pytest.approx(0, abs=1e-6)
    assert chip_usd_per_hour(toys.chip(**PRICED), site(interest=0)) == pytest.approx(
        20_000 / 4 / 8766 / 0.5
    )


def test_what_is_rented_has_its_power_in_the_price() -> None:
    assert chip_usd_per_hour(toys.chip(**PRICED), site(basis="rental")) == 1
    assert served(basis="rental").electricity_usd_per_hour == 0
    assert served_usd_per_hour(toys.chip(**PRICED), site(basis="rental")) == 1


def test_power_is_that_of_idle_memory_and_arithmetic() -> None:
    """1 kW x (0.4 + 0.6 x 0.6 x (0.25 + 0.75 x 0.5))."""
    row = summary()["pools"][0]
    by_hand = 1000 * (0.4 + 0.6 * 0.6 * (0.25 + 0.75 * 0.5))
    assert mean_power_w(toys.chip(), 1000.0, row, site()) == pytest.approx(by_hand)
    idle = toys.chip(power={"node": "1 kW", "idle": "25 W"})  # of 125 W for a chip
    row = {"utilization": 0.0, "bound_compute": 0.0}
    assert mean_power_w(idle, 1000.0, row, site()) == pytest.approx(200)


def test_both_phases_draw_what_the_pool_draws() -> None:
    """Prefill by hand: 1 kW x (0.4 x 0.4 + 0.6 x 0.6 x 0.4 x (0.5 + 0.5 x 0.5)) = 268 W."""
    found = served()
    assert found.pools[0].prefill_power_w == pytest.approx(268)
    joules = found.joules_per_token
    assert joules["input"] == pytest.approx(268 / 400)
    assert joules["output"] == pytest.approx((625 - 268) / 100)
    assert joules["input"] * 400 + joules["output"] * 100 == pytest.approx(found.power_w)


def test_a_summary_without_phases_is_told() -> None:
    old = summary(pools=[{"pool": "serve", "utilization": 0.6, "bound_compute": 0.25}])
    with pytest.raises(ProfileError, match="an earlier version wrote this summary"):
        cost(toys.deployment({"serve": {"tp": 8, "chip": toys.chip(**PRICED)}}), old, site())


def test_electricity_is_bought_for_the_whole_site() -> None:
    """0.625 kW x 1.5 x 0.1 USD."""
    found = served()
    assert found.power_w == pytest.approx(625)
    assert found.electricity_usd_per_hour == pytest.approx(0.625 * 1.5 * 0.1)
    assert found.site_power_w == pytest.approx(1500)
    assert found.usd_per_hour == pytest.approx(
        found.chips_usd_per_hour + found.electricity_usd_per_hour
    )


def test_tokens_of_all_sorts_pay_for_everything() -> None:
    found, second = served(), 1 / 3600
    per = {sort: found.usd_per_million[sort] * 1e-6 for sort in ("input", "cached", "output")}
    rates = {"input": 400.0, "cached": 3600.0, "output": 100.0}
    paid = sum(per[sort] * rates[sort] for sort in rates)
    assert paid == pytest.approx(found.usd_per_hour * second)
    assert per["output"] == pytest.approx(5 * per["input"])
    assert per["cached"] == pytest.approx(0.1 * per["input"])
    assert found.usd_per_million["output_alone"] == pytest.approx(
        found.usd_per_hour * second / 100 * 1e6
    )
    assert found.usd_per_task == pytest.approx(found.usd_per_hour * second / 0.02)
    assert found.joules_per_task == pytest.approx(625 / 0.02)
    assert found.joules_per_token["output_alone"] == pytest.approx(6.25)


def test_nodes_fill_racks_and_racks_have_limits() -> None:
    """Nodes of 8 chips and 1 kW, racks of 3 kW: 33 chips are 5 nodes in 2 racks."""
    assert racks_of(toys.chip(), 33, site()) == (5, 2)
    assert racks_of(toys.chip(), 33, site(rack_power="0.9 kW")) == (5, None)
    assert served(rack_power="0.9 kW").racks is None


def test_a_saturated_run_has_no_price_of_a_token() -> None:
    pools = {"serve": {"tp": 8, "chip": toys.chip(**PRICED)}}
    found = cost(toys.deployment(pools), summary(saturated=True), site())
    assert found.usd_per_task is None
    assert set(found.usd_per_million.values()) == {None}
    assert found.usd_per_hour > 0


def test_revenue_is_given_per_rack_and_per_megawatt() -> None:
    """A node of 8 toys draws 1 kW: 16 to a rack of 16.5 kW, and 1.5 kW of the site."""
    pools = {"serve": {"tp": 8, "chip": toys.chip(**PRICED)}}
    terms, paid = site(rack_power="16.5 kW"), summary(good_revenue_usd_per_hour=12.0)
    found = cost(toys.deployment(pools), paid, terms)
    assert (found.racks, found.racks_full) == (1, 1 / 16)
    assert found.revenue_usd_per_rack_hour == pytest.approx(12 * 16)
    assert found.revenue_usd_per_mw_hour == pytest.approx(12 / 0.0015)
    assert found.margin_usd_per_hour == pytest.approx(12 - found.usd_per_hour)
    alone = cost(toys.deployment(pools), paid, site(rack_power="0.9 kW"))
    assert alone.revenue_usd_per_rack_hour is None
    assert alone.revenue_usd_per_mw_hour == found.revenue_usd_per_mw_hour
    for nothing in (summary(), paid | {"saturated": True}):
        assert cost(toys.deployment(pools), nothing, terms).margin_usd_per_hour is None


def test_a_chip_without_a_price_to_buy_it_is_named() -> None:
    with pytest.raises(ProfileError, match=r"chip toy: price.purchase: is not given"):
        cost(toys.deployment({"serve": {}}), summary(), site())


def test_shipped_sites_differ_in_who_pays() -> None:
    rented, owned = load_site("rented"), load_site("owned")
    assert (rented.basis, owned.basis) == ("rental", "purchase")
    assert rented.model_dump(exclude={"name", "description", "basis"}) == owned.model_dump(
        exclude={"name", "description", "basis"}
    )


@pytest.mark.slow
def test_a_pool_of_one_phase_draws_for_that_phase() -> None:
    """And of a pool that does both, prefill draws something, decode the rest: in both engines."""
    few = {"run.trajectories": 3, "arrivals.agents": 2}
    apart, one, again = (
        gcsim.run("coding-agents", settings=few | {"deployment": name}, engine=engine)
        for name, engine in (
            ("mi300x-prefill-sn50-decode", "coalesced"),
            ("sn40l-mono", "coalesced"),
            ("sn40l-mono", "iteration"),
        )
    )
    prefill, decode = apart.summary["pools"]
    assert prefill["prefill_share"] == pytest.approx(1)
    assert decode["prefill_share"] < 0.1
    assert 0 < one.summary["pools"][0]["prefill_share"] < 1
    assert one.summary["pools"] == again.summary["pools"]
    both = one.summary["pools"][0]
    share, bound = both["prefill_share"], both["bound_compute"]
    parts = share * both["prefill_arithmetic"] + (1 - share) * both["decode_arithmetic"]
    assert parts == pytest.approx(bound)
    found = cost(one.resolved.scenario.deployment, one.summary, load_site("owned"))
    s, joules = one.summary, found.joules_per_token
    prompts = s["total_token_throughput"] - s["output_throughput"]
    drawn = joules["input"] * prompts * (1 - s["cache_hit_rate"])
    assert drawn + joules["output"] * s["output_throughput"] == pytest.approx(found.power_w)
