"""Keramos: an ahead-of-time compiler for Keras models.

``compile_model`` writes a package that runs a model without Keras, and without Keramos;
``Interpreter`` runs a model file as it is.
"""

from __future__ import annotations

from keramos.compiler import Package, compile_model
from keramos.errors import CompileError, Problem
from keramos.runtime_min.interpreter import Interpreter
from keramos.version import VERSION

__version__ = VERSION

__all__ = [
    "CompileError",
    "Interpreter",
    "Package",
    "Problem",
    "__version__",
    "compile_model",
]
