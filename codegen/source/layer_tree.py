"""Who owns variables: a model's layers, and the layers and cells inside them.

Keras orders variables by this tree: a layer's own come first, then those of its parts
in the order in which it made them. Stored files know only parts of the order, so the
tree says what to expect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keramos.errors import CompileError, Problem
from keramos.source.model_config import (
    MODELS,
    is_model,
    is_operation,
    parse_model,
    snake_case,
)
from keramos.source.topology import LayerConfig


@dataclass(frozen=True, slots=True)
class Owner:
    """A layer or cell: its own variables, and its parts.

    *key* is its step in the path of ``KerasFile.weights``; *name* is its Keras name.
    *trainable* and *fixed* are the names of its own variables in Keras' order, None
    where the class is unknown. *group* is its group in Keras 3's scheme, below its
    parent's.
    """

    key: str
    name: str
    class_name: str
    config: Mapping[str, Any]
    group: str
    trainable: tuple[str, ...] | None
    fixed: tuple[str, ...]
    frozen: bool
    parts: tuple[Owner, ...]

    @property
    def known(self) -> bool:
        """Return whether the number of variables is known, here and in all parts."""
        return self.trainable is not None and all(part.known for part in self.parts)

    @property
    def own(self) -> tuple[str, ...]:
        """Return the names of the owner's own variables."""
        return (*(self.trainable or ()), *self.fixed)

    def leaves(self, path: tuple[Owner, ...] = ()) -> Iterator[tuple[Owner, ...]]:
        """Yield the path to each owner that has or may have variables of its own."""
        path = (*path, self)
        if self.own or self.trainable is None:
            yield path
        for part in self.parts:
            yield from part.leaves(path)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an owner stands within its parent."""

    key: str
    group: str


def model_tree(config: Mapping[str, Any], *, where: str) -> Owner:
    """Return the tree of the model ``{"class_name": ..., "config": ...}``.

    Every model in it is parsed, so that the CompileError raised names all problems.
    """
    problems: list[Problem] = []
    tree = _Builder(where, problems).model(config, _Place("", ""), frozen=False)
    if problems:
        raise CompileError(problems)
    return tree


class _Builder:
    """Builds trees, noting problems and going on."""

    def __init__(self, where: str, problems: list[Problem]) -> None:
        """Note problems of the file *where* in *problems*."""
        self.where = where
        self.problems = problems

    def model(self, config: Mapping[str, Any], place: _Place, *, frozen: bool) -> Owner:
        """Return the tree of a model."""
        inner = config.get("config")
        flags = inner if isinstance(inner, Mapping) else {}
        parts: tuple[Owner, ...] = ()
        try:
            parsed = parse_model(config, where=self.where)
        except CompileError as error:
            self.problems += error.problems
        else:
            parts = self.layers(parsed.layers)
        return Owner(
            key=place.key,
            name=str(flags.get("name", "")),
            class_name=str(config.get("class_name")),
            config=flags,
            group=place.group,
            trainable=(),
            fixed=(),
            frozen=frozen or flags.get("trainable") is False,
            parts=parts,
        )

    def layers(self, layers: tuple[LayerConfig, ...]) -> tuple[Owner, ...]:
        """Return a model's layers; Keras 3 numbers their groups within each class."""
        counts: dict[str, int] = {}
        owners = []
        for layer in layers:
            if is_operation(layer):
                owners.append(_operation(layer))
                continue
            original = layer.registered_name.rpartition(">")[2]
            renamed = original if layer.class_name in MODELS and original else ""
            if renamed in MODELS:
                renamed = ""
            stem = snake_case(
                renamed or CLASSES.get(layer.class_name, layer.class_name)
            )
            number = counts.get(stem, 0)
            counts[stem] = number + 1
            group = f"layers/{stem}_{number}" if number else f"layers/{stem}"
            owners.append(
                self.owner(
                    layer.class_name,
                    layer.name,
                    layer.config,
                    _Place(layer.name, group),
                )
            )
        return tuple(owners)

    def owner(
        self, class_name: str, name: str, config: Mapping[str, Any], place: _Place
    ) -> Owner:
        """Return the tree of a layer or cell."""
        frozen = config.get("trainable") is False
        if is_model(class_name, config):
            return self.model(
                {"class_name": class_name, "config": config}, place, frozen=frozen
            )
        trainable, fixed = own_variables(class_name, config)
        return Owner(
            key=place.key,
            name=name,
            class_name=class_name,
            config=config,
            group=place.group,
            trainable=trainable,
            fixed=fixed,
            frozen=frozen,
            parts=tuple(self.parts(class_name, config)),
        )

    def parts(self, class_name: str, config: Mapping[str, Any]) -> Iterator[Owner]:
        """Yield the layers inside a layer, in the order of their variables."""
        if class_name == "Bidirectional":
            inner = config.get("layer")
            yield from self.wrapped("forward_layer", inner, prefix="forward_")
            other = config.get("backward_layer")
            yield from self.wrapped(
                "backward_layer", other or inner, prefix="" if other else "backward_"
            )
        elif class_name == "StackedRNNCells":
            cells = config.get("cells")
            counts: dict[str, int] = {}
            for number, cell in enumerate(cells if isinstance(cells, list) else ()):
                named = cell.get("class_name") if isinstance(cell, Mapping) else ""
                stem = snake_case(str(named))
                count = counts.get(stem, 0)
                counts[stem] = count + 1
                group = f"cells/{stem}_{count}" if count else f"cells/{stem}"
                yield from self.wrapped(str(number), cell, group=group)
        elif class_name in CELLS:
            cell_class = CELLS[class_name]
            yield self.owner(
                cell_class, snake_case(cell_class), config, _Place("cell", "cell")
            )
        elif class_name in ATTENTION:
            for key, name, flags in _attention_parts(config):
                yield self.owner("EinsumDense", name, flags, _Place(key, key))
        elif class_name == "RNN":
            yield from self.wrapped("cell", config.get("cell"))
        elif isinstance(config.get("layer"), Mapping):
            yield from self.wrapped("layer", config["layer"])

    def wrapped(
        self, key: str, entry: object, *, prefix: str = "", group: str | None = None
    ) -> Iterator[Owner]:
        """Yield the layer that *entry* describes, as the part *key*."""
        if not isinstance(entry, Mapping):
            return
        config = entry.get("config")
        if isinstance(config, list):  # Sequential until Keras 2.2.2
            config = {"layers": config}
        if not isinstance(config, Mapping):
            return
        class_name = str(entry.get("class_name"))
        name = str(config.get("name", ""))
        if prefix and not name.startswith(prefix):
            name = prefix + name
        place = _Place(key, key if group is None else group)
        yield self.owner(class_name, name, config, place)


def _operation(layer: LayerConfig) -> Owner:
    """Return a bare operation, which owns nothing and isn't counted among layers."""
    return Owner(
        key=layer.name,
        name=layer.name,
        class_name=layer.class_name,
        config=layer.config,
        group="",
        trainable=(),
        fixed=(),
        frozen=False,
        parts=(),
    )


CELLS = {
    "SimpleRNN": "SimpleRNNCell",
    "LSTM": "LSTMCell",
    "GRU": "GRUCell",
    "ConvLSTM1D": "ConvLSTMCell",
    "ConvLSTM2D": "ConvLSTMCell",
    "ConvLSTM3D": "ConvLSTMCell",
    "CuDNNLSTM": "LSTMCell",
    "CuDNNGRU": "GRUCell",
}
ATTENTION = frozenset(
    {"MultiHeadAttention", "GroupQueryAttention", "GroupedQueryAttention"}
)
# Configurations have the names that Keras exports, groups those of its classes.
CLASSES = {"GroupQueryAttention": "GroupedQueryAttention"}
# The trainable and the other variables of each class, if none is switched off.
VARIABLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys(
        (
            "Dense",
            "EinsumDense",
            "LocallyConnected1D",
            "LocallyConnected2D",
            *(f"Conv{n}D" for n in (1, 2, 3)),
            *(f"Conv{n}DTranspose" for n in (1, 2, 3)),
        ),
        (("kernel", "bias"), ()),
    ),
    **dict.fromkeys(
        ("SimpleRNNCell", "LSTMCell", "GRUCell", "ConvLSTMCell"),
        (("kernel", "recurrent_kernel", "bias"), ()),
    ),
    **{
        f"SeparableConv{n}D": (("depthwise_kernel", "pointwise_kernel", "bias"), ())
        for n in (1, 2)
    },
    **{f"DepthwiseConv{n}D": (("depthwise_kernel", "bias"), ()) for n in (1, 2)},
    "AdditiveAttention": (("scale",), ()),
    "Attention": (("scale", "concat_score_weight"), ()),
    "BatchNormalization": (("gamma", "beta"), ("moving_mean", "moving_variance")),
    "Embedding": (("embeddings",), ()),
    "GroupNormalization": (("gamma", "beta"), ()),
    "LayerNormalization": (("gamma", "beta"), ()),
    "LayerScale": (("gamma",), ()),
    "Normalization": ((), ("mean", "variance", "count")),
    "PReLU": (("alpha",), ()),
    "RMSNormalization": (("scale",), ()),
    "SpectralNormalization": ((), ("u",)),  # vector_u, and sn_u in Keras 2
}
SPATIAL = (
    *("Cropping", "ZeroPadding", "UpSampling", "MaxPooling", "AveragePooling"),
    *("GlobalMaxPooling", "GlobalAveragePooling"),
    *("AdaptiveMaxPooling", "AdaptiveAveragePooling"),
)
# What a layer of these classes never has: variables of its own.
CONTAINERS = (
    frozenset({"Bidirectional", "TimeDistributed", "RNN", "StackedRNNCells"})
    | frozenset(CELLS)
    | ATTENTION
)
UNWEIGHTED = frozenset(
    {"InputLayer", "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"}
    | {"ThresholdedReLU", "Dropout", "SpatialDropout1D", "SpatialDropout2D"}
    | {"SpatialDropout3D", "AlphaDropout", "GaussianDropout", "GaussianNoise"}
    | {"ActivityRegularization", "Flatten", "Reshape", "Permute", "RepeatVector"}
    | {"Masking", "Identity", "Lambda", "Rescaling", "Add", "Subtract", "Multiply"}
    | {"Average", "Maximum", "Minimum", "Concatenate", "Dot", "Merge", "Resizing"}
    | {"CenterCrop", "CategoryEncoding", "Discretization", "Hashing", "TFOpLambda"}
    | {"SlicingOpLambda", "UnitNormalization", "StochasticDepth"}
    | {f"{kind}{n}D" for kind in SPATIAL for n in (1, 2, 3)}
)


def own_variables(
    class_name: str, config: Mapping[str, Any]
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the names of a layer's trainable and other variables.

    The first is None for classes that aren't known, and for layers whose variables
    depend on more than the configuration: quantised and adapted ones.
    """
    if class_name in CONTAINERS or class_name in UNWEIGHTED:
        return (), ()
    is_adapted = any(config.get(key) for key in ("lora_rank", "renorm", "rms_scaling"))
    if is_adapted or _is_quantised(config):
        return None, ()
    is_there = {
        "bias": _has_bias(config),
        "gamma": config.get("scale", True),
        "beta": config.get("center", True),
        "scale": config.get("use_scale", class_name != "Attention"),
        "concat_score_weight": config.get("score_mode") == "concat",
        "mean": config.get("mean") is None,
    }
    is_there["variance"] = is_there["count"] = is_there["mean"]
    if class_name not in VARIABLES:
        return None, ()
    trainable, fixed = (
        tuple(name for name in names if is_there.get(name, True))
        for names in VARIABLES[class_name]
    )
    return trainable, fixed


def _has_bias(config: Mapping[str, Any]) -> bool:
    """Return whether a layer adds a bias; EinsumDense names the axes instead."""
    if "bias_axes" in config:
        return config["bias_axes"] is not None
    return bool(config.get("use_bias", True))


def _is_quantised(config: Mapping[str, Any]) -> bool:
    """Return whether the layer's dtype policy is one of the quantised ones."""
    policy = config.get("dtype")
    while isinstance(policy, Mapping):
        inner = policy.get("config")
        policy = inner.get("name") if isinstance(inner, Mapping) else None
    return isinstance(policy, str) and "_from_" in policy


def _attention_parts(
    config: Mapping[str, Any],
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the projections of an attention layer: attribute, name, configuration."""
    flags = {"use_bias": config.get("use_bias", True), "dtype": config.get("dtype")}
    yield "query_dense", "query", flags
    yield "key_dense", "key", flags
    if config.get("use_gate"):
        yield "gate_dense", "gate", flags
    yield "value_dense", "value", flags
    yield "output_dense", "attention_output", flags
