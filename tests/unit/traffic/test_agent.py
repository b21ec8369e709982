"""The steps of one class: contexts, compaction, forgotten contexts, people, sub-agents, samples."""

from itertools import islice
from typing import Any

import numpy as np
import pytest

from gcsim.profiles.load import validate
from gcsim.profiles.workload import Workload
from gcsim.traffic import ids
from gcsim.traffic.agent import plan_block
from gcsim.traffic.trajectory import Step

SHARED = (ids.shared("mine", "prefix"), 1000)
AGENT: dict[str, Any] = {
    "shared": 1000,
    "first": 50,
    "output": 20,
    "steps": 5,
    "tools": {"append": 30, "delay": "2 s"},
}


def plans(count: int = 1, seed: int = 1, **changes: Any) -> list[tuple[Step, ...]]:
    data = {"name": "mine", "agent": {**AGENT, **changes}}
    agent = validate(Workload, data, "mine").agent
    assert agent is not None
    block = plan_block(
        agent,
        "mine",
        0,
        number=0,
        count=count,
        stream=lambda purpose: np.random.default_rng([seed, purpose]),
    )
    return list(islice(block, count))


def contexts(steps: tuple[Step, ...]) -> list[int]:
    """The prompt of every step in tokens, as the engine builds it."""
    found: list[int] = []
    for step in steps:
        held = found[step.parent] + steps[step.parent].osl if step.parent >= 0 else 0
        found.append(held + sum(tokens for _, tokens in step.append))
    return found


def test_a_chain_grows_by_output_and_append() -> None:
    (steps,) = plans()
    assert contexts(steps) == [1050, 1100, 1150, 1200, 1250]
    assert steps[0].append == (SHARED, (0, 50))
    assert [step.append for step in steps[1:]] == [((k, 30),) for k in (1, 2, 3, 4)]
    assert [step.waits_for for step in steps] == [(), (0,), (1,), (2,), (3,)]
    assert [step.delay_s for step in steps] == [0, 2, 2, 2, 2]


def test_the_context_is_compacted_when_it_would_exceed_the_window() -> None:
    (steps,) = plans(steps=6, compact_above=1120, keep=0.1)
    assert contexts(steps) == [1050, 1100, 1112, 1112, 1112, 1112]
    assert steps[2].append == (SHARED, (2, 112))
    assert [step.parent for step in steps] == [-1, 0, -1, -1, -1, -1]
    (steps,) = plans(steps=3, compact_above=1150)
    assert contexts(steps) == [1050, 1100, 1150]


def test_a_gap_beyond_the_time_to_live_sends_the_context_under_new_ids() -> None:
    (steps,) = plans(steps=3, cache_ttl="1 s")
    assert contexts(steps) == [1050, 1100, 1150]
    assert [step.append for step in steps[1:]] == [(SHARED, (1, 100)), (SHARED, (2, 150))]
    assert plans(steps=3, cache_ttl="2 s") == plans(steps=3)


def test_a_person_begins_every_turn_but_the_first() -> None:
    user = {"append": 7, "gap": "60 s", "every": 2}
    (steps,) = plans(user=user)
    assert [step.human for step in steps] == [False, False, True, False, True]
    assert [step.append[-1][1] for step in steps] == [50, 30, 7, 30, 7]
    assert [step.delay_s for step in steps] == [0, 2, 60, 2, 60]
    (steps,) = plans(user={"append": 7, "gap": "60 s"}, tools=None)
    assert [step.human for step in steps] == [False, True, True, True, True]


def test_turns_start_anew_in_every_trajectory() -> None:
    user = {"append": 7, "gap": "60 s", "every": 3}
    steps = {"dist": "choice", "values": [4, 5], "weights": [1, 1]}
    for plan in plans(64, user=user, steps=steps):
        assert [step.human for step in plan] == [k == 3 for k in range(len(plan))]


def test_the_longest_of_parallel_calls_counts() -> None:
    delay = {"dist": "lognormal", "median": "1 s", "sigma": 1}
    tools = {"append": 30, "delay": delay}
    one = [s.delay_s for p in plans(64, steps=50, tools=tools) for s in p[1:]]
    four = [s.delay_s for p in plans(64, steps=50, tools={**tools, "calls": 4}) for s in p[1:]]
    assert np.median(one) == pytest.approx(1.0, rel=0.1)
    # the median of the longest of 4 is the quantile 0.5^(1/4) of one: exp(0.9982)
    assert np.median(four) == pytest.approx(np.exp(0.9982), rel=0.1)


def test_sub_agents_run_side_by_side_and_the_next_step_waits_for_all() -> None:
    fan_out = {"share": 1, "branches": 3, "steps": 2, "report": 400, "model": "worker"}
    (steps,) = plans(steps=2, fan_out=fan_out, model="planner")
    assert len(steps) == 2 + 3 * 2
    assert [step.parent for step in steps] == [-1, -1, 1, -1, 3, -1, 5, 0]
    assert [step.waits_for for step in steps] == [
        (), (0,), (1,), (0,), (3,), (0,), (5,), (2, 4, 6),
    ]  # fmt: skip
    assert [step.model for step in steps] == ["planner", *["worker"] * 6, "planner"]
    assert all(steps[k].append[0] == SHARED for k in (1, 3, 5))
    assert [steps[k].osl for k in (2, 4, 6)] == [400] * 3
    assert steps[7].append == ((7, 1200),)
    assert steps[7].delay_s == 0.0
    assert contexts(steps)[7] == 1050 + 20 + 1200


def test_only_a_share_of_tasks_forks_and_only_once() -> None:
    fan_out = {"share": 0.3, "branches": 2, "steps": 4, "report": 9}
    found = plans(2000, fan_out=fan_out)
    assert {len(steps) for steps in found} == {5, 5 + 8}
    assert np.mean([len(steps) > 5 for steps in found]) == pytest.approx(0.3, abs=0.03)
    forks = {step.parent for steps in found for step in steps if len(step.waits_for) > 1}
    assert forks == {0, 1, 2, 3}
    assert all(len(steps) == 1 for steps in plans(9, steps=1, fan_out={**fan_out, "share": 1}))


def test_a_task_of_one_step_takes_no_sub_agents_from_the_others() -> None:
    steps = {"dist": "choice", "values": [1, 3], "weights": [1, 1]}
    branch = {"dist": "uniform", "low": 1, "high": 4}
    fan_out = {"share": 1, "branches": 2, "steps": branch, "report": 400}
    for plan in plans(64, steps=steps, fan_out=fan_out):
        ends = [step.waits_for for step in plan if len(step.waits_for) > 1]
        assert len(ends) == (len(plan) > 1)
        assert all(plan[end].osl == 400 for waits in ends for end in waits)


def test_samples_share_the_prompt_and_wait_for_nothing() -> None:
    (steps,) = plans(steps=1, samples=4, tools=None, start_delay="0.2 s")
    assert [step.append for step in steps] == [(SHARED, (0, 50))] * 4
    assert {step.waits_for for step in steps} == {()}
    assert {step.delay_s for step in steps} == {0.2}


def test_the_last_step_has_its_own_output() -> None:
    (steps,) = plans(last_output=900)
    assert [step.osl for step in steps] == [20, 20, 20, 20, 900]
