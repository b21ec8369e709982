"""gcsim's own trace format: trajectories as they are, one JSON object a line, without loss.

Keys: workload, steps, and where they differ from the default start_s and priority; of a step append
([[content id, tokens], ...]), osl, and where they differ from those of a chain delay_s, parent,
waits_for, human, model, keep.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gcsim.profiles.bounds import TOKENS_MAX
from gcsim.traffic.traces import by_session, fields
from gcsim.traffic.traces.files import numbered_lines
from gcsim.traffic.traces.row import USUAL, BadLineError, Options, Record, Skipped
from gcsim.traffic.trajectory import Span, Step, Trajectory

PRIORITY_MAX = 1_000_000


def line(task: Trajectory) -> str:
    """A trajectory as one line of JSON.

    >>> from gcsim.traffic.trajectory import chain
    >>> line(chain(0, "demo", [Step(((1, 100),), 10)], 0.5))
    '{"workload":"demo","start_s":0.5,"steps":[{"append":[[1,100]],"osl":10}]}'
    """
    record: dict[str, Any] = {"workload": task.workload}
    if task.start_s is not None:
        record["start_s"] = task.start_s
    if task.priority:
        record["priority"] = task.priority
    record["steps"] = [_step(index, step) for index, step in enumerate(task.steps)]
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


def read(path: Path, skipped: Skipped, options: Options = USUAL) -> Iterator[Trajectory]:
    """The trajectories of a file; a line that is none is an error or, if allowed, skipped."""

    def report(bad: BadLineError, line: int) -> None:
        skipped.add(bad.at(str(path), line))

    index, last_s = 0, 0.0
    for number, record in by_session.records(numbered_lines(path, skipped, options), None, report):
        try:
            found = trajectory(index, record)
            if found.start_s is not None:
                if found.start_s < last_s:
                    raise BadLineError("start_s", found.start_s, "the time goes back")
                last_s = found.start_s
        except BadLineError as bad:
            report(bad, number)
            continue
        yield found
        index += 1


def trajectory(index: int, record: Record) -> Trajectory:
    """The trajectory that a line says; `BadLineError` names the field that is wrong."""
    workload = fields.text(record, "workload")
    if workload is None:
        raise BadLineError("workload", None, "needs a name")
    priority = fields.number(record, "priority") or 0
    if abs(priority) > PRIORITY_MAX:
        raise BadLineError("priority", priority, f"is beyond {PRIORITY_MAX}")
    start_s = fields.seconds(record, "start_s")
    steps: list[Step] = []
    for number, step in enumerate(fields.listed(record, "steps")):
        try:
            steps.append(_read_step(number, step))
        except BadLineError as bad:
            bad.field = f"steps.{number}.{bad.field}"
            raise
    _check_sizes(steps)
    return Trajectory(index, workload, tuple(steps), start_s, priority)


def _read_step(number: int, step: Record) -> Step:
    append = step.get("append")
    if not isinstance(append, list) or not all(_is_span(span) for span in append):
        raise BadLineError("append", None, "is not [[content id, tokens], ...]")
    parent = fields.number(step, "parent") if "parent" in step else number - 1
    if parent is None or not -1 <= parent < number:
        raise BadLineError("parent", parent, "is no earlier step")
    waits = fields.whole_numbers(step, "waits_for")
    if waits is None:
        waits = [number - 1] if number else []
    if len({*waits}) < len(waits) or not all(0 <= wait < number for wait in waits):
        raise BadLineError("waits_for", waits, "are not earlier steps, each once")
    keep = fields.tokens(step, "keep") if step.get("keep") is not None else None
    if keep == 0 or (keep is not None and parent < 0):
        raise BadLineError("keep", keep, "must be at least 1" if keep == 0 else "of no parent")
    spans: tuple[Span, ...] = tuple((span[0], span[1]) for span in append)
    if (osl := fields.tokens(step, "osl")) == 0:
        raise BadLineError("osl", osl, "must be at least 1")
    delay_s = fields.delay(step, "delay_s") or 0.0
    human, model = fields.flag(step, "human"), fields.text(step, "model")
    return Step(spans, osl, delay_s, parent, tuple(waits), human, model, keep)


def _is_span(span: Any) -> bool:
    return (
        isinstance(span, list)
        and len(span) == 2
        and all(type(item) is int for item in span)
        and 0 <= span[0] < 1 << fields.ID_BITS - 1
        and 0 < span[1] <= TOKENS_MAX
    )


def _check_sizes(steps: list[Step]) -> None:
    """No prompt is empty or too long, no step keeps more than its parent has.

    A parent has ended: the step waits for it, or for one that waits for it, and so on.
    """
    totals: list[int] = []
    since: list[int] = []  # per step the first of the unbroken chain that it ends
    for number, step in enumerate(steps):
        since.append(since[-1] if number and step.waits_for == (number - 1,) else number)
        parent = step.parent
        context = totals[parent] + steps[parent].osl if parent >= 0 else 0
        if parent >= 0 and not _has_ended(steps, since, step.waits_for, parent):
            raise BadLineError(f"steps.{number}.parent", parent, "is not waited for")
        if step.keep is not None and step.keep > context:
            raise BadLineError(f"steps.{number}.keep", step.keep, f"only {context} are there")
        context = context if step.keep is None else step.keep
        totals.append(context + sum(count for _, count in step.append))
        if not 0 < totals[-1] <= TOKENS_MAX:
            raise BadLineError(f"steps.{number}", totals[-1], "the prompt is empty or too long")


def _has_ended(steps: list[Step], since: list[int], awaited: tuple[int, ...], parent: int) -> bool:
    """Has `parent` ended when all of `awaited` have? Back along the chains, each once."""
    todo, seen = list(awaited), set(awaited)
    while todo:
        at = todo.pop()
        if since[at] <= parent <= at:
            return True
        for before in steps[since[at]].waits_for:
            if before >= parent and before not in seen:
                seen.add(before)
                todo.append(before)
    return False
