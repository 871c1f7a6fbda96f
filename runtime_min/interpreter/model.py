"""A model: layers, and who calls whom. A nested model is a layer like any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keramos.errors import CompileError, Problem, quoted
from keramos.runtime_min.interpreter.definition import Context, Definition
from keramos.runtime_min.interpreter.layer import Layer, Value
from keramos.runtime_min.interpreter.structure import Structure, leaves, map_structure
from keramos.source.topology import LayerConfig, ModelConfig, Ref

Node = tuple[str, int]
Results = dict[Node, Structure]


class Model(Layer):
    """The layers of a model, called in an order in which every input exists."""

    def __init__(self, definition: Definition, config: ModelConfig) -> None:
        """Build every layer, and collect what can't be run."""
        super().__init__(definition)
        self.config = config
        self.inputs: tuple[Ref, ...] = tuple(leaves(config.inputs))
        self.outputs: tuple[Ref, ...] = tuple(leaves(config.outputs))
        self._definitions = {entry.name: entry for entry in config.layers}
        problems: list[Problem] = []
        self.layers: dict[str, Layer] = {}
        for entry in config.layers:
            try:
                layer = _build_entry(definition.context, definition.path, entry)
            except CompileError as error:
                problems.extend(error.problems)
            else:
                if layer is not None:
                    self.layers[entry.name] = layer
        try:
            self._order = tuple(self._call_order(self.outputs))
            self._whole_order = tuple(self._call_order(self._all_calls()))
        except CompileError as error:
            problems.extend(error.problems)
        if problems:
            raise CompileError(problems)

    def sublayers(self) -> tuple[Layer, ...]:
        """Return the model's layers."""
        return tuple(self.layers.values())

    def call(self, *inputs: Structure) -> Structure:
        """Return the arrays that the model computes from arrays without masks."""
        return self.run_unmasked(list(inputs))

    def __call__(self, *args: Structure, **kwargs: Structure) -> Structure:
        """Return the outputs; the masks of inputs and outputs pass through."""
        values = list(leaves(list(args)))
        mask = kwargs.get("mask")
        if mask is not None:
            values = [
                value if given is None else Value(value.array, given.array)
                for value, given in zip(values, leaves([mask]), strict=True)
            ]
        results = self.run(values)
        return map_structure(lambda ref: pick(results, ref), self.config.outputs)

    def run(self, values: list[Value], *, everything: bool = False) -> Results:
        """Return the result of every call that the outputs need (or of all calls)."""
        results: Results = {}
        for ref, value in zip(self.inputs, values, strict=True):
            results[ref.layer, ref.node] = value
        for node in self._whole_order if everything else self._order:
            if node in results:
                continue
            name, number = node
            call = self._definitions[name].calls[number]
            args = _resolve(results, call.args)
            kwargs = _resolve(results, dict(call.kwargs))
            results[node] = self._apply(name, args, kwargs)
        return results

    def _apply(
        self, name: str, args: tuple[Structure, ...], kwargs: dict[str, Structure]
    ) -> Structure:
        """Call one layer; shapes that don't fit are the input's fault, so say where."""
        try:
            return self.layers[name](*args, **kwargs)
        except (ValueError, IndexError, TypeError) as error:
            if hasattr(error, "__notes__"):
                raise
            place = self.layers[name].definition.place
            shapes = ", ".join(
                str(leaf.array.shape)
                for leaf in leaves([list(args), kwargs])
                if isinstance(leaf, Value)
            )
            error.add_note(f"in {place}, called with the shapes {shapes}")
            raise

    def _all_calls(self) -> Iterator[Ref]:
        """Yield a reference to every call of every layer."""
        for entry in self.config.layers:
            calls = () if entry.class_name == "InputLayer" else entry.calls
            for number in range(len(calls)):
                yield Ref(entry.name, number, 0)

    def _call_order(self, wanted: Iterator[Ref] | tuple[Ref, ...]) -> Iterator[Node]:
        """Yield the calls that *wanted* need, each behind those that it needs.

        The walk keeps its own stack: deep models would exhaust Python's.
        """
        done: set[Node] = {(ref.layer, ref.node) for ref in self.inputs}
        open_nodes: set[Node] = set()
        stack: list[tuple[Node, bool]] = [
            ((ref.layer, ref.node), False) for ref in reversed(list(wanted))
        ]
        while stack:
            node, is_ready = stack.pop()
            if is_ready:
                open_nodes.discard(node)
                done.add(node)
                yield node
            elif node not in done:
                if node in open_nodes:
                    raise self._fault(f"the call of {quoted(node[0])} needs itself")
                open_nodes.add(node)
                stack.append((node, True))
                needed = ((ref.layer, ref.node) for ref in self._needs(node))
                stack.extend((other, False) for other in needed if other not in done)

    def _needs(self, node: Node) -> list[Ref]:
        """Return the tensors that a call takes."""
        name, number = node
        entry = self._definitions.get(name)
        if entry is None or number not in range(len(entry.calls)):
            raise self._fault(f"there is no call {number} of a layer {quoted(name)}")
        if entry.class_name == "InputLayer":
            raise self._fault(f"its inputs lack the input layer {quoted(name)}")
        call = entry.calls[number]
        arguments = [list(call.args), dict(call.kwargs)]
        return [leaf for leaf in leaves(arguments) if isinstance(leaf, Ref)]

    def _fault(self, problem: str) -> CompileError:
        """Return the error for a graph that can't be followed."""
        path = "/".join(self.definition.path)
        where = self.definition.context.file.path.name
        return CompileError.at(
            f"{where}: model {quoted(path)}" if path else where, problem
        )


def _build_entry(
    context: Context, path: tuple[str, ...], entry: LayerConfig
) -> Layer | None:
    """Return one layer, or None for an input, which only receives."""
    if entry.class_name == "InputLayer":
        return None
    definition = Definition(
        context, entry.class_name, entry.module, entry.config, (*path, entry.name)
    )
    layer = context.build(definition)
    for call in entry.calls:
        try:
            layer.bind(call.args, call.kwargs)
        except TypeError as error:
            raise definition.refusal(f"its call can't be followed: {error}") from None
    return layer


def pick(results: Results, ref: Ref) -> Value:
    """Return the tensor that *ref* names."""
    result = list(leaves(results[ref.layer, ref.node]))
    value: Value = result[ref.tensor]
    return value


def _resolve(results: Results, arguments: Structure) -> Any:
    """Return *arguments* with the tensors in place of the references."""

    def value_of(item: object) -> object:
        """Return the tensor for a reference, anything else as it is."""
        return pick(results, item) if isinstance(item, Ref) else item

    return map_structure(value_of, arguments)


def input_configs(config: ModelConfig) -> Mapping[str, Mapping[str, Any]]:
    """Return the configurations of the model's InputLayers by name."""
    return {
        entry.name: entry.config
        for entry in config.layers
        if entry.class_name == "InputLayer"
    }
