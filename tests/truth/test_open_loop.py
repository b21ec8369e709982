"""Published open loops as the engine plays them (gcsim.calibration.open_loop), by hand."""

from dataclasses import replace

import numpy as np
import pytest

from gcsim.calibration.arms import Arm, Server, Stage
from gcsim.calibration.open_loop import (
    APART_S,
    CHUNK,
    Compared,
    at_prefill_rate,
    compare_arm,
    play_arm,
    setup_of,
    trajectories,
)
from gcsim.calibration.open_loop_text import open_loop_markdown, open_loop_text, order, saturates
from gcsim.machine.machine import bind

SERVER = Server(
    hardware="NVIDIA H100 SXM",
    model="meta-llama/Llama-3.1-8B-Instruct",
    dtype="bf16",
    framework="vLLM 0.22",
    date="2026",
    tp=1,
    replicas=2,
    policy="round_robin",
    utilization=0.9,
    kv_tokens=None,
    tier=False,
    tier_bytes=0.0,
    prefill=30_000.0,
)
ARM = Arm(
    name="by hand",
    server=SERVER,
    prefixes=4,
    each=1,
    turns=False,
    prefix=4000,
    question=100,
    osl=10,
    poisson=False,
    clients=0,
    median=False,
    whole=False,
    stages=(Stage("", 1.0, 4.0, {}), Stage("B", 1.0, 8.0, {"ttft": 0.1, "throughput": 10.0})),
)


def played(arm: Arm) -> list[dict[str, float]]:
    setup = setup_of(arm.server)
    assert not isinstance(setup, str)
    return play_arm(arm, *setup)


def test_prompts_repeat_in_one_order_and_stages_are_apart() -> None:
    """After one round every prompt comes again, question and all, as inference-perf sends them."""
    sent, stages = trajectories(ARM)
    assert stages == [0] * 4 + [1] * 8
    prompts = [task.steps[0].append for task in sent]
    assert len(set(prompts)) == 4
    assert prompts[:4] == prompts[4:8] == prompts[8:]
    starts = [task.start_s for task in sent]
    assert starts == [1, 2, 3, 4, *(APART_S + k for k in range(1, 9))]
    poisson, _ = trajectories(replace(ARM, poisson=True, stages=(Stage("", 5.0, 4000.0, {}),)))
    gaps = np.diff([task.start_s for task in poisson if task.start_s is not None])
    assert gaps.mean() == pytest.approx(0.2, rel=0.03)
    assert gaps.std() == pytest.approx(0.2, rel=0.03)


def test_a_ladder_keeps_its_caches_from_stage_to_stage() -> None:
    """The warm-up computes the prompts, the stage finds them; alone it computes them itself."""
    warm = played(ARM)[1]["ttft"]
    cold = played(replace(ARM, stages=ARM.stages[1:], prefixes=8))[0]["ttft"]
    assert warm < 0.5 * cold


def test_throughput_counts_until_the_last_answer_is_out() -> None:
    """8 requests of 10 tokens at 1 to 8 s: 80 tokens in 8 s and the last one's E2E."""
    stage = played(ARM)[1]
    assert stage["throughput"] == pytest.approx(80 / (8 + stage["e2e"]), rel=1e-3)
    assert stage["served"] == pytest.approx(stage["throughput"] / 10)


def test_a_server_is_given_the_prefill_rate_that_its_source_measured() -> None:
    setup = setup_of(SERVER)
    assert not isinstance(setup, str)
    model, pool = setup
    quicker = at_prefill_rate(model, pool, 30_000.0)
    took_s = bind(model, quicker).prompt_ns(CHUNK) * 1e-9
    assert CHUNK / took_s == pytest.approx(30_000, rel=1e-3)
    assert pool.chip.efficiency.memory == quicker.chip.efficiency.memory


def test_evicted_prompts_come_back_from_the_tier_or_are_computed_again() -> None:
    """Two prompts take turns on a replica that holds one: host memory spares their prefill."""
    server = replace(SERVER, replicas=1, kv_tokens=5000, tier_bytes=4 * 2**30)
    arm = replace(ARM, prefixes=2, server=server)
    apart = played(arm)[1]["ttft"]
    with_tier = played(replace(arm, server=replace(server, tier=True)))[1]["ttft"]
    assert with_tier < 0.6 * apart


def test_routing_by_prefix_saturates_later_than_routing_blind() -> None:
    """15 prefixes, of which a replica holds 7: blind routing computes, prefix routing finds."""
    stages = tuple(Stage(f"S{rate}", rate, 20.0, {"ttft": 1.0}) for rate in (4.0, 16.0, 40.0))
    server = replace(SERVER, replicas=4, kv_tokens=30_000)
    arm = replace(
        ARM, prefixes=15, poisson=True, server=server, stages=(Stage("", 1.0, 30.0, {}), *stages)
    )
    blind = played(arm)
    aware = played(replace(arm, server=replace(server, policy="prefix_filter")))
    for stage in (1, 2, 3):
        assert aware[stage]["ttft"] < blind[stage]["ttft"]
        assert aware[stage]["throughput"] >= 0.99 * blind[stage]["throughput"]


def test_where_a_run_saturates_and_which_of_two_is_better() -> None:
    assert saturates({10.0: 0.1, 20.0: 0.5, 30.0: 2.0}) == pytest.approx(25.0)
    assert saturates({10.0: 3.0, 20.0: 5.0}) == 10.0
    assert saturates({10.0: 0.1}) is None
    one = Compared("A", "run", "p", 1.0, "ttft", 1.0, 1.2, False)
    assert one.error == pytest.approx(0.2)
    assert order(one, replace(one, published=2.0, modeled=3.0)) is True
    assert order(one, replace(one, published=2.0, modeled=1.0)) is False
    assert order(one, replace(one, published=1.05, modeled=1.0)) is None


def test_a_run_that_cannot_be_matched_says_why_and_others_are_told() -> None:
    assert compare_arm(replace(ARM, server=replace(SERVER, hardware="Abacus"))) == "unknown chip"
    assert compare_arm(replace(ARM, server=replace(SERVER, model="Abacus"))) == "unknown model"
    found = compare_arm(ARM)
    assert not isinstance(found, str)
    assert {(item.id, item.metric) for item in found} == {("B", "ttft"), ("B", "throughput")}
    text = open_loop_text([ARM], found, {"X": "no policy"})
    page = open_loop_markdown([ARM], found, {"X": "no policy"})
    for said in ("by hand", "output tok/s", "no policy", "round_robin"):
        assert said in text
        assert said in page
