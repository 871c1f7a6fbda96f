"""What a file says about one layer: its options, read with care, and its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from keramos.errors import CompileError, quoted
from keramos.runtime_min.interpreter.activations import ACTIVATIONS, legacy_hard_sigmoid
from keramos.source.file import KerasFile

if TYPE_CHECKING:  # layers are made from definitions: the import would be circular
    from keramos.runtime_min.interpreter.layer import Layer

Array = NDArray[Any]
Activation = Callable[[Array], Array]

_REQUIRED = object()

# Keras 2.4 was the first release that was TensorFlow's own.
FIRST_UNIFIED = (2, 4)


@dataclass(frozen=True, slots=True)
class Context:
    """What all layers of one interpreter share.

    *absolute* runs on the magnitudes of the weights instead of the weights.
    *build* makes the layer of a nested definition.
    """

    file: KerasFile
    dtype: np.dtype[Any]
    absolute: bool
    build: Callable[[Definition], Layer]


@dataclass(frozen=True, slots=True)
class Definition:
    """One layer's part of the file.

    *path* leads to its weights; *place* names it in the user's vocabulary.
    """

    context: Context
    class_name: str
    module: str
    config: Mapping[str, Any]
    path: tuple[str, ...]
    _unread: list[Iterator[Any]] = field(default_factory=list, repr=False)
    _is_part: bool = False

    @property
    def place(self) -> str:
        """Return where an error is: file, layer, class."""
        name = quoted("/".join(self.path))
        return f"{self.context.file.path.name}: layer {name} ({self.class_name})"

    @property
    def generation(self) -> int:
        """Return the major version of the Keras that wrote the file."""
        return self.context.file.generation

    @property
    def is_tf_keras(self) -> bool:
        """Say whether TensorFlow's Keras, or a later one, wrote the file."""
        version = self.context.file.keras_version
        release = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        return release >= FIRST_UNIFIED or version.endswith("-tf")

    def with_options(self, **options: object) -> Definition:
        """Return the definition with other values for some options."""
        return replace(self, config={**self.config, **options})

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the floating-point type that everything is computed in."""
        return self.context.dtype

    def refusal(self, problem: str, hint: str = "") -> CompileError:
        """Return the error that this layer can't be run because of *problem*."""
        return CompileError.at(self.place, problem, hint)

    def option(self, name: str, default: object = _REQUIRED) -> Any:
        """Return an option as the file has it: any JSON value."""
        if name in self.config:
            return self.config[name]
        if default is _REQUIRED:
            raise self.refusal(f"the configuration has no {quoted(name)}")
        return default

    def integer(self, name: str, default: object = _REQUIRED) -> int:
        """Return a whole number."""
        value = self.option(name, default)
        if not _is_whole(value):
            raise self._unusable(name, value, "a whole number")
        return int(value)

    def count(self, name: str, default: object = _REQUIRED) -> int:
        """Return a whole number above 0: units, filters, groups."""
        value = self.option(name, default)
        if not _is_whole(value) or value < 1:
            raise self._unusable(name, value, "a whole number above 0")
        return int(value)

    def number(self, name: str, default: object = _REQUIRED) -> float:
        """Return a number; Keras 3 writes some as arrays of one element."""
        value = plain(self.option(name, default))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._unusable(name, value, "a number")
        return float(value)

    def optional_number(self, name: str) -> float | None:
        """Return a number, or None where the option is missing or null."""
        return None if self.option(name, None) is None else self.number(name)

    def boolean(self, name: str, default: object = _REQUIRED) -> bool:
        """Return True or False."""
        value = self.option(name, default)
        if not isinstance(value, bool | int):
            raise self._unusable(name, value, "true or false")
        return bool(value)

    def choice(
        self, name: str, choices: Sequence[str], default: object = _REQUIRED
    ) -> str:
        """Return one of *choices*; Keras takes them in any case."""
        value = self.option(name, default)
        text = value.lower() if isinstance(value, str) else value
        if text not in choices:
            known = " or ".join(map(repr, choices))
            raise self.refusal(
                f"{name} is {quoted(value)}, which {self.class_name} doesn't have",
                f"use {known}",
            )
        return str(text)

    def sizes(
        self, name: str, rank: int, default: object = _REQUIRED, *, least: int = 1
    ) -> tuple[int, ...]:
        """Return *rank* whole numbers from *least* on; one stands for all axes."""
        value = self.option(name, default)
        items = value if isinstance(value, list | tuple) else [value] * rank
        usable = all(_is_whole(item) and item >= least for item in items)
        if not usable or len(items) != rank:
            raise self._unusable(name, value, f"{rank} whole numbers from {least} on")
        return tuple(int(item) for item in items)

    def axes(self, name: str, default: object = _REQUIRED) -> tuple[int, ...]:
        """Return one axis or several."""
        value = self.option(name, default)
        items = value if isinstance(value, list | tuple) else [value]
        if not items or not all(_is_whole(item) for item in items):
            raise self._unusable(name, value, "axis numbers")
        return tuple(items)

    def channels_first(self) -> bool:
        """Say whether ``data_format`` puts channels right behind the batch axis."""
        if self.option("data_format", None) is None:
            return False
        choices = ("channels_last", "channels_first")
        return self.choice("data_format", choices) == "channels_first"

    def activation(self, name: str, default: str = "linear") -> Activation:
        """Return the activation function, in the meaning of the file's generation."""
        value = self.option(name, default)
        if value is None:
            return ACTIVATIONS["linear"]
        if isinstance(value, Mapping) and value.get("class_name") == "function":
            value = value.get("config")
        if isinstance(value, Mapping):
            return self._layer_as_activation(name, value)
        if value == "hard_sigmoid" and self.generation < 3:
            return legacy_hard_sigmoid
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise self.refusal(
                f"{name} is {quoted(value)}, which Keras doesn't have",
                "replace it by a built-in activation, or by a custom layer",
            )
        return ACTIVATIONS[value]

    def _layer_as_activation(
        self, name: str, serialized: Mapping[str, Any]
    ) -> Activation:
        """Return a layer without weights (``ReLU``, ``LeakyReLU``) as a function."""
        layer = self.child(name, serialized)
        return layer.call

    def child(self, attribute: str, serialized: object) -> Layer:
        """Return the layer that the option *attribute* defines."""
        return self.context.build(self.child_definition(attribute, serialized))

    def child_definition(
        self, attribute: str, serialized: object, *, own_weights: bool = True
    ) -> Definition:
        """Return what the file says about a wrapped layer.

        Without *own_weights* the wrapper hands its own weights on, in order.
        """
        if not isinstance(serialized, Mapping):
            raise self._unusable(attribute, serialized, "a layer")
        class_name = serialized.get("class_name")
        config = serialized.get("config")
        if not isinstance(class_name, str) or not isinstance(config, Mapping | list):
            raise self._unusable(attribute, serialized, "a layer")
        return Definition(
            self.context,
            class_name,
            str(serialized.get("module") or ""),
            config if isinstance(config, Mapping) else {"layers": config},
            (*self.path, attribute) if own_weights else self.path,
            [] if own_weights else self._unread_weights(),
            not own_weights,
        )

    def _unread_weights(self) -> list[Iterator[Any]]:
        """Return the weights not handed out yet, one iterator for all who share it."""
        if not self._unread:
            self._unread.append(iter(self.context.file.weights(self.path)))
        return self._unread

    def stored(self, name: str) -> Array:
        """Return the next weight, in Keras' order, as the file has it."""
        tensor = next(self._unread_weights()[0], None)
        if tensor is None:
            raise self.refusal(f"the file has no weight for its {name}")
        return np.asarray(tensor.array())

    def skip_weights(self) -> None:
        """Pass over all weights that haven't been read: they matter to training."""
        for _ in self._unread_weights()[0]:
            pass

    def weight(self, name: str, shape: Sequence[int | None]) -> Array:
        """Return the next weight, ready to compute with; None leaves an axis open."""
        array = self.stored(name)
        fits = len(array.shape) == len(shape) and all(
            wanted in (None, size)
            for wanted, size in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted_shape = tuple("any" if size is None else size for size in shape)
            raise self.refusal(
                f"its {name} has the shape {array.shape} in the file, "
                f"but the configuration asks for {_shape_text(wanted_shape)}",
                "the weights belong to another configuration",
            )
        return self.computed(array)

    def computed(self, array: Array) -> Array:
        """Return *array* in the type of the computation (magnitudes, if asked for)."""
        converted = array.astype(self.dtype, copy=False)
        return np.abs(converted) if self.context.absolute else converted

    def finish(self) -> None:
        """Refuse weights that the layer has in the file but did not read."""
        if not self._unread or self._is_part:
            return
        spare = len(list(self._unread[0]))
        if spare:
            raise self.refusal(f"the file has {spare} more weights than it uses")

    def _unusable(self, name: str, value: object, wanted: str) -> CompileError:
        """Return the error for an option that is not *wanted*."""
        return self.refusal(f"{name} is {quoted(value)}, not {wanted}")


def _is_whole(value: Any) -> bool:
    """Say whether an option is a whole number; files write some as 3.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value == int(value)


def plain(value: Any) -> Any:
    """Return an array that Keras 3 serialised inside a configuration as numbers."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping) and value.get("class_name") in (
        "__numpy__",
        "__tensor__",
    ):
        config = value.get("config")
        return config.get("value") if isinstance(config, Mapping) else config
    return value


def _shape_text(shape: Sequence[int | str]) -> str:
    """Return a shape as text, open axes as ``any``."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def dtype_name(value: DTypeLike) -> str:
    """Return NumPy's name for a type."""
    return np.dtype(value).name
