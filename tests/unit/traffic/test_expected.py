"""How large a run will be, told before it starts (gcsim.traffic.expected)."""

from math import inf
from typing import Any

import pytest

import gcsim
from gcsim.cli import app as cli
from gcsim.errors import ProfileError
from gcsim.profiles.library import shipped
from gcsim.profiles.resolve import resolve
from gcsim.profiles.workload import load_workload
from gcsim.traffic.expected import calls, check_size, size, span, that_fit

POISSON = {"process": "poisson", "rate": "2/s"}
ENDLESS: dict[str, Any] = {"run.trajectories": None}


@pytest.mark.parametrize("name", ["coding-agents", "chatbot", "mixed-agents"])
def test_requests_are_those_that_are_played(name: str) -> None:
    """On average: the long tails of steps are cut at their high."""
    resolved = resolve(name, {"run.trajectories": 60})
    played = len(gcsim.run(resolved).requests)
    assert size(resolved.scenario).requests == pytest.approx(played, rel=0.3)


@pytest.mark.parametrize("name", shipped("workload"))
def test_every_shipped_class_has_a_size(name: str) -> None:
    agent = load_workload(name).agent
    assert agent is None or 1 <= calls(agent) < 1_000


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"run.trajectories": 7}, 7),
        (ENDLESS, inf),
        (
            {**ENDLESS, "run.horizon": "1000 s", "arrivals": {"process": "poisson", "rate": "2/s"}},
            2000,
        ),
        ({"arrivals": {"process": "static"}, **ENDLESS, "run.horizon": "1 s"}, inf),
        (
            {
                **ENDLESS,
                "arrivals": {
                    "process": "steps",
                    "points": [{"at": "0 s", "rate": "1/s"}, {"at": "10 s", "rate": "0/s"}],
                },
            },
            11,
        ),
    ],
)
def test_how_many_start(settings: dict[str, Any], count: float) -> None:
    assert size(resolve("coding-agents", settings).scenario).trajectories == count


def test_a_closed_loop_with_a_horizon_ends() -> None:
    found = size(resolve("coding-agents", {**ENDLESS, "run.horizon": "3600 s"}).scenario)
    assert 16 < found.trajectories < 2_000


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (ENDLESS, "run.trajectories: is without an end; give run.trajectories or run.horizon"),
        ({"run.trajectories": 10**9}, "and the limit is 1 h; run.trajectories="),
        ({"run.trajectories": 10**6, "run.limit": "1 min"}, "and the limit is 1 min"),
        ({"run.trajectories": 10**9, "run.limit": "5000 h"}, "GB for it; fewer trajectories"),
    ],
)
def test_what_is_not_begun(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ProfileError) as caught:
        gcsim.run("coding-agents", settings=settings)
    assert said in str(caught.value)


def test_what_fits_fits() -> None:
    found = size(resolve("coding-agents", {"run.trajectories": 10**7}).scenario)
    cut = that_fit(found, 600.0)
    again = resolve("coding-agents", {"run.trajectories": cut, "run.limit": "10.1 min"})
    assert check_size(again.scenario).takes_s == pytest.approx(600, rel=0.05)
    small = size(resolve("coding-agents").scenario)
    assert that_fit(small, 600.0) == small.trajectories == 64


def test_more_replicas_take_longer() -> None:
    many = {"deployment.pools.serve.replicas": 1000}
    base, wide = (size(resolve("coding-agents", more).scenario) for more in ({}, many))
    assert wide.takes_s > 5 * base.takes_s
    assert wide.requests == base.requests


def test_limit_cuts_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "coding-agents", "--set", "run.trajectories=1000000", "--limit", "0.05 s"]
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert (end.value.code or 0) == 0
    assert "Cut to " in err
    assert "1,000,000 trajectories" in err
    assert "requests/s" in out
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "coding-agents", "--limit", "soon"])
    assert end.value.code == 2


def test_times_in_words() -> None:
    assert [span(s) for s in (0.5, 59, 60, 3600, 86_400, 4e7)] == [
        "0.5 s",
        "59 s",
        "1 min",
        "1 h",
        "1 d",
        "1.27 years",
    ]
