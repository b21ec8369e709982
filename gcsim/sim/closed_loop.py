"""A closed loop without think time, or a static batch, on one replica: scheduled without a clock.

There the order and the content of iterations do not depend on how long they take. So the schedule
is made once, and every time that it yields is a weighted sum of iteration times: what calibration
prices thousands of times. `tests/truth` holds the engine to it.
"""

import numba
import numpy as np

from gcsim.roofline.iteration import iteration_parts
from gcsim.roofline.ops import causal_pairs, window_pairs

# Arguments of `iteration_parts` after the coefficients, and the weights of an iteration's time in
# the mean TTFT, TPOT and E2E of the counted requests, and in the elapsed time.
BATCH = 9
WEIGHTS = 4


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
    alone while there are any, else mixed; count_from: requests from this index on are counted.
    A sequence that finds no KV is recomputed later, the latest admitted first. An empty result
    means that a request can never fit.
    """
    n = isl.size
    counted = float(n - count_from)
    with_tpot = 0.0
    for i in range(count_from, n):
        with_tpot += osl[i] > 1
    rows = np.empty((4096, BATCH + WEIGHTS))
    used_rows = 0
    queue = np.empty(2 * n + clients + 8, np.int64)  # a ring: preempted ones go to the front
    head = n + 4
    tail = head
    prefilling = np.empty(n, np.int64)
    decoding = np.empty(n, np.int64)
    npre = ndec = 0
    past = np.zeros(n, np.int64)
    generated = np.zeros(n, np.int64)
    chunk = np.zeros(n, np.int64)
    sent = min(clients, n)
    for i in range(sent):
        queue[tail] = i
        tail += 1
    arrived, due = sent, 0
    used = 0
    waiting = max(0.0, float(sent - count_from)) if count_from < sent else 0.0
    after = 0.0  # counted requests that have their first token
    per_token = 0.0
    done = 0
    blocked = False
    while done < n:
        if used_rows == rows.shape[0]:
            bigger = np.empty((2 * used_rows, BATCH + WEIGHTS))
            bigger[:used_rows] = rows
            rows = bigger
        # room for the next token of every sequence that decodes
        hold = False
        while ndec > 0 and used + ndec > kv_tokens:
            hold = True
            if npre > 0:
                npre -= 1
                victim = prefilling[npre]
                used -= isl[victim] + generated[victim] + extra_tokens
            else:
                ndec -= 1
                victim = decoding[ndec]
                used -= isl[victim] + generated[victim] + extra_tokens
            past[victim] = 0
            head -= 1
            queue[head] = victim
            if ndec == 0 and npre == 0:
                blocked = True
                break
        if blocked:
            return rows[:0]
        left = budget if prefill_first else budget - ndec
        for k in range(npre):
            i = prefilling[k]
            chunk[i] = min(max(left, 0), isl[i] + generated[i] - past[i])
            left -= chunk[i]
        while left > 0 and head < tail and not hold and npre + ndec < seats:
            i = queue[head]
            need = isl[i] + generated[i] + extra_tokens
            if used + need + ndec > kv_tokens:
                if npre + ndec == 0:
                    return rows[:0]
                break
            head += 1
            used += need
            prefilling[npre] = i
            npre += 1
            chunk[i] = min(left, isl[i] + generated[i])
            left -= chunk[i]
        prompt = kv = window_kv = 0
        pairs = in_window = 0.0
        ends = 0
        for k in range(npre):
            i = prefilling[k]
            tokens = chunk[i]
            if tokens == 0:
                continue
            prompt += tokens
            kv += past[i] + tokens
            ends += past[i] + tokens == isl[i] + generated[i]
            pairs += causal_pairs(float(tokens), float(past[i]))
            if window:
                window_kv += min(past[i], window) + tokens
                in_window += window_pairs(float(tokens), float(past[i]), float(window))
        decode = 0 if (prefill_first and prompt > 0) else ndec
        decode_kv = decode_window = 0
        if decode:
            for k in range(ndec):
                i = decoding[k]
                tokens = isl[i] + generated[i]
                decode_kv += tokens
                if window:
                    decode_window += min(tokens, window)
        row = rows[used_rows]
        row[0], row[1], row[2] = prompt, decode, decode + ends
        row[3], row[4], row[5], row[6] = decode_kv, decode_window, pairs, in_window
        row[7], row[8] = kv, window_kv
        row[9] = waiting / counted
        row[10] = per_token / max(with_tpot, 1.0)
        row[11] = (waiting + after) / counted
        row[12] = 1.0
        used_rows += 1
        # the iteration is over
        ended = 0
        if decode:
            kept = 0
            used += ndec
            for k in range(ndec):
                i = decoding[k]
                generated[i] += 1
                if generated[i] == osl[i]:
                    used -= isl[i] + generated[i] - 1 + extra_tokens + 1
                    ended += 1
                    if i >= count_from:
                        after -= 1.0
                        per_token -= 1.0 / (osl[i] - 1.0)
                else:
                    decoding[kept] = i
                    kept += 1
            ndec = kept
        kept = 0
        for k in range(npre):
            i = prefilling[k]
            past[i] += chunk[i]
            if past[i] < isl[i] + generated[i]:
                prefilling[kept] = i
                kept += 1
                continue
            first = generated[i] == 0
            generated[i] += 1
            used += 1
            if first and i >= count_from:
                waiting -= 1.0
                if osl[i] > 1:
                    after += 1.0
                    per_token += 1.0 / (osl[i] - 1.0)
            if generated[i] == osl[i]:
                used -= isl[i] + generated[i] + extra_tokens
                ended += 1
                if not first and i >= count_from:
                    after -= 1.0
                    per_token -= 1.0 / (osl[i] - 1.0)
            else:
                decoding[ndec] = i
                ndec += 1
        npre = kept
        done += ended
        # The next requests are sent now and arrive `lag` iterations later, or when all is idle.
        for _ in range(due):
            queue[tail] = arrived
            arrived += 1
            tail += 1
        due = 0
        for _ in range(ended):
            if sent < n:
                if sent >= count_from:
                    waiting += 1.0
                sent += 1
                due += 1
        if lag == 0 or (npre + ndec == 0 and head == tail):
            for _ in range(due):
                queue[tail] = arrived
                arrived += 1
                tail += 1
            due = 0
    return rows[:used_rows]


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
