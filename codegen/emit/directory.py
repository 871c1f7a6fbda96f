"""Write a package's files, all of them or none."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from keramos.emit.package import MANIFEST
from keramos.errors import CompileError, quoted


def write(files: Mapping[str, bytes], directory: Path) -> None:
    """Make *directory* hold *files*, in place of what an earlier run wrote there.

    Files that no run wrote stay. Raises CompileError where the directory holds
    something else than a package of ours; then nothing is changed.
    """
    old = written(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Beside its target, so that moving it there is one step.
    with tempfile.TemporaryDirectory(
        prefix=f".{directory.name}-", dir=directory.parent
    ) as folder:
        new = Path(folder) / "new"
        new.mkdir()
        for path, content in files.items():
            target = new / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        if directory.exists():
            _keep(directory, new, old)
            _exchange(directory, new, Path(folder) / "old")
        else:
            new.rename(directory)


def written(directory: Path) -> frozenset[str]:
    """Return the files that an earlier run wrote to *directory*, none if it is new.

    Raises CompileError where it holds something else.
    """
    if not directory.exists() and not directory.is_symlink():
        return frozenset()
    where, hint = quoted(str(directory)), "choose another one"
    if not directory.is_dir() or directory.is_symlink():
        raise CompileError.at(where, "isn't a folder", hint)
    if not any(directory.iterdir()):
        return frozenset()
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        files = frozenset(map(str, manifest["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        files = frozenset()
    if not files:
        problem = "holds files that no run of keramos wrote"
        raise CompileError.at(where, problem, hint)
    return files | {MANIFEST}


def _exchange(directory: Path, new: Path, old: Path) -> None:
    """Move *directory* to *old* and *new* to its place, or change nothing."""
    directory.rename(old)
    try:
        new.rename(directory)
    except OSError:
        old.rename(directory)
        raise


def _keep(source: Path, target: Path, written_files: frozenset[str]) -> None:
    """Copy to *target* what is the user's own in *source*."""
    for path in source.rglob("*"):
        name = path.relative_to(source)
        ours = name.as_posix() in written_files or "__pycache__" in name.parts
        if ours or path.is_dir() or (target / name).exists():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target / name, follow_symlinks=False)
