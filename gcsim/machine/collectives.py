"""Communication inside a replica: all-reduce (tensor parallel) and all-to-all (expert parallel)."""

import numba


@numba.njit(cache=True)
def all_reduce_s(
    moved_bytes: float, chips: float, latency_s: float, phases_s: float, bytes_per_s: float
) -> float:
    """Time of one all-reduce of `moved_bytes` per chip over `chips` chips [s].

    one-shot:                     a + (n - 1) m / B                                (1)
    reduce-scatter + all-gather:  a + p + 2 (n - 1)/n m / B                        (2)

    The faster of the two. m: moved_bytes [B]; a: latency_s, start and synchronisation [s];
    p: phases_s, latency of the steps of (2): two where chips exchange directly (mesh, switch),
    2 (n - 1) in a ring [s]; B: bytes_per_s, per chip and direction x efficiency [B/s].
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
    """Time of one all-to-all in which each chip sends `moved_bytes`, evenly to all [s].

    a + (n - 1)/n m / B                                                            (3)

    >>> all_to_all_s(8e6, 8, 1e-5, 1e9)
    0.00701
    """
    if chips <= 1.0:
        return 0.0
    return latency_s + (chips - 1.0) / chips * moved_bytes / bytes_per_s
