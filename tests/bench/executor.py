"""The packages' executor, loaded from its file: a GPU machine needs no more."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[2] / "runtime_min" / "vendored" / "gl.py"


def load() -> Any:
    """Return the module."""
    spec = importlib.util.spec_from_file_location("executor_gl", PATH)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
