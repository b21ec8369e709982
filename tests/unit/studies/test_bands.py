"""Ranges of results from the low and high of a chip's values (gcsim.studies.bands)."""

import json
import re
from collections.abc import Callable
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gcsim
from gcsim.cli import app as cli
from gcsim.cli.run_text import bands_table, span
from gcsim.errors import Interrupted, ProfileError
from gcsim.profiles.assumed import quantities
from gcsim.profiles.chip import Efficiency, Stack
from gcsim.profiles.library import shipped
from gcsim.profiles.resolve import Resolved, load_chip, resolve, resolve_mapping
from gcsim.results.metrics import banded
from gcsim.studies import bands as module
from gcsim.studies.bands import CAUSES, EVERY, bands, design, ranged, shifted
from gcsim.studies.replicate import replicate

pytestmark = pytest.mark.slow  # `make quick` leaves it out

ROOT = Path(__file__).parents[3]
CHIPS = sorted(shipped("chip"))
FEW = {"arrivals.agents": 2, "run.trajectories": 2, "deployment": "sn50-mono"}
SERVE = "deployment.pools.serve.chip"
Run = Callable[[str, str], dict[str, Any]]


@pytest.fixture
def small() -> Resolved:
    return resolve("coding-agents", FEW)


def without_ranges(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: without_ranges(v) for k, v in node.items() if k not in ("low", "high")}
    return [without_ranges(item) for item in node] if isinstance(node, list) else node


def summary(value: float | None, saturated: bool = False) -> dict[str, Any]:
    return {
        **dict.fromkeys(banded(), value),
        "saturated": saturated,
        "window_s": [0.0, 9.0],
        "seed": 1,
    }


def faked(monkeypatch: pytest.MonkeyPatch, resolved: Resolved, outcome: Run) -> None:
    """The runs of the set give what `outcome` says of their cause and end."""
    known = {json.dumps(s.resolved.mapping): (s.cause, s.end) for s in design(resolved)}

    def played(runs: list[Resolved], *_: Any) -> list[Any]:
        return [SimpleNamespace(summary=outcome(*known[json.dumps(r.mapping)])) for r in runs]

    monkeypatch.setattr(module, "simulate_all", played)


def end_to_end(resolved: Resolved, base: dict[str, Any]) -> dict[str, Any]:
    metrics: dict[str, Any] = bands(resolved, base, base)["metrics"]
    return metrics["mean_e2el_ms"]


def test_every_value_of_a_chip_that_makes_time_has_exactly_one_cause() -> None:
    paths = {f"efficiency.{name}" for name in Efficiency.model_fields}
    habits = {"overlap_scheduling", "tokenizes_again", "mxfp4_tile"}  # no numbers with a range
    paths |= {f"stack.{name}" for name in Stack.model_fields if name not in habits}
    for chip in map(load_chip, CHIPS):
        paths |= {path for path, _ in quantities(chip) if not path.startswith("stacks.")}
    apart = ("power.", "price.")  # what only normalises
    for path in (path for path in paths if not path.startswith(apart)):
        causes = [c for c, parts in CAUSES.items()
                  if any(path == p or path.startswith(f"{p}.") for p in parts)]  # fmt: skip
        assert len(causes) == 1, path


@pytest.mark.parametrize("name", CHIPS)
def test_all_that_has_a_range_moves_and_slow_is_slow(name: str) -> None:
    scenario = resolve("coding-agents", {**FEW, "deployment.pools.serve.chip": name,
                                         "deployment.pools.serve.tp": 8})  # fmt: skip
    own = dict(values(scenario))
    for end, other in (("slow", "fast"), ("fast", "slow")):
        moved = shifted(scenario, None, end)
        assert moved is not None
        for path, number in values(moved):
            before = own[path]
            ends = {"slow": before.low, "fast": before.high}
            if number.dimension == "seconds" or path.endswith("_kernels"):
                ends = {"slow": before.high, "fast": before.low}
            assert number.value == (before.value if ends[end] is None else ends[end]), (path, other)
            assert (number.kind, number.source) == (before.kind, before.source)


def values(resolved: Resolved) -> list[tuple[str, Any]]:
    chip = resolved.scenario.deployment.pools["serve"].chip
    parts = {name: getattr(chip, name) for name in ("compute", "memory", "interconnect")}
    parts |= {"efficiency": chip.efficiency, "stack": chip.stacks[chip.default_stack]}
    return [found for part, item in parts.items() for found in quantities(item, part)]


def test_a_cause_moves_its_own_values_only(small: Resolved) -> None:
    pool = small.scenario.deployment.pools["serve"]
    before = {path: number.value for path, number in values(small)}
    touched = set()
    for cause in CAUSES:
        moved = shifted(small, cause, "slow")
        if moved is not None:
            after = {path: number.value for path, number in values(moved)}
            mine = {path for path in before if after[path] != before[path]}
            assert {module.cause_of(path) for path in mine} == {cause}
            touched |= mine
    assert touched <= {path for path, _, _ in ranged(pool)}
    assert small.mapping == resolve("coding-agents", FEW).mapping  # nothing was changed in place


@pytest.mark.parametrize(
    ("arrivals", "opens"),
    [({"process": "poisson", "rate": "1 /s"}, 12.5), ({"process": "closed", "agents": 2}, nan)],
    ids=["open: at the same time", "closed: with the same task"],
)
def test_every_run_has_the_seed_and_counts_the_tasks_of_the_base(
    monkeypatch: pytest.MonkeyPatch, arrivals: dict[str, Any], opens: float
) -> None:
    few = {"run.trajectories": 2, "deployment": "sn50-mono"}
    auto = resolve("coding-agents", {**few, "arrivals": arrivals}, seed=5)
    played: list[Resolved] = []

    def watched(runs: list[Resolved], *_: Any) -> list[Any]:
        played.extend(runs)
        return [SimpleNamespace(summary=summary(1.0)) for _ in runs]

    monkeypatch.setattr(module, "simulate_all", watched)
    bands(auto, {**summary(1.0), "window_s": [12.5, 20.0]}, summary(1.0))
    assert len(played) == len(design(auto))
    assert {run.scenario.run.seed for run in played} == {5}
    assert {str(run.scenario.run.warmup) for run in played} == {str(opens)}


def test_changes_of_causes_add_as_squares(small: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    slower = {"memory": 3.0, "fixed times": 4.0, EVERY: 9.0}

    def outcome(cause: str, end: str) -> dict[str, Any]:
        return summary(10.0 + (slower.get(cause, 0.0) if end == "slow" else -0.5))

    faked(monkeypatch, small, outcome)
    band = end_to_end(small, summary(10.0))
    assert band["high"] == pytest.approx(15.0)
    assert (band["least"], band["most"], band["cause"]) == (9.5, 19.0, "fixed times")
    # No further than what any run gave: six halves are more than one.
    assert band["low"] == 9.5


def test_both_ends_on_one_side_count_once(small: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"memory": 14.0, EVERY: 30.0}
    faked(monkeypatch, small, lambda cause, _: summary(found.get(cause, 10.0)))
    band = end_to_end(small, summary(10.0))
    assert (band["low"], band["high"], band["most"]) == (10.0, 14.0, 30.0)


def test_a_saturated_run_leaves_its_end_without_a_number(
    small: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outcome(cause: str, end: str) -> dict[str, Any]:
        return summary(11.0, saturated=cause == "memory" and end == "slow")

    faked(monkeypatch, small, outcome)
    found = bands(small, summary(10.0), summary(10.0))
    late, rate = (found["metrics"][key] for key in ("mean_e2el_ms", "output_throughput"))
    assert (late["high"], late["most"], late["lost"]) == (None, None, "saturated")
    assert (late["low"], late["cause"]) == (10.0, "memory")
    assert rate["lost"] is None
    assert rate["high"] is not None
    (run,) = [run for run in found["runs"] if run["lost"]]
    assert run["mean_e2el_ms"] is None
    assert run["output_throughput"] == 11.0
    faked(monkeypatch, small, lambda cause, _: summary(11.0, saturated=cause == EVERY))
    band = end_to_end(small, summary(10.0))
    assert (band["high"] is None, band["most"]) == (False, None)
    band = end_to_end(small, summary(10.0, saturated=True))
    assert set(band.values()) == {None, "saturated"}


def test_what_does_not_fit_is_said_and_has_no_rate() -> None:
    size = {"value": "80 GB", "low": "3 GB"}
    few = {**FEW, "deployment": "h100-mono", f"{SERVE}.memory.1.capacity": size}
    result = gcsim.run("coding-agents", settings=few, bands=True)
    found = result.summary["bands"]
    assert {(r["cause"], r["end"]) for r in found["runs"] if r["lost"] == "does not fit"} == {
        ("data sheet", "slow"), (EVERY, "slow"),
    }  # fmt: skip
    rate = found["metrics"]["output_throughput"]
    assert (rate["low"], rate["least"], rate["lost"]) == (None, None, "does not fit")
    assert rate["high"] >= result.summary["output_throughput"]
    assert "Does not fit: the runs data sheet (slow), all at once (slow)." in told(result.summary)


def told(summary: dict[str, Any]) -> str:
    from rich.console import Console

    console = Console(width=200, markup=False)
    with console.capture() as drawn:
        console.print(bands_table(summary))
    return drawn.get()


def test_without_ranges_nothing_is_played_and_nothing_is_claimed(small: Resolved) -> None:
    mapping = resolve_mapping(without_ranges(small.mapping), "exact")
    assert design(mapping) == []
    found = gcsim.run(mapping, bands=True).summary
    for band in found["bands"]["metrics"].values():
        assert set(band.values()) == {None, "no ranges"}
    assert "No value of sn50 has a low or high: nothing to play" in told(found)
    assert "are assumed" not in told(found)


def test_the_ends_lie_where_physics_puts_them_and_processes_change_nothing() -> None:
    one, two = (gcsim.run("coding-agents", settings=FEW, bands=True, jobs=jobs) for jobs in (1, 2))
    assert one.to_json() == two.to_json()
    for key in ("mean_ttft_ms", "mean_tpot_ms", "mean_e2el_ms", "mean_task_ms"):
        band, value = one.summary["bands"]["metrics"][key], one.summary[key]
        assert band["least"] <= band["low"] < value < band["high"] <= band["most"]
        ends = {(r["cause"], r["end"]): r[key] for r in one.summary["bands"]["runs"]}
        assert ends[EVERY, "fast"] == pytest.approx(band["least"], rel=1e-12)
        assert ends[EVERY, "slow"] == pytest.approx(band["most"], rel=1e-12)
    assert one.summary["bands"]["chips"][0]["assumed"] > 0


def test_without_bands_a_summary_is_as_it_was_before(small: Resolved) -> None:
    plain = gcsim.run(small)
    assert "bands" not in plain.summary
    more = gcsim.run(small, bands=True).summary
    assert {key: value for key, value in more.items() if key != "bands"} == plain.summary


def test_progress_goes_on_over_the_set(small: Resolved) -> None:
    seen: list[int] = []
    gcsim.run(small, bands=True, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 2 * (1 + len(design(small)))


def test_replications_play_the_set_once_around_their_mean(
    small: Resolved, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = replicate(small, 3, jobs=1)
    first, mean = found.summaries[0]["mean_e2el_ms"], found.summary["mean_e2el_ms"]
    assert first != mean
    played: list[tuple[str, str]] = []

    def outcome(cause: str, end: str) -> dict[str, Any]:
        played.append((cause, end))
        return summary(first * (1.5 if (cause, end) == ("memory", "slow") else 1.0))

    faked(monkeypatch, small, outcome)
    banded = module.banded_replications(found, tmp_path / "out")
    assert len(played) == len(design(small))
    band = banded.summary["bands"]["metrics"]["mean_e2el_ms"]
    assert (band["low"], band["high"]) == (pytest.approx(mean), pytest.approx(1.5 * mean))
    assert banded.summary["bands"] == banded.summaries[0]["bands"]
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert written == banded.summary
    assert {k: v for k, v in written.items() if k != "bands"} == found.summary


def test_an_interrupt_tells_what_is_kept(
    small: Resolved, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = replicate(small, 2, jobs=1, out=tmp_path / "out")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "simulate_all", interrupted)
    with pytest.raises(Interrupted, match=r"bands are lost; .*out has the replications"):
        module.banded_replications(found, tmp_path / "out")
    with pytest.raises(Interrupted, match=r"bands are lost$"):
        module.banded_replications(found)
    assert "bands" not in json.loads((tmp_path / "out" / "summary.json").read_text())


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def run_bands(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str, str]:
    few = (
        "--set",
        "arrivals.agents=2",
        "--set",
        "run.trajectories=2",
        "--set",
        "deployment=sn50-mono",
    )
    return call(capsys, "run", "coding-agents", "--bands", *few, *more)


def test_the_command_line_shows_and_writes_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, table, _ = run_bands(capsys, "--out", str(tmp_path / "out"))
    assert code == 0
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    band = found["bands"]["metrics"]["mean_e2el_ms"]
    line = next(line for line in table.splitlines() if line.startswith(" mean E2E [ms]"))
    assert span((band["low"], band["high"])) in line
    assert band["cause"] in line
    assert re.search(r"\d+ of the \d+ values of sn50 are assumed, their low and high too", table)
    code, printed, _ = run_bands(capsys, "--format", "json")
    assert code == 0
    assert json.loads(printed) | found == json.loads(printed)  # beside it what is published near
    code, table, _ = run_bands(capsys, "--replications", "2")
    assert code == 0
    assert "Uncertainty" in table


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--resume",), "neither a number of replications nor a precision"),
        (("--set", f"{SERVE}.efficiency.memory={{value: 0.7, low: 0}}"), "is less than 0.0001"),
        (("--replications", "2", "--set", f"{SERVE}.efficiency.memory={{value: 0.7, low: 0}}"),
         "is less than 0.0001"),
        (("--set", f"{SERVE}.efficiency.memory={{value: 0.7, low: 0.9}}"), "outside its range"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_anything_is_played(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr("gcsim.simulate.play_scenario", None)
    code, out, err = run_bands(capsys, *more)
    assert (code, out) == (2, "")
    assert said in err


def test_a_range_beyond_what_a_chip_can_be_is_an_error(small: Resolved) -> None:
    slow = {"value": "1979 TFLOP/s", "low": "100 TFLOP/s"}  # then BF16 is faster
    wrong = {**FEW, "deployment": "h100-mono", f"{SERVE}.compute.fp8": slow}
    with pytest.raises(ProfileError, match="slow end of its low and high"):
        design(resolve("coding-agents", wrong))


def test_every_key_is_explained() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    known = set(re.findall(r"`([^`\n]+)`", text.replace(", ", "` `")))
    found = gcsim.run("coding-agents", settings=FEW, bands=True).summary["bands"]
    keys = {*found, *found["chips"][0], *found["metrics"]["mean_e2el_ms"], *found["runs"][0]}
    assert keys - set(banded()) - known == set()
    assert set(CAUSES) <= known
