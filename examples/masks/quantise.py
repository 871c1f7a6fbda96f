"""Store a Keras model's kernels in 8 bits: ``python quantise.py MODEL.h5 FOLDER``.

Writes FOLDER/model.json and FOLDER/group1-shard1of1.bin, a TensorFlow.js layers model.
Large kernels become bytes as TensorFlow.js' own converter makes them: with one scale
for each kernel, and a byte that stands for zero exactly. That one scale may do for all
output channels, each is first made as large as the largest; the batch normalization
that follows takes it back. Small kernels, which are most of the first layers', become
halves: all later layers see their noise. What isn't a kernel stays float32.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEVELS = 255
SHARD = "group1-shard1of1.bin"
KERNELS = ("kernel", "depthwise_kernel")
# Kernels with fewer numbers become halves.
LEAST = 20_000
# Channels that are all but zero stay smaller than the others.
LARGEST_SCALE = 64.0


def weights(file: Any) -> dict[str, Array]:  # noqa: ANN401 - untyped
    """Return an HDF5 file's weights as ``layer/weight``, in the order of its layers."""
    group = file["model_weights"]
    found = {}
    for layer in group.attrs["layer_names"]:
        for name in group[layer].attrs["weight_names"]:
            kind = name.decode().rpartition("/")[2].removesuffix(":0")
            found[f"{layer.decode()}/{kind}"] = np.asarray(
                group[layer][name], np.float64
            )
    return found


def normalizations(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the configuration of what normalizes a layer's output, by that layer."""
    return {
        layer["inbound_nodes"][0][0][0]: layer["config"]
        for layer in config["layers"]
        if layer["class_name"] == "BatchNormalization"
    }


def equalise(found: dict[str, Array], config: Mapping[str, Any]) -> None:
    """Make all channels of a kernel as large as the largest.

    ``(s x - s m) / sqrt(s^2 (v + e))`` is ``(x - m) / sqrt(v + e)``.
    """
    for layer, follower in normalizations(config).items():
        kernel = found.get(f"{layer}/kernel")
        if kernel is None:
            continue
        largest = np.abs(kernel).max(axis=(0, 1, 2))
        scale = largest.max() / np.maximum(largest, largest.max() / LARGEST_SCALE)
        found[f"{layer}/kernel"] = kernel * scale
        name, epsilon = follower["name"], follower["epsilon"]
        found[f"{name}/moving_mean"] *= scale
        variance = found[f"{name}/moving_variance"] + epsilon
        found[f"{name}/moving_variance"] = variance * scale**2 - epsilon


def affine(x: Array) -> tuple[bytes, dict[str, Any]]:
    """Return bytes, and what turns them back into *x*: ``byte * scale + min``."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = (high - low) / LEVELS
    zero = round(-low / scale)
    levels = np.clip(np.rint(x / scale) + zero, 0, LEVELS)
    described = {"dtype": "uint8", "min": -zero * scale, "scale": scale}
    return levels.astype(np.uint8).tobytes(), described


def stored(name: str, x: Array) -> tuple[bytes, dict[str, Any]]:
    """Return a weight's bytes, and what the manifest says of it."""
    entry: dict[str, Any] = {"name": name, "shape": list(x.shape), "dtype": "float32"}
    if name.rpartition("/")[2] not in KERNELS:
        return x.astype("<f4").tobytes(), entry
    if x.size < LEAST:
        entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        return x.astype("<f2").tobytes(), entry
    data, entry["quantization"] = affine(x)
    return data, entry


def main(model: Path, folder: Path) -> None:
    """Write the model."""
    with h5py.File(model) as file:
        config = json.loads(file.attrs["model_config"])
        topology = {
            "keras_version": file.attrs["keras_version"],
            "backend": file.attrs["backend"],
            "model_config": config,
        }
        found = weights(file)
    equalise(found, config["config"])
    parts = [stored(name, x) for name, x in found.items()]
    document = {
        "format": "layers-model",
        "generatedBy": f"keras v{topology['keras_version']}",
        "convertedBy": "quantise.py",
        "modelTopology": topology,
        "weightsManifest": [
            {"paths": [SHARD], "weights": [entry for _, entry in parts]}
        ],
    }
    (folder / SHARD).write_bytes(b"".join(data for data, _ in parts))
    (folder / "model.json").write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
