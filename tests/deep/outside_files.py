"""Files with something wrong in them: profiles, traces and `config.json`s, and their commands."""

import copy
import csv
import gzip
import io
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from outside_odd import ODD, ODD_IN_TRACES

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {
    "chip": "hardware_profiles/chips",
    "deployment": "hardware_profiles/deployments",
    "model": "model_profiles",
    "workload": "workloads",
    "scenario": "scenarios",
}
TALK = {"source", "note", "notes", "description", "conflicts", "aliases"}
SMALL = ["--set", "run.trajectories=2", "--set", "run.limit=8 s"]
JSON = ["--format", "json"]
FACTORS = (0, -1, 1e-9, 1e-3, 0.1, 0.5, 0.99, 1.01, 2, 10, 1e3, 1e6, 1e9)
Place = tuple[Any, ...]


@dataclass(frozen=True)
class Tried:
    """A file, as a tree where it is one, and the commands that get its path in place of FILE."""

    name: str
    tree: Any
    text: Callable[[Any], bytes]
    calls: tuple[list[str], ...]
    damage: Callable[[bytes], bytes] = bytes

    def of(self, tree: Any) -> "Tried":
        """The same of another tree."""
        return replace(self, tree=tree)

    def raw(self) -> bytes:
        """What stands in the file."""
        return self.damage(self.text(self.tree))

    def written(self, folder: Path) -> Path:
        """The file in a folder."""
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.raw())
        return path

    def commands(self, path: str) -> list[list[str]]:
        """Arguments of `gcsim`."""
        return [[part.replace("FILE", path) for part in call] for call in self.calls]


def places(node: Any, at: Place = ()) -> Iterator[Place]:
    """The place of every value."""
    pairs: Any = node.items() if isinstance(node, dict) else ()
    pairs = enumerate(node) if isinstance(node, list) else pairs
    for key, item in pairs:
        yield (*at, key)
        yield from places(item, (*at, key))


def at(node: Any, place: Place) -> Any:
    """The value at a place."""
    for key in place:
        node = node[key]
    return node


def scaled(rng: random.Random, old: Any) -> Any:
    """A number, or a text that begins with one, times something; None where it is neither."""
    factor = rng.choice(FACTORS)
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return rng.choice([int(old * factor), old + 1, old - 1, old * factor])
    if isinstance(old, float):
        return old * factor
    number, _, unit = str(old).partition(" ")
    try:
        return f"{float(number) * factor:g} {unit}".strip()
    except ValueError:
        return None


def mutate(rng: random.Random, tree: Any, odd: tuple[Any, ...], keys: list[str]) -> None:
    """Change one value of a tree: scaled, replaced, taken away, repeated, put elsewhere."""
    found = [place for place in places(tree) if not TALK & {*map(str, place)}]
    if not found:
        return
    sizes = [place for place in found if re.match(r"[\d.]+( |$)", str(at(tree, place)))]
    if sizes and rng.random() < 0.6:  # what can be accepted: another number
        place = rng.choice(sizes)
        at(tree, place[:-1])[place[-1]] = scaled(rng, at(tree, place))
        return
    place, other = rng.choice(found), rng.choice(found)
    holder, key = at(tree, place[:-1]), place[-1]
    old, what = holder[key], rng.random()
    if what < 0.75:
        holder[key] = copy.deepcopy(rng.choice(odd))
    elif what < 0.83:
        del holder[key]
    elif what < 0.89 and isinstance(holder, dict):
        holder[rng.choice(keys)] = copy.deepcopy(rng.choice(odd))
    elif what < 0.93 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(old))
    else:
        holder[key] = copy.deepcopy(at(tree, other))


def as_yaml(tree: Any) -> bytes:
    """Without aliases, which no profile may have."""

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    text = yaml.dump(tree, Dumper=Dumper, sort_keys=False, allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


def damaged(rng: random.Random) -> Callable[[bytes], bytes]:
    """Something done to the bytes of a file."""
    part, few, kind = rng.random(), rng.randbytes(rng.randint(1, 9)), rng.randrange(16)

    def damage(raw: bytes) -> bytes:
        k = int(part * len(raw))
        return (
            b"\xef\xbb\xbf" + raw,
            raw.replace(b"\n", b"\r\n"),
            raw.replace(b"\n", b"\r"),
            raw[:k],
            raw[:k] + b"\0" + raw[k:],
            raw[:k] + few + raw[k:],
            raw[:k] + raw[k + len(few) :],
            raw.decode(errors="replace").encode("utf-16"),
            raw + raw,
            b"\n" * 100 + raw,
            raw[:k] + b"[" * 100_000 + raw[k:],
            raw[:k] + b"9" * 10_000 + raw[k:],
            raw.replace(b": ", b": &a ", 1),
            raw.replace(b": ", b": !!python/name:os.system ", 1),
            raw.replace(b"\n", b"\n\t", 2),
            raw + b"---\na: 1\n",
        )[kind]

    return damage


@cache
def shipped() -> list[tuple[str, Path]]:
    """Every profile, chips and scenarios more than once."""
    found = [
        (kind, path) for kind, at in SHIPPED.items() for path in sorted((ROOT / at).glob("*.yaml"))
    ]
    return found + [one for one in found if one[0] in ("chip", "scenario")] * 2


@cache
def known_keys() -> list[str]:
    """Every key of every shipped profile."""
    trees = (yaml.safe_load(path.read_text()) for _, path in shipped())
    return sorted({str(place[-1]) for tree in trees for place in places(tree)})


def profile(rng: random.Random) -> Tried:
    """A shipped profile with something wrong, in a run, an estimate, or shown."""
    kind, path = rng.choice(shipped())
    tree = yaml.safe_load(path.read_text())
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        mutate(rng, tree, ODD, known_keys())
    engine = ["--engine", rng.choice(["coalesced", "coalesced", "iteration", "auto"])]
    where = {
        "chip": "deployment.pools.serve.chip=FILE",
        "deployment": "deployment=FILE",
        "model": "model=FILE",
        "workload": "workload=FILE",
    }
    small = SMALL if rng.random() < 0.7 else SMALL[2:]
    run = ["run", "FILE", *small, *engine, *JSON]
    if kind != "scenario":
        base = rng.choice(["coding-agents", "chatbot"])
        chips = ["--set", "deployment.pools.serve.tp=8"] if kind == "chip" else []
        run = ["run", base, "--set", where[kind], *chips, *SMALL, *engine, *JSON]
    load = ["--isl", "1000", "--osl", "50", *JSON]
    other = ["show", kind, "FILE", *JSON]
    if kind == "chip":
        model = rng.choice(["llama-3.1-8b", "gpt-oss-20b", "deepseek-r1"])
        estimate = ["estimate", "--chip", "FILE", "--model", model, "--tp", rng.choice("128")]
        other = rng.choice([other, [*estimate, *load]])
    elif kind == "model":
        estimate = ["estimate", "--chip", "b200", "--tp", "8", "--model", "FILE", *load]
        other = rng.choice([other, estimate])
    damage = damaged(rng) if rng.random() < 0.1 else bytes
    call = run if rng.random() < 0.75 else other
    return Tried(f"mine-{kind}.yaml", tree, as_yaml, (call,), damage)


def config(rng: random.Random) -> Tried:
    """A `config.json` with something wrong, shown, in an estimate or in a run."""
    from outside_odd import CONFIGS

    tree = copy.deepcopy(rng.choice(CONFIGS))
    keys = sorted({str(place[-1]) for one in CONFIGS for place in places(one)})
    for _ in range(rng.choice([1, 1, 2, 3])):
        mutate(rng, tree, ODD, keys)
    load = ["--isl", "1000", "--osl", "50", *JSON]
    call = rng.choice(
        [
            ["show", "model", "FILE", *JSON],
            ["estimate", "--chip", "b200", "--tp", rng.choice("18"), "--model", "FILE", *load],
            ["estimate", "--chip", "sn40l", "--tp", "16", "--model", "FILE", *load],
            ["show", "placement", "--chip", "h200-sxm", "--tp=8", "--model", "FILE", *JSON],
            ["run", "chatbot", "--set", "model=FILE", *SMALL, "--engine", "coalesced", *JSON],
        ]
    )
    folder = rng.choice(["m", "m", "[x]", "a b", "\u00e9", "x" * 200])
    damage = damaged(rng) if rng.random() < 0.12 else bytes
    return Tried(f"{folder}/config.json", tree, _as_json, (call,), damage)


def _as_json(tree: Any) -> bytes:
    return json.dumps(tree, default=str, skipkeys=True).encode("utf-8", "surrogatepass")


def trace(rng: random.Random) -> Tried:
    """A trace with something wrong, described, converted or played."""
    from outside_traces import rows

    name, tree = rows(rng)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
        mutate(rng, tree, ODD_IN_TRACES, ["timestamp", "session_id", "hash_ids", "keep"])
    if rng.random() < 0.1:
        rng.shuffle(tree)
    form = [] if rng.random() < 0.6 else [name]
    skip = rng.random() < 0.4
    info = ["trace", "info", "FILE", *(["--trace-format", *form] if form else [])]
    info += ["--skip-bad-lines"] if skip else []
    to = rng.choice(["gcsim", "mooncake", "aiperf"])
    run = ["run", "mooncake-replay", "--set", "workload.trace.path=FILE"]
    run += ["--set", "workload.trace.requests=40", *SMALL[2:], *JSON]
    run += ["--set", "workload.trace.skip_bad_lines=true"] if skip else []
    run += ["--set", f"workload.trace.format={name}"] if form else []
    run += ["--engine", rng.choice(["coalesced", "coalesced", "iteration"])]
    convert = ["trace", "convert", "FILE", "FILE.out", "--to", to]
    call = rng.choice([[*info, *JSON], convert, run])
    end = rng.choice(["\n", "\r\n"])
    text = (lambda t: _as_csv(t, end)) if name in CSV else _as_lines
    damage = damaged(rng) if rng.random() < 0.25 else bytes
    if rng.random() < 0.1:
        inner = damage

        def damage(raw: bytes) -> bytes:
            return gzip.compress(inner(raw))

    suffix = rng.choice(["", ".jsonl", ".csv", ".gz", ".parquet"])
    return Tried(f"trace{suffix}", tree, text, (call,), damage)


CSV = ("azure", "burstgpt", "splitwise", "vidur", "tracelab_csv")


def _as_lines(tree: list[Any]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in tree).encode("utf-8", "surrogatepass")


def _as_csv(tree: list[Any], end: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end)
    for row in tree:
        writer.writerow([str(c)[:9000] for c in row] if isinstance(row, list) and row else ["x"])
    return text.getvalue().encode("utf-8", "surrogatepass")
