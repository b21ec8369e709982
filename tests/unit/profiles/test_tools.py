"""Nodes of CPUs, and pools of them in a deployment; gcsim.profiles.tools."""

from typing import Any

import pytest
import toys

from gcsim.errors import ProfileError
from gcsim.profiles.assumed import assumed_values
from gcsim.profiles.deployment import Deployment
from gcsim.profiles.load import validate
from gcsim.profiles.resolve import load_cpu, resolve, with_settings

SCENARIO = "agents-with-tools"


def refused(**changes: Any) -> str:
    """What a deployment with such a tools pool is refused for."""
    raw = toys.tool_pool(4).model_dump(exclude={"cpu_share", "sandbox_start", "sandbox_memory"})
    cpu = {
        "name": "c",
        "vendor": "v",
        "cores": 4,
        "memory": "1 GB",
        "power": {"node": "1 W"},
        "price": {"usd_per_node_hour": "1 USD/h"},
    }
    pools = {"main": {"chip": toys.chip()}, "tools": {**raw, "cpu": cpu, "cpu_share": 1, **changes}}
    with pytest.raises(ProfileError) as error:
        validate(Deployment, {"name": "d", "pools": pools}, "d.yaml")
    return str(error.value)


def test_the_shipped_blueprint_has_a_pool_that_serves_no_model() -> None:
    deployment = resolve(SCENARIO).scenario.deployment
    assert list(deployment.pools) == ["prefill", "decode"]
    (tools,) = deployment.tool_pools.values()
    assert tools.cpu == load_cpu("xeon-6")
    assert tools.cores == 256 * tools.nodes
    assert tools.sandboxes == int(tools.cpu.memory.value / tools.sandbox_memory.value)


def test_a_setting_reaches_into_it() -> None:
    base = resolve(SCENARIO)
    changed = with_settings(base, {"deployment.pools.tools.cpu.cores": 8})
    assert changed.scenario.deployment.tool_pools["tools"].cores == 8
    found = {name for name, value in base.hashes().items() if changed.hashes()[name] != value}
    assert found == {"cpu xeon-6980p"}


def test_assumed_numbers_of_it_are_told() -> None:
    found = assumed_values(resolve(SCENARIO).scenario)
    assert {"tools.cpu_share", "xeon-6980p.memory"} <= set(found)
    assert "xeon-6980p.power.node" not in found  # it only normalises


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cores_per_call": 5}, "cores_per_call is 5, but a node of c has 4 cores"),
        ({"sandbox_memory": "2 GB"}, "but a node of c has 1 GB"),
        ({"cpu_share": 1.5}, "pools.tools.cpu_share"),
        ({"cpu_share": 0}, "pools.tools.cpu_share"),
        ({"cores": 3}, "pools.tools.cores"),
        ({"node": 3}, "did you mean 'nodes'"),
        ({"sandbox_start": 3}, "pools.tools.sandbox_start"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(changes: dict[str, Any], told: str) -> None:
    assert told in refused(**changes)


def test_half_a_core_is_none() -> None:
    with pytest.raises(ValueError, match=r"cores is 1\.5, must be a whole number"):
        toys.tool_pool(1.5)  # type: ignore[arg-type]


def test_one_tools_pool_beside_those_that_serve() -> None:
    with pytest.raises(ValueError, match="none serves a model"):
        toys.deployment({"tools": toys.tool_pool()})
    with pytest.raises(ValueError, match="a, b all have role: tools"):
        toys.deployment({"main": {}, "a": toys.tool_pool(), "b": toys.tool_pool()})


def test_no_link_leads_to_tools() -> None:
    link = {"from": "main", "to": "tools", "bandwidth": "1 GB/s", "efficiency": 1}
    with pytest.raises(ValueError, match="no pool is named 'tools'"):
        toys.deployment({"main": {}, "tools": toys.tool_pool()}, links=[link])
