"""A model file becomes a graph of primitives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from keramos.errors import CompileError, Problem, quoted
from keramos.graph import Graph, Value
from keramos.layers.definition import Definition, Session
from keramos.layers.layer import Layer, Masked
from keramos.layers.model import Model, in_order, unknown_class
from keramos.layers.operation import Operation
from keramos.layers.registry import LAYERS
from keramos.layers.structure import leaves
from keramos.primitives import DType, Shape, Spec
from keramos.source import KerasFile, LayerConfig
from keramos.source.model_config import references

CustomLayers = Mapping[str, type[Layer]]

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
    model, session = _model(file, custom or {})
    inputs = _inputs(model, input_shapes or {})
    outputs = model.run({x.name: Masked(x) for x in inputs})
    model.check_weights()
    if session.problems:
        raise CompileError(dict.fromkeys(session.problems))
    refs = in_order(model.topology.outputs)
    values = [leaf.value for leaf in leaves(outputs)]
    names = _unique(ref.layer for ref in refs)
    graph = Graph(inputs, tuple(values), tuple(names), model.topology.name)
    graph.verify()
    return graph


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
    layer_class = next((custom[name] for name in names if name in custom), None)
    if layer_class is None:
        layer_class = LAYERS.get(definition.class_name)
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
