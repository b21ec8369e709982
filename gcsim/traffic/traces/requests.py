"""Formats with one request a record: each a small function from a record to its `Row`."""

from gcsim.traffic.traces.fields import hashes, name, number, seconds, text, time_of_day_ns, tokens
from gcsim.traffic.traces.row import BadLineError, Parsing, Record, Records, Row


def azure(records: Records, parsing: Parsing) -> list[Row]:
    """Azure LLM inference traces 2023 and 2024: time of day, context and generated tokens.

    Source: github.com/Azure/AzurePublicDataset. The first request is at 0 s.
    """
    record = records[0][1]
    time_ns = time_of_day_ns(record, "TIMESTAMP")
    if parsing.origin is None:
        parsing.origin = time_ns
    time_s = (time_ns - parsing.origin) / 1e9
    return [Row(tokens(record, "ContextTokens"), tokens(record, "GeneratedTokens"), time_s)]


def burstgpt(records: Records, parsing: Parsing) -> list[Row]:
    """BurstGPT: seconds since the first midnight, tokens; no response tokens: it failed.

    Source: github.com/HPMLL/BurstGPT. Session ids (newer files) are counted, not played: what a
    conversation's requests share is not recorded.
    """
    record = records[0][1]
    isl, osl = tokens(record, "Request tokens"), tokens(record, "Response tokens")
    time_s, model, session = (
        seconds(record, "Timestamp"),
        text(record, "Model"),
        name(record, "Session ID"),
    )
    if osl == 0:
        parsing.skipped.fail()
        return []
    opens = session is None or session not in parsing.sessions
    if session is not None:
        parsing.sessions.add(session)
    return [Row(isl, osl, time_s, model=model, opens=opens)]


def vidur(records: Records, _: Parsing) -> list[Row]:
    """Vidur: arrived_at [s] (or lengths only), prefill and decode tokens.

    Source: github.com/microsoft/vidur.
    """
    record = records[0][1]
    isl, osl = tokens(record, "num_prefill_tokens"), tokens(record, "num_decode_tokens")
    return [Row(isl, osl, seconds(record, "arrived_at"))]


def splitwise(records: Records, _: Parsing) -> list[Row]:
    """Splitwise simulator: arrival_timestamp [s], prompt_size, token_size.

    Source: github.com/Mutinifni/splitwise-sim.
    """
    record = records[0][1]
    time_s = seconds(record, "arrival_timestamp")
    return [Row(tokens(record, "prompt_size"), tokens(record, "token_size"), time_s)]


def bailian(records: Records, parsing: Parsing) -> list[Row]:
    """Bailian (Qwen): timestamp [s], whole prompts with hashes of 16-token blocks.

    Source: github.com/alibaba-edu/qwen-bailian-usagetraces-anon. The turns of a chat
    (parent_chat_id, -1 in the first) are sent at their own times; the hashes say what they share.
    """
    record = records[0][1]
    isl = tokens(record, "input_length")
    row = Row(
        isl,
        tokens(record, "output_length"),
        seconds(record, "timestamp"),
        blocks=hashes(record, "hash_ids", isl, parsing.block_tokens),
        block_tokens=parsing.block_tokens,
    )
    return [row._replace(opens=_opens(record, parsing))]


def _opens(record: Record, parsing: Parsing) -> bool:
    """Is this the first turn of its chat? A parent is an earlier chat; or lies before the file.

    Chats are numbered in the order of the trace, so that a file which begins in the middle of it
    names parents below its own first number.
    """
    chat, parent = number(record, "chat_id"), number(record, "parent_chat_id")
    if chat is None or chat < 0 or str(chat) in parsing.sessions:
        why = "is missing" if chat is None else "is negative" if chat < 0 else "comes twice"
        raise BadLineError("chat_id", chat, why)
    if parsing.origin is None:
        parsing.origin = chat
    if parent is None or parent < -1:
        raise BadLineError("parent_chat_id", parent, "is no chat, and not -1")
    if parent >= parsing.origin and str(parent) not in parsing.sessions:
        raise BadLineError("parent_chat_id", parent, "is no earlier chat")
    parsing.sessions.add(str(chat))
    return parent == -1
