"""The closed set of primitives to which every Keras layer is lowered.

A primitive knows its attributes, the shape of its result and, in :meth:`evaluate`, its
meaning. Emitters know primitives only.

Shapes leave the batch axis out, and so do axis numbers: axis 0 is the first after the
batch. ``None`` is a dimension that stays free until the model is called. In
:meth:`evaluate` every array has the batch axis in front (of length 1 for constants).
Tensors are channels-last.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from keramos import expr as scalar
from keramos.expr import Expr

Shape = tuple[int | None, ...]
DType = Literal["float32", "int32", "bool"]
Array = NDArray[Any]

# Zeros in front and behind; "same" only where the dimension is free and the stride > 1,
# since then they depend on its length.
Padding = tuple[int, int] | Literal["same"]


@dataclass(frozen=True, slots=True)
class Spec:
    """What is known of a value ahead of time."""

    shape: Shape
    dtype: DType = "float32"

    def __str__(self) -> str:
        """Return ``float32[28, 28, 1]``; ``?`` is a free dimension."""
        dims = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.dtype}[{dims}]"


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Return NumPy's broadcast of *shapes*; a free dimension absorbs 1 and itself."""
    rank = max(map(len, shapes))
    result: list[int | None] = []
    for dims in zip(*((1,) * (rank - len(s)) + s for s in shapes), strict=True):
        known = {d for d in dims if d not in (1, None)}
        if len(known) > 1:
            raise ValueError(f"shapes {[*shapes]} don't broadcast")
        result.append(known.pop() if known else None if None in dims else 1)
    return tuple(result)


def product(shape: Sequence[int | None]) -> int | None:
    """Return the number of elements, None where a dimension is free."""
    return None if None in shape else math.prod(d for d in shape if d is not None)


def align(array: Array, rank: int) -> Array:
    """Return *array* with axes of length 1 inserted after the batch, up to *rank*."""
    return array.reshape(
        array.shape[0], *(1,) * (rank + 1 - array.ndim), *array.shape[1:]
    )


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Return Keras' "same" zeros: the odd one goes behind."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def window_length(
    size: int | None, window: int, stride: int, padding: Padding
) -> int | None:
    """Return how many windows of (dilated) length *window* fit."""
    if size is None:
        return None
    low, high = same_padding(size, window, stride) if padding == "same" else padding
    return max((size + low + high - window) // stride + 1, 0)


@dataclass(frozen=True, slots=True)
class Map:
    """Elementwise: ``y = expr(x0, x1, ...)`` with NumPy's broadcasting."""

    expr: Expr
    dtype: DType = "float32"

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """Return the broadcast shape."""
        return (Spec(broadcast([x.shape for x in inputs]), self.dtype),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Apply the expression; float64 inputs stay so."""
        rank = max(x.ndim for x in inputs) - 1
        aligned = [align(x, rank) for x in inputs]
        y = np.asarray(scalar.evaluate(self.expr, aligned))
        shape = np.broadcast_shapes(*(x.shape for x in aligned))
        dtype = floating(inputs) if self.dtype == "float32" else np.dtype(self.dtype)
        return (np.broadcast_to(y, shape).astype(dtype),)


def floating(inputs: Sequence[Array]) -> np.dtype[Any]:
    """Return float64 where an input has it, else float32."""
    wide = any(x.dtype == np.float64 for x in inputs)
    return np.dtype(np.float64 if wide else np.float32)


@dataclass(frozen=True, slots=True)
class Conv:
    """N-d convolution ``(*spatial, c), (*window, c / groups, o) -> (*out, o)``.

    ``y[i, o] = sum over u, c of x[i * stride + u * dilation - low, c] * k[u, c, o]``,
    where *input_dilation* first puts that many steps less one of zeros between the
    elements of x (transposed convolution). Output channels are in group order.
    """

    strides: tuple[int, ...]
    padding: tuple[Padding, ...]
    dilation: tuple[int, ...]
    input_dilation: tuple[int, ...]
    groups: int = 1

    def infer(self, x: Spec, kernel: Spec) -> tuple[Spec, ...]:
        """Return the shape; raise ValueError where x and kernel don't fit."""
        rank = len(self.strides)
        if len(x.shape) != rank + 1 or len(kernel.shape) != rank + 2:
            raise ValueError(f"{rank}-d convolution of {x} with {kernel}")
        depth, filters = kernel.shape[-2:]
        channels = x.shape[-1]
        if channels is None or depth is None or channels != depth * self.groups:
            raise ValueError(f"kernel {kernel} needs other channels than {x}")
        out = []
        for axis in range(rank):
            size = x.shape[axis]
            window = (_known(kernel.shape[axis]) - 1) * self.dilation[axis] + 1
            dilated = (
                None if size is None else (size - 1) * self.input_dilation[axis] + 1
            )
            out.append(
                window_length(dilated, window, self.strides[axis], self.padding[axis])
            )
        return (Spec((*out, filters)),)

    def evaluate(self, x: Array, kernel: Array) -> tuple[Array, ...]:
        """Add up one contraction per tap of the window."""
        kernel = kernel[0]
        rank = len(self.strides)
        groups, window = self.groups, kernel.shape[:rank]
        x = _dilate(x, self.input_dilation)
        extents = [(k - 1) * d + 1 for k, d in zip(window, self.dilation, strict=True)]
        x = _pad_windows(x, extents, self.strides, self.padding, value=0)
        counts = [
            max((x.shape[1 + a] - extents[a]) // self.strides[a] + 1, 0)
            for a in range(rank)
        ]
        x = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
        kernel = kernel.reshape(*kernel.shape[:-1], groups, -1)
        y = np.zeros((x.shape[0], *counts, groups, kernel.shape[-1]), x.dtype)
        for tap in itertools.product(*map(range, window)):
            part = x[_tap(tap, self.dilation, self.strides, counts)]
            if groups == 1:
                pixels = part.reshape(math.prod(part.shape[:-1]), part.shape[-1])
                y += (pixels @ kernel[tap][:, 0]).reshape(y.shape)
            elif kernel.shape[rank] == 1:
                y += part * kernel[tap][0]
            else:
                y += np.einsum("...gc,cgo->...go", part, kernel[tap])
        return (y.reshape(*y.shape[:-2], groups * y.shape[-1]),)


def _known(dimension: int | None) -> int:
    if dimension is None:
        raise ValueError("this dimension can't be free")
    return dimension


def _dilate(x: Array, dilation: tuple[int, ...]) -> Array:
    if all(d == 1 for d in dilation):
        return x
    sizes = [
        (size - 1) * d + 1 if size else 0
        for size, d in zip(x.shape[1:-1], dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], *sizes, x.shape[-1]), x.dtype)
    y[(slice(None), *(slice(None, None, d) for d in dilation))] = x
    return y


def _pad_windows(
    x: Array,
    extents: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[Padding],
    *,
    value: float,
) -> Array:
    pads = [
        same_padding(size, extent, stride) if pad == "same" else pad
        for size, extent, stride, pad in zip(
            x.shape[1:-1], extents, strides, padding, strict=True
        )
    ]
    return np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=value)


def _tap(
    tap: Sequence[int],
    dilation: Sequence[int],
    strides: Sequence[int],
    counts: Sequence[int],
) -> tuple[slice, ...]:
    return (
        slice(None),
        *(
            slice(t * d, t * d + s * (count - 1) + 1 if count else 0, s)
            for t, d, s, count in zip(tap, dilation, strides, counts, strict=True)
        ),
    )


@dataclass(frozen=True, slots=True)
class Contract:
    """Sum of products over paired axes (dot-general).

    The result's axes are: the batch pairs, what is left of *a*, what is left of *b*.
    The batch of the model is always paired.
    """

    a_contract: tuple[int, ...]
    b_contract: tuple[int, ...]
    a_batch: tuple[int, ...] = ()
    b_batch: tuple[int, ...] = ()

    def infer(self, a: Spec, b: Spec) -> tuple[Spec, ...]:
        """Return the shape; raise ValueError where paired axes differ."""
        pairs = zip(
            self.a_contract + self.a_batch, self.b_contract + self.b_batch, strict=True
        )
        for i, j in pairs:
            if None not in (a.shape[i], b.shape[j]) and a.shape[i] != b.shape[j]:
                raise ValueError(f"axis {i} of {a} doesn't match axis {j} of {b}")
        batch = [
            a.shape[i] if a.shape[i] is not None else b.shape[j]
            for i, j in zip(self.a_batch, self.b_batch, strict=True)
        ]
        rest_a = [
            d for i, d in enumerate(a.shape) if i not in self.a_contract + self.a_batch
        ]
        rest_b = [
            d for i, d in enumerate(b.shape) if i not in self.b_contract + self.b_batch
        ]
        return (Spec((*batch, *rest_a, *rest_b)),)

    def evaluate(self, a: Array, b: Array) -> tuple[Array, ...]:
        """Contract by einsum."""
        a_axes = list(range(1, a.ndim))
        b_axes = [i + 50 for i in range(b.ndim - 1)]
        pairs = zip(
            self.a_contract + self.a_batch, self.b_contract + self.b_batch, strict=True
        )
        for i, j in pairs:
            b_axes[j] = a_axes[i]
        names = iter("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        letters: dict[int, str] = {0: next(names)}
        for axis in a_axes + b_axes:
            if axis not in letters:
                letters[axis] = next(names)
        batch = [a_axes[i] for i in self.a_batch]
        rest_a = [
            x for i, x in enumerate(a_axes) if i not in self.a_contract + self.a_batch
        ]
        rest_b = [
            x for i, x in enumerate(b_axes) if i not in self.b_contract + self.b_batch
        ]

        def text(axes: Sequence[int]) -> str:
            return "".join(letters[axis] for axis in axes)

        if a.shape[0] != b.shape[0]:
            n = max(a.shape[0], b.shape[0]) if min(a.shape[0], b.shape[0]) else 0
            a = np.broadcast_to(a, (n, *a.shape[1:])) if a.shape[0] == 1 else a
            b = np.broadcast_to(b, (n, *b.shape[1:])) if b.shape[0] == 1 else b
        left, right = text([0, *a_axes]), text([0, *b_axes])
        equation = f"{left},{right}->{text([0, *batch, *rest_a, *rest_b])}"
        return (np.asarray(np.einsum(equation, a, b, optimize=True)),)


@dataclass(frozen=True, slots=True)
class Window:
    """Pooling over the spatial axes of ``(*spatial, c)``.

    "mean" divides by the number of elements inside x: padding doesn't count.
    """

    kind: Literal["max", "mean", "sum"]
    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[Padding, ...]

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        """Return the shape; raise ValueError for another rank."""
        if len(x.shape) != len(self.size) + 1:
            raise ValueError(f"{len(self.size)}-d pooling of {x}")
        out = [
            window_length(x.shape[a], self.size[a], self.strides[a], self.padding[a])
            for a in range(len(self.size))
        ]
        return (Spec((*out, x.shape[-1]), x.dtype),)

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """Combine one strided slice per tap."""
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(np.int32).min
        fill = lowest if self.kind == "max" else 0
        inside = np.ones((1, *x.shape[1:-1], 1), x.dtype)
        arguments = (self.size, self.strides, self.padding)
        x = _pad_windows(x, *arguments, value=fill)
        inside = _pad_windows(inside, *arguments, value=0)
        counts = [
            max((x.shape[1 + a] - self.size[a]) // self.strides[a] + 1, 0)
            for a in range(len(self.size))
        ]
        taps = [
            _tap(tap, (1,) * len(self.size), self.strides, counts)
            for tap in itertools.product(*map(range, self.size))
        ]
        if self.kind == "max":
            return (np.maximum.reduce([x[tap] for tap in taps]),)
        total = np.add.reduce([x[tap] for tap in taps])
        if self.kind == "mean":
            total = total / np.add.reduce([inside[tap] for tap in taps])
        return (total,)


@dataclass(frozen=True, slots=True)
class Reduce:
    """Reduction over *axes*, which stay as length 1 where *keepdims*."""

    kind: Literal["sum", "mean", "max", "min", "prod"]
    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        """Return the shape without, or with ones at, the axes."""
        kept = [
            1 if axis in self.axes else d
            for axis, d in enumerate(x.shape)
            if self.keepdims or axis not in self.axes
        ]
        return (Spec(tuple(kept), x.dtype),)

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """Reduce by NumPy."""
        function = getattr(np, self.kind)
        axes = tuple(axis + 1 for axis in self.axes)
        y = function(x, axis=axes, keepdims=self.keepdims)
        return (np.asarray(y).astype(x.dtype),)


@dataclass(frozen=True, slots=True)
class Softmax:
    """``exp(x - m) / sum(exp(x - m))`` along *axis*, m the maximum; or its log."""

    axis: int
    log: bool = False

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        """Return the same shape."""
        return (Spec(x.shape),)

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """Subtract the maximum first."""
        axis = self.axis + 1
        shifted = x - x.max(axis=axis, keepdims=True)
        total = np.exp(shifted).sum(axis=axis, keepdims=True)
        return (shifted - np.log(total) if self.log else np.exp(shifted) / total,)


@dataclass(frozen=True, slots=True)
class Gather:
    """``data[..., indices, ...]`` at *axis*; indices outside are clamped.

    The axes of *indices* take the place of *axis*.
    """

    axis: int

    def infer(self, data: Spec, indices: Spec) -> tuple[Spec, ...]:
        """Return the shape with *axis* replaced."""
        shape = data.shape[: self.axis] + indices.shape + data.shape[self.axis + 1 :]
        return (Spec(shape, data.dtype),)

    def evaluate(self, data: Array, indices: Array) -> tuple[Array, ...]:
        """Take sample by sample."""
        n = max(len(data), len(indices)) if min(len(data), len(indices)) else 0
        where = indices.astype(np.int64)
        rows = [
            np.take(
                data[s if len(data) > 1 else 0],
                where[s if len(where) > 1 else 0],
                axis=self.axis,
                mode="clip",
            )
            for s in range(n)
        ]
        axes = (
            data.shape[1 : self.axis + 1]
            + indices.shape[1:]
            + data.shape[self.axis + 2 :]
        )
        return (np.array(rows, data.dtype).reshape(n, *axes),)


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in row-major order under another shape.

    ``None`` entries are the input's free dimensions in their order; a single -1 is
    computed from the rest.
    """

    shape: Shape

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        """Return the shape; raise ValueError where the elements don't fit."""
        count, known = product(x.shape), product([d for d in self.shape if d != -1])
        if -1 in self.shape:
            if count is None or known is None:
                hole = self._free(x)
            elif known == 0 or count % known:
                raise ValueError(f"{x} doesn't reshape to {self.shape}")
            else:
                hole = count // known
            return (Spec(tuple(hole if d == -1 else d for d in self.shape), x.dtype),)
        if None not in (count, known) and count != known:
            raise ValueError(f"{x} doesn't reshape to {self.shape}")
        return (Spec(self.shape, x.dtype),)

    def _free(self, x: Spec) -> int | None:
        """Return the -1 where free dimensions cancel."""
        if x.shape.count(None) != self.shape.count(None):
            return None
        count = product([d for d in x.shape if d is not None]) or 0
        known = product([d for d in self.shape if d not in (-1, None)]) or 1
        return count // known

    def evaluate(self, x: Array, *, free: Shape | None = None) -> tuple[Array, ...]:
        """Reshape; *free* is the input's static shape, which tells what was free."""
        static = free if free is not None else x.shape[1:]
        sizes = iter([x.shape[1 + i] for i, d in enumerate(static) if d is None])
        target = [next(sizes) if d is None else d for d in self.shape]
        if -1 in target:
            known = math.prod(d for d in target if d != -1)
            rest = math.prod(x.shape[1:]) // known if known else 0
            target = [rest if d == -1 else d for d in target]
        return (x.reshape(x.shape[0], *target),)


@dataclass(frozen=True, slots=True)
class Transpose:
    """Axis i of the result is axis ``permutation[i]`` of x."""

    permutation: tuple[int, ...]

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        """Return the permuted shape."""
        if sorted(self.permutation) != list(range(len(x.shape))):
            raise ValueError(f"{self.permutation} doesn't permute the axes of {x}")
        return (Spec(tuple(x.shape[axis] for axis in self.permutation), x.dtype),)

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """Transpose by NumPy."""
        return (x.transpose(0, *(axis + 1 for axis in self.permutation)),)


@dataclass(frozen=True, slots=True)
class Slice:
    """``x[start:stop:step, ...]``, a Python slice per axis."""

    slices: tuple[tuple[int | None, int | None, int], ...]

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        """Return the shape; a sliced free dimension stays free."""
        shape = [
            None if d is None else len(range(*slice(*s).indices(d)))
            for d, s in zip(x.shape, self.slices, strict=True)
        ]
        return (Spec(tuple(shape), x.dtype),)

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """Slice by NumPy."""
        return (x[(slice(None), *(slice(*s) for s in self.slices))],)


@dataclass(frozen=True, slots=True)
class Pad:
    """*value* in front of and behind each axis."""

    widths: tuple[tuple[int, int], ...]
    value: float = 0.0

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        """Return the grown shape."""
        shape = [
            None if d is None else low + d + high
            for d, (low, high) in zip(x.shape, self.widths, strict=True)
        ]
        return (Spec(tuple(shape), x.dtype),)

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """Pad by NumPy."""
        return (np.pad(x, [(0, 0), *self.widths], constant_values=self.value),)


@dataclass(frozen=True, slots=True)
class Concat:
    """The inputs one behind the other along *axis*."""

    axis: int

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """Return the joint shape; raise ValueError where the other axes differ."""
        first = list(inputs[0].shape)
        lengths = [x.shape[self.axis] for x in inputs]
        for x in inputs[1:]:
            for axis, d in enumerate(x.shape):
                if axis == self.axis:
                    continue
                if first[axis] is None:
                    first[axis] = d
                if d is not None and d != first[axis]:
                    raise ValueError(
                        f"{inputs[0]} and {x} don't join at axis {self.axis}"
                    )
        first[self.axis] = (
            None if None in lengths else sum(d for d in lengths if d is not None)
        )
        return (Spec(tuple(first), inputs[0].dtype),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Concatenate by NumPy."""
        n = max(len(x) for x in inputs) if min(len(x) for x in inputs) else 0
        whole = [np.broadcast_to(x, (n, *x.shape[1:])) for x in inputs]
        return (np.concatenate(whole, axis=self.axis + 1),)


Method = Literal["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"]


@dataclass(frozen=True, slots=True)
class Resize:
    """Interpolation along *axes*, each on its own, pixel centres at halves.

    Each axis has a *size*, or where that is None an integer *factor* (for free
    dimensions). Output o reads ``x[(o + 1/2) / scale - 1/2]``. The kernels are those of
    ``jax.image.resize``: taps outside x are dropped and the rest renormalised; with
    *antialias* a shrinking kernel is widened.
    """

    axes: tuple[int, ...]
    size: tuple[int | None, ...]
    factor: tuple[int, ...]
    method: Method = "nearest"
    antialias: bool = False

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        """Return the shape with the axes resized."""
        shape = list(x.shape)
        for axis, size, factor in zip(self.axes, self.size, self.factor, strict=True):
            old = x.shape[axis]
            shape[axis] = (
                size if size is not None else None if old is None else old * factor
            )
        return (Spec(tuple(shape), x.dtype),)

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """Gather and weight the taps of one axis after the other."""
        for axis, size, factor in zip(self.axes, self.size, self.factor, strict=True):
            old = x.shape[axis + 1]
            new = size if size is not None else old * factor
            index, weight = taps(old, new, method=self.method, antialias=self.antialias)
            if index.shape[1] == 1:
                x = x.take(index[:, 0], axis=axis + 1)
                continue
            shape = (-1, *(1,) * (x.ndim - axis - 2))
            x = np.add.reduce(
                [
                    x.take(index[:, t], axis=axis + 1)
                    * weight[:, t].reshape(shape).astype(x.dtype)
                    for t in range(index.shape[1])
                ]
            )
        return (x,)


def _triangle(x: Array) -> Array:
    y: Array = np.maximum(1 - np.abs(x), 0)
    return y


def _keys(x: Array) -> Array:
    """R. G. Keys' cubic convolution kernel with a = -1/2."""
    x = np.abs(x)
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x >= 1, np.where(x >= 2, 0, far), near)  # noqa: PLR2004


def _lanczos(x: Array, radius: int) -> Array:
    return np.where(np.abs(x) < radius, np.sinc(x) * np.sinc(x / radius), 0)


_RADIUS: Mapping[Method, int] = {
    "nearest": 1,
    "bilinear": 1,
    "bicubic": 2,
    "lanczos3": 3,
    "lanczos5": 5,
}


def taps(
    old: int, new: int, *, method: Method, antialias: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which elements each output reads, and their weights: both (new, taps)."""
    scale = new / old if old else 1.0
    centre = (np.arange(new) + 0.5) / scale - 0.5
    if method == "nearest":
        index = np.floor((np.arange(new) + 0.5) / scale).astype(np.int64)
        index = np.clip(index, 0, max(old - 1, 0))
        return index[:, None], np.ones((new, 1))
    widen = max(1 / scale, 1.0) if antialias else 1.0
    radius = _RADIUS[method] * widen
    first = np.ceil(centre - radius).astype(np.int64)
    count = int(np.floor(2 * radius)) + 1
    index = first[:, None] + np.arange(count)
    distance = (index - centre[:, None]) / widen
    match method:
        case "bilinear":
            weight = _triangle(distance)
        case "bicubic":
            weight = _keys(distance)
        case "lanczos3" | "lanczos5":
            weight = _lanczos(distance, _RADIUS[method])
    weight = np.where((index >= 0) & (index < old), weight, 0)
    weight = weight / weight.sum(axis=1, keepdims=True)
    used = (weight != 0).any(axis=0)
    return np.clip(index, 0, max(old - 1, 0))[:, used], weight[:, used]


class Body(Protocol):
    """The graph that a Scan repeats (:class:`keramos.graph.Graph`)."""

    @property
    def input_specs(self) -> tuple[Spec, ...]:
        """Return what the body takes."""
        ...

    @property
    def output_specs(self) -> tuple[Spec, ...]:
        """Return what the body gives."""
        ...

    @property
    def has_constants(self) -> bool:
        """Return whether the body reads constants, which it must not."""
        ...

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Run the body once."""
        ...


@dataclass(frozen=True, slots=True)
class Scan:
    """*body* repeated along axis 0 of the sequences.

    Inputs: *sequences* values ``(t, ...)``, *states* initial states, then invariants.
    The body takes one step of each sequence, the states and the invariants, and gives
    the next states, then one step of each output sequence. Results: the output
    sequences ``(t, ...)``, then the last states. With *reverse* the steps are taken
    from the end, and each output stands where its input stood.
    """

    body: Body
    sequences: int
    states: int
    reverse: bool = False

    def infer(self, *inputs: Spec) -> tuple[Spec, ...]:
        """Return the sequences and the states; raise ValueError where shapes differ."""
        steps = inputs[0].shape[0]
        taken = [Spec(x.shape[1:], x.dtype) for x in inputs[: self.sequences]]
        given = (*taken, *inputs[self.sequences :])
        for mine, theirs in zip(self.body.input_specs, given, strict=True):
            if len(mine.shape) != len(theirs.shape):
                raise ValueError(f"the body takes {mine}, not {theirs}")
        result = self.body.output_specs
        sequences = [Spec((steps, *y.shape), y.dtype) for y in result[self.states :]]
        return (*sequences, *result[: self.states])

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Run the body step by step."""
        n = max(x.shape[0] for x in inputs) if min(x.shape[0] for x in inputs) else 0
        whole = [np.broadcast_to(x, (n, *x.shape[1:])) for x in inputs]
        sequences = whole[: self.sequences]
        states = tuple(whole[self.sequences : self.sequences + self.states])
        invariant = whole[self.sequences + self.states :]
        steps = sequences[0].shape[1]
        order = range(steps - 1, -1, -1) if self.reverse else range(steps)
        outputs: dict[int, tuple[Array, ...]] = {}
        for t in order:
            result = self.body.evaluate(
                *(s[:, t] for s in sequences), *states, *invariant
            )
            states, outputs[t] = result[: self.states], result[self.states :]
        specs = self.body.output_specs[self.states :]
        joint = [
            (
                np.stack([outputs[t][k] for t in range(steps)], axis=1)
                if steps
                else np.zeros((n, 0, *(d or 0 for d in spec.shape)), np.float32)
            )
            for k, spec in enumerate(specs)
        ]
        return (*joint, *states)


Primitive = (
    Map
    | Conv
    | Contract
    | Window
    | Reduce
    | Softmax
    | Gather
    | Reshape
    | Transpose
    | Slice
    | Pad
    | Concat
    | Resize
    | Scan
)
