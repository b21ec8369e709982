"""A histogram of the gaps between tokens: 128 bins per octave of nanoseconds."""

from math import frexp

import numba
import numpy as np

GAP_BINS_PER_OCTAVE = 128
GAP_BINS = 65 * GAP_BINS_PER_OCTAVE  # every gap of 64 bits


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
    return np.where(index == 0, 0.0, middle)
