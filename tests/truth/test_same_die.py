"""Of two chips of one die, the one with more bandwidth is never slower: shipped factors obey."""

from itertools import product

import numpy as np
import pytest

from gcsim.machine import roofline
from gcsim.machine.machine import bind
from gcsim.profiles.chip import Chip
from gcsim.profiles.deployment import Pool
from gcsim.profiles.resolve import load_chip, load_model

# The lesser bandwidth first; what computes is the same, or (B300) as fast and faster in FP4.
PAIRS = (
    ("a100-40gb", "a100"),
    ("h100-sxm", "h200-sxm"),
    ("h100-sxm", "gh200"),
    ("mi300x", "mi325x"),
    ("b200", "b300"),
)
MODELS = ("gpt-oss-120b", "llama-3.3-70b", "deepseek-r1")


def batch(rng: np.random.Generator, window: int) -> np.ndarray:
    """A random iteration: some prompt, some sequences that decode, of some length."""
    prompt, seqs = int(rng.choice([0, 0, 100, 2000, 8000])), int(rng.choice([1, 8, 64, 256]))
    context = int(rng.integers(1, 30_000))
    found = np.zeros((1, len(roofline.BATCH)))
    if prompt:
        roofline.add_chunks(found, np.array([[0, prompt, 0]]), window)
    sums = {
        "decode_seqs": seqs,
        "decode_kv": seqs * context,
        "decode_window_kv": seqs * min(context, window),
        "logit_seqs": seqs + (prompt > 0),
    }
    for key, value in sums.items():
        found[0, roofline.BATCH.index(key)] = value
    return found[0]


@pytest.mark.parametrize(("pair", "model_name"), [*product(PAIRS, MODELS)], ids=str)
def test_more_bandwidth_on_one_die_is_never_slower(pair: tuple[str, str], model_name: str) -> None:
    slow, fast = map(load_chip, pair)
    rng, model = np.random.default_rng(7), load_model(model_name)
    for stack, tp in product(sorted(set(slow.stacks) & set(fast.stacks)), (1, 8)):
        pools = [Pool(chip=roomy(chip), tp=tp, stack=stack) for chip in (slow, fast)]
        machines = [bind(model, pool) for pool in pools]
        for _ in range(20):
            one = batch(rng, machines[0].window)
            times = [roofline.iteration_s(machine.table, one)[0] for machine in machines]
            assert times[1] <= times[0] * (1 + 1e-9), (stack, tp, one)


def roomy(chip: Chip) -> Chip:
    """The chip with memory enough for any model: what fits is not asked here."""
    tiers = tuple(
        tier.model_copy(update={"capacity": tier.capacity.model_copy(update={"value": 4e12})})
        for tier in chip.memory
    )
    return chip.model_copy(update={"memory": tiers})
