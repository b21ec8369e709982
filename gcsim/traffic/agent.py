"""One class of agents: the steps of its trajectories, drawn block-wise.

Everything random is drawn in a few vectors for a block of trajectories; a plain loop then links the
steps. A context grows by the previous output (which the engine appends) and the step's own append.
"""

from collections.abc import Callable, Iterator
from itertools import islice, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gcsim.profiles.distribution import constant
from gcsim.profiles.workload import Agent, FanOut
from gcsim.traffic import ids
from gcsim.traffic.distributions import Floats, Ints, sample, sample_whole
from gcsim.traffic.trajectory import Span, Step

SHAPE, LENGTHS, DELAYS, FORKS = 2, 3, 4, 5  # purposes of a generator
Stream = Callable[[int], np.random.Generator]
_WAITS = [(k,) for k in range(4096)]  # made once: most steps wait for the one before


class Draws(NamedTuple):
    """Iterators over the steps of a block, in order: what each appends, gives and waits.

    calls: the times of all the tool calls of a step that makes several [s]
    """

    append: Iterator[int]
    output: Iterator[int]
    delay: Iterator[float]
    human: Iterator[bool]
    calls: Iterator[tuple[float, ...]]


class Fork(NamedTuple):
    """The sub-agents of one trajectory: after which main step, and the length of each branch."""

    after: int
    branches: list[int]


def plan_block(
    agent: Agent, name: str, slot: int, *, number: int, count: int, stream: Stream
) -> Iterator[tuple[Step, ...]]:
    """The steps of trajectories `number` ... `number + count - 1` of a class.

    stream: the generator of a purpose, fresh for this block.
    """
    shape, lengths = stream(SHAPE), stream(LENGTHS)
    steps = sample_whole(agent.steps, shape, count)
    steps *= sample_whole(agent.samples, shape, count)
    human = _human(agent, steps, shape)
    limits = [0] * count
    if agent.compact_above:
        limits = sample_whole(agent.compact_above, shape, count).tolist()
    first = sample_whole(agent.first, lengths, count)
    draws = _draws(agent, steps, human, first, lengths, stream(DELAYS))
    forks, branch = _forks(agent.fan_out, agent, steps, stream) if agent.fan_out else (None, None)
    shared = (ids.shared(name, "prefix"), round(agent.shared.value))
    parallel = agent.samples != constant(1)
    for k, length in enumerate(steps.tolist()):
        fork = forks[k] if forks else None
        base = ids.private(slot, number + k)
        if parallel:
            yield _samples(agent, length, shared, base, draws)
        else:
            yield _chain(agent, length, limits[k], shared, base, draws, fork, branch)


def _human(agent: Agent, steps: Ints, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which steps begin with a person: the first of every user turn but the first."""
    total, ends = int(steps.sum()), np.cumsum(steps)
    begins = ends - steps
    mask = np.zeros(total, dtype=bool)
    if agent.user is None:
        return mask
    if agent.tools is None:
        mask[:] = True
    else:
        turns = sample_whole(agent.user.every, rng, total)  # more than any trajectory needs
        sums = np.cumsum(turns)
        owner = np.repeat(np.arange(len(steps)), steps)
        position = sums - (sums[begins] - turns[begins])[owner]
        inside = position < steps[owner]
        mask[begins[owner[inside]] + position[inside]] = True
    mask[begins] = False
    return mask


def _draws(
    agent: Agent,
    steps: Ints,
    human: NDArray[np.bool_],
    first: Ints,
    lengths: np.random.Generator,
    delays: np.random.Generator,
) -> Draws:
    total, ends = len(human), np.cumsum(steps)
    begins = ends - steps
    output = sample_whole(agent.output, lengths, total)
    if agent.last_output:
        output[ends - 1] = sample_whole(agent.last_output, lengths, len(steps))
    append = np.zeros(total, dtype=np.int64)
    delay = np.zeros(total)
    calls: Iterator[tuple[float, ...]] = repeat(())
    if agent.tools:
        append = sample_whole(agent.tools.append, lengths, total)
        number = sample_whole(agent.tools.calls, delays, total)
        every = sample(agent.tools.delay, delays, int(number.sum()))
        begun = np.cumsum(number) - number
        delay = np.maximum.reduceat(every, begun) if total else every
        calls = _several(every, begun, number * ~human, begins)
    if agent.user:
        append = np.where(human, sample_whole(agent.user.append, lengths, total), append)
        delay = np.where(human, sample(agent.user.gap, delays, total), delay)
    append[begins] = first
    delay[begins] = sample(agent.start_delay, delays, len(steps))
    lists = append.tolist(), output.tolist(), delay.tolist(), human.tolist()
    appended, given, waited, people = lists
    return Draws(iter(appended), iter(given), iter(waited), iter(people), calls)


def _several(every: Floats, begun: Ints, number: Ints, begins: Ints) -> Iterator[tuple[float, ...]]:
    """The times of all calls of each step with more than one; first steps have none [s]."""
    number[begins] = 0
    steps = np.flatnonzero(number > 1)
    if not len(steps):
        return repeat(())
    found: list[tuple[float, ...]] = [()] * len(number)
    times, first, count = every.tolist(), begun[steps].tolist(), number[steps].tolist()
    for step, at, calls in zip(steps.tolist(), first, count, strict=True):
        found[step] = tuple(times[at : at + calls])
    return iter(found)


def _chain(
    agent: Agent,
    length: int,
    compact_above: int,
    shared: Span,
    base: int,
    draws: Draws,
    fork: Fork | None,
    branch: Draws | None,
) -> tuple[Step, ...]:
    """Steps that follow one another, with compactions, forgotten contexts and one fork."""
    ttl = agent.cache_ttl.value if agent.cache_ttl else float("inf")
    kept = max(round(agent.keep.value * compact_above), 1)  # a prompt has at least one token
    compact_above = compact_above or 1 << 62
    steps: list[Step] = []
    last, context = -1, shared[1]
    waits: tuple[int, ...] = ()
    append: tuple[Span, ...]
    main = islice(zip(*draws, strict=False), length)
    for k, (tokens, osl, delay_s, human, calls) in enumerate(main):
        if fork and k == fork.after + 1 and branch:
            tokens, waits = _branches(agent, shared, fork, branch, base, steps)
            delay_s, calls = 0.0, ()
        piece = base + len(steps)
        context += tokens
        parent, append = last, ((piece, tokens),)
        if context > compact_above:
            context = shared[1] + kept
            parent, append = -1, (shared, (piece, kept))
        elif delay_s > ttl or not k:
            parent, append = -1, (shared, (piece, context - shared[1]))
        model = agent.model
        steps.append(Step(append, osl, delay_s, parent, waits, human, model, None, calls))
        context += osl
        last = len(steps) - 1
        waits = _WAITS[last] if last < len(_WAITS) else (last,)
    return tuple(steps)


def _samples(agent: Agent, length: int, shared: Span, base: int, draws: Draws) -> tuple[Step, ...]:
    """Parallel answers to one prompt."""
    prompts = list(islice(zip(*draws, strict=False), length))
    tokens, _, delay_s, _, _ = prompts[0]
    append = (shared, (base, tokens))
    return tuple(Step(append, osl, delay_s, model=agent.model) for _, osl, *_ in prompts)


def _forks(
    fan_out: FanOut, agent: Agent, steps: Ints, stream: Stream
) -> tuple[list[Fork | None], Draws]:
    """Which trajectories of a block fork and where, and the draws of all their branches' steps."""
    rng, count = stream(FORKS), len(steps)
    chosen = (rng.random(count) < fan_out.share.value) & (steps > 1)
    after = (rng.random(count) * (steps - 1)).astype(np.int64)
    branches = sample_whole(fan_out.branches, rng, count) * chosen
    lengths = sample_whole(fan_out.steps, rng, int(branches.sum()))
    sub = agent.model_copy(update={"last_output": fan_out.report, "user": None})
    human = np.zeros(int(lengths.sum()), dtype=bool)
    briefs = sample_whole(agent.first, rng, len(lengths))
    draws = _draws(sub, lengths, human, briefs, rng, rng)
    each = iter(lengths.tolist())
    forks = [
        Fork(at, list(islice(each, n))) if n else None
        for at, n in zip(after.tolist(), branches.tolist(), strict=True)
    ]
    return forks, draws


def _branches(
    agent: Agent, shared: Span, fork: Fork, draws: Draws, base: int, steps: list[Step]
) -> tuple[int, tuple[int, ...]]:
    """Add the steps of all sub-agents; the tokens of their reports and the steps that give them."""
    model = agent.fan_out.model if agent.fan_out else None
    start, reports, ends = len(steps) - 1, 0, []
    for length in fork.branches:
        parent, waits, osl = -1, (start,), 0
        for tokens, osl, delay_s, human, calls in islice(zip(*draws, strict=False), length):
            piece = (base + len(steps), tokens)
            append = (shared, piece) if parent < 0 else (piece,)
            served = model or agent.model
            steps.append(Step(append, osl, delay_s, parent, waits, human, served, None, calls))
            parent = len(steps) - 1
            waits = (parent,)
        reports += osl
        ends.append(parent)
    return reports, tuple(ends)
