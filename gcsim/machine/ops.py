"""The roofline of one operator, attention pairs, and the experts that a batch touches."""

import numba


@numba.njit(cache=True)
def op_s(flops: float, moved_bytes: float, flops_per_s: float, bytes_per_s: float) -> float:
    """Time of one operator under the roofline [s].

    t = max(flops / F, moved_bytes / B)                                            (1)

    flops: work [FLOP], a multiply-add is 2; flops_per_s: F, dense peak x efficiency [FLOP/s]
    moved_bytes: from and to memory [B]; bytes_per_s: B, peak x efficiency [B/s]
    Limits: no overlap between operators; caches ignored. Ref: Williams et al., CACM 52(4), 2009.

    >>> op_s(2e12, 1e9, 1e15, 4e12)
    0.002
    """
    return max(flops / flops_per_s, moved_bytes / bytes_per_s)


@numba.njit(cache=True)
def causal_pairs(new: float, past: float) -> float:
    """Attention pairs (query, key) of `new` tokens after `past` ones, causal mask.

    n p + n (n + 1) / 2                                                            (2)

    >>> causal_pairs(3, 10)
    36.0
    """
    return new * past + 0.5 * new * (new + 1.0)


@numba.njit(cache=True)
def window_pairs(new: float, past: float, window: float) -> float:
    """Attention pairs of `new` tokens after `past` ones when each sees the last `window` (its own).

    sum over i in 1..n of min(p + i, W)                                            (3)

    >>> window_pairs(3, 10, 4), window_pairs(3, 0, 128), window_pairs(4, 2, 4)
    (12.0, 6.0, 15.0)
    """
    growing: float = min(max(window - past, 0.0), new)
    return growing * past + 0.5 * growing * (growing + 1.0) + (new - growing) * window


@numba.njit(cache=True)
def distinct_experts(experts: float, per_token: float, tokens: float, skew: float) -> float:
    """Expected number of different experts that `tokens` tokens touch in one layer.

    D = E (1 - (1 - k/E)^(T/skew)), at least k                                     (4)

    Routing is uniform at skew 1; a larger skew means favourite experts, so fewer different ones.

    >>> distinct_experts(128, 4, 1, 1.0)
    4.0
    >>> round(distinct_experts(128, 4, 32, 1.0), 2)
    81.66
    """
    touched: float = experts * (1.0 - (1.0 - per_token / experts) ** (tokens / skew))
    return max(touched, min(per_token * tokens, per_token))
