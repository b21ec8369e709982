"""How many replicas: against brute force, on made-up deployments that need no runs."""

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcsim.profiles.resolve import resolve
from gcsim.profiles.site import load_site
from gcsim.studies.layouts import Layout
from gcsim.studies.plan_question import Question, Trial, Unit
from gcsim.studies.plan_replicas import fewest
from gcsim.studies.slo import Verdict

QUESTION = Question(resolve("coding-agents"), "agents", 8, (), "cost", load_site("rented"))


def layout(role: str = "mixed", usd: float = 1.0) -> Layout:
    pool = {"role": role, "tp": 1, "ep": 1, "pp": 1, "batching": {}}
    machine: Any = None
    return Layout("x", pool, machine, 1, usd, 1.0, 8, 1.0, usual={})


class Played:
    """Runs whose room is a function of the replicas; every other call is counted."""

    def __init__(self, room: Callable[[tuple[int, ...]], tuple[float, str]]) -> None:
        self.room = room
        self.units: dict[tuple[int, ...], Trial] = {}

    def __call__(self, unit: Unit) -> Trial:
        if unit.replicas not in self.units:
            room, binds = self.room(unit.replicas)
            verdict = Verdict(room >= 0, binds, room)
            pools = [{"utilization": 0.5}, {"utilization": 0.5}]
            self.units[unit.replicas] = Trial(unit, 8, verdict, {"pools": pools})
        return self.units[unit.replicas]


def one(replicas: int) -> Unit:
    return Unit((ONE,), (replicas,))


ONE = layout()


def line(needed: int) -> Played:
    """So many are needed: the time is in proportion to the load of one."""
    return Played(lambda n: (1 - needed / n[0], "p95 TPOT < 1 s"))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.booleans())
def test_the_fewest_that_hold_are_found(needed: int, guess: int, least: int, fine: bool) -> None:
    least, guess = min(least, needed), max(guess, least)
    found = fewest(QUESTION, line(needed), one(least), one(guess), fine=fine)
    if needed <= 40 * guess:
        assert found is not None
        assert found.replicas == (needed,)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_what_costs_as_much_is_not_played(needed: int, guess: int, limit: int) -> None:
    play = line(needed)
    found = fewest(QUESTION, play, one(1), one(guess), float(limit))
    assert (found.replicas if found else None) == ((needed,) if needed < limit else None)
    assert all(n < limit for (n,) in play.units)


@pytest.mark.parametrize("needed", [12, 30, 200])
def test_a_layout_that_must_cost_more_takes_one_run(needed: int) -> None:
    """The guess is 6, 11 are allowed: where these miss there is nothing to look for below."""
    play = line(needed)
    assert fewest(QUESTION, play, one(5), one(6), 12.0) is None
    assert list(play.units) == [(11,)]


def test_few_replicas_that_hold_where_more_break_are_found() -> None:
    """As where a policy limits the batch of one, and routing spoils two."""
    play = Played(lambda n: (0.1 if n[0] in (1, 4) else -0.1, ""))
    found = fewest(QUESTION, play, one(1), one(4))
    assert found is not None
    assert found.replicas == (1,)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(1, 20))
def test_two_pools_are_each_as_small_as_they_may(p: int, d: int, first: int, second: int) -> None:
    def room(n: tuple[int, ...]) -> tuple[float, str]:
        rooms = {"p95 TTFT": 1 - p / n[0], "p95 TPOT": 1 - d / n[1]}
        binds = min(rooms, key=lambda name: rooms[name])
        return rooms[binds], binds

    both = (layout("prefill", 2.0), layout("decode", 1.0))
    play = Played(room)
    found = fewest(QUESTION, play, Unit(both, (1, 1)), Unit(both, (first, second)), inf)
    if p <= 4 * first and d <= 4 * second:  # else growing by a third may be given up
        assert found is not None
    if found is not None:
        assert found.replicas == (p, d)
