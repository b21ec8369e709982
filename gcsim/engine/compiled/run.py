"""`gcsim.engine.run` over arrays: the iterations that a replica is playing.

The batch of a group is a row of `batches`, those of a replica are rows beside each other; the
kernels are those of `gcsim.machine.roofline`.
"""

from gcsim.engine.compiled.arrays import CHUNKS, LISTS, NEVER, World
from gcsim.engine.compiled.lists import LENGTH, PLACE
from gcsim.engine.compiled.parts import compiled
from gcsim.machine.roofline import (
    DECODE_KV,
    DECODE_SEQS,
    DECODE_WINDOW_KV,
    GROWING,
    LOGIT_SEQS,
    PREFILL_KV,
    PREFILL_PAIRS,
    PREFILL_WINDOW_KV,
    PREFILL_WINDOW_PAIRS,
    PROMPT_TOKENS,
    PROMPTS,
    account,
    account_groups,
    causal_pairs,
    groups_ns,
    iteration_ns,
    join,
    run_groups_ns,
    run_ns,
    window_pairs,
)

AHEAD = 128  # as in `gcsim.engine.run`


@compiled
def fill(w: World, g: int) -> None:
    """What a group does in the first iteration: its prompt chunks, and decode if it goes on."""
    group, batch = w.groups[g], w.batches[g]
    batch[:] = 0.0
    w.firsts[g] = group.iterations
    seqs = group.seqs if group.decodes else 0
    if group.decodes:
        batch[DECODE_SEQS] = seqs
        batch[DECODE_KV], batch[DECODE_WINDOW_KV] = group.kv, group.window_kv
        batch[GROWING] = group.growing
    k, window = g * LISTS + CHUNKS, group.window
    new = completed = kv = window_kv = 0
    pairs = window_sum = 0.0
    for row in range(w.lists[k, PLACE], w.lists[k, PLACE] + w.lists[k, LENGTH]):
        request, tokens = w.requests[w.cells[row, 0]], w.cells[row, 1]
        past = request.past
        new += tokens
        completed += 1 if tokens == request.todo else 0
        kv += past + tokens
        pairs += causal_pairs(float(tokens), float(past))
        if window:
            window_kv += min(past, window) + tokens
            window_sum += window_pairs(float(tokens), float(past), float(window))
    batch[LOGIT_SEQS] = completed + seqs
    batch[PROMPT_TOKENS], batch[PROMPTS] = new, w.lists[k, LENGTH]
    batch[PREFILL_PAIRS], batch[PREFILL_WINDOW_PAIRS] = pairs, window_sum
    batch[PREFILL_KV], batch[PREFILL_WINDOW_KV] = kv, window_kv


@compiled
def play(w: World, p: int, iterations: int, until_ns: int) -> tuple[int, int]:
    """Play decode iterations from the start: (iterations played, end) [ns]."""
    replica = w.replicas[p]
    g, table, start_ns = replica.first_group, w.tables[replica.pool], replica.start_ns
    if replica.groups == 1:
        return run_ns(table, w.batches[g], iterations, w.firsts[g], start_ns, until_ns)
    batches, firsts = w.batches[g : g + replica.groups], w.firsts[g : g + replica.groups]
    # int: numba would compile a kernel of its own for a constant (`NEVER`), without memory to take.
    return run_groups_ns(table, batches, iterations, firsts, start_ns, int(until_ns))


@compiled
def _join(w: World, p: int) -> None:
    replica = w.replicas[p]
    g = replica.first_group
    if replica.groups > 1:
        join(w.tables[replica.pool], w.batches[g : g + replica.groups])


@compiled
def mixed(w: World, p: int) -> None:
    """Play one iteration in which some prompt is computed."""
    replica = w.replicas[p]
    g, table = replica.first_group, w.tables[replica.pool]
    _join(w, p)
    if replica.groups == 1:
        duration = iteration_ns(table, w.batches[g])
    else:
        duration = groups_ns(table, w.batches[g : g + replica.groups])
    replica.iterations = replica.most = 1
    replica.interruptible = 0
    replica.next_ns = replica.start_ns + duration


@compiled
def decode(w: World, p: int, iterations: int, until_ns: int) -> None:
    """Play up to so many decode iterations, the last one ending at `until_ns` or later."""
    replica = w.replicas[p]
    _join(w, p)
    replica.most, replica.until_ns = iterations, until_ns
    replica.interruptible = 1 if iterations > 1 else 0
    plan(w, p, AHEAD)


@compiled
def plan(w: World, p: int, iterations: int) -> None:
    """Plan up to so many iterations of the run."""
    replica = w.replicas[p]
    replica.iterations, end = play(w, p, min(iterations, replica.most), replica.until_ns)
    if end >= replica.until_ns:
        replica.most = replica.iterations
    replica.next_ns = end


@compiled
def cut(w: World, p: int, now: int, further: int) -> bool:
    """End at the next iteration boundary, or `further` ones later; whether that is sooner."""
    replica = w.replicas[p]
    if not replica.interruptible:
        return False
    played, end = play(w, p, replica.iterations, now)
    if further and now > replica.start_ns:
        played, end = play(w, p, min(played + further, replica.most), NEVER)
    else:
        replica.interruptible = 0
    replica.most = played
    if played == replica.iterations:
        return False
    replica.iterations, replica.next_ns = played, end
    return True


@compiled
def one_more(w: World, p: int) -> None:
    """End one iteration after a cut."""
    replica = w.replicas[p]
    replica.most = replica.iterations + 1
    plan(w, p, replica.most)


@compiled
def cut_short(w: World, p: int, now: int) -> bool:
    """`Run.stop`: keep what has ended before `now`; whether any has."""
    replica = w.replicas[p]
    if replica.iterations < 2:
        return False
    played, end = play(w, p, replica.iterations, now)
    if end >= now:
        played -= 1
    replica.iterations = played
    if played:
        replica.end_ns = play(w, p, played, NEVER)[1]
    return played > 0


@compiled
def last_start_ns(w: World, p: int) -> int:
    """When the last iteration starts."""
    replica = w.replicas[p]
    if replica.iterations == 1:
        return replica.start_ns
    return play(w, p, replica.iterations - 1, NEVER)[1]


@compiled
def account_run(w: World, p: int) -> int:
    """Add what was played to totals and gaps; how long the first iteration took [ns]."""
    replica = w.replicas[p]
    g, table, iterations = replica.first_group, w.tables[replica.pool], replica.iterations
    totals, gaps = w.totals[p], w.gaps[p]
    if replica.groups == 1:
        return account(table, w.batches[g], totals, gaps, iterations, w.firsts[g])
    batches, firsts = w.batches[g : g + replica.groups], w.firsts[g : g + replica.groups]
    return account_groups(table, batches, totals, gaps, iterations, firsts)
