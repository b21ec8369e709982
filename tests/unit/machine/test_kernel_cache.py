"""Compiled kernels are kept where nobody else may write (gcsim.machine.kernel_cache)."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from gcsim.machine import roofline
from gcsim.machine.kernel_cache import folders, is_ours, kept

UNIX = pytest.mark.skipif(not hasattr(os, "getuid"), reason="modes are of Unix")


@UNIX
@pytest.mark.parametrize(
    ("mode", "ours"), [(0o700, True), (0o755, True), (0o777, False), (0o1777, False), (0o757, False)]
)
def test_a_folder_that_others_may_write_to_is_not_ours(
    tmp_path: Path, mode: int, ours: bool
) -> None:
    folder = tmp_path / "package"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__pycache__").chmod(mode)
    assert kept(str(folder / "kernels.py")) == ours


@UNIX
def test_one_that_is_yet_to_be_made_counts_as_what_it_is_made_in(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    assert kept(str(folder / "kernels.py"))
    folder.chmod(0o777)
    assert not kept(str(folder / "kernels.py"))


@UNIX
def test_the_folder_that_is_named_and_those_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert kept("x/machine/kernels.py")
    planted = tmp_path / "machine_0123"
    planted.mkdir()
    planted.chmod(0o777)
    assert planted in folders(Path("x/machine/kernels.py"))
    assert not kept("x/machine/kernels.py")


@UNIX
def test_somebody_else_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert is_ours(tmp_path) == (tmp_path.stat().st_uid == 0)
    monkeypatch.setattr(os, "getuid", lambda: -1)
    assert not is_ours(tmp_path / "absent")


@UNIX
@pytest.mark.slow
def test_nothing_is_left_in_a_folder_that_others_may_write_to(tmp_path: Path) -> None:
    """In a process of its own: `NUMBA_CACHE_DIR` is read when numba is loaded."""
    tmp_path.chmod(0o777)
    code = "from gcsim.machine.roofline import causal_pairs; print(causal_pairs(4.0, 2.0))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) == roofline.causal_pairs(4.0, 2.0)
    assert list(tmp_path.rglob("*")) == []
