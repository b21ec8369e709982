"""Batching policies: what the next iteration of a replica computes.

A policy is a function of the replica; it admits waiting requests (`replica.admit()`, None when
none can be) and returns whether running sequences decode, and the prompt chunks (request, tokens).
A new policy is one function and one line in `POLICIES`.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gcsim.engine.request import Request
from gcsim.machine.roofline import causal_pairs, window_pairs

if TYPE_CHECKING:
    from gcsim.engine.replica import Replica

Chunk = tuple[Request, int]
Batch = tuple[bool, list[Chunk]]
# New tokens, prompts completed, attention pairs, those in sliding layers, KV tokens read, likewise.
Prompts = tuple[int, int, float, float, int, int]


def continuous(replica: "Replica") -> Batch:
    """Decode for all, and prompt chunks in what is left of the token budget (as vLLM V1)."""
    decoding = replica.decode.seqs * replica.tokens_per_seq
    return True, _fill(replica, replica.max_iteration_tokens - decoding)


def prefill_first(replica: "Replica") -> Batch:
    """Iterations of prompts alone while there are any; decode waits (SGLang, vLLM V0)."""
    chunks = _fill(replica, replica.max_iteration_tokens)
    return not chunks, chunks


def static(replica: "Replica") -> Batch:
    """A batch is formed once, prefilled, and decoded until its last sequence has ended."""
    if not replica.running:
        while replica.admit() is not None:
            pass
    chunks = _chunks(replica.prefilling, replica.max_iteration_tokens)
    return not chunks, chunks


def prefill_only(replica: "Replica") -> Batch:
    """The prefill side: nothing decodes here, requests leave after their first token."""
    return False, _fill(replica, replica.max_iteration_tokens)


POLICIES: dict[str, Callable[["Replica"], Batch]] = {
    "continuous": continuous,
    "prefill_first": prefill_first,
    "static": static,
    # What arrives has its prompt computed. What it still lacks (the last token, or a prompt that
    # was routed here whole) is computed in the same iterations.
    "decode_only": continuous,
    "prefill_only": prefill_only,
}


def _fill(replica: "Replica", budget: int) -> list[Chunk]:
    """Go on with started prompts, then admit waiting requests, first come first served."""
    chunks = _chunks(replica.prefilling, budget) if replica.prefilling else []
    for _, tokens in chunks:
        budget -= tokens
    while budget > 0 and replica.waiting:
        request = replica.admit()
        if request is None:
            break
        if request.todo:
            tokens = min(request.todo, budget)
            chunks.append((request, tokens))
            budget -= tokens
        else:
            budget -= replica.tokens_per_seq
    return chunks


def _chunks(prefilling: Iterable[Request], budget: int) -> list[Chunk]:
    chunks = []
    for request in prefilling:
        if budget <= 0:
            break
        tokens = min(request.todo, budget)
        chunks.append((request, tokens))
        budget -= tokens
    return chunks


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
            window_kv += min(past, window) + tokens
            window_sum += window_pairs(float(tokens), float(past), float(window))
    return new, completed, pairs, window_sum, kv, window_kv
