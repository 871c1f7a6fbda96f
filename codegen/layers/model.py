"""A model as a layer: its layers, called in the order of its graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from keramos.errors import CompileError, Problem, quoted
from keramos.graph import lowering
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, Masked, shape_text
from keramos.layers.registry import layer
from keramos.layers.structure import Structure, leaves, mapped
from keramos.source import LayerConfig, ModelConfig, Ref
from keramos.source.model_config import (
    is_operation,
    parse_model,
    references,
    without_losses,
)


@layer("Functional", "Sequential", "Model")
class Model(Layer):
    """A Sequential or functional model inside another one, or on its own.

    Masks enter and leave with the values, and the same weights serve every call.
    """

    supports_masking = True
    keeps_integers = True

    def __init__(
        self, definition: Definition, topology: ModelConfig | None = None
    ) -> None:
        """Make the layers; note the problems of all of them."""
        super().__init__(definition)
        self.topology = topology or without_losses(
            parse_model(
                {"class_name": definition.class_name, "config": definition.config},
                where=definition.place,
            )
        )
        self.layers: dict[str, Layer | None] = {}
        self.results: Mapping[tuple[str, int], Structure] = {}
        self.called: dict[str, None] = {}
        self.sources = {each.name: each for each in self.topology.layers}
        for each in self.topology.layers:
            if each.class_name != "InputLayer":
                self.layers[each.name] = self._made(each)

    def _made(self, source: LayerConfig) -> Layer | None:
        """Return a layer, or None after noting why there is none."""
        definition = self._definition(source)
        problems = self.definition.session.problems
        before = len(problems)
        try:
            made: Layer = self.definition.session.build(definition)
        except CompileError as error:
            problems.extend(error.problems)
            return None
        return made if len(problems) == before else None

    def _definition(self, source: LayerConfig) -> Definition:
        """Return what the file says about a layer of this model."""
        operation = is_operation(source)
        config = source.config
        return Definition(
            self.definition.session,
            source.class_name,
            config,
            (*self.definition.path, source.name),
            source.module,
            source.registered_name,
            is_operation=operation,
        )

    def finish(self) -> None:
        """Leave the options to the parser of models."""

    def check_weights(self) -> None:
        """Check the weights of every layer that was called."""
        for name in self.called:
            each = self.layers[name]
            if each is not None:
                each.check_weights()

    def call(self, inputs: Structure, mask: Structure = None) -> Structure:
        """Return the outputs, with their masks."""
        given = list(leaves(inputs))
        masks = [None] * len(given) if mask is None else list(leaves(mask))
        masked = [Masked(x, m) for x, m in zip(given, masks, strict=True)]
        names = [ref.layer for ref in in_order(self.topology.inputs)]
        if len(names) != len(masked):
            raise self.definition.refusal(
                f"takes {len(names)} inputs, and is called with {len(masked)}"
            )
        return self.run(dict(zip(names, masked, strict=True)))

    def run(self, inputs: Mapping[str, Masked]) -> Structure:
        """Return the model's structure of outputs for its inputs by name.

        What can't be computed is None.
        """
        known: dict[tuple[str, int], Structure] = {
            (name, 0): value for name, value in inputs.items()
        }
        for name, number in self._order(references(self.topology.outputs)):
            if (name, number) not in known:
                known[name, number] = self._called(name, number, known)
        # Calls that nothing needs are checked too, as far as they go; states, which
        # only calls that are needed change, stay as they are.
        states = self.definition.session.states
        needed = dict(states)
        every = [
            Ref(each.name, number, 0)
            for each in self.topology.layers
            for number in range(len(each.calls))
        ]
        for name, number in self._order(every):
            if (name, number) not in known:
                known[name, number] = self._called(name, number, known)
        states.clear()
        states.update(needed)
        self.results = known

        def output(leaf: object) -> object:
            return _picked(leaf, known) if isinstance(leaf, Ref) else leaf

        return mapped(output, self.topology.outputs)

    def _called(
        self, name: str, number: int, known: Mapping[tuple[str, int], Structure]
    ) -> Structure:
        """Return the outputs of a call, or None where something is in the way."""
        each, source = self.layers.get(name), self.sources[name]
        call = source.calls[number]
        refs = references((call.args, call.kwargs))
        if each is None or any(_picked(ref, known) is None for ref in refs):
            return None
        args, kwargs = mapped(
            lambda leaf: _picked(leaf, known) if isinstance(leaf, Ref) else leaf,
            (call.args, dict(call.kwargs)),
        )
        definition = each.definition
        problems = self.definition.session.problems
        try:
            with lowering(definition.origin):
                outputs = each(*args, **kwargs)
        except CompileError as error:
            problems.extend(error.problems)
        except (ValueError, TypeError, IndexError, MemoryError) as error:
            shapes = " and ".join(
                shape_text(leaf.value)
                for leaf in leaves((args, kwargs))
                if isinstance(leaf, Masked)
            )
            problems.append(
                Problem(
                    definition.place, f"can't be applied to inputs of {shapes}: {error}"
                )
            )
        else:
            self.called[name] = None
            return outputs
        return None

    def _order(self, wanted: Iterable[Ref]) -> Iterator[tuple[str, int]]:
        """Yield the calls that give *wanted*, each behind what it reads."""
        done: set[tuple[str, int]] = set()
        stack = [(ref.layer, ref.node) for ref in wanted][::-1]
        while stack:
            key = stack[-1]
            call = self.sources[key[0]].calls[key[1]]
            missing = [
                (ref.layer, ref.node)
                for ref in references((call.args, call.kwargs))
                if (ref.layer, ref.node) not in done
            ]
            if key in done:
                stack.pop()
            elif missing:
                stack.extend(reversed(missing))
            else:
                done.add(key)
                stack.pop()
                yield key


def in_order(structure: Structure) -> Iterable[Ref]:
    """Return the refs of a model's inputs in the order in which it takes them."""
    return [leaf for leaf in leaves(structure) if isinstance(leaf, Ref)]


def _picked(leaf: Ref, known: Mapping[tuple[str, int], Structure]) -> Masked | None:
    """Return the tensor that a reference means, None where it can't be computed."""
    outputs = known.get((leaf.layer, leaf.node))
    flat = list(leaves(outputs))
    if leaf.tensor >= len(flat):
        return None
    picked: Masked | None = flat[leaf.tensor]
    return picked


def unknown_class(definition: Definition) -> CompileError:
    """Return the refusal of a class that isn't Keras' or isn't supported."""
    if definition.class_name == "Lambda":
        return definition.refusal(
            "holds Python bytecode, which is never executed",
            "pass --custom FILE.py that defines it",
        )
    name = quoted(definition.registered_name or definition.class_name)
    return definition.refusal(
        f"the class {name} isn't one that Keramos knows",
        "pass --custom FILE.py that defines it",
    )
