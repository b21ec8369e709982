"""Several runs of the same trajectories side by side, and what decides between them."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pandas as pd

from gcsim.errors import ProfileError, nearest
from gcsim.results.html import Shown
from gcsim.results.metrics import named, rates
from gcsim.results.paired import Ratio, ratio, ratios
from gcsim.results.result import Result
from gcsim.results.summary import PHASES
from gcsim.results.text import PHASE_NAMES, causes, three
from gcsim.version import __version__

Normalize = Literal["none", "power", "cost", "chips"]
# Per what the rates are given -> (column of the pool table, its unit, how many of it are one).
_PER = {
    "power": ("power_w", "kW", 1e3),
    "cost": ("usd_per_hour", "USD/h", 1.0),
    "chips": ("chips", "chip", 1.0),
}


@dataclass(frozen=True)
class Comparison(Shown):
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
            why, hint = "is no way to normalize", nearest(str(self.normalize), known)
            raise ProfileError.one("compare", "normalize", self.normalize, why, hint)
        first = next(iter(self.results.values()))
        found = {
            name: ratios(first, result, self.divisor(first) / self.divisor(result))
            for name, result in self.results.items()
        }
        object.__setattr__(self, "ratio_to_first", found)

    def __repr__(self) -> str:
        names = dict.fromkeys(result.summary["scenario"] for result in self.results.values())
        return f"Comparison({', '.join(names)} on {', '.join(self.results)})"

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
        """One row per deployment: the numbers of the summary, rates normalised."""
        rows = [
            {
                **{k: v for k, v in result.summary.items() if not isinstance(v, dict | list)},
                **_per(result, self.divisor(result)),
            }
            for result in self.results.values()
        ]
        return pd.DataFrame(rows, index=list(self.results))  # by rows: columns stay numeric

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
        row, _ = named(metric)
        sign = 1.0 if row.better == "lower" else -1.0

        def key(name: str) -> tuple[bool, bool, float]:
            result = self.results[name]
            value = result.summary[metric]
            if value is None:
                return True, True, 0.0
            scale = self.divisor(result) if row.rate else 1.0
            return False, bool(result.summary["saturated"]), sign * value / scale

        return sorted(self.results, key=key)

    def apart(self, metric: str, one: str, two: str) -> bool:
        """Whether two runs differ by a metric beyond the noise: the interval leaves 1 out."""
        first, other = self.results[one], self.results[two]
        scale = self.divisor(first) / self.divisor(other)
        return ratio(first, other, metric, scale).clear

    def winner(self, metric: str) -> tuple[str | None, bool]:
        """The best by a metric, and whether it is clearly better than the next.

        None where all are saturated.
        """
        best, *others = self.order(metric)
        if best in self.saturated:
            return None, False
        return best, not others or self.apart(metric, best, others[0])

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
            entry["normalized"] = _per(result, divisor)
        return entry


def _per(result: Result, divisor: float) -> dict[str, float | None]:
    """The rates of a run, each over what it is normalised by."""
    values = {metric.key: result.summary[metric.key] for metric in rates()}
    return {key: None if value is None else value / divisor for key, value in values.items()}


_ROLES = {"prefill": ("prefill", "mixed"), "decode": ("decode", "mixed")}  # who does a phase


def decides(comparison: Comparison) -> str:
    """What the fastest and the slowest differ by, computed from both: parts of E2E, then bounds.

    Saturated runs are left out while two others are there.
    """
    means = {
        name: result.summary["mean_e2el_ms"]
        for name, result in comparison.results.items()
        if result.summary["mean_e2el_ms"] is not None
    }
    sound = {name: mean for name, mean in means.items() if name not in comparison.saturated}
    means = sound if len(sound) > 1 else means
    names = sorted(means, key=lambda name: means[name])
    if len(names) < 2:
        return ""
    quick, slow = names[0], names[-1]
    here, there = (comparison.results[name].summary["breakdown_ms"] for name in (quick, slow))
    gaps = {phase: there[phase] - here[phase] for phase in PHASES}
    largest = sorted(gaps, key=lambda phase: -abs(gaps[phase]))
    moved = sum(map(abs, gaps.values()))
    if not moved:
        return f"{quick} and {slow} take the same time."
    parts = [
        f"{PHASE_NAMES[phase]} {'-' if gaps[phase] > 0 else '+'}{three(abs(gaps[phase]))} ms"
        for phase in largest
        if abs(gaps[phase]) >= 0.05 * moved
    ]
    text = f"A step takes {three(means[slow] - means[quick])} ms less on {quick} than on {slow}"
    text += f": {', '.join(parts)}."
    what = [_bound(comparison.results[name], largest[0]) for name in (quick, slow)]
    where = f"In {PHASE_NAMES[largest[0]]}, " if largest[0] in _ROLES else ""
    text += f" {where}{quick} is bound by {what[0]}, {slow} by {what[1]}."
    waits = [_waiting_share(comparison.results[name]) for name in (quick, slow)]
    if min(waits) > 0.01:
        text += f" Tools and people are {waits[0]:.0%} and {waits[1]:.0%} of their task times."
    return text


def _bound(result: Result, phase: str) -> str:
    """What takes most of the busy time of the busiest pool that does a phase (or of all pools)."""
    pools = result.pools[result.pools["role"] != "tools"]
    if phase in _ROLES:
        pools = pools[pools["role"].isin(_ROLES[phase])]
    pool = pools.sort_values("utilization", ascending=False, kind="stable").iloc[0]
    shares = causes({str(key): value for key, value in pool.items()})
    name = max(shares, key=lambda key: shares[key])
    return f"{name} ({shares[name]:.0%} of its time)"


def _waiting_share(result: Result) -> float:
    done = result.trajectories[result.trajectories["status"] == "completed"]
    total = float(done["task_s"].sum())
    waits = [part for part in ("tools_s", "tool_queue_s", "human_s") if part in done]
    return float(done[waits].to_numpy().sum()) / total if total else 0.0
