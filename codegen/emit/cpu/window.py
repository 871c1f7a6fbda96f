"""Padding, convolutions and pooling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from keramos.emit.cpu.function import (
    NUMPY_TYPES,
    Dim,
    Function,
    Operand,
    listing,
    plus,
    times,
)
from keramos.primitives import Conv, DType, Padding, Window, same_padding

# Columns of about this size stay in the cache while they are multiplied.
COLUMN_BYTES = 1 << 20
FLOAT_BYTES = 4

AXIS_NAMES = ("columns", "rows", "planes", "volumes", "layers")
PLACES, TAPS = "ijkab", "uvwst"

# Up to this many elements a window is written out, beyond it is a loop.
SMALL_WINDOW = 4

# NumPy's loops run at full speed from about this many elements.
INNER_LENGTH = 4096

# What padding must not win against.
LOWEST: Mapping[DType, str] = {
    "float32": "-np.inf",
    "int32": "-2147483648",
    "bool": "False",
}


@dataclass(frozen=True, slots=True)
class Spatial:
    """An array ``(n, *dims, c)`` in an emitted function."""

    text: str
    dims: tuple[Dim, ...]
    channels: Dim
    dtype: DType = "float32"


def spatial(x: Operand) -> Spatial:
    """Return *x* split into spatial axes and channels."""
    *dims, channels = x.dims()
    return Spatial(x.text, tuple(dims), channels, x.dtype)


def padded(
    function: Function,
    x: Spatial,
    pads: Sequence[tuple[Dim, Dim]],
    *,
    spread: Sequence[int] = (),
    fill: str = "0",
) -> Spatial:
    """Return *x* between *fill*, its elements *spread* steps apart."""
    spread = spread or (1,) * len(x.dims)
    dtype = NUMPY_TYPES[x.dtype]
    if all(low == high == 0 for low, high in pads) and set(spread) == {1}:
        return x
    inner = [_spread(size, step) for size, step in zip(x.dims, spread, strict=True)]
    dims = tuple(
        _sum(low, size, high) for size, (low, high) in zip(inner, pads, strict=True)
    )
    target = listing([function.batch, *dims, x.channels])
    maker = f"np.zeros({target}, {dtype})"
    if fill != "0":
        maker = f"np.full({target}, {fill}, {dtype})"
    text = function.let("padded", maker)
    where = [":"]
    for (low, _), size, step in zip(pads, inner, spread, strict=True):
        stop = _sum(low, size, 0)
        where.append(f"{low}:{stop}" + (f":{step}" if step > 1 else ""))
    function.line(f"{text}[{', '.join(where)}] = {x.text}")
    return replace(x, text=text, dims=dims)


def _spread(size: Dim, step: int) -> Dim:
    if isinstance(size, int):
        return (size - 1) * step + 1 if size else 0
    return size if step == 1 else f"max(({size} - 1) * {step} + 1, 0)"


def _sum(*dims: Dim) -> Dim:
    known = sum(d for d in dims if isinstance(d, int))
    texts = [d for d in dims if isinstance(d, str)]
    return plus(" + ".join(texts), known) if texts else known


def pads_of(
    function: Function,
    dims: Sequence[Dim],
    extents: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[Padding],
) -> list[tuple[Dim, Dim]]:
    """Return the padding per axis; "same" of a free axis becomes lines."""
    names = AXIS_NAMES[: len(dims)][::-1]
    result: list[tuple[Dim, Dim]] = []
    for name, size, extent, stride, pad in zip(
        names, dims, extents, strides, padding, strict=True
    ):
        if pad != "same":
            result.append(pad)
        elif isinstance(size, int):
            result.append(same_padding(size, extent, stride))
        else:
            last = f"(-(-{_atom(size)} // {stride}) - 1) * {stride}"
            total = function.let(
                f"{name}_added", f"max({last} + {extent} - {_atom(size)}, 0)"
            )
            low = function.let(f"{name}_before", f"{total} // 2")
            result.append((low, f"({total} - {low})"))
    return result


def _atom(size: Dim) -> str:
    return f"({size})" if isinstance(size, str) and " " in size else str(size)


def counts_of(
    function: Function,
    dims: Sequence[Dim],
    extents: Sequence[int],
    strides: Sequence[int],
) -> list[Dim]:
    """Return how many windows fit along each axis."""
    result: list[Dim] = []
    for name, size, extent, stride in zip(
        AXIS_NAMES[: len(dims)][::-1], dims, extents, strides, strict=True
    ):
        if isinstance(size, int):
            result.append(max((size - extent) // stride + 1, 0))
            continue
        room = plus(size, -extent) if extent else size
        count = f"({room}) // {stride} + 1" if stride > 1 else plus(size, 1 - extent)
        result.append(function.let(name, f"max({count}, 0)"))
    return result


def conv(function: Function, primitive: Conv, x: Operand, kernel: Operand) -> str:
    """Write a convolution and return the variable of the result."""
    x = function.floating(function.plain(x))
    kernel = function.floating(kernel)
    source = spatial(x)
    *window, depth, filters = (d for d in kernel.shape if d is not None)
    extents = [
        (size - 1) * step + 1
        for size, step in zip(window, primitive.dilation, strict=True)
    ]
    spread = [
        _spread(size, step)
        for size, step in zip(source.dims, primitive.input_dilation, strict=True)
    ]
    pads = pads_of(function, spread, extents, primitive.strides, primitive.padding)
    if math.prod(window) == 1 and set(primitive.input_dilation) == {1}:
        source = _strided(padded(function, source, pads), primitive.strides, function)
        ones = (1,) * len(window)
        if primitive.groups == 1:
            return _pointwise(function, source, kernel, depth, filters)
        primitive = Conv(ones, ((0, 0),) * len(ones), ones, ones, primitive.groups)
    elif _scatters(primitive):
        known = [(low, high) for low, high in pads if isinstance(low, int)]
        if len(known) == len(pads):
            return _scattered(function, primitive, source, kernel, known)
        source = padded(function, source, pads, spread=primitive.input_dilation)
    else:
        source = padded(function, source, pads, spread=primitive.input_dilation)
    counts = counts_of(function, source.dims, extents, primitive.strides)
    if depth == 1 and primitive.groups > 1:
        return _depthwise(function, primitive, source, kernel, counts)
    taps = function.let(
        "taps",
        f"{function.use('_window', 'windows')}({source.text}, {listing(counts)}, "
        f"{listing(window)}, {listing(primitive.strides)}, "
        f"{listing(primitive.dilation)})",
    )
    return _columns(function, primitive, taps, kernel, counts)


def _strided(x: Spatial, strides: Sequence[int], function: Function) -> Spatial:
    """Return the elements that a window of one element reads."""
    if set(strides) == {1}:
        return x
    steps = ", ".join(f"::{step}" if step > 1 else ":" for step in strides)
    dims = tuple(
        -(-size // step) if isinstance(size, int) else f"-(-{_atom(size)} // {step})"
        for size, step in zip(x.dims, strides, strict=True)
    )
    text = function.let("picked", f"{x.text}[:, {steps}]")
    return replace(x, text=text, dims=dims)


def _pointwise(
    function: Function, x: Spatial, kernel: Operand, depth: int, filters: int
) -> str:
    matrix = function.laid_out(
        kernel, f".reshape({depth}, {filters})", (depth, filters)
    )
    shape = listing([function.batch, *x.dims, filters])
    pixels = f"{x.text}.reshape(-1, {depth})"
    return function.let("y", f"np.matmul({pixels}, {matrix}).reshape{shape}", "float32")


def _columns(
    function: Function,
    primitive: Conv,
    taps: str,
    kernel: Operand,
    counts: Sequence[Dim],
) -> str:
    """Copy the windows to rows of a matrix, block by block, and multiply."""
    *window, depth, filters = (d for d in kernel.shape if d is not None)
    groups, length = primitive.groups, math.prod(window) * depth
    share = filters // groups
    target = listing([function.batch, *counts, filters])
    y = function.let("y", f"np.empty({target}, np.float32)", "float32")
    block = _block(function, counts, math.prod(window) * depth * groups)
    if groups == 1:
        matrix = function.laid_out(
            kernel, f".reshape({length}, {filters})", (length, filters)
        )
        function.line(f"    patches = {taps}[{block}].reshape(-1, {length})")
        function.line(
            f"    np.matmul(patches, {matrix}, "
            f"out={y}[{block}].reshape(-1, {filters}))"
        )
        return y
    matrix = function.laid_out(
        kernel,
        f".reshape({length}, {groups}, {share}).transpose(1, 0, 2)",
        (groups, length, share),
    )
    function.line(f"    for group in range({groups}):")
    function.line(
        f"        part = {taps}[{block}][..., {depth} * group : {depth} * (group + 1)]"
    )
    function.line(f"        patches = part.reshape(-1, {length})")
    function.line(
        f"        z = {y}[{block}][..., {share} * group : {share} * (group + 1)]"
    )
    function.line(
        f"        z[...] = np.matmul(patches, {matrix}[group]).reshape(z.shape)"
    )
    return y


def _block(function: Function, counts: Sequence[Dim], length: int) -> str:
    """Write the heads of loops over blocks, and return the index of a block."""
    image = times(counts)
    if isinstance(image, str):
        function.line(f"for image in range({function.batch}):")
        return "image"
    image_bytes = image * length * FLOAT_BYTES
    if image_bytes <= COLUMN_BYTES:
        images = COLUMN_BYTES // max(image_bytes, 1)
        function.line(f"for at in range(0, {function.batch}, {images}):")
        return f"at : at + {images}"
    first = counts[0]
    rows = max(COLUMN_BYTES * int(first) // image_bytes, 1)
    blocks = f"range({function.batch}), range(0, {first}, {rows})"
    product = function.use("itertools", "product")
    function.line(f"for image, top in {product}({blocks}):")
    return f"image, top : top + {rows}"


def _depthwise(
    function: Function,
    primitive: Conv,
    x: Spatial,
    kernel: Operand,
    counts: Sequence[Dim],
) -> str:
    """Multiply each channel's windows with its own kernels."""
    *window, _, filters = (d for d in kernel.shape if d is not None)
    channels = primitive.groups
    multiplier = filters // channels
    places, taps = PLACES[: len(window)], TAPS[: len(window)]
    wide = _wide(counts[-1], channels) if set(primitive.strides) == {1} else 1
    equation = f"n{places}{taps}c,{taps}c->n{places}c"
    shape = (*window, wide * channels)
    layout = f".reshape{listing(shape)}"
    if multiplier > 1:
        wide = 1
        equation = f"n{places}{taps}c,{taps}co->n{places}co"
        shape = (*window, channels, multiplier)
        layout = f".reshape{listing(shape)}"
    elif wide > 1:
        one = listing([*window, 1, channels])
        layout = f".reshape{one}.repeat({wide}, axis={len(window)}){layout}"
    matrix = function.laid_out(kernel, layout, shape)
    count = listing([*counts[:-1], _divided(counts[-1], wide)])
    rest = f"{listing(primitive.strides)}, {listing(primitive.dilation)}"
    view = f"{function.use('_window', 'windows')}({x.text}, {count}, "
    if wide > 1:
        rest = f"{listing(primitive.dilation)}, {wide}"
        view = f"{function.use('_window', 'wide_windows')}({x.text}, {count}, "
    view += f"{listing(window)}, {rest})"
    taken = function.let("taps", view)
    y = function.let("y", f'np.einsum("{equation}", {taken}, {matrix})', "float32")
    if multiplier == 1 and wide == 1:
        return y
    target = listing([function.batch, *counts, filters])
    return function.let("y", f"{y}.reshape{target}", "float32")


def _wide(count: Dim, channels: int) -> int:
    """Return how many neighbouring windows to take at once: a divisor of *count*."""
    if isinstance(count, str):
        return 1
    longest = max(INNER_LENGTH // channels, 1)
    return max(
        (d for d in range(1, count + 1) if d <= longest and count % d == 0), default=1
    )


def _divided(count: Dim, wide: int) -> Dim:
    return count if isinstance(count, str) else count // wide


def _scatters(primitive: Conv) -> bool:
    return (
        max(primitive.input_dilation) > 1
        and set(primitive.strides) == {1}
        and primitive.groups == 1
    )


def _scattered(
    function: Function,
    primitive: Conv,
    x: Spatial,
    kernel: Operand,
    pads: Sequence[tuple[int, Dim]],
) -> str:
    """Multiply each pixel with the whole kernel and add the products up in place.

    Element j meets tap u at ``j * step - u * dilation``, counted from the first output
    after *low*: a buffer long enough for every meeting is cropped at the end.
    """
    *window, depth, filters = (d for d in kernel.shape if d is not None)
    taps = math.prod(window)
    matrix = function.laid_out(
        kernel,
        f".reshape({taps}, {depth}, {filters}).transpose(1, 0, 2)"
        f".reshape({depth}, {taps * filters})",
        (depth, taps * filters),
    )
    shape = listing([function.batch, *x.dims, *window, filters])
    parts = function.let(
        "parts",
        f"np.matmul({x.text}.reshape(-1, {depth}), {matrix}).reshape{shape}",
        "float32",
    )
    lengths: list[Dim] = []
    places, crops = [], []
    for letter, size, count, step, dilation, (low, high) in zip(
        TAPS,
        x.dims,
        window,
        primitive.input_dilation,
        primitive.dilation,
        pads,
        strict=False,
    ):
        extent = (count - 1) * dilation + 1
        lead = max(low - extent + 1, 0)
        start = lead + extent - 1 - low
        tail = max(extent, 1 + int(high)) + lead
        base = times([plus(size, -1), step])
        lengths.append(plus(base, tail))
        tap = letter if dilation == 1 else f"{dilation} * {letter}"
        first = f"{lead + extent - 1} - {tap}"
        places.append(f"{first} : {first} + {times([size, step])} : {step}")
        crops.append(
            f"{start} : {plus(base, start + 1 + low + int(high) - extent + 1)}"
        )
    y = function.let(
        "whole",
        f"np.zeros({listing([function.batch, *lengths, filters])}, np.float32)",
        "float32",
    )
    for level, (letter, count) in enumerate(zip(TAPS, window, strict=False)):
        function.line(f"{'    ' * level}for {letter} in range({count}):")
    letters = ", ".join(TAPS[: len(window)])
    colons = ", ".join(":" * (len(window) + 1))
    function.line(
        f"{'    ' * len(window)}{y}[:, {', '.join(places)}] "
        f"+= {parts}[{colons}, {letters}]"
    )
    return function.let("y", f"{y}[:, {', '.join(crops)}]", "float32")


def pool(function: Function, primitive: Window, x: Operand) -> str:
    """Write a pooling, one axis after the other, and return the variable."""
    x = function.plain(x)
    source = spatial(x)
    pads = pads_of(
        function, source.dims, primitive.size, primitive.strides, primitive.padding
    )
    fill = LOWEST[x.dtype] if primitive.kind == "max" else "0"
    wider = padded(function, source, pads, fill=fill)
    counts = counts_of(function, wider.dims, primitive.size, primitive.strides)
    ufunc = "np.maximum" if primitive.kind == "max" else "np.add"
    text, owned = wider.text, False
    for axis, (size, stride, count) in enumerate(
        zip(primitive.size, primitive.strides, counts, strict=True)
    ):
        if size == stride == 1:
            continue
        text, owned = _along(
            function, (ufunc, x.dtype), text, axis, (size, stride, count)
        )
    if not owned:
        text = function.let("y", f"{text}.copy()", x.dtype)
    if primitive.kind == "mean":
        return _averaged(
            function, primitive, text, source, [*zip(pads, counts, strict=True)]
        )
    return text


def _along(
    function: Function,
    combine: tuple[str, DType],
    x: str,
    axis: int,
    window: tuple[int, int, Dim],
) -> tuple[str, bool]:
    """Combine the elements of windows (size, stride, count) along one axis."""
    ufunc, dtype = combine
    size, stride, count = window
    lead = ":, " * (axis + 1)
    span = times([count, stride])

    def part(tap: Dim) -> str:
        stop = (
            tap + span
            if isinstance(tap, int) and isinstance(span, int)
            else (str(span) if tap == 0 else f"{tap} + {span}")
        )
        step = f":{stride}" if stride > 1 else ""
        return f"{x}[{lead}{tap}:{stop}{step}]"

    if size == 1:
        return function.let("y", part(0), dtype), False
    y = function.let("y", f"{ufunc}({part(0)}, {part(1)})", dtype)
    if size <= SMALL_WINDOW:
        for tap in range(2, size):
            function.line(f"{ufunc}({y}, {part(tap)}, out={y})")
    else:
        function.line(f"for u in range(2, {size}):")
        function.line(f"    {ufunc}({y}, {part('u')}, out={y})")
    return y, True


def _averaged(
    function: Function,
    primitive: Window,
    total: str,
    source: Spatial,
    placed: Sequence[tuple[tuple[Dim, Dim], Dim]],
) -> str:
    """Divide sums by the number of elements that aren't padding."""
    if source.dtype != "float32":
        total = function.let("y", f"{total}.astype(np.float32)", "float32")
    area = 1
    for axis, (size, stride, length, ((low, high), count)) in enumerate(
        zip(primitive.size, primitive.strides, source.dims, placed, strict=True)
    ):
        if low == high == 0:
            area *= size
            continue
        shape = listing([-1, *(1,) * (len(placed) - axis)])
        call = f"({count}, {length}, {size}, {stride}, {low}).reshape{shape}"
        elements = function.use("_window", "inside") + call
        function.line(f"np.divide({total}, {elements}, out={total})")
    if area > 1:
        function.line(f"np.divide({total}, {float(area)}, out={total})")
    if source.dtype != "float32":
        cast = f"{total}.astype({NUMPY_TYPES[source.dtype]})"
        return function.let("y", cast, source.dtype)
    return total
