"""gcsim from Python: gcsim.studies.run, gcsim.studies.compare, gcsim.simulate and
gcsim.studies.parallel."""

import pytest

import gcsim
from gcsim.errors import ProfileError
from gcsim.profiles.resolve import resolve, with_settings
from gcsim.profiles.workload import load_workload
from gcsim.studies.parallel import simulate_all
from gcsim.traffic.generate import within

FEW = {"arrivals.agents": 2, "run.trajectories": 4}


def test_run_takes_a_name_settings_seed_and_engine() -> None:
    result = gcsim.run("coding-agents", settings=FEW, seed=5, engine="iteration")
    assert result.summary["seed"] == 5
    assert result.trajectories["counted"].sum() == result.summary["trajectories"] == 4
    scenario = result.resolved.scenario
    assert (scenario.engine, scenario.run.trajectories) == ("iteration", 4)


def test_run_takes_a_resolved_scenario_and_changes_a_copy() -> None:
    resolved = resolve("coding-agents", FEW)
    result = gcsim.run(resolved, settings={"deployment": "sn50-mono"}, seed=9)
    assert result.summary["deployment"] == "sn50-mono"
    assert resolved.scenario.deployment.name == "sn40l-mono"
    assert (result.summary["seed"], resolved.scenario.run.seed) == (9, 1)


def test_progress_counts_ended_trajectories() -> None:
    told: list[int] = []
    gcsim.run("coding-agents", settings=FEW, progress=told.append)
    assert told == [1, 2, 3, 4]


def test_a_deployment_compared_with_itself_is_exactly_equal() -> None:
    both = gcsim.compare("coding-agents", deployments=["sn40l-mono", "sn40l-mono"], settings=FEW)
    assert list(both.results) == ["sn40l-mono", "sn40l-mono (2)"]
    ratios = both.ratio_to_first["sn40l-mono (2)"]
    assert ratios["mean_e2el_ms"].ratio == 1
    for metric, ratio in ratios.items():
        assert (ratio.ratio, ratio.low, ratio.high) in {(1, 1, 1), (None, None, None)}, metric


def test_compare_gives_all_the_same_trajectories() -> None:
    both = gcsim.compare("coding-agents", deployments=["sn40l-mono", "h100-mono"], settings=FEW)
    tables = (r.requests[r.requests["counted"]] for r in both.results.values())
    one, two = (table.set_index(["trajectory", "step"]) for table in tables)
    assert one.index.symmetric_difference(two.index).empty
    assert (one[["isl", "osl"]] == two.loc[one.index, ["isl", "osl"]]).all(axis=None)
    assert (one["e2e_s"] != two.loc[one.index, "e2e_s"]).any()


def test_several_scenarios_share_the_seed_of_the_first() -> None:
    first = resolve("coding-agents", {**FEW, "run.seed": 3})
    both = gcsim.compare(first, "chatbot", settings={"run.trajectories": 4, "run.warmup": "0 s"})
    assert {r.summary["seed"] for r in both.results.values()} == {3}
    assert list(both.results) == ["coding-agents", "chatbot"]


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing() -> None:
    names = ["sn40l-mono", "sn50-mono", "h100-mono"]
    one = gcsim.compare("coding-agents", deployments=names, settings=FEW, jobs=1)
    two = gcsim.compare("coding-agents", deployments=names, settings=FEW, jobs=2)
    assert one.to_json() == two.to_json()
    for name in names:
        assert one.results[name].requests.equals(two.results[name].requests)


def test_equal_scenarios_are_played_once_and_progress_ends_at_one() -> None:
    told: list[float] = []
    base = resolve("coding-agents", FEW)
    results = simulate_all([base, resolve("coding-agents", FEW)], progress=told.append)
    assert results[0] is results[1]
    assert told == sorted(told)
    assert told[-1] == 1


def test_one_deployment_may_be_named_without_a_list() -> None:
    one = gcsim.compare("coding-agents", deployments="sn40l-mono", settings=FEW)
    assert list(one.results) == ["sn40l-mono"]


@pytest.mark.slow
def test_compare_over_a_rate_gives_that_rate() -> None:
    settings = {"run.trajectories": 12, "run.warmup": "0 s"}
    series = gcsim.compare("coding-agents", over=("rate", [0.01, 0.04]), settings=settings)
    slow, quick = (next(iter(comparison.results.values())) for _, comparison in series.points)
    assert slow.summary["trajectories"] == quick.summary["trajectories"] == 12
    ratio = quick.summary["task_throughput"] / slow.summary["task_throughput"]
    assert ratio == pytest.approx(4)  # the same arrivals, four times as fast


def test_compare_needs_a_scenario_and_one_way_to_name_contenders() -> None:
    with pytest.raises(ProfileError, match="names no scenario"):
        gcsim.compare()
    with pytest.raises(ProfileError, match="give one scenario"):
        gcsim.compare("chatbot", "coding-agents", deployments=["sn50-mono"])
    with pytest.raises(ProfileError, match="no way to normalize"):
        gcsim.compare("coding-agents", settings=FEW, normalize="heat")  # type: ignore[arg-type]


@pytest.mark.slow
def test_agents_shrink_their_context_before_the_models_window_is_full() -> None:
    workload = load_workload("coding-agent")
    assert workload.agent
    assert workload.agent.compact_above
    fitted = within(workload, 131_072)
    assert fitted.agent
    assert fitted.agent.compact_above
    assert fitted.agent.compact_above.high == 131_072 - 16_000  # the largest output
    wide = within(workload, 1_000_000)
    assert wide == workload.model_copy(update={"agent": wide.agent})
    result = gcsim.run("coding-agents")
    assert result.summary["rejected"] == 0


def test_settings_on_a_resolved_scenario_replace_the_arrivals_whole() -> None:
    base = resolve("coding-agents")
    changed = with_settings(base, {"arrivals": {"process": "poisson", "rate": "1 /s"}})
    assert changed.scenario.arrivals.process == "poisson"
    assert base.scenario.arrivals.process == "closed"
