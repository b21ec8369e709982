"""`gcsim.units`: what is read, what is refused, and that the refusal helps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcsim import units
from gcsim.units import DIMENSIONS, EXAMPLES, USUAL, UnitError, parse, show


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("64 GB", "bytes", 64e9),
        ("64 GiB", "bytes", 64 * 2**30),
        ("512KiB", "bytes", 2**19),
        ("8 bit", "bytes", 1),
        ("1_500 MB", "bytes", 1.5e9),
        ("5.3 TB/s", "bytes_per_s", 5.3e12),
        ("400 Gbit/s", "bytes_per_s", 50e9),
        ("6 GB/min", "bytes_per_s", 1e8),
        ("989 TFLOP/s", "flops_per_s", 9.89e14),
        ("3.2 PFLOP/s", "flops_per_s", 3.2e15),
        ("10 us", "seconds", 1e-5),
        ("10 \N{MICRO SIGN}s", "seconds", 1e-5),
        ("10 \N{GREEK SMALL LETTER MU}s", "seconds", 1e-5),
        ("2 min", "seconds", 120),
        ("1 h", "seconds", 3600),
        ("10.2 kW", "watts", 10200),
        ("2.5 USD/h", "usd_per_hour", 2.5),
        ("60 USD/d", "usd_per_hour", 2.5),
        ("3e4 USD", "usd", 30000),
        ("5/s", "per_s", 5),
        ("30/min", "per_s", 0.5),
        ("45 %", "number", 0.45),
        ("116.8e9", "number", 116.8e9),
        (0.45, "number", 0.45),
        (7, "number", 7),
        (0, "bytes", 0),
        ("0", "seconds", 0),
        ("-3 GB", "bytes", -3e9),
    ],
)
def test_what_is_read(text: str | float, dimension: str, value: float) -> None:
    assert parse(text, dimension) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "dimension", "why", "hint"),
    [
        # bits and bytes
        ("5.3 Tb/s", "bytes_per_s", "cannot be read", "bits and bytes differ"),
        ("5.3 Tbps", "bytes_per_s", "cannot be read", "bits and bytes differ"),
        ("64 Gb", "bytes", "cannot be read", "bits and bytes differ"),
        ("64 mB", "bytes", "cannot be read", "case-sensitive"),
        ("64 nbit/s", "bytes_per_s", "cannot be read", "case-sensitive"),
        # one dimension for another
        ("5.3 TB/s", "bytes", "is a rate of bytes, wanted bytes (a capacity)", "64 GB"),
        ("64 GB", "bytes_per_s", "is bytes (a capacity), wanted a rate of bytes", "1.5 TB/s"),
        ("989 TFLOP", "flops_per_s", "wanted FLOP/s", "989 TFLOP/s"),
        ("10 W", "seconds", "is a power, wanted a time", "10 us"),
        ("2 USD", "usd_per_hour", "is US dollars, wanted US dollars per hour", "2.5 USD/h"),
        ("1 GB/s/s", "bytes_per_s", "wanted a rate of bytes", "1.5 TB/s"),
        ("3 s", "number", "is a time, wanted a number without a unit", "0.5"),
        # no unit
        (64, "bytes", "has no unit", "64 GB"),
        ("64", "bytes", "has no unit", "64 GB"),
        (1.5, "seconds", "has no unit", "10 us"),
        # no quantity
        ("fast", "bytes_per_s", "cannot be read", "1.5 TB/s"),
        ("", "bytes", "cannot be read", "64 GB"),
        ("1,000 GB", "bytes", "cannot be read", "64 GB"),
        ("2**30 B", "bytes", "cannot be read", "64 GB"),
        ("10**10**10 B", "bytes", "cannot be read", "64 GB"),
        ("64 GBB", "bytes", "cannot be read", "did you mean 'GB'?"),
        ("5 /", "per_s", "cannot be read", "5/s"),
        (True, "number", "is not a quantity", "0.5"),
        (None, "bytes", "is not a quantity", "64 GB"),
        # no number
        ("1e999 B", "bytes", "is not a finite number", ""),
        (math.inf, "number", "is not a finite number", ""),
        (math.nan, "number", "is not a finite number", ""),
    ],
)
def test_what_is_refused(text: str | float, dimension: str, why: str, hint: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse(text, dimension)
    assert why in caught.value.why
    assert hint in caught.value.hint


def test_true_is_no_number_even_after_one_was_read() -> None:
    assert parse(1, "number") == 1.0
    with pytest.raises(UnitError):
        parse(True, "number")


def test_a_gibibyte_is_no_gigabyte() -> None:
    assert parse("1 GiB", "bytes") - parse("1 GB", "bytes") == 73_741_824


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_hint_can_be_followed(dimension: str) -> None:
    assert parse(EXAMPLES[dimension], dimension) > 0


@given(
    value=st.one_of(st.just(0.0), st.floats(1e-15, 1e21)),
    sign=st.sampled_from([1, -1]),
    dimension=st.sampled_from(sorted(DIMENSIONS)),
)
def test_what_is_shown_can_be_read_back(value: float, sign: int, dimension: str) -> None:
    assert parse(show(sign * value, dimension), dimension) == pytest.approx(sign * value, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (5.3e12, "bytes_per_s", "5.3 TB/s"),
        (1.307e15, "flops_per_s", "1.307 PFLOP/s"),
        (3.4e-6, "seconds", "3.4 us"),
        (90.0, "seconds", "90 s"),
        (10_200, "watts", "10.2 kW"),
        (2.99, "usd_per_hour", "2.99 USD/h"),
        (0.5, "per_s", "0.5/s"),
        (0.0, "bytes", "0 B"),
    ],
)
def test_how_it_is_shown(value: float, dimension: str, text: str) -> None:
    assert show(value, dimension) == text


@given(st.floats(0, 1e15) | st.integers(0, 10**6).map(float))
def test_the_usual_units_are_read_as_pint_reads_them(number: float) -> None:
    for dimension, factors in USUAL.items():
        for unit in factors:
            text = f"{number!r} {unit}"
            quantity = units._registry().Quantity(number, unit.replace("/", "1/", unit[:1] == "/"))
            assert parse(text, dimension) == quantity.to(DIMENSIONS[dimension]).magnitude, text
