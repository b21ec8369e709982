"""The table of metrics: what each one is, in a row that everything else reads.

Summary, intervals, ratios, diff, baselines, bands, the tables of the command line and
docs/results.md have no list of their own: a new metric is one row of `METRICS`. Two kinds:

- one value for each request or task (`per` is None), such as TTFT; its keys are those of its
  statistics, `mean_ttft_ms`, `std_...`, `median_...`, `p90_...` and so on (`STATISTICS`);
- a sum over what counts, per something: per second, per request, per prompt token, or once.
"""

from gcsim.results.metric import BOUNDED, STATISTICS, WATCHED, Metric, ended, ones
from gcsim.results.per import (
    answering,
    loaded,
    once,
    priced_hour,
    prompt_token,
    request,
    second,
    slow_token,
    task,
    tasks_per_hour,
    tasks_per_second,
)

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
        key="output_goodput",
        column=lambda rows: rows["osl"] * rows["good"],
        per=second,
        label="output within the SLO",
        unit="tokens/s",
        better="higher",
        definition="output tokens of the requests that kept every bound of the SLO, per second",
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
        key="revenue_usd_per_hour",
        column="usd",
        per=priced_hour,
        label="revenue",
        unit="USD/h",
        better="higher",
        definition="what users pay for the counted requests, per hour under load",
    ),
    Metric(
        key="good_revenue_usd_per_hour",
        column=lambda rows: rows["usd"] * rows["good"],
        per=priced_hour,
        label="revenue within the SLO",
        unit="USD/h",
        better="higher",
        definition="what they pay for those that kept every bound of the SLO",
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
    """Those per second or hour, which `compare --normalize` divides."""
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
