"""Batching policies: who is next, and what the next iteration computes.

A policy is two pure functions. `rank(request)` gives the key by which requests wait in line, least
first; a higher priority comes first whatever the policy, and equal keys keep the order of arrival.
`form(view, limits)` says how an iteration is filled; the replica then admits from the head of the
line what its memory has room for. A new policy is one function and one line in `POLICIES`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from gcsim.engine.request import Request
from gcsim.machine.roofline import causal_pairs, window_pairs
from gcsim.profiles.deployment import ContextLimit

Chunk = tuple[Request, int]
# New tokens, prompts completed, attention pairs, those in sliding layers, KV tokens read, likewise.
Prompts = tuple[int, int, float, float, int, int]


class View(NamedTuple):
    """Sequences of a replica at an iteration boundary: decoding, with a prompt under way, in line.

    Sequences that run but wait for decode to go on count as decoding.
    """

    decoding: int
    prefilling: int
    waiting: int


class Limits(NamedTuple):
    """tokens: most of an iteration; tokens_per_seq: of a sequence that decodes."""

    tokens: int
    tokens_per_seq: int


class Form(NamedTuple):
    """How an iteration is filled.

    prompt_tokens: most prompt tokens; started prompts come before those in line. beside: decode
    goes on beside prompts, else it waits while there are any. admit: who is admitted from the line:
    "fill" as long as prompt tokens are left, "all" whatever their length, "none".
    """

    prompt_tokens: int
    beside: bool
    admit: Literal["fill", "all", "none"] = "fill"


class Policy(NamedTuple):
    """Who is next, and how an iteration is filled."""

    rank: Callable[[Request], Any]
    form: Callable[[View, Limits], Form]


def arrival(request: Request) -> int:
    """First come, first served."""
    return 0


def shortest_prompt(request: Request) -> int:
    """The fewest prompt tokens first."""
    return request.prompt_tokens


def mixed(view: View, limits: Limits) -> Form:
    """Decode for all, and prompt chunks in what is left of the tokens (as vLLM V1)."""
    return Form(limits.tokens - view.decoding * limits.tokens_per_seq, True)


def prompts_first(view: View, limits: Limits) -> Form:
    """Iterations of prompts alone while there are any; decode waits (SGLang, vLLM V0)."""
    return Form(limits.tokens, False)


def batch_by_batch(view: View, limits: Limits) -> Form:
    """A batch is formed once, prefilled, and decoded until its last sequence has ended."""
    return Form(limits.tokens, False, "none" if view.decoding or view.prefilling else "all")


POLICIES: dict[str, Policy] = {
    "continuous": Policy(arrival, mixed),
    "prefill_first": Policy(arrival, prompts_first),
    "shortest_first": Policy(shortest_prompt, mixed),
    "static": Policy(arrival, batch_by_batch),
    # What arrives has its prompt computed. What it still lacks (the last token, or a prompt that
    # was routed here whole) is computed in the same iterations.
    "decode_only": Policy(arrival, mixed),
    # Nothing decodes here: requests leave when their prompt is computed.
    "prefill_only": Policy(arrival, prompts_first),
}


def seats(contexts: Iterable[int], limits: Sequence[ContextLimit], most: int) -> int:
    """How many sequences with such contexts may run together: the longest decides.

    >>> limits = [ContextLimit(context=8192, max_seqs=32), ContextLimit(context=65536, max_seqs=4)]
    >>> [seats(found, limits, 16) for found in ((10, 8192), (10, 8193), (10, 65537))]
    [16, 4, 0]
    """
    longest = max(contexts)
    return next((min(most, limit.max_seqs) for limit in limits if longest <= limit.context), 0)


def prompt_sums(chunks: list[Chunk], window: int) -> Prompts:
    """What the prompt chunks of an iteration add up to, for the roofline."""
    new = kv = window_kv = completed = 0
    pairs = window_sum = 0.0
    for request, tokens in chunks:
        past = request.past
        new += tokens
        completed += tokens == request.todo
        kv += past + tokens
        pairs += causal_pairs(float(tokens), float(past))
        if window:
            window_kv += (min(past, window) if window > 0 else past % -window) + tokens
            window_sum += window_pairs(float(tokens), float(past), float(window))
    return new, completed, pairs, window_sum, kv, window_kv
