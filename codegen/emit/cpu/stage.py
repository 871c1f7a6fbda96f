"""One stage as one function: the primitive's kernel, then its epilogue in place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from keramos.emit.cpu import contraction, elementwise, movement, reduction, window
from keramos.emit.cpu.function import ARRAY_TYPES, Fields, Function, Operand
from keramos.emit.cpu.loop import scan
from keramos.emit.describe import kernel_text, layers, shape_text
from keramos.graph import Node, ValueKey
from keramos.plan.cpu import Plan, Stage
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

MOST_ARGUMENTS = 5


@dataclass(frozen=True, slots=True)
class Emitted:
    """A function of the module: its text, and what a call has to give it.

    *arguments* are the values that its parameters stand for, in order.
    """

    name: str
    text: str
    arguments: tuple[ValueKey, ...] = ()
    reads_weights: bool = False
    imports: frozenset[tuple[str, str]] = frozenset()


def stage_function(plan: Plan, stage: Stage, fields: Fields) -> Emitted:
    """Return the function of *stage*."""
    parameters: dict[ValueKey, str] = {}
    for x in stage.node.inputs:
        if x.constant is None:
            count = len(parameters) + 1
            parameters.setdefault(x.key, "x" if count == 1 else f"x{count}")
    function = Function(fields)
    results = write(function, plan, stage, parameters)
    kinds = {x.key: ARRAY_TYPES[x.dtype] for x in stage.node.inputs}
    gives = [ARRAY_TYPES[stage.node.specs[index].dtype] for index in stage.used]
    batched = [name for x, name in parameters.items() if x not in plan.fixed]
    body = _body(function, results, batched)
    used = {x: name for x, name in parameters.items() if _occurs(name, body)}
    signature = [f"{name}: {kinds[x]}" for x, name in used.items()]
    signature += ["w: Weights"] if function.reads_weights else []
    head = definition(stage.name, signature, gives)
    return Emitted(
        stage.name,
        f"{head}\n    {_docstring(stage)}\n    {body}\n",
        tuple(used),
        function.reads_weights,
        frozenset(function.imports),
    )


def step_function(plan: Plan, fields: Fields) -> Emitted:
    """Return the function of a loop's step: all of its stages, one behind the other."""
    function = Function(fields)
    texts: dict[ValueKey, str] = {}
    for x in plan.parameters:
        if x not in plan.unread:
            texts[x] = function.name("x" if x.name == "x" else plan.variables[x])
    batched = [name for x, name in texts.items() if x not in plan.fixed]
    signature = [
        f"{texts[x]}: {ARRAY_TYPES[x.dtype]}" for x in plan.parameters if x in texts
    ]
    for stage in plan.stages:
        results = write(function, plan, stage, texts)
        for index, text in zip(stage.used, results, strict=True):
            # A view has no name yet, and may be read more than once.
            name = text if text.isidentifier() else function.let("part", text)
            texts[stage.node, index] = name
    outputs = [texts[y.key] for y in plan.graph.outputs]
    gives = [ARRAY_TYPES[y.dtype] for y in plan.graph.outputs]
    body = _body(function, outputs, batched)
    shapes = [
        shape_text(x.shape, batched=x not in plan.fixed)
        for x in plan.parameters
        if x in texts
    ]
    taken = ", ".join(dict.fromkeys(shapes))
    results = [shape_text(y.shape) for y in plan.graph.outputs]
    summary = docstring("Take one step", f"{taken} -> {', '.join(results)}")
    head = definition(plan.name, signature, gives)
    return Emitted(
        plan.name,
        f"{head}\n    {summary}\n    {body}\n",
        imports=frozenset(function.imports),
    )


def _body(function: Function, results: list[str], batched: list[str]) -> str:
    """Return the lines of a function that returns *results*."""
    function.line(f"return {', '.join(results)}")
    function.prune()
    body = "\n    ".join(function.lines)
    function.imports = {entry for entry in function.imports if _occurs(entry[1], body)}
    if _occurs("n", body):
        return f"n = {batched[0]}.shape[0]\n    {body}"
    return body


def _occurs(name: str, text: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def definition(name: str, signature: list[str], gives: list[str]) -> str:
    """Return the head of a function."""
    result = gives[0] if len(gives) == 1 else f"tuple[{', '.join(gives)}]"
    if len(signature) <= MOST_ARGUMENTS:
        return f"def {name}({', '.join(signature)}) -> {result}:"
    listed = "".join(f"    {parameter},\n" for parameter in signature)
    reason = "# noqa: PLR0913, PLR0917 - one per array"
    return f"def {name}(  {reason}\n{listed}) -> {result}:"


def write(
    function: Function, plan: Plan, stage: Stage, texts: Mapping[ValueKey, str]
) -> list[str]:
    """Write the lines of *stage* and return its results, as variables or views.

    *texts* are the inputs; a stage that depends on constants alone sees them as a batch
    of one.
    """
    alone = stage.fixed and stage.body is None
    operands = []
    for x in stage.node.inputs:
        if x.constant is not None:
            given = Operand("", x.shape, x.dtype, batched=False, stored=x)
        else:
            batched = x.key not in plan.fixed
            given = Operand(texts[x.key], x.shape, x.dtype, batched=batched)
        if alone:
            text = f"{function.read(given)}[np.newaxis]"
            given = Operand(text, x.shape, x.dtype)
        operands.append(given)
    function.operands = tuple(operands)
    function.batch = "1" if stage.fixed else "n"
    results = _results(function, stage)
    return [f"{text}[0]" for text in results] if stage.fixed else results


def _results(function: Function, stage: Stage) -> list[str]:
    node = stage.node
    if isinstance(node.primitive, Scan):
        return scan(function, stage)
    text, owned = _primitive(function, node, function.operands[: len(node.operands)])
    return [_epilogue(function, node, text, owned=owned)]


def _epilogue(function: Function, node: Node, text: str, *, owned: bool) -> str:
    if node.epilogue is None:
        return text
    if not owned:
        text = function.let("view", text)
    (spec,) = node.primitive.infer(*(x.spec for x in node.operands))
    first = Operand(text, spec.shape, spec.dtype)
    return elementwise.compute(
        function,
        node.epilogue,
        [first, *function.operands[len(node.operands) :]],
        node.specs[0],
        owned=frozenset({0} if owned else ()),
    )


def _primitive(
    function: Function, node: Node, operands: tuple[Operand, ...]
) -> tuple[str, bool]:
    """Write a kernel; return the result, and whether it is the function's own."""
    x = operands[0]
    match node.primitive:
        case Reshape():
            (spec,) = node.primitive.infer(node.operands[0].spec)
            return movement.reshape(function, node.primitive, x, spec.shape), False
        case Transpose():
            return movement.transpose(function, node.primitive, x), False
        case Slice():
            return movement.crop(function, node.primitive, x), False
        case Pad():
            return movement.pad(function, node.primitive, x), True
        case Concat():
            return movement.concat(function, node.primitive, operands), True
        case Gather():
            return movement.gather(function, node.primitive, *operands), True
        case Resize():
            return movement.resize(function, node.primitive, x), True
        case _:
            return _arithmetic(function, node, node.primitive, operands), True


def _arithmetic(
    function: Function,
    node: Node,
    primitive: Map | Conv | Contract | Window | Reduce | Softmax | Scan,
    operands: tuple[Operand, ...],
) -> str:
    """Write a kernel that computes, and return the variable of the result."""
    match primitive:
        case Map():
            (spec,) = primitive.infer(*(x.spec for x in node.operands))
            return elementwise.compute(
                function, primitive.expr, operands, spec, owned=frozenset()
            )
        case Conv():
            return window.conv(function, primitive, *operands)
        case Contract():
            return contraction.contract(function, primitive, *operands)
        case Window():
            return window.pool(function, primitive, *operands)
        case Reduce():
            return reduction.reduce(function, primitive, *operands)
        case Softmax():
            return reduction.softmax(function, primitive, *operands)
        case Scan():
            raise TypeError("a Scan has no epilogue")
        case _:
            assert_never(primitive)


def _docstring(stage: Stage) -> str:
    """Return ``Layers: in -> out``, as one line where it fits."""
    given = [x for x in stage.node.operands if x.constant is None]
    taken = ", ".join(dict.fromkeys(shape_text(x.shape) for x in given)) or "constants"
    gives = ", ".join(shape_text(stage.node.specs[index].shape) for index in stage.used)
    kernel = kernel_text(stage.node)
    what = f"Apply {layers(stage.node)}{', ' if kernel else ''}{kernel}"
    return docstring(what, f"{taken} -> {gives}")


LINE = 88


def docstring(what: str, shapes: str) -> str:
    """Return a docstring of one line, or of a summary and a paragraph."""
    whole = f'    """{what}: {shapes}."""'
    if len(whole) <= LINE:
        return whole.lstrip()
    room = LINE - len('    """.')
    summary = what if len(what) <= room else f"{what[: room - 3]}..."
    lines = [f'"""{summary.rstrip(".")}.', ""]
    text = f"{shapes}."
    while len(text) > LINE - 4 and " " in text[: LINE - 4]:
        cut = text.rindex(" ", 0, LINE - 4)
        lines.append(f"    {text[:cut]}")
        text = text[cut + 1 :]
    return "\n".join([*lines, f"    {text}", '    """'])
