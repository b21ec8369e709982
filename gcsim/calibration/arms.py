"""Open loops and prefix caches as published: runs of many rates, read from a points file.

Rows of a load that comes at a rate, or whose prompts share prefixes, say what the columns cannot in
`notes`, in the words of their sources; that is read here and only here. The rows of one server
under one policy are one run (an `Arm`): its stages follow one another on the same caches.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gcsim.calibration.points import COLUMNS, number_of
from gcsim.errors import ProfileError

# What a note says of the routing -> the policy that plays it; the first that matches counts.
POLICIES = (
    (r"load-only|load only|placement=load", "least_loaded"),
    (r"placement=token", "prefix_affinity"),
    (r"placement=affinity", "sticky"),
    (r"round robin|k8s Service|random", "round_robin"),
    (r"affinity|approximate|precise|aware|HBM only|CPU KV|CPU tier", "prefix_filter"),
)
# Exact or approximate, llm-d's indices of prefixes are played alike: an index here is exact.
# What has a load of its own and yet cannot be played, and why.
SKIPS = (
    (r"\+ P2P pull|over TCP=yes", "KV pulled from a peer's memory is not modelled"),
    (r"P/D|disagg|prefill workers", "two pools of unstated router and limits"),
    (r"CAUTION", "its outputs are not as long as it says"),
)
# The ladder of llm-d's guide, for rows that name it without its stages: (requests/s, s).
# Ref: llm-d/llm-d guides/optimized-baseline/benchmark-templates/guide.yaml
GUIDE = (
    *((15, 50), (3, 20), (10, 20), (15, 20), (20, 38), (22, 34), (25, 30), (30, 25), (35, 21)),
    *((40, 38), (43, 36), (46, 33), (49, 30), (52, 29), (55, 27), (57, 26), (60, 25)),
)
GUIDE_PROMPTS, GUIDE_PREFIX = (150, 5), 6000 / 7200  # prefixes, prompts to each; of a prompt
# What the guide's servers have in host memory, each (guides/tiered-prefix-cache/README.md).
GUIDE_TIER_GIB = 100.0
UTILIZATION = 0.92  # of memory where not said, as in `gcsim.calibration.match`
UNSAID_S = (
    60.0  # length of a stage that is not said: achieved and offered rates point to 60 to 70 s
)
# Where a source counts other lengths than it asked for: 162,353 input and 3,704 output tokens/s at
# 9.69 requests/s (guides/tiered-prefix-cache/benchmark-results/vllm-gpt-oss-120b-h100/README.md).
COUNTED = {("gpt-oss-120b", 16_256, 256): (16_755, 382)}
SYSTEM = 48 * 1024  # tokens, where a source says "48K"
SHARE, PREFILL = r"mem-util (0\.\d+)", r"single-chunk prefill ([\d,]+) tok/s"
TIER = r"CPU KV offload|\+ CPU tier|CPU tier(?!:)|GB CPU"


@dataclass(frozen=True, slots=True)
class Stage:
    """Requests at one rate [1/s] for some seconds; published: times [s], rates, by metric.

    id: of its row; "" where nothing is published of it, so that it only fills the caches.
    """

    id: str
    rate: float
    seconds: float
    published: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Server:
    """What serves a run, and what its source says of memory and speed.

    kv_tokens: of a replica, where stated; utilization: of its memory; tier: whether evicted KV goes
    to host memory, and tier_bytes of a replica there; prefill: tokens/s of one chunk of `CHUNK`
    tokens, as measured by the source.
    """

    hardware: str
    model: str
    dtype: str
    framework: str
    date: str
    tp: int
    replicas: int
    policy: str
    utilization: float
    kv_tokens: int | None
    tier: bool
    tier_bytes: float
    prefill: float | None


@dataclass(frozen=True, slots=True)
class Arm:
    """One run: a server under one policy, its prompts, its stages in order.

    prefixes: how many (0: nothing is shared), each: prompts to each of them, or turns of a
    conversation; prefix, question, osl: tokens; poisson: whether arrivals are, or else even;
    clients: of a closed loop, 0 where requests come at a rate; median: of what was published;
    whole: what is published of one stage is of all after the first together.
    """

    name: str
    server: Server
    prefixes: int
    each: int
    turns: bool
    prefix: int
    question: int
    osl: int
    poisson: bool
    clients: int
    median: bool
    whole: bool
    stages: tuple[Stage, ...]


def read_arms(path: str | Path) -> tuple[list[Arm], dict[str, str]]:
    """The runs of a file in its order; of rows of such loads that cannot be played: id -> why.

    A row without a rate and without shared prefixes is not mentioned: it is a point
    (`gcsim.calibration.points`). Errors: `ProfileError` when the file cannot be read.
    """
    rows = [row for row in _rows(Path(path)) if is_load(row["notes"])]
    shares = {_machine(row): share for row in rows if (share := _figure(SHARE, row["notes"]))}
    rates = {_machine(row): rate for row in rows if (rate := _figure(PREFILL, row["notes"]))}
    skipped: dict[str, str] = {}
    found: dict[tuple[object, ...], list[dict[str, str]]] = {}
    for row in rows:
        reason = unplayed(row)
        if reason is None:
            found.setdefault(_key(row), []).append(row)
        else:
            skipped[row["id"]] = reason
    arms = []
    for of in found.values():  # what a source says once holds for its other runs on that server
        same = _machine(of[0])
        arms.append(_arm(of, _server(of[0], shares.get(same), rates.get(same))))
    return arms, skipped


def is_load(notes: str) -> bool:
    """Whether a row is of a load at a rate, or of prompts that share prefixes.

    >>> is_load("rate=5 req/s Poisson, 60 s stages"), is_load("len~U[0.8L,L]; mean")
    (True, False)
    """
    return bool(
        re.search(r"rate=\d|\d(?: shared)? prefixes x|whole ladder 3-|conversations x", notes)
    )


def unplayed(row: Mapping[str, str]) -> str | None:
    """Why a row of such a load cannot be played; None where it can."""
    text = f"{row['notes']} {row['framework']}"
    for pattern, reason in SKIPS:
        if re.search(pattern, text):
            return reason
    if not policy_of(text):
        return "its routing is not stated"
    lengths = (number_of(row[name]) for name in ("isl", "osl", "chips", "tp"))
    return None if all(value >= 1 for value in lengths) else "lengths or chips are not stated"


def policy_of(notes: str) -> str:
    """The policy that plays a routing as a source names it, "" where none is named.

    >>> policy_of("k8s Service round robin"), policy_of("llm-d prefix-affinity routing")
    ('round_robin', 'prefix_filter')
    """
    return next((policy for pattern, policy in POLICIES if re.search(pattern, notes)), "")


def _machine(row: Mapping[str, str]) -> tuple[str, ...]:
    stack = row["framework"].lower().partition(" ")[0]
    return (row["hardware"], row["model"], row["tp"], row["weight_dtype"], stack)


def _key(row: Mapping[str, str]) -> tuple[object, ...]:
    """What tells one run from another."""
    notes, whole = row["notes"], re.search(r"stage \d+ of ladder|whole ladder 3-", row["notes"])
    text = f"{notes} {row['framework']}"
    routing = next(pattern for pattern, _ in POLICIES if re.search(pattern, text))
    own = (_uses_tier(row), row["id"] if whole else "", row["osl"], row["source"])
    return (*_machine(row), row["framework"], row["isl"], routing, *own)


def _uses_tier(row: Mapping[str, str]) -> bool:
    text = f"{row['notes']} {row['framework']}"
    return bool(re.search(TIER, text)) and "HBM only" not in text


def _arm(rows: Sequence[Mapping[str, str]], server: Server) -> Arm:
    first, notes = rows[0], rows[0]["notes"]
    isl, osl = round(number_of(first["isl"])), round(number_of(first["osl"]))
    isl, osl = COUNTED.get((server.model.rpartition("/")[2], isl, osl), (isl, osl))
    guide = bool(re.search(r"stage \d+ of ladder|whole ladder 3-", notes))
    turns = bool(re.search(r"\d conversations x", notes))
    found = re.search(r"(\d+)(?: shared)? (?:prefixes|conversations) x (\d+)?(K)?", notes)
    prefixes, each = GUIDE_PROMPTS if guide else (0, 1)
    if found and not guide:
        prefixes, each = int(found[1]), int(found[2]) if found[2] and not found[3] else 1
    prefix = round(isl * GUIDE_PREFIX) if guide else SYSTEM if "48K" in notes else 0
    prefix = prefix or round(_figure(r"(?:shared prefix|prefix) (\d+)", notes))
    prefix = prefix or round(_figure(r"(\d+)-token prefixes", notes))
    question = max(isl - prefix, 1) if prefixes else isl
    stages = tuple(_stage(row) for row in rows)
    return Arm(
        name=first["id"] if len(rows) == 1 else f"{first['id']} to {rows[-1]['id'][-4:]}",
        server=server,
        prefixes=prefixes,
        each=each,
        turns=turns,
        prefix=isl - question,
        question=question,
        osl=osl,
        poisson="constant" not in notes,
        clients=round(number_of(first["concurrency_or_batch"], 0.0)),
        median=any(re.search(r"p50(?!\(not)", row["notes"]) for row in rows),
        whole=bool(re.search("whole ladder 3-", notes)),
        stages=_on_guide(stages, notes) if guide else _warmed(stages, notes),
    )


def _on_guide(stages: Sequence[Stage], notes: str) -> tuple[Stage, ...]:
    """The guide's ladder, with what is published of one stage, or of all together."""
    bare = [Stage("", float(rate), float(seconds), {}) for rate, seconds in GUIDE]
    if "whole ladder 3-" in notes:
        told = replace(bare[1], id=stages[0].id, published=stages[0].published)
        return (bare[0], told, *bare[2:])
    of = {stage.rate: stage for stage in stages}
    return tuple(
        replace(b, id=of[b.rate].id, published=of[b.rate].published) if b.rate in of and k else b
        for k, b in enumerate(bare)
    )


def _warmed(stages: tuple[Stage, ...], notes: str) -> tuple[Stage, ...]:
    found = re.search(r"warm-up (\d+) req/s x (\d+) s", notes)
    return (Stage("", float(found[1]), float(found[2]), {}), *stages) if found else stages


def _stage(row: Mapping[str, str]) -> Stage:
    notes = row["notes"]
    said = re.search(r"(?:for |, |constant |stage \()(\d+) s\b", notes)
    found = {
        "ttft": number_of(row["ttft_ms"]) / 1e3,
        "ttft_p90": _figure(r"ttft=mean, p90=(\d+)|p90 ttft=(\d+)", notes) / 1e3,
        "tpot": number_of(row["tpot_ms"]) / 1e3,
        "e2e": number_of(row["e2e_ms"]) / 1e3,
        "throughput": number_of(row["tok_s_total"]),
        "served": _figure(r"achieved ([\d.]+) req/s", notes),
    }
    published = {metric: value for metric, value in found.items() if value > 0}
    if "served" in published:
        published.pop("throughput", None)  # the one follows from the other
    rate = _figure(r"rate=([\d.]+) req/s", notes)
    return Stage(row["id"], rate, float(said[1]) if said else UNSAID_S, published)


def _server(row: Mapping[str, str], share: float | None, prefill: float | None) -> Server:
    notes = row["notes"].replace(",", "")
    chips, tp = round(number_of(row["chips"])), round(number_of(row["tp"]))
    replicas = max(chips // tp, 1)
    text = f"{notes} {row['framework']}"
    kv = _figure(
        r"KV (?:per replica )?(\d+) tok(?: per replica)?(?! per GPU)|= (\d+) KV tok", notes
    )
    kv = kv or _figure(r"KV: GPU (\d+) tok total", notes) / replicas
    gigabytes = _figure(r"(\d+) G(?:B|iB) CPU tier", text)
    return Server(
        hardware=row["hardware"].strip(),
        model=row["model"].strip(),
        dtype=row["weight_dtype"].strip().lower(),
        framework=row["framework"].strip(),
        date=row["date"].strip(),
        tp=tp,
        replicas=replicas,
        policy=policy_of(text),
        utilization=_figure(SHARE, text) or share or UTILIZATION,
        kv_tokens=round(kv) or None,
        tier=_uses_tier(row),
        tier_bytes=(gigabytes or GUIDE_TIER_GIB) * 2**30,
        prefill=prefill,
    )


def _figure(pattern: str, text: str) -> float:
    """The first group that a pattern finds, as a number; 0 without."""
    found = re.search(pattern, text)
    return number_of(next(g for g in found.groups() if g).replace(",", "")) if found else 0.0


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("id", "notes") if name not in (reader.fieldnames or ())]
            if missing:
                raise ProfileError.one(str(path), "", None, f"has no column {', '.join(missing)}")
            for row in reader:
                yield {name: (row.get(name) or "") for name in COLUMNS}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or "is not a CSV file in UTF-8"
        raise ProfileError.one(str(path), "", None, f"cannot be read: {why}") from error
