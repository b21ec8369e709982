"""What a report says of one run, or of several side by side."""

import re
from collections.abc import Iterator, Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

from gcsim import plots
from gcsim.cli.compare import comparison_table
from gcsim.cli.page import folded, listed, picture, scrolled, sorted_table
from gcsim.cli.run_text import caveats, run_table, span, verdict
from gcsim.plots.style import plain_names
from gcsim.profiles.assumed import assumed_values
from gcsim.results.comparison import Comparison, decides
from gcsim.results.html import html, words
from gcsim.results.metrics import named
from gcsim.results.paired import ratio
from gcsim.results.result import Result
from gcsim.results.text import three
from gcsim.studies.compare import DECIDED_BY
from gcsim.studies.sweep_table import flat

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAID = ("mean_e2el_ms", "mean_ttft_ms", "mean_task_ms")
BOUNDS = {"ttft": "p95_ttft_ms", "tpot": "p95_tpot_ms", "e2e": "p95_e2el_ms", "task": "p95_task_ms"}
TIMELINES_MOST = 6
TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
Runs = Mapping[str, Result]


def question(runs: Runs) -> str:
    """What the runs were played for."""
    firsts = [result.summary for result in runs.values()]
    what = dict.fromkeys(f"{s['workload']} with {s['model']}" for s in firsts)
    if len(runs) == 1:
        return f"What do users see of {', '.join(what)} on {next(iter(runs))}?"
    return f"Which serves {', '.join(what)} best: {', '.join(runs)}?"


def answer(runs: Runs) -> str:
    """The answer in one sentence, with its interval, and its band where it was played."""
    if len(runs) == 1:
        (one,) = runs.items()
        return _of_one(*one)
    comparison = Comparison(dict(runs))
    parts = [part for metric in DECIDED_BY if (part := _best(comparison, metric))]
    return "; ".join(parts) + "." if parts else "All runs are saturated: none is the best."


def sections(runs: Runs) -> Iterator[str]:
    """Tables, pictures, every number, what could overturn it, inputs, how to do it again."""
    comparison = Comparison(dict(runs)) if len(runs) > 1 else None
    drawn = comparison_table(comparison) if comparison else run_table(next(iter(runs.values())))
    yield "<h2>What was found</h2>"
    yield TABLE.sub(lambda found: scrolled(found[0], "table"), html(drawn))
    if comparison:
        for name, result in runs.items():
            tables = TABLE.sub(lambda found: scrolled(found[0], "table"), html(run_table(result)))
            yield folded(f"{name} by itself", tables)
    yield "<h2>Pictures</h2>"
    yield from _pictures(runs)
    yield "<h2>Every number</h2>"
    yield "<p>The keys of summary.json, as it has them; times in ms unless the key says _s.</p>"
    yield folded("All metrics", _numbers(runs))
    yield "<h2>What could overturn it</h2>"
    yield listed(_overturns(runs, comparison))
    yield "<h2>Inputs</h2>"
    yield from _inputs(runs)
    yield "<h2>Do it again</h2>"
    yield from _again(runs)


def _of_one(name: str, result: Result) -> str:
    s = result.summary
    if s["saturated"]:
        return f"{name} is saturated, its mean times say nothing: {s['saturated_why']}."
    what = {
        "mean_e2el_ms": "a step takes",
        "mean_ttft_ms": "its first token comes after",
        "mean_task_ms": "a task takes",
    }
    parts = [f"{what[key]} {_value(s, key)}" for key in SAID if s[key] is not None]
    slo = {"holds": "; the SLO holds", "-": ""}.get(verdict(s), f"; {verdict(s)} breaks the SLO")
    if not parts:
        return f"On {name} no task counts."
    return f"On {name} {', '.join(parts)}, on average{slo}."


def _value(s: Mapping[str, Any], key: str) -> str:
    """A metric with its unit, interval and band."""
    metric, _ = named(key)
    value = three(None if s[key] is None else s[key] * metric.scale)
    text, more = f"{value} {metric.unit}", []
    if ends := s.get(f"ci95_{key}"):
        more.append(f"95% interval {span(ends, metric.scale)}")
    if band := _band(s, key):
        more.append(f"band {span(band, metric.scale)}")
    return f"{text} ({'; '.join(more)})" if more else text


def _best(comparison: Comparison, key: str) -> str:
    """Who is ahead by a metric, by how much, and whether beyond the noise."""
    best, clear = comparison.winner(key)
    if best is None or comparison.results[best].summary[key] is None:
        return ""
    metric, _ = named(key)
    then = comparison.order(key)[1]
    first, other = comparison.results[then], comparison.results[best]
    found = ratio(first, other, key, comparison.divisor(first) / comparison.divisor(other))
    text = f"by {metric.label} {best} is ahead with {_value(other.summary, key)}"
    if found.ratio is not None:
        text += f", {three(found.ratio)} times that of {then}"
        if found.low is not None and found.high is not None:
            text += f" (95% interval {span([found.low, found.high])})"
    return text + ("" if clear else ", within the noise")


def _pictures(runs: Runs) -> Iterator[str]:
    many = dict(runs)
    drawn: list[tuple[str, str, Figure]] = []
    with plain_names():
        if all(r.summary["breakdown_ms"]["decode"] is not None for r in runs.values()):
            text = "Where the time of a step goes, by phase"
            drawn.append(("phases", text, plots.breakdown(many)))
        text = "How latencies spread: the fraction of requests with at most this TTFT, TPOT, E2E"
        drawn.append(("latencies", text, plots.latencies(many)))
        for number, (name, result) in enumerate(list(runs.items())[:TIMELINES_MOST]):
            text = f"{name} over time: requests that wait and run, and KV cache in use"
            drawn.append((f"timeline {number}", text, plots.timeline(result)))
        done = {name: result for name, result in runs.items() if _steps(result)}
        if len(runs) == 1 and done:
            text = "One task, step by step: where each millisecond goes, and what it had to read"
            drawn.append(("steps", text, plots.steps(next(iter(done.values())))))
        for name, result in runs.items():
            if plots.moves(result):
                text = f"What moves the mean E2E of {name}: its chips' values at their ends"
                drawn.append((f"tornado {name}", text, plots.tornado(result)))
        for number, (name, text, figure) in enumerate(drawn):
            yield folded(text, picture(figure, name, text), is_open=number < 2, printed=True)


def _steps(result: Result) -> bool:
    tasks = result.trajectories
    return bool((tasks["status"] == "completed").any())


def _numbers(runs: Runs) -> str:
    columns = {name: numbers(result.summary) for name, result in runs.items()}
    keys = dict.fromkeys(key for column in columns.values() for key in column)
    rows = ([key, *(column.get(key) for column in columns.values())] for key in keys)
    return sorted_table(["key", *runs], rows, "every number")


def numbers(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary with dotted names for its parts; the single runs of bands are left out.

    >>> numbers({"a": {"b": 0.1}, "window_s": [1, 2], "bands": {}})
    {'a.b': 0.1, 'window_s.0': 1, 'window_s.1': 2}
    """
    found: dict[str, Any] = {}
    for key, value in flat({k: v for k, v in summary.items() if k != "bands"}).items():
        if isinstance(value, list):
            found |= {f"{key}.{number}": item for number, item in enumerate(value)}
        else:
            found[key] = value
    return found


def _overturns(runs: Runs, comparison: Comparison | None) -> Iterator[str]:
    for name, result in runs.items():
        s = result.summary
        yield from (f"{name}: {line}" for line in caveats(s))
        yield from (f"{name}: {line}" for line in _by_bands(s))
        if "bands" not in s:
            yield f"{name}: how far the chips' values could move it was not played (--bands)."
    if comparison is None:
        return
    for key in DECIDED_BY:
        best, clear = comparison.winner(key)
        if best is not None and not clear:
            then = comparison.order(key)[1]
            yield f"By {named(key)[0].label}, {best} and {then} are within the noise."
        yield from _overlaps(runs, key, best)
    if why := decides(comparison):
        yield f"What the order hangs on: {why}"


def _overlaps(runs: Runs, key: str, best: str | None) -> Iterator[str]:
    """Whose band reaches into that of the best: other values of the chips may turn the order."""
    metric, _ = named(key)
    bands = {name: _band(result.summary, key) for name, result in runs.items()}
    mine = bands.pop(best, None) if best else None
    for name, band in bands.items():
        if mine is None or band is None:
            continue
        if band[0] <= mine[1] and mine[0] <= band[1]:
            both = (span(ends, metric.scale) for ends in (mine, band))
            ends = " and ".join(both)
            yield f"By {metric.label} the bands of {best} and {name} overlap: {ends} {metric.unit}."


def _band(s: Mapping[str, Any], key: str) -> list[float] | None:
    """How far the values of the chips move a metric, where that was played and has both ends."""
    band = s.get("bands", {}).get("metrics", {}).get(key)
    return [band["low"], band["high"]] if band and not band["lost"] else None


def _by_bands(s: Mapping[str, Any]) -> Iterator[str]:
    """Which bounds of the SLO the band crosses, and what moves the times most."""
    metrics = s.get("bands", {}).get("metrics", {})
    for key in SAID:
        band = metrics.get(key)
        if band and not band["lost"] and band["cause"]:
            metric, _ = named(key)
            ends = span([band["low"], band["high"]], metric.scale)
            yield f"{metric.title('mean')} within {ends}, mostly from {band['cause']}."
    for one in s["classes"] if metrics else ():
        for time, bound_s in one["slo"].items():
            band, metric = metrics.get(BOUNDS[time]), named(BOUNDS[time])[0]
            if band and not band["lost"] and band["low"] <= bound_s * 1e3 < band["high"]:
                ends = span([band["low"], band["high"]], metric.scale)
                bound = three(bound_s * 1e3 * metric.scale)
                of = f"The bound of {metric.label}, {bound} {metric.unit}"
                yield f"{of}, lies in its band {ends}."


def _inputs(runs: Runs) -> Iterator[str]:
    keys = ("scenario", "model", "deployment", "workload", "seed", "version")
    rows = [[key, *(str(result.summary[key]) for result in runs.values())] for key in keys]
    yield sorted_table(["", *runs], rows, "what was played")
    for name, result in runs.items():
        hashes = [[key, value] for key, value in result.resolved.hashes().items()]
        table = sorted_table(["input", "content hash"], hashes, f"inputs of {name}")
        yield folded(f"{name}: content of its inputs", table)
        assumed = assumed_values(result.resolved.scenario)
        if assumed:
            table = sorted_table(["name", "value"], assumed.items(), f"assumed in {name}")
            title = f"{name}: {len(assumed)} values that nobody publishes and that are assumed"
            yield folded(title, table, printed=True)
        yaml = f'<pre tabindex="0">{words_of(result.resolved.to_yaml())}</pre>'
        yield folded(f"{name}: the scenario, complete (scenario.yaml)", yaml)


def words_of(text: str) -> str:
    """Escaped, lines as they are, for `<pre>`."""
    return words(text).replace("<br>", "\n")


def _again(runs: Runs) -> Iterator[str]:
    lines = []
    for name, result in runs.items():
        own = name if len(runs) > 1 else "again"
        bands = " --bands" if "bands" in result.summary else ""
        file = f"{name}.yaml" if len(runs) > 1 else "scenario.yaml"
        lines.append(f"gcsim run {quote(file)}{bands} --out {quote(own)}")
    folders = " ".join(quote(name) for name in runs) if len(runs) > 1 else "again"
    lines.append(f"gcsim report {folders} --out report.html")
    where = "of its folder, or above" if len(runs) == 1 else "of their folders, or above, by name"
    yield f"<p>With the scenario.yaml {where}; the same bytes come out:</p>"
    commands = "\n".join(lines)
    yield f'<pre class="command">{words_of(commands)}</pre>'
