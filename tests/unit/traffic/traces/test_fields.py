"""Values of a record, checked one by one."""

from math import inf, nan

import pytest

from gcsim.traffic.traces.fields import (
    DELAY_S_MAX,
    STEPS_MAX,
    TIME_S_MAX,
    TOKENS_MAX,
    delay,
    flag,
    hashes,
    listed,
    name,
    number,
    seconds,
    text,
    texts,
    time_of_day_ns,
    tokens,
    whole_numbers,
)
from gcsim.traffic.traces.row import BadLineError, Cells, Record


@pytest.mark.parametrize(
    "record", [{"n": 5}, {"n": 5.0}, Cells(n="5"), Cells(n="+5.0"), Cells(n=" 5 ")]
)
def test_tokens_are_whole_numbers(record: Record) -> None:
    assert tokens(record, "n") == 5
    assert tokens(type(record)(m=record["n"]), "n", "m") == 5


NO_COUNTS = [None, "", True, -1, 1.5, "x", [], {}, TOKENS_MAX + 1, 10**400, inf, nan, "5", "-1"]
NO_NUMBERS = ["", "-1", "1.5", "x", "inf", "nan", "1_0", "\u0661", "0x5", "1e999", "9" * 500]


@pytest.mark.parametrize(
    "record", [{"n": raw} for raw in NO_COUNTS] + [Cells(n=t) for t in NO_NUMBERS]
)
def test_what_is_no_number_of_tokens_is_an_error(record: Record) -> None:
    with pytest.raises(BadLineError) as caught:
        tokens(record, "n")
    assert caught.value.field == "n"


def test_times_are_in_seconds_or_absent() -> None:
    assert seconds({"t": 27482}, "t", 1000) == seconds(Cells(t="27482"), "t", 1000) == 27.482
    assert seconds(Cells(t=""), "t") is None
    assert seconds({}, "t") is None
    for raw in (-1, nan, inf, 1e16, 10**400, True, [], "x", "1", ""):
        with pytest.raises(BadLineError):
            seconds({"t": raw}, "t")
    for raw in ("-1", "nan", "inf", "1e16", "x"):
        with pytest.raises(BadLineError):
            seconds(Cells(t=raw), "t")


def test_a_delay_is_at_most_a_year() -> None:
    assert delay({"t": DELAY_S_MAX}, "t") == DELAY_S_MAX < TIME_S_MAX == seconds({"t": 4e9}, "t")
    with pytest.raises(BadLineError, match="at most 3"):
        delay({"t": DELAY_S_MAX + 1}, "t")


def test_names_numbers_and_flags_are_what_they_say() -> None:
    assert (text({"x": "a"}, "x"), text({"x": ""}, "x"), text({}, "x")) == ("a", None, None)
    assert (name({"x": 7}, "x"), name({"x": "7"}, "x"), name({"x": None}, "x")) == ("7", "7", None)
    assert (number({"x": -7}, "x"), number({}, "x")) == (-7, None)
    assert (flag({"x": True}, "x"), flag({"x": None}, "x")) == (True, False)
    assert (texts({"x": ["a"]}, "x"), texts({}, "x")) == (["a"], [])
    assert whole_numbers({"x": [1, -2]}, "x") == [1, -2]
    for check, bad in (
        (text, (-1, True, [], {}, 1.5, "a\0b", "a" * 1001)),
        (name, (True, [], {}, 1.5, 2**64)),
        (number, (True, [], "7", 7.0, 2**64)),
        (flag, (1, 0, "true", [])),
        (texts, ("a", [1], {}, -1)),
        (whole_numbers, ([1.0], [True], ["1"], {}, -1, [2**64], [-(2**64)])),
    ):
        for raw in bad:
            with pytest.raises(BadLineError) as caught:
                check({"x": raw}, "x")
            assert caught.value.field == "x"


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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1970-13-01 00:00:00",
        "1970-01-01",
        "12",
        None,
        "now",
        5,
        "0001-01-01 00:00:00",
        "2999-01-01 00:00:00",
        "1970-01-01 00:00:00+99:99",
    ],
)
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
    assert listed({}, "x", least=0) == listed({"x": []}, "x", least=0) == []
    for raw in (None, [], [1], {}, "x", [{}] * (STEPS_MAX + 1)):
        with pytest.raises(BadLineError):
            listed({"x": raw}, "x")
    for raw in (-1, True, [1], {}):
        with pytest.raises(BadLineError):
            listed({"x": raw}, "x", least=0)
