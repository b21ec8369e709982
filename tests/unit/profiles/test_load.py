"""YAML in, a spec or every error out, never a traceback: gcsim.profiles.load."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcsim.errors import ProfileError
from gcsim.profiles.base import Bytes, BytesPerS, Count, Fraction, Number, Spec
from gcsim.profiles.load import MAX_BYTES, parse_mapping, read_mapping, validate

FILE = "x.yaml"


class Part(Spec):
    capacity: Bytes
    bandwidth: BytesPerS | None = None


class Thing(Spec):
    parts: tuple[Part, ...] = ()
    by_name: dict[str, Part] | None = None
    efficiency: Number | None = None
    share: Fraction = 1.0
    count: Count = 1


def load(text: str) -> Thing:
    mapping, lines = parse_mapping(text, FILE)
    return validate(Thing, mapping, FILE, lines)


def errors(text: str) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        load(text)
    assert str(caught.value).count("\n") == len(caught.value.problems) - 1
    return [str(problem) for problem in caught.value.problems]


def test_a_good_file() -> None:
    thing = load("parts: [{capacity: 64 GiB, bandwidth: 5.3 TB/s}]\nefficiency: 45 %\n")
    assert thing.parts[0].capacity.value == 64 * 2**30
    assert thing.parts[0].bandwidth is not None
    assert str(thing.parts[0].bandwidth) == "5.3 TB/s"
    assert thing.parts[0].bandwidth.kind == "given"
    assert thing.efficiency is not None
    assert thing.efficiency.value == 0.45


def test_a_number_with_its_origin() -> None:
    thing = load(
        "efficiency: {value: 0.4, low: 0.3, high: 50 %, kind: assumed, source: a guess, note: why}"
    )
    efficiency = thing.efficiency
    assert efficiency is not None
    assert (efficiency.low, efficiency.value, efficiency.high) == (0.3, 0.4, 0.5)
    assert (efficiency.kind, efficiency.source, efficiency.note) == ("assumed", "a guess", "why")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parts: [{capacity: 5.3 TB/s}]", "parts.0.capacity: is a rate of bytes, wanted bytes"),
        ("parts: [{capacity: 5.3 Tb}]", "bits and bytes differ"),
        ("parts: [{capacity: 64}]", "parts.0.capacity: has no unit (got 64); write it like"),
        ("parts: [{capacity: -64 GB}]", "parts.0.capacity: is negative (got '-64 GB')"),
        ("parts: [{capacity: .inf}]", "parts.0.capacity: has no unit"),
        ("efficiency: .inf", "efficiency: is not a finite number"),
        ("efficiency: .nan", "efficiency: is not a finite number"),
        ("efficiency: [1, 2]", "efficiency: is not a quantity"),
        ("efficiency: true", "efficiency: is not a quantity (got True)"),
        ("parts: [{}]", "parts.0.capacity: is missing"),
        ("parts: [{capacity: 1 GB, bandwith: 1 GB/s}]", "unknown key; did you mean 'bandwidth'?"),
        ("by_name: {a: {capacity: 1 B, bandwith: 1}}", "by_name.a.bandwith: unknown key; did"),
        ("cuont: 1", "cuont: unknown key; did you mean 'count'?"),
        ("efficiency: {value: 1, knd: x}", "unknown key; did you mean 'kind'?"),
        ("efficiency: {kind: measured, source: x}", "has no value; write {value: ..."),
        ("efficiency: {value: 1, kind: measured}", "is of kind measured and names no source"),
        ("efficiency: {value: 1, kind: rumour, source: x}", "efficiency.kind: Input should be"),
        ("efficiency: {value: 1, low: 2}", "is outside its range; low 2, value 1, high None"),
        ("efficiency: {value: 1, high: 0.5}", "is outside its range"),
        ("efficiency: {value: 1, low: 1 GB}", "is bytes (a capacity), wanted a number"),
        ("share: 1.5", "share: Input should be less than or equal to 1"),
        ("share: 0", "share: Input should be greater than 0"),
        ("count: 0", "count: Input should be greater than or equal to 1 (got 0)"),
        ("count: 2.5", "count: Input should be a valid integer (got 2.5)"),
        ("count: '2'", "count: Input should be a valid integer (got '2')"),
        ("count: true", "count: Input should be a valid integer (got True)"),
    ],
)
def test_what_is_refused(text: str, expected: str) -> None:
    (error,) = errors(text)
    assert expected in error
    assert error.startswith("x.yaml:1: ")


def test_all_errors_at_once_each_with_its_line() -> None:
    found = errors(
        "parts:\n"
        "  - capacity: 5.3 TB/s\n"
        "  - capcity: 64 GB\n"
        "efficiency:\n"
        "  value: 2 GB\n"
        "count: 0\n"
        "colour: blue\n"
    )
    assert len(found) == 6
    starts = {line.split(": ")[0] + " " + line.split(": ")[1] for line in found}
    assert starts == {
        "x.yaml:2 parts.0.capacity",
        "x.yaml:3 parts.1.capcity",
        "x.yaml:3 parts.1.capacity",
        "x.yaml:4 efficiency",
        "x.yaml:6 count",
        "x.yaml:7 colour",
    }
    with pytest.raises(ProfileError, match=r"\(6 of 6 errors\)"):
        load("a: 1\nb: 1\nc: 1\nd: 1\ne: 1\nf: 1\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count: 1\ncount: 2", "x.yaml:2: count: is given twice; keep one"),
        ("by_name:\n  a: {}\n  a: {}", "x.yaml:3: by_name.a: is given twice; keep one"),
        ("parts: [", "is not YAML: did not find expected node content"),
        ("parts: ]", "x.yaml:1: is not YAML"),
        ("a: 1\n\tb: 2", "x.yaml:2: is not YAML"),
        ("a: \x00", "is not YAML"),
        ("a: !!python/object:os.system {}\n", "a: unknown key"),
        ("a: !!python/name:os.system x", "is not YAML"),
        ("day: 2024-13-45", "is not YAML: month must be in 1..12"),
        ("n: !!int x", "is not YAML: invalid literal"),
        ("", "must be a mapping of keys to values"),
        ("just text", "must be a mapping of keys to values"),
        ("[1, 2]", "must be a mapping of keys to values"),
        ("a: &x 1\nb: *x", "x.yaml:2: uses a YAML alias (got '*x'); write the value out"),
        ("a: " + "[" * 60 + "]" * 60, "is nested too deeply"),
        ("[" * 100_000, "is nested too deeply"),
        ("{a: " * 100_000, "is nested too deeply"),
    ],
    ids=lambda text: text[:24] if len(text) > 24 else None,
)
def test_what_is_no_profile(text: str, expected: str) -> None:
    (error, *_) = errors(text)
    assert expected in error


def test_an_alias_bomb_goes_off_nowhere() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    (error,) = errors("\n".join(["l0: &l0 lol", *levels]))
    assert "uses a YAML alias" in error


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def error(path: Path) -> str:
        with pytest.raises(ProfileError) as caught:
            read_mapping(path)
        return str(caught.value)

    missing = tmp_path / "missing.yaml"
    assert error(missing) == f"{missing}: cannot be read: No such file or directory"
    assert "cannot be read: Is a directory" in error(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00a")
    assert "cannot be read: is not UTF-8 text" in error(binary)
    huge = tmp_path / "huge.yaml"
    huge.touch()
    os.truncate(huge, MAX_BYTES + 1)
    assert f"is larger than {MAX_BYTES} bytes" in error(huge)


def test_json_is_yaml_too(tmp_path: Path) -> None:
    file = tmp_path / "thing.json"
    file.write_text('{"count": 3, "parts": [{"capacity": "64 GB"}]}')
    mapping, lines = read_mapping(file)
    assert validate(Thing, mapping, str(file), lines).count == 3


@given(st.text(max_size=60))
def test_any_text_is_a_spec_or_a_profile_error(text: str) -> None:
    try:
        load(text)
    except ProfileError as error:
        assert error.problems  # noqa: PT017
