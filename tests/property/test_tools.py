"""With a tools pool both SimPy engines leave the same behind, and the compiled loop refuses."""

import random

import deployments
from hypothesis import given, settings
from hypothesis import strategies as st

from gcsim.engine.cluster import Cluster


@given(st.integers(0, 2**32))
@settings(max_examples=settings().max_examples)
def test_both_engines_agree_bit_for_bit(seed: int) -> None:
    rng = random.Random(seed)
    case = deployments.with_tools(rng, deployments.case(rng))
    assert not deployments.differences(case)
    assert case.unplayable == "a pool runs tools"


@given(st.integers(0, 2**32))
@settings(max_examples=max(settings().max_examples // 2, 2))
def test_every_call_is_somewhere(seed: int) -> None:
    """Ended, in a sandbox, in the line, or not yet there where the run was cut off."""
    rng = random.Random(seed)
    case = deployments.with_tools(rng, deployments.case(rng))
    cluster: Cluster = case.play(True)
    tools = cluster.tools
    assert tools is not None
    begun, line = len(cluster.records.tool_calls), tools.queue
    assert begun == tools.ended + line.running
    coming = tools.made - begun - len(line.waiting)
    assert coming >= 0
    if not any(t.waits_for and not t.human for c in case.trajectories for t in c.steps):
        assert not tools.made
    if case.horizon_s is None and not case.warmup_s:  # all tasks count, so that all end
        assert (coming, line.running, len(line.waiting)) == (0, 0, 0)
