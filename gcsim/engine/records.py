"""What happened: one named record of integers per request and per trajectory."""

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcsim.engine.request import Request
from gcsim.engine.session import PATH, Session
from gcsim.engine.window import Part


def _integers(*names: str) -> "np.dtype[np.void]":
    return np.dtype([(name, np.int64) for name in names])


# Times in whole nanoseconds, -1 where there is none; workload, status and reason are numbers of
# `Names`; replica is -1 where the request reached none.
REQUEST = _integers(
    "request",
    "trajectory",
    "step",
    "workload",
    "isl",
    "osl",
    "cached_tokens",
    "own_cached_tokens",
    "sent_ns",
    "ttft_ns",
    "e2e_ns",
    "network_ns",
    "queue_ns",
    "prefill_ns",
    "kv_transfer_ns",
    "decode_ns",
    "preemptions",
    "replica",
    "status",
    "reason",
    "part",
)
TRAJECTORY = _integers(
    "trajectory",
    "workload",
    "start_ns",
    "end_ns",
    "steps",
    "steps_done",
    "status",
    "part",
    *(f"{part}_ns" for part in PATH),
)
# `cpu_ns`: on its cores, the start of its sandbox too; `rest_ns`: without them, after that.
TOOL_CALL = _integers("arrived_ns", "queue_ns", "cpu_ns", "rest_ns", "part")
STATUSES = ("completed", "rejected", "unfinished")


class Names(dict[str, int]):
    """Small integers for repeated texts; one that is new gets the next number.

    >>> names = Names("a", "b")
    >>> names["b"], names["c"], names.texts
    (1, 2, ['a', 'b', 'c'])
    """

    def __init__(self, *texts: str) -> None:
        super().__init__((text, number) for number, text in enumerate(texts))

    def __missing__(self, text: str) -> int:
        """Number a new text."""
        number = self[text] = len(self)
        return number

    @property
    def texts(self) -> list[str]:
        """The texts in the order of their numbers."""
        return list(self)


class Records:
    """Records of the types `REQUEST` (168 bytes), `TRAJECTORY` and `TOOL_CALL`, as they are added.

    What only fills the load after the window (`gcsim.engine.window`) leaves none.
    """

    def __init__(self) -> None:
        self._requests = array("q")
        self._trajectories = array("q")
        self._tool_calls = array("q")
        self.workloads = Names()
        self.statuses = Names(*STATUSES)
        self.reasons = Names("")

    def request(self, request: Request, network_ns: int, ttft_ns: int, e2e_ns: int) -> None:
        """Add a request that has ended (or is cut off by the horizon)."""
        session, trajectory = request.session, request.session.trajectory
        if session.part is Part.AFTER:
            return
        self._requests.extend(
            (
                request.index,
                trajectory.index,
                request.step,
                self.workloads[trajectory.workload],
                request.isl,
                request.osl,
                request.hit,
                request.hit_own,
                request.sent_ns,
                ttft_ns,
                e2e_ns,
                network_ns,
                request.queue_ns,
                request.prefill_ns,
                request.kv_transfer_ns,
                request.decode_ns,
                request.preemptions,
                request.replica,
                self.statuses[request.status],
                self.reasons[request.reason],
                session.part,
            )
        )

    def trajectory(self, session: Session) -> None:
        """Add a trajectory that has ended (or is cut off by the horizon)."""
        trajectory = session.trajectory
        if session.part is Part.AFTER:
            return
        self._trajectories.extend(
            (
                trajectory.index,
                self.workloads[trajectory.workload],
                session.start_ns,
                session.end_ns,
                len(trajectory.steps),
                session.done,
                self.statuses[session.status],
                session.part,
                *session.path,
            )
        )

    def tool_call(
        self, arrived_ns: int, queue_ns: int, cpu_ns: int, rest_ns: int, part: Part
    ) -> None:
        """Add a tool call that starts in a tools pool."""
        self._tool_calls.extend((arrived_ns, queue_ns, cpu_ns, rest_ns, part))

    def fill(self, requests: NDArray[Any], trajectories: NDArray[Any]) -> None:
        """Add whole rows of integers, made elsewhere."""
        self._requests.frombytes(requests.tobytes())
        self._trajectories.frombytes(trajectories.tobytes())

    @property
    def requests(self) -> NDArray[Any]:
        """All requests, in the order of their making, by the names of `REQUEST`."""
        return _table(self._requests, REQUEST)

    @property
    def trajectories(self) -> NDArray[Any]:
        """All trajectories, by index, by the names of `TRAJECTORY`."""
        return _table(self._trajectories, TRAJECTORY)

    @property
    def tool_calls(self) -> NDArray[Any]:
        """All tool calls that a tools pool started, by arrival, by the names of `TOOL_CALL`."""
        return _table(self._tool_calls, TOOL_CALL)


def _table(cells: "array[int]", record: "np.dtype[np.void]") -> NDArray[Any]:
    """Records in the order of their first field."""
    rows = np.array(cells, dtype=np.int64).reshape(-1, len(record.names or ()))
    return rows[np.argsort(rows[:, 0], kind="stable")].view(record)[:, 0]
