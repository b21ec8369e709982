"""Many runs, in parallel processes where that is worth it; the results do not depend on how."""

import os
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar
from warnings import catch_warnings, filterwarnings

from gcsim.profiles.resolve import Resolved, content_hash
from gcsim.results.result import Result
from gcsim.simulate import Progress, simulate

WORTH_S = 4.0  # what starting processes costs, imports included
Fraction = Callable[[float], None]
T = TypeVar("T")


def simulate_all(
    scenarios: Sequence[Resolved], jobs: int | None = None, progress: Fraction | None = None
) -> list[Result]:
    """The results of all scenarios, in order; equal ones are played once.

    jobs: processes at once; None: here one after another, until what is left is worth starting
    processes for. progress: called with the fraction that is done.
    """
    tell = progress or nobody
    hashes = [content_hash(scenario.mapping) for scenario in scenarios]
    waiting = dict(zip(hashes, scenarios, strict=True))
    total = len(waiting)
    done: dict[str, Result] = {}
    began, played = perf_counter(), 0
    while waiting:
        workers = min(jobs or cores(), len(waiting))
        left = sum(map(_size, waiting.values()))
        spared_s = (perf_counter() - began) / max(played, 1) * left * (1 - 1 / workers)
        if workers > 1 and (jobs or (played and spared_s > WORTH_S)):
            done |= _in_processes(waiting, workers, len(done), total, tell)
            break
        key = next(iter(waiting))
        scenario = waiting.pop(key)
        done[key] = simulate(scenario, progress=_share(scenario, len(done), total, tell))
        tell(len(done) / total)
        played += _size(scenario)
    return [done[key] for key in hashes]


def _size(scenario: Resolved) -> int:
    """How much work a run is, as far as can be told before."""
    return scenario.scenario.tasks or 100


def _in_processes(
    waiting: dict[str, Resolved], workers: int, done: int, total: int, tell: Fraction
) -> dict[str, Result]:
    keys = sorted(waiting, key=lambda key: -_size(waiting[key]))  # the longest first
    calls = [(waiting[key],) for key in keys]

    def share(part: float) -> None:
        tell((done + part * len(keys)) / total)

    return dict(zip(keys, called(simulate, calls, workers, share), strict=True))


def called(
    function: Callable[..., T],
    calls: Sequence[tuple[Any, ...]],
    jobs: int | None = None,
    progress: Fraction | None = None,
) -> list[T]:
    """What a function returns for each of several calls, in their order, in `jobs` processes.

    In this one where there is but one call, or one core. An interrupt ends the others.

    >>> called(max, [(1, 2), (4, 3)], jobs=1)
    [2, 4]
    """
    tell, results = progress or nobody, []
    workers = min(jobs or cores(), len(calls))
    if workers <= 1:
        for arguments in calls:
            results.append(function(*arguments))
            tell(len(results) / len(calls))
        return results
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    with catch_warnings():
        # A process that has grown is replaced by loky, which says so in a thread of its own: where
        # warnings are errors that thread would die, and all would wait for ever.
        filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        try:
            parallel = Parallel(n_jobs=workers, return_as="generator", batch_size=1)
            for result in parallel(delayed(function)(*arguments) for arguments in calls):
                results.append(result)
                tell(len(results) / len(calls))
        except BaseException:
            get_reusable_executor().shutdown(wait=False, kill_workers=True)
            raise
    return results


def _share(scenario: Resolved, done: int, total: int, tell: Fraction) -> Progress:
    """Progress of one run as a fraction of all."""
    count = scenario.scenario.tasks
    return lambda ended: tell((done + (min(ended / count, 1.0) if count else 0.0)) / total)


def nobody(_: float) -> None:
    """Nobody wants to know."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
