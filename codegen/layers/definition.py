"""What a model file says about one layer: its options and its weights.

Options are read with care: each reader notes what is wrong as a problem and goes on
with a value that fits, so that all problems of a model come out together. Options that
nobody has read at the end, and that could matter, are problems too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from keramos.errors import CompileError, Problem, quoted
from keramos.graph import Constant, Origin, Value, constant
from keramos.primitives import DType, Spec
from keramos.source import KerasFile, Tensor

Activation = Callable[[Value], Value]

# The first release that TensorFlow and Keras had in common.
FIRST_UNIFIED = (2, 4)

# Options that say how a layer was trained, made or scheduled; nothing of what it
# computes from its weights.
_HARMLESS = frozenset(
    {"name", "trainable", "dtype", "dtype_policy", "autocast", "seed", "noise_shape"}
    | {"batch_input_shape", "batch_shape", "input_shape", "input_dtype", "input_dim"}
    | {"input_length", "build_config", "build_input_shape", "sparse", "ragged"}
    | {"lora_rank", "lora_alpha", "quantization_config", "activity_regularizer"}
    | {"implementation", "unroll", "momentum", "fused", "virtual_batch_size"}
    | {"synchronized", "adjustment", "renorm_clipping", "renorm_momentum", "axes_dict"}
    | {"allowed_dtypes", "type_spec", "optional", "cache", "bias_regularizer"}
    | {"registered_name", "module", "_input_dtype", "compile_config", "class_name"}
)
# No array that a layer's options ask for needs to be longer.
LARGEST_SIZE = 2**26
_HARMLESS_ENDINGS = ("_initializer", "_regularizer", "_constraint", "_dropout")


@dataclass(frozen=True, slots=True)
class State:
    """What a layer keeps between calls of the model.

    *before* is the model's hidden input, *after* what the layer has made of it so far:
    the next call of the layer goes on from there.
    """

    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class Session:
    """What all layers of one import share.

    *build* makes the layer of a definition; *problems* grows, and so do *states*, by
    the path of the layer and the number of the state.
    """

    file: KerasFile
    build: Callable[[Definition], Any]
    problems: list[Problem] = field(default_factory=list)
    states: dict[tuple[tuple[str, ...], int], State] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Definition:
    """One layer's part of the file.

    *path* leads to its weights, *place* names it in the user's vocabulary.
    """

    session: Session
    class_name: str
    config: Mapping[str, Any]
    path: tuple[str, ...]
    module: str = ""
    registered_name: str = ""
    is_operation: bool = False
    _read: set[str] = field(default_factory=set, repr=False)
    _weights: dict[str, Value] = field(default_factory=dict, repr=False)
    _unread: list[Iterator[Tensor]] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        """Return the layer's path as one name."""
        return "/".join(self.path)

    @property
    def place(self) -> str:
        """Return where a problem is: file, layer, class."""
        file = self.session.file.path.name
        return f"{file}: layer {quoted(self.name)} ({self.class_name})"

    @property
    def origin(self) -> Origin:
        """Return what nodes are marked with."""
        return Origin(self.name, self.class_name)

    @property
    def generation(self) -> int:
        """Return the major version of the Keras that wrote the file."""
        return self.session.file.generation

    @property
    def is_tf_keras(self) -> bool:
        """Return whether TensorFlow's Keras, or a later one, wrote the file."""
        version = self.session.file.keras_version
        release = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        return release >= FIRST_UNIFIED or version.endswith("-tf")

    def note(self, problem: str, hint: str = "") -> None:
        """Add a problem of this layer, and go on."""
        self.session.problems.append(Problem(self.place, problem, hint))

    def refusal(self, problem: str, hint: str = "") -> CompileError:
        """Return the error that ends the reading of this layer."""
        return CompileError.at(self.place, problem, hint)

    # Options

    def has(self, name: str) -> bool:
        """Return whether the option is there and not null."""
        return self.config.get(name) is not None

    def option(self, name: str, default: object = None) -> Any:  # noqa: ANN401 - JSON
        """Return an option as the file has it."""
        self._read.add(name)
        return _plain(self.config.get(name, default))

    def integer(self, name: str, default: int) -> int:
        """Return a whole number."""
        value = self.option(name, default)
        if _is_whole(value):
            return int(value)
        self._wrong(name, value, "a whole number")
        return default

    def positive(self, name: str, default: int) -> int:
        """Return a whole number from 1."""
        value = self.integer(name, default)
        if 1 <= value <= LARGEST_SIZE:
            return value
        self._wrong(name, value, f"a number from 1 to {LARGEST_SIZE}")
        return max(default, 1)

    def number(self, name: str, default: float) -> float:
        """Return a number."""
        value = self.option(name, default)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        self._wrong(name, value, "a number")
        return default

    def optional_number(self, name: str) -> float | None:
        """Return a number, or None where the option is missing or null."""
        return None if self.option(name) is None else self.number(name, 0.0)

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.option(name, default)
        if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        self._wrong(name, value, "true or false")
        return default

    def text(self, name: str, default: str = "") -> str:
        """Return a string."""
        value = self.option(name, default)
        if isinstance(value, str):
            return value
        self._wrong(name, value, "a string")
        return default

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """Return one of *choices*, which Keras takes in any case."""
        value = self.option(name, default)
        if isinstance(value, str) and value.lower() in choices:
            return value.lower()
        known = " or ".join(map(repr, choices))
        self.note(
            f"{name} is {quoted(value)}, which {self.class_name} doesn't have",
            f"use {known}",
        )
        return default

    def sizes(
        self, name: str, rank: int, default: int | None, *, low: int = 1
    ) -> tuple[int, ...]:
        """Return *rank* whole numbers from *low*; a single one stands for all."""
        value = self.option(name, default)
        items = value if isinstance(value, list | tuple) else [value]
        if all(_is_whole(v) and low <= v <= LARGEST_SIZE for v in items):
            sizes = tuple(int(v) for v in items)
            if len(sizes) in (1, rank):
                return sizes * (rank // len(sizes))
        count = "a whole number" if rank == 1 else f"{rank} whole numbers"
        self._wrong(name, value, f"{count} from {low}")
        return (max(default or 0, low),) * rank

    def axes(self, name: str, default: int | None) -> tuple[int, ...] | None:
        """Return one axis or several, counted as Keras does: the batch is 0."""
        value = self.option(name, default)
        items = value if isinstance(value, list | tuple) else [value]
        if value is None:
            return None
        if all(map(_is_whole, items)):
            return tuple(map(int, items))
        self._wrong(name, value, "axis numbers")
        return None

    def channels_first(self) -> bool:
        """Return whether channels stand right behind the batch."""
        if not self.has("data_format"):
            self.option("data_format")
            return False
        choices = ("channels_last", "channels_first")
        return self.choice("data_format", choices, choices[0]) == choices[1]

    def refuse(self, name: str, harmless: Sequence[object], because: str) -> None:
        """Note a problem where an option isn't one of the *harmless* values."""
        value = self.option(name, harmless[0])
        if value not in harmless:
            self.note(f"{name} is {quoted(value)}, {because}")

    def child(
        self, attribute: str, serialized: object
    ) -> Any:  # noqa: ANN401 - a Layer
        """Return the layer that the option *attribute* defines.

        Raises CompileError where it isn't a layer that can be built.
        """
        return self.session.build(self.part(attribute, serialized))

    def part(self, attribute: str, serialized: object) -> Definition:
        """Return what the file says about a layer inside this one."""
        if isinstance(serialized, Mapping):
            class_name, config = serialized.get("class_name"), serialized.get("config")
            if isinstance(config, list):
                config = {"layers": config}
            if isinstance(class_name, str) and isinstance(config, Mapping):
                return Definition(
                    self.session,
                    class_name,
                    config,
                    (*self.path, attribute),
                    str(serialized.get("module") or ""),
                    str(serialized.get("registered_name") or ""),
                )
        raise self.refusal(f"{attribute} is {quoted(serialized)}, not a layer")

    def like(
        self, class_name: str, *, without: Sequence[str] = ()
    ) -> Callable[..., Any]:
        """Return what a Keras layer with these options and weights computes.

        *without* names the options that the Keras layer doesn't have.
        """
        config = {name: v for name, v in self.config.items() if name not in without}
        made = self.session.build(replace(self, class_name=class_name, config=config))
        call: Callable[..., Any] = made.call
        return call

    def finish(self) -> None:
        """Note the options that nobody has read and that may matter."""
        for name, value in self.config.items():
            if (
                name in self._read
                or name in _HARMLESS
                or name.endswith(_HARMLESS_ENDINGS)
                or value is None
            ):
                continue
            self.note(
                f"has the option {quoted(name)}, which isn't known here",
                "its value could change the result",
            )

    # States

    def states(self, specs: Sequence[Spec]) -> list[Value]:
        """Return what the layer has kept: from the last call, or from one before."""
        known = self.session.states
        for number, spec in enumerate(specs):
            if (self.path, number) not in known:
                before = Value(spec, name=f"{self.name}/state_{number + 1}")
                known[self.path, number] = State(before, before)
        return [known[self.path, number].after for number in range(len(specs))]

    def keep(self, states: Sequence[Value]) -> None:
        """Keep what the layer's states are behind a call."""
        for number, after in enumerate(states):
            before = self.session.states[self.path, number].before
            self.session.states[self.path, number] = State(before, after)

    # Weights

    def weight(
        self, name: str, shape: Sequence[int | None], dtype: DType = "float32"
    ) -> Value:
        """Return a weight; the first call takes the next one in Keras' order.

        None leaves an axis open. Raises CompileError where it is missing or of another
        shape.
        """
        value = self.stored(name, dtype)
        fits = len(value.shape) == len(shape) and all(
            wanted in (None, size)
            for wanted, size in zip(shape, value.shape, strict=True)
        )
        if not fits:
            wanted = ["any" if size is None else str(size) for size in shape]
            raise self.refusal(
                f"its {name} has the shape {_shape_text(map(str, value.shape))} in the "
                f"file, but its options ask for {_shape_text(wanted)}",
                "the weights belong to another configuration",
            )
        return value

    def stored(self, name: str, dtype: DType | None = None) -> Value:
        """Return a weight of any shape; the first call takes the next one."""
        if name not in self._weights:
            self._weights[name] = self._next(name, dtype or "float32")
        return self._weights[name]

    def weights_left(self) -> int:
        """Return how many weights the file has that weren't taken."""
        return len(self._stored()) - len(self._weights)

    def _stored(self) -> tuple[Tensor, ...]:
        """Return the file's weights of this layer; operations have none."""
        return () if self.is_operation else self.session.file.weights(self.path)

    def _next(self, name: str, dtype: DType) -> Value:
        """Return the next weight as a constant that is loaded when needed."""
        if not self._unread:
            self._unread.append(iter(self._stored()))
        tensor = next(self._unread[0], None)
        if tensor is None:
            raise self.refusal(
                f"the file has no weight for its {name}",
                "save the whole model, or give --weights-file",
            )
        stored = Constant(
            Spec(tensor.shape, dtype), lambda: np.asarray(tensor.array(), dtype)
        )
        return constant(stored, name=f"{self.name}/{name}")

    def _wrong(self, name: str, value: object, wanted: str) -> None:
        """Note that an option isn't what it must be."""
        self.note(f"{name} is {quoted(value)}, not {wanted}")


def _shape_text(sizes: Iterator[str] | Sequence[str]) -> str:
    """Return a shape as Python writes it."""
    items = list(sizes)
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _is_whole(value: object) -> bool:
    """Return whether *value* is a whole number; JSON may write it as 2.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or value.is_integer()


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return numbers that Keras 3 wrote as an array inside a configuration."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping) and value.get("class_name") in (
        "__numpy__",
        "__tensor__",
    ):
        config = value.get("config")
        return config.get("value") if isinstance(config, Mapping) else config
    return value
