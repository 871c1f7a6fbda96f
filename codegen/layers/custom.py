"""Layers that users define themselves, in the vocabulary of :mod:`keramos.ops`."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from keramos import ops
from keramos.errors import CompileError
from keramos.graph import Value
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer
from keramos.layers.recurrent import Cell
from keramos.layers.structure import Structure

Function = Callable[..., Structure]
LayerClass = Callable[[Definition], Layer]


@dataclass(frozen=True, slots=True)
class CustomLayer:
    """What a user's file says about a class: its names, and what it computes."""

    names: tuple[str, ...]
    made: LayerClass

    def __call__(self, definition: Definition) -> Layer:
        """Return the layer of a definition."""
        return self.made(definition)


def custom_layer(
    *names: str,
    supports_masking: bool = False,
    state_sizes: Callable[[Definition], Sequence[int]] | None = None,
) -> Callable[[Function], CustomLayer]:
    """Define the layers of the classes *names*, or Lambda layers of these names.

    The decorated function takes the layer's definition (``layer.number("alpha", 1.0)``
    reads an option, ``layer.weight("kernel", shape)`` the next weight), then what the
    layer's ``call`` takes, and returns its results. With *supports_masking* masks pass
    unchanged; a parameter ``mask`` gets the input's.

    With *state_sizes* it is the cell of an RNN: it takes the definition, one step of
    the input and the list of states, and returns the output and the next states.
    """

    def define(function: Function) -> CustomLayer:
        """Return the definition of a layer, or of a cell."""
        if state_sizes is not None:
            sizes = state_sizes
            return CustomLayer(names, lambda each: _CustomCell(each, function, sizes))
        return CustomLayer(
            names,
            lambda each: _FunctionLayer(
                each, function, supports_masking=supports_masking
            ),
        )

    return define


class _FunctionLayer(Layer):
    """A function as a layer; it reads the options that it wants."""

    def __init__(
        self, definition: Definition, function: Function, *, supports_masking: bool
    ) -> None:
        """Bind the definition."""
        super().__init__(definition)
        self.call = partial(function, definition)
        self.supports_masking = supports_masking

    def finish(self) -> None:
        """Leave the options to the function."""


class _CustomCell(Cell):
    """A function as a cell."""

    gives_first_state = False

    def __init__(
        self,
        definition: Definition,
        function: Function,
        state_sizes: Callable[[Definition], Sequence[int]],
    ) -> None:
        """Keep the function."""
        super().__init__(definition)
        self.function = function
        self.sizes = tuple(state_sizes(definition))

    def initial_states(self, x: Value) -> Structure:
        """Return zeros."""
        del x
        return [ops.zeros((size,)) for size in self.sizes]

    def step(self, x: Value, states: Structure) -> tuple[Value, Structure]:
        """Return the output and the next states."""
        output, new = self.function(self.definition, x, states)
        return output, list(new)

    def finish(self) -> None:
        """Leave the options to the function."""


def load_custom(path: Path) -> Mapping[str, CustomLayer]:
    """Run a user's own file and return the layers that it defines, by class name.

    Raises CompileError where it can't be run or defines none.
    """
    try:
        namespace = runpy.run_path(str(path))
    except Exception as error:
        raise CompileError.at(
            path.name, f"can't be run: {type(error).__name__}: {error}"
        ) from error
    found = [item for item in namespace.values() if isinstance(item, CustomLayer)]
    if not found:
        raise CompileError.at(
            path.name,
            "defines no layers",
            "decorate functions with @keramos.custom_layer(CLASS_NAME)",
        )
    return {name: item for item in found for name in item.names}
