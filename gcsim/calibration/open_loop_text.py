"""Open loops against what is published, as text: errors, saturation, order of policies, runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from math import log

import numpy as np

from gcsim.calibration.arms import Arm
from gcsim.calibration.open_loop import METRICS, PASSES_S, Compared
from gcsim.calibration.report import markdown_table, text_table

TITLES = {
    "ttft": "TTFT",
    "ttft_p90": "p90 TTFT",
    "tpot": "TPOT",
    "e2e": "E2E",
    "throughput": "output tok/s",
    "served": "requests/s",
}
HEAD = """\
<!-- Written by `gcsim validate --open-loop FILE --out docs/open-loops.md`; do not edit. -->
# Open loops and prefix caches, against what is published

Loads at a rate, or of prompts that share prefixes, each played as its source ran it: its ladder of
rates with warm-up, on the same caches from stage to stage, every stage until its last request has
ended (so does a source count its throughput); the routing that it names; the KV capacity, host
memory and prefill rate that it states. Sources: the benchmark reports of llm-d's guides
(github.com/llm-d/llm-d), single runs.

"As shipped" is with the factors of the chip's profile; "its prefill rate" with arithmetic so
efficient that one chunk of 8,192 tokens runs at the rate that the source measured of its own server
(its router needs it). That keeps apart what the engine gets wrong (queues, caches, routing) from
what a new release of a kernel changes: gpt-oss-120b prefills on one H100 at 39,065 tokens/s here,
and at about half of that in the runs of vLLM 0.18 that the factors are fitted to.

Not right, and by how much: routed by prefix, gpt-oss-120b takes 42 requests/s before some replicas
overflow, in the model more than 60, and its highest rate is a quarter too high. Popular prefixes do
make hot spots here too, but caches hold more: vLLM keeps blocks that have left a sliding window
until they are the oldest, which halves what such a model's pool retains (played so in a trial,
first tokens at low rates rose from 45 to 80 ms, where 63 to 86 were measured; the knee did not
move).
With 190 sequences of 7,700 tokens on two H100, Qwen3-32B takes 90 ms for a token where 63 to 68
were measured: attention reaches nearly all of the bandwidth there, and 68% in the fit. Turns of a
conversation that follow at once find the replica that they left the least loaded, so that
`least_loaded` keeps their caches; the measured routers scatter them.
"""
CLEAR = 0.1  # a measured difference beyond this has a sign
SPEEDS = ("as shipped", "its prefill rate")  # by whether the source's own rate is given
Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
Stages = dict[tuple[str, bool], dict[float, dict[str, Compared]]]


def open_loop_text(arms: Sequence[Arm], found: Sequence[Compared], why: Mapping[str, str]) -> str:
    """All of it for a terminal."""
    parts = [f"{title}\n{part}" for title, part in _sections(arms, found, why, text_table)]
    return "\n\n".join(parts)


def open_loop_markdown(
    arms: Sequence[Arm], found: Sequence[Compared], why: Mapping[str, str]
) -> str:
    """All of it as a page."""
    parts = [HEAD]
    for title, part in _sections(arms, found, why, markdown_table):
        parts += [f"\n## {title}\n", part]
    return "\n".join(parts) + "\n"


def _sections(
    arms: Sequence[Arm], found: Sequence[Compared], why: Mapping[str, str], table: Table
) -> Iterable[tuple[str, str]]:
    stages = by_stage(found)
    yield "Errors", table(("", *SPEEDS), _errors(found))
    yield (
        "Where runs saturate",
        table(
            ("run", "policy", "published", *SPEEDS, "highest tok/s", *SPEEDS),
            _saturation(arms, stages),
        ),
    )
    yield "Which policy is better", table(("", "pairs", "right"), _orders(arms, stages))
    for arm in arms:
        if (arm.name, False) in stages:
            heads, rows = _run(arm, stages)
            yield f"{arm.name}: {_what(arm)}", table(heads, rows)
    counted = [
        (reason, str(list(why.values()).count(reason))) for reason in sorted(set(why.values()))
    ]
    yield "What was not played", table(("reason", "rows"), counted)


def by_stage(found: Iterable[Compared]) -> Stages:
    """(run, with its prefill rate) -> rate -> metric -> figure."""
    stages: Stages = {}
    for item in found:
        of = stages.setdefault((item.arm, item.measured), {})
        of.setdefault(item.rate, {})[item.metric] = item
    return stages


def saturates(ttft_s: Mapping[float, float]) -> float | None:
    """The rate at which TTFT first passes `PASSES_S`; the lowest where all are above, None if none.

    ttft_s: by rate; between two rates its logarithm is taken to be linear

    >>> round(saturates({30.0: 0.1, 40.0: 10.0}), 3), saturates({30.0: 0.1})
    (35.0, None)
    """
    by_rate = sorted(ttft_s.items())
    for (slow, before), (fast, after) in pairwise(by_rate):
        if before <= PASSES_S < after:
            return slow + (fast - slow) * log(PASSES_S / before) / log(after / before)
    return by_rate[0][0] if by_rate and by_rate[0][1] > PASSES_S else None


def order(a: Compared, b: Compared) -> bool | None:
    """Whether the model tells which of two is greater; None where they are published as alike."""
    if abs(log(a.published / b.published)) < log(1 + CLEAR):
        return None
    return (a.published > b.published) == (a.modeled > b.modeled)


def _errors(found: Sequence[Compared]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for metric in METRICS:
        cells = []
        for measured in (False, True):
            errors = [c.error for c in found if c.metric == metric and c.measured == measured]
            cells.append(
                f"{np.median(errors):.0%} (90%: {np.quantile(errors, 0.9):.0%}; {len(errors)})"
                if errors
                else ""
            )
        if any(cells):
            rows.append((TITLES[metric], *cells))
    return rows


def _saturation(arms: Sequence[Arm], stages: Stages) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for arm in arms:
        own = [stages.get((arm.name, measured), {}) for measured in (False, True)]
        if len(own[0]) < 2:
            continue
        ttft = [{r: of["ttft"] for r, of in each.items() if "ttft" in of} for each in own]
        tokens = [[of["throughput"] for of in each.values() if "throughput" in of] for each in own]
        rates = [saturates({r: c.published for r, c in ttft[0].items()})]
        rates += [saturates({r: c.modeled for r, c in each.items()}) for each in ttft]
        most = [max((c.published for c in tokens[0]), default=0.0)]
        most += [max((c.modeled for c in each), default=0.0) for each in tokens]
        cells = [f"{rate:.1f}/s" if rate else "" for rate in rates]
        rows.append((arm.name, _what(arm), *cells, *(f"{m:,.0f}" if m else "" for m in most)))
    return rows


def _orders(arms: Sequence[Arm], stages: Stages) -> list[tuple[str, ...]]:
    """By metric: pairs of runs of one load that differ in policy or tier, at each rate of both."""
    rows: list[tuple[str, ...]] = []
    for metric in METRICS:
        said: list[bool | None] = []
        for first, other in combinations(arms, 2):
            if _load(first) != _load(other):
                continue
            measured = (first.name, True) in stages and (other.name, True) in stages
            a, b = (stages.get((arm.name, measured), {}) for arm in (first, other))
            both = [rate for rate in a if metric in a[rate] and metric in b.get(rate, {})]
            said += [order(a[rate][metric], b[rate][metric]) for rate in both]
        clear = [right for right in said if right is not None]
        if clear:
            share = f"{sum(clear)} of {len(clear)} ({sum(clear) / len(clear):.0%})"
            rows.append((TITLES[metric], str(len(said)), share))
    return rows


def _load(arm: Arm) -> tuple[object, ...]:
    server = arm.server
    return (
        *(
            server.hardware,
            server.model,
            server.tp,
            server.replicas,
            server.framework.split(",")[0],
        ),
        *(arm.prefixes, arm.each, arm.prefix, arm.osl, arm.clients),
    )


def _what(arm: Arm) -> str:
    server = arm.server
    tier = ", host tier" if server.tier else ""
    model = server.model.rpartition("/")[2]
    return f"{model}, {server.replicas} x tp {server.tp}, {server.policy}{tier}"


def _run(arm: Arm, stages: Stages) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row for each rate; a figure is published, then modeled with the best known prefill rate."""
    own = stages.get((arm.name, True), stages[arm.name, False])
    metrics = [m for m in METRICS if any(m in of for of in own.values())]
    rows = [
        (
            "all" if arm.whole else f"{rate:g}/s" if rate else f"{arm.clients} clients",
            *(_cell(of[m]) if m in of else "" for m in metrics),
        )
        for rate, of in own.items()
    ]
    return ("", *(TITLES[m] for m in metrics)), rows


def _cell(item: Compared) -> str:
    rates = item.metric in ("throughput", "served")
    ends = (_rate(v) if rates else _time(v) for v in (item.published, item.modeled))
    return " → ".join(ends)


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(value_s: float) -> str:
    return f"{value_s:.3g} s" if value_s >= 1 else f"{1e3 * value_s:.3g} ms"
