"""TensorFlow's operations in graphs of tf.keras 2.0 to 2.3: TensorFlowOpLayer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keramos.errors import quoted
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer, Value
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.structure import (
    Structure,
    leaves,
    map_structure,
)
from keramos.runtime_min.interpreter.tensorflow_functions import FUNCTIONS
from keramos.source import parse_node

Attributes = Mapping[str, Any]
Node = Callable[..., Any]

# Operations that are a function of the same name, in lower case, in tf or tf.math.
SAME = (
    *("Abs", "Acos", "Acosh", "Add", "Asin", "Asinh", "Atan", "Atan2", "Atanh"),
    *("Ceil", "Cos", "Cosh", "Equal", "Erf", "Exp", "Expm1", "Floor", "Greater"),
    *("Identity", "Less", "Log", "Log1p", "Maximum", "Minimum", "Pow", "Reciprocal"),
    *("Reshape", "Round", "Rsqrt", "Shape", "Sigmoid", "Sign", "Sin", "Sinh"),
    *("Softplus", "Sqrt", "Square", "Tan", "Tanh", "Tile", "Transpose"),
)
OTHERS: Mapping[str, str] = {
    "AddV2": "add",
    "BroadcastTo": "broadcast_to",
    "ClipByValue": "clip_by_value",
    "Div": "divide",
    "DivNoNan": "divide_no_nan",
    "Elu": "nn.elu",
    "ExpandDims": "expand_dims",
    "FloorDiv": "floordiv",
    "FloorMod": "mod",
    "GreaterEqual": "greater_equal",
    "IsNan": "is_nan",
    "LessEqual": "less_equal",
    "LogSoftmax": "nn.log_softmax",
    "LogicalAnd": "logical_and",
    "LogicalNot": "logical_not",
    "LogicalOr": "logical_or",
    "Mul": "multiply",
    "Neg": "negative",
    "NotEqual": "not_equal",
    "OnesLike": "ones_like",
    "Pad": "pad",
    "RealDiv": "truediv",
    "Relu": "nn.relu",
    "Relu6": "nn.relu6",
    "ReverseV2": "reverse",
    "Roll": "roll",
    "Select": "where",
    "SelectV2": "where",
    "Selu": "nn.selu",
    "Slice": "slice",
    "Softmax": "nn.softmax",
    "Softsign": "nn.softsign",
    "SquaredDifference": "squared_difference",
    "StopGradient": "stop_gradient",
    "Sub": "subtract",
    "ZerosLike": "zeros_like",
}


def _axis(axis: Any) -> Any:
    """Return axes that a node has as a tensor."""
    numbers = np.asarray(axis)
    return int(numbers) if numbers.ndim == 0 else tuple(map(int, numbers))


def _reduced(function: Callable[..., Any]) -> Node:
    """Return a reduction, whose axes are its second input."""
    return lambda attributes, x, axis: function(
        x, axis=_axis(axis), keepdims=bool(attributes.get("keep_dims"))
    )


def _product(attributes: Attributes, x: Array, y: Array) -> Any:
    """Return matrix products, of turned matrices where asked for."""
    if attributes.get("transpose_a") or attributes.get("adj_x"):
        x = np.swapaxes(x, -1, -2)
    if attributes.get("transpose_b") or attributes.get("adj_y"):
        y = np.swapaxes(y, -1, -2)
    return x @ y


def _sliced(attributes: Attributes, x: Array, begin: Any, end: Any, steps: Any) -> Any:
    """Return a slice, entries of which may be marked."""
    masks = {
        name: int(value or 0)
        for name, value in attributes.items()
        if name.endswith("_mask")
    }
    return FUNCTIONS["strided_slice"](x, begin, end, steps, **masks)


def _cumulated(attributes: Attributes, x: Array, axis: Any) -> Any:
    """Return the sums so far."""
    options = {name: bool(attributes.get(name)) for name in ("exclusive", "reverse")}
    return FUNCTIONS["cumsum"](x, _axis(axis), **options)


def _resized(method: str) -> Node:
    """Return an interpolation, which must have its centres at halves."""

    def resized(attributes: Attributes, images: Array, size: Any) -> Any:
        """Return the larger or smaller images."""
        if not attributes.get("half_pixel_centers"):
            raise ValueError("its pixels' centres aren't at halves")
        return FUNCTIONS["image.resize"](images, size, method)

    return resized


NODES: Mapping[str, Node] = {
    "AddN": lambda _, *xs: sum(xs),
    "All": _reduced(np.all),
    "Any": _reduced(np.any),
    "ArgMax": lambda _, x, axis: np.argmax(x, _axis(axis)),
    "ArgMin": lambda _, x, axis: np.argmin(x, _axis(axis)),
    "BatchMatMul": _product,
    "BatchMatMulV2": _product,
    "BiasAdd": lambda a, x, b: FUNCTIONS["nn.bias_add"](x, b, a.get("data_format")),
    "Cast": lambda a, x: FUNCTIONS["cast"](x, a["DstT"]),
    "ConcatV2": lambda _, *xs: np.concatenate(xs[:-1], _axis(xs[-1])),
    "Cumsum": _cumulated,
    "DepthToSpace": lambda a, x: FUNCTIONS["nn.depth_to_space"](x, a["block_size"]),
    "GatherV2": lambda a, x, indices, axis: FUNCTIONS["gather"](
        x, indices, axis=_axis(axis), batch_dims=a.get("batch_dims", 0)
    ),
    "LeakyRelu": lambda a, x: FUNCTIONS["nn.leaky_relu"](x, a.get("alpha", 0.2)),
    "MatMul": _product,
    "Max": _reduced(np.max),
    "Mean": _reduced(np.mean),
    "Min": _reduced(np.min),
    "MirrorPad": lambda a, x, widths: FUNCTIONS["pad"](x, widths, a["mode"]),
    "OneHot": lambda a, x, depth, on, off: np.where(
        FUNCTIONS["one_hot"](x, int(depth), a.get("axis", -1)) > 0, on, off
    ),
    "Pack": lambda a, *xs: np.stack(xs, a.get("axis", 0)),
    "PadV2": lambda _, x, widths, value: FUNCTIONS["pad"](
        x, widths, constant_values=float(value)
    ),
    "Prod": _reduced(np.prod),
    "ResizeBilinear": _resized("bilinear"),
    "ResizeNearestNeighbor": _resized("nearest"),
    "SpaceToDepth": lambda a, x: FUNCTIONS["nn.space_to_depth"](x, a["block_size"]),
    "Split": lambda a, axis, x: np.split(x, a["num_split"], _axis(axis)),
    "SplitV": lambda _, x, sizes, axis: np.split(x, np.cumsum(sizes)[:-1], _axis(axis)),
    "Squeeze": lambda a, x: np.squeeze(x, tuple(a.get("squeeze_dims") or ()) or None),
    "StridedSlice": _sliced,
    "Sum": _reduced(np.sum),
    "TopKV2": lambda _, x, k: FUNCTIONS["math.top_k"](x, int(k)),
    "Unpack": lambda a, x: list(np.moveaxis(x, a.get("axis", 0), 0)),
}


@layer("TensorFlowOpLayer")
class TensorFlowOpLayer(Layer):
    """One operation, some inputs of which are constants."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the node and the constants."""
        super().__init__(definition)
        constants = definition.option("constants", None) or {}
        try:
            self.node = parse_node(definition.option("node_def"))
            self.constants = {int(i): np.asarray(v) for i, v in constants.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise definition.refusal(f"can't be read: {error}") from None
        name = self.node.operation
        if name not in (*SAME, *OTHERS, *NODES):
            raise definition.refusal(
                f"calls TensorFlow's operation {quoted(name)}, which is unknown",
                "replace it by a layer, or by a custom layer",
            )
        self.call = self.computed

    def computed(self, *inputs: Structure) -> Any:
        """Return what the operation gives."""
        given = list(leaves(list(inputs)))
        for place in sorted(self.constants):
            given.insert(place, self.constants[place])
        name = self.node.operation
        if name in NODES:
            return NODES[name](self.node.attributes, *given)
        function = FUNCTIONS[OTHERS.get(name, name.lower())]
        if name == "ExpandDims":
            given[1] = _axis(given[1])
        return function(*given)

    def __call__(self, *args: Structure, **kwargs: Structure) -> Structure:
        """Return the results without masks."""
        del kwargs
        arrays = map_structure(
            lambda x: x.array if isinstance(x, Value) else x, list(args)
        )
        try:
            result = self.computed(*arrays)
        except (KeyError, AttributeError) as error:
            raise ValueError(f"its node lacks something: {error}") from None
        return map_structure(self._value, result)

    def _value(self, item: Any) -> Value:
        """Return a result, floating-point numbers in the type of the computation."""
        array = np.asarray(item)
        return Value(array.astype(self.dtype) if array.dtype.kind == "f" else array)
