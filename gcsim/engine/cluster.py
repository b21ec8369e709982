"""The serving side: replicas in pools, the router in front, KV handoff between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gcsim.engine.clock import Call, Clock, to_ns
from gcsim.engine.group import NEVER, Group
from gcsim.engine.handoff import Handoff, LinkUse
from gcsim.engine.log import Log
from gcsim.engine.meter import Meter
from gcsim.engine.records import Records
from gcsim.engine.replica import Replica
from gcsim.engine.request import COMPLETED, REJECTED, UNFINISHED, Context, Request
from gcsim.engine.router import POLICIES, State
from gcsim.engine.session import Session
from gcsim.engine.window import Window
from gcsim.machine.machine import Machine
from gcsim.profiles.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Terms:
    """What the cluster knows beside the deployment.

    model: what serves a step that names none; round_trip_s, gateway_s: the client's network;
    window: what of the run counts; coalesce: the engine; log: where to note what no table keeps.
    """

    model: str
    round_trip_s: float
    gateway_s: float
    window: Window
    coalesce: bool
    log: Log | None = None


class Service:
    """The groups that serve one model: where its requests enter, and where they may decode."""

    __slots__ = (
        "context_window",
        "decode_state",
        "decoders",
        "entry",
        "entry_state",
        "tokenize_s",
    )

    def __init__(self, replicas: list[Replica], gap: int) -> None:
        self.entry = [g for r in replicas if r.pool.role != "decode" for g in r.groups]
        self.decoders = [g for r in replicas if r.pool.role == "decode" for g in r.groups]
        self.context_window = min(r.cost.context_window for r in replicas)
        self.entry_state, self.decode_state = State(gap), State(gap)
        # Routing sees tokens, so the text is tokenized before.
        self.tokenize_s = max((r.cost.tokenize_s_per_token for r in self.entry), default=0.0)


class Cluster:
    """A deployment at work. Sessions hand it their steps (`send`); it tells them when they end.

    It is the only one that looks at the clock: replicas are told the time, say when their next
    boundary is, and return what happened there, on which it acts.
    """

    def __init__(
        self,
        env: Clock,
        deployment: Deployment,
        costs: dict[str, Machine],
        terms: Terms,
        records: Records,
    ) -> None:
        self.env, self.deployment, self.terms, self.records = env, deployment, terms, records
        self.window = terms.window
        warmup_ns = self.window.warmup_ns
        count_from_ns = NEVER if warmup_ns is None else warmup_ns
        self.replicas: list[Replica] = []
        self.groups: list[Group] = []
        for name, pool in deployment.pools.items():
            for _ in range(pool.replicas):
                replica = Replica(
                    len(self.replicas),
                    len(self.groups),
                    name,
                    pool,
                    costs[name],
                    coalesce=terms.coalesce,
                    meter=Meter(count_from_ns, len(self.replicas), terms.log),
                    first_token_here=deployment.kv_handoff.first_token_from == "prefill",
                )
                self.replicas.append(replica)
                self.groups += replica.groups
        self.links = [LinkUse(link, terms.log) for link in deployment.links]
        self._links = {(use.link.from_, use.link.to): use for use in self.links}
        models = {replica.cost.model for replica in self.replicas}
        gap = deployment.router.affinity_gap
        self._services = {
            model: Service([r for r in self.replicas if r.cost.model == model], gap)
            for model in models
        }
        self.reached = {name: self._beyond(name) for name in deployment.pools}
        for use in self.links:
            self._weigh(use)
        self._policy = POLICIES[deployment.router.policy]
        self.up_ns = to_ns(terms.round_trip_s / 2 + terms.gateway_s)
        self.down_ns = [
            to_ns(terms.round_trip_s / 2 + r.cost.request_overhead_s) for r in self.replicas
        ]
        # The call at which each replica has its next boundary.
        self._calls: list[Call | None] = [None] * len(self.replicas)
        self.live: dict[Request, None] = {}
        self.created = 0
        self.played = ""  # by which engine, and why that one
        self.served = self.under_way = 0  # requests completed, requests here now
        self._moment_ns = 0  # sum of the times of their ends - of the arrivals of all
        # Who plays the trajectories (`gcsim.engine.play`) is told when one has ended.
        self.session_ended: Callable[[Session], None] = lambda _: None
        # ... and when one that was entered midway has its first answer, or will have none.
        self.session_answered: Callable[[], None] = lambda: None

    # -- from and to the client --------------------------------------------------------------

    def send(self, session: Session, step: int, context: Context, at_ns: int) -> None:
        """The client sends a step at `at_ns`."""
        asked = session.trajectory.steps[step]
        service = self._services.get(asked.model or self.terms.model)
        osl = asked.osl
        if service is not None:
            # The client asks for no more than the model's context window has room for.
            osl = max(min(osl, service.context_window - context.tokens), 1)
        request = Request(self.created, session, step, context, osl=osl, sent_ns=at_ns)
        request.service = service
        request.in_ns = self.up_ns
        if service is not None and service.tokenize_s:
            request.in_ns += to_ns(request.isl * service.tokenize_s)
        self.created += 1
        self.live[request] = None
        Call(self.env, at_ns + request.in_ns - self.env.now, self._arrive, request)

    def _arrive(self, call: Call) -> None:
        request: Request = call.argument
        request.phase_ns = now = self.env.now
        self.under_way += 1
        self._moment_ns -= now
        service: Service | None = request.service
        if service is None:
            self._refuse(request, "model_not_served")
            return
        if request.isl >= service.context_window:
            self._refuse(request, "context_window")
            return
        local = self.deployment.router.prefill_locally_below
        if local and service.decoders:
            target = self._route(request, service.decoders, service.decode_state)
            if request.isl - target.kv.cached_tokens(request) < local:
                self._enqueue(request, target)
                return
        group = self._route(request, service.entry, service.entry_state)
        replica = self.replicas[group.replica]
        if replica.pool.role == "prefill" and not self._targets(request, replica):
            self._refuse(request, "kv_capacity")
            return
        self._enqueue(request, group)

    def _route(self, request: Request, groups: Sequence[Group], state: State) -> Group:
        chosen = self._policy(request, groups, state)
        state.note(request, chosen)
        return chosen

    def _enqueue(self, request: Request, group: Group) -> None:
        request.replica = group.replica
        kv, prompt = group.kv, request.prompt_tokens
        if not kv.fits(prompt + 1):
            self._refuse(request, "kv_capacity")
            return
        request.estimate = prompt - kv.usable(kv.look_up(request).depth, prompt - 1)
        replica = self.replicas[group.replica]
        if replica.enqueue(request, group, self.env.now):
            self._plan(replica)

    def _refuse(self, request: Request, reason: str) -> None:
        request.reason = reason
        self._close(request, REJECTED)

    def _close(self, request: Request, status: str) -> None:
        """A request has ended: record it and tell its session."""
        now = self.env.now
        request.status = status
        del self.live[request]
        down_ns = self.down_ns[max(request.replica, 0)]
        network_ns, client_ns = request.in_ns + down_ns, now + down_ns
        sent = request.sent_ns
        ttft_ns = request.first_token_ns + down_ns - sent if request.first_token_ns >= 0 else -1
        self.records.request(request, network_ns, ttft_ns, client_ns - sent)
        self.served += status == COMPLETED
        self.under_way -= 1
        self._moment_ns += now
        session = request.session
        if session.trajectory.entered and not session.done and session.status == UNFINISHED:
            self.session_answered()
        if session.ended(request, client_ns, network_ns):
            self.records.trajectory(session)
            self.session_ended(session)

    @property
    def service(self) -> Service:
        """The service of the one model that is served here (of the first, where there are more)."""
        return self._services[self.replicas[0].cost.model]

    @property
    def spent_ns(self) -> int:
        """Time that all requests have spent here so far: the area below `under_way`."""
        return self._moment_ns + self.under_way * self.env.now

    def count_from(self, now: int) -> None:
        """The window opens: what replicas do from now on counts."""
        for replica in self.replicas:
            if replica.count_from(now):
                if self._has_passed(replica):
                    replica.boundary(now)  # here starts what counts; nothing else happens
                self._plan(replica)

    # -- replicas in time -----------------------------------------------------------------

    def _has_passed(self, replica: Replica) -> bool:
        """Whether a run was cut at this instant by what happens after its iteration is over."""
        now = self.env.now
        return self.env.rank > 1 + replica.index and replica.next_ns == now and replica.under_way

    def _plan(self, replica: Replica) -> None:
        """Call a replica at its next boundary, which has moved."""
        if self._has_passed(replica):
            replica.pass_boundary()
        index = replica.index
        call = self._calls[index]
        if call is not None:
            call.cancel()
        delay_ns = replica.next_ns - self.env.now
        self._calls[index] = Call(self.env, delay_ns, self._boundary, replica, 1 + index)

    def _boundary(self, call: Call) -> None:
        """A replica has ended its iterations and planned the next: act on what happened."""
        env = self.env
        replica: Replica = call.argument
        now = env.now
        happened = replica.boundary(now)
        index, end_ns = replica.index, replica.next_ns
        self._calls[index] = (
            Call(env, end_ns - now, self._boundary, replica, 1 + index) if end_ns != NEVER else None
        )
        for verb, request in happened:
            if verb == "completed":
                self._completed(request, replica)
            elif verb == "admitted":
                self._admitted(request, replica)
            elif verb == "reserved":
                self._reserved(request)
            elif verb == "prefilled":
                self._prefilled(request)
            else:  # rejected: it can never be run
                self._close(request, REJECTED)

    # -- what happens to requests in replicas ------------------------------------------------

    def _completed(self, request: Request, replica: Replica) -> None:
        """Its last token is out."""
        handoff = request.handoff
        if handoff is not None and replica.index == handoff.target.replica:
            if self.deployment.kv_handoff.return_kv:
                self._return_kv(request)
        elif handoff is not None and handoff.offered:  # its first token was its last
            target = self.replicas[handoff.target.replica]
            if target.cancel(request, handoff.target, self.env.now):
                self._plan(target)
        self._close(request, COMPLETED)

    def _admitted(self, request: Request, replica: Replica) -> None:
        """Its prefill starts: with layer-wise streaming, ask decode for room right away."""
        targets = self._targets(request, replica)
        target = self._route(request, targets, request.service.decode_state)
        link = self._links[replica.pool_name, self.replicas[target.replica].pool_name]
        source = self.groups[request.group]
        request.handoff = Handoff(source, target, link, self.env.now)
        if self.deployment.kv_handoff.layerwise:
            self._offer(request)

    def _prefilled(self, request: Request) -> None:
        """Its prompt is computed; it goes on to decode."""
        handoff = request.handoff
        handoff.prefill_end_ns, handoff.source_lease = self.env.now, request.lease
        if handoff.reserved_ns >= 0:
            self._transfer(request)
        elif not handoff.offered:
            self._offer(request)

    def _offer(self, request: Request) -> None:
        handoff = request.handoff
        handoff.offered = True
        replica = self.replicas[handoff.target.replica]
        if replica.offer(request, handoff.target, self.env.now):
            self._plan(replica)

    def _reserved(self, request: Request) -> None:
        """Decode has room for it."""
        handoff = request.handoff
        handoff.reserved_ns = self.env.now
        handoff.tokens = request.isl
        if self.deployment.kv_handoff.transfer == "delta":
            handoff.tokens -= handoff.lease.cached
        if handoff.prefill_end_ns >= 0:
            self._transfer(request)

    # -- KV handoff ---------------------------------------------------------------------------

    def _beyond(self, pool_name: str) -> tuple[list[Group], Group]:
        """The decode groups that a link from a pool reaches, and the smallest of them."""
        model = next(r.cost.model for r in self.replicas if r.pool_name == pool_name)
        reached = [
            group
            for group in self._services[model].decoders
            if (pool_name, self.replicas[group.replica].pool_name) in self._links
        ]
        return reached, min(reached or self.groups, key=lambda g: g.kv.total * g.kv.block_tokens)

    def _weigh(self, use: LinkUse) -> None:
        """Let the groups at the end of a link know what prompts cost that come over it.

        Time on its lanes / time to compute, per token of a full iteration of the source.
        """
        source = next(r for r in self.replicas if r.pool_name == use.link.from_)
        tokens = source.pool.batching.max_iteration_tokens
        moved = source.cost.handoff_bytes(tokens, tokens)
        work = use.occupancy_ns(moved) / source.cost.prompt_ns(tokens)
        for replica in self.replicas:
            if replica.pool_name == use.link.to and replica.pool.role == "decode":
                for group in replica.groups:
                    group.fresh_work = min(group.fresh_work, work)

    def _targets(self, request: Request, source: Replica) -> Sequence[Group]:
        """The decode groups that a link reaches and that could hold the request."""
        tokens = request.prompt_tokens + 1
        reached, smallest = self.reached[source.pool_name]
        if smallest.kv.fits(tokens):
            return reached
        return [group for group in reached if group.kv.fits(tokens)]

    def _transfer(self, request: Request) -> None:
        """Prompt computed and room reserved: the KV travels.

        Layer-wise streaming lets it run beside the prefill that makes it, from when decode has
        room; but its last layer only after the prefill's end.
        """
        now, handoff = self.env.now, request.handoff
        source, target = handoff.source, handoff.target
        request.end_queue(now)
        moved = handoff.moved_bytes = target.cost.handoff_bytes(handoff.tokens, request.isl)
        earliest = now
        if self.deployment.kv_handoff.layerwise:
            earliest = max(handoff.prefill_start_ns, handoff.reserved_ns)
        arrival_ns = handoff.link.carry(
            source.replica,
            target.replica,
            moved,
            earliest_ns=earliest,
            computed_ns=handoff.prefill_end_ns,
            layers=source.cost.layers,
        )
        rate = self.deployment.kv_handoff.conversion_bandwidth
        if rate is not None and source.cost.kv_bytes != target.cost.kv_bytes:
            arrival_ns += to_ns(moved / rate)
        fixed_s, per_token_s = source.cost.handoff_overhead_s, source.cost.handoff_s_per_token
        arrival_ns += to_ns(fixed_s + handoff.tokens * per_token_s)
        arrival_ns += to_ns(request.isl * target.cost.retokenize_s_per_token)
        Call(self.env, arrival_ns - now, self._transferred, request)

    def _transferred(self, call: Call) -> None:
        request: Request = call.argument
        handoff = request.handoff
        request.end_transfer(self.env.now)
        handoff.link.received_bytes += handoff.moved_bytes
        handoff.source.kv.release(handoff.source_lease)
        source = self.replicas[handoff.source.replica]
        if source.wake(self.env.now):
            self._plan(source)
        target = self.replicas[handoff.target.replica]
        if target.receive(request, handoff.target, self.env.now):
            self._plan(target)

    def _return_kv(self, request: Request) -> None:
        """What decode generated travels back, so that the next step need not prefill it again."""
        source, target = request.handoff.source, request.handoff.target
        there, here = (self.replicas[group.replica].pool_name for group in (target, source))
        link, now = self._links[there, here], self.env.now
        moved = source.cost.kv_bytes * (request.osl - 1)
        arrival_ns = link.carry(
            target.replica,
            source.replica,
            moved,
            earliest_ns=now,
            computed_ns=now,
            layers=source.cost.layers,
        )
        Call(self.env, arrival_ns - now, self._returned, (request, link, moved))

    def _returned(self, call: Call) -> None:
        request, link, moved = call.argument
        link.received_bytes += moved
        source = request.handoff.source
        source.kv.absorb(request, request.isl, request.isl + request.osl - 1)
        replica = self.replicas[source.replica]
        if replica.wake(self.env.now):
            self._plan(replica)
