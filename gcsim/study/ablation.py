"""What each factor buys: the error when it is held at the value at which it has no effect."""

from collections.abc import Sequence

import numpy as np

from gcsim.study.calibrate import Calibration, Row, rows_of
from gcsim.study.factors import EFFICIENCIES, TIMES, Name, bounds
from gcsim.study.fit import Prepared, fit, names_of, subset

# Factors that act together are taken away together.
GROUPS: dict[str, tuple[str, ...]] = {
    **{factor: (factor,) for factor in (*EFFICIENCIES, *TIMES) if not factor.startswith("gemm_")},
    "gemm (all formats)": ("gemm_bf16", "gemm_fp8", "gemm_fp4"),
    "compute (old stacks)": ("compute",),
}
EVALUATIONS = 6


def ablation(ready: Prepared, result: Calibration) -> list[dict[str, float | str]]:
    """For each group of factors: median errors without it, after the others were fitted anew.

    The first row, "-", has all factors, fitted in the same way.
    """
    chips = sorted({name[0] for name in result.values})
    inside = subset(ready, lambda p, s: s.chip in chips and p.fitted)
    found: list[dict[str, float | str]] = []
    for label, factors in {"-": (), **GROUPS}.items():
        rows: list[Row] = []
        for chip in chips:
            part = subset(inside, lambda p, s, c=chip: s.chip == c)  # type: ignore[misc]  # noqa: ARG005
            if not part.points:
                continue
            fixed = {n: neutral(n) for n in names_of(part) if n[2] in factors}
            rows += rows_of(part, fit(part, _from(result), fixed, EVALUATIONS).values)
        found.append({"without": label, **_medians(rows)})
    return found


def neutral(name: Name) -> float:
    """The value at which a factor has no effect: an efficiency of 1, the shortest time.

    >>> neutral(("c", "", "memory")), neutral(("c", "s", "layer_overhead"))
    (1.0, 1e-06)
    """
    low, high = bounds(name[2])
    return high if name[2] in EFFICIENCIES or name[2] == "compute" else low


def _from(result: Calibration):  # type: ignore[no-untyped-def]
    return lambda name: (result.values.get(name, neutral(name)), 1.0)


def _medians(rows: Sequence[Row]) -> dict[str, float]:
    found = {}
    for metric in ("ttft", "tpot", "e2e"):
        errors = np.abs(np.expm1([r.log_error for r in rows if r.metric == metric]))
        found[metric] = float(np.median(errors)) if errors.size else float("nan")
    return found
