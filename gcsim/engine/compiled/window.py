"""`gcsim.engine.window` over arrays: what of a run counts."""

from gcsim.engine.compiled.arrays import World
from gcsim.engine.compiled.parts import compiled
from gcsim.engine.window import FILL_WINDOWS, WARM, WARMUP_WINDOWS, Part

BEFORE, COUNTED, AFTER = int(Part.BEFORE), int(Part.COUNTED), int(Part.AFTER)


@compiled
def _beyond(w: World, windows: int, tasks: int) -> bool:
    """Whether more tasks than so many windows have started."""
    now = w.now[0]
    return now.starts > windows * max(tasks, now.agents)


@compiled
def start(w: World, workload: int, at_ns: int, spent_ns: int) -> int:
    """A task of a class starts [ns]; in which part."""
    now = w.now[0]
    row = w.starts[now.starts]
    row[0], row[1], row[2] = at_ns, now.served, spent_ns
    now.starts += 1
    w.unsettled[workload] += WARM
    if now.opened_ns < 0:
        if 0 <= now.warmup_ns <= at_ns:
            now.opened_ns = now.warmup_ns
        elif now.tasks >= 0 and _beyond(w, WARMUP_WINDOWS, now.tasks):
            now.opened_ns = at_ns
        else:
            return BEFORE
    if now.starts <= now.midway:
        return BEFORE
    if now.closed_ns < 0:
        ends_ns = now.opened_ns + now.window_ns if now.window_ns >= 0 else -1
        if 0 <= ends_ns <= at_ns:
            now.closed_ns = ends_ns
        elif now.tasks >= 0 and now.counted == now.tasks:
            now.closed_ns = at_ns
    if now.closed_ns >= 0:
        return AFTER
    now.counted += 1
    now.live += 1
    return COUNTED


@compiled
def end(w: World, workload: int, part: int, at_ns: int) -> None:
    """A task that started in this part ends [ns]."""
    now = w.now[0]
    if part == COUNTED:
        now.live -= 1
    if now.opened_ns < 0:
        w.unsettled[workload] -= WARM + 1
        if now.warmup_ns < 0 and now.midway == 0 and _settled(w):
            now.opened_ns = at_ns


@compiled
def answered(w: World) -> None:
    """A task that was entered midway has its first answer, or will have none."""
    now = w.now[0]
    now.unanswered -= 1
    if now.warmup_ns < 0 and now.opened_ns < 0 and now.unanswered == 0:
        now.opened_ns = now.time


@compiled
def _settled(w: World) -> bool:
    """Whether of every class as many tasks have ended as it takes."""
    most = 0
    for k in range(w.unsettled.shape[0]):
        most = max(most, w.unsettled[k])
    return most == 0


@compiled
def full(w: World) -> bool:
    """Whether no more tasks are to start, for the load never settles."""
    now = w.now[0]
    if now.closed_ns < 0:
        return False
    return _beyond(w, WARMUP_WINDOWS + FILL_WINDOWS, max(now.counted, 16))


@compiled
def done(w: World) -> bool:
    """Whether every task that counts has ended, and no other will."""
    return w.now[0].closed_ns >= 0 and w.now[0].live == 0
