"""The table of metrics: what each one is, in a row that everything else reads.

Summary, intervals, ratios, diff, baselines, bands, the tables of the command line and
docs/results.md have no list of their own: a new metric is one row of `METRICS`. Two kinds:

- one value for each request or task (`per` is None), such as TTFT; its keys are those of its
  statistics, `mean_ttft_ms`, `std_...`, `median_...`, `p90_...` and so on (`STATISTICS`);
- a sum over what counts, per something: per second, per request, per prompt token, or once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gcsim.results.per import (
    answering,
    loaded,
    once,
    prompt_token,
    request,
    second,
    slow_token,
    task,
    tasks_per_hour,
    tasks_per_second,
)

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

        >>> "paired" in named("mean_ttft_ms")[0]
        True
        """
        return use in self.uses.split()

    @property
    def rate(self) -> bool:
        """Whether it is per second: what `compare --normalize` divides."""
        return self.per is second

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

        >>> named("p95_ttft_ms")[0].keys(("mean", "p95"))
        {'mean': 'mean_ttft_ms', 'p95': 'p95_ttft_ms'}
        """
        if self.per is not None:
            return {"": self.key}
        known = (which for which in statistics if which != "std" or self.of != "gaps")
        return {which: f"{which}_{self.key}" for which in known}

    def title(self, statistic: str = "") -> str:
        """In words, with its unit.

        >>> [metric.title(which) for metric, which in map(named, ("p95_ttft_ms", "power_w"))]
        ['p95 TTFT [ms]', 'power [W]']
        """
        name = f"{statistic} {self.label}".strip()
        return f"{name} [{self.unit}]" if self.unit else name

    def values(self, rows: "pd.DataFrame") -> "pd.Series":
        """What each row has of it."""
        return rows[self.column] if isinstance(self.column, str) else self.column(rows)


METRICS: tuple[Metric, ...] = (
    Metric(
        key="ttft_ms",
        column="ttft_s",
        label="TTFT",
        unit="ms",
        better="lower",
        uses="paired watched grows tail compare ratio series bands",
        definition="first output token at the client - request sent there (network included)",
    ),
    Metric(
        key="tpot_ms",
        column="tpot_s",
        label="TPOT",
        unit="ms",
        better="lower",
        uses="paired watched compare ratio series bands",
        definition="(E2E - TTFT) / (output tokens - 1), one value per request; none at one token",
    ),
    Metric(
        key="itl_ms",
        of="gaps",
        column="gap_s",
        label="ITL",
        unit="ms",
        better="lower",
        definition="gap between two tokens of a request, pooled over all requests; of the whole run"
        " only, from bins of 0.8%, without interval and `std_`",
    ),
    Metric(
        key="e2el_ms",
        column="e2e_s",
        label="E2E",
        unit="ms",
        better="lower",
        uses="paired watched grows compare ratio series bands",
        definition="last output token at the client - request sent",
    ),
    Metric(
        key="task_ms",
        of="tasks",
        column="task_s",
        label="task time",
        unit="s",
        better="lower",
        uses="paired watched grows compare ratio series bands",
        head="task\ns",
        definition="end of a task - its start: all steps, tools and people",
    ),
    Metric(
        key="output_throughput",
        column="osl",
        per=second,
        label="output",
        unit="tokens/s",
        better="higher",
        uses="paired watched run size ratio bands",
        head="output\ntok/s",
        definition="output tokens of the counted requests, per second under load",
    ),
    Metric(
        key="request_throughput",
        column=ones,
        per=second,
        label="requests",
        unit="1/s",
        better="higher",
        uses="paired watched run bands",
        definition="counted requests per second under load",
    ),
    Metric(
        key="total_token_throughput",
        column=lambda rows: rows["isl"] + rows["osl"],
        per=second,
        label="prompts and output",
        unit="tokens/s",
        better="higher",
        uses="paired",
        definition="prompt and output tokens of the counted requests, per second under load",
    ),
    Metric(
        key="request_goodput",
        column="good",
        per=second,
        label="goodput",
        unit="1/s",
        better="higher",
        uses="paired watched size series bands",
        definition="those of them that kept every bound of the SLO, per second",
    ),
    Metric(
        key="task_throughput",
        of="tasks",
        column=ones,
        per=second,
        label="tasks",
        unit="1/s",
        better="higher",
        uses="paired watched",
        definition="counted tasks per second under load",
    ),
    Metric(
        key="task_goodput",
        of="tasks",
        column="good",
        per=second,
        label="task goodput",
        unit="1/s",
        better="higher",
        uses="paired watched",
        definition="those of them that kept their bound, and all of whose requests did, per second",
    ),
    Metric(
        key="good_request_fraction",
        column="good",
        per=request,
        label="requests within the SLO",
        unit="%",
        better="higher",
        uses="run",
        definition="part of the counted requests that kept the SLO",
    ),
    Metric(
        key="good_task_fraction",
        of="tasks",
        column="good",
        per=task,
        label="tasks within the SLO",
        unit="%",
        better="higher",
        definition="part of the counted tasks that kept the SLO",
    ),
    Metric(
        key="cache_hit_rate",
        column="cached_tokens",
        per=prompt_token,
        label="prompt tokens from the cache",
        unit="%",
        better="higher",
        uses="watched run",
        definition="prompt tokens found in the prefix cache / prompt tokens",
    ),
    Metric(
        key="cache_hit_rate_own",
        column="own_cached_tokens",
        per=prompt_token,
        label="prompt tokens that the same task had cached",
        unit="%",
        better="higher",
        definition="of these: brought in by the same task",
    ),
    Metric(
        key="cache_hit_rate_shared",
        column=lambda rows: rows["cached_tokens"] - rows["own_cached_tokens"],
        per=prompt_token,
        label="prompt tokens that another task had cached",
        unit="%",
        better="higher",
        definition="of these: brought in by another task",
    ),
    Metric(
        key="cache_hit_requests",
        column=lambda rows: rows["cached_tokens"] > 0,
        per=request,
        label="requests with a hit",
        unit="%",
        better="higher",
        definition="part of the counted requests with any hit",
    ),
    Metric(
        key="completed",
        of="sent",
        column=ended("completed"),
        per=once,
        label="completed requests",
        better="higher",
        uses="watched",
        definition="requests whose last token reached the client",
    ),
    Metric(
        key="rejected",
        of="sent",
        column=ended("rejected"),
        per=once,
        label="rejected requests",
        better="lower",
        uses="watched",
        definition="requests that fit no KV cache or context window; `reasons` says which",
    ),
    Metric(
        key="unfinished",
        of="sent",
        column=ended("unfinished"),
        per=once,
        label="unfinished requests",
        better="lower",
        uses="watched",
        definition="counted requests that were under way when the run was cut off",
    ),
    Metric(
        key="counted",
        column=ones,
        per=once,
        label="counted requests",
        better="higher",
        definition="requests that the metrics are over",
    ),
    Metric(
        key="trajectories",
        of="started",
        column=ones,
        per=once,
        label="tasks started",
        better="higher",
        definition="agent tasks that started in the window",
    ),
    Metric(
        key="trajectories_completed",
        of="started",
        column=ended("completed"),
        per=once,
        label="tasks completed",
        better="higher",
        definition="those of them all of whose steps completed",
    ),
    Metric(
        key="preemptions",
        of="sent",
        column="preemptions",
        per=once,
        label="preemptions",
        better="lower",
        uses="watched",
        definition="times that a running request lost its KV and started again",
    ),
    Metric(
        key="mean_in_flight",
        column="e2e_s",
        per=loaded,
        label="requests under way",
        better="lower",
        uses="size",
        head="under\nway",
        definition="requests sent and not yet answered, on average (rate x E2E, Little's law)",
    ),
    Metric(
        key="e2e_avg_interactivity",
        column="osl",
        per=answering,
        label="interactivity",
        unit="tokens/s each",
        better="higher",
        definition="output tokens / time that answers take, tools left out (AgentX v1.0)",
    ),
    Metric(
        key="tps_per_user",
        column=ones,
        per=slow_token,
        label="speed of the slow tenth",
        unit="tokens/s each",
        better="higher",
        definition="1000 / p90 TPOT (MLPerf Endpoints v1.0)",
    ),
    Metric(
        key="power_w",
        of="pools",
        column="power_w",
        per=once,
        label="power",
        unit="W",
        better="lower",
        uses="watched",
        definition="node power of all pools, shared by the chips of a node",
    ),
    Metric(
        key="usd_per_hour",
        of="pools",
        column="usd_per_hour",
        per=once,
        label="price",
        unit="USD/h",
        better="lower",
        uses="watched",
        definition="price of the chips of all pools",
    ),
    Metric(
        key="usd_per_task",
        of="pools",
        column="usd_per_hour",
        per=tasks_per_hour,
        label="price of a task",
        unit="USD",
        better="lower",
        uses="size series",
        head="task\nUSD",
        definition="price of the chips / tasks that complete in an hour",
    ),
    Metric(
        key="joules_per_task",
        of="pools",
        column="power_w",
        per=tasks_per_second,
        label="energy of a task",
        unit="kJ",
        better="lower",
        uses="size",
        head="task\nkJ",
        definition="node power of all pools / tasks that complete in a second",
    ),
)


def columns(statistics: tuple[str, ...] = STATISTICS) -> dict[str, tuple[Metric, str]]:
    """Key of the summary -> (metric, statistic), in the order of the table."""
    return {
        key: (metric, statistic)
        for metric in METRICS
        for statistic, key in metric.keys(statistics).items()
    }


def named(key: str) -> tuple[Metric, str]:
    """The metric and the statistic of a key of the summary. Errors: `KeyError`."""
    return columns()[key]


def title(key: str) -> str:
    """A key of the summary in words, with the unit that people see.

    >>> title("mean_task_ms"), title("request_goodput"), title("cache_hit_rate")
    ('mean task time [s]', 'goodput [1/s]', 'prompt tokens from the cache [%]')
    """
    metric, statistic = named(key)
    return metric.title(statistic)


def each() -> tuple[Metric, ...]:
    """Those of which each counted request or task has one value, with statistics and intervals."""
    return tuple(m for m in METRICS if m.per is None and m.of != "gaps")


def rates() -> tuple[Metric, ...]:
    """Those per second, which `compare --normalize` divides."""
    return tuple(m for m in METRICS if m.rate)


def using(use: str) -> tuple[Metric, ...]:
    """Those with a use: `paired`, or a table for people that has them."""
    return tuple(m for m in METRICS if use in m)


def watched() -> tuple[str, ...]:
    """The keys that diff, check and a baseline look at."""
    return tuple(key for key, (metric, _) in columns(WATCHED).items() if "watched" in metric)


def banded() -> tuple[str, ...]:
    """The keys that have a band: of what is watched, but for mere counts."""
    found = columns(BOUNDED).items()
    return tuple(key for key, (m, _) in found if "watched" in m and m.per is not once)


def settles(key: str) -> bool:
    """Whether a number of a summary is undefined in a run that never settles: its times are."""
    metric, _ = columns().get(key, (None, ""))
    return key.endswith("breakdown_ms") or (metric is not None and metric.per is None)
