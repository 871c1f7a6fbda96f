"""The program that stored the weights of ``examples/masks`` in 8 bits."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from keramos import Interpreter

EXAMPLES = Path(__file__).parents[1] / "examples"
MODEL = EXAMPLES / "emotion" / "emotion.h5"


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    """Return what the program defines."""
    return runpy.run_path(str(EXAMPLES / "masks" / "quantise.py"))


def test_channels_made_equally_large_change_nothing(
    program: dict[str, Any], tmp_path: Path
) -> None:
    with h5py.File(MODEL) as file:
        found = program["weights"](file)
        config = json.loads(file.attrs["model_config"])
    before = {name: x.copy() for name, x in found.items()}
    program["equalise"](found, config["config"])
    changed = {name for name in found if not np.array_equal(found[name], before[name])}
    equalised = tmp_path / "equalised.h5"
    equalised.write_bytes(MODEL.read_bytes())
    with h5py.File(equalised, "r+") as file:
        for layer, group in file["model_weights"].items():
            for name in group.attrs["weight_names"]:
                kind = name.decode().rpartition("/")[2].removesuffix(":0")
                group[name][...] = found[f"{layer}/{kind}"]
    x = np.random.default_rng(0).uniform(-1, 1, (4, 64, 64, 1)).astype(np.float32)

    expected = Interpreter(MODEL).predict(x)

    assert any(name.endswith("/kernel") for name in changed)
    assert np.allclose(Interpreter(equalised).predict(x), expected, rtol=0, atol=1e-5)


def test_bytes_are_half_a_step_away_at_most(program: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(0.1, 1, (3, 3, 8, 8))

    data, how = program["affine"](x)

    read = np.frombuffer(data, np.uint8).reshape(x.shape) * how["scale"] + how["min"]
    # The byte of zero is rounded, too.
    assert np.abs(read - x).max() <= how["scale"] * (1 + 1e-9)
    assert np.abs(read - x).mean() <= how["scale"] / 2
    assert 0 in np.arange(256) * how["scale"] + how["min"]


def test_a_quantised_model_is_read(program: dict[str, Any], tmp_path: Path) -> None:
    program["main"](MODEL, tmp_path)
    with h5py.File(MODEL) as file:
        weights = program["weights"](file)

    interpreter = Interpreter(tmp_path / "model.json")

    size = (tmp_path / "group1-shard1of1.bin").stat().st_size
    assert size < 4 * sum(x.size for x in weights.values())
    x = np.zeros((1, 64, 64, 1), np.float32)
    assert np.isclose(interpreter.predict(x).sum(), 1)
