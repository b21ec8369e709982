"""Where tool calls run: nodes with cores and room for sandboxes, and one line of calls before them.

A call computes first (its sandbox starts, then its share of CPU time), with all of its cores on one
node; then it only waits, for a network or for others. It holds its sandbox on the node throughout.
"""

from collections import deque
from collections.abc import Iterable
from heapq import heapify, heapreplace

from gcsim.engine.clock import Call, Clock, to_ns
from gcsim.engine.records import Records
from gcsim.engine.request import Context
from gcsim.engine.session import Session
from gcsim.profiles.tools import ToolPool

NOWHERE = -1


class Turn:
    """The tool calls between two steps of a session, of which the last to end counts.

    step, context: what the session sends then; left: calls that have not ended.
    """

    __slots__ = ("context", "left", "session", "since_ns", "step")

    def __init__(
        self, session: Session, step: int, context: Context, left: int, since_ns: int
    ) -> None:
        self.session, self.step, self.context = session, step, context
        self.left, self.since_ns = left, since_ns


class ToolCall:
    """One call: computes for `cpu_ns` on its cores, then waits for `rest_ns` without them."""

    __slots__ = ("arrived_ns", "cpu_ns", "node", "queue_ns", "rest_ns", "turn")

    def __init__(self, turn: Turn, cpu_ns: int, rest_ns: int) -> None:
        self.turn, self.cpu_ns, self.rest_ns = turn, cpu_ns, rest_ns
        self.arrived_ns, self.queue_ns, self.node = turn.since_ns, 0, NOWHERE


class CpuQueue:
    """Nodes and the line of calls before them; it knows no clock.

    First come, first served: a call that fits no node keeps back all behind it. It goes to the
    node with most free cores, of those the first. running: calls that hold a sandbox; peak_waiting,
    peak_running: the most at a time.

    >>> from types import SimpleNamespace as C
    >>> queue = CpuQueue(nodes=1, cores=2, sandboxes=2, cores_per_call=1)
    >>> calls = [C(node=NOWHERE) for _ in range(3)]
    >>> [len(queue.arrive(call)) for call in calls]
    [1, 1, 0]
    >>> len(queue.computed(calls[0])), len(queue.ended(calls[0]))  # a core, then its memory too
    (0, 1)
    """

    def __init__(self, nodes: int, cores: int, sandboxes: int, cores_per_call: int) -> None:
        self.cores, self.rooms, self.each = [cores] * nodes, [sandboxes] * nodes, cores_per_call
        self.waiting: deque[ToolCall] = deque()
        self.running = self.peak_waiting = self.peak_running = 0

    def arrive(self, call: ToolCall) -> list[ToolCall]:
        """A call joins the line; those that start."""
        self.waiting.append(call)
        started = self._start()
        self.peak_waiting = max(self.peak_waiting, len(self.waiting))
        return started

    def computed(self, call: ToolCall) -> list[ToolCall]:
        """A call needs its cores no more; those that start."""
        self.cores[call.node] += self.each
        return self._start()

    def ended(self, call: ToolCall) -> list[ToolCall]:
        """A call is over and gives its sandbox back; those that start."""
        self.rooms[call.node] += 1
        self.running -= 1
        return self._start()

    def _start(self) -> list[ToolCall]:
        started = []
        while self.waiting and (node := self._free()) != NOWHERE:
            call = self.waiting.popleft()
            call.node = node
            self.cores[node] -= self.each
            self.rooms[node] -= 1
            self.running += 1
            started.append(call)
        self.peak_running = max(self.peak_running, self.running)
        return started

    def _free(self) -> int:
        best, most = NOWHERE, self.each - 1
        for node, cores in enumerate(self.cores):
            if cores > most and self.rooms[node]:
                best, most = node, cores
        return best


class Tools:
    """A tools pool at work: sessions hand it the calls of a step; it tells them when all ended."""

    def __init__(self, env: Clock, pool: ToolPool, records: Records) -> None:
        self.env, self.pool, self.records = env, pool, records
        self._share, self._start_ns = pool.cpu_share.value, to_ns(pool.sandbox_start.value)
        cores = int(pool.cpu.cores.value)
        self.queue = CpuQueue(pool.nodes, cores, pool.sandboxes, pool.cores_per_call)
        self.made = self.ended = 0  # calls

    def call(self, session: Session, step: int, context: Context, at_ns: int) -> None:
        """The client makes the calls before a step, at `at_ns`."""
        asked = session.trajectory.steps[step]
        delays_s = asked.calls or (asked.delay_s,)
        turn = Turn(session, step, context, len(delays_s), at_ns)
        self.made += len(delays_s)
        for delay_s in delays_s:
            whole_ns = to_ns(delay_s)
            cpu_ns = round(whole_ns * self._share)
            call = ToolCall(turn, self._start_ns + cpu_ns, whole_ns - cpu_ns)
            Call(self.env, at_ns - self.env.now, self._arrive, call)

    def _arrive(self, call: Call) -> None:
        self._run(self.queue.arrive(call.argument))

    def _run(self, started: Iterable[ToolCall]) -> None:
        now = self.env.now
        for one in started:
            one.queue_ns = now - one.arrived_ns
            part = one.turn.session.part
            self.records.tool_call(one.arrived_ns, one.queue_ns, one.cpu_ns, one.rest_ns, part)
            Call(self.env, one.cpu_ns, self._computed, one)

    def _computed(self, call: Call) -> None:
        one: ToolCall = call.argument
        self._run(self.queue.computed(one))
        Call(self.env, one.rest_ns, self._ended, one)

    def _ended(self, call: Call) -> None:
        one: ToolCall = call.argument
        now, turn = self.env.now, one.turn
        self.ended += 1
        self._run(self.queue.ended(one))
        turn.left -= 1
        if not turn.left:  # the last to end decides when the step is sent
            tools_ns = now - turn.since_ns - one.queue_ns
            turn.session.tools_ended(turn.step, turn.context, now, tools_ns, one.queue_ns)


def queue_ns(arrived_ns: Iterable[int], cpu_ns: Iterable[int], servers: int) -> list[int]:
    """How long each of some calls waits for the first free one of so many servers [ns].

    In the order of their arrival, memory aside: the line of `CpuQueue` for calls that are known.
    Equation: wait = max(0, earliest time at which a server is free - arrival), first come first
    served (Kiefer and Wolfowitz, 1955).

    >>> queue_ns([0, 0, 1], [10, 4, 4], servers=2)
    [0, 0, 3]
    """
    free = [0] * servers
    heapify(free)
    waits = []
    for arrival, service in zip(arrived_ns, cpu_ns, strict=True):
        begin = max(arrival, free[0])
        heapreplace(free, begin + service)
        waits.append(begin - arrival)
    return waits
