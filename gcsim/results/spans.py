"""What every task does when: its steps by phase, the tools and people between them."""

import numpy as np
import pandas as pd

from gcsim.results.result import Result
from gcsim.results.summary import PHASES

COLUMNS = ["trajectory", "step", "part", "lane", "start_s", "end_s"]
WAITS = {(True, True): "tools and people", (True, False): "tools", (False, True): "people"}


def spans(result: Result, trajectory: int | None = None) -> pd.DataFrame:
    """A row per phase of every completed step, and per wait before one; by task, then by time.

    part: a phase, or `tools`; lane: where that is (`tools`, `network`, `pool ...`, `link`).
    A phase is as long as the row of `requests` says, and stands in the order of phases: half of the
    network, queue, prefill, KV transfer, decode, the other half (a preempted step queues twice, and
    its parts are joined). What lies between the last answer of the task and a step is its tools',
    or a person's.

    >>> import gcsim
    >>> result = gcsim.run("coding-agents", settings={"run.trajectories": 1, "arrivals.agents": 1})
    >>> rows = spans(result, 0)
    >>> round(float((rows["end_s"] - rows["start_s"]).sum() / result.trajectories["task_s"][0]), 6)
    1.0
    """
    done = result.requests[result.requests["status"] == "completed"]
    if trajectory is not None:
        done = done[done["trajectory"] == trajectory]
    done = done.sort_values(["trajectory", "sent_s"], kind="stable")
    lanes, sent = lanes_of(result), done["sent_s"].to_numpy()
    half = done["network_s"].to_numpy() / 2
    parts = [("network", half)]
    parts += [(name, done[f"{name}_s"].to_numpy()) for name in PHASES if name != "network"]
    tables, at = [_waits(result, done)], sent
    for name, seconds in [*parts, ("network", half)]:
        end = at + seconds
        tables.append(_rows(done, name, lanes[name], at, end))
        at = end
    found = pd.concat(tables, ignore_index=True)
    found = found[found["end_s"] > found["start_s"]]
    return found.sort_values(["trajectory", "start_s"], kind="stable").reset_index(drop=True)


def lanes_of(result: Result) -> dict[str, str]:
    """Phase -> where it happens: the network, pools, the link between them."""
    pools = {name: pool.role for name, pool in result.resolved.scenario.deployment.pools.items()}
    first = [name for name, role in pools.items() if role in ("prefill", "mixed")]
    then = [name for name, role in pools.items() if role in ("decode", "mixed")]
    before, after = (f"pool {', '.join(names)}" for names in (first, then))
    lanes = {"network": "network", "queue": before, "prefill": before}
    return lanes | {"kv_transfer": "link", "decode": after}


def _waits(result: Result, done: pd.DataFrame) -> pd.DataFrame:
    """From the last answer of its task before it to the sending of each step."""
    tasks = result.trajectories.set_index("trajectory")
    begun = np.full(len(done), np.nan)
    sent, ends = done["sent_s"].to_numpy(), (done["sent_s"] + done["e2e_s"]).to_numpy()
    for places in _places(done, "trajectory"):
        known = np.sort(ends[places])
        before = np.searchsorted(known, sent[places] + 1e-9, side="right") - 1
        begun[places] = np.where(before >= 0, known[before], sent[places])
    has = tasks.loc[done["trajectory"], ["tools_s", "human_s"]].to_numpy() > 0
    lanes = [WAITS.get((bool(tool), bool(person)), "tools") for tool, person in has]
    return _rows(done, "tools", lanes, np.minimum(begun, sent), sent)


def _rows(
    done: pd.DataFrame, part: str, lane: str | list[str], start: np.ndarray, end: np.ndarray
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trajectory": done["trajectory"].to_numpy(),
            "step": done["step"].to_numpy(),
            "part": part,
            "lane": lane,
            "start_s": start,
            "end_s": end,
        },
        columns=COLUMNS,
    )


def in_rows(table: pd.DataFrame, by: str = "lane") -> pd.DataFrame:
    """The same, with `row`: which of the rows of its lane (or what `by` says) is free for it.

    No two of one row overlap; `rows`: how many the lane has.
    """
    row, rows = np.zeros(len(table), dtype=int), np.ones(len(table), dtype=int)
    starts, ends = table["start_s"].to_numpy(), table["end_s"].to_numpy()
    for places in _places(table, by):
        free: list[float] = []  # when each row is free
        for place in places[np.argsort(starts[places], kind="stable")]:
            mine = next((k for k, at in enumerate(free) if at <= starts[place] + 1e-9), len(free))
            if mine == len(free):
                free.append(0.0)
            free[mine] = ends[place]
            row[place] = mine
        rows[places] = len(free)
    return table.assign(row=row, rows=rows)


def _places(table: pd.DataFrame, by: str) -> list[np.ndarray]:
    """Where the rows of each group are."""
    numbers = table.groupby(by, sort=False).ngroup().to_numpy()
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    return np.split(order, ends) if len(order) else []
