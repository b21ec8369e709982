"""What a schedule without a clock leaves out: the fixed time of a request delays its client's next.

The engine plays every prepared point once under some factors. The logarithm of its time over the
schedule's hardly depends on them; it is carried along in every later pricing of that point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log

from gcsim.calibration.factors import Name, with_factors
from gcsim.calibration.fit import FITTED, Prepared, Pricer
from gcsim.calibration.match import Setup, on_chips
from gcsim.calibration.points import Point
from gcsim.calibration.tape import load_of
from gcsim.calibration.validate import in_tasks, simulate_point

Key = tuple[str, str]  # (point, metric)


def with_feedback(ready: Prepared, values: Mapping[Name, float], jobs: int = 2) -> Prepared:
    """The prepared points with `shift`: log(engine / schedule) of every row under some factors."""
    from joblib import Parallel, delayed

    bare = replace(ready, shift={})
    pricer = Pricer(bare)
    errors = pricer.errors(values)
    scheduled = {
        (ready.points[k].id, metric): float(error)
        for (k, _, metric, _), error in zip(pricer.rows, errors, strict=True)
    }
    setups = [on_chips(setup, lambda chip: with_factors(chip, values)) for setup in ready.setups]
    tasks = in_tasks(list(zip(ready.points, setups, strict=True)), lambda run: run[0].concurrency)
    found: dict[Key, float] = {}
    for played in Parallel(n_jobs=jobs)(delayed(_played)(task) for task in tasks):
        found |= {key: error - scheduled[key] for key, error in played.items()}
    return replace(ready, shift=found)


def _played(task: Sequence[tuple[Point, Setup]]) -> dict[Key, float]:
    """log(modeled / published) by (point, metric), as the engine plays it."""
    found = {}
    for point, setup in task:
        modeled = simulate_point(point, setup, load_of(point))
        for metric in FITTED:
            if modeled and metric in point.published and modeled[metric] > 0:
                found[point.id, metric] = log(modeled[metric] / point.published[metric])
    return found
