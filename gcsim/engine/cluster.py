"""The serving side: replicas in pools, the router in front, KV handoff between them."""

from collections.abc import Sequence
from dataclasses import dataclass

from gcsim.engine.clock import Call, Clock, to_ns
from gcsim.engine.handoff import Handoff, LinkUse
from gcsim.engine.records import Records
from gcsim.engine.replica import Replica
from gcsim.engine.request import COMPLETED, REJECTED, Context, Request
from gcsim.engine.router import POLICIES, State
from gcsim.engine.run import NEVER
from gcsim.engine.session import Session
from gcsim.engine.window import Window
from gcsim.machine.machine import Machine
from gcsim.profiles.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Terms:
    """What the cluster knows beside the deployment.

    model: what serves a step that names none; round_trip_s, gateway_s: the client's network;
    window: what of the run counts; coalesce: the engine.
    """

    model: str
    round_trip_s: float
    gateway_s: float
    window: Window
    coalesce: bool


class Service:
    """The replicas that serve one model: where its requests enter, and where they may decode."""

    __slots__ = ("context_window", "decode_state", "decoders", "entry", "entry_state")

    def __init__(self, replicas: list[Replica]) -> None:
        self.entry = [r for r in replicas if r.pool.role != "decode"]
        self.decoders = [r for r in replicas if r.pool.role == "decode"]
        self.context_window = min(r.cost.context_window for r in replicas)
        self.entry_state: State = {}
        self.decode_state: State = {}


class Cluster:
    """A deployment at work. Sessions hand it their steps (`send`); it tells them when they end."""

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
        for name, pool in deployment.pools.items():
            for _ in range(pool.replicas):
                self.replicas.append(
                    Replica(
                        env, len(self.replicas), name, pool, costs[name], terms.coalesce,
                        count_from_ns, self,
                    )
                )  # fmt: skip
        self.links = [LinkUse(link) for link in deployment.links]
        self._links = {(use.link.from_, use.link.to): use for use in self.links}
        models = {replica.cost.model for replica in self.replicas}
        self._services = {
            model: Service([r for r in self.replicas if r.cost.model == model]) for model in models
        }
        self._reached = {name: self._beyond(name) for name in deployment.pools}
        self._policy = POLICIES[deployment.router.policy]
        self._up_ns = to_ns(terms.round_trip_s / 2 + terms.gateway_s)
        self._down_ns = [
            to_ns(terms.round_trip_s / 2 + r.cost.request_overhead_s) for r in self.replicas
        ]
        self.live: dict[Request, None] = {}
        self.created = 0
        self.served = 0  # requests completed since the window opened, those that only fill too

    # -- from and to the client --------------------------------------------------------------

    def send(self, session: Session, step: int, context: Context, at_ns: int) -> None:
        """The client sends a step at `at_ns`."""
        asked = session.trajectory.steps[step]
        service = self._services.get(asked.model or self.terms.model)
        osl = asked.osl
        if service is not None:
            # The client asks for no more than the model's context window has room for.
            osl = max(min(osl, service.context_window - context.tokens), 1)
        request = Request(self.created, session, step, context, osl, at_ns)
        request.service = service
        self.created += 1
        self.live[request] = None
        Call(self.env, at_ns + self._up_ns - self.env.now, self._arrive, request)

    def _arrive(self, call: Call) -> None:
        request: Request = call.argument
        request.phase_ns = self.env.now
        service: Service | None = request.service
        if service is None:
            self.reject(request, "model_not_served")
            return
        if request.isl >= service.context_window:
            self.reject(request, "context_window")
            return
        local = self.deployment.router.prefill_locally_below
        if local and service.decoders:
            target = self._policy(request, service.decoders, service.decode_state)
            if request.isl - target.kv.cached_tokens(request) < local:
                target.enqueue(request)
                return
        replica = self._policy(request, service.entry, service.entry_state)
        if replica.pool.role == "prefill" and not self._targets(request, replica):
            self.reject(request, "kv_capacity")
            return
        replica.enqueue(request)

    def _close(self, request: Request, status: str) -> None:
        """A request has ended: record it and tell its session."""
        now = self.env.now
        request.status = status
        del self.live[request]
        down_ns = self._down_ns[max(request.replica, 0)]
        network_ns, client_ns = self._up_ns + down_ns, now + down_ns
        sent = request.sent_ns
        ttft_ns = request.first_token_ns + down_ns - sent if request.first_token_ns >= 0 else -1
        self.records.request(request, network_ns, ttft_ns, client_ns - sent)
        self.served += status == COMPLETED and self.window.opened_ns >= 0
        session = request.session
        if session.ended(request, client_ns, network_ns):
            self.records.trajectory(session)
            self.session_ended(session)

    def count_from(self, now: int) -> None:
        """The window opens: what replicas do from now on counts."""
        for replica in self.replicas:
            replica.count_from(now)

    def session_ended(self, session: Session) -> None:
        """Replaced by who plays the trajectories (`gcsim.engine.play`)."""

    # -- Owner: what replicas tell ------------------------------------------------------------

    def left(self, request: Request, replica: Replica) -> None:
        """Its last token is out."""
        handoff = request.handoff
        if handoff is not None and replica is handoff.target:
            if self.deployment.kv_handoff.return_kv:
                self._return_kv(request)
        elif handoff is not None and handoff.offered:
            handoff.target.cancel(request)  # its first token was its last
        self._close(request, COMPLETED)

    def reject(self, request: Request, reason: str) -> None:
        """It can never be run."""
        request.reason = reason
        self._close(request, REJECTED)

    def admitted(self, request: Request, replica: Replica) -> None:
        """Its prefill starts: with layer-wise streaming, ask decode for room right away."""
        if replica.pool.role == "prefill":
            targets = self._targets(request, replica)
            target = self._policy(request, targets, request.service.decode_state)
            link = self._links[replica.pool_name, target.pool_name]
            request.handoff = Handoff(replica, target, link, self.env.now)
            if self.deployment.kv_handoff.layerwise:
                self._offer(request)

    def prefilled(self, request: Request, replica: Replica) -> bool:
        """Its prompt is computed; in a prefill pool it goes on to decode."""
        if replica.pool.role != "prefill":
            return False
        handoff, terms = request.handoff, self.deployment.kv_handoff
        now = self.env.now
        if terms.first_token_from == "prefill":
            if request.osl == 1:
                return False
            request.first_token_ns = request.last_token_ns = now
            request.generated = 1
        handoff.prefill_end_ns, handoff.source_lease = now, request.lease
        if handoff.reserved_ns >= 0:
            self._transfer(request)
        elif not handoff.offered:
            self._offer(request)
        return True

    def _offer(self, request: Request) -> None:
        request.handoff.offered = True
        request.handoff.target.offer(request)

    def reserved(self, request: Request) -> None:
        """Decode has room for it."""
        handoff = request.handoff
        handoff.reserved_ns = self.env.now
        handoff.tokens = request.isl
        if self.deployment.kv_handoff.transfer == "delta":
            handoff.tokens -= handoff.lease.cached
        if handoff.prefill_end_ns >= 0:
            self._transfer(request)

    # -- KV handoff ---------------------------------------------------------------------------

    def _beyond(self, pool_name: str) -> tuple[list[Replica], Replica]:
        """The decode replicas that a link from a pool reaches, and the smallest of them."""
        model = next(r.cost.model for r in self.replicas if r.pool_name == pool_name)
        decoders = self._services[model].decoders
        reached = [r for r in decoders if (pool_name, r.pool_name) in self._links]
        return reached, min(
            reached or self.replicas, key=lambda r: r.kv.total * r.pool.block_tokens
        )

    def _targets(self, request: Request, source: Replica) -> Sequence[Replica]:
        """The decode replicas that a link reaches and that could hold the request."""
        tokens = request.prompt_tokens + 1
        reached, smallest = self._reached[source.pool_name]
        if smallest.kv.fits(tokens):
            return reached
        return [replica for replica in reached if replica.kv.fits(tokens)]

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
            source.index, target.index, moved, earliest, handoff.prefill_end_ns, source.cost.layers
        )
        rate = self.deployment.kv_handoff.conversion_bandwidth
        if rate is not None and source.cost.kv_bytes != target.cost.kv_bytes:
            arrival_ns += to_ns(moved / rate)
        arrival_ns += to_ns(source.cost.handoff_overhead_s)
        Call(self.env, arrival_ns - now, self._transferred, request)

    def _transferred(self, call: Call) -> None:
        request: Request = call.argument
        handoff = request.handoff
        request.end_transfer(self.env.now)
        handoff.link.received_bytes += handoff.moved_bytes
        handoff.source.kv.release(handoff.source_lease)
        handoff.source.wake(True)
        handoff.target.receive(request)

    def _return_kv(self, request: Request) -> None:
        """What decode generated travels back, so that the next step need not prefill it again."""
        source, target = request.handoff.source, request.handoff.target
        link, now = self._links[target.pool_name, source.pool_name], self.env.now
        moved = source.cost.kv_bytes * (request.osl - 1)
        arrival_ns = link.carry(target.index, source.index, moved, now, now, source.cost.layers)
        Call(self.env, arrival_ns - now, self._returned, (request, link, moved))

    def _returned(self, call: Call) -> None:
        request, link, moved = call.argument
        link.received_bytes += moved
        source = request.handoff.source
        source.kv.absorb(request, request.isl, request.isl + request.osl - 1)
        source.wake(True)
