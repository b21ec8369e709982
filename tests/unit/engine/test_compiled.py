"""What the compiled loop is made of, and what it refuses; what it plays: tests/property."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import gcsim
import gcsim.engine.compiled.clock
import gcsim.engine.compiled.cluster
import gcsim.engine.compiled.decode_set
import gcsim.engine.compiled.feed
import gcsim.engine.compiled.group
import gcsim.engine.compiled.handoff
import gcsim.engine.compiled.kv_cache
import gcsim.engine.compiled.line
import gcsim.engine.compiled.load
import gcsim.engine.compiled.meter
import gcsim.engine.compiled.parts
import gcsim.engine.compiled.prefix_cache
import gcsim.engine.compiled.replica
import gcsim.engine.compiled.request
import gcsim.engine.compiled.router
import gcsim.engine.compiled.run
import gcsim.engine.compiled.session
import gcsim.engine.compiled.window
import gcsim.engine.compiled.world
from gcsim.engine.compiled import arrays, lists, loop, play
from gcsim.engine.compiled.why import unplayable
from gcsim.machine.machine import bind

OWN = {"arrays", "feed", "lists", "loop", "parts", "why", "world"}


def test_every_other_file_is_one_of_the_simpy_engine() -> None:
    folder = Path(play.__file__).parent
    names = {path.stem for path in folder.glob("[a-z]*.py")} - OWN
    assert names <= {path.stem for path in folder.parent.glob("*.py")}


def test_a_table_has_every_array_of_a_world() -> None:
    assert set(arrays.SHAPES) == set(arrays.World._fields)
    assert lists.FREE > lists.LARGEST > lists.TOP >= lists.CLASSES
    assert loop.OVER == 0


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        ({}, None),
        ({"kv_offload": {"efficiency": 0.7}}, "pool p offloads KV"),
        (
            {"batching": {"max_seqs_by_context": [{"context": 99, "max_seqs": 1}]}},
            "pool p limits its batch by context",
        ),
    ],
)
def test_what_it_cannot_play_is_told(pool: dict[str, Any], reason: str | None) -> None:
    what = toys.deployment({"p": pool})
    assert unplayable(what, {"p": bind(toys.model(), what.pools["p"])}) == reason


def test_a_result_says_who_played() -> None:
    few = {"run.trajectories": 2, "arrivals.agents": 1}
    assert gcsim.run("coding-agents", settings=few).played == "coalesced: a short run"
    assert gcsim.run("coding-agents", settings=few, engine="compiled").played == "compiled"


def test_areas_that_went_round_are_unwound() -> None:
    past = (1 << 63) + 5
    wrapped = int(np.array([past], dtype=np.uint64).view(np.int64)[0])
    assert play._unwound([[1, 0, 7, 9], [2, 0, 8, wrapped]]) == [(1, 0, 7, 9), (2, 0, 8, past)]


def test_the_loop_reads_a_table_that_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given an address: the table behind it must live until it has returned."""
    what = toys.deployment({"m": {"batching": {"max_seqs": 8192}}})  # needs many nodes
    tasks = [toys.one_step(k, 40, 3, 1e-3 * k) for k in range(300)]
    held, called = list[int](), set[str]()

    class Table(np.ndarray):
        pass

    def table_of(w: arrays.World) -> np.ndarray:
        table = gcsim.engine.compiled.world.table_of(w).view(Table)
        held.append(table.ctypes.data)
        weakref.finalize(table, held.remove, table.ctypes.data)
        return table

    def watched(name: str) -> None:
        function = getattr(loop, name)

        def call(address: int, *more: int) -> int:
            called.add(name)
            assert address in held, name
            return function(address, *more)

        monkeypatch.setattr(loop, name, call)

    monkeypatch.setattr(play, "table_of", table_of)
    for name in ("run", "rehash", "stop"):
        watched(name)
    toys.serve(what, tasks, compiled=64)
    assert called == {"run", "rehash", "stop"}
