"""Lines and records: sessions that stand apart in a file come whole and in order."""

import gzip
import json
from pathlib import Path

import pytest

from gcsim.errors import Problem, ProfileError
from gcsim.traffic.traces import files, group
from gcsim.traffic.traces.formats import FORMATS, read
from gcsim.traffic.traces.row import Skipped

MOONCAKE = FORMATS["mooncake"]
NAMES = ["a", None, "b", "a", 7, "b", "a", None]


def test_sessions_come_as_soon_as_they_are_whole_and_first_come_first() -> None:
    records = [
        (number, {"session_id": name} if name is not None else {})
        for number, name in enumerate(NAMES, start=1)
    ]
    lines = [(number, json.dumps(record)) for number, record in records]
    last = group.last_lines(lines, MOONCAKE, None)
    assert last == {"a": 7, "b": 6, "7": 5}
    read_so_far = []
    came = []
    for session in group.sessions(
        (read_so_far.append(pair[0]) or pair for pair in records), MOONCAKE, last
    ):
        came.append([number for number, _ in session])
        assert read_so_far[-1] >= max(came[-1])
    assert came == [[1, 4, 7], [2], [3, 6], [5], [8]]


def test_a_session_whose_last_line_is_bad_still_comes() -> None:
    records = [(1, {"session_id": "a"}), (3, {"session_id": "b"})]
    assert list(group.sessions(records, MOONCAKE, {"a": 2, "b": 3})) == [[records[0]], [records[1]]]


def test_sessions_of_a_csv_are_found_under_either_name() -> None:
    form = FORMATS["tracelab_csv"]
    lines = [(1, "id,x"), (2, "a,0"), (3, "b,0"), (4, "a,1"), (5, "cut")]
    assert group.last_lines(lines, form, ["x", "id"]) == {"0": 3, "1": 4}
    assert group.last_lines(lines, form, ["session_id", "x"]) == {"a": 4, "b": 3, "cut": 5}


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
    assert group.cells('a, "b,c" ,d') == ["a", '"b', 'c"', "d"]
    assert group.cells('a,"b,c",d ') == ["a", "b,c", "d"]


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
        list(files.numbered_lines(path, Skipped(allowed=True)))
    assert files.whole_json(path) is None


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
