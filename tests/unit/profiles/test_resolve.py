"""Names to profiles (gcsim.profiles.resolve, gcsim.profiles.scenario, gcsim.profiles.assumed)."""

from pathlib import Path

import pytest
import yaml

from gcsim.errors import ProfileError
from gcsim.profiles.assumed import assumed_values
from gcsim.profiles.resolve import content_hash, parse_settings, resolve, resolve_mapping

BASE = """
name: mine
model: llama-3.1-8b
deployment: h100-mono
workload: chatbot
arrivals: {process: poisson, rate: 1 /s}
run: {trajectories: 5}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(BASE)
    return path


def test_names_are_replaced_and_the_result_needs_no_other_file(scenario: Path) -> None:
    resolved = resolve(scenario)
    assert resolved.scenario.deployment.pools["serve"].chip.name == "h100-sxm"
    again = resolve_mapping(yaml.safe_load(resolved.to_yaml()), "again")
    assert again.scenario == resolved.scenario


def test_settings_reach_into_named_profiles(scenario: Path) -> None:
    settings = parse_settings(
        [
            "deployment.pools.serve.chip.memory.1.bandwidth=4 TB/s",
            "model=llama-3.3-70b",
            "run.seed=9",
        ]
    )
    changed = resolve(scenario, settings).scenario
    assert changed.deployment.pools["serve"].chip.memory[1].bandwidth.value == 4e12
    assert changed.model.name == "llama-3.3-70b"
    assert changed.run.seed == 9
    assert resolve(scenario, seed=11).scenario.run.seed == 11


def test_a_setting_without_an_index_reaches_every_item_of_a_list(scenario: Path) -> None:
    settings = {"deployment": "mi300x-prefill-sn50-decode", "deployment.links.bandwidth": "7 GB/s"}
    links = resolve(scenario, settings).scenario.deployment.links
    assert {link.bandwidth for link in links} == {7e9}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["run.sed=1"], "did you mean 'seed'"),
        (["run.seed"], "write path=value"),
        (["arrivals.rate.x=1"], "leads into a plain value"),
        (["deployment=h100-mon"], "did you mean 'h100-mono'"),
        (["deployment.pools.serve.chip=h10"], "chip"),
        (["arrivals.rate=fast"], "cannot be read as a quantity"),
        (["deployment.pools.serve.tp=16"], "scale-up links"),
        (["workload.agent.model=mixtral-8x7b"], "no pool serves"),
    ],
)
def test_a_wrong_setting_is_told_with_a_hint(
    scenario: Path, settings: list[str], said: str
) -> None:
    with pytest.raises(ProfileError, match=said):
        resolve(scenario, parse_settings(settings))


def test_hashes_name_the_input_that_changed_and_ignore_comments(scenario: Path) -> None:
    before = resolve(scenario).hashes()
    scenario.write_text("# a comment\n" + BASE.replace("run: {", "run:   { "))
    assert resolve(scenario).hashes() == before
    chip = {"deployment.pools.serve.chip.memory.1.bandwidth": "4 TB/s"}
    after = resolve(scenario, chip).hashes()
    assert {k for k in before if before[k] != after[k]} == {"chip h100-sxm"}
    assert content_hash([1, 2]) != content_hash([2, 1])


def test_assumed_values_name_what_enters_and_nothing_else(scenario: Path) -> None:
    found = assumed_values(resolve(scenario, {"deployment": "sn50-mono"}).scenario)
    assert any(name.startswith("sn50.efficiency.") for name in found)
    assert not any(".price" in name or ".power" in name for name in found)


def test_a_pool_may_serve_a_model_of_its_own(scenario: Path) -> None:
    settings = {
        "deployment.pools.serve.model": "llama-3.3-70b",
        "workload.agent.model": "llama-3.3-70b",
    }
    pool = resolve(scenario, settings).scenario.deployment.pools["serve"]
    assert pool.model is not None
    assert pool.model.layers == 80


def test_a_setting_of_a_pool_that_is_not_there_names_those_that_are() -> None:
    settings = {"deployment": "mi300x-prefill-sn50-decode", "deployment.pools.serve.tp": 8}
    wanted = "mi300x-prefill-sn50-decode has no pool 'serve', only prefill, decode"
    with pytest.raises(ProfileError, match=wanted):
        resolve("coding-agents", settings)
    whole = resolve("coding-agents").mapping["deployment"]["pools"]["serve"]
    added = resolve("coding-agents", {"deployment.pools": {"serve": {**whole, "tp": 8}}})
    assert added.scenario.deployment.pools["serve"].tp == 8
