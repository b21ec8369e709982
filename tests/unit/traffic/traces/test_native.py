"""gcsim's own format holds every trajectory, and refuses what the engine could not play."""

import json
from pathlib import Path
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
        ({"keep": 0}, "steps.1.keep: is no number of tokens"),
        ({"append": [], "parent": -1}, "steps.1: the prompt is empty or too long"),
        ({"model": 5}, "steps.1.model: is no name"),
        ({"delay_s": -1}, "delay_s: is negative"),
        ({"human": 1}, "is no number"),
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
    with pytest.raises(ProfileError, match="needs a name"):
        list(
            native.read(written(tmp_path, json.dumps({"steps": [STEP], "workload": 3})), Skipped())
        )
