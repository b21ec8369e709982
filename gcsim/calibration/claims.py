"""What vendors publish, in the model: claim, scenario file, modeled value, range, verdict."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

from gcsim.calibration.loads import FORMATS, OUTPUT, PROMPTS, Load, Loads, lightest, played
from gcsim.errors import CapacityError
from gcsim.machine.counts import count, kv_bytes_per_token, weight_bytes
from gcsim.machine.machine import bind
from gcsim.profiles import library
from gcsim.profiles.assumed import assumed_values
from gcsim.profiles.resolve import Resolved, load_chip, load_model, resolve, with_settings
from gcsim.simulate import simulate
from gcsim.studies.bands import shifted

SUPPORTED, CONDITIONAL, REFUTED = "supported", "holds only if", "not supported"
NEAR = 0.10  # a claim within this of the modeled value (or its range) is supported
PAPER = "generalcompute.com/whitepaper"
INFERCOM = "infercom.ai/de/blog/how-dataflow-delivers-speed"


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the ledger; `condition` says under what the verdict holds.

    scenario: a file, which gives the modeled value with these settings.
    """

    claim: str
    source: str
    unit: str
    claimed: float
    modeled: float
    low: float
    high: float
    verdict: str
    condition: str
    scenario: str
    settings: dict[str, Any] = field(default_factory=dict)


def verdict_of(claimed: float, modeled: float, low: float, high: float, condition: str) -> str:
    """Supported within `NEAR` of the model without a condition, or with one; else not.

    >>> verdict_of(100, 95, 80, 99, ""), verdict_of(100, 95, 80, 99, "batch 1")
    ('supported', 'holds only if')
    >>> verdict_of(100, 40, 30, 60, "batch 1")
    'not supported'
    """
    inside = low * (1 - NEAR) <= claimed <= high * (1 + NEAR)
    near = abs(modeled / claimed - 1) <= NEAR
    if near and not condition:
        return SUPPORTED
    return CONDITIONAL if near or inside else REFUTED


def measure(resolved: Resolved) -> dict[str, float]:
    """Median TTFT and E2E [ms], output speed of one user [tokens/s] and of all [tokens/s]."""
    summary = simulate(resolved).summary
    return {
        "ttft": summary["median_ttft_ms"],
        "e2e": summary["median_e2el_ms"],
        "tok_s_user": 1e3 / summary["median_tpot_ms"],
        "tok_s_total": summary["output_throughput"],
    }


def claims() -> list[dict[str, Any]]:
    """The ledger: every claim with its modeled value, range and verdict (plain mappings)."""
    found = [*_speeds(), *_racks(), *_arithmetic()]
    return [asdict(claim) for claim in found]


def _file(name: str) -> Path:
    return library.root() / "validation" / "claims" / f"{name}.yaml"


def _ends(resolved: Resolved, key: str) -> tuple[float, float, float]:
    """A metric of a scenario: value, and the ends when all values are at one end at once."""
    value = measure(resolved)[key]
    found = [value]
    for end in ("slow", "fast"):
        moved = shifted(resolved, None, end)
        if moved is not None:
            found.append(measure(moved)[key])
    return value, min(found), max(found)


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says: the claim in words, who says it, and its figure."""

    claim: str
    source: str
    unit: str
    claimed: float

    def judged(
        self, ends: tuple[float, float, float], where: str, condition: str = "", verdict: str = ""
    ) -> Claim:
        """The line of the ledger; ends: modeled value, low, high; verdict: where not by `NEAR`."""
        verdict = verdict or verdict_of(self.claimed, *ends, condition)
        return Claim(
            self.claim, self.source, self.unit, self.claimed, *ends, verdict, condition, where
        )


def _played(
    said: Said,
    name: str,
    key: str,
    condition: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Claim:
    """A claim against a metric (of `measure`) of its scenario file, with settings."""
    settings = dict(settings or {})
    ends = _ends(resolve(_file(name), settings), key)
    found = said.judged(ends, f"validation/claims/{name}.yaml", condition)
    return replace(found, settings=settings)


def _speeds() -> list[Claim]:
    lengths = (
        "prompts of about 19,000 and outputs of about 720 tokens: long for a chat, usual for an"
        " agent step; the source states neither"
    )
    load = "the GPU service runs four H100 per model copy with about twelve requests at a time"
    best = "one user on 16 chips, and SN50's assumed fixed times at their best"
    agent = "SN40L answers gpt-oss-120b with TTFT 738 ms, network included"
    gpu = "a GPU service takes TTFT 1,899 ms for the same"
    prefill = "... with TTFT 388 ms at 10,000 prompt tokens"
    short, long = (
        "SN40L serves gpt-oss-120b at 713 tok/s",
        "SN50 serves gpt-oss-120b at 1,900 tok/s",
    )
    both = f"{lengths}; {load}"
    longer = (
        "its fixed times a tenth longer than those fitted to small models, well within their range"
    )
    set_to = "its prefill factors were set to this figure"
    return [
        _played(Said(agent, PAPER, "ms", 738), "sn40l-agent-call", "ttft", lengths),
        _played(Said("... and E2E 1.76 s", PAPER, "ms", 1760), "sn40l-agent-call", "e2e", lengths),
        _played(Said(gpu, PAPER, "ms", 1899), "gpu-agent-call", "ttft", both),
        _played(Said("... and E2E 8.05 s", PAPER, "ms", 8050), "gpu-agent-call", "e2e", both),
        _played(Said(short, INFERCOM, "tok/s", 713), "sn40l-gpt-oss", "tok_s_user", longer),
        _played(Said(prefill, INFERCOM, "ms", 388), "sn40l-gpt-oss", "ttft", set_to),
        _played(Said(long, PAPER, "tok/s", 1900), "sn50-gpt-oss", "tok_s_user", best),
    ]


def _racks() -> list[Claim]:
    """A rack's rate on a 671B model: by which load is it reached, here and at best?"""
    found = []
    for chip, speed in (("SN40L", 800), ("SN50", 15_000)):
        name = f"{chip.lower()}-671b"
        here, best = (_loads(name, speed, end) for end in (None, "fast"))
        reached = [load for loads in (here, best) for load in loads.values() if load.rate >= speed]
        load = reached[0] if reached else max(here.values(), key=lambda load: load.rate)
        text = f"one {chip} rack gives {speed:,} tok/s on 600B+ models"
        base = resolve(_file(name))
        told, settings = _told(here, best, speed, load), _changes(base, load)
        assumed = sum(key.startswith(f"{chip.lower()}.") for key in assumed_values(base.scenario))
        told += f"; {assumed} values of the chip are assumed"
        said = Said(text, PAPER, "tok/s", speed)
        found.append(_played(said, name, "tok_s_total", told, settings))
    return found


def _changes(resolved: Resolved, load: Load) -> dict[str, Any]:
    """The settings of a load that its scenario file does not have."""

    def own(dotted: str) -> Any:
        return reduce(lambda node, key: node[key], dotted.split("."), resolved.mapping)

    return {dotted: value for dotted, value in load.settings().items() if own(dotted) != value}


def _loads(name: str, wanted: float, end: str | None) -> Loads:
    """By prompt and format, the shortest first: the lightest load of a claim's rack, played."""
    base = resolve(_file(name))
    resolved = base if end is None else shifted(base, None, end) or base

    def play(load: Load) -> float:
        return measure(with_settings(resolved, load.settings()))["tok_s_total"]

    found = lightest(resolved.scenario, wanted)
    return {key: played(load, wanted, play) for key, load in found.items()}


def _told(here: Loads, best: Loads, wanted: float, chosen: Load) -> str:
    """The load of the line, and in short those of other formats and prompts.

    Users are at any time, of a DeepSeek-R1; their prompts are computed on the same rack.
    """
    text = f"{chosen.users:,} users of {chosen.prompt:,} + {OUTPUT:,} tokens, DeepSeek-R1 in"
    text += f" {chosen.dtype.upper()}, laid out tp {chosen.tp} x ep {chosen.ep},"
    text += f" {chosen.rate / chosen.users:.0f} tok/s each, prompts computed on the same rack"
    if chosen not in here.values():
        text += ", all values at their fast end"
    if chosen.rate < wanted:
        text += f", give the most; the claim needs {wanted / chosen.rate:.1f} such racks"
    formats = " and ".join(name.upper() for name in FORMATS)
    text += f". Users needed in {formats}: {_users(here, wanted)}"
    return f"{text}; with all values at their fast end: {_users(best, wanted)}"


def _users(loads: Loads, wanted: float) -> str:
    """Of every prompt and format the users needed, or the most that is reached."""

    def cell(load: Load | None) -> str:
        if load is None:
            return "does not fit"
        return f"{load.users:,}" if load.rate >= wanted else f"none ({load.rate:,.0f} tok/s)"

    return "; ".join(
        f"prompts of {prompt:,}: {', '.join(cell(loads.get((prompt, f))) for f in FORMATS)}"
        for prompt in PROMPTS
    )


def _arithmetic() -> list[Claim]:
    chip, model = load_chip("h100-sxm"), load_model("llama-3.3-70b")
    flops = 2.0 * count(model).active() * 1e3  # in ms
    dense, narrow = chip.compute.bf16.value, chip.compute.fp8
    hbm = next(tier for tier in chip.memory if tier.tier == "hbm")
    compute, fastest = flops / dense, flops / (narrow.value if narrow else dense)
    memory = weight_bytes(model).total / hbm.bandwidth.value * 1e3
    per_token = kv_bytes_per_token(model).full / 1e6
    where = "validation/claims/h100-70b.yaml"
    two = resolve(_file("h100-70b")).scenario
    pool = next(iter(two.deployment.pools.values()))
    try:
        bind(model, pool.model_copy(update={"tp": 1}))
        fits = 1.0
    except CapacityError:
        fits = 0.0
    eight_bit = "the peak is that of FP8 (or of sparse BF16), the bytes those of 16 bit"
    text = "70B on one H100 needs 0.07 ms of arithmetic per token"
    read = memory / chip.efficiency.memory.value
    verdict = verdict_of(42.0, memory, memory, memory, "")
    held, narrow_only = SUPPORTED if fits else REFUTED, "80 GB hold 70B only in 8 bit or less"
    one = "... which one H100 could hold (140 GB)"
    kv = "70B keeps about 0.3 MB of KV per token"
    return [
        Said(text, INFERCOM, "ms", 0.07).judged((compute, fastest, compute), where, eight_bit),
        Said("... and 42 ms to read its weights", INFERCOM, "ms", 42.0).judged(
            (memory, memory, read), where, verdict=verdict
        ),
        Said(one, INFERCOM, "fits", 1.0).judged((fits, fits, fits), where, narrow_only, held),
        Said(kv, INFERCOM, "MB", 0.3).judged((per_token,) * 3, where),
    ]
