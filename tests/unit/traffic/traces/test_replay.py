"""Requests of a trace as steps: hash blocks, shared prefixes, what is kept of a context."""

import tracemalloc
from pathlib import Path

import pytest

from gcsim.profiles.load import validate
from gcsim.profiles.workload import Workload
from gcsim.traffic import ids
from gcsim.traffic.traces import native
from gcsim.traffic.traces.replay import plans, sessions, steps
from gcsim.traffic.traces.row import USUAL, Options, Row, Skipped
from gcsim.traffic.trajectory import Step, chain

BASE = ids.hashed(3)


def test_hash_blocks_are_spans_and_the_last_is_what_remains() -> None:
    (step,) = steps([Row(1100, 5, blocks=(7, 8, 9), block_tokens=512)], BASE, 50)
    assert step.append == ((BASE + 7, 512), (BASE + 8, 512), (BASE + 9, 76))
    (step,) = steps([Row(1100, 5, blocks=(7, 8), block_tokens=512)], BASE, 50)
    assert step.append == ((BASE + 7, 512), (BASE + 8, 512), (50, 76))


def test_a_prompt_without_hashes_is_private_after_its_prefix() -> None:
    assert steps([Row(100, 5)], BASE, 50)[0].append == ((50, 100),)
    assert steps([Row(100, 5, prefix=(9, 30))], BASE, 50)[0].append == ((9, 30), (50, 70))
    assert steps([Row(100, 5, prefix=(9, 300))], BASE, 50)[0].append == ((9, 100),)


@pytest.mark.parametrize(
    ("isl", "keep", "kept", "new"),
    [(130, None, None, 20), (100, None, 100, 0), (130, 60, 60, 70), (50, 60, 50, 0)],
)
def test_a_later_prompt_keeps_and_appends_to_its_length(
    isl: int, keep: int | None, kept: int | None, new: int
) -> None:
    _, step = steps([Row(100, 10), Row(isl, 1, parent=0, keep=keep, waits_for=(0,))], BASE, 50)
    assert step.keep == kept
    assert sum(tokens for _, tokens in step.append) == new
    assert (110 if kept is None else kept) + new == isl


def test_requests_of_no_tokens_have_one() -> None:
    (step,) = steps([Row(0, 0)], BASE, 50)
    assert step == Step(((50, 1),), 1)


def test_models_of_a_foreign_trace_are_mapped_or_the_scenario_s() -> None:
    rows = [Row(9, 9, model="opus"), Row(9, 9, model="haiku")]
    assert [s.model for s in steps(rows, BASE, 0)] == ["opus", "haiku"]
    assert [s.model for s in steps(rows, BASE, 0, {"opus": "big"})] == ["big", None]


def test_content_of_two_traces_of_a_mix_never_meets(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    shared = ids.shared("chatbot", "prefix")
    line = native.line(chain(0, "w", [Step(((5, 10), (shared, 4), (BASE, 3)), 1)]))
    path.write_text(line + "\n")
    found = [next(sessions(path, USUAL, Skipped(), slot)).steps[0].append for slot in (0, 1)]
    for (a, _), (b, _) in zip(*found, strict=True):
        assert (a == b) == (a == shared)
    assert all(content >= 1 << 64 or content == shared for spans in found for content, _ in spans)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    peaks = []
    for count in (1_000, 10_000):
        rows = "".join(f"{k},100,10\n" for k in range(count))
        path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + rows)
        tracemalloc.start()
        assert sum(1 for _ in sessions(path, Options("vidur"), Skipped())) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 20_000  # 2 bytes a request would be 18,000


def test_a_trace_of_gcsim_keeps_its_models(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(native.line(chain(0, "w", [Step(((5, 10),), 1, model="worker")])) + "\n")
    workload = validate(Workload, {"name": "t", "trace": {"path": str(path)}}, "t")
    assert workload.trace is not None
    (plan,) = plans(workload.trace, 0, Skipped())
    assert plan.steps[0].model == "worker"
