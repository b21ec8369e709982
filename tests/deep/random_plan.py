"""Whether random search finds a cheaper deployment than `gcsim plan`, in so much CPU time.

    python tests/deep/random_plan.py coding-agents --agents 1000 --minutes 60 --jobs 2

It draws a chip (or a pair), layouts, serving stacks and numbers of replicas, and plays all that
would cost less than the best so far with all agents. Ends with 1 where that beats the plan, or
where a cost that is given (`--planned`, USD/h: of a plan played before) is beaten.
"""

import argparse
import sys
from math import inf
from random import Random
from time import process_time

from gcsim.profiles.chip import Chip
from gcsim.profiles.resolve import resolve
from gcsim.studies.layouts import Layout, choices, layouts
from gcsim.studies.parallel import called
from gcsim.studies.plan import Terms, plan, question_of
from gcsim.studies.plan_families import families_of
from gcsim.studies.plan_question import Found, Player, Question, Unit

REPLICAS_MOST = 128


def drawn(question: Question, chips: list[Chip], rng: Random, below: float) -> Unit | None:
    """A random unit that costs less than `below`; None where the draw had none."""
    pair = rng.random() < 0.5
    sides: list[Layout] = []
    for role in ("prefill", "decode") if pair else ("mixed",):
        chip = rng.choice(chips)
        choice = rng.choice(choices(chip, role, []))
        base = question.base
        made, _ = layouts(base.scenario, chip, role, question.site, choice, library=base.library)
        if not made:
            return None
        sides.append(rng.choice(made))
    replicas = tuple(round(REPLICAS_MOST ** rng.random()) for _ in sides)
    unit = Unit(tuple(sides), replicas)
    return unit if unit.costs(question.aim) < below and question.within(unit) else None


def searched(question: Question, chips: list[Chip], seed: int, below: float, cpu_s: float) -> Found:
    """The best of random units in so many CPU seconds, of what costs less than `below`."""
    rng, found = Random(seed), Found("random")
    player, began = Player(question, found), process_time()
    while process_time() - began < cpu_s:
        unit = drawn(question, chips, rng, min(below, found.costs(question.aim)))
        if unit is not None and (trial := player.whole(unit)).verdict.holds:
            found.best, found.trial = unit, trial
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("--agents", type=int, required=True)
    parser.add_argument("--chips", default="sn40l,sn50,mi300x,h100-sxm,h200-sxm,b200")
    parser.add_argument("--model")
    parser.add_argument("--slo")
    parser.add_argument("--minutes", type=float, default=60.0, help="CPU time of all processes")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--planned", type=float, help="what the plan costs; else it is played")
    asked = parser.parse_args()
    settings = {"model": asked.model} if asked.model else {}
    base, chips, terms = resolve(asked.scenario, settings), asked.chips.split(","), Terms()
    planned = asked.planned
    if planned is None:
        quick = Terms(robustness=False)
        found = plan(base, asked.agents, asked.slo, chips=chips, terms=quick, jobs=asked.jobs)
        print(found.sentence, f"{found.runs} runs", flush=True)
        planned = found.answer.costs("cost") if found.answer else inf
    question = question_of(base, asked.agents, asked.slo, terms)
    kinds = [family[0] for family in families_of(question, chips)[0]]
    cpu_s = 60 * asked.minutes / asked.jobs
    calls = [(question, kinds, seed, planned, cpu_s) for seed in range(asked.jobs)]
    every = called(searched, calls, asked.jobs)
    best = min(every, key=lambda one: one.costs("cost"))
    runs = sum(one.runs for one in every)
    if best.best is None:
        print(f"random: {runs} runs of what costs less than {planned:.4g} USD/h: none holds")
        return 0
    print(
        f"random: {runs} runs, {best.best}, {best.costs('cost'):.4g} USD/h: cheaper than the plan"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
