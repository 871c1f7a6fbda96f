"""Keramos: an ahead-of-time compiler for Keras models.

``compile_model`` writes a package that runs a model without Keras, and without Keramos;
``Interpreter`` runs a model file as it is; ``custom_layer`` defines a layer of your own
with the functions of ``ops``, from the ``Definition`` that the file has of it.
"""

from __future__ import annotations

from keramos import ops
from keramos.compiler import Package, compile_model
from keramos.errors import CompileError, Problem
from keramos.layers.custom import custom_layer
from keramos.layers.definition import Definition
from keramos.runtime_min.interpreter import Interpreter
from keramos.version import VERSION

__version__ = VERSION

__all__ = [
    "CompileError",
    "Definition",
    "Interpreter",
    "Package",
    "Problem",
    "__version__",
    "compile_model",
    "custom_layer",
    "ops",
]
