"""Checked values of a record: token counts, times, hash ids."""

import re
from datetime import datetime
from typing import Any

from gcsim.traffic.traces.row import BadLineError, Record

TOKENS_MAX = 10_000_000  # of one request: the largest context window anybody offers
_TIME_OF_DAY = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?"
)


def tokens(record: Record, *keys: str) -> int:
    """A token count under the first of `keys` that is there, checked.

    >>> tokens({"n": "12"}, "n"), tokens({"n": 12.0}, "m", "n")
    (12, 12)
    >>> tokens({"n": -3}, "n")
    Traceback (most recent call last):
    ...
    gcsim.traffic.traces.row.BadLineError: is negative
    """
    key = next((key for key in keys if key in record), keys[0])
    raw = record.get(key)
    if type(raw) is not int:
        raw = _whole(key, raw)
    if raw < 0:
        raise BadLineError(key, raw, "is negative")
    if raw > TOKENS_MAX:
        why = f"is too large: no request has more than {TOKENS_MAX} tokens"
        raise BadLineError(key, raw, why)
    return raw


def _whole(key: str, raw: Any) -> int:
    if raw is None or raw == "":
        raise BadLineError(key, None, "is missing")
    try:
        value = float(raw)
        if isinstance(raw, bool) or value != int(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise BadLineError(key, raw, "is not a whole number of tokens") from None
    return int(value)


def seconds(record: Record, key: str, per_second: int = 1) -> float | None:
    """A time of a record, in 1/`per_second` s; None where it is absent or empty.

    >>> seconds({"delay": 1500}, "delay", 1000)
    1.5
    """
    raw = record.get(key)
    if raw is None or raw == "":
        return None
    try:
        value = float(raw)
    except (TypeError, ValueError):
        raise BadLineError(key, raw, "is not a time") from None
    if isinstance(raw, bool) or not 0 <= value < 1e15:
        raise BadLineError(key, raw, "is negative" if value < 0 else "is not a finite time")
    return value / per_second


def time_of_day_ns(record: Record, key: str) -> int:
    """A date and time of day, UTC where no zone is given, as nanoseconds since 1970.

    >>> time_of_day_ns({"t": "1970-01-01 00:00:03.9799600"}, "t")
    3979960000
    """
    raw = record.get(key)
    parts = _TIME_OF_DAY.fullmatch(str(raw))
    if parts is None:
        raise BadLineError(key, raw, "is not a date and time")
    try:
        zone = parts[4] or "+00:00"
        whole = datetime.fromisoformat(f"{parts[1]}T{parts[2]}{zone}")
    except ValueError:
        raise BadLineError(key, raw, "is not a date and time") from None
    fraction = int((parts[3] or "0").ljust(9, "0"))
    return int(whole.timestamp()) * 1_000_000_000 + fraction


def hashes(record: Record, key: str, tokens: int, block_tokens: int) -> tuple[int, ...] | None:
    """The hash ids of `tokens` tokens: one for each block; the last, partial one may have none."""
    raw = record.get(key)
    if raw is None:
        return None
    if not isinstance(raw, list) or not all(type(item) is int for item in raw):
        raise BadLineError(key, None, "is not a list of whole numbers")
    if len(raw) not in (tokens // block_tokens, -(-tokens // block_tokens)):
        count = -(-tokens // block_tokens)
        hint = "another block size? name it: workload.trace.block_tokens"
        why = f"{tokens} tokens are {count} blocks of {block_tokens}"
        raise BadLineError(key, f"{len(raw)} ids", why, hint)
    return tuple(raw)


def listed(record: Record, key: str) -> list[Record]:
    """A list of objects, with at least one."""
    raw = record.get(key)
    if not isinstance(raw, list) or not raw or not all(isinstance(item, dict) for item in raw):
        raise BadLineError(key, None, "is not a list of objects")
    return raw
