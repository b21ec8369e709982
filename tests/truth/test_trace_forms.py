"""One session is one session, whatever its format: the same prompts, hits and times.

Written as gcsim's own trace, as Mooncake with what each turn appends, as Mooncake with whole
prompts (hashes of every block, token by token), and as AIPerf texts.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import toys

from gcsim.engine.records import REQUEST
from gcsim.traffic import ids
from gcsim.traffic.traces.describe import Reuse, describe
from gcsim.traffic.traces.row import USUAL, Skipped
from gcsim.traffic.traces.write import stored, write
from gcsim.traffic.trajectory import Step, Trajectory, chain

BLOCK = 512
SHARED = (ids.shared("forms", "prefix"), 2 * BLOCK)
FORMS = ("gcsim", "mooncake", "whole", "aiperf")

AFTER_NAMES = list(REQUEST.names or ())[4:]  # from `isl` on: not by what it is known


def sessions(seed: int = 3) -> list[Trajectory]:
    """Sessions with a prefix of two blocks, turns that append little, much and blocks exactly."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(12):
        steps, private = [], ids.private(0, index)
        for turn in range(6):
            tokens = int(rng.choice([7, 100, BLOCK, 700, 3_000]))
            spans = ((private + turn, tokens),)
            osl = int(rng.choice([1, 20, 200, BLOCK]))
            steps.append(Step((SHARED, *spans) if turn == 0 else spans, osl, float(turn)))
        found.append(chain(index, "forms", steps, 0.25 * index))
    return found


def whole_prompts(trajectories: list[Trajectory]) -> Iterator[str]:
    """Mooncake lines of whole prompts: hashes are equal where all tokens up to there are."""
    known: dict[int, int] = {}
    for task in trajectories:
        prompt: list[tuple[int, int]] = []
        for number, step in enumerate(task.steps):
            prompt += [(content, k) for content, n in step.append for k in range(n)]
            ends = [*range(BLOCK, len(prompt), BLOCK), len(prompt)]
            keys = [hash(tuple(prompt[:end])) for end in ends]
            when = {"delay": 1000 * step.delay_s} if number else {"timestamp": 1000 * task.start_s}
            yield json.dumps(
                {
                    "session_id": str(task.index),
                    **when,
                    "input_length": len(prompt),
                    "output_length": step.osl,
                    "hash_ids": [known.setdefault(key, len(known)) for key in keys],
                }
            )
            output = (1 << 40) + 1000 * task.index + number
            prompt += [(output, k) for k in range(step.osl)]


def read_back(form: str, folder: Path) -> list[Trajectory]:
    path = folder / f"{form}.jsonl"
    if form == "whole":
        path.write_text("\n".join(whole_prompts(sessions())))
    else:
        write(path, sessions(), form)
    return list(stored(path, USUAL, Skipped()))


def shape(trajectory: Trajectory) -> list[tuple[object, ...]]:
    return [
        (sum(n for _, n in s.append), s.osl, s.delay_s, s.parent, s.keep, s.waits_for)
        for s in trajectory.steps
    ]


@pytest.mark.parametrize("form", FORMS)
def test_a_session_has_the_same_steps_and_hits_in_every_form(form: str, tmp_path: Path) -> None:
    found, reuse, same = read_back(form, tmp_path), Reuse(), Reuse()
    for task, written in zip(found, sessions(), strict=True):
        assert task.start_s == written.start_s
        assert shape(task) == shape(written)
        assert reuse.steps(task.steps) == same.steps(written.steps)


def test_a_session_takes_the_same_time_in_every_form(tmp_path: Path) -> None:
    times = {}
    for form in FORMS:
        what = toys.deployment({"main": {"kv_tokens": 10**6, "batching": {"max_seqs": 8}}})
        records = toys.serve(what, read_back(form, tmp_path)).records.requests
        times[form] = b"".join(records[name].tobytes() for name in AFTER_NAMES)
        cached = records["cached_tokens"]
        assert cached.sum() > 100_000
    assert len(set(times.values())) == 1


@pytest.mark.parametrize("form", ["mooncake", "whole"])
def test_the_reuse_that_is_told_is_that_of_the_steps(form: str, tmp_path: Path) -> None:
    found = read_back(form, tmp_path)
    hits = [pair for task in found for pair in Reuse().steps(task.steps)]
    told = describe(tmp_path / f"{form}.jsonl").summary()["token_hit"]
    total = sum(isl for isl, _ in hits)
    first = 11 * SHARED[1]  # all sessions but the first find the prefix
    assert told == pytest.approx((sum(hit for _, hit in hits) + first) / total, abs=1e-9)


@pytest.mark.parametrize("to", ["gcsim", "mooncake"])
def test_whole_prompts_are_the_same_session_in_another_form(to: str, tmp_path: Path) -> None:
    """Content that begins inside a hash block gets blocks of its own, beside the trace's hashes."""
    before = read_back("whole", tmp_path)
    write(tmp_path / "again.jsonl", before, to)
    after = list(stored(tmp_path / "again.jsonl", USUAL, Skipped()))
    reuse, same = Reuse(), Reuse()
    for task, written in zip(after, before, strict=True):
        assert shape(task) == shape(written)
        assert reuse.steps(task.steps) == same.steps(written.steps)
