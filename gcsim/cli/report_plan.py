"""What a report says of a saved plan: `gcsim plan ... --format json > plan.json`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gcsim.cli.page import folded, listed, sorted_table
from gcsim.errors import ProfileError
from gcsim.results.text import three

KEYS = {
    "scenario": str,
    "model": str,
    "load": int | float,
    "load_kind": str,
    "slo": list,
    "sentence": str,
    "families": list,
    "frontier": list,
    "sways": list,
    "runs": int,
    "minimize": str,
    "version": str,
}
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
Saved = dict[str, Any]


def read_plan(path: Path) -> Saved:
    """A saved plan. Errors: `ProfileError` for a file that is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
        raise ProfileError.one(str(path), "", None, why) from error
    except ValueError as error:
        why, hint = f"is no JSON: {error}", "gcsim plan ... --format json > plan.json writes a plan"
        raise ProfileError.one(str(path), "", None, why, hint) from error
    known = found if isinstance(found, dict) else {}
    wrong = [key for key, kind in KEYS.items() if not isinstance(known.get(key), kind)]
    rows = (row for key in ("families", "frontier", "sways") for row in known.get(key) or ())
    if wrong or not all(isinstance(row, dict) for row in rows):
        why, hint = "is no saved plan", "gcsim plan ... --format json > plan.json writes one"
        raise ProfileError.one(str(path), wrong[0] if wrong else "families", None, why, hint)
    return known


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
        yield "<p>What nothing else that was played beats in both.</p>"
        yield _rows(found["frontier"], FRONTIER, "frontier")
    yield "<h2>What could overturn the plan</h2>"
    yield listed(_overturns(found))
    if found["sways"]:
        yield folded("Every move of a value", _rows(found["sways"], SWAYS, "moves"), printed=True)
    yield "<h2>How it was asked</h2>"
    yield sorted_table(["", "value"], _asked(found), "the question")


def _rows(rows: list[dict[str, Any]], keys: tuple[str, ...], label: str) -> str:
    return sorted_table(keys, ([row.get(key) for key in keys] for row in rows), label)


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
