"""Load curves: the verdict of an SLO, the knee, where to look next (gcsim.studies.load_curve)."""

from collections.abc import Callable
from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcsim.cli import app as cli
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import Resolved, resolve, with_settings
from gcsim.results.text import three
from gcsim.studies import workers
from gcsim.studies.load_curve import (
    FINE,
    Kind,
    Reading,
    at_load,
    breaches,
    check_loads,
    knee,
    last_holding,
    load_of,
    next_load,
    reading,
    saturation,
)
from gcsim.studies.sweep import sweep

MONO, OTHER = "sn40l-mono", "sn50-mono"
Run = Callable[[float], Reading]


def found_by(run: Run, kind: Kind = "agents", first: float = 1) -> list[Reading]:
    """All readings that the search asks for."""
    played: list[Reading] = []
    while (load := next_load(played, kind, first)) is not None:
        assert load not in [r.load for r in played]
        assert len(played) < 60
        played.append(run(load))
    return played


def machine(limit: float, breaks: float | None) -> Run:
    """Serves up to `limit`, then a queue; its SLO holds up to a load of `breaks` (None: no SLO)."""

    def run(load: float) -> Reading:
        holds = None if breaks is None else load <= breaks
        done = min(load, limit)
        good = done if holds is not False else 0.0
        return Reading(load, holds, "", good, done, max(load / limit, 1.0), False)

    return run


@given(
    limit=st.floats(1.5, 5e4),
    share=st.floats(0.05, 3.0),
    kind=st.sampled_from(["agents", "rate"]),
)
def test_it_finds_the_largest_load_that_holds(limit: float, share: float, kind: Kind) -> None:
    breaks = limit * share
    played = found_by(machine(limit, breaks), kind, 1 if kind == "agents" else limit / 3)
    low, high = last_holding(played)
    assert high is not None
    if kind == "agents" and breaks < 1:
        assert low is None
    else:
        assert low is not None
        assert low.load <= breaks < high.load
        assert high.load <= max(low.load * FINE * 1.001, low.load + (kind == "agents"))
    assert len(played) < 40


@given(limit=st.floats(2.0, 5e4))
def test_without_an_slo_it_finds_the_knee_and_the_saturation(limit: float) -> None:
    played = found_by(machine(limit, None))
    assert last_holding(played) == (None, None)
    top = knee(played)
    assert top is not None
    assert limit / 1.6 - 1 <= top <= limit * 1.6 + 1
    full = saturation(played)
    assert full is not None
    assert limit * 0.6 <= full <= 2 * limit * 1.05


def test_an_slo_that_nothing_breaks_is_not_looked_for_for_ever() -> None:
    played = found_by(machine(100.0, 1e12))
    low, high = last_holding(played)
    assert low is not None
    assert high is None
    assert 1000 < low.load < 10_000


def test_a_rate_that_is_too_much_is_halved_until_it_is_served() -> None:
    def run(load: float) -> Reading:
        fine = load < 0.3
        return Reading(load, fine, "", load if fine else 0.0, load, 1.0, not fine)

    low, high = last_holding(found_by(run, "rate", 8.0))
    assert low is not None
    assert high is not None
    assert low.load < 0.3 <= high.load <= low.load * FINE * 1.001
    hopeless = found_by(lambda load: reading(load, None), "rate", 8.0)
    assert len(hopeless) == 11


def test_the_choice_does_not_depend_on_the_order_of_what_is_known() -> None:
    run = machine(37.0, 29.0)
    played = found_by(run)
    for number in range(1, len(played)):
        known = played[:number]
        assert next_load(known[::-1], "agents", 1) == next_load(known, "agents", 1)


def test_a_load_that_holds_by_luck_does_not_count() -> None:
    curve = [Reading(n, n != 4, "", 1.0, 1.0, 1.0, False) for n in (1, 2, 4, 8)]
    low, high = last_holding(curve)
    assert (low, high) == (curve[1], curve[2])


def test_a_growing_queue_is_saturation() -> None:
    curve = [Reading(n, None, "", n, n, 1.0, n > 3) for n in (1.0, 2.0, 4.0)]
    assert saturation(curve) == 4.0
    assert saturation(curve[:2]) is None
    assert knee(curve) == 2.0


# Of a scenario


def test_a_load_is_a_setting_and_what_counts_goes_with_it() -> None:
    base = resolve("coding-agents")
    assert load_of(base) == ("agents", 16)
    assert at_load(base, 4) == {"arrivals.agents": 4}
    assert at_load(base, 24) == {"arrivals.agents": 24}
    tasks = (with_settings(base, at_load(base, load)).scenario.tasks for load in (4, 24))
    assert list(tasks) == [64, 96]
    rates = resolve("chatbot")
    assert at_load(rates, 0.5) == {"arrivals.rate": "0.5 /s"}
    assert with_settings(rates, at_load(rates, 1.5)).scenario.arrivals.rate == 1.5  # type: ignore[union-attr]


def test_loads_are_positive_and_agents_whole() -> None:
    assert check_loads("rate", [2, 0.5, 2.0]) == (0.5, 2.0)
    for kind, loads in (("agents", [1.5]), ("rate", [0]), ("rate", [nan]), ("agents", [])):
        with pytest.raises(ProfileError, match="--load"):
            check_loads(kind, loads)  # type: ignore[arg-type]


def one_class(**changes: Any) -> dict[str, Any]:
    base = {"workload": "w", "slo": {"ttft": 1.0, "e2e": 20.0}, "completed": 95, "rejected": 0,
            "unfinished": 0, "p95_ttft_ms": 1000.0, "p95_tpot_ms": 9e9, "p95_e2el_ms": 2e4,
            "p95_task_ms": None}  # fmt: skip
    return {**base, **changes}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"p95_ttft_ms": 1000.1}, ["p95 TTFT 1 s > 1 s"]),
        ({"p95_e2el_ms": 25e3, "p95_ttft_ms": 2e3}, ["p95 TTFT 2 s > 1 s", "p95 E2E 25 s > 20 s"]),
        ({"slo": {"task": 60.0}}, []),
        ({"slo": {"tpot": 0.02}, "p95_tpot_ms": 21.0}, ["p95 TPOT 21 ms > 20 ms"]),
        ({"rejected": 5}, []),
        ({"rejected": 3, "unfinished": 4}, ["7 requests rejected or unfinished"]),
        ({"slo": {}}, None),
    ],
)
def test_what_breaks_an_slo_is_said(changes: dict[str, Any], found: list[str] | None) -> None:
    assert breaches({"saturated": False, "classes": [one_class(**changes)]}) == found


def test_every_class_of_a_mix_has_a_verdict_of_its_own() -> None:
    classes = [one_class(), one_class(workload="v", p95_ttft_ms=3e3), one_class(slo={})]
    summary = {"saturated": False, "classes": classes}
    assert breaches(summary) == ["v: p95 TTFT 3 s > 1 s"]
    assert breaches({**summary, "saturated": True}) == ["saturated", "v: p95 TTFT 3 s > 1 s"]


def test_a_reading_is_of_the_window() -> None:
    summary = {"saturated": False, "classes": [one_class()], "mean_e2el_ms": 9.0,
               "request_throughput": 1.0, "request_goodput": 0.7}  # fmt: skip
    found = reading(10, summary)
    assert (found.throughput, found.goodput, found.holds) == (1.0, 0.7, True)
    assert reading(10, {**summary, "mean_e2el_ms": None}).power == 0.0


# In a sweep


def limited(agents: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Deployments whose TPOT is in the SLO up to so many agents; returns what is played."""
    real = resolve("coding-agents", {"arrivals.agents": 2, "run.trajectories": 2})
    base = workers.simulate(real).summary
    played = []

    class Played:
        def __init__(self, resolved: Resolved) -> None:
            scenario = resolved.scenario
            name, load = scenario.deployment.name, scenario.arrivals.agents  # type: ignore[union-attr]
            played.append((name, load))
            good = load <= agents[name]
            one = {**base["classes"][0], "p95_tpot_ms": 10.0 if good else 21.0}
            rates = {"request_goodput": load * good, "request_throughput": load}
            rates["mean_e2el_ms"] = 100.0
            self.summary = {**base, **rates, "classes": [one], "saturated": False}

    monkeypatch.setattr(workers, "simulate", Played)
    return played


def test_agents_at_slo_are_given_per_chip_and_kilowatt_and_dollar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played = limited({MONO: 37, OTHER: 300}, monkeypatch)
    found = sweep("coding-agents", {"deployment": [MONO, OTHER]}, "auto", jobs=1)
    table = found.at_slo
    assert table is not None
    assert list(table["agents_at_slo"]) == [37, pytest.approx(300, rel=0.05)]
    assert list(table["breaks"]) == ["p95 TPOT 21 ms > 20 ms"] * 2
    sizes = (("chips", "chip", 1), ("power_w", "kw", 1e3), ("usd_per_hour", "usd_per_hour", 1))
    for size, per, one in sizes:
        wanted = table["agents_at_slo"] / (table[size] / one)
        assert list(table[f"agents_per_{per}"]) == list(wanted)
    assert list(table["runs"]) == [sum(name == one for name, _ in played) for one in (MONO, OTHER)]
    assert len(found.table) == len(played) == len(set(played))
    assert found.keys == ["deployment", "agents"]
    for _, curve in found.table.groupby("deployment"):
        assert curve["agents"].is_monotonic_increasing


def test_a_search_goes_on_from_what_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    played = limited({MONO: 37}, monkeypatch)
    grid = {"deployment": [MONO]}
    sweep("coding-agents", grid, [1, 2, 4, 64], out=tmp_path / "out", jobs=1)
    first = sweep("coding-agents", grid, "auto", out=tmp_path / "out", jobs=1)
    assert len(played) == len(set(played))
    again = sweep("coding-agents", grid, "auto", out=tmp_path / "out", jobs=1)
    assert again.played == 0
    assert again.to_json() == first.to_json()


def test_a_curve_is_printed_with_intervals_and_what_breaks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = ["coding-agents", "--deployment", MONO, "--load", "1,4", "--jobs", "1"]
    words += ["--set", "run.trajectories=8", "--set", "slo.tpot=2.2ms"]
    with pytest.raises(SystemExit):
        cli.main(["sweep", *words])
    out, err = capsys.readouterr()
    found = sweep("coding-agents", {"deployment": [MONO]}, [1, 4], jobs=1,
                  settings={"run.trajectories": 8, "slo.tpot": "2.2 ms"})  # fmt: skip
    row = found.table.iloc[1]
    half = (row["ci95_mean_ttft_ms.high"] - row["ci95_mean_ttft_ms.low"]) / 2
    assert f"{three(row['mean_ttft_ms'])} ±{three(half)}" in out
    assert "Agents at SLO" in out
    assert f"{MONO}: at 4 agents, p95 TPOT {row['p95_tpot_ms']:.3g} ms > 2.2 ms." in out
    assert "2 points" in err
    assert found.at_slo is not None


def test_a_load_without_an_slo_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["coding-agents", "--load", "1", "--set", "run.trajectories=2", "--set", "slo=null"]
    words += ["--set", "workload.slo.ttft=null"]
    with pytest.raises(SystemExit):
        cli.main(["sweep", *words])
    assert "No SLO: give one" in capsys.readouterr().out


def test_a_combination_with_another_kind_of_load_fails_alone() -> None:
    arrivals = [{"process": "closed", "agents": 2}, {"process": "poisson", "rate": "0.1 /s"}]
    few = {"arrivals.agents": 2, "run.trajectories": 2}
    found = sweep("coding-agents", {"arrivals": arrivals}, [1, 2], settings=few, jobs=1)
    assert list(found.table["error"].isna()) == [True, True, False, False]
    assert "load in rate" in found.errors["error"].iloc[0]
