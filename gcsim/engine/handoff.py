"""KV cache on its way: links between replicas, and what a handoff knows.

A transfer uses all lanes of its two ends and takes
    t = latency + setup + (m + ramp) / (lanes bandwidth efficiency)                   (1)
of which the last term occupies the lanes: transfers that meet go one after another.
"""

from gcsim.engine.clock import to_ns
from gcsim.engine.group import Group
from gcsim.engine.kv_cache import Lease
from gcsim.engine.log import Carried, Log
from gcsim.profiles.deployment import Link


class LinkUse:
    """A link and what it has carried.

    delay_ns: set-up and latency, which are not on the lanes and paid by every transfer.
    """

    def __init__(self, link: Link, log: Log | None = None) -> None:
        self.link, self._log = link, log
        self.delay_ns = to_ns(link.setup + link.latency)
        self.sent_bytes = self.received_bytes = 0.0
        self.transfers = self.busy_ns = self.waited_ns = 0
        self.rate = link.bandwidth * link.lanes * link.efficiency
        self._free_ns: dict[int, int] = {}  # when the lanes of an end are free

    def occupancy_ns(self, moved_bytes: float) -> int:
        """How long a message occupies the lanes, by (1) [ns].

        >>> link = Link(**{"from": "p", "to": "d", "bandwidth": "50 GB/s", "efficiency": 1.0})
        >>> LinkUse(link).occupancy_ns(50e9) == to_ns(1.0)
        True
        """
        return to_ns((moved_bytes + self.link.ramp) / self.rate) if moved_bytes > 0 else 0

    def carry(
        self,
        source: int,
        target: int,
        moved_bytes: float,
        *,
        earliest_ns: int,
        computed_ns: int,
        layers: int,
    ) -> int:
        """Take a place on the lanes of both ends; when all has arrived [ns].

        source, target: numbers of the replicas; earliest_ns: when it may start; computed_ns: when
        the last of its `layers` was computed, which can only travel then.
        """
        occupancy, free_ns = self.occupancy_ns(moved_bytes), self._free_ns
        target = -1 - target
        start = max(earliest_ns, free_ns.get(source, 0), free_ns.get(target, 0))
        done = max(start + occupancy, computed_ns + occupancy // layers)
        free_ns[source] = free_ns[target] = done
        self.sent_bytes += moved_bytes
        self.transfers += 1
        self.busy_ns += occupancy
        self.waited_ns += start - earliest_ns
        if self._log is not None:
            name = f"{self.link.from_} -> {self.link.to}"
            ends = source, -1 - target
            self._log.moved(Carried(name, *ends, start, done + self.delay_ns, moved_bytes))
        return done + self.delay_ns


class Handoff:
    """One request between a group that prefills (source) and one that decodes (target).

    `prefill_end_ns`: when its prompt was computed; `reserved_ns`: when decode had made room (-1:
    not yet): the transfer over `link` needs both. `source_lease`, `lease`: its blocks at either
    end; `tokens`, `moved_bytes`: prompt tokens that decode lacks.
    """

    __slots__ = (
        "lease",
        "link",
        "moved_bytes",
        "offered",
        "prefill_end_ns",
        "prefill_start_ns",
        "reserved_ns",
        "source",
        "source_lease",
        "target",
        "tokens",
    )

    def __init__(self, source: Group, target: Group, link: LinkUse, now: int) -> None:
        self.source, self.target, self.link = source, target, link
        self.prefill_start_ns = now
        self.prefill_end_ns = self.reserved_ns = -1
        self.offered = False
        self.lease: Lease | None = None
        self.source_lease: Lease | None = None
        self.tokens = 0
        self.moved_bytes = 0.0
