"""A plan finds what an enumeration of everything finds, and keeps its word on fresh seeds."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings

from gcsim.profiles.resolve import Resolved, resolve, with_settings
from gcsim.profiles.site import load_site
from gcsim.simulate import simulate
from gcsim.studies.layouts import chips_of, layouts
from gcsim.studies.plan_question import Found, Player, Question, Unit
from gcsim.studies.plan_search import search
from gcsim.studies.slo import Bound, parse_slo, verdict

CHIPS = 8
MANY = settings().max_examples >= 1000  # --hypothesis-profile=explore
QUESTIONS, FRESH = (20, 20) if MANY else (5, 6)
RENTED = load_site("rented")
BOUNDS = parse_slo("tpot:mean<12ms ttft:p95<2s")


def scenario(rng: random.Random) -> Resolved:
    """A small load of short tasks."""
    agent: dict[str, Any] = {
        "shared": rng.choice([0, 1000, 6000]),
        "first": rng.choice([200, 2000, 8000]),
        "steps": rng.randint(1, 5),
        "output": {"dist": "lognormal", "median": rng.choice([20, 100]), "sigma": 0.5, "high": 400},
    }
    if agent["steps"] > 1:
        agent["tools"] = {"append": rng.choice([50, 1000]), "delay": f"{rng.choice([0, 1])} s"}
    workload = {"name": "small", "agent": agent}
    model = rng.choice(["llama-3.1-8b", "gpt-oss-20b", "qwen3-32b"])
    return with_settings(resolve("coding-agents", {"model": model}), {"workload": workload})


def question(rng: random.Random) -> Question:
    """Bounds that are somewhere between easy and impossible: around what some unit gives."""
    base, agents = scenario(rng), rng.choice([4, 12, 24])
    asked = Question(base, "agents", agents, (), "cost", RENTED, chips_most=CHIPS)
    chip = chips_of(["h100-sxm"])[0]
    some = layouts(base.scenario, chip, "mixed", RENTED)[0]
    unit = Unit((rng.choice(some),), (rng.choice([1, 2]),))
    given = simulate(asked.resolved(unit, agents)).summary
    bounds = []
    for time, key in (("ttft", "p95_ttft_ms"), ("tpot", "mean_tpot_ms")):
        if given[key] is not None:
            limit = given[key] * 1e-3 * rng.uniform(0.7, 2.0)
            bounds.append(Bound(time, key.split("_")[0], limit))
    return replace(asked, bounds=tuple(bounds))


def enumerated(asked: Question) -> float | None:
    """What the cheapest of all layouts and numbers of replicas costs."""
    chip = chips_of(["h100-sxm"])[0]
    player, best = Player(asked, Found("")), None
    for layout in layouts(asked.base.scenario, chip, "mixed", RENTED)[0]:
        for replicas in range(1, CHIPS // layout.chips + 1):
            unit = Unit((layout,), (replicas,))
            if player.whole(unit).verdict.holds and (best is None or unit.usd_per_hour < best):
                best = unit.usd_per_hour
    return best


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(QUESTIONS))
def test_the_search_finds_what_the_enumeration_finds(seed: int) -> None:
    asked = question(random.Random(seed))
    found = search(asked, chips_of(["h100-sxm"]), whole=True)
    best = enumerated(asked)
    assert (found.best.usd_per_hour if found.best else None) == best


@pytest.mark.slow
def test_the_answer_holds_on_fresh_seeds() -> None:
    """19 of 20: a bound is kept when the upper end of its interval is."""
    base = resolve("coding-agents", {"run.seed": 3})
    asked = Question(base, "agents", 8, BOUNDS, "cost", RENTED)
    found = search(asked, chips_of(["h200-sxm"]), whole=True)
    assert found.best is not None
    kept = 0
    for seed in range(100, 100 + FRESH):
        fresh = replace(asked, base=resolve("coding-agents", {"run.seed": seed}))
        summary = simulate(fresh.resolved(found.best, 8)).summary
        bare = {key: None for key in summary if key.startswith("ci95_")}
        kept += verdict({**summary, **bare}, asked.bounds).holds
    assert kept >= FRESH - 1
