"""`gcsim plan` and `gcsim cost` on the command line: what they print, write and refuse."""

import json
from pathlib import Path

import pytest

from gcsim.cli import app
from gcsim.cli.cost import cost_table
from gcsim.cli.plan import NOTHING_HOLDS
from gcsim.cli.plan_load_text import WHYS_SHOWN
from gcsim.cli.plan_text import plan_table
from gcsim.studies.plan import plan
from gcsim.studies.plan_robust import Sway

SMALL = ["--chips", "h200-sxm", "--no-pairs", "--no-robustness"]


def ran(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app.main(list(arguments))
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_a_plan_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "planned.yaml"
    asked = ["plan", "coding-agents", "--agents", "4", "--slo", "tpot:mean<40ms", *SMALL]
    assert ran(*asked, "--out", str(out)) == 0
    told = capsys.readouterr().out
    assert "4 agents within mean TPOT < 40 ms: 1 x h200-sxm" in told
    assert ran(*asked, "--out", str(out)) == 2
    assert "is there already" in capsys.readouterr().err
    assert ran("run", "coding-agents", "--set", f"deployment={out}") == 0


def test_an_slo_that_nothing_meets_ends_with_three(capsys: pytest.CaptureFixture[str]) -> None:
    code = ran("plan", "coding-agents", "--agents", "2", "--slo", "tpot:mean<1us", *SMALL)
    assert code == NOTHING_HOLDS == 3
    told = capsys.readouterr().out
    assert "Nothing that was tried serves 2 agents" in told
    assert "a sequence alone takes" in told


def test_loads_that_nothing_serves_end_with_three(capsys: pytest.CaptureFixture[str]) -> None:
    loads = ",".join(map(str, range(1, WHYS_SHOWN + 3)))
    assert ran("plan", "coding-agents", "--load", loads, "--slo", "tpot:mean<1us", *SMALL) == 3
    told = capsys.readouterr().out
    assert told.count("nothing serves them") == WHYS_SHOWN + 2
    assert told.count("a sequence alone takes") == WHYS_SHOWN
    assert "2 more do not." in told


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.slow
def test_the_table_over_load_has_every_column(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    few = ["--set", "run.trajectories=4", "--set", "model=gpt-oss-20b", "--no-pairs"]
    asked = ["plan", "coding-agents", "--load", "1,2", "--chips", "h200-sxm,sn50", *few]
    assert ran(*asked, "--set", "workload=rag") == 0
    told = capsys.readouterr().out
    assert all(len(line) <= width for line in told.splitlines())
    assert "…" not in told
    for word in ("chips", "per", "USD/h", "range", "TTFT", "/user", "h200-sxm", "sn50"):
        assert word in told
    assert ("binds" in told) is (width == 100)
    assert told.count("costs least") == 2
    assert ran(*asked, "--set", "workload=rag", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)["families"]
    assert [row["load"] for row in rows] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--agents", "2", "--rate", "1"], "goes not with --agents"),
        (["--minimize", "beauty"], "is none of cost, power, racks, chips"),
        (["--site-power", "15"], "has no unit"),
        (["--site", "moon"], "no site of this name"),
        (["--slo", "ttft"], "is no bound"),
        (["--load", "1,8", "--agents", "2"], "goes not with --agents"),
        (["--load", "1,8", "--out", "x.yaml"], "goes not with --out"),
        (["--load", "some"], "is no load"),
        (["--chips", "h2000"], "no chip of this name"),
    ],
)
def test_what_is_asked_wrongly_is_said(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran("plan", "coding-agents", *arguments) == 2
    assert why in capsys.readouterr().err


@pytest.mark.slow
def test_costs_of_a_scenario_and_of_its_results_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--set", "run.trajectories=4"]
    assert ran("run", "coding-agents", *few, "--out", str(tmp_path / "r")) == 0
    capsys.readouterr()
    assert ran("cost", "coding-agents", *few, "--format", "json") == 0
    played = json.loads(capsys.readouterr().out)
    assert ran("cost", str(tmp_path / "r"), "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == played
    assert ran("cost", str(tmp_path / "r"), *few) == 2
    assert "is a finished run" in capsys.readouterr().err


def test_tables_are_drawn_without_runs() -> None:
    assert cost_table([]) is not None
    assert plan_table is not None
    sway = Sway("sn50", "links", "fast", 3.0, 2.0, "h200-sxm", True, 4)
    assert sway.to_dict()["overturns"] is True
    assert callable(plan)
