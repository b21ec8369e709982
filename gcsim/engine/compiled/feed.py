"""Hands trajectories over to the loop, as arrays, as it asks for them."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from gcsim.engine.clock import to_ns
from gcsim.engine.compiled.arrays import NEVER, NONE, STEP, TASK, Array
from gcsim.engine.records import Names
from gcsim.traffic.trajectory import Trajectory

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
        self._model, self._served, self._ahead = model, served, ahead
        self.workloads = Names()

    def more(self) -> tuple[Array, Array, Array, int]:
        """The next trajectories: tasks, their steps, what these append; the most steps of one."""
        tasks, steps, cells = array("q"), array("q"), array("q")
        most = 0
        for t in islice(self._rest, self._ahead):
            first, at = len(steps) // STEP_FIELDS, len(cells) // 4
            self._add(t, steps, cells)
            start_ns = -NEVER if t.start_s is None else to_ns(t.start_s)
            workload, count = self.workloads[t.workload], len(t.steps)
            most = max(most, count)
            used = len(cells) // 4 - at
            tasks.extend(
                (t.index, workload, t.priority, start_ns, first, count, at, used, t.entered)
            )
        return _view(tasks, TASK), _view(steps, STEP), _view(cells, None), most

    def _add(self, trajectory: Trajectory, steps: "array[int]", cells: "array[int]") -> None:
        count = len(trajectory.steps)
        users, heirs = [0] * count, list[list[int]]([] for _ in range(count))
        for k, step in enumerate(trajectory.steps):
            if step.parent >= 0:
                users[step.parent] += 1
            for awaited in step.waits_for:
                heirs[awaited].append(k)
        spans = 0
        for k, step in enumerate(trajectory.steps):
            mine, append = heirs[k], step.append
            served = (step.model or self._model) in self._served
            keep = NONE if step.keep is None else max(step.keep, 0)
            size = max(len(append), len(mine))
            steps.extend(
                (
                    step.osl,
                    to_ns(step.delay_s),
                    step.parent,
                    step.human,
                    keep,
                    served,
                    spans,
                    len(append),
                    spans,
                    len(mine),
                    len(step.waits_for),
                    users[k],
                    NONE,
                )
            )
            if size == 1 == len(append):
                cells.extend((*append[0], mine[0] if mine else 0, 0))
            else:
                for row in range(size):
                    span = append[row] if row < len(append) else (0, 0)
                    cells.extend((*span, mine[row] if row < len(mine) else 0, 0))
            spans += size


def _view(numbers: "array[int]", record: Any) -> Array:
    flat = np.array(numbers, dtype=np.int64)
    return flat.reshape(-1, 4) if record is None else flat.view(record)
