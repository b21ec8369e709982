"""Lines of a trace file, plain or gzip, with their numbers and a limit on everything."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from gcsim.errors import Problem, ProfileError
from gcsim.traffic.traces.row import USUAL, Options, Skipped

LINE_BYTES_MAX = 64 * 1024 * 1024  # a session with all its block ids fits
EMPTY_LINES_MAX = 100_000  # in a row
# What a packed file may become: the public traces grow 2 to 10 times, gzip can make it 1,000 times.
UNPACKED_BYTES = 256 * 1024 * 1024
UNPACKED_TIMES = 250
_CHUNK = 1 << 20
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Line = tuple[int, str]


def members(path: Path) -> list[Path]:
    """The trace files of a path: itself, or the files of a folder by name."""
    try:
        if not path.is_dir():
            return [path]
        found = sorted(file for file in path.iterdir() if file.is_file())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not found:
        raise ProfileError.one(str(path), "", None, "the folder holds no files")
    return found


def open_trace(path: Path, options: Options) -> tuple[IO[bytes], float]:
    """A file as bytes, and how many may come out of it.

    gzip is known by its first two bytes, not by its name. A packed file may become
    `UNPACKED_BYTES`, or `UNPACKED_TIMES` its size where that is more; `unpacked_max` replaces this.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        if not packed:
            return path.open("rb"), float("inf")
        most = max(UNPACKED_BYTES, UNPACKED_TIMES * path.stat().st_size)
        return cast(IO[bytes], gzip.open(path, "rb")), options.unpacked_max or most
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError | ValueError) -> ProfileError:
    why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return ProfileError.one(str(path), "", None, why)


def numbered_lines(path: Path, skipped: Skipped, options: Options = USUAL) -> Iterator[Line]:
    """(number, text) of every line that is not empty; CRLF and a missing last newline are fine.

    A gzip stream that ends early ends the reading: an error, or one skipped line. A packed file
    that becomes too large is an error always.
    """
    number = empty = total = 0
    file, most = open_trace(path, options)
    with file:
        while True:
            number += 1
            try:
                raw = file.readline(LINE_BYTES_MAX + 1)
                total += len(raw)
                if len(raw) > LINE_BYTES_MAX:
                    total += _pass_over(file, most - total)
                    raw = raw[: LINE_BYTES_MAX + 1]
            except (EOFError, OSError, zlib.error) as error:
                why = "the file is cut or damaged: its gzip stream does not end"
                skipped.add(Problem(str(path), "", str(error), why, line=number))
                return
            if total > most:
                raise _too_large(path, most, number)
            if not raw:
                return
            text = _text(raw, number)
            if text is None:
                skipped.add(Problem(str(path), "", None, _why_none(raw, number), line=number))
            elif text:
                yield number, text
            empty = 0 if text else empty + 1
            if empty > EMPTY_LINES_MAX:
                why = f"more than {EMPTY_LINES_MAX} lines in a row are empty"
                raise ProfileError.one(str(path), "", None, why, line=number)


def _pass_over(file: IO[bytes], most: float) -> int:
    """Read to the end of a line that is too long, in pieces; how many bytes that were."""
    total = 0
    while total <= most and (raw := file.readline(_CHUNK)):
        total += len(raw)
        if raw.endswith(b"\n"):
            break
    return total


def _text(raw: bytes, number: int) -> str | None:
    """A line without its end and a mark at the beginning of the file; None where it is no text."""
    if len(raw) > LINE_BYTES_MAX or b"\0" in raw:
        return None
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError:
        return None


def _why_none(raw: bytes, number: int) -> str:
    if len(raw) > LINE_BYTES_MAX:
        return f"the line is longer than {LINE_BYTES_MAX} bytes"
    if number == 1 and raw[:2] in _UTF16:
        return "is UTF-16, not UTF-8 text"
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8 text (byte {error.start + 1} of the line)"
    return f"holds a NUL byte (byte {raw.index(0) + 1} of the line)"


def _too_large(path: Path, most: float, number: int) -> ProfileError:
    why = f"the packed file becomes larger than {most / 2**20:.4g} MiB"
    hint = "if it is sound, allow more: --unpacked-max, workload.trace.unpacked_max"
    return ProfileError.one(str(path), "", None, why, hint, line=number)


def whole_json(path: Path, options: Options = USUAL) -> str | None:
    """A file that is one JSON object over several lines, as one line; None if it is not that."""
    file, most = open_trace(path, options)
    with file:
        try:
            raw = file.read(LINE_BYTES_MAX + 1)
            if len(raw) > min(LINE_BYTES_MAX, most):
                return None
            return json.dumps(json.loads(raw.decode("utf-8-sig")))
        except (ValueError, EOFError, OSError, zlib.error, RecursionError):
            return None
