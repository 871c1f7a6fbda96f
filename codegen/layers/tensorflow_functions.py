"""TensorFlow's functions in graphs of tf.keras 2: TFOpLambda and SlicingOpLambda.

The configuration names the function as it stands below ``tf.``; a call's keyword
arguments have TensorFlow's names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.graph import Value
from keramos.layers import (
    elementwise_operations,
    ordering_operations,
    reduction_operations,
    shape_operations,
    window_operations,
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
    "acos": "Arccos",
    "acosh": "Arccosh",
    "add": "Add",
    "asin": "Arcsin",
    "asinh": "Arcsinh",
    "atan": "Arctan",
    "atan2": "Arctan2",
    "atanh": "Arctanh",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "divide": "Divide",
    "divide_no_nan": "DivideNoNan",
    "elu": "Elu",
    "equal": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "expm1": "Expm1",
    "floor": "Floor",
    "floor_div": "FloorDivide",
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
    "sinh": "Sinh",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "sqrt": "Sqrt",
    "square": "Square",
    "stop_gradient": "StopGradient",
    "sub": "Subtract",
    "subtract": "Subtract",
    "swish": "Silu",
    "tan": "Tan",
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
    "expand_dims": _named("ExpandDims", input="x"),
    "repeat": _named("Repeat", input="x"),
    "roll": _named("Roll", input="x"),
    "slice": _named("Slice", input_="inputs", begin="start_indices", size="shape"),
    "reshape": _named("Reshape", tensor="x", shape="newshape"),
    "reverse": _named("Flip", tensor="x"),
    "squeeze": _named("Squeeze", input="x"),
    "stack": _named("Stack", values="x"),
    "tile": _named("Tile", input="x", multiples="repeats"),
    "unstack": _named("Unstack", value="x"),
    "where": _named("Where", x="x1", y="x2"),
    "nn.leaky_relu": _named("LeakyRelu", features="x", alpha="negative_slope"),
}

for _name, _class_name in _OPERANDS.items():
    _spaces = ("", "math.", "nn.", "__operators__.", "compat.v1.")
    function(*(f"{_space}{_name}" for _space in _spaces))(_positional(_class_name))
for _name, _class_name in _REDUCTIONS.items():
    function(_name, f"math.{_name}")(_named(_class_name, input_tensor="x"))
for _name, _implementation in _NAMED.items():
    function(_name, f"math.{_name}", f"compat.v1.{_name}")(_implementation)


@function("transpose", "compat.v1.transpose")
def transpose(
    a: Value, perm: Sequence[int] | None = None, *, conjugate: object = False
) -> Value:
    """Return x with its axes in another order."""
    del conjugate
    return shape_operations.transpose(a, perm)


@function("cumsum", "math.cumsum")
def cumsum(
    x: Value, axis: int = 0, *, exclusive: bool = False, reverse: bool = False
) -> Value:
    """Return the sums of what stands before, with the element itself or without."""
    (at,) = positions(axis, x)
    y = ops.flip(x, at) if reverse else x
    total = reduction_operations.cumsum(y, axis)
    total = total - y if exclusive else total
    return ops.flip(total, at) if reverse else total


@function("math.top_k", "nn.top_k")
def top_k(
    input: Value,  # noqa: A002 - TensorFlow's own name
    k: int = 1,
    *,
    sorted: object = True,  # noqa: A002 - TensorFlow's own name
) -> list[Value]:
    """Return the largest elements and their places."""
    return ordering_operations.top_k(input, int(k), sorted=sorted)


@function("sort")
def sort(values: Value, axis: int = -1, direction: str = "ASCENDING") -> Value:
    """Return the elements in order."""
    return ops.sort(values, *positions(axis, values), descending=_descends(direction))


@function("argsort")
def argsort(
    values: Value,
    axis: int = -1,
    direction: str = "ASCENDING",
    *,
    stable: object = False,
) -> Value:
    """Return the places of the elements in order."""
    del stable
    at = positions(axis, values)
    return ops.argsort(values, *at, descending=_descends(direction))


def _descends(direction: object) -> bool:
    """Return whether the largest comes first."""
    if direction not in ("ASCENDING", "DESCENDING"):
        raise ValueError(f"the direction {quoted(direction)} isn't one")
    return direction == "DESCENDING"


@function("linalg.band_part")
def band_part(input: Value, num_lower: int, num_upper: int) -> Value:  # noqa: A002
    """Return matrices with zeros but for some diagonals; -1 keeps all."""
    x = input
    if num_lower >= 0:
        x = shape_operations.triu(x, -num_lower)
    return x if num_upper < 0 else shape_operations.tril(x, num_upper)


@function("norm", "compat.v1.norm", "linalg.norm")
def norm(
    tensor: Value,
    ord: object = "euclidean",  # noqa: A002 - TensorFlow's own name
    axis: int | Sequence[int] | None = None,
    keepdims: object = None,
) -> Value:
    """Return the length of vectors."""
    return reduction_operations.norm(tensor, ord, axis, keepdims=bool(keepdims))


@function("tensordot")
def tensordot(a: Structure, b: Structure, axes: Structure) -> Value:
    """Return products with a constant over pairs of axes."""
    return reduction_operations.tensordot(a, b, axes)


@function("nn.depth_to_space", "compat.v1.depth_to_space")
def depth_to_space(
    input: Value, block_size: int, data_format: str = "NHWC"  # noqa: A002
) -> Value:
    """Return channels as blocks of pixels."""
    order = "channels_first" if data_format == "NCHW" else "channels_last"
    return window_operations.depth_to_space(input, block_size, order)


@function("nn.space_to_depth", "compat.v1.space_to_depth")
def space_to_depth(
    input: Value, block_size: int, data_format: str = "NHWC"  # noqa: A002
) -> Value:
    """Return blocks of pixels as channels."""
    order = "channels_first" if data_format == "NCHW" else "channels_last"
    return window_operations.space_to_depth(input, block_size, order)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What ``tf.shape`` gives: lengths of axes, the batch being -1; or one of them."""

    lengths: tuple[int | None, ...]
    is_single: bool = False

    def plain(self) -> Structure:
        """Return the numbers as an argument."""
        return self.lengths[0] if self.is_single else list(self.lengths)

    def at(self, key: Structure) -> Sizes:
        """Return one length or several."""
        (key,) = key if isinstance(key, list | tuple) else (key,)
        if isinstance(key, slice):
            return Sizes(self.lengths[key])
        return Sizes((self.lengths[int(key)],), is_single=True)


@function("shape", "compat.v1.shape")
def shape_of(input: Value) -> Sizes:  # noqa: A002 - TensorFlow's own name
    """Return the lengths of all axes."""
    return Sizes((-1, *input.shape))


@function("__operators__.getitem")
def get_item(tensor: Structure, slice_spec: Structure = None) -> Structure:
    """Return a part of a tensor, or of its lengths."""
    if isinstance(tensor, Sizes):
        return tensor.at(slice_spec)
    return shape_operations.get_item(tensor, slice_spec)


@function("strided_slice")
def strided_slice(  # noqa: PLR0913, PLR0917 - TensorFlow has that many arguments
    input_: Structure,
    begin: Structure,
    end: Structure,
    strides: Structure = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
    var: object = None,
) -> Structure:
    """Return ``x[begin:end:strides]``; bits of masks say what entries stand for."""
    del var
    starts, ends = (constant_array(v).ravel().tolist() for v in (begin, end))
    steps = [1] * len(starts)
    if strides is not None:
        steps = constant_array(strides).ravel().tolist()
    key: list[Structure] = []
    for place, (start, stop, step) in enumerate(zip(starts, ends, steps, strict=True)):
        bit = 1 << place
        if ellipsis_mask & bit:
            key.append(Ellipsis)
        elif new_axis_mask & bit:
            key.append(None)
        elif shrink_axis_mask & bit:
            key.append(int(start))
        else:
            first = None if begin_mask & bit else int(start)
            last = None if end_mask & bit else int(stop)
            key.append(slice(first, last, None if step == 1 else int(step)))
    if key and isinstance(key[0], slice) and not isinstance(input_, Sizes):
        batch = key[0]
        if batch.start in (None, 0) and batch.step is None and batch.stop is not None:
            raise ValueError(
                f"it takes {batch.stop} samples of a batch, which Keramos keeps apart"
            )
    return get_item(input_, key)


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


def applied(
    implementation: Function, args: Sequence[Structure], kwargs: Mapping[str, Structure]
) -> Structure:
    """Return what a function gives; only slices take lengths as such."""
    if implementation not in (get_item, strided_slice):
        args, kwargs = mapped(
            lambda x: x.plain() if isinstance(x, Sizes) else x, (list(args), kwargs)
        )
    return implementation(*args, **kwargs)


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
        result: Any = applied(self.function, plain, given)
        return mapped(lambda y: Masked(y) if isinstance(y, Value) else y, result)

    def check_weights(self) -> None:
        """Functions have none."""
