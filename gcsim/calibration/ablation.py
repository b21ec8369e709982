"""What each factor buys: the error when it is held at the value at which it has no effect."""

from collections.abc import Sequence

import numpy as np

from gcsim.calibration.calibrate import Calibration, Compared, rows_of
from gcsim.calibration.factors import COMPUTE, EFFICIENCIES, HELD, TIMES, Name, bounds
from gcsim.calibration.fit import Prepared, fit, names_of, subset

# Factors that act together are taken away together.
GROUPS: dict[str, tuple[str, ...]] = {
    **{
        factor: (factor,)
        for factor in (*EFFICIENCIES, *TIMES)
        if not factor.startswith("gemm_") and factor not in HELD
    },
    "gemm (all formats)": ("gemm_bf16", "gemm_fp8", "gemm_int8", "gemm_fp4"),
    "compute (old stacks)": (COMPUTE,),
    "quantized_kernels": ("quantized_kernels",),
}
EVALUATIONS = 4


def ablation(ready: Prepared, result: Calibration) -> list[dict[str, float | str]]:
    """For each group of factors: errors without it, after the others were fitted anew.

    `ttft`, `tpot`, `e2e`: median of |modeled / published - 1|; `..._p90`: its 90th percentile. The
    first row, "-", has all factors, fitted in the same way.
    """
    chips = {name[0] for name in result.values}
    inside = subset(ready, lambda point, setup: setup.chip in chips and point.fitted)
    found: list[dict[str, float | str]] = []
    for label, factors in {"-": (), **GROUPS}.items():
        fixed = {n: neutral(n) for n in names_of(inside) if n[2] in factors}
        most, start = EVALUATIONS, result.values
        values = fit(inside, fixed=fixed, max_evaluations=most, pooled=True, start=start).values
        found.append({"without": label, **_errors(rows_of(inside, values))})
    return found


def neutral(name: Name) -> float:
    """The value at which a factor has no effect: an efficiency of 1, the shortest time.

    >>> neutral(("c", "", "memory")), neutral(("c", "s", "layer_overhead"))
    (1.0, 1e-06)
    """
    low, high = bounds(name[2])
    return high if name[2] in (*EFFICIENCIES, COMPUTE) else low


def _errors(rows: Sequence[Compared]) -> dict[str, float]:
    found = {}
    for metric in ("ttft", "tpot", "e2e"):
        errors = np.abs(np.expm1([r.log_error for r in rows if r.metric == metric]))
        if not errors.size:
            errors = np.array([np.nan])
        found[metric] = float(np.median(errors))
        found[f"{metric}_p90"] = float(np.quantile(errors, 0.9))
    return found
