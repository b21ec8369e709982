"""Decisions of policies alone: gcsim.engine.batching, gcsim.engine.router, gcsim.engine.line."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from gcsim.engine.batching import POLICIES, Form, Limits, Policy, View
from gcsim.engine.line import Line
from gcsim.engine.records import STATUSES
from gcsim.engine.router import POLICIES as ROUTING
from gcsim.engine.router import State
from gcsim.traffic.trajectory import Trajectory

LIMITS = Limits(tokens=100, tokens_per_seq=3)


@pytest.mark.parametrize(
    ("name", "busy", "idle"),
    [
        ("continuous", Form(70, True), Form(100, True)),
        ("prefill_first", Form(100, False), Form(100, False)),
        ("static", Form(100, False, "none"), Form(100, False, "all")),
    ],
)
def test_how_an_iteration_is_filled(name: str, busy: Form, idle: Form) -> None:
    assert POLICIES[name].form(View(decoding=10, prefilling=1, waiting=2), LIMITS) == busy
    assert POLICIES[name].form(View(decoding=0, prefilling=0, waiting=2), LIMITS) == idle


def waiting(priority: int, tokens: int) -> Any:
    return SimpleNamespace(priority=priority, prompt_tokens=tokens)


@given(
    st.sampled_from(sorted(POLICIES)),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.sampled_from("abx"))),
)
def test_a_line_is_always_in_order_and_its_news_is_a_new_head(
    name: str, moves: list[tuple[int, int, str]]
) -> None:
    """Against a list that is sorted anew after each move; x: somebody in the middle leaves."""
    rank = POLICIES[name].rank
    line, model = Line(rank), []
    back = 0
    for number, (priority, tokens, move) in enumerate(moves):
        one = waiting(priority, tokens)
        before = model[0][1] if model else None
        if move == "x" and model:
            left = model.pop(len(model) // 2)[1]
            assert line.leave(left) == (left is before)
        elif move == "b":
            back -= 1
            line.put_back(one)
            model.append(((-priority, rank(one), back), one))
        else:
            model.append(((-priority, rank(one), number + 1), one))
            first = min(model, key=lambda entry: entry[0])[1]
            assert line.add(one) == (first is one)
        model.sort(key=lambda entry: entry[0])
        assert len(line) == len(model)
        if model:
            assert line.head is model[0][1]
    assert [line.take() for _ in model] == [one for _, one in model]


@pytest.mark.parametrize("coalesce", [True, False])
def test_the_shortest_prompt_overtakes_and_waits_no_longer_than_an_iteration(
    coalesce: bool,
) -> None:
    """One seat is busy until 50 ms; who came last, with the shortest prompt, is next."""
    pool = {"batching": {"policy": "shortest_first", "max_seqs": 2, "max_iteration_tokens": 2_000}}
    what = toys.deployment({"main": {**pool, "kv_tokens": 2_000}})
    tasks = [
        toys.one_step(0, 300, 50),
        toys.one_step(1, 1_900, 2, 0.0100),  # no memory beside the first
        toys.one_step(2, 500, 2, 0.0105),
        toys.one_step(3, 400, 2, 0.0105),
    ]
    costs = toys.constant_cost(1e-3, what)
    cluster = toys.serve(what, tasks, coalesce=coalesce, costs=costs)
    queued = cluster.records.requests["queue_ns"].tolist()
    assert queued[3] == 500_000
    assert queued[2] == 2_500_000
    assert queued[1] > 30_000_000


@pytest.mark.parametrize("coalesce", [True, False])
def test_whatever_the_rank_both_engines_serve_the_same(
    coalesce: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy of a stranger: the latest first; with a priority before it."""
    latest = Policy(lambda request: -request.index, POLICIES["continuous"].form)
    monkeypatch.setitem(POLICIES, "latest_first", latest)
    what = toys.deployment({"main": {"batching": {"policy": "latest_first", "max_seqs": 1}}})
    tasks = [toys.one_step(k, 10, 5, 0.0001 * k) for k in range(4)]
    tasks.append(Trajectory(4, "urgent", toys.one_step(4, 10, 5).steps, 0.0004, 1))
    tasks.append(toys.one_step(5, 10, 5, 0.0005))
    costs = toys.constant_cost(1e-3, what)
    rows = toys.serve(what, tasks, coalesce=coalesce, costs=costs).records.requests
    assert np.argsort(rows["sent_ns"] + rows["queue_ns"]).tolist() == [0, 4, 5, 3, 2, 1]


def test_a_preempted_request_goes_back_before_its_equals_but_not_before_a_priority() -> None:
    line = Line(POLICIES["continuous"].rank)
    first, urgent, preempted = waiting(0, 1), waiting(1, 1), waiting(0, 1)
    line.add(first)
    line.add(urgent)
    line.put_back(preempted)
    assert [line.take() for _ in range(3)] == [urgent, preempted, first]


def test_a_router_decides_by_what_it_sees_and_changes_nothing() -> None:
    groups = [SimpleNamespace(index=k, load=load) for k, load in ((3, 2), (5, 1), (9, 1))]
    request: Any = SimpleNamespace(owner=7)
    state = State(turns=4, homes={7: 9})
    names = ("round_robin", "least_loaded", "sticky")
    chosen = {name: ROUTING[name](request, groups, state) for name in names}
    assert {name: group.index for name, group in chosen.items()} == {
        "round_robin": 5,
        "least_loaded": 5,
        "sticky": 9,
    }
    assert state == State(turns=4, homes={7: 9})
    assert ROUTING["sticky"](request, groups[:2], state).index == 5, "9 cannot hold this one"


def test_places_are_kept_though_the_line_ends_with_one_that_can_never_run() -> None:
    """Decode is full of a long answer when an urgent twin of its prompt comes, which takes no room:
    the first is preempted and fits no more. Who was offered meanwhile has its place then.
    """
    limits = {"role": "decode", "kv_tokens": 160, "block_tokens": 1}
    link = {"from": "p", "to": "d", "bandwidth": "1 TB/s", "efficiency": 1.0}
    what = toys.deployment({"p": {"role": "prefill"}, "d": limits}, links=[link])
    costs = toys.constant_cost(1e-3, what)
    twin = toys.one_step(2, 60, 5, content=1_000_000).steps
    tasks = [
        toys.one_step(0, 60, 300),
        toys.one_step(1, 100, 5, 0.05),
        Trajectory(2, "urgent", twin, 0.0995, 1),
    ]
    for coalesce in (True, False):
        cluster = toys.serve(what, tasks, coalesce=coalesce, costs=costs)
        rows = cluster.records.requests
        assert [STATUSES[number] for number in rows["status"]] == [
            "rejected",
            "completed",
            "completed",
        ]
        assert rows["preemptions"][0] == 1, "preempted, and rejected when nobody else ran"


@pytest.mark.parametrize("coalesce", [True, False])
def test_the_longest_prompt_of_a_batch_limits_it(coalesce: bool) -> None:
    """A graph per context length: 4 short sequences run together, 2 where one is long, and a
    prompt that no graph holds is refused; who waits is admitted as soon as the long one has ended.
    """
    graphs = [{"context": 500, "max_seqs": 4}, {"context": 2_000, "max_seqs": 2}]
    batching = {"max_seqs": 8, "max_iteration_tokens": 8_000, "max_seqs_by_context": graphs}
    what = toys.deployment({"main": {"batching": batching}})
    costs = toys.constant_cost(1e-3, what)

    def queued_ms(*isl: int) -> list[float]:
        tasks = [toys.one_step(k, n, 10) for k, n in enumerate(isl)]
        cluster = toys.serve(what, tasks, coalesce=coalesce, costs=costs)
        rows = cluster.records.requests
        done = rows["status"] == STATUSES.index("completed")
        return (np.where(done, rows["queue_ns"], -1) / 1e6)[np.argsort(rows["trajectory"])].tolist()

    assert queued_ms(100, 100, 100, 100, 100) == [0, 0, 0, 0, 10]
    assert queued_ms(100, 1_000, 100, 100) == [0, 0, 10, 10]
    assert queued_ms(1_000, 1_000, 1_000) == [0, 0, 10]
    assert queued_ms(100, 100, 100, 1_000) == [0, 0, 0, 10], "it would make the batch too large"
    assert queued_ms(100, 2_001, 100)[1] < 0
