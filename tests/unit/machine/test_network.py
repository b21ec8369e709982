"""Collectives on links: gcsim.machine.network; by hand in `tests/truth/test_layouts.py`."""

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from gcsim.machine import network, roofline
from gcsim.machine.machine import bind
from gcsim.machine.network import Reach
from gcsim.profiles.chip import ScaleUp
from gcsim.profiles.deployment import Pool

UP = {"bandwidth": "100 GB/s", "latency": "1 us", "topology": "mesh", "max_chips": 16}


@given(st.floats(0, 1e5), st.sampled_from([2, 4, 8, 16]))
def test_an_all_reduce_takes_the_faster_way(tokens: float, chips: int) -> None:
    chip = toys.chip(interconnect={"scale_up": {**UP, "topology": "switch"},
                                   "scale_out": {"bandwidth": "1 GB/s"}})  # fmt: skip
    model = toys.model()
    table = bind(model, Pool(chip=chip, tp=chips)).table
    ways = network.all_reduce(Reach(chips, chips, 100e9, 0.0, 1e-6, False), 0.0)
    moved = 2.0 * model.hidden * tokens
    fastest = min(way.fixed_s + way.s_per_byte * moved for way in ways)
    found, fixed = roofline._communication_s.py_func(table, tokens)
    assert found == pytest.approx(2 * model.layers * fastest, rel=1e-9, abs=1e-15)
    starts = {2 * model.layers * way.fixed_s for way in ways
              if way.fixed_s + way.s_per_byte * moved <= fastest * (1 + 1e-9)}  # fmt: skip
    assert any(fixed == pytest.approx(start, rel=1e-9, abs=1e-15) for start in starts)


def test_one_chip_reaches_nobody_and_needs_not() -> None:
    alone = network.reach(toys.chip(), 1)
    assert network.all_reduce(alone, 1.0) == (network.Way(0.0, 0.0), network.Way(0.0, 0.0))
    assert network.all_to_all(alone, 1.0) == network.Way(0.0, 0.0)
    assert network.handovers(toys.chip(), 1, 1, 1) == network.Way(0.0, 0.0)


@given(st.sampled_from([2, 3, 8, 11, 16]), st.sampled_from([4, 8, 16]))
def test_no_collective_beats_all_links_of_a_chip(chips: int, mesh: int) -> None:
    """Each chip sends 2 (n - 1)/n m in an all-reduce, (n - 1)/n m in an all-to-all."""
    near = min(chips, mesh)
    links = Reach(chips, near, 1e9, 2e8, 0.0, False)
    whole = 1e9 + (2e8 if chips > near else 0.0)
    for way in network.all_reduce(links, 0.0):
        assert way.s_per_byte >= 2 * (chips - 1) / chips / whole * (1 - 1e-12)
    assert network.all_to_all(links, 0.0).s_per_byte >= (chips - 1) / chips / whole * (1 - 1e-12)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"mesh_chips": 8}, "need each other"),
        ({"switch_bandwidth": "1 GB/s"}, "need each other"),
        ({"mesh_chips": 32, "switch_bandwidth": "1 GB/s"}, "need each other"),
        ({"mesh_chips": 8, "switch_bandwidth": "0 GB/s"}, "is zero"),
        ({"mesh_chips": 8, "switch_bandwidth": "1 GB/s", "topology": "switch"}, "belong to a mesh"),
    ],
)
def test_a_domain_of_meshes_says_both_what_they_are_and_what_joins_them(more, why) -> None:
    with pytest.raises(ValueError, match=why):
        ScaleUp.model_validate({**UP, **more})
    assert ScaleUp.model_validate(UP).mesh_chips is None
