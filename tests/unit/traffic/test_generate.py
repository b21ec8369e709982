"""Trajectories of a workload: order, mixes, traces under other arrivals."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcsim.errors import ProfileError
from gcsim.profiles.arrivals import Closed, Poisson, Static, TraceArrivals
from gcsim.profiles.load import validate
from gcsim.profiles.workload import Workload, load_workload
from gcsim.traffic.generate import generator, trajectories
from gcsim.traffic.traces.row import Skipped
from gcsim.traffic.trajectory import Trajectory

SEED = np.random.SeedSequence(11)
POISSON = Poisson(process="poisson", rate="2 /s")
STATIC = Static(process="static")
REPLAY = TraceArrivals(process="trace")


def part(name: str, weight: float, **more: Any) -> dict[str, Any]:
    return {"workload": load_workload(name), "weight": weight, **more}


def mix(*parts: dict[str, Any]) -> Workload:
    return validate(Workload, {"name": "mix", "mix": list(parts)}, "mix")


def trace(path: Path, text: str, **more: Any) -> Workload:
    path.write_text(text)
    return validate(Workload, {"name": "t", "trace": {"path": str(path), **more}}, "t")


ROWS = "arrived_at,num_prefill_tokens,num_decode_tokens\n1.5,10,2\n2.5,20,4\n4,30,6\n"


def test_trajectories_are_numbered_and_start_in_order() -> None:
    found = list(trajectories(load_workload("chatbot"), POISSON, SEED, 200))
    assert [t.index for t in found] == list(range(200))
    starts = [t.start_s for t in found if t.start_s is not None]
    assert len(starts) == 200
    assert starts == sorted(starts)
    assert {t.workload for t in found} == {"chatbot"}


def test_a_mix_keeps_its_shares_and_priorities() -> None:
    workload = mix(part("chatbot", 3, priority=5), part("rag", 1))
    found = list(trajectories(workload, STATIC, SEED, 2000))
    chats = [t for t in found if t.workload == "chatbot"]
    assert len(chats) / 2000 == pytest.approx(0.75, abs=0.03)
    assert {t.priority for t in chats} == {5}
    assert {t.priority for t in found if t.workload == "rag"} == {0}


def test_a_class_is_the_same_alone_and_in_a_mix() -> None:
    def shapes(found: Iterable[Trajectory]) -> list[Any]:
        return [
            [(step.append[-1][1], step.osl, step.delay_s) for step in t.steps]
            for t in found
            if t.workload == "voice"
        ]

    alone = shapes(trajectories(load_workload("voice"), POISSON, SEED, 100))
    mixed = mix(part("rag", 1), part("voice", 1))
    assert shapes(trajectories(mixed, STATIC, SEED, 400))[:100] == alone


def test_purposes_have_independent_generators() -> None:
    draws = {
        generator(SEED, *key).random() for key in ((0,), (1,), (2, 5, 0), (2, 5, 1), (3, 5, 0))
    }
    assert len(draws) == 5
    assert SEED.n_children_spawned == 0


def test_a_trace_plays_at_its_own_times(tmp_path: Path) -> None:
    workload = trace(tmp_path / "t.csv", ROWS)
    found = list(trajectories(workload, REPLAY, SEED))
    assert [t.start_s for t in found] == [1.5, 2.5, 4.0]
    fast = TraceArrivals(process="trace", rate_scale=2)
    assert [t.start_s for t in trajectories(workload, fast, SEED)] == [0.75, 1.25, 2.0]


def test_a_trace_plays_under_other_arrivals_and_ends(tmp_path: Path) -> None:
    workload = trace(tmp_path / "t.csv", ROWS)
    closed = Closed(process="closed", agents=2)
    assert [t.start_s for t in trajectories(workload, closed, SEED)] == [0.0, 0.0, None]
    assert len(list(trajectories(workload, POISSON, SEED, 9))) == 3


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"requests": 2}, [1.5, 2.5]),
        ({"start": "2 s"}, [0.5, 2.0]),
        ({"start": "2 s", "end": "4 s"}, [0.5]),
    ],
)
def test_a_trace_is_cut(tmp_path: Path, limits: dict[str, Any], expected: list[float]) -> None:
    workload = trace(tmp_path / "t.csv", ROWS, **limits)
    assert [t.start_s for t in trajectories(workload, REPLAY, SEED)] == expected


def test_a_trace_without_times_needs_arrivals(tmp_path: Path) -> None:
    workload = trace(tmp_path / "t.csv", "num_prefill_tokens,num_decode_tokens\n10,2\n")
    with pytest.raises(ProfileError, match="the trace has no times of its own"):
        list(trajectories(workload, REPLAY, SEED))
    with pytest.raises(ProfileError, match="a class of agents has no times"):
        list(trajectories(load_workload("rag"), REPLAY, SEED, 1))
    text = "num_prefill_tokens,num_decode_tokens\n10,2\n"
    cut = trace(tmp_path / "t.csv", text, start="1 s")
    with pytest.raises(ProfileError, match="cuts a trace that has no times"):
        list(trajectories(cut, POISSON, SEED))


def test_a_trace_without_a_file_says_how_to_name_one() -> None:
    workload = validate(Workload, {"name": "t", "trace": {}}, "t")
    with pytest.raises(ProfileError, match="--set workload"):
        list(trajectories(workload, REPLAY, SEED))


def test_skipped_lines_of_all_traces_are_counted(tmp_path: Path) -> None:
    bad = ROWS.replace("20,4", "20,-4")
    one = trace(tmp_path / "a.csv", bad, skip_bad_lines=True)
    two = trace(tmp_path / "b.csv", bad, skip_bad_lines=True).model_copy(update={"name": "u"})
    workload = mix({"workload": one, "weight": 1}, {"workload": two, "weight": 1})
    skipped = Skipped()
    list(trajectories(workload, STATIC, SEED, None, skipped))
    assert 1 <= skipped.count <= 2
    assert "is negative (got -4)" in str(skipped.problems[0])
    strict = trace(tmp_path / "a.csv", bad)
    with pytest.raises(ProfileError, match=r"a\.csv:3: num_decode_tokens: is negative"):
        list(trajectories(strict, STATIC, SEED))


def test_a_start_beyond_the_clock_is_an_error_that_names_the_setting() -> None:
    rare = trajectories(
        load_workload("chatbot"),
        Poisson(process="poisson", rate="1e-9 /s"),
        np.random.SeedSequence(1),
        50,
    )
    with pytest.raises(ProfileError, match=r"arrivals\.rate: trajectory \d+ would start after"):
        list(rare)
