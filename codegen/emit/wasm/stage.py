"""A stage as a function of the WebAssembly module."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keramos.emit.javascript.convolution import Packing
from keramos.emit.javascript.function import (
    Function,
    Operand,
    Walk,
    collapse,
    known,
    strides,
)
from keramos.emit.wasm.assembler import apply, get, load, plus
from keramos.emit.wasm.convolution import pack, packed_size, write_conv
from keramos.emit.wasm.elementwise import results, write_vectors
from keramos.emit.wasm.kernel import BYTES, LANES, Kernel, UnsupportedError, scaled
from keramos.emit.wasm.product import Axis, Product, tile, write_product
from keramos.emit.wasm.window import write_window
from keramos.plan.javascript import Source
from keramos.primitives import Concat, Contract, Conv, Map, Reduce, Reshape, Window

# So many rows are too few to pack what they are multiplied by.
_FEW = 2
_COMBINE = {
    "sum": "f32x4.add",
    "mean": "f32x4.add",
    "max": "f32x4.max",
    "min": "f32x4.min",
    "prod": "f32x4.mul",
}


def kernel_of(f: Function, target: Source) -> Kernel:
    """Return the kernel of the stage of *f*; raise UnsupportedError."""
    kernel = Kernel(f)
    match f.node.primitive:
        case Conv() as primitive:
            write_conv(kernel, primitive, target)
        case Contract() as primitive:
            _contract(kernel, primitive, target)
        case Window() as primitive:
            write_window(kernel, primitive, target)
        case Reduce() as primitive:
            _reduce(kernel, primitive, target)
        case Map() as primitive if f.node.epilogue is None:
            write_vectors(kernel, primitive.expr, f.operands, target)
        case Reshape() if f.node.epilogue is not None:
            first, *extras = f.operands
            shape = known(f.node.primitive.infer(first.spec)[0].shape)
            plain = Operand(first.source, shape, first.dtype)
            write_vectors(kernel, f.node.epilogue, (plain, *extras), target)
        case Concat() as primitive if f.node.epilogue is None:
            _concat(kernel, primitive, target)
        case _:
            raise UnsupportedError
    return kernel


def _contract(kernel: Kernel, contract: Contract, target: Source) -> None:
    """Write a contraction: a product per element of the paired axes."""
    f = kernel.f
    a, b = f.operands[:2]
    raw = known(contract.infer(a.spec, b.spec)[0].shape)
    pairs = sorted(zip(contract.a_contract, contract.b_contract, strict=True))
    rest_a = _rest(a, (*contract.a_contract, *contract.a_batch))
    rest_b = _rest(b, (*contract.b_contract, *contract.b_batch))
    rows, columns = _size(a, rest_a), _size(b, rest_b)
    few = b.stored is None and rows <= _FEW
    if few or a.size * b.size * math.prod(raw) == 0:
        raise UnsupportedError
    loops, run = _summed(a, [i for i, _ in pairs])
    to = strides(raw)
    batch = _walked(a, contract.a_batch, to[: len(contract.a_batch)])
    axes = _walked(a, rest_a, to[len(contract.a_batch) :]) or [Axis(1, 0, 0)]
    if len(batch) > 1:
        raise UnsupportedError
    ((count, step, _),) = [(x.size, x.x, x.y) for x in batch] or [(1, 0, 0)]
    packing = Packing(
        rows=_offsets(f, b, [j for _, j in pairs]),
        columns=_offsets(f, b, [*contract.b_batch, *rest_b]),
        width=tile(axes[-1].size, columns)[1] * LANES,
        count=count,
        size=(_size(a, contract.a_contract), columns),
    )
    product = Product(
        x=kernel.read(a),
        axes=tuple(axes),
        x_start=0,
        y_start=0,
        columns=columns,
        loops=loops,
        run=run,
        count=count,
        next_x=step,
        next_y=rows * columns,
    )
    if b.stored is not None:
        matrix = pack(kernel, f.module.tensor(b.stored), packing, "matrix")
    else:
        matrix = _packed(kernel, b, packing)
    stored = results(kernel, target, raw, channels=columns)
    write_product(kernel, product, matrix, stored)
    stored.rest()


def _packed(kernel: Kernel, b: Operand, packing: Packing) -> str:
    """Return where JavaScript packs the columns of *b* ahead of the kernel."""
    f = kernel.f
    buffer = f.buffer(packed_size(packing), "packed")
    name = f.module.names.take(f"{f.name}_pack")
    before = Function(f.module, name, f.node, f.place, ())
    listed = [
        before.read(b),
        before.table(packing.rows, "rows"),
        before.table(packing.columns, "columns"),
    ]
    sizes = f"{packing.width}, {packing.count}"
    packed = before.bind(buffer.name, "packed")
    before.line(f"{f.use('pack')}({', '.join(listed)}, {sizes}, {packed});")
    kernel.before.append(before)
    return f.bind(buffer.name, "matrix")


def _rest(x: Operand, axes: Sequence[int]) -> list[int]:
    return [axis for axis in range(len(x.shape)) if axis not in axes]


def _size(x: Operand, axes: Sequence[int]) -> int:
    return math.prod(x.shape[axis] for axis in axes)


def _offsets(f: Function, x: Operand, axes: Sequence[int]) -> str:
    steps = strides(x.shape)
    return f.module.offsets([x.shape[k] for k in axes], [steps[k] for k in axes])


def _walked(a: Operand, axes: Sequence[int], to: Sequence[int]) -> list[Axis]:
    """Return *axes* of *a*, joined where they can be; *to* are strides in y."""
    steps = strides(a.shape)
    walks = (
        Walk(0, tuple(steps[k] for k in axes)),
        Walk(0, tuple(to[: len(axes)])),
    )
    lengths, (x, y) = collapse([a.shape[k] for k in axes], walks)
    return list(map(Axis, lengths, x.strides, y.strides))


def _summed(a: Operand, axes: Sequence[int]) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return how k walks through *a*; raise UnsupportedError where not in runs."""
    steps = strides(a.shape)
    walk = Walk(0, tuple(steps[k] for k in axes))
    lengths, (runs,) = collapse([a.shape[k] for k in axes], [walk])
    if not lengths:
        return (), 1
    if runs.strides[-1] != 1:
        return tuple(zip(lengths, runs.strides, strict=True)), 1
    return tuple(zip(lengths[:-1], runs.strides[:-1], strict=True)), lengths[-1]


def _reduce(kernel: Kernel, reduce: Reduce, target: Source) -> None:
    """Write a reduction over the outer axes; the inner ones are vectors."""
    x = kernel.f.operands[0]
    count = _size(x, reduce.axes)
    run = x.size // count if count else 0
    outer = sorted(reduce.axes) == list(range(len(reduce.axes)))
    if run < LANES or x.dtype != "float32" or not outer:
        raise UnsupportedError
    raw = known(reduce.infer(x.spec)[0].shape)
    name = kernel.read(x)
    stored = results(kernel, target, raw, channels=run)
    vectors = min(4, run // LANES)
    with kernel.tiles("o", run, vectors * LANES) as o:
        c = kernel.set("c", scaled(o, BYTES))
        kernel.set("xo", plus(get(name), c))
        stored.hold(c, vectors)
        step = run * BYTES
        for q in range(vectors):
            kernel.set(f"s{q}", load(get("xo"), q * LANES * BYTES), "v128")
        if count > 1:
            kernel.set("xo", plus(get("xo"), step))
            with kernel.repeat("k", count - 1, {"xo": step}):
                for q in range(vectors):
                    more = load(get("xo"), q * LANES * BYTES)
                    combined = apply(_COMBINE[reduce.kind], get(f"s{q}"), more)
                    kernel.set(f"s{q}", combined, "v128")
        for q in range(vectors):
            value = get(f"s{q}")
            if reduce.kind == "mean":
                value = apply("f32x4.div", value, kernel.constant(count))
            stored.put(value, (c, q * LANES * BYTES), q, LANES)
    stored.rest()


def _concat(kernel: Kernel, concat: Concat, target: Source) -> None:
    """Write one copy per input."""
    y = kernel.write(target)
    sizes = list(kernel.f.operands[0].shape)
    sizes[concat.axis] = sum(x.shape[concat.axis] for x in kernel.f.operands)
    step = math.prod(sizes[concat.axis :])
    start = 0
    for x in kernel.f.operands:
        run = math.prod(x.shape[concat.axis :])
        count = math.prod(x.shape[: concat.axis])
        if run * count == 0:
            continue
        kernel.set("from", get(kernel.read(x)))
        kernel.set("to", plus(get(y), start * BYTES))
        kernel.copy(count, run, ("from", run * BYTES), ("to", step * BYTES))
        start += run
