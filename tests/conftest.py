"""What every test shares: one thread per worker, no colours, no window, reproducible examples."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from gcsim.machine import kernel_cache

os.environ |= {
    "COLUMNS": "120",
    "MPLBACKEND": "Agg",
    "NO_COLOR": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

kernel_cache.listen = lambda: None  # what a cold cache makes gcsim say is no part of an output

# The default gives everyone the same verdict; `pytest --hypothesis-profile=explore` looks further.
settings.register_profile("same", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", max_examples=2_000, deadline=None, print_blob=True)
settings.register_profile("deep", max_examples=5_000, deadline=None, print_blob=True)
settings.register_profile("quick", max_examples=10, derandomize=True, deadline=None)
settings.load_profile("same")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return Path(__file__).parents[1]
