"""gcsim's own format holds every trajectory, and refuses what the engine could not play."""

import json
import random
from collections import Counter
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from gcsim.errors import ProfileError
from gcsim.traffic.traces import native
from gcsim.traffic.traces.row import Skipped
from gcsim.traffic.trajectory import Step, Trajectory, chain

FORKED = Trajectory(
    0,
    "w",
    (
        Step(((1, 10), (2**62 + 5, 3)), 4, 0.1),
        Step(((3, 5),), 6, 0.1 + 0.2, -1, (0,), False, "worker"),
        Step((), 7, 0.0, 0, (0,), True, None, 9),
        Step(((4, 1),), 8, 1e-9, 2, (1, 2)),
    ),
    1 / 3,
    -2,
)


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_a_trajectory_comes_back_as_it_was(tmp_path: Path) -> None:
    simple = chain(1, "v", [Step(((9, 9),), 1), Step(((8, 8),), 2, 0.5)])
    path = written(tmp_path, native.line(FORKED), native.line(simple))
    assert list(native.read(path, Skipped())) == [FORKED, simple]


def test_defaults_of_a_chain_are_not_written() -> None:
    record = json.loads(native.line(chain(1, "v", [Step(((9, 9),), 1), Step(((8, 8),), 2)])))
    assert record == {
        "workload": "v",
        "steps": [{"append": [[9, 9]], "osl": 1}, {"append": [[8, 8]], "osl": 2}],
    }


STEP: dict[str, Any] = {"append": [[1, 10]], "osl": 4}


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"osl": 0}, "steps.1.osl: must be at least 1"),
        ({"append": [[1]]}, "steps.1.append: is not [[content id, tokens], ...]"),
        ({"append": [[-1, 5]]}, "steps.1.append: is not [[content id, tokens], ...]"),
        ({"append": [[1, 10**9]]}, "steps.1.append: is not"),
        ({"parent": 1}, "steps.1.parent: is no earlier step"),
        ({"waits_for": [1]}, "steps.1.waits_for: are not earlier steps"),
        ({"waits_for": []}, "steps.1.parent: is not waited for"),
        ({"keep": 15}, "steps.1.keep: only 14 are there"),
        ({"keep": 0}, "steps.1.keep: must be at least 1"),
        ({"append": [], "parent": -1}, "steps.1: the prompt is empty or too long"),
        ({"keep": -1}, "steps.1.keep: is negative"),
        ({"keep": True}, "steps.1.keep: is not a whole number"),
        ({"parent": -1, "waits_for": [], "keep": 5}, "steps.1.keep: of no parent"),
        ({"append": [[1, 0]]}, "steps.1.append: is not"),
        ({"append": [[True, 1]]}, "steps.1.append: is not"),
        ({"append": [[2**63, 1]]}, "steps.1.append: is not"),
        ({"waits_for": [0, 0]}, "steps.1.waits_for: are not earlier steps, each once"),
        ({"waits_for": 0}, "steps.1.waits_for: is not a list"),
        ({"delay_s": True}, "steps.1.delay_s: is not a time"),
        ({"delay_s": 1e9}, "steps.1.delay_s: is not a time: at most"),
        ({"model": 5}, "steps.1.model: is no name"),
        ({"delay_s": -1}, "delay_s: is negative"),
        ({"human": 1}, "steps.1.human: is neither true nor false"),
    ],
)
def test_what_cannot_be_played_is_refused(tmp_path: Path, second: dict[str, Any], why: str) -> None:
    record = {"workload": "w", "steps": [STEP, {**STEP, **second}]}
    path = written(tmp_path, native.line(FORKED), json.dumps(record))
    with pytest.raises(ProfileError) as caught:
        list(native.read(path, Skipped()))
    assert why in str(caught.value)
    assert "t.jsonl:2:" in str(caught.value)
    skipped = Skipped(allowed=True)
    assert len(list(native.read(path, skipped))) == skipped.count == 1


def test_times_must_rise(tmp_path: Path) -> None:
    lines = [json.dumps({"workload": "w", "start_s": t, "steps": [STEP]}) for t in (2, 1)]
    with pytest.raises(ProfileError, match="the time goes back"):
        list(native.read(written(tmp_path, *lines), Skipped()))


def test_a_task_without_a_name_is_refused(tmp_path: Path) -> None:
    for record in ({}, {"workload": ""}, {"workload": 3}, {"workload": "w", "priority": 1.5}):
        path = written(tmp_path, json.dumps({"steps": [STEP], **record}))
        with pytest.raises(ProfileError, match=r"workload: (needs a|is no) name|priority: is no"):
            list(native.read(path, Skipped()))


@pytest.mark.slow
def test_a_parent_has_ended_through_others(tmp_path: Path) -> None:
    """Whatever the graph: what the reader allows is what a search over all steps finds."""
    rng = random.Random(7)
    seen = Counter()
    for _ in range(400):
        waits = [sorted(rng.sample(range(k), min(k, rng.randint(0, 2)))) for k in range(8)]
        ended: list[set[int]] = []
        for awaited in waits:
            ended.append(set(awaited).union(*(ended[w] for w in awaited)))
        parent = rng.randrange(7)
        steps = [{**STEP, "waits_for": awaited, "parent": -1} for awaited in waits]
        steps[7]["parent"] = parent
        path = written(tmp_path, json.dumps({"workload": "w", "steps": steps}))
        skipped = Skipped(allowed=True)
        allowed = len(list(native.read(path, skipped)))
        assert allowed == (parent in ended[7])
        seen[allowed] += 1
    assert min(seen[0], seen[1]) > 50


@pytest.mark.slow
def test_a_long_session_is_checked_in_time_that_grows_with_it(tmp_path: Path) -> None:
    steps = [{**STEP, "parent": -1}] + [{**STEP, "parent": 0, "keep": 5}] * 50_000
    path = written(tmp_path, json.dumps({"workload": "w", "steps": steps}))
    begun = process_time()
    assert len(next(native.read(path, Skipped())).steps) == 50_001
    assert process_time() - begun < 5  # a set of all earlier steps for each would take minutes
