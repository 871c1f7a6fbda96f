"""A model file becomes a graph of primitives."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from keramos.errors import CompileError, Problem, quoted
from keramos.graph import Graph, Node, Value
from keramos.layers.custom import CustomLayer
from keramos.layers.definition import Definition, Session
from keramos.layers.layer import Layer, Masked
from keramos.layers.model import Model, in_order, unknown_class
from keramos.layers.operation import Operation
from keramos.layers.registry import LAYERS
from keramos.layers.structure import leaves
from keramos.primitives import Contract, Conv, DType, Scan, Shape, Spec, product
from keramos.source import KerasFile, LayerConfig
from keramos.source.model_config import is_operation, references

CustomLayers = Mapping[str, CustomLayer]

# Classes whose input is whole numbers, whatever the file says about its type.
_INTEGER_INPUTS = frozenset({"Embedding", "IntegerLookup", "Hashing"})


def import_model(
    file: KerasFile,
    *,
    input_shapes: Mapping[str, tuple[int | None, ...]] | None = None,
    custom: CustomLayers | None = None,
) -> Graph:
    """Return the graph of a model.

    *input_shapes* gives inputs another shape, without the batch axis; *custom* maps
    class names, and names of Lambda layers, to layers. Raises CompileError with every
    problem of the model.
    """
    return import_layers(file, input_shapes=input_shapes, custom=custom)[0]


def import_layers(
    file: KerasFile,
    *,
    input_shapes: Mapping[str, tuple[int | None, ...]] | None = None,
    custom: CustomLayers | None = None,
) -> tuple[Graph, dict[str, Value]]:
    """Return the graph of a model, and the outputs of its layers by name.

    A layer inside a model is ``model/layer``; of several outputs and calls each has a
    number behind: ``layer:1``. Raises CompileError like :func:`import_model`.
    """
    model, session = _model(file, custom or {})
    inputs = _inputs(model, input_shapes or {})
    outputs = model.run({x.name: Masked(x) for x in inputs})
    model.check_weights()
    batch = _batch(model)
    if session.problems:
        raise CompileError(dict.fromkeys(session.problems))
    graph = _graph(model, inputs, [leaf.value for leaf in leaves(outputs)], batch)
    graph.verify()
    return graph, dict(_layer_outputs(model, ""))


def _layer_outputs(model: Model, place: str) -> Iterator[tuple[str, Value]]:
    """Yield the outputs of each layer of the model, with its name behind *place*."""
    found: dict[str, list[Value]] = {name: [] for name in model.layers}
    for (name, _), result in sorted(model.results.items(), key=lambda item: item[0]):
        if name in found:  # inputs aren't
            found[name] += [x.value for x in leaves(result) if isinstance(x, Masked)]
    for name, values in found.items():
        inner = model.layers[name]
        if isinstance(inner, Model):
            yield from _layer_outputs(inner, f"{place}{name}/")
        if len(values) == 1:
            yield f"{place}{name}", values[0]
        else:
            for number, value in enumerate(values):
                yield f"{place}{name}:{number}", value


def _graph(
    model: Model, inputs: Sequence[Value], outputs: Sequence[Value], batch: int | None
) -> Graph:
    """Return the graph between *inputs* and *outputs*, with the states behind them."""
    names = _unique(ref.layer for ref in in_order(model.topology.outputs))
    states = [*model.definition.session.states.values()]
    return Graph(
        (*inputs, *(state.before for state in states)),
        (*outputs, *(state.after for state in states)),
        (*names, *(state.before.name for state in states)),
        model.topology.name,
        len(states),
        batch,
    )


def _batch(model: Model) -> int | None:
    """Return the number of samples that a model with states is made for.

    Notes a problem where there isn't one number.
    """
    session = model.definition.session
    if not session.states:
        return None
    names = [ref.layer for ref in in_order(model.topology.inputs)]
    declared = [model.sources[name].config.get("batch_shape") for name in names]
    sizes = {shape[0] for shape in declared if isinstance(shape, list | tuple)}
    known = sizes - {None}
    if len(known) == 1:
        (batch,) = known
        return int(batch)
    file = session.file.path.name
    problem = (
        f"is stateful, but its inputs have {' and '.join(map(str, sorted(known)))} "
        "samples"
        if known
        else "is stateful, but its inputs leave the number of samples open"
    )
    hint = "save it with the same batch_shape[0] for all inputs"
    session.problems.append(Problem(file, problem, hint))
    return None


@dataclass(frozen=True, slots=True)
class Row:
    """One layer of a model as ``keramos inspect`` shows it.

    *output_shapes* have the batch in front (None), and are empty where a problem is in
    the way. *macs* counts the multiplications of a sample, None where dimensions are
    free.
    """

    name: str
    class_name: str
    output_shapes: tuple[Shape, ...]
    parameters: int
    macs: int | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """The layers of a model, and every problem that keeps it from being compiled."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


def describe(
    file: KerasFile,
    *,
    input_shapes: Mapping[str, tuple[int | None, ...]] | None = None,
    custom: CustomLayers | None = None,
) -> Description:
    """Return what can be said of a model, whether it can be compiled or not."""
    model, session = _model(file, custom or {})
    inputs = _inputs(model, input_shapes or {})
    model.run({x.name: Masked(x) for x in inputs})
    model.check_weights()
    _batch(model)
    problems = tuple(dict.fromkeys(session.problems))
    values = [
        leaf.value
        for result in model.results.values()
        for leaf in leaves(result)
        if isinstance(leaf, Masked)
    ]
    graph = Graph(inputs, tuple(values), ("",) * len(values))
    macs: dict[str, int | None] = {}
    for node in graph.nodes:
        count = _macs(node)
        for origin in node.origins[:1]:
            name = next(n for n in model.sources if _belongs(origin.layer, n))
            before = macs.get(name, 0)
            macs[name] = None if before is None or count is None else before + count
    rows = [
        Row(
            name,
            source.class_name,
            tuple(
                (None, *leaf.value.shape)
                for leaf in leaves(model.results.get((name, 0)))
                if isinstance(leaf, Masked)
            ),
            _parameters(model, source),
            macs.get(name, 0),
            _problem(problems, model, source),
        )
        for name, source in model.sources.items()
    ]
    return Description(tuple(rows), problems)


def _belongs(layer: str, name: str) -> bool:
    """Return whether a layer is *name* or inside it."""
    return layer == name or layer.startswith(f"{name}/")


def _parameters(model: Model, source: LayerConfig) -> int:
    """Return the number of weights that the file has for a layer."""
    if source.class_name == "InputLayer" or is_operation(source):
        return 0
    tensors = model.definition.session.file.weights((source.name,))
    return sum(math.prod(tensor.shape) for tensor in tensors)


def _problem(problems: Sequence[Problem], model: Model, source: LayerConfig) -> str:
    """Return the problems of a layer, or of those inside it, as one text."""
    start = f"{model.definition.session.file.path.name}: layer "
    own = f"{start}{quoted(source.name)} "
    inside = start + quoted(f"{source.name}/")[:-1]
    texts = [
        f"{each.problem} ({each.hint})" if each.hint else each.problem
        for each in problems
        if each.where.startswith((own, inside))
    ]
    return "; ".join(texts)


def _macs(node: Node) -> int | None:
    """Return how many multiplications a node takes for a sample."""
    primitive = node.primitive
    if isinstance(primitive, Conv):
        kernel, out = product(node.inputs[1].shape), product(node.specs[0].shape[:-1])
        return None if kernel is None or out is None else kernel * out
    if isinstance(primitive, Contract):
        summed = product([node.inputs[0].shape[a] for a in primitive.a_contract])
        out = product(node.specs[0].shape)
        return None if summed is None or out is None else summed * out
    if isinstance(primitive, Scan):
        steps, body = node.inputs[0].shape[0], primitive.body
        counts = [_macs(each) for each in body.nodes] if isinstance(body, Graph) else []
        if steps is None or None in counts:
            return None
        return steps * sum(count for count in counts if count is not None)
    return 0


def _model(file: KerasFile, custom: CustomLayers) -> tuple[Model, Session]:
    """Return the model with all its layers made."""

    def build(definition: Definition) -> Layer:
        return _built(definition, custom)

    session = Session(file, build)
    topology = file.model
    definition = Definition(session, topology.class_name, {}, ())
    return Model(definition, topology), session


def _built(definition: Definition, custom: CustomLayers) -> Layer:
    """Return the layer of a definition; raise CompileError where there is none."""
    if definition.is_operation:
        return Operation(definition)
    names = [definition.registered_name, definition.class_name]
    if definition.class_name == "Lambda":
        names.insert(0, definition.path[-1])
    known = next((custom[name] for name in names if name in custom), None)
    layer_class = known or LAYERS.get(definition.class_name)
    if layer_class is None:
        raise unknown_class(definition)
    layer = layer_class(definition)
    layer.finish()
    return layer


def _inputs(
    model: Model, input_shapes: Mapping[str, tuple[int | None, ...]]
) -> tuple[Value, ...]:
    """Return the model's inputs in its order."""
    names = [ref.layer for ref in in_order(model.topology.inputs)]
    place = model.definition.session.file.path.name
    for name in input_shapes:
        if name not in names:
            known = ", ".join(map(quoted, names))
            model.definition.session.problems.append(
                Problem(
                    place,
                    f"--input-shape names {quoted(name)}, which isn't an input",
                    f"the inputs are {known}",
                )
            )
    return tuple(_input(model, name, input_shapes.get(name)) for name in names)


def _input(model: Model, name: str, pinned: Shape | None) -> Value:
    """Return one input, with its free dimensions pinned where asked for."""
    source = model.sources[name]
    declared = source.config.get("batch_shape")
    problems = model.definition.session.problems
    place = f"{model.definition.session.file.path.name}: layer {quoted(name)} "
    place += f"({source.class_name})"
    if not isinstance(declared, list | tuple) or not _is_shape(declared):
        problems.append(Problem(place, f"its shape is {quoted(declared)}, not a shape"))
        return Value(Spec(()), name=name)
    shape: Shape = tuple(declared[1:])
    if pinned is not None:
        fits = len(pinned) == len(shape) and all(
            None in (old, new) or old == new
            for old, new in zip(shape, pinned, strict=True)
        )
        if not fits:
            problems.append(
                Problem(
                    place,
                    f"its shape is {(None, *shape)}, which --input-shape can't make "
                    f"{(None, *pinned)}",
                )
            )
        shape = tuple(pinned)
    if source.config.get("dtype") == "string":
        problems.append(
            Problem(place, "takes strings", "turn text into numbers before the model")
        )
    if source.config.get("ragged"):
        problems.append(
            Problem(
                place,
                "takes ragged tensors, whose samples differ in length",
                "pad the samples, and mask what was added",
            )
        )
    return Value(Spec(shape, _input_dtype(model, source)), name=name)


def _is_shape(shape: Sequence[object]) -> bool:
    """Return whether *shape* holds lengths or None, with the batch."""
    return len(shape) >= 1 and all(
        d is None or (isinstance(d, int) and d >= 0) for d in shape
    )


def _input_dtype(model: Model, source: LayerConfig) -> DType:
    """Return int32 where an input holds whole numbers, bool for truth values."""
    stated = source.config.get("dtype")
    if isinstance(stated, str) and (stated.startswith(("int", "uint"))):
        return "int32"
    if stated == "bool":
        return "bool"
    readers = list(_readers(model, source.name))
    if readers and all(reader in _INTEGER_INPUTS for reader in readers):
        return "int32"
    return "float32"


def _readers(model: Model, name: str) -> Iterator[str]:
    """Yield the class of each layer that reads a layer's output, inside models too."""
    for each in model.topology.layers:
        for call in each.calls:
            for position, ref in enumerate(references((call.args, call.kwargs))):
                if ref.layer != name:
                    continue
                inner = model.layers.get(each.name)
                if isinstance(inner, Model):
                    inputs = [*in_order(inner.topology.inputs)]
                    if position < len(inputs):
                        yield from _readers(inner, inputs[position].layer)
                else:
                    yield each.class_name


def _unique(names: Iterator[str]) -> list[str]:
    """Return the names, those that were there before with a number."""
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    unique = []
    for name in names:
        candidate = name
        while candidate in taken:
            seen[name] += 1
            candidate = f"{name}_{seen[name]}"
        taken.add(candidate)
        unique.append(candidate)
    return unique
