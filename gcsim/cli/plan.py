"""`gcsim plan`: the cheapest deployment for so many agents within an SLO."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcsim.cli.console import OutputFormat, emit, guarded, note, progress
from gcsim.cli.options import (
    FormatOption,
    JobsOption,
    LibraryOption,
    SeedOption,
    SetOption,
    scenario_of,
)

if TYPE_CHECKING:
    from gcsim.profiles.resolve import Resolved

NOTHING_HOLDS = 3  # exit code


AgentsOption = Annotated[
    int | None, typer.Option(min=1, help="At any time; else the scenario's own load.")
]
RateOption = Annotated[
    str | None, typer.Option(metavar="RATE", help="Open arrivals: tasks per second.")
]
LoadOption = Annotated[
    str | None,
    typer.Option(metavar="1,8,64", help="Every family of chips at each of these loads."),
]
SloOption = Annotated[
    str | None,
    typer.Option(
        metavar='"ttft:p95<2s ..."',
        help="Bounds on ttft, tpot, e2e, task; else the scenario's SLO for 95% of requests.",
    ),
]
ChipsOption = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="To choose from, else all: gcsim list.")
]
PairsOption = Annotated[
    bool, typer.Option("--pairs/--no-pairs", help="Also prefill on one, decode on another.")
]
AimOption = Annotated[
    str, typer.Option(metavar="cost|power|racks|chips", help="What is to be least.")
]
MaximizeOption = Annotated[
    str | None, typer.Option(metavar="revenue", help="Of tiers of service, under --site-power.")
]
SiteOption = Annotated[
    str, typer.Option(metavar="NAME", help="Who pays for what: rented, owned, or a file.")
]
MaxChipsOption = Annotated[int | None, typer.Option("--max-chips", min=1)]
MaxRacksOption = Annotated[
    int | None, typer.Option("--max-racks", min=1, help="Nodes, as the chips are packaged.")
]
PowerOption = Annotated[
    str | None, typer.Option("--site-power", metavar="15MW", help="What the site has: nodes x PUE.")
]
TuneOption = Annotated[
    bool,
    typer.Option("--tune/--no-tune", help="Also other stacks, speculation and batching limits."),
]
RobustnessOption = Annotated[
    bool,
    typer.Option(
        "--robustness/--no-robustness", help="Move every assumed and fitted value to its ends."
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="Write the deployment here, ready to run.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


@guarded
def plan(
    scenario: Annotated[str, typer.Argument(help="A shipped name or a file.")],
    agents: AgentsOption = None,
    rate: RateOption = None,
    load: LoadOption = None,
    slo: SloOption = None,
    chips: ChipsOption = None,
    pairs: PairsOption = True,
    minimize: AimOption = "cost",
    maximize: MaximizeOption = None,
    site: SiteOption = "rented",
    chips_most: MaxChipsOption = None,
    racks_most: MaxRacksOption = None,
    site_power: PowerOption = None,
    tune: TuneOption = True,
    robustness: RobustnessOption = True,
    out: OutOption = None,
    force: ForceOption = False,
    settings: SetOption = None,
    seed: SeedOption = None,
    library: LibraryOption = None,
    jobs: JobsOption = None,
    output: FormatOption = OutputFormat.table,
) -> None:
    """The cheapest deployment that serves a load within an SLO, searched over chips and layouts."""
    from gcsim.cli.plan_text import plan_table
    from gcsim.profiles.resolve import parse_settings
    from gcsim.profiles.template import check_free, write_new
    from gcsim.studies.plan import Terms
    from gcsim.studies.plan import plan as find

    common: dict[str, Any] = parse_settings(settings or ()) | _rate(rate, agents)
    common |= {} if seed is None else {"run.seed": seed}
    loads = _loads(load, agents, rate, out)
    check_free(out, force)
    limits = {"chips": chips_most, "racks": racks_most, "power_w": _watts(site_power)}
    terms = Terms(
        minimize=minimize,  # type: ignore[arg-type]  # checked there
        site=site,
        limits={key: float(most) for key, most in limits.items() if most is not None},
        pairs=pairs,
        tuned=tune,
        robustness=robustness,
    )
    names = [name.strip() for name in (chips or "").split(",") if name.strip()]
    asked = scenario_of(scenario, library)
    best: dict[str, Any] = {"chips": names or None, "terms": terms, "settings": common}
    best["jobs"] = jobs
    if maximize is not None:
        given = {"--rate": rate, "--load": load, "--slo": slo, "--out": out}
        power_w = _most(maximize, limits, {**given, "--max-chips": chips_most})
        _revenue(asked, power_w, agents, best, output)
        return
    if loads:
        _over_load(asked, loads, slo, best, output)
        return
    with progress(f"{scenario}, plan", 1.0) as tell:
        found = find(asked, agents, slo, **best, progress=tell)
    emit(found.to_json() if output is OutputFormat.json else plan_table(found))
    note(f"{found.runs:,} runs")
    if found.answer is None:
        raise typer.Exit(NOTHING_HOLDS)
    if out is not None:
        write_new(out, found.deployment_yaml(), force)
        note(f"Written to {out}")


def _over_load(
    scenario: "str | Resolved",
    loads: list[float],
    slo: str | None,
    best: dict[str, Any],
    output: OutputFormat,
) -> None:
    from gcsim.cli.plan_load_text import plan_load_table
    from gcsim.studies.plan_load import plan_over_load

    with progress("plan over load", 1.0) as tell:
        found = plan_over_load(scenario, loads, slo, **best, progress=tell)
    emit(found.to_json() if output is OutputFormat.json else plan_load_table(found))
    note(f"{found.runs:,} runs")
    if all(one.best.best is None for one in found.served):
        raise typer.Exit(NOTHING_HOLDS)


def _revenue(
    scenario: "str | Resolved",
    power_w: float,
    agents: int | None,
    best: dict[str, Any],
    output: OutputFormat,
) -> None:
    from gcsim.cli.plan_text import revenue_table
    from gcsim.studies.plan_revenue import most_revenue

    with progress("plan of revenue", 1.0) as tell:
        found = most_revenue(scenario, power_w, load=agents, **best, progress=tell)
    emit(found.to_json() if output is OutputFormat.json else revenue_table(found))
    if not found.served:
        raise typer.Exit(NOTHING_HOLDS)


def _most(maximize: str, limits: dict[str, Any], given: dict[str, Any]) -> float:
    """The power of the site that revenue is to be most for; refuses what does not go with it."""
    from gcsim.errors import ProfileError

    if maximize != "revenue":
        raise ProfileError.one("plan", "--maximize", maximize, "is not revenue", "write revenue")
    for name, value in {**given, "--max-racks": limits["racks"]}.items():
        if value is not None:
            why = f"goes not with {name}: tiers have SLOs and shares of their own"
            raise ProfileError.one("plan", "--maximize", maximize, why)
    if limits["power_w"] is None:
        hint = "write --site-power 15MW"
        raise ProfileError.one("plan", "--site-power", None, "is needed for --maximize", hint)
    return float(limits["power_w"])


def _loads(text: str | None, agents: int | None, rate: str | None, out: Path | None) -> list[float]:
    """The loads of `--load`, which goes with nothing that says one load."""
    from gcsim.cli.options import parse_values
    from gcsim.errors import ProfileError

    if text is None:
        return []
    for name, given in (("--agents", agents), ("--rate", rate), ("--out", out)):
        if given is not None:
            why = f"goes not with {name}, which is of one load"
            raise ProfileError.one("plan", "--load", text, why, "give one of them")
    return parse_values(text) or [text]  # what is no number is refused as a load


def _rate(text: str | None, agents: int | None) -> dict[str, str]:
    """The setting that a rate is."""
    from gcsim.cli.options import parse_rates
    from gcsim.errors import ProfileError

    if text is None:
        return {}
    if agents is not None:
        raise ProfileError.one("plan", "--rate", text, "goes not with --agents", "give one")
    rates = parse_rates(text)
    if len(rates) != 1:
        raise ProfileError.one("plan", "--rate", text, "must be one rate", "write --rate 2")
    return {"arrivals.rate": f"{rates[0]!r} /s"}


def _watts(text: str | None) -> float | None:
    from gcsim.errors import ProfileError
    from gcsim.units import UnitError, parse

    if text is None:
        return None
    try:
        return float(parse(text, "watts"))
    except UnitError as error:
        raise ProfileError.one("plan", "--site-power", text, str(error), "write 15MW") from error
