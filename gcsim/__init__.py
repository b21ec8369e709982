"""gcsim: a discrete-event simulator of LLM-agent inference on heterogeneous accelerators.

The facade is lazy: `import gcsim` loads nothing else, a name loads what it needs on first use.

    run       one scenario on one deployment      -> Result
    compare   one scenario on several deployments, under common random numbers
    sweep     every combination of settings, deployments and loads, each a run  -> Sweep
    estimate  one operating point: equal requests, so many at a time, played on one replica

Errors: everything gcsim raises on purpose is a `GcsimError`; a file that says something wrong is a
`ProfileError`, a model that does not fit its chips a `CapacityError`.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "CapacityError",
    "GcsimError",
    "ProfileError",
    "compare",
    "estimate",
    "run",
    "sweep",
]

if TYPE_CHECKING:
    from gcsim.errors import CapacityError, GcsimError, ProfileError
    from gcsim.studies.api import compare, estimate, run
    from gcsim.studies.sweep import sweep
else:
    _HOMES = {"sweep": "gcsim.studies.sweep"}

    def __getattr__(name: str) -> object:
        """Load a public name from its home on first use (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module 'gcsim' has no attribute {name!r}")
        from importlib import import_module

        place = "gcsim.errors" if name.endswith("Error") else "gcsim.studies.api"
        home = import_module(_HOMES.get(name, place))
        value = globals()[name] = getattr(home, name)
        return value

    def __dir__() -> list[str]:
        """Show the facade's names before they are loaded."""
        return sorted({*globals(), *__all__})
