"""Files that JavaScript libraries read: TensorFlow.js and Keras.js."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from source_files import Json, dense, sequential

from keramos.errors import CompileError
from keramos.source import KerasFile, read

CONFIG = sequential(dense("a", batch_input_shape=[None, 3]), dense("b"))
SHAPES: dict[str, tuple[int, ...]] = {
    "b/kernel": (2, 2),
    "b/bias": (2,),
    "a/kernel": (3, 2),
    "a/bias": (2,),
}
WEIGHTS = {
    name: np.random.default_rng(len(name)).normal(size=shape).astype("<f4")
    for name, shape in SHAPES.items()
}


def write_tensorflow_js(
    folder: Path,
    *,
    topology: Json | None = None,
    prefix: str = "",
    shard: int = 7,
    **changes: Any,  # noqa: ANN401 -- keys of the JSON
) -> Path:
    """Write a model whose weights are cut into shards of a few bytes."""
    data = b"".join(array.tobytes() for array in WEIGHTS.values())
    paths = []
    for start in range(0, len(data), shard):
        paths.append(f"group1-shard{start}")
        (folder / paths[-1]).write_bytes(data[start : start + shard])
    entries = [
        {"name": prefix + name, "shape": list(shape), "dtype": "float32"}
        for name, shape in SHAPES.items()
    ]
    model = {
        "modelTopology": topology or {"keras_version": "2.4.0", "model_config": CONFIG},
        "weightsManifest": [{"paths": paths, "weights": entries}],
        **changes,
    }
    (folder / "model.json").write_text(json.dumps(model))
    return folder / "model.json"


def arrays(file: KerasFile, name: str) -> list[NDArray[Any]]:
    """Return the weights of a layer."""
    return [tensor.array() for tensor in file.weights((name,))]


@pytest.mark.parametrize(
    ("topology", "version"),
    [
        ({"keras_version": "2.4.0", "model_config": CONFIG}, "2.4.0"),
        ({**CONFIG, "keras_version": "tfjs-layers 0.8.5"}, "2.0.0"),
    ],
)
def test_weights_are_put_together_from_shards(
    tmp_path: Path, topology: Json, version: str
) -> None:
    file = read(write_tensorflow_js(tmp_path, topology=topology))

    assert np.array_equal(arrays(file, "a")[0], WEIGHTS["a/kernel"])
    assert np.array_equal(arrays(file, "b")[1], WEIGHTS["b/bias"])
    assert file.keras_version == version
    assert file.format == "tensorflow.js"


def test_names_may_begin_with_the_models_own(tmp_path: Path) -> None:
    file = read(write_tensorflow_js(tmp_path, prefix="model/"))

    assert np.array_equal(arrays(file, "a")[0], WEIGHTS["a/kernel"])


@pytest.mark.parametrize("stored", ["uint8", "uint16", "float16"])
def test_quantised_weights_are_rounded_once(tmp_path: Path, stored: str) -> None:
    config = sequential(
        {
            "class_name": "Embedding",
            "config": {"name": "e", "input_dim": 3, "output_dim": 1},
        }
    )
    config["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 4]
    numbers = np.array([0, 1, 255], stored)
    quantization: Json = {"dtype": stored}
    if stored != "float16":
        quantization |= {"scale": 0.1, "min": -1.7}
    entry = {"name": "e/embeddings", "shape": [3, 1], "dtype": "float32"}
    model = {
        "modelTopology": config,
        "weightsManifest": [
            {"paths": ["./w"], "weights": [{**entry, "quantization": quantization}]}
        ],
    }
    (tmp_path / "w").write_bytes(numbers.tobytes())
    (tmp_path / "model.json").write_text(json.dumps(model))

    (values,) = arrays(read(tmp_path / "model.json"), "e")

    exact = [float(v) * 0.1 - 1.7 if stored != "float16" else float(v) for v in numbers]
    assert values.dtype == np.float32
    assert values.ravel().tolist() == [float(np.float32(value)) for value in exact]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"format": "graph-model"},
            (
                "is a TensorFlow.js graph model, which holds no Keras layers"
                " (convert the Keras model with --output_format tfjs_layers_model)"
            ),
        ),
        ({"modelTopology": None}, "holds weights, but no architecture"),
        ({"weightsManifest": 3}, "its weightsManifest isn't a list"),
        (
            {"weightsManifest": [{"paths": ["../w"], "weights": []}]},
            "its file of weights '../w' isn't beside it",
        ),
        (
            {"weightsManifest": [{"paths": ["/etc/passwd"], "weights": []}]},
            "its file of weights '/etc/passwd' isn't beside it",
        ),
        (
            {"weightsManifest": [{"paths": ["missing"], "weights": []}]},
            "its file of weights 'missing' isn't beside it",
        ),
        (
            {
                "weightsManifest": [
                    {
                        "paths": ["group1-shard0"],
                        "weights": [
                            {"name": "a/kernel", "shape": [9**9, 9**9], "dtype": "bool"}
                        ],
                    }
                ]
            },
            (
                "its files of weights are too short for 'a/kernel': 7 bytes instead of"
                " at least 150094635296999121"
            ),
        ),
        (
            {
                "weightsManifest": [
                    {
                        "paths": ["group1-shard0"],
                        "weights": [
                            {"name": "a/kernel", "shape": [-1], "dtype": "bool"}
                        ],
                    }
                ]
            },
            "the weight 'a/kernel' has no valid shape",
        ),
        (
            {
                "weightsManifest": [
                    {
                        "paths": ["group1-shard0"],
                        "weights": [{"name": "a", "shape": [], "dtype": "string"}],
                    }
                ]
            },
            "the weight 'a' is of type 'string'",
        ),
    ],
)
def test_broken_manifests_are_refused(
    tmp_path: Path, changes: Json, problem: str
) -> None:
    path = write_tensorflow_js(tmp_path, **changes)

    with pytest.raises(CompileError) as caught:
        read(path)

    assert str(caught.value) == f"model.json: {problem}"


# -- Keras.js -----------------------------------------------------------------------


def varint(number: int) -> bytes:
    """Return a number in protobuf's encoding."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def chunk(number: int, content: bytes | str) -> bytes:
    """Return a protobuf field of bytes."""
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def keras_js(*, quantised: bool) -> bytes:
    """Return a model as Keras.js' encoder writes it."""
    parts = [
        chunk(1, "0" * 36),
        chunk(2, "model"),
        chunk(3, "2.1.2"),
        chunk(4, "tensorflow"),
        chunk(5, json.dumps(CONFIG)),
    ]
    for name, array in WEIGHTS.items():
        low, high = array.min(), array.max()
        levels = np.round(255 * (array - low) / (high - low)).astype(np.uint8)
        shape = b"".join(varint(size) for size in array.shape)
        parts.append(
            chunk(
                6,
                chunk(1, name.partition("/")[0])
                + chunk(2, f"{name}:0")
                + chunk(3, shape)
                + chunk(4, "uint8" if quantised else "float32")
                + chunk(5, (levels if quantised else array).tobytes())
                + varint(6 << 3 | 5)
                + struct.pack("<f", low)
                + varint(7 << 3 | 5)
                + struct.pack("<f", high),
            )
        )
    return b"".join(parts)


def test_keras_js_holds_what_the_hdf5_file_held(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(keras_js(quantised=False))

    file = read(tmp_path / "model.bin")

    assert np.array_equal(arrays(file, "a")[0], WEIGHTS["a/kernel"])
    assert np.array_equal(arrays(file, "b")[1], WEIGHTS["b/bias"])
    assert (file.format, file.keras_version) == ("keras.js", "2.1.2")


def test_quantised_weights_of_keras_js_are_within_half_a_level(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(keras_js(quantised=True))

    kernel = arrays(read(tmp_path / "model.bin"), "a")[0]

    exact = WEIGHTS["a/kernel"]
    level = (exact.max() - exact.min()) / 255
    assert np.abs(kernel - exact).max() <= 0.5001 * level


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_truncated_keras_js_file_is_refused(tmp_path: Path, tenths: int) -> None:
    data = keras_js(quantised=False)
    (tmp_path / "model.bin").write_bytes(data[: len(data) * tenths // 10])

    with pytest.raises(CompileError) as caught:
        read(tmp_path / "model.bin")

    assert all(
        line.startswith("model.bin: ") for line in str(caught.value).splitlines()
    )
