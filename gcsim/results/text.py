"""Numbers and names for people."""

from collections.abc import Mapping
from math import floor, isfinite, log10
from typing import Any

PHASE_NAMES = {
    "tool_queue": "tool queue",
    "network": "network",
    "queue": "queue",
    "prefill": "prefill",
    "kv_transfer": "KV transfer",
    "decode": "decode",
}


def three(value: float | None) -> str:
    """A number with three significant digits, in plain notation; `-` where there is none.

    >>> three(1234.5), three(12.345), three(0.0012345), three(0), three(None)
    ('1,230', '12.3', '0.00123', '0', '-')
    """
    if value is None or not isfinite(value):
        return "-"
    if value == 0:
        return "0"
    digits = 2 - floor(log10(abs(float(f"{value:.3g}"))))
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def bound_name(bound: str) -> str:
    """A key of a breakdown in words.

    >>> bound_name("memory_hbm"), bound_name("links")
    ('HBM bandwidth', 'chip-to-chip links')
    """
    if bound.startswith("memory_"):
        return f"{bound.removeprefix('memory_').upper()} bandwidth"
    names = {
        "compute": "arithmetic",
        "links": "chip-to-chip links",
        "request": "fixed time per request",
        "waiting": "waiting for others",
    }
    return names.get(bound, bound)


def causes(pool: Mapping[str, Any]) -> dict[str, float]:
    """Shares of a pool's busy time, in words; they sum to 1 (of one that was never busy: none).

    Latency is what there is however small a batch is: launches, layers, sequences, and the starts
    and hops of collectives; links what the bytes of collectives take.

    >>> causes(
    ...     {
    ...         "bound_compute": 0.25,
    ...         "bound_memory_hbm": 0.5,
    ...         "bound_links": 0.0,
    ...         "bound_latency": 0.25,
    ...         "mfu": 0.1,
    ...     }
    ... )
    {'arithmetic': 0.25, 'HBM bandwidth': 0.5, 'latency': 0.25}
    """
    found = {key[6:]: value for key, value in pool.items() if str(key).startswith("bound_")}
    return {bound_name(key): float(share) for key, share in found.items() if share and share > 0}
