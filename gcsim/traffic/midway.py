"""Sessions that are under way already when a run begins: `arrivals.start: midway`.

As in AgentX v1.0, each agent is found at a random moment of its session, in the wait of a tool or
of a person before one of its steps. The step before that is its first request, sent at once: its
prompt has all that was said before, nothing of it is cached, and so it brings the cache to where it
would be. Then what is left of the wait goes by, and the session goes on.
Ref: github.com/ai-dynamo/aiperf, docs/benchmark-modes/semianalysis-agentx-faq.md, section 4.

Every moment of every session is as likely as any other, as in a load that has been on for long; so
a session is met with a chance that grows as its length (the inspection paradox; Ross, Introduction
to Probability Models, 10th ed., section 7.7). With waits w_k before steps k, uniform u in (0, 1):

    P(session i, step k) = w_ik / sum w,   of which u w_ik are left

The time that answers take is not known before the run and left out; where nothing is ever waited
for, every step is as likely. Of `POOL` sessions `OF_POOL` agents take one each, and the others are
not played; a trace has no more than it has, so there each agent enters the next of its sessions.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gcsim.traffic import ids
from gcsim.traffic.trajectory import Span, Step

POOL, OF_POOL = 64, 8


class Place(NamedTuple):
    """Where an agent is found: in which session, before which step, what of the wait is left."""

    session: int
    at: int
    left: float


def choose(sessions: list[tuple[Step, ...]], count: int, rng: np.random.Generator) -> list[Place]:
    """Where so many agents are found, no two of them in one session.

    Systematic sampling: moments at equal distances, so that the chance of a session is its length
    unless it is longer than the distance. Ref: Cochran, Sampling Techniques, 1977, section 9A.10.

    >>> choose([(Step(((7, 100),), 11),)], 1, np.random.default_rng(1))
    [Place(session=0, at=0, left=0.950...)]
    """
    waits = np.array([step.delay_s for steps in sessions for step in steps])
    owners = np.repeat(np.arange(len(sessions)), [len(steps) for steps in sessions])
    ends = np.cumsum(waits if waits.any() else np.ones(len(waits)))
    moments = (rng.random() + np.arange(count)) / count * ends[-1]
    found: dict[int, Place] = {}
    for place in np.searchsorted(ends, moments, side="right").tolist():
        session = int(owners[place])
        at = place - int(np.searchsorted(owners, session))
        found.setdefault(session, Place(session, at, float(rng.random())))
    if len(found) < count:
        others = [number for number in range(len(sessions)) if number not in found]
        more = choose([sessions[number] for number in others], count - len(found), rng)
        found |= {others[p.session]: p._replace(session=others[p.session]) for p in more}
    return list(found.values())


def enter(steps: tuple[Step, ...], at: int, left: float, number: int) -> tuple[Step, ...]:
    """What is still to be played of a session that is found waiting for its step `at`.

    The step that `at` waits for comes first, at once, and so do those that went on beside it.
    left: part of the wait that is not over yet; number: of the trajectory.

    >>> first = Step(((7, 100),), 11)
    >>> then = Step(((8, 20),), 5, 2.0, parent=0, waits_for=(0,))
    >>> last = Step(((9, 30),), 5, 4.0, parent=1, waits_for=(1,))
    >>> primer, last = enter((first, then, last), 2, 0.5, number=0)
    >>> primer.delay_s, [tokens for _, tokens in primer.append], last.delay_s
    (0.0, [100, 10, 20], 2.0)
    """
    begin = max(steps[at].waits_for, default=at)
    found = []
    for index, step in enumerate(steps[begin:], begin):
        waits = tuple(awaited - begin for awaited in step.waits_for if awaited >= begin)
        delay_s = step.delay_s
        if index == at:
            delay_s *= left
        elif not waits:
            delay_s = 0.0
        append, parent, keep = step.append, step.parent - begin, step.keep
        if step.parent < 0:
            parent = -1
        elif parent < 0:
            append = (*_kept(_said(steps, step.parent, number), keep), *append)
            parent, keep = -1, None
        moved = replace(step, append=append, parent=parent, waits_for=waits, keep=keep)
        calls = tuple(call_s * left for call_s in step.calls) if index == at else step.calls
        found.append(replace(moved, delay_s=delay_s, calls=calls))
    return tuple(found)


def _said(steps: tuple[Step, ...], last: int, number: int) -> list[Span]:
    """The context after a step: its prompt and its output, without the token that ends it."""
    way = [last]
    while steps[way[-1]].parent >= 0:
        way.append(steps[way[-1]].parent)
    spans: list[Span] = []
    for index in reversed(way):
        step = steps[index]
        spans = [*_kept(spans, step.keep), *step.append]
        spans.append((ids.said(number, index), step.osl - 1))
    return [span for span in spans if span[1]]


def _kept(spans: list[Span], keep: int | None) -> list[Span]:
    """The first `keep` tokens."""
    if keep is None:
        return spans
    found: list[Span] = []
    for content, tokens in spans:
        if keep <= 0:
            break
        found.append((content, min(tokens, keep)))
        keep -= tokens
    return found
