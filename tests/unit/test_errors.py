"""Errors of `gcsim.errors`: their words, and their way out of a parallel run."""

import pickle

import pytest

from gcsim.errors import CapacityError, Problem, ProfileError


@pytest.mark.parametrize("kind", [ProfileError, CapacityError])
def test_an_error_survives_the_way_from_a_worker_process(kind: type[ProfileError]) -> None:
    error = kind([Problem("a.yaml", "x", 1, "is wrong", "use 2"), Problem("b.yaml", "y", 3, "too")])
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert back.problems == error.problems
    assert str(back) == str(error)
    assert len(str(back).splitlines()) == 2
