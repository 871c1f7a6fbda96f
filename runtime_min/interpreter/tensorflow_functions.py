"""TensorFlow's functions in graphs of tf.keras 2: TFOpLambda and SlicingOpLambda.

The layer's configuration names the function as it stands below ``tf.``; argument names
are those of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keramos.errors import quoted
from keramos.runtime_min.interpreter import activations
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array
from keramos.runtime_min.interpreter.operation import Operation, converted
from keramos.runtime_min.interpreter.operations_reduction import top_k
from keramos.runtime_min.interpreter.operations_shape import (
    depth_to_space,
    get_item,
    one_hot,
    space_to_depth,
)
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.resampling import ALL_METHODS, resampled

Axis = int | Sequence[int] | None
Function = Callable[..., Any]

FUNCTIONS: dict[str, Function] = {}


def function(*names: str) -> Callable[[Function], Function]:
    """Register the decorated function under TensorFlow's names for it."""

    def register(implementation: Function) -> Function:
        """Enter the function under every name."""
        FUNCTIONS.update(dict.fromkeys(names, implementation))
        return implementation

    return register


def _unary(implementation: Callable[..., Any]) -> Function:
    """Return a function of one tensor."""

    def applied(x: Array, name: object = None) -> Any:
        """Return the function's values."""
        del name
        return implementation(x)

    return applied


def _binary(implementation: Callable[..., Any]) -> Function:
    """Return a function of two tensors."""

    def applied(x: Array, y: Array, name: object = None) -> Any:
        """Return the function's values."""
        del name
        return implementation(x, y)

    return applied


def _reduction(implementation: Callable[..., Any]) -> Function:
    """Return a function that reduces axes."""

    def reduced(
        input_tensor: Array,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        name: Any = None,
    ) -> Any:
        """Return the reduced tensor."""
        del name
        axes = tuple(axis) if isinstance(axis, list) else axis
        return implementation(input_tensor, axis=axes, keepdims=bool(keepdims))

    return reduced


UNARY: Mapping[str, Callable[..., Any]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "cosh": np.cosh,
    "expm1": np.expm1,
    "sinh": np.sinh,
    "tan": np.tan,
    "ceil": np.ceil,
    "cos": np.cos,
    "erf": activations.error_function,
    "exp": np.exp,
    "floor": np.floor,
    "is_nan": np.isnan,
    "log": np.log,
    "log1p": np.log1p,
    "logical_not": np.logical_not,
    "negative": np.negative,
    "reciprocal": lambda x: 1 / x,
    "round": np.round,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": activations.sigmoid,
    "sign": np.sign,
    "sin": np.sin,
    "softplus": activations.softplus,
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
    "zeros_like": np.zeros_like,
    "ones_like": np.ones_like,
    "identity": lambda x: x,
    "stop_gradient": lambda x: x,
}
BINARY: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "atan2": np.arctan2,
    "floor_div": np.floor_divide,
    "divide": np.true_divide,
    "divide_no_nan": lambda x, y: np.where(y == 0, 0, x / np.where(y == 0, 1, y)),
    "equal": np.equal,
    "floordiv": np.floor_divide,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,
    "multiply": np.multiply,
    "not_equal": np.not_equal,
    "pow": np.power,
    "squared_difference": lambda x, y: (x - y) ** 2,
    "subtract": np.subtract,
    "truediv": np.true_divide,
}
OPERATORS = {"floormod": "mod", "neg": "negative", "sub": "subtract", "mul": "multiply"}
REDUCTIONS: Mapping[str, Callable[..., Any]] = {
    "reduce_all": np.all,
    "reduce_any": np.any,
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_std": np.std,
    "reduce_sum": np.sum,
    "reduce_variance": np.var,
}

for _name, _implementation in UNARY.items():
    function(_name, f"math.{_name}", f"nn.{_name}")(_unary(_implementation))
for _name, _implementation in BINARY.items():
    _spaces = ("", "math.", "__operators__.", "compat.v1.")
    function(*(f"{_space}{_name}" for _space in _spaces))(_binary(_implementation))
for _alias, _name in OPERATORS.items():
    function(f"math.{_alias}", f"__operators__.{_alias}")(FUNCTIONS[_name])
for _name, _implementation in REDUCTIONS.items():
    function(_name, f"math.{_name}")(_reduction(_implementation))


def _activation(implementation: Callable[[Array], Array]) -> Function:
    """Return an activation under the argument name that ``tf.nn`` has."""

    def applied(features: Array, name: object = None) -> Array:
        """Return the function's values."""
        del name
        return implementation(features)

    return applied


for _name in ("relu", "relu6", "elu", "selu", "softsign", "silu"):
    function(f"nn.{_name}")(_activation(activations.ACTIVATIONS[_name]))
function("nn.swish")(FUNCTIONS["nn.silu"])


@function("nn.leaky_relu")
def leaky_relu(features: Array, alpha: float = 0.2, name: object = None) -> Array:
    """X for positive x, alpha * x otherwise."""
    del name
    return activations.leaky_relu(features, alpha)


@function("nn.gelu")
def gelu(features: Array, *, approximate: bool = False, name: object = None) -> Array:
    """X times the normal distribution's Phi(x)."""
    del name
    return activations.gelu(features, approximate=approximate)


@function("nn.softmax", "math.softmax")
def softmax(logits: Array, axis: int | None = None, name: object = None) -> Array:
    """exp(x) / sum(exp(x))."""
    del name
    return activations.softmax(logits, -1 if axis is None else axis)


@function("nn.log_softmax")
def log_softmax(logits: Array, axis: int | None = None, name: object = None) -> Array:
    """log(softmax(x))."""
    del name
    return activations.log_softmax(logits, -1 if axis is None else axis)


@function("nn.bias_add")
def bias_add(value: Array, bias: Any, data_format: Any = None, name: Any = None) -> Any:
    """X plus one number per channel."""
    del name
    if data_format in ("NCHW", "NCW", "NCDHW"):
        return value + np.asarray(bias).reshape(-1, *[1] * (value.ndim - 2))
    return value + bias


@function("clip_by_value")
def clip_by_value(
    t: Array, clip_value_min: float, clip_value_max: float, name: object = None
) -> Any:
    """x, at least the minimum and at most the maximum."""
    del name
    return np.clip(t, clip_value_min, clip_value_max)


@function("cast")
def cast(x: Array, dtype: object, name: object = None) -> Array:
    """X in another type."""
    del name
    return converted(x, dtype)


@function("convert_to_tensor")
def convert_to_tensor(
    value: Array, dtype: object = None, dtype_hint: Any = None, name: Any = None
) -> Array:
    """X as a tensor."""
    del dtype_hint, name
    return converted(value, dtype)


@function("math.l2_normalize", "nn.l2_normalize", "linalg.l2_normalize")
def l2_normalize(
    x: Array, axis: Axis = None, epsilon: float = 1e-12, name: object = None
) -> Any:
    """X / sqrt(max(sum(x^2), epsilon))."""
    del name
    axes = tuple(axis) if isinstance(axis, list) else axis
    squares = np.sum(x * x, axis=axes, keepdims=True)
    return x / np.sqrt(np.maximum(squares, epsilon))


@function("linalg.matmul", "matmul")
def matmul(
    a: Array,
    b: Array,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    name: object = None,
) -> Any:
    """Return matrix products."""
    del name
    left = np.swapaxes(a, -1, -2) if transpose_a else a
    right = np.swapaxes(b, -1, -2) if transpose_b else b
    return left @ right


@function("einsum", "linalg.einsum")
def einsum(equation: str, *inputs: Array, name: object = None) -> Any:
    """Return Einstein's sum."""
    del name
    return np.einsum(equation, *inputs)


@function("reshape")
def reshape(tensor: Array, shape: Any, name: object = None) -> Array:
    """X in another shape, some sizes of which may be tensors."""
    del name
    return np.reshape(tensor, [int(size) for size in np.ravel(shape)])


@function("shape", "compat.v1.shape")
def shape_of(
    input: Array,  # noqa: A002 - TensorFlow's name
    out_type: object = None,
    name: object = None,
) -> Array:
    """Return the sizes of all axes."""
    del out_type, name
    return np.array(input.shape, np.int32)


@function("transpose", "compat.v1.transpose")
def transpose(
    a: Array, perm: Sequence[int] | None = None, conjugate: Any = None, name: Any = None
) -> Array:
    """X with its axes in another order."""
    del conjugate, name
    return np.transpose(a, perm)


@function("expand_dims")
def expand_dims(
    input: Array,  # noqa: A002 - TensorFlow's name
    axis: int,
    name: object = None,
) -> Array:
    """X with a new axis."""
    del name
    return np.expand_dims(input, axis)


@function("squeeze", "compat.v1.squeeze")
def squeeze(
    input: Array,  # noqa: A002 - TensorFlow's name
    axis: Axis = None,
    name: object = None,
) -> Array:
    """X without axes of size 1."""
    del name
    return np.squeeze(input, tuple(axis) if isinstance(axis, list) else axis)


@function("concat")
def concat(values: Sequence[Array], axis: int, name: object = None) -> Array:
    """Return the tensors, one behind the other."""
    del name
    return np.concatenate(list(values), axis)


@function("stack")
def stack(values: Sequence[Array], axis: int = 0, name: object = None) -> Array:
    """Return the tensors along a new axis."""
    del name
    return np.stack(list(values), axis)


@function("unstack")
def unstack(
    value: Array, num: object = None, axis: int = 0, name: object = None
) -> list[Array]:
    """Return the slices of an axis."""
    del num, name
    return list(np.moveaxis(value, axis, 0))


@function("split")
def split(
    value: Array,
    num_or_size_splits: Any,
    axis: int = 0,
    num: object = None,
    name: object = None,
) -> list[Array]:
    """x, cut into equal parts or parts of given sizes."""
    del num, name
    if isinstance(num_or_size_splits, int):
        return np.split(value, num_or_size_splits, axis)
    return np.split(value, np.cumsum(num_or_size_splits)[:-1], axis)


@function("tile")
def tile(
    input: Array,  # noqa: A002 - TensorFlow's name
    multiples: Any,
    name: object = None,
) -> Array:
    """Return the whole tensor several times."""
    del name
    return np.tile(input, [int(count) for count in np.ravel(multiples)])


@function("repeat")
def repeat(
    input: Array,  # noqa: A002 - TensorFlow's name
    repeats: Any,
    axis: int | None = None,
    name: object = None,
) -> Array:
    """Return every element several times."""
    del name
    return np.repeat(input, repeats, axis)


@function("broadcast_to")
def broadcast_to(
    input: Array,  # noqa: A002 - TensorFlow's name
    shape: Any,
    name: object = None,
) -> Array:
    """x, repeated where its size is 1."""
    del name
    return np.broadcast_to(input, [int(size) for size in np.ravel(shape)])


@function("pad", "compat.v1.pad")
def pad(
    tensor: Array,
    paddings: Any,
    mode: str = "CONSTANT",
    constant_values: float = 0,
    name: object = None,
) -> Array:
    """X with margins."""
    del name
    widths = np.asarray(paddings).tolist()
    match mode.upper():
        case "CONSTANT":
            return np.pad(tensor, widths, constant_values=constant_values)
        case "REFLECT":
            return np.pad(tensor, widths, mode="reflect")
        case _:
            return np.pad(tensor, widths, mode="symmetric")


@function("gather", "compat.v1.gather")
def gather(
    params: Array,
    indices: Any,
    validate_indices: object = None,
    axis: int | None = None,
    batch_dims: int = 0,
    name: object = None,
) -> Array:
    """Return the slices at some positions."""
    del validate_indices, name
    if batch_dims:
        raise ValueError("tf.gather with batch_dims isn't supported")
    return np.take(params, np.asarray(indices).astype(np.intp), axis or 0)


@function("where", "where_v2", "compat.v1.where")
def where(condition: Array, x: Array, y: Array, name: object = None) -> Array:
    """X where the condition holds, elsewhere y."""
    del name
    return np.where(condition, x, y)


@function("reverse")
def reverse(tensor: Array, axis: Any, name: object = None) -> Array:
    """x, reversed along axes."""
    del name
    return np.flip(tensor, tuple(np.ravel(axis).tolist()))


@function("cumsum", "math.cumsum")
def cumsum(
    x: Array,
    axis: int = 0,
    *,
    exclusive: bool = False,
    reverse: bool = False,
    name: object = None,
) -> Any:
    """Return the sums so far, or of what is still to come."""
    del name
    y = np.flip(x, axis) if reverse else x
    total = np.cumsum(y, axis) - (y if exclusive else 0)
    return np.flip(total, axis) if reverse else total


@function("math.top_k", "nn.top_k")
def top_k_of(
    input: Array,  # noqa: A002 - TensorFlow's name
    k: int = 1,
    sorted: object = True,  # noqa: A002, FBT002 - TensorFlow's name
    name: object = None,
) -> list[Array]:
    """Return the k largest elements of each row with their places."""
    del sorted, name
    return top_k(input, k)


def _order(values: Array, axis: int, direction: str) -> Array:
    """Return the places of the elements in order, ties in theirs."""
    keys = -values if direction == "DESCENDING" else values
    return np.argsort(keys, axis, kind="stable")


@function("sort")
def sort(
    values: Array, axis: int = -1, direction: str = "ASCENDING", name: object = None
) -> Array:
    """Return the elements in order."""
    del name
    return np.take_along_axis(values, _order(values, axis, direction), axis)


@function("argsort")
def argsort(
    values: Array,
    axis: int = -1,
    direction: str = "ASCENDING",
    stable: object = False,  # noqa: FBT002 - TensorFlow's name
    name: object = None,
) -> Array:
    """Return the places of the elements in order."""
    del stable, name
    return _order(values, axis, direction).astype(np.int32)


@function("roll")
def roll(
    input: Array,  # noqa: A002 - TensorFlow's name
    shift: Any,
    axis: Any,
    name: object = None,
) -> Array:
    """x, moved around."""
    del name
    return np.roll(input, shift, axis)


@function("linalg.band_part")
def band_part(
    input: Array,  # noqa: A002 - TensorFlow's name
    num_lower: int,
    num_upper: int,
    name: object = None,
) -> Array:
    """X where it is at most so far below or above the diagonal."""
    del name
    rows, columns = np.indices(input.shape[-2:])
    below = (num_lower < 0) | (rows - columns <= num_lower)
    above = (num_upper < 0) | (columns - rows <= num_upper)
    return np.where(below & above, input, 0)


@function("norm", "compat.v1.norm", "linalg.norm")
def norm(
    tensor: Array,
    ord: Any = "euclidean",  # noqa: A002 - TensorFlow's name
    axis: Any = None,
    keepdims: Any = None,
    name: object = None,
) -> Any:
    """Return the length of vectors."""
    del name
    kind = None if ord == "euclidean" else ord
    axes = tuple(axis) if isinstance(axis, list) else axis
    return np.linalg.norm(tensor, kind, axes, keepdims=bool(keepdims))


@function("tensordot")
def tensordot(a: Array, b: Any, axes: Any, name: object = None) -> Any:
    """Return products over pairs of axes."""
    del name
    return np.tensordot(a, np.asarray(b), axes)


@function("slice")
def slice_of(input_: Array, begin: Any, size: Any, name: object = None) -> Array:
    """Return a block; -1 takes all that is left."""
    del name
    window = tuple(
        slice(int(start), None if length == -1 else int(start + length))
        for start, length in zip(np.ravel(begin), np.ravel(size), strict=True)
    )
    return input_[window]


@function("strided_slice")
def strided_slice(
    input_: Array,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
    var: object = None,
    name: object = None,
) -> Any:
    """Return a slice, each entry of which may be marked as something else."""
    del var, name
    starts = np.ravel(begin)
    steps = np.ones_like(starts) if strides is None else np.ravel(strides)
    marks = np.array(
        [begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask]
    )
    key: list[Any] = []
    entries = zip(starts, np.ravel(end), steps, strict=True)
    for place, (start, stop, step) in enumerate(entries):
        no_start, no_end, is_rest, is_new, is_single = (marks >> place) & 1
        whole = slice(
            None if no_start else int(start), None if no_end else int(stop), int(step)
        )
        key.append(
            Ellipsis
            if is_rest
            else None if is_new else int(start) if is_single else whole
        )
    return input_[tuple(key)]


@function("argmax", "math.argmax")
def argmax(
    input: Array,  # noqa: A002 - TensorFlow's name
    axis: int | None = None,
    output_type: object = None,
    name: object = None,
) -> Array:
    """Return where the largest elements are."""
    del output_type, name
    return np.asarray(np.argmax(input, axis or 0))


@function("one_hot")
def one_hot_of(
    indices: Array, depth: int, axis: int | None = None, name: object = None
) -> Array:
    """1 at the position that the number says."""
    del name
    return one_hot(indices, depth, -1 if axis is None else axis)


@function("nn.depth_to_space")
def depth_to_space_of(
    input: Array,  # noqa: A002 - TensorFlow's name
    block_size: int,
    data_format: str = "NHWC",
    name: object = None,
) -> Array:
    """Return channels as blocks of pixels."""
    del name
    first = "channels_first" if data_format == "NCHW" else "channels_last"
    return depth_to_space(input, block_size, first)


@function("nn.space_to_depth", "compat.v1.space_to_depth")
def space_to_depth_of(
    input: Array,  # noqa: A002 - TensorFlow's name
    block_size: int,
    data_format: str = "NHWC",
    name: object = None,
) -> Array:
    """Return blocks of pixels as channels."""
    del name
    first = "channels_first" if data_format == "NCHW" else "channels_last"
    return space_to_depth(input, block_size, first)


@function("image.resize")
def resize(
    images: Array,
    size: Any,
    method: str = "bilinear",
    *,
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
    name: object = None,
) -> Array:
    """Return the images, resampled to another size."""
    del name
    if preserve_aspect_ratio or method not in ALL_METHODS:
        raise ValueError(f"tf.image.resize with {method!r} isn't supported")
    height, width = (int(length) for length in np.ravel(size))
    return resampled(images, (1, 2), (height, width), method, antialias=antialias)


@function("__operators__.getitem")
def sliced(tensor: Array, slice_spec: Any = None, var: object = None) -> Array:
    """x[slices]."""
    del var
    return get_item(tensor, slice_spec)


@layer("TFOpLambda", "SlicingOpLambda")
class TensorFlowFunction(Operation):
    """One function of TensorFlow."""

    def find(self, definition: Definition) -> Function:
        """Return the function, whose name is an option."""
        name = definition.option("function")
        if name not in FUNCTIONS:
            raise definition.refusal(
                f"calls TensorFlow's {quoted(name)}, which is unknown",
                "replace it by a layer, or by a custom layer",
            )
        return FUNCTIONS[name]

    def options_of(self, definition: Definition) -> dict[str, object]:
        """Return no options: a call has them all."""
        del definition
        return {}
