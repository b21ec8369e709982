"""Lines and records: sessions that stand apart in a file come whole and in order."""

import gzip
import json
from pathlib import Path

import pytest

from gcsim.errors import Problem, ProfileError
from gcsim.traffic.traces import by_session, files
from gcsim.traffic.traces.formats import FORMATS, read
from gcsim.traffic.traces.row import BadLineError, Options, Skipped

MOONCAKE = FORMATS["mooncake"]
NAMES = ["a", None, "b", "a", 7, "b", "a", None]


def refuse(bad: BadLineError, _: int) -> None:
    raise bad


def test_sessions_come_as_soon_as_they_are_whole_and_first_come_first() -> None:
    records = [
        (number, {"session_id": name} if name is not None else {})
        for number, name in enumerate(NAMES, start=1)
    ]
    lines = [(number, json.dumps(record)) for number, record in records]
    last = by_session.last_lines(lines, MOONCAKE, None)
    assert last == {"a": 7, "b": 6, "7": 5}
    read_so_far = []
    came = []
    for session in by_session.sessions(
        (read_so_far.append(pair[0]) or pair for pair in records), MOONCAKE, last, refuse
    ):
        came.append([number for number, _ in session])
        assert read_so_far[-1] >= max(came[-1])
    assert came == [[1, 4, 7], [2], [3, 6], [5], [8]]


def test_a_session_whose_last_line_is_bad_still_comes() -> None:
    records = [(1, {"session_id": "a"}), (3, {"session_id": "b"})]
    found = list(by_session.sessions(records, MOONCAKE, {"a": 2, "b": 3}, refuse))
    assert found == [[records[0]], [records[1]]]


def test_sessions_of_a_csv_are_found_under_either_name() -> None:
    form = FORMATS["tracelab_csv"]
    lines = [(1, "id,x"), (2, "a,0"), (3, "b,0"), (4, "a,1"), (5, "cut")]
    assert by_session.last_lines(lines, form, ["x", "id"]) == {"0": 3, "1": 4}
    assert by_session.last_lines(lines, form, ["session_id", "x"]) == {"a": 4, "b": 3, "cut": 5}


def test_interleaved_sessions_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    turns = [("a", 5), ("b", 6), ("a", 7), (None, 9), ("b", 8)]
    path.write_text(
        "".join(
            json.dumps({"input_length": n, "output_length": 1, **({"session_id": s} if s else {})})
            + "\n"
            for s, n in turns
        )
    )
    assert [[row.isl for row in rows] for rows in read(path)] == [[5, 5 + 1 + 7], [6, 15], [9]]


def test_cells_may_be_quoted() -> None:
    assert by_session.cells('a, "b,c" ,d') == ["a", '"b', 'c"', "d"]
    assert by_session.cells('a,"b,c",d ') == ["a", "b,c", "d"]


def test_lines_are_numbered_and_empty_ones_left_out(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes("\ufeffa\r\n\r\n\nb".encode())
    assert list(files.numbered_lines(path, Skipped())) == [(1, "a"), (4, "b")]
    path.write_bytes(gzip.compress(b"x\n\xff\ny"))
    skipped = Skipped(allowed=True)
    assert list(files.numbered_lines(path, skipped)) == [(1, "x"), (3, "y")]
    assert skipped.count == 1


def test_a_line_without_end_is_an_error_not_a_full_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LINE_BYTES_MAX", 1000)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"[" * 10_000_000))
    with pytest.raises(ProfileError, match=r"bomb\.gz:1: the line is longer than 1000 bytes"):
        list(files.numbered_lines(path, Skipped()))
    assert files.whole_json(path) is None
    path.write_bytes(b"x\n" + b"[" * 5_000_000 + b"\ny\n")
    skipped = Skipped(allowed=True)
    assert list(files.numbered_lines(path, skipped)) == [(1, "x"), (3, "y")]
    assert [(problem.line, problem.why) for problem in skipped.problems] == [
        (2, "the line is longer than 1000 bytes")
    ]


@pytest.mark.parametrize("line", [b"\n", b"[1]\n", b" " * 500 + b"\n", b"x" * 10_000])
def test_a_packed_file_may_not_become_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(line * (300_000 // len(line))))
    plenty = Options(unpacked_max=3e5)
    monkeypatch.setattr(files, "UNPACKED_BYTES", 2**17)
    monkeypatch.setattr(files, "UNPACKED_TIMES", 1)
    monkeypatch.setattr(files, "EMPTY_LINES_MAX", 300_000)
    with pytest.raises(
        ProfileError, match=r"larger than 0\.125 MiB; if it is sound, .*--unpacked-max"
    ):
        list(files.numbered_lines(path, Skipped(allowed=True)))
    assert len(list(files.numbered_lines(path, Skipped(), plenty))) in (0, 1, 75_000)


def test_a_file_of_empty_lines_is_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"x\n" + b"\n" * 200_000)
    with pytest.raises(ProfileError, match=r"t:100002: more than 100000 lines in a row are empty"):
        list(files.numbered_lines(path, Skipped(allowed=True)))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("é".encode("latin-1"), "is not UTF-8 text (byte 1 of the line)"),
        ("x".encode("utf-16"), "is UTF-16, not UTF-8 text"),
        (b"ab\0c", "holds a NUL byte (byte 3 of the line)"),
    ],
)
def test_what_is_no_text_is_told_with_its_place(tmp_path: Path, raw: bytes, why: str) -> None:
    path = tmp_path / "t"
    path.write_bytes(raw)
    skipped = Skipped(allowed=True)
    assert list(files.numbered_lines(path, skipped)) == []
    assert [problem.why for problem in skipped.problems] == [why]


@pytest.mark.parametrize("name", ["a\0b", "a" * 5_000])
def test_a_name_that_no_file_can_have_is_an_error(name: str) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        list(read(Path(name)))


def test_a_session_is_found_wherever_its_name_stands(tmp_path: Path) -> None:
    """The first pass looks for names with a pattern; records decide."""
    names = [
        '"meta": {"session_id": "z"}, "session_id": "a"',
        '"session_id": "b", "meta": {"session_id": "a"}',
        r'"session\u005fid": "a"',
        r'"session_id": "\u0061"',
        '"meta": {"session_id": "z"}',
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(f'{{{n}, "input_length": 5, "output_length": 1}}\n' for n in names))
    assert [len(rows) for rows in read(path)] == [3, 1, 1]


def test_a_session_that_has_ended_does_not_go_on() -> None:
    bad: list[tuple[str, int]] = []
    records = [(1, {"session_id": "a"}), (2, {"session_id": "a"}), (3, {"session_id": []})]
    found = by_session.sessions(
        records, MOONCAKE, {"a": 1}, lambda e, line: bad.append((e.why, line))
    )
    assert list(found) == [[records[0]]]
    assert bad == [("the session has ended before this line", 2), ("is no name", 3)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        (r'{"a": "\ud800"}', "half a character"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"a": 1', "in column 8"),
        ("[1]", "is not a JSON object"),
    ],
)
def test_what_is_no_record_is_told(text: str, why: str) -> None:
    with pytest.raises(BadLineError) as caught:
        by_session.record(text, None)
    assert why in caught.value.why
    assert by_session.record(r'{"a": "\ud83d\ude00"}', None) == {"a": "\U0001f600"}


@pytest.mark.parametrize("text", ['"a"b,c', '"a', '"' + "x" * 200_000 + '",1'])
def test_what_is_no_csv_is_told(text: str) -> None:
    with pytest.raises(BadLineError, match="is not CSV"):
        by_session.cells(text)


def test_skipped_counts_along_and_keeps_the_first_problems() -> None:
    total = Skipped()
    skipped = Skipped(allowed=True, total=total)
    for number in range(30):
        skipped.add(Problem("f", "", None, "is bad", line=number), 2)
    skipped.fail()
    assert (skipped.count, total.count, total.failed) == (60, 60, 1)
    assert len(skipped.problems) == len(total.problems) == 20
    with pytest.raises(ProfileError, match="f:3: is bad; --skip-bad-lines leaves such lines out"):
        total.add(Problem("f", "", None, "is bad", line=3))
