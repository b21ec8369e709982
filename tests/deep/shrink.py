"""Make a mapping that shows a fault as small as it can be and still show it.

A mapping is what a YAML file holds. Parts are taken away, the large ones first, then numbers are
made small, until nothing more can be done: what is left is what the fault needs.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

Place = tuple[str | int, ...]
GONE = object()


def shrunk(tree: Any, fails: Callable[[Any], bool], most_s: float = 120.0) -> Any:
    """A smaller tree for which `fails` holds as for this one; `fails` raises nothing.

    >>> shrunk({"a": [1, 2, 30], "b": {"c": 5}}, lambda t: max(t.get("a", [0])[-1:], default=0) > 9)
    {'a': [10]}
    """
    until, smaller = time.monotonic() + most_s, True
    while smaller:
        smaller = False
        for place in sorted(places(tree), key=lambda one: (len(one), one[-1:] != ("tasks",))):
            for other in simpler(_at(tree, place)):
                if time.monotonic() > until:
                    return tree
                candidate = _with(tree, place, other)
                if candidate is not None and fails(candidate):
                    tree, smaller = candidate, True
                    break
    return tree


def places(node: Any, place: Place = ()) -> Iterator[Place]:
    """The place of every value inside a tree; of a list the last first, that others stay."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        pairs = list(node.items())
    elif isinstance(node, list):
        pairs = list(enumerate(node))[::-1]
    for key, item in pairs:
        yield (*place, key)
        yield from places(item, (*place, key))


def simpler(value: Any) -> Iterator[Any]:
    """What may stand in place of a value: nothing, half a list, a smaller number."""
    yield GONE
    if isinstance(value, list) and len(value) > 3:
        yield value[: len(value) // 2]
        yield value[len(value) // 2 :]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return
    for less in (0, 1, value // 10, value // 2, value - 1, round(value, 3)):
        if 0 <= less < value:
            yield type(value)(less)


def _at(tree: Any, place: Place) -> Any:
    try:
        for key in place:
            tree = tree[key]
    except (KeyError, IndexError, TypeError):  # it went with what it was part of
        return None
    return tree


def _with(tree: Any, place: Place, value: Any) -> Any:
    """A copy with another value at a place; None where that place is no more."""
    found = copy.deepcopy(tree)
    holder = _at(found, place[:-1])
    if not isinstance(holder, dict | list) or _at(tree, place) is None:
        return None
    if value is GONE:
        del holder[place[-1]]  # type: ignore[arg-type]  # a key, or an index: as it was walked
    else:
        holder[place[-1]] = value  # type: ignore[index]
    return found
