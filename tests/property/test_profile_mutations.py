"""A valid scenario with something wrong in it: refused with a place, or played to sound figures.

Whatever stands in a profile, nothing is raised but our own errors, and what is accepted ends with
figures that somebody could defend: finite, not negative, shares at most 1, times in order.
"""

import copy
import json
from functools import cache
from math import isfinite
from typing import Any

import toys
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gcsim.errors import ProfileError
from gcsim.profiles.resolve import resolve, resolve_mapping
from gcsim.results.result import Result
from gcsim.simulate import simulate
from gcsim.traffic.expected import size

FEW = {"run.trajectories": 2}
SCENARIOS = (
    ("coding-agents", "h100-mono"),
    ("coding-agents", "mi300x-prefill-sn50-decode"),
    ("coding-agents", "sn40l-mono"),
    ("chatbot", "b200-mono"),
    ("mixed-agents", "sn40l-mono"),
)
WORDS = (
    ("mixed", "prefill", "decode"),
    ("bf16", "fp8", "fp32", "int8", "mxfp4", "nvfp4", "int4"),
    ("continuous", "prefill_first", "static", "shortest_first", "decode_only", "prefill_only"),
    ("prefix_affinity", "prefix_filter", "least_loaded", "round_robin", "sticky"),
    ("delta", "full"),
    ("kernels", "fused"),
    ("mesh", "switch", "torus"),
    ("lognormal", "constant", "weibull", "geometric", "gamma", "uniform", "histogram", "choice"),
    ("closed", "poisson", "gamma", "static", "steps", "ramp", "trace"),
    ("gqa", "mla", "mha"),
)
ODD: tuple[Any, ...] = (
    None, True, "", "x", "[/red]", [], {}, [1], 0, -1, 1, 1.5, 2**63, 1e30, float("nan"), "1e-9 s",
    "1e400 s", "auto", {"value": 3}, {"dist": "choice", "values": [0, 5], "weights": [1, 1]},
    {"dist": "histogram", "edges": [0, 1, 9], "weights": [1, 0]}, {"dist": "uniform", "low": 0},
    {"dist": "weibull", "k": 0.1, "scale": 50}, {"dist": "gamma", "mean": 5, "cv": 9},
)  # fmt: skip
KEYS = (
    "low", "high", "kv_tokens", "ep", "pp", "kv_dtype", "stack", "samples", "window", "horizon",
    "warmup", "priority", "dtype", "prefix_cache_tokens", "cache_ttl", "last_output", "ramp",
)  # fmt: skip
UNTOUCHED = {"source", "note", "notes", "description", "conflicts", "aliases", "name"}


@cache
def base(which: tuple[str, str]) -> dict[str, Any]:
    name, deployment = which
    more = {} if name == "mixed-agents" else {"deployment": deployment}
    return resolve(name, FEW | more).mapping


def places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a mapping; of the stacks of a chip only the first."""
    items: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        items = [(key, item) for key, item in node.items() if key not in UNTOUCHED]
        items = items[:1] if at[-1:] == ("stacks",) else items
    elif isinstance(node, list):
        items = list(enumerate(node))
    found = [at] if at else []
    return found + [place for key, item in items for place in places(item, (*at, key))]


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """A scenario with one to three of its values changed, removed or added."""
    mapping = copy.deepcopy(base(draw(st.sampled_from(SCENARIOS))))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(mapping)))
        node = mapping
        for key in place[:-1]:
            node = node[key]
        how = draw(st.integers(0, 9))
        if how == 0:
            del node[place[-1]]
        elif how == 1 and isinstance(node, dict):
            node[draw(st.sampled_from(KEYS))] = copy.deepcopy(draw(st.sampled_from(ODD)))
        else:
            node[place[-1]] = copy.deepcopy(draw(other(node[place[-1]])))
    return mapping


def other(old: Any) -> st.SearchStrategy[Any]:
    """Another value: of the same kind, mostly."""
    scale = st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 0.1, 0.5, 2.0, 10.0, 1e3, 1e6, 1e9])
    if isinstance(old, bool):
        return st.just(not old)
    if isinstance(old, int):
        few = st.sampled_from([0, 1, 2, 3, 7, 8, 16, 17, 100, 1000, 10**5, 10**7, 10**9])
        return few | scale.map(lambda s: int(old * s)) | st.sampled_from(ODD)
    if isinstance(old, float):
        return scale.map(lambda s: old * s) | st.sampled_from([0.0, 1.0, 1.5, *ODD])
    if isinstance(old, str):
        number, _, unit = old.partition(" ")
        try:
            value = float(number)
        except ValueError:
            known = [word for words in WORDS if old in words for word in words]
            return st.sampled_from([*known, *ODD])
        return scale.map(lambda s: f"{value * s:.6g} {unit}".strip()) | st.sampled_from(ODD)
    return st.sampled_from(ODD)


def check_figures(result: Result) -> None:
    """What holds of every run, whatever was played."""
    summary = json.loads(result.to_json())
    numbers = {k: v for k, v in summary.items() if isinstance(v, int | float)}
    assert all(isfinite(v) and v >= 0 for k, v in numbers.items() if "ci95" not in k), numbers
    requests = result.requests
    done = requests[requests["status"] == "completed"]
    assert (done["ttft_s"] >= 0).all()
    assert (done["e2e_s"] >= done["ttft_s"] - 1e-9).all()
    assert (done["osl"] >= 1).all()
    assert (done["cached_tokens"] <= done["isl"]).all()
    for pool in summary["pools"]:
        shares = [
            v for k, v in pool.items() if k in ("utilization", "mfu", "mbu") and v is not None
        ]
        assert all(0 <= share <= 1 + 1e-9 for share in shares), pool


@settings(
    toys.examples(60, 6_000),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(changed())
def test_a_wrong_profile_is_refused_or_played(mapping: dict[str, Any]) -> None:
    try:
        resolved = resolve_mapping(mapping, "mine.yaml")
        if size(resolved.scenario).takes_s > 20:  # told before it starts: tests have no time
            return
        result = simulate(resolved)
    except ProfileError:
        return
    check_figures(result)
