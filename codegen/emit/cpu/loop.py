"""A Scan as a loop that calls the function of one step."""

from __future__ import annotations

from dataclasses import dataclass

from keramos.emit.cpu.function import (
    ARRAY_TYPES,
    NUMPY_TYPES,
    Function,
    Operand,
    listing,
)
from keramos.plan.cpu import Stage
from keramos.primitives import DType, Scan


def scan(function: Function, stage: Stage) -> list[str]:
    """Write the loop and return the variables of the results that are used."""
    primitive, body = stage.node.primitive, stage.body
    if not isinstance(primitive, Scan) or body is None:
        raise TypeError(f"{stage.name} isn't a Scan")
    operands = function.operands
    sequences = [_batched(function, x) for x in operands[: primitive.sequences]]
    initial = operands[primitive.sequences : primitive.sequences + primitive.states]
    states = [function.let("state", _batched(function, x), x.dtype) for x in initial]
    steps = operands[0].dim(0)
    if operands[0].shape[0] is None:
        steps = f"{sequences[0]}.shape[1]"
    outputs = _outputs(function, stage, primitive, steps)
    given = [
        *(f"{text}[:, step]" for text in sequences),
        *states,
        *map(function.read, operands[primitive.sequences + primitive.states :]),
    ]
    read = [
        text
        for text, x in zip(given, body.parameters, strict=True)
        if x not in body.unread
    ]
    last = steps - 1 if isinstance(steps, int) else f"{steps} - 1"
    order = f"range({last}, -1, -1)" if primitive.reverse else f"range({steps})"
    targets = [*states, *(output.target for output in outputs.values())]
    function.line(f"for step in {order}:")
    function.line(f"    {', '.join(targets)} = {body.name}({', '.join(read)})")
    for output in outputs.values():
        if output.collected:
            function.line(f"    {output.collected}.append({output.target})")
    count = len(stage.node.specs) - primitive.states
    return [
        (
            _joined(function, outputs[index], reverse=primitive.reverse)
            if index < count
            else states[index - count]
        )
        for index in stage.used
    ]


@dataclass(frozen=True, slots=True)
class Output:
    """An output sequence: what a step sets, and the list of steps of free shape."""

    name: str
    target: str
    dtype: DType
    collected: str = ""


def _joined(function: Function, output: Output, *, reverse: bool) -> str:
    """Return the whole sequence."""
    if not output.collected:
        return output.name
    steps = f"{output.collected}[::-1]" if reverse else output.collected
    return function.let("y", f"np.stack({steps}, axis=1)", output.dtype)


def _batched(function: Function, x: Operand) -> str:
    """Return *x* with a batch axis."""
    x = function.plain(x)
    if x.batched:
        return x.text
    return f"np.broadcast_to({x.text}, {listing([function.batch, *x.dims()])})"


def _outputs(
    function: Function, stage: Stage, primitive: Scan, steps: int | str
) -> dict[int, Output]:
    """Write the empty output sequences that are used, by result."""
    outputs = {}
    for index in stage.used:
        if index >= len(stage.node.specs) - primitive.states:
            continue
        spec = stage.node.specs[index]
        inner = [d for d in spec.shape[1:] if d is not None]
        if len(inner) + 1 < len(spec.shape):
            part, name = function.name("part"), function.name("parts")
            function.line(f"{name}: list[{ARRAY_TYPES[spec.dtype]}] = []")
            outputs[index] = Output(name, part, spec.dtype, collected=name)
            continue
        target = listing([function.batch, steps, *inner])
        name = function.let(
            "y", f"np.empty({target}, {NUMPY_TYPES[spec.dtype]})", spec.dtype
        )
        outputs[index] = Output(name, f"{name}[:, step]", spec.dtype)
    return outputs
