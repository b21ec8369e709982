"""Which numbers that a run depends on are assumed: nobody publishes them."""

from collections.abc import Iterator
from typing import Any

from gcsim.profiles.base import Quantity, Spec
from gcsim.profiles.scenario import Scenario
from gcsim.profiles.workload import origins


def quantities(item: Any, path: str = "") -> Iterator[tuple[str, Quantity]]:
    """Every number with an origin below a spec, under its dotted path."""
    if isinstance(item, Quantity):
        yield path, item
    elif isinstance(item, Spec):
        for key in type(item).model_fields:
            yield from quantities(getattr(item, key), f"{path}.{key}" if path else key)
    elif isinstance(item, tuple | list):
        for index, inner in enumerate(item):
            yield from quantities(inner, f"{path}.{index}")
    elif isinstance(item, dict):
        for key, inner in item.items():
            yield from quantities(inner, f"{path}.{key}" if path else key)


def assumed_values(scenario: Scenario) -> dict[str, str]:
    """The assumed numbers that enter a run's times: name -> value.

    Of a chip: its rates, memory, links, efficiencies and the times of the serving stack in use (not
    price and power, which only normalise); of a tools pool: how its calls are split, its cores and
    memory; of a workload: its parameters, not what it pays.
    """
    found: dict[str, str] = {}
    for pool in scenario.deployment.pools.values():
        chip = pool.chip
        used = {
            "compute": chip.compute,
            "memory": chip.memory,
            "interconnect": chip.interconnect,
            "efficiency": chip.efficiency,
            "stack": pool.serving_stack,
        }
        for part, item in used.items():
            for path, quantity in quantities(item, part):
                if quantity.kind == "assumed":
                    found[f"{chip.name}.{path}"] = str(quantity)
    for name, tools in scenario.deployment.tool_pools.items():
        own = {key: getattr(tools, key) for key in type(tools).model_fields if key != "cpu"}
        node = {"cores": tools.cpu.cores, "memory": tools.cpu.memory}
        for path, quantity in quantities({name: own, tools.cpu.name: node}):
            if quantity.kind == "assumed":
                found[path] = str(quantity)
    for path, origin in origins(scenario.workload):
        if origin.kind == "assumed" and "price" not in path.split("."):
            found[f"{scenario.workload.name}.{path}"] = str(getattr(origin, "value", origin))
    return found
