"""Weka coding sessions (kv-cache-tester, AgentX): one session of Claude Code a record.

Block ids are known inside the session only. They say which earlier request a prompt continues, and
how many of its tokens (`keep`); what tools and system prompt share across sessions is modelled:
sessions with equally many tokens of each share them.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcsim.profiles.bounds import DELAY_S_MAX
from gcsim.traffic import ids
from gcsim.traffic.traces.fields import (
    delay,
    listed,
    name,
    seconds,
    text,
    texts,
    tokens,
    whole_numbers,
)
from gcsim.traffic.traces.row import BadLineError, Parsing, Record, Records, Row
from gcsim.traffic.trajectory import Span

BLOCK_IDS_MAX = 1 << 24
Runs = list[tuple[int, int]]  # first block id, number of ids


@dataclass(slots=True)
class _Session:
    """Rows so far, and for every block id the last row whose prompt held it (-1: none)."""

    size: int
    owner: NDArray[np.int32]
    rows: list[Row] = field(default_factory=list)


def weka(records: Records, parsing: Parsing) -> list[Row]:
    """A session: requests with block ids as `hash_ids`, or run-length as `h` [start, length, ...].

    Source: github.com/callanjfox/kv-cache-tester. Sub-agents that stand between two requests of the
    agent start when the first has ended, run side by side, and the second waits for all of them.

    Delays: a person's gap is `think_time`. After a tool result `think_time` is no tool time: the
    recording proxy let every turn run twice, and the twin's time sits in the gap; what is left of
    it is max(0, think_time - api_time), less the longest sub-agent.
    """
    record = records[0][1]
    _only_once(name(record, "id"), parsing)
    size = parsing.block_tokens or tokens(record, "block_size")
    if size == 0:
        raise BadLineError("block_size", 0, "must be above 0")
    entries = listed(record, "requests")
    flat = [q for e in entries for q in (listed(e, "requests") if _is_sub(e) else [e])]
    runs = [_runs(request, size) for request in flat]
    top = max((start + n for row in runs for start, n in row), default=0)
    session = _Session(size, np.full(top, -1, dtype=np.int32))
    each = iter(runs)
    waits: list[int] = []
    main, before, dur_s, prefix = -1, None, 0.0, _prefix(record)
    for entry in entries:
        if _is_sub(entry):
            waits.append(_sub_agent(session, entry, each, main))
            key = "dur_ms" if "dur_ms" in entry else "duration_ms"
            dur_s = max(dur_s, delay(entry, key, 1000) or 0.0)
            continue
        here = len(session.rows)
        row = _row(session, entry, next(each), prefix, ended=here, own=here)
        delay_s, human = _gap(entry, before, dur_s)
        waits = waits or ([main] if main >= 0 else [])
        session.rows.append(
            row._replace(delay_s=delay_s, human=human, waits_for=tuple(waits), opens=not here)
        )
        main, waits, before, dur_s = here, [], entry, 0.0
    return session.rows


def _only_once(session: str | None, parsing: Parsing) -> None:
    if session is not None and session in parsing.sessions:
        raise BadLineError("id", session, "comes twice: the same session, or another of its name?")
    if session is not None:
        parsing.sessions.add(session)


def _is_sub(entry: Record) -> bool:
    return "sub" in entry or entry.get("type") == "subagent"


def _sub_agent(session: _Session, entry: Record, each: Any, main: int) -> int:
    """Add the requests of one sub-agent, a chain after row `main`; the index of its last."""
    name(entry, "sub"), seconds(entry, "t")  # said, and not needed: its place says when it starts
    prefix, before, first = _prefix(entry), None, len(session.rows)
    for request in entry["requests"]:
        here = len(session.rows)
        row = _row(session, request, next(each), prefix, ended=main + 1, own=first)
        delay_s, human = _gap(request, before, 0.0)
        waits = (here - 1,) if here > first else (main,) if main >= 0 else ()
        session.rows.append(
            row._replace(delay_s=delay_s, human=human, waits_for=waits, opens=False, main=False)
        )
        before = request
    return len(session.rows) - 1


def _row(
    session: _Session, request: Record, runs: Runs, prefix: Span | None, *, ended: int, own: int
) -> Row:
    """A request with its parent: rows below `ended`, and from `own` on, have ended before it."""
    isl, osl, size = tokens(request, "in"), tokens(request, "out"), session.size
    hits, parent = _seen(session.owner, runs)
    here, count = len(session.rows), isl // size
    for start, n in runs:
        session.owner[start : start + n] = here
    model = text(request, "m") or text(request, "model")
    row = Row(
        isl, osl, block_tokens=size, block_count=count, block_hits=hits, prefix=prefix, model=model
    )
    if parent < 0 or ended <= parent < own:
        return row
    last = session.rows[parent]
    if hits < last.block_count:
        return row._replace(parent=parent, keep=min(isl, hits * size))
    whole = last.isl + max(1, last.osl)
    return row._replace(parent=parent, keep=None if isl >= whole else min(isl, last.isl))


def _seen(owner: NDArray[np.int32], runs: Runs) -> tuple[int, int]:
    """Leading blocks of a prompt that were seen before, and the last row that held them."""
    hits, parent = 0, -1
    for start, n in runs:
        part = owner[start : start + n]
        new = part < 0
        known = int(new.argmax()) if new.any() else n
        hits += known
        if known:
            parent = int(part[known - 1])
        if known < n:
            break
    return hits, parent


def _runs(request: Record, size: int) -> Runs:
    key = "h" if "h" in request else "hash_ids"
    raw = whole_numbers(request, key)
    if raw is None or (raw and min(raw) < 0):
        raise BadLineError(key, None, "is not a list of block ids")
    if key == "h":
        if len(raw) % 2 or 0 in raw[1::2]:
            raise BadLineError(key, None, "is not a list of [start, length] runs")
        runs = list(zip(raw[::2], raw[1::2], strict=True))
    elif raw and max(raw) >= BLOCK_IDS_MAX:
        raise BadLineError(key, None, f"a block id is above {BLOCK_IDS_MAX}")
    else:
        cuts = [0, *(np.flatnonzero(np.diff(raw) != 1) + 1).tolist(), len(raw)] if raw else [0]
        runs = [(raw[a], b - a) for a, b in pairwise(cuts)]
    isl, count = tokens(request, "in"), sum(n for _, n in runs)
    if count not in (isl // size, -(-isl // size)):
        why = f"{isl} tokens are {isl // size} blocks of {size}"
        raise BadLineError(key, f"{count} ids", why)
    if any(start + n > BLOCK_IDS_MAX for start, n in runs):
        raise BadLineError(key, None, f"a block id is above {BLOCK_IDS_MAX}")
    return runs


def _prefix(entry: Record) -> Span | None:
    tools = tokens(entry, "tool_tokens") if "tool_tokens" in entry else 0
    system = tokens(entry, "system_tokens") if "system_tokens" in entry else 0
    if tools + system == 0:
        return None
    return ids.shared("weka", f"{tools} tools {system} system"), tools + system


def _gap(request: Record, before: Record | None, sub_agents_s: float) -> tuple[float, bool]:
    """Delay [s] of a request after the one before, and whether a person made it."""
    think_s, api_s = delay(request, "think_time"), delay(request, "api_time") or 0.0
    now_s, kinds = seconds(request, "t"), texts(request, "it") or texts(request, "input_types")
    if before is None:
        return 0.0, False
    then_s = seconds(before, "t")
    if now_s is not None and then_s is not None and now_s < then_s:
        raise BadLineError("t", now_s, f"the time goes back: {then_s:.9g} s was before")
    if think_s is None:
        gap_s = (now_s or 0.0) - (then_s or 0.0) - (delay(before, "api_time") or 0.0)
        think_s = min(max(0.0, gap_s), DELAY_S_MAX)
    if "tool_result" not in kinds:
        return think_s, True
    return max(0.0, think_s - api_s - sub_agents_s), False
