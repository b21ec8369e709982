"""A row of the table of metrics: what one is, over what, per what, and for whom."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gcsim.results.per import priced_hour, second

if TYPE_CHECKING:  # the command line reads the table before it knows whether it needs pandas
    import pandas as pd

    from gcsim.results.counted import Counted

PERCENTILES = {"median": 50, "p90": 90, "p95": 95, "p99": 99}
STATISTICS = ("mean", "std", *PERCENTILES)
BOUNDED = ("mean", *PERCENTILES)  # the statistics that have intervals, ratios and bands
WATCHED = ("mean", "median", "p95", "p99")  # and those that diff and check look at


def ones(rows: "pd.DataFrame") -> "pd.Series":
    """1 for each row: the number of rows."""
    return rows.assign(one=1)["one"]


def ended(status: str) -> "Callable[[pd.DataFrame], pd.Series]":
    """1 for each row with this status."""
    return lambda rows: rows["status"] == status


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A row of the table.

    key: of the summary, without the statistic where there is one; the unit is last
    of: the table of `Counted` that it is over, or `gaps`: between tokens, which the engine bins
    column: of that table [s where the key ends in _ms], or what makes one of it
    per: what the sum is divided by; None: one value for each row, with statistics
    label, unit: for people; better: which direction is
    uses: `paired` (a ratio with a paired interval), `watched` (by diff, check and bands), `grows`
    (with the length of a saturated run), and the tables for people that have it: `run`, `compare`
    (with its p95), `size`, `ratio`, `series`, `bands` (`tail`: its p99 too)
    head: over its column in `compare` and `series`, where the label is too long
    """

    key: str
    of: Literal["requests", "tasks", "sent", "started", "pools", "gaps"] = "requests"
    column: "str | Callable[[pd.DataFrame], pd.Series]"
    per: "Callable[[Counted], float] | None" = None
    label: str
    unit: str = ""
    better: Literal["lower", "higher"]
    uses: str = ""
    head: str = ""
    definition: str

    def __contains__(self, use: str) -> bool:
        """Whether it has a use.

        >>> from gcsim.results.metrics import named
        >>> "paired" in named("mean_ttft_ms")[0]
        True
        """
        return use in self.uses.split()

    @property
    def rate(self) -> bool:
        """Whether it is per second or hour: what `compare --normalize` divides."""
        return self.per in (second, priced_hour)

    @property
    def si(self) -> float:
        """What a value of the column is multiplied by in the summary: 1000 for ms."""
        return 1e3 if self.key.endswith("_ms") else 1.0

    @property
    def scale(self) -> float:
        """What a value of the summary is multiplied by for people: a task's ms are shown as s."""
        if self.unit in ("%", "kJ"):
            return 100.0 if self.unit == "%" else 1e-3
        return 1e-3 if self.key.endswith("_ms") and self.unit == "s" else 1.0

    def keys(self, statistics: tuple[str, ...] = STATISTICS) -> dict[str, str]:
        """Statistic -> key of the summary; a sum has one key, under no statistic.

        >>> from gcsim.results.metrics import named
        >>> named("p95_ttft_ms")[0].keys(("mean", "p95"))
        {'mean': 'mean_ttft_ms', 'p95': 'p95_ttft_ms'}
        """
        if self.per is not None:
            return {"": self.key}
        known = (which for which in statistics if which != "std" or self.of != "gaps")
        return {which: f"{which}_{self.key}" for which in known}

    def title(self, statistic: str = "") -> str:
        """In words, with its unit.

        >>> from gcsim.results.metrics import named
        >>> [metric.title(which) for metric, which in map(named, ("p95_ttft_ms", "power_w"))]
        ['p95 TTFT [ms]', 'power [W]']
        """
        name = f"{statistic} {self.label}".strip()
        return f"{name} [{self.unit}]" if self.unit else name

    def values(self, rows: "pd.DataFrame") -> "pd.Series":
        """What each row has of it."""
        return rows[self.column] if isinstance(self.column, str) else self.column(rows)
