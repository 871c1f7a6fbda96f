"""Model files of old Keras versions, written from scratch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Json = dict[str, Any]
Arrays = Mapping[str, Sequence[tuple[str, NDArray[Any]]]]


def layer(class_name: str, **config: object) -> Json:
    """Return one entry of a Sequential's layers."""
    return {"class_name": class_name, "config": config}


def dense(name: str, units: int = 2, **config: object) -> Json:
    """Return a Dense layer of Keras 2."""
    return layer("Dense", name=name, units=units, use_bias=True, **config)


def called(entry: Json, *nodes: list[Any]) -> Json:
    """Return *entry* as a layer of a functional model."""
    return {**entry, "name": entry["config"]["name"], "inbound_nodes": list(nodes)}


def input_layer(name: str, *shape: int | None) -> Json:
    """Return the InputLayer of a functional model of Keras 2."""
    batch_shape = [None, *shape]
    return called(
        layer("InputLayer", name=name, batch_input_shape=batch_shape, dtype="float32")
    )


def sequential(*layers: Json, name: str = "model") -> Json:
    """Return the configuration of a Sequential of Keras 2.2.3 and later."""
    return {"class_name": "Sequential", "config": {"name": name, "layers": [*layers]}}


def functional(layers: Sequence[Json], inputs: object, outputs: object) -> Json:
    """Return the configuration of a functional model."""
    return {
        "class_name": "Model",
        "config": {
            "name": "model",
            "layers": [*layers],
            "input_layers": inputs,
            "output_layers": outputs,
        },
    }


def arrays(*named: tuple[str, tuple[int, ...]]) -> list[tuple[str, NDArray[Any]]]:
    """Return arrays of the given names and shapes, all of them different."""
    generator = np.random.default_rng(len(named))
    return [
        (name, generator.normal(size=shape).astype(np.float32)) for name, shape in named
    ]


def dense_arrays(
    name: str, inputs: int = 3, units: int = 2
) -> Any:  # noqa: ANN401 -- see arrays
    """Return a Dense layer's weights as Keras 2 names them."""
    return arrays((f"{name}/kernel:0", (inputs, units)), (f"{name}/bias:0", (units,)))


def write_weights(group: h5py.Group, weights: Arrays) -> None:
    """Write legacy weights: attributes of bytes, an array for each weight."""
    group.attrs["layer_names"] = [name.encode() for name in weights]
    for name, members in weights.items():
        layer_group = group.create_group(name)
        layer_group.attrs["weight_names"] = [each.encode() for each, _ in members]
        for each, array in members:
            layer_group[each] = array


def write_h5(
    path: Path,
    config: Json,
    weights: Arrays,
    *,
    version: str | None = "2.2.4",
    backend: str | None = "tensorflow",
) -> Path:
    """Write a whole legacy model, as Keras *version* did; return its path."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        if version is not None:
            file.attrs["keras_version"] = version.encode()
        if backend is not None:
            file.attrs["backend"] = backend.encode()
        write_weights(file.create_group("model_weights"), weights)
    return path


def write_model(path: Path) -> Path:
    """Write the smallest model with weights; return its path."""
    config = sequential(dense("a", batch_input_shape=[None, 3]))
    return write_h5(path, config, {"a": dense_arrays("a")})
