"""Metrics by hand from the tables: gcsim.results.summary, gcsim.results.tables."""

import numpy as np
import pytest

import gcsim
from gcsim.cli.run_text import caveats
from gcsim.profiles.arrivals import Slo
from gcsim.results.counted import meets, slos_of, task_meets
from gcsim.results.paired import counted_of
from gcsim.results.result import Result
from gcsim.results.summary import PHASES
from gcsim.results.tables import split_bounds
from gcsim.results.text import causes

DEPLOYMENTS = ("sn40l-mono", "mi300x-prefill-sn50-decode")


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def result(request: pytest.FixtureRequest) -> Result:
    settings = {"deployment": request.param, "arrivals.agents": 4, "run.trajectories": 12}
    return gcsim.run("coding-agents", settings=settings)


def test_every_request_has_one_end_and_its_parts_sum_to_e2e(result: Result) -> None:
    s, table = result.summary, result.requests
    assert s["completed"] + s["rejected"] + s["unfinished"] == table["counted"].sum()
    done = table[table["status"] == "completed"]
    parts = sum(done[f"{phase}_s"] for phase in PHASES)
    assert np.abs(parts - done["e2e_s"]).max() < 1e-9
    assert (done["ttft_s"] <= done["e2e_s"]).all()
    gaps = done[done["osl"] > 1]
    tpot = (gaps["e2e_s"] - gaps["ttft_s"]) / (gaps["osl"] - 1)
    assert np.allclose(gaps["tpot_s"], tpot, rtol=0, atol=1e-15)
    assert done.loc[done["osl"] == 1, "tpot_s"].isna().all()


def test_the_parts_of_a_task_sum_to_its_time(result: Result) -> None:
    tasks = result.trajectories[result.trajectories["status"] == "completed"]
    parts = sum(tasks[f"{part}_s"] for part in ("tools", "human", *PHASES))
    assert np.abs(parts - tasks["task_s"]).max() < 1e-6


def test_headline_metrics_are_those_of_the_counted_rows(result: Result) -> None:
    s, table = result.summary, result.requests
    tasks = result.trajectories
    window = tasks[tasks["start_s"].between(*s["window_s"], inclusive="left")]
    assert len(window) == s["trajectories"] == 12 < len(tasks)
    done = table[table["trajectory"].isin(set(window["trajectory"]))]
    assert (done["status"] == "completed").all()
    assert len(done) == s["counted"] == s["completed"] < len(table)
    for key, column in (("ttft", "ttft_s"), ("tpot", "tpot_s"), ("e2el", "e2e_s")):
        values = done[column].dropna() * 1e3
        assert s[f"mean_{key}_ms"] == pytest.approx(values.mean())
        assert s[f"std_{key}_ms"] == pytest.approx(values.std(ddof=0))
        for name, q in (("median", 50), ("p90", 90), ("p95", 95), ("p99", 99)):
            assert s[f"{name}_{key}_ms"] == pytest.approx(np.percentile(values, q))
    span = window["task_s"].sum() / 4
    assert s["task_throughput"] == pytest.approx(12 / span)
    assert s["mean_in_flight"] == pytest.approx(done["e2e_s"].sum() / span)
    assert s["usd_per_task"] == pytest.approx(s["usd_per_hour"] / 3600 * span / 12)
    assert s["joules_per_task"] == pytest.approx(s["power_w"] * span / 12)
    assert s["e2e_avg_interactivity"] == pytest.approx(done["osl"].sum() / done["e2e_s"].sum())
    assert s["tps_per_user"] == pytest.approx(1000 / s["p90_tpot_ms"])
    assert s["output_throughput"] == pytest.approx(done["osl"].sum() / span)
    assert s["total_token_throughput"] == pytest.approx((done["isl"] + done["osl"]).sum() / span)
    assert s["cache_hit_rate"] == pytest.approx(done["cached_tokens"].sum() / done["isl"].sum())
    assert s["cache_hit_rate"] == pytest.approx(
        s["cache_hit_rate_own"] + s["cache_hit_rate_shared"]
    )
    assert sum(s["breakdown_ms"].values()) == pytest.approx(s["mean_e2el_ms"])


def test_the_gap_between_tokens_is_that_of_the_requests(result: Result) -> None:
    """All gaps of a request sum to E2E - TTFT, so their mean is a ratio of sums.

    Bins are 0.8% wide; they hold all gaps since the window opened, so those of other tasks too.
    """
    table = result.requests
    done = table[table["sent_s"] >= result.summary["window_s"][0]]
    wanted = (done["e2e_s"] - done["ttft_s"]).sum() / (done["osl"] - 1).sum() * 1e3
    assert result.summary["mean_itl_ms"] == pytest.approx(wanted, rel=0.05)


def test_goodput_counts_what_met_every_bound(result: Result) -> None:
    done = counted_of(result).requests
    slos = {"coding-agent": Slo(ttft="300 ms", tpot="2 ms")}  # type: ignore[arg-type]
    met = meets(done, slos)
    by_hand = (done["ttft_s"] <= 0.3) & ~(done["tpot_s"] > 0.002)
    assert (met == by_hand).all()
    assert 0 < met.sum() < len(met)
    tasks = counted_of(result).tasks
    kept = task_meets(tasks, done.assign(good=met), slos)
    bad = set(done.loc[~met, "trajectory"])
    assert kept.tolist() == [number not in bad for number in tasks["trajectory"]]
    short = {"coding-agent": Slo(task="0.001 s")}  # type: ignore[arg-type]
    strict = task_meets(tasks, done.assign(good=True), short)
    assert not strict.any()


def test_the_scenarios_slo_stands_before_the_workloads(result: Result) -> None:
    assert slos_of(result.resolved.scenario) == {"coding-agent": result.resolved.scenario.slo}
    chat = gcsim.run("chatbot", settings={"run.trajectories": 2, "run.warmup": "0 s"})
    assert slos_of(chat.resolved.scenario)["chatbot"].ttft == 1.0


def test_pools_tell_busy_time_by_bound(result: Result) -> None:
    for pool in result.summary["pools"]:
        shares = [v for k, v in pool.items() if k.startswith("bound_") and v is not None]
        assert sum(shares) == pytest.approx(1)
        named = causes(pool)
        assert sum(named.values()) == pytest.approx(1)
        assert named["latency"] == pool["bound_latency"] > 0
        assert 0 < pool["utilization"] <= 1
        assert 0 < pool["mfu"] < 1
        assert 0 < pool["mbu"] < 1
    for link in result.summary["links"]:
        assert link["sent_bytes"] == link["received_bytes"] > 0


def test_price_and_energy_are_those_of_all_chips_by_hand(result: Result) -> None:
    """USD/h = sum of chips x price, W = sum of chips / chips of a node x its power, of all pools.

    A task costs what is rented while one is done: USD/h / 3600 / X, and W / X joules.
    """
    usd = power = 0.0
    for pool in result.resolved.scenario.deployment.pools.values():
        chips = pool.replicas * pool.tp * pool.ep * pool.pp
        assert chips > 1
        usd += chips * pool.chip.price.usd_per_chip_hour.value
        power += chips / pool.chip.packaging.chips_per_node * pool.chip.power.node.value
    s = result.summary
    assert s["usd_per_hour"] == pytest.approx(usd, rel=1e-12)
    assert s["power_w"] == pytest.approx(power, rel=1e-12)
    assert s["usd_per_task"] == pytest.approx(usd / 3600 / s["task_throughput"], rel=1e-9)
    assert s["joules_per_task"] == pytest.approx(power / s["task_throughput"], rel=1e-9)


def test_the_figures_of_other_benchmarks_by_hand(result: Result) -> None:
    """MLPerf: 1000 / p90 TPOT [ms]; AgentX: output tokens / time of all answers."""
    s, rows = result.summary, result.requests
    done = rows[rows["counted"] & (rows["status"] == "completed")]
    assert s["tps_per_user"] == pytest.approx(1e3 / s["p90_tpot_ms"], rel=1e-12)
    assert s["p90_tpot_ms"] == pytest.approx(1e3 * np.nanpercentile(done["tpot_s"], 90))
    answering_s = done["e2e_s"].sum()
    assert s["e2e_avg_interactivity"] == pytest.approx(done["osl"].sum() / answering_s, rel=1e-9)


def test_seconds_are_split_over_the_tiers_that_hold_the_bytes() -> None:
    class Cost:
        weight_tiers = {"hbm": 1.0}  # noqa: RUF012
        expert_tiers = {"hbm": 0.25, "ddr": 0.75}  # noqa: RUF012
        kv_tier = "hbm"

    names = ("compute_s", "weights_s", "experts_s", "kv_s", "links_s", "latency_s")
    total = dict(zip(names, (1.0, 2.0, 4.0, 8.0, 16.0, 32.0), strict=True))
    found = split_bounds(total, Cost())  # type: ignore[arg-type]
    assert found == {
        "compute": 1, "memory_hbm": 2 + 1 + 8, "memory_ddr": 3, "links": 16, "latency": 32
    }  # fmt: skip
    assert sum(found.values()) == sum(total.values())


def test_a_run_of_which_nothing_counts_has_no_metrics() -> None:
    settings = {"run.trajectories": 2, "run.horizon": "1.5 s"}
    s = gcsim.run("coding-agents", settings=settings).summary
    assert (s["counted"], s["mean_ttft_ms"], s["cache_hit_rate"]) == (0, None, None)
    assert s["trajectories"] == 0 < s["recorded"]["trajectories"]
    assert s["task_throughput"] == 0
    assert s["usd_per_task"] is s["breakdown_ms"]["decode"] is None
    assert "No task counts" in caveats(s)[0]
