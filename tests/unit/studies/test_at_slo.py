"""What a comparison says of the load at the SLO, as a sweep of the same loads says it."""

from typing import Any

import pytest

import gcsim
from gcsim.cli.compare import comparison_table
from gcsim.results.comparison import Comparison
from gcsim.studies.compare import at_slo
from gcsim.studies.sweep_table import plain_rows

FEW: dict[str, Any] = {"run.trajectories": 6, "arrivals.agents": 4}
BOTH = ("sn40l-mono", "h100-mono")


def compared(**settings: Any) -> Comparison:
    return gcsim.compare("coding-agents", deployments=BOTH, settings={**FEW, **settings})


def test_one_load_that_holds_is_what_is_taken_at_the_least() -> None:
    first, second = at_slo(compared())
    assert (first["name"], first["agents_at_slo"], first["agents_breaks_at"]) == (BOTH[0], 4, None)
    assert (first["chips"], first["agents_per_chip"]) == (16, 4 / 16)
    assert second["agents_per_kw"] == pytest.approx(4 / (second["power_w"] / 1e3))
    assert second["agents_per_usd_per_hour"] == pytest.approx(4 / second["usd_per_hour"])


def test_one_load_that_breaks_is_what_is_not_taken() -> None:
    found = compared(**{"slo.tpot": "3 ms"})
    first, second = at_slo(found)
    assert (first["agents_at_slo"], first["agents_breaks_at"]) == (4, None)
    assert (second["agents_at_slo"], second["agents_breaks_at"]) == (0, 4)
    assert "TPOT" in second["breaks"]
    assert comparison_table(found) is not None


@pytest.mark.slow
def test_several_loads_are_a_curve_as_of_a_sweep() -> None:
    settings = {"run.trajectories": 6, "slo.tpot": "3.8 ms"}
    loads = [1, 4, 16]
    over = ("arrivals.agents", loads)
    series = gcsim.compare("coding-agents", over=over, deployments=BOTH, settings=settings)
    swept = gcsim.sweep("coding-agents", {"deployment": list(BOTH)}, loads, settings=settings)
    assert swept.at_slo is not None
    keys = ("agents_at_slo", "agents_breaks_at", "agents_per_chip", "knee_agents")
    for mine, theirs in zip(series.at_slo, plain_rows(swept.at_slo), strict=True):
        assert mine["name"] == theirs["deployment"]
        assert [mine[key] for key in keys] == [theirs[key] for key in keys]


@pytest.mark.slow
def test_what_has_no_load_or_no_slo_says_nothing() -> None:
    assert at_slo(compared(slo={"ttft": None, "tpot": None})) == []
    assert at_slo(compared(arrivals={"process": "static"})) == []
    other = ("deployment.pools.serve.tp", [8, 16])
    assert gcsim.compare("coding-agents", over=other, settings=FEW).at_slo == []
