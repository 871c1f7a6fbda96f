"""The emitted module ``cpu.py``: weights, stages, and predict that calls them."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import black

from keramos.emit.cpu.function import ARRAY_TYPES, NUMPY_TYPES, Dim, Field, Fields
from keramos.emit.cpu.function import listing as display
from keramos.emit.cpu.stage import (
    Emitted,
    definition,
    docstring,
    stage_function,
    step_function,
)
from keramos.emit.describe import shape_text
from keramos.graph import Graph, Value
from keramos.plan.cpu import Plan, plan, result_name
from keramos.templates import render
from keramos.text import comment

MOST_STATEMENTS = 50
# So many lines are formatted at once.
PIECE = 200


@dataclass(frozen=True, slots=True)
class Weight:
    """A field of the emitted weights, as its template wants it."""

    name: str
    kind: str
    shape: str
    value: str


@dataclass(frozen=True, slots=True)
class Module:
    """The text of ``cpu.py``, and which vendored modules it imports."""

    text: str
    vendored: frozenset[str]
    has_weights: bool


def module(
    graph: Graph, *, header: Sequence[str], constants: Mapping[Value, str] | None = None
) -> Module:
    """Return ``cpu.py`` for an optimised graph.

    *constants* names its constants, where they aren't called what they are by default.
    """
    model = plan(graph, constants=constants)
    fields = Fields(model.constants)
    functions = _functions(model, fields)
    calls = {function.name: function for function in functions}
    texts = [function.text for function in functions]
    predict = _caller(model, calls, fields)
    trace = _tracer(model, calls, fields)
    weights = [_weight(model, field) for field in fields.all()]
    has_weights = bool(weights)
    imports = frozenset().union(*(f.imports for f in functions))
    body = "\n\n".join([*texts, predict, trace])
    text = render(
        "cpu.py.j2",
        header=header,
        weights=weights,
        kinds=[
            kind for kind in ("F32", "I32", "BOOL") if _mentions(body, weights, kind)
        ],
        product=("itertools", "product") in imports,
        imports=_vendored(imports | ({("_tensors", "Tensors")} if weights else set())),
        body=body,
    )
    return Module(
        tidy(text),
        frozenset(name for name, _ in imports if name.startswith("_")),
        has_weights,
    )


def tidy(text: str) -> str:
    """Return Python source as black formats it, checked to mean the same.

    Long modules in pieces: black takes more than twice as long for twice as much. Its
    command line formats the result once more, to see that it stays as it is; here the
    tests of emitted packages do.
    """
    return "\n\n".join(map(_formatted, _pieces(text)))


def _formatted(text: str) -> str:
    formatted = black.format_str(text, mode=black.Mode())
    if formatted != text:
        black.assert_equivalent(text, formatted)
    return formatted


def _pieces(text: str) -> list[str]:
    """Return *text* cut in front of functions and classes."""
    lines = text.split("\n")
    cuts = [0]
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue
        first = min(x.lineno for x in (statement, *statement.decorator_list)) - 1
        while lines[first - 1].startswith("#"):
            first -= 1
        if first - cuts[-1] >= PIECE:
            cuts.append(first)
    bounds = pairwise([*cuts, len(lines)])
    return ["\n".join(lines[a:b]).strip("\n") + "\n" for a, b in bounds]


def _mentions(body: str, weights: Sequence[Weight], kind: str) -> bool:
    return f"{kind}" in body or any(weight.kind == kind for weight in weights)


def _vendored(imports: frozenset[tuple[str, str]]) -> list[str]:
    modules = sorted({name for name, _ in imports if name.startswith("_")})
    return [
        f"from .{name} import {', '.join(sorted(x for m, x in imports if m == name))}"
        for name in modules
    ]


def _functions(model: Plan, fields: Fields) -> list[Emitted]:
    """Return the functions of all stages, those of a loop's step in front of it."""
    result = []
    for stage in model.stages:
        if stage.body is not None:
            result += _steps(stage.body, fields)
        result.append(stage_function(model, stage, fields))
    return result


def _steps(body: Plan, fields: Fields) -> list[Emitted]:
    """Return the function of a loop's step, those of loops within it in front."""
    inner = [stage.body for stage in body.stages if stage.body is not None]
    functions = [function for plan in inner for function in _steps(plan, fields)]
    return [*functions, step_function(body, fields)]


def _weight(model: Plan, field: Field) -> Weight:
    value = field.value
    kind = NUMPY_TYPES[value.dtype]
    shape = display([d for d in value.shape if d is not None])
    take = f'tensors.take("{model.constants[value]}", {shape}, {kind}){field.layout}'
    if ".transpose(" in field.layout:
        take = f"np.ascontiguousarray({take})"
    return Weight(field.name, ARRAY_TYPES[value.dtype], display(field.shape), take)


def _calls(
    model: Plan, functions: dict[str, Emitted], weights: str
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return for each stage the variables set, the call, and what is dead then."""
    result = []
    for stage in model.stages:
        function = functions[stage.name]
        given = [model.variables[value] for value in function.arguments]
        given += [weights] if function.reads_weights else []
        call = f"{stage.name}({', '.join(given)})"
        result.append((", ".join(stage.variables), call, stage.dead))
    return result


def _caller(model: Plan, functions: dict[str, Emitted], fields: Fields) -> str:
    """Return the function that calls the stages in order."""
    lines = []
    outputs = _outputs(model, fields)
    calls = _calls(model, functions, "weights")
    for place, (variables, call, dead) in enumerate(calls):
        is_last = place + 1 == len(calls)
        if is_last and outputs == [variables]:
            outputs = [call]
            break
        lines.append(f"{variables} = {call}")
        if dead and not is_last:
            lines.append(f"del {', '.join(dead)}")
    lines.append(f"return {', '.join(outputs)}")
    gives = [ARRAY_TYPES[y.dtype] for y in model.graph.outputs]
    head = definition(model.name, _signature(model, lines, fields), gives)
    if len(lines) > MOST_STATEMENTS:
        head = head.replace("(", "(  # noqa: PLR0915 - a table of contents\n", 1)
    body = "\n    ".join(lines)
    return f"{head}\n    {_summary(model)}\n    {body}\n"


def _signature(model: Plan, lines: Sequence[str], fields: Fields) -> list[str]:
    """Return the parameters; unused ones begin with ``_``."""
    text = "\n".join(lines)
    signature = []
    for x in model.parameters:
        name = model.variables[x]
        if not re.search(rf"\b{name}\b", text):
            name = f"_{name}"
        signature.append(f"{name}: {ARRAY_TYPES[x.dtype]}")
    if fields.all():
        used = re.search(r"\bweights\b", text)
        signature.append(f"{'' if used else '_'}weights: Weights")
    return signature


def _outputs(model: Plan, fields: Fields) -> list[str]:
    return [
        _output(model, fields, place, y) for place, y in enumerate(model.graph.outputs)
    ]


def _output(model: Plan, fields: Fields, place: int, y: Value) -> str:
    """Return the text of an output, in memory of its own."""
    if y.constant is not None:
        shape = tuple(d for d in y.shape if d is not None)
        text = f"weights.{fields.take(y, '', shape).name}"
    else:
        text = model.variables[y.key]
    if y.key in model.fixed:
        n = "1"
        if model.parameters:
            n = f"{model.variables[model.parameters[0]]}.shape[0]"
        dims: list[Dim] = [n, *(d for d in y.shape if d is not None)]
        return f"np.broadcast_to({text}, {display(dims)}).copy()"
    return f"{text}.copy()" if place in model.copied else text


def _summary(model: Plan) -> str:
    gives = zip(model.graph.output_names, model.graph.outputs, strict=True)
    results = ", ".join(f"{comment(label)} {shape_text(y.shape)}" for label, y in gives)
    return docstring(f"Return {results}", _outline(model))


def _outline(model: Plan) -> str:
    taken = ", ".join(shape_text(x.shape) for x in model.parameters)
    gives = ", ".join(shape_text(y.shape) for y in model.graph.outputs)
    return f"{taken} -> {gives}"


def _tracer(model: Plan, functions: dict[str, Emitted], fields: Fields) -> str:
    """Return the function that yields what every stage gives."""
    lines = []
    for stage, (variables, call, dead) in zip(
        model.stages, _calls(model, functions, "weights"), strict=True
    ):
        lines.append(f"{variables} = {call}")
        for index, variable in zip(stage.used, stage.variables, strict=True):
            lines.append(f'yield ("{result_name(stage.name, index)}", {variable})')
        if dead:
            lines.append(f"del {', '.join(dead)}")
    if not model.stages:
        lines.append("yield from ()")
    head = definition("stages", _signature(model, lines, fields), [])
    head = head.replace("-> tuple[]", "-> Iterator[tuple[str, NDArray[np.generic]]]")
    if len(lines) > MOST_STATEMENTS:
        head = head.replace("(", "(  # noqa: PLR0915 - a table of contents\n", 1)
    body = "\n    ".join(lines)
    summary = '"""Yield the name and the value of every stage, for verification."""'
    return f"{head}\n    {summary}\n    {body}\n"
