"""Tensors in fewer bits become the floats that Python makes of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

from keramos.emit.weights import Tensor, safetensors
from keramos.runtime_min.vendored.tensors import read_tensors

MODULE = Path(__file__).parents[2] / "runtime_min" / "vendored" / "tensors.js"
PROGRAM = """
import { readFileSync } from "node:fs";
const [module, file] = process.argv.slice(1);
const { decoded, readTensors } = await import(module);
const bytes = new Uint8Array(readFileSync(file));
const numbers = Object.fromEntries(decoded(readTensors(bytes.buffer)));
const bits = (floats) => Array.from(new Uint32Array(floats.buffer));
console.log(JSON.stringify([bits(numbers.halves), bits(numbers.codes)]));
"""


def test_every_half_and_every_byte_is_decoded_as_in_python(tmp_path: Path) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[~np.isnan(halves)]
    codes = np.arange(256, dtype=np.uint8).repeat(2).reshape(256, 2)
    scale = np.array([0.1, 3e-5], np.float32)
    (tmp_path / "x").write_bytes(
        safetensors(
            {
                "halves": Tensor(halves.shape, "float16", lambda: halves),
                "codes": Tensor(codes.shape, "uint8", lambda: codes),
                "codes.scale": Tensor(scale.shape, "float32", lambda: scale),
            }
        )
    )

    command = ["/usr/bin/env", "node", "--input-type=module", "-e", PROGRAM]

    answer = subprocess.run(
        [*command, MODULE, tmp_path / "x"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    tensors = read_tensors(tmp_path / "x")
    expected = [
        tensors.take("halves", halves.shape, np.float32),
        tensors.take("codes", codes.shape, np.float32),
    ]
    assert json.loads(answer) == [x.view(np.uint32).ravel().tolist() for x in expected]
