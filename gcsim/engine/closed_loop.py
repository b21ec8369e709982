"""A closed loop without think time, or a static batch, on one replica: scheduled without a clock.

There the order and the content of iterations do not depend on how long they take. So the schedule
is made once, and every time that it yields is a weighted sum of iteration times: what calibration
prices thousands of times. `tests/truth` holds the engine to it.
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

# Integer state of a schedule: the queue's ends, prompts and sequences under way, KV tokens in use,
# requests sent, arrived, to arrive after the next iteration, after the one that follows it, ended.
HEAD, TAIL, PREFILLING, DECODING, USED, SENT, ARRIVED, DUE, LATER, DONE = range(10)
# Counted requests that wait for their first token, that have it; sum of their 1 / (osl - 1).
WAITING, AFTER, PER_TOKEN = range(3)
# Rows of the table of requests.
ISL, OSL, PAST, GENERATED, CHUNK = range(5)
# Places of `Limits`.
CLIENTS, BUDGET, SEATS, KV_TOKENS, EXTRA, PREFILL_FIRST, COUNT_FROM, LAG = range(8)


class Limits(NamedTuple):
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


def schedule(isl: np.ndarray, osl: np.ndarray, limits: Limits, window: int) -> np.ndarray:
    """Play requests in order, `clients` at any time: one row per iteration (batch, weights).

    isl, osl: lengths by request; window: of the sliding layers. A sequence that finds no KV is
    recomputed later, the latest admitted first. An empty result means that a request can never fit.
    """
    rows, chunks = _schedule(isl, osl, np.array(limits, dtype=np.int64), window)
    add_chunks(rows, chunks, window)
    return np.asarray(rows)


@numba.njit(cache=True)
def _schedule(
    isl: np.ndarray, osl: np.ndarray, limits: np.ndarray, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """`schedule`, and its prompt chunks apart: (row, new tokens, past tokens)."""
    n = isl.size
    rows, chunks = np.empty((4096, WIDTH)), np.empty((4096, 3), np.int64)
    used_rows = used_chunks = 0
    requests = np.zeros((5, n), np.int64)
    requests[ISL], requests[OSL] = isl, osl
    queue = np.empty(2 * n + limits[CLIENTS] + 8, np.int64)  # preempted ones go to the front
    prefilling, decoding = np.empty(n, np.int64), np.empty(n, np.int64)
    s, counts = np.zeros(10, np.int64), np.zeros(3)
    s[HEAD] = s[TAIL] = n + 4
    s[SENT] = min(limits[CLIENTS], n)
    for i in range(s[SENT]):
        queue[s[TAIL]] = i
        s[TAIL] += 1
    s[ARRIVED] = s[SENT]
    counts[WAITING] = max(s[SENT] - limits[COUNT_FROM], 0)
    counted = float(n - limits[COUNT_FROM])
    with_tpot = max(float((osl[limits[COUNT_FROM] :] > 1).sum()), 1.0)
    while s[DONE] < n:
        if used_rows == rows.shape[0]:
            rows = np.concatenate((rows, np.empty_like(rows)))
        held = _make_room(s, requests, queue, prefilling, decoding, limits)
        left = limits[BUDGET] - (0 if limits[PREFILL_FIRST] else s[DECODING])
        if not _fill(s, requests, queue, prefilling, limits, left, held):
            return rows[:0], chunks[:0]
        while used_chunks + s[PREFILLING] > chunks.shape[0]:
            chunks = np.concatenate((chunks, np.empty_like(chunks)))
        row = rows[used_rows]
        row[:] = 0.0
        new, row[LOGIT_SEQS] = _chunks(s, requests, prefilling, chunks[used_chunks:], used_rows)
        if not (limits[PREFILL_FIRST] and new):
            _decodes(row, s, requests, decoding, window)
        row[TTFT], row[TPOT] = counts[WAITING] / counted, counts[PER_TOKEN] / with_tpot
        row[E2E], row[ELAPSED] = (counts[WAITING] + counts[AFTER]) / counted, 1.0
        used_chunks += new
        used_rows += 1
        ended = 0
        if row[DECODE_SEQS] > 0.0:
            ended += _decode(s, requests, decoding, counts, limits)
        ended += _prefill(s, requests, prefilling, decoding, counts, limits)
        s[DONE] += ended
        _send(s, queue, counts, ended, n, limits)
    return rows[:used_rows], chunks[:used_chunks]


@numba.njit(cache=True)
def _make_room(
    s: np.ndarray,
    requests: np.ndarray,
    queue: np.ndarray,
    prefilling: np.ndarray,
    decoding: np.ndarray,
    limits: np.ndarray,
) -> bool:
    """Preempt until every decoding sequence can take its next token; whether somebody was."""
    held = False
    while s[DECODING] > 0 and s[USED] + s[DECODING] > limits[KV_TOKENS]:
        held = True
        if s[PREFILLING] > 0:
            s[PREFILLING] -= 1
            victim = prefilling[s[PREFILLING]]
        else:
            s[DECODING] -= 1
            victim = decoding[s[DECODING]]
        s[USED] -= requests[ISL, victim] + requests[GENERATED, victim] + limits[EXTRA]
        requests[PAST, victim] = 0
        s[HEAD] -= 1
        queue[s[HEAD]] = victim
    return held


@numba.njit(cache=True)
def _fill(
    s: np.ndarray,
    requests: np.ndarray,
    queue: np.ndarray,
    prefilling: np.ndarray,
    limits: np.ndarray,
    budget: int,
    held: bool,
) -> bool:
    """Chunks of started prompts, then of waiting ones; False when one can never fit."""
    left = max(budget, 0)
    for k in range(s[PREFILLING]):
        i = prefilling[k]
        todo = requests[ISL, i] + requests[GENERATED, i] - requests[PAST, i]
        requests[CHUNK, i] = min(left, todo)
        left -= requests[CHUNK, i]
    active = s[PREFILLING] + s[DECODING]
    if held:
        return bool(active > 0)
    while left > 0 and s[HEAD] < s[TAIL] and s[PREFILLING] + s[DECODING] < limits[SEATS]:
        i = queue[s[HEAD]]
        tokens = requests[ISL, i] + requests[GENERATED, i]
        if s[USED] + tokens + limits[EXTRA] + s[DECODING] > limits[KV_TOKENS]:
            return bool(s[PREFILLING] + s[DECODING] > 0)
        s[HEAD] += 1
        s[USED] += tokens + limits[EXTRA]
        prefilling[s[PREFILLING]] = i
        s[PREFILLING] += 1
        requests[CHUNK, i] = min(left, tokens)
        left -= requests[CHUNK, i]
    return True


@numba.njit(cache=True)
def _chunks(
    s: np.ndarray, requests: np.ndarray, prefilling: np.ndarray, chunks: np.ndarray, row: int
) -> tuple[int, int]:
    """Write the prompt chunks of the next iteration: how many, and how many end their prompt."""
    written = ends = 0
    for k in range(s[PREFILLING]):
        i = prefilling[k]
        new, past = requests[CHUNK, i], requests[PAST, i]
        if new > 0:
            chunks[written, 0], chunks[written, 1], chunks[written, 2] = row, new, past
            written += 1
            ends += past + new == requests[ISL, i] + requests[GENERATED, i]
    return written, ends


@numba.njit(cache=True)
def _decodes(
    row: np.ndarray, s: np.ndarray, requests: np.ndarray, decoding: np.ndarray, window: int
) -> None:
    """Add the decoding sequences to the batch of the next iteration."""
    row[DECODE_SEQS] = s[DECODING]
    row[LOGIT_SEQS] += s[DECODING]
    for k in range(s[DECODING]):
        i = decoding[k]
        tokens = requests[ISL, i] + requests[GENERATED, i]
        row[DECODE_KV] += tokens
        if window > 0:
            row[DECODE_WINDOW_KV] += min(tokens, window)


@numba.njit(cache=True)
def _decode(
    s: np.ndarray,
    requests: np.ndarray,
    decoding: np.ndarray,
    counts: np.ndarray,
    limits: np.ndarray,
) -> int:
    """Every decoding sequence gains a token; how many of them have ended."""
    kept = ended = 0
    s[USED] += s[DECODING]
    for k in range(s[DECODING]):
        i = decoding[k]
        requests[GENERATED, i] += 1
        if requests[GENERATED, i] == requests[OSL, i]:
            s[USED] -= requests[ISL, i] + requests[GENERATED, i] + limits[EXTRA]
            ended += 1
            if i >= limits[COUNT_FROM]:
                counts[AFTER] -= 1.0
                counts[PER_TOKEN] -= 1.0 / (requests[OSL, i] - 1.0)
        else:
            decoding[kept] = i
            kept += 1
    s[DECODING] = kept
    return ended


@numba.njit(cache=True)
def _prefill(
    s: np.ndarray,
    requests: np.ndarray,
    prefilling: np.ndarray,
    decoding: np.ndarray,
    counts: np.ndarray,
    limits: np.ndarray,
) -> int:
    """Prompts move on by their chunks; those that are computed yield a token, and decode or end."""
    kept = ended = 0
    for k in range(s[PREFILLING]):
        i = prefilling[k]
        requests[PAST, i] += requests[CHUNK, i]
        if requests[PAST, i] < requests[ISL, i] + requests[GENERATED, i]:
            prefilling[kept] = i
            kept += 1
            continue
        first, osl = requests[GENERATED, i] == 0, requests[OSL, i]
        requests[GENERATED, i] += 1
        s[USED] += 1
        over = requests[GENERATED, i] == osl
        if i >= limits[COUNT_FROM]:
            counts[WAITING] -= first
            if first and not over:
                counts[AFTER] += 1.0
                counts[PER_TOKEN] += 1.0 / (osl - 1.0)
            elif over and not first:
                counts[AFTER] -= 1.0
                counts[PER_TOKEN] -= 1.0 / (osl - 1.0)
        if over:
            s[USED] -= requests[ISL, i] + osl + limits[EXTRA]
            ended += 1
        else:
            decoding[s[DECODING]] = i
            s[DECODING] += 1
    s[PREFILLING] = kept
    return ended


@numba.njit(cache=True)
def _send(
    s: np.ndarray,
    queue: np.ndarray,
    counts: np.ndarray,
    ended: int,
    n: int,
    limits: np.ndarray,
) -> None:
    """The next requests are sent now; they arrive `lag` iterations later, or when all is idle."""
    new = min(ended, n - s[SENT])
    for i in range(s[SENT], s[SENT] + new):
        counts[WAITING] += i >= limits[COUNT_FROM]
    s[SENT] += new
    due = s[DUE] + (new if limits[LAG] == 0 else 0)
    s[DUE] = s[LATER] + (new if limits[LAG] == 1 else 0)
    s[LATER] = new if limits[LAG] == 2 else 0
    if s[PREFILLING] + s[DECODING] + due == 0 and s[HEAD] == s[TAIL]:
        due = s[DUE] + s[LATER]
        s[DUE] = s[LATER] = 0
    for i in range(s[ARRIVED], s[ARRIVED] + due):
        queue[s[TAIL]] = i
        s[TAIL] += 1
    s[ARRIVED] += due
