"""What is built, what it holds, and what an import costs."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gcsim
from gcsim.version import __version__

ROOT = Path(__file__).parents[2]
LIBRARY = ["hardware_profiles", "model_profiles", "workloads", "scenarios", "validation"]
HEAVY = {"numba", "pandas", "simpy", "pint", "pydantic", "matplotlib", "scipy", "pyarrow", "numpy"}


def python(code: str, *args: str, cwd: Path = ROOT, path: Path = ROOT) -> str:
    """Run code in a fresh interpreter that finds gcsim at `path` first; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_is_whole_and_works_from_anywhere(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path)
    tops = {path.name for path in tmp_path.iterdir()}
    assert tops == {"gcsim", f"gcsim-{gcsim.__version__}.dist-info"}

    def files(folder: Path) -> set[str]:
        return {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert (tmp_path / "gcsim/py.typed").is_file()
    for name in LIBRARY:
        at_home = files(ROOT / name)
        assert at_home, name
        assert files(tmp_path / "gcsim/data" / name) == at_home

    run = "import gcsim, gcsim.cli.app; print(gcsim.__file__); gcsim.cli.app.main()"
    away = tmp_path / "away"
    away.mkdir()
    file, *listed = python(run, "list", "chips", cwd=away, path=tmp_path).splitlines()
    assert Path(file).parent == tmp_path / "gcsim"
    for chip in (ROOT / "hardware_profiles/chips").glob("*.yaml"):
        assert chip.stem in "\n".join(listed)


def test_the_sdist_can_build_the_wheel(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        tops = {Path(name).parts[1] for name in sdist.getnames()}
    needed = {"gcsim", "pyproject.toml", "README.md", "LICENSE", "requirements.lock", *LIBRARY}
    assert needed <= tops


def test_import_is_light() -> None:
    loaded = python("import sys, gcsim; print(*sys.modules)").split()
    assert HEAVY.intersection(loaded) == set()


@pytest.mark.parametrize("args", [["--help"], ["list", "chips"]], ids=" ".join)
def test_a_light_command_does_not_load_numba(args: list[str]) -> None:
    code = (
        "import atexit, sys; from gcsim.cli.app import main;"
        "atexit.register(lambda: print('LOADED', *sys.modules)); main()"
    )
    loaded = python(code, *args).rpartition("LOADED")[2].split()
    assert "gcsim.cli.app" in loaded
    assert {"numba", "simpy", "matplotlib"}.intersection(loaded) == set()


@pytest.mark.parametrize("name", sorted({*gcsim.__all__} - {"__version__"}))
def test_the_facade_is_complete(name: str) -> None:
    assert getattr(gcsim, name).__name__ == name
    assert name in dir(gcsim)


def test_the_facade_knows_its_limits() -> None:
    with pytest.raises(AttributeError, match="module 'gcsim' has no attribute 'nothing'"):
        gcsim.nothing  # noqa: B018


def test_one_version() -> None:
    assert version("gcsim") == gcsim.__version__ == __version__


LOCKS = {  # what each holds: the product, or more
    "requirements.lock": [],
    "requirements-notebook.lock": ["notebook"],
    "requirements-dev.lock": ["notebook", "dev"],
}


def pins(lock: str) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_answers_pyproject_and_names_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|--(extra-)?index-url|--find-links", text)

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *(w for extra in LOCKS[lock] for w in extras[extra])]:
        wanted = Requirement(line)
        pinned = pins(lock).get(canonicalize_name(wanted.name), "nothing: run 'make lock'")
        assert wanted.specifier.contains(pinned, prereleases=True), f"{line}: locked {pinned}"


def test_all_locks_have_the_same_versions() -> None:
    whole = pins("requirements-dev.lock")
    for lock in LOCKS:
        assert pins(lock).items() <= whole.items(), lock


def test_what_users_install_is_what_the_product_needs() -> None:
    """Every package of the lock, and no other, is needed by a dependency of gcsim."""
    needed, waiting = set[str](), ["gcsim"]
    while waiting:
        name = waiting.pop()
        for line in requires(name) or ():
            wanted = Requirement(line)
            other = canonicalize_name(wanted.name)
            if other not in needed and (not wanted.marker or wanted.marker.evaluate()):
                needed.add(other)
                waiting.append(other)
    elsewhere = {"colorama", "tzdata"}  # on Windows, or where a system has no time zones
    locked = set(pins("requirements.lock"))
    assert needed <= locked
    assert locked - needed <= elsewhere
    assert not {"pytest", "mypy", "jupyterlab", "ruff", "distributed"} & locked


def licence(name: str) -> str:
    """The licence that an installed package states."""
    found = metadata(name)
    stated = found.get("License-Expression") or ""
    classified = [
        line.rpartition(" :: ")[2]
        for line in found.get_all("Classifier", [])
        if line.startswith("License :: ")
    ]
    text = stated or ", ".join(sorted(classified)) or (found.get("License") or "unknown")
    return text.splitlines()[0][:60]


def test_the_licences_of_what_users_install_are_listed() -> None:
    """docs/licences.md is written by `make examples`."""
    rows = []
    for name in sorted(pins("requirements.lock")):
        try:
            rows.append(f"| {name} | {licence(name)} |")
        except PackageNotFoundError:  # of another platform
            rows.append(ELSEWHERE[name])
    text = "\n".join(
        [
            "# Licences",
            "",
            "gcsim is Apache-2.0. What `requirements.lock` installs beside it, as packages state:",
            "",
            "| package | licence |",
            "| --- | --- |",
            *rows,
            "",
        ]
    )
    path = ROOT / "docs/licences.md"
    if os.environ.get("GCSIM_REWRITE_EXAMPLES"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "run 'make examples'"
    assert not re.search(r"\b(AGPL|GPL)|unknown", text.replace("LGPL", ""))


ELSEWHERE = {
    "colorama": "| colorama | BSD-3-Clause |",
    "tzdata": "| tzdata | Apache-2.0 |",
}
UNSAFE = re.compile(
    r"\b(pickle|eval|exec|marshal|shelve)\b\.?\w*\(|\bimport (pickle|marshal|shelve)\b"
    r"|yaml\.(unsafe|full)_load|UnsafeLoader|FullLoader|shell=True|os\.system"
)


@pytest.mark.parametrize("module", sorted((ROOT / "gcsim").rglob("*.py")), ids=lambda p: p.stem)
def test_nothing_that_is_read_can_run(module: Path) -> None:
    """No pickle, no eval, no YAML tags beyond the safe ones, no shell."""
    lines = module.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if UNSAFE.search(line)]


def test_unsafe_calls_are_found() -> None:
    for line in ("pickle.loads(x)", "import pickle", "eval(x)", "yaml.unsafe_load(x)"):
        assert UNSAFE.search(line), line
    assert not UNSAFE.search("marker.evaluate()")
