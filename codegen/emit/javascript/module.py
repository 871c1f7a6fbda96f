"""The ES module of a graph: constants laid out, one function per stage, and run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from keramos.emit.describe import layers
from keramos.emit.javascript.contraction import emit_contract
from keramos.emit.javascript.convolution import emit_conv
from keramos.emit.javascript.elementwise import Array, emit_map, write_map
from keramos.emit.javascript.function import Function, Module, Operand, known
from keramos.emit.javascript.movement import (
    emit_concat,
    emit_gather,
    emit_pad,
    emit_resize,
    emit_slice,
    emit_transpose,
)
from keramos.emit.javascript.pooling import emit_window
from keramos.emit.javascript.product import tile
from keramos.emit.javascript.reduction import emit_reduce, emit_softmax
from keramos.emit.javascript.support import PLACE, support
from keramos.emit.wasm import Routine, UnsupportedError, assemble, kernel_of
from keramos.errors import quoted
from keramos.graph import Graph, Value
from keramos.plan.cpu import Names, result_name
from keramos.plan.javascript import (
    Buffer,
    Loop,
    Plan,
    Source,
    Stage,
    arena,
    length,
    plan,
)
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
    Scan,
    Slice,
    Softmax,
    Transpose,
    Window,
)
from keramos.text import js_literal

# The memory of WebAssembly is addressed in 32 bits, in vectors of 4 numbers of 4 bytes.
_MOST_BYTES = 2**32
_LANES = _BYTES = 4

# Words of JavaScript that aren't Python's, and names that the module uses itself.
_RESERVED = frozenset(
    {
        "arguments",
        "await",
        "case",
        "catch",
        "const",
        "debugger",
        "default",
        "delete",
        "do",
        "enum",
        "eval",
        "export",
        "extends",
        "false",
        "function",
        "implements",
        "instanceof",
        "interface",
        "let",
        "new",
        "null",
        "package",
        "private",
        "protected",
        "public",
        "static",
        "super",
        "switch",
        "this",
        "throw",
        "true",
        "typeof",
        "undefined",
        "var",
        "void",
        "yield",
    }
    | {
        "arena",
        "bicubic",
        "bilinear",
        "copy",
        "create",
        "data",
        "forward",
        "free",
        "inputs",
        "kernels",
        "lanczos3",
        "lanczos5",
        "mod",
        "memory",
        "name",
        "nearest",
        "numbers",
        "offsets",
        "outputs",
        "pack",
        "place",
        "placed",
        "results",
        "run",
        "sample",
        "shape",
        "sinc",
        "stages",
        "step",
        "tap",
        "taps",
        "tensors",
    }
)

Movement = Gather | Transpose | Slice | Pad | Concat | Resize | Reshape | Scan


def emit_javascript(
    graph: Graph, *, names: Mapping[Value, str], where: str | None = None
) -> str:
    """Return the text of ``cpu.js``: an ES module that exports ``create(tensors)``.

    *tensors* is an object that holds the constants under *names* as typed arrays.
    ``create`` returns ``run(inputs, n)``, which takes and gives a Float32Array per
    input and output for n samples, and ``stages(inputs)``, which gives the name, shape
    and numbers of each stage's results for the first sample. *where* names the model in
    errors. Raises CompileError for free dimensions.
    """
    return _text(*_written(graph, names, where, kernels=False))


@dataclass(frozen=True, slots=True)
class WebAssembly:
    """An ES module, and the kernels that it calls: as bytes, and as functions."""

    text: str
    binary: bytes
    routines: Mapping[str, Routine]


def emit_webassembly(
    graph: Graph, *, names: Mapping[Value, str], where: str | None = None
) -> WebAssembly | None:
    """Return what ``cpu.js`` computes with kernels in WebAssembly where there are some.

    ``create(tensors, kernels)`` takes the exports of an instance. Returns None if no
    stage has a kernel, or if they need more than 4 GB. Raises CompileError for free
    dimensions.
    """
    planned, writer = _written(graph, names, where, kernels=True)
    size = _memory(writer.module)
    if not writer.kernels or size > _MOST_BYTES:
        return None
    routines = {users[0].function: x for x, users in writer.kernels.items()}
    binary = assemble(routines, size=size)
    return WebAssembly(_text(planned, writer), binary, routines)


def _written(
    graph: Graph, names: Mapping[Value, str], where: str | None, *, kernels: bool
) -> tuple[Plan, _Writer]:
    """Return the plan of *graph*, and what its stages were written to."""
    taken = Names(_RESERVED)
    planned = plan(graph, taken, where=where or quoted(graph.name))
    uses = {buffer: list(places) for buffer, places in planned.uses.items()}
    writer = _Writer(Module(names, uses, taken), in_memory=kernels)
    for stage in planned.stages:
        writer.lines += writer.calls(stage)
        writer.lines += _taps(writer.module, stage)
    return planned, writer


def _taps(module: Module, stage: Stage) -> list[str]:
    """Return the statements that show a stage's results."""
    lines = []
    for index, source in enumerate(stage.results):
        if source is not None:
            label = js_literal(result_name(stage.name, index))
            shape = js_literal([1, *known(stage.node.specs[index].shape)])
            lines.append(f"tap?.({label}, {shape}, {module.variable(source)});")
    return lines


@dataclass(slots=True)
class _Writer:
    """The module so far: closures, the lines of ``forward``, and functions.

    Stages that do the same with other numbers share the function of the first one. If
    *in_memory*, what stages compute lies in the memory of WebAssembly, and *kernels*
    are those functions that are written for it.
    """

    module: Module
    in_memory: bool
    kernels: dict[Routine, list[Stage]] = field(default_factory=dict)
    functions: dict[str, list[Stage]] = field(default_factory=dict)
    closures: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def calls(self, stage: Stage) -> list[str]:
        """Return the statements of *stage*, its function added to the others."""
        if stage.loop is not None:
            self.closures.append(self._closure(stage, stage.loop))
            return [f"{stage.function}();"]
        node = stage.node
        (target,) = stage.results
        if target is None or (target is stage.operands[0] and _is_view(stage)):
            return []
        operands = tuple(
            Operand(source, known(x.shape), x.dtype)
            for source, x in zip(stage.operands, node.inputs, strict=True)
        )
        f = Function(self.module, stage.function, node, stage.place, operands)
        if self.in_memory:
            lines = self._kernel(replace(f, arguments={}, lines=[]), stage, target)
            if lines:
                return lines
        _emit(f, target)
        return [self._call(f, stage)]

    def _call(self, f: Function, stage: Stage) -> str:
        """Return the call of *f*, which is added to the functions."""
        users = self.functions.setdefault(f.text, [])
        users.append(replace(stage, function=f.name))
        return f.call(users[0].function)

    def _kernel(self, f: Function, stage: Stage, target: Source) -> list[str]:
        """Return the statements of *stage* if it has a kernel, else none."""
        module = self.module
        kept = (module.uses, module.tables, module.support, module.placed)
        module.uses, module.tables = dict(module.uses), dict(module.tables)
        module.support, module.placed = set(module.support), dict(module.placed)
        try:
            kernel = kernel_of(f, target)
        except UnsupportedError:
            module.uses, module.tables, module.support, module.placed = kept
            return []
        users = self.kernels.setdefault(kernel.routine(), [])
        users.append(stage)
        listed = ", ".join(f"{x}.byteOffset" for x in f.arguments.values())
        return [
            *(self._call(before, stage) for before in kernel.before),
            f"kernels.{users[0].function}({listed});",
            *(self._call(further, stage) for further in kernel.further),
        ]

    def _closure(self, stage: Stage, loop: Loop) -> str:
        """Return the function that runs a Scan over what ``create`` holds."""
        variable = self.module.variable
        lines = [f"function {stage.function}() {{"]
        lines += [
            f"  {state.buffer.name}.set({variable(state.initial)});"
            for state in loop.states
        ]
        first, further = ("0", "step++")
        condition = f"step < {loop.length}"
        if loop.reverse:
            first, condition, further = f"{loop.length - 1}", "step >= 0", "step--"
        lines.append(f"  for (let step = {first}; {condition}; {further}) {{")
        if loop.steps:
            self.module.support.add("copy")
        body = [
            f"copy({variable(whole)}, step * {step.length}, {step.name});"
            for whole, step in loop.steps
        ]
        for inner in loop.stages:
            body += self.calls(inner)
        for given, joined in loop.sequences:
            size = joined.length // loop.length if loop.length else 0
            body.append(f"{joined.name}.set({variable(given)}, step * {size});")
        body += [
            f"{state.buffer.name}.set({variable(state.new)});"
            for state in loop.states
            if state.new is not state.buffer
        ]
        lines += [f"    {line}" for line in body]
        return "\n".join([_comment(stage), *lines, "  }", "}"])


def _function(text: str, users: Sequence[Stage]) -> str:
    """Return the function of *users* with its comment."""
    return f"{_function_comment(users)}\nfunction {users[0].function}{text}"


def _function_comment(users: Sequence[Stage]) -> str:
    """Return the comment of the first of *users*, and the names of the others."""
    comment = _comment(users[0])
    if len(users) > 1:
        comment += f"; {', '.join(stage.function for stage in users[1:])} too"
    return comment


def _is_view(stage: Stage) -> bool:
    return isinstance(stage.node.primitive, Reshape) and stage.node.epilogue is None


def _comment(stage: Stage) -> str:
    """Return the comment ``// Layers: in -> out``."""
    taken = [
        str(list(known(x.shape))) for x in stage.node.operands if x.constant is None
    ]
    given = [str(list(known(spec.shape))) for spec in stage.node.specs]
    return f"// {layers(stage.node)}: {', '.join(taken)} -> {', '.join(given)}"


def _emit(f: Function, target: Source) -> None:
    """Write the body of a stage, which leaves its result in *target*."""
    if f.node.epilogue is None or isinstance(
        f.node.primitive, Conv | Contract | Window | Reduce | Softmax
    ):
        _emit_primitive(f, target)
        return
    specs = f.node.primitive.infer(*(x.spec for x in f.operands[: f.node.arity]))
    (shape,) = (known(spec.shape) for spec in specs)
    whole = f.operands
    plain = whole[0]
    if not isinstance(f.node.primitive, Reshape):
        buffer = f.buffer(math.prod(shape), "plain")
        f.operands = whole[: f.node.arity]
        _emit_primitive(f, buffer)
        plain = Operand(buffer, shape, specs[0].dtype)
    operands = [Array(f.read(plain), shape, plain.dtype)]
    operands += [
        Array(f.read(x, "extra"), x.shape, x.dtype) for x in whole[f.node.arity :]
    ]
    spec = f.node.specs[0]
    y = Array(f.write(target), known(spec.shape), spec.dtype)
    write_map(f, f.node.epilogue, operands, y)


def _emit_primitive(f: Function, target: Source) -> None:
    """Write the primitive, with its epilogue where it is one that computes it."""
    match f.node.primitive:
        case Map() as primitive:
            emit_map(f, primitive.expr, primitive.dtype, target)
        case Conv() as primitive:
            emit_conv(f, primitive, target)
        case Contract() as primitive:
            emit_contract(f, primitive, target)
        case Window() as primitive:
            emit_window(f, primitive, target)
        case Reduce() as primitive:
            emit_reduce(f, primitive, target)
        case Softmax() as primitive:
            emit_softmax(f, primitive, target)
        case _ as movement:
            _emit_movement(f, movement, target)


def _emit_movement(f: Function, primitive: Movement, target: Source) -> None:
    """Write a primitive that computes nothing, or next to nothing."""
    match primitive:
        case Gather():
            emit_gather(f, primitive, target)
        case Transpose():
            emit_transpose(f, primitive, target)
        case Slice():
            emit_slice(f, primitive, target)
        case Pad():
            emit_pad(f, primitive, target)
        case Concat():
            emit_concat(f, primitive, target)
        case Resize():
            emit_resize(f, primitive, target)
        case Reshape() | Scan():
            raise TypeError(f"{primitive} has no function")
        case _:
            assert_never(primitive)


def _text(planned: Plan, writer: _Writer) -> str:
    """Return the whole module."""
    module = writer.module
    if planned.inputs:
        module.support.add("copy")
    outputs = [(module.variable(y), _length(y)) for y in planned.outputs]
    parts = [*support(module.support), *_tiles(module.support)]
    parts += map(_function, writer.functions, writer.functions.values())
    if writer.in_memory:
        parts.insert(0, "\n".join(map(_kernel_comment, writer.kernels.values())))
    lines = [
        *(_HEAD_IN_MEMORY if writer.in_memory else _HEAD),
        *_indented(_buffers(module, in_memory=writer.in_memory)),
        *_indented(f"const {name} = {text};" for text, name in module.tables.items()),
        *_indented(
            line for text in writer.closures for line in ["", *text.split("\n")]
        ),
        "",
        "  function forward(tap) {",
        *_indented(_indented(writer.lines)),
        "  }",
        "",
        "  return {",
        *_indented(_indented(_run(planned, outputs))),
        *_indented(_indented(_stages(planned))),
        "  };",
        "}",
    ]
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"


def _tiles(used: Iterable[str]) -> list[str]:
    """Return the functions that sum tiles."""
    sizes = [name[4:].split("x") for name in sorted(used) if name.startswith("tile")]
    return [tile(int(height), int(width)) for height, width in sizes]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" if line else "" for line in lines]


_HEAD = (
    "/** Return the model whose constants are *tensors*: typed arrays by name. */",
    "export function create(tensors) {",
)
_HEAD_IN_MEMORY = (
    "/**",
    " * Return the model whose constants are *tensors*: typed arrays by name. What it",
    " * computes lies in the memory of *kernels*, the exports of cpu.wasm.",
    " */",
    "export function create(tensors, kernels) {",
)


def _kernel_comment(users: Sequence[Stage]) -> str:
    """Return what a kernel computes."""
    return _function_comment(users).replace("// ", f"// {users[0].function}: ", 1)


def _memory(module: Module) -> int:
    """Return the bytes that the arena and the constants of kernels take.

    Vectors may reach beyond the last of them.
    """
    _, size = arena(module.uses)
    sizes = [size, *module.placed.values(), _LANES]
    return sum(-(-count // _LANES) * _LANES for count in sizes) * _BYTES


def _buffers(module: Module, *, in_memory: bool) -> list[str]:
    """Return the declarations of the arena and its parts."""
    offsets, size = arena(module.uses)
    lines = [f"const arena = new Float32Array({size});"]
    if in_memory:
        lines = [
            f"const arena = new Float32Array(kernels.memory.buffer, 0, {size});",
            f"let free = {-(-size // _LANES) * _LANES};",
            *PLACE.strip().split("\n"),
        ]
    for buffer in module.uses:
        start = offsets[buffer]
        place = f"arena.subarray({start}, {start + buffer.length})"
        lines.append(f"const {buffer.name} = {place};")
    return lines


def _length(source: Source) -> int:
    return source.length if isinstance(source, Buffer) else length(source.shape)


def _run(planned: Plan, outputs: Sequence[tuple[str, int]]) -> list[str]:
    """Return the method that computes outputs sample by sample."""
    arrays = ", ".join(f"new Float32Array(n * {size})" for _, size in outputs)
    return [
        "run(inputs, n) {",
        f"  const outputs = [{arrays}];",
        "  for (let sample = 0; sample < n; sample++) {",
        *(
            f"    copy(inputs[{k}], sample * {x.length}, {x.name});"
            for k, x in enumerate(planned.inputs)
        ),
        "    forward();",
        *(
            f"    outputs[{k}].set({name}, sample * {size});"
            for k, (name, size) in enumerate(outputs)
        ),
        "  }",
        "  return outputs;",
        "},",
    ]


def _stages(planned: Plan) -> list[str]:
    """Return the method that gives what each stage computes."""
    return [
        "stages(inputs) {",
        "  const results = [];",
        *(f"  copy(inputs[{k}], 0, {x.name});" for k, x in enumerate(planned.inputs)),
        "  forward((name, shape, data) => {",
        "    results.push([name, shape, Float32Array.from(data)]);",
        "  });",
        "  return results;",
        "},",
    ]
