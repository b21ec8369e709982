"""The time of one iteration: a roofline of two matrices. Every kernel of the cost model is here.

A batch is a vector x of named sums. Row o of C and of M says what operator o computes and reads
per unit of each [s], row h what the serving stack adds:

    kernels:  t = sum over o of max(C_o x, M_o x) + comm(x) + h x                          (1)
    fused:    t = max(sum over o of C_o x, sum over o of M_o x) + comm(x) + h x            (2)

so that a batch of any size costs the same to time. Where several groups share their experts (`ep`)
each has a batch of its own; the experts compute the tokens of all, and the iteration lasts as long
as its fullest group:

    t = max over groups g of t(x_g)                                                        (9)

`gcsim.machine.machine.bind` writes C, M and h,
with the FLOPs and bytes per unit of x and the collectives, into the one table of a machine.

All compiled code that calls each other stands in this file, because numba renews what it has
cached when the file of the caller changes, not when that of a callee does.
Ref: Williams et al., CACM 52(4), 2009.
"""

from math import frexp

import numba
import numpy as np

# A batch as the engine sums it up; KV and pairs with `window` are those of sliding layers.
BATCH = (
    "prompt_tokens",  # new tokens of prompts
    "decode_seqs",  # sequences that decode
    "logit_seqs",  # sequences that get a token
    "decode_kv",  # KV tokens that decode reads, summed over sequences
    "decode_window_kv",
    "prefill_pairs",  # attention pairs (query, key) of prompts
    "prefill_window_pairs",
    "prefill_kv",  # KV tokens that prompts read
    "prefill_window_kv",
    "prompts",  # prompt chunks
    "growing",  # decoding sequences still shorter than the window
    "other_tokens",  # tokens that the other groups of the replica send to the experts they share
    "most_tokens",  # tokens of the group that has the most, where that is another
)
PROMPT_TOKENS, DECODE_SEQS, LOGIT_SEQS, DECODE_KV, DECODE_WINDOW_KV = range(5)
PREFILL_PAIRS, PREFILL_WINDOW_PAIRS, PREFILL_KV, PREFILL_WINDOW_KV = range(5, 9)
PROMPTS, GROWING, OTHER_TOKENS, MOST_TOKENS = range(9, 13)

# The sums x of one micro-batch: the columns of C, M and h. Those from decode_pairs on change while
# sequences decode; h has none of them.
SUMS = (
    "iterations",  # 1
    "tokens",  # prompt tokens, and those that decoding sequences verify
    "routed",  # the same of all groups that share the experts
    "logits",  # tokens that go through the output head
    "prompts",  # 1 if there is a prompt
    "experts",  # different experts that are touched, per MoE layer
    "states",  # sequences, each with the state that it has in layers without KV
    "decode_pairs",  # attention pairs of decode
    "decode_window_pairs",
    "kv",  # KV tokens read
    "window_kv",
    "prefill_pairs",
    "prefill_window_pairs",
)
X_ITERATIONS, X_TOKENS, X_ROUTED, X_LOGITS, X_PROMPTS, X_EXPERTS, X_STATES = range(7)
X_PAIRS, X_WINDOW_PAIRS, X_KV, X_WINDOW_KV, X_PREFILL_PAIRS, X_PREFILL_WINDOW_PAIRS = range(7, 13)

# The table of a machine: these rows, then a row of C and one of M for every operator.
TERMS, OVERHEAD, FLOPS, BYTES, ALL_REDUCE, DISPATCH, HANDOVER = range(7)
OPERATORS = 7
# In the last column of a row of M: what its time counts as.
READS = len(SUMS)
WIDTH = READS + 1
WEIGHTS, EXPERTS, KV = 0.0, 1.0, 2.0
# Columns of row TERMS.
(
    FUSED,  # 1: equation (2), 0: equation (1)
    STAGES,  # of the pipeline
    VERIFIED,  # tokens that a decode iteration verifies per sequence (1 + draft tokens)
    ACCEPTED_PPM,  # ... and yields, in millionths
    DRAFT_FACTOR,  # 1 + time of drafting as a fraction of an iteration
    EXPERT_COUNT,  # experts of a layer, 0 without
    EXPERTS_PER_TOKEN,
    EXPERT_SKEW,  # 1: uniform routing
    EXPOSED,  # part of the communication that does not hide behind compute
    LINK,  # bytes per second
) = range(10)
# Columns of the rows ALL_REDUCE, DISPATCH and HANDOVER.
COUNT, CHIPS, LATENCY_S, PHASES_S, BYTES_PER_TOKEN = range(5)

# The time of an iteration and its parts, and what `account` adds up besides.
PARTS = ("busy_s", "compute_s", "weights_s", "experts_s", "kv_s", "communication_s", "overhead_s")
TOTALS = (*PARTS, "flops", "bytes", "iterations", "tokens")

GAP_BINS_PER_OCTAVE = 128
GAP_BINS = 65 * GAP_BINS_PER_OCTAVE  # every gap of 64 bits
MILLION = 1_000_000

Bounds = tuple[float, float, float, float]
Parts = tuple[float, float, float, float, float, float, float]


def batch(**sums: float) -> np.ndarray:
    """A batch from its sums by name; what is left out is 0.

    >>> batch(decode_seqs=2, logit_seqs=2, decode_kv=700)[DECODE_KV]
    np.float64(700.0)
    """
    found = np.zeros(len(BATCH))
    for name, value in sums.items():
        found[BATCH.index(name)] = value
    return found


# -- attention pairs, experts, collectives ---------------------------------------------------


@numba.njit(cache=True)
def causal_pairs(new: float, past: float) -> float:
    """Attention pairs (query, key) of n `new` tokens after p `past` ones, causal mask.

    n p + n (n + 1) / 2                                                                    (3)

    >>> causal_pairs(3, 10)
    36.0
    """
    return new * past + 0.5 * new * (new + 1.0)


@numba.njit(cache=True)
def window_pairs(new: float, past: float, window: float) -> float:
    """Attention pairs of n `new` tokens after p ones when each sees the last W (its own).

    sum over i in 1..n of min(p + i, W)                                                    (4)

    >>> window_pairs(3, 10, 4), window_pairs(3, 0, 128), window_pairs(4, 2, 4)
    (12.0, 6.0, 15.0)
    """
    growing: float = min(max(window - past, 0.0), new)
    return growing * past + 0.5 * growing * (growing + 1.0) + (new - growing) * window


@numba.njit(cache=True)
def distinct_experts(experts: float, per_token: float, tokens: float, skew: float) -> float:
    """Expected number of different experts that T `tokens` touch in one layer.

    D = E (1 - (1 - k/E)^(T/skew)), at least k                                             (5)

    Routing is uniform at skew 1; a larger skew means favourite experts, so fewer different ones.

    >>> distinct_experts(128, 4, 1, 1.0)
    4.0
    >>> round(distinct_experts(128, 4, 32, 1.0), 2)
    81.66
    """
    touched: float = experts * (1.0 - (1.0 - per_token / experts) ** (tokens / skew))
    return max(touched, min(per_token * tokens, per_token))


@numba.njit(cache=True)
def all_reduce_s(
    moved_bytes: float, chips: float, latency_s: float, phases_s: float, bytes_per_s: float
) -> float:
    """Time of one all-reduce of m `moved_bytes` per chip over n `chips` [s].

    one-shot:                     a + (n - 1) m / B                                        (6)
    reduce-scatter + all-gather:  a + p + 2 (n - 1)/n m / B                                (7)

    The faster of the two. a: latency_s, start and synchronisation [s]; p: phases_s, latency of the
    steps of (7): two where chips exchange directly (mesh, switch), 2 (n - 1) in a ring [s];
    B: bytes_per_s, per chip and direction x efficiency [B/s].
    Ref: Thakur et al., IJHPCA 19(1), 2005; one-shot is what serving stacks use for small messages.

    >>> all_reduce_s(8e6, 8, 0.0, 0.0, 1e9) == 2 * 7 / 8 * 8e-3
    True
    >>> all_reduce_s(1e6, 1, 1e-5, 1e-6, 1e9)
    0.0
    """
    if chips <= 1.0:
        return 0.0
    one_shot = (chips - 1.0) * moved_bytes / bytes_per_s
    two_phase = phases_s + 2.0 * (chips - 1.0) / chips * moved_bytes / bytes_per_s
    return latency_s + min(one_shot, two_phase)


@numba.njit(cache=True)
def all_to_all_s(moved_bytes: float, chips: float, latency_s: float, bytes_per_s: float) -> float:
    """Time of one all-to-all in which each of n chips sends m bytes, evenly to all [s].

    a + (n - 1)/n m / B                                                                    (8)

    >>> all_to_all_s(8e6, 8, 1e-5, 1e9)
    0.00701
    """
    if chips <= 1.0:
        return 0.0
    return latency_s + (chips - 1.0) / chips * moved_bytes / bytes_per_s


@numba.njit(cache=True)
def _communication_s(table: np.ndarray, tokens: float, most: float) -> float:
    """comm(x): all-reduces, expert dispatches and combines, hand-overs between stages [s].

    Dispatches join the groups of a replica, so that they last as long as that of `most` tokens.
    """
    link = table[TERMS, LINK]
    reduce, dispatch, handover = table[ALL_REDUCE], table[DISPATCH], table[HANDOVER]
    reduced = all_reduce_s(
        tokens * reduce[BYTES_PER_TOKEN], reduce[CHIPS], reduce[LATENCY_S], reduce[PHASES_S], link
    )
    dispatched = all_to_all_s(
        max(tokens, most) * dispatch[BYTES_PER_TOKEN], dispatch[CHIPS], dispatch[LATENCY_S], link
    )
    handed = handover[LATENCY_S] + tokens * handover[BYTES_PER_TOKEN] / link
    total: float = table[TERMS, EXPOSED] * (
        reduce[COUNT] * reduced + dispatch[COUNT] * dispatched + handover[COUNT] * handed
    )
    return total


# -- one iteration ---------------------------------------------------------------------------


@numba.njit(cache=True)
def _micro_batches(table: np.ndarray, batch: np.ndarray) -> float:
    """Equal micro-batches that follow each other through the stages: min(stages, tokens)."""
    tokens = batch[PROMPT_TOKENS] + batch[DECODE_SEQS] * table[TERMS, VERIFIED]
    tokens = max(tokens, batch[MOST_TOKENS])  # the groups go through the stages together
    return float(max(min(table[TERMS, STAGES], tokens), 1.0))


@numba.njit(cache=True)
def _sums(table: np.ndarray, batch: np.ndarray, share: float) -> np.ndarray:
    """x: the sums of one micro-batch, which is a `share` of the batch."""
    x = np.empty(len(SUMS))
    verified = table[TERMS, VERIFIED]
    tokens = (batch[PROMPT_TOKENS] + batch[DECODE_SEQS] * verified) * share
    x[X_ITERATIONS] = 1.0
    x[X_TOKENS] = tokens
    x[X_ROUTED] = tokens + batch[OTHER_TOKENS] * share
    x[X_LOGITS] = batch[LOGIT_SEQS] * (verified if batch[DECODE_SEQS] > 0.0 else 1.0) * share
    x[X_PROMPTS] = 1.0 if batch[PROMPT_TOKENS] > 0.0 else 0.0
    x[X_EXPERTS] = 0.0
    if table[TERMS, EXPERT_COUNT] > 0.0:
        x[X_EXPERTS] = distinct_experts(
            table[TERMS, EXPERT_COUNT],
            table[TERMS, EXPERTS_PER_TOKEN],
            x[X_ROUTED],
            table[TERMS, EXPERT_SKEW],
        )
    x[X_STATES] = (batch[DECODE_SEQS] + batch[PROMPTS]) * share
    x[X_PREFILL_PAIRS] = batch[PREFILL_PAIRS] * share
    x[X_PREFILL_WINDOW_PAIRS] = batch[PREFILL_WINDOW_PAIRS] * share
    return x


@numba.njit(cache=True)
def _grow(x: np.ndarray, batch: np.ndarray, gained: float, verified: float, share: float) -> None:
    """Set the sums of x that change when every decoding sequence has gained so many tokens."""
    kv = batch[DECODE_KV] + batch[DECODE_SEQS] * gained
    window_kv = batch[DECODE_WINDOW_KV] + batch[GROWING] * gained
    x[X_PAIRS] = kv * verified * share
    x[X_WINDOW_PAIRS] = window_kv * verified * share
    x[X_KV] = (kv + batch[PREFILL_KV]) * share
    x[X_WINDOW_KV] = (window_kv + batch[PREFILL_WINDOW_KV]) * share


@numba.njit(cache=True)
def _dot(row: np.ndarray, x: np.ndarray, first: int, last: int) -> float:
    """Sum of row_j x_j over the columns from `first` up to `last`."""
    total = 0.0
    for j in range(first, last):
        total += row[j] * x[j]
    return total


@numba.njit(cache=True)
def _steady(table: np.ndarray, x: np.ndarray) -> np.ndarray:
    """By operator: what stays while sequences decode of C_o x and M_o x, and whether some grows."""
    operators = (table.shape[0] - OPERATORS) // 2
    steady = np.empty((operators, 3))
    for o in range(operators):
        c, m = table[OPERATORS + 2 * o], table[OPERATORS + 2 * o + 1]
        steady[o, 0] = _dot(c, x, 0, X_PAIRS)
        steady[o, 1] = _dot(m, x, 0, X_PAIRS)
        steady[o, 2] = 0.0
        for j in range(X_PAIRS, len(SUMS)):
            if c[j] != 0.0 or m[j] != 0.0:
                steady[o, 2] = 1.0
    return steady


@numba.njit(cache=True)
def _bounds(
    table: np.ndarray, steady: np.ndarray, x: np.ndarray
) -> tuple[float, float, float, float]:
    """Time of the operators by what bounds them: (compute, weights, experts, kv) [s], (1) or (2).

    `steady` holds what no further token changes.
    """
    fused = table[TERMS, FUSED] > 0.0
    compute = weights = experts = kv = 0.0
    for o in range(steady.shape[0]):
        c_x, m_x = steady[o, 0], steady[o, 1]
        if steady[o, 2] > 0.0:
            for j in range(X_PAIRS, len(SUMS)):
                c_x += table[OPERATORS + 2 * o, j] * x[j]
                m_x += table[OPERATORS + 2 * o + 1, j] * x[j]
        reads = table[OPERATORS + 2 * o + 1, READS]
        if fused or c_x >= m_x:
            compute += c_x
        if fused or c_x < m_x:
            if reads == WEIGHTS:
                weights += m_x
            elif reads == EXPERTS:
                experts += m_x
            else:
                kv += m_x
    if not fused:
        return compute, weights, experts, kv
    if compute >= weights + experts + kv:
        return compute, 0.0, 0.0, 0.0
    return 0.0, weights, experts, kv


@numba.njit(cache=True)
def _parts(bounds: Bounds, comm: float, overhead: float, drafting: float) -> Parts:
    """The whole and its parts (`PARTS`) [s]; drafting takes a fraction of the iteration besides."""
    compute, weights, experts, kv = bounds
    overhead += (compute + weights + experts + kv + comm + overhead) * drafting
    total = compute + weights + experts + kv + comm + overhead
    return total, compute, weights, experts, kv, comm, overhead


@numba.njit(cache=True)
def _drafting(table: np.ndarray, batch: np.ndarray) -> float:
    """Time of drafting as a fraction of an iteration; no prompt is drafted."""
    if batch[DECODE_SEQS] > 0.0:
        return float(table[TERMS, DRAFT_FACTOR] - 1.0)
    return 0.0


@numba.njit(cache=True)
def iteration_s(table: np.ndarray, batch: np.ndarray) -> Parts:
    """Time of one iteration and its parts, in the order of `PARTS` [s]: equations (1) and (2).

    An operator's time counts as compute or as what it reads, whichever bounds it. With p stages
    it is the time of one of min(p, tokens) equal micro-batches, which in steady state follow each
    other through the stages without bubbles.
    """
    share = 1.0 / _micro_batches(table, batch)
    x = _sums(table, batch, share)
    _grow(x, batch, 0.0, table[TERMS, VERIFIED], share)
    return _parts(
        _bounds(table, _steady(table, x), x),
        _communication_s(table, x[X_TOKENS], batch[MOST_TOKENS] * share),
        _dot(table[OVERHEAD], x, 0, X_PAIRS),
        _drafting(table, batch),
    )


@numba.njit(cache=True)
def _to_ns(seconds: float) -> int:
    """Whole nanoseconds, at least one: time always moves on."""
    return max(int(seconds * 1e9 + 0.5), 1)


@numba.njit(cache=True)
def iteration_ns(table: np.ndarray, batch: np.ndarray) -> int:
    """Time of one iteration [ns]."""
    return _to_ns(iteration_s(table, batch)[0])


# -- runs of iterations ----------------------------------------------------------------------


@numba.njit(cache=True)
def run_ns(
    table: np.ndarray, batch: np.ndarray, iterations: int, first: int, start_ns: int, until_ns: int
) -> tuple[int, int]:
    """Play decode-only iterations whose batch stays the same: (iterations played, end) [ns].

    Ends after `iterations`, or with the first iteration that ends at `until_ns` or later. Each
    iteration is rounded to whole nanoseconds by itself, so that one long run and many short ones
    agree bit for bit. `first`: iterations that the replica decoded before (it decides how many
    tokens a speculative iteration yields).
    """
    accepted, verified = int(table[TERMS, ACCEPTED_PPM]), table[TERMS, VERIFIED]
    now, origin = start_ns, first * accepted // MILLION
    share = 1.0 / _micro_batches(table, batch)
    x = _sums(table, batch, share)
    steady = _steady(table, x)
    comm, overhead = (
        _communication_s(table, x[X_TOKENS], batch[MOST_TOKENS] * share),
        _dot(table[OVERHEAD], x, 0, X_PAIRS),
    )
    drafting = _drafting(table, batch)
    for played in range(iterations):
        gained = (first + played) * accepted // MILLION - origin
        _grow(x, batch, float(gained), verified, share)
        now += _to_ns(_parts(_bounds(table, steady, x), comm, overhead, drafting)[0])
        if now >= until_ns:
            return played + 1, now
    return iterations, now


@numba.njit(cache=True)
def account(
    table: np.ndarray,
    batch: np.ndarray,
    totals: np.ndarray,
    gaps: np.ndarray,
    iterations: int,
    first: int,
    wait_ns: int,
) -> int:
    """Add iterations that were played to a pool's totals (`TOTALS`) and to its token gaps.

    `gaps` counts the gaps between the tokens of a request in bins of `gap_bin`; `wait_ns` is a wait
    within the first iteration. Returns how long that one took [ns].
    """
    accepted, verified = int(table[TERMS, ACCEPTED_PPM]), table[TERMS, VERIFIED]
    origin = first * accepted // MILLION
    seqs, first_ns = int(batch[DECODE_SEQS]), 0
    share = 1.0 / _micro_batches(table, batch)
    x, work = _sums(table, batch, share), _sums(table, batch, 1.0)
    work[X_LOGITS] = batch[LOGIT_SEQS]
    steady = _steady(table, x)
    comm, overhead = (
        _communication_s(table, x[X_TOKENS], batch[MOST_TOKENS] * share),
        _dot(table[OVERHEAD], x, 0, X_PAIRS),
    )
    drafting = _drafting(table, batch)
    for played in range(iterations):
        gained = (first + played) * accepted // MILLION - origin
        _grow(x, batch, float(gained), verified, share)
        _grow(work, batch, float(gained), verified, 1.0)
        parts = _parts(_bounds(table, steady, x), comm, overhead, drafting)
        for index in range(len(PARTS)):
            totals[index] += parts[index]
        totals[7] += _dot(table[FLOPS], work, 0, len(SUMS))
        totals[8] += _dot(table[BYTES], work, 0, len(SUMS))
        totals[9] += 1.0
        totals[10] += batch[PROMPT_TOKENS]
        gap_ns = _to_ns(parts[0])
        if played == 0:
            gap_ns += wait_ns
            first_ns = gap_ns
        if seqs > 0:
            step = (first + played + 1) * accepted // MILLION - origin - gained
            gaps[gap_bin(gap_ns)] += seqs
            gaps[0] += seqs * (step - 1)
    return first_ns


@numba.njit(cache=True)
def gap_bin(gap_ns: int) -> int:
    """The bin of a gap: 128 bins per octave, so a bin's middle is within 0.4% of any gap in it.

    >>> gap_bin(1), gap_bin(2), gap_bin(3)
    (128, 256, 320)
    """
    if gap_ns <= 0:
        return 0
    mantissa, exponent = frexp(float(gap_ns))
    return exponent * GAP_BINS_PER_OCTAVE + int((mantissa - 0.5) * 2.0 * GAP_BINS_PER_OCTAVE)


def gap_of_bin(index: np.ndarray) -> np.ndarray:
    """The middle of a bin of `gap_bin` [ns].

    >>> float(gap_of_bin(np.array([gap_bin(10_000_000)]))[0]) / 1e7
    0.99...
    """
    exponent, part = np.divmod(index, GAP_BINS_PER_OCTAVE)
    middle = 0.5 * (1.0 + (part + 0.5) / GAP_BINS_PER_OCTAVE) * 2.0**exponent
    return np.asarray(np.where(index == 0, 0.0, middle))


# -- the groups of a replica together ----------------------------------------------------------


@numba.njit(cache=True)
def join(table: np.ndarray, batches: np.ndarray) -> None:
    """Let each group's batch, a row, know what the experts get from the others."""
    total = most = 0.0
    for g in range(batches.shape[0]):
        tokens = batches[g, PROMPT_TOKENS] + batches[g, DECODE_SEQS] * table[TERMS, VERIFIED]
        total, most = total + tokens, max(most, tokens)
    for g in range(batches.shape[0]):
        tokens = batches[g, PROMPT_TOKENS] + batches[g, DECODE_SEQS] * table[TERMS, VERIFIED]
        batches[g, OTHER_TOKENS], batches[g, MOST_TOKENS] = total - tokens, most


@numba.njit(cache=True)
def _busy(batch: np.ndarray) -> bool:
    """Whether a group has anything to do; one that has not waits for the others."""
    return bool(batch[PROMPT_TOKENS] + batch[DECODE_SEQS] > 0.0)


@numba.njit(cache=True)
def _gain(batches: np.ndarray, firsts: np.ndarray, played: int, ppm: int, now: np.ndarray) -> None:
    """Write to `now` the batches after iterations that were played: decoded tokens are in KV."""
    for g in range(batches.shape[0]):
        gained = (firsts[g] + played) * ppm // MILLION - firsts[g] * ppm // MILLION
        now[g] = batches[g]
        now[g, DECODE_KV] += batches[g, DECODE_SEQS] * gained
        now[g, DECODE_WINDOW_KV] += batches[g, GROWING] * gained


@numba.njit(cache=True)
def groups_s(table: np.ndarray, batches: np.ndarray) -> Parts:
    """Time of one iteration of all groups and its parts, those of the fullest one [s], by (9)."""
    parts = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for g in range(batches.shape[0]):
        if _busy(batches[g]):
            of_group = iteration_s(table, batches[g])
            if of_group[0] > parts[0]:
                parts = of_group
    return parts


@numba.njit(cache=True)
def groups_ns(table: np.ndarray, batches: np.ndarray) -> int:
    """Time of one iteration of all groups [ns]."""
    return _to_ns(groups_s(table, batches)[0])


@numba.njit(cache=True)
def run_groups_ns(
    table: np.ndarray,
    batches: np.ndarray,
    iterations: int,
    firsts: np.ndarray,
    start_ns: int,
    until_ns: int,
) -> tuple[int, int]:
    """`run_ns` of all groups together: a batch per row, the iterations that each decoded before."""
    if batches.shape[0] == 1:
        return run_ns(table, batches[0], iterations, firsts[0], start_ns, until_ns)
    end, ppm, now = start_ns, int(table[TERMS, ACCEPTED_PPM]), np.empty_like(batches)
    for played in range(iterations):
        _gain(batches, firsts, played, ppm, now)
        end += groups_ns(table, now)
        if end >= until_ns:
            return played + 1, end
    return iterations, end


@numba.njit(cache=True)
def _work(table: np.ndarray, batches: np.ndarray) -> tuple[float, float]:
    """FLOPs and bytes of an iteration of all groups; the experts they share are read once."""
    flops = moved = 0.0
    others = False
    for g in range(batches.shape[0]):
        if not _busy(batches[g]):
            continue
        batch, x = batches[g], _sums(table, batches[g], 1.0)
        x[X_LOGITS] = batch[LOGIT_SEQS]
        x[X_PAIRS] = batch[DECODE_KV] * table[TERMS, VERIFIED]
        x[X_WINDOW_PAIRS] = batch[DECODE_WINDOW_KV] * table[TERMS, VERIFIED]
        x[X_KV] = batch[DECODE_KV] + batch[PREFILL_KV]
        x[X_WINDOW_KV] = batch[DECODE_WINDOW_KV] + batch[PREFILL_WINDOW_KV]
        if others:
            x[X_EXPERTS] = 0.0
        others = True
        for j in range(len(SUMS)):
            flops += table[FLOPS, j] * x[j]
            moved += table[BYTES, j] * x[j]
    return flops, moved


@numba.njit(cache=True)
def account_groups(
    table: np.ndarray,
    batches: np.ndarray,
    totals: np.ndarray,
    gaps: np.ndarray,
    iterations: int,
    firsts: np.ndarray,
    wait_ns: int,
) -> int:
    """`account` of all groups together: busy time by the fullest one's bounds, work by all."""
    if batches.shape[0] == 1:
        return account(table, batches[0], totals, gaps, iterations, firsts[0], wait_ns)
    ppm, first_ns, now = int(table[TERMS, ACCEPTED_PPM]), 0, np.empty_like(batches)
    for played in range(iterations):
        _gain(batches, firsts, played, ppm, now)
        parts = groups_s(table, now)
        for index in range(len(PARTS)):
            totals[index] += parts[index]
        flops, moved = _work(table, now)
        totals[7] += flops
        totals[8] += moved
        totals[9] += 1.0
        gap_ns = _to_ns(parts[0])
        if played == 0:
            gap_ns += wait_ns
            first_ns = gap_ns
        for g in range(batches.shape[0]):
            totals[10] += batches[g, PROMPT_TOKENS]
            seqs, done = int(batches[g, DECODE_SEQS]), firsts[g] + played
            if seqs > 0:
                gaps[gap_bin(gap_ns)] += seqs
                gaps[0] += seqs * ((done + 1) * ppm // MILLION - done * ppm // MILLION - 1)
    return first_ns


# -- many iterations at once: what calibration asks for ----------------------------------------


@numba.njit(cache=True)
def add_chunks(rows: np.ndarray, chunks: np.ndarray, window: int) -> None:
    """Add prompt chunks (row, new tokens, past tokens) to the batches that are rows of a matrix."""
    for k in range(chunks.shape[0]):
        row, new, past = rows[chunks[k, 0]], chunks[k, 1], chunks[k, 2]
        row[PROMPT_TOKENS] += new
        row[PROMPTS] += 1.0
        row[PREFILL_PAIRS] += causal_pairs(float(new), float(past))
        row[PREFILL_KV] += past + new
        if window > 0:
            row[PREFILL_WINDOW_PAIRS] += window_pairs(float(new), float(past), float(window))
            row[PREFILL_WINDOW_KV] += min(past, window) + new


@numba.njit(cache=True)
def price(
    tables: np.ndarray,
    which: np.ndarray,
    first: np.ndarray,
    rows: np.ndarray,
) -> np.ndarray:
    """Weighted sums of iteration times, one row per schedule [s].

    tables: one per distinct machine, padded to one shape with rows of zeros; which: the table of
    each schedule; iterations of schedule k: `rows[first[k]:first[k + 1]]`, each a batch and the
    weights of its time.
    """
    result = np.zeros((which.size, rows.shape[1] - len(BATCH)))
    for k in range(which.size):
        for i in range(first[k], first[k + 1]):
            total = iteration_s(tables[which[k]], rows[i])[0]
            for w in range(result.shape[1]):
                result[k, w] += total * rows[i, len(BATCH) + w]
    return result
