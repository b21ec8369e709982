"""Routing policies: which replica gets a request.

A policy is a function `(request, replicas, state) -> replica`. It sees queue lengths, cached tokens
and KV use, never the true output length. A new policy is one function and one line in `POLICIES`.
"""

from collections.abc import Callable, Sequence

from gcsim.sim.replica import Replica
from gcsim.sim.request import Request

State = dict[str, int]
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
    """Always the replica of the trajectory's first request, which was the least loaded then."""
    return replicas[state.setdefault(f"trajectory {request.owner}", _first(replicas))]


def prefix_affinity(request: Request, replicas: Sequence[Replica], state: State) -> Replica:
    """The replica that will likely start the answer first: least work ahead, cache counted.

    Work is in tokens: prompt tokens that are not cached here, and those of the prompts in line,
    plus half of this prompt for every request ahead beyond the least loaded replica's, so that a
    large cached context outweighs a short line but not a long one.
    """
    if len(replicas) == 1:
        return replicas[0]
    least = min(map(_load, replicas))
    tokens = request.prompt_tokens
    best, lowest = replicas[0], None
    for replica in replicas:
        ahead = replica.load - least
        work = tokens - replica.kv.cached_tokens(request) + replica.line_tokens
        work += ahead * tokens // (2 * replica.max_seqs)
        if lowest is None or (work, replica.load) < lowest:
            best, lowest = replica, (work, replica.load)
    return best


POLICIES: dict[str, Policy] = {
    "round_robin": round_robin,
    "least_loaded": least_loaded,
    "sticky": sticky,
    "prefix_affinity": prefix_affinity,
}


def _load(replica: Replica) -> int:
    return replica.load


def _first(replicas: Sequence[Replica]) -> int:
    return min(range(len(replicas)), key=lambda k: replicas[k].load)
