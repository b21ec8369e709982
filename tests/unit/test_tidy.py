"""House rules that no linter knows, kept as tests (after TigerBeetle's tidy.zig)."""

import ast
import re
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
FUNCTION_LINES_MAX = 70
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")  # split: this file is read too
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
    assert len(module.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES_MAX


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
def test_only_the_cli_prints_or_exits(module: Path) -> None:
    if module.parent.name == "cli":
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
