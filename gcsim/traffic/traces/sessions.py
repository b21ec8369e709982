"""Formats whose records form sessions: each a function from a session's records to its `Row`s."""

from math import ceil
from typing import Any

from gcsim.traffic import ids
from gcsim.traffic.traces.fields import hashes, listed, seconds, time_of_day_ns, tokens
from gcsim.traffic.traces.row import BadLineError, Context, Record, Records, Row

CHARACTERS_PER_TOKEN = 4


def mooncake(records: Records, context: Context) -> list[Row]:
    """Mooncake (FAST'25): timestamp [ms], input_length, output_length, hash_ids.

    Source: github.com/kvcache-ai/Mooncake; with AIPerf's session_id and delay [ms], where
    input_length is what a later turn appends. A turn whose first hash is that of the turn before
    (or with context_mode message_array_with_responses, or prefix_reset) holds its whole prompt.
    """
    rows: list[Row] = []
    for line, record in records:
        try:
            rows.append(_mooncake(record, rows, context))
        except BadLineError as bad:
            bad.line = line
            raise
    return rows


def _mooncake(record: Record, rows: list[Row], context: Context) -> Row:
    given, osl = tokens(record, "input_length", "input_tokens"), _osl(record)
    size = context.block_tokens
    blocks = hashes(record, "hash_ids", given, size)
    key = "timestamp" if "timestamp" in record else "created_time"
    time_s = seconds(record, key, 1000)
    if not rows:
        return Row(given, osl, time_s, _delay(record), blocks, size)
    last, here = rows[-1], len(rows)
    delay_s = _delay(record)
    if time_s is not None and last.time_s is not None and "delay" not in record:
        delay_s = max(0.0, time_s - last.time_s)
    whole = record.get("context_mode") == "message_array_with_responses"
    whole = whole or bool(blocks and last.blocks and blocks[0] == last.blocks[0])
    row = Row(given, osl, time_s, delay_s, blocks, size, waits_for=(here - 1,), opens=False)
    if record.get("prefix_reset") or (whole and blocks):
        return row
    if whole:
        return row._replace(parent=here - 1, keep=min(given, last.isl))
    return row._replace(isl=last.isl + last.osl + given, parent=here - 1)


def _osl(record: Record) -> int:
    return tokens(record, "output_length", "output_tokens")


def _delay(record: Record) -> float:
    return seconds(record, "delay" if "delay" in record else "delay_ms", 1000) or 0.0


def aiperf(records: Records, _: Context) -> list[Row]:
    """AIPerf multi_turn: turns with text, timestamp or delay [ms], output_length.

    Source: github.com/ai-dynamo/aiperf. Texts are counted as 4 characters a token; equal texts at
    the start (a system turn) are shared by sessions. A turn waits for the answer before it; between
    timestamps it waits as long as they differ. Without output_length: 128 tokens.
    """
    record = records[0][1]
    rows: list[Row] = []
    prefix = None
    for turn in listed(record, "turns"):
        text = _text(turn)
        count = ceil(len(text) / CHARACTERS_PER_TOKEN)
        if not rows and turn.get("role") == "system" and prefix is None:
            prefix = (ids.shared("aiperf", text), count)
            continue
        osl = tokens(turn, "output_length") if "output_length" in turn else 128
        time_s = seconds(turn, "timestamp", 1000)
        delay_s, here = seconds(turn, "delay", 1000) or 0.0, len(rows)
        if not rows:
            isl = count + (prefix[1] if prefix else 0)
            rows.append(Row(isl, osl, time_s, delay_s, prefix=prefix))
            continue
        last = rows[-1]
        if time_s is not None and last.time_s is not None:
            delay_s = time_s - last.time_s
            if delay_s < 0:
                raise BadLineError("timestamp", time_s, "the time goes back inside the session")
        isl = last.isl + last.osl + count
        rows.append(
            Row(isl, osl, time_s, delay_s, parent=here - 1, waits_for=(here - 1,), opens=False)
        )
    if not rows:
        raise BadLineError("turns", None, "holds a system prompt and no turn")
    return rows


def _text(turn: Record) -> str:
    """All texts of a turn; each is a text or an object with `contents`."""
    texts: list[Any] = [turn["text"]] if "text" in turn else list(turn.get("texts") or ())
    found = []
    for item in texts:
        inner = item.get("contents") if isinstance(item, dict) else [item]
        if not isinstance(inner, list) or not all(isinstance(part, str) for part in inner):
            raise BadLineError("turns.text", item, "is not text")
        found += inner
    if not found:
        raise BadLineError("turns.text", None, "is missing", "gcsim reads lengths off the text")
    return "\n".join(found)


def tracelab_csv(records: Records, _: Context) -> list[Row]:
    """TraceLab replay: per round prefix, new input, output [tokens], the tools' time after it [ms].

    Source: github.com/uw-syfi/TraceLab, csv_export. arrival_time [ms] is the session's start.
    """
    rounds = []
    for number, (line, record) in enumerate(records):
        if tokens(record, "round_idx") != number:
            why = f"round {number} of the session should come here"
            raise BadLineError("round_idx", record["round_idx"], why, line=line)
        prefix = tokens(record, "prefix_len")
        isl, osl = prefix + tokens(record, "input_len"), tokens(record, "output_len")
        wait_s = seconds(record, "tool_wait_after_ms", 1000) or 0.0
        rounds.append((isl, prefix, osl, wait_s))
    start_s = seconds(records[0][1], "arrival_time", 1000)
    waits = [0.0, *(wait_s for *_, wait_s in rounds)]
    rows: list[Row] = []
    for (isl, prefix, osl, _wait_s), wait_s in zip(rounds, waits, strict=False):
        rows.append(_round(rows, isl, prefix, osl, wait_s, False)._replace(time_s=start_s))
    return rows


def tracelab(records: Records, _: Context) -> list[Row]:
    """TraceLab round_trace: per round tokens, the events' times, the tools' wall times.

    Source: github.com/uw-syfi/TraceLab. A round waits for the longest tool of the round before; a
    round that begins with a user message for the time since the last event.
    """
    rows: list[Row] = []
    last_ns, tools_s = 0, 0.0
    for line, record in records:
        try:
            events = listed(record, "timing_events")
            times = [time_of_day_ns(event, "timestamp") for event in events]
            human = events[0].get("event_type") == "user_message"
            delay_s = max(0.0, (times[0] - last_ns) / 1e9) if human else tools_s
            isl, prefix = tokens(record, "input_tokens_total"), tokens(record, "prefix_tokens")
            osl = tokens(record, "output_tokens")
            row = _round(rows, isl, prefix, osl, delay_s if rows else 0.0, human and bool(rows))
            rows.append(row._replace(model=record.get("model")))
            tools = record.get("tools") or []
            tools_s = max(
                (seconds(t, "tool_wall_latency_ms", 1000) or 0.0 for t in tools), default=0.0
            )
            last_ns = times[-1]
        except BadLineError as bad:
            bad.line = line
            raise
    return rows


def _round(rows: list[Row], isl: int, prefix: int, osl: int, delay_s: float, human: bool) -> Row:
    """One more round: it goes on where its prompt holds the last one's, else with its prefix."""
    here = len(rows)
    if not rows:
        shared = (ids.shared("tracelab", "prefix"), min(prefix, isl)) if prefix else None
        return Row(isl, osl, None, delay_s, prefix=shared)
    last = rows[-1]
    keep = None if isl >= last.isl + last.osl else min(prefix, last.isl, isl)
    parent = here - 1 if keep is None or keep > 0 else -1
    return Row(
        isl, osl, None, delay_s, parent=parent, keep=keep if parent >= 0 else None,
        waits_for=(here - 1,), human=human, opens=False,
    )  # fmt: skip
