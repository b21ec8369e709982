"""Routing policies: which group of which replica gets a request (most replicas are one group).

A policy is a pure function `(request, groups, state) -> group`. It sees queue lengths, cached
tokens and KV use, never the true output length; who asks it then notes the choice in the state.
A new policy is one function and one line in `POLICIES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol, TypeVar

from gcsim.engine.kv_cache import KvCache
from gcsim.engine.request import Request


class Candidate(Protocol):
    """What a policy sees of a group.

    index: its number; load: requests here or on their way; line_tokens: prompt tokens to compute
    in its waiting line; fresh_work: work that a prompt token makes which is not cached here: 1
    where it is computed, what its travel takes as a part of that where it comes computed; kv: what
    it has cached.
    """

    @property
    def index(self) -> int: ...
    @property
    def load(self) -> int: ...
    @property
    def line_tokens(self) -> int: ...
    @property
    def fresh_work(self) -> float: ...
    @property
    def kv(self) -> KvCache: ...


@dataclass(slots=True)
class State:
    """What was decided so far: how often, and the group (its index) of each trajectory.

    gap: of `prefix_filter` [tokens].
    """

    gap: int = 0
    turns: int = 0
    homes: dict[int, int] = field(default_factory=dict)

    def note(self, request: Request, chosen: Candidate) -> None:
        """A request goes to `chosen`."""
        self.turns += 1
        self.homes[request.owner] = chosen.index


V = TypeVar("V", bound=Candidate)
_load = attrgetter("load")


def round_robin(request: Request, groups: Sequence[V], state: State) -> V:
    """Each in turn."""
    return groups[state.turns % len(groups)]


def least_loaded(request: Request, groups: Sequence[V], state: State) -> V:
    """The group with the fewest requests, waiting or running; the first of equals."""
    return min(groups, key=_load)


def sticky(request: Request, groups: Sequence[V], state: State) -> V:
    """Always the group of the trajectory's first request, which was the least loaded then.

    One that cannot hold a later request is left for the least loaded that can.
    """
    home = state.homes.get(request.owner)
    for group in groups:
        if group.index == home:
            return group
    return least_loaded(request, groups, state)


def prefix_affinity(request: Request, groups: Sequence[V], state: State) -> V:
    """The group with the least work ahead of this answer, what it has cached counted.

    work = prompt tokens not cached here x their `fresh_work` + prompt tokens in line here
           + SEQ_TOKENS x (requests here beyond the least loaded group's)          [tokens]

    so that a large cached context outweighs a short line, but not a long one; and where prompts
    come computed it outweighs little. A context that some groups have seen before is looked for
    there and on the least loaded one only.
    """
    if len(groups) == 1:
        return groups[0]
    idlest = min(groups, key=_load)
    seen = request.context.hints
    homes = list(filter(seen.__contains__, groups)) or groups
    best, lowest, shared = homes[0], None, 0
    for group in homes:
        work, others = _work(request, group, idlest.load)
        if lowest is None or work < lowest:
            best, lowest, shared = group, work, others
    # Where this context has never been, no more than what is shared can be cached.
    fresh = (request.prompt_tokens - shared) * idlest.fresh_work
    if lowest is not None and lowest[0] > fresh + idlest.line_tokens:
        work, _ = _work(request, idlest, idlest.load)
        if work < lowest:
            best = idlest
    return best


def prefix_filter(request: Request, groups: Sequence[V], state: State) -> V:
    """The least loaded of the groups that hold most of the prompt, whatever their lines.

    That is `MOST` of its tokens. Only one whose requests make `state.gap` tokens more of such
    prompts than those of the least loaded group is left for that. Where no group holds it, one is
    drawn, so that popular prefixes come to lie unevenly. This is llm-d's default: its
    prefix-cache-affinity-filter, then the fewest tokens in flight, then chance.
    """
    if len(groups) == 1:
        return groups[0]
    wanted = MOST * request.prompt_tokens
    holding = [group for group in groups if group.kv.cached_tokens(request) >= wanted]
    if not holding:
        return groups[drawn(state.turns, len(groups))]
    best, idlest = min(holding, key=_load), min(groups, key=_load)
    ahead = (best.load - idlest.load) * request.prompt_tokens
    return best if ahead <= state.gap else idlest


def drawn(turn: int, count: int) -> int:
    """One of `count`, scattered over the turns (multiplicative hashing: Knuth, TAOCP 3, 6.4).

    >>> [drawn(turn, 16) for turn in range(5)]
    [0, 9, 3, 13, 7]
    """
    return (turn * 2654435769 & 0xFFFFFFFF) * count >> 32


def _work(request: Request, group: Candidate, least: int) -> tuple[tuple[float, int, int], int]:
    """Work ahead in a group, and tokens cached there by others.

    Of equals the less loaded is first, and where contexts come computed the one that has the least
    cached. (Not the one that uses the least: that grows within a run of iterations.)
    """
    match = group.kv.look_up(request)
    fresh = request.prompt_tokens - group.kv.usable(match.depth, request.prompt_tokens - 1)
    ahead = group.line_tokens + SEQ_TOKENS * (group.load - least)
    held = group.kv.cached if group.fresh_work != 1.0 else 0
    return (fresh * group.fresh_work + ahead, group.load, held), match.depth - match.own


# A running request slows a newcomer about as much as this many prompt tokens in line: an agent
# step computes about 2,000 fresh tokens and decodes beside the newcomer (judgement, not measured).
SEQ_TOKENS = 512
# llm-d's affinityThreshold, by default (llm-d-inference-scheduler, prefixcacheaffinity).
MOST = 0.8

Policy = Callable[[Request, Sequence[V], State], V]
POLICIES = {
    "round_robin": round_robin,
    "least_loaded": least_loaded,
    "sticky": sticky,
    "prefix_affinity": prefix_affinity,
    "prefix_filter": prefix_filter,
}
