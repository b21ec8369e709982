"""The time of one iteration from sums over its batch: O(1) in the size of the batch."""

import numba
import numpy as np

from gcsim.machine.coefficients import RECORD
from gcsim.machine.collectives import all_reduce_s, all_to_all_s
from gcsim.machine.gaps import gap_bin
from gcsim.machine.ops import distinct_experts

Parts = tuple[float, float, float, float, float, float, float]
# Compute and memory time of projection, FFN, experts and head; communication, overhead [s];
# micro-batches.
Fixed = tuple[float, float, float, float, float, float, float, float, float, float, float]


@numba.njit(cache=True)
def _bounded(
    fused: bool,
    projection_c: float,
    projection_m: float,
    attention_c: float,
    attention_m: float,
    ffn_c: float,
    ffn_m: float,
    expert_c: float,
    expert_m: float,
    head_c: float,
    head_m: float,
) -> tuple[float, float, float, float]:
    """What bounds the operators: (compute, weights, experts, kv) [s], by (1) or (2)."""
    if fused:
        compute = projection_c + attention_c + ffn_c + expert_c + head_c
        weights = projection_m + ffn_m + head_m
        if compute >= weights + expert_m + attention_m:
            return compute, 0.0, 0.0, 0.0
        return 0.0, weights, expert_m, attention_m
    compute = weights = experts = kv = 0.0
    if projection_c >= projection_m:
        compute += projection_c
    else:
        weights += projection_m
    if attention_c >= attention_m:
        compute += attention_c
    else:
        kv += attention_m
    if ffn_c >= ffn_m:
        compute += ffn_c
    else:
        weights += ffn_m
    if expert_c >= expert_m:
        compute += expert_c
    else:
        experts += expert_m
    if head_c >= head_m:
        compute += head_c
    else:
        weights += head_m
    return compute, weights, experts, kv


@numba.njit(cache=True)
def _communication_s(c: np.record, tokens: float) -> float:
    """All-reduces over tp chips, expert dispatches and combines, hand-overs between stages [s]."""
    reduces = c.all_reduces * all_reduce_s(
        tokens * c.all_reduce_bytes_per_token,
        c.all_reduce_chips,
        c.all_reduce_latency_s,
        c.all_reduce_phases_s,
        c.link_bytes_per_s,
    )
    dispatches = c.dispatches * 2.0 * all_to_all_s(
        tokens * c.dispatch_bytes_per_token,
        c.dispatch_chips,
        c.dispatch_latency_s,
        c.link_bytes_per_s,
    )  # fmt: skip
    stage_s = c.stage_latency_s + tokens * c.all_reduce_bytes_per_token / c.link_bytes_per_s
    total: float = c.comm_exposed * (reduces + dispatches + (c.stages - 1.0) * stage_s)
    return total


@numba.njit(cache=True)
def _fixed(c: np.record, prompt_tokens: float, decode_seqs: float, logit_seqs: float) -> Fixed:
    """The terms of `iteration_parts` in which no KV occurs."""
    decoded = decode_seqs * c.tokens_per_seq
    batches = max(min(c.stages, prompt_tokens + decoded), 1.0)
    tokens = (prompt_tokens + decoded) / batches
    seqs = logit_seqs * (c.tokens_per_seq if decode_seqs > 0.0 else 1.0) / batches
    expert_m = 0.0
    if c.experts > 0.0:
        touched = distinct_experts(c.experts, c.experts_per_token, tokens, c.expert_skew)
        expert_m = touched * c.expert_weights_s_per_expert + tokens * c.expert_moved_s_per_token
    overhead = c.layers_overhead_s + seqs * c.seq_overhead_s
    if prompt_tokens > 0.0:
        overhead += c.prompt_overhead_s
    return (
        tokens * c.projection_s_per_token,
        c.projection_weights_s + tokens * c.projection_moved_s_per_token,
        tokens * c.ffn_s_per_token,
        c.ffn_weights_s + tokens * c.ffn_moved_s_per_token,
        tokens * c.expert_s_per_token,
        expert_m,
        seqs * c.head_s_per_seq,
        c.head_weights_s,
        _communication_s(c, tokens),
        overhead,
        batches,
    )


@numba.njit(cache=True)
def _parts(
    c: np.record,
    fixed: Fixed,
    decode_seqs: float,
    decode_kv: float,
    decode_window_kv: float,
    prefill_pairs: float,
    prefill_window_pairs: float,
    prefill_kv: float,
    prefill_window_kv: float,
) -> Parts:
    """`iteration_parts` from the terms that stay and the KV that grows."""
    (
        projection_c, projection_m, ffn_c, ffn_m, expert_c, expert_m, head_c, head_m, comm,
        overhead, batches,
    ) = fixed  # fmt: skip
    pairs, window_pairs = decode_kv * c.tokens_per_seq, decode_window_kv * c.tokens_per_seq
    attention_c = (
        pairs * c.attention_decode_s_per_pair
        + window_pairs * c.attention_decode_s_per_window_pair
        + prefill_pairs * c.attention_prefill_s_per_pair
        + prefill_window_pairs * c.attention_prefill_s_per_window_pair
    ) / batches
    attention_m = (
        (decode_kv + prefill_kv) * c.kv_s_per_token
        + (decode_window_kv + prefill_window_kv) * c.kv_s_per_window_token
    ) / batches
    compute, weights, experts, kv = _bounded(
        c.fused > 0.0, projection_c, projection_m, attention_c, attention_m, ffn_c, ffn_m,
        expert_c, expert_m, head_c, head_m,
    )  # fmt: skip
    work = compute + weights + experts + kv + comm + overhead
    if decode_seqs > 0.0:
        overhead += work * (c.draft_factor - 1.0)
    total = compute + weights + experts + kv + comm + overhead
    return total, compute, weights, experts, kv, comm, overhead


@numba.njit(cache=True)
def iteration_parts(
    coefficients: np.ndarray,
    prompt_tokens: float,
    decode_seqs: float,
    logit_seqs: float,
    decode_kv: float,
    decode_window_kv: float,
    prefill_pairs: float,
    prefill_window_pairs: float,
    prefill_kv: float,
    prefill_window_kv: float,
) -> Parts:
    """Time of one iteration and its split: (total, compute, weights, experts, kv, comm, overhead).

    kernels:  t = sum over operators o of max(compute_o, memory_o) + comm + overhead    (1)
    fused:    t = max(sum compute_o, sum memory_o) + comm + overhead                    (2)

    Operators: QKV/O projections, attention core, dense and shared FFN, experts, LM head. Each
    operator's time counts as compute or as memory, whichever bounds it (weights, experts, kv).
    prompt_tokens: new prompt tokens; decode_seqs: sequences that decode; logit_seqs: sequences
    that get a token; *_kv: KV tokens read, summed over sequences (`window`: layers that slide);
    *_pairs: attention pairs. With p stages the sums are those of one of min(p, tokens) equal
    micro-batches, which in steady state follow each other through the stages without bubbles.
    Ref: facts "A cost model that fits"; Williams et al. 2009. All results in seconds.
    """
    c = coefficients.view(RECORD)[0]
    return _parts(
        c, _fixed(c, prompt_tokens, decode_seqs, logit_seqs), decode_seqs, decode_kv,
        decode_window_kv, prefill_pairs, prefill_window_pairs, prefill_kv, prefill_window_kv,
    )  # fmt: skip


@numba.njit(cache=True)
def _to_ns(seconds: float) -> int:
    """Whole nanoseconds, at least one: time always moves on."""
    return max(int(seconds * 1e9 + 0.5), 1)


@numba.njit(cache=True)
def run_ns(
    coefficients: np.ndarray,
    iterations: int,
    first: int,
    start_ns: int,
    until_ns: int,
    decode_seqs: int,
    decode_kv: int,
    decode_window_kv: int,
    growing: int,
) -> tuple[int, int]:
    """Play decode-only iterations whose batch stays the same: (iterations played, end) [ns].

    Ends after `iterations`, or with the first iteration that ends at `until_ns` or later. Each
    iteration is rounded to whole nanoseconds by itself, so that one long run and many short ones
    agree bit for bit. `first`: iterations that the replica decoded before (it decides how many
    tokens a speculative iteration yields); `growing`: sequences still shorter than the window.
    """
    c = coefficients.view(RECORD)[0]
    accepted = int(c.accepted_ppm)
    now, origin = start_ns, first * accepted // 1_000_000
    seqs = float(decode_seqs)
    fixed = _fixed(c, 0.0, seqs, seqs)
    for played in range(iterations):
        gained = (first + played) * accepted // 1_000_000 - origin
        kv = float(decode_kv + decode_seqs * gained)
        window_kv = float(decode_window_kv + growing * gained)
        now += _to_ns(_parts(c, fixed, seqs, kv, window_kv, 0.0, 0.0, 0.0, 0.0)[0])
        if now >= until_ns:
            return played + 1, now
    return iterations, now


@numba.njit(cache=True)
def mixed_ns(
    coefficients: np.ndarray,
    prompt_tokens: int,
    decode_seqs: int,
    logit_seqs: int,
    decode_kv: int,
    decode_window_kv: int,
    prefill_pairs: float,
    prefill_window_pairs: float,
    prefill_kv: int,
    prefill_window_kv: int,
) -> int:
    """Time of one iteration with prompt tokens in it [ns]; arguments of `iteration_parts`."""
    return _to_ns(
        iteration_parts(
            coefficients,
            float(prompt_tokens),
            float(decode_seqs),
            float(logit_seqs),
            float(decode_kv),
            float(decode_window_kv),
            prefill_pairs,
            prefill_window_pairs,
            float(prefill_kv),
            float(prefill_window_kv),
        )[0]
    )


@numba.njit(cache=True)
def _flops(
    c: np.record,
    tokens: float,
    logit_seqs: float,
    kv: float,
    window_kv: float,
    prefill_pairs: float,
    prefill_window_pairs: float,
) -> float:
    """Work of one iteration on all chips, without efficiencies [FLOP]."""
    total: float = (
        tokens * c.flops_per_token
        + logit_seqs * c.flops_per_seq
        + kv * c.tokens_per_seq * c.flops_per_decode_pair
        + window_kv * c.tokens_per_seq * c.flops_per_window_decode_pair
        + prefill_pairs * c.flops_per_prefill_pair
        + prefill_window_pairs * c.flops_per_window_prefill_pair
    )
    return total


@numba.njit(cache=True)
def _weight_bytes(c: np.record, tokens: float) -> float:
    """Weights that one iteration reads on all chips [B]."""
    touched = 0.0
    if c.experts > 0.0:
        touched = distinct_experts(c.experts, c.experts_per_token, tokens, c.expert_skew)
    total: float = c.weight_bytes + touched * c.bytes_per_expert
    return total


@numba.njit(cache=True)
def account(
    coefficients: np.ndarray,
    totals: np.ndarray,
    gaps: np.ndarray,
    iterations: int,
    first: int,
    wait_ns: int,
    prompt_tokens: int,
    decode_seqs: int,
    logit_seqs: int,
    decode_kv: int,
    decode_window_kv: int,
    growing: int,
    prefill_pairs: float,
    prefill_window_pairs: float,
    prefill_kv: int,
    prefill_window_kv: int,
) -> int:
    """Add iterations that were played to a pool's totals (`TOTALS`) and to its token gaps.

    `gaps` counts the gaps between the tokens of a request in bins of `gap_bin`; `wait_ns` is a wait
    within the first iteration. Returns how long that one took [ns].
    """
    c = coefficients.view(RECORD)[0]
    accepted = int(c.accepted_ppm)
    origin = first * accepted // 1_000_000
    first_ns = 0
    fixed = _fixed(c, float(prompt_tokens), float(decode_seqs), float(logit_seqs))
    tokens = prompt_tokens + decode_seqs * c.tokens_per_seq
    weight_bytes = _weight_bytes(c, tokens)
    for played in range(iterations):
        gained = (first + played) * accepted // 1_000_000 - origin
        kv = float(decode_kv + decode_seqs * gained)
        window_kv = float(decode_window_kv + growing * gained)
        parts = _parts(
            c, fixed, float(decode_seqs), kv, window_kv, prefill_pairs, prefill_window_pairs,
            float(prefill_kv), float(prefill_window_kv),
        )  # fmt: skip
        for index in range(7):
            totals[index] += parts[index]
        totals[7] += _flops(
            c, tokens, logit_seqs, kv, window_kv, prefill_pairs, prefill_window_pairs
        )
        totals[8] += (
            weight_bytes
            + (kv + prefill_kv) * c.kv_bytes_per_token
            + (window_kv + prefill_window_kv) * c.kv_bytes_per_window_token
        )
        totals[9] += 1.0
        totals[10] += prompt_tokens
        gap_ns = _to_ns(parts[0])
        if played == 0:
            gap_ns += wait_ns
            first_ns = gap_ns
        if decode_seqs > 0:
            step = (first + played + 1) * accepted // 1_000_000 - origin - gained
            gaps[gap_bin(gap_ns)] += decode_seqs
            gaps[0] += decode_seqs * (step - 1)
    return first_ns
