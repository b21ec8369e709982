"""One scenario on one deployment: `gcsim.run`, with its results folder and its bands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcsim.errors import Interrupted
from gcsim.profiles.library import opened
from gcsim.profiles.resolve import Resolved, resolve
from gcsim.results.folder import claimed
from gcsim.results.result import Result
from gcsim.simulate import Progress, simulate
from gcsim.studies.bands import banded, design


def load(
    scenario: str | Path | Resolved,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    library: str | Path | None = None,
) -> Resolved:
    """A scenario with settings, checked, as `run`, `compare` and the others take it.

    library: a folder of profiles that is searched before the shipped ones, for this scenario and
    for settings that it gets later; None: the one in `GCSIM_LIBRARY`, if it is set

    >>> load("coding-agents", {"run.trajectories": 4}).scenario.run.trajectories
    4
    """
    return resolve(scenario, settings, seed, opened(library))


def run(
    scenario: str | Path | Resolved,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    engine: str | None = None,
    out: str | Path | None = None,
    bands: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Play one scenario.

    scenario: a shipped name, a path, or what `gcsim.load` returned
    settings: dotted path -> value, as `--set` on the command line
    engine: `auto`, `compiled`, `coalesced` or `iteration`; the same records, bit for bit
    out: a folder for the results; progress: called with the number of ended trajectories
    bands: also play the low and high of the chips' values: `summary["bands"]` (docs/results.md)
    jobs: processes for that; None: as many as are worth it. The result does not depend on it.
    Errors: `ProfileError` (bad input), `CapacityError` (the model does not fit).

    >>> import gcsim
    >>> result = gcsim.run("coding-agents", settings={"run.trajectories": 4}, seed=1)
    >>> result.summary["completed"] == result.requests["counted"].sum()
    np.True_
    """
    extra = dict(settings or {}) | ({"engine": engine} if engine else {})
    ended = 0

    def tell(count: int) -> None:
        nonlocal ended
        ended = count
        if progress is not None:
            progress(count)

    with claimed(out) as earlier:
        resolved = load(scenario, extra, seed)
        try:
            result = simulate(resolved, progress=tell)
            if bands:
                base, more = ended, ended * len(design(resolved))
                result = banded(result, jobs, lambda done: tell(base + int(done * more)))
            if out is not None:
                result.save(out)
        except KeyboardInterrupt as error:
            lost = f"{ended} ended trajectories of {resolved.scenario.name} are lost"
            kept = f"{out} stays as it was, nothing" if earlier else "nothing"
            raise Interrupted.by(error, f"{lost}; {kept} was written") from error
    return result
