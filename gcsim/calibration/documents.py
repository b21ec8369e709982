"""docs/validation.md and docs/calibration.md, generated: errors, ablation, worst points, claims."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcsim.calibration.ablation import ablation
from gcsim.calibration.calibrate import BORROWS, Calibration, errors_by_metric, ranges
from gcsim.calibration.chip_files import calibrate_everything, write_from
from gcsim.calibration.claims import claims
from gcsim.calibration.evidence_table import intervals_markdown, write
from gcsim.calibration.factor_files import number_text
from gcsim.calibration.factors import EFFICIENCIES, Name
from gcsim.calibration.match import forget
from gcsim.calibration.open_loop import compare_open_loops
from gcsim.calibration.open_loop_text import open_loop_markdown
from gcsim.calibration.pooling import CHIPS, CHIPS_EFFICIENCY, DIES, OWN, SHOWN, VENDORS
from gcsim.calibration.report import (
    CLAIM_HEADS,
    EXCEPTION_HEADS,
    HEADS,
    METRICS,
    PAIR_HEADS,
    claims_rows,
    exception_rows,
    markdown_table,
    pair_rows,
    table_rows,
)
from gcsim.calibration.validate import validate
from gcsim.profiles import library

WORST = 10
# Why points of a kind are far off; the first that matches is told.
REASONS = (
    ("gb200", "in-house rows whose TPOT does not rise with their concurrency"),
    ("gb300", "disaggregated over many nodes: the balance of the pools is not published"),
    ("qwen3-32b-nvfp4", "448 prompts of 15,000 tokens answered in 0.7 s: cached, or an error"),
    ("/IXS", "the source calls these runs experimental and warns of errors"),
    ("/DSF", "first months of DeepSeek support, batches limited in a way that is not stated"),
    ("/DSO", "first months of DeepSeek support, batches limited in a way that is not stated"),
    ("/DSL", "software of 2024 on a 405B model, offline batches of unstated limits"),
    ("disaggregated", "the balance of the pools, which sets the queue, is not published"),
    ("/ARG", "software of 2024"),
)
NOISE = """\
Repeats of one cell at most two days apart (InferenceX, 489 pairs) differ by 0.3% (median) and 3.6%
(p90) in TPOT, by 2% and 24% in TTFT: no model can be asked for less. The same cell over months of
software differs by a factor of 1.4 to 1.9 in TPOT."""
INTRO = """\
{points:,} published measurements, each played by the engine as its source ran it
(`gcsim validate --points FILE`). Errors are |modeled / published - 1|, bias is the median of
modeled / published - 1.
"""
LEFT_OUT = """
## Left-out groups

Factors fitted without a whole (model, source) group, on all chips at once, then that group
predicted (priced from its schedule, without the engine).
"""
RANKINGS = """
## Rankings

What a planner buys is the sign: all pairs of these points that differ in one thing, of the same
model, source, lengths and release of the software (two stacks are of two releases). "right": how
often the model has the sign of a difference above 10%; "ratio": by how much its ratio of the two is
off. `gcsim validate --pairs` prints this of any file of points. Speculation has no pair here: no
source publishes the acceptance.
"""
EXCEPTIONS = """
Where the sign is wrong, all of it; the pair named is the one whose ratio is the farthest off:
"""
BOUGHT = """
## What each factor buys

Median error (and 90th percentile) on the fitted points when a factor is held where it has no effect
(an efficiency of 1, the shortest time) and all others are fitted anew. A factor that buys less than
a point everywhere goes, unless physics asks for it. `attention` and `mla_kernels` went: they are
held at one value for all GPUs.
"""
# Why a factor stays though it buys less than a point of any median or 90th percentile.
STAYS = {
    "memory": "no memory reaches its peak; with kv_read all that SN40L's points show",
    "kv_read": "attention reads KV in pieces; with memory all that SN40L's points show",
    "expert_gemm": "small products of experts: prefill of MoE models, which few points are of",
    "link": "no collective reaches the peak of its link",
    "all_reduce_latency": "a collective of few bytes is not free: tells chips that share a layer",
    "all_reduce_latency_per_doubling": "tells TP8 from TP2",
    "compute (old stacks)": "or the chip's own efficiency would answer for software of 2024",
    "moe_layer_overhead": "router, sort and grouped launch of an expert layer",
    "quantized_kernels": "each product in 8 or 4 bit quantizes its input first",
    "sequence_overhead": "sampling and detokenization are per sequence",
}
POINT = 0.01
UNKNOWN = """
## What cannot be validated

SN50: no measurement is public. Its profile is `assumed` throughout, with ranges; results on it are
ranges too (`gcsim run --bands`). SN40L: static batches of three small models and two API figures,
no prefill sweep. MI325X, GH200, GB200 and GB300 borrow the factors of their nearest relative.
Speculative decoding (the acceptance is unknown) is not compared. Open loops and prefix caches have
a page of their own: [open loops](open-loops.md), and so have the
[prediction intervals](intervals.md) that these errors give, with their coverage.

## Claims
"""
CALIBRATE = """\
# Factors, and how to fit your own

    gcsim calibrate --chip h100-sxm --points mine.csv --out mine.yaml
    gcsim calibrate --chip mine.yaml --from-vllm-bench result.json --tp 2 --dtype fp8
    gcsim calibrate --chip mi300x --from-aiperf artifacts/ --tp 8 --framework "sglang 0.5"

`--chip` is a shipped name or your own file. `--points` takes a CSV with the columns of
`validation/published.csv`, which call the chip by its name or an alias; `--from-vllm-bench` what
`vllm bench serve --save-result --max-concurrency N` wrote, `--from-aiperf` a folder of
`profile_export_aiperf.json`, both of closed loops. `--out` is the chip with the fitted factors in
one file, for `chip:` of a deployment; `--name` puts it into your library under a name of its own
([from your own server to a plan](own-server.md)). What the points do not show stays as it was.

A shipped chip has three parts: the data sheet, by hand (`hardware_profiles/chips/NAME.yaml`); the
factors below, written by `make calibrate POINTS=file.csv` (`hardware_profiles/factors/`); and the
serving stacks that it names, which chips share (`hardware_profiles/stacks/`, `gcsim list stacks`):
how they batch, and where the fit of each fixed time starts. A chip of your own may name such
parts (`factors: h100-sxm`, `stacks: [vllm]`), or hold everything itself.

## How it is fitted

Least squares on log(modeled / published) of TTFT, TPOT and E2E, robust (soft L1), drawn to
priors; large groups of rows count less. A run is scheduled once without a clock and priced anew for
every candidate; what the schedule leaves out is measured by playing the run in the engine once,
and carried along.

All chips are fitted at once (`gcsim.calibration.pooling`). The logarithm of a factor is the mean of
its stack, drawn to the stack's prior; what its vendor's chips have in common, within {vendors:.0%}
of nothing; and its own, within {chips:.0%} (fixed times) or {efficiencies:.0%} (efficiencies): a
chip with few points leans on its vendor's others, one with many differs as far as they insist.
Chips of one die or architecture
({dies})
share all but {own}: of two that differ in their memory alone, more
bandwidth is never slower.

A factor is `fitted` where a chip's own points take at least {shown:.0%} of the variance of its
prior away, whatever relatives say; else it is `assumed`, with the factor that its error goes with.
Groups of one model and source are left out in turn: one Gauss-Newton step from the fit of all.

The schedule (`gcsim.engine.closed_loop`) is a second scheduler, and stays one. Pricing the engine's
own iterations under other factors would spare it, and is as good for TPOT, but not for TTFT: who
meets whom in an iteration hangs on when requests arrive within it, which other factors move. On
231 published runs of up to 64 clients, from the priors to the fitted factors, against the engine
played anew with these (median, 90th percentile and worst error):

| | TTFT | TPOT |
| --- | --- | --- |
| schedule, and what the engine showed once | 1.8%, 5.8%, 20% | 0.1%, 2.4%, 11% |
| the engine's own iterations | 2.7%, 12.8%, 37% | 0.2%, 2.1%, 9% |
| schedule alone | 2.1%, 6.4%, 29% | 0.1%, 3.3%, 15% |

## Efficiencies
"""
FACTORS = """\
Low and high: 90% of the fit's own error, widened to what the folds of the cross-validation found.
Shown: the part of the prior's variance that a chip's own points take away.
"""
HEAD = "<!-- Written by `make calibrate`; do not edit. -->\n"


def remake(points_path: str | Path, jobs: int = 2) -> dict[str, Any]:
    """`make calibrate`: fit, write all chip profiles, validate with them, write both documents.

    Returns the errors: `overall` (engine, all points) and `cross_validated` (left-out groups).
    Errors: `ProfileError` when the points file cannot be read.
    """
    prepared, calibration = calibrate_everything(points_path, jobs)
    write_from(calibration)
    forget()
    result = validate(points_path, jobs)
    docs = library.root() / "docs"
    docs.mkdir(exist_ok=True)
    bought = ablation(prepared, calibration)
    page = validation_markdown(result, calibration, claims())
    (docs / "validation.md").write_text(page, encoding="utf-8")
    coverage = write(points_path, result, library.root() / "validation" / "evidence.csv.gz")
    (docs / "intervals.md").write_text(intervals_markdown(coverage), encoding="utf-8")
    open_loop = Path(points_path).with_name("points-open-loop.csv")
    if open_loop.is_file():
        page = open_loop_markdown(*compare_open_loops(open_loop, jobs))
        (docs / "open-loops.md").write_text(page, encoding="utf-8")
    page = calibration_markdown(calibration, bought)
    (docs / "calibration.md").write_text(page, encoding="utf-8")
    left_out = errors_by_metric(calibration.left_out)
    return {"overall": result["overall"], "cross_validated": left_out}


def validation_markdown(
    result: Mapping[str, Any],
    calibration: Calibration,
    ledger: Sequence[Mapping[str, Any]],
) -> str:
    """The page on how far to trust the model.

    result: of `validate`; calibration: with its left-out errors; ledger: of `claims`.
    """
    compared = len({p["id"] for p in result["points"]})
    skips = sorted(result["skipped"].items(), key=lambda item: -item[1])
    worst = ("point", "chip", "model", "metric", "published", "modeled", "why")
    parts = [
        HEAD + "# How far to trust it\n",
        INTRO.format(points=compared),
        markdown_table(HEADS, table_rows(result, ("chip", "kind"))),
        RANKINGS,
        markdown_table(PAIR_HEADS, pair_rows(result["pairs"])),
        EXCEPTIONS,
        markdown_table(EXCEPTION_HEADS, exception_rows(result["pairs"])),
        LEFT_OUT,
        markdown_table(("metric", "points", "median", "p90", "bias"), _left_out(calibration)),
        "\n## Noise floor\n",
        NOISE,
        "\n## The worst points\n",
        markdown_table(worst, _worst(result)),
        "\n## What was skipped\n",
        markdown_table(("reason", "points"), [(r, str(n)) for r, n in skips]),
        UNKNOWN,
        markdown_table(CLAIM_HEADS, claims_rows(ledger)),
        "",
    ]
    return "\n".join(parts)


def _left_out(calibration: Calibration) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    fitted = [row for row in calibration.left_out if row.point.fitted]
    for label, chosen in (("", calibration.left_out), (" (points that enter fits)", fitted)):
        for metric, e in errors_by_metric(chosen).items():
            shares = (f"{e['median_ape']:.1%}", f"{e['p90_ape']:.1%}", f"{e['bias']:+.1%}")
            rows.append((METRICS[metric] + label, f"{e['n']:,}", *shares))
    return rows


def _bought(rows: Sequence[Mapping[str, float | str]]) -> list[tuple[str, ...]]:
    metrics = ("ttft", "tpot", "e2e")
    return [
        (
            str(r["without"]),
            *(f"{float(r[m]):.1%} ({float(r[f'{m}_p90']):.0%})" for m in metrics),
            "" if r is rows[0] else why_it_stays(r, rows[0]),
        )
        for r in rows
    ]


def why_it_stays(without: Mapping[str, float | str], whole: Mapping[str, float | str]) -> str:
    """What a factor buys, at most, in points; where it is less than one, why it stays.

    >>> whole = {"ttft": 0.1, "tpot": 0.05}
    >>> why_it_stays({"without": "link", "ttft": 0.1, "tpot": 0.08}, whole)
    'buys 3.0 points of TPOT'
    """
    gains = {key: float(without[key]) - float(whole[key]) for key in whole if key != "without"}
    best = max(gains, key=lambda key: gains[key])
    if gains[best] < POINT:
        return STAYS.get(str(without["without"]), "buys less than a point")
    metric, _, tail = best.partition("_")
    return f"buys {gains[best] * 100:.1f} points of {METRICS[metric]}" + (tail and f" ({tail})")


def _worst(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    ordered = sorted(result["points"], key=lambda p: -p["ape"])
    seen: dict[str, Mapping[str, Any]] = {}
    for point in ordered:
        seen.setdefault(point["id"], point)
    return [
        (
            p["id"],
            p["chip"],
            p["model"],
            METRICS[p["metric"]],
            f"{p['published']:,.4g}",
            f"{p['modeled']:,.4g}",
            reason_of(p),
        )
        for p in list(seen.values())[:WORST]
    ]


def reason_of(point: Mapping[str, Any]) -> str:
    """Why a point may be far off, as far as its source lets one tell.

    >>> reason_of({"chip": "h200-sxm", "group": "minimax/IXS", "kind": "one pool"})
    'the source calls these runs experimental and warns of errors'
    """
    text = f"{point['chip']} {point['group']} {point['kind']}"
    return next((why for sign, why in REASONS if sign in text), "not explained by its source")


def calibration_markdown(
    calibration: Calibration, bought: Sequence[Mapping[str, float | str]] = ()
) -> str:
    """How to calibrate, the fitted factors (efficiencies, fixed times), and what each buys."""
    ties = ", ".join(f"{chip} with {first}" for chip, first in DIES.items())
    settings = {"vendors": VENDORS, "chips": CHIPS, "efficiencies": CHIPS_EFFICIENCY}
    text = CALIBRATE.format(dies=ties, own=", ".join(OWN), shown=SHOWN, **settings)
    borrowed = ", ".join(f"{chip} from {donor}" for chip, donor in BORROWS.items())
    parts = [
        HEAD + text,
        _factor_table(calibration, True),
        "\n## Fixed times\n",
        _factor_table(calibration, False),
        f"\nBorrowed: {borrowed}.",
        FACTORS,
        BOUGHT,
        markdown_table(("without", "TTFT", "TPOT", "E2E", "it stays, for it"), _bought(bought)),
        "",
    ]
    return "\n".join(parts)


def _factor_table(calibration: Calibration, efficiencies: bool) -> str:
    rows: list[tuple[str, ...]] = []
    for name, value in sorted(calibration.values.items()):
        chip, stack, factor = name
        if (factor in EFFICIENCIES) is not efficiencies:
            continue
        ends = (value, *ranges(calibration, name))
        middle, low, high = (number_text(factor, end) for end in ends)
        shown = calibration.shown.get(name, 1.0)
        kind = f"{'fitted' if shown >= SHOWN else 'assumed'} ({shown:.0%})"
        count = calibration.counts.get((chip, stack), 0)
        row = (middle, f"{low} to {high}", f"{count:,}", kind, _companion(calibration, name))
        rows.append((chip, stack or "-", factor, *row))
    heads = ("value", "range", "points", "kind (shown)", "its error goes with")
    return markdown_table(("chip", "stack", "factor", *heads), rows)


def _companion(calibration: Calibration, name: Name) -> str:
    if name not in calibration.with_which:
        return ""
    (_, stack, factor), correlation = calibration.with_which[name]
    where = f" ({stack})" if stack and stack != name[1] else ""
    return f"{factor}{where} {correlation:+.2f}"
