"""Traces out: what a format holds comes back, what it cannot hold is counted."""

import gzip
import json
from collections import Counter
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcsim.errors import ProfileError
from gcsim.profiles.arrivals import Poisson
from gcsim.profiles.workload import load_workload
from gcsim.traffic import ids
from gcsim.traffic.generate import trajectories
from gcsim.traffic.traces import chains
from gcsim.traffic.traces.atomic import beside
from gcsim.traffic.traces.formats import read
from gcsim.traffic.traces.row import USUAL, Options, Skipped
from gcsim.traffic.traces.write import RESETS, SIZES, WORDS, stored, text, write
from gcsim.traffic.trajectory import Step, Trajectory, chain

MOONCAKE = [
    {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [7, 8]},
    {"timestamp": 27482, "input_length": 1024, "output_length": 52, "hash_ids": [7, 9]},
    {"timestamp": 27482.25, "input_length": 100, "output_length": 1},
]


def generated(name: str, count: int = 20) -> list[Trajectory]:
    arrivals = Poisson(process="poisson", rate="1 /s")
    return list(trajectories(load_workload(name), arrivals, np.random.SeedSequence(5), count))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def shapes(found: list[Trajectory]) -> list[Any]:
    """Lengths and links, delays and starts to the nanosecond, without the content."""
    return [
        (
            round((t.start_s or 0) * 1e9),
            [
                (sum(n for _, n in s.append), s.osl, round(s.delay_s * 1e9), s.parent, s.waits_for)
                for s in t.steps
            ],
        )
        for t in found
    ]


def convert(source: Path, target: Path, to: str) -> dict[str, int]:
    return write(target, stored(source, USUAL, Skipped()), to)


def test_mooncake_to_gcsim_and_back_is_without_loss(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in MOONCAKE))
    assert convert(source, tmp_path / "own", "gcsim") == {}
    assert convert(tmp_path / "own", tmp_path / "out", "mooncake") == {}
    assert lines(tmp_path / "out") == MOONCAKE
    assert convert(tmp_path / "own", tmp_path / "again", "gcsim") == {}
    assert (tmp_path / "again").read_bytes() == (tmp_path / "own").read_bytes()


@pytest.mark.parametrize("name", ["coding-agent", "research", "reasoning", "coding-interactive"])
def test_gcsim_format_holds_everything(tmp_path: Path, name: str) -> None:
    before = generated(name)
    assert write(tmp_path / "t", before, "gcsim") == {}
    assert list(stored(tmp_path / "t", USUAL, Skipped())) == before


@pytest.mark.parametrize("name", ["coding-agent", "rag", "batch-summary", "long-horizon"])
def test_mooncake_holds_lengths_times_and_links_of_agents(tmp_path: Path, name: str) -> None:
    before = generated(name)
    dropped = write(tmp_path / "t", before, "mooncake")
    assert dropped.keys() <= {chains.HUMAN}
    assert shapes(list(stored(tmp_path / "t", USUAL, Skipped()))) == shapes(before)


def test_mooncake_hashes_share_what_classes_share_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "t", generated("coding-agent"), "mooncake")
    firsts = [row["hash_ids"] for row in lines(tmp_path / "t") if "timestamp" in row]
    whole = 14400 // 512
    assert all(ids_[:whole] == firsts[0][:whole] for ids_ in firsts)
    rest = [block for ids_ in firsts for block in ids_[whole:]]
    assert len(set(rest)) == len(rest) > 20


def test_aiperf_turns_hold_the_lengths_as_text(tmp_path: Path) -> None:
    before = [t for t in generated("chatbot") if len(t.steps) < 9]
    assert write(tmp_path / "t.gz", before, "aiperf") == {
        chains.HUMAN: sum(len(t.steps) - 1 for t in before)
    }
    assert shapes(list(stored(tmp_path / "t.gz", USUAL, Skipped()))) == shapes(before)
    first = json.loads(gzip.decompress((tmp_path / "t.gz").read_bytes()).splitlines()[0])
    system, turn = first["turns"][:2]
    assert system["role"] == "system"
    assert len(system["text"].split()) == 500
    assert {"text", "output_length", "timestamp"} == turn.keys()


def test_the_same_trace_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        write(tmp_path / name, generated("rag"), "mooncake")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_texts_of_equal_content_are_equal_and_of_four_characters_a_token() -> None:
    assert len(WORDS) == len(set(WORDS)) == 64
    assert {len(word) for word in WORDS} == {3}
    assert text([(7, 300)])[: 4 * 200 - 1] == text([(7, 200)])
    assert text([(7, 300)]) != text([(8, 300)])
    for count in (1, 2, 999):
        assert ceil(len(text([(2**70, count)])) / 4) == count


def test_a_context_that_shrinks_is_marked_or_ends_the_session(tmp_path: Path) -> None:
    shared = (ids.shared("w", "prefix"), 600)
    steps = [Step((shared, (1, 100)), 5), Step(((2, 50),), 6, 1.0)]
    reset = Step((shared, (3, 40)), 7, 0.5, -1, (1,))
    trajectory = Trajectory(0, "w", (*chain(0, "w", steps).steps, reset), 2.0)
    assert write(tmp_path / "m", [trajectory], "mooncake") == {}
    assert [row.get("prefix_reset") for row in lines(tmp_path / "m")] == [None, None, True]
    assert shapes(list(stored(tmp_path / "m", USUAL, Skipped()))) == shapes([trajectory])
    assert write(tmp_path / "a", [trajectory], "aiperf") == {RESETS: 1}
    assert [row["session_id"] for row in lines(tmp_path / "a")] == ["0.0", "0.0.1"]


def test_sub_agents_samples_and_edits_are_counted_when_they_do_not_fit(tmp_path: Path) -> None:
    forked = (
        Step(((1, 10),), 4),
        Step(((2, 5),), 6, 0.0, -1, (0,)),
        Step(((3, 5),), 6, 0.0, -1, (0,)),
        Step(((4, 9),), 7, 0.0, 0, (1, 2)),
        Step(((5, 2),), 8, 1.0, 3, (3,), True, "m", 20),
    )
    samples = (Step(((1, 10),), 4), Step(((1, 10),), 5))
    tasks = [Trajectory(0, "w", forked, 0.0, 3), Trajectory(1, "w", samples, 1.0)]
    assert write(tmp_path / "t", tasks, "mooncake") == {
        chains.BRANCHES: 2,
        chains.TOGETHER: 2,
        chains.HUMAN: 1,
        chains.MODELS: 1,
        chains.PRIORITY: 1,
        chains.KEPT: 1,
    }
    rows = list(read(tmp_path / "t"))
    assert [[row.isl for row in session] for session in rows] == [[10, 23, 22], [10], [10]]


def test_an_edit_of_an_edited_context_is_written_whole(tmp_path: Path) -> None:
    steps = (
        Step(((1, 1000),), 24),
        Step(((2, 50),), 6, 0.0, 0, (0,), keep=700),
        Step(((3, 30),), 7, 0.0, 1, (1,), keep=740),
    )
    write(tmp_path / "t", [Trajectory(0, "w", steps)], "mooncake")
    assert [row["input_length"] for row in lines(tmp_path / "t")] == [1000, 750, 770]
    before = chains.chains(Trajectory(0, "w", steps), Counter())[0][2].spans
    assert before == ((1, 700), (2, 40), (3, 30))


def test_hash_blocks_of_another_size_are_written_with_a_word(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    record = {
        "chat_id": 1,
        "parent_chat_id": -1,
        "timestamp": 1.5,
        "input_length": 20,
        "output_length": 3,
        "hash_ids": [4, 5],
    }
    source.write_text(json.dumps(record) + "\n")
    assert convert(source, tmp_path / "out", "mooncake") == {SIZES: 1}
    assert lines(tmp_path / "out")[0]["hash_ids"] == [4, 5]
    assert next(read(tmp_path / "out", Options(block_tokens=16)))[0].isl == 20


def test_unknown_formats_and_places_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="did you mean 'mooncake'"):
        write(tmp_path / "t", [], "moncake")
    with pytest.raises(ProfileError, match="cannot be written"):
        write(tmp_path / "absent" / "t", [], "gcsim")


def test_what_a_killed_process_left_beside_a_trace_goes(tmp_path: Path) -> None:
    target = tmp_path / "t[1].jsonl"
    left = tmp_path / ".t[1].jsonl.abcdefgh"
    left.mkdir()
    other = tmp_path / ".t[1].jsonl.mine"
    other.mkdir()
    with beside(target) as first:
        assert not left.exists()
        assert other.exists(), "no name of ours"
        with beside(target) as second:
            assert first.exists(), "its process lives"
            assert second != first
    assert [path.name for path in tmp_path.iterdir()] == [other.name]
