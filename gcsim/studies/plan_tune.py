"""Batching limits of a plan: near misses that would cost less, played again with other limits.

A bound on the first token that is missed by little asks for more prompt tokens in an iteration, one
on the tokens after it for fewer, or for fewer sequences at once. So few runs say what a search over
all limits would.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from gcsim.studies.layouts import Layout
from gcsim.studies.plan_question import Found, Question, Trial, Unit
from gcsim.studies.plan_replicas import Play, fewest

NEAR = 0.25  # of a bound: what misses by more is not played again
MISSES = 3  # that are played again
TOKENS_LEAST, TOKENS_MOST = 2048, 32768  # of an iteration
SEQS_LEAST = 16


def tune(question: Question, found: Found, play: Play) -> None:
    """Let a family's best be one with other batching limits, where that is cheaper."""
    for trial in _misses(question, found):
        for unit in _others(trial):
            limit = found.best.costs(question.aim) if found.best else inf
            if unit.costs(question.aim) >= limit or not question.within(unit):
                break
            if not play(unit).verdict.holds:
                continue
            least = Unit(unit.layouts, tuple(1 for _ in unit.replicas))
            better = fewest(question, play, least, unit, limit, fine=True)
            if better is not None:
                found.best, found.trial = better, play(better)


def _misses(question: Question, found: Found) -> list[Trial]:
    """Runs that miss by little and would cost less than the best, the nearest of each layout."""
    limit = found.best.costs(question.aim) if found.best else inf
    nearest: dict[str, Trial] = {}
    for trial in found.trials:
        near = not trial.verdict.holds and trial.verdict.room > -NEAR
        unit = whole(question, trial)
        if not near or unit.costs(question.aim) >= limit or not question.within(unit):
            continue
        name = " + ".join(layout.name for layout in unit.layouts)
        if name not in nearest or nearest[name].verdict.room < trial.verdict.room:
            nearest[name] = trial
    ordered = sorted(nearest.values(), key=lambda trial: (-trial.verdict.room, str(trial.unit)))
    return [replace(trial, unit=whole(question, trial)) for trial in ordered[:MISSES]]


def whole(question: Question, trial: Trial) -> Unit:
    """The unit that a run stands for: of a slice as many replicas as all agents take."""
    times = question.load / trial.load
    return Unit(trial.unit.layouts, tuple(round(n * times) for n in trial.unit.replicas))


def _others(trial: Trial) -> Iterator[Unit]:
    """The unit of a run with other limits for the pool that binds."""
    layouts = trial.unit.layouts
    first = "TTFT" in trial.verdict.binds
    binds = 0 if first or len(layouts) == 1 else 1
    for layout in _limits(layouts[binds], first):
        both = (*layouts[:binds], layout, *layouts[binds + 1 :])
        yield Unit(both, trial.unit.replicas)


def _limits(layout: Layout, first: bool) -> Iterator[Layout]:
    """A layout with more prompt tokens in an iteration, or with fewer, or fewer sequences."""
    limits = layout.pool["batching"]
    tokens, seqs = limits["max_iteration_tokens"], limits["max_seqs"]
    if first:
        changes = [{"max_iteration_tokens": 2 * tokens}]
    elif layout.pool["role"] == "decode":
        changes = [{"max_seqs": seqs // 2}]
    else:
        changes = [{"max_iteration_tokens": tokens // part} for part in (2, 4)]
    for change in changes:
        made = {**limits, **change}
        tokens, seqs = made["max_iteration_tokens"], made["max_seqs"]
        if TOKENS_LEAST <= tokens <= TOKENS_MOST and seqs >= SEQS_LEAST:
            yield replace(layout, pool={**layout.pool, "batching": made})
