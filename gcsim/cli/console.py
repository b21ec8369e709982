"""How the command line speaks: results on stdout, talk and progress on stderr, errors as text."""

import functools
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import typer

from gcsim.errors import GcsimError

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 100  # where there is no terminal to ask
AFTER_S = 1.0  # a progress bar for anything longer
TELL_S = 0.1  # between two looks at how far it is
COMPILING = "Compiling kernels (first run only)"
P = ParamSpec("P")
R = TypeVar("R")
Tell = Callable[[float], None]


class OutputFormat(StrEnum):
    """How a result is given."""

    table = "table"
    json = "json"


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose errors are messages: exit code 2, or 130, 143 when it is interrupted."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from gcsim.machine.kernel_cache import announced

        try:
            with announced(lambda: note(COMPILING)):
                return command(*args, **kwargs)
        except GcsimError as error:
            note(f"Error: {error}")
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            note(f"Interrupted: {getattr(error, 'lost', 'nothing was written')}.")
            raise typer.Exit(getattr(error, "code", 130)) from error

    return wrapped


def emit(result: "RenderableType | dict[str, Any]") -> None:
    """A result to stdout: text as it is, a mapping as JSON, anything else drawn by rich."""
    if isinstance(result, dict):
        result = json.dumps(result, indent=2, allow_nan=False, default=str)
    if isinstance(result, str):
        sys.stdout.write(result if result.endswith("\n") else f"{result}\n")
        return
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False, markup=False).print(result)
        return
    wanted = os.environ.get("COLUMNS", "")
    width = max(int(wanted), 40) if wanted.isdigit() else WIDTH
    console = Console(width=width, highlight=False, markup=False)  # names are no markup
    with console.capture() as drawn:
        console.print(result)
    text = "\n".join(line.rstrip() for line in drawn.get().splitlines())
    sys.stdout.write(re.sub(r"\n{3,}", "\n\n", text.strip("\n")) + "\n")


def note(text: str) -> None:
    """A line of talk to stderr."""
    sys.stderr.write(f"{text}\n")


@contextmanager
def progress(what: str, total: float | None) -> Iterator[Tell]:
    """A function to tell how far it is; draws a bar on a terminal after a second."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Left

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), TaskProgressColumn(), Elapsed(), TextColumn("left"), Left())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)
    late = threading.Timer(AFTER_S, bar.start)  # it draws itself then, whether told or not
    late.daemon = True
    late.start()
    shown = 0.0

    def tell(done: float) -> None:
        nonlocal shown
        if (now := monotonic()) - shown > TELL_S:
            shown = now
            bar.update(task, completed=done)

    try:
        yield tell
    finally:
        late.cancel()
        late.join()
        bar.stop()


def _silent(_: float) -> None:
    """Nobody watches."""
