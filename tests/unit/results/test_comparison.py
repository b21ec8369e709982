"""Several runs side by side: gcsim.results.comparison, gcsim.studies.compare, gcsim.cli.compare."""

import json
import re
from functools import partial
from typing import Any

import pytest

import gcsim
from gcsim.cli.compare import comparison_table, series_table, stacked
from gcsim.cli.options import parse_rates, parse_values, parse_vary
from gcsim.cli.run_text import run_table
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import resolve, with_settings
from gcsim.results.comparison import Comparison, decides
from gcsim.results.result import Result
from gcsim.results.text import causes
from gcsim.studies.compare import (
    Crossover,
    Series,
)
from gcsim.studies.load_curve import at_load

NAMES = ["sn40l-mono", "sn50-mono", "mi300x-prefill-sn50-decode"]


@pytest.fixture(scope="module")
def three() -> Comparison:
    return gcsim.compare(
        "coding-agents", deployments=NAMES, settings={"arrivals.agents": 4, "run.trajectories": 12}
    )


def changed(result: Result, **summary: Any) -> Result:
    return Result(**{**result.__dict__, "summary": {**result.summary, **summary}})


@pytest.mark.slow
def test_json_has_every_key_that_scripts_read(three: Comparison) -> None:
    found = json.loads(three.to_json())
    assert set(found) == {
        "scenario", "seed", "version", "normalize", "deployments", "ratio_to_first", "saturated",
        "decides",
    }  # fmt: skip
    assert [entry["name"] for entry in found["deployments"]] == NAMES
    run = json.loads(next(iter(three.results.values())).to_json())
    assert set(found["deployments"][0]) == {"name", *run}
    assert set(found["ratio_to_first"]) == set(NAMES)
    assert set(found["ratio_to_first"]["sn50-mono"]["mean_task_ms"]) == {"ratio", "low", "high"}


@pytest.mark.parametrize(
    ("by", "unit", "divisors"),
    [
        ("none", "", [1, 1, 1]),
        ("chips", "chip", [16, 16, 32]),
        ("power", "kW", [10, 17.5, None]),
        ("cost", "USD/h", [64, 96, None]),
    ],
)
@pytest.mark.slow
def test_rates_are_divided_and_times_are_not(
    three: Comparison, by: Any, unit: str, divisors: list[float | None]
) -> None:
    other = Comparison(three.results, by)
    assert other.unit == unit
    for (name, result), divisor in zip(three.results.items(), divisors, strict=True):
        if divisor is not None:
            assert other.divisor(result) == pytest.approx(divisor)
        ratio = other.ratio_to_first[name]["output_throughput"].ratio
        plain = three.ratio_to_first[name]["output_throughput"].ratio
        assert plain is not None
        scale = other.divisor(three.results["sn40l-mono"]) / other.divisor(result)
        assert ratio == pytest.approx(plain * scale)
        assert (
            other.ratio_to_first[name]["mean_ttft_ms"] == three.ratio_to_first[name]["mean_ttft_ms"]
        )
        assert other.table.loc[name, "output_throughput"] == pytest.approx(
            result.summary["output_throughput"] / other.divisor(result)
        )
    entry = other.to_dict()["deployments"][0]
    assert ("normalized" in entry) is (by != "none")


@pytest.mark.slow
def test_the_order_is_by_merit_and_a_saturated_run_never_wins(three: Comparison) -> None:
    assert three.order("mean_e2el_ms")[-1] == "sn40l-mono"
    best = three.order("mean_e2el_ms")[0]
    overloaded = changed(three.results[best], saturated=True, saturated_why="too much")
    other = Comparison({**three.results, best: overloaded})
    assert other.order("mean_e2el_ms")[-1] == best
    assert other.saturated == {best: "too much"}
    silent = changed(three.results[best], mean_e2el_ms=None)
    assert Comparison({**three.results, best: silent}).order("mean_e2el_ms")[-1] == best


def test_what_decides_is_computed(three: Comparison) -> None:
    text = decides(three)
    slow, quick = "sn40l-mono", three.order("mean_e2el_ms")[0]
    assert f"less on {quick} than on {slow}" in text
    gap = {
        phase: three.results[slow].summary["breakdown_ms"][phase]
        - three.results[quick].summary["breakdown_ms"][phase]
        for phase in ("queue", "prefill", "decode")
    }
    largest = max(gap, key=lambda phase: abs(gap[phase]))
    assert f"{slow}: {largest} -" in text
    assert "is bound by" in text
    alone = Comparison({slow: three.results[slow]})
    assert decides(alone) == ""
    assert "take the same time" in decides(
        Comparison({slow: three.results[slow], "again": three.results[slow]})
    )


def render(what: Any) -> str:
    from rich.console import Console

    console = Console(width=120, markup=False)
    with console.capture() as drawn:
        console.print(what)
    return drawn.get()


def test_the_table_marks_a_saturated_run(three: Comparison) -> None:
    results = {**three.results}
    results["sn50-mono"] = changed(results["sn50-mono"], saturated=True, saturated_why="too much")
    text = render(comparison_table(Comparison(results, "power")))
    assert "sn50-mono (!)" in text
    assert "SATURATED, the means say nothing (too much)" in text
    assert "per kW" in text


def test_the_busy_time_of_every_pool_is_split_and_latency_is_one_bar(three: Comparison) -> None:
    text = render(comparison_table(three))
    heads = "arithmetic +HBM bandwidth +chip-to-chip links +latency"
    assert re.search(rf"Of its busy time +pool +busy +{heads}", text)
    for name, result in three.results.items():
        for pool in result.summary["pools"]:
            shares = [f"{share:.0%}" for share in causes(pool).values()]
            assert re.search(rf"{pool['pool']} .*{shares[0]} .*{shares[-1]}", text), name
            bars = render(run_table(result))
            _, bars = bars.split(f"A busy second of {pool['pool']} ")
            latency = re.search(r"latency +[\d.]+ +(\d+%)", bars)
            assert latency
            assert latency[1] == f"{pool['bound_latency']:.0%}"


def test_a_bar_has_the_length_of_its_parts() -> None:
    parts = {"network": 1.0, "queue": 0.0, "prefill": 2.0, "kv_transfer": 1.0, "decode": 4.0}
    assert str(stacked(parts, 16.0, 16)) == "░▓▓×████"
    assert str(stacked(dict.fromkeys(parts), 0.0, 16)) == ""


compare = partial(gcsim.compare, "coding-agents", deployments=NAMES)


# -- over a parameter ----------------------------------------------------------------------------


def test_values_of_one_unit_and_of_words() -> None:
    assert parse_values("100,400,1600Gbit/s") == ["100 Gbit/s", "400 Gbit/s", "1600 Gbit/s"]
    assert parse_values("1 ms, 2 ms") == ["1 ms", "2 ms"]
    assert parse_values("0.5,1.0e+3") == [0.5, 1e3]
    assert parse_vary(" a.b = true,false ") == ("a.b", [True, False])
    assert parse_rates("2, 0.5/s,0.5") == [0.5, 2.0]


@pytest.mark.parametrize("text", ["x", "=1", "a=", "a=,"])
def test_what_is_no_list_of_values(text: str) -> None:
    with pytest.raises(ProfileError, match="path=a,b,c"):
        parse_vary(text)


@pytest.mark.parametrize("text", ["0", "-1", "x", "inf", "1,nan"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ProfileError, match="is no rate"):
        parse_rates(text)


def test_at_a_rate_the_arrivals_are_poisson_or_keep_their_own_way() -> None:
    base = resolve("coding-agents", {"run.trajectories": 10})
    scenario = with_settings(base, at_load(base, 0.5, "rate")).scenario
    assert (scenario.arrivals.process, scenario.tasks) == ("poisson", 10)
    assert scenario.arrivals.rate == 0.5  # type: ignore[union-attr]
    gamma = {"process": "gamma", "rate": "1 /s", "cv": 3}
    bursts = resolve("coding-agents", {"arrivals": gamma})
    arrivals = with_settings(bursts, at_load(bursts, 0.5, "rate")).scenario.arrivals
    assert (arrivals.rate, arrivals.cv) == (0.5, 3.0)  # type: ignore[union-attr]
    chat = resolve("chatbot")
    agents = with_settings(chat, at_load(chat, 300, "agents")).scenario
    assert (agents.arrivals.process, agents.tasks) == ("closed", 1200)


@pytest.mark.slow
def test_a_setting_that_one_lacks_leaves_it_alone_and_that_all_lack_is_an_error() -> None:
    few = {"arrivals.agents": 2, "run.trajectories": 2}
    series = compare(over=("deployment.pools.decode.tp", [8, 16]), settings=few)
    assert series.unchanged == ("sn40l-mono", "sn50-mono")
    same = [c.results["sn40l-mono"].to_json() for _, c in series.points]
    assert same[0] == same[1]
    moved = [c.results[NAMES[2]].summary["mean_tpot_ms"] for _, c in series.points]
    assert moved[0] != moved[1]
    assert "so the same: sn40l-mono, sn50-mono" in render(series_table(series))
    with pytest.raises(ProfileError, match="unknown key"):
        compare(over=("deployment.colour", ["red"]), settings=few)
    with pytest.raises(ProfileError, match="has no values"):
        compare(over=("run.seed", []), settings=few)


def test_a_wrong_value_of_a_setting_that_is_there_is_an_error() -> None:
    with pytest.raises(ProfileError, match="model"):
        compare(over=("model", ["gpt-oss-120b", "gpt-9"]), settings={"run.trajectories": 2})


@pytest.mark.slow
def test_crossovers_are_found_between_neighbours(three: Comparison) -> None:
    names = NAMES[:2]

    def point(*tasks_ms: float) -> Comparison:
        both = zip(names, tasks_ms, strict=True)
        return Comparison(
            {n: changed(three.results[n], mean_task_ms=ms, request_goodput=1.0) for n, ms in both}
        )

    series = Series("rate", ((1.0, point(1, 2)), (2.0, point(1, 3)), (4.0, point(5, 4))))
    assert series.crossovers == [Crossover("mean_task_ms", *names, 2.0, 4.0, True)]
    best = [point.winner("mean_task_ms")[0] for _, point in series.points]
    assert best == [names[0], names[0], names[1]]
    text = render(series_table(series))
    assert "By task time, sn50-mono overtakes sn40l-mono between 2.0 and 4.0." in text
    assert three.apart("mean_task_ms", *names)
    assert not three.apart("mean_task_ms", names[0], names[0])
    found = json.loads(series.to_json())
    assert found["crossovers"][0]["between"] == [2.0, 4.0]
    clear = {"mean_task_ms": True, "request_goodput": three.apart("request_goodput", *names)}
    assert found["points"][2]["winner_clear"] == clear
    assert "The order is the same" in render(series_table(Series("rate", series.points[:2])))


@pytest.mark.slow
def test_between_saturated_runs_nobody_wins_and_nothing_crosses(three: Comparison) -> None:
    names = NAMES[:2]

    def point(saturated: list[str], *tasks_ms: float) -> Comparison:
        found = {}
        for name, ms in zip(names, tasks_ms, strict=True):
            why = "too much" if name in saturated else None
            more = {"mean_task_ms": ms, "saturated": why is not None, "saturated_why": why}
            found[name] = changed(three.results[name], **more)
        return Comparison(found)

    before, after = point([], 1, 2), point(names, 5, 4)
    assert Series("rate", ((1, before), (2, after))).crossovers == []
    assert after.winner("mean_task_ms") == (None, False)
    one = point(names[:1], 5, 9)
    assert Series("rate", ((1, before), (2, one))).crossovers[0].then == names[1]


def test_the_tables_say_what_holds_and_what_it_takes(three: Comparison) -> None:
    text = render(comparison_table(three))
    assert len(re.findall(r" holds ", text)) == 3
    head, size = text.index("p95"), text.index("USD/h")
    assert head < size
    assert re.search(r"sn40l-mono +16 +10\.0 +64\.0 ", text)
    slow = changed(three.results[NAMES[0]], p95_e2el_ms=123_456.0)
    text = render(comparison_table(Comparison({NAMES[0]: slow})))
    assert re.search(r" 123 ", text)
    assert "123,4" not in text
    broken = {**slow.summary["classes"][0], "p95_tpot_ms": 21.0}
    text = render(comparison_table(Comparison({"x": changed(slow, classes=[broken])})))
    assert re.search(r"^ *x .* TPOT ", text, re.MULTILINE)
