"""Configurations in the words of Keras 1, cuDNN and Merge -> those of Keras 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keramos.errors import CompileError, Problem, quoted

Config = dict[str, Any]

CLASSES = {
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
    "TimeDistributedDense": "Dense",
}
CUDNN = {"CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}
KEYS = {
    "W_constraint": "kernel_constraint",
    "W_regularizer": "kernel_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "b_constraint": "bias_constraint",
    "b_regularizer": "bias_regularizer",
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "border_mode": "padding",
    "dropout_U": "recurrent_dropout",
    "dropout_W": "dropout",
    "filter_length": "kernel_size",
    "forget_bias_init": "bias_initializer",
    "init": "kernel_initializer",
    "inner_activation": "recurrent_activation",
    "inner_init": "recurrent_initializer",
    "input_dtype": "dtype",
    "length": "size",
    "nb_filter": "filters",
    "p": "rate",
    "pool_length": "pool_size",
    "sigma": "stddev",
    "stride": "strides",
    "subsample": "strides",
    "subsample_length": "strides",
}
# Keys of Keras 1 that no later version writes: enough to recognise its configurations.
TELLTALE = frozenset(
    {"border_mode", "dim_ordering", "inner_activation", "nb_filter", "pool_length"}
    | {"W_regularizer", "b_regularizer", "input_dtype", "consume_less"}
)
SPECIAL_KEYS: Mapping[str, Mapping[str, str]] = {
    "Embedding": {"init": "embeddings_initializer"},
    **{
        class_name: {"output_dim": "units"}
        for class_name in ("Dense", "TimeDistributedDense", "SimpleRNN", "LSTM", "GRU")
    },
}
DATA_FORMATS = {"th": "channels_first", "tf": "channels_last"}
IMPLEMENTATIONS = {"cpu": 0, "mem": 1, "gpu": 2}
# These keep their Keras 1 configuration: Keras 2 kept it for them as well.
KEPT = frozenset({"MaxoutDense", "Highway", "Lambda"})
MERGES = {
    "sum": "Add",
    "mul": "Multiply",
    "ave": "Average",
    "max": "Maximum",
    "concat": "Concatenate",
    "dot": "Dot",
}
PARTS = ("layer", "backward_layer", "cell")


def speaks_keras1(config: object) -> bool:
    """Return whether a configuration holds words that only Keras 1 used."""
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            if TELLTALE & value.keys():
                return True
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return False


def translated(config: Mapping[str, Any], *, where: str, is_keras1: bool) -> Config:
    """Return a model's configuration in the words of Keras 2 and later."""
    problems: list[Problem] = []
    result = _Translator(where, problems, is_keras1=is_keras1).entry(config)
    if problems:
        raise CompileError(problems)
    return result


class _Translator:
    """Translates layers, noting what no later Keras can express."""

    def __init__(self, where: str, problems: list[Problem], *, is_keras1: bool) -> None:
        """Note problems of the file *where* in *problems*."""
        self.where = where
        self.problems = problems
        self.is_keras1 = is_keras1

    def entry(self, entry: Mapping[str, Any]) -> Config:
        """Return ``{"class_name": ..., "config": ...}`` with all that is inside."""
        config = entry.get("config")
        class_name = entry.get("class_name")
        if isinstance(config, list):
            return self.sequential(entry, config, {})
        if not isinstance(config, Mapping):
            return dict(entry)
        if isinstance(config.get("layers"), list) and class_name != "Merge":
            if "input_layers" not in config:
                return self.sequential(entry, config["layers"], config)
            layers = self.entries(config["layers"])
            return {**entry, "config": {**config, "layers": layers}}
        inner = dict(config)
        for part in PARTS:
            if isinstance(inner.get(part), Mapping):
                inner[part] = self.entry(inner[part])
        if isinstance(inner.get("cells"), list):
            inner["cells"] = self.entries(inner["cells"])
        return self.layer(entry, str(class_name), inner)

    def entries(self, entries: list[Any]) -> list[Any]:
        """Return the entries of a list of layers."""
        return [
            self.entry(each) if isinstance(each, Mapping) else each for each in entries
        ]

    def sequential(
        self, entry: Mapping[str, Any], layers: list[Any], config: Mapping[str, Any]
    ) -> Config:
        """Return a chain of layers; one that begins by merging others is a graph."""
        first = layers[0] if layers else None
        if isinstance(first, Mapping) and first.get("class_name") == "Merge":
            if not _is_chain(layers):
                self.note(dict(config), "Merge", "its branches make no sense")
                return {**entry, "config": {**config, "layers": []}}
            graph = _Graph()
            outputs = [graph.append(layers)]
            merged = {
                "name": config.get("name", "sequential"),
                "layers": graph.layers,
                "input_layers": graph.inputs,
                "output_layers": outputs,
            }
            return self.entry({**entry, "class_name": "Model", "config": merged})
        return {**entry, "config": {**config, "layers": self.entries(layers)}}

    def layer(
        self, entry: Mapping[str, Any], class_name: str, config: Config
    ) -> Config:
        """Return one layer."""
        if class_name in CUDNN:
            return {
                **entry,
                "class_name": CUDNN[class_name],
                "config": _cudnn(class_name, config),
            }
        if class_name == "Merge":
            return self.merge(entry, config)
        if not self.is_keras1 or class_name in KEPT:
            return {**entry, "config": config}
        if class_name == "BatchNormalization" and config.get("mode", 0) != 0:
            self.note(
                config, class_name, f"mode {quoted(config['mode'])} isn't supported"
            )
        return {
            **entry,
            "class_name": CLASSES.get(class_name, class_name),
            "config": _keras2_config(class_name, config),
        }

    def merge(self, entry: Mapping[str, Any], config: Config) -> Config:
        """Return the layer that has since replaced a Merge of this mode."""
        mode = config.get("mode")
        if not isinstance(mode, str) or mode not in MERGES:
            self.note(config, "Merge", f"mode {quoted(mode)} isn't supported")
            return {**entry, "config": config}
        inner = {
            key: value
            for key, value in config.items()
            if key in {"name", "trainable", "dtype"}
        }
        if mode == "concat":
            inner["axis"] = config.get("concat_axis", -1)
        if mode == "dot":
            inner["axes"] = config.get("dot_axes", -1)
            inner["normalize"] = False
        return {**entry, "class_name": MERGES[mode], "config": inner}

    def note(self, config: Config, class_name: str, problem: str) -> None:
        """Add a problem of one layer."""
        name = quoted(config.get("name", class_name))
        place = f"{self.where}: layer {name} ({class_name})"
        self.problems.append(Problem(place, problem))


def _keras2_config(class_name: str, config: Config) -> Config:
    """Return a layer's configuration in the words of Keras 2."""
    keys = {**KEYS, **SPECIAL_KEYS.get(class_name, {})}
    result: Config = {}
    for key, value in config.items():
        if key == "dim_ordering":
            result["data_format"] = DATA_FORMATS.get(str(value), "channels_last")
        elif key == "consume_less":
            result["implementation"] = IMPLEMENTATIONS.get(str(value), 0)
        else:
            result[keys.get(key, key)] = value
    if class_name == "BatchNormalization":
        result.pop("mode", None)
    for parts in (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3")):
        if all(part in result for part in parts):
            result["kernel_size"] = [result.pop(part) for part in parts]
    for key in ("kernel_size", "strides", "dilation_rate", "pool_size"):
        if class_name.endswith("1D") and isinstance(result.get(key), int):
            result[key] = [result[key]]
    return result


def _cudnn(class_name: str, config: Config) -> Config:
    """Return the configuration of a layer that computes what cuDNN's does."""
    result = {
        **config,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": True,
    }
    if class_name == "CuDNNGRU":
        result["reset_after"] = True
    return result


class _Graph:
    """A Sequential of Keras 1 whose first layer merges branches, as a graph.

    Keras 1 saved the weights of the branches' layers beside each other.
    """

    def __init__(self) -> None:
        """Begin with no layers."""
        self.layers: list[Config] = []
        self.inputs: list[list[Any]] = []

    def append(self, entries: list[Any]) -> list[Any]:
        """Add a chain; return the reference of its output."""
        first, *rest = entries
        config = first["config"]
        if first.get("class_name") == "Merge":
            branches = [self.append(branch) for branch in _branches(config)]
            self.add(
                first, {k: v for k, v in config.items() if k != "layers"}, branches
            )
        else:
            source = self.input_of(config)
            self.add(first, config, [source])
        for entry in rest:
            self.add(entry, entry["config"], [[self.layers[-1]["name"], 0, 0]])
        return [self.layers[-1]["name"], 0, 0]

    def add(
        self, entry: Mapping[str, Any], config: Config, sources: list[list[Any]]
    ) -> None:
        """Add one layer."""
        name = config.get("name", f"merge_{len(self.layers)}")
        self.layers.append(
            {
                **entry,
                "config": {**config, "name": name},
                "name": name,
                "inbound_nodes": [[[*source, {}] for source in sources]],
            }
        )

    def input_of(self, config: Config) -> list[Any]:
        """Add the InputLayer of a branch; return its reference."""
        name = f"{config.get('name')}_input"
        self.layers.append(
            {
                "class_name": "InputLayer",
                "config": {
                    "name": name,
                    "batch_input_shape": config.get("batch_input_shape"),
                    "dtype": config.get("input_dtype", "float32"),
                },
                "name": name,
                "inbound_nodes": [],
            }
        )
        self.inputs.append([name, 0, 0])
        return [name, 0, 0]


def _branches(config: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield the chains that a Merge joins."""
    for branch in config["layers"]:
        yield list(_chain_of(branch))


def _is_chain(entries: object) -> bool:
    """Return whether *entries* are layers that a _Graph can take."""
    if not isinstance(entries, list) or not entries:
        return False
    if not all(
        isinstance(entry, Mapping) and isinstance(entry.get("config"), Mapping)
        for entry in entries
    ):
        return False
    if entries[0].get("class_name") != "Merge":
        return True
    branches = entries[0]["config"].get("layers")
    return (
        isinstance(branches, list)
        and bool(branches)
        and all(isinstance(branch, Mapping) for branch in branches)
        and all(_is_chain(_chain_of(branch)) for branch in branches)
    )


def _chain_of(
    branch: Mapping[str, Any],
) -> Any:  # noqa: ANN401 -- anything may be there
    """Return the layers of a branch, if they are there."""
    inner = branch.get("config")
    return inner.get("layers") if isinstance(inner, Mapping) else inner
