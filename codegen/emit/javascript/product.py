"""Matrix products: the kernel of convolutions and contractions.

``y[r, o] = sum over k of x[start of r + k's offset] * matrix[k, o]``. A tile of 3 rows
by 4 columns is summed in 12 local variables, so that 7 loads serve 12 products, and all
stay in the 16 registers of most processors (4 by 4 is slower by an eighth); columns are
packed in blocks, so that the inner loop reads them in order. Sums are double, since
JavaScript has no faster float32. A last tile that isn't full begins earlier and
computes some results twice.

All layers share the functions that sum a tile: an engine that compiles what is hot does
so once, and a first prediction isn't spent in its interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from keramos.emit.javascript.elementwise import Store
from keramos.emit.javascript.function import Function, plus, times

# Shorter runs of neighbours are gathered first: loops over them would cost more.
_SHORT = 16
# The rows of a tile by its columns; wider ones are for single rows.
_HEIGHTS = {1: 8, 2: 8, 3: 4, 4: 3}
# A tile has at most so many sums.
MOST = 16


@dataclass(frozen=True, slots=True)
class Offsets:
    """An offset per row: ``row * stride + start``, or what the table *name* holds."""

    stride: int = 0
    start: int = 0
    name: str | None = None

    def text(self, row: str) -> str:
        """Return the offset of *row*."""
        if self.name is None:
            return plus(times(row, self.stride), self.start)
        return f"{self.name}[{row}]"


@dataclass(frozen=True, slots=True)
class Product:
    """*count* products of *rows* rows and *columns* columns, one after the other.

    Rows of product g begin at ``at(g * next_row + r) + g * next_x`` in x, and their
    results are numbered from ``to(g * next_row + r) + g * next_y``. *loops* are lengths
    and strides in x of k's outer axes, *run* is the length of the innermost one, whose
    elements are neighbours. *channels* says whether columns are the result's channels,
    counted through from product to product.
    """

    x: str
    at: Offsets
    to: Offsets
    rows: int
    columns: int
    loops: tuple[tuple[int, int], ...]
    run: int
    count: int = 1
    next_row: int = 0
    next_x: int = 0
    next_y: int = 0

    @property
    def depth(self) -> int:
        """Return the length of the sums."""
        return math.prod(size for size, _ in self.loops) * self.run

    @property
    def height(self) -> int:
        """Return the rows of a tile."""
        return min(self.rows, _HEIGHTS.get(self.width, 1))

    @property
    def width(self) -> int:
        """Return the columns of a tile, which are those of a packed block."""
        return width(self.rows, self.columns)

    @property
    def blocks(self) -> int:
        """Return the number of blocks of columns."""
        return -(-self.columns // self.width)

    @property
    def gathers(self) -> bool:
        """Return whether the elements of a row are copied behind each other first."""
        outer = math.prod(size for size, _ in self.loops)
        if len(self.loops) > 1:
            return True
        return outer > 1 and self.run < _SHORT and self.columns > 2 * self.width


def width(rows: int, columns: int) -> int:
    """Return the columns of a block; one row alone has registers for more of them."""
    return min(columns, 8 if rows == 1 else 4)


def write_product(
    f: Function, product: Product, matrix: str, store: Store, *, x_size: int
) -> None:
    """Write the loops of *product*; the parameter *matrix* holds packed columns.

    *x_size* is the number of elements of x: the smaller operand is read repeatedly.
    """
    if product.rows * product.columns == 0:
        return
    rows = f.scratch(product.height * product.depth, "rows") if product.gathers else ""
    matrix_size = product.depth * product.columns
    across = matrix_size > x_size and not product.gathers
    with f.loop("g", product.count) as g:
        size = product.blocks * product.depth * product.width
        if across:
            with _blocks(f, product, times(g, size)) as w, _tiles(f, product):
                starts = _starts(f, product, g)
                f.line(f"let w = {w};")
                _results(f, product, store, _sums(f, product, matrix, starts), g)
            return
        with _tiles(f, product):
            starts = _starts(f, product, g)
            line = product
            if product.gathers:
                _gather(f, product, starts, rows)
                starts = [str(r * product.depth) for r in range(product.height)]
                line = replace(product, x=rows, loops=(), run=product.depth)
            f.line(f"let w = {times(g, size)};")
            with _blocks(f, product, None):
                _results(f, product, store, _sums(f, line, matrix, starts), g)
                f.line(f"w += {product.depth * product.width};")


@contextmanager
def _tiles(f: Function, product: Product) -> Iterator[None]:
    """Write the loop over tiles of rows; p is the first row."""
    height, rows = product.height, product.rows
    if rows == height:
        f.line("const p = 0;")
        yield
    elif rows % height == 0:
        with f.block(f"for (let p = 0; p < {rows}; p += {height})"):
            yield
    else:
        with f.block(f"for (let tile = 0; tile < {rows}; tile += {height})"):
            f.line(f"const p = Math.min(tile, {rows - height});")
            yield


@contextmanager
def _blocks(f: Function, product: Product, start: str | None) -> Iterator[str]:
    """Write the loop over blocks of columns; o is the first column.

    Yields where in the packed columns the block begins, if that is to be counted from
    *start*.
    """
    width, columns = product.width, product.columns
    if columns == width:
        f.line("const o = 0;")
        yield start or "0"
        return
    step = product.depth * width
    counter = "" if start is None else f", begin = {start}"
    further = "" if start is None else f", begin += {step}"
    if columns % width == 0:
        head = f"for (let o = 0{counter}; o < {columns}; o += {width}{further})"
        with f.block(head):
            yield "begin"
        return
    head = f"let block = 0{counter}; block < {columns}; block += {width}{further}"
    with f.block(f"for ({head})"):
        f.line(f"const o = Math.min(block, {columns - width});")
        yield "begin"


def _starts(f: Function, product: Product, g: str) -> list[str]:
    """Write where in x the rows of a tile begin."""
    starts = []
    for r in range(product.height):
        row = _row(product, g, r, product.at)
        text = plus(product.at.text(row), times(g, product.next_x))
        f.line(f"const a{r} = {text};")
        starts.append(f"a{r}")
    return starts


def _gather(f: Function, product: Product, starts: list[str], rows: str) -> None:
    """Write the copy of a tile's rows, one behind the other."""
    f.line("let next = 0;")
    with _walk(f, product, starts, "q") as bases:
        for r, base in enumerate(bases):
            to = plus("next", r * product.depth)
            f.line(f"{rows}[{to}] = {product.x}[{plus(base, 'k')}];")
        f.line("next++;")


@contextmanager
def _walk(
    f: Function, product: Product, starts: list[str], name: str
) -> Iterator[list[str]]:
    """Write the loops over k; yields what is to be added to the innermost index."""
    bases = starts
    depth = f.depth
    for axis, (size, stride) in enumerate(product.loops):
        if size == 1:
            continue
        variable = f"u{axis}"
        f.repeat(f"let {variable} = 0; {variable} < {size}; {variable}++")
        further = []
        for r, base in enumerate(bases):
            f.line(f"const {name}{axis}_{r} = {plus(base, times(variable, stride))};")
            further.append(f"{name}{axis}_{r}")
        bases = further
    if product.run == 1:
        f.line("const k = 0;")
        yield bases
    else:
        with f.block(f"for (let k = 0; k < {product.run}; k++)"):
            yield bases
    f.close(depth)


def _sums(f: Function, product: Product, matrix: str, starts: list[str]) -> str:
    """Write the call that sums one tile, and return the array of the sums."""
    height, width = product.height, product.width
    name = f.use(f"tile{height}x{width}")
    sums = f.bind(f.module.table(f"new Float64Array({MOST})", "sums"), "sums")
    count, step = product.loops[0] if product.loops else (1, 0)
    walk = [str(count), str(step), str(product.run)]
    f.line(f"{name}({', '.join([product.x, *starts, *walk, matrix, 'w', sums])});")
    return sums


def tile(height: int, width: int) -> str:
    """Return the function that sums a tile.

    It writes height * width sums to the array *sums*: products of *count* runs of
    neighbours, *step* apart in x, with the packed columns from *w* on.
    """
    rows, columns = range(height), range(width)
    cells = [(r, c) for r in rows for c in columns]
    starts = ", ".join(f"a{r}" for r in rows)
    parameters = f"x, {starts}, count, step, run, matrix, start, sums"
    return "\n".join(
        [
            f"// Sum {height} rows by {width} columns.",
            f"function tile{height}x{width}({parameters}) {{",
            "  let w = start;",
            *(f"  let s{r}{c} = 0;" for r, c in cells),
            "  for (let u = 0; u < count; u++) {",
            "    const end = u * step + run;",
            "    for (let k = u * step; k < end; k++) {",
            *(f"      const w{c} = matrix[{plus('w', c)}];" for c in columns),
            f"      w += {width};",
            *(
                line
                for r in rows
                for line in (
                    f"      const v{r} = x[a{r} + k];",
                    *(f"      s{r}{c} += v{r} * w{c};" for c in columns),
                )
            ),
            "    }",
            "  }",
            *(f"  sums[{r * width + c}] = s{r}{c};" for r, c in cells),
            "}",
        ]
    )


def _results(f: Function, product: Product, store: Store, sums: str, g: str) -> None:
    """Write what stores the sums of one tile."""
    width = product.width
    channel = plus("o", times(g, product.next_y))
    store.hold([plus(channel, c) for c in range(width)])
    with f.loop("r", product.height) as r:
        row = product.to.text(_row(product, g, r, product.to))
        f.line(f"const b = {plus(row, times(g, product.next_y), 'o')};")
        for c in range(width):
            value = f"{sums}[{plus(times(r, width), c)}]"
            store.put(plus("b", c), plus(channel, c), value)


def _row(product: Product, g: str, r: str | int, offsets: Offsets) -> str:
    """Return the number of row r of a tile, in brackets where it is multiplied."""
    row = plus(times(g, product.next_row), "p", r)
    return row if offsets.name is not None or "+" not in row else f"({row})"
