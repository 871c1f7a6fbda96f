"""Small real models, and programs that use what Keramos makes of them.

The digits model is installed with Keramos, for its demonstration.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable


def digits(name: str) -> Traversable:
    """Return the installed file *name* of the digits example (``digits.keras``)."""
    return files(__name__) / "digits" / name
