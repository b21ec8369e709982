"""What a value can be (gcsim.profiles.bounds): beyond it a profile is refused, in its own unit."""

from math import inf
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from gcsim.errors import ProfileError
from gcsim.profiles.bounds import BOUNDS, beyond
from gcsim.profiles.distribution import Delay, Distribution, Several, Steps, Tokens, largest, middle
from gcsim.profiles.resolve import resolve
from gcsim.traffic.distributions import sample
from gcsim.units import DIMENSIONS

SERVE = "deployment.pools.serve"


def test_every_dimension_has_bounds_and_zero_is_within() -> None:
    assert BOUNDS.keys() == DIMENSIONS.keys()
    for dimension, (least, most) in BOUNDS.items():
        assert [beyond(v, dimension) for v in (0.0, least, most)] == ["", "", ""]
        assert beyond(least / 2, dimension).startswith("is less than")
        assert beyond(most * 2, dimension).startswith("is more than")
        assert beyond(0.0, dimension, least=least).startswith("is less than")


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        (f"{SERVE}.chip.compute.bf16", "1e-9 FLOP/s", "is less than 1 GFLOP/s"),
        (f"{SERVE}.chip.memory.1.bandwidth", "1 B/s", "is less than 1 MB/s"),
        (f"{SERVE}.chip.memory.1.capacity", 0, "is less than 1 kB"),
        (f"{SERVE}.chip.interconnect.scale_up.bandwidth", "1 B/s", "is less than 1 MB/s"),
        (f"{SERVE}.chip.interconnect.scale_up.latency", "1 h", "is more than 60 s"),
        (f"{SERVE}.chip.efficiency.gemm_bf16", 1.01, "is more than 1"),
        (f"{SERVE}.chip.efficiency.gemm_bf16", {"value": 0.9, "high": 1.2}, "is more than 1"),
        (f"{SERVE}.chip.power.node", 0, "is less than 1 W"),
        (f"{SERVE}.chip.memory.1.tier", "sram", "two tiers have one name"),
        (f"{SERVE}.replicas", 10**6, "less than or equal to 10000"),
        ("model.layers", 10**6, "less than or equal to 10000"),
        ("model.hidden", 10**9, "less than or equal to 10000000"),
        ("workload.agent.first", 1e30, "is more than 1e+15"),
        ("workload.agent.first", 10**8, "can be 1e+08, and nothing is more than 10,000,000"),
        ("workload.agent.output", 0, "can be 0, must be at least 0.5"),
        ("workload.agent.steps", 10**6, "nothing is more than 100,000"),
        ("workload.agent.tools.calls", 5000, "nothing is more than 1,000"),
        ("workload.agent.tools.delay", "400 h", "a task takes"),
        ("workload.agent.tools.delay", "1e10 s", "is more than 4e+09 s"),
        ("workload.agent.tools.calls", {"dist": "geometric", "mean": 60}, None),
        ("workload.agent.tools.calls", {"dist": "constant", "value": 900}, None),
        ("arrivals.agents", 10**7, "less than or equal to 1000000"),
        ("run.horizon", "1e12 s", "is more than 4e+09 s"),
        ("run.seed", 2**64, "less than 9223372036854775808"),
        ("name", "a\nb", "should match pattern"),
        ("name", "", "at least 1 character"),
    ],
    ids=str,
)
def test_what_cannot_be(setting: str, value: Any, said: str | None) -> None:
    more = {"workload.agent.steps": {"dist": "uniform", "low": 1, "high": 20_000}}
    few = {} if setting != "workload.agent.tools.delay" else more
    if said is None:  # each can be, both together cannot
        few, said = more, "a task can make"
    if setting == "workload.agent.tools.delay" and value == "1e10 s":
        few = {}
    with pytest.raises(ProfileError) as caught:
        resolve("coding-agents", {**few, setting: value})
    assert said in str(caught.value)
    assert "--set" in str(caught.value) or "a task" in said or "tiers" in said


@pytest.mark.parametrize(
    ("kind", "raw", "said"),
    [
        (Tokens, {"dist": "choice", "values": [0, 5], "weights": [1, 1]}, "can be 0"),
        (Tokens, {"dist": "uniform", "low": 0, "high": 5}, "can be 0"),
        (Tokens, {"dist": "histogram", "edges": [0, 0.4, 5], "weights": [1, 1]}, "can be 0.4"),
        (Tokens, {"dist": "lognormal", "median": 100, "sigma": 9}, "can be 3.68205e.20"),
        (Steps, {"dist": "weibull", "k": 0.05, "scale": 5}, "nothing is more than 100,000"),
        (Several, {"dist": "gamma", "mean": 100, "cv": 50}, "nothing is more than 1,000"),
        (Delay, {"dist": "gamma", "mean": "1000 h", "cv": 50}, "nothing is more than"),
        (Tokens, {"dist": "choice", "values": [5, 5], "weights": [1, 1]}, "5 is given twice"),
        (Tokens, {"dist": "histogram", "edges": [1], "weights": []}, "at least 2 items"),
        (Tokens, {"dist": "choice", "values": [], "weights": []}, "at least 1 item"),
    ],
)
def test_draws_that_cannot_be(kind: Any, raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(kind).validate_python(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"dist": "constant", "value": 7},
        {"dist": "lognormal", "median": 210, "sigma": 1.3},
        {"dist": "weibull", "k": 0.7, "scale": 90},
        {"dist": "geometric", "mean": 3},
        {"dist": "gamma", "mean": 5, "cv": 2.5},
        {"dist": "gamma", "mean": 50, "cv": 0.3},
        {"dist": "uniform", "low": 3, "high": 9},
        {"dist": "histogram", "edges": [1, 2, 10], "weights": [1, 3]},
        {"dist": "choice", "values": [3, 40], "weights": [3, 1]},
        {"dist": "lognormal", "median": 210, "sigma": 1.3, "high": 300},
    ],
    ids=str,
)
def test_the_largest_and_the_middle_are_those_of_draws(raw: dict[str, Any]) -> None:
    dist: Distribution = TypeAdapter(Tokens).validate_python(raw)
    draws = sample(dist, np.random.default_rng(3), 200_000)
    top = largest(dist)
    assert top < inf
    assert (draws > top * (1 + 1e-9)).mean() <= 1e-4
    assert top <= 40 * draws.max()
    if "high" not in raw or raw["dist"] == "uniform":
        assert middle(dist) == pytest.approx(draws.mean(), rel=0.05)
    else:
        assert middle(dist) >= draws.mean() * 0.95
