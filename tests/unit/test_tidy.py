"""House rules that no linter knows, kept as tests (after TigerBeetle's tidy.zig)."""

import ast
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "gcsim").rglob("*.py"))
SHIPPED = (
    "gcsim hardware_profiles model_profiles workloads scenarios validation docs notebooks tests"
)
TEXTS = sorted(
    path
    for place in (ROOT, *(ROOT / name for name in SHIPPED.split()))
    for path in (place.glob("*") if place == ROOT else place.rglob("*"))
    if path.name == "Makefile"
    or path.suffix in {".csv", ".ipynb", ".lock", ".md", ".py", ".toml", ".yaml"}
)
MODULE_LINES_MAX = 500
LONGER = {"roofline.py": 800}  # kernels that call each other share a file, or caches go stale
FUNCTION_LINES_MAX = 70
ARGUMENTS_MAX, BY_PLACE_MAX = 8, 5
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")  # split: this file is read too
SKIP = "fmt: " + "skip"  # that what is aligned by hand comes apart: names in place of tuples
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|root)" + "/")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def each(name: str, paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(name, paths, ids=lambda path: str(path.relative_to(ROOT)))


each_module = each("module", MODULES)
each_text = each("text", TEXTS)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_exit(node: ast.AST) -> bool:
    """Is this `print(`, `exit(`, `sys.exit`, `os._exit` or `SystemExit`?"""
    match node:
        case ast.Call(func=ast.Name(id="print" | "exit" | "quit")):
            return True
        case ast.Attribute(value=ast.Name(id="sys" | "os"), attr="exit" | "_exit"):
            return True
        case ast.ImportFrom(module="sys" | "os", names=names):
            return any(alias.name in {"exit", "_exit"} for alias in names)
        case ast.Name(id="SystemExit"):
            return True
    return False


@each_module
def test_a_module_is_short(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= LONGER.get(
        module.name, MODULE_LINES_MAX
    )


@each_module
def test_a_function_is_short(module: Path) -> None:
    long = {
        node.name: lines
        for node in ast.walk(tree(module))
        if isinstance(node, Function)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert not long


@each_module
def test_a_function_has_few_arguments(module: Path) -> None:
    """Commands apart: typer makes an option of each argument (`guarded` marks them).

    Helpers of one file and compiled kernels may be given all of theirs by place.
    """
    many = {
        node.name: counts
        for node in ast.walk(tree(module))
        if isinstance(node, Function) and "guarded" not in map(ast.unparse, node.decorator_list)
        if (counts := arguments(node))[0] > ARGUMENTS_MAX
        or (counts[1] > BY_PLACE_MAX and not (node.name.startswith("_") or is_kernel(node)))
    }
    assert not many


def is_kernel(function: Function) -> bool:
    """Compiled by numba, which takes arguments by place."""
    return any(
        word in ast.unparse(decorator)
        for decorator in function.decorator_list
        for word in ("njit", "compiled")
    )


def test_arguments_are_counted() -> None:
    parsed = ast.parse("def f(self, a, b=1, /, c=2, *d, e, **f): ...").body[0]
    assert isinstance(parsed, Function)
    assert arguments(parsed) == (4, 3)


def arguments(function: Function) -> tuple[int, int]:
    """(All of them, those that may be given by place), without self and cls."""
    found = function.args
    places = [argument.arg for argument in (*found.posonlyargs, *found.args)]
    by_place = len(places) - (places[:1] in (["self"], ["cls"]))
    return by_place + len(found.kwonlyargs), by_place


@each_module
def test_no_format_is_skipped(module: Path) -> None:
    assert SKIP not in module.read_text(encoding="utf-8")


def test_no_files_import_each_other_in_a_circle() -> None:
    """Type-checking imports included, and those within functions: what a reader has to know."""
    assert circles(import_graph()) == []


def test_circles_are_found() -> None:
    chain = {"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a"}}
    assert circles(chain) == []
    assert circles({**chain, "c": {"a"}, "e": {"d"}}) == [["a", "b", "c"]]


def import_graph() -> dict[str, set[str]]:
    """Module -> the modules of gcsim that it imports, anywhere in its file."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in MODULES
    }
    return {name: imported(tree(path), names.keys()) - {name} for name, path in names.items()}


def imported(parsed: ast.Module, known: Collection[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
    return found & set(known)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The modules that reach each other, circle by circle."""
    reach = {name: reached(name, graph) for name in graph}
    found = {
        tuple(sorted(other for other in reach[name] if name in reach[other]))
        for name in graph
        if name in reach[name]
    }
    return [list(circle) for circle in sorted(found)]


def reached(name: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = set(graph[name])
    while waiting:
        seen.add(one := waiting.pop())
        waiting |= graph[one] - seen
    return seen


@each_module
def test_only_the_cli_prints_or_exits(module: Path) -> None:
    if module.parent.name == "cli" or module.name == "__main__.py":
        return
    assert not [ast.unparse(node) for node in ast.walk(tree(module)) if is_exit(node)]


@each_module
def test_imports_are_absolute(module: Path) -> None:
    assert not [
        ast.unparse(node)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and node.level
    ]


@each_module
def test_what_is_public_is_explained(module: Path) -> None:
    public = [
        node
        for node in tree(module).body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
        if "overload" not in map(ast.unparse, node.decorator_list)
    ]
    assert ast.get_docstring(tree(module)), "the module has no docstring"
    assert not [node.name for node in public if not ast.get_docstring(node)]


@each_module
def test_some_test_names_the_module(module: Path) -> None:
    name = ".".join(module.relative_to(ROOT).with_suffix("").parts)
    if name.startswith("gcsim.engine.compiled."):
        name = "gcsim.engine.compiled.play"  # its parts cannot be called by themselves
    if module.name != "__init__.py":
        assert name in named_by_tests()


@cache
def named_by_tests() -> frozenset[str]:
    """Every dotted gcsim name that a test imports or mentions."""
    named: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        named.update(re.findall(r"gcsim(?:\.\w+)+", path.read_text(encoding="utf-8")))
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom):
                named.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(named)


@each_text
def test_a_text_is_finished_and_names_no_machine(text: Path) -> None:
    content = text.read_text(encoding="utf-8")
    assert not UNFINISHED.findall(content)
    assert not [line for line in content.splitlines() if MACHINE_PATH.search(line)]
