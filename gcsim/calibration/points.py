"""Published measurements: one row of a points file, read and understood.

A points file is a CSV with the columns `COLUMNS` (others are ignored, cells may be empty); what the
columns cannot say stands in `notes`, in the words of the sources, and is read here and only here.
"""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gcsim.errors import ProfileError

COLUMNS = (
    "id",
    "source",
    "date",
    "hardware",
    "chips",
    "tp",
    "model",
    "weight_dtype",
    "framework",
    "isl",
    "osl",
    "concurrency_or_batch",
    "cached_tokens",
    "ttft_ms",
    "tpot_ms",
    "e2e_ms",
    "tok_s_total",
    "notes",
)
METRICS = ("ttft", "tpot", "e2e", "throughput")

# What a note says about the row as a whole, and why such a row is not compared.
SKIPS = (
    (r"spec=mtp|SPEC UNMARKED", "speculative decoding of unknown acceptance"),
    (r"EAGLE|DSpark|DFlash|MTP \(|adaptive; SPEC", "speculative decoding of unknown acceptance"),
    (r"UNSTEADY|bogus", "marked unsteady by the source"),
    (r"PATHOLOGICAL", "marked pathological by the source"),
    (r"looks anomalous", "marked anomalous by the source"),
    (r"RATIO only|operating point read off|INTERPOLATED", "not a measurement of one run"),
    (r"DECODE-ONLY|PREFILL:|DECODE:", "one phase alone"),
    (r"osl = accuracy-run|mlperf_log", "lengths of a data set, not stated"),
    (r"open loop", "open-loop arrivals of several turns: not a closed loop"),
    (r"generated-shared-prefix", "prompts share a prefix of unstated reuse"),
    (r"rate=\d|prefixes x|conversations x", "a load at a rate: gcsim validate --open-loop"),
    (r"KV loaded from CPU|pull from peer", "KV comes from host memory, or a peer's"),
)

# Validated, but not fitted: the source warns ("experimental"), the first months of a model's
# support on a stack (DeepSeek and 405B in early 2025 and before), and NVIDIA's own runs of release
# candidates 1.2 and 1.3, which contradict themselves (TPOT falls by half from 64 to 128 clients, or
# is the same for 48 and 224).
NOT_FITTED = (
    r"experimental, may contain errors|early-2025 software|offline|"
    r"NVIDIA in-house run.*trtllm 1\.[23]\."
)

# Fixed lengths, and yet no bursts in the published TTFT. SGLang 0.5.1's rows do have them.
OUT_OF_STEP = r"NVIDIA in-house run.*(?<!sglang 0\.5\.1\.post1)$"


@dataclass(frozen=True, slots=True)
class Side:
    """One pool as a source describes it: `workers` replicas, attention over tp chips, dp groups."""

    workers: int
    tp: int
    dp: int

    @property
    def chips(self) -> int:
        """All chips of the side."""
        return self.workers * self.tp * self.dp

    def __str__(self) -> str:
        """As sources write it: 2 x TP4, TP1 in 8 groups."""
        several = f"{self.workers} x " if self.workers > 1 else ""
        return f"{several}TP{self.tp}" + (f" in {self.dp} groups" if self.dp > 1 else "")


@dataclass(frozen=True, slots=True)
class Point:
    """One row. Times in seconds.

    low: lengths are uniform in [low x L, L]; batch: all requests at t = 0 and none after;
    whole_run: `e2e` is the elapsed time of the batch; median: medians were published, not means;
    prefill: the prefill side of a disaggregated run, else None; steady: a long run of fixed
    lengths, whose clients fall out of step by themselves (exact lengths would never let them);
    fitted: it may enter the fit of efficiencies (`NOT_FITTED`).
    """

    id: str
    source: str
    date: str
    hardware: str
    model: str
    dtype: str
    framework: str
    isl: int
    osl: int
    concurrency: int
    cached: int
    serving: Side
    prefill: Side | None
    low: float
    batch: bool
    whole_run: bool
    median: bool
    steady: bool
    fitted: bool
    ttft_of_prefill_run: bool
    published: dict[str, float]

    @property
    def group(self) -> tuple[str, str]:
        """What is left out as a whole in cross-validation: (model, source prefix)."""
        return (re.split(r"[/\s]", self.model)[-1].lower(), self.id.partition("-")[0])

    @property
    def degree(self) -> str:
        """Over how many chips the model is spread, and how."""
        return f"{self.prefill} + {self.serving}" if self.prefill else str(self.serving)

    @property
    def load(self) -> str:
        """Lengths and habits of the clients, without their number: what runs are compared under."""
        lengths = f"{self.isl} in, {self.osl} out" + (
            "" if self.low == 1.0 else f", from {self.low}"
        )
        habits = {
            "static batch": self.batch,
            f"{self.cached} cached": self.cached,
            "medians": self.median,
            "out of step": self.steady,
            "prefill alone": self.ttft_of_prefill_run,
        }
        return ", ".join([lengths, *(name for name, has in habits.items() if has)])


def read_points(path: str | Path) -> tuple[list[Point], dict[str, str]]:
    """All usable rows of a points file, and of the others why not: id -> reason.

    Errors: `ProfileError` when the file cannot be read or lacks a column.
    """
    points: list[Point] = []
    skipped: dict[str, str] = {}
    for number, row in enumerate(_rows(Path(path)), start=2):
        name = row["id"].strip() or f"line-{number}"
        outcome = parse_row({**row, "id": name})
        if isinstance(outcome, Point):
            points.append(outcome)
        else:
            skipped[name] = outcome
    return points, skipped


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
            needed = [c for c in missing if c in ("id", "hardware", "model", "isl", "osl")]
            if needed:
                why, hint = f"has no column {', '.join(needed)}", f"columns: {', '.join(COLUMNS)}"
                raise ProfileError.one(str(path), "", None, why, hint)
            for row in reader:
                yield {c: (row.get(c) or "") for c in COLUMNS}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or "is not a CSV file in UTF-8"
        raise ProfileError.one(str(path), "", None, f"cannot be read: {why}") from error


def parse_row(row: dict[str, str]) -> Point | str:
    """One row of text cells as a `Point`, or the reason why it is not compared.

    >>> cells = dict.fromkeys(COLUMNS, "")
    >>> cells |= {"id": "X-1", "hardware": "NVIDIA H100 SXM", "chips": "2", "tp": "2"}
    >>> cells |= {"model": "gpt-oss-120b", "isl": "1024", "osl": "128", "tpot_ms": "8"}
    >>> parse_row(cells)
    'no concurrency or batch'
    >>> point = parse_row({**cells, "concurrency_or_batch": "4"})
    >>> point.serving, point.published
    (Side(workers=1, tp=2, dp=1), {'tpot': 0.008})
    """
    notes = row["notes"]
    for pattern, reason in SKIPS:
        if re.search(pattern, notes):
            return reason
    isl, osl = number_of(row["isl"]), number_of(row["osl"])
    concurrency = number_of(row["concurrency_or_batch"])
    for value, reason in ((isl, "no prompt length"), (osl, "no output length")):
        if not value >= 1:
            return reason
    if not concurrency >= 1:
        return "no concurrency or batch"
    sides = _sides(row)
    if isinstance(sides, str):
        return sides
    static = bool(re.search(r"static batch|osl=1 run|benchmark_latency", notes))
    whole = bool(re.search(r"whole-run elapsed|all prompts at once|all requests at once", notes))
    published = _published(row, static and not whole, whole)
    if not published:
        return "no time or throughput"
    return Point(
        id=row["id"],
        source=row["source"],
        date=row["date"].strip(),
        hardware=row["hardware"].strip(),
        model=row["model"].strip(),
        dtype=row["weight_dtype"].strip().lower(),
        framework=row["framework"].strip(),
        isl=round(isl),
        osl=round(osl),
        concurrency=round(concurrency),
        cached=round(number_of(row["cached_tokens"], 0.0)),
        serving=sides[1],
        prefill=sides[0],
        low=0.8 if "len~U[0.8L,L]" in notes else 1.0,
        batch=static or whole,
        whole_run=whole,
        median=bool(re.search(r"\bmedian\b", notes)),
        fitted=not re.search(NOT_FITTED, f"{notes} {row['framework']}"),
        steady=bool(re.search(OUT_OF_STEP, f"{notes} {row['framework']}")) and not static,
        ttft_of_prefill_run="osl=1 run" in notes,
        published=published,
    )


def _published(row: dict[str, str], static: bool, whole: bool) -> dict[str, float]:
    found = {name: number_of(row[f"{name}_ms"]) / 1e3 for name in ("ttft", "tpot", "e2e")}
    found["throughput"] = number_of(row["tok_s_total"])
    if static or (whole and found["e2e"] > 0):  # the one follows from the other
        found["throughput"] = math.nan
    if re.search(r"e2e (is|dropped)", row["notes"]):
        found["e2e"] = math.nan
    return {name: value for name, value in found.items() if value > 0}


def number_of(cell: str, default: float = math.nan) -> float:
    """The figure of a cell of a table; `default` where it holds none.

    >>> number_of("12.5"), number_of("", 0.0)
    (12.5, 0.0)
    """
    try:
        value = float(cell)
    except ValueError:
        return default
    return value if math.isfinite(value) else default


_WORKERS = re.compile(r"(\d+)xTP(\d+)EP(\d+)(DPA)?")
_NODES = re.compile(r"(\d+) prefill nodes? TP(\d+).*?(\d+) decode nodes? TP(\d+)")
_RATIO = re.compile(r"(\d+) ?[x:]? ?(?:P|prefill)\b\W{0,4}(?:and )?(\d+) ?[x:]? ?(?:D|decode)\b")
_RATIO_SHORT = re.compile(r"\b(\d+)P[-:/+ ]?(\d+)D\b")
_WORKERS_AIC = re.compile(r"(\d+)x\(tp(\d+) dp(\d+) mtp\d+ ep\d+\)")


def _side(text: str) -> Side | None:
    if found := _WORKERS.search(text):
        workers, tp, _, attention_dp = found.groups()
        if attention_dp:
            return Side(int(workers), 1, int(tp))
        return Side(int(workers), int(tp), 1)
    if found := _WORKERS_AIC.search(text):
        return Side(*map(int, found.groups()))
    return None


def _disaggregated(notes: str, chips: float, tp: float) -> tuple[Side | None, Side] | str:
    """Prefill and decode side in any of the ways in which sources write them.

    >>> _disaggregated("PD: 1 prefill node TP8 + 2 decode nodes TP8 EP", 24, 8)
    (Side(workers=1, tp=8, dp=1), Side(workers=2, tp=8, dp=1))
    >>> _disaggregated("PD ratio 3P1D", 8, 2)
    (Side(workers=3, tp=2, dp=1), Side(workers=1, tp=2, dp=1))
    """
    before, _, after = notes.partition("PD:")[2].partition("decode")
    prefill, decode = _side(before), _side(after)
    if prefill is not None and decode is not None:
        return prefill, decode
    if found := _NODES.search(notes):
        p, p_tp, d, d_tp = map(int, found.groups())
        return Side(p, p_tp, 1), Side(d, d_tp, 1)
    if found := _RATIO.search(notes) or _RATIO_SHORT.search(notes):
        p, d = map(int, found.groups())
        each = tp if tp >= 1 else chips // (p + d) if chips >= p + d else math.nan
        if p and d and each >= 1:
            return Side(p, round(each), 1), Side(d, round(each), 1)
    return "disaggregated layout not stated"


def _sides(row: dict[str, str]) -> tuple[Side | None, Side] | str:
    """(prefill side or None, serving or decode side) of a row, or why it cannot be told."""
    notes, chips, tp = row["notes"], number_of(row["chips"]), number_of(row["tp"])
    if re.search(r"\bP/?D\b|disagg", f"{notes} {row['framework']}"):
        return _disaggregated(notes, chips, tp)
    if not chips >= 1 and not tp >= 1:
        return "no chip count"
    chips = chips if chips >= 1 else tp
    tp = tp if tp >= 1 else chips
    groups = 1
    if found := re.search(r"attn-DP(\d+)", notes):
        groups = int(found.group(1))
    elif re.search(r"\bDPA\b|layout dep\d", notes):
        groups, tp = round(tp), 1
    workers = max(round(chips / (tp * groups)), 1)
    return None, Side(workers, round(tp), groups)
