"""TensorFlow's functions in graphs of tf.keras 2: TFOpLambda and SlicingOpLambda.

The configuration names the function as it stands below ``tf.``; a call's keyword
arguments have TensorFlow's names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.graph import Value
from keramos.layers import (
    elementwise_operations,
    reduction_operations,
    shape_operations,
)
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, Masked
from keramos.layers.operation import (
    OPERATIONS,
    Function,
    beside,
    constant_array,
    positions,
)
from keramos.layers.registry import layer
from keramos.layers.structure import Structure, mapped
from keramos.primitives import Method

FUNCTIONS: dict[str, Function] = {}
_IGNORED = frozenset(
    {"name", "validate_indices", "dtype_hint", "output_type", "out_type"}
)


def function(*names: str) -> Callable[[Function], Function]:
    """Register the decorated function under TensorFlow's names for it."""

    def register(implementation: Function) -> Function:
        """Enter the function under every name."""
        FUNCTIONS.update(dict.fromkeys(names, implementation))
        return implementation

    return register


def _positional(class_name: str) -> Function:
    """Return one of Keras' operations, its operands in the order they are given."""
    implementation = OPERATIONS[class_name]
    return lambda *args, **kwargs: implementation(*args, *kwargs.values())


def _named(class_name: str, **names: str) -> Function:
    """Return one of Keras' operations under TensorFlow's names of its arguments."""
    implementation = OPERATIONS[class_name]
    return lambda *args, **kwargs: implementation(
        *args, **{names.get(name, name): item for name, item in kwargs.items()}
    )


# Functions of operands alone: TensorFlow's name, then that of Keras' operation.
_OPERANDS: Mapping[str, str] = {
    "abs": "Absolute",
    "add": "Add",
    "ceil": "Ceil",
    "cos": "Cos",
    "divide": "Divide",
    "divide_no_nan": "DivideNoNan",
    "elu": "Elu",
    "equal": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "expm1": "Expm1",
    "floor": "Floor",
    "floordiv": "FloorDivide",
    "floormod": "Mod",
    "greater": "Greater",
    "greater_equal": "GreaterEqual",
    "identity": "Copy",
    "is_nan": "Isnan",
    "less": "Less",
    "less_equal": "LessEqual",
    "log": "Log",
    "log1p": "Log1p",
    "logical_and": "LogicalAnd",
    "logical_not": "LogicalNot",
    "logical_or": "LogicalOr",
    "maximum": "Maximum",
    "minimum": "Minimum",
    "mod": "Mod",
    "mul": "Multiply",
    "multiply": "Multiply",
    "neg": "Negative",
    "negative": "Negative",
    "not_equal": "NotEqual",
    "ones_like": "OnesLike",
    "pow": "Power",
    "reciprocal": "Reciprocal",
    "relu": "Relu",
    "relu6": "Relu6",
    "round": "Round",
    "rsqrt": "Rsqrt",
    "selu": "Selu",
    "sigmoid": "Sigmoid",
    "sign": "Sign",
    "silu": "Silu",
    "sin": "Sin",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "sqrt": "Sqrt",
    "square": "Square",
    "stop_gradient": "StopGradient",
    "sub": "Subtract",
    "subtract": "Subtract",
    "swish": "Silu",
    "tanh": "Tanh",
    "truediv": "TrueDivide",
    "zeros_like": "ZerosLike",
}
_REDUCTIONS: Mapping[str, str] = {
    "reduce_all": "All",
    "reduce_any": "Any",
    "reduce_logsumexp": "Logsumexp",
    "reduce_max": "Max",
    "reduce_mean": "Mean",
    "reduce_min": "Min",
    "reduce_prod": "Prod",
    "reduce_std": "Std",
    "reduce_sum": "Sum",
    "reduce_variance": "Var",
}
_NAMED: Mapping[str, Function] = {
    "argmax": _named("Argmax", input="x"),
    "argmin": _named("Argmin", input="x"),
    "broadcast_to": _named("BroadcastTo", input="x"),
    "cast": _named("Cast"),
    "clip_by_value": _named(
        "Clip", t="x", clip_value_min="x_min", clip_value_max="x_max"
    ),
    "concat": _named("Concatenate", values="xs"),
    "cumsum": _named("Cumsum"),
    "expand_dims": _named("ExpandDims", input="x"),
    "repeat": _named("Repeat", input="x"),
    "reshape": _named("Reshape", tensor="x", shape="newshape"),
    "reverse": _named("Flip", tensor="x"),
    "squeeze": _named("Squeeze", input="x"),
    "stack": _named("Stack", values="x"),
    "tile": _named("Tile", input="x", multiples="repeats"),
    "transpose": _named("Transpose", a="x", perm="axes"),
    "unstack": _named("Unstack", value="x"),
    "where": _named("Where", x="x1", y="x2"),
    "nn.leaky_relu": _named("LeakyRelu", features="x", alpha="negative_slope"),
    "__operators__.getitem": _named("GetItem", tensor="x", slice_spec="key"),
}

for _name, _class_name in _OPERANDS.items():
    function(_name, f"math.{_name}", f"nn.{_name}", f"__operators__.{_name}")(
        _positional(_class_name)
    )
for _name, _class_name in _REDUCTIONS.items():
    function(_name, f"math.{_name}")(_named(_class_name, input_tensor="x"))
for _name, _implementation in _NAMED.items():
    function(_name, f"math.{_name}", f"compat.v1.{_name}")(_implementation)


@function("nn.gelu")
def gelu(features: Value, *, approximate: bool = False) -> Value:
    """Return x times the Gauss distribution."""
    return ops.gelu(features, approximate=approximate)


@function("nn.softmax", "math.softmax")
def softmax(logits: Value, axis: int | None = None) -> Value:
    """Return the softmax."""
    return elementwise_operations.softmax(logits, -1 if axis is None else axis)


@function("nn.log_softmax", "math.log_softmax")
def log_softmax(logits: Value, axis: int | None = None) -> Value:
    """Return the logarithm of the softmax."""
    return elementwise_operations.log_softmax(logits, -1 if axis is None else axis)


@function("math.squared_difference")
def squared_difference(x: Structure, y: Structure) -> Value:
    """Return the square of x - y."""
    return ops.square(ops.subtract(beside(x, y), beside(y, x)))


@function("math.l2_normalize", "nn.l2_normalize", "linalg.l2_normalize")
def l2_normalize(
    x: Value, axis: int | Sequence[int] | None = None, epsilon: float = 1e-12
) -> Value:
    """Return x over its length, whose square counts *epsilon* at least."""
    return reduction_operations.normalize(x, axis, 2, float(epsilon) ** 0.5)


@function("nn.bias_add")
def bias_add(value: Value, bias: Structure, data_format: str | None = None) -> Value:
    """Return x plus one number per channel."""
    numbers = constant_array(bias)
    if str(data_format).startswith("NC"):
        numbers = numbers.reshape(-1, *(1,) * (len(value.shape) - 1))
    return value + ops.constant(numbers)


@function("matmul", "linalg.matmul")
def matmul(
    a: Structure,
    b: Structure,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Value:
    """Return the product of matrices, turned first where asked for."""
    return reduction_operations.matmul(
        _turned(a) if transpose_a else a, _turned(b) if transpose_b else b
    )


def _turned(x: Structure) -> Structure:
    """Return the last two axes exchanged."""
    if not isinstance(x, Value):
        return np.swapaxes(constant_array(x), -1, -2)
    rank = len(x.shape)
    return ops.swap_axes(x, rank - 2, rank - 1)


@function("einsum", "linalg.einsum")
def einsum(equation: str, *inputs: Structure) -> Value:
    """Return the sum of products."""
    return reduction_operations.einsum(*inputs, subscripts=equation)


@function("split")
def split(
    value: Value,
    num_or_size_splits: int | Sequence[int],
    axis: int = 0,
    num: int | None = None,
) -> list[Value]:
    """Return parts of x; several numbers are their sizes."""
    del num
    if isinstance(num_or_size_splits, int):
        return shape_operations.split(value, num_or_size_splits, axis)
    ends = np.cumsum(num_or_size_splits)[:-1].tolist()
    return shape_operations.split(value, ends, axis)


@function("pad", "compat.v1.pad")
def pad(
    tensor: Value,
    paddings: Structure,
    mode: str = "CONSTANT",
    constant_values: float = 0,
) -> Value:
    """Return x with constants around it."""
    return shape_operations.pad(tensor, paddings, mode.lower(), constant_values)


@function("gather", "compat.v1.gather")
def gather(
    params: Structure,
    indices: Structure,
    axis: int | None = None,
    batch_dims: int = 0,
) -> Value:
    """Return the elements at indices."""
    if batch_dims:
        raise ValueError("batch_dims isn't 0")
    return shape_operations.take(params, indices, axis or 0)


@function("one_hot")
def one_hot(  # noqa: PLR0913, PLR0917 - TensorFlow has that many arguments
    indices: Value,
    depth: int,
    on_value: float | None = None,
    off_value: float | None = None,
    axis: int | None = None,
    dtype: object = None,
) -> Value:
    """Return one number at the place that x states, another elsewhere."""
    del dtype
    hot = shape_operations.one_hot(indices, int(depth), -1 if axis is None else axis)
    if on_value is None and off_value is None:
        return hot
    on = 1.0 if on_value is None else on_value
    return ops.where(hot > 0.5, on, off_value or 0.0)  # noqa: PLR2004 - it is 0 or 1


@function("image.resize")
def resize(
    images: Value,
    size: Sequence[int],
    method: str = "bilinear",
    *,
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Value:
    """Return interpolated images."""
    methods: Mapping[str, Method] = {
        "nearest": "nearest",
        "bilinear": "bilinear",
        "bicubic": "bicubic",
        "lanczos3": "lanczos3",
        "lanczos5": "lanczos5",
    }
    if preserve_aspect_ratio or method not in methods:
        raise ValueError(f"the method {quoted(method)} isn't supported")
    height, width = (int(d) for d in size)
    return ops.resize(
        images,
        positions((1, 2), images),
        sizes=(height, width),
        method=methods[method],
        antialias=antialias and method != "nearest",
    )


@layer("TFOpLambda", "SlicingOpLambda")
class TensorFlowFunction(Layer):
    """One function of TensorFlow, with all its arguments in the call."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Look the function up."""
        super().__init__(definition)
        name = definition.option("function")
        if name not in FUNCTIONS:
            raise definition.refusal(
                f"calls TensorFlow's {quoted(name)}, which Keramos doesn't know",
                "put it into a layer of your own, and pass --custom FILE.py that"
                " defines it",
            )
        self.function = FUNCTIONS[name]

    def __call__(self, *args: Structure, **kwargs: Structure) -> Structure:
        """Return the results, which carry no masks."""
        plain, named = mapped(
            lambda x: x.value if isinstance(x, Masked) else x, (args, kwargs)
        )
        given = {key: item for key, item in named.items() if key not in _IGNORED}
        result: Any = self.function(*plain, **given)
        return mapped(lambda y: Masked(y) if isinstance(y, Value) else y, result)

    def check_weights(self) -> None:
        """Functions have none."""
