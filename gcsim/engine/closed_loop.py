"""A closed loop without think time, or a static batch, on one replica: scheduled without a clock.

There the order and the content of iterations do not depend on how long they take. So the schedule
is made once, and every time that it yields is a weighted sum of iteration times: what calibration
prices thousands of times. `tests/truth` holds the engine to it.
"""

import numba
import numpy as np

from gcsim.machine.iteration import iteration_parts
from gcsim.machine.ops import causal_pairs, window_pairs

# Arguments of `iteration_parts` after the coefficients, and the weights of an iteration's time in
# the mean TTFT, TPOT and E2E of the counted requests, and in the elapsed time.
BATCH = 9
WEIGHTS = 4


# Integer state of a schedule: the queue's ends, prompts and sequences under way, KV tokens in use,
# requests sent, arrived, to arrive after the next iteration, after the one that follows it, ended.
HEAD, TAIL, PREFILLING, DECODING, USED, SENT, ARRIVED, DUE, LATER, DONE = range(10)
# Counted requests that wait for their first token, that have it; sum of their 1 / (osl - 1).
WAITING, AFTER, PER_TOKEN = range(3)
# Rows of the table of requests.
ISL, OSL, PAST, GENERATED, CHUNK = range(5)


@numba.njit(cache=True)
def schedule(
    isl: np.ndarray,
    osl: np.ndarray,
    clients: int,
    budget: int,
    seats: int,
    kv_tokens: int,
    extra_tokens: int,
    window: int,
    prefill_first: bool,
    count_from: int,
    lag: int,
) -> np.ndarray:
    """Play requests in order, `clients` at any time: one row per iteration (batch, weights).

    isl, osl: lengths by request; budget, seats: tokens and sequences per iteration; kv_tokens:
    capacity, of which each sequence takes `extra_tokens` beside its own; prefill_first: prompts
    alone while there are any, else mixed; count_from: requests from this index on are counted;
    lag: iterations from the end of a request to the arrival of the next (0, 1 or 2).
    A sequence that finds no KV is recomputed later, the latest admitted first. An empty result
    means that a request can never fit.
    """
    n = isl.size
    rows = np.empty((4096, BATCH + WEIGHTS))
    used_rows = 0
    requests = np.zeros((5, n), np.int64)
    requests[ISL], requests[OSL] = isl, osl
    queue = np.empty(2 * n + clients + 8, np.int64)  # preempted ones go to the front
    prefilling, decoding = np.empty(n, np.int64), np.empty(n, np.int64)
    s, counts = np.zeros(10, np.int64), np.zeros(3)
    s[HEAD] = s[TAIL] = n + 4
    s[SENT] = min(clients, n)
    for i in range(s[SENT]):
        queue[s[TAIL]] = i
        s[TAIL] += 1
    s[ARRIVED] = s[SENT]
    counts[WAITING] = max(s[SENT] - count_from, 0)
    counted = float(n - count_from)
    with_tpot = max(float((osl[count_from:] > 1).sum()), 1.0)
    while s[DONE] < n:
        if used_rows == rows.shape[0]:
            bigger = np.empty((2 * used_rows, BATCH + WEIGHTS))
            bigger[:used_rows] = rows
            rows = bigger
        held = _make_room(s, requests, queue, prefilling, decoding, kv_tokens, extra_tokens)
        left = budget if prefill_first else budget - s[DECODING]
        fits = _fill(s, requests, queue, prefilling, left, seats, kv_tokens, extra_tokens, held)
        if not fits:
            return rows[:0]
        row = rows[used_rows]
        _measure(row, s, requests, prefilling, decoding, window, prefill_first)
        row[9], row[10] = counts[WAITING] / counted, counts[PER_TOKEN] / with_tpot
        row[11], row[12] = (counts[WAITING] + counts[AFTER]) / counted, 1.0
        used_rows += 1
        ended = 0
        if row[1] > 0.0:
            ended += _decode(s, requests, decoding, counts, count_from, extra_tokens)
        ended += _prefill(s, requests, prefilling, decoding, counts, count_from, extra_tokens)
        s[DONE] += ended
        _send(s, queue, counts, ended, n, count_from, lag)
    return rows[:used_rows]


@numba.njit(cache=True)
def _make_room(
    s: np.ndarray,
    requests: np.ndarray,
    queue: np.ndarray,
    prefilling: np.ndarray,
    decoding: np.ndarray,
    kv_tokens: int,
    extra_tokens: int,
) -> bool:
    """Preempt until every decoding sequence can take its next token; whether somebody was."""
    held = False
    while s[DECODING] > 0 and s[USED] + s[DECODING] > kv_tokens:
        held = True
        if s[PREFILLING] > 0:
            s[PREFILLING] -= 1
            victim = prefilling[s[PREFILLING]]
        else:
            s[DECODING] -= 1
            victim = decoding[s[DECODING]]
        s[USED] -= requests[ISL, victim] + requests[GENERATED, victim] + extra_tokens
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
    budget: int,
    seats: int,
    kv_tokens: int,
    extra_tokens: int,
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
    while left > 0 and s[HEAD] < s[TAIL] and s[PREFILLING] + s[DECODING] < seats:
        i = queue[s[HEAD]]
        tokens = requests[ISL, i] + requests[GENERATED, i]
        if s[USED] + tokens + extra_tokens + s[DECODING] > kv_tokens:
            return bool(s[PREFILLING] + s[DECODING] > 0)
        s[HEAD] += 1
        s[USED] += tokens + extra_tokens
        prefilling[s[PREFILLING]] = i
        s[PREFILLING] += 1
        requests[CHUNK, i] = min(left, tokens)
        left -= requests[CHUNK, i]
    return True


@numba.njit(cache=True)
def _measure(
    row: np.ndarray,
    s: np.ndarray,
    requests: np.ndarray,
    prefilling: np.ndarray,
    decoding: np.ndarray,
    window: int,
    prefill_first: bool,
) -> None:
    """The batch of the next iteration, as arguments of `iteration_parts`."""
    row[:] = 0.0
    ends = 0
    for k in range(s[PREFILLING]):
        i = prefilling[k]
        tokens, past = requests[CHUNK, i], requests[PAST, i]
        if tokens == 0:
            continue
        row[0] += tokens
        ends += past + tokens == requests[ISL, i] + requests[GENERATED, i]
        row[5] += causal_pairs(float(tokens), float(past))
        row[7] += past + tokens
        if window:
            row[6] += window_pairs(float(tokens), float(past), float(window))
            row[8] += min(past, window) + tokens
    if not (prefill_first and row[0] > 0.0):
        row[1] = s[DECODING]
        for k in range(s[DECODING]):
            i = decoding[k]
            tokens = requests[ISL, i] + requests[GENERATED, i]
            row[3] += tokens
            if window:
                row[4] += min(tokens, window)
    row[2] = row[1] + ends


@numba.njit(cache=True)
def _decode(
    s: np.ndarray,
    requests: np.ndarray,
    decoding: np.ndarray,
    counts: np.ndarray,
    count_from: int,
    extra_tokens: int,
) -> int:
    """Every decoding sequence gains a token; how many of them have ended."""
    kept = ended = 0
    s[USED] += s[DECODING]
    for k in range(s[DECODING]):
        i = decoding[k]
        requests[GENERATED, i] += 1
        if requests[GENERATED, i] == requests[OSL, i]:
            s[USED] -= requests[ISL, i] + requests[GENERATED, i] + extra_tokens
            ended += 1
            if i >= count_from:
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
    count_from: int,
    extra_tokens: int,
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
        if i >= count_from:
            counts[WAITING] -= first
            if first and not over:
                counts[AFTER] += 1.0
                counts[PER_TOKEN] += 1.0 / (osl - 1.0)
            elif over and not first:
                counts[AFTER] -= 1.0
                counts[PER_TOKEN] -= 1.0 / (osl - 1.0)
        if over:
            s[USED] -= requests[ISL, i] + osl + extra_tokens
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
    count_from: int,
    lag: int,
) -> None:
    """The next requests are sent now; they arrive `lag` iterations later, or when all is idle."""
    new = min(ended, n - s[SENT])
    for i in range(s[SENT], s[SENT] + new):
        counts[WAITING] += i >= count_from
    s[SENT] += new
    due = s[DUE] + (new if lag == 0 else 0)
    s[DUE] = s[LATER] + (new if lag == 1 else 0)
    s[LATER] = new if lag == 2 else 0
    if s[PREFILLING] + s[DECODING] + due == 0 and s[HEAD] == s[TAIL]:
        due = s[DUE] + s[LATER]
        s[DUE] = s[LATER] = 0
    for i in range(s[ARRIVED], s[ARRIVED] + due):
        queue[s[TAIL]] = i
        s[TAIL] += 1
    s[ARRIVED] += due


@numba.njit(cache=True)
def price(
    coefficients: np.ndarray, which: np.ndarray, first: np.ndarray, bins: np.ndarray
) -> np.ndarray:
    """Weighted sums of iteration times [s]: shape (schedules, WEIGHTS).

    coefficients: one row per distinct pool; which: the row of each schedule; bins of schedule k:
    `bins[first[k]:first[k + 1]]`, each a batch and the weights of its time.
    """
    result = np.zeros((which.size, WEIGHTS))
    for k in range(which.size):
        own = coefficients[which[k]]
        for b in range(first[k], first[k + 1]):
            x = bins[b]
            total = iteration_parts(own, x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8])[0]
            for w in range(WEIGHTS):
                result[k, w] += total * x[BATCH + w]
    return result
