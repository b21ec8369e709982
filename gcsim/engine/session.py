"""The client side: one trajectory played step by step, each step sent when what it waits for ends.

A finished step releases those that wait for it after their tool (or human) delay. The split of the
task time follows the critical path: the chain of steps that decided when the task ended.
"""

from collections.abc import Callable

from gcsim.engine.clock import to_ns
from gcsim.engine.request import COMPLETED, UNFINISHED, Context, Request
from gcsim.engine.window import Part
from gcsim.traffic.trajectory import Trajectory

# Time on the critical path, in this order: it sums to the task time.
# `tool_queue` is there in a deployment with a tools pool only (`gcsim.engine.tools`).
PATH = ("tools", "tool_queue", "human", "network", "queue", "prefill", "kv_transfer", "decode")
_NO_TIME = (0,) * len(PATH)


class Session:
    """A trajectory under way.

    part: where in the run it starts, which says whether it counts;
    send(session, step, context, ready_ns): hands a step to the cluster, to be sent at `ready_ns`;
    call_tools(session, step, context, ready_ns): hands the tool calls before a step to the tools
    pool, which says when they have ended (`tools_ended`); None: they take their time, and no CPU.
    """

    __slots__ = (
        "_contexts",
        "_heirs",
        "_missing",
        "_paths",
        "_released",
        "_users",
        "call_tools",
        "done",
        "end_ns",
        "live",
        "part",
        "path",
        "send",
        "start_ns",
        "status",
        "trajectory",
    )

    def __init__(
        self,
        trajectory: Trajectory,
        start_ns: int,
        send: Callable[["Session", int, Context, int], None],
        part: Part = Part.COUNTED,
        call_tools: Callable[["Session", int, Context, int], None] | None = None,
    ) -> None:
        self.trajectory, self.start_ns, self.send = trajectory, start_ns, send
        self.call_tools = call_tools
        self.done = self.live = 0
        self.part = part
        self.status, self.end_ns, self.path = UNFINISHED, start_ns, _NO_TIME
        self._missing: dict[int, int] = {}  # steps to wait for, where more than one
        self._released: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._contexts: dict[int, Context] = {}
        self._paths: dict[int, tuple[int, ...]] = {}
        self._heirs: dict[int, list[int]] = {}  # step -> steps that wait for it
        self._users: dict[int, int] = {}  # step -> steps that continue its context
        for index, step in enumerate(trajectory.steps):
            for awaited in step.waits_for:
                self._heirs.setdefault(awaited, []).append(index)
            if len(step.waits_for) > 1:
                self._missing[index] = len(step.waits_for)
            if step.parent >= 0:
                self._users[step.parent] = self._users.get(step.parent, 0) + 1

    def start(self) -> None:
        """Send every step that waits for nothing."""
        for index, step in enumerate(self.trajectory.steps):
            if not step.waits_for:
                self._release(index, self.start_ns, _NO_TIME)

    def _release(self, index: int, ready_ns: int, path: tuple[int, ...]) -> None:
        step = self.trajectory.steps[index]
        delay_ns = to_ns(step.delay_s)
        # What comes before a first step is no tool call, and what takes no time is none.
        calls = self.call_tools
        if calls is not None and (step.human or not step.waits_for or not delay_ns):
            calls = None
        if calls is None:
            tools, tool_queue, human, *rest = path
            if step.human:
                human += delay_ns
            else:
                tools += delay_ns
            path = (tools, tool_queue, human, *rest)
        self._paths[index] = path
        if step.parent < 0:
            context = Context([], 0, {})
        else:
            self._users[step.parent] -= 1
            if self._users[step.parent]:
                context = self._contexts[step.parent].fork()
            else:
                context = self._contexts.pop(step.parent)
        if step.keep is not None:
            context = context.fork()  # the parent's KV may still travel
            context.truncate(step.keep)
        context.extend(step.append)
        self.live += 1
        if calls is None:
            self.send(self, index, context, ready_ns + delay_ns)
        else:
            calls(self, index, context, ready_ns)

    def tools_ended(
        self, index: int, context: Context, now: int, tools_ns: int, queue_ns: int
    ) -> None:
        """The last of the tool calls before a step has ended: it is sent."""
        tools, tool_queue, *rest = self._paths[index]
        self._paths[index] = (tools + tools_ns, tool_queue + queue_ns, *rest)
        self.send(self, index, context, now)

    def ended(self, request: Request, client_ns: int, network_ns: int) -> bool:
        """A step's answer is with the client at `client_ns`; True when the whole task has ended."""
        index = request.step
        self.live -= 1
        tools, waited, human, network, queue, prefill, transfer, decode = self._paths.pop(index)
        path = (
            tools,
            waited,
            human,
            network + network_ns,
            queue + request.queue_ns,
            prefill + request.prefill_ns,
            transfer + request.kv_transfer_ns,
            decode + request.decode_ns,
        )
        if client_ns >= self.end_ns:
            self.end_ns, self.path = client_ns, path
        if request.status != COMPLETED:
            self.status = request.status
        else:
            self.done += 1
        if self.status == UNFINISHED:
            if self._users.get(index):
                self._contexts[index] = request.context
            for heir in self._heirs.get(index, ()):
                self._arrive(heir, client_ns, path)
        if self.live:
            return False
        if self.status == UNFINISHED:
            self.status = COMPLETED
        return True

    def _arrive(self, heir: int, client_ns: int, path: tuple[int, ...]) -> None:
        """One of the steps that `heir` waits for has ended."""
        if heir in self._missing:
            self._missing[heir] -= 1
            latest = self._released.get(heir, (-1, _NO_TIME))
            if client_ns >= latest[0]:
                self._released[heir] = latest = (client_ns, path)
            if self._missing[heir]:
                return
            client_ns, path = latest
        self._release(heir, client_ns, path)
