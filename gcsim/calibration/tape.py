"""From a point to iterations: lengths, load, and the schedule merged into few bins."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gcsim.calibration.match import Setup
from gcsim.calibration.points import Point
from gcsim.engine.closed_loop import ServerLimits, schedule
from gcsim.machine.machine import Machine
from gcsim.machine.roofline import BATCH, DECODE_SEQS, OTHER_TOKENS, PROMPT_TOKENS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 5
ROUNDS = 10  # requests per client, as InferenceX and AIPerf play them ...
ROUNDS_MANY = 4  # ... fewer above MANY clients, where the mean is steady
MANY = 256
OUT_OF_STEP = 0.3  # outputs of a steady load vary by this fraction: no client keeps pace
LAG = 1  # a next request arrives while the iteration after its predecessor's last runs


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of one run in order: lengths, how many at once, and which count."""

    isl: "NDArray[np.int64]"
    osl: "NDArray[np.int64]"
    clients: int
    count_from: int


def load_of(point: Point, rounds: int = ROUNDS) -> Requests:
    """The requests that a source sent; uniform lengths evenly spread over their range, shuffled.

    Where medians were published, those after the first burst stand for the median request. In a
    steady load outputs vary a little, which takes the clients out of step.
    """
    clients = point.concurrency
    if clients > MANY:
        rounds = min(rounds, ROUNDS_MANY)
    requests = clients if point.batch else clients * rounds
    rng = np.random.default_rng([SEED, point.isl, point.osl, requests])
    isl, osl = (_lengths(rng, length, point.low, requests) for length in (point.isl, point.osl))
    if point.ttft_of_prefill_run and "e2e" not in point.published:
        osl = np.ones_like(osl)
    if point.steady:
        osl = _lengths(rng, point.osl, 1.0 - OUT_OF_STEP, requests, 1.0 + OUT_OF_STEP)
    after_burst = point.median and requests > clients
    return Requests(isl, osl, clients, clients if after_burst else 0)


def _lengths(
    rng: np.random.Generator, length: int, low: float, count: int, high: float = 1.0
) -> "NDArray[np.int64]":
    spread = low + (high - low) * (np.arange(count) + 0.5) / count
    return np.asarray(rng.permutation(np.maximum(np.rint(length * spread), 1)), dtype=np.int64)


def iterations_of(
    point: Point, setup: Setup, machine: Machine, load: Requests
) -> "NDArray[np.float64]":
    """Every iteration of a run of one pool: of one group, which serves its share of clients.

    The other groups of its replica are taken to do the same at the same time.
    """
    pool, of_replica = setup.pool, max(1.0, load.clients / setup.pool.replicas)
    assert not pool.batching.max_seqs_by_context, "the closed loop knows one limit of sequences"
    groups = pool.replicas * pool.ep
    share = max(1, -(-load.clients // groups))
    requests = load.isl.size if not point.batch else share
    counted = min(load.count_from, max(requests - 1, 0))
    if groups > 1:
        requests = min(requests, max(requests // groups, share))
        counted = min(share if load.count_from else 0, requests - 1)
    limits = ServerLimits(
        clients=share,
        budget=pool.batching.max_iteration_tokens,
        seats=pool.batching.max_seqs,
        kv_tokens=machine.kv_blocks * pool.block_tokens,
        extra_tokens=machine.blocks_per_seq * pool.block_tokens + pool.block_tokens // 2,
        prefill_first=pool.batching.policy == "prefill_first",
        count_from=counted,
        lag=LAG + pool.chip.stacks[str(pool.stack)].overlap_scheduling,
    )
    rows = schedule(load.isl[:requests], load.osl[:requests], limits, machine.window)
    if pool.ep > 1:
        tokens = rows[:, PROMPT_TOKENS] + rows[:, DECODE_SEQS]
        rows[:, OTHER_TOKENS] = tokens * max(of_replica / share - 1.0, 0.0)
    return rows


def binned(rows: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Alike iterations merged: batches averaged by weight, weights added.

    Alike: the same eighth-octave of prompt tokens and of decoding sequences. The time of a bin's
    mean batch is the mean of its times as far as it is linear within the bin.
    """
    prompt = np.where(
        rows[:, PROMPT_TOKENS] > 0,
        np.rint(4 * np.log2(np.maximum(rows[:, PROMPT_TOKENS], 1))) + 1,
        0,
    )
    decode = np.where(
        rows[:, DECODE_SEQS] > 0, np.rint(8 * np.log2(np.maximum(rows[:, DECODE_SEQS], 1))) + 1, 0
    )
    _, index = np.unique(prompt * 1000 + decode, return_inverse=True)
    count = int(index.max()) + 1
    weights = rows[:, len(BATCH) :]
    totals = np.maximum(weights.sum(axis=0), 1e-300)
    joint = (weights / totals).sum(axis=1)
    sums = np.maximum(np.bincount(index, joint, count), 1e-300)
    batch = [np.bincount(index, joint * rows[:, k], count) / sums for k in range(len(BATCH))]
    added = [np.bincount(index, weights[:, k], count) for k in range(weights.shape[1])]
    return np.stack([*batch, *added], axis=1)
