"""Lines of a trace file, plain or gzip, with their numbers and a limit on everything."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from gcsim.errors import Problem, ProfileError
from gcsim.traffic.traces.row import Skipped

LINE_BYTES_MAX = 64 * 1024 * 1024  # a session with all its block ids fits

Line = tuple[int, str]


def members(path: Path) -> list[Path]:
    """The trace files of a path: itself, or the files of a folder by name."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.is_file())
    if not found:
        raise ProfileError.one(str(path), "", None, "the folder holds no files")
    return found


def open_trace(path: Path) -> IO[bytes]:
    """A file as bytes; gzip is known by its first two bytes, not by its name."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        return cast(IO[bytes], gzip.open(path, "rb") if packed else path.open("rb"))
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
        raise ProfileError.one(str(path), "", None, why) from error


def numbered_lines(path: Path, skipped: Skipped) -> Iterator[Line]:
    """(number, text) of every line that is not empty; CRLF and a missing last newline are fine.

    A gzip stream that ends early, or a line that is too long, ends the reading: an error, or one
    skipped line.
    """
    number = 0
    with open_trace(path) as file:
        while True:
            number += 1
            try:
                raw = file.readline(LINE_BYTES_MAX + 1)
            except (EOFError, OSError, zlib.error) as error:
                why = "the file is cut or damaged: its gzip stream does not end"
                skipped.add(Problem(str(path), "", str(error), why, line=number))
                return
            if not raw:
                return
            if len(raw) > LINE_BYTES_MAX:
                why = f"the line is longer than {LINE_BYTES_MAX} bytes"
                raise ProfileError.one(str(path), "", None, why, "", number)
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                skipped.add(Problem(str(path), "", None, "is not UTF-8 text", line=number))
                continue
            if text:
                yield number, text


def whole_json(path: Path) -> str | None:
    """A file that is one JSON object over several lines, as one line; None if it is not that."""
    with open_trace(path) as file:
        try:
            text = file.read(LINE_BYTES_MAX + 1)
            if len(text) > LINE_BYTES_MAX:
                return None
            return json.dumps(json.loads(text))
        except (ValueError, EOFError, OSError, zlib.error, RecursionError):
            return None
