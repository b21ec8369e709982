"""Independent points on this process, on all cores, or on a Dask cluster: the same outcomes.

A point that fails gives its error and the others go on: a wrong combination, an exception that
nobody foresaw, or a process that dies of it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from importlib import import_module
from time import perf_counter
from typing import Any

from gcsim.errors import GcsimError, ProfileError
from gcsim.profiles.resolve import Resolved
from gcsim.simulate import simulate
from gcsim.studies.finished import Record
from gcsim.studies.grid import GridPoint
from gcsim.studies.parallel import WORTH_S, cores
from gcsim.version import __version__

LOCAL = "local"  # a Dask cluster that is started for the sweep
CONNECT_S = 10
DIED = "the process that played it died: it was killed, or out of memory"
Ended = Callable[[GridPoint, Record], Iterable[GridPoint]]


def play_points(
    points: Iterable[GridPoint], ended: Ended, jobs: int | None = None, dask: str | None = None
) -> None:
    """Play all points, the largest first; `ended` gets each outcome and may return further points.

    jobs: processes; None: as many as there are cores, once what is left is worth starting them.
    dask: the address of a scheduler, or `local`. Errors: `ProfileError` without a cluster.
    """
    waiting = deque(sorted(points, key=lambda point: -point.size))
    if dask is not None:
        with _cluster(dask, jobs) as (client, executor):
            while waiting:
                for point in _elsewhere(waiting, ended, executor, lambda: 2 * _threads(client)):
                    waiting.extend(ended(point, {"error": DIED}))
        return
    _here(waiting, ended, jobs)
    if waiting:
        _in_processes(waiting, ended, jobs or cores())


def play_point(resolved: Resolved, version: str = __version__) -> Record:
    """One point as a record: its summary, or its error. `final`: the inputs are what is wrong.

    version: that of the sweep; a cluster may have workers of another.
    """
    if version != __version__:
        return {"error": f"a worker has gcsim {__version__}, the sweep {version}"}
    try:
        return {"summary": simulate(resolved).summary}
    except GcsimError as error:
        return {"error": str(error), "final": True}
    except Exception as error:  # a sweep goes on whatever one point does
        return {"error": f"{type(error).__name__}: {error}"}


def _here(waiting: deque[GridPoint], ended: Ended, jobs: int | None) -> None:
    """Play in this process, until the rest is worth starting others."""
    began, played = perf_counter(), 0
    while waiting:
        workers = min(jobs or cores(), len(waiting))
        if workers > 1 and (jobs or _worth(waiting, perf_counter() - began, played, workers)):
            return
        point = waiting.popleft()
        waiting.extend(ended(point, play_point(point.resolved())))
        played += point.size


def _worth(waiting: Iterable[GridPoint], spent_s: float, played: int, workers: int) -> bool:
    left = sum(point.size for point in waiting)
    return played > 0 and spent_s / played * left * (1 - 1 / workers) > WORTH_S


def _in_processes(waiting: deque[GridPoint], ended: Ended, workers: int) -> None:
    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=workers)
    try:
        while waiting:
            # Whoever was playing when a process died is played again, alone: one of them kills it.
            for suspect in _elsewhere(waiting, ended, executor, lambda: 2 * workers):
                executor = get_reusable_executor(max_workers=workers)
                if list(_elsewhere(deque([suspect]), _into(waiting, ended), executor, lambda: 1)):
                    waiting.extend(ended(suspect, {"error": DIED}))
            executor = get_reusable_executor(max_workers=workers)
    except BaseException:
        get_reusable_executor().shutdown(wait=False, kill_workers=True)
        raise
    executor.shutdown()  # joblib.Parallel cannot go on with an executor that it did not start


def _into(waiting: deque[GridPoint], ended: Ended) -> Ended:
    """As `ended`, but what is further to be played waits."""

    def tell(point: GridPoint, record: Record) -> tuple[GridPoint, ...]:
        waiting.extend(ended(point, record))
        return ()

    return tell


def _elsewhere(
    waiting: deque[GridPoint], ended: Ended, executor: Executor, width: Callable[[], int]
) -> list[GridPoint]:
    """Play on an executor, `width()` points at once; those whose process died are returned.

    Ends when all are played, or when one died.
    """
    from concurrent.futures.process import BrokenProcessPool

    running: dict[Future[Record], GridPoint] = {}
    died: list[GridPoint] = []
    while running or (waiting and not died):
        room = 0 if died else width() - len(running)
        for _ in range(min(room, len(waiting))):
            point = waiting.popleft()
            try:
                running[executor.submit(play_point, point.resolved(), __version__)] = point
            except BrokenProcessPool:
                died.append(point)
                break
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            point = running.pop(future)
            record = _outcome(future)
            if record is None:
                died.append(point)
            else:
                waiting.extend(ended(point, record))
    return died


def _outcome(future: Future[Record]) -> Record | None:
    """What a worker returned; None: it died."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        return future.result()
    except BrokenProcessPool:
        return None
    except CancelledError as error:  # of Dask, when its scheduler is gone
        why, hint = "the scheduler is gone", "what is finished is kept where --out is given"
        raise ProfileError.one("sweep", "--dask", None, why, hint) from error
    except Exception as error:
        if type(error).__name__ == "KilledWorker":  # of Dask: it tried on several workers
            return None
        return {"error": f"{type(error).__name__}: {error}"}


@contextmanager
def _cluster(address: str, jobs: int | None) -> Iterator[tuple[Any, Executor]]:
    """A client of a Dask cluster, and its executor."""
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        hint = "pip install gcsim[dask]"
        raise ProfileError.one("sweep", "--dask", address, "needs Dask", hint) from error
    started = None
    try:
        if address == LOCAL:
            started = distributed.LocalCluster(
                n_workers=jobs or cores(), threads_per_worker=1, dashboard_address=None
            )
        client = distributed.Client(started or address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        hint = "give the address of a scheduler, tcp://HOST:8786, or local"
        raise ProfileError.one(
            "sweep", "--dask", address, "no Dask scheduler answers", hint
        ) from error
    executor = client.get_executor(pure=False)
    try:
        _same_version(client, address)
        yield client, executor
    finally:
        executor.shutdown(wait=False)  # cancels what still runs
        client.close()
        if started is not None:
            started.close()


def _threads(client: Any) -> int:
    """Of all workers that are there now; they may come and go."""
    threads: dict[str, int] = client.nthreads()
    return max(sum(threads.values()), 1)


def _same_version(client: Any, address: str) -> None:
    """Errors: `ProfileError` when a worker has no gcsim, or another version of it."""
    try:
        found = client.run(_version)
    except Exception as error:
        why = f"its workers cannot import gcsim: {error}"
        raise ProfileError.one("sweep", "--dask", address, why, "install it there") from error
    others = sorted({str(version) for version in found.values()} - {__version__})
    if others:
        why = f"has workers with gcsim {', '.join(others)}, here is {__version__}"
        raise ProfileError.one("sweep", "--dask", address, why, "install one version everywhere")


def _version() -> str:
    return __version__
