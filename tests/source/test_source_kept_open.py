"""A file of weights is opened once where many are read, and closed behind them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from model_files import saved

from keramos import CompileError
from keramos.source import read
from keramos.source.hdf5 import Hdf5Source

NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3)


def stored(path: Path) -> tuple[Hdf5Source, list[Path]]:
    """Return a source of one array, and the list of its openings."""
    with h5py.File(path, "w") as file:
        file["numbers"] = NUMBERS
    openings: list[Path] = []

    def opened() -> Path:
        openings.append(path)
        return path

    return Hdf5Source(path.name, opened), openings


def test_reading_opens_the_file_each_time(tmp_path: Path) -> None:
    source, openings = stored(tmp_path / "numbers.h5")
    with source.root() as root:
        tensor = source.tensor(root, "numbers", name="numbers")

    arrays = [tensor.array() for _ in range(3)]

    assert all(np.array_equal(array, NUMBERS) for array in arrays)
    assert len(openings) == 1 + 3
    assert not root


def test_reading_opens_a_file_that_is_kept_open_once(tmp_path: Path) -> None:
    source, openings = stored(tmp_path / "numbers.h5")

    with source.kept_open(), source.kept_open():
        with source.root() as root:
            tensor = source.tensor(root, "numbers", name="numbers")
        arrays = [tensor.array() for _ in range(3)]

    assert all(np.array_equal(array, NUMBERS) for array in arrays)
    assert len(openings) == 1
    assert not root


def test_what_is_kept_open_is_open_to_the_end_of_the_outer_block(
    tmp_path: Path,
) -> None:
    source, openings = stored(tmp_path / "numbers.h5")

    with source.kept_open():
        with source.kept_open(), source.root() as root:
            pass
        still = bool(root)

    assert still
    assert not root
    assert len(openings) == 1


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_models_read_from_a_file_that_is_kept_open(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"model{suffix}")
    file = read(path)
    tensors = [
        tensor
        for layer in file.model.layers
        for tensor in file.weights((layer.config["name"],))
    ]

    with file.kept_open():
        tensors[0].array()
        path.unlink()
        shapes = [tensor.array().shape for tensor in tensors]

    assert shapes == [tensor.shape for tensor in tensors]
    with pytest.raises(CompileError, match="isn't a complete HDF5 file"):
        tensors[0].array()
