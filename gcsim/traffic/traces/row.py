"""One request of a trace, whatever its format, and what is wrong with a line that is none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from gcsim.errors import Problem, ProfileError

TOKENS_MAX = 10_000_000  # of one request: the largest context window anybody sells
PROBLEMS_KEPT = 20


class Row(NamedTuple):
    """A request: `isl` prompt and `osl` output tokens.

    time_s: when it was sent, from the start of the trace [s]; None where the trace does not say
    session: the name of its session; None for a request that stands alone
    delay_s: from the end of the session's previous request to its sending [s]
    blocks: hash ids of its prompt blocks, each the id of the whole prefix up to it
    runs: block ids as [start, length, start, length, ...], known only inside the session
    parent: index in the session of the request whose context it continues; -1 starts afresh
    waits_for: indices of the requests that ended before it was sent
    prefix: leading tokens (tools and system prompt) that other sessions have too
    """

    line: int
    isl: int
    osl: int
    time_s: float | None = None
    session: str | None = None
    delay_s: float | None = None
    blocks: tuple[int, ...] | None = None
    runs: tuple[int, ...] | None = None
    parent: int = -1
    waits_for: tuple[int, ...] = ()
    prefix: int = 0
    human: bool = False
    model: str | None = None
    main: bool = True


class BadLine(ValueError):
    """What is wrong with one line; the reader adds file and line number."""

    def __init__(self, field: str, value: object, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.field, self.value, self.why, self.hint = field, value, why, hint


@dataclass(slots=True)
class Skipped:
    """Lines that were left out because they are wrong; without `allowed` the first one raises."""

    allowed: bool = False
    count: int = 0
    problems: list[Problem] = field(default_factory=list)  # the first few

    def add(self, problem: Problem) -> None:
        """Count a bad line, or raise it as `ProfileError`."""
        if not self.allowed:
            hint = problem.hint or "--skip-bad-lines goes on without it"
            raise ProfileError.one(
                problem.file, problem.field, problem.value, problem.why, hint, problem.line
            )
        self.count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(problem)


@dataclass(slots=True)
class Context:
    """What a format's function may need besides its record.

    origin: the first time of the trace, for formats that write the time of day
    """

    line: int = 0
    block_tokens: int = 0
    origin: int | None = None


Record = Mapping[str, Any]
Parse = Callable[[Record, Context], list[Row]]


@dataclass(frozen=True, slots=True)
class Format:
    """How one trace format is known and read.

    needs: keys of the first record (columns of the header) by which it is known
    parse: one record -> the requests in it: one, or all of a session
    block_tokens: size of the hash blocks; 0 without hashes
    """

    kind: Literal["csv", "jsonl"]
    needs: frozenset[str]
    parse: Parse
    about: str
    block_tokens: int = 0


def tokens(record: Record, key: str, least: int = 0) -> int:
    """A token count of a record, checked.

    >>> tokens({"n": "12"}, "n"), tokens({"n": 12}, "n"), tokens({"n": "12.0"}, "n")
    (12, 12, 12)
    """
    raw = record.get(key)
    if raw is None:
        raise BadLine(key, None, "is missing")
    try:
        value = int(raw) if isinstance(raw, int | str) else float(raw)
    except (TypeError, ValueError):
        try:
            value = float(raw)
        except (TypeError, ValueError):
            raise BadLine(key, raw, "is not a number") from None
    if isinstance(raw, bool) or value != value or value != value // 1:
        raise BadLine(key, raw, "is not a whole number of tokens")
    if value < least:
        raise BadLine(key, raw, "is negative" if value < 0 else f"is below {least}")
    if value > TOKENS_MAX:
        raise BadLine(key, raw, f"is too large: more than {TOKENS_MAX} tokens in one request")
    return int(value)


def seconds(record: Record, key: str, scale: float = 1.0) -> float | None:
    """A time of a record in units of `scale` seconds; None where it is absent or empty.

    Times in whole milliseconds are divided, not multiplied, so that they come back exactly.
    """
    raw = record.get(key)
    if raw is None or raw == "":
        return None
    try:
        value = float(raw)
    except (TypeError, ValueError):
        raise BadLine(key, raw, "is not a time") from None
    if isinstance(raw, bool) or not 0 <= value < 1e15:
        raise BadLine(key, raw, "is negative" if value < 0 else "is not a finite time")
    return value / round(1 / scale) if scale < 1 else value * scale


def ids(record: Record, key: str, isl: int, block_tokens: int) -> tuple[int, ...] | None:
    """The hash ids of a record: one for every block of the prompt, the last one may be partial."""
    raw = record.get(key)
    if raw is None:
        return None
    if not isinstance(raw, list) or not all(type(item) is int for item in raw):
        raise BadLine(key, None, "is not a list of whole numbers")
    count = -(-isl // block_tokens)
    if len(raw) != count:
        hint = "name the size: block_tokens (--set workload.trace.block_tokens=N)"
        raise BadLine(
            key, f"{len(raw)} ids", f"{isl} tokens make {count} blocks of {block_tokens}", hint
        )
    return tuple(raw)
