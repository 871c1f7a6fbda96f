"""Cell -> GLSL: products, what is elementwise on them, and a draw buffer per result."""

from __future__ import annotations

from collections.abc import Iterator

from keramos.emit.glsl import (
    Program,
    Sizes,
    accessor,
    assembled,
    locate,
    origins_text,
    rendered,
    sampler,
    shape_text,
)
from keramos.plan.cells import Fetch, Product, Read, Term
from keramos.plan.layout import LANES, Profile, canonical
from keramos.plan.stages import Cell

# s is the sum over the channels of x, of which i counts the blocks.
ACCUMULATE = """\
#define ACCUMULATE(s, kernel, block) \\
    s += x.x * kernel(0, 0, 0, c, block) + x.y * kernel(0, 0, 0, c + 1, block) \\
       + x.z * kernel(0, 0, 0, c + 2, block) + x.w * kernel(0, 0, 0, c + 3, block);
"""


def program(cell: Cell, profile: Profile) -> Program:
    """Return the fragment program of *cell* for devices of *profile*."""
    sizes = Sizes()
    moments = any(tensor.moment is not None for tensor in cell.operands)
    lines = [
        *(sampler(k, x) for k, x in enumerate(cell.operands)),
        "uniform int first;" if cell.layout.layers > 1 else "const int first = 0;",
        *(["uniform int moment;"] if moments else []),
        *(f"layout(location = {k}) out vec4 o{k};" for k in range(len(cell.buffers))),
    ]
    products = any(isinstance(q, Product) for q in cell.region.quantities)
    parts = [
        "\n".join(lines) + "\n",
        *(accessor(k, x, sizes, profile) for k, x in enumerate(cell.operands)),
        locate(cell.layout, sizes, shifted=False),
        _stored(cell, sizes),
        ACCUMULATE if products else "",
        _main(cell, sizes),
    ]
    return assembled("\n".join(part for part in parts if part), sizes, cell.operands)


def title(cell: Cell) -> str:
    """Return what the cell is, for the comment in front of its program."""
    origins = dict.fromkeys(o for node in cell.region.nodes for o in node.origins)
    shapes = [tensor.shape for tensor in cell.operands if tensor.batched]
    given = ", ".join(map(shape_text, shapes))
    results = ", ".join(shape_text(tensor.shape) for tensor in cell.outputs)
    return f"{cell.name}: {origins_text(origins)}, {given} -> {results}"


def _stored(cell: Cell, sizes: Sizes) -> str:
    """Return the rule that lanes beyond the channels are zero."""
    channels = cell.layout.channels
    beyond = channels % LANES
    result = "r"
    if beyond:
        kept = ", ".join(["r.x", "r.y", "r.z"][:beyond] + ["0.0"] * (LANES - beyond))
        result = f"vec4({kept})"
        if channels > LANES:
            result = f"b < {sizes('WHOLE_BLOCKS', channels // LANES)} ? r : {result}"
    return f"vec4 stored(vec4 r, int b) {{\n    return {result};\n}}\n"


def _main(cell: Cell, sizes: Sizes) -> str:
    region = cell.region
    lines = ["int n, d, h, w, b;", "locate(n, d, h, w, b);", *_sums(cell, sizes)]
    for number, quantity in enumerate(region.quantities):
        if isinstance(quantity, Term):
            lines.append(f"vec4 q{number} = {_term(cell, quantity, sizes)};")
    for place, buffer in enumerate(cell.buffers):
        stored = region.results[buffer.result].quantity
        lines.append(f"o{place} = stored(q{stored}, b);")
    body = "\n".join(f"    {line}" for line in lines)
    return f"void main() {{\n{body}\n}}\n"


def _sums(cell: Cell, sizes: Sizes) -> Iterator[str]:
    """Yield the lines that add up the products, those of one operand in one loop."""
    products = {
        number: quantity
        for number, quantity in enumerate(cell.region.quantities)
        if isinstance(quantity, Product)
    }
    for number in products:
        yield f"vec4 q{number} = vec4(0.0);"
    for loop, x in enumerate(dict.fromkeys(p.x for p in products.values())):
        mine = {number: p for number, p in products.items() if p.x == x}
        # All kernels for the same operand have as many rows as it has channels.
        depth = cell.operands[next(iter(mine.values())).kernel].shape[-2] or 0
        count = sizes(f"DEPTH_{loop}", -(-depth // LANES))
        block = _shifted("i", x.shift, f"FROM_{loop}", sizes)
        place = _place(cell, x.read)
        yield f"for (int i = 0; i < {count}; ++i) {{"
        yield f"    vec4 x = at{x.read}({place}, {block});"
        yield f"    int c = {LANES} * i;"
        for number, product in mine.items():
            column = _shifted("b", product.shift, f"GATE_{number}", sizes)
            yield f"    ACCUMULATE(q{number}, at{product.kernel}, {column})"
        yield "}"


def _term(cell: Cell, term: Term, sizes: Sizes) -> str:
    names = [
        f"q{x}" if isinstance(x, int) else _fetched(cell, x, sizes)
        for x in term.operands
    ]
    text = rendered(term.expr, names)
    return f"trunc({text})" if term.whole else text


def _fetched(cell: Cell, fetch: Fetch, sizes: Sizes) -> str:
    """Return the texel of an operand, broadcast against the results."""
    channels = canonical(_read(cell, fetch.read).value.shape)[-1]
    single = channels == 1 and canonical(cell.region.shape)[-1] != 1
    # The numbers of blocks aren't in the text, so they mustn't be in the names either.
    label = f"SHIFT_{_fetches(cell).index(fetch)}"
    block = "0" if single else _shifted("b", fetch.shift, label, sizes)
    splat = ".xxxx" if single else ""
    return f"at{fetch.read}({_place(cell, fetch.read)}, {block}){splat}"


def _fetches(cell: Cell) -> list[Fetch]:
    """Return the operands of the terms that are fetched, in order, each once."""
    terms = [q for q in cell.region.quantities if isinstance(q, Term)]
    fetched = (x for term in terms for x in term.operands if isinstance(x, Fetch))
    return list(dict.fromkeys(fetched))


def _read(cell: Cell, number: int) -> Read:
    return cell.region.reads[number]


def _place(cell: Cell, number: int) -> str:
    """Return the indexes but the block at which an operand is fetched."""
    d, h, w, _ = canonical(_read(cell, number).value.shape)
    axes = zip("dhw", (d, h, w), strict=True)
    n = "n" if cell.operands[number].batched else "0"
    return ", ".join([n, *("0" if size == 1 else axis for axis, size in axes)])


def _shifted(index: str, by: int, label: str, sizes: Sizes) -> str:
    return f"{index} + {sizes(label, by)}" if by else index
