"""What a factor of a chip is pulled to, and what its own points show of it.

The logarithm of a factor f of stack s on chip c of vendor v is

    x(c, s, f) = mean(s, f) + vendor(v, f) + own(c, s, f)

with mean(s, f) near the prior of the factor, vendor(v, f) within `VENDORS` of 0, of old and of new
stacks apart, and own(c, s, f) within `CHIPS` of 0 (standard deviations): a chip differs from the
others of its vendor as far as its points insist, and a stack that a chip has no point for takes
what the vendor's others say. Chips of one die (`DIES`) share what the die decides, so that of two
that differ in their memory alone the faster memory is never the slower chip.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gcsim.calibration.factors import EFFICIENCIES, Name, is_dated
from gcsim.calibration.solve import Pull, Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Standard deviations of logarithms between vendors, and between the chips of one: of fixed times,
# of efficiencies.
VENDORS, VENDORS_EFFICIENCY = 0.2, 0.1
CHIPS, CHIPS_EFFICIENCY = 0.15, 0.12
# Chips of one die, or of one architecture with the same units: all factors are the first one's but
# those of the memory on the package, and of FP4, of which B300 has half as much again.
DIES = {"h200-sxm": "h100-sxm", "a100-40gb": "a100", "b300": "b200"}
OWN = ("memory", "kv_read", "gemm_fp4")
SHOWN = 0.5  # a factor is fitted where points take this part of its prior's variance away

Columns = Sequence[tuple[Name, ...]]


def owner(name: Name) -> Name:
    """The factor that stands for one of its die.

    >>> owner(("h200-sxm", "vllm", "layer_overhead")), owner(("h200-sxm", "", "memory"))
    (('h100-sxm', 'vllm', 'layer_overhead'), ('h200-sxm', '', 'memory'))
    """
    chip, stack, factor = name
    return name if factor in OWN else (DIES.get(chip, chip), stack, factor)


def siblings(name: Name) -> list[Name]:
    """The same factor on the other chips of its die, where these share it.

    >>> siblings(("h100-sxm", "", "gemm_fp8")), siblings(("h100-sxm", "", "memory"))
    ([('h200-sxm', '', 'gemm_fp8')], [])
    """
    chips = sorted({*DIES, *DIES.values()})
    others = ((chip, name[1], name[2]) for chip in chips)
    return [other for other in others if other != name and owner(other) == owner(name)]


def tied(names: Sequence[Name]) -> list[tuple[Name, ...]]:
    """Factors that are one number, together."""
    found: dict[Name, list[Name]] = {}
    for name in sorted(names):
        found.setdefault(owner(name), []).append(name)
    return [tuple(group) for group in found.values()]


def independent(columns: Columns, prior: Callable[[Name], tuple[float, float]]) -> Pull:
    """Each factor to its own prior."""
    centre = np.log([prior(names[0])[0] for names in columns])
    width = np.array([prior(names[0])[1] for names in columns])
    return Pull(np.diag(1.0 / width), centre / width, centre)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The hidden means behind some factors: of a stack (`means`), of a vendor (`sides`).

    prior: what a mean is drawn to; vendors: chip -> whose.
    """

    columns: Columns
    prior: Callable[[Name], tuple[float, float]]
    vendors: Mapping[str, str]
    means: tuple[tuple[str, str], ...]
    sides: tuple[tuple[str, str, bool], ...]

    def pull(self) -> Pull:
        """Each factor to the sum of its means, each mean to its prior."""
        own, size = len(self.columns), len(self.columns) + len(self.means) + len(self.sides)
        matrix, target = np.zeros((size, size)), np.zeros(size)
        for row, names in enumerate(self.columns):
            matrix[row] = -self._hidden(names[0]) / _spread(names[0])
            matrix[row, row] = 1.0 / _spread(names[0])
        for row, (stack, factor) in enumerate(self.means, start=own):
            value, width = self.prior(("", stack, factor))
            matrix[row, row], target[row] = 1.0 / width, np.log(value) / width
        for row, (_, factor, _) in enumerate(self.sides, start=own + len(self.means)):
            matrix[row, row] = 1.0 / _apart(factor)
        return Pull(matrix, target, np.asarray(np.linalg.solve(matrix, target)))

    def expects(self, solved: Solved, name: Name, vendor: str) -> tuple[float, float]:
        """A factor that no point shows, as its stack and vendor have it: value, s.d. of its log."""
        value, width = self.prior(name)
        spread, has = _spread(name), self._hidden(name, vendor)
        shift, variance = float(has @ solved.z), float(has @ solved.covariance @ has)
        if name[1:] not in self.means:  # the prior of its stack, and what is known of the vendor
            shift, variance = shift + float(np.log(value)), variance + width**2
        if (vendor, *_kind(name)) not in self.sides:
            variance += _apart(name[2]) ** 2
        return float(np.exp(shift)), float(np.sqrt(variance + spread**2))

    def _hidden(self, name: Name, vendor: str = "") -> "NDArray[np.float64]":
        """Which hidden means stand behind a factor, as a row over z."""
        own = len(self.columns)
        found = np.zeros(own + len(self.means) + len(self.sides))
        side = (vendor or self.vendors[name[0]], *_kind(name))
        if name[1:] in self.means:
            found[own + self.means.index(name[1:])] = 1.0
        if side in self.sides:
            found[own + len(self.means) + self.sides.index(side)] = 1.0
        return found


def hierarchy(
    columns: Columns, prior: Callable[[Name], tuple[float, float]], vendors: Mapping[str, str]
) -> Hierarchy:
    """The means that some factors have; vendors: chip -> whose."""
    means = tuple(sorted({names[0][1:] for names in columns}))
    sides = tuple(sorted({(vendors[n[0][0]], *_kind(n[0])) for n in columns}))
    return Hierarchy(columns, prior, vendors, means, sides)


def _kind(name: Name) -> tuple[str, bool]:
    """What a vendor's chips have in common: a factor, of old software or of new."""
    return name[2], bool(name[1]) and is_dated(name[1])


def _apart(factor: str) -> float:
    return VENDORS_EFFICIENCY if factor in EFFICIENCIES else VENDORS


def _spread(name: Name) -> float:
    return CHIPS_EFFICIENCY if name[2] in EFFICIENCIES else CHIPS


def shown_by_points(
    solved: Solved, widths: Sequence[float]
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Of each column: the part of its prior's variance that points take away; correlations.

    Under the general priors alone (standard deviations: widths), whatever relatives say.
    """
    width = np.asarray(widths, dtype=np.float64)
    normal = solved.slopes.T @ solved.slopes + np.diag(1.0 / width**2)
    covariance = np.linalg.inv(normal)
    deviation = np.sqrt(np.diag(covariance))
    return 1.0 - (deviation / width) ** 2, covariance / np.outer(deviation, deviation)
