"""Values of a record, checked one by one."""

import pytest

from gcsim.traffic.traces.fields import TOKENS_MAX, hashes, listed, seconds, time_of_day_ns, tokens
from gcsim.traffic.traces.row import BadLineError


@pytest.mark.parametrize("raw", [5, 5.0, "5", "5.0", " 5 "])
def test_tokens_are_whole_numbers(raw: object) -> None:
    assert tokens({"n": raw}, "n") == 5
    assert tokens({"m": raw}, "n", "m") == 5


@pytest.mark.parametrize(
    "raw", [None, "", True, -1, "-1", 1.5, "x", "inf", "nan", [], TOKENS_MAX + 1, 10**400]
)
def test_what_is_no_number_of_tokens_is_an_error(raw: object) -> None:
    with pytest.raises(BadLineError):
        tokens({"n": raw}, "n")


def test_times_are_in_seconds_or_absent() -> None:
    assert seconds({"t": "27482"}, "t", 1000) == 27.482
    assert seconds({"t": ""}, "t") is None
    assert seconds({}, "t") is None
    for raw in ("-1", "nan", "inf", 1e16, True, [], "x"):
        with pytest.raises(BadLineError):
            seconds({"t": raw}, "t")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01 00:00:00", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01 00:00:03.9799600", 3_979_960_000),
        ("1970-01-01 01:00:00.000000001+01:00", 1),
    ],
)
def test_times_of_day_keep_every_digit(text: str, ns: int) -> None:
    assert time_of_day_ns({"t": text}, "t") == ns


@pytest.mark.parametrize("text", ["", "1970-13-01 00:00:00", "1970-01-01", "12", None, "now"])
def test_what_is_no_time_of_day_is_an_error(text: object) -> None:
    with pytest.raises(BadLineError):
        time_of_day_ns({"t": text}, "t")


def test_hashes_fit_their_tokens() -> None:
    assert hashes({}, "h", 600, 512) is None
    assert hashes({"h": [1, 2]}, "h", 600, 512) == (1, 2)
    assert hashes({"h": [1]}, "h", 600, 512) == (1,)
    assert hashes({"h": []}, "h", 0, 512) == ()
    for raw in ([1, 2, 3], [], "12", [1, "2"], [1, True], [1.0, 2]):
        with pytest.raises(BadLineError):
            hashes({"h": raw}, "h", 600, 512)


def test_lists_hold_objects() -> None:
    assert listed({"x": [{}]}, "x") == [{}]
    for raw in (None, [], [1], {}, "x"):
        with pytest.raises(BadLineError):
            listed({"x": raw}, "x")
