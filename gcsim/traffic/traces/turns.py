"""A turn of a session of which only lengths are known: what it goes on with."""

from gcsim.traffic.traces.row import Row


def turn_after(rows: list[Row], isl: int, cached: int, osl: int, prefix: int) -> Row:
    """One more turn: it goes on where its prompt can hold the last one, else with what was cached.

    prefix: content id of what the first turns of all sessions begin with.

    >>> first = turn_after([], 100, 60, 10, prefix=7)
    >>> first.prefix, turn_after([first], 150, 100, 10, 7).parent
    ((7, 60), 0)
    >>> turn_after([first], 105, 90, 10, 7).keep
    90
    """
    if not rows:
        return Row(isl, osl, prefix=(prefix, min(cached, isl)) if cached and isl else None)
    last, here = rows[-1], len(rows)
    row = Row(isl, osl, waits_for=(here - 1,), opens=False)
    if isl >= last.isl + last.osl:
        return row._replace(parent=here - 1)
    keep = min(cached, last.isl, isl)
    return row._replace(parent=here - 1, keep=keep) if keep else row
