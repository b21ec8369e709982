"""Many runs, in parallel processes where that is worth it; the results do not depend on how."""

import os
from collections.abc import Callable, Sequence
from time import perf_counter

from gcsim.results.result import Result
from gcsim.results.simulate import Progress, simulate
from gcsim.spec.resolve import Resolved, content_hash

WORTH_S = 4.0  # what starting processes costs, imports included
Fraction = Callable[[float], None]


def simulate_all(
    scenarios: Sequence[Resolved], jobs: int | None = None, progress: Fraction | None = None
) -> list[Result]:
    """The results of all scenarios, in order; equal ones are played once.

    jobs: processes at once; None: here one after another, until what is left is worth starting
    processes for. progress: called with the fraction that is done.
    """
    tell = progress or _nobody
    hashes = [content_hash(scenario.mapping) for scenario in scenarios]
    waiting = dict(zip(hashes, scenarios, strict=True))
    total, begun = len(waiting), perf_counter()
    done: dict[str, Result] = {}
    while waiting:
        workers = min(jobs or _cores(), len(waiting))
        if workers > 1 and (jobs or _worth(perf_counter() - begun, len(done), total, workers)):
            results = _in_processes(list(waiting.values()), workers, len(done), total, tell)
            done |= dict(zip(waiting, results, strict=True))
            break
        key = next(iter(waiting))
        scenario = waiting.pop(key)
        done[key] = simulate(scenario, progress=_share(scenario, len(done), total, tell))
        tell(len(done) / total)
    return [done[key] for key in hashes]


def _worth(spent_s: float, done: int, total: int, workers: int) -> bool:
    """Whether the processes would save more than they cost, if all runs take as long as these."""
    return done > 0 and spent_s / done * (total - done) * (1 - 1 / workers) > WORTH_S


def _in_processes(
    scenarios: list[Resolved], workers: int, done: int, total: int, tell: Fraction
) -> list[Result]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    try:
        parallel = Parallel(n_jobs=workers, return_as="generator", batch_size=1)
        results = []
        for result in parallel(delayed(simulate)(scenario) for scenario in scenarios):
            results.append(result)
            tell((done + len(results)) / total)
        return results
    except BaseException:
        get_reusable_executor().shutdown(wait=False, kill_workers=True)
        raise


def _share(scenario: Resolved, done: int, total: int, tell: Fraction) -> Progress:
    """Progress of one run as a fraction of all."""
    count = scenario.scenario.run.trajectories
    return lambda ended: tell((done + (min(ended / count, 1.0) if count else 0.0)) / total)


def _nobody(_: float) -> None:
    """Nobody wants to know."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
