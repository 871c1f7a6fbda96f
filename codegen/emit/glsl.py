"""Stage -> GLSL: a prelude of constants and accessors in front of the family's body.

The same text runs under ``#version 300 es`` and ``#version 330``: the version line is
left to the executors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from keramos import shaders
from keramos.emit.weights import MIDDLE
from keramos.expr import GLSL, Expr, render
from keramos.graph import Origin
from keramos.plan.kernels import ROWS
from keramos.plan.layout import (
    AXIS_NAMES,
    CANONICAL_RANK,
    LANES,
    PLACES,
    B,
    Digit,
    H,
    Layout,
    Place,
    Profile,
    W,
    blocks,
    canonical,
)
from keramos.plan.pooling import PooledConv, planar
from keramos.plan.prologues import Prologue, lifted
from keramos.plan.stages import Stage, Tensor
from keramos.primitives import (
    Concat,
    Contract,
    Conv,
    Gather,
    Map,
    Pad,
    Reduce,
    Reshape,
    Resize,
    Shape,
    Slice,
    Softmax,
    Transpose,
    Window,
    same_padding,
)
from keramos.text import comment, glsl_float

PRECISION = """\
precision highp float;
precision highp int;
precision highp sampler2DArray;
"""

# Where a stage reads codes of 8-bit weights.
BYTES = "precision highp usampler2DArray;\n"

# Bodies that define value() for one block take their main function from lib/each.
OWN_MAIN = frozenset(
    {
        "conv",
        "conv_pool",
        "conv_rows",
        "conv_slide",
        "conv_uniform",
        "contract",
        "contract_rows",
        "depthwise",
        "depthwise_rows",
    }
)
# Families that read the input channels of their own group of filters.
BY_GROUP = frozenset({"conv", "conv_pool", "conv_rows", "conv_slide"})
# Families that may compute what they read.
WITH_PROLOGUES = frozenset(
    {"conv", "conv_rows", "conv_uniform", "contract", "contract_rows", "reduce"}
)
# Families whose value() is written out for the stage, without a body of their own.
GENERATED = frozenset({"map", "move"})
LIBRARY = (
    "texel",
    "source",
    "quotient",
    "remainder",
    "pick",
    "k_where",
    "k_sin",
    "k_cos",
    "k_tanh",
    "k_sigmoid",
    "k_log1p",
    "k_expm1",
    "k_erf",
    "k_mod",
    "k_pow",
)
PARAMETERS = "int n, int d, int h, int w, int b"


@dataclass(frozen=True, slots=True)
class Program:
    """A fragment shader, less version line and comment, and the sizes it is given.

    Shapes and places of tensors aren't in the *text*, so that stages which differ in
    nothing else share one program: *sizes* are the elements of its uniform array.
    """

    text: str
    sizes: tuple[int, ...]


class Sizes:
    """Collects the numbers that a stage gives to its program."""

    def __init__(self) -> None:
        """Begin with none."""
        self.values: dict[str, int] = {}

    def __call__(self, name: str, value: int) -> str:
        """Note that *name* is *value*; return the name."""
        self.values[name] = value
        return name


def program(stage: Stage, profile: Profile) -> Program:
    """Return the fragment program of *stage* for devices of *profile*."""
    sizes = Sizes()
    body = [_value(stage)] if stage.family in GENERATED else []
    if stage.family not in GENERATED:
        body.append(shaders.source(stage.family))
    if stage.family not in OWN_MAIN:
        body.append(shaders.source("lib/each"))
    accessors = [accessor(k, x, sizes, profile) for k, x in enumerate(stage.operands)]
    if stage.prologue is not None:
        accessors.append(_prologue(stage, stage.prologue, sizes))
    elif stage.family in WITH_PROLOGUES:
        accessors.append(_NO_PROLOGUE)
    prelude = [
        _constants(stage, sizes),
        _uniforms(stage),
        *accessors,
        locate(stage.output.layout, sizes, shifted=bool(stage.origins)),
        _finish(stage, sizes),
        _first_block(stage, sizes),
    ]
    return assembled("\n".join([*prelude, *body]), sizes, stage.operands)


def assembled(text: str, sizes: Sizes, operands: Sequence[Tensor]) -> Program:
    """Return the program of *text*, with the functions and the sizes that it uses."""
    used = {word: sizes.values[word] for word in _words(text) if word in sizes.values}
    library = [shaders.source(f"lib/{name}") for name in LIBRARY if f"{name}(" in text]
    precision = PRECISION + (BYTES if any(map(_is_coded, operands)) else "")
    whole = precision + "\n" + "\n".join([_declaration(used), *library, text])
    return Program(whole, tuple(used.values()))


def _words(text: str) -> list[str]:
    """Return the names in *text*, each once, in order."""
    return list(dict.fromkeys(re.findall(r"\b[A-Z]\w*\b", text)))


def _declaration(names: Mapping[str, int]) -> str:
    """Return the uniform array that holds the numbers called *names*."""
    if not names:
        return ""
    lines = [f"#define {name} sizes[{index}]\n" for index, name in enumerate(names)]
    return f"uniform int sizes[{len(names)}];\n" + "".join(lines)


def _is_coded(tensor: Tensor) -> bool:
    return tensor.storage == "uint8"


def title(stage: Stage) -> str:
    """Return what the stage is, for the comment in front of its program."""
    layers = origins_text(stage.node.origins)
    shapes = [tensor.shape for tensor in stage.operands if tensor.batched]
    given = ", ".join(map(shape_text, shapes))
    return f"{stage.name}: {layers}, {given} -> {shape_text(stage.output.shape)}"


def origins_text(origins: Iterable[Origin]) -> str:
    """Return the layers that something comes from, for a comment."""
    return " + ".join(f"{comment(o.layer)} ({comment(o.class_name)})" for o in origins)


def shape_text(shape: Shape) -> str:
    """Return a shape for a comment."""
    return "(" + ", ".join(map(str, shape)) + ")"


# --- the prelude ---------------------------------------------------------------------


# What varies between stages of one kind. Windows are in the text, and axes of length 1:
# without loops over them programs are faster.
SIZES = ("IN", "OUT", "COUNT", "DEPTH", "FILTERS", "CHUNK", "ROWS")


def _integers(values: Mapping[str, int], sizes: Sizes) -> str:
    """Return the declarations of what is in the text, and note the sizes."""
    lines = []
    for name, value in values.items():
        if name.split("_")[0] in SIZES and value > 1:
            sizes(name, value)
        else:
            lines.append(f"const int {name} = {value};\n")
    return "".join(lines)


def _triples(prefix: str, values: Sequence[int], missing: int) -> dict[str, int]:
    """Return ``PREFIX_D``, ``_H``, ``_W`` with *missing* for the leading ones."""
    whole = [missing] * (3 - len(values)) + list(values)
    return {f"{prefix}_{axis}": v for axis, v in zip("DHW", whole, strict=True)}


def _constants(stage: Stage, sizes: Sizes) -> str:
    primitive = stage.node.primitive
    d, h, w, c = canonical(stage.operands[0].shape)
    numbers = {"IN_D": d, "IN_H": h, "IN_W": w, "IN_BLOCKS": blocks(c)}
    match primitive:
        case Conv():
            text = _integers(_convolution(stage, primitive, numbers), sizes)
            return text + _lanes(stage)
        case Window():
            return _pooling(stage, primitive, numbers, sizes)
        case Contract():
            across = int(primitive.b_contract == (2,))
            numbers["DEPTH"] = c
            numbers["ROWS"] = w
            return _integers(numbers, sizes) + f"#define ACROSS {across}\n"
        case Reduce():
            text = _reduction(stage, primitive.kind, primitive.axes, numbers, sizes)
            return text + _first(stage)
        case Softmax():
            text = _reduction(stage, "sum", (primitive.axis,), numbers, sizes)
            return text + f"const bool LOGARITHM = {str(primitive.log).lower()};\n"
        case Resize():
            return _interpolation(stage, primitive, numbers, sizes)
        case _:
            return ""


def _convolution(stage: Stage, conv: Conv, numbers: dict[str, int]) -> dict[str, int]:
    kernel = stage.node.inputs[1].shape
    window = [k or 0 for k in kernel[:-2]]
    depth, filters = kernel[-2] or 0, kernel[-1] or 0
    numbers |= _triples("KERNEL", window, 1) | _triples("STRIDE", conv.strides, 1)
    numbers |= _triples("PAD", _low(stage, conv), 0)
    numbers |= _triples("DILATION", conv.dilation, 1)
    numbers |= _triples("UP", conv.input_dilation, 1)
    if isinstance(conv, PooledConv):
        numbers |= _triples("POOL", conv.pool, 1)
    if stage.family in BY_GROUP:
        numbers["IN_BLOCKS"] = -(-depth // LANES)
    if stage.uniform is not None:
        numbers["CHUNK_BLOCKS"] = stage.uniform.chunk_blocks
    if stage.family == "grouped":
        numbers |= {"DEPTH": depth, "FILTERS": filters // conv.groups}
    return numbers


def _low(stage: Stage, conv: Conv) -> list[int]:
    """Return the padding in front of each axis of the window."""
    x, kernel = stage.node.inputs[0].shape, stage.node.inputs[1].shape
    extents = [
        ((k or 0) - 1) * dilation + 1
        for k, dilation in zip(kernel[:-2], conv.dilation, strict=True)
    ]
    return [
        (
            same_padding(((x[a] or 0) - 1) * conv.input_dilation[a] + 1, extents[a], s)[
                0
            ]
            if pad == "same"
            else pad[0]
        )
        for a, (pad, s) in enumerate(zip(conv.padding, conv.strides, strict=True))
    ]


def _lanes(stage: Stage) -> str:
    """Return how many lanes of the first texel hold channels."""
    if stage.family not in ("conv_pool", "conv_slide"):
        return ""
    depth = stage.node.inputs[1].shape[-2] or 0
    return f"#define IN_LANES {min(depth, LANES)}\n"


def _pooling(stage: Stage, pool: Window, numbers: dict[str, int], sizes: Sizes) -> str:
    x = stage.node.inputs[0].shape
    low = [
        same_padding(x[a] or 0, size, stride)[0] if pad == "same" else pad[0]
        for a, (size, stride, pad) in enumerate(
            zip(pool.size, pool.strides, pool.padding, strict=True)
        )
    ]
    numbers |= _triples("KERNEL", pool.size, 1) | _triples("STRIDE", pool.strides, 1)
    numbers |= _triples("PAD", low, 0)
    largest = pool.kind == "max"
    return (
        _integers(numbers, sizes)
        + f"const float START = {'-3.4028234e38' if largest else '0.0'};\n"
        + f"const bool MEAN = {str(pool.kind == 'mean').lower()};\n"
        + f"#define COMBINE(a, b) {'max(a, b)' if largest else '(a + b)'}\n"
    )


_START = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}
_COMBINE = {
    "sum": "(a + b)",
    "mean": "(a + b)",
    "prod": "(a * b)",
    "max": "max(a, b)",
    "min": "min(a, b)",
}


def _reduction(
    stage: Stage,
    kind: str,
    axes: tuple[int, ...],
    numbers: dict[str, int],
    sizes: Sizes,
) -> str:
    shape = stage.node.inputs[0].shape
    last = len(shape) - 1
    # Of axes that were merged into d, none is reduced: see prepare().
    merged = {max(4 - (len(shape) - axis), 0) for axis in axes}
    extents = dict(zip(range(3), canonical(shape)[:3], strict=True))
    counts = [extents[place] if place in merged else 1 for place in range(3)]
    numbers |= _triples("COUNT", counts, 1)
    numbers["IN_C"] = canonical(shape)[3]
    return (
        _integers(numbers, sizes)
        + f"const float START = {glsl_float(_START[kind])};\n"
        + f"const bool MEAN = {str(kind == 'mean').lower()};\n"
        + f"#define OVER_CHANNELS {int(last in axes)}\n"
        + f"#define COMBINE(a, b) {_COMBINE[kind]}\n"
    )


def _first(stage: Stage) -> str:
    """Return how the reduction that a stage computes first reduces."""
    first = None if stage.prologue is None else stage.prologue.first
    if first is None or not isinstance(first.primitive, Reduce):
        return ""
    kind = first.primitive.kind
    return (
        f"const float START_FIRST = {glsl_float(_START[kind])};\n"
        f"const bool MEAN_FIRST = {str(kind == 'mean').lower()};\n"
        f"#define COMBINE_FIRST(a, b) {_COMBINE[kind]}\n"
        "float EARLIER;\n"
    )


_CURVES = {"nearest": 0, "bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}


def _interpolation(
    stage: Stage, resize: Resize, numbers: dict[str, int], sizes: Sizes
) -> str:
    before = canonical(stage.node.inputs[0].shape)[:3]
    after = canonical(stage.node.specs[0].shape)[:3]
    curve = _CURVES[resize.method]
    radius = max(curve, 1)
    widen = [
        max(old / new, 1.0) if resize.antialias else 1.0
        for old, new in zip(before, after, strict=True)
    ]
    reach = [
        0 if old == new else math.ceil(radius * scale)
        for old, new, scale in zip(before, after, widen, strict=True)
    ]
    numbers |= _triples("OUT", after, 1) | _triples("REACH", reach, 0)
    floats = "".join(
        f"const float WIDEN_{axis} = {glsl_float(scale)};\n"
        for axis, scale in zip("DHW", widen, strict=True)
    )
    return _integers(numbers, sizes) + floats + f"#define CURVE {curve}\n"


def sampler(index: int, tensor: Tensor) -> str:
    """Return the declaration of the sampler of operand *index*."""
    return f"uniform {'u' if _is_coded(tensor) else ''}sampler2DArray t{index};"


def _uniforms(stage: Stage) -> str:
    samplers = "".join(f"{sampler(k, x)}\n" for k, x in enumerate(stage.operands))
    layers = stage.output.layout.layers
    draws = layers > stage.group * stage.pixels
    first = "uniform int first;\n" if draws else "const int first = 0;\n"
    if any(tensor.moment is not None for tensor in stage.operands):
        first += "uniform int moment;\n"
    if stage.origins:
        first += "uniform ivec2 origin;\n"
    outputs = "".join(
        f"layout(location = {k}) out vec4 o{k};\n"
        for k in range(stage.group * stage.pixels)
    )
    return f"{samplers}{first}{outputs}{_repetitions(stage)}"


def _repetitions(stage: Stage) -> str:
    """Return the macros that repeat a line for each result of a fragment."""
    group, pixels = range(stage.group), range(stage.pixels)
    if stage.family == "depthwise_rows":
        return _sliding(stage)
    if stage.family == "conv_slide":
        return _overlapping(stage)
    if stage.family == "conv_pool":
        return _pooled(stage)
    if stage.family in ROWS:
        cells = " ".join(
            f"F({p}, {q}, r{p}{q}, o{p * stage.group + q})"
            for p in pixels
            for q in group
        )
        near = " ".join(f"F({p}, x{p}, s{p}, y{p})" for p in pixels)
        merged = int(stage.output.layout.row > 0)
        lines = [
            f"#define EACH_CELL(F) {cells}",
            f"#define EACH_PIXEL(F) {near}",
            f"#define MERGED {merged}",
        ]
        lines += [
            f"#define CELLS_{q}(F) " + " ".join(f"F(x{p}, r{p}{q})" for p in pixels)
            for q in group
        ]
        columns = " ".join(f"F({q}, CELLS_{q})" for q in group)
        return "\n".join([*lines, f"#define EACH_COLUMN(F) {columns}\n"])
    each = " ".join(f"F({q}, r{q}, o{q})" for q in group)
    text = f"#define EACH_BLOCK(F) {each}\n"
    if stage.uniform is None:
        return text
    chunks = range(stage.uniform.chunks)
    size = stage.uniform.vectors(stage.group)
    weights = " ".join(f"F({q}, r{q}, k)" for q in group)
    lines = [f"layout(std140) uniform K{j} {{ vec4 k{j}[{size}]; }};" for j in chunks]
    lines += [
        f"const int BLOCKS = {stage.group};",
        f"#define EACH_WEIGHT(F, k) {weights}",
        "#define EACH_CHUNK(F) " + " ".join(f"F({j}, k{j})" for j in chunks),
    ]
    return text + "\n".join(lines) + "\n"


def _sliding(stage: Stage) -> str:
    """Return the macros of a window that slides over neighbours along w.

    Each column of x is fetched once and adds to every result whose window covers it.
    """
    primitive, kernel = stage.node.primitive, stage.node.inputs[1].shape
    if not isinstance(primitive, Conv):
        raise TypeError("only convolutions slide")
    width, stride = kernel[-3] or 1, primitive.strides[-1]
    group, pixels = range(stage.group), range(stage.pixels)
    cells = " ".join(
        f"F({p}, {q}, r{p}{q}, o{p * stage.group + q})" for p in pixels for q in group
    )
    taps = " ".join(f"F({v}, k{v})" for v in range(width))
    columns = range((stage.pixels - 1) * stride + width)
    text = [f"#define EACH_CELL(F) {cells}", f"#define EACH_TAP(F) {taps}"]
    for q in group:
        text += [
            f"#define ADD_{q}_{j} "
            + " ".join(
                f"r{p}{q} += x * k{j - p * stride};"
                for p in pixels
                if 0 <= j - p * stride < width
            )
            for j in columns
        ]
        each = " ".join(f"F({j}, ADD_{q}_{j})" for j in columns)
        text.append(f"#define COLUMNS_{q}(F) {each}")
    blocks = " ".join(f"F({q}, COLUMNS_{q})" for q in group)
    return "\n".join([*text, f"#define EACH_BLOCK(F) {blocks}\n"])


def _overlapping(stage: Stage) -> str:
    """Return the macros of windows along w that share the columns of x."""
    primitive, kernel = stage.node.primitive, stage.node.inputs[1].shape
    if not isinstance(primitive, Conv):
        raise TypeError("only convolutions slide")
    width, stride = kernel[-3] or 1, primitive.strides[-1]
    group, pixels = range(stage.group), range(stage.pixels)
    cells = " ".join(
        f"F({p}, {q}, r{p}{q}, o{p * stage.group + q})" for p in pixels for q in group
    )
    near = " ".join(f"{kind}({j}, x{j})" for j, kind in enumerate(_columns(stage)))
    taps = " ".join(f"F({v}, {q}, CELLS_{v}{q})" for v in range(width) for q in group)
    lines = [
        f"#define EACH_CELL(F) {cells}",
        f"#define EACH_COLUMN(INSIDE, BEYOND, EDGE) {near}",
        f"#define EACH_TAP(F) {taps}",
    ]
    lines += [
        f"#define CELLS_{v}{q}(F) "
        + " ".join(f"F(x{p * stride + v}, r{p}{q})" for p in pixels)
        for v in range(width)
        for q in group
    ]
    return "\n".join(lines) + "\n"


def _pooled(stage: Stage) -> str:
    """Return the macros of windows that are pooled, and share the texels of x.

    Rows of x come in order, each with the row of the kernel that it is the first one
    to need; each texel adds to every result whose window covers it.
    """
    conv, kernel = stage.node.primitive, stage.node.inputs[1].shape
    if not isinstance(conv, PooledConv):
        raise TypeError("only pooled convolutions are")
    (high, wide), group = conv.tile, range(stage.group)
    (length, width), (down, right) = planar(kernel[:-2]), planar(conv.strides)
    rows, columns = range(high), range(wide * stage.pixels)
    sums = [f"r{a}_{b}_{q}" for a in rows for b in columns for q in group]
    lines = ["#define EACH_SUM(F) " + " ".join(f"F({r})" for r in sums)]
    cells = []
    for p in range(stage.pixels):
        for q in group:
            window = [f"r{a}_{p * wide + b}_{q}" for a in rows for b in range(wide)]
            largest = reduce(lambda x, y: f"max({x}, {y})", window)
            cells.append(f"F({p}, {q}, {largest}, o{p * stage.group + q})")
    lines.append(f"#define EACH_CELL(F) {' '.join(cells)}")
    kinds, steps = _columns(stage), []
    for j, kind in enumerate(_rows(stage)):
        steps.append(f"{kind}({j}, y{j}, i{j})")
        if j < length:
            steps += [
                f"TAP({j * width + v}, {q}, {_vectors(j, v, q)})"
                for v in range(width)
                for q in group
            ]
        for s, column in enumerate(kinds):
            adds = [
                f"F(r{a}_{b}_{q}, {_vectors(j - a * down, s - b * right, q)})"
                for a in rows
                for b in columns
                for q in group
                if 0 <= j - a * down < length and 0 <= s - b * right < width
            ]
            lines.append(f"#define SUMS_{j}_{s}(F) {' '.join(adds)}")
            steps.append(f"{column}({s}, y{j}, i{j}, SUMS_{j}_{s})")
    names = "ROW, EDGE_ROW, TAP, INSIDE, BEYOND, EDGE"
    return "\n".join([*lines, f"#define EACH_STEP({names}) {' '.join(steps)}\n"])


def _vectors(u: int, v: int, q: int) -> str:
    """Return the names of four vectors of a kernel, one for each channel of a texel."""
    return ", ".join(f"k{u}_{v}_{q}_{lane}" for lane in range(LANES))


def _rows(stage: Stage) -> list[str]:
    """Return which of the rows that a fragment reads may lie outside x.

    Those are padding of some result, or only read by fragments past the last one.
    """
    conv = stage.node.primitive
    if not isinstance(conv, PooledConv):
        raise TypeError("only pooled convolutions read several rows")
    _, size, _, _ = canonical(stage.node.inputs[0].shape)
    computed = math.prod(d.radix for d in stage.output.layout.axis_digits(H))
    if len(conv.pool) == 1:
        return ["ROW"]
    (length, _), (stride, _) = planar(stage.node.inputs[1].shape[:-2]), conv.strides
    (high, _), (pad, _) = conv.tile, _low(stage, conv)
    last = (computed * high - 1) * stride - pad
    return [
        ("ROW" if j >= pad and last - (high - 1) * stride + j < size else "EDGE_ROW")
        for j in range((high - 1) * stride + length)
    ]


def _columns(stage: Stage) -> list[str]:
    """Return which of the columns that a fragment reads may lie outside x.

    EDGE columns are padding of some pixel, BEYOND those that only pixels past the last
    one read.
    """
    conv = stage.node.primitive
    if not isinstance(conv, Conv):
        raise TypeError("only convolutions slide")
    (_, _, size, _), pad = canonical(stage.node.inputs[0].shape), _low(stage, conv)[-1]
    stride, width = conv.strides[-1], stage.node.inputs[1].shape[-3] or 1
    total = canonical(stage.node.specs[0].shape)[2]
    pooled = conv.tile[1] if isinstance(conv, PooledConv) else 1
    pixels, total = stage.pixels * pooled, total * pooled
    computed = pooled * math.prod(d.radix for d in stage.output.layout.axis_digits(W))
    kinds = ["INSIDE"] * ((pixels - 1) * stride + width)
    for pixel in range(computed):
        for tap in range(width):
            if not 0 <= pixel * stride + tap - pad < size:
                column = pixel % pixels * stride + tap
                edge = pixel < total or kinds[column] == "EDGE"
                kinds[column] = "EDGE" if edge else "BEYOND"
    return kinds


def _coordinate(
    layout: Layout, place: Place, names: Sequence[str], label: str, sizes: Sizes
) -> str:
    """Return the texel's x, y or layer in terms of the indexes *names*."""
    terms = []
    for digit, name in _labelled(layout, label):
        if digit.place == place:
            text = _digit(digit, layout.extents[digit.axis], names, name, sizes)
            weight = _weight(digit, name, sizes)
            terms.append(text if weight == "1" else f"{text} * {weight}")
    return " + ".join(terms) or "0"


def _labelled(layout: Layout, label: str) -> Iterator[tuple[Digit, str]]:
    """Yield the digits that aren't always 0, and what to call their numbers."""
    count: dict[str, int] = {}
    for digit in layout.digits:
        if digit.radix > 1:
            name = f"{label}_{AXIS_NAMES[digit.axis]}_{digit.place}".upper()
            count[name] = count.get(name, 0) + 1
            yield digit, name if count[name] == 1 else f"{name}{count[name]}"


def _digit(
    digit: Digit, extent: int, names: Sequence[str], label: str, sizes: Sizes
) -> str:
    text = _quotient(names[digit.axis], _divisor(digit, label, sizes), extent)
    if digit.divisor * digit.radix < extent:
        return f"({_remainder(text, _radix(digit, label, sizes), extent)})"
    return text if digit.divisor == 1 else f"({text})"


# The numbers of neighbours and blocks that a fragment computes are in the text.
FEW = 8


def _is_near(digit: Digit) -> bool:
    """Return whether *digit* tells the results of one fragment apart."""
    near = digit.axis in (W, B) and digit.divisor == 1
    return near and digit.place == "layer" and digit.radix <= FEW


def _radix(digit: Digit, label: str, sizes: Sizes) -> str:
    if _is_near(digit):
        return str(digit.radix)
    return sizes(f"{label}_RADIX", digit.radix)


def _divisor(digit: Digit, label: str, sizes: Sizes) -> str:
    if digit.divisor == 1 or (digit.axis in (W, B) and digit.divisor <= FEW):
        return str(digit.divisor)
    return sizes(f"{label}_DIVISOR", digit.divisor)


def _weight(digit: Digit, label: str, sizes: Sizes) -> str:
    if digit.weight == 1 or (_is_near(digit) and digit.weight <= FEW):
        return str(digit.weight)
    return sizes(f"{label}_WEIGHT", digit.weight)


# Below this quotient() and remainder() are exact.
EXACT = 2**20


def _quotient(text: str, divisor: str, extent: int) -> str:
    """Return a whole number below *extent* divided; by a shift where that does it."""
    if divisor == "1":
        return text
    if divisor.isdecimal() and (exact := int(divisor)) & (exact - 1) == 0:
        return f"({text} >> {exact.bit_length() - 1})"
    return f"quotient({text}, {divisor})" if extent <= EXACT else f"{text} / {divisor}"


def _remainder(text: str, divisor: str, extent: int) -> str:
    """Return what is left of it; by a mask where that does it."""
    if divisor.isdecimal() and (exact := int(divisor)) & (exact - 1) == 0:
        return f"({text} & {exact - 1})"
    return f"remainder({text}, {divisor})" if extent <= EXACT else f"{text} % {divisor}"


def accessor(index: int, tensor: Tensor, sizes: Sizes, profile: Profile) -> str:
    """Return ``at<index>``, which fetches a texel of *tensor*."""
    names, label = list(AXIS_NAMES), f"AT{index}"
    for axis, offset in enumerate(tensor.offset):
        if offset:
            number = sizes(f"{label}_{names[axis].upper()}_OFFSET", offset)
            names[axis] = f"({names[axis]} + {number})"
    if tensor.moment is not None:
        pace = sizes(f"{label}_PACE", tensor.pace)
        moment = "moment" if tensor.pace == 1 else f"moment * {pace}"
        names[tensor.moment] = f"({names[tensor.moment]} + {moment})"
    if tensor.layout.row:
        row = sizes(f"{label}_ROW", tensor.layout.row)
        names[W] = f"({names[W]} + {names[H]} * {row})"
    x, y, layer = (
        _coordinate(tensor.layout, place, names, label, sizes) for place in PLACES
    )
    place = f"ivec3({x}, {y}, {layer})"
    fetch = f"texelFetch(t{index}, {place}, 0)"
    if profile == "software" and not _is_coded(tensor):
        fetch = f"texel(t{index}, {place})"
    if tensor.lane is not None:
        fetch = f"vec4({fetch}.{'xyzw'[tensor.lane]}, 0.0, 0.0, 0.0)"
    if _is_coded(tensor):
        fetch = f"vec4({fetch}) - {MIDDLE}.0"
    return f"vec4 at{index}({PARAMETERS}) {{\n    return {fetch};\n}}\n"


# What a stage has computed first, for the expression of its prologue.
EARLIER = "vec4(EARLIER)"
# READ fetches what a stage sums up, of its pixel number p: see _prologue().
_NO_PROLOGUE = """\
#define SHARED(n, b)
#define ONCE(p, n, d, h, w)
#define OWN(p, n, d, h, w)
#define READ(p, n, d, h, w, b) at0(n, d, h, w, b)
"""


def _prologue(stage: Stage, prologue: Prologue, sizes: Sizes) -> str:
    """Return the macros that compute what the stage reads.

    SHARED fetches what is the same for all pixels, once for each step of the sum; OWN
    what is the same for all channels, once for each pixel, or ONCE does, once for all
    that a fragment reduces. READ computes the texel.
    """
    names = _operands(stage, prologue)
    parts = lifted(prologue)
    shape = prologue.node.specs[0].shape
    shared = [f"m{k}" for k in range(len(parts.shared))]
    lanes = [f"own.{lane * LANES}" for lane in "xyzw"[: len(parts.own)]]
    given, passed = ["x", *shared], ["at0(n, d, h, w, b)", *shared]
    lines, once = [], ""
    if lanes:
        given.append("own")
        passed.append("own[p]")
        own = [f"({rendered(part, names)}).x" for part in parts.own]
        whole = ", ".join([*own, *["0.0"] * (LANES - len(own))])
        lines += [
            f"vec4 own[{stage.pixels}];",
            "vec4 owned(int n, int d, int h, int w) {",
            f"    return vec4({whole});",
            "}",
        ]
        once = "own[p] = owned(n, d, h, w);"
    vectors = ", ".join(f"vec4 {name}" for name in given)
    fetched = " ".join(
        f"vec4 {name} = {rendered(part, names)};"
        for name, part in zip(shared, parts.shared, strict=True)
    )
    outside = _is_outside(stage, prologue)
    return "\n".join(
        [
            *lines,
            f"vec4 prologue({vectors}, int b) {{",
            f"    vec4 r = {rendered(parts.each, ['x', *shared, *lanes])};",
            *_within(shape[-1] or 0, "r", "PROLOGUE", sizes),
            "}",
            f"#define SHARED(n, b) {fetched}",
            f"#define ONCE(p, n, d, h, w) {once if outside else ''}",
            f"#define OWN(p, n, d, h, w) {'' if outside else once}",
            f"#define READ(p, n, d, h, w, b) prologue({', '.join(passed)}, b)\n",
        ]
    )


def _operands(stage: Stage, prologue: Prologue) -> list[str]:
    """Return what fetches each input of a prologue but the main one."""
    shape = prologue.node.specs[0].shape
    first = len(stage.operands) - len(prologue.others)
    names = [EARLIER] * len(prologue.node.inputs)
    for index, k in enumerate(prologue.numbers, start=first):
        names[k] = _fetch(index, prologue.node.inputs[k].shape, stage, shape)
    return names


def _is_outside(stage: Stage, prologue: Prologue) -> bool:
    """Return whether what a reduction reduces has the same own values throughout."""
    primitive, rank = stage.node.primitive, len(prologue.node.specs[0].shape)
    if not isinstance(primitive, Reduce):
        return False
    return all(
        axis < rank - len(x.shape) or x.shape[axis - rank] == 1
        for axis in primitive.axes
        for x in (prologue.node.inputs[k] for k in prologue.own)
    )


def _within(channels: int, name: str, label: str, sizes: Sizes) -> list[str]:
    """Return the statement that returns *name*, zero in lanes beyond the channels."""
    beyond = channels % LANES
    if not beyond:
        return [f"    return {name};"]
    kept = [f"{name}.{lane}" for lane in "xyz"[:beyond]] + ["0.0"] * (LANES - beyond)
    if channels < LANES:
        return [f"    return vec4({', '.join(kept)});"]
    whole = sizes(f"{label}_BLOCKS", channels // LANES)
    return [f"    return b < {whole} ? {name} : vec4({', '.join(kept)});"]


def locate(layout: Layout, sizes: Sizes, *, shifted: bool) -> str:
    """Return the inverse map: from the fragment to the indexes of its first block."""
    parts: dict[int, list[str]] = {axis: [] for axis in range(5)}
    position = {"x": "p.x", "y": "p.y", "layer": "first"}
    for digit, name in _labelled(layout, "TO"):
        size = layout.size(digit.place)
        text = _quotient(position[digit.place], _weight(digit, name, sizes), size)
        if digit.weight * digit.radix < size:
            text = _remainder(text, _radix(digit, name, sizes), size)
        divisor = _divisor(digit, name, sizes)
        parts[digit.axis].append(text if divisor == "1" else f"{text} * {divisor}")
    lines = [
        f"    {name} = {' + '.join(parts[axis]) or '0'};"
        for axis, name in enumerate(AXIS_NAMES)
    ]
    arguments = ", ".join(f"out int {name}" for name in AXIS_NAMES)
    if layout.row:
        lines += ["    h = row_of(w);", "    w -= h * TO_ROW;"]
    return "\n".join(
        [
            *_row(layout, sizes),
            f"void locate({arguments}) {{",
            f"    ivec2 p = ivec2(gl_FragCoord.xy){' - origin' if shifted else ''};",
            *lines,
            "}\n",
        ]
    )


def _row(layout: Layout, sizes: Sizes) -> list[str]:
    """Return the function that finds the row of a pixel where rows are merged."""
    if not layout.row:
        return []
    extent = layout.extents[W]
    row = sizes("TO_ROW", layout.row)
    last = sizes("TO_LAST_ROW", extent // layout.row - 1)
    return [
        "// Past the last pixel there is nothing to be found.",
        f"int row_of(int w) {{ return min({_quotient('w', row, extent)}, {last}); }}",
    ]


def _first_block(stage: Stage, sizes: Sizes) -> str:
    primitive = stage.node.primitive
    if stage.family not in BY_GROUP or not isinstance(primitive, Conv):
        return ""
    text = "0"
    if primitive.groups > 1:
        depth = stage.node.inputs[1].shape[-2] or 0
        per_group = stage.output.layout.channels // primitive.groups // LANES
        group = sizes("GROUP_BLOCKS", per_group)
        text = f"b / {group} * {sizes('GROUP_DEPTH', depth // LANES)}"
    return (
        "// The first block of the input channels that output block b reads.\n"
        f"int first_block(int b) {{ return {text}; }}\n"
    )


def _finish(stage: Stage, sizes: Sizes) -> str:
    """Return the epilogue, and the rule that lanes beyond the channels are zero."""
    node = stage.node
    lines = []
    if node.epilogue is not None:
        names = ["r"]
        for number, extra in enumerate(node.extras):
            index = stage.operand(len(node.operands) + number)
            fetched = _fetch(index, extra.shape, stage, stage.output.shape)
            lines.append(f"    vec4 e{number} = {fetched};")
            names.append(f"e{number}")
        lines.append(f"    r = {rendered(node.epilogue, names)};")
    channels = stage.output.layout.channels
    if node.specs[0].dtype == "int32" and isinstance(node.primitive, Map):
        lines.append("    r = trunc(r);")
    lines += _within(channels, "r", "WHOLE", sizes)
    return "\n".join([f"vec4 finish(vec4 r, {PARAMETERS}) {{", *lines, "}\n"])


def rendered(expr: Expr, names: Sequence[str]) -> str:
    """Return *expr* of four-vectors called *names*."""
    return render(expr, GLSL, names, lambda value: f"vec4({glsl_float(value)})")


def _fetch(index: int, shape: Shape, stage: Stage, out: Shape) -> str:
    """Return operand *index*, broadcast against *out*, at the current texel."""
    tensor = stage.operands[index]
    axes = _axes(out, ("d", "h", "w"), "b")
    aligned = ["0" if size == 1 else axis for size, axis in _pair(shape, axes)]
    splat = bool(shape) and shape[-1] == 1 and bool(out) and out[-1] != 1
    if not shape and out and out[-1] != 1:
        splat = True
    d, h, w, b = _coordinates(shape, aligned)
    n = "n" if tensor.batched else "0"
    return f"at{index}({n}, {d}, {h}, {w}, {b})" + (".xxxx" if splat else "")


def _pair(shape: Shape, axes: Sequence[str]) -> list[tuple[int | None, str]]:
    return list(zip(shape, axes[len(axes) - len(shape) :], strict=True))


def _axes(shape: Shape, outer: tuple[str, str, str], last: str) -> list[str]:
    """Return an index per axis of *shape* from the canonical ones."""
    d, h, w = outer
    if len(shape) <= CANONICAL_RANK:
        return [d, h, w, last][CANONICAL_RANK - len(shape) :]
    leading = [size or 1 for size in shape[:-3]]
    axes = []
    for k, size in enumerate(leading):
        stride = math.prod(leading[k + 1 :])
        text = d if stride == 1 else f"({d} / {stride})"
        axes.append(text if k == 0 else f"({text} % {size})")
    return [*axes, h, w, last]


def _coordinates(shape: Shape, axes: Sequence[str]) -> list[str]:
    """Return the canonical indexes ``d, h, w, last`` from one per axis."""
    whole = ["0"] * (4 - len(axes)) + list(axes)
    leading = [size or 1 for size in shape[:-3]]
    if len(leading) <= 1:
        return whole
    terms = []
    for k, axis in enumerate(axes[: len(leading)]):
        stride = math.prod(leading[k + 1 :])
        terms.append(axis if stride == 1 else f"{_group(axis)} * {stride}")
    return [" + ".join(terms), *whole[-3:]]


def _group(text: str) -> str:
    return text if text.isalnum() else f"({text})"


# --- generated bodies ----------------------------------------------------------------


def _value(stage: Stage) -> str:
    """Return ``value()`` of elementwise stages and of those that move elements."""
    primitive = stage.node.primitive
    if isinstance(primitive, Map):
        operands = stage.node.operands
        lines = [
            f"    vec4 v{k} = {_fetch(k, x.shape, stage, stage.output.shape)};"
            for k, x in enumerate(operands)
        ]
        names = [f"v{k}" for k in range(len(operands))]
        lines.append(f"    return {rendered(primitive.expr, names)};")
        return "\n".join([f"vec4 value({PARAMETERS}) {{", *lines, "}\n"])
    texel = _moved(stage, by_texel=True)
    if texel is not None:
        return "\n".join([f"vec4 value({PARAMETERS}) {{", *texel, "}\n"])
    single = _moved(stage, by_texel=False) or []
    return "\n".join(
        [
            "float element(int n, int d, int h, int w, int c) {",
            *single,
            "}\n",
            f"vec4 value({PARAMETERS}) {{",
            "    int c = 4 * b;",
            "    return vec4(element(n, d, h, w, c), element(n, d, h, w, c + 1),",
            "                element(n, d, h, w, c + 2), element(n, d, h, w, c + 3));",
            "}\n",
        ]
    )


def _moved(stage: Stage, *, by_texel: bool) -> list[str] | None:
    """Return the statements that fetch the output's texel, or its element c.

    None where *by_texel* can't be: where lanes change places.
    """
    node = stage.node
    shape = node.inputs[0].shape
    out = node.specs[0].shape
    last = "b" if by_texel else "c"
    axes = _axes(out, ("d", "h", "w"), last)
    match node.primitive:
        case Transpose(permutation):
            return _transposed(stage, permutation, axes, by_texel=by_texel)
        case Slice(slices):
            return _sliced(stage, slices, axes, by_texel=by_texel)
        case Pad() as pad:
            return _padded(stage, pad, axes, by_texel=by_texel)
        case Concat(axis):
            return _joined(stage, axis, axes, by_texel=by_texel)
        case Reshape():
            if by_texel and (canonical(shape)[3] % LANES or canonical(out)[3] % LANES):
                return None
            return _reshaped(stage, last)
        case Gather(axis):
            return _gathered(stage, axis, axes, by_texel=by_texel)
        case _:
            raise TypeError(f"{node.primitive} moves no elements")


def _read(stage: Stage, index: int, axes: Sequence[str], *, by_texel: bool) -> str:
    """Return operand *index* at *axes*: a texel, or one element of it."""
    tensor = stage.operands[index]
    d, h, w, last = _coordinates(tensor.shape, axes)
    n = "n" if tensor.batched else "0"
    if by_texel:
        return f"at{index}({n}, {d}, {h}, {w}, {last})"
    if last == "0":
        return f"at{index}({n}, {d}, {h}, {w}, 0).x"
    whole = _group(last)
    return f"pick(at{index}({n}, {d}, {h}, {w}, {whole} / 4), {whole} % 4)"


def _transposed(
    stage: Stage, permutation: tuple[int, ...], axes: list[str], *, by_texel: bool
) -> list[str] | None:
    if by_texel and permutation and permutation[-1] != len(permutation) - 1:
        return None
    source = [""] * len(axes)
    for axis, origin in enumerate(permutation):
        source[origin] = axes[axis]
    return [f"    return {_read(stage, 0, source, by_texel=by_texel)};"]


def _sliced(
    stage: Stage,
    slices: Sequence[tuple[int | None, int | None, int]],
    axes: list[str],
    *,
    by_texel: bool,
) -> list[str] | None:
    shape = stage.node.inputs[0].shape
    source = []
    for axis, (size, bounds) in enumerate(zip(shape, slices, strict=True)):
        start, _, step = slice(*bounds).indices(size or 0)
        index = axes[axis]
        if by_texel and axis == len(shape) - 1:
            if step != 1 or start % LANES:
                return None
            start //= LANES
        scaled = index if step == 1 else f"{index} * {step}"
        source.append(f"{start} + {scaled}" if start else scaled)
    return [f"    return {_read(stage, 0, source, by_texel=by_texel)};"]


def _padded(
    stage: Stage, pad: Pad, axes: list[str], *, by_texel: bool
) -> list[str] | None:
    shape = stage.node.inputs[0].shape
    source, outside = [], []
    for axis, (low, high) in enumerate(pad.widths):
        index, size, front = axes[axis], shape[axis] or 0, low
        if by_texel and axis == len(shape) - 1:
            # Lanes beyond the channels are zeros already, but not another value.
            if low % LANES or ((low or high) and pad.value):
                return None
            front, size = low // LANES, -(-size // LANES)
        source.append(f"{index} - {front}" if front else index)
        if low:
            outside.append(f"{index} < {front}")
        if high:
            outside.append(f"{index} >= {front + size}")
    value = glsl_float(pad.value)
    filling = f"vec4({value})" if by_texel else value
    guard = [f"    if ({' || '.join(outside)}) return {filling};"] if outside else []
    return [*guard, f"    return {_read(stage, 0, source, by_texel=by_texel)};"]


def _joined(
    stage: Stage, axis: int, axes: list[str], *, by_texel: bool
) -> list[str] | None:
    lengths = [x.shape[axis] or 0 for x in stage.node.inputs]
    on_channels = axis == len(axes) - 1
    if by_texel and on_channels and any(length % LANES for length in lengths[:-1]):
        return None
    unit = LANES if by_texel and on_channels else 1
    lines, offset = [], 0
    for index, length in enumerate(lengths):
        source = list(axes)
        if offset:
            source[axis] = f"{axes[axis]} - {offset // unit}"
        read = _read(stage, index, source, by_texel=by_texel)
        offset += length
        final = index == len(lengths) - 1
        guard = "" if final else f"if ({axes[axis]} < {offset // unit}) "
        lines.append(f"    {guard}return {read};")
    return lines


def _linear(sizes: Sequence[int], names: Sequence[str]) -> str:
    text = names[0]
    for size, name in zip(sizes[1:], names[1:], strict=True):
        text = f"({text}) * {size} + {name}" if text != "0" else name
    return text


def _reshaped(stage: Stage, last: str) -> list[str]:
    """Count elements (or texels) in row-major order and look that number up."""
    _, h, w, c = canonical(stage.node.inputs[0].shape)
    out = canonical(stage.node.specs[0].shape)
    unit = LANES if last == "b" else 1
    count = _linear([*out[:3], out[3] // unit], ["d", "h", "w", last])
    c //= unit
    n = "n" if stage.operands[0].batched else "0"
    place = f"{n}, k / {h * w * c}, k / {w * c} % {h}, k / {c} % {w}"
    if last == "b":
        return [f"    int k = {count};", f"    return at0({place}, k % {c});"]
    return [
        f"    int k = {count};",
        f"    return pick(at0({place}, k % {c} / 4), k % {c} % 4);",
    ]


def _gathered(
    stage: Stage, axis: int, axes: list[str], *, by_texel: bool
) -> list[str] | None:
    data, indices = (x.shape for x in stage.node.inputs[:2])
    if by_texel and axis == len(data) - 1:
        return None
    rank = len(indices)
    chosen = axes[axis : axis + rank]
    if by_texel and rank and axis + rank == len(axes):
        return None
    index = _read(stage, 1, chosen, by_texel=False)
    limit = (data[axis] or 1) - 1
    source = [*axes[:axis], "k", *axes[axis + rank :]]
    return [
        f"    int k = clamp(int(floor({index} + 0.5)), 0, {limit});",
        f"    return {_read(stage, 0, source, by_texel=by_texel)};",
    ]
