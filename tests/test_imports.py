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
    "errors",
    "text",
    "source",
    "expr",
    "primitives",
    "graph",
    "ops",
    "layers",
    "importer",
    "passes",
    "plan",
    "shaders",
    "templates",
    "emit",
    "runtime_min",
    "compiler",
    "verification",
    "__init__",
    "demo",
    "__main__",
)
FOLDERS = {"codegen": "", "runtime_min": "runtime_min", "shaders": "shaders"}
INTERPRETER = sorted((ROOT / "runtime_min" / "interpreter").glob("*.py"))
VENDORED = [
    path
    for path in sorted((ROOT / "runtime_min" / "vendored").glob("*.py"))
    if path.name != "__init__.py"
]
# What a package on the user's machine may count on: NumPy, and moderngl for the GPU.
FOREIGN = {"h5py", "jax", "jinja2", "keras", "rich", "tensorflow", "typer"}


def modules() -> list[Path]:
    return [
        path
        for folder in ("codegen", "runtime_min", "shaders", "templates")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def group(path: Path) -> str:
    """Return the part of the order that *path* belongs to."""
    folder, *rest = path.relative_to(ROOT).parts
    return Path(rest[0]).stem if folder == "codegen" else folder


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names of all modules that *path* imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module="keramos", level=0, names=names):
                yield from (f"keramos.{alias.name}" for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case ast.ImportFrom():
                yield "."


def own(path: Path) -> set[str]:
    """Return the parts of Keramos that *path* imports."""
    names = (name.split(".") for name in imported(path))
    found = {parts[1] for parts in names if parts[0] == "keramos" and len(parts) > 1}
    return {part if part in ORDER else "__init__" for part in found}


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
    assert own(path) <= {"errors", "source", "runtime_min"}
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


def test_only_the_source_reads_hdf5_and_zip_files() -> None:
    readers = {
        group(path) for path in modules() if {"h5py", "zipfile"} & set(imported(path))
    }

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
