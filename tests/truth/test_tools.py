"""Waiting for CPUs from queueing theory, and what no line of calls may break; engine.tools."""

from collections.abc import Sequence
from math import factorial
from random import Random

import numpy as np
import pytest
import toys

from gcsim.engine.clock import Clock
from gcsim.engine.records import TOOL_CALL, Records
from gcsim.engine.request import Context
from gcsim.engine.tools import NOWHERE, CpuQueue, ToolCall, Tools, Turn, queue_ns
from gcsim.engine.window import Part
from gcsim.profiles.tools import ToolPool
from gcsim.traffic.trajectory import Step, Trajectory

SERVICE_S = 0.1
COUNT = 60_000


class Client:
    """What a session is to the tools: steps, and who is told of their end."""

    part = Part.COUNTED

    def __init__(self, steps: Sequence[Step]) -> None:
        self.trajectory = Trajectory(0, "t", tuple(steps))
        self.ends: dict[int, tuple[int, int, int]] = {}

    def tools_ended(self, step: int, _: Context, now: int, tools_ns: int, queue_ns: int) -> None:
        self.ends[step] = now, tools_ns, queue_ns


def played(
    pool: ToolPool, starts_s: np.ndarray, delays_s: Sequence[float | tuple[float, ...]]
) -> tuple[Tools, Client, np.ndarray]:
    """Calls at given times on a pool; of a step with several, all of them."""
    many = [d if isinstance(d, tuple) else (d,) for d in delays_s]
    client = Client([Step((), 1, max(d), calls=d if len(d) > 1 else ()) for d in many])
    env = Clock()
    tools = Tools(env, pool, Records())
    for step, at_s in enumerate(starts_s):
        tools.call(client, step, Context([], 0, {}), round(at_s * 1e9))  # type: ignore[arg-type]
    env.run()
    return tools, client, tools.records.tool_calls


def erlang_c_wait_s(servers: int, load: float) -> float:
    """W_q of M/M/c with offered load c x load: C(c, a) / (c mu - lambda)."""
    a = servers * load
    last = a**servers / factorial(servers) / (1 - load)
    busy = last / (sum(a**k / factorial(k) for k in range(servers)) + last)
    return busy * SERVICE_S / (servers * (1 - load))


def poisson(rate: float, seed: int) -> tuple[np.ndarray, list[float]]:
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.exponential(1 / rate, COUNT))
    return starts, rng.exponential(SERVICE_S, COUNT).tolist()


@pytest.mark.parametrize(("cores", "nodes"), [(1, 1), (4, 1), (1, 4), (2, 2)])
def test_cores_are_an_m_m_c(cores: int, nodes: int) -> None:
    """Erlang's C: it is one line, so that only the number of cores counts, on one node or many."""
    load, servers = 0.7, cores * nodes
    starts, delays = poisson(load * servers / SERVICE_S, 3)
    _, _, calls = played(toys.tool_pool(cores, nodes=nodes), starts, delays)
    found = float(calls["queue_ns"].mean()) * 1e-9
    assert found == pytest.approx(erlang_c_wait_s(servers, load), rel=0.06)


def test_memory_is_an_m_m_c_too() -> None:
    """Calls that only wait for others hold no core, and a sandbox: rooms for these are servers."""
    starts, delays = poisson(0.8 * 5 / SERVICE_S, 4)
    pool = toys.tool_pool(100, cpu_share=1e-6, sandbox_memory="20 GB")
    tools, _, calls = played(pool, starts, delays)
    found = float(calls["queue_ns"].mean()) * 1e-9
    assert found == pytest.approx(erlang_c_wait_s(5, 0.8), rel=0.1)
    held = calls["cpu_ns"] + calls["rest_ns"]
    assert queue_ns(calls["arrived_ns"], held, 5) == calls["queue_ns"].tolist()
    assert tools.queue.peak_running == 5


def test_endless_cores_are_an_m_g_inf() -> None:
    """No call waits, and the number at work is Poisson with mean a = lambda E[S], whatever S is."""
    rng = np.random.default_rng(5)
    starts = np.cumsum(rng.exponential(SERVICE_S / 8, COUNT))
    delays = rng.lognormal(np.log(SERVICE_S) - 0.5, 1.0, COUNT).tolist()
    _, client, calls = played(toys.tool_pool(10_000), starts, delays)
    assert not calls["queue_ns"].any()
    begun, ended = calls["arrived_ns"], np.sort([end for end, _, _ in client.ends.values()])
    at = np.linspace(begun[100], begun[-1], 40_000)
    work = np.searchsorted(begun, at, "right") - np.searchsorted(ended, at, "right")
    assert work.mean() == pytest.approx(8, rel=0.03)
    assert work.var() == pytest.approx(8, rel=0.08)


def test_latency_holds_no_core() -> None:
    """With a share s of CPU a core is busy for s of each call: waits are those of M/M/1 at s a."""
    rng = np.random.default_rng(6)
    starts = np.cumsum(rng.exponential(SERVICE_S, COUNT))  # without the split, saturated
    delays = rng.exponential(SERVICE_S, COUNT).tolist()
    _, client, calls = played(toys.tool_pool(1, cpu_share=0.5), starts, delays)
    found = float(calls["queue_ns"].mean()) * 1e-9
    assert found == pytest.approx(0.5 * SERVICE_S / 2 / (1 - 0.5), rel=0.06)
    times = [client.ends[step][1] for step in range(COUNT)]
    assert times == [round(delay * 1e9) for delay in delays]


def test_known_calls_wait_as_in_the_engine() -> None:
    """`queue_ns`, which finds how many cores would do, is the engine's line over again."""
    starts, delays = poisson(0.9 * 3 / SERVICE_S, 8)
    _, _, calls = played(toys.tool_pool(3), starts[:5000], delays[:5000])
    assert queue_ns(calls["arrived_ns"], calls["cpu_ns"], 3) == calls["queue_ns"].tolist()
    fewer, more = (sum(queue_ns(calls["arrived_ns"], calls["cpu_ns"], n)) for n in (3, 4))
    assert more < fewer


@pytest.mark.parametrize("seed", range(20))
def test_no_core_and_no_byte_is_lost(seed: int) -> None:
    """Calls start in their order, none while it does not fit, and at the end all is free again."""
    rng = Random(seed)
    each = rng.choice([1, 2])
    pool = toys.tool_pool(
        rng.choice([2, 3, 8]),
        nodes=rng.choice([1, 3]),
        cores_per_call=each,
        cpu_share=rng.choice([0.01, 0.5, 1]),
        sandbox_start=rng.choice([0, "20 ms"]),
        sandbox_memory=rng.choice([0, "50 GB"]),
    )
    starts = np.cumsum([rng.expovariate(30) for _ in range(300)])
    delays = [tuple(rng.expovariate(10) for _ in range(rng.choice([1, 1, 3]))) for _ in range(300)]
    tools, client, calls = played(pool, starts, delays)
    cores, line = int(pool.cpu.cores.value), tools.queue
    assert tools.made == tools.ended == len(calls) == sum(map(len, delays))
    assert line.cores == [cores] * pool.nodes
    assert line.rooms == [pool.sandboxes] * pool.nodes
    assert (len(line.waiting), line.running) == (0, 0)
    begun = calls["arrived_ns"] + calls["queue_ns"]
    assert (np.diff(begun) >= 0).all()
    for end, held in (
        (begun + calls["cpu_ns"], pool.cores // each),
        (begun + calls["cpu_ns"] + calls["rest_ns"], min(pool.sandboxes * pool.nodes, 1 << 40)),
    ):
        ends = np.sort(end)
        at_work = np.arange(1, len(begun) + 1) - np.searchsorted(ends, begun, "right")
        assert at_work.max() <= held
    begins = [round(at * 1e9) for at in starts]
    for step, (end, tools_ns, waited_ns) in client.ends.items():
        assert end == begins[step] + tools_ns + waited_ns
    assert len(client.ends) == len(starts)


def test_a_call_goes_to_the_node_with_most_free_cores() -> None:
    line = CpuQueue(nodes=3, cores=4, sandboxes=2, cores_per_call=2)
    turn = Turn(Client([]), 0, Context([], 0, {}), 1, 0)  # type: ignore[arg-type]
    calls = [ToolCall(turn, 1, 1) for _ in range(7)]
    for call in calls:
        line.arrive(call)
    assert [call.node for call in calls] == [0, 1, 2, 0, 1, 2, NOWHERE]
    assert line.computed(calls[1]) == []  # a core is free, its memory is not
    assert line.ended(calls[1]) == [calls[6]]
    assert TOOL_CALL.names == ("arrived_ns", "queue_ns", "cpu_ns", "rest_ns", "part")
