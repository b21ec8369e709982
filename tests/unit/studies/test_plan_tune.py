"""What a plan chooses besides chips and replicas: serving stacks, speculation, batching limits."""

from dataclasses import replace
from typing import Any

import pytest

import gcsim
from gcsim.profiles.resolve import Resolved, load_chip, resolve, with_settings
from gcsim.profiles.site import load_site
from gcsim.studies.layouts import USUAL, Choice, Layout, choices, layouts
from gcsim.studies.plan import Terms, question_of
from gcsim.studies.plan_question import Found, Question, Trial, Unit
from gcsim.studies.plan_search import search
from gcsim.studies.plan_tune import tune, whole
from gcsim.studies.slo import Verdict

QUESTION = Question(resolve("coding-agents"), "agents", 8, (), "cost", load_site("rented"))
LIMITS = {"max_seqs": 256, "max_iteration_tokens": 8192}
NO_MACHINE: Any = None
POOL = {"role": "mixed", "tp": 1, "ep": 1, "pp": 1, "batching": LIMITS}
ONE = Layout("x", POOL, NO_MACHINE, 1, 1.0, 1.0, 8, 1.0, usual=LIMITS)
H200 = load_chip("h200-sxm")
DRAFTS = {"draft_tokens": 3, "acceptance": 0.7, "draft_cost": 0.1}


def small(**settings: Any) -> Resolved:
    """Short tasks of a small model."""
    agent = {"shared": 1000, "first": 2000, "steps": 3, "output": 100}
    agent |= {"tools": {"append": 500, "delay": "0.5 s"}}
    base = resolve("coding-agents", {"model": "gpt-oss-20b", **settings})
    return with_settings(base, {"workload": {"name": "small", "agent": agent}})


def drafting() -> Resolved:
    """A scenario whose deployment speculates."""
    return small(**{"deployment": "h200-mono", "deployment.pools.serve.speculation": DRAFTS})


def test_stacks_of_past_years_are_no_choice() -> None:
    assert "vllm-2024" in H200.stacks
    assert choices(H200, "mixed", []) == [Choice(), Choice("trtllm"), Choice("sglang")]
    assert choices(load_chip("sn50"), "mixed", []) == [USUAL]


def test_a_pool_that_prefills_has_no_drafts() -> None:
    assert len(choices(H200, "decode", [DRAFTS])) == 6
    assert len(choices(H200, "prefill", [DRAFTS])) == 3


def test_what_is_chosen_is_in_the_name_and_in_the_deployment() -> None:
    base, choice = resolve("coding-agents"), Choice("sglang", DRAFTS)
    made = layouts(base.scenario, H200, "mixed", QUESTION.site, choice)[0][0]
    limits = {**made.pool["batching"], "max_seqs": 64}
    other = replace(made, pool={**made.pool, "batching": limits})
    assert made.name == "h200-sxm tp 1 (sglang, 3 drafts)"
    assert other.name == "h200-sxm tp 1 (sglang, 3 drafts, 64 seqs)"
    pool = QUESTION.resolved(Unit((other,), (2,)), 4).scenario.deployment.pools["serve"]
    assert pool.stack == "sglang"
    assert pool.speculation is not None
    assert pool.batching.max_seqs == 64
    assert pool.batching.policy == "prefill_first"  # SGLang's habit


def one(replicas: int) -> Unit:
    return Unit((ONE,), (replicas,))


def _missed(room: float, binds: str, replicas: int = 3) -> Trial:
    return Trial(one(replicas), 8, Verdict(False, binds, room), {})


@pytest.mark.parametrize(
    ("binds", "tokens"), [("p95 TTFT < 2 s: 2.1 s", [16384]), ("mean TPOT < 9 ms", [4096, 2048])]
)
def test_a_near_miss_is_played_with_the_limits_that_its_bound_asks_for(
    binds: str, tokens: list[int]
) -> None:
    asked: list[int] = []

    def play(unit: Unit) -> Trial:
        asked.append(unit.layouts[0].pool["batching"]["max_iteration_tokens"])
        return Trial(unit, 8, Verdict(False, binds, -0.2), {})

    found = Found("x", best=one(4), trials=[_missed(-0.1, binds)])
    tune(QUESTION, found, play)
    assert asked == tokens
    assert found.best == one(4)


def test_what_holds_with_other_limits_is_the_best_and_shrunk() -> None:
    def play(unit: Unit) -> Trial:
        room = 1 - 2 / unit.replicas[0]
        return Trial(unit, 8, Verdict(room >= 0, "", room), {})

    found = Found("x", best=one(4), trials=[_missed(-0.1, "p95 TTFT < 2 s")])
    tune(QUESTION, found, play)
    assert found.best is not None
    assert found.best.replicas == (2,)
    assert "16384 tokens" in str(found.best)


@pytest.mark.parametrize("trial", [_missed(-0.5, "p95 TTFT < 2 s"), _missed(-0.1, "x", 4)])
def test_far_misses_and_what_costs_as_much_are_not_played_again(trial: Trial) -> None:
    def play(_: Unit) -> Trial:
        raise AssertionError("is played")

    tune(QUESTION, Found("x", best=one(4), trials=[trial]), play)


def test_a_slice_that_misses_stands_for_the_whole() -> None:
    trial = replace(_missed(-0.1, "", 1), load=2.0)
    assert whole(QUESTION, trial).replicas == (4,)


@pytest.mark.slow
def test_choosing_more_never_costs_more() -> None:
    """Bounds that a lone sequence keeps with drafts only, and such that it keeps anyway."""
    for slo in ("tpot:mean<3ms", "tpot:p95<12ms ttft:p95<1s"):
        asked = question_of(drafting(), 12, slo, Terms(tuned=False))
        usual, free = (search(replace(asked, tuned=t), [H200]) for t in (False, True))
        assert free.best is not None
        assert free.costs("cost") <= usual.costs("cost")


@pytest.mark.slow
def test_an_answer_that_speculates_says_what_it_assumes() -> None:
    """Without drafts no layout gives a token in so little time."""
    terms = Terms(pairs=False, robustness=False)
    found = gcsim.plan(drafting(), 4, "tpot:mean<1.2ms", chips=["h200-sxm"], terms=terms, jobs=1)
    assert found.answer is not None
    assert "3 drafts" in found.sentence
    assert found.sentence.endswith("Assumed: drafted tokens are accepted with a chance of 0.7.")
