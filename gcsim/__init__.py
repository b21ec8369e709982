"""gcsim: a discrete-event simulator of LLM-agent inference on heterogeneous accelerators.

The facade is lazy: `import gcsim` loads nothing else, a name loads what it needs on first use.

    run        one scenario on one deployment               -> Result
    compare    one scenario on several deployments, under common random numbers; over=: at each
               value of a parameter                         -> Comparison, or Series
    sweep      every combination of settings, deployments and loads, each a run  -> Sweep
    plan       the cheapest deployment for so many agents within an SLO          -> Plan
    plan_over_load  that of each family of chips at each load, with its range     -> PlanOverLoad
    most_revenue    what a site of so much power earns with tiers of service      -> Revenue
    estimate   one operating point: equal requests, so many at a time, played on one replica
    replicate  one scenario with several seeds, until its intervals are narrow enough
    check      whether the scenarios of a baseline still give what was blessed
    load       a scenario, with settings, as `run` and `compare` take it
    load_results  what `gcsim run --out` wrote to a folder            -> Result

Errors: everything gcsim raises on purpose is a `GcsimError`; a file that says something wrong is a
`ProfileError`, a model that does not fit its chips a `CapacityError`.
"""

from typing import TYPE_CHECKING

from gcsim.version import __version__

__all__ = [
    "CapacityError",
    "GcsimError",
    "ProfileError",
    "__version__",
    "check",
    "compare",
    "estimate",
    "load",
    "load_results",
    "most_revenue",
    "plan",
    "plan_over_load",
    "replicate",
    "run",
    "sweep",
]

if TYPE_CHECKING:
    from gcsim.errors import CapacityError, GcsimError, ProfileError
    from gcsim.results.saved import load_results
    from gcsim.studies.baseline import check
    from gcsim.studies.compare import compare
    from gcsim.studies.estimate import estimate
    from gcsim.studies.plan import plan
    from gcsim.studies.plan_load import plan_over_load
    from gcsim.studies.plan_revenue import most_revenue
    from gcsim.studies.replicate import replicate
    from gcsim.studies.run import load, run
    from gcsim.studies.sweep import sweep
else:
    _HOMES = {
        "check": "studies.baseline",
        "load": "studies.run",
        "load_results": "results.saved",
        "most_revenue": "studies.plan_revenue",
        "plan_over_load": "studies.plan_load",
    }

    def __getattr__(name: str) -> object:
        """Load a public name from its home on first use (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module 'gcsim' has no attribute {name!r}")
        from importlib import import_module

        home = "errors" if name.endswith("Error") else _HOMES.get(name, f"studies.{name}")
        value = globals()[name] = getattr(import_module(f"gcsim.{home}"), name)
        return value

    def __dir__() -> list[str]:
        """Show the facade's names before they are loaded."""
        return sorted({*globals(), *__all__})
