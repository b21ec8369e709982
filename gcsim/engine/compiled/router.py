"""`gcsim.engine.router` over arrays: which group gets a request."""

from gcsim.engine.compiled.arrays import NONE, World
from gcsim.engine.compiled.kv_cache import look_up, usable
from gcsim.engine.compiled.lists import LENGTH, PLACE
from gcsim.engine.compiled.parts import compiled
from gcsim.engine.router import SEQ_TOKENS

ROUND_ROBIN, LEAST_LOADED, STICKY, PREFIX_AFFINITY = range(4)
Work = tuple[float, int, int]


@compiled
def route(w: World, r: int) -> int:
    """The group that the policy chooses; the choice is noted."""
    now, count = w.now[0], w.groups.shape[0]
    if now.policy == ROUND_ROBIN:
        chosen = now.turns % count
    elif now.policy == LEAST_LOADED:
        chosen = _idlest(w)
    elif now.policy == STICKY:
        chosen = w.sessions[w.requests[r].session].home
        if chosen < 0:
            chosen = _idlest(w)
    else:
        chosen = _prefix_affinity(w, r)
    now.turns += 1
    w.sessions[w.requests[r].session].home = chosen
    return chosen


@compiled
def _idlest(w: World) -> int:
    chosen = 0
    for g in range(1, w.groups.shape[0]):
        if w.groups[g].load < w.groups[chosen].load:
            chosen = g
    return chosen


@compiled
def _prefix_affinity(w: World, r: int) -> int:
    """The group with the least work ahead of this answer, what it has cached counted."""
    if w.groups.shape[0] == 1:
        return 0
    idlest = _idlest(w)
    least, context = w.groups[idlest].load, w.requests[r].context
    seen = w.hints[context, LENGTH] >> 1
    best, lowest, shared = NONE, (0.0, 0, 0), 0
    for k in range(seen if seen else w.groups.shape[0]):
        g = w.cells[w.hints[context, PLACE] + 2 * k, 0] if seen else k
        work, others = _work(w, r, g, least)
        if best < 0 or _less(work, lowest):
            best, lowest, shared = g, work, others
    # Where this context has never been, no more than what is shared can be cached.
    group = w.groups[idlest]
    fresh = float(w.requests[r].prompt_tokens - shared) * group.fresh_work
    if lowest[0] > fresh + float(group.line_tokens):
        work, _ = _work(w, r, idlest, least)
        if _less(work, lowest):
            best = idlest
    return best


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
    fresh = prompt - usable(group.block_tokens, depth, prompt - 1)
    ahead = group.line_tokens + SEQ_TOKENS * (group.load - least)
    held = group.cached if group.fresh_work != 1.0 else 0
    return (float(fresh) * group.fresh_work + float(ahead), group.load, held), depth - own
