"""Checked values of a record, and the bounds that all readers share.

A reader takes values out of a record by these functions only: whatever stands there, they return a
value that can be, or raise `BadLineError` with the field.
"""

import re
from datetime import datetime
from typing import Any

from gcsim.profiles.bounds import DELAY_S_MAX, STEPS_MAX, TIME_S_MAX, TOKENS_MAX
from gcsim.traffic.traces.row import BadLineError, Cells, Record

NAME_CHARACTERS_MAX = 1_000
ID_BITS = 64  # of a hash; content ids of gcsim's own format have one less

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_DIGITS_MAX = 400  # of a number in text
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TIME_OF_DAY = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)


def tokens(record: Record, *keys: str) -> int:
    """A token count under the first of `keys` that is there: whole, from 0 to `TOKENS_MAX`.

    >>> tokens({"n": 12}, "n"), tokens(Cells(n="12.0"), "m", "n")
    (12, 12)
    >>> tokens({"n": -3}, "n")
    Traceback (most recent call last):
    ...
    gcsim.traffic.traces.row.BadLineError: is negative
    """
    for key in keys:
        if key in record:
            break
    else:
        key = keys[0]
    raw = record.get(key)
    if type(raw) is not int:
        raw = _whole(record, key)
    if raw < 0:
        raise BadLineError(key, raw, "is negative")
    if raw > TOKENS_MAX:
        why = f"is too large: no request has more than {TOKENS_MAX} tokens"
        raise BadLineError(key, raw, why)
    return raw


def _whole(record: Record, key: str) -> int:
    value = _number(record, key, "is not a whole number of tokens")
    if value is None:
        raise BadLineError(key, None, "is missing")
    if value != value or abs(value) == float("inf") or value != int(value):
        raise BadLineError(key, record[key], "is not a whole number of tokens")
    return int(value)


def _number(record: Record, key: str, why: str) -> float | None:
    """A number, None where nothing is. A text is one in a CSV only; a bool is none anywhere."""
    raw = record.get(key)
    if raw is None or (raw == "" and isinstance(record, Cells)):
        return None
    if type(raw) is int or type(raw) is float:
        return raw
    if isinstance(record, Cells) and len(raw) <= _DIGITS_MAX and _NUMBER.fullmatch(raw.strip()):
        return float(raw)
    raise BadLineError(key, raw, why, "a number needs no quotes" if _quoted(raw) else "")


def _quoted(raw: Any) -> bool:
    return isinstance(raw, str) and _NUMBER.fullmatch(raw) is not None


def seconds(
    record: Record, key: str, per_second: int = 1, most_s: float = TIME_S_MAX
) -> float | None:
    """A time of a record, in 1/`per_second` s; None where it is absent or empty.

    >>> seconds({"at": 1500}, "at", 1000)
    1.5
    """
    raw = record.get(key)
    if raw is None:
        return None
    value = raw if type(raw) is int else _number(record, key, "is not a time")
    if value is None:
        return None
    if not 0 <= value <= most_s * per_second:
        why = "is negative" if value < 0 else f"is not a time: at most {most_s:g} s can be"
        raise BadLineError(key, record[key], why)
    return value / per_second


def delay(record: Record, key: str, per_second: int = 1) -> float | None:
    """A time that passes between two requests, in 1/`per_second` s: at most `DELAY_S_MAX`.

    >>> delay({"delay": 1500}, "delay", 1000)
    1.5
    """
    return seconds(record, key, per_second, DELAY_S_MAX)


def clock_ns(record: Record, key: str, per_second: int | None = None) -> int | None:
    """A time as a date or as a number in 1/`per_second` s, in nanoseconds; None where it is absent.

    Of a number without a unit its size tells: Unix time in s, ms, us and ns lies far apart, and
    what is smaller than all of them is in s.

    >>> clock_ns({"t": 1700000000123}, "t"), clock_ns({"t": "2023-11-14T22:13:20.123Z"}, "t")
    (1700000000123000000, 1700000000123000000)
    >>> clock_ns({"t": 2.5}, "t"), clock_ns({"t": 2.5}, "t", 1000)
    (2500000000, 2500000)
    """
    raw = record.get(key)
    if isinstance(raw, str) and raw[4:5] == "-":
        return time_of_day_ns(record, key)
    value = _number(record, key, "is not a time")
    if value is None:
        return None
    if per_second is None:
        per_second = next(
            (10**p for p, top in ((0, 1e11), (3, 1e14), (6, 1e17)) if value < top), 10**9
        )
    seconds(record, key, per_second)  # its bounds
    whole = int(value) * (10**9 // per_second)
    return whole + round((value - int(value)) * 10**9 / per_second)


def time_of_day_ns(record: Record, key: str) -> int:
    """A date and time of day, UTC where no zone is given, as nanoseconds since 1970.

    >>> time_of_day_ns({"t": "1970-01-01 00:00:03.9799600"}, "t")
    3979960000
    """
    raw = record.get(key)
    if raw is None or raw == "":
        raise BadLineError(key, None, "is missing")
    parts = _TIME_OF_DAY.fullmatch(raw) if isinstance(raw, str) else None
    if parts is None:
        raise BadLineError(key, raw, "is not a date and time")
    try:
        zone = parts[4] or "+00:00"
        whole = int(datetime.fromisoformat(f"{parts[1]}T{parts[2]}{zone}").timestamp())
    except (ValueError, OverflowError):
        raise BadLineError(key, raw, "is not a date and time") from None
    if not 0 <= whole <= TIME_S_MAX:
        raise BadLineError(key, raw, "is not a date and time after 1970 and before 2096")
    return whole * 1_000_000_000 + int((parts[3] or "0").ljust(9, "0"))


def text(record: Record, key: str) -> str | None:
    """A name, of a model for instance; None where it is absent or empty.

    >>> text({"model": "opus"}, "model"), text({}, "model")
    ('opus', None)
    """
    raw = record.get(key)
    if raw is None or raw == "":
        return None
    if not isinstance(raw, str) or len(raw) > NAME_CHARACTERS_MAX or _CONTROL.search(raw):
        raise BadLineError(key, raw, "is no name")
    return raw


def number(record: Record, key: str) -> int | None:
    """A whole number that counts nothing, such as the number of a chat; None where it is absent.

    >>> number({"chat": -1}, "chat"), number({}, "chat")
    (-1, None)
    """
    raw = record.get(key)
    if raw is not None and (type(raw) is not int or raw.bit_length() > ID_BITS):
        raise BadLineError(key, raw, "is no whole number")
    return raw


def name(record: Record, key: str) -> str | None:
    """What a record is known by, of a session for instance: a name or a number.

    >>> name({"id": 7}, "id"), name({"id": "7"}, "id"), name({}, "id")
    ('7', '7', None)
    """
    found = number(record, key) if type(record.get(key)) is int else text(record, key)
    return None if found is None else str(found)


def flag(record: Record, key: str) -> bool:
    """A yes or no; no where it is absent.

    >>> flag({"human": True}, "human"), flag({}, "human")
    (True, False)
    """
    raw = record.get(key)
    if raw is None:
        return False
    if type(raw) is not bool:
        raise BadLineError(key, raw, "is neither true nor false")
    return raw


def whole_numbers(record: Record, key: str) -> list[int] | None:
    """A list of whole numbers of at most `ID_BITS` bits; None where it is absent."""
    raw = record.get(key)
    if raw is None:
        return None
    if not isinstance(raw, list) or not {*map(type, raw)} <= {int}:
        raise BadLineError(key, None, "is not a list of whole numbers")
    if raw and max(max(raw), -min(raw)).bit_length() > ID_BITS:
        raise BadLineError(key, None, f"holds a number of more than {ID_BITS} bits")
    return raw


def hashes(record: Record, key: str, tokens: int, block_tokens: int) -> tuple[int, ...] | None:
    """The hash ids of `tokens` tokens: one for each block; the last, partial one may have none."""
    raw = whole_numbers(record, key)
    if raw is None:
        return None
    if len(raw) not in (tokens // block_tokens, -(-tokens // block_tokens)):
        count = -(-tokens // block_tokens)
        hint = "another block size? name it: workload.trace.block_tokens"
        why = f"{tokens} tokens are {count} blocks of {block_tokens}"
        raise BadLineError(key, f"{len(raw)} ids", why, hint)
    return tuple(raw)


def texts(record: Record, key: str) -> list[str]:
    """A list of texts; empty where it is absent."""
    raw = record.get(key)
    if raw is None:
        return []
    if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
        raise BadLineError(key, None, "is not a list of texts")
    return raw


def listed(record: Record, key: str, least: int = 1) -> list[Record]:
    """A list of at least `least` objects, at most `STEPS_MAX`; with `least` 0 it may be absent."""
    raw = record.get(key)
    if raw is None and not least:
        return []
    if not isinstance(raw, list) or len(raw) < least or not all(type(i) is dict for i in raw):
        raise BadLineError(key, None, "is not a list of objects")
    if len(raw) > STEPS_MAX:
        raise BadLineError(key, f"{len(raw)} objects", f"more than {STEPS_MAX} cannot be")
    return raw
