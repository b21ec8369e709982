"""`gcsim.engine.router` over arrays: which group gets a request."""

from gcsim.engine.compiled.arrays import NONE, World
from gcsim.engine.compiled.kv_cache import hint_of, look_up, usable
from gcsim.engine.compiled.lists import LENGTH, PLACE
from gcsim.engine.compiled.parts import compiled
from gcsim.engine.router import MOST, SEQ_TOKENS

ROUND_ROBIN, LEAST_LOADED, STICKY, PREFIX_AFFINITY, PREFIX_FILTER = range(5)
Work = tuple[float, int, int]


@compiled
def route(w: World, r: int, k: int, decodes: bool) -> int:
    """The group of list k that the policy chooses; the choice is noted."""
    now, session = w.now[0], w.sessions[w.requests[r].session]
    count, first = w.lists[k, LENGTH], w.lists[k, PLACE]
    turns = now.decode_turns if decodes else now.turns
    home = session.decode_home if decodes else session.home
    if now.policy == ROUND_ROBIN:
        chosen = w.cells[first + turns % count, 0]
    elif now.policy == LEAST_LOADED:
        chosen = _idlest(w, k)
    elif now.policy == STICKY:
        chosen = _idlest(w, k)
        for row in range(first, first + count):
            if w.cells[row, 0] == home:
                chosen = home
    elif now.policy == PREFIX_AFFINITY:
        chosen = _prefix_affinity(w, r, k)
    else:
        chosen = _prefix_filter(w, r, k, turns)
    if decodes:
        now.decode_turns += 1
        session.decode_home = chosen
    else:
        now.turns += 1
        session.home = chosen
    return chosen


@compiled
def _idlest(w: World, k: int) -> int:
    first = w.lists[k, PLACE]
    chosen = w.cells[first, 0]
    for row in range(first + 1, first + w.lists[k, LENGTH]):
        g = w.cells[row, 0]
        if w.groups[g].load < w.groups[chosen].load:
            chosen = g
    return chosen


@compiled
def _prefix_affinity(w: World, r: int, k: int) -> int:
    """The group with the least work ahead of this answer, what it has cached counted."""
    first, count = w.lists[k, PLACE], w.lists[k, LENGTH]
    if count == 1:
        return w.cells[first, 0]
    idlest = _idlest(w, k)
    least, context = w.groups[idlest].load, w.requests[r].context
    best, lowest, shared = NONE, (0.0, 0, 0), 0
    for anywhere in range(2):  # first where it has been, then (if nowhere) everywhere
        for row in range(first, first + count):
            g = w.cells[row, 0]
            if anywhere or hint_of(w, context, g) >= 0:
                work, others = _work(w, r, g, least)
                if best < 0 or _less(work, lowest):
                    best, lowest, shared = g, work, others
        if best >= 0:
            break
    # Where this context has never been, no more than what is shared can be cached.
    group = w.groups[idlest]
    fresh = float(w.requests[r].prompt_tokens - shared) * group.fresh_work
    if lowest[0] > fresh + float(group.line_tokens):
        work, _ = _work(w, r, idlest, least)
        if _less(work, lowest):
            best = idlest
    return best


@compiled
def _prefix_filter(w: World, r: int, k: int, turns: int) -> int:
    """The least loaded of the groups that hold most of the prompt, unless far too busy."""
    first, count, prompt = w.lists[k, PLACE], w.lists[k, LENGTH], w.requests[r].prompt_tokens
    if count == 1:
        return w.cells[first, 0]
    best = NONE
    for row in range(first, first + count):
        g = w.cells[row, 0]
        _, depth, _, _, _ = look_up(w, g, r)
        if float(usable(w.groups[g].block_tokens, depth, prompt - 1)) >= MOST * prompt and (
            best < 0 or w.groups[g].load < w.groups[best].load
        ):
            best = g
    if best < 0:
        return w.cells[first + ((turns * 2654435769 & 0xFFFFFFFF) * count >> 32), 0]
    idlest = _idlest(w, k)
    ahead = (w.groups[best].load - w.groups[idlest].load) * prompt
    return best if ahead <= w.now[0].gap else idlest


@compiled
def _less(a: Work, b: Work) -> bool:
    if a[0] != b[0]:
        return a[0] < b[0]
    if a[1] != b[1]:
        return a[1] < b[1]
    return a[2] < b[2]


@compiled
def _work(w: World, r: int, g: int, least: int) -> tuple[Work, int]:
    """Work ahead in a group, and tokens cached there by others."""
    group, prompt = w.groups[g], w.requests[r].prompt_tokens
    _, depth, _, _, own = look_up(w, g, r)
    fresh = prompt - usable(group.hit_tokens, depth, prompt - 1)
    ahead = group.line_tokens + SEQ_TOKENS * (group.load - least)
    held = group.cached if group.fresh_work != 1.0 else 0
    return (float(fresh) * group.fresh_work + float(ahead), group.load, held), depth - own
