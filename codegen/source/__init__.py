"""Model files, read without Keras: the only code that knows formats."""

from __future__ import annotations

from keramos.source.file import KerasFile, Tensor
from keramos.source.model_config import parse_model, without_losses
from keramos.source.read import read
from keramos.source.tensorflow_node import NodeDefinition, parse_node
from keramos.source.topology import Call, LayerConfig, ModelConfig, Ref

__all__ = [
    "Call",
    "KerasFile",
    "LayerConfig",
    "ModelConfig",
    "NodeDefinition",
    "Ref",
    "Tensor",
    "parse_model",
    "parse_node",
    "read",
    "without_losses",
]
