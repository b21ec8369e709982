"""Random scenarios on every engine: the fault of a number, and the smallest YAML that shows it.

Number n is drawn by `random.Random(n)`; n % 10 says of what kind. All engines must leave the same
bytes behind and keep the invariants (`deployments.check`); the compiled loop where it says that it
can play.
"""

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import deployments
import toys
import yaml
from deployments import Case
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from shrink import shrunk

from gcsim.engine.compiled.why import GaveUpError
from gcsim.errors import GcsimError
from gcsim.profiles.base import Quantity
from gcsim.profiles.deployment import Deployment
from gcsim.profiles.model import Model
from gcsim.profiles.resolve import resolve_mapping
from gcsim.simulate import simulate
from gcsim.traffic.traces import native
from gcsim.traffic.trajectory import Trajectory
from gcsim.units import DIMENSIONS

ENGINES = ("coalesced", "iteration", "compiled")
AHEAD = (1, 2, 64)  # trajectories that the compiled loop draws at a time
Tree = dict[str, Any]


def case(number: int) -> Case:
    """The scenario of a number."""
    rng = random.Random(number)
    match number % 10:
        case 5:
            return deployments.mixed_case(rng)
        case 6:
            return deployments.playable_case(rng)
        case 7:
            return deployments.several(rng)
        case 8:
            return deployments.limited(rng)
        case 9:
            cut = replace(deployments.case(rng), warmup_s=rng.choice([0.0, 0.003, 0.1]))
            return replace(cut, horizon_s=0.5)
        case _:
            return deployments.case(rng)


def fault(number: int) -> tuple[str, str]:
    """How the scenario of a number was played, and what is wrong with it."""
    one = case(number)
    return "compiled too" if one.unplayable is None else "not compiled", wrong(one, number)


def wrong(one: Case, number: int = 0) -> str:
    """`fault: which columns or invariant`, empty where the engines agree."""
    try:
        if names := deployments.differences(one):
            return f"iteration differs: {', '.join(names)}"
        if one.unplayable is None:
            names = deployments.compiled_differences(one, AHEAD[number % len(AHEAD)])
            return f"compiled differs: {', '.join(names)}" if names else ""
    except GaveUpError:  # the loop says so, and SimPy plays
        return ""
    except Exception as error:  # whatever it is, it is to be told
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def report(number: int) -> str:
    """What is wrong with the scenario of a number, and the smallest files that show it."""
    one = case(number)
    why = wrong(one, number)
    routes: dict[str, Callable[[Tree], str]] = {
        "gcsim run case.yaml": as_user,
        "engines.wrong(engines.as_case(tree))": lambda tree: wrong(as_case(tree), number),
    }
    tree = as_tree(one)
    for how, plays in routes.items():

        def fails(candidate: Tree, plays: Callable[[Tree], str] = plays) -> bool:
            return _kind(_quietly(plays, candidate)) == _kind(why)

        if fails(tree):
            found = shrunk(tree, fails)
            return f"{why}\n# {how}, with --engine {' | '.join(ENGINES)}\n{shown(found)}"
    return f"{why}\n(no file shows it: engines.case({number}) does)"


def _kind(why: str) -> str:
    return why.partition(":")[0]


def _quietly(plays: Callable[[Tree], str], tree: Tree) -> str:
    try:
        return plays(tree)
    except (GcsimError, ValueError):  # no scenario at all
        return ""


def as_user(tree: Tree) -> str:
    """As `wrong`, of what a user sees who runs the files of a tree with every engine."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder) / "tasks.jsonl"
        tasks.write_text(lines(tree))
        played = {}
        for engine in ENGINES:
            resolved = resolve_mapping(scenario(tree, str(tasks)) | {"engine": engine}, "case.yaml")
            try:
                result = simulate(resolved)
            except GcsimError:
                raise
            except Exception as error:  # as above
                return f"{type(error).__name__}: {error}"[:200]
            played[engine] = result.to_json() + result.requests.to_csv()
    others = (engine for engine in ENGINES[1:] if played[engine] != played[ENGINES[0]])
    return next((f"{engine} differs: its requests" for engine in others), "")


def as_tree(one: Case) -> Tree:
    """A case as plain mappings."""
    return {
        "model": mapping(one.model),
        "deployment": mapping(one.deployment),
        "network": {"round_trip": f"{one.round_trip_s!r} s", "gateway": 0},
        "run": {"warmup": f"{one.warmup_s!r} s"}
        | ({} if one.horizon_s is None else {"horizon": f"{one.horizon_s!r} s"}),
        "tasks": _tasks(one.trajectories),
    }


def _tasks(trajectories: list[Trajectory]) -> list[dict[str, Any]]:
    """As lines of a trace, which ask for more than the engine: small ids, no more kept than is."""
    ids: dict[int, int] = {}
    found = []
    for task in trajectories:
        steps, held = [], list[int]()
        for step in task.steps:
            before = held[step.parent] if step.parent >= 0 else 0
            keep = None if step.keep is None or not before else min(step.keep, before)
            append = tuple((ids.setdefault(i, len(ids) + 1), n) for i, n in step.append if n)
            steps.append(replace(step, append=append, keep=keep))
            held.append((before if keep is None else keep) + sum(n for _, n in append) + step.osl)
        found.append(json.loads(native.line(replace(task, steps=tuple(steps)))))
    return found


def as_case(tree: Tree) -> Case:
    """The case of a tree, whatever the bounds of the profiles say."""
    with toys.boundless():
        deployment = Deployment.model_validate(tree["deployment"])

    def seconds(part: str, name: str) -> float:
        return float(tree.get(part, {}).get(name, "0.0 s").split()[0])

    return Case(
        deployment,
        Model.model_validate(tree["model"]),
        [native.trajectory(k, task) for k, task in enumerate(tree["tasks"])],
        seconds("network", "round_trip"),
        seconds("run", "warmup"),
        seconds("run", "horizon") if "horizon" in tree.get("run", {}) else None,
    )


def scenario(tree: Tree, tasks: str) -> dict[str, Any]:
    """What stands in the scenario's YAML; tasks: the file of its trajectories."""
    workload = {"name": "tasks", "trace": {"path": tasks, "format": "gcsim"}}
    parts = {key: part for key, part in tree.items() if key != "tasks" and part}
    return {"name": "case", **parts, "workload": workload, "arrivals": {"process": "trace"}}


def lines(tree: Tree) -> str:
    """The file of its trajectories."""
    return "".join(f"{json.dumps(task)}\n" for task in tree["tasks"])


def shown(tree: Tree) -> str:
    """Both files."""
    text = yaml.safe_dump(scenario(tree, "tasks.jsonl"), sort_keys=False)
    return f"# case.yaml\n{text}# tasks.jsonl\n{lines(tree)}"


def mapping(spec: BaseModel) -> dict[str, Any]:
    """What a YAML file would say to give such a spec: what was set, in SI."""
    fields = type(spec).model_fields
    set_ = [name for name in fields if name in spec.model_fields_set]
    return {fields[n].alias or n: _plain(getattr(spec, n), _dimension(fields[n])) for n in set_}


def _plain(value: Any, dimension: str) -> Any:
    if isinstance(value, Quantity):
        return _plain(value.value, value.dimension)
    if isinstance(value, BaseModel):
        return mapping(value)
    if isinstance(value, dict):
        return {key: _plain(item, dimension) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, dimension) for item in value]
    if isinstance(value, float) and (unit := DIMENSIONS.get(dimension)):
        return f"{value!r} {unit}"
    return value


def _dimension(field: FieldInfo | Any) -> str:
    """Of a float: the text beside its type (gcsim.profiles.base), also within a union."""
    beside = (*getattr(field, "metadata", ()), *getattr(field, "__metadata__", ()))
    inner = getattr(field, "annotation", None)
    parts = (*([inner] if inner is not None else []), *get_args(field))
    found = [each for each in beside if each in DIMENSIONS] if beside else []
    return next(iter([*found, *filter(None, map(_dimension, parts))]), "")
