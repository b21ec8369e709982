"""Workload files: what they may say, what is wrong with them, where each number comes from."""

from pathlib import Path
from typing import Any

import pytest

from gcsim.errors import ProfileError
from gcsim.profiles import library
from gcsim.profiles.arrivals import Arrivals
from gcsim.profiles.base import Quantity, Spec
from gcsim.profiles.distribution import Choice, Constant, Lognormal
from gcsim.profiles.load import parse_mapping, validate
from gcsim.profiles.workload import (
    Workload,
    leaves,
    load_workload,
    models,
    origins,
    read_workload,
)

CLASSES = (
    "batch-summary",
    "chatbot",
    "coding-agent",
    "coding-interactive",
    "long-horizon",
    "rag",
    "reasoning",
    "research",
    "support",
    "voice",
)
AGENT = """
name: mine
agent:
  shared: 100
  first: 50
  output: {dist: lognormal, median: 200, sigma: 1, low: 8, high: 4000}
  steps: {dist: geometric, mean: 5}
  tools: {append: 30, delay: 0.2 s}
"""


def load(text: str) -> Workload:
    data, lines = parse_mapping(text, "mine.yaml")
    return validate(Workload, data, "mine.yaml", lines)


def problems(text: str) -> str:
    with pytest.raises(ProfileError) as caught:
        load(text)
    return str(caught.value)


def test_all_ten_classes_are_shipped() -> None:
    shipped = {name for name in library.shipped("workload") if load_workload(name).agent}
    assert shipped >= set(CLASSES)


def written(data: Any, path: str) -> bool:
    """Does the file itself say this parameter, or is it a default?"""
    for key in path.split("."):
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


@pytest.mark.parametrize("name", CLASSES)
def test_every_number_of_a_shipped_class_has_an_origin(name: str) -> None:
    data, _, _ = read_workload(name)
    found = [item for item in origins(load_workload(name)) if written(data, item[0])]
    assert len(found) >= 3
    assert [path for path, item in found if item.kind == "given" or not item.source] == []


def test_a_bare_number_is_a_constant_the_user_gives() -> None:
    agent = load(AGENT).agent
    assert agent is not None
    assert isinstance(agent.first, Constant)
    assert (agent.first.value, agent.first.kind) == (50, "given")
    assert agent.tools is not None
    assert isinstance(agent.tools.delay, Constant)
    assert agent.tools.delay.value == pytest.approx(0.2)
    assert isinstance(agent.output, Lognormal)
    assert (agent.output.median, agent.output.low) == (200, 8)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("delay: 0.2 s", "delay: 0.2", "mine.yaml:8: agent.tools.delay: has no unit (got 0.2)"),
        ("delay: 0.2 s", "delay: 2 GB", "agent.tools.delay: is bytes (a capacity), wanted a time"),
        ("dist: lognormal", "dist: lognormel", "unknown distribution 'lognormel'"),
        ("dist: lognormal", "dist: lognormel", "did you mean 'lognormal'?"),
        ("sigma: 1,", "sigm: 1,", "unknown key; did you mean 'sigma'?"),
        ("low: 8, high: 4000", "low: 8, high: 4", "low 8 is above high 4"),
        ("first: 50", "first: -50", "agent.first: is negative (got -50)"),
        ("first: 50", "first: {value: 50, kind: measured}", "names no source; add source: ..."),
        ("shared: 100", "shard: 100", "did you mean 'shared'?"),
        ("median: 200", "median: 0", "should be greater than 0"),
        ("  tools: {append: 30, delay: 0.2 s}", "", "several steps need tools or user"),
        ("name: mine", "name: mine\nmix: []", "mix: Tuple should have at least 1 item"),
        ("name: mine", "name: mine\ntrace: {path: x}", "give one of agent, trace and mix"),
        ("  first: 50", "  first: 50\n  samples: 4", "samples needs steps: 1"),
        ("  first: 50", "  first: 50\n  keep: 1.5", "keep is 1.5, must lie between 0 and 1"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, expected: str) -> None:
    assert old in AGENT
    assert expected in problems(AGENT.replace(old, new))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{dist: uniform, low: 3}", "uniform needs low and high"),
        ("{dist: histogram, edges: [1, 2], weights: [1, 1]}", "2 weights need 3 edges, not 2"),
        ("{dist: histogram, edges: [2, 1], weights: [1]}", "edges must rise"),
        ("{dist: histogram, edges: [1, 2], weights: [0]}", "the weights sum to 0"),
        ("{dist: choice, values: [1, 2], weights: [1]}", "2 values need as many weights"),
        ("{dist: geometric, mean: 0.5}", "greater than or equal to 1"),
    ],
)
def test_a_wrong_distribution_is_said(text: str, expected: str) -> None:
    assert expected in problems(AGENT.replace("first: 50", f"first: {text}"))


def test_all_errors_are_told_at_once() -> None:
    text = AGENT.replace("first: 50", "first: -1").replace("shared: 100", "shared: x")
    assert "(2 of 2 errors)" in problems(text)


@pytest.mark.parametrize(
    ("arrivals", "expected"),
    [
        ("{process: poisson, rate: 2}", "has no unit"),
        ("{process: poisson, rate: 0 /s}", "greater than 0"),
        ("{process: closed, agents: 0}", "greater than or equal to 1"),
        ("{process: ramp, points: [{at: 1 s, rate: 1 /s}]}", "the first point must be at 0"),
        ("{process: steps, points: [{at: 0, rate: 0 /s}]}", "every rate is 0"),
        (
            "{process: steps, points: [{at: 0, rate: 1 /s}, {at: 0, rate: 2 /s}]}",
            "the times of the points must rise",
        ),
    ],
)
def test_wrong_arrivals_are_said(arrivals: str, expected: str) -> None:
    class Holder(Spec):
        arrivals: Arrivals

    data, lines = parse_mapping(f"arrivals: {arrivals}", "x.yaml")
    with pytest.raises(ProfileError) as caught:
        validate(Holder, data, "x.yaml", lines)
    assert expected in str(caught.value)


def test_a_mix_names_its_workloads_and_overrides_slo_and_priority(tmp_path: Path) -> None:
    file = tmp_path / "mixed.yaml"
    file.write_text(
        "name: mixed\nmix:\n"
        "  - {workload: chatbot, weight: 3, priority: 2}\n"
        "  - {workload: coding-agent, weight: 1, slo: {task: 60 s}}\n"
    )
    chat, agent = leaves(load_workload(str(file)))
    assert (chat.workload.name, chat.share, chat.priority) == ("chatbot", 0.75, 2)
    assert (chat.slo.ttft, chat.slo.tpot) == (1.0, 0.02)
    assert (agent.workload.name, agent.share, agent.slo.task) == ("coding-agent", 0.25, 60.0)


def test_a_mix_of_mixes_is_flat_and_its_shares_sum_to_one(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(
        "name: inner\nmix: [{workload: chatbot, weight: 1}, {workload: voice, weight: 1}]"
    )
    outer = tmp_path / "outer.yaml"
    outer.write_text(
        "name: outer\nmix: [{workload: ./inner.yaml, weight: 1}, {workload: rag, weight: 1}]"
    )
    parts = leaves(load_workload(str(outer)))
    assert [(part.workload.name, part.share) for part in parts] == [
        ("chatbot", 0.25),
        ("voice", 0.25),
        ("rag", 0.5),
    ]


def test_a_mix_that_holds_itself_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "loop.yaml"
    file.write_text("name: loop\nmix: [{workload: ./loop.yaml, weight: 1}]")
    with pytest.raises(ProfileError, match="the mix holds itself"):
        load_workload(str(file))


def test_the_parts_of_a_mix_have_different_names(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("name: t\nmix: [{workload: rag, weight: 1}, {workload: rag, weight: 2}]")
    with pytest.raises(ProfileError, match="need different names"):
        load_workload(str(file))


def test_an_unknown_workload_is_named_with_the_nearest() -> None:
    with pytest.raises(ProfileError, match="did you mean 'coding-agent'"):
        load_workload("coding-agnt")


def test_models_named_beside_the_scenario_s() -> None:
    assert models(load_workload("research")) == set()
    text = (
        AGENT
        + "  model: planner\n  fan_out: {share: 1, branches: 2, steps: 3, report: 9, model: w}"
    )
    assert models(load(text)) == {"planner", "w"}


def test_origins_reach_into_every_part() -> None:
    found = dict(origins(load_workload("coding-interactive")))
    assert isinstance(found["agent.compact_above"], Choice)
    assert isinstance(found["agent.shared"], Quantity)
    assert found["agent.user.gap"].dimension == "seconds"


def test_a_key_of_an_earlier_release_is_told_its_new_name() -> None:
    with pytest.raises(
        ProfileError, match=r"agent\.window: unknown key; now called 'compact_above'"
    ):
        load(AGENT + "  window: 100")
