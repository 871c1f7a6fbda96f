"""The graph of a model as its configuration states it: layers, and who calls whom.

Keras has written this in five ways (list and dict Sequentials, list and dict inbound
nodes, triples and nested structures of outputs). Here there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor of the model: output *tensor* of the *node*-th call of *layer*.

    Nodes count the calls inside this model from 0, also for layers that are models
    (which Keras counts from 1).
    """

    layer: str
    node: int
    tensor: int


# Ref, a constant (int, float, str, bool, None), or a list, tuple or dict of these.
# Special constants of Keras 3 (slices, dtypes, arrays) arrive as Python objects:
# slice, Ellipsis, numpy arrays.
Argument = Any


@dataclass(frozen=True, slots=True)
class Call:
    """One application of a layer, with the arguments of its ``call`` method."""

    args: tuple[Argument, ...]
    kwargs: Mapping[str, Argument]


@dataclass(frozen=True, slots=True)
class LayerConfig:
    """One layer: what it is, how it is configured, where it is called.

    *module* is where Keras says the class lives (empty in files that don't say);
    *registered_name* is set for custom classes (``package>Class``).
    """

    class_name: str
    name: str
    config: Mapping[str, Any]
    calls: tuple[Call, ...]
    module: str = ""
    registered_name: str = ""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A Sequential or functional model, always in functional form.

    *layers* are in the file's order and include the InputLayers; a Sequential without
    one gets one (``input``-named after its first layer) from ``batch_input_shape``.
    *inputs* and *outputs* are the model's own structure: a Ref, or lists and dicts of
    them. An InputLayer has one call without arguments.
    """

    class_name: str
    name: str
    layers: tuple[LayerConfig, ...]
    inputs: Argument
    outputs: Argument
