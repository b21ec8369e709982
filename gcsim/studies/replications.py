"""Several runs of one scenario with seeds of their own, as one summary with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gcsim.results.intervals import bounds
from gcsim.results.metrics import settles
from gcsim.results.statistics import replication_interval

PRECISION_METRIC = "mean_e2el_ms"
_NO_METRIC = frozenset({"seed", "assumed_values"})


def spawned_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Seeds of so many replications: the scenario's own, then independent ones spawned from it.

    The k-th does not depend on how many there are. They have 53 bits, so that JSON keeps them.

    >>> spawned_seeds(7, 3) == spawned_seeds(7, 5)[:3], spawned_seeds(7, 1)
    (True, (7,))
    """
    children = np.random.SeedSequence(seed).spawn(max(count - 1, 0))
    words = (child.generate_state(1, np.uint64)[0] for child in children)
    return (seed, *(int(word) >> 11 for word in words))


def combined(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The summary of all replications: every number is their mean, counts too.

    `ci95_<key>` is the 95% interval of that mean over replications (of a percentile too). When at
    least half of the replications are saturated, so is the whole: its times are None.
    """
    first = summaries[0]
    found = {key: _mean([s.get(key) for s in summaries]) for key in first}
    found = {key: value for key, value in found.items() if not key.startswith("ci95_")}
    bad = [s["saturated_why"] for s in summaries if s["saturated"]]
    saturated = 2 * len(bad) >= len(summaries)
    for key in [key for key, value in first.items() if _is_metric(key, value, summaries)]:
        known = [s[key] for s in summaries if s.get(key) is not None]
        lost = saturated and settles(key)
        found[key] = None if lost or not known else found[key]
        found[f"ci95_{key}"] = None if lost else bounds(replication_interval(known))
    if saturated:
        found = _without_times(found)
    found["seed"] = first["seed"]
    found["saturated"] = saturated
    found["saturated_why"] = f"{len(bad)} of {len(summaries)}: {bad[0]}" if bad else None
    found["replications"] = len(summaries)
    found["seeds"] = [s["seed"] for s in summaries]
    return found


def _without_times(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary whose times are None, those of its classes too."""
    lost: dict[str, Any] = {}
    for key, value in summary.items():
        if key == "classes":
            lost[key] = [_without_times(one) for one in value]
        elif settles(key):
            lost[key] = dict.fromkeys(value) if isinstance(value, dict) else None
        else:
            lost[key] = value
    return lost


def _is_metric(key: str, value: Any, summaries: Sequence[dict[str, Any]]) -> bool:
    if key in _NO_METRIC or key.startswith("ci95_"):
        return False
    return any(_is_number(s.get(key)) for s in (*summaries, {key: value}))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mean(values: list[Any]) -> Any:
    """Numbers to their mean, mappings and lists of mappings by place, anything else as it is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    one = known[0]
    if all(_is_number(value) for value in known):
        return one if all(value == one for value in known) else sum(known) / len(known)
    if isinstance(one, dict):
        keys = dict.fromkeys(key for value in known for key in value)
        return {key: _mean([value.get(key) for value in known]) for key in keys}
    if isinstance(one, list) and all(len(value) == len(one) for value in known):
        return [_mean(list(items)) for items in zip(*known, strict=True)]
    return one
