"""Hands trajectories over to the loop, as arrays, as it asks for them."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from gcsim.engine.clock import to_ns
from gcsim.engine.compiled.arrays import NEVER, NONE, STEP, TASK, Array
from gcsim.engine.records import Names
from gcsim.traffic.trajectory import Step, Trajectory

STEP_FIELDS = len(STEP.names or ())


class Feed:
    """Trajectories, so many at a time.

    model: what serves a step that names none; served: the models that are served; ahead: how many
    may be drawn before they are needed. workloads: the names of classes, by the numbers that the
    loop knows them by.
    """

    def __init__(
        self, trajectories: Iterable[Trajectory], model: str, served: set[str], ahead: int
    ) -> None:
        self._rest: Iterator[Trajectory] = iter(trajectories)
        self._served, self._served_itself, self._ahead = served, model in served, ahead
        self.workloads = Names()

    def more(self) -> tuple[Array, Array, Array, int]:
        """The next trajectories: tasks, their steps, what these append; the most steps of one."""
        tasks, steps, cells = list[int](), list[int](), list[int]()
        most = 0
        for t in islice(self._rest, self._ahead):
            first, at = len(steps) // STEP_FIELDS, len(cells) // 4
            self._add(t, steps, cells)
            start_ns = -NEVER if t.start_s is None else to_ns(t.start_s)
            workload, count = self.workloads[t.workload], len(t.steps)
            most = max(most, count)
            used = len(cells) // 4 - at
            tasks += (t.index, workload, t.priority, start_ns, first, count, at, used, t.entered)
        return _view(tasks, TASK), _view(steps, STEP), _view(cells, None), most

    def _add(self, trajectory: Trajectory, steps: list[int], cells: list[int]) -> None:
        users, heirs = _followed(trajectory.steps)
        spans = 0
        for step, mine, used in zip(trajectory.steps, heirs, users, strict=True):
            append, model, keep = step.append, step.model, step.keep
            served = self._served_itself if model is None else model in self._served
            rows, more = len(append), len(mine)
            kept = NONE if keep is None else max(keep, 0)
            steps += (step.osl, to_ns(step.delay_s), step.parent, step.human, kept, served)
            steps += (spans, rows, spans, more, len(step.waits_for), used, NONE)
            if rows == 1 and more <= 1:  # as mostly
                cells += append[0]
                cells += (mine[0] if more else 0, 0)
                spans += 1
                continue
            size = rows if rows > more else more
            for row in range(size):
                cells += append[row] if row < rows else (0, 0)
                cells += (mine[row] if row < more else 0, 0)
            spans += size


def _followed(steps: tuple[Step, ...]) -> tuple[list[int], list[list[int]]]:
    """Of each step, how many continue its context, and which wait for it."""
    users, heirs = [0] * len(steps), list[list[int]]([] for _ in steps)
    for k, step in enumerate(steps):
        if step.parent >= 0:
            users[step.parent] += 1
        for awaited in step.waits_for:
            heirs[awaited].append(k)
    return users, heirs


def _view(numbers: list[int], record: Any) -> Array:
    flat = np.array(numbers, dtype=np.int64)
    return flat.reshape(-1, 4) if record is None else flat.view(record)
