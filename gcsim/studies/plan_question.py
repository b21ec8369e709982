"""What a plan asks and what it knows: units of a deployment, the question, its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf
from typing import Any, Literal

from gcsim.errors import ProfileError
from gcsim.profiles.resolve import Resolved, with_settings
from gcsim.profiles.site import Site
from gcsim.profiles.workload import models
from gcsim.simulate import simulate
from gcsim.studies.layouts import Layout
from gcsim.studies.slo import Bound, Verdict, verdict

Aim = Literal["cost", "power", "racks", "chips"]
SLICE = 1  # agents: one replica with its share of them stands for all that are like it
# Between pools, as the shipped deployments have it: network cards, vLLM with Mooncake over them.
LINK = {
    "latency": "10 us",
    "setup": "0.2 ms",
    "efficiency": 0.7,
    "ramp": "32 MB",
    "source": "as in the shipped deployments (kvcache-ai.github.io, vllm-v1-support-benchmark)",
}


@dataclass(frozen=True, slots=True)
class Unit:
    """Pools of one or two layouts and how many replicas of each."""

    layouts: tuple[Layout, ...]
    replicas: tuple[int, ...]

    @property
    def chips(self) -> int:
        """All of them."""
        return sum(n * one.chips for one, n in zip(self.layouts, self.replicas, strict=True))

    @property
    def usd_per_hour(self) -> float:
        """Of all chips."""
        return sum(n * one.usd_per_hour for one, n in zip(self.layouts, self.replicas, strict=True))

    @property
    def power_w(self) -> float:
        """Of all chips, with their share of the node."""
        return sum(n * one.power_w for one, n in zip(self.layouts, self.replicas, strict=True))

    @property
    def nodes(self) -> int:
        """Nodes (or racks, where that is how a chip is sold), each pool in its own."""
        return sum(
            ceil(n * one.chips / one.chips_per_node)
            for one, n in zip(self.layouts, self.replicas, strict=True)
        )

    @property
    def family(self) -> str:
        """Such as `sn50`, or `mi300x + sn50`."""
        return " + ".join(one.chip for one in self.layouts)

    def costs(self, aim: Aim) -> float:
        """What is minimized."""
        return {
            "cost": self.usd_per_hour,
            "power": self.power_w,
            "racks": float(self.nodes),
            "chips": float(self.chips),
        }[aim]

    def __str__(self) -> str:
        parts = zip(self.replicas, self.layouts, strict=True)
        return " + ".join(f"{n} x {one.name}" for n, one in parts)

    def deployment(self) -> dict[str, Any]:
        """As YAML has it."""
        names = ("serve",) if len(self.layouts) == 1 else ("prefill", "decode")
        pools = {
            name: {**one.pool, "replicas": n}
            for name, one, n in zip(names, self.layouts, self.replicas, strict=True)
        }
        found: dict[str, Any] = {
            "name": self.family.replace(" + ", "-").replace(".", "-") + "-planned",
            "description": f"Found by gcsim plan: {self}.",
            "source": "gcsim plan",
            "pools": pools,
            "links": [],
        }
        if len(names) == 2:
            rate, width = _cards(self.layouts)
            link = {"from": "prefill", "to": "decode", "bandwidth": f"{rate:g} B/s"}
            found["links"] = [{**link, "lanes": width, **LINK}]
        return found


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of the search."""

    unit: Unit
    load: float
    verdict: Verdict
    summary: Mapping[str, Any] = field(repr=False)


@dataclass(slots=True)
class Found:
    """What the search knows of one family: its best unit, the runs, and why others are not.

    reused: how many of the runs another load had played already.
    """

    family: str
    best: Unit | None = None
    trial: Trial | None = None
    sliced: bool = False
    trials: list[Trial] = field(default_factory=list)
    whys: list[str] = field(default_factory=list)
    reused: int = 0

    @property
    def nearest(self) -> Trial | None:
        """The run that came nearest to the SLO."""
        return max(self.trials, key=lambda trial: trial.verdict.room, default=None)

    @property
    def runs(self) -> int:
        """How many simulations it took."""
        return len(self.trials) - self.reused

    def costs(self, aim: Aim) -> float:
        """Of the best what is minimized; infinite where nothing serves the load."""
        return self.best.costs(aim) if self.best is not None else inf


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a scenario whose load and deployment are replaced, and what must hold.

    replaced: mappings of chips that stand in for those of these names; tuned: stacks, speculation
    and batching limits are searched too.
    """

    base: Resolved
    kind: Literal["agents", "rate"]
    load: float
    bounds: tuple[Bound, ...]
    aim: Aim
    site: Site
    chips_most: float = inf
    power_most_w: float = inf
    nodes_most: float = inf
    replaced: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    tuned: bool = False

    def within(self, unit: Unit) -> bool:
        """Whether a deployment keeps the limits of the site."""
        return (
            unit.chips <= self.chips_most
            and unit.power_w <= self.power_most_w
            and unit.nodes <= self.nodes_most
        )

    def resolved(self, unit: Unit, load: float) -> Resolved:
        """The scenario on a deployment, with a load."""
        if self.kind == "agents":
            arrivals: dict[str, Any] = {"process": "closed", "agents": round(load)}
        else:
            arrivals = {**self.base.mapping["arrivals"], "rate": f"{load!r} /s"}
        run = {k: v for k, v in self.base.mapping.get("run", {}).items() if k == "seed"}
        tasks = self.base.scenario.run.trajectories
        if tasks is None:
            tasks = max(round(load), 64) if self.kind == "agents" else 200
        mapping = {**self.base.mapping, "run": {**run, "trajectories": tasks}}
        plain, deployment = replace(self.base, mapping=mapping), unit.deployment()
        for pool in deployment["pools"].values():
            pool["chip"] = self.replaced.get(pool["chip"], pool["chip"])
        return with_settings(plain, {"deployment": deployment, "arrivals": arrivals})


class Player:
    """Plays units of one question, each once: what `found` has is not played again.

    known: runs of other searches of the same family, which need not be played either.
    """

    def __init__(self, question: Question, found: Found, known: Sequence[Trial] = ()) -> None:
        self.question, self.found = question, found
        self._mine = {(str(trial.unit), trial.load): trial for trial in found.trials}
        self._known = {(str(trial.unit), trial.load): trial for trial in known}

    def whole(self, unit: Unit) -> Trial:
        """With the whole load."""
        return self.at(unit, self.question.load)

    def sliced(self, unit: Unit) -> Trial:
        """With a slice of the load on a slice of the replicas; the whole where that is little."""
        return self.at(*self.slice_of(self.question, unit))

    @staticmethod
    def slice_of(question: Question, unit: Unit) -> tuple[Unit, float]:
        """As few replicas of each pool as their proportion allows, and their share of the load."""
        load, smallest = question.load, min(unit.replicas)
        agents = load if question.kind == "agents" else load * 60.0
        part = max(SLICE / max(agents, 1e-9), 1.0 / smallest)
        if part > 0.5:
            return unit, load
        replicas = tuple(max(int(n * part), 1) for n in unit.replicas)
        part = max(n / whole for n, whole in zip(replicas, unit.replicas, strict=True))
        return Unit(unit.layouts, replicas), (
            float(ceil(load * part)) if question.kind == "agents" else load * part
        )

    def at(self, unit: Unit, load: float) -> Trial:
        """With this load."""
        key = str(unit), load
        if key not in self._mine:
            trial = self._known.get(key)
            if trial is None:
                summary = simulate(self.question.resolved(unit, load)).summary
                trial = Trial(unit, load, verdict(summary, self.question.bounds), summary)
            else:
                self.found.reused += 1
            self._mine[key] = trial
            self.found.trials.append(trial)
        return self._mine[key]


def _cards(both: Sequence[Layout]) -> tuple[float, int]:
    """What the network cards between two pools carry: B/s of the slower, lanes of the fewer."""
    return min(one.card_bytes_per_s for one in both), min(
        one.pool["tp"] * one.pool["ep"] for one in both
    )


def checked(question: Question) -> None:
    """Errors: `ProfileError` where there is nothing to plan for."""
    if not question.bounds:
        hint = 'write --slo "ttft:p95<2s tpot:mean<15ms", or slo: in the scenario'
        raise ProfileError.one("plan", "--slo", None, "there is no SLO to hold", hint)
    served = question.base.scenario.workload
    others = models(served) - {question.base.scenario.model.name}
    if others:
        why = f"asks for {', '.join(sorted(others))} besides {question.base.scenario.model.name}"
        raise ProfileError.one("plan", "workload", served.name, why, "a plan has one model")
