"""`base: NAME` and project folders (gcsim.profiles.inherit, gcsim.profiles.library)."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import gcsim
from gcsim.errors import ProfileError
from gcsim.profiles.inherit import DEEPEST, read
from gcsim.profiles.library import FOLDERS, Library, opened, shipped
from gcsim.profiles.load import mark_of
from gcsim.profiles.resolve import load_chip, resolve, whole, with_settings
from gcsim.profiles.workload import load_workload


class Project:
    """A project folder that a test fills."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.library = folder, Library(folder)

    def put(self, kind: str, name: str, text: str) -> Path:
        path = self.folder / FOLDERS[kind] / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def error(self, kind: str, name: str) -> str:
        loads: Any = resolve if kind == "scenario" else load_chip
        with pytest.raises(ProfileError) as caught:
            loads(name, library=self.library)
        return str(caught.value)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


BIG = """
name: h200-big
base: h200-sxm
memory:
  1: {capacity: 192 GB, bandwidth: 6 TB/s}
efficiency: {memory: 0.8}
stacks: {vllm: {layer_overhead: 20 us}}
price: {usd_per_chip_hour: 5 USD/h}
"""


def test_a_chip_inherits_what_it_does_not_say(project: Project) -> None:
    project.put("chip", "h200-big", BIG)
    mine, base = load_chip("h200-big", project.library), load_chip("h200-sxm")
    assert mine.memory[1].capacity.value == 192e9
    assert mine.memory[1].bandwidth.value == 6e12
    assert mine.memory[1].holds == base.memory[1].holds
    assert (mine.memory[0], mine.memory[2]) == (base.memory[0], base.memory[2])
    assert (mine.efficiency.memory.value, mine.efficiency.memory.kind) == (0.8, "given")
    assert mine.efficiency.kv_read == base.efficiency.kv_read
    assert mine.stacks.keys() == base.stacks.keys()
    assert mine.stacks["vllm"].layer_overhead.value == pytest.approx(20e-6)
    assert mine.stacks["vllm"].moe_layer_overhead == base.stacks["vllm"].moe_layer_overhead
    assert mine.stacks["sglang"] == base.stacks["sglang"]
    assert mine.price.purchase == base.price.purchase
    assert (mine.aliases, mine.description) == ((), ""), "what it is, it says itself"


def test_a_number_with_its_origin_is_replaced_whole(project: Project) -> None:
    """A value of one's own never carries the source of the base's."""
    text = "name: a\nbase: h200-sxm\npower: {node: {value: 9 kW}}\ncompute: {bf16: 900 TFLOP/s}\n"
    project.put("chip", "a", text)
    mine = load_chip("a", project.library)
    assert (mine.power.node.kind, mine.power.node.source, mine.power.node.low) == (
        "given",
        "",
        None,
    )
    assert mine.compute.bf16.source == ""
    project.put("chip", "b", "name: b\nbase: h200-sxm\npower: {node: {low: 1 kW}}\n")
    assert "power.node: has no value" in project.error("chip", "b")


def test_lists_are_replaced(project: Project) -> None:
    project.put("chip", "a", "name: a\nbase: h200-sxm\nstacks: [sglang]\ndefault_stack: sglang\n")
    assert list(load_chip("a", project.library).stacks) == ["sglang"]


def test_another_factors_file_is_taken_whole(project: Project) -> None:
    project.put("chip", "a", "name: a\nbase: h200-sxm\nfactors: b200\n")
    assert load_chip("a", project.library).efficiency.memory == load_chip("b200").efficiency.memory


def test_a_chain_and_a_profile_in_place_of_a_shipped_one(project: Project) -> None:
    project.put("chip", "h200-big", BIG)
    project.put("chip", "bigger", "name: bigger\nbase: h200-big\npackaging: {cooling: liquid}\n")
    found = load_chip("bigger", project.library)
    assert (found.memory[1].capacity.value, found.packaging.cooling) == (192e9, "liquid")
    own = "name: h100-sxm\nbase: h100-sxm\nprice: {usd_per_chip_hour: 1 USD/h}\n"
    project.put("chip", "h100-sxm", own)
    assert load_chip("h100-sxm", project.library).price.usd_per_chip_hour.value == 1.0
    assert load_chip("h100-sxm").price.usd_per_chip_hour.value > 1.0


SCENARIO = """
name: mine
base: coding-agents
deployment: {pools: {serve: {chip: {memory: {1: {capacity: 100 GiB}}}, replicas: 2}}}
arrivals: {agents: 4}
run: {trajectories: 3}
workload: {agent: {shared: 1000, output: 50}}
"""


def test_a_scenario_changes_what_its_base_names(project: Project) -> None:
    """A mapping over a name is what the name stands for, with changes, all the way down."""
    project.put("scenario", "mine", SCENARIO)
    found, base = resolve("mine", library=project.library), resolve("coding-agents")
    mine, theirs = found.scenario, base.scenario
    assert mine.arrivals.model_dump() == theirs.arrivals.model_dump() | {"agents": 4}
    assert mine.deployment.pools["serve"].replicas == 2
    assert mine.deployment.pools["serve"].chip.memory[1].capacity.value == 100 * 2**30
    assert mine.deployment.pools["serve"].tp == theirs.deployment.pools["serve"].tp
    assert mine.workload.agent is not None
    assert (mine.workload.agent.shared.value, mine.slo) == (1000, theirs.slo)
    assert "base" not in yaml.safe_dump(found.mapping)
    hashes = base.hashes()
    moved = {key for key, value in found.hashes().items() if hashes.get(key) != value}
    assert any(key.startswith("deployment") for key in moved)
    assert not any(key.startswith("model") for key in moved)


def test_another_arrival_process_replaces_the_whole(project: Project) -> None:
    text = "name: a\nbase: coding-agents\narrivals: {process: poisson, rate: 1 /s}\n"
    project.put("scenario", "a", text)
    assert resolve("a", library=project.library).scenario.arrivals.process == "poisson"


def test_an_inline_mapping_with_a_base(project: Project) -> None:
    text = """
name: a
base: coding-agents
deployment:
  name: own
  pools: {serve: {chip: {base: b200, price: {usd_per_chip_hour: 1 USD/h}}, tp: 8}}
workload: {base: chatbot}
"""
    project.put("scenario", "a", text)
    found = resolve("a", library=project.library).scenario
    assert found.deployment.pools["serve"].chip.compute == load_chip("b200").compute
    assert found.deployment.pools["serve"].chip.price.usd_per_chip_hour.value == 1.0
    assert found.workload == load_workload("chatbot")


def test_paths_in_a_base_are_seen_from_its_folder(tmp_path: Path) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    for folder in (far, near):
        folder.mkdir()
    (far / "chip.yaml").write_text("name: far-chip\nbase: h100-sxm\n")
    (far / "pools.yaml").write_text("name: p\npools: {serve: {chip: chip.yaml, tp: 8}}\n")
    (near / "mine.yaml").write_text("name: mine\nbase: ../far/pools.yaml\n")
    (near / "s.yaml").write_text("name: s\nbase: coding-agents\ndeployment: mine.yaml\n")
    found = resolve(near / "s.yaml").scenario
    assert found.deployment.pools["serve"].chip.name == "far-chip"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: h200-sxn", "a.yaml:2: base: no chip of this name (got 'h200-sxn'); did you mean"),
        ("base: h200-mono", "a.yaml:2: base: is a deployment, not a chip (got 'h200-mono')"),
        ("base: b", "b.yaml:2: base: leads back to itself: a on b on a (got 'a')"),
        ("base: a", "a.yaml:2: base: is its own base (got 'a')"),
        ("base: ./a.yaml", "a.yaml:2: base: leads back to itself: a on a"),
        ("base: ./no.yaml", "a.yaml:2: base: no such file (got './no.yaml')"),
        ("base: 5", "a.yaml:2: base: must be a name or a file (got 5)"),
        ("base: [b200]", "a.yaml:2: base: must be a name or a file"),
        ("base: b200\ncompute: {bf61: 1 TFLOP/s}", "a.yaml:3: compute.bf61: unknown key; did you"),
        ("base: b200\nmemory:\n  9: {}", "a.yaml:4: memory.9: there are only 3 items (got 9)"),
        ("base: wrong\npower: {tdp: 1 W}", "wrong.yaml:3: vendor: "),
        ("base: {a: b}", "a.yaml:2: base: must be a name or a file"),
    ],
)
def test_what_is_refused(project: Project, text: str, said: str) -> None:
    """Errors of a merged profile name the file that holds the value."""
    project.put("chip", "a", f"name: a\n{text}\n")
    project.put("chip", "b", "name: b\nbase: a\n")
    project.put("chip", "wrong", "name: wrong\nbase: b200\nvendor: [1]\n")
    assert said in project.error("chip", "a")


def test_a_base_of_another_kind_by_path(project: Project) -> None:
    path = shipped("deployment")["h100-mono"]
    project.put("chip", "a", f"name: a\nbase: {path}\n")
    assert "base: is a deployment, not a chip" in project.error("chip", "a")


def test_without_a_name_of_its_own(project: Project) -> None:
    project.put("chip", "a", "base: b200\n")
    assert "name: is missing" in project.error("chip", "a")


def test_chains_have_an_end(project: Project) -> None:
    for k in range(DEEPEST + 2):
        project.put("chip", f"c{k}", f"name: c{k}\nbase: c{k + 1}\n")
    assert f"is more than {DEEPEST} profiles deep" in project.error("chip", "c0")


def test_an_error_in_a_scenario_names_the_file_that_holds_it(project: Project) -> None:
    chip = project.put("chip", "x", "name: x\nbase: b200\nefficiency:\n  memory: 1.2\n  lonk: 1\n")
    own = "name: d\nbase: h100-mono\npools:\n  serve: {chip: x, tp: 8, tpp: 3}\n"
    deployment = project.put("deployment", "d", own)
    scenario = "name: s\nbase: coding-agents\ndeployment: d\narrivals:\n  agens: 4\n"
    path = project.put("scenario", "s", scenario)
    said = project.error("scenario", "s")
    assert f"{chip}:5: efficiency.lonk: unknown key; did you mean 'link'?" in said
    assert f"{deployment}:4: pools.serve.tpp: unknown key" in said
    assert f"{path}:5: arrivals.agens: unknown key; did you mean 'agents'?" in said


def test_an_error_in_a_setting_names_the_setting(project: Project) -> None:
    setting: dict[str, Any] = {"deployment.pools.serve.chip.memory.1.capacity": 5}
    with pytest.raises(ProfileError, match=r"^--set: deployment.*capacity: has no unit"):
        resolve("coding-agents", setting)


def test_where_each_value_stands(project: Project) -> None:
    path = project.put("chip", "h200-big", BIG)
    entry = whole("chip", "h200-big", project.library)
    own = mark_of(("memory", 1, "capacity"), entry.lines)
    theirs = mark_of(("memory", 1, "holds"), entry.lines)
    assert own is not None
    assert theirs is not None
    assert (own.file, own.line) == (str(path), 5)
    assert theirs.file == str(shipped("chip")["h200-sxm"])


def test_a_project_is_searched_first_and_its_files_know_it(project: Project) -> None:
    project.put("chip", "mine", "name: mine\nbase: b200\naliases: [Abacus]\n")
    project.put("deployment", "d", "name: d\nbase: h100-mono\npools: {serve: {chip: mine}}\n")
    path = project.put("scenario", "s", "name: s\nbase: coding-agents\ndeployment: d\n")
    assert project.library.find("chip", "abacus").stem == "mine"
    assert resolve(path).scenario.deployment.pools["serve"].chip.name == "mine", "by its place"
    base = gcsim.load("coding-agents", library=project.folder)
    changed = with_settings(base, {"deployment": "d"})
    assert changed.scenario.deployment.name == "d"
    with pytest.raises(ProfileError, match="no deployment of this name"):
        resolve("coding-agents", {"deployment": "d"})


def test_the_variable_names_a_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.put("scenario", "s", "name: s\nbase: coding-agents\n")
    monkeypatch.setenv("GCSIM_LIBRARY", str(project.folder))
    assert resolve("s").scenario.name == "s"
    assert opened().own == project.folder
    monkeypatch.setenv("GCSIM_LIBRARY", str(project.folder / "no"))
    with pytest.raises(ProfileError, match="GCSIM_LIBRARY: is no folder"):
        resolve("coding-agents")
    with pytest.raises(ProfileError, match="--library: has no folder of profiles"):
        opened(project.folder / FOLDERS["scenario"])


def test_a_base_may_be_a_config_json_or_a_shipped_model(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("name: m\nbase: qwen3-32b\nlayers: 32\n")
    mapping = read("model", str(tmp_path / "m.yaml")).mapping
    assert (mapping["layers"], mapping["hidden"]) == (32, 5120)


def test_a_mix_that_holds_itself_by_its_base(project: Project) -> None:
    text = "name: w\nmix: [{weight: 1, workload: {base: w, name: v}}]\n"
    project.put("workload", "w", text)
    with pytest.raises(ProfileError, match="mixes deep"):
        load_workload("w", project.library)
