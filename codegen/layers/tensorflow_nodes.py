"""TensorFlow's operations in graphs of tf.keras 2.0 to 2.3: TensorFlowOpLayer.

The configuration holds the operation's node with its attributes, and those of its
inputs that are constants, by their places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keramos.errors import quoted
from keramos.graph import Value
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, Masked
from keramos.layers.operation import constant_array
from keramos.layers.registry import layer
from keramos.layers.structure import Structure, leaves, mapped
from keramos.layers.tensorflow_functions import FUNCTIONS, applied
from keramos.source import parse_node

Inputs = list[Structure]
Attributes = Mapping[str, Any]
Node = Callable[[Inputs, Attributes], Structure]

# Operations without attributes that matter: TensorFlow's function of the same inputs.
_PLAIN: Mapping[str, str] = {
    "Abs": "abs",
    "Acos": "acos",
    "Acosh": "acosh",
    "Add": "add",
    "AddV2": "add",
    "Asin": "asin",
    "Asinh": "asinh",
    "Atan": "atan",
    "Atan2": "atan2",
    "Atanh": "atanh",
    "BroadcastTo": "broadcast_to",
    "Ceil": "ceil",
    "ClipByValue": "clip_by_value",
    "Cos": "cos",
    "Cosh": "cosh",
    "Div": "divide",
    "DivNoNan": "divide_no_nan",
    "Elu": "elu",
    "Equal": "equal",
    "Erf": "erf",
    "Exp": "exp",
    "ExpandDims": "expand_dims",
    "Expm1": "expm1",
    "Floor": "floor",
    "FloorDiv": "floordiv",
    "FloorMod": "floormod",
    "Greater": "greater",
    "GreaterEqual": "greater_equal",
    "Identity": "identity",
    "IsNan": "is_nan",
    "Less": "less",
    "LessEqual": "less_equal",
    "Log": "log",
    "Log1p": "log1p",
    "LogicalAnd": "logical_and",
    "LogicalNot": "logical_not",
    "LogicalOr": "logical_or",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Mul": "multiply",
    "Neg": "negative",
    "NotEqual": "not_equal",
    "OnesLike": "ones_like",
    "Pad": "pad",
    "Pow": "pow",
    "RealDiv": "truediv",
    "Reciprocal": "reciprocal",
    "Relu": "relu",
    "Relu6": "relu6",
    "Reshape": "reshape",
    "ReverseV2": "reverse",
    "Roll": "roll",
    "Round": "round",
    "Rsqrt": "rsqrt",
    "Select": "where",
    "SelectV2": "where",
    "Selu": "selu",
    "Shape": "shape",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Slice": "slice",
    "Softmax": "nn.softmax",
    "LogSoftmax": "nn.log_softmax",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Sqrt": "sqrt",
    "Square": "square",
    "SquaredDifference": "math.squared_difference",
    "StopGradient": "stop_gradient",
    "Sub": "subtract",
    "Tan": "tan",
    "Tanh": "tanh",
    "Tile": "tile",
    "Transpose": "transpose",
    "ZerosLike": "zeros_like",
}
_REDUCTIONS: Mapping[str, str] = {
    "All": "reduce_all",
    "Any": "reduce_any",
    "Max": "reduce_max",
    "Mean": "reduce_mean",
    "Min": "reduce_min",
    "Prod": "reduce_prod",
    "Sum": "reduce_sum",
}
# Constants that aren't the numbers of a tensor: TensorFlow's place of each.
_WHOLE: Mapping[str, Sequence[int]] = {
    "ArgMax": (1,),
    "ArgMin": (1,),
    "BroadcastTo": (1,),
    "Cumsum": (1,),
    "ExpandDims": (1,),
    "Reshape": (1,),
    "ReverseV2": (1,),
    "Roll": (1, 2),
    "Slice": (1, 2),
    "Split": (0,),
    "SplitV": (1, 2),
    "Tile": (1,),
    "TopKV2": (1,),
    "Transpose": (1,),
    **dict.fromkeys(_REDUCTIONS, (1,)),
}


def _call(name: str, *inputs: Structure, **options: Structure) -> Structure:
    """Return what TensorFlow's function of that name gives."""
    return applied(FUNCTIONS[name], inputs, options)


def _joined(inputs: Inputs, attributes: Attributes) -> Structure:
    del attributes
    *values, axis = inputs
    return _call("concat", values, axis=int(constant_array(axis)))


def _matmul(x: str, y: str) -> Node:
    """Return a product whose attributes *x* and *y* turn its operands."""
    return lambda inputs, attributes: _call(
        "matmul",
        *inputs,
        transpose_a=bool(attributes.get(x)),
        transpose_b=bool(attributes.get(y)),
    )


def _sum_of_all(inputs: Inputs, attributes: Attributes) -> Structure:
    del attributes
    total = inputs[0]
    for each in inputs[1:]:
        total = _call("add", total, each)
    return total


def _squeezed(inputs: Inputs, attributes: Attributes) -> Structure:
    axes = attributes.get("squeeze_dims") or None
    return _call("squeeze", *inputs, axis=axes)


def _split(inputs: Inputs, attributes: Attributes) -> Structure:
    axis, x = inputs
    return _call("split", x, attributes["num_split"], axis=axis)


def _gathered(inputs: Inputs, attributes: Attributes) -> Structure:
    x, indices, axis = inputs
    return _call(
        "gather",
        x,
        indices,
        axis=int(constant_array(axis)),
        batch_dims=attributes.get("batch_dims", 0),
    )


def _sliced(inputs: Inputs, attributes: Attributes) -> Structure:
    masks = {
        name: int(attributes.get(name) or 0)
        for name in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask")
    }
    shrunk = int(attributes.get("shrink_axis_mask") or 0)
    return _call("strided_slice", *inputs, **masks, shrink_axis_mask=shrunk)


def _padded(inputs: Inputs, attributes: Attributes) -> Structure:
    del attributes
    x, widths, value = inputs
    return _call("pad", x, widths, constant_values=float(constant_array(value)))


def _hot(inputs: Inputs, attributes: Attributes) -> Structure:
    x, depth, on, off = (inputs[0], *(constant_array(v).item() for v in inputs[1:]))
    axis = attributes.get("axis", -1)
    return _call("one_hot", x, depth, on_value=on, off_value=off, axis=axis)


def _resized(method: str) -> Node:
    """Return an interpolation, which must have its centres at halves."""

    def node(inputs: Inputs, attributes: Attributes) -> Structure:
        if not attributes.get("half_pixel_centers"):
            raise ValueError("its pixels' centres aren't at halves")
        size = constant_array(inputs[1]).ravel().tolist()
        return _call("image.resize", inputs[0], size, method=method)

    return node


_NODES: Mapping[str, Node] = {
    "AddN": _sum_of_all,
    "ArgMax": lambda inputs, _: _call("argmax", inputs[0], axis=inputs[1]),
    "ArgMin": lambda inputs, _: _call("argmin", inputs[0], axis=inputs[1]),
    "BatchMatMul": _matmul("adj_x", "adj_y"),
    "BatchMatMulV2": _matmul("adj_x", "adj_y"),
    "BiasAdd": lambda inputs, attributes: _call(
        "nn.bias_add", *inputs, data_format=attributes.get("data_format")
    ),
    "Cast": lambda inputs, attributes: _call("cast", *inputs, dtype=attributes["DstT"]),
    "ConcatV2": _joined,
    "Cumsum": lambda inputs, attributes: _call(
        "cumsum",
        *inputs,
        exclusive=bool(attributes.get("exclusive")),
        reverse=bool(attributes.get("reverse")),
    ),
    "DepthToSpace": lambda inputs, attributes: _call(
        "nn.depth_to_space", *inputs, block_size=attributes["block_size"]
    ),
    "GatherV2": _gathered,
    "LeakyRelu": lambda inputs, attributes: _call(
        "nn.leaky_relu", *inputs, alpha=attributes.get("alpha", 0.2)
    ),
    "MatMul": _matmul("transpose_a", "transpose_b"),
    "MirrorPad": lambda inputs, attributes: _call(
        "pad", *inputs, mode=attributes["mode"]
    ),
    "OneHot": _hot,
    "Pack": lambda inputs, attributes: _call(
        "stack", inputs, axis=attributes.get("axis", 0)
    ),
    "PadV2": _padded,
    "ResizeBilinear": _resized("bilinear"),
    "ResizeNearestNeighbor": _resized("nearest"),
    "SpaceToDepth": lambda inputs, attributes: _call(
        "nn.space_to_depth", *inputs, block_size=attributes["block_size"]
    ),
    "Split": _split,
    "SplitV": lambda inputs, _: _call("split", inputs[0], inputs[1], axis=inputs[2]),
    "Squeeze": _squeezed,
    "StridedSlice": _sliced,
    "TopKV2": lambda inputs, _: _call("math.top_k", inputs[0], k=inputs[1]),
    "Unpack": lambda inputs, attributes: _call(
        "unstack", *inputs, axis=attributes.get("axis", 0)
    ),
}


@layer("TensorFlowOpLayer")
class TensorFlowOpLayer(Layer):
    """One operation of TensorFlow's graphs."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the node and the constants."""
        super().__init__(definition)
        stated = definition.option("constants") or {}
        try:
            self.node = parse_node(definition.option("node_def"))
            self.constants = {int(place): stated[place] for place in sorted(stated)}
        except (ValueError, TypeError, AttributeError) as error:
            raise definition.refusal(f"can't be read: {error}") from None
        name = self.node.operation
        if name not in _PLAIN and name not in _REDUCTIONS and name not in _NODES:
            raise definition.refusal(
                f"calls TensorFlow's operation {quoted(name)}, which Keramos doesn't"
                " know",
                "put it into a layer of your own, and pass --custom FILE.py that"
                " defines it",
            )

    def __call__(self, *args: Structure, **kwargs: Structure) -> Structure:
        """Return the results, which carry no masks."""
        del kwargs
        plain = mapped(lambda x: x.value if isinstance(x, Masked) else x, args)
        inputs: Inputs = list(leaves(plain))
        for place in sorted(self.constants):
            inputs.insert(place, self._constant(place))
        try:
            result = self._computed(inputs)
        except (KeyError, AttributeError) as error:
            raise ValueError(f"its node lacks something: {error}") from None
        return mapped(lambda y: Masked(y) if isinstance(y, Value) else y, result)

    def _constant(self, place: int) -> Structure:
        """Return a constant: whole numbers where axes or sizes are stated."""
        constant = self.constants[place]
        array = constant_array(constant)
        if place in _WHOLE.get(self.node.operation, ()):
            return array.astype(int).tolist()
        return array.item() if array.ndim == 0 else constant

    def _computed(self, inputs: Inputs) -> Structure:
        """Return what the operation gives."""
        name, attributes = self.node.operation, self.node.attributes
        if name in _PLAIN:
            return _call(_PLAIN[name], *inputs)
        if name in _REDUCTIONS:
            x, axis = inputs
            keepdims = bool(attributes.get("keep_dims"))
            return _call(_REDUCTIONS[name], x, axis=axis, keepdims=keepdims)
        return _NODES[name](inputs, attributes)

    def check_weights(self) -> None:
        """Operations have none."""
