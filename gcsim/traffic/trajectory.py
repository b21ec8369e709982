"""What the engine plays: trajectories of steps, each step one LLM call.

A prompt is a list of spans `(content id, tokens)`: equal ids are equal tokens, so that a session's
growing context, a system prompt shared by all and the hash blocks of a trace are one mechanism.
"""

from dataclasses import dataclass, replace

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Step:
    """One LLM call of a trajectory.

    append: spans added to the context for this call (tool results, user text, or a whole prompt)
    osl: tokens that the call generates (the engine's admission and routing never read it)
    delay_s: tool or human time between the end of what it waits for and its sending [s]
    parent: index of the step whose context (prompt and output) is continued; -1 starts afresh
    waits_for: indices of the steps that must have ended; empty only for steps sent at the start
    human: the delay is a person's gap, not a tool's
    model: name of the model that must serve it; None is the scenario's
    keep: how many leading tokens of the parent's prompt and output are continued; None is all of
        them (an agent that drops its thoughts, edits its history or goes back keeps fewer)
    calls: times of all the tool calls that the delay is the longest of [s], where several are known
    """

    append: tuple[Span, ...]
    osl: int
    delay_s: float = 0.0
    parent: int = -1
    waits_for: tuple[int, ...] = ()
    human: bool = False
    model: str | None = None
    keep: int | None = None
    calls: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One agent task. `start_s` is None where a closed loop decides when it starts.

    A higher `priority` is served first wherever requests wait. entered: it is under way when
    the run begins (`gcsim.traffic.midway`), so that it does not count.

    The steps are in topological order: a step waits only for earlier ones.
    """

    index: int
    workload: str
    steps: tuple[Step, ...]
    start_s: float | None = None
    priority: int = 0
    entered: bool = False


def chain(index: int, workload: str, steps: list[Step], start_s: float | None = None) -> Trajectory:
    """A trajectory whose steps follow one another, the common case.

    >>> chain(0, "demo", [Step(((1, 100),), 10), Step(((2, 20),), 5, delay_s=1.0)]).steps[1].parent
    0
    """
    linked = [
        replace(s, parent=k - 1, waits_for=(k - 1,) if k else ()) for k, s in enumerate(steps)
    ]
    return Trajectory(index, workload, tuple(linked), start_s)
