"""One stage as one function: the primitive's kernel, then its epilogue in place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import assert_never

from keramos.emit.cpu import contraction, elementwise, movement, reduction, window
from keramos.emit.cpu.function import ARRAY_TYPES, Fields, Function, Operand
from keramos.emit.cpu.loop import scan
from keramos.emit.describe import kernel_text, layers, shape_text
from keramos.graph import Node
from keramos.plan.cpu import Key, Plan, Stage, key
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
    arguments: tuple[Key, ...] = ()
    reads_weights: bool = False
    imports: frozenset[tuple[str, str]] = frozenset()


def stage_function(plan: Plan, stage: Stage, fields: Fields) -> Emitted:
    """Return the function of *stage*."""
    function = Function(fields, ())
    parameters: dict[Key, str] = {}
    function.operands = tuple(
        _operand(function, plan, stage, parameters, place)
        for place in range(len(stage.node.inputs))
    )
    results = _results(function, stage)
    function.line(f"return {', '.join(results)}")
    function.prune()
    if re.search(r"\bn\b", "\n".join(function.lines)):
        head = "1" if stage.fixed else f"{function.batch_source()}.shape[0]"
        function.lines.insert(0, f"n = {head}")
    body = "\n    ".join(function.lines)
    used = {
        value: name
        for value, name in parameters.items()
        if re.search(rf"\b{name}\b", body)
    }
    kinds = {key(x): ARRAY_TYPES[x.dtype] for x in stage.node.inputs}
    signature = [f"{name}: {kinds[value]}" for value, name in used.items()]
    signature += ["w: Weights"] if function.reads_weights else []
    gives = [ARRAY_TYPES[stage.node.specs[index].dtype] for index in stage.used]
    text = (
        f"{definition(stage.name, signature, gives)}\n"
        f"    {_docstring(stage)}\n    {body}\n"
    )
    return Emitted(
        stage.name,
        text,
        tuple(used),
        function.reads_weights,
        frozenset(function.imports),
    )


def definition(name: str, signature: list[str], gives: list[str]) -> str:
    """Return the head of a function."""
    result = gives[0] if len(gives) == 1 else f"tuple[{', '.join(gives)}]"
    if len(signature) <= MOST_ARGUMENTS:
        return f"def {name}({', '.join(signature)}) -> {result}:"
    listed = "".join(f"    {parameter},\n" for parameter in signature)
    reason = "# noqa: PLR0913 - one per array"
    return f"def {name}(  {reason}\n{listed}) -> {result}:"


def _operand(
    function: Function,
    plan: Plan,
    stage: Stage,
    parameters: dict[Key, str],
    place: int,
) -> Operand:
    """Return the operand for input *place*; other values than weights are parameters.

    A stage that depends on constants alone sees them as a batch of one.
    """
    value = stage.node.inputs[place]
    if value.constant is not None:
        stored = Operand("", value.shape, value.dtype, batched=False, stored=value)
        if not stage.fixed or isinstance(stage.node.primitive, Scan):
            return stored
        text = function.read(stored)
    else:
        count = len(parameters) + 1
        text = parameters.setdefault(key(value), "x" if count == 1 else f"x{count}")
    if not stage.fixed or isinstance(stage.node.primitive, Scan):
        batched = key(value) not in plan.fixed
        return Operand(text, value.shape, value.dtype, batched=batched)
    return Operand(f"{text}[np.newaxis]", value.shape, value.dtype)


def _results(function: Function, stage: Stage) -> list[str]:
    """Write the body and return what the function returns."""
    node = stage.node
    if isinstance(node.primitive, Scan):
        results = scan(function, stage)
    else:
        arity = len(node.operands)
        operands = function.operands[:arity]
        text, owned = _primitive(function, node, operands)
        if node.epilogue is not None:
            text = _epilogue(function, node, text, owned=owned)
        results = [text]
    return [f"{text}[0]" for text in results] if stage.fixed else results


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
