"""Networks of Keras in the files that other engines read: TF.js, Keras.js and ONNX."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DROPPED = ("_initializer", "_regularizer", "_constraint")
KEPT_OUT = frozenset({"dtype", "groups", "trainable", "build_config"})
# What Keras.js doesn't know.
UNKNOWN_TO_KERAS_JS = frozenset({"DepthwiseConv2D"})

# Of ONNX' messages.
FLOAT, INT, INTS = 1, 2, 7
IR_VERSION, OPERATORS = 5, 10
ACTIVATIONS = {"relu": "Relu", "softmax": "Softmax"}


def write(model: Any, folder: Path) -> None:
    """Write ``twin.json`` and ``twin.bin``, ``model.onnx`` and ``keras.bin``.

    The last one only where Keras.js knows every layer.
    """
    arrays = [w.numpy() for layer in model.layers for w in layer.weights]
    shapes = [[list(w.shape) for w in layer.weights] for layer in model.layers]
    twin = {"topology": topology(model), "shapes": shapes}
    (folder / "twin.json").write_text(json.dumps(twin))
    numbers = np.concatenate([np.ravel(array) for array in arrays])
    (folder / "twin.bin").write_bytes(numbers.astype("<f4").tobytes())
    (folder / "model.onnx").write_bytes(onnx(model))
    kinds = {type(layer).__name__ for layer in model.layers}
    if not kinds & UNKNOWN_TO_KERAS_JS:
        (folder / "keras.bin").write_bytes(keras_js(model))


def topology(model: Any) -> dict[str, Any]:
    """Return the model as Keras 2 would have written it."""
    layers = []
    for layer in model.layers:
        config = {
            key: value
            for key, value in layer.get_config().items()
            if not key.endswith(DROPPED) and key not in KEPT_OUT
        }
        kind = type(layer).__name__
        if kind == "InputLayer":
            shape = [None, *layer.output.shape[1:]]
            config = {"name": layer.name, "batch_input_shape": shape}
        layers.append(
            {
                "class_name": kind,
                "name": layer.name,
                "config": config,
                "inbound_nodes": (
                    [[[name, 0, 0, {}] for name in givers(layer)]]
                    if kind != "InputLayer"
                    else []
                ),
            }
        )
    ends = (model.layers[0].name, model.layers[-1].name)
    config = {
        "name": "network",
        "layers": layers,
        "input_layers": [[ends[0], 0, 0]],
        "output_layers": [[ends[1], 0, 0]],
    }
    return {"class_name": "Model", "config": config}


def givers(layer: Any) -> list[str]:
    """Return the names of the layers that *layer* reads."""
    given = layer.input if isinstance(layer.input, list) else [layer.input]
    return [x._keras_history.operation.name for x in given]


# Protocol buffers


def varint(number: int) -> bytes:
    """Return a number, seven bits a byte."""
    out = bytearray()
    while number > 127:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """Return a message of fields ``(number, value)``."""
    out = []
    for number, value in fields:
        if isinstance(value, int):
            out.append(varint(number * 8) + varint(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            out.append(varint(number * 8 + 2) + varint(len(data)) + data)
    return b"".join(out)


def keras_js(model: Any) -> bytes:
    """Return what the encoder of Keras.js makes of a model."""
    weights = []
    for layer in model.layers:
        for weight in layer.weights:
            array = weight.numpy().astype("<f4")
            shape = b"".join(map(varint, array.shape))
            name = f"{layer.name}/{weight.name}:0"
            weights.append(
                message(
                    (1, layer.name),
                    (2, name),
                    (3, shape),
                    (4, "float32"),
                    (5, array.tobytes()),
                )
            )
    return message(
        (1, "00000000-0000-4000-8000-000000000000"),
        (2, "network"),
        (3, "2.1.2"),
        (4, "tensorflow"),
        (5, json.dumps(topology(model))),
        *((6, weight) for weight in weights),
    )


# ONNX


class Graph:
    """Nodes and weights of an ONNX graph as they are written."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.nodes: list[bytes] = []
        self.weights: list[bytes] = []

    def node(
        self,
        operator: str,
        inputs: Iterable[str],
        output: str,
        attributes: Mapping[str, int | list[int]] | None = None,
    ) -> None:
        """Add a node."""
        fields: list[tuple[int, int | str | bytes]] = [(1, x) for x in inputs]
        fields += [(2, output), (4, operator)]
        for name, value in (attributes or {}).items():
            if isinstance(value, int):
                fields.append((5, message((1, name), (3, value), (20, INT))))
            else:
                numbers = [(8, number) for number in value]
                fields.append((5, message((1, name), *numbers, (20, INTS))))
        self.nodes.append(message(*fields))

    def weight(self, name: str, array: Array) -> str:
        """Add a weight; return its name."""
        dims = [(1, d) for d in array.shape]
        data = array.astype("<f4").tobytes()
        self.weights.append(message(*dims, (2, FLOAT), (8, name), (9, data)))
        return name


def onnx(model: Any) -> bytes:
    """Return a model in channels-first order, as ONNX has it."""
    graph = Graph()
    for layer in model.layers[1:]:
        add(graph, layer)
    first, last = model.layers[0], model.layers[-1]
    height, width, channels = first.output.shape[1:]
    return message(
        (1, IR_VERSION),
        (8, message((2, OPERATORS))),
        (
            7,
            message(
                *((1, node) for node in graph.nodes),
                (2, "network"),
                *((5, weight) for weight in graph.weights),
                (11, port(first.name, [1, channels, height, width])),
                (12, port(last.name, [1, *last.output.shape[1:]])),
            ),
        ),
    )


def port(name: str, shape: list[int]) -> bytes:
    """Return the type of an input or output."""
    dims = message(*((1, message((1, size))) for size in shape))
    kind = message((1, message((1, FLOAT), (2, dims))))
    return message((1, name), (2, kind))


def add(graph: Graph, layer: Any) -> None:
    """Add the nodes of a layer; the last one's output has the layer's name."""
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    name = layer.name
    if type(layer).__name__ == "Activation":
        (plain,) = givers(layer)
    else:
        plain = name if activation == "linear" else f"{name}_plain"
        add_plain(graph, layer, plain)
    if activation != "linear":
        axis = {"axis": 1} if activation == "softmax" else {}
        graph.node(ACTIVATIONS[activation], [plain], name, axis)


def add_plain(graph: Graph, layer: Any, output: str) -> None:
    """Add the node of a layer without its activation."""
    name, inputs = layer.name, givers(layer)
    arrays = [weight.numpy() for weight in layer.weights]
    match type(layer).__name__:
        case "Conv2D" | "DepthwiseConv2D" as kind:
            depthwise = kind == "DepthwiseConv2D"
            kernel = arrays[0].transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
            inputs += [graph.weight(f"{name}_kernel", kernel)]
            inputs += [graph.weight(f"{name}_bias", arrays[1])]
            groups = kernel.shape[0] if depthwise else 1
            attributes = window(layer, kernel.shape[2:])
            pads = attributes["pads"]
            if pads[:2] != pads[2:]:
                # The webgl backend takes uneven pads for even ones.
                around = [0, 0, *pads[:2], 0, 0, *pads[2:]]
                graph.node("Pad", inputs[:1], f"{name}_padded", {"pads": around})
                inputs[0], attributes["pads"] = f"{name}_padded", [0] * 4
            graph.node("Conv", inputs, output, {**attributes, "group": groups})
        case "MaxPooling2D":
            graph.node("MaxPool", inputs, output, window(layer, layer.pool_size))
        case "GlobalAveragePooling2D":
            graph.node("GlobalAveragePool", inputs, f"{name}_pooled")
            graph.node("Flatten", [f"{name}_pooled"], output)
        case "Dense":
            inputs += [graph.weight(f"{name}_kernel", rows(layer, arrays[0]))]
            inputs += [graph.weight(f"{name}_bias", arrays[1])]
            graph.node("Gemm", inputs, output)
        case "Concatenate":
            graph.node("Concat", inputs, output, {"axis": 1})
        case "Add" | "Flatten" as kind:
            graph.node(kind, inputs, output)
        case kind:
            raise ValueError(f"{kind} has no ONNX here")


def rows(layer: Any, kernel: Array) -> Array:
    """Return a Dense layer's kernel for inputs that are flattened channels first."""
    giver = layer.input._keras_history.operation
    if type(giver).__name__ != "Flatten":
        return kernel
    h, w, c = giver.input.shape[1:]
    turned = kernel.reshape(h, w, c, -1).transpose(2, 0, 1, 3)
    return turned.reshape(h * w * c, -1)


def window(layer: Any, size: Iterable[int]) -> dict[str, list[int]]:
    """Return the attributes of a window; Keras pads the odd one behind."""
    strides, low, high = [*layer.strides], [0, 0], [0, 0]
    sizes = [*size]
    if layer.padding == "same":
        for axis in range(2):
            length = layer.input.shape[1 + axis]
            total = max((-(-length // strides[axis]) - 1) * strides[axis], 0)
            total = max(total + sizes[axis] - length, 0)
            low[axis], high[axis] = total // 2, total - total // 2
    return {"kernel_shape": sizes, "strides": strides, "pads": [*low, *high]}
