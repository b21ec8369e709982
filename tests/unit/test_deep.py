"""What `make deep` is made of (`tests/deep`): the breaks are of the code as it is, a planted fault
is found and made small, and a small share of what it plays by the thousand."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "deep"))

import deep  # noqa: E402
import deployments  # noqa: E402
import engines  # noqa: E402
import kills  # noqa: E402
import outside  # noqa: E402
from breaks import Break, read  # noqa: E402
from shrink import shrunk  # noqa: E402

from gcsim.engine.replica import Replica  # noqa: E402


@pytest.mark.parametrize("broken", read(), ids=lambda b: b.before.strip()[:50])
def test_a_break_is_of_code_that_is_there(broken: Break) -> None:
    text = (ROOT / broken.file).read_text(encoding="utf-8")
    assert text.count(broken.before) == 1
    assert broken.after != broken.before
    assert all((ROOT / test).exists() for test in broken.tests.split())


def test_what_a_fault_needs_is_left() -> None:
    tree = {"a": [5, 7, 60, 3], "b": {"c": 4, "d": "x"}, "e": 2.75}

    def fails(candidate: Any) -> bool:
        return max(candidate.get("a", [0]), default=0) > 20 and "c" in candidate.get("b", {})

    assert shrunk(tree, fails) == {"a": [21], "b": {"c": 0}}


def test_a_case_is_the_same_as_a_file() -> None:
    """What the report prints plays as the case did: all that a spec was given stands in it."""
    for number in range(10):
        one = engines.case(number)
        if one.window is None:
            again = engines.as_case(engines.as_tree(one))
            tasks = [replace(task, index=k) for k, task in enumerate(one.trajectories)]
            same = replace(one, trajectories=tasks)
            assert deployments.state(again.play(True)) == deployments.state(same.play(True))


def test_a_planted_difference_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that plans one iteration too many: the engines differ, and one file shows it."""
    right = Replica._steady

    def wrong(self: Replica, *args: Any) -> Any:
        found = right(self, *args)
        return found + 1 if found > 1 else found

    numbers = range(0, 400, 10)
    assert not any(engines.fault(number)[1] for number in numbers[:5])
    monkeypatch.setattr(Replica, "_steady", wrong)
    number = next(number for number in numbers if engines.fault(number)[1])
    told = engines.report(number)
    assert "differs" in told or "Error" in told
    assert "# case.yaml" in told
    assert "# tasks.jsonl" in told
    size = len(engines.shown(engines.as_tree(engines.case(number))))
    assert len(told) < 0.7 * size


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deployments", "profiles", "traces", "configs"])
def test_files_from_outside(name: str) -> None:
    few = {"deployments": 4}.get(name, 25)
    counts, failing = deep.many((name, range(few)))
    assert not failing
    assert counts["accepted"]
    assert counts["refused"]


def test_a_traceback_nonsense_and_a_hang_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_: list[str]) -> Any:
        raise KeyError("x")

    monkeypatch.setattr(outside, "called", raises)
    assert outside.Fault("configs")(1)[0] == "traceback"
    assert "KeyError" in outside.Report("configs")(1)
    assert outside.impossible({"pools": [{"mfu": 1.2, "power_w": -3.0}]}, run=False)
    assert not outside.impossible({"pools": [{"mfu": 0.2}], "ci95_x": [-1.0, 2.0]}, run=False)

    def hangs(_: int) -> Any:
        while True:
            pass

    monkeypatch.setattr(deep, "HANGS_S", 0.05)
    monkeypatch.setitem(deep.PARTS, "configs", deep.PARTS["configs"]._replace(fault=hangs))
    counts, failing = deep.many(("configs", range(1)))
    assert counts == {"hangs": 1}
    assert "takes more than" in failing[0][1]
    row = deep.Row("configs", 1, 2.0, ["why"], "about")
    assert deep.table([row]).splitlines()[-1].split() == ["all", "2", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("command", kills.COMMANDS, ids=lambda c: c.name)
def test_kill_9_leaves_nothing_false(command: kills.Command) -> None:
    tally = kills.part(command.name, 2, seed=3)
    assert tally.kills == 2
    assert not tally.failures


def test_a_false_file_is_seen(tmp_path: Path) -> None:
    command = kills.COMMANDS[0]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text("{}")
    why = kills._wrong(command, tmp_path, ({}, {"out/x": b""}), {})
    assert "is there and not complete" in why
    assert "is gone" in kills._wrong(kills.COMMANDS[1], tmp_path / "no", ({}, {}), {"a": b"1"})
