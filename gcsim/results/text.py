"""Numbers and names for people."""

from math import floor, isfinite, log10

PHASE_NAMES = {
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

    >>> bound_name("memory_hbm"), bound_name("communication")
    ('HBM bandwidth', 'chip-to-chip links')
    """
    if bound.startswith("memory_"):
        return f"{bound.removeprefix('memory_').upper()} bandwidth"
    names = {
        "compute": "arithmetic",
        "communication": "chip-to-chip links",
        "overhead": "fixed times",
        "request": "fixed time per request",
        "waiting": "waiting for others",
    }
    return names.get(bound, bound)
