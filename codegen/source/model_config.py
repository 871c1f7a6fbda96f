"""A model's JSON -> ModelConfig: the five ways Keras wrote topologies, in one form."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from keramos.errors import CompileError, Problem, quoted
from keramos.source.topology import Argument, Call, LayerConfig, ModelConfig, Ref

MODELS = frozenset({"Sequential", "Functional", "Model"})
# tf.keras writes this in place of a layer's name where a call's tensor is a constant.
CONSTANT = "_CONSTANT_VALUE"
REFERENCE_LENGTH = 3
PLAIN_DTYPES = frozenset(
    {"bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64"}
    | {"uint8", "uint16", "uint32", "uint64", "bfloat16", "string"}
)
# What Keras 2 makes of add_loss and add_metric.
TRAINING = frozenset({"AddLoss", "AddMetric"})
OPERATION_MODULES = ("keras.src.ops", "keras.ops")


def parse_model(config: Mapping[str, Any], *, where: str = "model") -> ModelConfig:
    """Return the topology of ``{"class_name": ..., "config": ...}``.

    Layers that are models keep their own configuration, to be parsed in turn. *where*
    begins the lines of the CompileError raised when the topology makes no sense.
    """
    problems: list[Problem] = []
    model = _Parser(where, problems).model(config)
    if problems or model is None:
        raise CompileError(problems)
    return model


def without_losses(model: ModelConfig) -> ModelConfig:
    """Return what predicts: without ``add_loss``, ``add_metric`` and what they read."""
    if not any(layer.class_name in TRAINING for layer in model.layers):
        return model
    calls = {layer.name: layer.calls for layer in model.layers}
    needed = {ref.layer for ref in references((model.inputs, model.outputs))}
    pending = list(needed)
    while pending:
        for call in calls[pending.pop()]:
            found = {ref.layer for ref in references((call.args, call.kwargs))}
            pending += found - needed
            needed |= found
    kept = tuple(layer for layer in model.layers if layer.name in needed)
    return replace(model, layers=kept)


def is_model(class_name: str, config: object) -> bool:
    """Return whether a layer is itself a model, also one of a user's own class."""
    return class_name in MODELS or (
        isinstance(config, Mapping) and {"layers", "input_layers"} <= config.keys()
    )


def is_operation(layer: LayerConfig) -> bool:
    """Return whether *layer* is a bare operation (``x + y``) of a Keras 3 graph."""
    return layer.module.startswith(OPERATION_MODULES)


def snake_case(class_name: str) -> str:
    """Return Keras' own snake case of a class name (``Conv2D`` -> ``conv2d``)."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class _Parser:
    """Reads one model, noting problems and going on."""

    def __init__(self, where: str, problems: list[Problem]) -> None:
        """Note problems of the file *where* in *problems*."""
        self.where = where
        self.problems = problems

    def note(self, problem: str, *, layer: str | None = None, hint: str = "") -> None:
        """Add a problem of the model, or of one of its layers."""
        place = self.where if layer is None else f"{self.where}: {layer}"
        self.problems.append(Problem(place, problem, hint))

    def model(self, config: Mapping[str, Any]) -> ModelConfig | None:
        """Return the topology, or None where there is none to speak of."""
        class_name = config.get("class_name")
        inner = config.get("config")
        if isinstance(inner, list):  # Sequential until Keras 2.2.2
            inner = {"layers": inner}
        if not isinstance(class_name, str):
            self.note("the configuration names no model class")
        elif not isinstance(inner, Mapping) or "layers" not in inner:
            self.note(
                f"{quoted(class_name)} is a model defined by Python code, which isn't"
                " in the file",
                hint="save it as a Sequential or functional model",
            )
        elif not isinstance(inner["layers"], list) or not inner["layers"]:
            self.note("the model has no layers")
        elif not isinstance(name := inner.get("name", snake_case(class_name)), str):
            self.note(f"the model's name is {quoted(name)}, not a string")
        elif {"input_layers", "output_layers"} <= inner.keys():
            return self.functional(name, inner)
        elif class_name in {"Functional", "Model"}:
            self.note("the configuration names no inputs and outputs")
        else:
            return self.sequential(name, inner, config.get("build_config"))
        return None

    # -- layers ---------------------------------------------------------------------

    def layers(self, entries: list[Any]) -> list[LayerConfig]:
        """Return the layers of *entries*, whose calls are still to be read."""
        unnamed: Counter[str] = Counter()
        layers = []
        for position, entry in enumerate(entries):
            layer = self.layer(entry, position=position, unnamed=unnamed)
            if layer is not None:
                layers.append(layer)
        counts = Counter(layer.name for layer in layers)
        for name, count in counts.items():
            if count > 1:
                self.note(f"{count} layers have the name {quoted(name)}")
        return layers

    def layer(
        self, entry: object, *, position: int, unnamed: Counter[str]
    ) -> LayerConfig | None:
        """Return one layer without its calls."""
        label = f"layer {position}"
        if not isinstance(entry, Mapping):
            self.note("isn't an object", layer=label)
            return None
        class_name = entry.get("class_name")
        config = entry.get("config")
        if not isinstance(class_name, str):
            self.note("has no class name", layer=label)
            return None
        if isinstance(config, list) and class_name == "Sequential":
            config = {"layers": config}
        if not isinstance(config, Mapping):
            self.note(f"({class_name}) has no configuration", layer=label)
            return None
        name = entry.get("name", config.get("name"))
        if name is None:  # a nested list-form Sequential
            stem = snake_case(class_name)
            unnamed[stem] += 1
            name = f"{stem}_{unnamed[stem]}"
        if not isinstance(name, str):
            self.note(f"is named {quoted(name)}, which isn't a string", layer=label)
            return None
        registered = entry.get("registered_name")
        registered = registered if isinstance(registered, str) else ""
        if class_name not in MODELS and is_model(class_name, config):
            # A subclass that Keras itself rebuilds as a plain functional model.
            registered, class_name = registered or class_name, "Functional"
        module = entry.get("module", _implied_module(entry, config))
        return LayerConfig(
            class_name=class_name,
            name=name,
            config=_layer_config(class_name, name, config, entry.get("build_config")),
            calls=(),
            module=module if isinstance(module, str) else "",
            registered_name=registered,
        )

    # -- Sequential -----------------------------------------------------------------

    def sequential(
        self, name: str, config: Mapping[str, Any], build_config: object
    ) -> ModelConfig | None:
        """Return a chain of layers in functional form."""
        layers = self.layers(config["layers"])
        if not layers or len(layers) != len(config["layers"]):
            return None
        if layers[0].class_name != "InputLayer":
            layers.insert(0, _first_input(layers[0], config, build_config))
        called = [replace(layers[0], calls=(Call((), {}),))]
        for previous, layer in pairwise(layers):
            call = Call((Ref(previous.name, 0, 0),), {})
            called.append(replace(layer, calls=(call,)))
        return ModelConfig(
            class_name="Sequential",
            name=name,
            layers=tuple(called),
            inputs=Ref(called[0].name, 0, 0),
            outputs=Ref(called[-1].name, 0, 0),
        )

    # -- functional -----------------------------------------------------------------

    def functional(self, name: str, config: Mapping[str, Any]) -> ModelConfig | None:
        """Return a graph of layers."""
        entries = config["layers"]
        layers = self.layers(entries)
        if len(layers) != len(entries):
            return None
        names = frozenset(layer.name for layer in layers)
        called = []
        list_style = True
        for layer, entry in zip(layers, entries, strict=True):
            nodes = entry.get("inbound_nodes", [])
            if not isinstance(nodes, list):
                self.note("its calls aren't a list", layer=_label(layer))
                nodes = []
            list_style = list_style and not any(isinstance(n, Mapping) for n in nodes)
            calls = tuple(self.call(layer, node, names) for node in nodes)
            if layer.class_name == "InputLayer":
                calls = (Call((), {}),)
            called.append(replace(layer, calls=calls))
        inputs = _tensors(config["input_layers"])
        outputs = _tensors(config["output_layers"])
        for what, tensors in (("input", inputs), ("output", outputs)):
            if not list(references(tensors)):
                self.note(f"the model has no {what}s")
        model = ModelConfig(
            class_name="Functional",
            name=name,
            layers=tuple(called),
            inputs=inputs,
            outputs=outputs,
        )
        model = _renumbered(model, list_style=list_style)
        if not self.problems:
            self.check(model)
        return model

    def call(self, layer: LayerConfig, node: object, names: frozenset[str]) -> Call:
        """Return one entry of ``inbound_nodes``."""
        if isinstance(node, Mapping):  # Keras 3
            args = node.get("args", [])
            kwargs = node.get("kwargs", {})
            if not isinstance(args, list) or not isinstance(kwargs, Mapping):
                self.note("a call's arguments make no sense", layer=_label(layer))
                return Call((), {})
            return Call(
                tuple(map(_constant, args)),
                {key: _constant(value) for key, value in kwargs.items()},
            )
        if isinstance(node, list):
            kwargs = _first_kwargs(node)
            argument = _legacy_argument(node)
            if isinstance(argument, list) and len(argument) == 1:
                argument = argument[0]
            return Call(
                (argument,),
                {key: _legacy_constant(kwargs[key], names) for key in kwargs},
            )
        self.note("a call is neither a list nor an object", layer=_label(layer))
        return Call((), {})

    def check(self, model: ModelConfig) -> None:
        """Note references to what isn't there, and loops."""
        calls = {layer.name: len(layer.calls) for layer in model.layers}
        for layer in model.layers:
            for call in layer.calls:
                for ref in references((call.args, call.kwargs)):
                    self.check_reference(ref, calls, reader=_label(layer))
        for ref in references((model.inputs, model.outputs)):
            self.check_reference(ref, calls, reader=None)
        classes = {layer.name: layer.class_name for layer in model.layers}
        for ref in references(model.inputs):
            class_name = classes.get(ref.layer, "InputLayer")
            if class_name != "InputLayer":
                self.note(
                    f"its input {quoted(ref.layer)} is a {class_name}, not an"
                    " InputLayer"
                )
        if not self.problems:
            loop = _loop(model)
            if loop is not None:
                self.note("its output is fed back to its input", layer=_label(loop))

    def check_reference(
        self, ref: Ref, calls: Mapping[str, int], *, reader: str | None
    ) -> None:
        """Note what is wrong with *ref*."""
        subject = "the model's inputs or outputs refer" if reader is None else "refers"
        if ref.layer not in calls:
            self.note(
                f"{subject} to the layer {quoted(ref.layer)}, which isn't in the model",
                layer=reader,
            )
        elif not 0 <= ref.node < calls[ref.layer] or ref.tensor < 0:
            self.note(
                f"{subject} to call {ref.node}, output {ref.tensor} of the layer"
                f" {quoted(ref.layer)}, which is called {calls[ref.layer]} times",
                layer=reader,
            )


def references(argument: Argument) -> Iterator[Ref]:
    """Yield the tensors in a structure, in order."""
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, Mapping):
        for value in argument.values():
            yield from references(value)
    elif isinstance(argument, (list, tuple)):
        for value in argument:
            yield from references(value)


def _implied_module(entry: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the module of what Keras 3 wrote to HDF5, where it leaves modules out.

    Layers have a dtype and can be trained; bare operations have neither.
    """
    nodes = entry.get("inbound_nodes")
    is_keras3 = isinstance(nodes, list) and any(isinstance(n, Mapping) for n in nodes)
    if is_keras3 and not {"dtype", "trainable"} & config.keys():
        return OPERATION_MODULES[0]
    return ""


def _label(layer: LayerConfig) -> str:
    """Return how problems name *layer*."""
    return f"layer {quoted(layer.name)} ({layer.class_name})"


def _layer_config(
    class_name: str, name: str, config: Mapping[str, Any], build_config: object
) -> Mapping[str, Any]:
    """Return *config* with what the file says about the layer elsewhere."""
    if class_name == "InputLayer":
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        return {**config, "name": name, "batch_shape": shape}
    if class_name == "Sequential":
        shape = _build_shape(config, build_config)
        return {**config, "name": name, "build_input_shape": shape}
    return config


def _build_shape(config: Mapping[str, Any], build_config: object) -> list[Any] | None:
    """Return the input shape a Sequential was built with, if the file tells."""
    shape = config.get("build_input_shape")
    if shape is None and isinstance(build_config, Mapping):
        shape = build_config.get("input_shape")
    return shape if isinstance(shape, list) else None


def _first_input(
    first: LayerConfig, config: Mapping[str, Any], build_config: object
) -> LayerConfig:
    """Return the InputLayer that a Sequential leaves out."""
    shape = _declared_shape(first.class_name, first.config)
    if shape is None:
        shape = _build_shape(config, build_config)
    dtype = first.config.get("dtype")
    name = f"{first.name}_input"
    return LayerConfig(
        class_name="InputLayer",
        name=name,
        config={
            "name": name,
            "batch_shape": shape,
            "dtype": dtype if _is_plain(dtype) else "float32",
        },
        calls=(),
    )


def _is_plain(dtype: object) -> bool:
    """Return whether *dtype* is the name of a type, not a policy."""
    return isinstance(dtype, str) and dtype in PLAIN_DTYPES


def _declared_shape(class_name: str, config: Mapping[str, Any]) -> list[Any] | None:
    """Return the input shape that the first layer of a Sequential declares."""
    for key in ("batch_shape", "batch_input_shape"):
        if isinstance(config.get(key), list):
            return list(config[key])
    if is_model(class_name, config):
        entries = config.get("layers")
        first = entries[0] if isinstance(entries, list) and entries else None
        inner = first.get("config") if isinstance(first, Mapping) else None
        if isinstance(first, Mapping) and isinstance(inner, Mapping):
            return _declared_shape(str(first.get("class_name")), inner)
    if class_name == "Embedding" and "input_length" in config:
        length = config["input_length"]
        return [None, *length] if isinstance(length, list) else [None, length]
    if class_name in {"Dense", "LSTM", "GRU", "SimpleRNN"} and config.get("input_dim"):
        middle = [] if class_name == "Dense" else [config.get("input_length")]
        return [None, *middle, config["input_dim"]]
    return None


def _is_reference(value: object) -> bool:
    """Return whether *value* is ``[layer, node, tensor]``, perhaps with kwargs."""
    return (
        isinstance(value, list)
        and len(value) in {REFERENCE_LENGTH, REFERENCE_LENGTH + 1}
        and isinstance(value[0], str)
        and all(
            isinstance(number, int) and not isinstance(number, bool)
            for number in value[1:REFERENCE_LENGTH]
        )
        and (len(value) == REFERENCE_LENGTH or isinstance(value[-1], Mapping))
    )


def _reference(value: list[Any]) -> Ref:
    """Return ``[layer, node, tensor, ...]`` as a Ref."""
    return Ref(value[0], value[1], value[2])


def _tensors(value: object) -> Argument:
    """Return ``input_layers`` or ``output_layers``; one tensor in a list is itself."""
    if _is_reference(value):
        return _reference(value)  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return {key: _tensors(child) for key, child in value.items()}
    if isinstance(value, list):
        tensors = [_tensors(child) for child in value]
        return tensors[0] if len(tensors) == 1 else tensors
    return None


def _first_kwargs(node: list[Any]) -> Mapping[str, Any]:
    """Return the keyword arguments of a list-style call: each tensor repeats them."""
    pending: list[Any] = [node]
    while pending:
        value = pending.pop()
        is_constant = isinstance(value, list) and value[:1] == [CONSTANT]
        if _is_reference(value) or is_constant:
            if len(value) > REFERENCE_LENGTH and isinstance(value[-1], Mapping):
                return value[-1]
        elif isinstance(value, list):
            pending.extend(reversed(value))
        elif isinstance(value, Mapping):
            pending.extend(reversed(list(value.values())))
    return {}


def _legacy_argument(value: object) -> Argument:
    """Return the first argument of a list-style call."""
    if isinstance(value, list):
        if value[:1] == [CONSTANT] and len(value) >= REFERENCE_LENGTH:
            return value[2]
        if _is_reference(value):
            return _reference(value)
        return [_legacy_argument(child) for child in value]
    if isinstance(value, Mapping):
        return {key: _legacy_argument(child) for key, child in value.items()}
    return value


def _legacy_constant(value: object, names: frozenset[str]) -> Argument:
    """Return a keyword argument of a list-style call."""
    if isinstance(value, list):
        is_reference = _is_reference(value) and len(value) == REFERENCE_LENGTH
        if is_reference and value[0] in names:
            return _reference(value)
        return [_legacy_constant(child, names) for child in value]
    if isinstance(value, Mapping):
        if value.keys() == {"start", "stop", "step"}:  # SlicingOpLambda
            return slice(value["start"], value["stop"], value["step"])
        special = _special(value)
        if special is not None:
            return special
        return {key: _legacy_constant(child, names) for key, child in value.items()}
    return value


def _constant(value: object) -> Argument:
    """Return an argument of a Keras 3 call."""
    if isinstance(value, list):
        return [_constant(child) for child in value]
    if isinstance(value, Mapping):
        special = _special(value)
        if special is not None:
            return special
        return {key: _constant(child) for key, child in value.items()}
    return value


def _special(value: Mapping[str, Any]) -> Argument:
    """Return the object a ``__name__`` class stands for, or None."""
    config = value.get("config")
    config = config if isinstance(config, Mapping) else {}
    special: Argument = None
    match value.get("class_name"):
        case "__keras_tensor__" if _is_reference(config.get("keras_history")):
            special = _reference(config["keras_history"])
        case "__tensor__" | "__numpy__":
            special = _array(config)
        case "__slice__":
            special = slice(*(config.get(key) for key in ("start", "stop", "step")))
        case "__ellipsis__":
            special = Ellipsis
        case "__tuple__" if isinstance(value.get("items"), list):
            special = tuple(map(_constant, value["items"]))
        case "__bytes__":
            special = str(config.get("value", value.get("value", ""))).encode()
    return special


def _array(config: Mapping[str, Any]) -> Argument:
    """Return a constant array; what isn't one stays as it is, for others to refuse."""
    dtype = config.get("dtype")
    try:
        return np.array(config.get("value"), dtype if _is_plain(dtype) else None)
    except (TypeError, ValueError):
        return dict(config)


# -- node numbers -----------------------------------------------------------------


def _renumbered(model: ModelConfig, *, list_style: bool) -> ModelConfig:
    """Return *model* with the calls of every layer counted from 0.

    Keras reserves node 0 of a model for the model's own inputs, so that its first call
    has number 1: in list-style files everywhere, in Keras 3 only where outputs are
    listed. The rule has exceptions (a Sequential without an InputLayer), which the
    numbers themselves give away: none may exceed the number of calls.
    """
    arguments = [
        (call.args, call.kwargs) for layer in model.layers for call in layer.calls
    ]
    inside, outside = {}, {}
    for layer in model.layers:
        if not is_model(layer.class_name, layer.config):
            continue
        count = len(layer.calls)
        starts_with_input = _starts_with_input(layer)
        expected = int(list_style and starts_with_input)
        inside[layer.name] = _first_node(arguments, layer.name, count, expected)
        expected = int(
            starts_with_input and (list_style or layer.class_name != "Sequential")
        )
        outside[layer.name] = _first_node(model.outputs, layer.name, count, expected)
    layers = tuple(
        replace(
            layer,
            calls=tuple(
                Call(_shifted(call.args, inside), _shifted(call.kwargs, inside))
                for call in layer.calls
            ),
        )
        for layer in model.layers
    )
    return replace(model, layers=layers, outputs=_shifted(model.outputs, outside))


def _starts_with_input(layer: LayerConfig) -> bool:
    """Return whether the model *layer* knew its inputs when it was made."""
    entries = layer.config.get("layers")
    if not isinstance(entries, list) or not entries:
        return False
    first = entries[0]
    if layer.class_name != "Sequential":
        return True
    config = first.get("config") if isinstance(first, Mapping) else None
    return isinstance(config, Mapping) and (
        first.get("class_name") == "InputLayer"
        or _declared_shape(str(first.get("class_name")), config) is not None
    )


def _first_node(structure: Argument, name: str, count: int, expected: int) -> int:
    """Return the number that references in *structure* give the first call."""
    nodes = [ref.node for ref in references(structure) if ref.layer == name]
    if all(expected <= node < count + expected for node in nodes):
        return expected
    other = 1 - expected
    if all(other <= node < count + other for node in nodes):
        return other
    return expected


def _shifted(argument: Argument, first: Mapping[str, int]) -> Argument:
    """Return *argument* with each reference's node counted from 0."""
    if isinstance(argument, Ref):
        return replace(argument, node=argument.node - first.get(argument.layer, 0))
    if isinstance(argument, Mapping):
        return {key: _shifted(value, first) for key, value in argument.items()}
    if isinstance(argument, list):
        return [_shifted(value, first) for value in argument]
    if isinstance(argument, tuple):
        return tuple(_shifted(value, first) for value in argument)
    return argument


def _loop(model: ModelConfig) -> LayerConfig | None:
    """Return a layer whose input depends on its own output, if there is one."""
    waiting = {
        (layer.name, number): {
            (ref.layer, ref.node) for ref in references((call.args, call.kwargs))
        }
        for layer in model.layers
        for number, call in enumerate(layer.calls)
    }
    readers: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for node, sources in waiting.items():
        for source in sources:
            readers.setdefault(source, []).append(node)
    ready = [node for node, sources in waiting.items() if not sources]
    while ready:
        done = ready.pop()
        del waiting[done]
        for reader in readers.get(done, ()):
            waiting[reader].discard(done)
            if not waiting[reader]:
                ready.append(reader)
    stuck = {name for name, _ in waiting}
    return next((layer for layer in model.layers if layer.name in stuck), None)
