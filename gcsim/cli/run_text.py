"""Tables of `gcsim run` and `gcsim estimate`: units in the header, three significant digits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gcsim.results import metrics
from gcsim.results.metric import PERCENTILES, Metric
from gcsim.results.text import PHASE_NAMES, bound_name, causes, three

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from gcsim.results.result import Result
    from gcsim.studies.estimate import Estimate

BAR = 40  # characters
BANDED = ("mean", "p99")  # statistics in the table of bands
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(fraction: float, width: int = BAR) -> str:
    """A bar of block characters.

    >>> bar(0.5, 8), bar(0.07, 8)
    ('████', '▌')
    """
    eighths = round(max(fraction, 0.0) * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def plain_table(*headers: str, left: int = 1, title: str | None = None) -> "Table":
    """A table whose first `left` columns are words and whose others are numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", collapse_padding=True)
    table.title, table.title_justify, table.title_style = title, "left", "bold"
    for number, header in enumerate(headers):
        table.add_column(header, justify="left" if number < left else "right", no_wrap=number > 0)
    return table


def run_table(result: "Result") -> "RenderableType":
    """One run: latencies, rates, where a step's and a task's time goes, pools, caveats."""
    from rich.console import Group
    from rich.text import Text

    s = result.summary
    head = (
        f"{s['scenario']}: {s['workload']} with {s['model']} on {s['deployment']}, seed {s['seed']}"
    )
    parts: list[RenderableType] = [Text(head, style="bold"), _latencies(s)]
    if any(one["slo"] for one in s["classes"]):
        parts.append(slo_table(s))
    if s["counted"] and not s["saturated"]:
        parts.append(_breakdown(s["breakdown_ms"], f"A step takes {three(s['mean_e2el_ms'])} ms"))
    task = task_parts(result)
    if task:
        total = sum(task.values())
        parts.append(_breakdown(task, f"A task takes {three(total)} s", "s"))
    if len(s["classes"]) > 1:
        parts += class_tables(s["classes"])
    if s["tiers"]:
        parts.append(tier_table(s["tiers"]))
    if s["steps_within_budget"]:
        parts.append(_budget(s))
    parts += [Text(_rates(s)), Text(_costs(s)), _pools(s["pools"])]
    parts += [busy_table(pool) for pool in s["pools"] if causes(pool)]
    if s["links"]:
        parts.append(_links(s["links"]))
    if "bands" in s:
        parts.append(bands_table(s))
    parts.append(Text("\n".join(caveats(s))))
    return Group(*parts)


def caveats(summary: dict[str, Any]) -> list[str]:
    """What a reader must know before using the numbers."""
    found = []
    if summary["saturated"]:
        found.append(f"SATURATED, the means say nothing ({summary['saturated_why']}).")
    if not summary["trajectories"]:
        found.append("No task counts: the run ended before its warm-up was over.")
    elif summary["ci95_task_throughput"] is None and not summary["saturated"]:
        few = f"{summary['trajectories']:,} tasks count: too few for intervals."
        found.append(f"{few} Count at least two, and one for each agent (run.trajectories).")
    if summary["rejected"]:
        why = ", ".join(f"{reason} {number}" for reason, number in summary["reasons"].items())
        found.append(f"{summary['rejected']} requests were rejected ({why}).")
    if summary["skipped_lines"]:
        found.append(f"{summary['skipped_lines']:,} bad lines of the trace were skipped.")
    if summary["skipped_failed"]:
        failed = f"{summary['skipped_failed']:,} requests that the trace marks as failed"
        found.append(f"{failed} were left out.")
    if summary["unfinished"] and not summary["saturated"]:
        found.append(f"{summary['unfinished']} requests were unfinished at the horizon.")
    for what in ("replicas", "groups"):
        for name, number in summary[f"unused_{what}"].items():
            every = next(p["replicas"] for p in summary["pools"] if p["pool"] == name)
            of = f"of {every} {what}" if what == "replicas" else "groups of used replicas"
            found.append(f"Pool {name}: {number} {of} got no request.")
    if summary["assumed_values"]:
        chips = sorted({pool["chip"] for pool in summary["pools"]})
        where = ", ".join(f"gcsim show chip {chip}" for chip in chips)
        found.append(f"{summary['assumed_values']} assumed values enter ({where}).")
    return found


def bands_table(s: dict[str, Any]) -> "RenderableType":
    """How far chance, and the values of the chips, may move each metric."""
    from rich.console import Group
    from rich.text import Text

    headers = ("Uncertainty", "value", "95% interval", "band", "all at once", "mostly from")
    table = plain_table(*headers)
    table.columns[-1].justify = "left"
    for key, (metric, statistic) in metrics.columns(BANDED).items():
        if "bands" not in metric or (statistic == "p99" and "tail" not in metric):
            continue
        band = s["bands"]["metrics"][key]
        if s[key] is None and band["lost"] == "undefined":
            continue
        lost = band["lost"] or "-"
        word = lost if lost == "saturated" and s["saturated"] and metric.per is None else ""
        spans = (("low", "high"), ("least", "most"))
        table.add_row(
            metric.title(statistic),
            word or scaled(s[key], metric),
            span(s.get(f"ci95_{key}") or (None, None), metric.scale),
            *(word or span([band[end] for end in both], metric.scale, lost) for both in spans),
            band["cause"] or "",
        )
    return Group(table, Text("\n".join(band_notes(s["bands"]))))


def span(ends: Sequence[float | None], scale: float = 1.0, lost: str = "-") -> str:
    """A range; a word where an end is lost, and nothing where both are without a reason.

    >>> span((12.345, 67.89)), span((12.345, None), lost="saturated"), span((None, None))
    ('12.3 .. 67.9', '12.3 .. saturated', '-')
    """
    low, high = (lost if end is None else three(end * scale) for end in ends)
    return low if low == high else f"{low} .. {high}"


def scaled(value: float | None, metric: Metric) -> str:
    """A value of the summary in the unit that people see."""
    return three(None if value is None else value * metric.scale)


def ends(bounds: Sequence[float] | None, metric: Metric) -> tuple[str, str]:
    """Both ends of an interval, as `scaled`."""
    low, high = bounds or (None, None)
    return scaled(low, metric), scaled(high, metric)


def band_notes(bands: dict[str, Any]) -> list[str]:
    """What the bands are, and are not."""
    moving = [chip for chip in bands["chips"] if chip["values"]]
    fixed = [chip["chip"] for chip in bands["chips"] if not chip["values"]]
    found = []
    if moving:
        what = " and ".join(f"{c['values']} values of {c['chip']}" for c in moving)
        text = f"95% interval: chance. Band: the low and high of {what}, in {len(bands['runs'])}"
        text += " more runs with the same seed: one cause at a time, added as squares; then all at"
        found.append(f"{text} once.")
    for chip in moving:
        if chip["assumed"]:
            text = f"{chip['assumed']} of the {chip['values']} values of {chip['chip']} are assumed"
            found.append(f"{text}, their low and high too (gcsim show chip {chip['chip']}).")
    what = "has a low or high: nothing to play, taken as exact"
    found += [f"No value of {chip} {what}." for chip in fixed]
    for why in dict.fromkeys(run["lost"] for run in bands["runs"] if run["lost"]):
        lost = [f"{r['cause']} ({r['end']})" for r in bands["runs"] if r["lost"] == why]
        every = "every run" if len(lost) == len(bands["runs"]) else f"the runs {', '.join(lost)}"
        found.append(f"{why.capitalize()}: {every}.")
    return found


def task_parts(result: "Result") -> dict[str, float]:
    """Mean seconds of a counted task by what they were spent on, along its critical path.

    Nothing where no task was counted, or where its steps are all that it does.
    """
    parts = result.summary["task_breakdown_ms"]
    if not (parts["tools"] or parts["human"]):
        return {}
    return {name: value * 1e-3 for name, value in parts.items() if value}


def class_tables(classes: list[dict[str, Any]]) -> "list[RenderableType]":
    """The classes of a mix: what each sees, by its own SLO, and where its tasks' time goes."""
    headers = ("class", "tasks", "TTFT ms", "p99", "TPOT ms", "E2E ms", "good steps", "good tasks")
    seen = plain_table(*headers, "good tasks/h")
    splits = [c["task_breakdown_ms"] for c in classes]
    names = [name for name in splits[0] if any(split[name] for split in splits)]
    spent = plain_table("a task takes", "s", *(f"{PHASE_NAMES.get(n, n)} s" for n in names))
    for c in classes:
        keys = ("mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "mean_e2el_ms")
        good = (_percent(c["good_request_fraction"]), _percent(c["good_task_fraction"]))
        means = (three(c[key]) for key in keys)
        done, hourly = f"{c['trajectories_completed']:,}", three(c["task_goodput"] * 3600)
        seen.add_row(c["workload"], done, *means, *good, hourly)
        times = (c["mean_task_ms"], *(c["task_breakdown_ms"][name] for name in names))
        cells = (three(None if value is None else value * 1e-3) for value in times)
        spent.add_row(c["workload"], *cells)
    return [seen, spent]


def tier_table(tiers: list[dict[str, Any]]) -> "Table":
    """What each tier gets, how much of it within its SLO, and what its users pay."""
    headers = ("tasks", "TTFT ms", "TPOT ms", "output tok/s", "in SLO", "USD/h", "in SLO")
    table = plain_table("tier", *headers)
    for one in tiers:
        done = f"{one['trajectories_completed']:,}"
        times = (three(one[key]) for key in ("mean_ttft_ms", "mean_tpot_ms"))
        tokens = (three(one[f"output_{what}"]) for what in ("throughput", "goodput"))
        paid = (three(one[f"{what}revenue_usd_per_hour"]) for what in ("", "good_"))
        table.add_row(one["tier"], done, *times, *tokens, *paid)
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _budget(s: dict[str, Any]) -> "Table":
    title = f"steps in {three(s['steps_within_budget']['budget_s'])} s"
    table = plain_table(title, "tasks", "mean", "median", "p10", "p90", "tasks done")
    rows = [(c["workload"], c["steps_within_budget"]) for c in s["classes"]]
    if len(rows) > 1:
        rows.append(("all", s["steps_within_budget"]))
    for name, steps in rows:
        numbers = (three(steps[key]) for key in ("mean", "median", "p10", "p90"))
        table.add_row(name, f"{steps['tasks']:,}", *numbers, _percent(steps["finished"]))
    return table


def _latencies(s: dict[str, Any]) -> "Table":
    which = ("mean", *PERCENTILES)
    table = plain_table("", *which)
    for metric in metrics.METRICS:
        if metric.per is not None:
            continue
        cells = [scaled(s[key], metric) for key in metric.keys(which).values()]
        if s["saturated"] and "grows" in metric:
            cells[0] = "saturated"  # the longer the run, the larger the mean
        table.add_row(metric.title(), *cells)
    return table


def _breakdown(parts: dict[str, float], title: str, unit: str = "ms") -> "Table":
    total = sum(parts.values()) or 1.0
    table = plain_table(title, unit, "share", "")
    table.columns[3].justify = "left"
    for name, value in parts.items():
        share = f"{value / total:.0%}"
        table.add_row(PHASE_NAMES.get(name, name), three(value), share, bar(value / total))
    return table


def _rates(s: dict[str, Any]) -> str:
    """What is shown of sums: `0.7 requests/s, 3 output tokens/s over 9 s; 99% of the ...`."""
    known = [m for m in metrics.using("run") if m.per is not None and s[m.key] is not None]
    plain = (sum_text(metric, s[metric.key]) for metric in known if metric.unit != "%")
    shares = (sum_text(metric, s[metric.key]) for metric in known if metric.unit == "%")
    text = f"{', '.join(plain)} over {three(s['simulated_s'])} s simulated"
    return "; ".join([text, *shares]) + "."


def size_text(name: str, s: dict[str, Any]) -> str:
    """What a deployment is: `sn40l-mono: 16 sn40l, 10.0 kW, 64.0 USD/h.`"""
    chips: dict[str, int] = {}
    for pool in s["pools"]:
        chips[pool["chip"]] = chips.get(pool["chip"], 0) + pool["chips"]
    parts = ", ".join(f"{count} {chip}" for chip, count in chips.items())
    return f"{name}: {parts}, {three(s['power_w'] / 1e3)} kW, {three(s['usd_per_hour'])} USD/h."


def _costs(s: dict[str, Any]) -> str:
    """What it takes, how many requests that is at a time, and the figures of other benchmarks."""
    text = size_text(s["deployment"], s)
    if s["usd_per_task"] is not None:
        text += f" A task costs {three(s['usd_per_task'])} USD and {_energy(s['joules_per_task'])}."
    if s["revenue_usd_per_hour"] is not None:
        text += f" Users pay {three(s['revenue_usd_per_hour'])} USD/h,"
        text += f" {three(s['good_revenue_usd_per_hour'])} of it within their SLO."
    text += f" {three(s['mean_in_flight'])} requests are under way on average."
    if s["tps_per_user"] is not None and not s["saturated"]:
        text += f" MLPerf Endpoints: tps_per_user {three(s['tps_per_user'])} tokens/s,"
        text += f" ttft_p90_ms {three(s['p90_ttft_ms'])}; AgentX: e2e_avg_interactivity"
        text += f" {three(s['e2e_avg_interactivity'])} tokens/s."
    return text


def _energy(joules: float) -> str:
    """In J, kJ or MJ."""
    unit, one = next((u, n) for u, n in (("MJ", 1e6), ("kJ", 1e3), ("J", 0.0)) if joules >= n)
    return f"{three(joules / (one or 1.0))} {unit}"


def slo_table(s: dict[str, Any]) -> "Table":
    """Every bound of every class with its p95, and whether that keeps it."""
    table = plain_table("SLO", "bound", "p95", "", left=1)
    several = len(s["classes"]) > 1
    for one in s["classes"]:
        for name, metric, bound, value in _bounds_of(one):
            where = f"{one['workload']}: {name}" if several else name
            kept = "-" if value is None else "holds" if value <= bound else "breaks"
            cells = (three(number) for number in (bound, value))
            table.add_row(f"{where} [{metric.unit}]", *cells, kept)
    return table


def verdict(s: dict[str, Any]) -> str:
    """The bounds that p95 breaks, or `holds`; `-` where there is none.

    >>> one = {"slo": {"ttft": 1.0, "tpot": 0.02}, "p95_ttft_ms": 900.0, "p95_tpot_ms": 21.0}
    >>> verdict({"saturated": False, "classes": [one]})
    'TPOT'
    """
    found = [bound for one in s["classes"] for bound in _bounds_of(one)]
    if s["saturated"]:
        return "saturated"
    broken = [name for name, _, bound, value in found if value is not None and value > bound]
    return ", ".join(dict.fromkeys(broken)) or ("holds" if found else "-")


def _bounds_of(one: dict[str, Any]) -> list[tuple[str, Metric, float, float | None]]:
    """(name, metric, bound, p95) of a class, in the unit that people see."""
    keys = {
        "ttft": "p95_ttft_ms",
        "tpot": "p95_tpot_ms",
        "e2e": "p95_e2el_ms",
        "task": "p95_task_ms",
    }
    found = []
    for name, bound_s in one["slo"].items():
        metric, _ = metrics.named(keys[name])
        value = one[keys[name]]
        shown = None if value is None else value * metric.scale
        found.append((metric.label, metric, bound_s * 1e3 * metric.scale, shown))
    return found


def sum_text(metric: Metric, value: float) -> str:
    """A sum in words.

    >>> which = ("request_throughput", "output_throughput", "good_request_fraction")
    >>> [sum_text(metrics.named(key)[0], 0.5) for key in which]
    ['0.500 requests/s', '0.500 output tokens/s', '50.0% of the requests within the SLO']
    """
    if metric.unit == "%":
        return f"{value:.1%} of the {metric.label}"
    unit = metric.unit[1:] if metric.unit.startswith("1/") else f" {metric.unit}"
    return f"{scaled(value, metric)} {metric.label}{unit}"


def _pools(pools: list[dict[str, Any]]) -> "Table":
    headers = ("pool", "chips", "busy", "MFU", "MBU", "waiting", "batch", "KV peak")
    table = plain_table(*headers)
    table.columns[1].justify = "left"
    for pool in pools:
        table.add_row(
            pool["pool"],
            f"{pool['chips']} {pool['chip']}",
            f"{pool['utilization']:.0%}",
            f"{pool['mfu']:.1%}",
            f"{pool['mbu']:.1%}",
            three(pool["mean_waiting"]),
            three(pool["mean_running"] / pool["utilization"] if pool["utilization"] else None),
            f"{pool['kv_peak']:.0%}",
        )
    return table


def busy_table(pool: dict[str, Any]) -> "Table":
    """What a second of a pool's chips goes to while they are busy, by what bounds it [ms]."""
    parts = {name: 1e3 * share for name, share in causes(pool).items()}
    return _breakdown(parts, f"A busy second of {pool['pool']}")


def _links(links: list[dict[str, Any]]) -> "Table":
    table = plain_table("link", "transfers", "sent GB", "busy", "mean wait ms")
    for link in links:
        sent, wait = three(link["sent_bytes"] / 1e9), three(link["mean_wait_s"] * 1e3)
        count, busy = f"{link['transfers']:,}", f"{link['utilization']:.1%}"
        table.add_row(link["link"], count, sent, busy, wait)
    return table


def estimate_table(point: "Estimate") -> "RenderableType":
    """One operating point and what its milliseconds are made of."""
    from rich.console import Group
    from rich.text import Text

    chips = point.tp * point.ep * point.pp
    head = f"{point.model} on {chips} x {point.chip} ({point.stack}): {point.isl:,} + {point.osl:,}"
    head += f" tokens, {point.cached:,} of them cached, {point.concurrency} at a time"
    table = plain_table("TTFT ms", "TPOT ms", "E2E ms", "tok/s per user", "tok/s in all", left=0)
    values = (
        point.ttft_ms,
        point.tpot_ms,
        point.e2el_ms,
        point.tok_s_user,
        point.output_throughput,
    )
    table.add_row(*map(three, values))
    parts: list[RenderableType] = [Text(head, style="bold"), table]
    titles = {"prefill": f"TTFT {three(point.ttft_ms)} ms", "decode": "a token"}
    for phase, split in point.breakdown_ms.items():
        title = titles[phase] if phase == "prefill" else f"TPOT {three(point.tpot_ms)} ms"
        named = {bound_name(key): value for key, value in split.items() if value}
        parts.append(_breakdown(named, title))
    tail = f"Bound by {bound_name(point.bound)}."
    if point.assumed_values:
        tail += f" {point.assumed_values} assumed values enter (gcsim show chip {point.chip})."
    parts.append(Text(tail))
    return Group(*parts)
