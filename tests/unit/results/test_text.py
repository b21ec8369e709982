"""Numbers and names for people: gcsim.results.text, gcsim.cli.run_text, gcsim.cli.library."""

import pytest

import gcsim
from gcsim.cli.library import listed
from gcsim.cli.run_text import bar, task_parts
from gcsim.results.summary import PHASES
from gcsim.results.text import PHASE_NAMES, bound_name, three


def test_numbers_and_names_for_people() -> None:
    texts = ["1,000", "1.00", "1,000,000", "-2.50", "-"]
    assert [three(x) for x in (999.6, 0.9996, 1e6, -2.5, float("nan"))] == texts
    assert set(PHASE_NAMES) == {*PHASES, "tool_queue"}
    assert bound_name("memory_ddr") == "DDR bandwidth"
    assert (bar(1.0, 4), bar(0.0, 4), bar(0.125, 2)) == ("████", "", "▎")


def test_the_parts_of_a_task_leave_out_what_is_nothing() -> None:
    result = gcsim.run("coding-agents", settings={"arrivals.agents": 2, "run.trajectories": 3})
    parts = task_parts(result)
    assert "tools" in parts
    assert "human" not in parts
    tasks = result.trajectories
    assert sum(parts.values()) == pytest.approx(tasks[tasks["counted"]]["task_s"].mean())
    assert {row["name"] for row in listed("chip")} >= {"sn40l", "mi300x"}
