"""The summary of a run: the keys of `vllm bench serve`, and the same pattern where it has none."""

import math
from typing import Any

import numpy as np
import pandas as pd

from gcsim.engine.cluster import Cluster
from gcsim.engine.session import PATH
from gcsim.machine.roofline import GAP_BINS, GAP_BINS_PER_OCTAVE
from gcsim.results import metrics
from gcsim.results.counted import Counted
from gcsim.results.metric import BOUNDED, PERCENTILES, STATISTICS, Metric
from gcsim.results.per import once

PHASES = ("network", "queue", "prefill", "kv_transfer", "decode")


def gap_of_bin(index: np.ndarray) -> np.ndarray:
    """The middle of a bin of `gap_bin` [ns].

    >>> from gcsim.machine.roofline import gap_bin
    >>> float(gap_of_bin(np.array([gap_bin(10_000_000)]))[0]) / 1e7
    0.99...
    """
    exponent, part = np.divmod(index, GAP_BINS_PER_OCTAVE)
    middle = 0.5 * (1.0 + (part + 0.5) / GAP_BINS_PER_OCTAVE) * 2.0**exponent
    return np.asarray(np.where(index == 0, 0.0, middle))


def summarise(of: Counted) -> dict[str, Any]:
    """All metrics of what counts (a run, or a class), and where its milliseconds go.

    Times in ms, rates per second of the time that counts, None where a metric is undefined.
    """
    found: dict[str, Any] = {}
    for metric in metrics.METRICS:
        if metric.of in ("gaps", "pools"):
            continue
        if metric.per is not None:
            found[metric.key] = summed(of, metric)
            continue
        numbers = statistics(metric.values(getattr(of, metric.of)) * metric.si)
        found |= {key: numbers[which] for which, key in metric.keys().items()}
    return found | {
        "breakdown_ms": means_ms(of.requests, PHASES),
        "task_breakdown_ms": means_ms(of.tasks, PATH),
        "reasons": {
            str(reason): int(number)
            for reason, number in of.sent["reason"].value_counts(sort=False).items()
            if reason != "" and number
        },
    }


def summarise_pools(of: Counted) -> dict[str, Any]:
    """The metrics that only the whole run has: what its pools draw and cost."""
    found = (metric for metric in metrics.METRICS if metric.of == "pools")
    return {metric.key: summed(of, metric) for metric in found}


def summed(of: Counted, metric: Metric) -> float | int | None:
    """Equation: sum of the column / per; None where that is 0. Counts stay whole numbers."""
    assert metric.per is not None
    total = metric.values(getattr(of, metric.of)).sum() * metric.si
    if metric.per is once:
        return int(total) if float(total).is_integer() and metric.unit == "" else float(total)
    divisor = metric.per(of)
    return float(total) / divisor if divisor else None


def statistics(values: pd.Series) -> dict[str, float | None]:
    """Statistic -> value, of what is not NaN; None where that is nothing.

    >>> statistics(pd.Series([1.0, 2.0, 3.0]))["median"]
    2.0
    """
    known = values.to_numpy(dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return dict.fromkeys(STATISTICS)
    numbers = [known.mean(), known.std(), *np.percentile(known, list(PERCENTILES.values()))]
    return dict(zip(STATISTICS, map(float, numbers), strict=True))


def means_ms(table: pd.DataFrame, parts: tuple[str, ...]) -> dict[str, float | None]:
    """Means of the columns `<part>_s` of a table [ms]; None where it has no rows."""
    return {p: float(table[f"{p}_s"].mean() * 1e3) if len(table) else None for p in parts}


def summarise_gaps(cluster: Cluster) -> dict[str, Any]:
    """ITL over all gaps between tokens of a request, from bins of 0.8% width (means too)."""
    counts = np.zeros(GAP_BINS, dtype=np.int64)
    for replica in cluster.replicas:
        counts += replica.meter.gaps
    keys = [metrics.named("mean_itl_ms")[0].keys()[which] for which in BOUNDED]
    total = int(counts.sum())
    if not total:
        return dict.fromkeys(keys)
    gaps_ms = gap_of_bin(np.arange(GAP_BINS)) * 1e-6
    upto = np.cumsum(counts)
    ranks = [math.ceil(total * p / 100) for p in PERCENTILES.values()]
    found = [float(gaps_ms[np.searchsorted(upto, rank)]) for rank in ranks]
    return dict(zip(keys, [float(counts @ gaps_ms) / total, *found], strict=True))
