"""`gcsim cost`: what runs cost, in dollars, joules and racks."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcsim.cli.console import OutputFormat, emit, guarded
from gcsim.cli.options import FormatOption, LibraryOption, SeedOption, SetOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gcsim.profiles.library import Library
    from gcsim.results.cost import Cost


@guarded
def cost(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Scenarios to play, or results folders.")
    ],
    site: Annotated[
        str, typer.Option(metavar="NAME", help="Who pays for what: rented, owned, or a file.")
    ] = "rented",
    deployments: Annotated[
        list[str] | None,
        typer.Option("--deployment", metavar="NAME", help="Play scenarios on each of these."),
    ] = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    library: LibraryOption = None,
    output: FormatOption = OutputFormat.table,
) -> None:
    """Dollars per hour, million tokens and task, joules and racks of one or more runs."""
    from gcsim.profiles.library import opened
    from gcsim.profiles.site import load_site
    from gcsim.results.cost import cost as costs

    known = opened(library)
    terms = load_site(site, known)
    found: list[tuple[str, Cost]] = []
    for name in runs:
        for deployment, summary in _played(name, known, deployments or [], (settings, seed)):
            found.append((deployment.name, costs(deployment, summary, terms)))
    if output is OutputFormat.json:
        emit({"site": terms.name, "runs": [{"deployment": n, **c.to_dict()} for n, c in found]})
    else:
        emit(cost_table(found))


def _played(
    name: str,
    library: "Library",
    deployments: list[str],
    changes: tuple[list[str] | None, int | None],
) -> list[tuple[Any, dict[str, Any]]]:
    """The deployment and the summary of each run that is meant."""
    from gcsim.errors import ProfileError
    from gcsim.profiles.resolve import parse_settings, resolve
    from gcsim.results.folder import complete
    from gcsim.simulate import simulate

    settings, seed = changes
    if Path(name).is_dir():
        if deployments or settings or seed is not None:
            why = "is a finished run: --deployment, --set and --seed do not change it"
            raise ProfileError.one("cost", "RUN", name, why, "name its scenario to play it again")
        summary = complete(Path(name))
        return [(resolve(str(Path(name) / "scenario.yaml")).scenario.deployment, summary)]
    common = parse_settings(settings or ())
    every = [{"deployment": one} for one in deployments] or [{}]
    scenarios = [resolve(name, {**one, **common}, seed, library) for one in every]
    return [(one.scenario.deployment, simulate(one).summary) for one in scenarios]


def cost_table(found: "list[tuple[str, Cost]]") -> "RenderableType":
    """A row per run."""
    from rich.console import Group
    from rich.text import Text

    from gcsim.cli.run_text import plain_table
    from gcsim.results.text import three

    owned = any(one.basis == "purchase" for _, one in found)
    columns: list[tuple[str, Callable[[Cost], str]]] = [
        ("chips", lambda one: str(sum(pool.chips for pool in one.pools))),
        ("racks", lambda one: "none" if one.racks is None else str(one.racks)),
        ("USD/h", lambda one: three(one.usd_per_hour)),
        *([("of it\npower", lambda one: three(one.electricity_usd_per_hour))] if owned else []),
        ("USD/M\ninput", lambda one: three(one.usd_per_million["input"])),
        ("USD/M\ncached", lambda one: three(one.usd_per_million["cached"])),
        ("USD/M\noutput", lambda one: three(one.usd_per_million["output"])),
        ("USD\n/task", lambda one: three(one.usd_per_task)),
        ("J\n/in", lambda one: three(one.joules_per_token["input"])),
        ("J\n/out", lambda one: three(one.joules_per_token["output"])),
        ("kW\nmean", lambda one: three(one.power_w / 1e3)),
        ("kW\nsite", lambda one: three(one.site_power_w / 1e3)),
    ]
    table = plain_table("deployment", *(header for header, _ in columns))
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    table.columns[0].min_width = 14
    for name, one in found:
        table.add_row(name, *(cell(one) for _, cell in columns))
    parts: list[RenderableType] = [table]
    if any(one.revenue_usd_per_hour is not None for _, one in found):
        parts.append(_revenue(found))
    terms = {one.basis for _, one in found}
    words = {
        "rental": "Rented by the hour: power is in the price.",
        "purchase": "Bought and written off; power apart. J are of the nodes, kW site with PUE.",
    }
    lines = [words[basis] for basis in sorted(terms)]
    if any(one.racks is None for _, one in found):
        lines.append("racks none: a node draws more than a rack of this site may.")
    return Group(*parts, Text("\n".join(lines)))


def _revenue(found: "list[tuple[str, Cost]]") -> "RenderableType":
    """What users pay for what keeps their SLO, beside what that costs."""
    from gcsim.cli.run_text import plain_table
    from gcsim.results.text import three

    headers = ("revenue\nUSD/h", "cost\nUSD/h", "margin\nUSD/h", "revenue\n/rack-h", "/MWh")
    table = plain_table("deployment", *headers)
    for name, one in found:
        table.add_row(
            name,
            three(one.revenue_usd_per_hour),
            three(one.usd_per_hour),
            three(one.margin_usd_per_hour),
            three(one.revenue_usd_per_rack_hour),
            three(one.revenue_usd_per_mw_hour),
        )
    return table
