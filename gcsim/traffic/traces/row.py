"""One request of a trace, whatever its format, and what is wrong with a line that is none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from gcsim.errors import Problem, ProfileError
from gcsim.traffic.trajectory import Span

PROBLEMS_KEPT = 20


class Row(NamedTuple):
    """A request: `isl` prompt and `osl` output tokens.

    time_s: when it was sent, on the clock of the trace [s]; None where the trace does not say
    delay_s: from the end of what it waits for to its sending [s]
    blocks: hash ids of what it appends, known in the whole trace; each is the id of the whole
        prefix up to it, and holds `block_tokens` tokens
    whole: `blocks` are those of its whole prompt, as they are where it has no parent
    block_count, block_hits: blocks of its prompt, and how many leading ones its session had seen
    parent, keep, waits_for: as in `Step`, places in the session
    prefix: what other sessions begin with too: tools and system prompt
    opens: it is the first of a session
    main: it is a request of the agent itself, not of a sub-agent
    """

    isl: int
    osl: int
    time_s: float | None = None
    delay_s: float = 0.0
    blocks: tuple[int, ...] | None = None
    block_tokens: int = 0
    whole: bool = False
    block_count: int = 0
    block_hits: int = 0
    parent: int = -1
    keep: int | None = None
    waits_for: tuple[int, ...] = ()
    prefix: Span | None = None
    human: bool = False
    model: str | None = None
    opens: bool = True
    main: bool = True


class BadLineError(ValueError):
    """What is wrong with one line; the reader adds file and line number."""

    def __init__(
        self, field: str, value: object, why: str, hint: str = "", line: int | None = None
    ) -> None:
        super().__init__(why)
        self.field, self.value, self.why, self.hint, self.line = field, value, why, hint, line

    def at(self, file: str, line: int) -> Problem:
        """The problem in its place; `line` where the error itself knows none."""
        return Problem(file, self.field, self.value, self.why, self.hint, self.line or line)


@dataclass(slots=True)
class Skipped:
    """What was left out: bad lines (without `allowed` the first one raises), failed requests.

    total: counts along, for a workload of several traces.
    """

    allowed: bool = False
    count: int = 0
    failed: int = 0  # requests that the trace itself marks as failed
    others: int = 0  # records of something else: spans of tools
    problems: list[Problem] = field(default_factory=list)  # the first few
    total: "Skipped | None" = None

    def forget(self) -> None:
        """Begin anew, for the trace is read again."""
        self.count = self.failed = self.others = 0
        self.problems = []

    def add(self, problem: Problem, lines: int = 1) -> None:
        """Count bad lines, or raise what is wrong with them as `ProfileError`."""
        if not self.allowed:
            hint = problem.hint or "--skip-bad-lines leaves such lines out and counts them"
            raise ProfileError.one(
                problem.file, problem.field, problem.value, problem.why, hint, line=problem.line
            )
        for counter in filter(None, (self, self.total)):
            counter.count += lines
            if len(counter.problems) < PROBLEMS_KEPT:
                counter.problems.append(problem)

    def fail(self) -> None:
        """Count a request that the trace marks as failed."""
        for counter in filter(None, (self, self.total)):
            counter.failed += 1

    def other(self) -> None:
        """Count a record that is of something else."""
        for counter in filter(None, (self, self.total)):
            counter.others += 1


@dataclass(frozen=True, slots=True)
class Options:
    """What a file does not say of itself; None everywhere: it is found out, or the usual.

    format: a name of `formats.FORMATS`; block_tokens: the size of its hash blocks
    columns: what holds what in a log, as in `logs.ALIASES`
    unpacked_max: bytes that a packed file may become
    """

    format: str | None = None
    block_tokens: int | None = None
    unpacked_max: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


USUAL = Options()


@dataclass(slots=True)
class Parsing:
    """What is known of a file while it is read: what a format's function needs besides records.

    origin: the first time (or number) of the trace, for formats that do not begin at 0
    sessions: names so far, for formats whose requests are not grouped by them
    columns: as in `Options`
    """

    block_tokens: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    origin: int | None = None
    sessions: set[str] = field(default_factory=set)
    skipped: Skipped = field(default_factory=Skipped)


class Cells(dict[str, str]):
    """A line of a CSV under its header: here, and only here, numbers are written as text."""


Record = Mapping[str, Any]
Records = list[tuple[int, Record]]  # with their line numbers
Parse = Callable[[Records, Parsing], list[Row]]


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """How one trace format is known and read.

    needs: keys of the first record (columns of the header) by which it is known
    parse: the records of one session (of one request, where there are no sessions) -> requests
    session: keys of which one names the session of a record; empty where a record stands alone
    block_tokens: size of the hash blocks; 0 without hashes
    split: a line -> its records; None: it is one. Such lines need not be in the order of their
        times: sessions are sorted by them, in memory
    """

    kind: Literal["csv", "jsonl", "any"]
    needs: frozenset[str]
    parse: Parse
    about: str
    session: tuple[str, ...] = ()
    block_tokens: int = 0
    split: Callable[[Record], list[Record]] | None = None
