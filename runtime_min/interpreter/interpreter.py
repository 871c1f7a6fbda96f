"""The generic interpreter: runs a model file layer by layer, with NumPy alone.

It is the reference for everything that Keramos emits: slow, obvious, and written
without a line of the compiler.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keramos import source
from keramos.errors import CompileError, quoted
from keramos.runtime_min.interpreter.definition import Context, Definition
from keramos.runtime_min.interpreter.layer import Layer, Value
from keramos.runtime_min.interpreter.model import (
    Model,
    Results,
    input_configs,
    pick,
)
from keramos.runtime_min.interpreter.operation import Operation, is_operation
from keramos.runtime_min.interpreter.refused import NO_CUSTOM_LAYERS
from keramos.runtime_min.interpreter.registry import LAYERS
from keramos.runtime_min.interpreter.structure import leaves
from keramos.source.file import KerasFile
from keramos.source.topology import Ref

Array = NDArray[Any]

MODEL_CLASSES = frozenset({"Functional", "Model", "Sequential"})

# Two lengths for axes that the model leaves free: outputs whose size differs between
# them are free too. Both are multiples of 64, so that networks which halve and double
# an image come out even.
FREE_LENGTHS = (256, 320)


class Port(NamedTuple):
    """An input or output: its shape without the batch axis, None where it is free."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Interpreter:
    """A model file, ready to predict."""

    def __init__(
        self,
        path_or_file: str | Path | KerasFile,
        *,
        dtype: str = "float32",
        weights_file: str | Path | None = None,
        custom: Mapping[str, type[Layer]] | None = None,
        absolute: bool = False,
    ) -> None:
        """Read the file and build its layers.

        *dtype* is what everything is computed in: ``float32``, or ``float64`` to
        derive error bounds. *custom* maps class names of the file to layers that run
        them; *absolute* runs on the weights' magnitudes, see :func:`magnitude`.
        Raises CompileError with every layer that can't be run.
        """
        self.file = _opened(path_or_file, weights_file)
        with self.file.kept_open():
            self._model = _built(self.file, dtype, custom or {}, absolute=absolute)
        self._output_names = _unique(ref.layer for ref in self._model.outputs)
        self._configs = input_configs(self.file.model)
        self.inputs = tuple(self._input_port(ref) for ref in self._model.inputs)

    @property
    def outputs(self) -> tuple[Port, ...]:
        """Return the outputs' ports; their shapes are found with empty batches."""
        small, large = (self._empty_outputs(length) for length in FREE_LENGTHS)
        return tuple(
            Port(name, _common_shape(first.shape, second.shape), first.dtype.name)
            for name, first, second in zip(
                self._output_names, small, large, strict=True
            )
        )

    def predict(self, *inputs: ArrayLike | Mapping[str, ArrayLike]) -> Any:
        """Return the model's output for *inputs*.

        Pass one array per input, in the model's order, or one dict by input name. One
        output comes back as an array, several as a dict by output layer, in order.
        """
        arrays = self._checked(inputs)
        found = self._outputs(self._results(arrays))
        if len(found) == 1:
            return found[0]
        return dict(zip(self._output_names, found, strict=True))

    def layer_outputs(
        self, *inputs: ArrayLike | Mapping[str, ArrayLike]
    ) -> dict[str, Array]:
        """Return what every layer computes, by layer name.

        A layer called several times, or with several outputs, appears with ``_1``,
        ``_2`` and so on behind its name.
        """
        results = self._results(self._checked(inputs), everything=True)
        named = [
            (name, value.array)
            for (name, _), result in results.items()
            for value in leaves(result)
        ]
        names = _unique(name for name, _ in named)
        return {name: array for name, (_, array) in zip(names, named, strict=True)}

    def reset_states(self) -> None:
        """Set the states of stateful layers back to zero."""
        self._model.reset_states()

    def _results(self, arrays: Sequence[Array], *, everything: bool = False) -> Results:
        """Run the model; overflow and NaN are results like any other."""
        with np.errstate(all="ignore"):
            return self._model.run(
                [Value(array) for array in arrays], everything=everything
            )

    def _outputs(self, results: Results) -> list[Array]:
        """Return the arrays of the model's outputs."""
        return [pick(results, ref).array for ref in self._model.outputs]

    def _empty_outputs(self, length: int) -> list[Array]:
        """Return the outputs for empty batches, free axes being *length* long."""
        arrays = [
            np.zeros(
                (0, *(length if size is None else size for size in port.shape)),
                port.dtype,
            )
            for port in self.inputs
        ]
        return self._outputs(self._results(arrays))

    def _input_port(self, ref: Ref) -> Port:
        """Return what the model says about one input."""
        config = self._configs.get(ref.layer, {})
        shape = config.get("batch_shape") or config.get("batch_input_shape") or (None,)
        return Port(ref.layer, tuple(shape[1:]), _input_dtype(config))

    def _checked(
        self, inputs: tuple[ArrayLike | Mapping[str, ArrayLike], ...]
    ) -> list[Array]:
        """Return the inputs as arrays, or say in one sentence what is wrong."""
        names = [port.name for port in self.inputs]
        given: Sequence[Any] = inputs
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            given = _by_name(inputs[0], names)
        if len(given) != len(names):
            listed = ", ".join(map(repr, names))
            raise TypeError(
                f"the model takes {len(names)} inputs ({listed}), got {len(given)}"
            )
        arrays = [
            _checked_array(item, port)
            for item, port in zip(given, self.inputs, strict=True)
        ]
        batches = {array.shape[0] for array in arrays}
        if len(batches) > 1:
            sizes = ", ".join(str(array.shape[0]) for array in arrays)
            raise ValueError(f"the inputs' batch sizes differ: {sizes}")
        return [
            array.astype(
                self._model.dtype if port.dtype == "float32" else port.dtype, copy=False
            )
            for array, port in zip(arrays, self.inputs, strict=True)
        ]


def magnitude(
    path_or_file: str | Path | KerasFile,
    *inputs: ArrayLike,
    weights_file: str | Path | None = None,
    custom: Mapping[str, type[Layer]] | None = None,
) -> list[Array]:
    """Return the outputs in float64 for |inputs| and |weights|.

    That is how large the sums behind each output are, cancellation left aside: what
    an error bound in multiples of the rounding unit has to be scaled with.
    """
    interpreter = Interpreter(
        path_or_file,
        dtype="float64",
        weights_file=weights_file,
        custom=custom,
        absolute=True,
    )
    outputs = interpreter.predict(*(np.abs(np.asarray(item)) for item in inputs))
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def _opened(
    path_or_file: str | Path | KerasFile, weights_file: str | Path | None
) -> KerasFile:
    """Return the file's contents, reading it where a path is given."""
    if isinstance(path_or_file, KerasFile):
        return path_or_file
    return source.read(Path(path_or_file), weights_file=weights_file)


def _built(
    file: KerasFile,
    dtype: str,
    custom: Mapping[str, type[Layer]],
    *,
    absolute: bool,
) -> Model:
    """Return the file's model with all its layers."""
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}: use 'float32' or 'float64'")

    def build(definition: Definition) -> Layer:
        """Return the layer for a definition, models included."""
        name = definition.class_name
        if name in custom:
            return custom[name](definition)
        if name in MODEL_CLASSES:
            config = source.parse_model(
                {"class_name": name, "config": definition.config}
            )
            return Model(definition, source.without_losses(config))
        if is_operation(definition):
            return Operation(definition)
        if name not in LAYERS:
            raise definition.refusal("this layer is unknown", NO_CUSTOM_LAYERS)
        layer = LAYERS[name](definition)
        definition.finish()
        return layer

    context = Context(file, np.dtype(dtype), absolute, build)
    return Model(Definition(context, "Model", "", {}, ()), file.model)


def _input_dtype(config: Mapping[str, Any]) -> str:
    """Return an input's type; floating-point inputs are all taken as float32."""
    dtype = config.get("dtype", "float32")
    if isinstance(dtype, Mapping):
        dtype = dtype.get("config", {}).get("name", "float32")
    kinds = ("int", "uint", "bool")
    return str(dtype) if str(dtype).startswith(kinds) else "float32"


def _by_name(given: Mapping[str, ArrayLike], names: Sequence[str]) -> list[ArrayLike]:
    """Return the arrays of a dict in the model's order."""
    unknown = [quoted(name) for name in given if name not in names]
    missing = [quoted(name) for name in names if name not in given]
    listed = ", ".join(map(quoted, names))
    if unknown:
        raise ValueError(f"unknown input {', '.join(unknown)}: the inputs are {listed}")
    if missing:
        raise ValueError(f"missing input {', '.join(missing)}: the inputs are {listed}")
    return [given[name] for name in names]


def _checked_array(item: ArrayLike, port: Port) -> Array:
    """Return one input as an array of its port's kind."""
    array = np.asarray(item)
    name = quoted(port.name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"input {name} takes numbers, got the type {array.dtype}")
    if port.dtype != "float32" and array.dtype.kind == "f":
        raise TypeError(
            f"input {name} takes whole numbers ({port.dtype}), got {array.dtype}"
        )
    sizes = array.shape[1:]
    fits = len(array.shape) == len(port.shape) + 1 and all(
        wanted in (None, size) for wanted, size in zip(port.shape, sizes, strict=True)
    )
    if not fits:
        wanted_shape = ", ".join(["batch", *_sizes(port.shape)])
        raise ValueError(
            f"input {name} takes the shape ({wanted_shape}), got {array.shape}"
        )
    return array


def _sizes(shape: Iterable[int | None]) -> list[str]:
    """Return a shape's sizes as text."""
    return ["any" if size is None else str(size) for size in shape]


def _common_shape(
    first: tuple[int, ...], second: tuple[int, ...]
) -> tuple[int | None, ...]:
    """Return the shape without its batch axis, None where the two runs differ."""
    pairs = zip(first[1:], second[1:], strict=True)
    return tuple(one if one == other else None for one, other in pairs)


def _unique(names: Iterable[str]) -> list[str]:
    """Return *names*, repetitions with ``_1``, ``_2`` behind them, none twice."""
    counts: dict[str, int] = {}
    unique: dict[str, None] = {}
    for name in names:
        candidate = name
        while candidate in unique:
            counts[name] = counts.get(name, 0) + 1
            candidate = f"{name}_{counts[name]}"
        unique[candidate] = None
    return list(unique)


__all__ = ["CompileError", "Interpreter", "Port", "magnitude"]
