"""Primitives that only move elements, and interpolation."""

from __future__ import annotations

from collections.abc import Sequence

from keramos.emit.cpu.function import (
    NUMPY_TYPES,
    Dim,
    Function,
    Operand,
    listing,
    plus,
    times,
)
from keramos.primitives import (
    Concat,
    Gather,
    Pad,
    Reshape,
    Resize,
    Shape,
    Slice,
    Transpose,
)
from keramos.text import literal


def reshape(function: Function, primitive: Reshape, x: Operand, shape: Shape) -> str:
    """Return the text of *x* under another shape, a view; *shape* is what is known."""
    x = function.plain(x)
    free = iter([x.dim(axis) for axis, d in enumerate(x.shape) if d is None])
    dims: list[Dim] = []
    for wanted, known in zip(primitive.shape, shape, strict=True):
        dim = next(free) if wanted is None else wanted
        dims.append(known if known is not None else dim)
    if -1 in dims:
        rest = times([d for d in dims if d != -1])
        hole = f"{times(x.dims())} // ({rest})" if rest != 1 else str(times(x.dims()))
        dims[dims.index(-1)] = hole
    return f"{x.text}.reshape{listing([function.batch, *dims])}"


def transpose(function: Function, primitive: Transpose, x: Operand) -> str:
    """Return the text of *x* with its axes permuted, a view."""
    axes = [0, *(axis + 1 for axis in primitive.permutation)]
    return f"{function.read(x)}.transpose({listing(axes)})"


def crop(function: Function, primitive: Slice, x: Operand) -> str:
    """Return the text of a slice, a view."""
    parts = [_part(*entry) for entry in primitive.slices]
    while parts and parts[-1] == ":":
        parts.pop()
    return f"{function.read(x)}[{', '.join([':', *parts])}]"


def _part(start: int | None, stop: int | None, step: int) -> str:
    text = f"{'' if start is None else start}:{'' if stop is None else stop}"
    return text if step == 1 else f"{text}:{step}"


def pad(function: Function, primitive: Pad, x: Operand) -> str:
    """Write a padded copy and return its variable."""
    x = function.plain(x)
    dims, where = [], [":"]
    for size, (low, high) in zip(x.dims(), primitive.widths, strict=True):
        dims.append(plus(size, low + high))
        where.append(f"{low}:{plus(size, low)}" if low or high else ":")
    target = listing([function.batch, *dims])
    kind = NUMPY_TYPES[x.dtype]
    maker = f"np.zeros({target}, {kind})"
    if primitive.value:
        maker = f"np.full({target}, {literal(primitive.value)}, {kind})"
    y = function.let("y", maker, x.dtype)
    function.line(f"{y}[{', '.join(where)}] = {x.text}")
    return y


def concat(function: Function, primitive: Concat, parts: Sequence[Operand]) -> str:
    """Write a concatenation and return its variable."""
    texts = []
    for part in map(function.plain, parts):
        text = part.text
        if not part.batched:
            shape = listing([function.batch, *part.dims()])
            text = f"np.broadcast_to({text}, {shape})"
        texts.append(text)
    listed = ", ".join(texts) + ("," if len(texts) == 1 else "")
    call = f"np.concatenate(({listed}), axis={primitive.axis + 1})"
    if len({part.dtype for part in parts}) > 1:
        call += f".astype({NUMPY_TYPES[parts[0].dtype]})"
    return function.let("y", call, parts[0].dtype)


def gather(
    function: Function, primitive: Gather, data: Operand, indices: Operand
) -> str:
    """Write a look-up and return its variable."""
    data, indices = function.plain(data), function.plain(indices)
    axis = primitive.axis
    where = f"{indices.text}.astype(np.int64)"
    if not indices.batched:
        call = f'np.take({data.text}, {where}, axis={axis + 1}, mode="clip")'
        return function.let("y", call, data.dtype)
    if not data.batched:
        call = f'np.take({data.text}, {where}, axis={axis}, mode="clip")'
        if axis:
            call = f"np.moveaxis({call}, {axis}, 0)"
        return function.let("y", call, data.dtype)
    last = plus(data.dim(axis), -1)
    where = function.let("where", f"np.clip({indices.text}, 0, {last})")
    lead = listing([-1, *(1,) * indices.rank])
    sample = f"np.arange({function.batch}).reshape{lead}"
    moved = f"np.moveaxis({data.text}, {axis + 1}, 1)" if axis else data.text
    taken = f"{moved}[{sample}, {where}.astype(np.int64)]"
    if axis and indices.rank:
        # (n, *indices, *before, *after) -> (n, *before, *indices, *after)
        source = [1 + indices.rank + i for i in range(axis)]
        target = [1 + i for i in range(axis)]
        taken = f"np.moveaxis({taken}, {listing(source)}, {listing(target)})"
    return function.let("y", taken, data.dtype)


def resize(function: Function, primitive: Resize, x: Operand) -> str:
    """Write an interpolation, axis by axis, and return its variable."""
    x = function.floating(function.plain(x))
    text = x.text
    owned = False
    for axis, size, factor in zip(
        primitive.axes, primitive.size, primitive.factor, strict=True
    ):
        old = x.dim(axis)
        whole = size // old if isinstance(old, int) and size and old else factor
        exact = size is None or (isinstance(old, int) and size == old * whole)
        if primitive.method == "nearest" and exact:
            if whole == 1:
                continue
            call = f"np.repeat({text}, {whole}, axis={axis + 1})"
        else:
            length = size if size is not None else times([old, factor])
            options = f'method="{primitive.method}"'
            if primitive.antialias:
                options += ", antialias=True"
            function.use("_resize", "resize")
            call = f"resize({text}, {axis + 1}, {length}, {options})"
        text, owned = function.let("y", call, "float32"), True
    return text if owned else function.let("y", f"{text}.copy()", "float32")
