"""Several runs of the same trajectories side by side, and what decides between them."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pandas as pd

from gcsim import __version__
from gcsim.errors import ProfileError, nearest
from gcsim.results.paired import RATES, Ratio, ratios
from gcsim.results.result import Result
from gcsim.results.summary import PHASES

Normalize = Literal["none", "power", "cost", "chips"]
# Per what the rates are given -> (column of the pool table, its unit, how many of it are one).
_PER = {"power": ("power_w", "kW", 1e3), "cost": ("usd_per_hour", "USD/h", 1.0), "chips": ("chips", "chip", 1.0)}


@dataclass(frozen=True)
class Comparison:
    """Runs by name, the first is the reference.

    normalize: `power`, `cost`, `chips`: every rate (throughput, goodput) is divided by what the
    deployment has of it [per kW, per USD/h, per chip]; times are as they are.
    """

    results: dict[str, Result]
    normalize: Normalize = "none"
    ratio_to_first: dict[str, dict[str, Ratio]] = field(init=False)

    def __post_init__(self) -> None:
        if self.normalize not in get_args(Normalize):
            known = get_args(Normalize)
            raise ProfileError.one(
                "compare", "normalize", self.normalize, "is no way to normalize",
                nearest(str(self.normalize), known),
            )  # fmt: skip
        first = next(iter(self.results.values()))
        found = {
            name: ratios(first, result, self.divisor(first) / self.divisor(result))
            for name, result in self.results.items()
        }
        object.__setattr__(self, "ratio_to_first", found)

    def divisor(self, result: Result) -> float:
        """What the rates of a run are divided by: kW, USD/h, chips, or 1."""
        if self.normalize == "none":
            return 1.0
        column, _, one = _PER[self.normalize]
        return float(result.pools[column].sum()) / one

    @property
    def unit(self) -> str:
        """What the rates are given per: `kW`, `USD/h`, `chip`, or nothing."""
        return "" if self.normalize == "none" else _PER[self.normalize][1]

    @property
    def table(self) -> pd.DataFrame:
        """One row per deployment: the summary, rates normalised."""
        return pd.DataFrame(
            {
                name: {
                    **{k: v for k, v in result.summary.items() if not isinstance(v, dict | list)},
                    **{key: result.summary[key] / self.divisor(result) for key in RATES},
                }
                for name, result in self.results.items()
            }
        ).T

    @property
    def saturated(self) -> dict[str, str]:
        """Name -> why, of the runs whose means say nothing."""
        return {
            name: result.summary["saturated_why"]
            for name, result in self.results.items()
            if result.summary["saturated"]
        }

    def order(self, metric: str) -> list[str]:
        """Names from best to worst by a metric; saturated runs last, undefined ones very last."""
        sign = -1.0 if metric in RATES else 1.0

        def key(name: str) -> tuple[bool, bool, float]:
            result = self.results[name]
            value = result.summary[metric]
            if value is None:
                return True, True, 0.0
            scale = self.divisor(result) if metric in RATES else 1.0
            return False, bool(result.summary["saturated"]), sign * value / scale

        return sorted(self.results, key=key)

    def to_dict(self) -> dict[str, Any]:
        """What `gcsim compare --format json` prints."""
        first = next(iter(self.results.values()))
        found: dict[str, Any] = {
            "scenario": first.summary["scenario"],
            "seed": first.summary["seed"],
            "version": __version__,
            "normalize": self.normalize,
            "deployments": [self._entry(name) for name in self.results],
            "ratio_to_first": {
                name: {
                    metric: {"ratio": r.ratio, "low": r.low, "high": r.high}
                    for metric, r in found.items()
                }
                for name, found in self.ratio_to_first.items()
            },
            "saturated": self.saturated,
            "decides": decides(self),
        }
        return found

    def to_json(self) -> str:
        """`to_dict` as JSON; undefined values are null."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def _entry(self, name: str) -> dict[str, Any]:
        result = self.results[name]
        entry = {"name": name, **result.summary}
        if self.normalize != "none":
            divisor = self.divisor(result)
            entry["normalized_by"] = {"unit": self.unit, "value": divisor}
            entry["normalized"] = {key: result.summary[key] / divisor for key in RATES}
        return entry


# Whose time a phase of a request is: roles of pools.
_ROLES = {"prefill": ("prefill", "mixed"), "decode": ("decode", "mixed")}
_BOUNDS = {"compute": "arithmetic", "communication": "links between chips", "overhead": "fixed times"}


def decides(comparison: Comparison) -> str:
    """One sentence or two, computed: which part of E2E makes the difference, and what bounds it."""
    names = comparison.order("mean_e2el_ms")
    names = [n for n in names if comparison.results[n].summary["mean_e2el_ms"] is not None]
    if len(names) < 2:
        return ""
    fast, slow = comparison.results[names[0]], comparison.results[names[-1]]
    gaps = {
        phase: slow.summary["breakdown_ms"][phase] - fast.summary["breakdown_ms"][phase]
        for phase in PHASES
    }
    gap = sum(gaps.values())
    phase = max(gaps, key=lambda key: abs(gaps[key]))
    if abs(gaps[phase]) < 1e-9:
        return f"{names[0]} and {names[-1]} take the same time."
    text = f"A step takes {three(abs(gap))} ms less on {names[0]} than on {names[-1]}" 
    text += f"; {PHASE_NAMES[phase]} makes {gaps[phase] / gap:.0%} of the difference"
    if phase in _ROLES:
        text += f" ({_bound(fast, phase)} on {names[0]}, {_bound(slow, phase)} on {names[-1]})"
    text += "."
    tools = _waiting_share(slow)
    if tools > 0.01:
        text += f" Tools and people are {tools:.0%} of the task time on {names[-1]},"
        text += f" {_waiting_share(fast):.0%} on {names[0]}: no chip shortens them."
    return text


PHASE_NAMES = {
    "network": "network and front end",
    "queue": "queueing",
    "prefill": "prefill",
    "kv_transfer": "KV transfer",
    "decode": "decode",
}


def three(value: float) -> str:
    """A number with three significant digits, in plain notation.

    >>> three(1234.5), three(12.345), three(0.0012345), three(0)
    ('1,230', '12.3', '0.00123', '0')
    """
    if value == 0:
        return "0"
    from math import floor, log10

    digits = 2 - floor(log10(abs(float(f"{value:.3g}"))))
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def _bound(result: Result, phase: str) -> str:
    """What takes most of the busy time of the pool that does a phase."""
    pools = result.pools[result.pools["role"].isin(_ROLES[phase])]
    pool = pools.iloc[0]
    shares = {
        key.removeprefix("bound_"): float(value)
        for key, value in pool.items()
        if str(key).startswith("bound_") and pd.notna(value)
    }
    name = max(shares, key=lambda key: shares[key])
    memory = name.removeprefix("memory_")
    what = f"{memory.upper()} bandwidth" if memory != name else _BOUNDS[name]
    return f"{what} {shares[name]:.0%} of the busy time"


def _waiting_share(result: Result) -> float:
    done = result.trajectories[result.trajectories["status"] == "completed"]
    total = float(done["task_s"].sum())
    return float((done["tools_s"] + done["human_s"]).sum()) / total if total else 0.0
