"""Whatever the class: lazy is eager, a trajectory is the same in every run that holds it."""

import json
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gcsim.profiles.arrivals import Closed, Poisson, Static
from gcsim.profiles.load import validate
from gcsim.profiles.workload import Workload
from gcsim.traffic import ids
from gcsim.traffic.generate import BLOCK, trajectories
from gcsim.traffic.traces.describe import Reuse
from gcsim.traffic.traces.formats import FORMATS, read
from gcsim.traffic.traces.row import USUAL, Options, Skipped
from gcsim.traffic.traces.write import stored, write
from gcsim.traffic.trajectory import Trajectory

whole = st.integers(1, 400)
counts = st.integers(1, 12)


def spread(low: int, high: int) -> st.SearchStrategy[dict[str, Any]]:
    """A distribution with clip bounds inside [low, high]."""
    bounds = st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted)
    return st.builds(
        lambda b, sigma: {
            "dist": "lognormal",
            "median": max(1, sum(b) / 2),
            "sigma": sigma,
            "low": b[0],
            "high": b[1],
        },
        bounds,
        st.floats(0, 3).map(lambda sigma: round(sigma, 6)),
    )


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Classes of every shape: tools, people, sub-agents, samples, windows, forgetting."""
    agent: dict[str, Any] = {
        "shared": draw(whole),
        "first": draw(spread(1, 300)),
        "output": draw(spread(1, 100)),
    }
    if draw(st.booleans()):
        tools = {"append": draw(spread(1, 200)), "delay": "1 s", "calls": draw(spread(1, 4))}
        agent |= {"tools": tools, "steps": draw(spread(1, 12))}
        if draw(st.booleans()):
            every = draw(spread(1, 4))
            agent["user"] = {"append": draw(spread(1, 50)), "gap": "400 s", "every": every}
        if draw(st.booleans()):
            agent["fan_out"] = {
                "share": round(draw(st.floats(0, 1)), 6),
                "branches": draw(spread(1, 4)),
                "steps": draw(spread(1, 3)),
                "report": draw(spread(1, 90)),
            }
        if draw(st.booleans()):
            agent["compact_above"] = draw(spread(500, 3_000))
        if draw(st.booleans()):
            agent["cache_ttl"] = "300 s"
    else:
        agent["samples"] = draw(counts)
    return validate(Workload, {"name": draw(st.sampled_from("ab")), "agent": agent}, "drawn")


seeds = st.integers(0, 2**64).map(np.random.SeedSequence)
STATIC = Static(process="static")


def prompts(trajectory: Trajectory) -> list[int]:
    return [isl for isl, _ in Reuse().steps(trajectory.steps)]


@given(workloads(), seeds, st.integers(1, 2 * BLOCK))
@settings(max_examples=40)
def test_a_trajectory_depends_on_nothing_but_seed_and_number(
    workload: Workload, seed: np.random.SeedSequence, count: int
) -> None:
    eager = list(trajectories(workload, STATIC, seed, 2 * BLOCK + 1))
    assert list(trajectories(workload, STATIC, seed, count)) == eager[:count]
    assert list(islice(trajectories(workload, STATIC, seed), count)) == eager[:count]
    for arrivals in (Poisson(process="poisson", rate="3 /s"), Closed(process="closed", agents=2)):
        others = trajectories(workload, arrivals, seed, count)
        assert [t.steps for t in others] == [t.steps for t in eager[:count]]
    fresh = np.random.SeedSequence(seed.entropy)
    fresh.spawn(3)  # what else is spawned from a seed changes nothing
    assert list(trajectories(workload, STATIC, fresh, 1)) == eager[:1]


@given(workloads(), seeds)
def test_steps_are_a_graph_that_can_be_played(
    workload: Workload, seed: np.random.SeedSequence
) -> None:
    for trajectory in trajectories(workload, STATIC, seed, 20):
        ended: list[set[int]] = []
        for index, step in enumerate(trajectory.steps):
            assert all(0 <= awaited < index for awaited in step.waits_for)
            before = set(step.waits_for).union(*(ended[awaited] for awaited in step.waits_for))
            ended.append(before)
            assert step.parent == -1 or step.parent in before
            assert step.osl >= 1
            assert step.delay_s >= 0
            assert step.append
            assert all(tokens >= 1 and 0 <= content < 2**63 for content, tokens in step.append)
        waited = {awaited for step in trajectory.steps for awaited in step.waits_for}
        last = len(trajectory.steps) - 1
        if any(step.waits_for for step in trajectory.steps):  # one end, not parallel samples
            assert waited == set(range(last))


@given(workloads(), seeds)
def test_private_ids_are_used_once_and_shared_ones_are_the_prefix(
    workload: Workload, seed: np.random.SeedSequence
) -> None:
    assert workload.agent is not None
    prefix = (ids.shared(workload.name, "prefix"), workload.agent.shared.value)
    seen: set[int] = set()
    for trajectory in trajectories(workload, STATIC, seed, BLOCK + 20):
        parallel = len(trajectory.steps) > 1 and not trajectory.steps[1].waits_for
        for step in trajectory.steps[:1] if parallel else trajectory.steps:
            assert (step.append[0] == prefix) == (step.parent < 0)
            private = [content for content, _ in step.append if content != prefix[0]]
            assert seen.isdisjoint(private)
            assert len(set(private)) == len(private)
            seen.update(private)


@given(workloads(), seeds)
def test_bounds_are_kept(workload: Workload, seed: np.random.SeedSequence) -> None:
    agent = workload.agent
    assert agent is not None
    assert agent.output.low is not None
    assert agent.output.high is not None
    for trajectory in trajectories(workload, STATIC, seed, 20):
        main = [step for step in trajectory.steps if agent.fan_out is None]
        assert all(agent.output.low <= step.osl <= agent.output.high for step in main)
        if agent.compact_above and agent.fan_out is None and agent.compact_above.high:
            shrunk = agent.shared.value + agent.keep.value * agent.compact_above.high + 1
            most = max(
                agent.compact_above.high, shrunk, agent.shared.value + (agent.first.high or 0)
            )
            assert max(prompts(trajectory)) <= most


@given(workloads(), seeds)
def test_gcsim_s_own_format_is_without_loss(
    workload: Workload, seed: np.random.SeedSequence
) -> None:
    before = list(trajectories(workload, Poisson(process="poisson", rate="3 /s"), seed, 10))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        assert write(path, before, "gcsim") == {}
        assert list(stored(path, USUAL, Skipped())) == before


@given(workloads(), seeds)
def test_mooncake_keeps_every_prompt_length_of_a_chain(
    workload: Workload, seed: np.random.SeedSequence
) -> None:
    before = list(trajectories(workload, STATIC, seed, 10))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        dropped = write(path, before, "mooncake")
        after = list(stored(path, USUAL, Skipped()))
    lengths = [isl for trajectory in before for isl in prompts(trajectory)]
    found = [isl for trajectory in after for isl in prompts(trajectory)]
    if "steps of sub-agents" in dropped:
        assert len(found) == len(lengths) - dropped["steps of sub-agents"]
    else:
        assert found == lengths


LINES = [
    '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [7, 8]}',
    '{"session_id": "a", "input_length": 30, "output_length": 5}',
    '{"session_id": "a", "delay": 9, "input_length": 30, "output_length": 5}',
    '{"timestamp": 1, "input_length": -600, "output_length": 5}',
    '{"timestamp": "x", "input_length": 600}',
    '{"input_length": 1e99, "output_length": null}',
    "[]",
    "",
]


@given(st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=40)), max_size=12), st.data())
def test_no_file_crashes_the_reader_and_no_line_is_lost(
    lines: list[str], data: st.DataObject
) -> None:
    text = "\n".join([LINES[0], *(line.replace("\n", " ").replace("\r", " ") for line in lines)])
    raw = text.encode("utf-8", "surrogatepass")
    raw = raw[: data.draw(st.integers(len(LINES[0]), len(raw)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        path.write_bytes(raw)
        skipped = Skipped(allowed=True)
        rows = [row for rows in read(path, Options("mooncake"), skipped) for row in rows]
    full = sum(bool(_text(line)) for line in raw.split(b"\n"))
    assert len(rows) + skipped.count == full


def _text(line: bytes) -> bool:
    try:
        return bool(line.decode().strip())
    except UnicodeDecodeError:
        return True


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.sampled_from(sorted(FORMATS)), values, st.data())
def test_any_value_in_any_key_is_a_row_or_a_counted_line(
    name: str, value: Any, data: st.DataObject
) -> None:
    form = FORMATS[name]
    keys = sorted(form.needs | {"turns", "delay", "timestamp", "tools", "hash_ids", "session_id"})
    record = {key: value if data.draw(st.booleans()) else 1 for key in keys}
    if form.kind == "csv":
        cells = [str(item).replace("\n", " ").replace("\r", " ") for item in record.values()]
        lines = [",".join(keys), ",".join('"' + cell.replace('"', "") + '"' for cell in cells)]
    else:
        lines = [json.dumps(record)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t"
        path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
        skipped = Skipped(allowed=True)
        found = [rows for rows in read(path, Options(name, 16), skipped) if rows]
    assert len(found) + skipped.count + skipped.failed == 1
