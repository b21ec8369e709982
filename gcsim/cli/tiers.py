"""`gcsim tiers`: which tiers of service a rack of each kind of chip should serve."""

from typing import TYPE_CHECKING, Annotated

import typer

from gcsim.cli.console import OutputFormat, emit, guarded, progress
from gcsim.cli.options import FormatOption, JobsOption, LibraryOption, SetOption, scenario_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gcsim.studies.tiers import Tiers


@guarded
def tiers(
    scenario: Annotated[str, typer.Argument(help="A scenario with tiers: gtc-2026-tiers.")],
    chips: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Kinds of racks, else all: gcsim list.")
    ] = None,
    agents: Annotated[
        int | None, typer.Option(min=1, help="Of each tier, at the least; else the scenario's.")
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Also prefill on some chips and decode on others.")
    ] = False,
    site: Annotated[
        str, typer.Option(metavar="NAME", help="Who pays for what: rented, owned, or a file.")
    ] = "rented",
    jobs: JobsOption = None,
    settings: SetOption = None,
    library: LibraryOption = None,
    output: FormatOption = OutputFormat.table,
) -> None:
    """What a rack of each kind of chip gives and earns in each tier, within the tier's SLO."""
    from gcsim.profiles.resolve import parse_settings
    from gcsim.studies.tiers import tiers as study

    wanted = None if chips is None else [one.strip() for one in chips.split(",") if one.strip()]
    with progress(f"{scenario}, tiers", 1.0) as tell:
        found = study(
            scenario_of(scenario, library),
            wanted,
            load=agents,
            pairs=pairs,
            site=site,
            settings=parse_settings(settings or ()),
            jobs=jobs,
            progress=tell,
        )
    emit(found.to_json() if output is OutputFormat.json else tiers_table(found))


def tiers_table(found: "Tiers") -> "RenderableType":
    """A row per tier and chip, and what follows for each kind of rack."""
    from rich.console import Group
    from rich.text import Text

    from gcsim.cli.run_text import plain_table
    from gcsim.results.text import three

    columns = {
        "tok/s\n/rack": "output_tok_s_per_rack",
        "tok/s\n/MW": "output_tok_s_per_mw",
        "USD\n/rack-h": "revenue_usd_per_rack_hour",
        "USD\n/MWh": "revenue_usd_per_mw_hour",
        "cost\n/MWh": "cost_usd_per_mw_hour",
    }
    table = plain_table("tier", "", "deployment", *columns, left=3)
    table.columns[2].no_wrap, table.columns[2].overflow = False, "fold"
    rows = found.rows
    last = ""
    for row in rows:
        if last and row["tier"] != last:
            table.add_section()
        name = row["tier"] if row["tier"] != last else ""
        last = row["tier"]
        cells = [three(row[key]) for key in columns.values()]
        table.add_row(name, row["chip"], row["deployment"] or f"no: {row['why']}", *cells)
    lines = [_serves(found, chip) for chip in dict.fromkeys(row["chip"] for row in rows)]
    best = [(tier, found.best(tier)) for tier in dict.fromkeys(row["tier"] for row in rows)]
    most = ", ".join(f"{tier}: {chip}" for tier, chip in best if chip)
    if most:
        lines.append(f"Most output for a MW of the site: {most}.")
    return Group(table, Text("\n".join(lines)))


def _serves(found: "Tiers", chip: str) -> str:
    names = found.serves(chip)
    text = f"A rack of {chip} should serve {', then '.join(names)}" if names else ""
    return f"{text}." if text else f"A rack of {chip} serves no tier."
