"""A run and one ten times longer say the same of every shipped scenario, within their intervals.

Here few agents and low rates; `python tests/truth/test_run_length.py` plays the scenarios as they
are shipped, for some minutes, and prints both intervals of every metric.

Of the two replays `weka-replay` is a closed loop over recorded sessions and must agree too, where
its public trace is at hand. `mooncake-replay` plays a trace at its own times: more of it is another
hour, at another rate, so there is nothing to agree with (TTFT 467 to 587 ms over its first 1,000
requests, which find the cache empty, 390 to 454 over 10,000); it counts all of its trace.
"""

import sys
from typing import Any

import pytest
import toys

import gcsim

SMALL: dict[str, dict[str, Any]] = {
    "coding-agents": {"arrivals.agents": 3},
    "chatbot": {"arrivals.rate": "0.05 /s"},
    "mixed-agents": {"arrivals.rate": "0.02 /s"},
}
METRICS = (
    "mean_ttft_ms", "mean_tpot_ms", "mean_e2el_ms", "mean_task_ms", "output_throughput",
    "request_throughput", "task_throughput", "usd_per_task", "joules_per_task", "mean_in_flight",
)  # fmt: skip

pytestmark = pytest.mark.slow


def both(scenario: str, tasks: int, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The summaries of a run and of one that counts ten times as many tasks."""
    return [
        gcsim.run(scenario, settings={**settings, "run.trajectories": count}).summary
        for count in (tasks, 10 * tasks)
    ]


def apart(short: dict[str, Any], long: dict[str, Any]) -> list[str]:
    """The metrics whose intervals do not meet."""
    found = []
    for key in METRICS:
        (low, high), (least, most) = short[f"ci95_{key}"], long[f"ci95_{key}"]
        if high < least or most < low:
            found.append(f"{key}: {low:.4g} to {high:.4g}, {least:.4g} to {most:.4g}")
    return found


@pytest.mark.parametrize("scenario", SMALL)
def test_ten_times_the_tasks_say_the_same(scenario: str) -> None:
    short, long = both(scenario, 40, SMALL[scenario])
    assert (short["trajectories"], long["trajectories"]) == (40, 400)
    assert not short["saturated"]
    assert not long["saturated"]
    assert apart(short, long) == []


def test_ten_times_the_recorded_sessions_say_the_same() -> None:
    trace = str(toys.public_trace("weka_claude_code_sessions.jsonl.gz"))
    small = {"arrivals.agents": 4, "workload.trace.path": trace}
    short, long = both("weka-replay", 40, small)
    assert (short["trajectories"], long["trajectories"]) == (40, 400)
    assert apart(short, long) == []


if __name__ == "__main__":
    failed = False
    for name in SMALL:
        tasks = gcsim.load(name).scenario.tasks
        assert tasks is not None
        summaries = both(name, tasks, {})
        for key in METRICS:
            ends = (s[f"ci95_{key}"] for s in summaries)
            cells = (f"{low:12.5g} .. {high:<12.5g}" for low, high in ends)
            print(f"{name:14} {key:20}", *cells, flush=True)
        failed |= bool(apart(*summaries))
    sys.exit(failed)
