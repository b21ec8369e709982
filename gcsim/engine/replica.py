"""One copy of the model: iteration-level batching, timed by the compiled roofline.

At each iteration boundary the policy forms a batch. A batch that cannot change for a while (decode
only, nobody admissible in line) is played as one run of iterations: one compiled call, one event.
What arrives in between ends the run at the next iteration boundary. With `coalesce` off every
iteration is its own event; both give the same records, bit for bit.

A replica knows no clock: it is told the time, says when its next boundary is (`next_ns`), and
returns what happened there.
"""

from gcsim.engine.group import NEVER, Event, Group
from gcsim.engine.meter import Meter
from gcsim.engine.request import Request
from gcsim.engine.run import Run
from gcsim.machine.machine import Machine
from gcsim.profiles.deployment import Pool


class Replica:
    """State of one replica. The ways in: `enqueue` a request, `offer` one that is prefilled
    elsewhere, `receive` it when its KV is here, `cancel` it when it will not come. Each says
    whether the next boundary has moved.
    """

    def __init__(
        self,
        index: int,
        pool_name: str,
        pool: Pool,
        cost: Machine,
        *,
        coalesce: bool,
        count_from_ns: int,
        first_token_here: bool,
    ) -> None:
        self.index, self.pool_name, self.pool, self.cost = index, pool_name, pool, cost
        self.meter = Meter(count_from_ns)
        self.group = Group(index, pool, cost, self.meter, first_token_here)
        self.kv = self.group.kv
        self.next_ns = NEVER  # the next boundary; NEVER: idle
        self._coalesce = coalesce
        self._run = Run(cost, self.group.decode)

    # -- the ways in -----------------------------------------------------------------------

    def enqueue(self, request: Request, now: int) -> bool:
        """A request joins the waiting line."""
        head = self.group.enqueue(request, now)
        return self.wake(now, head, further=self.cost.overlap_scheduling)

    def offer(self, request: Request, now: int) -> bool:
        """A request that is prefilled elsewhere asks for a place."""
        return self.wake(now, self.group.offer(request))

    def cancel(self, request: Request, now: int) -> bool:
        """A request that was offered will not come."""
        return self.wake(now, self.group.cancel(request))

    def receive(self, request: Request, now: int) -> bool:
        """The KV of a request that was offered is here."""
        self.group.arrived.append(request)
        return self.wake(now)

    def wake(self, now: int, news: bool = True, further: int = 0) -> bool:
        """Start, or (if it is news) end the run at the next boundary, or `further` ones later;
        whether the next boundary has moved.
        """
        if not self._run.iterations:  # idle, perhaps until some KV is back
            if self.next_ns <= now or not self.group.has_work:
                return False
            self.next_ns = now
            return True
        if not news:
            return False
        end = self._run.cut(now, further)
        if end < 0:
            return False
        self.next_ns = end
        return True

    def count_from(self, now: int) -> None:
        """Count iterations that start from now on; one that goes on over several is divided."""
        self.meter.count_from_ns = now
        self.wake(now)

    # -- the boundary ----------------------------------------------------------------------

    def boundary(self, now: int) -> list[Event]:
        """The planned iterations are over, and the next ones are planned; what happened."""
        group, run = self.group, self._run
        if run.iterations < run.most:
            self.next_ns = run.plan_on()
            return []
        group.known_ns = NEVER
        if run.iterations:
            if group.waiting and self.cost.overlap_scheduling:
                group.known_ns = run.last_start_ns
            self._commit(now)
        group.settle_in(now)
        decodes, chunks = group.form(now)
        if not (chunks or decodes) and group.late:
            group.known_ns = NEVER  # nothing runs, so the scheduler is ahead of nothing
            decodes, chunks = group.form(now)
        run.decodes, run.chunks = decodes, chunks
        run.start_ns, run.iterations, run.most = now, 0, 0
        if group.changed:
            group.changed = False
            self.meter.timeline.sample(now, len(group.waiting), len(group.running), group.kv.used)
        if chunks:
            self.next_ns = run.mixed()
        elif decodes:
            self.next_ns = self._decode_run()
        else:
            group.keep_places(now)  # the line may have emptied: its head could never run
            self.next_ns = group.next_ready_ns(now)
        events = group.events
        if events:
            group.events = []
        return events

    def _decode_run(self) -> int:
        """Decode until something can change; the end [ns].

        KV is evicted at the end of a run of one iteration: what the prefix cache holds, which the
        router may ask at any time, is the same all through a longer one.
        """
        group, run = self.group, self._run
        iterations = 1
        if self._coalesce and not (group.held or group.late):
            decode = group.decode
            iterations = decode.iterations_within(decode.steady_iterations(), group.kv.free)
        # The end of the warm-up ends a run too: what counts is decided by where a run starts.
        counting = run.start_ns >= self.meter.count_from_ns
        until = NEVER if counting else self.meter.count_from_ns
        return run.decode(iterations, min(until, group.next_ready_ns(run.start_ns)))

    def _commit(self, now: int) -> None:
        """The planned iterations are over: count them, move every sequence on."""
        group, run = self.group, self._run
        decode = group.decode
        self.meter.count(
            self.cost.table,
            run.batch,
            run.iterations,
            run.start_ns,
            now,
            decode=decode if run.decodes else None,
        )
        if run.decodes:
            group.advance(run.iterations, now)
        else:
            self.meter.stall(decode.seqs, run.start_ns)
        if run.chunks:
            group.compute(run.chunks, run.start_ns, now)

    def stop(self, now: int) -> None:
        """At the horizon: count the iterations of the run that have ended before it."""
        if self.next_ns != NEVER and self._run.stop(now):
            self._commit(self._run.end_ns)
            self._run.iterations = self._run.most = 0
