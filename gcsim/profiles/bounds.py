"""What a value can be. Beyond these it is a slip of the pen: no such machine, model or user exists.

They are wide on purpose: what they let through, a run ends with figures that can be defended.
"""

from gcsim import units

TOKENS_MAX = 10_000_000  # of one request: the largest context window anybody offers
TIME_S_MAX = 4e9  # on the clock of a trace: Unix time until 2096, and nanoseconds fit in 63 bits
DELAY_S_MAX = 366 * 86_400.0  # a year: no tool and no person takes longer
STEPS_MAX = 100_000  # of one session
PARALLEL_MAX = 1_000  # calls, sub-agents or answers of one step
CALLS_MAX = 10_000_000  # of models and tools, of one task with its sub-agents
TASK_S_MAX = 1e8  # of one task on average: three years
CLOCK_S_MAX = 9.2e9  # 2^63 nanoseconds, 292 years: the end of a simulated clock
FIXED_S_MAX = 60.0  # of a latency or an overhead: longer ones are no part of serving

# Dimension -> least (0 is always possible, where a field does not say otherwise) and most.
BOUNDS = {
    "bytes": (1.0, 1e18),
    # Slower than any network card since 1995; a free link or memory is a what-if that some ask.
    "bytes_per_s": (1e6, 1e24),
    "flops_per_s": (1e9, 1e25),  # slower than a telephone
    "seconds": (1e-12, TIME_S_MAX),
    "watts": (1e-3, 1e8),
    "usd": (1e-2, 1e12),
    "usd_per_hour": (1e-6, 1e7),
    "usd_per_kwh": (1e-6, 1e3),
    "usd_per_mtok": (1e-6, 1e6),
    "per_s": (1e-9, 1e6),
    "number": (1e-9, 1e15),
}


def beyond(
    value: float, dimension: str, least: float | None = None, most: float | None = None
) -> str:
    """Why a value cannot be; empty where it can.

    least, most: of a field, in place of those of its dimension; a `least` rules out 0

    >>> beyond(1.0, "bytes_per_s"), beyond(5e9, "bytes_per_s"), beyond(0, "bytes", least=1)
    ('is less than 1 MB/s', '', 'is less than 1 B')
    """
    usual_least, usual_most = BOUNDS[dimension]
    low, high = usual_least if least is None else least, usual_most if most is None else most
    if value < low and (value or least is not None):
        return f"is less than {units.show(low, dimension)}"
    return f"is more than {units.show(high, dimension)}" if value > high else ""
