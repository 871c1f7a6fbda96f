"""Bare operations in a model's graph: ``x + y``, slices, ``keras.ops.*``.

An operation is a plain function of arrays. Its options come from its configuration,
under the names that the operation's class has for them; masks end at it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from keramos.errors import quoted
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer, Value
from keramos.runtime_min.interpreter.structure import Structure, map_structure

Function = Callable[..., Any]
FunctionType = TypeVar("FunctionType", bound=Function)

OPERATIONS: dict[str, Function] = {}

OPERATION_MODULES = ("keras.src.ops", "keras.ops")
NOT_OPTIONS = ("name", "dtype", "trainable")


def operation(*class_names: str) -> Callable[[FunctionType], FunctionType]:
    """Register the decorated function under the class names of Keras' operations."""

    def register(function: FunctionType) -> FunctionType:
        """Enter the function; two functions claiming one name is our bug."""
        for class_name in class_names:
            if class_name in OPERATIONS:
                raise KeyError(class_name)
            OPERATIONS[class_name] = function
        return function

    return register


def is_operation(definition: Definition) -> bool:
    """Say whether a layer of the graph is a bare operation."""
    return definition.module.startswith(OPERATION_MODULES)


class Operation(Layer):
    """One operation of Keras 3 with its options."""

    def __init__(self, definition: Definition) -> None:
        """Look the function up and check its options."""
        super().__init__(definition)
        self.call = self.find(definition)
        self.options = self.options_of(definition)

    def find(self, definition: Definition) -> Function:
        """Return the function that the class name stands for."""
        function = OPERATIONS.get(definition.class_name)
        if function is None:
            raise definition.refusal(
                "this operation is unknown",
                "replace it by a layer, or by a custom layer",
            )
        return function

    def options_of(self, definition: Definition) -> dict[str, object]:
        """Return the options: what the configuration has beside the layer's own."""
        parameters = inspect.signature(self.call).parameters
        return {
            name: value
            for name, value in definition.config.items()
            if name not in NOT_OPTIONS or (name in parameters and name != "name")
        }

    def bind(
        self, args: tuple[Structure, ...], kwargs: Mapping[str, Structure]
    ) -> dict[str, Structure]:
        """Return all arguments by name; a TypeError names unknown ones."""
        signature = inspect.signature(self.call)
        bound: Mapping[str, Structure] = signature.bind(
            *args, **kwargs, **self.options
        ).arguments
        return dict(bound)

    def __call__(self, *args: Structure, **kwargs: Structure) -> Structure:
        """Return the function's results without masks."""
        arguments = [map_structure(self._raw, item) for item in args]
        named = {name: map_structure(self._raw, item) for name, item in kwargs.items()}
        result = self.call(*arguments, **named, **self.options)
        return map_structure(self._value, result)

    def _raw(self, item: object) -> object:
        """Return a Value's array, anything else as it is."""
        return item.array if isinstance(item, Value) else item

    def _value(self, item: Array) -> Value:
        """Return a result, floating-point numbers in the type of the computation."""
        array = np.asarray(item)
        return Value(array.astype(self.dtype) if array.dtype.kind == "f" else array)


def converted(x: object, dtype: object) -> Array:
    """Return *x* as the type that an option names."""
    name = dtype.get("config", {}).get("name") if isinstance(dtype, Mapping) else dtype
    if not isinstance(name, str):
        return np.asarray(x)
    kind = "float64" if name.startswith(("float", "bfloat")) else name
    if kind not in np.sctypeDict:
        raise ValueError(f"{quoted(name)} isn't a type of numbers")
    return np.asarray(x).astype(kind)
