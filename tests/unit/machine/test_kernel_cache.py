"""Compiled kernels are kept where nobody else may write (gcsim.machine.kernel_cache)."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from gcsim.machine import roofline
from gcsim.machine.kernel_cache import COMPILED, forget_older, is_ours, places, settle

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="modes are of Unix")


@pytest.mark.parametrize(
    ("mode", "ours"),
    [(0o700, True), (0o755, True), (0o777, False), (0o1777, False), (0o757, False)],
)
def test_a_folder_that_others_may_write_to_is_not_ours(
    tmp_path: Path, mode: int, ours: bool
) -> None:
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    cache.chmod(mode)
    assert places("", [tmp_path]) == [cache]
    assert is_ours(cache) == ours


def test_one_that_is_yet_to_be_made_counts_as_what_it_is_made_in(tmp_path: Path) -> None:
    assert places("", [tmp_path]) == [tmp_path]
    assert places(str(tmp_path / "a" / "b"), COMPILED) == [tmp_path for _ in COMPILED]


def test_folders_in_the_one_that_is_named_count_too(tmp_path: Path) -> None:
    planted = tmp_path / "machine_0123"
    planted.mkdir()
    planted.chmod(0o777)
    assert planted in places(str(tmp_path), COMPILED)
    assert not is_ours(planted)


def test_somebody_else_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_ours(tmp_path)
    assert not is_ours(tmp_path / "absent")
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert is_ours(tmp_path) == (tmp_path.stat().st_uid == 0), "but the administrator's is"


def test_a_private_folder_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    settle()
    assert str(tmp_path) == numba.config.CACHE_DIR
    tmp_path.chmod(0o777)
    settle()
    assert str(tmp_path) != numba.config.CACHE_DIR
    assert Path(numba.config.CACHE_DIR).stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_nothing_is_kept_in_a_folder_that_others_may_write_to(tmp_path: Path) -> None:
    """In a process of its own: numba reads `NUMBA_CACHE_DIR` when it is loaded."""
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


def test_what_is_older_than_its_source_is_forgotten(tmp_path: Path) -> None:
    kept = tmp_path / "__pycache__"
    kept.mkdir()
    for name, source_s in (("older", 20), ("newer", 5)):
        (tmp_path / f"{name}.py").touch()
        (kept / f"{name}.f-1.py311.nbi").touch()
        os.utime(tmp_path / f"{name}.py", (source_s, source_s))
        os.utime(kept / f"{name}.f-1.py311.nbi", (10, 10))
    forget_older([tmp_path])
    assert [each.name for each in kept.iterdir()] == ["newer.f-1.py311.nbi"]


COLD = """
import sys
from gcsim.cli.console import guarded
from gcsim.machine import kernel_cache

@guarded
def compiles():
    kernel_cache.listen()
    import numba
    kernel = numba.njit(lambda x: x + 1)
    assert kernel(1) == 2 and kernel(1.0) == 2.0

for command in (compiles, guarded(lambda: None)):
    command()
assert "numba" in sys.modules
"""


def test_it_is_said_once_when_kernels_are_compiled() -> None:
    done = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=True)
    assert done.stderr == "Compiling kernels (first run only)\n"
    code = "import sys; import gcsim.machine.kernel_cache; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
