"""pyproject.toml names every package and every data file on disk."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]
CODE = {".py", ".pyc"}
# What a checkout holds and an installation doesn't need: how the examples came about.
NOT_INSTALLED = {
    path
    for pattern in (
        *("*.md", "*/LICENSE", "digits/digits.h5", "digits/train.npz"),
        *("custom/*", "domains/*", "emotion/*", "masks/*", "sentiment/*", "upscale/*"),
        *("vae/*", "web/*"),
    )
    for path in (ROOT / "examples").rglob(pattern)
}


def packages_on_disk() -> set[str]:
    return {
        ".".join((name, *init.parent.relative_to(ROOT / folder).parts))
        for name, folder in FOLDERS.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }


def data_on_disk() -> set[Path]:
    return {
        path
        for folder in FOLDERS.values()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in CODE
    }


def data_in_patterns() -> set[Path]:
    patterns: dict[str, list[str]] = SETUPTOOLS["package-data"]
    return {
        path
        for package, globs in patterns.items()
        for glob in globs
        for path in folder_of(package).glob(glob)
    }


def folder_of(package: str) -> Path:
    """Return the folder of *package*: the longest mapped prefix decides."""
    prefix = max(
        (name for name in FOLDERS if f"{package}.".startswith(f"{name}.")), key=len
    )
    return ROOT.joinpath(FOLDERS[prefix], *package.removeprefix(prefix).split("."))


def test_every_package_is_listed() -> None:
    assert packages_on_disk() == set(SETUPTOOLS["packages"])


def test_every_data_file_is_installed() -> None:
    assert data_on_disk() - data_in_patterns() <= NOT_INSTALLED


@pytest.mark.parametrize("package", sorted(SETUPTOOLS["packages"]))
def test_installed_packages_hold_the_files_of_the_checkout(package: str) -> None:
    installed = {path.name for path in files(package).iterdir() if path.is_file()}
    present = {path.name for path in folder_of(package).glob("*.py")}

    assert present <= installed
