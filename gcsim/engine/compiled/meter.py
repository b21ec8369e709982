"""`gcsim.engine.meter` and `gcsim.engine.timeline` over arrays."""

from gcsim.engine.compiled.arrays import LISTS, STALLS, World
from gcsim.engine.compiled.lists import LENGTH, PLACE, push
from gcsim.engine.compiled.parts import compiled
from gcsim.engine.compiled.run import account_run
from gcsim.engine.timeline import MOST_SAMPLES
from gcsim.machine.roofline import DECODE_SEQS, gap_bin

# -- stalls: sequences of a group that wait for decode to go on ------------------------------


@compiled
def all_wait(w: World, g: int, seqs: int, since: int) -> None:
    """Sequences wait from `since` on, if they did not before."""
    k = g * LISTS + STALLS
    if seqs and w.lists[k, LENGTH] == 0:
        push(w.lists, k, w.cells, w.free, seqs, since, 0, 0)


@compiled
def one_joins(w: World, g: int, now: int, since: int) -> None:
    """A sequence joins whose last token came at `since`, beside those that go on now."""
    k = g * LISTS + STALLS
    if w.lists[k, LENGTH] or since < now:
        all_wait(w, g, w.groups[g].seqs, now)
        push(w.lists, k, w.cells, w.free, 1, since, 0, 0)


@compiled
def one_leaves(w: World, g: int) -> None:
    """A sequence leaves while decode waits: the latest admitted, so of the last that joined."""
    k = g * LISTS + STALLS
    if w.lists[k, LENGTH]:
        last = w.lists[k, PLACE] + w.lists[k, LENGTH] - 1
        w.cells[last, 0] -= 1
        if w.cells[last, 0] <= 0:
            w.lists[k, LENGTH] -= 1


# -- meter -----------------------------------------------------------------------------------


@compiled
def count(w: World, p: int, end_ns: int) -> None:
    """Count a run that is over."""
    replica = w.replicas[p]
    start_ns = replica.start_ns
    replica.busy_ns += end_ns - start_ns
    counts = start_ns >= replica.count_from_ns
    first_ns = account_run(w, p) if counts else 0
    for g in range(replica.first_group, replica.first_group + replica.groups):
        k = g * LISTS + STALLS
        if w.lists[k, LENGTH] == 0 or w.batches[g, DECODE_SEQS] == 0.0:
            continue
        if counts:
            for row in range(w.lists[k, PLACE], w.lists[k, PLACE] + w.lists[k, LENGTH]):
                seqs, since = w.cells[row, 0], w.cells[row, 1]
                w.gaps[p, gap_bin(first_ns)] -= seqs
                w.gaps[p, gap_bin(start_ns + first_ns - since)] += seqs
        w.lists[k, LENGTH] = 0


@compiled
def one_gap(w: World, p: int, start_ns: int, gap_ns: int) -> None:
    """One gap that no decode iteration accounts for."""
    if start_ns >= w.replicas[p].count_from_ns:
        w.gaps[p, gap_bin(gap_ns)] += 1


# -- timeline --------------------------------------------------------------------------------


@compiled
def line_now(w: World, p: int, now: int, waiting: int) -> None:
    """`Timeline.queue`: the waiting line may have changed."""
    replica = w.replicas[p]
    if waiting == replica.waiting:
        return
    replica.area += replica.waiting * (now - replica.last_ns)
    replica.last_ns, replica.waiting = now, waiting
    replica.peak_waiting = max(replica.peak_waiting, waiting)


@compiled
def sample(w: World, p: int, now: int, waiting: int, running: int, used: int) -> None:
    """Note the state at an iteration boundary at which the batch has changed."""
    line_now(w, p, now, waiting)
    replica, samples = w.replicas[p], w.samples[p]
    since = now - replica.sampled_ns
    replica.running_area += replica.running * since
    replica.used_area += replica.used * since
    replica.running, replica.used, replica.sampled_ns = running, used, now
    if now < replica.next_sample_ns:
        return
    row = samples[replica.samples]
    row[0], row[1] = now, replica.area
    row[2], row[3] = replica.running_area, replica.used_area
    replica.samples += 1
    if replica.samples >= MOST_SAMPLES:
        replica.step_ns = max(2 * replica.step_ns, 2 * now // MOST_SAMPLES)
        kept = (replica.samples + 1) // 2
        for k in range(kept):
            for column in range(4):
                samples[k, column] = samples[2 * k, column]
        replica.samples = kept
    replica.next_sample_ns = now + replica.step_ns
