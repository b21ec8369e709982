"""Sound traces of every format as somebody else's tool might write them."""

import random
from collections.abc import Callable
from typing import Any

Rows = list[Any]


def rows(rng: random.Random) -> tuple[str, Rows]:
    """A format and the records, or lines of cells, of a small trace."""
    name = rng.choice([*MAKERS, *HEADERS])
    count = rng.randint(1, 8)
    if name in MAKERS:
        return name, MAKERS[name](rng, count)
    cells = [CELLS[name](rng, k) for k in range(count)]
    return name, [list(HEADERS[name]), *cells]


def _many(rng: random.Random, least: int = 1, most: int = 3000) -> int:
    return rng.randint(least, most)


def _at(k: int) -> str:
    return f"2025-03-01T10:{k % 60:02d}:0{k % 10}.{k % 1000:03d}Z"


def mooncake(rng: random.Random, count: int) -> Rows:
    """JSONL with hash blocks, some with sessions."""
    found, time = [], 0
    for k in range(count):
        time += rng.choice([0, 1, 100, 5000])
        isl = _many(rng, 1, 5000)
        blocks = list(range(k * 3, k * 3 + (isl + 511) // 512))
        row = {"timestamp": time, "input_length": isl, "output_length": _many(rng, 1, 200)}
        if rng.random() < 0.8:
            row["hash_ids"] = blocks
        if rng.random() < 0.4:
            row["session_id"] = rng.choice("abc")
        if rng.random() < 0.2:
            row["delay"] = _many(rng)
            del row["timestamp"]
        found.append(row)
    return found


def weka(rng: random.Random, count: int) -> Rows:
    """Sessions with the blocks of each request, and sub-agents."""
    found = []
    for session in range(rng.randint(1, 3)):
        requests: Rows = []
        blocks: list[int] = []
        time = 0.0
        for k in range(count):
            blocks = [*blocks, session * 1000 + k]
            time += rng.random() * 10
            request = {
                "t": time, "type": "n", "model": "claude", "out": _many(rng, 1, 100),
                "in": len(blocks) * 64 - rng.randint(0, 60), "hash_ids": blocks,
                "api_time": rng.random() * 3, "think_time": rng.random(),
            }  # fmt: skip
            requests.append(request)
            if rng.random() < 0.3:
                inner = {"t": time, "type": "subagent", "agent_id": "x", "duration_ms": 4000}
                requests.append({**inner, "requests": [dict(request)], "status": "completed"})
        about = {"id": f"s{session}", "models": ["claude"], "block_size": 64}
        sizes = {"tool_tokens": _many(rng), "system_tokens": _many(rng)}
        found.append({**about, **sizes, "requests": requests})
    return found


def aiperf(rng: random.Random, count: int) -> Rows:
    """Turns with their texts."""

    def turn(k: int) -> dict[str, Any]:
        when = {"timestamp": k * 100} if rng.random() < 0.5 else {"delay": _many(rng)}
        text = "hello " * rng.randint(1, 30)
        return {"text": text, "output_length": _many(rng, 1, 50), **when}

    return [
        {"session_id": f"s{k}", "turns": [turn(j) for j in range(rng.randint(1, 4))]}
        for k in range(count)
    ]


def bailian(rng: random.Random, count: int) -> Rows:
    """Conversations that name the one before."""
    return [
        {
            "chat_id": k + 1, "parent_chat_id": k if k and rng.random() < 0.5 else -1,
            "timestamp": k * 1.5, "input_length": _many(rng), "output_length": _many(rng, 1, 99),
            "type": "text", "turn": k, "hash_ids": list(range(rng.randint(1, 9))),
        }
        for k in range(count)
    ]  # fmt: skip


def tracelab(rng: random.Random, count: int) -> Rows:
    """Rounds with dates of their events."""
    return [
        {
            "session_id": rng.choice("ab"), "round_index": k, "model": "m",
            "input_tokens_total": _many(rng, 500), "prefix_tokens": _many(rng, 0, 500),
            "output_tokens": _many(rng, 1, 99),
            "tools": [{"tool_name": "bash", "tool_wall_latency_ms": _many(rng)}],
            "timing_events": [
                {"event_type": "user_message", "timestamp": _at(2 * k)},
                {"event_type": "text", "timestamp": _at(2 * k + 1)},
            ],
        }
        for k in range(count)
    ]  # fmt: skip


def log(rng: random.Random, count: int) -> Rows:
    """Usage of OpenAI's or Anthropic's kind, spans, or plain columns."""
    kind = rng.choice([_openai, _anthropic, _spans, _plain])
    return kind(rng, count)


def _openai(rng: random.Random, count: int) -> Rows:
    return [
        {
            "created": 1.7e9 + 10 * k, "model": "gpt", "session_id": rng.choice("ab"),
            "usage": {
                "prompt_tokens": _many(rng), "completion_tokens": _many(rng, 1, 99),
                "prompt_tokens_details": {"cached_tokens": _many(rng, 0, 100)},
            },
        }
        for k in range(count)
    ]  # fmt: skip


def _anthropic(rng: random.Random, count: int) -> Rows:
    def usage() -> dict[str, int]:
        read = {"cache_read_input_tokens": _many(rng, 0, 99), "cache_creation_input_tokens": 5}
        return {"input_tokens": _many(rng), "output_tokens": _many(rng, 1, 99), **read}

    return [{"timestamp": _at(k), "usage": usage()} for k in range(count)]


def _spans(rng: random.Random, count: int) -> Rows:
    def span(k: int) -> dict[str, Any]:
        start = 1_700_000_000_000_000_000 + k * 10**9
        tokens = {"input": {"intValue": str(_many(rng))}, "output": {"intValue": _many(rng, 1, 99)}}
        attributes: Rows = [
            {"key": f"gen_ai.usage.{way}_tokens", "value": value} for way, value in tokens.items()
        ]
        attributes += [{"key": "gen_ai.conversation.id", "value": {"stringValue": "c"}}]
        times = {"startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 5 * 10**8)}
        return {"traceId": "t", "spanId": str(k), "name": "chat", **times, "attributes": attributes}

    return [{"resourceSpans": [{"scopeSpans": [{"spans": [span(k) for k in range(count)]}]}]}]


def _plain(rng: random.Random, count: int) -> Rows:
    return [
        {"isl": _many(rng), "osl": _many(rng, 1, 99), "time": k * 2.5, "session": rng.choice("ab")}
        for k in range(count)
    ]


def native(rng: random.Random, count: int) -> Rows:
    """gcsim's own: graphs of steps."""
    found = []
    for task in range(count):
        steps: Rows = []
        for k in range(rng.randint(1, 4)):
            append = [[task * 100 + k, _many(rng, 1, 500)]]
            step: dict[str, Any] = {"append": append, "osl": _many(rng, 1, 99)}
            if k and rng.random() < 0.4:
                step |= {"parent": k - 1, "delay_s": rng.random()}
            if k and rng.random() < 0.3:
                step |= {"waits_for": [k - 1]}
            if k and rng.random() < 0.2:
                step |= {"keep": 5, "human": True, "model": "worker"}
            steps.append(step)
        more = {"start_s": task * 0.5, "priority": rng.choice([0, 1])}
        found.append({"workload": "w", **more, "steps": steps})
    return found


MAKERS: dict[str, Callable[[random.Random, int], Rows]] = {
    "mooncake": mooncake,
    "weka": weka,
    "aiperf": aiperf,
    "bailian": bailian,
    "tracelab": tracelab,
    "log": log,
    "gcsim": native,
}
HEADERS = {
    "azure": ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    "burstgpt": ("Timestamp", "Session ID", "Model", "Request tokens", "Response tokens"),
    "splitwise": ("arrival_timestamp", "prompt_size", "token_size"),
    "vidur": ("arrived_at", "num_prefill_tokens", "num_decode_tokens"),
    "tracelab_csv": (
        "session_id", "round_idx", "prefix_len", "input_len", "output_len", "tool_wait_after_ms",
    ),
}  # fmt: skip
CELLS: dict[str, Callable[[random.Random, int], Rows]] = {
    "azure": lambda r, k: [f"2023-11-16 18:{k:02d}:03.9799600", _many(r), _many(r, 1, 99)],
    "burstgpt": lambda r, k: [k * 5, "s", "ChatGPT", _many(r), _many(r, 1, 99)],
    "splitwise": lambda r, k: [k / 3, _many(r), _many(r, 1, 99)],
    "vidur": lambda r, k: [k / 7, _many(r), _many(r, 1, 99)],
    "tracelab_csv": lambda r, k: [k // 3, k % 3, _many(r), _many(r), _many(r, 1, 99), _many(r)],
}
