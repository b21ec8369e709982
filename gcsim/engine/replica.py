"""One copy of the model: iteration-level batching, timed by the compiled roofline.

At each iteration boundary the policy forms a batch. A batch that cannot change for a while (decode
only, nobody admissible in line) is played as one run of iterations: one compiled call, one event.
What arrives in between ends the run at the next iteration boundary. With `coalesce` off every
iteration is its own event; both give the same records, bit for bit.

Its groups share the routed experts, so they play their iterations together, each on its own
sequences. A replica knows no clock: it is told the time, says when its next boundary is
(`next_ns`), and returns what happened there.
"""

from gcsim.engine.group import NEVER, Event, Group
from gcsim.engine.meter import Meter
from gcsim.engine.request import Request
from gcsim.engine.run import Run
from gcsim.machine.machine import Machine
from gcsim.profiles.deployment import Pool


class Replica:
    """State of one replica. The ways into one of its groups: `enqueue` a request, `offer` one that
    is prefilled elsewhere, `receive` it when its KV is here, `cancel` it when it will not come.
    Each says whether the next boundary has moved.

    first_group: the number of its first group among all groups.
    """

    def __init__(
        self,
        index: int,
        first_group: int,
        pool_name: str,
        pool: Pool,
        cost: Machine,
        *,
        coalesce: bool,
        meter: Meter,
        first_token_here: bool,
    ) -> None:
        self.index, self.pool_name, self.pool, self.cost = index, pool_name, pool, cost
        self.first_token_here = first_token_here
        self.meter = meter
        self.groups = [
            Group(
                first_group + k,
                index,
                pool,
                cost,
                meter=self.meter,
                first_token_here=first_token_here,
            )
            for k in range(cost.groups)
        ]
        self.next_ns = NEVER  # the next boundary; NEVER: idle
        self._coalesce = coalesce
        self._run = Run(cost)
        self._stalls = [group.stalls for group in self.groups]

    @property
    def waiting(self) -> int:
        """Requests in the waiting lines."""
        return sum([len(group.waiting) for group in self.groups])

    # -- the ways in -----------------------------------------------------------------------

    def enqueue(self, request: Request, group: Group, now: int) -> bool:
        """A request joins the waiting line of a group."""
        request.group = group.index
        head = group.enqueue(request, now)
        self.meter.timeline.queue(now, self.waiting)
        return self.wake(now, head, further=self.cost.overlap_scheduling)

    def offer(self, request: Request, group: Group, now: int) -> bool:
        """A request that is prefilled elsewhere asks for a place."""
        return self.wake(now, group.offer(request, now))

    def cancel(self, request: Request, group: Group, now: int) -> bool:
        """A request that was offered will not come."""
        return self.wake(now, group.cancel(request))

    def receive(self, request: Request, group: Group, now: int) -> bool:
        """The KV of a request that was offered is here."""
        group.arrived.append(request)
        return self.wake(now)

    def wake(self, now: int, news: bool = True, further: int = 0) -> bool:
        """Start, or (if it is news) end the run at the next boundary, or `further` ones later;
        whether the next boundary has moved.
        """
        if not self._run.iterations:  # idle, perhaps until some KV is back
            if self.next_ns <= now or not any(group.has_work for group in self.groups):
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

    @property
    def under_way(self) -> bool:
        """Whether it plays iterations."""
        return self._run.iterations > 0

    def pass_boundary(self) -> None:
        """The run goes on over the boundary at which it was cut, and ends at the one after it."""
        self.next_ns = self._run.one_more()

    def count_from(self, now: int) -> bool:
        """Count iterations that start from now on; one that goes on over several is divided.

        Whether the next boundary has moved.
        """
        self.meter.count_from_ns = now
        return self.wake(now)

    # -- the boundary ----------------------------------------------------------------------

    def boundary(self, now: int) -> list[Event]:
        """The planned iterations are over, and the next ones are planned; what happened."""
        groups, run = self.groups, self._run
        if run.iterations < run.most:
            self.next_ns = run.plan_on()
            return []
        known_ns = NEVER
        if run.iterations:
            if self.cost.overlap_scheduling and self.waiting:
                known_ns = run.last_start_ns
            self._commit(now)
        run.start_ns, run.iterations, run.most = now, 0, 0
        chunks = decodes = False
        for group in groups:
            group.known_ns = known_ns
            group.settle_in(now)
            group.form(now)
            chunks = chunks or bool(group.chunks)
            decodes = decodes or group.decodes
        if not (chunks or decodes):
            for group in groups:
                if group.late:  # nothing runs, so the scheduler is ahead of nothing
                    group.known_ns = NEVER
                    group.form(now)
                    chunks = chunks or bool(group.chunks)
                    decodes = decodes or group.decodes
        self._sample(now)
        self._fill(now)
        if chunks:
            self.next_ns = run.mixed()
        elif decodes:
            self.next_ns = self._decode_run()
        else:
            self.next_ns = self._next_ready_ns(now)
        return self._told()

    def _fill(self, now: int) -> None:
        """Tell the run what each group does."""
        for k, group in enumerate(self.groups):
            if not (group.decodes or group.chunks):
                group.keep_places(now)  # the line may have emptied: its head could never run
            group.written(now)
            self._run.fill(k, group.decode, group.decodes, group.chunks)

    def _sample(self, now: int) -> None:
        changed, running, used = False, 0, 0
        for group in self.groups:
            changed, group.changed = changed or group.changed, False
            running += len(group.running)
            used += group.kv.used
        if changed:
            self.meter.timeline.sample(now, self.waiting, running, used)

    def _told(self) -> list[Event]:
        told: list[Event] = []
        for group in self.groups:
            if group.events:
                told += group.events
                group.events = []
        return told

    def _decode_run(self) -> int:
        """Decode until something can change in some group; the end [ns].

        KV is evicted at the end of a run of one iteration: what the prefix cache holds, which the
        router may ask at any time, is the same all through a longer one.
        """
        run, iterations = self._run, 1
        if self._coalesce:
            iterations = NEVER
            for group in self.groups:
                iterations = min(iterations, self._steady(group))
        # The end of the warm-up ends a run too: what counts is decided by where a run starts.
        counting = run.start_ns >= self.meter.count_from_ns
        until = NEVER if counting else self.meter.count_from_ns
        return run.decode(iterations, min(until, self._next_ready_ns(run.start_ns)))

    def _next_ready_ns(self, now: int) -> int:
        """When KV that a request of some group waits for is back from below; NEVER without such."""
        if self.cost.offload is None:
            return NEVER
        return min([group.next_ready_ns(now) for group in self.groups])

    def _steady(self, group: Group) -> int:
        """For how many iterations nothing changes in a group by itself."""
        if group.held or group.late or group.awaits:
            return 1
        if not group.decodes:
            return NEVER
        decode = group.decode
        return decode.iterations_within(decode.steady_iterations(), group.kv.free)

    def _commit(self, now: int) -> None:
        """The planned iterations are over: count them, move every sequence on."""
        run = self._run
        self.meter.count(run, now, self._stalls)
        for group in self.groups:
            group.over(run.iterations, run.start_ns, now)

    def stop(self, now: int) -> None:
        """At the horizon: count the iterations of the run that have ended before it."""
        if self.next_ns != NEVER and self._run.stop(now):
            self._commit(self._run.end_ns)
            self._run.iterations = self._run.most = 0
