"""Tiers of service: who is dealt which task, what they pay, and what priority gives them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gcsim
from gcsim.cli.run_text import tier_table
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import resolve
from gcsim.profiles.workload import leaves
from gcsim.results.result import Result
from gcsim.simulate import simulate
from gcsim.studies.replicate import combined
from gcsim.traffic.generate import trajectories
from gcsim.traffic.trajectory import Step, Trajectory, chain

PRICE = {"input": "3 USD/Mtok", "cached": "0.3 USD/Mtok", "output": "15 USD/Mtok"}
CHEAP = {"tier": "cheap", "workload": "coding-agent", "weight": 70, "slo": {}}
FAST = {"tier": "fast", "workload": "coding-agent", "weight": 30, "price": PRICE}
COUNTS = ("completed", "rejected", "unfinished", "counted", "trajectories", "preemptions")
RATES = ("output_throughput", "output_goodput", "request_goodput", "task_throughput")


def tiered(*parts: dict[str, Any], **settings: Any) -> Any:
    mix = {"name": "tiers", "mix": list(parts)}
    return resolve("coding-agents", {"workload": mix, "slo": None, **settings})


@pytest.fixture(scope="module")
def busy() -> Result:
    """Two tiers that share a deployment and wait for each other."""
    settings = {"arrivals.agents": 48, "run.trajectories": 48}
    return simulate(tiered(CHEAP, {**FAST, "slo": {"tpot": "8 ms"}}, **settings))


def played(found: Any, count: int) -> list[Trajectory]:
    scenario = found.scenario
    seed = np.random.SeedSequence(scenario.run.seed)
    return list(trajectories(scenario.workload, scenario.arrivals, seed, count))


def test_revenue_by_hand() -> None:
    """Two steps of a task: 1,600 and 1,763 prompt tokens, 1,600 of these cached, 4 and 5 out.

    (1,600 + 163) x 3 + 1,600 x 0.3 + 9 x 15 = 5,904 USD a million times, in the time of the run.
    (The mark that ends an answer is no part of the next prompt.)
    """
    steps = [Step(((7, 1600),), 4), Step(((8, 160),), 5, delay_s=1.0)]
    found = tiered(CHEAP, FAST, arrivals={"process": "static"}, **{"run.trajectories": 2})
    tasks = [chain(0, "fast/coding-agent", steps, 0.0), chain(1, "cheap/coding-agent", steps, 0.0)]
    result = simulate(found, tasks)
    s = result.summary
    assert sorted(result.requests["tier"]) == ["cheap", "cheap", "fast", "fast"]
    assert list(result.trajectories["tier"]) == ["fast", "cheap"]
    mine = result.requests[result.requests["tier"] == "fast"]
    assert mine["cached_tokens"].tolist() == [0, 1600]
    paid = 5904e-6 / s["simulated_s"] * 3600
    assert s["revenue_usd_per_hour"] == pytest.approx(paid, rel=1e-9)
    assert [one["revenue_usd_per_hour"] for one in s["tiers"]] == [None, pytest.approx(paid)]


def test_the_tiers_sum_to_the_run(busy: Result) -> None:
    s = busy.summary
    assert [one["tier"] for one in s["tiers"]] == ["cheap", "fast"]
    assert all(one["completed"] for one in s["tiers"])
    for key in (*COUNTS, *RATES):
        assert sum(one[key] for one in s["tiers"]) == pytest.approx(s[key]), key
    counted = busy.requests[busy.requests["counted"]]
    assert counted["tier"].value_counts().sum() == s["completed"]
    fast = s["tiers"][1]
    assert fast["revenue_usd_per_hour"] == pytest.approx(s["revenue_usd_per_hour"])
    assert 0 < fast["good_revenue_usd_per_hour"] < fast["revenue_usd_per_hour"]
    low, high = s["ci95_revenue_usd_per_hour"]
    assert low < s["revenue_usd_per_hour"] < high
    assert len(tier_table(s["tiers"]).rows) == 2
    assert combined([s, s])["tiers"] == s["tiers"]


def test_what_users_pay_is_what_their_tokens_cost(busy: Result) -> None:
    """The revenue of a tier from its rates of tokens, as a bill would have it."""
    fast = busy.summary["tiers"][1]
    prompts = fast["total_token_throughput"] - fast["output_throughput"]
    cached = prompts * fast["cache_hit_rate"]
    bill = (prompts - cached) * 3 + cached * 0.3 + fast["output_throughput"] * 15
    assert fast["revenue_usd_per_hour"] == pytest.approx(bill * 3600e-6, rel=1e-9)


def test_one_tier_of_a_price_is_no_tier_and_that_price() -> None:
    settings = {"run.trajectories": 8, "arrivals.agents": 4}
    one = simulate(tiered({**FAST, "weight": 1}, **settings))
    plain = simulate(resolve("coding-agents", {**settings, "slo": None, "price": PRICE}))
    assert plain.summary["tiers"] == []
    assert plain.summary["revenue_usd_per_hour"] > 0
    same = [
        key
        for key, value in plain.summary.items()
        if isinstance(value, int | float) and key != "assumed_values"
    ]
    assert {key: one.summary[key] for key in same} == {key: plain.summary[key] for key in same}
    pd.testing.assert_frame_equal(
        one.requests.drop(columns=["workload", "tier"]), plain.requests.drop(columns="workload")
    )


def test_one_workload_is_dealt_among_its_tiers() -> None:
    """Task k is the same, whoever's it is; the shares are those of the tiers."""
    plain = played(resolve("coding-agents"), 400)
    dealt = played(tiered(CHEAP, {**FAST, "priority": 1}), 400)
    assert [one.steps for one in dealt] == [one.steps for one in plain]
    names = pd.Series([one.workload for one in dealt]).value_counts()
    assert set(names.index) == {"cheap/coding-agent", "fast/coding-agent"}
    assert 0.25 < names["fast/coding-agent"] / 400 < 0.35
    assert {one.priority for one in dealt if one.workload.startswith("fast")} == {1}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_priority_never_makes_the_upper_tier_wait_longer(seed: int) -> None:
    """Where requests wait for seats: without it both wait alike, with it the upper one less."""
    load = {
        "arrivals": {"process": "closed", "agents": 40},
        "run.trajectories": 60,
        "run.seed": seed,
        "deployment.pools.serve.batching.max_seqs": 8,
    }
    off, on = (simulate(tiered(CHEAP, {**FAST, "priority": p}, **load)) for p in (0, 1))
    for statistic in ("mean", "p95"):
        was, now = (run.summary["tiers"][1][f"{statistic}_ttft_ms"] for run in (off, on))
        assert now <= was
    upper, lower = (on.summary["tiers"][place]["mean_ttft_ms"] for place in (1, 0))
    assert upper < lower


@pytest.mark.slow
def test_both_engines_serve_tiers_alike(busy: Result) -> None:
    again = simulate(resolve(busy.resolved, {"engine": "iteration"}))
    pd.testing.assert_frame_equal(again.requests, busy.requests)
    assert again.summary["tiers"] == busy.summary["tiers"]


def test_a_tier_of_several_classes_is_one_tier() -> None:
    both = {
        "name": "both",
        "mix": [{"workload": "chatbot", "weight": 1}, {"workload": "rag", "weight": 1}],
    }
    upper = {"tier": "upper", "workload": both, "weight": 1, "price": PRICE}
    lower = {"tier": "lower", "workload": "chatbot", "weight": 1}
    s = simulate(tiered(upper, lower, **{"run.trajectories": 60})).summary
    names = ["upper/chatbot", "upper/rag", "lower/chatbot"]
    assert [one["workload"] for one in s["classes"]] == names
    assert [one["workloads"] for one in s["tiers"]] == [names[:2], names[2:]]
    assert s["tiers"][0]["completed"] == sum(one["completed"] for one in s["classes"][:2])
    assert s["classes"][0]["price"] == {"input": 3.0, "cached": 0.3, "output": 15.0}
    assert s["classes"][2]["price"] is None


def test_a_tier_inside_a_mix_stays_unless_the_mix_has_one() -> None:
    inner = {"name": "inner", "mix": [CHEAP, FAST]}
    plain = tiered({"workload": inner, "weight": 1}).scenario.workload
    assert [leaf.tier for leaf in leaves(plain)] == ["cheap", "fast"]
    assert [leaf.price is None for leaf in leaves(plain)] == [True, False]
    with pytest.raises(ProfileError, match="different tiers"):  # both are of tier all then
        tiered({"workload": inner, "weight": 1, "tier": "all"})


def test_what_cannot_be_a_tier_is_refused() -> None:
    with pytest.raises(ProfileError, match="different names, or different tiers"):
        tiered(CHEAP, {**FAST, "tier": "cheap"})
    other = {"base": "coding-agent", "name": "coding-agent", "agent": {"steps": 3}}
    with pytest.raises(ProfileError, match="are named 'coding-agent' and differ"):
        tiered(CHEAP, {**FAST, "workload": other})
    with pytest.raises(ProfileError, match=r"price\.output: .*wanted US dollars per million"):
        tiered({**FAST, "price": {"output": "3 USD"}})


def test_tables_of_a_results_folder_have_the_tier(busy: Result, tmp_path: Path) -> None:
    folder = busy.save(tmp_path / "run")
    table = pd.read_parquet(folder / "requests.parquet")
    assert set(table["tier"]) == {"cheap", "fast"}
    plain = gcsim.run("coding-agents", settings={"run.trajectories": 2})
    assert "tier" not in plain.requests
