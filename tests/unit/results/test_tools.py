"""What a tools pool did, how many cores would do, what they cost; gcsim.results.tools."""

import numpy as np
import pytest

import gcsim
from gcsim.cli.run_text import run_table
from gcsim.profiles.site import load_site
from gcsim.results.cost import cost, node_usd_per_hour
from gcsim.results.result import Result

SETTINGS = {"arrivals.agents": 6, "run.trajectories": 24}
CORES = "deployment.pools.tools.cpu.cores"


@pytest.fixture(scope="module")
def result() -> Result:
    return gcsim.run("agents-with-tools", settings=SETTINGS)


def test_the_parts_of_a_task_sum_to_its_time(result: Result) -> None:
    assert "tool_queue" in result.summary["task_breakdown_ms"]
    tasks = result.trajectories[result.trajectories["status"] == "completed"]
    parts = sum(tasks[f"{part}_s"] for part in result.summary["task_breakdown_ms"])
    assert np.abs(parts - tasks["task_s"]).max() < 1e-6
    assert "pool runs tools" in result.played or "a short run" in result.played


def test_so_many_cores_do_and_fewer_do_not(result: Result) -> None:
    """The answer, played: with the cores that it names the queue is below its bound."""
    tools = result.summary["tools"]
    enough, each = tools["cores_needed"], 4
    assert 0 < enough < tools["cores"]
    assert tools["cores_per_100_agents"] == pytest.approx(100 * enough / tools["agents"])
    assert tools["agents"] == pytest.approx(6, rel=0.1)
    shares = []
    for cores in (enough, enough - each):
        settings = {**SETTINGS, CORES: cores}
        shares.append(gcsim.run("agents-with-tools", settings=settings).summary["tools"])
    assert shares[0]["queue_share"] < 0.015  # what waits moves what comes
    assert shares[1]["queue_share"] > shares[0]["queue_share"]


def test_the_row_is_by_littles_law(result: Result) -> None:
    row, (tools,) = result.pools.iloc[-1], [result.summary["tools"]]
    assert (row["role"], row["chips"], row["chip"]) == ("tools", 0, "xeon-6980p")
    rate, cpu_s = result.summary["task_throughput"], tools["cpu_s_per_task"]
    assert row["utilization"] * 256 == pytest.approx(rate * cpu_s, rel=0.5)  # of all, not counted
    assert row["power_w"] == 1500
    assert result.summary["power_w"] == pytest.approx(result.pools["power_w"].sum())
    assert result.summary["usd_per_hour"] == pytest.approx(tools["chips_usd_per_hour"] + 27.14)


def test_it_enters_what_a_site_pays(result: Result) -> None:
    deployment = result.resolved.scenario.deployment
    owned = load_site("owned")
    whole = cost(deployment, result.summary, owned)
    tools = whole.pools[-1]
    cpu = deployment.tool_pools["tools"].cpu
    assert (tools.chips, tools.nodes, tools.racks) == (0, 1, 1)
    assert tools.chips_usd_per_hour == node_usd_per_hour(cpu, owned)
    share = result.pools["utilization"].iloc[-1]
    assert tools.power_w == pytest.approx(500 + 1000 * share)
    assert whole.power_w == pytest.approx(sum(pool.power_w for pool in whole.pools))
    # Energy of a token is that of chips; what CPUs draw is in that of all.
    alone, output = whole.joules_per_token["output_alone"], whole.joules_per_token["output"]
    assert alone is not None
    assert output is not None
    rest = sum(pool.prefill_power_w for pool in whole.pools) + tools.power_w
    assert alone - output == pytest.approx(rest / result.summary["output_throughput"], rel=1e-6)


def test_people_are_told(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    Console(width=100).print(run_table(result))
    text = " ".join(capsys.readouterr().out.split())
    assert "cores keep the line below 1% of it" in text
    assert "gcsim show cpu xeon-6980p" in text


def test_without_the_pool_no_word_of_it() -> None:
    plain = gcsim.run("coding-agents", settings={"arrivals.agents": 2, "run.trajectories": 2})
    assert "tools" not in plain.summary
    assert "tool_queue" not in plain.summary["task_breakdown_ms"]
    assert "tool_queue_s" not in plain.trajectories
