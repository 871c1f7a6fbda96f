"""Weights as Keras 1, Theano and cuDNN laid them out -> as Keras 2 lays them out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keramos.errors import CompileError, quoted
from keramos.source.derived import Array, derived, flipped, joined, transposed
from keramos.source.file import Tensor
from keramos.source.layer_tree import Owner
from keramos.source.variables import Path, Variables

CONVOLUTIONS = frozenset(
    {"Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "SeparableConv2D", "ConvLSTMCell"}
)
# Keras 1 wrote the gates of an LSTM in the order i, c, f, o; Keras 2 wants i, f, c, o.
GATES = {"LSTMCell": "icfo", "ConvLSTMCell": "icfo", "GRUCell": "zrh"}
KERAS2_GATES = {"LSTMCell": (0, 2, 1, 3), "ConvLSTMCell": (0, 2, 1, 3)}
NAMES = {
    "Embedding": ("W",),
    "PReLU": ("alphas",),
    "SimpleRNNCell": ("W", "U", "b"),
    "LSTMCell": ("W", "U", "b"),
    "GRUCell": ("W", "U", "b"),
    "ConvLSTMCell": ("W", "U", "b"),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "b"),
    **dict.fromkeys(
        ("Dense", "Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose"), ("W", "b")
    ),
    **dict.fromkeys(("LocallyConnected1D", "LocallyConnected2D"), ("W", "b")),
}
KERNELS_AND_BIAS = 3
FUSED = 2  # the implementation for which Keras 1 kept the gates together


def keras1_variables(owner: Owner) -> tuple[str, ...] | None:
    """Return the names of the variables that Keras 1 gave an owner."""
    if owner.trainable == () and not owner.fixed:
        return ()
    if owner.class_name == "BatchNormalization":
        return ("gamma", "beta", "running_mean", "running_std")
    names = NAMES.get(owner.class_name)
    if names is None:
        return None
    if owner.class_name in GATES and owner.config.get("implementation") != FUSED:
        gates = GATES[owner.class_name]
        return tuple(f"{name}_{gate}" for gate in gates for name in names)
    return names if owner.config.get("use_bias", True) else names[:-1]


def modernised(
    where: str, tree: Owner, variables: Variables, *, is_keras1: bool, backend: str
) -> Variables:
    """Return the variables as if Keras 2 on TensorFlow had written them."""
    is_theano = backend == "theano" or (is_keras1 and _has_theano_names(variables))
    result = dict(variables)
    for chain in tree.leaves():
        path: Path = tuple(owner.key for owner in chain[1:])
        tensors = variables.get(path, ())
        if not tensors:
            continue
        owner = chain[-1]
        try:
            if is_keras1:
                tensors = _keras2(owner, tensors)
            if is_theano and owner.class_name in CONVOLUTIONS:
                tensors = _correlating(owner, tensors)
            result[path] = _without_cudnn(owner, tensors)
        except (IndexError, ValueError):
            shapes = ", ".join(str(tensor.shape) for tensor in tensors)
            raise CompileError.at(
                f"{where}: layer {quoted('/'.join(path))} ({owner.class_name})",
                f"its weights have shapes that don't belong together: {shapes}",
            ) from None
    return result


def _has_theano_names(variables: Variables) -> bool:
    """Return whether no array has TensorFlow's ``:0`` after its name."""
    names = [tensor.name for tensors in variables.values() for tensor in tensors]
    return not any(re.search(r":\d+$", name) for name in names)


def _keras2(owner: Owner, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the variables of Keras 1 in the arrangement of Keras 2."""
    class_name = owner.class_name
    if class_name in GATES and len(tensors) == 3 * len(GATES[class_name]):
        order = KERAS2_GATES.get(class_name, range(len(GATES[class_name])))
        gates = [tensors[3 * gate : 3 * gate + 3] for gate in order]
        columns: Sequence[Sequence[Tensor]] = list(zip(*gates, strict=True))
        if class_name == "ConvLSTMCell":
            columns = [
                [_spatial_first(owner.config, gate) for gate in column]
                for column in columns
            ]
        return tuple(joined(column) for column in columns)
    kernel, *rest = tensors
    match class_name:
        case "Conv1D":
            kernel = _kernel_1d(owner.config, kernel)
        case "Conv2D" | "Conv3D":
            kernel = _spatial_first(owner.config, kernel)
        case "SeparableConv2D":
            kernel = _spatial_first(owner.config, kernel)
            rest[0] = _spatial_first(owner.config, rest[0])
        case "Conv2DTranspose":
            first = owner.config.get("data_format") == "channels_first"
            kernel = transposed(kernel, (2, 3, 0, 1) if first else (0, 1, 3, 2))
    return (kernel, *rest)


def _spatial_first(config: Mapping[str, Any], kernel: Tensor) -> Tensor:
    """Return a kernel of (outputs, inputs, *spatial) as (*spatial, inputs, outputs)."""
    rank = len(kernel.shape)
    if config.get("data_format") != "channels_first" or rank == 1:  # a bias
        return kernel
    return transposed(kernel, (*range(2, rank), 1, 0))


def _kernel_1d(config: Mapping[str, Any], kernel: Tensor) -> Tensor:
    """Return a Conv1D kernel, which Keras 1 stored as that of a Conv2D."""
    length = config.get("kernel_size", [0])[0]
    filters = config.get("filters")
    if kernel.shape[:2] != (length, 1) or kernel.shape[3] != filters:  # before 1.2
        kernel = transposed(kernel, (2, 3, 1, 0))
    shape = (kernel.shape[0], *kernel.shape[2:])
    return derived([kernel], shape, lambda values: values[:, 0])


def _correlating(owner: Owner, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return Theano's variables with the kernels turned around."""
    count = 2 if owner.class_name == "ConvLSTMCell" else 1
    return (*map(flipped, tensors[:count]), *tensors[count:])


# -- cuDNN --------------------------------------------------------------------------


def _without_cudnn(owner: Owner, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return an LSTM's or GRU's variables without cuDNN's layout, if they have it.

    It shows in the bias, of which cuDNN keeps two.
    """
    gates = {"LSTMCell": 4, "GRUCell": 3}.get(owner.class_name)
    if gates is None or len(tensors) != KERNELS_AND_BIAS:
        return tensors
    kernel, recurrent, bias = tensors
    units = recurrent.shape[0]
    if bias.shape != (2 * gates * units,):
        return tensors
    return (
        derived([kernel], kernel.shape, lambda v: _by_gate(v, gates, _from_fortran)),
        derived(
            [recurrent], recurrent.shape, lambda v: _by_gate(v, gates, np.transpose)
        ),
        _lstm_bias(bias) if owner.class_name == "LSTMCell" else _gru_bias(bias),
    )


def _by_gate(kernels: Array, gates: int, function: Callable[[Array], Array]) -> Array:
    """Return the kernels of all gates, each transformed by *function*."""
    return np.hstack([function(kernel) for kernel in np.hsplit(kernels, gates)])


def _from_fortran(kernel: Array) -> Array:
    """Return a kernel whose memory cuDNN filled column by column."""
    return kernel.T.reshape(kernel.shape, order="F")


def _lstm_bias(bias: Tensor) -> Tensor:
    """Return the sum of the input and the recurrent bias."""
    half = bias.shape[0] // 2
    return derived([bias], (half,), lambda values: values[:half] + values[half:])


def _gru_bias(bias: Tensor) -> Tensor:
    """Return the input and the recurrent bias as two rows."""
    return derived([bias], (2, bias.shape[0] // 2), lambda values: values)
