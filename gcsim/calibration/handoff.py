"""The fixed time of a handoff between pools, from published disaggregated runs.

It is what the engine's mean TTFT lacks of the published one, in runs of few enough clients that no
pool queues: routing to a second worker, the handshake, the poll that finds the KV complete.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gcsim.calibration.factors import HANDOFF, Name, bounds, held, with_factors, with_stacks
from gcsim.calibration.match import Setup, on_chips, setup_of
from gcsim.calibration.points import Point
from gcsim.calibration.tape import load_of
from gcsim.calibration.validate import simulate_point
from gcsim.errors import CapacityError
from gcsim.profiles.chip import Chip

CLIENTS = 64  # above, queues decide, and they hang on limits that no source states
FEW = 4  # points that a stack needs
# No longer on some machine, whatever the points of others say [s]: llm-d fetches the KV of 2,048
# tokens of gpt-oss-120b from a peer of vLLM on H200 in 49 ms, of which 15 are any request's.
SEEN_ELSEWHERE = {"vllm": 34e-3}


@dataclass(frozen=True, slots=True)
class HandoffTime:
    """The fixed time of a stack's handoff [s], its range, and the points behind it."""

    value: float
    low: float
    high: float
    points: int
    chips: tuple[str, ...]


def handoffs(
    points: Sequence[Point], values: Mapping[Name, float], jobs: int = 2
) -> dict[str, HandoffTime]:
    """By stack: the median of published less modeled TTFT, within the bounds of the factor.

    values: the factors of the chips; range: the 10th and 90th percentile of the points (beyond the
    bounds they waited in queues), for machines and routers differ by more than a mean is unsure of.
    """
    from joblib import Parallel, delayed

    chosen = [p for p in points if p.prefill and p.concurrency <= CLIENTS and "ttft" in p.published]
    setups = [(p, s) for p in chosen if isinstance(s := setup_of(p), Setup)]
    missing = Parallel(n_jobs=jobs)(delayed(_missing_s)(p, _bare(s, values)) for p, s in setups)
    found: dict[str, HandoffTime] = {}
    for stack in sorted({s.stack for _, s in setups}):
        own = [
            (m, s.chip)
            for m, (_, s) in zip(missing, setups, strict=True)
            if s.stack == stack and m is not None
        ]
        if len(own) < FEW:
            continue
        gaps = np.array([m for m, _ in own])
        middle = float(np.median(gaps))
        near = gaps[gaps <= bounds(HANDOFF)[1]]
        around = np.quantile(near if near.size else gaps, [0.1, 0.9])
        ends = np.clip([middle, *around, SEEN_ELSEWHERE.get(stack, middle)], *bounds(HANDOFF))
        value, low, high = ends[0], ends[[0, 1, 3]].min(), ends[[0, 2]].max()
        chips = tuple(sorted({chip for _, chip in own}))
        found[stack] = HandoffTime(float(value), float(low), float(high), len(own), chips)
    return found


def _bare(setup: Setup, values: Mapping[Name, float]) -> Setup:
    """A setup with the factors, and with a handoff that takes no fixed time."""

    def change(chip: Chip) -> Chip:
        chip = with_factors(held(with_stacks(chip, {setup.stack})), values)
        stack = chip.stacks[setup.stack].model_copy(update={HANDOFF: None})
        return chip.model_copy(update={"stacks": {**chip.stacks, setup.stack: stack}})

    return on_chips(setup, change)


def _missing_s(point: Point, setup: Setup) -> float | None:
    try:
        modeled = simulate_point(point, setup, load_of(point))
    except CapacityError:
        return None
    return None if modeled is None else point.published["ttft"] - modeled["ttft"]
