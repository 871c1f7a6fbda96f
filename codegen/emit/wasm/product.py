"""Matrix products: the kernel of convolutions and contractions.

A tile of rows by columns is summed in vectors that stay in the 16 registers of x86: for
each k, the columns are read once, and each row's element is spread over a vector.
Where rows begin is known when the model is compiled, so that one address serves all.
Columns are packed in blocks; the loop over blocks is the outer one, so that a block
stays in the cache while rows pass by.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from keramos.emit.wasm.assembler import apply, get, i32, load, plus, put, spread
from keramos.emit.wasm.elementwise import Results
from keramos.emit.wasm.kernel import BYTES, LANES, Kernel, scaled

# What fits 16 registers beside a block's columns and an element: vectors of columns, by
# rows.
_TILES = {1: 8, 2: 4, 3: 3, 4: 2, 5: 2, 6: 2, 7: 1, 8: 1}
# So many steps of k are written out.
_UNROLLED = 4
# The cost of reading an operand of a tile, in products of it.
_READ = 0.5


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of rows: its length, and its strides in x and y."""

    size: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Product:
    """*count* products of rows and *columns*, one after the other.

    *axes* are those of the rows, the last one is cut into tiles; the first row begins
    at *x_start* and gives results from *y_start* on. *loops* are lengths and strides in
    x of k's outer axes, *run* is the length of the innermost one, whose elements are
    neighbours. Each further product begins *next_x* and *next_y* further, and its
    columns lie behind those of the one before. *channels* says how many channels of the
    result it begins further.
    """

    x: str
    axes: tuple[Axis, ...]
    x_start: int
    y_start: int
    columns: int
    loops: tuple[tuple[int, int], ...]
    run: int
    count: int = 1
    next_x: int = 0
    next_y: int = 0
    next_channel: int = 0

    @property
    def depth(self) -> int:
        """Return the length of the sums."""
        return math.prod(size for size, _ in self.loops) * self.run


def tile(rows: int, columns: int) -> tuple[int, int]:
    """Return the rows, and the vectors of columns, of the tiles that cost least."""

    def cost(height: int, vectors: int) -> float:
        tiles = -(-rows // height) * -(-columns // (vectors * LANES))
        return tiles * (height * vectors + _READ * (height + vectors) + 1)

    choices = [
        (height, vectors)
        for height, most in _TILES.items()
        for vectors in range(1, most + 1)
        if height <= rows and (vectors == 1 or vectors * LANES <= columns)
    ]
    return min(choices, key=lambda choice: cost(*choice))


def write_product(
    kernel: Kernel, product: Product, matrix: str, results: Results
) -> None:
    """Write the loops of *product*; the parameter *matrix* holds packed columns."""
    last = product.axes[-1]
    height, vectors = tile(last.size, product.columns)
    width = vectors * LANES
    block = product.depth * width * BYTES
    kernel.set("xg", plus(get(product.x), product.x_start * BYTES))
    kernel.set("yg", i32(product.y_start * BYTES))
    kernel.set("w", get(matrix))
    kernel.set("channel", i32(0))
    further = {
        "xg": product.next_x * BYTES,
        "yg": product.next_y * BYTES,
        "channel": product.next_channel * BYTES,
    }
    with (
        kernel.repeat("g", product.count, further),
        kernel.tiles("o", max(product.columns, width), width) as o,
    ):
        column = scaled(o, BYTES)
        kernel.set("yo", plus(get("yg"), column))
        results.hold(kernel.set("c", plus(get("channel"), column)), vectors)
        kernel.set("a", get("xg"))
        kernel.set("b", get("yo"))
        with (
            positions(kernel, product.axes[:-1]) as (a, b),
            kernel.tiles("p", last.size, height) as p,
        ):
            kernel.set("xp", plus(get(a), scaled(p, last.x * BYTES)))
            kernel.set("yp", plus(get(b), scaled(p, last.y * BYTES)))
            _sum(kernel, product, height, vectors)
            lanes = min(product.columns, LANES)
            for r in range(height):
                for q in range(vectors):
                    offset = (r * last.y + q * LANES) * BYTES
                    place = (get("yp"), offset)
                    results.put(get(f"s{r}_{q}"), place, q, lanes)
        kernel.add(put("w", plus(get("w"), block)))


@contextmanager
def positions(
    kernel: Kernel, axes: Sequence[Axis], names: tuple[str, str] = ("a", "b")
) -> Iterator[tuple[str, str]]:
    """Write loops over *axes*; yields the locals with addresses in x and y.

    *names* are the locals with those of the first position.
    """
    if not axes:
        yield names
        return
    axis, *rest = axes
    a, b = f"a_{len(rest)}", f"b_{len(rest)}"
    kernel.set(a, get(names[0]))
    kernel.set(b, get(names[1]))
    steps = {a: axis.x * BYTES, b: axis.y * BYTES}
    with (
        kernel.repeat(f"i_{len(rest)}", axis.size, steps),
        positions(kernel, rest, (a, b)) as inner,
    ):
        yield inner


def _sum(kernel: Kernel, product: Product, height: int, vectors: int) -> None:
    """Write the sums of one tile, into locals."""
    zero = kernel.constant(0)
    for r in range(height):
        for q in range(vectors):
            kernel.set(f"s{r}_{q}", zero, "v128")
    kernel.set("v", get("w"))
    _walk(kernel, product, list(product.loops), "xp", (height, vectors))


def _walk(
    kernel: Kernel,
    product: Product,
    loops: Sequence[tuple[int, int]],
    x: str,
    size: tuple[int, int],
) -> None:
    """Write the loops over k, of which *loops* are left."""
    if loops:
        (count, stride), *rest = loops
        name = f"x_{len(rest)}"
        kernel.set(name, get(x))
        with kernel.repeat(f"u_{len(rest)}", count, {name: stride * BYTES}):
            _walk(kernel, product, rest, name, size)
        return
    height, vectors = size
    steps = max(k for k in range(1, _UNROLLED + 1) if product.run % k == 0)
    kernel.set("xk", get(x))
    row = product.axes[-1].x * BYTES
    width = vectors * LANES * BYTES
    grow = {"xk": steps * BYTES, "v": steps * width}
    turns = product.run // steps
    with kernel.repeat("k", turns, grow):
        for k in range(steps):
            _step(kernel, (height, vectors), (row, k * BYTES), k * width)
    if turns == 1:
        kernel.add(put("v", plus(get("v"), steps * width)))


def _step(kernel: Kernel, size: tuple[int, int], x: tuple[int, int], w: int) -> None:
    """Write the products of one k; *x* is how far rows lie apart, and where k is."""
    height, vectors = size
    row, start = x
    columns = [load(get("v"), w + q * LANES * BYTES) for q in range(vectors)]
    if height > 1:
        columns = [
            kernel.set(f"w{q}", column, "v128") for q, column in enumerate(columns)
        ]
    for r in range(height):
        element = kernel.set("e", spread(get("xk"), r * row + start), "v128")
        for q, column in enumerate(columns):
            product = apply("f32x4.mul", element, column)
            total = apply("f32x4.add", get(f"s{r}_{q}"), product)
            kernel.add(put(f"s{r}_{q}", total))
