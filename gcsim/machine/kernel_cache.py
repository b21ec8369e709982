"""Where compiled kernels are kept: never where somebody else could put other ones.

numba loads what it finds in its cache with `pickle`, so whoever may write there may run code. It
keeps kernels beside the module, else in the user's own cache folder, or where `NUMBA_CACHE_DIR`
says. Where another user may write to that, kernels are compiled anew in each process.
"""

import os
import stat
from pathlib import Path

import numba


def kept(module_file: str) -> bool:
    """Whether the kernels of a module may be kept: the `cache` of `numba.njit`.

    >>> kept(__file__) in (True, False)
    True
    """
    return all(is_ours(folder) for folder in folders(Path(module_file)))


def folders(module: Path) -> list[Path]:
    """Where numba may keep the kernels of a module, as far as it exists."""
    named = numba.config.CACHE_DIR
    wanted = Path(named) if named else module.parent / "__pycache__"
    found = [wanted]
    while not found[-1].exists() and found[-1] != found[-1].parent:
        found.append(found[-1].parent)
    if named and wanted.is_dir():  # numba makes a folder in it for every folder of sources
        begin = f"{module.parent.name}_"
        found += [below for below in wanted.iterdir() if below.name.startswith(begin)]
    return [folder for folder in found if folder.exists()]


def is_ours(folder: Path) -> bool:
    """Whether nobody but this user, its own group and the administrator may write to a folder."""
    if not hasattr(os, "getuid"):  # Windows: folders of a user are its own
        return True
    try:
        found = folder.stat()
    except OSError:
        return False
    if found.st_mode & stat.S_IWOTH or found.st_uid not in (os.getuid(), 0):
        return False
    return not found.st_mode & stat.S_IWGRP or found.st_gid in (os.getgid(), 0)
