"""With an infinite cache the engine finds in a public trace the reuse that the trace holds.

Published recount of the released Mooncake traces: 36.6 % of blocks (conversation), 0.651 of tokens
(synthetic). One replica, one request at a time, so that every earlier prompt is cached.
"""

import numpy as np
import pytest
import toys

from gcsim.engine.cluster import Cluster
from gcsim.profiles.arrivals import TraceArrivals
from gcsim.profiles.workload import Trace, Workload
from gcsim.traffic.generate import trajectories

BLOCK = 512


def replay(name: str, coalesce: bool = True) -> Cluster:
    workload = Workload(name="mooncake", trace=Trace(path=str(toys.public_trace(name))))
    feed = trajectories(workload, TraceArrivals(process="trace"), np.random.SeedSequence(1))
    what = toys.deployment(
        {
            "main": {
                "block_tokens": BLOCK,
                "kv_tokens": 10**9,
                "batching": {"max_seqs": 1},
            }
        }
    )
    return toys.serve(what, feed, toys.model(context_window=10**6), coalesce)


def columns(cluster: Cluster, *names: str) -> list[np.ndarray]:
    table = cluster.records.requests
    return [table[name] for name in names]


def test_conversation_trace_block_hits() -> None:
    cluster = replay("mooncake_conversation_trace.jsonl.gz")
    isl, cached, status = columns(cluster, "isl", "cached_tokens", "status")
    assert len(isl) == 12_031
    assert (status == 0).all(), "every request ends in one counted state, here: completed"
    assert (cached // BLOCK).sum() / (-(-isl // BLOCK)).sum() == pytest.approx(0.366, abs=0.005)


def test_synthetic_trace_token_hits() -> None:
    isl, cached = columns(replay("mooncake_synthetic_trace.jsonl.gz"), "isl", "cached_tokens")
    assert len(isl) == 3_993
    assert cached.sum() / isl.sum() == pytest.approx(0.651, abs=0.01)


def test_both_engines_replay_a_trace_alike() -> None:
    runs = [replay("mooncake_synthetic_trace.jsonl.gz", coalesce) for coalesce in (True, False)]
    assert runs[0].records.requests.tobytes() == runs[1].records.requests.tobytes()
