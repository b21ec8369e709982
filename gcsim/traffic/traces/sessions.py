"""Formats whose records form sessions: each a function from a session's records to its `Row`s."""

from dataclasses import dataclass, field
from math import ceil
from typing import Any

from gcsim.profiles.bounds import DELAY_S_MAX
from gcsim.traffic import ids
from gcsim.traffic.traces.fields import (
    delay,
    flag,
    hashes,
    listed,
    number,
    seconds,
    text,
    texts,
    time_of_day_ns,
    tokens,
)
from gcsim.traffic.traces.row import BadLineError, Parsing, Record, Records, Row
from gcsim.traffic.traces.turns import turn_after
from gcsim.traffic.trajectory import Span

CHARACTERS_PER_TOKEN = 4
AIPERF_OSL = 128  # where a turn does not say
TRACELAB = ids.shared("tracelab", "prefix")


@dataclass(slots=True)
class _Prompts:
    """Which turns of a Mooncake session hold their whole prompts, and what these continue.

    first: first hash of the last whole prompt that fills a block (shorter ones change theirs)
    repeated: hashes that begin several turns; holders: for every hash the last prompt that held it
    """

    repeated: set[int]
    first: int | None = None
    holders: dict[int, int] = field(default_factory=dict)
    before: tuple[int, ...] = ()

    def is_whole(self, blocks: tuple[int, ...] | None) -> bool:
        if not blocks:
            return False
        return blocks[0] == self.first or (self.first is None and blocks[0] in self.repeated)

    def add(self, blocks: tuple[int, ...], here: int) -> tuple[int, int]:
        """Add a whole prompt: how many leading blocks were seen, and the last turn with them."""
        before, self.before = self.before, blocks
        hits = max(0, min(len(before), len(blocks)) - 1)
        if blocks[:hits] != before[:hits]:
            hits = 0
        while hits < len(blocks) and blocks[hits] in self.holders:
            hits += 1
        parent = self.holders[blocks[hits - 1]] if hits else -1
        self.holders.update(dict.fromkeys(blocks, here))
        return hits, parent


def mooncake(records: Records, parsing: Parsing) -> list[Row]:
    """Mooncake (FAST'25): timestamp [ms], input_length, output_length, hash_ids.

    Source: github.com/kvcache-ai/Mooncake; with AIPerf's session_id and delay [ms], where
    input_length is what a later turn appends. A turn whose first hash is that of the turns before
    (or with context_mode message_array_with_responses, or prefix_reset) holds its whole prompt: it
    goes on where its hashes do. A prompt that holds all whole blocks of an earlier one goes on with
    that one's output too, if it is long enough; else with the blocks that both have.
    """
    prompts = _Prompts(_repeated(records))
    rows: list[Row] = []
    for line, record in records:
        try:
            rows.append(_mooncake(record, rows, prompts, parsing.block_tokens))
        except BadLineError as bad:
            bad.line = line
            raise
    return rows


def _repeated(records: Records) -> set[int]:
    """The hashes that begin several turns, which are not said to begin afresh."""
    seen: set[int] = set()
    repeated: set[int] = set()
    for _, record in records:
        found = record.get("hash_ids")
        first = found[0] if isinstance(found, list) and found else None
        if type(first) is int and not record.get("prefix_reset"):
            (repeated if first in seen else seen).add(first)
    return repeated


def _mooncake(record: Record, rows: list[Row], prompts: _Prompts, size: int) -> Row:
    given, osl = tokens(record, "input_length", "input_tokens"), _osl(record)
    blocks = hashes(record, "hash_ids", given, size)
    key = "timestamp" if "timestamp" in record else "created_time"
    time_s, delay_s = seconds(record, key, 1000), _delay(record)
    reset = flag(record, "prefix_reset")
    whole = text(record, "context_mode") == "message_array_with_responses"
    here, isl, parent, keep = len(rows), given, -1, None
    if here and delay_s is None:
        delay_s = _since(key, time_s, rows[-1])
    if here and not (reset or whole or prompts.is_whole(blocks)):
        isl, parent, whole = rows[-1].isl + rows[-1].osl + given, here - 1, False
    else:
        parent, keep = _continued(rows, prompts, given, blocks or (), size)
        parent, whole = (-1, False) if reset or parent < 0 else (parent, True)
    return Row(
        isl,
        osl,
        time_s,
        delay_s or 0.0,
        blocks,
        size,
        whole,
        parent=parent,
        keep=keep if parent >= 0 else None,
        waits_for=(here - 1,) if here else (),
        opens=not here,
    )


def _continued(
    rows: list[Row], prompts: _Prompts, isl: int, blocks: tuple[int, ...], size: int
) -> tuple[int, int | None]:
    """The turn that a whole prompt goes on with (-1: none), and what it keeps of that."""
    hits, parent = prompts.add(blocks, len(rows)) if blocks else (0, len(rows) - 1)
    if blocks and isl >= size:
        prompts.first = blocks[0]
    if parent < 0 or not isl:
        return -1, None
    last = rows[parent]
    if blocks and hits < last.isl // size:
        return parent, min(isl, hits * size)
    return parent, None if isl >= last.isl + max(1, last.osl) else min(isl, last.isl)


def _osl(record: Record) -> int:
    return tokens(record, "output_length", "output_tokens")


def _delay(record: Record) -> float | None:
    return delay(record, "delay" if "delay" in record else "delay_ms", 1000)


def _since(key: str, time_s: float | None, last: Row) -> float:
    """The time [s] since the turn before, by the times of both; 0 where one has none."""
    if time_s is None or last.time_s is None:
        return 0.0
    if time_s < last.time_s:
        raise BadLineError(key, time_s, "the time goes back inside the session")
    if time_s - last.time_s > DELAY_S_MAX:
        raise BadLineError(key, time_s, f"is more than {DELAY_S_MAX:g} s after the turn before")
    return time_s - last.time_s


def aiperf(records: Records, _: Parsing) -> list[Row]:
    """AIPerf multi_turn: turns with text, timestamp or delay [ms], output_length.

    Source: github.com/ai-dynamo/aiperf. Texts are counted as 4 characters a token; equal texts at
    the start (a system turn) are shared by sessions. A turn waits for the answer before it; between
    timestamps it waits as long as they differ. Without output_length: 128 tokens.
    """
    rows: list[Row] = []
    prefix = None
    for line, record in records:
        for turn in listed(record, "turns"):
            try:
                prefix = _turn(rows, turn, prefix)
            except BadLineError as bad:
                bad.line = line
                raise
    if not rows:
        raise BadLineError("turns", None, "holds a system prompt and no turn")
    return rows


def _turn(rows: list[Row], turn: Record, prefix: Span | None) -> Span | None:
    """Add a turn to the rows, or make the system prompt the prefix."""
    content = _text(turn)
    count = ceil(len(content) / CHARACTERS_PER_TOKEN)
    role, time_s = text(turn, "role"), seconds(turn, "timestamp", 1000)
    osl = tokens(turn, "output_length") if "output_length" in turn else AIPERF_OSL
    delay_s, here = delay(turn, "delay", 1000) or 0.0, len(rows)
    if not rows and role == "system" and prefix is None:
        return (ids.shared("aiperf", content), count) if count else None
    if not rows:
        isl = count + (prefix[1] if prefix else 0)
        rows.append(Row(isl, osl, time_s, delay_s, prefix=prefix))
        return prefix
    last = rows[-1]
    if time_s is not None and last.time_s is not None:
        delay_s = _since("timestamp", time_s, last)
    row = Row(last.isl + last.osl + count, osl, time_s, delay_s, parent=here - 1)
    rows.append(row._replace(waits_for=(here - 1,), opens=False))
    return prefix


def _text(turn: Record) -> str:
    """All texts of a turn; each is a text or an object with `contents`."""
    raw: Any = turn["text"] if "text" in turn else turn.get("texts")
    found: list[str] = []
    for item in raw if isinstance(raw, list) else [] if raw is None else [raw]:
        if isinstance(item, dict):
            found += texts(item, "contents")
        elif isinstance(item, str):
            found.append(item)
        else:
            raise BadLineError("turns.text", item, "is not text")
    if not found:
        raise BadLineError("turns.text", None, "is missing", "gcsim reads lengths off the text")
    return "\n".join(found)


def tracelab_csv(records: Records, _: Parsing) -> list[Row]:
    """TraceLab replay: per round prefix, new input, output [tokens], the tools' time after it [ms].

    Source: github.com/uw-syfi/TraceLab, csv_export. arrival_time [ms] is the session's start.
    """
    rows: list[Row] = []
    start_s, wait_s = seconds(records[0][1], "arrival_time", 1000), 0.0
    for place, (line, record) in enumerate(records):
        try:
            if tokens(record, "round_idx") != place:
                why = f"round {place} of the session should come here"
                raise BadLineError("round_idx", record["round_idx"], why)
            if seconds(record, "arrival_time", 1000) != start_s:
                why = "is not that of the session's first round"
                raise BadLineError("arrival_time", record["arrival_time"], why)
            prefix, osl = tokens(record, "prefix_len"), tokens(record, "output_len")
            row = turn_after(rows, prefix + tokens(record, "input_len"), prefix, osl, TRACELAB)
            rows.append(row._replace(time_s=start_s, delay_s=wait_s))
            wait_s = delay(record, "tool_wait_after_ms", 1000) or 0.0
        except BadLineError as bad:
            bad.line = line
            raise
    return rows


def tracelab(records: Records, _: Parsing) -> list[Row]:
    """TraceLab round_trace: per round tokens, the events' times, the tools' wall times.

    Source: github.com/uw-syfi/TraceLab. A round waits for the longest tool of the round before; a
    round that begins with a user message for the time since the last event.
    """
    rows: list[Row] = []
    at, begun_ns, ended_ns, tools_s = -1, 0, 0, 0.0
    for line, record in records:
        try:
            first_ns, last_ns, human = _events(record, begun_ns)
            place = number(record, "round_index")
            if place is not None and place <= at:
                raise BadLineError("round_index", place, f"does not follow round {at}")
            isl, prefix = tokens(record, "input_tokens_total"), tokens(record, "prefix_tokens")
            if prefix > isl:
                raise BadLineError("prefix_tokens", prefix, f"the prompt has only {isl}")
            row = turn_after(rows, isl, prefix, tokens(record, "output_tokens"), TRACELAB)
            if rows:
                delay_s = max(0.0, (first_ns - ended_ns) / 1e9) if human else tools_s
                row = row._replace(delay_s=delay_s, human=human)
            rows.append(row._replace(model=text(record, "model")))
            at = at if place is None else place
            tools = listed(record, "tools", least=0)
            walls = [delay(tool, "tool_wall_latency_ms", 1000) or 0.0 for tool in tools]
            tools_s = max(walls, default=0.0)
            begun_ns, ended_ns = first_ns, last_ns
        except BadLineError as bad:
            bad.line = line
            raise
    return rows


def _events(record: Record, begun_ns: int) -> tuple[int, int, bool]:
    """First and last time of a round [ns], and whether a person began it."""
    events = listed(record, "timing_events")
    times = [time_of_day_ns(event, "timestamp") for event in events]
    kinds = [text(event, "event_type") for event in events]
    if min(times) < begun_ns:
        raise BadLineError("timing_events", None, "the time goes back inside the session")
    if begun_ns and max(times) - begun_ns > DELAY_S_MAX * 1e9:
        why = f"more than {DELAY_S_MAX:g} s lie between two rounds"
        raise BadLineError("timing_events", None, why)
    return min(times), max(times), kinds[0] == "user_message"
