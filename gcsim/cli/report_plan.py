"""What a report says of a saved plan: `gcsim plan ... --format json > plan.json`."""

from collections.abc import Iterator
from typing import Any

from gcsim.cli.page import folded, listed, picture, sorted_table
from gcsim.cli.sources import Saved
from gcsim.results.text import three

FAMILIES = (
    "family",
    "deployment",
    "chips",
    "nodes",
    "power_w",
    "usd_per_hour",
    "usd_per_task",
    "tok_s_user",
    "tok_s_chip",
    "sliced",
    "binds",
)
FRONTIER = (
    "deployment",
    "load",
    "tok_s_user",
    "tok_s_chip",
    "usd_per_mtok",
    "tok_per_joule",
    "holds",
)
SWAYS = ("cause", "chip", "end", "overturns", "answer", "rival", "rival_family")


def question(found: Saved) -> str:
    """What was planned for."""
    kind = "agents" if found["load_kind"] == "agents" else "tasks per second"
    what = f"{found['load']:g} {kind} of {found['scenario']} with {found['model']}"
    return f"What is the best deployment for {what}?"


def sections(found: Saved) -> Iterator[str]:
    """Families, frontier, what could overturn it, inputs."""
    yield "<h2>The best of each family of chips</h2>"
    yield _rows(found["families"], FAMILIES, "families")
    failed = [row for row in found["families"] if not row.get("deployment")]
    if failed:
        yield f"<p>{len(failed)} of {len(found['families'])} do not serve it; binds says why.</p>"
    if found["frontier"]:
        yield "<h2>Speed against output</h2>"
        yield from _picture(found, "frontier", "What nothing else that was played beats in both")
        yield _rows(found["frontier"], FRONTIER, "frontier")
    yield "<h2>What could overturn the plan</h2>"
    yield listed(_overturns(found))
    if _moves(found):
        yield from _picture(found, "tornado", "What values at their ends make of the choice")
    if found["sways"]:
        yield folded("Every move of a value", _rows(found["sways"], SWAYS, "moves"), printed=True)
    yield "<h2>How it was asked</h2>"
    yield sorted_table(["", "value"], _asked(found), "the question")


def _moves(found: Saved) -> bool:
    from gcsim.plots import moves

    return moves(found)


def _picture(found: Saved, kind: str, text: str) -> Iterator[str]:
    from gcsim import plots
    from gcsim.plots.style import plain_names

    with plain_names():
        figure = plots.frontier(found) if kind == "frontier" else plots.tornado(found)
        drawn = picture(figure, f"{kind} {found['scenario']}", text)
    yield folded(text, drawn, is_open=True, printed=True)


def _rows(rows: list[dict[str, Any]], keys: tuple[str, ...], label: str) -> str:
    return sorted_table(keys, ([row.get(key) for key in keys] for row in rows), label, rounded=True)


def _overturns(found: Saved) -> Iterator[str]:
    turned = [one for one in found["sways"] if one.get("overturns")]
    if not found["sways"]:
        yield "Whether other values of the chips change the choice was not played."
        return
    stays = len(found["sways"]) - len(turned)
    yield f"The choice stays in {stays} of {len(found['sways'])} moves of values to their ends."
    for one in turned:
        own = three(one["answer"]) if one.get("answer") is not None else "at no size"
        yield (
            f"{one.get('cause')} of {one.get('chip')} at the {one.get('end')} end: {own}, "
            f"{one.get('rival_family')} {three(one.get('rival'))} ({found['minimize']})."
        )


def _asked(found: Saved) -> list[list[Any]]:
    rows: list[list[Any]] = [["slo", ", ".join(map(str, found["slo"]))]]
    rows += [[key, found[key]] for key in ("minimize", "runs", "version")]
    return [*rows, ["headroom", found.get("headroom")]]
