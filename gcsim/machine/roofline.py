"""The time of one iteration: a roofline of two matrices. Every kernel of the cost model is here.

A batch is a vector x of named sums. Row o of C and of M says what operator o computes and reads
per unit of each [s], row h what the serving stack adds:

    kernels:  t = sum over o of max(C_o x, M_o x) + comm(x) + h x                          (1)
    fused:    t = max(sum over o of C_o x, sum over o of M_o x) + comm(x) + h x            (2)

so that a batch of any size costs the same to time. Where groups share their experts (`ep`) each has
a batch of its own; the experts compute all tokens, and the fullest group says how long it takes.

`gcsim.machine.machine.bind` writes C, M and h, with the FLOPs and bytes per unit of x and the
collectives, into the one table of a machine.

All compiled code that calls each other stands in this file, because numba renews what it has
cached when the file of the caller changes, not when that of a callee does.
Ref: Williams et al., CACM 52(4), 2009.
"""

from math import frexp, log, sqrt

import numba
import numpy as np

from gcsim.machine import kernel_cache

kernel_cache.listen()
kernel_cache.settle()  # before the first kernel: where it is kept is looked up then

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
    "other_decoded",  # of both, those of decoding sequences
    "most_decoded",
)
PROMPT_TOKENS, DECODE_SEQS, LOGIT_SEQS, DECODE_KV, DECODE_WINDOW_KV = range(5)
PREFILL_PAIRS, PREFILL_WINDOW_PAIRS, PREFILL_KV, PREFILL_WINDOW_KV = range(5, 9)
PROMPTS, GROWING, OTHER_TOKENS, MOST_TOKENS, OTHER_DECODED, MOST_DECODED = range(9, 15)

# The sums x of one micro-batch: the columns of C, M and h. Pairs are computed (in C alone) and KV
# is read (in M alone); those two kinds change while sequences decode.
SUMS = (
    "iterations",  # 1
    "tokens",  # prompt tokens, and those that decoding sequences verify
    "logits",  # tokens that go through the output head
    "prompts",  # 1 if there is a prompt
    "experts",  # different experts that are touched, per MoE layer
    "fullest_experts",  # ... those of the rank that has most, times ranks
    "fullest_tokens",  # tokens of the rank that has most, times ranks / experts per token
    "states",  # sequences, each with the state that it has in layers without KV
    "decode_pairs",  # attention pairs of decode
    "decode_window_pairs",
    "prefill_pairs",
    "prefill_window_pairs",
    "kv",  # KV tokens read
    "window_kv",
)
X_ITERATIONS, X_TOKENS, X_LOGITS, X_PROMPTS = range(4)
X_EXPERTS, X_FULLEST_EXPERTS, X_FULLEST_TOKENS, X_STATES = range(4, 8)
X_PAIRS, X_WINDOW_PAIRS, X_PREFILL_PAIRS, X_PREFILL_WINDOW_PAIRS, X_KV, X_WINDOW_KV = range(8, 14)
X_END = 14

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
# without) and of a token; ranks that hold whole experts (1: every chip has a part of each) and the
# tokens of the fullest rank as a multiple of uniform routing; part of the communication that does
# not hide behind compute; pairs that take as long as expanding a cached latent (0 without), and
# pairs of expanded keys that take as long as one of latents.
CORE, FUSED, STAGES, VERIFIED, ACCEPTED_PPM, DRAFT_FACTOR = range(6)
EXPERT_COUNT, EXPERTS_PER_TOKEN, EXPERT_RANKS, EXPERT_IMBALANCE = range(6, 10)
EXPOSED, EXPANDED, ABSORBED, DRAFTER, DRAFT_REDUCES = range(10, 15)
# Columns of the rows ALL_REDUCE, DISPATCH and HANDOVER: how often in an iteration, and fixed time
# and time per token of two ways to do it [s] (`gcsim.machine.network`).
COUNT, ONE_S, ONE_S_PER_TOKEN, OTHER_S, OTHER_S_PER_TOKEN = range(5)

# The time of an iteration and its parts, and what `account` adds up besides. Links: what their
# bandwidth takes; latency: all that is there however small a batch is, the starts and hops of
# collectives and h x (launches, layers, sequences).
PARTS = ("busy_s", "compute_s", "weights_s", "experts_s", "kv_s", "links_s", "latency_s")
TOTALS = (*PARTS, "flops", "bytes", "iterations", "tokens", "prefill_s", "prefill_compute_s")

GAP_BINS_PER_OCTAVE = 128
GAP_BINS = 65 * GAP_BINS_PER_OCTAVE  # every gap of 64 bits
MILLION = 1_000_000

Grown = tuple[float, float, float, float]
Bounds = tuple[float, float, float, float]
Rows = tuple[float, float, float, float, float, float, float, float]
Growth = tuple[float, float, float, float, float, float, float, float]
Steady = tuple[bool, Rows, Bounds, float, np.ndarray]
Comm = tuple[float, float]  # comm(x), and what of it is fixed [s]
Drafting = tuple[float, float]  # as a fraction of the iteration, and a time [s]
Constants = tuple[Steady, Growth, Comm, float, Drafting, float]  # of a run of decode alone
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

    sum over i in 1..n of min(p + i, W), or of (p + i - 1) mod C + 1 in chunks of C = -W   (4)

    >>> window_pairs(3, 10, 4), window_pairs(3, 0, 128), window_pairs(4, 2, 4)
    (12.0, 6.0, 15.0)
    >>> window_pairs(4, 2, -4)
    10.0
    """
    if window < 0.0:
        pairs = 0.0
        for tokens, sign in ((past + new, 0.5), (past, -0.5)):
            rest = tokens % -window
            pairs += sign * ((tokens - rest) * (1.0 - window) + rest * (rest + 1.0))
        return pairs
    growing: float = min(max(window - past, 0.0), new)
    return growing * past + 0.5 * growing * (growing + 1.0) + (new - growing) * window


@numba.njit(cache=True)
def windowed(tokens: float, window: float) -> float:
    """Of n tokens those that the next one sees in sliding layers: min(n, W), n mod C in chunks.

    >>> windowed(10, 4), windowed(3, 4), windowed(10, -4), windowed(8, -4)
    (4.0, 3.0, 2.0, 0.0)
    """
    return float(min(tokens, window) if window >= 0.0 else tokens % -window)


@numba.njit(cache=True)
def distinct_experts(experts: float, per_token: float, tokens: float) -> float:
    """Expected number of different experts that T `tokens` touch in one layer, routed uniformly.

    D = E (1 - (1 - k/E)^T), at least k                                                    (5)

    >>> distinct_experts(128, 4, 1)
    4.0
    >>> round(distinct_experts(128, 4, 32), 2)
    81.66
    """
    touched: float = experts * (1.0 - (1.0 - per_token / experts) ** tokens)
    return max(touched, min(per_token * tokens, per_token))


@numba.njit(cache=True)
def fullest(trials: float, chance: float, ranks: float) -> float:
    """Expected maximum over R `ranks` of a count that is Binomial(n, q) on each: n q, and more.

    sum over j >= 0 of 1 - F(j)^R, F the distribution function                             (6)
    n q + z s + (1 - 2 q) (z^2 - 1)/6 for large counts, s^2 = n q (1 - q)                  (7)

    z: the normal quantile of (R - 3/8)/(R + 1/4) (Blom, 1958), by 26.2.23 of Abramowitz and Stegun.
    The ranks are taken as independent; that their sum is given changes 3%, 8% at four hits or less.

    >>> round(fullest(32, 8 / 256, 8), 2), fullest(10, 0.3, 1)
    (2.54, 3.0)
    """
    mean = trials * chance
    if ranks <= 1.0 or chance <= 0.0 or chance >= 1.0:
        return mean
    rare = min(chance, 1.0 - chance)
    if trials * rare > 48.0:
        t = sqrt(-2.0 * log(0.625 / (ranks + 0.25)))
        z = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (
            1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))
        )
        return float(mean + z * sqrt(mean * (1.0 - chance)) + (1 - 2 * chance) * (z * z - 1.0) / 6)
    count = cumulated = total = 0.0
    part = (1.0 - rare) ** trials
    while count < trials:
        cumulated = min(cumulated + part, 1.0)
        # Where hits are the rule, the rank with the fewest misses is the fullest.
        term = 1.0 - cumulated**ranks if chance == rare else (1.0 - cumulated) ** ranks
        total += term
        if term < 1e-7 and count > trials * rare:
            break
        part *= (trials - count) / (count + 1.0) * rare / (1.0 - rare)
        count += 1.0
    if chance != rare:
        return float(trials - total)
    return float(min(max(total, mean, min(ranks * mean, 1.0)), max(trials, 1.0)))


@numba.njit(cache=True)
def _communication_s(table: np.ndarray, tokens: float, most: float = 0.0) -> tuple[float, float]:
    """comm(x): all-reduces, expert dispatches and combines, hand-overs between stages [s].

    Also what of it is fixed: starts and hops. Dispatches join the groups of a replica, so that
    they last as long as that of `most` tokens.
    """
    total = fixed = 0.0
    for row in (ALL_REDUCE, DISPATCH, HANDOVER):
        moved = max(tokens, most) if row == DISPATCH else tokens
        one = table[row, ONE_S] + table[row, ONE_S_PER_TOKEN] * moved
        other = table[row, OTHER_S] + table[row, OTHER_S_PER_TOKEN] * moved
        total += table[row, COUNT] * min(one, other)
        fixed += table[row, COUNT] * (table[row, ONE_S] if one <= other else table[row, OTHER_S])
    return float(table[TERMS, EXPOSED] * total), float(table[TERMS, EXPOSED] * fixed)


@numba.njit(cache=True)
def _shares(table: np.ndarray, batch: np.ndarray) -> tuple[float, float, float, float]:
    """How a batch goes through p stages: parts of the prompts, the sequences, the others; rounds.

    The parts are those of the fullest micro-batch: there are at most p, each with whole sequences
    and whole prompt chunks. A micro-batch takes a round of 1/p of its time in each stage, so

        p rounds          when all decode: a stack keeps p batches in flight, and each sequence
                          waits for its own only, so iterations follow without bubbles
        p + m - 1 rounds  for m prompt chunks, whose tokens are awaited
        m rounds          for chunks that end no prompt: the next follow them at once            (8)

    Rounds are in units of p: all are 1 without stages. Ref: Huang et al., GPipe, NeurIPS 2019;
    p batches in flight: vLLM's batch queue, SGLang's and TensorRT-LLM's pipeline loops.
    """
    stages = table[TERMS, STAGES]
    chunks = max(min(stages, batch[PROMPTS]), 1.0)
    seqs = max(min(stages, batch[DECODE_SEQS]), 1.0)
    rounds = stages
    if batch[PROMPT_TOKENS] > 0.0:
        rounds = chunks if batch[LOGIT_SEQS] == 0.0 else stages + chunks - 1.0
    others = max(min(stages, batch[MOST_TOKENS]), 1.0)  # groups go through the stages together
    return 1.0 / chunks, 1.0 / seqs, 1.0 / others, rounds / stages


@numba.njit(cache=True)
def _route(table: np.ndarray, x: np.ndarray, tokens: float) -> None:
    """Set the sums of x that say where all tokens go: to which experts, and most to which rank."""
    experts, per_token = table[TERMS, EXPERT_COUNT], table[TERMS, EXPERTS_PER_TOKEN]
    ranks, imbalance = table[TERMS, EXPERT_RANKS], table[TERMS, EXPERT_IMBALANCE]
    touched = distinct_experts(experts, per_token, tokens) if experts > 0.0 else 0.0
    x[X_EXPERTS] = x[X_FULLEST_EXPERTS] = touched
    x[X_FULLEST_TOKENS] = tokens
    if experts == 0.0 or ranks <= 1.0:
        return
    own = experts / ranks
    chance = min(per_token * imbalance / experts, 1.0)
    most = fullest(own, 1.0 - (1.0 - chance) ** tokens, ranks)
    x[X_FULLEST_EXPERTS] = ranks * max(most, touched / ranks)
    most = fullest(own * tokens, per_token / experts, ranks) * imbalance
    x[X_FULLEST_TOKENS] = ranks * min(most, tokens * min(own, per_token)) / per_token


@numba.njit(cache=True)
def _prefill_pairs(table: np.ndarray, batch: np.ndarray) -> float:
    """Attention pairs of prompts, as many as take as long as what latent attention does [pairs].

    Expanded: its pairs, and the cached latents of each chunk to expand; or absorbed, as in decode.
    The faster of the two.                                                                 (9)
    """
    pairs: float = batch[PREFILL_PAIRS]
    if table[TERMS, EXPANDED] == 0.0:
        return pairs
    cached = max(batch[PREFILL_KV] - batch[PROMPT_TOKENS], 0.0)
    expanded: float = pairs + table[TERMS, EXPANDED] * cached
    return float(min(expanded, pairs * table[TERMS, ABSORBED]))


@numba.njit(cache=True)
def _sums(
    table: np.ndarray, batch: np.ndarray, prompts: float, seqs: float, others: float
) -> np.ndarray:
    """x: the sums of one micro-batch, with these parts of prompts, sequences and other groups."""
    x = np.empty(len(SUMS))
    verified, decoding = table[TERMS, VERIFIED], batch[DECODE_SEQS] * seqs
    tokens = batch[PROMPT_TOKENS] * prompts + decoding * verified
    completed = (batch[LOGIT_SEQS] - batch[DECODE_SEQS]) * prompts
    x[X_ITERATIONS] = 1.0
    x[X_TOKENS] = tokens
    x[X_LOGITS] = (decoding + completed) * (verified if batch[DECODE_SEQS] > 0.0 else 1.0)
    x[X_PROMPTS] = 1.0 if batch[PROMPT_TOKENS] > 0.0 else 0.0
    _route(table, x, tokens + batch[OTHER_TOKENS] * others)
    x[X_STATES] = decoding + batch[PROMPTS] * prompts
    x[X_PREFILL_PAIRS] = _prefill_pairs(table, batch) * prompts
    x[X_PREFILL_WINDOW_PAIRS] = batch[PREFILL_WINDOW_PAIRS] * prompts
    return x


@numba.njit(cache=True)
def _growth(table: np.ndarray, batch: np.ndarray, prompts: float, seqs: float) -> Growth:
    """What `_grown` needs: KV tokens and how many more of them an iteration has, prompts' KV."""
    return (
        batch[DECODE_KV],
        batch[DECODE_SEQS],
        batch[DECODE_WINDOW_KV],
        batch[GROWING],
        seqs,
        table[TERMS, VERIFIED],
        batch[PREFILL_KV] * prompts,
        batch[PREFILL_WINDOW_KV] * prompts,
    )


@_inlined
def _grown(growth: Growth, gained: float) -> Grown:
    """What decode makes grow, once every sequence has so many tokens more: pairs, KV tokens read.

    Each as (layers that see everything, sliding layers).
    """
    tokens, seqs, window_tokens, growing, part, verified, prefill_kv, prefill_window_kv = growth
    kv = (tokens + seqs * gained) * part
    window_kv = (window_tokens + growing * gained) * part
    return kv * verified, window_kv * verified, kv + prefill_kv, window_kv + prefill_window_kv


@numba.njit(cache=True)
def _times(table: np.ndarray, row: int, x: np.ndarray) -> float:
    """A row times the sums that no decoded token changes, and no pairs."""
    total = 0.0
    for j in range(X_PAIRS):
        total += table[row, j] * x[j]
    return total


@numba.njit(cache=True)
def _rows(table: np.ndarray, c: int, m: int, x: np.ndarray) -> Rows:
    """A row of what is computed and one of what is read: what stays, and what each pair adds."""
    return (
        _times(table, c, x),
        table[c, X_PAIRS],
        table[c, X_WINDOW_PAIRS],
        table[c, X_PREFILL_PAIRS] * x[X_PREFILL_PAIRS],
        table[c, X_PREFILL_WINDOW_PAIRS] * x[X_PREFILL_WINDOW_PAIRS],
        _times(table, m, x),
        table[m, X_KV],
        table[m, X_WINDOW_KV],
    )


@_inlined
def _both(rows: Rows, grown: Grown) -> tuple[float, float]:
    """The two rows times all of x."""
    c_x, pairs, window_pairs, prefill, prefill_window, m_x, kv, window_kv = rows
    return (
        c_x + pairs * grown[0] + window_pairs * grown[1] + prefill + prefill_window,
        m_x + kv * grown[2] + window_kv * grown[3],
    )


@numba.njit(cache=True)
def _steady(table: np.ndarray, x: np.ndarray) -> Steady:
    """What stays while sequences decode, as numbers that a loop keeps in registers.

    The rows of the core; of the other operators the time that counts as compute, weights, experts,
    kv [s]; their compute before the core, and after it one by one, for sums keep their order.
    """
    end = int(table[TERMS, DRAFTER]) or table.shape[0]
    operators, fused = (end - OPERATORS) // 2, table[TERMS, FUSED] > 0.0
    core = int(table[TERMS, CORE])
    computed, others, before = np.zeros(operators), np.zeros(4), 0.0
    for o in range(operators):
        c, m = OPERATORS + 2 * o, OPERATORS + 2 * o + 1
        if o == core:
            before = others[0]
            continue
        c_x, m_x = _times(table, c, x), _times(table, m, x)
        if fused or c_x >= m_x:
            computed[o] = c_x
        if fused or c_x < m_x:
            others[int(table[m, READS])] += m_x
        others[0] += computed[o]
    bounds = (others[0], others[1], others[2], others[3])
    rows = _rows(table, OPERATORS + 2 * core, OPERATORS + 2 * core + 1, x)
    return fused, rows, bounds, before, computed[core + 1 :]


@_inlined
def _bounds(steady: Steady, grown: Grown) -> Bounds:
    """Time of the operators by what bounds them: compute, weights, experts, kv; (1) or (2) [s]."""
    fused, core, others, before, after = steady
    c_x, m_x = _both(core, grown)
    compute, weights, experts, kv = others
    if not fused and c_x < m_x:
        return compute, weights, experts, kv + m_x
    compute = before + c_x
    for o in range(after.size):
        compute += after[o]
    if not fused:
        return compute, weights, experts, kv
    if compute >= weights + experts + (kv + m_x):
        return compute, 0.0, 0.0, 0.0
    return 0.0, weights, experts, kv + m_x


@_inlined
def _parts(bounds: Bounds, comm: Comm, overhead: float, drafting: Drafting, rounds: float) -> Parts:
    """The whole and its parts (`PARTS`) [s]; drafting takes its time besides, of the same kinds."""
    compute, weights = bounds[0] * rounds, bounds[1] * rounds
    experts, kv = bounds[2] * rounds, bounds[3] * rounds
    both, overhead = comm[0] * rounds, overhead * rounds
    fixed = comm[1] * rounds
    total = compute + weights + experts + kv + both + overhead
    links, latency = both - fixed, overhead + fixed
    if drafting[0] + drafting[1] > 0.0:
        overhead += total * drafting[0] + drafting[1]
        drafted = compute + weights + experts + kv + both + overhead
        more, total = drafted / total, drafted
        compute, weights, experts, kv = compute * more, weights * more, experts * more, kv * more
        links, latency = links * more, latency * more
    return total, compute, weights, experts, kv, links, latency


@numba.njit(cache=True)
def _played(table: np.ndarray, batch: np.ndarray, drafting: Drafting) -> Parts:
    """`iteration_s` with this drafting."""
    prompts, seqs, others, rounds = _shares(table, batch)
    x = _sums(table, batch, prompts, seqs, others)
    grown = _grown(_growth(table, batch, prompts, seqs), 0.0)
    comm = _communication_s(table, x[X_TOKENS], batch[MOST_TOKENS] * others)
    overhead = _times(table, OVERHEAD, x)
    return _parts(_bounds(_steady(table, x), grown), comm, overhead, drafting, rounds)


@numba.njit(cache=True)
def _drafter_s(table: np.ndarray, batch: np.ndarray) -> float:
    """Passes of a drafter, one per drafted token and one over the prompts: all but its pairs and
    KV, which the core's rows have [s].
    """
    total, first, passes = 0.0, int(table[TERMS, DRAFTER]), table[TERMS, VERIFIED] - 1.0
    decoding = (passes, batch[DECODE_SEQS], batch[DECODE_SEQS], 0.0)
    for times, tokens, seqs, prompt in (decoding, (1.0, batch[PROMPT_TOKENS], batch[PROMPTS], 1.0)):
        if tokens == 0.0:
            continue
        x, sums = np.zeros(len(SUMS)), np.zeros(3)
        x[X_ITERATIONS], x[X_TOKENS], x[X_LOGITS], x[X_STATES] = 1.0, tokens, seqs, seqs
        x[X_PROMPTS] = prompt
        _route(table, x, tokens + (1.0 - prompt) * batch[OTHER_DECODED] / (passes + 1.0))
        for o in range(first + 1, table.shape[0] - 1, 2):
            c_x, m_x = _times(table, o, x), _times(table, o + 1, x)
            sums += np.array((c_x, m_x, max(c_x, m_x)))
        one = table[ALL_REDUCE, ONE_S] + table[ALL_REDUCE, ONE_S_PER_TOKEN] * tokens
        other = table[ALL_REDUCE, OTHER_S] + table[ALL_REDUCE, OTHER_S_PER_TOKEN] * tokens
        took = max(sums[0], sums[1]) if table[TERMS, FUSED] > 0.0 else sums[2]
        took += table[TERMS, DRAFT_REDUCES] * min(one, other) * table[TERMS, EXPOSED]
        total += times * (took + _times(table, first, x))
    return total


@numba.njit(cache=True)
def _drafting(table: np.ndarray, batch: np.ndarray) -> Drafting:
    """Drafting as a fraction of the iteration, or [s] of what decodes in it, not of prompts."""
    if table[TERMS, DRAFTER] > 0.0:
        return 0.0, _drafter_s(table, batch)
    fraction = table[TERMS, DRAFT_FACTOR] - 1.0
    if batch[DECODE_SEQS] == 0.0 or fraction == 0.0:
        return 0.0, 0.0
    if batch[PROMPT_TOKENS] + batch[OTHER_TOKENS] == batch[OTHER_DECODED]:
        return fraction, 0.0
    decode = batch.copy()
    decode[PROMPT_TOKENS] = decode[PROMPTS] = 0.0
    decode[PREFILL_PAIRS : PREFILL_WINDOW_KV + 1] = 0.0
    decode[LOGIT_SEQS] = decode[DECODE_SEQS]
    decode[OTHER_TOKENS], decode[MOST_TOKENS] = batch[OTHER_DECODED], batch[MOST_DECODED]
    return 0.0, fraction * _played(table, decode, (0.0, 0.0))[0]


@numba.njit(cache=True)
def _besides(
    table: np.ndarray, batch: np.ndarray, x: np.ndarray, others: float
) -> tuple[Comm, float, Drafting]:
    """comm(x) and h x [s], and what drafting takes."""
    comm = _communication_s(table, x[X_TOKENS], batch[MOST_TOKENS] * others)
    return comm, _times(table, OVERHEAD, x), _drafting(table, batch)


@numba.njit(cache=True)
def iteration_s(table: np.ndarray, batch: np.ndarray) -> Parts:
    """Time of one iteration and its parts, in the order of `PARTS` [s]: equations (1) and (2).

    An operator's time counts as compute or as what it reads, whichever bounds it. With stages it
    is the time of the fullest micro-batch in all of them, times rounds / stages: (8).
    """
    return _played(table, batch, _drafting(table, batch))


@_inlined
def _gained(first: int, played: int, accepted: int) -> int:
    """Tokens of a sequence in the `played` iterations after the `first`, in whole numbers."""
    if accepted == MILLION:
        return played
    return (first + played) * accepted // MILLION - first * accepted // MILLION


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
    accepted, now = int(table[TERMS, ACCEPTED_PPM]), start_ns
    prompts, part, others, rounds = _shares(table, batch)
    x = _sums(table, batch, prompts, part, others)
    steady, growth = _steady(table, x), _growth(table, batch, prompts, part)
    comm, overhead, drafting = _besides(table, batch, x, others)
    for played in range(iterations):
        grown = _grown(growth, float(_gained(first, played, accepted)))
        now += _to_ns(_parts(_bounds(steady, grown), comm, overhead, drafting, rounds)[0])
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
) -> int:
    """Add iterations that were played to a pool's totals (`TOTALS`) and to its token gaps.

    `gaps` counts the gaps between the tokens of a request in bins of `gap_bin`. Returns how long
    the first iteration took [ns].
    """
    accepted = int(table[TERMS, ACCEPTED_PPM])
    seqs, first_ns = int(batch[DECODE_SEQS]), 0
    prompts, part, others, rounds = _shares(table, batch)
    x = _sums(table, batch, prompts, part, others)
    staged = prompts < 1.0 or part < 1.0 or others < 1.0
    work = _sums(table, batch, 1.0, 1.0, 1.0) if staged else x.copy()
    work[X_PREFILL_PAIRS] = batch[PREFILL_PAIRS]
    work[X_LOGITS] = batch[LOGIT_SEQS]  # the FLOPs of a logit that a draft loses do not count
    worked, whole = _rows(table, FLOPS, BYTES, work), _growth(table, batch, 1.0, 1.0)
    steady, growth = _steady(table, x), _growth(table, batch, prompts, part)
    comm, overhead, drafting = _besides(table, batch, x, others)
    work_flops, work_bytes = totals[7], totals[8]
    to_prompts = _to_prompts(batch[PROMPT_TOKENS], batch[DECODE_SEQS])
    for played in range(iterations):
        gained = _gained(first, played, accepted)
        grown = _grown(growth, float(gained))
        parts = _parts(_bounds(steady, grown), comm, overhead, drafting, rounds)
        for index in range(len(PARTS)):
            totals[index] += parts[index]
        flops, moved = _both(worked, _grown(whole, float(gained)) if staged else grown)
        work_flops, work_bytes = work_flops + flops, work_bytes + moved
        gap_ns = _to_ns(parts[0])
        if to_prompts > 0.0:
            totals[11] += to_prompts * parts[0]
            totals[12] += to_prompts * parts[1]
        if played == 0:
            first_ns = gap_ns
        if seqs > 0:
            gaps[gap_bin(gap_ns)] += seqs
            gaps[0] += seqs * (_gained(first, played + 1, accepted) - gained - 1)
    totals[7], totals[8] = work_flops, work_bytes
    totals[9] += iterations
    totals[10] += iterations * batch[PROMPT_TOKENS]
    return first_ns


@_inlined
def _to_prompts(prompt_tokens: float, decode_seqs: float) -> float:
    """The part of an iteration that is prefill: that of the tokens which it computes."""
    return prompt_tokens / (prompt_tokens + decode_seqs) if prompt_tokens > 0.0 else 0.0


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


@numba.njit(cache=True)
def join(table: np.ndarray, batches: np.ndarray) -> None:
    """Let each group's batch, a row, know what the experts get from the others."""
    total = most = decoded = most_decoded = 0.0
    verified = table[TERMS, VERIFIED]
    for g in range(batches.shape[0]):
        decoding = batches[g, DECODE_SEQS] * verified
        tokens = batches[g, PROMPT_TOKENS] + decoding
        total, most = total + tokens, max(most, tokens)
        decoded, most_decoded = decoded + decoding, max(most_decoded, decoding)
    for g in range(batches.shape[0]):
        decoding = batches[g, DECODE_SEQS] * verified
        batches[g, OTHER_TOKENS] = total - batches[g, PROMPT_TOKENS] - decoding
        batches[g, OTHER_DECODED] = decoded - decoding
        batches[g, MOST_TOKENS], batches[g, MOST_DECODED] = most, most_decoded


@numba.njit(cache=True)
def groups_s(table: np.ndarray, batches: np.ndarray) -> Parts:
    """Time of one iteration of all groups and its parts, those of the fullest one [s]:

    t = max over groups g of t(x_g)                                                       (10)
    """
    parts = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for g in range(batches.shape[0]):
        if batches[g, PROMPT_TOKENS] + batches[g, DECODE_SEQS] > 0.0:  # else it waits
            of_group = iteration_s(table, batches[g])
            if of_group[0] > parts[0]:
                parts = of_group
    return parts


@numba.njit(cache=True)
def groups_ns(table: np.ndarray, batches: np.ndarray) -> int:
    """Time of one iteration of all groups [ns]."""
    return _to_ns(groups_s(table, batches)[0])


@numba.njit(cache=True)
def _group(table: np.ndarray, batch: np.ndarray) -> Constants:
    """What stays of a group's iterations while its sequences decode."""
    prompts, part, others, rounds = _shares(table, batch)
    x = _sums(table, batch, prompts, part, others)
    comm, overhead, drafting = _besides(table, batch, x, others)
    growth = _growth(table, batch, prompts, part)
    return _steady(table, x), growth, comm, overhead, drafting, rounds


@_inlined
def _group_s(group: Constants, gained: int) -> Parts:
    """Its iteration, once every sequence has so many tokens more: KV tokens are whole numbers, so
    this is what `iteration_s` gives for the batch as it is then, bit for bit.
    """
    steady, growth, comm, overhead, drafting, rounds = group
    return _parts(_bounds(steady, _grown(growth, float(gained))), comm, overhead, drafting, rounds)


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
    end, ppm = start_ns, int(table[TERMS, ACCEPTED_PPM])
    busy = [g for g in range(len(batches)) if batches[g, PROMPT_TOKENS] + batches[g, DECODE_SEQS]]
    groups = [_group(table, batches[g]) for g in busy]
    for played in range(iterations):
        longest = 0.0
        for k in range(len(busy)):
            gained = _gained(firsts[busy[k]], played, ppm)
            longest = max(longest, _group_s(groups[k], gained)[0])
        end += _to_ns(longest)
        if end >= until_ns:
            return played + 1, end
    return iterations, end


@numba.njit(cache=True)
def _work(table: np.ndarray, batch: np.ndarray, first: bool) -> tuple[Rows, Growth]:
    """What the FLOPs and bytes of a group's iterations are made of; the experts, which all groups
    share, are read for the first.
    """
    x = _sums(table, batch, 1.0, 1.0, 1.0)
    x[X_PREFILL_PAIRS] = batch[PREFILL_PAIRS]
    x[X_LOGITS] = batch[LOGIT_SEQS]
    if not first:
        x[X_EXPERTS] = 0.0
    return _rows(table, FLOPS, BYTES, x), _growth(table, batch, 1.0, 1.0)


@numba.njit(cache=True)
def account_groups(
    table: np.ndarray,
    batches: np.ndarray,
    totals: np.ndarray,
    gaps: np.ndarray,
    iterations: int,
    firsts: np.ndarray,
) -> int:
    """`account` of all groups together: busy time by the fullest one's bounds, work by all."""
    ppm, first_ns = int(table[TERMS, ACCEPTED_PPM]), 0
    busy = [g for g in range(len(batches)) if batches[g, PROMPT_TOKENS] + batches[g, DECODE_SEQS]]
    groups = [_group(table, batches[g]) for g in busy]
    works = [_work(table, batches[g], g == busy[0]) for g in busy]
    to_prompts = _to_prompts(batches[:, PROMPT_TOKENS].sum(), batches[:, DECODE_SEQS].sum())
    for played in range(iterations):
        parts, flops, moved = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0, 0.0
        for k in range(len(busy)):
            gained = _gained(firsts[busy[k]], played, ppm)
            of_group = _group_s(groups[k], gained)
            if of_group[0] > parts[0]:
                parts = of_group
            worked = _both(works[k][0], _grown(works[k][1], float(gained)))
            flops, moved = flops + worked[0], moved + worked[1]
        for index in range(len(PARTS)):
            totals[index] += parts[index]
        totals[7] += flops
        totals[8] += moved
        totals[9] += 1.0
        totals[11] += to_prompts * parts[0]
        totals[12] += to_prompts * parts[1]
        gap_ns = _to_ns(parts[0])
        if played == 0:
            first_ns = gap_ns
        for g in range(batches.shape[0]):
            totals[10] += batches[g, PROMPT_TOKENS]
            seqs, done = int(batches[g, DECODE_SEQS]), firsts[g] + played
            if seqs > 0:
                gaps[gap_bin(gap_ns)] += seqs
                gaps[0] += seqs * (_gained(done, 1, ppm) - 1)
    return first_ns


@numba.njit(cache=True)
def add_chunks(rows: np.ndarray, chunks: np.ndarray, window: int) -> None:
    """Add prompt chunks (row, new tokens, past tokens) to the batches that are rows of a matrix."""
    for k in range(chunks.shape[0]):
        row, new, past = rows[chunks[k, 0]], chunks[k, 1], chunks[k, 2]
        row[PROMPT_TOKENS] += new
        row[PROMPTS] += 1.0
        row[PREFILL_PAIRS] += causal_pairs(float(new), float(past))
        row[PREFILL_KV] += past + new
        if window != 0:
            row[PREFILL_WINDOW_PAIRS] += window_pairs(float(new), float(past), float(window))
            row[PREFILL_WINDOW_KV] += windowed(float(past), float(window)) + new


@numba.njit(cache=True)
def price(tables: np.ndarray, which: np.ndarray, first: np.ndarray, rows: np.ndarray) -> np.ndarray:
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
