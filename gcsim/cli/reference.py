"""docs/commands.md: every command with its arguments and options, read from the commands."""

from collections.abc import Iterator
from typing import Any

import typer

from gcsim.cli.app import app

HEAD = """\
# Every command

Written from the code by `make examples`; [examples of each](cli.md). Exit codes: 0 done, 1 a check
failed, 2 wrong input, 3 no plan holds, 130 and 143 interrupted.
"""


def commands() -> str:
    """The page.

    >>> "| `--window FROM:TO` |" in commands()
    True
    """
    lines = [HEAD]
    for name, command in _commands(typer.main.get_command(app), "gcsim"):
        lines.append(f"## {name}\n")
        lines.append(f"{_words(command.help or '')}\n")
        rows = [row for one in command.params if (row := _row(one))]
        if rows:
            lines.append("| argument or option | meaning | default |\n| --- | --- | --- |")
            lines += [*rows, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command by its whole name; groups by what is in them."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for own, below in inner.items():
        yield from _commands(below, f"{name} {own}")


def _row(one: Any) -> str:
    """A line of the table; none for --help."""
    meaning = getattr(one, "help", "") or ""
    if one.param_type_name == "argument":
        shown = (one.metavar or one.name).upper() + " ..." * (one.nargs == -1)
    else:
        if "--help" in one.opts:
            return ""
        shown = "/".join([*one.opts, *one.secondary_opts])
        if not one.is_flag and one.metavar:
            shown += f" {one.metavar}"
    if choices := getattr(getattr(one, "type", None), "choices", None):
        meaning += f" One of {', '.join(map(_choice, choices))}."
    given = one.default
    plain = given is not None and given is not False and not callable(given) and given != ()
    known = f"`{_choice(given)}`" if plain and "Sentinel" not in type(given).__name__ else ""
    default = "**needed**" if one.required else known
    return f"| `{shown}` | {_words(meaning)} | {default} |"


def _choice(value: object) -> str:
    return str(getattr(value, "value", value))


def _words(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
