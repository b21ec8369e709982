"""What happened, as flat arrays of integers: one row per request and per trajectory."""

from array import array

import numpy as np
from numpy.typing import NDArray

from gcsim.engine.request import Request
from gcsim.engine.session import PATH, Session
from gcsim.engine.window import Part

REQUEST_COLUMNS = (
    "request", "trajectory", "step", "workload", "isl", "osl", "cached_tokens", "own_cached_tokens",
    "sent_ns", "ttft_ns", "e2e_ns", "network_ns", "queue_ns", "prefill_ns", "kv_transfer_ns",
    "decode_ns", "preemptions", "replica", "status", "reason", "counted",
)  # fmt: skip
TRAJECTORY_COLUMNS = (
    "trajectory", "workload", "start_ns", "end_ns", "steps", "steps_done", "status", "counted",
    *(f"{part}_ns" for part in PATH),
)  # fmt: skip


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
    """Rows of `REQUEST_COLUMNS` and `TRAJECTORY_COLUMNS`; 8 bytes a cell, 168 a request.

    What only fills the load after the window (`gcsim.engine.window`) leaves none.
    """

    def __init__(self) -> None:
        self._requests = array("q")
        self._trajectories = array("q")
        self.workloads = Names()
        self.statuses = Names("completed", "rejected", "unfinished")
        self.reasons = Names("")

    def request(self, request: Request, network_ns: int, ttft_ns: int, e2e_ns: int) -> None:
        """Add a request that has ended (or is cut off by the horizon)."""
        session, trajectory = request.session, request.session.trajectory
        if session.part is Part.AFTER:
            return
        self._requests.extend(
            (
                request.index, trajectory.index, request.step,
                self.workloads[trajectory.workload], request.isl, request.osl, request.hit,
                request.hit_own, request.sent_ns, ttft_ns, e2e_ns, network_ns, request.queue_ns,
                request.prefill_ns, request.kv_transfer_ns, request.decode_ns, request.preemptions,
                request.replica, self.statuses[request.status], self.reasons[request.reason],
                session.part,
            )
        )  # fmt: skip

    def trajectory(self, session: Session) -> None:
        """Add a trajectory that has ended (or is cut off by the horizon)."""
        trajectory = session.trajectory
        if session.part is Part.AFTER:
            return
        self._trajectories.extend(
            (
                trajectory.index, self.workloads[trajectory.workload], session.start_ns,
                session.end_ns, len(trajectory.steps), session.done,
                self.statuses[session.status], session.part, *session.path,
            )
        )  # fmt: skip

    @property
    def requests(self) -> NDArray[np.int64]:
        """All requests, in the order of their making: shape (requests, columns)."""
        return _table(self._requests, len(REQUEST_COLUMNS))

    @property
    def trajectories(self) -> NDArray[np.int64]:
        """All trajectories, by index: shape (trajectories, columns)."""
        return _table(self._trajectories, len(TRAJECTORY_COLUMNS))


def _table(cells: "array[int]", columns: int) -> NDArray[np.int64]:
    table = np.array(cells, dtype=np.int64).reshape(-1, columns)
    return table[np.argsort(table[:, 0], kind="stable")]
