"""What can go wrong, said so that the reader can mend it: file, field, value, why, hint."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

# What a terminal obeys: control characters but tabs and line ends, and marks that turn text round.
OBEYED = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]"
)


def legible(text: str) -> str:
    r"""A text in which what a terminal would obey is spelled out.

    >>> print(legible("sn\x1b[31m40l"))
    sn\x1b[31m40l
    """
    return OBEYED.sub(lambda found: repr(found[0])[1:-1], text)


class GcsimError(Exception):
    """Any error that gcsim raises on purpose; the command line turns it into exit code 2."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input, and what to do about it.

    >>> print(
    ...     Problem("x.yaml", "memory.0.bandwith", None, "unknown key", "did you mean 'bandwidth'?")
    ... )
    x.yaml: memory.0.bandwith: unknown key; did you mean 'bandwidth'?
    """

    file: str
    field: str
    value: object
    why: str
    hint: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        field = f" {self.field}:" if self.field else ""
        value = f" (got {_short(self.value)})" if self.value is not None else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{where}:{field} {self.why}{value}{hint}"


class ProfileError(GcsimError):
    """An input file or setting is wrong; carries every problem found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(
            "\n".join(
                str(problem) + (f" ({index} of {count} errors)" if count > 1 else "")
                for index, problem in enumerate(self.problems, start=1)
            )
        )

    def __reduce__(self) -> tuple[type["ProfileError"], tuple[tuple[Problem, ...]]]:
        """Errors cross process borders (parallel runs) with their problems, not their text."""
        return type(self), (self.problems,)

    @classmethod
    def one(
        cls,
        file: str,
        field: str,
        value: object,
        why: str,
        hint: str = "",
        *,
        line: int | None = None,
    ) -> "ProfileError":
        """The common case of a single problem."""
        return cls([Problem(file, field, value, why, hint, line)])


class CapacityError(ProfileError):
    """A model, its KV cache or a request does not fit the memory it is given."""


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM: what was lost or kept, and the exit code, 128 + the signal's number."""

    def __init__(self, lost: str = "", code: int = 130) -> None:
        self.lost, self.code = lost or "nothing was written", code
        super().__init__(self.lost)

    @classmethod
    def by(cls, error: KeyboardInterrupt, lost: str) -> "Interrupted":
        """The same interrupt, by somebody who knows what is lost."""
        return cls(lost, getattr(error, "code", 130))


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint for an unknown name: the closest known one, else the whole list.

    >>> nearest("bandwith", ["bandwidth", "latency"])
    "did you mean 'bandwidth'?"
    """
    names = sorted(set(known))
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if names else ""


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
