"""Where compiled kernels are kept: never where somebody else could put other ones.

numba loads what it finds in its cache with `pickle`, so whoever may write there may run code. It
keeps kernels beside their module, else in the user's own cache folder, or where `NUMBA_CACHE_DIR`
says. Where another user may write to that, this process keeps its own in a folder of its own.
"""

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent.parent
# The folders with kernels.
COMPILED = (PACKAGE / "machine", PACKAGE / "engine", PACKAGE / "engine" / "compiled")
_asked: list[Callable[[], None]] = []  # who wants to know that kernels are being compiled


def settle() -> None:
    """Take a private folder, for this process, if others may write to where kernels are kept.

    To be called before the first kernel is declared: numba looks where to keep it then.
    """
    import numba

    config: Any = numba.config
    if all(map(is_ours, places(config.CACHE_DIR, COMPILED))):
        forget_older(COMPILED)
        return
    private = tempfile.mkdtemp(prefix="gcsim-kernels-")  # for nobody but this user
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    config.CACHE_DIR = private


@contextmanager
def announced(tell: Callable[[], None]) -> Iterator[None]:
    """Calls `tell` once if kernels are compiled inside, before the first: that takes a while.

    It loads nothing by itself; a kernel that is kept from an earlier process is not compiled.
    """
    _asked.append(tell)
    try:
        yield
    finally:
        if tell in _asked:
            _asked.remove(tell)


def listen() -> None:
    """Have numba say when it compiles (`announced`); to be called once."""
    from numba.core import event

    class Compiling(event.Listener):
        def on_start(self, event: object) -> None:
            del event
            while _asked:
                _asked.pop()()

        def on_end(self, event: object) -> None:
            pass

    register: Any = event.register
    register("numba:compile", Compiling())


def forget_older(modules: Iterable[Path]) -> None:
    """Remove the lists of kernels that are older than their source.

    numba would compile these anew, but reads the list first, and cannot where it names a type that
    the source has no more.
    """
    for folder in modules:
        for kept in (folder / "__pycache__").glob("*.nbi"):
            source = folder / f"{kept.name.split('.')[0]}.py"
            with suppress(OSError):
                if source.stat().st_mtime > kept.stat().st_mtime:
                    kept.unlink()


def places(named: str, modules: Iterable[Path]) -> list[Path]:
    """The folders, of those that are there, in which numba may keep or look for kernels.

    named: `NUMBA_CACHE_DIR`, or nothing; modules: the folders of sources
    """
    found: list[Path] = []
    for folder in modules:
        cache = Path(named) if named else folder / "__pycache__"
        if named and cache.is_dir():  # a folder in it for every folder of sources
            found += [each for each in cache.iterdir() if each.name.startswith(f"{folder.name}_")]
        if not named and not os.access(cache if cache.exists() else folder, os.W_OK):
            home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            cache = Path(home) / "numba"
        while not cache.exists() and cache != cache.parent:
            cache = cache.parent
        found.append(cache)
    return found


def is_ours(folder: Path) -> bool:
    """Whether nobody but this user, its own group and the administrator may write to a folder."""
    if not hasattr(os, "getuid"):  # Windows: the folders of a user are its own
        return True
    try:
        found = folder.stat()
    except OSError:
        return False
    if found.st_mode & stat.S_IWOTH or found.st_uid not in (os.getuid(), 0):
        return False
    return not found.st_mode & stat.S_IWGRP or found.st_gid in (os.getgid(), 0)
