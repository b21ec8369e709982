"""Routing policies: which group of a replica gets a request.

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
    """What a policy sees of a group of sequences that share one KV memory (a replica, mostly).

    index: its number; load: requests here or on their way; line_tokens: prompt tokens to compute
    in its waiting line; kv: what it has cached.
    """

    @property
    def index(self) -> int: ...
    @property
    def load(self) -> int: ...
    @property
    def line_tokens(self) -> int: ...
    @property
    def kv(self) -> KvCache: ...


@dataclass(slots=True)
class State:
    """What was decided so far: how often, and the replica (its index) of each trajectory."""

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
    """The replica with the fewest requests, waiting or running; the first of equals."""
    return min(groups, key=_load)


def sticky(request: Request, groups: Sequence[V], state: State) -> V:
    """Always the replica of the trajectory's first request, which was the least loaded then.

    One that cannot hold a later request is left for the least loaded that can.
    """
    home = state.homes.get(request.owner)
    for group in groups:
        if group.index == home:
            return group
    return least_loaded(request, groups, state)


def prefix_affinity(request: Request, groups: Sequence[V], state: State) -> V:
    """The replica with the least work ahead of this answer, what it has cached counted.

    work = prompt tokens not cached here + prompt tokens in line here
           + SEQ_TOKENS x (requests here beyond the least loaded replica's)        [tokens]

    so that a large cached context outweighs a short line, but not a long one. A context that some
    replicas have seen before is looked for there and on the least loaded one only.
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
    if lowest is not None and lowest[0] > request.prompt_tokens - shared + idlest.line_tokens:
        work, _ = _work(request, idlest, idlest.load)
        if work < lowest:
            best = idlest
    return best


def _work(request: Request, group: Candidate, least: int) -> tuple[tuple[int, int], int]:
    """Work ahead on a replica (ties: its load), and tokens cached there by others."""
    match = group.kv.look_up(request)
    fresh = request.prompt_tokens - group.kv.usable(match.depth, request.prompt_tokens - 1)
    ahead = group.line_tokens + SEQ_TOKENS * (group.load - least)
    return (fresh + ahead, group.load), match.depth - match.own


# A running request slows a newcomer about as much as this many prompt tokens in line: an agent
# step computes about 2,000 fresh tokens and decodes beside the newcomer (judgement, not measured).
SEQ_TOKENS = 512

Policy = Callable[[Request, Sequence[V], State], V]
POLICIES = {
    "round_robin": round_robin,
    "least_loaded": least_loaded,
    "sticky": sticky,
    "prefix_affinity": prefix_affinity,
}
