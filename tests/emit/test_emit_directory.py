"""Packages are written whole or not at all, and never over somebody's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from keramos.emit.directory import write
from keramos.errors import CompileError, quoted

OLD = {"manifest.json": b'{"files": {"old.py": "..."}}', "old.py": b"1\n"}
NEW = {"manifest.json": b'{"files": {"new.py": "..."}}', "new.py": b"2\n"}


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_new_directory_holds_the_files(tmp_path: Path) -> None:
    files = NEW | {"shaders/a.frag": b"//\n"}

    write(files, tmp_path / "generated" / "model")

    assert content(tmp_path) == {
        f"generated/model/{path}": text for path, text in files.items()
    }


def test_what_an_earlier_run_wrote_goes_and_what_is_the_users_stays(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "model"
    write(OLD, folder)
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_bytes(b"mine\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "old.pyc").write_bytes(b"")

    write(NEW, folder)

    assert content(tmp_path) == {
        f"model/{path}": text
        for path, text in (NEW | {"notes/mine.txt": b"mine\n"}).items()
    }


@pytest.mark.parametrize(
    "manifest", [None, b"{", b"[]", b'{"name": "web app"}', b'{"files": 1}']
)
def test_a_directory_that_is_not_ours_is_refused(
    tmp_path: Path, manifest: bytes | None
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "thesis.tex").write_bytes(b"years of work\n")
    if manifest is not None:
        (folder / "manifest.json").write_bytes(manifest)
    before = content(tmp_path)

    with pytest.raises(CompileError) as caught:
        write(NEW, folder)

    assert content(tmp_path) == before
    where = quoted(str(folder))
    assert str(caught.value) == (
        f"{where}: holds files that no run of keramos wrote (choose another one)"
    )


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.write_bytes(b"mine\n")

    with pytest.raises(CompileError) as caught:
        write(NEW, target)

    assert (
        str(caught.value)
        == f"{quoted(str(target))}: isn't a folder (choose another one)"
    )


def test_nothing_changes_where_writing_fails(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(OLD, folder)

    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        write(NEW | {"new.py/below": b""}, folder)

    assert content(tmp_path) == {f"model/{path}": text for path, text in OLD.items()}


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    write(NEW, tmp_path)

    assert content(tmp_path) == NEW
