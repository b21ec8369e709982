"""What published measurements say of a prediction, as text: intervals, and who wins."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import log
from textwrap import fill
from typing import TYPE_CHECKING, Any

from gcsim.cli.run_text import plain_table, span
from gcsim.results.text import three
from gcsim.studies.evidence import NAMES, Prediction, evidence, of_result

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gcsim.results.comparison import Comparison
    from gcsim.results.paired import Ratio

TITLES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E"}
WIDTH = 100
Z95 = 1.96  # half of a normal 95% interval, in standard deviations


def prediction_table(found: Prediction) -> "RenderableType":
    """Intervals of the times in ms, and on what evidence."""
    from rich.console import Group
    from rich.text import Text

    table = plain_table("Against what is published", "modeled", "anchored", "80%", "90%")
    for metric, interval in found.intervals.items():
        table.add_row(
            f"mean {TITLES[metric]} [ms]",
            three(interval.modeled),
            three(interval.middle),
            span((interval.low80, interval.high80)),
            span((interval.low90, interval.high90)),
        )
    return Group(table, Text(f"{found.told[:1].upper()}{found.told[1:]}."))


def with_prediction(summary: Mapping[str, Any], found: Prediction | None) -> dict[str, Any]:
    """A summary with the intervals under `prediction`."""
    return {**summary, "prediction": None if found is None else asdict(found)}


def wins(comparison: "Comparison") -> list[dict[str, Any]]:
    """By deployment and metric: the ratio to the first, and the chance that its time is less.

    modeled: the ratio of the means; anchored: times what measurements near both say; the chance
    counts prediction intervals and the chance of the runs.
    """
    (first, reference), *others = comparison.results.items()
    asked, found = of_result(reference), []
    for name, result in others:
        own = of_result(result)
        if asked is None or own is None:
            continue
        chips = dict.fromkeys((asked[0].chip, own[0].chip))
        unmeasured = [chip for chip in chips if not evidence().measured(chip)]
        for metric, key in NAMES.items():
            before, after = asked[1][metric], own[1][metric]
            if not before or not after:
                continue
            ratio = after / before
            chance = _spread(comparison.ratio_to_first[name].get(f"mean_{key}_ms"))
            middle, less = evidence().beats(asked[0], own[0], metric, ratio, chance)
            found.append(
                {
                    "deployment": name,
                    "than": first,
                    "metric": metric,
                    "modeled": ratio,
                    "anchored": middle,
                    "probability_less": less,
                    "unmeasured": unmeasured,
                }
            )
    return found


def _spread(ratio: "Ratio | None") -> float:
    """Standard deviation of the logarithm of a paired ratio."""
    if ratio is None or not ratio.low or not ratio.high:
        return 0.0
    return log(ratio.high / ratio.low) / 2 / Z95


def wins_text(found: Sequence[Mapping[str, Any]]) -> str:
    """A line for each deployment.

    >>> one = {"deployment": "b", "than": "a", "metric": "tpot", "modeled": 0.5, "anchored": 0.55}
    >>> print(wins_text([one | {"probability_less": 0.934, "unmeasured": ["sn50"]}]))
    Chance by published evidence that b is quicker than a: TPOT 93% (ratio 0.50 modeled, 0.55
    anchored). Nothing is published of sn50: what is assumed of it counts besides (run --bands).
    """
    lines = []
    for name in dict.fromkeys(item["deployment"] for item in found):
        own = [item for item in found if item["deployment"] == name]
        said = ", ".join(
            f"{TITLES[item['metric']]} {_percent(item['probability_less'])} (ratio"
            f" {item['modeled']:.2f} modeled, {item['anchored']:.2f} anchored)"
            for item in own
        )
        head = f"Chance by published evidence that {name} is quicker than {own[0]['than']}"
        text = f"{head}: {said}."
        if unmeasured := " and ".join(own[0]["unmeasured"]):
            text += f" Nothing is published of {unmeasured}: what is assumed of it counts besides"
            text += " (run --bands)."
        lines.append(fill(text, WIDTH, break_on_hyphens=False))
    return "\n".join(lines)


def _percent(share: float) -> str:
    """A chance, never quite certain.

    >>> _percent(0.5), _percent(0.9999), _percent(0.0)
    ('50%', '>99%', '<1%')
    """
    return ">99%" if share > 0.99 else "<1%" if share < 0.01 else f"{share:.0%}"
