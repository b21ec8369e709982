"""KV cache on its way: links between replicas, and what a handoff knows.

A transfer uses all lanes of its two ends and takes
    t = latency + setup + (m + ramp) / (lanes bandwidth efficiency)                   (1)
of which the last term occupies the lanes: transfers that meet go one after another.
"""

from dataclasses import dataclass

from gcsim.sim.clock import to_ns
from gcsim.sim.kv_cache import Lease
from gcsim.sim.replica import Replica
from gcsim.spec.deployment import Link


@dataclass(slots=True)
class LinkUse:
    """A link and what it has carried."""

    link: Link
    sent_bytes: float = 0.0
    received_bytes: float = 0.0
    transfers: int = 0
    busy_ns: int = 0
    waited_ns: int = 0

    def occupancy_ns(self, moved_bytes: float) -> int:
        """How long a message occupies the lanes, by (1) [ns].

        >>> link = Link(**{"from": "p", "to": "d", "bandwidth": "50 GB/s", "efficiency": 1.0})
        >>> LinkUse(link).occupancy_ns(50e9) == to_ns(1.0)
        True
        """
        if moved_bytes <= 0:
            return 0
        link = self.link
        rate = link.bandwidth * link.lanes * link.efficiency
        return to_ns((moved_bytes + link.ramp) / rate)

    @property
    def delay_ns(self) -> int:
        """Set-up and latency: not on the lanes, paid by every transfer [ns]."""
        return to_ns(self.link.setup + self.link.latency)


class Handoff:
    """One request between prefill (source) and decode (target).

    `prefill_end_ns`: when its prompt was computed; `reserved_ns`: when decode had made room (-1:
    not yet): the transfer needs both. `source_lease`, `lease`: its blocks at either end; `tokens`,
    `moved_bytes`: prompt tokens that decode lacks.
    """

    __slots__ = (
        "lease", "moved_bytes", "offered", "prefill_end_ns", "prefill_start_ns", "reserved_ns",
        "source", "source_lease", "target", "tokens",
    )  # fmt: skip

    def __init__(self, source: Replica, target: Replica) -> None:
        self.source, self.target = source, target
        self.prefill_start_ns = self.prefill_end_ns = self.reserved_ns = -1
        self.offered = False
        self.lease: Lease | None = None
        self.source_lease: Lease | None = None
        self.tokens = 0
        self.moved_bytes = 0.0


def schedule_ns(
    use: LinkUse, handoff: Handoff, moved_bytes: float, layers: int, now: int,
    layerwise: bool, free_ns: dict[int, int],
) -> int:  # fmt: skip
    """When a transfer that may start now has arrived [ns]; takes its place on the lanes.

    Layer-wise streaming lets it run beside the prefill that makes it: from when decode has room,
    but its last layer (1 / layers of it) only after the prefill's end.
    """
    occupancy = use.occupancy_ns(moved_bytes)
    ends = (handoff.source.index, -1 - handoff.target.index)
    earliest = now
    if layerwise:
        earliest = max(handoff.prefill_start_ns, handoff.reserved_ns)
    start = max(earliest, *(free_ns.get(end, 0) for end in ends))
    done = start + occupancy
    if layerwise:
        done = max(done, handoff.prefill_end_ns + occupancy // layers)
    for end in ends:
        free_ns[end] = done
    use.sent_bytes += moved_bytes
    use.transfers += 1
    use.busy_ns += occupancy
    use.waited_ns += start - earliest
    return max(done + use.delay_ns, now)
