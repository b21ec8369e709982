"""The kernels say the same compiled and interpreted, and a change of one is seen by all callers."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from gcsim.engine.closed_loop import ServerLimits, schedule
from gcsim.machine import roofline
from gcsim.machine.machine import bind
from gcsim.profiles.deployment import Pool
from gcsim.profiles.resolve import load_chip, load_model

ROOT = Path(__file__).parents[2]
KERNELS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "gcsim").rglob("*.py")
    if re.search(r"^@numba\.njit", path.read_text(encoding="utf-8"), re.MULTILINE)
)


def python(*arguments: str, cwd: Path = ROOT, **more: str) -> str:
    """What a Python of its own prints, with the package of a folder."""
    environment = {**os.environ, "PYTHONPATH": str(cwd), **more}
    found = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def bits() -> list[list[str]]:
    """What the kernels find for random batches on a few machines of every kind."""
    rng = np.random.default_rng(0)
    found = []
    pools = [
        {"tp": 8},
        {"tp": 4, "ep": 2},
        {"tp": 8, "pp": 3},
        {"tp": 8, "speculation": {"draft_tokens": 3, "acceptance": 0.7, "draft_cost": 0.1}},
    ]
    chips, models = ("sn40l", "mi300x", "b200"), ("qwen3-32b", "gpt-oss-120b", "minimax-m2")
    for chip, model, more in product(chips, models, pools):
        if model == "qwen3-32b" and "ep" in more:
            continue  # groups share experts
        table = bind(load_model(model), Pool(chip=load_chip(chip), **more)).table
        for _ in range(4):
            batch = rng.integers(0, 4000, len(roofline.BATCH)).astype(np.float64)
            batch[roofline.GROWING] = min(batch[roofline.GROWING], batch[roofline.DECODE_SEQS])
            totals = np.zeros(len(roofline.TOTALS))
            gaps = np.zeros(roofline.GAP_BINS, np.int64)
            roofline.account(table, batch, totals, gaps, 5, 3)
            run = roofline.run_ns(table, batch, 9, 3, 5, 1 << 62)
            seconds = [*roofline.iteration_s(table, batch), *totals]
            found.append([*(float(s).hex() for s in seconds), str(run), str(gaps.nonzero()[0])])
    rows = np.stack(
        [np.append(rng.integers(0, 900, len(roofline.BATCH)), (1.0, 0.5)) for _ in "ab"]
    )
    roofline.add_chunks(rows, np.array([[0, 40, 3], [1, 7, 800], [1, 900, 0]]), 128)
    where = np.zeros(1, np.int64), np.array([0, 2])
    priced = roofline.price(table[None], *where, rows)
    isl, osl = rng.integers(1, 300, 30), rng.integers(1, 40, 30)
    played = schedule(isl, osl, ServerLimits(8, 256, 6, 1200, count_from=5), 64)
    return [*found, [float(s).hex() for s in (*priced[0], *played.ravel())]]


def test_compiled_and_interpreted_kernels_agree_bit_for_bit() -> None:
    program = "import json, test_interpreted as t; print(json.dumps([t.is_compiled(), t.bits()]))"
    path = os.pathsep.join((str(ROOT), str(Path(__file__).parent), str(ROOT / "tests")))
    text = python("-c", program, NUMBA_DISABLE_JIT="1", PYTHONPATH=path)
    assert json.loads(text) == [False, bits()]
    assert is_compiled()


def is_compiled() -> bool:
    return isinstance(roofline.iteration_s, Dispatcher)


def test_the_truths_hold_with_the_compiler_off() -> None:
    tests = ["tests/truth/test_roofline.py", "tests/unit/machine/test_roofline.py"]
    text = python("-m", "pytest", "-n0", "-pno:cacheprovider", *tests, NUMBA_DISABLE_JIT="1")
    assert "passed" in text


@pytest.mark.parametrize("name", KERNELS)
def test_no_kernel_calls_one_of_another_file(name: str) -> None:
    """numba renews a cached kernel when its own file changes, not when that of a callee does."""
    kernels = {k: v for k, v in vars(import_module(name)).items() if isinstance(v, Dispatcher)}
    own = [kernel for kernel in kernels.values() if kernel.py_func.__module__ == name]
    assert own
    for kernel in own:
        called = [kernels[n] for n in kernel.py_func.__code__.co_names if n in kernels]
        assert not [c for c in called if c.py_func.__module__ != name], kernel.py_func.__name__


def test_a_changed_formula_is_not_computed_from_an_old_cache(tmp_path: Path) -> None:
    """Half the experts are read, so decode is faster, though every kernel is cached on disk."""
    for name in ("gcsim", "hardware_profiles", "model_profiles"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import gcsim; print(gcsim.__file__, gcsim.estimate('h100-sxm', 2, 'gpt-oss-120b',"
        " isl=100, osl=20, concurrency=4).tpot_ms)"
    )
    before, again = (python("-c", program, cwd=tmp_path).split() for _ in range(2))
    assert before == again
    assert before[0].startswith(str(tmp_path))
    assert list(tmp_path.rglob("*.nbi")), "nothing was cached"
    source = tmp_path / "gcsim" / "machine" / "roofline.py"
    text = source.read_text(encoding="utf-8")
    line = "return max(touched, min(per_token * tokens, per_token))"
    assert text.count(line) == 1
    source.write_text(text.replace(line, f"return 0.5 * {line[7:]}"), encoding="utf-8")
    after = python("-c", program, cwd=tmp_path).split()
    assert float(after[1]) < 0.9 * float(before[1])
