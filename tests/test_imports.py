"""Imports go one way, and what must stand alone imports nothing of the compiler."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = (
    "version",
    "errors",
    "text",
    "source",
    "vendored",
    "interpreter",
    "expr",
    "primitives",
    "graph",
    "ops",
    "layers",
    "importer",
    "passes",
    "gradient",
    "class_activation",
    "plan",
    "shaders",
    "templates",
    "emit",
    "compiler",
    "verification",
    "__init__",
    "examples",
    "demo",
    "__main__",
)
INTERPRETER = sorted((ROOT / "runtime_min" / "interpreter").glob("*.py"))
VENDORED = [
    path
    for path in sorted((ROOT / "runtime_min" / "vendored").glob("*.py"))
    if path.name != "__init__.py"
]


def modules() -> list[Path]:
    return [
        path
        for folder in ("codegen", "examples", "runtime_min", "shaders", "templates")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if folder != "examples" or path.parent.name == "examples"
    ]


def group(path: Path) -> str:
    """Return the part of the order that *path* belongs to."""
    folder, *rest = path.relative_to(ROOT).parts
    if folder == "runtime_min":
        return part(("keramos", folder, *rest))
    return Path(rest[0]).stem if folder == "codegen" else folder


def part(names: tuple[str, ...]) -> str:
    """Return the part of the order to which a dotted name of Keramos belongs."""
    _, first, *rest = names
    if first == "runtime_min":
        return rest[0] if rest and rest[0] in ORDER else "vendored"
    return first if first in ORDER else "__init__"


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names of all modules that *path* imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), level=0, names=names) if (
                module.split(".")[0] == "keramos"
            ):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case ast.ImportFrom():
                yield "."


def own(path: Path) -> set[str]:
    """Return the parts of Keramos that *path* imports."""
    names = (tuple(name.split(".")) for name in imported(path))
    return {part(name) for name in names if name[0] == "keramos" and len(name) > 1}


def outside(path: Path) -> set[str]:
    """Return the top-level packages that *path* imports and that aren't Python's."""
    names = {name.split(".")[0] for name in imported(path)}
    return names - sys.stdlib_module_names - {"keramos"}


@pytest.mark.parametrize(
    "path", modules(), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_module_imports_only_what_comes_before_it(path: Path) -> None:
    place = ORDER.index(group(path))

    later = {part for part in own(path) if ORDER.index(part) > place}

    assert later == set()


@pytest.mark.parametrize("path", INTERPRETER, ids=lambda path: path.stem)
def test_the_interpreter_shares_only_the_file_reader_with_the_compiler(
    path: Path,
) -> None:
    assert own(path) <= {"errors", "source", "interpreter"}
    assert outside(path) <= {"numpy"}


@pytest.mark.parametrize("path", VENDORED, ids=lambda path: path.stem)
def test_vendored_modules_need_only_numpy_and_moderngl(path: Path) -> None:
    assert own(path) == set()
    assert outside(path) <= {"numpy", "moderngl", "."}


@pytest.mark.parametrize(
    "path", modules(), ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_product_needs_no_framework(path: Path) -> None:
    assert outside(path) <= {
        "black",
        "h5py",
        "hypothesis",
        "jinja2",
        "moderngl",
        "numpy",
        "rich",
        "typer",
        ".",
    }


@pytest.mark.parametrize(
    "path", modules(), ids=lambda path: str(path.relative_to(ROOT))
)
def test_only_the_command_line_prints(path: Path) -> None:
    names = {
        node.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name)
    }

    assert "print" not in names or path.name == "__main__.py"


def test_only_the_source_reads_models() -> None:
    readers = {group(path) for path in modules() if "h5py" in imported(path)}

    assert readers == {"source"}


def test_importing_keramos_imports_no_framework() -> None:
    code = (
        "import sys, keramos;"
        "print(*{'keras', 'jax', 'tensorflow', 'torch'} & set(sys.modules))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout == "\n"
