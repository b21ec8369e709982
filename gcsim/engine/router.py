"""Routing policies: which replica gets a request.

A policy is a function `(request, replicas, state) -> replica`. It sees queue lengths, cached tokens
and KV use, never the true output length. A new policy is one function and one line in `POLICIES`.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter

from gcsim.engine.replica import Replica
from gcsim.engine.request import Request

State = dict[str, int]
_load = attrgetter("load")
Policy = Callable[[Request, Sequence[Replica], State], Replica]


def round_robin(request: Request, replicas: Sequence[Replica], state: State) -> Replica:
    """Each in turn."""
    turn = state.get("turn", 0)
    state["turn"] = turn + 1
    return replicas[turn % len(replicas)]


def least_loaded(request: Request, replicas: Sequence[Replica], state: State) -> Replica:
    """The replica with the fewest requests, waiting or running; the first of equals."""
    return min(replicas, key=_load)


def sticky(request: Request, replicas: Sequence[Replica], state: State) -> Replica:
    """Always the replica of the trajectory's first request, which was the least loaded then.

    One that cannot hold a later request is left for the least loaded that can.
    """
    key = f"trajectory {request.owner}"
    home = state.get(key)
    for replica in replicas:
        if replica.index == home:
            return replica
    chosen = least_loaded(request, replicas, state)
    state[key] = chosen.index
    return chosen


def prefix_affinity(request: Request, replicas: Sequence[Replica], state: State) -> Replica:
    """The replica with the least work ahead of this answer, what it has cached counted.

    work = prompt tokens not cached here + prompt tokens in line here
           + SEQ_TOKENS x (requests here beyond the least loaded replica's)        [tokens]

    so that a large cached context outweighs a short line, but not a long one. A context that some
    replicas have seen before is looked for there and on the least loaded one only.
    """
    if len(replicas) == 1:
        return replicas[0]
    idlest = min(replicas, key=_load)
    homes = list(filter(request.context.hints.__contains__, replicas)) or replicas
    best, lowest, fresh, shared = homes[0], None, 0, 0
    for replica in homes:
        cost, found, others = _work(request, replica, idlest.load)
        if lowest is None or cost < lowest:
            best, lowest, fresh, shared = replica, cost, found, others
    # Where this context has never been, no more than what is shared can be cached.
    if lowest is not None and lowest[0] > request.prompt_tokens - shared + idlest.line_tokens:
        cost, found, _ = _work(request, idlest, idlest.load)
        if cost < lowest:
            best, fresh = idlest, found
    request.estimate = fresh
    return best


def _work(request: Request, replica: Replica, least: int) -> tuple[tuple[int, int], int, int]:
    """Work ahead on a replica (ties: its load), tokens to compute, tokens cached by others."""
    match = replica.kv.look_up(request)
    fresh = request.prompt_tokens - replica.kv.usable(match.depth, request.prompt_tokens - 1)
    ahead = replica.line_tokens + SEQ_TOKENS * (replica.load - least)
    return (fresh + ahead, replica.load), fresh, match.depth - match.own


# A running request slows a newcomer about as much as this many prompt tokens in line: an agent
# step computes about 2,000 fresh tokens and decodes beside the newcomer (judgement, not measured).
SEQ_TOKENS = 512

POLICIES: dict[str, Policy] = {
    "round_robin": round_robin,
    "least_loaded": least_loaded,
    "sticky": sticky,
    "prefix_affinity": prefix_affinity,
}
