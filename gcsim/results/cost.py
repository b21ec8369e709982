"""What a run costs: dollars by cause, per token and per task; energy; racks.

    rental:    c = N p_h                                                                   (1)
    purchase:  c = N p b r / (1 - (1 + r)^-n) / (8766 h u) + P e PUE                       (2)

N chips, p_h their price per hour, p to buy one and b what stands beside it, paid back over n years
at interest r in the part u of the hours, e the price of electricity. The mean power of a pool of
nodes that draw W at full load, busy for U of the time, of which arithmetic binds for f:

    P = W (i + (1 - i) U (f + (1 - f) m))                                                  (3)

with i of it drawn when idle and m while memory, links or fixed times bind. Prefill takes the part b
of the busy time (an iteration of both phases is shared by the tokens that it computes) and draws

    P_prefill = W (i b + (1 - i) U b (f' + (1 - f') m))                                    (4)

with its own f'; decode draws the rest. The cost of a token of each sort is w_sort c / sum over
sorts of w X, with the rates X and weights w as price lists have them (input 1, cached and output as
the site says): together they pay for everything.                                          (5)

What users pay counts where their SLO was kept; it is given per rack-hour, of racks as full of such
nodes as their power allows, and per MW of what the site must provide.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from gcsim.errors import Problem, ProfileError
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Deployment, Pool
from gcsim.profiles.site import Site
from gcsim.profiles.tools import Cpu, ToolPool

HOURS = 8766.0  # of a year
KWH_J = 3.6e6  # joules of a kWh


@dataclass(frozen=True, slots=True)
class PoolCost:
    """One pool: its chips, the nodes and racks that they fill, dollars per hour, mean power [W].

    A tools pool has nodes of CPUs, and no chips. racks: None where one node draws more than a rack
    of the site may.
    """

    pool: str
    chip: str
    chips: int
    nodes: int
    racks: int | None
    racks_full: float | None
    cooling: str
    prefill_power_w: float
    chips_usd_per_hour: float
    electricity_usd_per_hour: float
    power_w: float
    full_power_w: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run costs; per token and task None where it has no such rate, or is saturated.

    joules_per_token: `input` (computed prompt tokens) by what prefill draws, `output` by what
    decode does, `output_alone`: all of it over output.
    power_w: mean of the nodes, without PUE; site_power_w: full power x PUE, what a site must
    provide; racks: None where some chip's nodes do not fit the site's racks; racks_full: how many
    the nodes would fill, parts of racks too. revenue: what users pay for requests within their SLO,
    None without prices; margin: that less what it costs.
    """

    site: str
    basis: str
    pools: tuple[PoolCost, ...]
    usd_per_hour: float
    chips_usd_per_hour: float
    electricity_usd_per_hour: float
    usd_per_million: dict[str, float | None]
    usd_per_task: float | None
    joules_per_token: dict[str, float | None]
    joules_per_task: float | None
    power_w: float
    site_power_w: float
    racks: int | None
    racks_full: float | None
    revenue_usd_per_hour: float | None
    revenue_usd_per_rack_hour: float | None
    revenue_usd_per_mw_hour: float | None
    margin_usd_per_hour: float | None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def chip_usd_per_hour(chip: Chip, site: Site) -> float:
    """What a chip costs while it serves, electricity apart: (1), or the first part of (2).

    Errors: `ProfileError` for a chip without a price to buy it.

    >>> from gcsim.profiles.resolve import load_chip
    >>> from gcsim.profiles.site import load_site
    >>> h100, owned = load_chip("h100-sxm"), load_site("owned")
    >>> chip_usd_per_hour(h100, load_site("rented")), round(chip_usd_per_hour(h100, owned), 2)
    (2.95, 1.76)
    """
    if site.basis == "rental":
        return float(chip.price.usd_per_chip_hour.value)
    return _bought(chip, f"chip {chip.name}", site, site.beside_chips.value)


def node_usd_per_hour(cpu: Cpu, site: Site) -> float:
    """What a node of CPUs costs, as `chip_usd_per_hour`; it is bought whole, so with b = 1.

    >>> from gcsim.profiles.resolve import load_cpu
    >>> from gcsim.profiles.site import load_site
    >>> xeon, owned = load_cpu("xeon-6980p"), load_site("owned")
    >>> node_usd_per_hour(xeon, load_site("rented")), round(node_usd_per_hour(xeon, owned), 2)
    (27.14, 3.27)
    """
    if site.basis == "rental":
        return float(cpu.price.usd_per_node_hour.value)
    return _bought(cpu, f"cpu {cpu.name}", site, 1.0)


def _bought(what: Chip | Cpu, file: str, site: Site, b: float) -> float:
    """Price per hour in use of what is paid back with interest: (2) without power."""
    if what.price.purchase is None:
        hint = "add price.purchase to its profile, or take a site with basis: rental"
        raise ProfileError.one(file, "price.purchase", None, "is not given", hint)
    years, rate = site.amortisation.value / (HOURS * 3600), site.interest.value
    yearly = rate / (1 - (1 + rate) ** -years) if rate else 1 / years
    return float(what.price.purchase.value * b * yearly / (HOURS * site.in_use.value))


def served_usd_per_hour(chip: Chip, site: Site) -> float:
    """`chip_usd_per_hour` and, where it is bought, electricity at its node's full power."""
    paid = chip_usd_per_hour(chip, site)
    if site.basis == "rental":
        return paid
    return paid + chip.node_power_w * 3600 / KWH_J * site.electricity.value * site.pue.value


def mean_power_w(chip: Chip, full_w: float, row: Mapping[str, Any], site: Site) -> float:
    """Mean power of a pool's nodes [W]: equation (3).

    row: of the pool: `utilization`, `bound_compute`, as the summary has them.
    """
    return _drawn_w(chip, full_w, (1.0, row["utilization"], row.get("bound_compute") or 0.0), site)


def prefill_power_w(chip: Chip, full_w: float, row: Mapping[str, Any], site: Site) -> float:
    """What of it prefill draws, equation (4); decode draws the rest.

    row: also `prefill_share` (of the busy time) and `prefill_arithmetic`. Errors: `ProfileError`
    where it has none.
    """
    if "prefill_share" not in row:
        why, hint = "is not there", "an earlier version wrote this summary: run it again"
        raise ProfileError.one("summary.json", "pools.prefill_share", None, why, hint)
    share = row["prefill_share"]
    busy = (share, row["utilization"] * share, row["prefill_arithmetic"])
    return _drawn_w(chip, full_w, busy, site)


def _drawn_w(chip: Chip, full_w: float, busy: tuple[float, float, float], site: Site) -> float:
    """(3) for a part of the time: its share of what is drawn idle, U, and f."""
    share, utilization, arithmetic = busy
    idle = site.idle_power.value
    if chip.power.idle is not None:
        idle = min(chip.power.idle.value / chip.node_power_w, 1.0)
    drawn = arithmetic + (1 - arithmetic) * site.memory_power.value
    return full_w * float(idle * share + (1 - idle) * utilization * drawn)


def cost(deployment: Deployment, summary: Mapping[str, Any], site: Site) -> Cost:
    """What a run of a deployment costs on a site. Errors: `ProfileError` for unpriced chips."""
    rows = {row["pool"]: row for row in summary["pools"]}
    problems: list[Problem] = []
    pools = []
    for name, pool in deployment.all_pools.items():
        try:
            if isinstance(pool, ToolPool):
                pools.append(_tool_pool(name, pool, rows[name], site))
            else:
                pools.append(_pool(name, pool, rows[name], site))
        except ProfileError as error:
            problems += error.problems
    if problems:
        raise ProfileError(problems)
    chips = sum(one.chips_usd_per_hour for one in pools)
    electricity = sum(one.electricity_usd_per_hour for one in pools)
    power = sum(one.power_w for one in pools)
    whole, sound = chips + electricity, not summary["saturated"]
    tasks = (summary["task_throughput"] or 0.0) if sound else 0.0
    racks, full = [one.racks for one in pools], [one.racks_full for one in pools]
    filled = None if None in full else sum(one or 0.0 for one in full)
    site_power_w = sum(one.full_power_w for one in pools) * site.pue.value
    revenue = summary.get("good_revenue_usd_per_hour") if sound else None
    return Cost(
        site=site.name,
        basis=site.basis,
        pools=tuple(pools),
        usd_per_hour=whole,
        chips_usd_per_hour=chips,
        electricity_usd_per_hour=electricity,
        usd_per_million=_per_million(whole, summary, site, sound),
        usd_per_task=whole / 3600 / tasks if tasks else None,
        joules_per_token=_joules(pools, summary, sound),
        joules_per_task=power / tasks if tasks else None,
        power_w=power,
        site_power_w=site_power_w,
        racks=None if None in racks else sum(one or 0 for one in racks),
        racks_full=filled,
        revenue_usd_per_hour=revenue,
        revenue_usd_per_rack_hour=_over(revenue, filled),
        revenue_usd_per_mw_hour=_over(revenue, site_power_w * 1e-6),
        margin_usd_per_hour=None if revenue is None else revenue - whole,
    )


def racks_of(chip: Chip, chips: int, site: Site) -> tuple[int, int | None]:
    """Nodes that so many chips fill, and racks; None where a node draws more than a rack may."""
    nodes, room = ceil(chips / chip.packaging.chips_per_node), nodes_per_rack(chip, site)
    return nodes, ceil(nodes / room) if room else None


def nodes_per_rack(chip: Chip, site: Site) -> int:
    """Nodes that a rack of the site has power for; 0 where one alone draws more."""
    return int(site.rack_power.value / chip.power.node.value)


def _over(value: float | None, what: float | None) -> float | None:
    return value / what if value is not None and what else None


def _pool(name: str, pool: Pool, row: Mapping[str, Any], site: Site) -> PoolCost:
    chip, chips = pool.chip, pool.chips
    full_w = chips * chip.node_power_w
    power_w = mean_power_w(chip, full_w, row, site)
    nodes, racks = racks_of(chip, chips, site)
    electricity = 0.0
    if site.basis == "purchase":
        electricity = power_w * 3600 / KWH_J * site.electricity.value * site.pue.value
    return PoolCost(
        pool=name,
        chip=chip.name,
        chips=chips,
        nodes=nodes,
        racks=racks,
        racks_full=chips / chip.packaging.chips_per_node / nodes_per_rack(chip, site)
        if racks
        else None,
        cooling=chip.packaging.cooling,
        prefill_power_w=prefill_power_w(chip, full_w, row, site),
        chips_usd_per_hour=chips * chip_usd_per_hour(chip, site),
        electricity_usd_per_hour=electricity,
        power_w=power_w,
        full_power_w=full_w,
    )


def _tool_pool(name: str, pool: ToolPool, row: Mapping[str, Any], site: Site) -> PoolCost:
    """Nodes of CPUs: (3) with f = 1, for what computes on cores is arithmetic."""
    cpu, nodes = pool.cpu, pool.nodes
    full_w = nodes * cpu.power.node.value
    idle = site.idle_power.value
    if cpu.power.idle is not None:
        idle = min(cpu.power.idle.value / cpu.power.node.value, 1.0)
    power_w = full_w * float(idle + (1 - idle) * row["utilization"])
    room = int(site.rack_power.value / cpu.power.node.value)
    electricity = 0.0
    if site.basis == "purchase":
        electricity = power_w * 3600 / KWH_J * site.electricity.value * site.pue.value
    return PoolCost(
        pool=name,
        chip=cpu.name,
        chips=0,
        nodes=nodes,
        racks=ceil(nodes / room) if room else None,
        racks_full=nodes / room if room else None,
        cooling=cpu.cooling,
        prefill_power_w=0.0,
        chips_usd_per_hour=nodes * node_usd_per_hour(cpu, site),
        electricity_usd_per_hour=electricity,
        power_w=power_w,
        full_power_w=full_w,
    )


def _rates(summary: Mapping[str, Any]) -> dict[str, float]:
    """Tokens of each sort per second."""
    hit, output = summary["cache_hit_rate"] or 0.0, summary["output_throughput"] or 0.0
    prompts = (summary["total_token_throughput"] or 0.0) - output
    return {"input": prompts * (1 - hit), "cached": prompts * hit, "output": output}


def _joules(
    pools: list[PoolCost], summary: Mapping[str, Any], sound: bool
) -> dict[str, float | None]:
    """Energy of a computed prompt token, of an output token, and of all for an output token.

    What tools draw is part of the last only.
    """
    rates = _rates(summary) if sound else {}
    power_w = sum(one.power_w for one in pools)
    chips_w = sum(one.power_w for one in pools if one.chips)
    prefill_w = sum(one.prefill_power_w for one in pools)
    return {
        "input": _over(prefill_w, rates.get("input")),
        "output": _over(chips_w - prefill_w, rates.get("output")),
        "output_alone": _over(power_w, rates.get("output")),
    }


def _per_million(
    usd_per_hour: float, summary: Mapping[str, Any], site: Site, sound: bool
) -> dict[str, float | None]:
    """Dollars for a million tokens of each sort, and for a million of output alone: (5)."""
    rates = _rates(summary)
    weights = {"input": 1.0, "cached": site.cached_price.value, "output": site.output_price.value}
    whole = sum(rates[sort] * weights[sort] for sort in rates)
    per = usd_per_hour / 3600 * 1e6
    found: dict[str, float | None] = {
        sort: per * weights[sort] / whole if whole and sound else None for sort in rates
    }
    output = rates["output"]
    found["output_alone"] = per / output if output and sound else None
    return found
