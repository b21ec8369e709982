"""Results folders read back: `gcsim.load_results`."""

from pathlib import Path
from typing import Any

import pandas as pd

from gcsim.errors import ProfileError
from gcsim.profiles.resolve import resolve
from gcsim.results.folder import complete
from gcsim.results.result import Result

NEEDED = ("scenario", "deployment", "window_s", "classes", "tiers", "pools", "links")


def load_results(folder: str | Path) -> Result:
    """The `Result` that `gcsim run --out` (or `Result.save`) wrote to a folder, as it was.

    Tables, dtypes and summary are those of the run; nothing is played.
    Errors: `ProfileError` when a file of the folder is absent, cut off or of another run, and for
    a folder of replications, which has no requests.

    >>> import gcsim, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     played = gcsim.run("coding-agents", settings={"run.trajectories": 2}, out=folder + "/a")
    ...     gcsim.load_results(folder + "/a").requests.equals(played.requests)
    True
    """
    path = Path(folder)
    summary = complete(path)
    if "replications" in summary:
        why, hint = "holds replications, no single run", "gcsim run SCENARIO --out writes one"
        raise ProfileError.one(str(path), "", None, why, hint)
    if lost := [key for key in NEEDED if key not in summary]:
        why = "is the summary of another version"
        raise ProfileError.one(str(path / "summary.json"), lost[0], None, why, "run it again")
    requests, trajectories, timeline = (
        pd.read_parquet(path / f"{name}.parquet")
        for name in ("requests", "trajectories", "timeline")
    )
    pools, links = (_numeric(pd.DataFrame(summary[part])) for part in ("pools", "links"))
    resolved = resolve(path / "scenario.yaml")
    return Result(resolved, summary, requests, trajectories, pools, links, timeline)


def _numeric(table: pd.DataFrame) -> pd.DataFrame:
    """What is null in every row of a summary's list is a number that is missing."""
    empty: dict[Any, str] = {key: "float64" for key in table if table[key].isna().all()}
    return table.astype(empty)
