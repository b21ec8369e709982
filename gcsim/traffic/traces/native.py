"""gcsim's own trace format: trajectories as they are, one JSON object a line, without loss.

Keys: workload, steps, and where they differ from the default start_s and priority; of a step append
([[content id, tokens], ...]), osl, and where they differ from those of a chain delay_s, parent,
waits_for, human, model, keep.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gcsim.errors import Problem
from gcsim.traffic.traces import group
from gcsim.traffic.traces.fields import TOKENS_MAX, listed, seconds, tokens
from gcsim.traffic.traces.files import numbered_lines
from gcsim.traffic.traces.row import BadLineError, Record, Skipped
from gcsim.traffic.trajectory import Span, Step, Trajectory


def line(trajectory: Trajectory) -> str:
    """A trajectory as one line of JSON.

    >>> from gcsim.traffic.trajectory import chain
    >>> line(chain(0, "demo", [Step(((1, 100),), 10)], 0.5))
    '{"workload":"demo","start_s":0.5,"steps":[{"append":[[1,100]],"osl":10}]}'
    """
    record: dict[str, Any] = {"workload": trajectory.workload}
    if trajectory.start_s is not None:
        record["start_s"] = trajectory.start_s
    if trajectory.priority:
        record["priority"] = trajectory.priority
    record["steps"] = [_step(index, step) for index, step in enumerate(trajectory.steps)]
    return json.dumps(record, separators=(",", ":"))


def _step(index: int, step: Step) -> dict[str, Any]:
    record: dict[str, Any] = {"append": step.append, "osl": step.osl}
    if step.delay_s:
        record["delay_s"] = step.delay_s
    if step.parent != index - 1:
        record["parent"] = step.parent
    if step.waits_for != ((index - 1,) if index else ()):
        record["waits_for"] = step.waits_for
    if step.human:
        record["human"] = True
    if step.model is not None:
        record["model"] = step.model
    if step.keep is not None:
        record["keep"] = step.keep
    return record


def read(path: Path, skipped: Skipped) -> Iterator[Trajectory]:
    """The trajectories of a file; a line that is none is an error or, if allowed, skipped."""
    index, last_s = 0, 0.0
    for number, record in group.records(numbered_lines(path, skipped), None, str(path), skipped):
        try:
            trajectory = _trajectory(index, record)
            if trajectory.start_s is not None:
                if trajectory.start_s < last_s:
                    raise BadLineError("start_s", trajectory.start_s, "the time goes back")
                last_s = trajectory.start_s
        except BadLineError as bad:
            skipped.add(Problem(str(path), bad.field, bad.value, bad.why, bad.hint, number))
            continue
        yield trajectory
        index += 1


def _trajectory(index: int, record: Record) -> Trajectory:
    workload, priority = record.get("workload"), record.get("priority", 0)
    if not isinstance(workload, str) or type(priority) is not int:
        raise BadLineError("workload", workload, "needs a name, and priority a whole number")
    steps: list[Step] = []
    for number, step in enumerate(listed(record, "steps")):
        steps.append(_read_step(number, step))
    _check_sizes(steps)
    return Trajectory(index, workload, tuple(steps), seconds(record, "start_s"), priority)


def _read_step(number: int, step: Record) -> Step:
    append = step.get("append")
    if not isinstance(append, list) or not all(_is_span(span) for span in append):
        raise BadLineError(f"steps.{number}.append", None, "is not [[content id, tokens], ...]")
    parent = step.get("parent", number - 1)
    waits = step.get("waits_for", [number - 1] if number else [])
    keep, model, human = step.get("keep"), step.get("model"), step.get("human", False)
    if type(parent) is not int or not -1 <= parent < number:
        raise BadLineError(f"steps.{number}.parent", parent, "is no earlier step")
    if not isinstance(waits, list) or not all(type(w) is int and 0 <= w < number for w in waits):
        raise BadLineError(f"steps.{number}.waits_for", waits, "are not earlier steps")
    if not (keep is None or (type(keep) is int and keep > 0)) or type(human) is not bool:
        raise BadLineError(f"steps.{number}.keep", keep, "is no number of tokens")
    if model is not None and not isinstance(model, str):
        raise BadLineError(f"steps.{number}.model", model, "is no name")
    spans: tuple[Span, ...] = tuple((span[0], span[1]) for span in append)
    delay_s = seconds(step, "delay_s") or 0.0
    if (osl := tokens(step, "osl")) == 0:
        raise BadLineError(f"steps.{number}.osl", osl, "must be at least 1")
    return Step(spans, osl, delay_s, parent, tuple(waits), human, model, keep)


def _is_span(span: Any) -> bool:
    return (
        isinstance(span, list)
        and len(span) == 2
        and all(type(item) is int and item >= 0 for item in span)
        and span[1] <= TOKENS_MAX
    )


def _check_sizes(steps: list[Step]) -> None:
    """No prompt is empty or too long, no step keeps more than its parent has."""
    totals: list[int] = []
    ended: list[int] = []  # per step a bit mask of the steps that end before it
    for number, step in enumerate(steps):
        before = 0
        for awaited in step.waits_for:
            before |= ended[awaited] | 1 << awaited
        ended.append(before)
        context = totals[step.parent] + steps[step.parent].osl if step.parent >= 0 else 0
        if step.parent >= 0 and not before >> step.parent & 1:
            raise BadLineError(f"steps.{number}.parent", step.parent, "is not waited for")
        if step.keep is not None and step.keep > context:
            raise BadLineError(f"steps.{number}.keep", step.keep, f"only {context} are there")
        context = context if step.keep is None else step.keep
        totals.append(context + sum(count for _, count in step.append))
        if not 0 < totals[-1] <= TOKENS_MAX:
            raise BadLineError(f"steps.{number}", totals[-1], "the prompt is empty or too long")
