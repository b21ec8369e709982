"""`gcsim.engine.load` over arrays: starts trajectories, and stops the run.

What draws the next trajectory goes on only when it is here: `gcsim.engine.compiled.loop` asks for
more in between. So starting one, and what follows an end, are two functions each.
"""

from gcsim.engine.compiled import window
from gcsim.engine.compiled.arrays import LATEST_NS, NEVER, NONE, World
from gcsim.engine.compiled.clock import START, STOP, call
from gcsim.engine.compiled.cluster import count_from, spent_ns
from gcsim.engine.compiled.lists import TOP, class_of, give, take
from gcsim.engine.compiled.parts import compiled
from gcsim.engine.compiled.request import UNFINISHED
from gcsim.engine.compiled.session import no_path, start


@compiled
def draw(w: World) -> None:
    """Take the next trajectory; it starts at its time, or when another one ends."""
    now = w.now[0]
    now.next = NONE
    if window.full(w) or now.drawn == now.offered:
        return
    s = _session(w)
    if w.sessions[s].begin_ns > -NEVER:
        _begin(w, s, max(w.sessions[s].begin_ns, now.time))
    else:
        now.next = s


@compiled
def _session(w: World) -> int:
    """The next trajectory that was handed over, as a session."""
    now, task = w.now[0], w.feed_tasks[w.now[0].drawn]
    now.drawn += 1
    s = now.free_sessions
    if s >= 0:
        now.free_sessions = w.sessions[s].free
    else:
        s = now.session_places
        if s >= w.sessions.shape[0]:
            raise MemoryError
        now.session_places += 1
    session = w.sessions[s]
    session.trajectory, session.workload = task.trajectory, task.workload
    session.priority, session.begin_ns, session.steps = task.priority, task.start_ns, task.steps
    session.size_class = class_of(task.steps + 1)
    session.place = _take_steps(w, session.size_class)
    for k in range(task.steps):
        w.steps[session.place + k] = w.feed_steps[task.first + k]
        w.paths[session.place + k, LATEST_NS] = NONE
    session.spans_class = class_of(max(task.cell_count, 1))
    session.at = take(w.cells, w.free, session.spans_class)
    for k in range(task.cell_count):
        for column in range(3):
            w.cells[session.at + k, column] = w.feed_cells[task.cells + k, column]
    session.alive, session.entered = 0, task.entered
    session.home = session.decode_home = NONE
    return s


@compiled
def _take_steps(w: World, size: int) -> int:
    free = w.step_free
    place = free[size]
    if place >= 0:
        free[size] = w.steps[place].osl
        return place
    place = free[TOP]
    if place + (1 << size) > w.steps.shape[0]:
        raise MemoryError
    free[TOP] += 1 << size
    return place


@compiled
def drop_session(w: World, s: int) -> None:
    """A session has ended, and all has been told of it."""
    session = w.sessions[s]
    session.alive = 0
    w.steps[session.place].osl = w.step_free[session.size_class]
    w.step_free[session.size_class] = session.place
    give(w.cells, w.free, session.at, session.spans_class)
    session.free, w.now[0].free_sessions = w.now[0].free_sessions, s


@compiled
def _begin(w: World, s: int, at_ns: int) -> None:
    w.now[0].coming += 1
    call(w, at_ns, 0, START, s)


@compiled
def begin_session(w: World, s: int) -> None:
    """A task starts; the next may have to be drawn before its steps are sent."""
    now, session = w.now[0], w.sessions[s]
    now.coming -= 1
    was_open = now.opened_ns >= 0 or now.warmup_ns >= 0
    session.part = window.start(w, session.workload, now.time, spent_ns(w))
    session.start_ns = session.end_ns = now.time
    session.done = session.live = 0
    session.status, session.alive = UNFINISHED, 1
    no_path(w.paths[session.place + session.steps])
    if not was_open and now.opened_ns >= 0:
        count_from(w)
    now.sessions += 1
    session.number = now.starts
    now.started = s
    if session.begin_ns > -NEVER:
        now.draw = 1


@compiled
def send_first(w: World) -> None:
    """The steps of a task that has started, which wait for nothing, are sent."""
    now = w.now[0]
    s, now.started = now.started, NONE
    if now.next < 0 and now.coming == 0 and now.closed_ns < 0:
        now.closed_ns = now.time  # the last task of the load has started
    start(w, s)


@compiled
def session_ended(w: World, s: int) -> None:
    """A task has ended; the next may start."""
    now, session = w.now[0], w.sessions[s]
    now.sessions -= 1
    was_open = now.opened_ns >= 0
    window.end(w, session.workload, session.part, now.time)
    if not was_open and now.opened_ns >= 0:
        count_from(w)
    if now.next >= 0:
        _begin(w, now.next, session.end_ns)
        now.draw = 1
    now.checking = 1
    drop_session(w, s)


@compiled
def stop_if_done(w: World) -> None:
    """Once all that count have ended, what else is under way only fills the load."""
    now = w.now[0]
    now.checking = 0
    if window.done(w) and (now.sessions or now.coming):
        call(w, now.time + 1, -1, STOP, 0)
