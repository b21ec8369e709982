"""Which experts a batch touches, and how many of them, and of its tokens, the fullest rank has.

Routing is taken as uniform: every token goes to k different ones of E experts. With R ranks that
hold E/R whole experts each, the rank that has most sets the time of a layer.
"""

from math import log, sqrt

import numba


@numba.njit(cache=True)
def distinct_experts(experts: float, per_token: float, tokens: float) -> float:
    """Expected number of different experts that T `tokens` touch in one layer, routed uniformly.

    D = E (1 - (1 - k/E)^T), at least k                                                    (1)

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

    sum over j >= 0 of 1 - F(j)^R, F the distribution function                             (2)
    n q + z s + (1 - 2 q) (z^2 - 1)/6 for large counts, s^2 = n q (1 - q)                  (3)

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
    return float(max(total, mean, min(ranks * mean, 1.0)))
