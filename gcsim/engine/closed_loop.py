"""A closed loop without think time, or a static batch, on one replica: scheduled without a clock.

There the order and the content of iterations do not depend on how long they take. So the schedule
is made once, and every time that it yields is a weighted sum of iteration times: what calibration
prices thousands of times. `tests/truth` holds the engine to it.

What is under way is one `Loop`: numpy records, which the compiler reads as fast as plain arrays.
"""

from typing import NamedTuple

import numba
import numpy as np

from gcsim.machine.roofline import (
    BATCH,
    DECODE_KV,
    DECODE_SEQS,
    DECODE_WINDOW_KV,
    LOGIT_SEQS,
    add_chunks,
)

# After its batch, a row has the weights of an iteration's time in the mean TTFT, TPOT and E2E of
# the counted requests, and in the elapsed time.
SUMS = len(BATCH)
TTFT, TPOT, E2E, ELAPSED = range(SUMS, SUMS + 4)
WIDTH = SUMS + 4

REQUEST = np.dtype([(name, np.int64) for name in ("isl", "osl", "past", "generated", "chunk")])
# The queue's ends, prompts and sequences under way, KV tokens in use; requests sent, arrived, to
# arrive after the next iteration, after the one that follows it, ended.
_WHOLE = ("head", "tail", "prefilling", "decoding", "used", "sent", "arrived", "due", "later")
# Counted requests that wait for their first token, that have it; sum of their 1 / (osl - 1).
_COUNTED = ("waiting", "after", "per_token")
NOW = np.dtype(
    [(name, np.int64) for name in (*_WHOLE, "done")] + [(name, np.float64) for name in _COUNTED]
)


class ServerLimits(NamedTuple):
    """What a replica can take, and how its clients behave.

    clients: at any time; budget, seats: tokens and sequences per iteration; kv_tokens: capacity, of
    which each sequence takes `extra_tokens` beside its own; prefill_first: prompts alone while
    there are any, else mixed; count_from: requests from this index on are counted; lag: iterations
    from the end of a request to the arrival of the next (0, 1 or 2).
    """

    clients: int
    budget: int
    seats: int
    kv_tokens: int
    extra_tokens: int = 0
    prefill_first: bool = False
    count_from: int = 0
    lag: int = 1


class Loop(NamedTuple):
    """A loop under way: limits; now: one record of `NOW`; requests: records of `REQUEST`; numbers
    of those that wait (preempted ones go to the front), whose prompt is computed, that decode.
    """

    limits: ServerLimits
    now: np.ndarray
    requests: np.ndarray
    queue: np.ndarray
    prefilling: np.ndarray
    decoding: np.ndarray


def schedule(isl: np.ndarray, osl: np.ndarray, limits: ServerLimits, window: int) -> np.ndarray:
    """Play requests in order, `clients` at any time: one row per iteration (batch, weights).

    isl, osl: lengths by request; window: of the sliding layers. A sequence that finds no KV is
    recomputed later, the latest admitted first. An empty result means that a request can never fit.
    """
    n = isl.size
    requests, now = np.zeros(n, REQUEST).view(np.recarray), np.zeros(1, NOW).view(np.recarray)
    requests["isl"], requests["osl"] = isl, osl
    queue = np.empty(2 * n + limits.clients + 8, np.int64)
    now["head"] = now["tail"] = n + 4
    prefilling, decoding = np.empty(n, np.int64), np.empty(n, np.int64)
    rows, chunks = _schedule(Loop(limits, now, requests, queue, prefilling, decoding), window)
    add_chunks(rows, chunks, window)
    return np.asarray(rows)


@numba.njit(cache=True)
def _schedule(loop: Loop, window: int) -> tuple[np.ndarray, np.ndarray]:
    """`schedule`, and its prompt chunks apart: (row, new tokens, past tokens)."""
    limits, now, requests = loop.limits, loop.now[0], loop.requests
    n = requests.size
    rows, chunks = np.empty((4096, WIDTH)), np.empty((4096, 3), np.int64)
    used_rows = used_chunks = 0
    now.sent = now.arrived = min(limits.clients, n)
    for i in range(now.sent):
        loop.queue[now.tail] = i
        now.tail += 1
    now.waiting = max(now.sent - limits.count_from, 0)
    counted = float(n - limits.count_from)
    with_tpot = 0.0
    for i in range(limits.count_from, n):
        with_tpot += requests[i].osl > 1
    with_tpot = max(with_tpot, 1.0)
    while now.done < n:
        if used_rows == rows.shape[0]:
            rows = np.concatenate((rows, np.empty_like(rows)))
        held = _make_room(loop)
        left = limits.budget - (0 if limits.prefill_first else now.decoding)
        if not _fill(loop, left, held):
            return rows[:0], chunks[:0]
        while used_chunks + now.prefilling > chunks.shape[0]:
            chunks = np.concatenate((chunks, np.empty_like(chunks)))
        row = rows[used_rows]
        row[:] = 0.0
        new, row[LOGIT_SEQS] = _chunks(loop, chunks[used_chunks:], used_rows)
        if not (limits.prefill_first and new):
            _decodes(row, loop, window)
        row[TTFT], row[TPOT] = now.waiting / counted, now.per_token / with_tpot
        row[E2E], row[ELAPSED] = (now.waiting + now.after) / counted, 1.0
        used_chunks += new
        used_rows += 1
        ended = 0
        if row[DECODE_SEQS] > 0.0:
            ended += _decode(loop)
        ended += _prefill(loop)
        now.done += ended
        _send(loop, ended)
    return rows[:used_rows], chunks[:used_chunks]


@numba.njit(cache=True)
def _make_room(loop: Loop) -> bool:
    """Preempt until every decoding sequence can take its next token; whether somebody was."""
    limits, now, requests = loop.limits, loop.now[0], loop.requests
    queue, prefilling, decoding = loop.queue, loop.prefilling, loop.decoding
    held = False
    while now.decoding > 0 and now.used + now.decoding > limits.kv_tokens:
        held = True
        if now.prefilling > 0:
            now.prefilling -= 1
            victim = prefilling[now.prefilling]
        else:
            now.decoding -= 1
            victim = decoding[now.decoding]
        request = requests[victim]
        now.used -= request.isl + request.generated + limits.extra_tokens
        request.past = 0
        now.head -= 1
        queue[now.head] = victim
    return held


@numba.njit(cache=True)
def _fill(loop: Loop, budget: int, held: bool) -> bool:
    """Chunks of started prompts, then of waiting ones; False when one can never fit."""
    limits, now, requests = loop.limits, loop.now[0], loop.requests
    queue, prefilling = loop.queue, loop.prefilling
    left = max(budget, 0)
    for k in range(now.prefilling):
        request = requests[prefilling[k]]
        todo = request.isl + request.generated - request.past
        request.chunk = min(left, todo)
        left -= request.chunk
    active = now.prefilling + now.decoding
    if held:
        return bool(active > 0)
    while left > 0 and now.head < now.tail and now.prefilling + now.decoding < limits.seats:
        i = queue[now.head]
        request = requests[i]
        tokens = request.isl + request.generated
        if now.used + tokens + limits.extra_tokens + now.decoding > limits.kv_tokens:
            return bool(now.prefilling + now.decoding > 0)
        now.head += 1
        now.used += tokens + limits.extra_tokens
        prefilling[now.prefilling] = i
        now.prefilling += 1
        request.chunk = min(left, tokens)
        left -= request.chunk
    return True


@numba.njit(cache=True)
def _chunks(loop: Loop, chunks: np.ndarray, row: int) -> tuple[int, int]:
    """Write the prompt chunks of the next iteration: how many, and how many end their prompt."""
    now, requests, prefilling = loop.now[0], loop.requests, loop.prefilling
    written = ends = 0
    for k in range(now.prefilling):
        request = requests[prefilling[k]]
        new, past = request.chunk, request.past
        if new > 0:
            chunks[written, 0], chunks[written, 1], chunks[written, 2] = row, new, past
            written += 1
            ends += past + new == request.isl + request.generated
    return written, ends


@numba.njit(cache=True)
def _decodes(row: np.ndarray, loop: Loop, window: int) -> None:
    """Add the decoding sequences to the batch of the next iteration."""
    now, requests, decoding = loop.now[0], loop.requests, loop.decoding
    row[DECODE_SEQS] = now.decoding
    row[LOGIT_SEQS] += now.decoding
    for k in range(now.decoding):
        request = requests[decoding[k]]
        tokens = request.isl + request.generated
        row[DECODE_KV] += tokens
        if window > 0:
            row[DECODE_WINDOW_KV] += min(tokens, window)
        elif window < 0:
            row[DECODE_WINDOW_KV] += (tokens - 1) % -window + 1


@numba.njit(cache=True)
def _decode(loop: Loop) -> int:
    """Every decoding sequence gains a token; how many of them have ended."""
    limits, now, requests, decoding = loop.limits, loop.now[0], loop.requests, loop.decoding
    kept = ended = 0
    now.used += now.decoding
    for k in range(now.decoding):
        i = decoding[k]
        request = requests[i]
        request.generated += 1
        if request.generated == request.osl:
            now.used -= request.isl + request.generated + limits.extra_tokens
            ended += 1
            if i >= limits.count_from:
                now.after -= 1.0
                now.per_token -= 1.0 / (request.osl - 1.0)
        else:
            decoding[kept] = i
            kept += 1
    now.decoding = kept
    return ended


@numba.njit(cache=True)
def _prefill(loop: Loop) -> int:
    """Prompts move on by their chunks; those that are computed yield a token, and decode or end."""
    limits, now, requests = loop.limits, loop.now[0], loop.requests
    prefilling, decoding = loop.prefilling, loop.decoding
    kept = ended = 0
    for k in range(now.prefilling):
        i = prefilling[k]
        request = requests[i]
        request.past += request.chunk
        if request.past < request.isl + request.generated:
            prefilling[kept] = i
            kept += 1
            continue
        first, osl = request.generated == 0, request.osl
        request.generated += 1
        now.used += 1
        over = request.generated == osl
        if i >= limits.count_from:
            now.waiting -= first
            if first and not over:
                now.after += 1.0
                now.per_token += 1.0 / (osl - 1.0)
            elif over and not first:
                now.after -= 1.0
                now.per_token -= 1.0 / (osl - 1.0)
        if over:
            now.used -= request.isl + osl + limits.extra_tokens
            ended += 1
        else:
            decoding[now.decoding] = i
            now.decoding += 1
    now.prefilling = kept
    return ended


@numba.njit(cache=True)
def _send(loop: Loop, ended: int) -> None:
    """The next requests are sent now; they arrive `lag` iterations later, or when all is idle."""
    limits, now, queue = loop.limits, loop.now[0], loop.queue
    new = min(ended, loop.requests.size - now.sent)
    for i in range(now.sent, now.sent + new):
        now.waiting += i >= limits.count_from
    now.sent += new
    due = now.due + (new if limits.lag == 0 else 0)
    now.due = now.later + (new if limits.lag == 1 else 0)
    now.later = new if limits.lag == 2 else 0
    if now.prefilling + now.decoding + due == 0 and now.head == now.tail:
        due = now.due + now.later
        now.due = now.later = 0
    for i in range(now.arrived, now.arrived + due):
        queue[now.tail] = i
        now.tail += 1
    now.arrived += due
