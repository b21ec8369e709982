"""The time of one iteration: a roofline of two matrices. Every kernel of the cost model is here.

A batch is a vector x of named sums. Row o of C and of M says what operator o computes and reads
per unit of each [s], row h what the serving stack adds:

    kernels:  t = sum over o of max(C_o x, M_o x) + comm(x) + h x                          (1)
    fused:    t = max(sum over o of C_o x, sum over o of M_o x) + comm(x) + h x            (2)

so that a batch of any size costs the same to time. `gcsim.machine.machine.bind` writes C, M and h,
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
)
PROMPT_TOKENS, DECODE_SEQS, LOGIT_SEQS, DECODE_KV, DECODE_WINDOW_KV = range(5)
PREFILL_PAIRS, PREFILL_WINDOW_PAIRS, PREFILL_KV, PREFILL_WINDOW_KV = range(5, 9)
PROMPTS, GROWING = range(9, 11)

# The sums x of one micro-batch: the columns of C, M and h. Pairs are computed (in C alone) and KV
# is read (in M alone); those two kinds change while sequences decode.
SUMS = (
    "iterations",  # 1
    "tokens",  # prompt tokens, and those that decoding sequences verify
    "logits",  # tokens that go through the output head
    "prompts",  # 1 if there is a prompt
    "experts",  # different experts that are touched, per MoE layer
    "states",  # sequences, each with the state that it has in layers without KV
    "decode_pairs",  # attention pairs of decode
    "decode_window_pairs",
    "prefill_pairs",
    "prefill_window_pairs",
    "kv",  # KV tokens read
    "window_kv",
)
X_ITERATIONS, X_TOKENS, X_LOGITS, X_PROMPTS, X_EXPERTS, X_STATES = range(6)
X_PAIRS, X_WINDOW_PAIRS, X_PREFILL_PAIRS, X_PREFILL_WINDOW_PAIRS, X_KV, X_WINDOW_KV = range(6, 12)
X_END = 12

# The table of a machine: these rows, then a row of C and one of M for every operator.
TERMS, OVERHEAD, FLOPS, BYTES, ALL_REDUCE, DISPATCH, HANDOVER = range(7)
OPERATORS = 7
# In the last column of a row of M: what its time counts as.
READS = X_END
WIDTH = READS + 1
WEIGHTS, EXPERTS, KV = 1.0, 2.0, 3.0
# Columns of row TERMS: which operator is the attention core; 1 for equation (2), 0 for (1); stages
# of the pipeline; tokens that a decode iteration verifies per sequence (1 + draft tokens) and, in
# millionths, yields; 1 + time of drafting as a fraction of an iteration; experts of a layer (0
# without), of a token, and their skew (1: uniform routing); part of the communication that does
# not hide behind compute; bytes per second of a link.
CORE, FUSED, STAGES, VERIFIED, ACCEPTED_PPM, DRAFT_FACTOR = range(6)
EXPERT_COUNT, EXPERTS_PER_TOKEN, EXPERT_SKEW, EXPOSED, LINK = range(6, 11)
# Columns of the rows ALL_REDUCE, DISPATCH and HANDOVER.
COUNT, CHIPS, LATENCY_S, PHASES_S, BYTES_PER_TOKEN = range(5)

# The time of an iteration and its parts, and what `account` adds up besides.
PARTS = ("busy_s", "compute_s", "weights_s", "experts_s", "kv_s", "communication_s", "overhead_s")
TOTALS = (*PARTS, "flops", "bytes", "iterations", "tokens")

GAP_BINS_PER_OCTAVE = 128
GAP_BINS = 65 * GAP_BINS_PER_OCTAVE  # every gap of 64 bits
MILLION = 1_000_000

Grown = tuple[float, float, float, float]
Bounds = tuple[float, float, float, float]
Parts = tuple[float, float, float, float, float, float, float]
# Called in every iteration of a run: twice as fast as LLVM's own choice.
_inlined = numba.njit(cache=True, forceinline=True)


def batch(**sums: float) -> np.ndarray:
    """A batch from its sums by name; what is left out is 0.

    >>> batch(decode_seqs=2, logit_seqs=2, decode_kv=700)[DECODE_KV]
    np.float64(700.0)
    """
    found = np.zeros(len(BATCH))
    for name, value in sums.items():
        found[BATCH.index(name)] = value
    return found


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
def _communication_s(table: np.ndarray, tokens: float) -> float:
    """comm(x): all-reduces, expert dispatches and combines, hand-overs between stages [s]."""
    link = table[TERMS, LINK]
    reduced = all_reduce_s(
        tokens * table[ALL_REDUCE, BYTES_PER_TOKEN],
        table[ALL_REDUCE, CHIPS],
        table[ALL_REDUCE, LATENCY_S],
        table[ALL_REDUCE, PHASES_S],
        link,
    )
    moved = tokens * table[DISPATCH, BYTES_PER_TOKEN]
    dispatched = all_to_all_s(moved, table[DISPATCH, CHIPS], table[DISPATCH, LATENCY_S], link)
    handed = table[HANDOVER, LATENCY_S] + tokens * table[HANDOVER, BYTES_PER_TOKEN] / link
    total: float = table[TERMS, EXPOSED] * (
        table[ALL_REDUCE, COUNT] * reduced
        + table[DISPATCH, COUNT] * dispatched
        + table[HANDOVER, COUNT] * handed
    )
    return total


@numba.njit(cache=True)
def _micro_batches(table: np.ndarray, batch: np.ndarray) -> float:
    """Equal micro-batches that follow each other through the stages: min(stages, tokens)."""
    tokens = batch[PROMPT_TOKENS] + batch[DECODE_SEQS] * table[TERMS, VERIFIED]
    return float(max(min(table[TERMS, STAGES], tokens), 1.0))


@numba.njit(cache=True)
def _sums(table: np.ndarray, batch: np.ndarray, share: float) -> np.ndarray:
    """x: the sums of one micro-batch, a `share` of the batch, without what decode makes grow."""
    x = np.zeros(len(SUMS))
    verified = table[TERMS, VERIFIED]
    tokens = (batch[PROMPT_TOKENS] + batch[DECODE_SEQS] * verified) * share
    x[X_ITERATIONS] = 1.0
    x[X_TOKENS] = tokens
    x[X_LOGITS] = batch[LOGIT_SEQS] * (verified if batch[DECODE_SEQS] > 0.0 else 1.0) * share
    x[X_PROMPTS] = 1.0 if batch[PROMPT_TOKENS] > 0.0 else 0.0
    experts, per_token = table[TERMS, EXPERT_COUNT], table[TERMS, EXPERTS_PER_TOKEN]
    if experts > 0.0:
        x[X_EXPERTS] = distinct_experts(experts, per_token, tokens, table[TERMS, EXPERT_SKEW])
    x[X_STATES] = (batch[DECODE_SEQS] + batch[PROMPTS]) * share
    x[X_PREFILL_PAIRS] = batch[PREFILL_PAIRS] * share
    x[X_PREFILL_WINDOW_PAIRS] = batch[PREFILL_WINDOW_PAIRS] * share
    return x


@_inlined
def _grown(table: np.ndarray, batch: np.ndarray, gained: float, share: float) -> Grown:
    """What decode makes grow, once every sequence has so many tokens more: pairs, KV tokens read.

    Each as (layers that see everything, sliding layers).
    """
    kv = batch[DECODE_KV] + batch[DECODE_SEQS] * gained
    window_kv = batch[DECODE_WINDOW_KV] + batch[GROWING] * gained
    verified = table[TERMS, VERIFIED]
    return (
        kv * verified * share,
        window_kv * verified * share,
        (kv + batch[PREFILL_KV]) * share,
        (window_kv + batch[PREFILL_WINDOW_KV]) * share,
    )


@numba.njit(cache=True)
def _times(table: np.ndarray, row: int, x: np.ndarray) -> float:
    """A row times the sums that no decoded token changes, and no pairs."""
    total = 0.0
    for j in range(X_PAIRS):
        total += table[row, j] * x[j]
    return total


@_inlined
def _with_pairs(total: float, table: np.ndarray, row: int, x: np.ndarray, grown: Grown) -> float:
    """`_times` and what a row says of attention pairs."""
    total += table[row, X_PAIRS] * grown[0]
    total += table[row, X_WINDOW_PAIRS] * grown[1]
    total += table[row, X_PREFILL_PAIRS] * x[X_PREFILL_PAIRS]
    total += table[row, X_PREFILL_WINDOW_PAIRS] * x[X_PREFILL_WINDOW_PAIRS]
    return total


@_inlined
def _with_kv(total: float, table: np.ndarray, row: int, grown: Grown) -> float:
    """`_times` and what a row says of KV."""
    total += table[row, X_KV] * grown[2]
    total += table[row, X_WINDOW_KV] * grown[3]
    return total


@numba.njit(cache=True)
def _steady(table: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What stays while sequences decode: time that counts as compute, weights, experts, kv [s].

    A row for each of the four, a column by operator, and their sums in the last column. Of the
    core it holds C_o x without pairs, and M_o x without KV, whichever is larger.
    """
    operators, fused = (table.shape[0] - OPERATORS) // 2, table[TERMS, FUSED] > 0.0
    core = int(table[TERMS, CORE])
    steady = np.zeros((4, operators + 1))
    for o in range(operators):
        c, m = OPERATORS + 2 * o, OPERATORS + 2 * o + 1
        c_x = _times(table, c, x)
        m_x = _times(table, m, x)
        if fused or o == core or c_x >= m_x:
            steady[0, o] = c_x
        if fused or o == core or c_x < m_x:
            steady[int(table[m, READS]), o] = m_x
        if o != core:
            for part in range(4):
                steady[part, operators] += steady[part, o]
    return steady


@_inlined
def _bounds(table: np.ndarray, steady: np.ndarray, x: np.ndarray, grown: Grown) -> Bounds:
    """Time of the operators by what bounds them: compute, weights, experts, kv; (1) or (2) [s]."""
    core, others = int(table[TERMS, CORE]), steady.shape[1] - 1
    c_x = _with_pairs(steady[0, core], table, OPERATORS + 2 * core, x, grown)
    m_x = _with_kv(steady[3, core], table, OPERATORS + 2 * core + 1, grown)
    fused = table[TERMS, FUSED] > 0.0
    weights, experts, kv = steady[1, others], steady[2, others], steady[3, others]
    if not fused and c_x < m_x:
        return steady[0, others], weights, experts, kv + m_x
    compute = 0.0
    for o in range(others):
        compute += c_x if o == core else steady[0, o]
    if not fused:
        return compute, weights, experts, kv
    if compute >= weights + experts + (kv + m_x):
        return compute, 0.0, 0.0, 0.0
    return 0.0, weights, experts, kv + m_x


@_inlined
def _parts(bounds: Bounds, comm: float, overhead: float, drafting: float) -> Parts:
    """The whole and its parts (`PARTS`) [s]; drafting takes a fraction of the iteration besides."""
    compute, weights, experts, kv = bounds
    overhead += (compute + weights + experts + kv + comm + overhead) * drafting
    total = compute + weights + experts + kv + comm + overhead
    return total, compute, weights, experts, kv, comm, overhead


@numba.njit(cache=True)
def _besides(table: np.ndarray, batch: np.ndarray, x: np.ndarray) -> tuple[float, float, float]:
    """comm(x) and h x [s], and the time of drafting as a fraction of the iteration."""
    drafting = table[TERMS, DRAFT_FACTOR] - 1.0 if batch[DECODE_SEQS] > 0.0 else 0.0
    return _communication_s(table, x[X_TOKENS]), _times(table, OVERHEAD, x), drafting


@numba.njit(cache=True)
def iteration_s(table: np.ndarray, batch: np.ndarray) -> Parts:
    """Time of one iteration and its parts, in the order of `PARTS` [s]: equations (1) and (2).

    An operator's time counts as compute or as what it reads, whichever bounds it. With p stages
    it is the time of one of min(p, tokens) equal micro-batches, which in steady state follow each
    other through the stages without bubbles.
    """
    share = 1.0 / _micro_batches(table, batch)
    x = _sums(table, batch, share)
    bounds = _bounds(table, _steady(table, x), x, _grown(table, batch, 0.0, share))
    return _parts(bounds, *_besides(table, batch, x))


@_inlined
def _to_ns(seconds: float) -> int:
    """Whole nanoseconds, at least one: time always moves on."""
    return max(int(seconds * 1e9 + 0.5), 1)


@numba.njit(cache=True)
def iteration_ns(table: np.ndarray, batch: np.ndarray) -> int:
    """Time of one iteration [ns]."""
    return _to_ns(iteration_s(table, batch)[0])


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
    accepted = int(table[TERMS, ACCEPTED_PPM])
    now, origin = start_ns, first * accepted // MILLION
    share = 1.0 / _micro_batches(table, batch)
    x = _sums(table, batch, share)
    steady = _steady(table, x)
    comm, overhead, drafting = _besides(table, batch, x)
    for played in range(iterations):
        gained = (first + played) * accepted // MILLION - origin
        grown = _grown(table, batch, float(gained), share)
        now += _to_ns(_parts(_bounds(table, steady, x, grown), comm, overhead, drafting)[0])
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
    accepted = int(table[TERMS, ACCEPTED_PPM])
    origin = first * accepted // MILLION
    seqs, first_ns = int(batch[DECODE_SEQS]), 0
    share = 1.0 / _micro_batches(table, batch)
    x, work = _sums(table, batch, share), _sums(table, batch, 1.0)
    work[X_LOGITS] = batch[LOGIT_SEQS]
    flops, moved = _times(table, FLOPS, work), _times(table, BYTES, work)
    steady = _steady(table, x)
    comm, overhead, drafting = _besides(table, batch, x)
    for played in range(iterations):
        gained = (first + played) * accepted // MILLION - origin
        grown = _grown(table, batch, float(gained), share)
        parts = _parts(_bounds(table, steady, x, grown), comm, overhead, drafting)
        for index in range(len(PARTS)):
            totals[index] += parts[index]
        grown = _grown(table, batch, float(gained), 1.0)
        totals[7] += _with_pairs(flops, table, FLOPS, work, grown)
        totals[8] += _with_kv(moved, table, BYTES, grown)
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
