"""A trajectory as the chain of turns that session formats can hold, and what does not fit in."""

from collections import Counter
from typing import NamedTuple

from gcsim.traffic.trajectory import Span, Step, Trajectory

Dropped = Counter[str]  # what a format cannot hold -> how often

BRANCHES = "steps of sub-agents"
TOGETHER = "parallel requests that were one task"
HUMAN = "steps whose delay was a person's"
MODELS = "steps that named a model"
PRIORITY = "trajectories that had a priority"
KEPT = "contexts that go on with a part of an earlier one (they start afresh)"


class Turn(NamedTuple):
    """One request of a chain; `afresh`: it holds its whole prompt, not what it appends."""

    spans: tuple[Span, ...]
    osl: int
    delay_s: float
    afresh: bool


def chains(trajectory: Trajectory, dropped: Dropped) -> list[list[Turn]]:
    """The chains of a trajectory: one, or one of a single turn for each of parallel requests."""
    steps = trajectory.steps
    dropped[HUMAN] += sum(step.human for step in steps)
    dropped[MODELS] += sum(step.model is not None for step in steps)
    dropped[PRIORITY] += trajectory.priority != 0
    if len(steps) > 1 and not any(step.waits_for for step in steps):
        dropped[TOGETHER] += len(steps)
        return [[Turn(step.append, step.osl, step.delay_s, True)] for step in steps]
    path = _main(steps)
    dropped[BRANCHES] += len(steps) - len(path)
    turns: list[Turn] = []
    for place, index in enumerate(path):
        step = steps[index]
        follows = place > 0 and step.parent == path[place - 1] and step.keep is None
        spans = step.append
        if not follows:  # its whole prompt
            spans = (*_before(steps, step.parent, step.keep), *spans)
        dropped[KEPT] += not follows and step.parent >= 0
        turns.append(Turn(spans, step.osl, step.delay_s, not follows))
    return [turns]


def _main(steps: tuple[Step, ...]) -> list[int]:
    """Back from the last step: to the one it waits for; at a fan-in to the one it continues."""
    path = [len(steps) - 1]
    while waits := steps[path[-1]].waits_for:
        parent = steps[path[-1]].parent
        path.append(waits[0] if len(waits) == 1 or parent < 0 else parent)
    return path[::-1]


def _before(steps: tuple[Step, ...], parent: int, keep: int | None) -> tuple[Span, ...]:
    """The prompt and output of a step, cut to its first `keep` tokens.

    An output stands there under an id below 0, which no other content has.
    """
    line: list[int] = []
    while parent >= 0:
        line.append(parent)
        parent = steps[parent].parent
    spans: tuple[Span, ...] = ()
    for place, at in enumerate(reversed(line)):
        step = steps[at]
        if place and step.keep is not None:
            spans = _cut(spans, step.keep)
        spans = (*spans, *step.append, (-1 - at, step.osl))
    return spans if keep is None else _cut(spans, keep)


def _cut(spans: tuple[Span, ...], tokens: int) -> tuple[Span, ...]:
    """The first `tokens` tokens."""
    found: list[Span] = []
    for content, count in spans:
        if tokens <= 0:
            break
        found.append((content, min(count, tokens)))
        tokens -= count
    return tuple(found)
