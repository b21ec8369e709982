"""What the compiled loop can play, known before anything is compiled."""

from typing import Any

from gcsim.engine import batching, router
from gcsim.machine.machine import Machine
from gcsim.profiles.deployment import Deployment

# The policies that are compiled, and their numbers there.
RANKS: dict[Any, int] = {batching.arrival: 0, batching.shortest_prompt: 1}
FORMS: dict[Any, int] = {
    batching.mixed: 0,
    batching.prompts_first: 1,
    batching.batch_by_batch: 2,
}
ROUTES: list[Any] = [
    router.round_robin,
    router.least_loaded,
    router.sticky,
    router.prefix_affinity,
    router.prefix_filter,
]


class GaveUpError(Exception):
    """The compiled loop cannot go on; the message says why. The other engine plays all of it."""


def unplayable(deployment: Deployment, costs: dict[str, Machine]) -> str | None:
    """Why the compiled loop cannot play a deployment; None where it can."""
    if ROUTES.count(router.POLICIES[deployment.router.policy]) == 0:
        return f"router policy {deployment.router.policy} is not compiled"
    if len({cost.model for cost in costs.values()}) > 1:
        return "pools serve different models"
    for name, pool in deployment.pools.items():
        policy, cost = batching.POLICIES[pool.batching.policy], costs[name]
        if policy.rank not in RANKS or policy.form not in FORMS:
            return f"batching policy {pool.batching.policy} is not compiled"
        if pool.role != "mixed" and deployment.kv_handoff.return_kv:
            return "decode sends KV back"
        if cost.window < 0:
            return f"pool {name} attends in chunks"
        if cost.offload is not None or cost.spill_blocks:
            return f"pool {name} offloads KV"
        if pool.batching.max_seqs_by_context:
            return f"pool {name} limits its batch by context"
    return None
